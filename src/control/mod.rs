//! The HTTP API (feature `control`): start, stop, current, list.
//!
//! [`Impersonation::control`] is an `axum::Router` and so a tower service that any server can mount.
//! Paths are relative to where that is; tell it to [`Builder::control_path`](crate::Builder::control_path), so that the API is
//! never acted itself.
//!
//! | call | body | success |
//! | --- | --- | --- |
//! | `POST /`, `POST /start` | `target_user_id` (or `email`, or `public_id`), `reason`, `access?`, `ticket?`, `duration?`, `next?` | the started session |
//! | `POST /anon`, `POST /service` | `reason`, `access?`, `ticket?`, `duration?`, `next?` | the same, `target_user: null` |
//! | `DELETE /`, `POST /end` | – | `{success, message}` |
//! | `GET /` | – | `{session, target_user}`, both null when there is none |
//! | `GET /sessions` | query: `limit` (1 to 500, default 50), `offset` or `cursor`, `admin_user_id`, `target_user_id`, `impersonation_type`, `is_active`, `from`, `to` | `{sessions, total, next_cursor}`, newest first |
//!
//! 1. Bodies are JSON or forms. A form is answered with 303, as a browser expects; unless it accepts
//!    JSON.
//! 2. `access` is `read_only` (default) or `read_write`; `duration` is in seconds; times are RFC 3339.
//! 3. Unknown fields are refused, and every refusal of a body names the field.
//! 4. Calls that change something are refused when another site makes a browser send them (the scheme of
//!    `tower_http::csrf`). Nothing is ever changed by `GET`.
//! 5. `next` is a path on this host; anything else is ignored.
//! 6. Refusals have the body of [`Rejection`].
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::Impersonation;
//!
//! fn app(impersonation: &Impersonation, pages: Router) -> Router {
//!     pages
//!         .nest("/impersonation", impersonation.control())
//!         .layer(impersonation.layer())
//! }
//! ```

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{OriginalUri, Query, Request, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION},
    request::Parts,
};
use serde::Serialize;
use tower_http::csrf::{CsrfLayer, ProtectionError};

use self::wire::{Current, Ended, Fields, ListQuery, SessionsPage, StartAnswer};
use crate::{
    identity::Subject,
    impersonation::Impersonation,
    rejection::{Rejection, RejectionKind},
    vet::Refusal,
};

mod redirect;
mod wire;

/// The most bytes in a body.
const MAX_BODY: usize = 64 * 1024;

impl Impersonation {
    /// The HTTP API, to be mounted anywhere; see [`control`](crate::control).
    ///
    /// ```
    /// # fn example(impersonation: &tower_impersonation::Impersonation) {
    /// let app = axum::Router::new().nest("/impersonation", impersonation.control());
    /// # let _: axum::Router = app;
    /// # }
    /// ```
    pub fn control(&self) -> Router {
        Router::new()
            .route("/", post(start).delete(stop).get(current))
            .route("/start", post(start))
            .route("/anon", post(start_anonymous))
            .route("/service", post(start_service))
            .route("/end", post(stop))
            .route("/sessions", get(sessions))
            .layer(CsrfLayer::new().with_rejection_response(cross_site))
            .layer(axum::middleware::map_response(uncached))
            .with_state(self.clone())
    }
}

// === the calls ===

async fn start(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.start(&impersonation, body, None).await;
    call.answer(&impersonation, answer)
}

async fn start_anonymous(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let subject = Some(Subject::Anonymous);
    let answer = call.start(&impersonation, body, subject).await;
    call.answer(&impersonation, answer)
}

async fn start_service(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let subject = Some(Subject::Service);
    let answer = call.start(&impersonation, body, subject).await;
    call.answer(&impersonation, answer)
}

async fn stop(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let answer = impersonation.stop(&call.parts).await.map(|_| {
        let to = impersonation.inner.after_stop.clone();
        (Ended::default(), to)
    });
    call.answer(&impersonation, answer)
}

async fn current(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let current = impersonation.current(&call.parts).await;
    let answer = current.and_then(|current| Current::new(current, call.now(&impersonation)?));
    call.plain(&impersonation, answer)
}

async fn sessions(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.sessions(&impersonation).await;
    call.plain(&impersonation, answer)
}

// === impl Call ===

/// One call: what came, without the body.
struct Call {
    parts: Parts,
}

