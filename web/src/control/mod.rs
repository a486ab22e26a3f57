//! The HTTP API (feature `control`): start, stop, current, change, list, search, the trail, live.
//!
//! [`control()`] makes an `axum::Router` and so a tower service that any server can mount.
//! Paths are relative to its mount, which [`Builder::control_path`] has to know: the API itself is never acted.
//!
//! | call | body | success |
//! | --- | --- | --- |
//! | `POST /`, `POST /start` | `target_user_id` (or `email`, or `public_id`), `reason`, `access?`, `ticket?`, `duration?`, `next?` | the started session, with tokens where `Builder::tokens` is set |
//! | `POST /anon`, `POST /service` | `reason`, `access?`, `ticket?`, `duration?`, `next?` | the same, `target_user: null` |
//! | `DELETE /`, `POST /end` | `session_id?`: this one of the caller's own sessions, else all of them | `{success, message, stored}` |
//! | `GET /` | – | `{session, target_user}`, both null when there is none |
//! | `PATCH /` | `reason`, `access?`, `duration?` | `{session}`: the newest active one, changed |
//! | `GET /sessions` | query: `limit` (1 to 500, default 50), `offset` or `cursor`, `admin_user_id`, `target_user_id`, `impersonation_type`, `is_active`, `from`, `to` | `{sessions, total, next_cursor}`, newest first |
//! | `DELETE /sessions/{id}` | – | `{success, message, stored}` |
//! | `GET /users` | query: `q`, `limit`, `offset` | `{users, next_offset}`: users as whom this actor may act |
//! | `GET /audit` | query: `limit`, `offset` or `cursor`, `admin_user_id`, `target_user_id`, `impersonation_type`, `session_id`, `name`, `from`, `to` | `{events, total, next_cursor}`, newest first |
//! | `GET /audit.csv` | the same | the same as CSV, all of it unless there is a `limit` |
//! | `GET /events` | – | server-sent events `started`, `updated`, `ended` with the session, and `lost`: look again |
//! | `POST /token` | `refresh_token` | `{access_token, refresh_token, token_type, expires_in}` |
//! | `GET /openapi.json` | – | all of this as an OpenAPI 3.1 document |
//!
//! With feature `page`, `GET /page.css` and `GET /page.js` are what acted pages load.
//!
//! 1. Bodies are JSON or forms. A form that a person sends is answered with 303, as a browser expects, unless it
//!    accepts JSON. So is a stop that finds nothing left to end: Exit always leads out.
//! 2. `access` is `read_only` (default) or `read_write`; `duration` is in seconds; times are RFC 3339.
//! 3. Unknown fields are refused, and every refusal of a body names the field. An empty body has no type: what
//!    `Content-Type` says of it is ignored.
//! 4. Calls that change something are refused when another site makes a browser send them (the scheme of
//!    `tower_http::csrf`). Nothing is ever changed by `GET`.
//! 5. The answer to an end has `Referrer-Policy: no-referrer`, so that the next page is the person's own. An end
//!    that is not stored yet says `"stored": false`: the process that was asked refuses the session already and
//!    retries.
//! 6. `next` is a path on this host; anything else is ignored.
//! 7. Refusals have the body of [`Rejection`], also for unknown paths (404) and methods (405).
//! 8. Callers need no right to their own sessions and events. Those of others need
//!    [`Rights`](tower_impersonation::Rights)`::LIST_SESSIONS`, `END_SESSIONS` and `READ_TRAIL`.
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::Impersonation;
//! use tower_impersonation_web::control;
//!
//! fn app(impersonation: &Impersonation, pages: Router) -> Router {
//!     pages
//!         .nest("/impersonation", control(impersonation))
//!         .layer(impersonation.layer())
//! }
//! ```

//!
//! [`Builder::control_path`]: tower_impersonation::Builder::control_path
//! [`Rejection`]: tower_impersonation::Rejection

