//! The confirmation before a start: why, how far, how long.

use std::{sync::Arc, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use tower_impersonation::{
    Access, Admin, DirectoryUser, Grant, Impersonation, Rejection, RejectionKind, StartRequest,
    Subject,
    session::{Page, Session, SessionFilter},
};

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    people::is_final,
    view::{Person, Row, When, duration},
    visit::{Names, Visit},
};
use crate::control::add_cookies;

/// The fields that a message can stand next to.
const FIELDS: [&str; 4] = ["reason", "ticket", "access", "duration"];
const MINUTE: u64 = 60;
/// What is offered as lengths, in seconds.
pub(super) const LENGTHS: [u64; 7] = [
    15 * MINUTE,
    30 * MINUTE,
    60 * MINUTE,
    2 * 60 * MINUTE,
    4 * 60 * MINUTE,
    8 * 60 * MINUTE,
    24 * 60 * MINUTE,
];

#[derive(Template)]
#[template(path = "start.html", config = "src/console/askama.toml")]
struct StartPage {
    frame: Frame,
    action: String,
    subject: Person,
    is_user: bool,
    role: Option<String>,
    /// Sessions are not kept here: there is nothing to start, and this is where the subject's pages begin.
    open: Option<String>,
    /// Why nothing can be started now.
    blocked: Option<Blocked>,
    /// What a start would end.
    replaces: Vec<Person>,
    form: Form,
    problem: Option<Problem>,
    /// When it makes sense to try again.
    retry: Option<(When, String)>,
    recent: Option<Vec<Row>>,
    history: String,
}

/// What the form offers and what stands in it.
struct Form {
    reason: String,
    ticket: String,
    next: String,
    may_write: bool,
    write: bool,
    ceiling: String,
    lengths: Vec<Length>,
    max_reason: usize,
    max_ticket: usize,
}

/// One choice of a length.
pub(super) struct Length {
    pub(super) seconds: u64,
    pub(super) text: String,
    pub(super) is_chosen: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blocked {
    /// The limit of active sessions.
    Limit,
    /// There is one for this very subject.
    SameSubject,
}

/// What a start would be granted now.
struct Offer {
    access: Access,
    ceiling: Duration,
    names: Names,
    role: Option<String>,
}

impl Blocked {
    fn is_same(&self) -> bool {
        *self == Self::SameSubject
    }
}

pub(super) async fn show(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.confirm().await;
    visit.answer(answer)
}

pub(super) async fn submit(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (visit, body) = Visit::of(impersonation, request);
    let answer = visit.start(body).await;
    visit.answer(answer)
}

impl Visit {
    async fn confirm(&self) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let subject = self.subject_in_query()?;
        let query = Fields::of_query(&self.call.parts.uri);
        let offer = self.offer(admin.may_start(&subject).await?);
        let shown = self.start_page(&admin, &subject, &query, Some(offer), None);
        Ok(page(&shown.await?))
    }

    async fn start(&self, body: Body) -> Result<Response, Rejection> {
        let subject = self.subject_in_query();
        let typed = self.body(body).await;
        let (subject, typed) = match (subject, typed) {
            (Ok(subject), Ok(typed)) => (subject, typed),
            (Err(rejection), _) | (_, Err(rejection)) => {
                // Callers who may not start anything learn nothing about fields.
                self.admin().await?;
                return Err(rejection);
            }
        };
        let body = Body::from(typed.clone());
        let begun = self
            .call
            .begin(&self.impersonation, body, Some(subject.clone()));
        let rejection = match begun.await {
            Ok(mut begun) => {
                let mut response = self.see_other(&begun.landing);
                add_cookies(&mut response, begun.take_cookies());
                return Ok(response);
            }
            Err(rejection) if is_final(&rejection) => return Err(rejection),
            Err(rejection) => rejection,
        };
        let admin = self.admin().await?;
        let typed = Fields::of(&typed);
        // The start is in the trail; that the page asks once more is not. Where that is refused as well, the form stands
        // as it was sent.
        let offer = match rejection.kind() {
            RejectionKind::Denied
            | RejectionKind::SubjectNotFound
            | RejectionKind::Yourself
            | RejectionKind::Unavailable => None,
            _ => {
                let could = admin.could_start(&subject).await;
                could.ok().flatten().map(|granted| self.offer(granted))
            }
        };
        let problem = Some(&rejection);
        let shown = self.start_page(&admin, &subject, &typed, offer, problem);
        Ok(self.refuse(&shown.await?, rejection))
    }

    fn offer(&self, (grant, user): (Grant, Option<DirectoryUser>)) -> Offer {
        let role = user.as_ref().and_then(DirectoryUser::role);
        Offer {
            access: grant.access(),
            ceiling: self.ceiling(&grant),
            role: role.map(str::to_owned),
            names: Names::knowing(user),
        }
    }

