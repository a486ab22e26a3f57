//! One visit of one page: who came, where the console is, and what all its pages share.

use std::{collections::HashMap, sync::Arc};

use askama::Template;
use axum::{
    body::Body,
    extract::{OriginalUri, Request},
    response::Response,
};
use bytes::Bytes;
use http::{
    HeaderValue, StatusCode,
    header::{CONTENT_TYPE, LOCATION},
};
use time::OffsetDateTime;

use super::view::{Left, Person, When, encode};
use crate::{
    checker::Caller,
    control::Call,
    directory::DirectoryUser,
    guarded::join_all,
    identity::{Actor, Subject, UserId},
    impersonation::{Impersonation, not_acted},
    rejection::{Rejection, RejectionKind},
    session::Session,
    vet::Refusal,
};

/// One request for one page.
pub(super) struct Visit {
    pub(super) impersonation: Impersonation,
    pub(super) call: Call,
    /// The path that the console is mounted at, without a slash at its end.
    pub(super) base: String,
}

/// Which entry of the navigation is the current one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    People,
    Mine,
    Sessions,
    Trail,
    Summary,
}

/// What every page shows around its content.
pub(super) struct Frame {
    pub(super) base: String,
    pub(super) title: String,
    pub(super) here: Option<Here>,
    /// Who looks at it; nobody on the page of a refusal.
    pub(super) who: Option<String>,
    /// The viewer's own active sessions.
    pub(super) acting: Vec<Acting>,
    /// What has just been done.
    pub(super) done: Option<&'static str>,
    /// Out of the console.
    pub(super) leave: String,
    /// The document of the HTTP API, where that is mounted.
    pub(super) api: Option<String>,
    pub(super) now: When,
    /// Of the style sheet and of the script.
    pub(super) style: String,
    pub(super) script: String,
}

/// One line for a session that is on.
pub(super) struct Acting {
    pub(super) subject: Person,
    pub(super) left: Left,
    pub(super) open: String,
}

/// The users that a page names, as the directory knows them.
#[derive(Default)]
pub(super) struct Names(HashMap<UserId, DirectoryUser>);

/// A refusal as a page.
#[derive(Template)]
#[template(path = "problem.html", config = "src/console/askama.toml")]
struct ProblemPage {
    frame: Frame,
    status: u16,
    detail: String,
    hint: Option<&'static str>,
    is_signed_in: bool,
    /// The console has something for whoever looks.
    is_inside: bool,
    again: Option<String>,
}

// === impl Visit ===

impl Visit {
    pub(super) fn of(impersonation: Impersonation, request: Request) -> (Self, Body) {
        let base = match &impersonation.inner.console_path {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => {
                let original = request.extensions().get::<OriginalUri>();
                let original = original.map_or("", |OriginalUri(uri)| uri.path());
                mounted_at(original, request.uri().path())
            }
        };
        let (call, body) = Call::of(request);
        let visit = Self {
            impersonation,
            call,
            base,
        };
        (visit, body)
    }

