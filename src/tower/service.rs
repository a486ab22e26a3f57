//! [`Impersonate`]: the service that admits, refuses or passes on.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{CACHE_CONTROL, LOCATION, REFERRER_POLICY, SET_COOKIE},
    request::Parts,
};
use http_body::Body;
use tower_service::Service;

use super::{body::ResponseBody, future::ResponseFuture};
use crate::{
    engine::{Admitted, Ask, Concern, Engine, Step, Watch},
    policy::Route,
    rejection::{Rejection, RejectionKind},
    request::{Fault, may_be_seen},
    words::{ActingAs, BoxError, acted_as},
};

const ACTED_AS: HeaderName = HeaderName::from_static("acted-as");

/// The service that [`ImpersonationLayer`](crate::ImpersonationLayer) makes.
///
/// A request without a marker goes straight to the inner service: nothing is allocated, asked or awaited
/// (rule [R1](crate::rules#r1)).
#[derive(Clone)]
pub struct Impersonate<S> {
    inner: S,
    engine: Arc<Engine>,
}

impl<S> Impersonate<S> {
    pub(crate) fn new(inner: S, engine: Arc<Engine>) -> Self {
        Self { inner, engine }
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
        match self.engine.find(request.uri(), request.headers()) {
            Ok(None) => match self.engine.watch {
                None => ResponseFuture::passed(self.inner.call(request)),
                Some(watch) => self.call_unmarked(request, watch),
            },
            Ok(Some(ask)) => self.call_marked(request, ask),
            Err(fault) => ResponseFuture::refused(self.refuse_malformed(request, fault)),
        }
    }
}

impl<S> Impersonate<S> {
    #[cold]
    fn refuse_malformed<ReqBody, ResBody>(
        &self,
        request: Request<ReqBody>,
        fault: Fault,
    ) -> Response<ResponseBody<ResBody>> {
        let (parts, _) = request.into_parts();
        let engine = &self.engine;
        let rejection = engine.malformed(&parts, fault);
        let mut response = reject(engine, rejection, &parts, false);
        if engine.tokens.is_cookie_at_fault(&parts.headers) {
            take_cookie_away(engine, &parts, &mut response);
        }
        response
    }

    /// For hosts whose pages could lose the marker (rule [R20](crate::rules#r20)). Out of line, and off by default.
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
        let engine = &self.engine;
        let (parts, body) = request.into_parts();
        let step = engine.look_at_unmarked(watch, &parts);
        let request = Request::from_parts(parts, body);
        let concern = match step {
            Step::Pass => return ResponseFuture::passed(self.inner.call(request)),
            Step::Redirect(to) => {
                let response = redirect(to);
                return ResponseFuture::refused(response.map(ResponseBody::refusal));
            }
            Step::Act(marker) => return self.call_marked(request, Ask::Marker(marker)),
            Step::Refuse(fault) => {
                return ResponseFuture::refused(self.refuse_malformed(request, fault));
            }
            Step::Ask(concern) => concern,
        };
        self.call_settled(request, concern)
    }

    /// Asks who sent a request that runs as the actor, before it does (rules [R20](crate::rules#r20),
    /// [S4](crate::rules#s4)).
    fn call_settled<ReqBody, ResBody>(
        &mut self,
        request: Request<ReqBody>,
        concern: Concern,
    ) -> ResponseFuture<S::Future, ResBody, S::Error>
    where
        S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        ReqBody: Send + 'static,
        ResBody: Send + 'static,
    {
        let engine = self.engine.clone();
        // As in `call_marked`.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::acted(Box::pin(async move {
            let (parts, body) = request.into_parts();
            if let Err(refusal) = engine.settle_unmarked(&parts, concern).await {
                let rejection = engine.refused(&parts, None, refusal);
                return Ok(reject(&engine, rejection, &parts, false));
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
        let engine = &self.engine;
        let (mut parts, body) = request.into_parts();
        let route = engine.routes.classify(&parts);
        if route == Route::Excluded {
            engine.strip_excluded(&mut parts, ask);
            let is_log_out = engine.is_log_out(&parts);
            let request = Request::from_parts(parts, body);
            return match is_log_out {
                true => self.call_settled(request, Concern::LogOut),
                false => ResponseFuture::passed(self.inner.call(request)),
            };
        }
        let engine = engine.clone();
        let by_cookie = ask.is_cookie();
        // The ready one answers this request; its clone has to become ready first. See
        // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        ResponseFuture::acted(Box::pin(async move {
            let Admitted { acting_as, guard } = match engine.admit(&mut parts, ask, route).await {
                Ok(admitted) => admitted,
                Err(rejection) => {
                    let is_stale = by_cookie && rejection.kind() == RejectionKind::InvalidToken;
                    let stays = by_cookie && !is_stale;
                    let mut response = reject(&engine, rejection, &parts, stays);
                    if is_stale {
                        take_cookie_away(&engine, &parts, &mut response);
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

/// Adds what an acted response carries (rules [R14](crate::rules#r14), [R15](crate::rules#r15),
/// [R19](crate::rules#r19)).
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

/// The response of a refusal, as the host wants it.
fn reject<B>(
    engine: &Engine,
    rejection: Rejection,
    parts: &Parts,
    by_cookie: bool,
) -> Response<ResponseBody<B>> {
    let answers = &engine.answers;
    let response = answers.respond(rejection, parts, &engine.sources, by_cookie);
    response.map(ResponseBody::refusal)
}

/// Refused once, the person gets on as themselves: but only once they were told. What a script or an image of a stale
/// page asks for is refused each time, or a form of that page would go through next (rule [B11](crate::rules#b11)).
fn take_cookie_away<B>(engine: &Engine, parts: &Parts, response: &mut Response<B>) {
    if let Some(cleared) = engine.tokens.cleared_cookie()
        && may_be_seen(&parts.headers)
    {
        response.headers_mut().append(SET_COOKIE, cleared);
    }
}

/// Sends a browser on. 307, so that nothing but the URL changes; and not kept, since it depends on the page that
/// the request came from.
fn redirect(to: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, to);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(REFERRER_POLICY, same_origin);
    response
}

#[cfg(all(test, feature = "jwt"))]
mod tests;