    /// The longest session that is granted.
    pub(super) fn ceiling(&self, grant: &Grant) -> Duration {
        let longest = self.impersonation.max_lifetime();
        let granted = grant.max_lifetime();
        granted.map_or(longest, |granted| granted.min(longest))
    }

    async fn start_page(
        &self,
        admin: &Admin<'_>,
        subject: &Subject,
        typed: &Fields,
        offer: Option<Offer>,
        rejection: Option<&Rejection>,
    ) -> Result<StartPage, Rejection> {
        let now = self.impersonation.now()?;
        // As a store has them, whose rule this is.
        let mut active = self.active_of(admin).await.unwrap_or_default();
        active.reverse();
        let (blocked, replaced) =
            match self
                .impersonation
                .limits()
                .admit(subject, &active, &[], now)
            {
                Ok(replaced) => (None, replaced),
                Err(_) if active.iter().any(|session| session.subject == *subject) => {
                    (Some(Blocked::SameSubject), Vec::new())
                }
                Err(_) => (Some(Blocked::Limit), Vec::new()),
            };
        let ids: Vec<_> = replaced
            .iter()
            .filter_map(|s| s.subject.user_id())
            .collect();
        let names = self.names(ids).await;
        let replaces = replaced.iter().map(|s| names.subject(&s.subject)).collect();
        let (access, ceiling) = match &offer {
            Some(offer) => (offer.access, offer.ceiling),
            // Nothing is known: the server decides.
            None => (Access::ReadWrite, self.impersonation.max_lifetime()),
        };
        let (names, role) = match offer {
            Some(offer) => (offer.names, offer.role),
            None => (Names::default(), None),
        };
        let person = names.subject(subject);
        let title = format!("Act as {}", person.word());
        let retry = rejection.and_then(Rejection::retry_after).map(|wait| {
            // Rounded up, as the header is.
            let wait = Duration::from_secs(wait.as_secs() + 60 - wait.as_secs() % 60);
            (When::new(now + wait), duration(wait))
        });
        Ok(StartPage {
            frame: self.frame(Some(Here::People), title, admin).await?,
            action: self.start_link(subject),
            is_user: subject.user_id().is_some(),
            role,
            open: (!self.impersonation.has_sessions()).then(|| self.open(subject)),
            blocked,
            replaces,
            form: Form {
                reason: typed.get("reason").to_owned(),
                ticket: typed.get("ticket").to_owned(),
                next: typed.get("next").to_owned(),
                may_write: access == Access::ReadWrite,
                // Whoever wrote the link here does not choose it; the form that comes back says what was chosen.
                write: rejection.is_some() && typed.get("access") == Access::ReadWrite.as_str(),
                ceiling: duration(ceiling),
                lengths: lengths(Duration::ZERO, ceiling, typed.get("duration")),
                max_reason: StartRequest::MAX_REASON,
                max_ticket: StartRequest::MAX_TICKET,
            },
            problem: rejection.map(Problem::of),
            retry,
            recent: self.recent(admin, subject).await,
            history: self.history_link(subject),
            subject: person,
        })
    }

    /// The last sessions for this subject; `None` where they cannot be had.
    async fn recent(&self, admin: &Admin<'_>, subject: &Subject) -> Option<Vec<Row>> {
        if !self.impersonation.has_sessions() {
            return None;
        }
        let mut filter = SessionFilter::default();
        filter.subject = Some(subject.clone());
        let mut page = Page::default();
        page.limit = 5;
        let list = admin.list(filter, page).await.ok()?;
        let now = self.impersonation.now().ok()?;
        let names = self.names(list.sessions.iter().map(|session| &session.actor));
        let names = names.await;
        let viewer = Some(admin.actor());
        let row = |session: &Arc<Session>| Row::new(self, session, &names, viewer, now);
        Some(list.sessions.iter().map(row).collect())
    }
}

/// The lengths that lie between the two, and the one that was chosen.
pub(super) fn lengths(more_than: Duration, at_most: Duration, chosen: &str) -> Vec<Length> {
    let fits = |seconds: &u64| {
        let length = Duration::from_secs(*seconds);
        more_than < length && length < at_most
    };
    let length = |seconds: u64| Length {
        seconds,
        text: duration(Duration::from_secs(seconds)),
        is_chosen: chosen == seconds.to_string(),
    };
    LENGTHS.into_iter().filter(fits).map(length).collect()
}

impl StartPage {
    fn has_chosen_length(&self) -> bool {
        self.form.lengths.iter().any(|length| length.is_chosen)
    }

    /// The problem that is no field's.
    fn general(&self) -> Option<&Problem> {
        self.problem
            .as_ref()
            .filter(|problem| !problem.is_one_of(&FIELDS))
    }

    fn problem_of(&self, field: &str) -> Option<&str> {
        let problem = self.problem.as_ref().filter(|problem| problem.is(field));
        problem.map(|problem| problem.message.as_str())
    }
}
