//! [`Page`], the service, and its future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_impersonation::ActingAs;
use tower_service::Service;

use super::{Settings, body::PageBody, visit::Visit};

/// The service that [`PageLayer`](super::PageLayer) makes.
#[derive(Clone)]
pub struct Page<S> {
    pub(super) inner: S,
    pub(super) settings: Arc<Settings>,
}

pin_project! {
    /// The response future of [`Page`].
    pub struct PageFuture<F> {
        #[pin]
        future: F,
        visit: Option<Box<Visit>>,
    }
}

// === impl Page ===

impl<S> Page<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Page<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<PageBody<ResBody>>;
    type Error = S::Error;
    type Future = PageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let visit = match request.extensions().get::<ActingAs>() {
            None => None,
            Some(acting_as) => Visit::new(&self.settings, acting_as.clone(), &mut request),
        };
        PageFuture {
            future: self.inner.call(request),
            visit,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Page<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl PageFuture ===

impl<F, B, E> Future for PageFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Data: From<Bytes>,
{
    type Output = Result<Response<PageBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(match this.visit.take() {
            None => response.map(PageBody::passed),
            Some(visit) => visit.show(response),
        }))
    }
}

impl<F> fmt::Debug for PageFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageFuture").finish_non_exhaustive()
    }
}