impl Call {
    fn of(request: Request) -> (Self, Body) {
        let (mut parts, body) = request.into_parts();
        // `Router::nest` takes its prefix off; the trail and the checker know the path as it was called.
        if let Some(OriginalUri(uri)) = parts.extensions.get() {
            parts.uri = uri.clone();
        }
        (Self { parts }, body)
    }

    async fn start(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<(StartAnswer, String), Rejection> {
        let inner = &impersonation.inner;
        let fields = self.fields(body).await;
        let asked = match (&subject, &fields) {
            (Some(subject), _) => Some(subject.clone()),
            (None, Ok(fields)) => fields.subject(),
            (None, Err(_)) => None,
        };
        // Whoever may not start anything learns nothing about fields.
        let actor = inner.unacted_actor(&self.parts).await;
        let actor = actor.map_err(|refusal| inner.refused(&self.parts, asked.as_ref(), refusal))?;
        let read = fields.and_then(|fields| {
            let next = fields.next.clone();
            Ok((fields.into_start(subject)?, next))
        });
        let (request, next) = read.map_err(|problem| {
            let refusal = Refusal::invalid(problem).by(actor.id());
            inner.refused(&self.parts, asked.as_ref(), refusal)
        })?;
        let started = impersonation.start(&self.parts, request).await?;
        let landing = next.as_deref().and_then(redirect::local);
        let landing = landing.unwrap_or(&inner.after_start);
        let marked = inner.sources.with_marker(landing, &started.session.subject);
        let answer = StartAnswer::new(&started, self.now(impersonation)?, marked.clone());
        Ok((answer, marked))
    }

    async fn sessions(&self, impersonation: &Impersonation) -> Result<SessionsPage, Rejection> {
        let uri: &Uri = &self.parts.uri;
        let query: Query<ListQuery> = Query::try_from_uri(uri)
            .map_err(|problem| Rejection::invalid(named(&problem.body_text())))?;
        let (filter, page) = query.0.into_filter().map_err(Rejection::invalid)?;
        let list = impersonation.list(&self.parts, filter, page).await?;
        Ok(SessionsPage::new(&list, self.now(impersonation)?))
    }

    /// The fields of the body, whichever form they come in.
    async fn fields(&self, body: Body) -> Result<Fields, String> {
        let body: Bytes = to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| format!("the body must not be longer than {MAX_BODY} bytes"))?;
        if body.is_empty() {
            return Ok(Fields::default());
        }
        if self.is_form() {
            return Fields::from_form(&body);
        }
        if !self.content_type().is_some_and(is_json) {
            return Err(
                "`Content-Type` must be application/json or application/x-www-form-urlencoded"
                    .to_owned(),
            );
        }
        Json::from_bytes(&body)
            .map(|Json(fields)| fields)
            .map_err(|problem| named(&problem.body_text()))
    }

    fn content_type(&self) -> Option<&str> {
        self.parts.headers.get(CONTENT_TYPE)?.to_str().ok()
    }

    fn is_form(&self) -> bool {
        self.content_type().is_some_and(|content_type| {
            essence(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
    }

    fn now(&self, impersonation: &Impersonation) -> Result<time::OffsetDateTime, Rejection> {
        let now = impersonation.inner.clock.now();
        now.map_err(|error| Rejection::new(RejectionKind::Unavailable, error.to_string()))
    }

    /// JSON, or for a form 303 to where the person goes next.
    fn answer<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<(T, String), Rejection>,
    ) -> Response {
        let wants_json = accepts_json(&self.parts.headers);
        match answer {
            Ok((_, to)) if self.is_form() && !wants_json => {
                let location = HeaderValue::try_from(to);
                let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
                (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
            }
            answer => self.plain(impersonation, answer.map(|(answer, _)| answer)),
        }
    }

    fn plain<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<T, Rejection>,
    ) -> Response {
        match answer {
            Ok(answer) => Json(answer).into_response(),
            Err(rejection) => impersonation
                .inner
                .respond(rejection, &self.parts)
                .map(Body::from),
        }
    }
}

// === what goes around them ===

#[expect(clippy::needless_pass_by_value, reason = "what `CsrfLayer` calls")]
fn cross_site(error: ProtectionError) -> Response {
    let rejection = Rejection::new(RejectionKind::CrossSite, error.to_string());
    rejection.into_response()
}

async fn uncached(mut response: Response) -> Response {
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type).to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("json") && !accept.contains("text/html"))
}

/// The part of an extractor's message that names the field.
fn named(message: &str) -> String {
    let said = message.split_once(": ").map_or(message, |(_, said)| said);
    said.to_owned()
}
