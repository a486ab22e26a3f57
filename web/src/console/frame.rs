//! What is around the content of each page, and the page of a refusal.

use askama::Template;
use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use time::OffsetDateTime;
use tower_impersonation::{Admin, Rejection, RejectionKind};

use super::{
    view::{Left, Person, When},
    visit::Visit,
};

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
    /// What is around a page that `admin` looks at.
    pub(super) async fn frame(
        &self,
        here: Option<Here>,
        title: impl Into<String>,
        admin: &Admin<'_>,
    ) -> Result<Frame, Rejection> {
        let now = self.impersonation.now()?;
        let mut frame = self.bare(title, now);
        frame.here = here;
        let actor = admin.actor();
        frame.who = Some(actor.login().unwrap_or(actor.id().as_str()).to_owned());
        // Worth a line, not worth a refusal.
        let active = self.active_of(admin).await.unwrap_or_default();
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
        let to = self.impersonation.places().after_stop();
        let rest = to.strip_prefix(&*self.base);
        let is_here = rest.is_some_and(|rest| matches!(rest.as_bytes(), [] | [b'/' | b'?', ..]));
        if is_here { "/" } else { to }.to_owned()
    }

    fn api(&self) -> Option<String> {
        let mount = self.impersonation.places().control()?;
        Some(format!("{mount}/openapi.json"))
    }

    /// The answer, or the page of its refusal.
    pub(super) fn answer(&self, answer: Result<Response, Rejection>) -> Response {
        answer.unwrap_or_else(|rejection| self.problem(rejection))
    }

    pub(super) fn problem(&self, rejection: Rejection) -> Response {
        let kind = rejection.kind();
        let status = kind.status();
        let now = self
            .impersonation
            .now()
            .unwrap_or(OffsetDateTime::UNIX_EPOCH);
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
        self.refuse(&page, rejection)
    }

    /// The page that says why not.
    pub(super) fn refuse(&self, page: &impl Template, rejection: Rejection) -> Response {
        let page = rendered(page, rejection.kind().status());
        self.impersonation.sealed(rejection, page).map(Body::from)
    }
}

/// The page, done.
pub(super) fn page(page: &impl Template) -> Response {
    rendered(page, StatusCode::OK).map(Body::from)
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

// === impl Frame ===

impl Frame {
    pub(super) fn is(&self, here: Here) -> bool {
        self.here == Some(here)
    }
}
