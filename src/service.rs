//! [`Impersonate`]: the service that admits, refuses or passes on.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response,
    header::{CACHE_CONTROL, REFERRER_POLICY},
    request::Parts,
};
use http_body::Body;
use tower_service::Service;

use crate::{
    BoxError,
    acting_as::ActingAs,
    admit::{Admitted, Ask},
    body::ResponseBody,
    future::ResponseFuture,
    impersonation::{Impersonation, Inner},
    marker::Fault,
    policy::Route,
    rejection::{Rejection, WayOut},
    session::live::acted_as,
    unmarked::{self, Step, Watch},
};

const ACTED_AS: HeaderName = HeaderName::from_static("acted-as");

/// The service that [`ImpersonationLayer`](crate::ImpersonationLayer) makes.
///
/// A request without a marker goes straight to the inner service: nothing is allocated, asked or awaited
/// (rule R1).
#[derive(Clone)]
pub struct Impersonate<S> {
    inner: S,
    impersonation: Impersonation,
}

impl<S> Impersonate<S> {
    pub(crate) fn new(inner: S, impersonation: Impersonation) -> Self {
        Self {
            inner,
            impersonation,
        }
    }

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

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Impersonate<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: 'static,
    ReqBody: Send + 'static,
    ResBody: Body + Send + 'static,
    ResBody::Data: From<Bytes>,
    ResBody::Error: Into<BoxError>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, ResBody, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        match self.find(&request) {
            Ok(None) => match self.impersonation.inner.watch {
                None => ResponseFuture::passed(self.inner.call(request)),
                Some(watch) => self.call_unmarked(request, watch),
            },
            Ok(Some(ask)) => self.call_marked(request, ask),
            Err(fault) => ResponseFuture::refused(self.refuse_malformed(request, fault)),
        }
    }
}

impl<S> Impersonate<S> {
    /// What makes the request one to act (rules R1 to R3).
    fn find<ReqBody>(&self, request: &Request<ReqBody>) -> Result<Option<Ask>, Fault> {
        let config = &self.impersonation.inner;
        let marker = config.sources.find(request.uri(), request.headers())?;
        #[cfg(feature = "jwt")]
        if let Some(tokens) = &config.tokens
            && let Some(carried) = tokens.carried(request.headers())?
        {
            return Ok(Some(Ask::Token(carried, marker)));
        }
        Ok(marker.map(Ask::Marker))
    }

    #[cold]
    fn refuse_malformed<ReqBody, ResBody>(
        &self,
        request: Request<ReqBody>,
        fault: Fault,
    ) -> Response<ResponseBody<ResBody>> {
        let (parts, _) = request.into_parts();
        let config = &self.impersonation.inner;
        let rejection = config.malformed(&parts, fault);
        config.reject(rejection, &parts)
    }