mod answer;
mod bodies;
mod call;
mod calls;
mod export;
mod live;
mod openapi;
mod redirect;
mod sessions;
mod stream;
mod trail;
mod wire;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{delete, get, post},
};
use http::{
    HeaderValue, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE},
};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use tower_impersonation::{Impersonation, Rejection, RejectionKind};

pub(crate) use self::call::Call;
#[cfg(feature = "console")]
pub(crate) use self::{
    answer::add_cookies,
    call::MAX_BODY,
    trail::csv,
    wire::{ReadQuery, SessionQuery, TrailQuery},
};

/// The HTTP API, for any mount; see [the module](mod@crate::control).
///
/// It fits into a router with any state.
///
/// ```
/// use axum::Router;
/// use tower_impersonation_web::control;
///
/// # fn example(impersonation: &tower_impersonation::Impersonation) {
/// let app: Router = Router::new().nest("/impersonation", control(impersonation));
/// # }
/// ```
pub fn control<S>(impersonation: &Impersonation) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let document = openapi::document(impersonation.places().control());
    let document = move || {
        let document = document.clone();
        async move { ([(CONTENT_TYPE, "application/json")], document) }
    };
    let router = Router::new();
    #[cfg(feature = "page")]
    let router = router.merge(crate::page::assets());
    router
        .route(
            "/",
            post(calls::start)
                .delete(calls::stop)
                .get(calls::current)
                .patch(calls::change),
        )
        .route("/start", post(calls::start_user))
        .route("/anon", post(calls::start_anonymous))
        .route("/service", post(calls::start_service))
        .route("/end", post(calls::end))
        .route("/sessions", get(calls::sessions))
        .route("/sessions/{id}", delete(calls::revoke))
        .route("/users", get(calls::users))
        .route("/audit", get(calls::audit))
        .route("/audit.csv", get(calls::audit_csv))
        .route("/events", get(calls::events))
        .route("/token", post(calls::token))
        .route("/openapi.json", get(document))
        .fallback(elsewhere)
        .layer(CsrfLayer::new())
        .layer(middleware::from_fn_with_state(
            impersonation.clone(),
            around,
        ))
        .with_state(impersonation.clone())
}

/// Answers for what is not there, in place of the router that this one is nested in.
async fn elsewhere() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Nothing is kept that does not say so itself, and every refusal, by whomever, has the form that the client reads.
async fn around(
    State(impersonation): State<Impersonation>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let (call, _) = Call::of(Request::from_parts(parts.clone(), Body::empty()));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if response.extensions().get::<Rejection>().is_none()
        && let Some((kind, reason)) = refused_by_others(&response)
    {
        let rejection = refused(&impersonation, &call, kind, reason).await;
        let allow = response.headers_mut().remove(ALLOW);
        response = call.refuse(&impersonation, rejection);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    let no_store = HeaderValue::from_static("no-store");
    let headers = response.headers_mut();
    headers.entry(CACHE_CONTROL).or_insert(no_store);
    response
}

/// What the router or the layer against other sites has refused, and why.
pub(crate) fn refused_by_others(response: &Response) -> Option<(RejectionKind, String)> {
    if let Some(error) = response.extensions().get::<ProtectionError>() {
        return Some((RejectionKind::CrossSite, error.to_string()));
    }
    match response.status() {
        StatusCode::NOT_FOUND => Some((RejectionKind::NotFound, "no such path".to_owned())),
        StatusCode::METHOD_NOT_ALLOWED => Some((
            RejectionKind::MethodNotAllowed,
            "not by this method".to_owned(),
        )),
        _ => None,
    }
}

/// That as a refusal. What another site has sent is in the trail.
pub(crate) async fn refused(
    impersonation: &Impersonation,
    call: &Call,
    kind: RejectionKind,
    reason: String,
) -> Rejection {
    match kind {
        RejectionKind::CrossSite => impersonation.refuse(&call.parts, None, kind, reason).await,
        _ => Rejection::new(kind, reason),
    }
}