    /// A page of the console.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    pub(super) fn now(&self) -> Result<OffsetDateTime, Rejection> {
        self.call.now(&self.impersonation)
    }

    pub(super) fn refused(&self, subject: Option<&Subject>, refusal: Refusal) -> Rejection {
        let inner = &self.impersonation.inner;
        inner.refused(&self.call.parts, subject, refusal)
    }

    /// The admin who looks.
    pub(super) async fn actor(&self) -> Result<Actor, Rejection> {
        let actor = self.impersonation.inner.unacted_actor(&self.call.parts);
        actor.await.map_err(|refusal| self.refused(None, refusal))
    }

    /// Whoever looks, who may have been an admin only when the session started (rule S5).
    pub(super) async fn caller(&self) -> Result<Caller, Rejection> {
        let inner = &self.impersonation.inner;
        let caller = async {
            not_acted(&self.call.parts)?;
            inner.caller(&self.call.parts).await
        };
        caller.await.map_err(|refusal| self.refused(None, refusal))
    }

    /// The active sessions of `actor`; none where no sessions are kept.
    pub(super) async fn active_of(&self, actor: &UserId) -> Result<Vec<Arc<Session>>, Rejection> {
        const MOST: usize = 100;

        let inner = &self.impersonation.inner;
        if inner.sessions.is_none() {
            return Ok(Vec::new());
        }
        let active = inner.active_of(actor, MOST).await;
        active.map_err(|refusal| refusal.rejection)
    }

    /// The directory's answer for each of these, as far as it gives any: a page is not refused because a name is
    /// missing on it. After the first failure it is not asked again, so that one that hangs costs its time only once.
    pub(super) async fn names<'i>(&self, ids: impl IntoIterator<Item = &'i UserId>) -> Names {
        const AT_ONCE: usize = 8;

        let mut names = Names::default();
        let inner = &self.impersonation.inner;
        let (Some(directory), Ok(now)) = (&inner.directory, inner.clock.now()) else {
            return names;
        };
        let mut wanted: Vec<&UserId> = ids.into_iter().collect();
        wanted.sort_unstable();
        wanted.dedup();
        for some in wanted.chunks(AT_ONCE) {
            let found = some.iter().map(|id| async move {
                match directory.recent(id, now) {
                    Some(user) => Ok(Some(user)),
                    None => {
                        let found = async { directory.directory().find(id).await };
                        inner.ask("directory", found).await
                    }
                }
            });
            let mut failed = false;
            for (id, user) in some.iter().zip(join_all(found).await) {
                match user {
                    // A directory that is lenient about ids may answer with another user.
                    Ok(user) => {
                        let user = user.filter(|user| user.id() == *id);
                        names.0.extend(user.map(|user| (user.id().clone(), user)));
                    }
                    Err(_) => failed = true,
                }
            }
            if failed {
                break;
            }
        }
        names
    }

    /// Where a session's pages begin.
    pub(super) fn open(&self, subject: &Subject) -> String {
        let inner = &self.impersonation.inner;
        inner.sources.with_marker(&inner.after_start, subject)
    }

    /// What is around a page that `actor` looks at.
    pub(super) async fn frame(
        &self,
        here: Option<Here>,
        title: impl Into<String>,
        actor: &Actor,
    ) -> Result<Frame, Rejection> {
        let now = self.now()?;
        let mut frame = self.bare(title, now);
        frame.here = here;
        frame.who = Some(actor.login().unwrap_or(actor.id().as_str()).to_owned());
        // Worth a line, not worth a refusal.
        let active = self.active_of(actor.id()).await.unwrap_or_default();
        let subjects = active
            .iter()
            .filter_map(|session| session.subject.user_id());
        let names = self.names(subjects).await;
        let acting = active.iter().map(|session| Acting {
            subject: names.subject(&session.subject),
            left: Left::of(session, now),
            open: self.open(&session.subject),
        });
        frame.acting = acting.collect();
        Ok(frame)
    }

    /// What is around a page that anyone may look at.
    pub(super) fn bare(&self, title: impl Into<String>, now: OffsetDateTime) -> Frame {
        Frame {
            base: self.base.clone(),
            title: title.into(),
            here: None,
            who: None,
            acting: Vec::new(),
            done: None,
            leave: self.leave(),
            api: self.api(),
            now: When::new(now),
            style: super::STYLE.version(),
            script: super::SCRIPT.version(),
        }
    }

    /// Where a stop leads as well, unless that is here.
    fn leave(&self) -> String {
        let to = &self.impersonation.inner.after_stop;
        let rest = to.strip_prefix(&*self.base);
        let is_here = rest.is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/' | b'?', ..]));
        if is_here { "/" } else { to }.to_owned()
    }

    fn api(&self) -> Option<String> {
        let path = self.impersonation.inner.control_path.as_deref()?;
        Some(format!("{}/openapi.json", path.trim_end_matches('/')))
    }

    /// The answer, or the page of its refusal.
    pub(super) fn answer(&self, answer: Result<Response, Rejection>) -> Response {
        answer.unwrap_or_else(|rejection| self.problem(rejection))
    }

    pub(super) fn problem(&self, rejection: Rejection) -> Response {
        let kind = rejection.kind();
        let status = kind.status();
        let now = self.now().unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let title = match kind {
            RejectionKind::Unauthenticated => "Sign in first",
            RejectionKind::NotFound => "Page not found",
            RejectionKind::Nested => "You are acting as someone here",
            _ => status.canonical_reason().unwrap_or("Refused"),
        };
        let detail = match kind {
            RejectionKind::Unauthenticated => "These pages are for admins who are signed in.",
            RejectionKind::NotFound => "There is nothing at this address.",
            RejectionKind::MethodNotAllowed => "This address does not answer to such a request.",
            RejectionKind::CrossSite => "Another site sent this form. Nothing was done.",
            _ => rejection.detail(),
        };
        let hint = match kind {
            RejectionKind::Nested => Some("Stop acting first, or open the console as yourself."),
            RejectionKind::NotAdmin => {
                Some("If you were an admin until now, your session can still be stopped.")
            }
            RejectionKind::Unavailable | RejectionKind::TrailUnavailable => {
                Some("It is safe to try again in a moment.")
            }
            _ => None,
        };
        let is_get = self.call.parts.method == http::Method::GET && status.is_server_error();
        let page = ProblemPage {
            frame: self.bare(title, now),
            status: status.as_u16(),
            detail: detail.to_owned(),
            hint,
            is_signed_in: kind != RejectionKind::Unauthenticated,
            is_inside: !matches!(
                kind,
                RejectionKind::Unauthenticated | RejectionKind::NotAdmin
            ),
            again: is_get.then(|| {
                let uri = &self.call.parts.uri;
                let target = uri.path_and_query().map_or("/", |target| target.as_str());
                format!("/{}", target.trim_start_matches(['/', '\\']))
            }),
        };
        refuse(&page, rejection)
    }

    pub(super) fn see_other(&self, to: &str) -> Response {
        let location = HeaderValue::try_from(to);
        let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(LOCATION, location);
        response
    }

    pub(super) fn start_link(&self, subject: &Subject) -> String {
        self.link(&format!(
            "/start?{}",
            encode([("subject", subject.as_str())])
        ))
    }
}