    /// For hosts whose pages could lose the marker (rule R20). Out of line, and off by default.
    #[cold]
    #[inline(never)]
    fn call_unmarked<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        watch: Watch,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqBody: Send + 'static,
        ResBody: Send + 'static,
    {
        let config = &self.impersonation.inner;
        let (parts, body) = request.into_parts();
        let step = config.look_at_unmarked(watch, &parts);
        let request = Request::from_parts(parts, body);
        let concern = match step {
            Step::Pass => return ResponseFuture::passed(self.inner.call(request)),
            Step::Redirect(to) => {
                let response = unmarked::redirect(to);
                return ResponseFuture::refused(response.map(ResponseBody::refusal));
            }
            Step::Act(marker) => return self.call_marked(request, Ask::Marker(marker)),
            Step::Refuse(fault) => {
                return ResponseFuture::refused(self.refuse_malformed(request, fault));
            }
            Step::Ask(concern) => concern,
        };
        let config = config.clone();
        // As in `call_marked`.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::acted(Box::pin(async move {
            let (parts, body) = request.into_parts();
            if let Err(refusal) = config.settle_unmarked(&parts, concern).await {
                let rejection = config.refused(&parts, None, refusal);
                return Ok(config.reject(rejection, &parts));
            }
            let response = inner.call(Request::from_parts(parts, body)).await?;
            Ok(response.map(ResponseBody::passed))
        }))
    }

    /// Out of line, so that what most requests take stays small.
    #[inline(never)]
    fn call_marked<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        ask: Ask,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqBody: Send + 'static,
        ResBody: Send + 'static,
    {
        let config = &self.impersonation.inner;
        let (mut parts, body) = request.into_parts();
        let route = config
            .routes
            .classify(&parts.method, parts.uri.path(), &parts.headers);
        if route == Route::Excluded {
            config.strip(&mut parts);
            let request = Request::from_parts(parts, body);
            return ResponseFuture::passed(self.inner.call(request));
        }
        let config = config.clone();
        #[cfg(feature = "jwt")]
        let by_cookie = ask.is_cookie();
        // The ready one answers this request; its clone has to become ready first. See
        // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::acted(Box::pin(async move {
            let Admitted { acting_as, guard } = match config.admit(&mut parts, ask, route).await {
                Ok(admitted) => admitted,
                Err(rejection) => {
                    #[cfg(feature = "jwt")]
                    let cleared = (by_cookie
                        && rejection.kind() == crate::RejectionKind::InvalidToken)
                        .then(|| config.cleared_cookie())
                        .flatten();
                    #[cfg_attr(not(feature = "jwt"), expect(unused_mut, reason = "no cookie"))]
                    let mut response = config.reject(rejection, &parts);
                    // So that it is refused once, and the person gets on as themselves.
                    #[cfg(feature = "jwt")]
                    if let Some(cleared) = cleared {
                        response
                            .headers_mut()
                            .append(http::header::SET_COOKIE, cleared);
                    }
                    return Ok(response);
                }
            };
            match inner.call(Request::from_parts(parts, body)).await {
                Ok(response) => {
                    guard.complete(response.status());
                    Ok(seal(response, acting_as))
                }
                Err(error) => {
                    guard.fail();
                    Err(error)
                }
            }
        }))
    }
}

impl<S: fmt::Debug> fmt::Debug for Impersonate<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impersonate")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

/// Adds what an acted response carries (rules R14, R15, R19).
fn seal<B>(response: Response<B>, acting_as: ActingAs) -> Response<ResponseBody<B>> {
    let (mut parts, body) = response.into_parts();
    let name = match acting_as.live() {
        Some(live) => live.acted_as.clone(),
        None => acted_as(acting_as.subject()),
    };
    parts.headers.insert(ACTED_AS, name);
    let no_store = HeaderValue::from_static("no-store");
    parts.headers.insert(CACHE_CONTROL, no_store);
    let same_origin = HeaderValue::from_static("same-origin");
    parts.headers.insert(REFERRER_POLICY, same_origin);
    parts.extensions.insert(acting_as.clone());
    Response::from_parts(parts, ResponseBody::acted(body, acting_as))
}

impl Inner {
    /// The response of a refusal, as the host wants it.
    pub(crate) fn reject<B>(
        self: &Arc<Self>,
        rejection: Rejection,
        parts: &Parts,
    ) -> Response<ResponseBody<B>> {
        self.respond(rejection, parts).map(ResponseBody::refusal)
    }

    pub(crate) fn respond(&self, rejection: Rejection, parts: &Parts) -> Response<Bytes> {
        let response = match &self.reject {
            Some(respond) => respond(&rejection, parts),
            None => rejection.render(&parts.method, &parts.headers, &self.way_out(parts)),
        };
        rejection.seal(response)
    }

    fn way_out(&self, parts: &Parts) -> WayOut {
        let end = self
            .control_path
            .as_deref()
            .filter(|_| self.sessions.is_some());
        // A link is a GET: there may be nothing to get where something was posted.
        let linkable = parts.method.is_safe();
        WayOut {
            unmarked: linkable.then(|| self.sources.without_marker(&parts.uri)),
            end: end.map(|path| format!("{}/end", path.trim_end_matches('/'))),
            again: linkable.then(|| parts.uri.clone()),
        }
    }
}
