//! The admin pages (feature `console`): people, my session, sessions, trail, summary, and what happens now.
//!
//! [`console()`] makes an `axum::Router` of pages that a browser shows as they come: forms and links, one style
//! sheet, and one script that only keeps what is shown up to date. Nothing is loaded from elsewhere, and there is
//! no build step. The pages use the handle and not the HTTP API, so they work without it.
//!
//! | page | what |
//! | --- | --- |
//! | `GET /` | people as whom this admin may act: `q`, `offset` |
//! | `GET /start?subject=` | why, how far and how long; and who else acted as this user. `next` is a path on this host |
//! | `POST /start?subject=` | starts, then 303 to the marked `next` or [`Builder::after_start`] |
//! | `GET /session` | the caller's own active sessions |
//! | `POST /session/stop` | ends them, or the one that `session` names |
//! | `POST /session/change?subject=` | raises the access or moves the end, for a reason |
//! | `GET /sessions` | all sessions, with the filters of the HTTP API |
//! | `GET /sessions/{id}` | one of them with its events, and the confirmation of its end |
//! | `POST /sessions/{id}/end` | ends it |
//! | `GET /trail`, `GET /trail.csv` | the trail, with the filters of the HTTP API |
//! | `GET /summary?week=2026-W47` | each admin's starts, time, subjects, refusals and writes in a week |
//! | `GET /events` | server-sent events for the script |
//!
//! 1. Every page is for admins, except the caller's own sessions, which anyone who has one may see and stop (rule
//!    [S5](tower_impersonation::rules#s5)). Others' sessions and events need the [`Rights`] that the HTTP API asks for.
//! 2. Refusals are pages too, with the status and the [`Rejection`] of the HTTP API. A refused start comes back
//!    with everything that was typed.
//! 3. Opening the page of a start already asks the checker and the directory: a start that would be refused has no
//!    form.
//! 4. Forms that another site sends are refused (the scheme of `tower_http::csrf`). Nothing is ever changed by `GET`.
//! 5. Pages carry their own `Content-Security-Policy`, without anything inline, and no cache may keep them.
//! 6. The trail shows ids, not names: evidence must not change when someone is renamed, and a refused attempt must
//!    reveal nothing about its subject (rule [R7](tower_impersonation::rules#r7)). Elsewhere the directory's names
//!    are shown, and ids where it fails.
//! 7. Times are in UTC.
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::Impersonation;
//! use tower_impersonation_web::console;
//!
//! fn app(impersonation: &Impersonation, pages: Router) -> Router {
//!     // `Builder::console_path("/admin/impersonation")` says the same.
//!     pages
//!         .nest("/admin/impersonation", console(impersonation))
//!         .layer(impersonation.layer())
//! }
//! ```
//!
//! [`Builder::after_start`]: tower_impersonation::Builder::after_start
//! [`Rejection`]: tower_impersonation::Rejection
//! [`Rights`]: tower_impersonation::Rights

mod fields;
mod frame;
mod mine;
mod people;
mod sessions;
mod start;
mod summary;
mod trail;
mod view;
mod visit;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};
use http::{
    HeaderName, HeaderValue, StatusCode,
    header::{
        ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
};
use tower_http::csrf::CsrfLayer;
use tower_impersonation::{Impersonation, Rejection};

use self::visit::Visit;
use crate::{
    asset::Asset,
    control::{refused, refused_by_others},
};

static STYLE: Asset = Asset::style(include_str!("console.css"));
static SCRIPT: Asset = Asset::script(include_str!("console.js"));

const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// The admin pages, for any mount; see [the module](mod@crate::console).
///
/// Links lead to [`Builder::console_path`]. Where that is not set they lead to where `Router::nest` has put the pages,
/// which is right unless a proxy in front changes paths; but then the pages are not excluded from acting, and a marked
/// request for one is refused.
///
/// `Router::nest` answers the path itself; `Router::nest_service` also the path with a slash behind it.
///
/// ```
/// use axum::Router;
/// use tower_impersonation_web::console;
///
/// # fn example(impersonation: &tower_impersonation::Impersonation) {
/// let app: Router = Router::new().nest("/admin/impersonation", console(impersonation));
/// # }
/// ```
///
/// [`Builder::console_path`]: tower_impersonation::Builder::console_path
pub fn console<S>(impersonation: &Impersonation) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/", get(people::show))
        .route("/start", get(start::show).post(start::submit))
        .route("/session", get(mine::show))
        .route("/session/stop", post(mine::stop))
        .route("/session/change", post(mine::change))
        .route("/sessions", get(sessions::list))
        .route("/sessions/{id}", get(sessions::detail))
        .route("/sessions/{id}/end", post(sessions::end))
        .route("/trail", get(trail::show))
        .route("/trail.csv", get(trail::csv))
        .route("/summary", get(summary::show))
        .route("/events", get(events))
        .route("/console.css", get(|| STYLE.answer()))
        .route("/console.js", get(|| SCRIPT.answer()))
        .fallback(elsewhere)
        .layer(CsrfLayer::new())
        .layer(middleware::from_fn_with_state(
            impersonation.clone(),
            around,
        ))
        .with_state(impersonation.clone())
}

/// Sessions starting and ending, for the script.
async fn events(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.call.live(&visit.impersonation).await;
    visit.answer(answer)
}

/// Answers for what is not there, in place of the router that this one is nested in.
async fn elsewhere() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Every answer carries the same headers, and whatever is refused, by whomever, is a page of ours.
async fn around(
    State(impersonation): State<Impersonation>,
    request: Request,
    next: Next,
) -> Response {
    const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
    const RESOURCE: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

    let (parts, body) = request.into_parts();
    let (visit, _) = Visit::of(
        impersonation,
        Request::from_parts(parts.clone(), Body::empty()),
    );
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if response.extensions().get::<Rejection>().is_none()
        && let Some((kind, reason)) = refused_by_others(&response)
    {
        let rejection = refused(&visit.impersonation, &visit.call, kind, reason).await;
        let allow = response.headers_mut().remove(ALLOW);
        response = visit.problem(rejection);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    let set = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (OPENER, "same-origin"),
        (RESOURCE, "same-origin"),
    ];
    for (name, value) in set {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}
