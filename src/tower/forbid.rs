//! [`Forbid`]: keeps acted requests away from a service (rule [R11](crate::rules#r11)).

use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{body::ResponseBody, future::ResponseFuture};
use crate::{
    rejection::{Rejection, RejectionKind},
    words::{ActingAs, BoxError},
};

/// A layer that refuses acted requests with 403 `protected`, for a part of the application that nobody may enter as
/// someone else. Put it inside [`ImpersonationLayer`](crate::ImpersonationLayer).
///
/// The same for one axum handler is `NotActing` (feature `axum`); the same by path is
/// [`Builder::protect`](crate::Builder::protect), which needs no second layer.
///
/// ```
/// use tower_impersonation::Forbid;
/// use tower_layer::Layer;
///
/// # let payment = tower::service_fn(|_: http::Request<()>| async {
/// #     Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
/// # });
/// let payment = Forbid.layer(payment);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Forbid;

/// The service that [`Forbid`] makes.
#[derive(Debug, Clone, Copy)]
pub struct Forbidden<S> {
    inner: S,
}

impl<S> Layer<S> for Forbid {
    type Service = Forbidden<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Forbidden { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Forbidden<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if request.extensions().get::<ActingAs>().is_none() {
            return ResponseFuture::passed(self.inner.call(request));
        }
        let rejection = protected();
        let response = rejection.response(request.method(), request.headers());
        ResponseFuture::refused(rejection.seal(response).map(ResponseBody::refusal))
    }
}

pub(crate) fn protected() -> Rejection {
    Rejection::new(RejectionKind::Protected, "it is closed to acted requests")
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::{
        clock::SystemClock,
        words::{Access, Actor, Rank, Subject},
    };

    #[tokio::test]
    async fn r11_forbid_refuses_acted_requests_only() {
        let service = Forbid.layer(service_fn(|_: Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(String::from("paid")))
        }));

        let own = service.oneshot(Request::new(())).await.unwrap();
        assert_eq!(own.status(), StatusCode::OK);

        let mut request = Request::new(());
        request.extensions_mut().insert(ActingAs::by_request(
            Actor::new("ada".parse().unwrap(), Rank(20)),
            Subject::Anonymous,
            None,
            Access::ReadWrite,
            None,
            std::sync::Arc::new(SystemClock),
        ));
        let acted = service.oneshot(request).await.unwrap();
        assert_eq!(acted.status(), StatusCode::FORBIDDEN);
        let kind = acted.extensions().get::<Rejection>().unwrap().kind();
        assert_eq!(kind, RejectionKind::Protected);
    }
}
