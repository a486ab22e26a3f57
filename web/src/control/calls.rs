//! The calls one by one, each with its description in the OpenAPI document.

use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use http::{HeaderValue, header::REFERRER_POLICY};
use tower_impersonation::{Impersonation, Subject, session::SessionId};

use super::{
    answer::add_cookies,
    call::Call,
    wire::{
        ChangeFields, Current, Ended, EventsPage, Fields, NoUserFields, OneSession, SessionQuery,
        SessionsPage, StartAnswer, StopFields, TokenAnswer, TokenFields, TrailQuery, UsersPage,
        UsersQuery,
    },
};

/// Start to act as a user.
#[utoipa::path(
    post, path = "/",
    request_body(content((Fields = "application/json"), (Fields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Started", body = StartAnswer),
        (status = 303, description = "Started, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn start(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    start_as(&impersonation, request, None).await
}

/// Start to act as a user.
#[utoipa::path(
    post, path = "/start",
    request_body(content((Fields = "application/json"), (Fields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Started", body = StartAnswer),
        (status = 303, description = "Started, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn start_user(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    start_as(&impersonation, request, None).await
}

/// Start to act as the anonymous visitor. The fields that name a user have no place here.
#[utoipa::path(
    post, path = "/anon",
    request_body(content((NoUserFields = "application/json"), (NoUserFields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Started", body = StartAnswer),
        (status = 303, description = "Started, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn start_anonymous(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    start_as(&impersonation, request, Some(Subject::Anonymous)).await
}

/// Start to act as the service role, which needs a right of its own. The fields that name a user have no place here.
#[utoipa::path(
    post, path = "/service",
    request_body(content((NoUserFields = "application/json"), (NoUserFields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Started", body = StartAnswer),
        (status = 303, description = "Started, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn start_service(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    start_as(&impersonation, request, Some(Subject::Service)).await
}

async fn start_as(
    impersonation: &Impersonation,
    request: Request,
    subject: Option<Subject>,
) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.start(impersonation, body, subject).await;
    call.answer(impersonation, answer)
}

/// End one's own sessions, or one of them.
#[utoipa::path(
    delete, path = "/",
    request_body(content((StopFields = "application/json"), (StopFields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Ended", body = Ended),
        (status = 303, description = "Ended, or nothing left to end, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn stop(State(impersonation): State<Impersonation>, request: Request) -> Response {
    end_own(&impersonation, request).await
}

/// End one's own sessions, or one of them.
#[utoipa::path(
    post, path = "/end",
    request_body(content((StopFields = "application/json"), (StopFields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Ended", body = Ended),
        (status = 303, description = "Ended, or nothing left to end, for a form", headers(("location" = String))),
    )
)]
pub(super) async fn end(State(impersonation): State<Impersonation>, request: Request) -> Response {
    end_own(&impersonation, request).await
}

async fn end_own(impersonation: &Impersonation, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.stop(impersonation, body).await;
    let mut response = call.answer(impersonation, answer);
    // Whatever there was to end: this browser wants to be its own again.
    add_cookies(&mut response, impersonation.cleared_cookies());
    // The page that this comes from has the marker, and the next one must not be taken for one of its links.
    let no_referrer = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(REFERRER_POLICY, no_referrer);
    response
}

/// One's own newest active session.
#[utoipa::path(get, path = "/", responses((status = 200, description = "Both null when there is none", body = Current)))]
pub(super) async fn current(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let current = impersonation.current(&call.parts).await;
    let answer = current.and_then(|current| Ok(Current::new(current, impersonation.now()?)));
    call.plain(&impersonation, answer)
}

/// Raise the access of one's own newest active session, or move its end.
#[utoipa::path(
    patch, path = "/",
    request_body(content((ChangeFields = "application/json"), (ChangeFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "Changed", body = OneSession))
)]
pub(super) async fn change(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, body) = Call::of(request);
    let (answer, cookies) = match call.change(&impersonation, body).await {
        Ok((changed, cookies)) => (Ok(changed), cookies),
        Err(rejection) => (Err(rejection), Vec::new()),
    };
    let mut response = call.plain(&impersonation, answer);
    add_cookies(&mut response, cookies);
    response
}

/// Sessions, newest first: one's own, or with a right any.
#[utoipa::path(get, path = "/sessions", params(SessionQuery), responses((status = 200, description = "A page", body = SessionsPage)))]
pub(super) async fn sessions(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.sessions(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// End someone's session. One's own needs no right.
#[utoipa::path(
    delete, path = "/sessions/{id}", params(("id" = Uuid, Path, description = "The session's id")),
    responses((status = 200, description = "Ended", body = Ended))
)]
pub(super) async fn revoke(
    State(impersonation): State<Impersonation>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    // What is no id is the id of nothing: callers learn no more than for any other.
    let id = SessionId(id.parse().unwrap_or_default());
    let answer = impersonation.revoke(&call.parts, id).await;
    let answer = answer.map(|stopped| Ended::new(stopped.is_stored));
    call.plain(&impersonation, answer)
}

/// Users whom one may act as.
#[utoipa::path(get, path = "/users", params(UsersQuery), responses((status = 200, description = "A page", body = UsersPage)))]
pub(super) async fn users(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.users(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// The trail, newest first: one's own events, or with a right anyone's. Reading it is an event.
#[utoipa::path(get, path = "/audit", params(TrailQuery), responses((status = 200, description = "A page", body = EventsPage)))]
pub(super) async fn audit(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.audit(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// The same as CSV, for spreadsheets: cells that one would take for formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/audit.csv", params(TrailQuery),
    responses((status = 200, description = "Everything that matches", body = String, content_type = "text/csv"))
)]
pub(super) async fn audit_csv(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.audit_csv(&impersonation).await;
    answer.unwrap_or_else(|rejection| call.refuse(&impersonation, rejection))
}

/// Sessions starting, changing and ending, as they do: one's own, or with a right anyone's.
#[utoipa::path(
    get, path = "/events",
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "Events `started`, `updated` and `ended` with a session as data, and `lost`: some were missed"
    ))
)]
pub(super) async fn events(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.live(&impersonation).await;
    answer.unwrap_or_else(|rejection| call.refuse(&impersonation, rejection))
}

/// A new access token, for a refresh token whose session lives. Needs no other login.
#[utoipa::path(
    post, path = "/token",
    request_body(content((TokenFields = "application/json"), (TokenFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "Refreshed", body = TokenAnswer))
)]
pub(super) async fn token(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.token(&impersonation, body).await;
    call.plain(&impersonation, answer)
}
