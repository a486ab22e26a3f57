//! The HTTP API (feature `control`): start, stop, current, change, list, search, the trail, live.
//!
//! [`Impersonation::control`] is an `axum::Router` and so a tower service that any server can mount.
//! Paths are relative to where that is; tell it to [`Builder::control_path`](crate::Builder::control_path), so that the API is
//! never acted itself.
//!
//! | call | body | success |
//! | --- | --- | --- |
//! | `POST /`, `POST /start` | `target_user_id` (or `email`, or `public_id`), `reason`, `access?`, `ticket?`, `duration?`, `next?` | the started session, with tokens where [`Builder::tokens`](crate::Builder) is set |
//! | `POST /anon`, `POST /service` | `reason`, `access?`, `ticket?`, `duration?`, `next?` | the same, `target_user: null` |
//! | `DELETE /`, `POST /end` | `session_id?`: one of one's own, else all of them | `{success, message}` |
//! | `GET /` | – | `{session, target_user}`, both null when there is none |
//! | `PATCH /` | `reason`, `access?`, `duration?` | `{session}`: the newest active one, changed |
//! | `GET /sessions` | query: `limit` (1 to 500, default 50), `offset` or `cursor`, `admin_user_id`, `target_user_id`, `impersonation_type`, `is_active`, `from`, `to` | `{sessions, total, next_cursor}`, newest first |
//! | `DELETE /sessions/{id}` | – | `{success, message}` |
//! | `GET /users` | query: `q`, `limit`, `offset` | `{users, next_offset}`: those whom this actor may act as |
//! | `GET /audit` | query: `limit`, `offset` or `cursor`, `admin_user_id`, `target_user_id`, `impersonation_type`, `session_id`, `name`, `from`, `to` | `{events, total, next_cursor}`, newest first |
//! | `GET /audit.csv` | the same | the same as CSV, all of it unless there is a `limit` |
//! | `GET /events` | – | server-sent events `started`, `updated`, `ended` with the session, and `lost`: look again |
//! | `POST /token` | `refresh_token` | `{access_token, refresh_token, token_type, expires_in}` |
//! | `GET /openapi.json` | – | all of this as an OpenAPI 3.1 document |
//!
//! With feature `page`, `GET /page.css` and `GET /page.js` are what acted pages load.
//!
//! 1. Bodies are JSON or forms. Where a person goes on from there, a form is answered with 303, as a browser
//!    expects; unless it accepts JSON. So is a stop that finds nothing left to end: Exit always leads out.
//! 2. `access` is `read_only` (default) or `read_write`; `duration` is in seconds; times are RFC 3339.
//! 3. Unknown fields are refused, and every refusal of a body names the field. An empty body has no type: what
//!    `Content-Type` says of it is ignored.
//! 4. Calls that change something are refused when another site makes a browser send them (the scheme of
//!    `tower_http::csrf`). Nothing is ever changed by `GET`.
//! 5. The answer to an end has `Referrer-Policy: no-referrer`, so that the next page is nobody's but one's own. A form
//!    that finds nothing to end is led out all the same.
//! 6. `next` is a path on this host; anything else is ignored.
//! 7. Refusals have the body of [`Rejection`], also for what is not there (404) and for methods that
//!    are not (405).
//! 8. One's own sessions and events need no right. Those of others need
//!    [`Rights`](crate::Rights)`::LIST_SESSIONS`, `END_SESSIONS` and `READ_TRAIL`.
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

use std::sync::Arc;

use axum::{
    Json, Router,
    body::{Body, Bytes, to_bytes},
    extract::{OriginalUri, Path, Query, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{
        ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
        SET_COOKIE,
    },
    request::Parts,
};
use serde::{Serialize, de::DeserializeOwned};
use tower_http::csrf::{CsrfLayer, ProtectionError};
use uuid::Uuid;

pub(crate) use self::live::News;
use self::wire::{
    ChangeFields, Current, Ended, EventsPage, Fields, ListQuery, NoUserFields, OneSession,
    SessionsPage, StartAnswer, StopFields, TokenAnswer, TokenFields, TrailQuery, UsersPage,
    UsersQuery,
};
use crate::{
    audit::{TrailFilter, TrailPage},
    credentials::Credentials,
    identity::Subject,
    impersonation::{Impersonation, SessionWithUser},
    rejection::{Rejection, RejectionKind},
    session::{Session, SessionId},
    vet::Refusal,
};

mod bodies;
mod export;
mod live;
mod openapi;
mod redirect;
mod stream;
mod wire;

/// The most bytes in a body.
pub(crate) const MAX_BODY: usize = 64 * 1024;

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
        let document = openapi::document(self.inner.control_path.as_deref());
        let document = move || {
            let document = document.clone();
            async move { ([(CONTENT_TYPE, "application/json")], document) }
        };
        let router = Router::new();
        #[cfg(feature = "page")]
        let router = router.merge(crate::page::assets());
        router
            .route("/", post(start).delete(stop).get(current).patch(change))
            .route("/start", post(start_user))
            .route("/anon", post(start_anonymous))
            .route("/service", post(start_service))
            .route("/end", post(end))
            .route("/sessions", get(sessions))
            .route("/sessions/{id}", delete(revoke))
            .route("/users", get(users))
            .route("/audit", get(audit))
            .route("/audit.csv", get(audit_csv))
            .route("/events", get(events))
            .route("/token", post(token))
            .route("/openapi.json", get(document))
            .fallback(elsewhere)
            .layer(CsrfLayer::new())
            .layer(middleware::from_fn_with_state(self.clone(), around))
            .with_state(self.clone())
    }
}