/// The path in front of what `nest` has left over.
fn mounted_at(original: &str, left: &str) -> String {
    let base = match original.strip_suffix(left) {
        Some(base) => base,
        // `/admin` was called, and `/` is what is left.
        None if left == "/" => original,
        None => "",
    };
    match base.trim_matches(['/', '\\']) {
        "" => String::new(),
        // Never `//`, which is another host; for browsers `/\` is the same.
        base => format!("/{base}"),
    }
}

/// The page, done.
pub(super) fn page(page: &impl Template) -> Response {
    rendered(page, StatusCode::OK).map(Body::from)
}

/// The page that says why not.
pub(super) fn refuse(page: &impl Template, rejection: Rejection) -> Response {
    let status = rejection.kind().status();
    rejection.seal(rendered(page, status)).map(Body::from)
}

fn rendered(page: &impl Template, status: StatusCode) -> http::Response<Bytes> {
    let (html, status) = match page.render() {
        Ok(html) => (html, status),
        Err(error) => {
            tracing::error!(target: "tower_impersonation", %error, "a page could not be written");
            let html = "<!doctype html><title>Error</title><p>This page could not be written.";
            (html.to_owned(), StatusCode::INTERNAL_SERVER_ERROR)
        }
    };
    let mut response = http::Response::new(Bytes::from(html));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

// === impl Names ===

impl Names {
    pub(super) fn knowing(user: Option<DirectoryUser>) -> Self {
        Self(
            user.into_iter()
                .map(|user| (user.id().clone(), user))
                .collect(),
        )
    }

    pub(super) fn user(&self, id: &UserId) -> Person {
        Person::user(id, self.0.get(id))
    }

    pub(super) fn subject(&self, subject: &Subject) -> Person {
        match subject.user_id() {
            Some(id) => self.user(id),
            None => Person::nobody(subject),
        }
    }
}

// === impl Frame ===

impl Frame {
    pub(super) fn is(&self, here: Here) -> bool {
        self.here == Some(here)
    }
}

#[cfg(test)]
mod tests {
    use super::mounted_at;

    #[test]
    fn the_console_finds_out_where_it_is_mounted() {
        let tests = [
            ("/admin/impersonation", "/", "/admin/impersonation"),
            ("/admin/impersonation/", "/", "/admin/impersonation"),
            (
                "/admin/impersonation/sessions",
                "/sessions",
                "/admin/impersonation",
            ),
            ("/a%2Fb/sessions/1", "/sessions/1", "/a%2Fb"),
            ("/sessions", "/sessions", ""),
            ("/", "/", ""),
            ("//evil.example/", "/", "/evil.example"),
            ("//evil.example/sessions", "/sessions", "/evil.example"),
            // For a browser the same.
            (r"/\evil.example/sessions", "/sessions", "/evil.example"),
            (r"/\/evil.example/", "/", "/evil.example"),
            ("", "/sessions", ""),
        ];
        for (original, left, base) in tests {
            assert_eq!(mounted_at(original, left), base, "{original} {left}");
        }
    }
}
