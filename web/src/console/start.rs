//! The confirmation before a start: why, how far, how long.

use std::time::Duration;

use askama::Template;
use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    response::Response,
};

use super::{
    fields::{Fields, Problem},
    people::is_final,
    view::{Person, Row, When, duration},
    visit::{Frame, Here, Names, Visit, page, refuse},
};
use crate::{
    control::{MAX_BODY, add_cookies},
    identity::{Access, Actor, Subject},
    impersonation::{Impersonation, StartRequest},
    marker::MAX_REASON,
    rejection::{Rejection, RejectionKind},
    session::{Page, SessionFilter},
    vet::Refusal,
};

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
        let actor = self.actor().await?;
        let subject = self.subject_in_query()?;
        let query = Fields::of_query(&self.call.parts.uri);
        let offer = self.offer(&actor, &subject).await;
        let offer = offer.map_err(|refusal| self.refused(Some(&subject), refusal))?;
        let shown = self.start_page(&actor, &subject, &query, Some(offer), None);
        Ok(page(&shown.await?))
    }

    async fn start(&self, body: Body) -> Result<Response, Rejection> {
        let subject = self.subject_in_query();
        let typed = self.body(body).await;
        let (subject, typed) = match (subject, typed) {
            (Ok(subject), Ok(typed)) => (subject, typed),
            (Err(rejection), _) | (_, Err(rejection)) => {
                // Whoever may not start anything learns nothing about fields.
                self.actor().await?;
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
        let actor = self.actor().await?;
        let typed = Fields::of(&typed);
        // The start is in the trail; that the page asks once more is not. Where that is refused as well, the form stands
        // as it was sent.
        let offer = match rejection.kind() {
            RejectionKind::Denied
            | RejectionKind::SubjectNotFound
            | RejectionKind::Yourself
            | RejectionKind::Unavailable => None,
            _ => self.offer(&actor, &subject).await.ok(),
        };
        let problem = Some(&rejection);
        let shown = self.start_page(&actor, &subject, &typed, offer, problem);
        Ok(refuse(&shown.await?, rejection))
    }

    /// Whom the page is about. In the query: an id may be anything, and `/` or `..` in a path would not arrive.
    pub(super) fn subject_in_query(&self) -> Result<Subject, Rejection> {
        let query = Fields::of_query(&self.call.parts.uri);
        let subject = query.get("subject").parse();
        subject.map_err(|problem| Rejection::invalid(format!("`subject`: {problem}")))
    }

    pub(super) async fn body(&self, body: Body) -> Result<bytes::Bytes, Rejection> {
        let body = to_bytes(body, MAX_BODY).await;
        body.map_err(|_| {
            Rejection::invalid(format!("the body must not be longer than {MAX_BODY} bytes"))
        })
    }

    /// What a start asks, asked before.
    async fn offer(&self, actor: &Actor, subject: &Subject) -> Result<Offer, Refusal> {
        let inner = &self.impersonation.inner;
        let now = inner.clock.now()?;
        let vetted = inner.vet(actor, subject, &self.call.parts, now).await;
        let (grant, user) = vetted.map_err(|refusal| refusal.by(actor.id()))?;
        Ok(Offer {
            access: grant.access(),
            ceiling: inner.lifetime(None, &grant),
            role: user
                .as_ref()
                .and_then(|user| user.role().map(str::to_owned)),
            names: Names::knowing(user),
        })
    }

    async fn start_page(
        &self,
        actor: &Actor,
        subject: &Subject,
        typed: &Fields,
        offer: Option<Offer>,
        rejection: Option<&Rejection>,
    ) -> Result<StartPage, Rejection> {
        let inner = &self.impersonation.inner;
        let now = self.now()?;
        // As a store has them, whose rule this is.
        let mut active = self.active_of(actor.id()).await.unwrap_or_default();
        active.reverse();
        let (blocked, replaced) = match inner.settings.limits.admit(subject, &active, &[], now) {
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
            None => (Access::ReadWrite, inner.settings.max_lifetime),
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
            frame: self.frame(Some(Here::People), title, actor).await?,
            action: self.start_link(subject),
            is_user: subject.user_id().is_some(),
            role,
            open: inner.sessions.is_none().then(|| self.open(subject)),
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
                max_reason: MAX_REASON,
                max_ticket: StartRequest::MAX_TICKET,
            },
            problem: rejection.map(Problem::of),
            retry,
            recent: self.recent(actor, subject).await,
            history: self.history_link(subject),
            subject: person,
        })
    }

    /// The last sessions for this subject; `None` where they cannot be had.
    async fn recent(&self, actor: &Actor, subject: &Subject) -> Option<Vec<Row>> {
        let filter = SessionFilter {
            subject: Some(subject.clone()),
            ..SessionFilter::default()
        };
        let page = Page {
            limit: 5,
            ..Page::default()
        };
        self.impersonation.inner.sessions.as_ref()?;
        let list = self.impersonation.list(&self.call.parts, filter, page);
        let (list, now) = (list.await.ok()?, self.now().ok()?);
        let names = self.names(list.sessions.iter().map(|session| &session.actor));
        let names = names.await;
        let row = |session: &std::sync::Arc<_>| Row::new(self, session, &names, Some(actor), now);
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