// === the calls ===

/// Start to act as a user.
#[utoipa::path(
    post, path = "/",
    request_body(content((Fields = "application/json"), (Fields = "application/x-www-form-urlencoded"))),
    responses(
        (status = 200, description = "Started", body = StartAnswer),
        (status = 303, description = "Started, for a form", headers(("location" = String))),
    )
)]
async fn start(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn start_user(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn start_anonymous(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn start_service(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn stop(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn end(State(impersonation): State<Impersonation>, request: Request) -> Response {
    end_own(&impersonation, request).await
}

async fn end_own(impersonation: &Impersonation, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.stop(impersonation, body).await;
    let mut response = call.answer(impersonation, answer);
    // Whatever there was to end: this browser wants to be its own again.
    add_cookies(&mut response, impersonation.inner.cleared_cookies());
    // The page that this comes from has the marker, and the next one must not be taken for one of its links.
    let no_referrer = HeaderValue::from_static("no-referrer");
    response.headers_mut().insert(REFERRER_POLICY, no_referrer);
    response
}

/// One's own newest active session.
#[utoipa::path(get, path = "/", responses((status = 200, description = "Both null when there is none", body = Current)))]
async fn current(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let current = impersonation.current(&call.parts).await;
    let answer = current.and_then(|current| Current::new(current, call.now(&impersonation)?));
    call.plain(&impersonation, answer)
}

/// Raise the access of one's own newest active session, or move its end.
#[utoipa::path(
    patch, path = "/",
    request_body(content((ChangeFields = "application/json"), (ChangeFields = "application/x-www-form-urlencoded"))),
    responses((status = 200, description = "Changed", body = OneSession))
)]
async fn change(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.change(&impersonation, body).await;
    call.answer_with(&impersonation, answer)
}

/// Sessions, newest first: one's own, or with a right any.
#[utoipa::path(get, path = "/sessions", params(ListQuery), responses((status = 200, description = "A page", body = SessionsPage)))]
async fn sessions(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.sessions(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// End someone's session. One's own needs no right.
#[utoipa::path(
    delete, path = "/sessions/{id}", params(("id" = Uuid, Path, description = "The session's id")),
    responses((status = 200, description = "Ended", body = Ended))
)]
async fn revoke(
    State(impersonation): State<Impersonation>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.revoke(&impersonation, &id).await;
    call.plain(&impersonation, answer)
}

/// Users whom one may act as.
#[utoipa::path(get, path = "/users", params(UsersQuery), responses((status = 200, description = "A page", body = UsersPage)))]
async fn users(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.users(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// The trail, newest first: one's own events, or with a right anyone's. Reading it is an event.
#[utoipa::path(get, path = "/audit", params(TrailQuery), responses((status = 200, description = "A page", body = EventsPage)))]
async fn audit(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, _) = Call::of(request);
    let answer = call.audit(&impersonation).await;
    call.plain(&impersonation, answer)
}

/// The same as CSV, for spreadsheets: cells that one would take for formulas begin with an apostrophe.
#[utoipa::path(
    get, path = "/audit.csv", params(TrailQuery),
    responses((status = 200, description = "Everything that matches", body = String, content_type = "text/csv"))
)]
async fn audit_csv(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn events(State(impersonation): State<Impersonation>, request: Request) -> Response {
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
async fn token(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (call, body) = Call::of(request);
    let answer = call.token(&impersonation, body).await;
    call.plain(&impersonation, answer)
}

/// What is not there; of our own, so that the router that we are nested in does not answer with its own.
async fn elsewhere() -> StatusCode {
    StatusCode::NOT_FOUND
}

// === impl Call ===

/// One call: what came, without the body.
pub(crate) struct Call {
    pub(crate) parts: Parts,
}

/// A start that was carried through.
pub(crate) struct Begun {
    started: SessionWithUser,
    credentials: Credentials,
    /// Where a browser goes then, with the marker.
    pub(crate) landing: String,
}

impl Begun {
    pub(crate) fn take_cookies(&mut self) -> Cookies {
        std::mem::take(&mut self.credentials.cookies)
    }
}

impl Call {
    pub(crate) fn of(request: Request) -> (Self, Body) {
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
    ) -> Result<(StartAnswer, String, Cookies), Rejection> {
        let mut begun = self.begin(impersonation, body, subject).await?;
        let cookies = begun.take_cookies();
        let now = self.now(impersonation)?;
        let (started, credentials) = (&begun.started, &begun.credentials);
        let answer = StartAnswer::new(started, credentials, now, begun.landing.clone());
        Ok((answer, begun.landing, cookies))
    }

    /// The start that the body asks for, as `subject` or as whom it names.
    pub(crate) async fn begin(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<Begun, Rejection> {
        let inner = &impersonation.inner;
        let fields = match subject {
            Some(_) => self.fields::<NoUserFields>(body).await.map(Fields::from),
            None => self.fields::<Fields>(body).await,
        };
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
        let credentials = impersonation.hand_out(&started).await?;
        let landing = next.as_deref().and_then(redirect::local);
        let landing = landing.unwrap_or(&inner.after_start);
        let landing = inner.sources.with_marker(landing, &started.session.subject);
        Ok(Begun {
            started,
            credentials,
            landing,
        })
    }

    async fn stop(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<(Ended, String, Cookies), Rejection> {
        let fields = self.fields::<StopFields>(body).await;
        let session = fields.and_then(StopFields::session);
        let ended = match session.map_err(Rejection::invalid)? {
            Some(id) => impersonation.stop_one(&self.parts, id).await.map(drop),
            None => impersonation.stop(&self.parts).await.map(drop),
        };
        match ended {
            // The page is older than the end of its session. Whoever wants to get out of it gets out.
            Err(rejection)
                if rejection.kind() == RejectionKind::NothingToEnd && self.wants_page() => {}
            ended => ended?,
        }
        let to = impersonation.inner.after_stop.clone();
        Ok((Ended::default(), to, Cookies::new()))
    }

    async fn change(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<(OneSession, Cookies), Rejection> {
        let (changed, cookies) = self.alter(impersonation, body, None).await?;
        Ok((OneSession::new(&changed, self.now(impersonation)?), cookies))
    }

    /// The change that the body asks for: of one's session for `subject`, or of the newest one.
    pub(crate) async fn alter(
        &self,
        impersonation: &Impersonation,
        body: Body,
        subject: Option<Subject>,
    ) -> Result<(Arc<Session>, Cookies), Rejection> {
        let inner = &impersonation.inner;
        let refused = |refusal| inner.refused(&self.parts, None, refusal);
        let actor = inner.unacted_actor(&self.parts).await.map_err(refused)?;
        let asked = self
            .fields::<ChangeFields>(body)
            .await
            .and_then(ChangeFields::into_change);
        let asked = asked.map_err(|problem| refused(Refusal::invalid(problem).by(actor.id())))?;
        let subject = match subject {
            Some(subject) => subject,
            None => match impersonation.current(&self.parts).await? {
                Some(SessionWithUser { session, .. }) => session.subject.clone(),
                None => {
                    let nothing = Refusal::of(RejectionKind::NothingToEnd, "no active session");
                    return Err(refused(nothing.by(actor.id())));
                }
            },
        };
        let changed = impersonation.change(&self.parts, &subject, asked).await?;
        #[cfg(feature = "jwt")]
        let cookies = match inner.tokens {
            // It may live longer now.
            Some(_) => inner
                .session_cookie(&changed)
                .map_err(|refusal| refusal.rejection)?,
            None => None,
        };
        #[cfg(not(feature = "jwt"))]
        let cookies = None;
        Ok((changed, cookies.into_iter().collect()))
    }

    async fn revoke(&self, impersonation: &Impersonation, id: &str) -> Result<Ended, Rejection> {
        // What is no id is the id of nothing: whoever asks learns no more than for any other.
        let id = SessionId(id.parse().unwrap_or(Uuid::nil()));
        impersonation.revoke(&self.parts, id).await?;
        Ok(Ended::default())
    }

    async fn users(&self, impersonation: &Impersonation) -> Result<UsersPage, Rejection> {
        let (text, limit, offset) = self
            .query::<UsersQuery>()?
            .into_search()
            .map_err(Rejection::invalid)?;
        let people = impersonation
            .people(&self.parts, &text, limit, offset)
            .await?;
        Ok(UsersPage::new(&people))
    }

    async fn audit(&self, impersonation: &Impersonation) -> Result<EventsPage, Rejection> {
        let (filter, page, _) = self
            .query::<TrailQuery>()?
            .into_filter()
            .map_err(Rejection::invalid)?;
        let list = impersonation.read_trail(&self.parts, filter, page).await?;
        Ok(EventsPage::new(list))
    }

    async fn audit_csv(&self, impersonation: &Impersonation) -> Result<Response, Rejection> {
        let (filter, page, most) = self
            .query::<TrailQuery>()?
            .into_filter()
            .map_err(Rejection::invalid)?;
        self.csv(impersonation, filter, page, most).await
    }

    /// The trail as CSV: `most` events, or all that match.
    pub(crate) async fn csv(
        &self,
        impersonation: &Impersonation,
        filter: TrailFilter,
        page: TrailPage,
        most: Option<usize>,
    ) -> Result<Response, Rejection> {
        let headers = [
            (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
            (CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
        ];
        let reading = impersonation.open_trail(&self.parts, filter).await?;
        // The first part before the answer begins, so that what fails at once is refused and not cut off.
        let (first, rest) = export::first(&reading, page, most).await?;
        if rest.is_none() {
            return Ok((headers, Body::from(first)).into_response());
        }
        let (writer, body) = stream::streamed();
        tokio::spawn(async move {
            if writer.send(Ok(first.into())).await.is_ok() {
                export::rest(reading, rest, writer).await;
            }
        });
        Ok((headers, body).into_response())
    }

    /// What happens to sessions, for as long as someone listens.
    pub(crate) async fn live(&self, impersonation: &Impersonation) -> Result<Response, Rejection> {
        let inner = &impersonation.inner;
        // Before anyone is asked anything, so that nothing is missed meanwhile.
        let changes = inner.news.subscribe();
        let actor = inner.unacted_actor(&self.parts).await;
        actor.map_err(|refusal| inner.refused(&self.parts, None, refusal))?;
        let (writer, body) = stream::streamed();
        let parts = self.parts.clone();
        tokio::spawn(live::stream(impersonation.clone(), parts, changes, writer));
        Ok(([(CONTENT_TYPE, "text/event-stream")], body).into_response())
    }

    #[cfg(feature = "jwt")]
    async fn token(
        &self,
        impersonation: &Impersonation,
        body: Body,
    ) -> Result<TokenAnswer, Rejection> {
        let Some(tokens) = impersonation.tokens() else {
            return Err(Rejection::new(RejectionKind::NotFound, "no tokens are set"));
        };
        let fields = self.fields::<TokenFields>(body).await;
        let token = fields
            .and_then(TokenFields::into_token)
            .map_err(Rejection::invalid)?;
        Ok(TokenAnswer::new(tokens.refresh(&self.parts, &token).await?))
    }

    #[cfg(not(feature = "jwt"))]
    async fn token(&self, _: &Impersonation, _: Body) -> Result<TokenAnswer, Rejection> {
        Err(Rejection::new(
            RejectionKind::NotFound,
            "the feature `jwt` is off",
        ))
    }

    fn query<Q: DeserializeOwned>(&self) -> Result<Q, Rejection> {
        let query = Query::try_from_uri(&self.parts.uri);
        let named = |message: String| Rejection::invalid(named(&message));
        query
            .map(|Query(query)| query)
            .map_err(|problem| named(problem.body_text()))
    }

    async fn sessions(&self, impersonation: &Impersonation) -> Result<SessionsPage, Rejection> {
        let (filter, page) = self
            .query::<ListQuery>()?
            .into_filter()
            .map_err(Rejection::invalid)?;
        let list = impersonation.list(&self.parts, filter, page).await?;
        Ok(SessionsPage::new(&list, self.now(impersonation)?))
    }

    /// The fields of the body, whichever form they come in.
    async fn fields<T: DeserializeOwned + Default>(&self, body: Body) -> Result<T, String> {
        let body: Bytes = to_bytes(body, MAX_BODY)
            .await
            .map_err(|_| format!("the body must not be longer than {MAX_BODY} bytes"))?;
        if body.is_empty() {
            return Ok(T::default());
        }
        if self.is_form() {
            let fields = wire::form_fields(&body)?;
            return serde_json::from_value(fields).map_err(|problem| named(&problem.to_string()));
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

    /// A person with a browser sent a form, and goes on from there.
    fn wants_page(&self) -> bool {
        self.is_form() && !accepts_json(&self.parts.headers)
    }

    pub(crate) fn now(
        &self,
        impersonation: &Impersonation,
    ) -> Result<time::OffsetDateTime, Rejection> {
        let now = impersonation.inner.clock.now();
        now.map_err(|error| Rejection::new(RejectionKind::Unavailable, error.to_string()))
    }

    /// JSON, or for a form 303 to where the person goes next.
    fn answer<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<(T, String, Cookies), Rejection>,
    ) -> Response {
        let (answer, to, cookies) = match answer {
            Ok(answer) => answer,
            Err(rejection) => return self.refuse(impersonation, rejection),
        };
        let mut response = if self.wants_page() {
            let location = HeaderValue::try_from(to);
            let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
            (StatusCode::SEE_OTHER, [(LOCATION, location)]).into_response()
        } else {
            Json(answer).into_response()
        };
        add_cookies(&mut response, cookies);
        response
    }

    fn answer_with<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<(T, Cookies), Rejection>,
    ) -> Response {
        let (answer, cookies) = match answer {
            Ok((answer, cookies)) => (Ok(answer), cookies),
            Err(rejection) => (Err(rejection), Cookies::new()),
        };
        let mut response = self.plain(impersonation, answer);
        add_cookies(&mut response, cookies);
        response
    }

    fn plain<T: Serialize>(
        &self,
        impersonation: &Impersonation,
        answer: Result<T, Rejection>,
    ) -> Response {
        match answer {
            Ok(answer) => Json(answer).into_response(),
            Err(rejection) => self.refuse(impersonation, rejection),
        }
    }

    fn refuse(&self, impersonation: &Impersonation, rejection: Rejection) -> Response {
        let response = impersonation.inner.respond(rejection, &self.parts);
        response.map(Body::from)
    }
}

// === what goes around them ===

pub(crate) type Cookies = Vec<HeaderValue>;

pub(crate) fn add_cookies(response: &mut Response, cookies: Cookies) {
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
}

/// Nothing is kept that does not say so itself, and whatever is refused, by whomever, is refused in the form that the client reads.
async fn around(
    State(impersonation): State<Impersonation>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    let (call, _) = Call::of(Request::from_parts(parts.clone(), Body::empty()));
    let mut response = next.run(Request::from_parts(parts, body)).await;
    if response.extensions().get::<Rejection>().is_none() {
        let inner = &impersonation.inner;
        let refused = |refusal| inner.refused(&call.parts, None, refusal);
        let cross_site = response.extensions().get::<ProtectionError>();
        let rejection = match (cross_site, response.status()) {
            (Some(error), _) => Some(refused(Refusal::of(
                RejectionKind::CrossSite,
                error.to_string(),
            ))),
            (None, StatusCode::NOT_FOUND) => {
                Some(Rejection::new(RejectionKind::NotFound, "no such path"))
            }
            (None, StatusCode::METHOD_NOT_ALLOWED) => Some(Rejection::new(
                RejectionKind::MethodNotAllowed,
                "not by this method",
            )),
            (None, _) => None,
        };
        if let Some(rejection) = rejection {
            let allow = response.headers_mut().remove(ALLOW);
            response = call.refuse(&impersonation, rejection);
            if let Some(allow) = allow {
                response.headers_mut().insert(ALLOW, allow);
            }
        }
    }
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .entry(CACHE_CONTROL)
        .or_insert(no_store);
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

/// The query of `GET /sessions`, wherever it comes from.
#[cfg(feature = "console")]
pub(crate) fn session_filter(
    query: serde_json::Value,
) -> Result<(crate::session::SessionFilter, crate::session::Page), String> {
    let query: Result<ListQuery, _> = serde_json::from_value(query);
    query
        .map_err(|problem| named(&problem.to_string()))?
        .into_filter()
}

/// The query of `GET /audit`, wherever it comes from.
#[cfg(feature = "console")]
pub(crate) fn trail_filter(query: serde_json::Value) -> Result<(TrailFilter, TrailPage), String> {
    let query: Result<TrailQuery, _> = serde_json::from_value(query);
    let (filter, page, _) = query
        .map_err(|problem| named(&problem.to_string()))?
        .into_filter()?;
    Ok((filter, page))
}

/// The part of an extractor's message that names the field.
fn named(message: &str) -> String {
    let said = message.split_once(": ").map_or(message, |(_, said)| said);
    wire::printable(said)
}
