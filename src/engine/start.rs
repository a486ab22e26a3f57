//! A start: everything that has to be true, then trail and store, in the order of rule [A1](crate::rules#a1).

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;

use super::{Engine, Refusal, join};
use crate::{
    audit::describe_call,
    policy::{self, Denial},
    rejection::{Rejection, RejectionKind},
    request::Client,
    session::{StartError, Started},
    words::{
        Access, Actor, AuditEvent, Call, DirectoryUser, EndedReason, EventName, MAX_REASON,
        Session, SessionId, Subject, check_reason, has_controls,
    },
};

/// What to start: as whom, why, how far.
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::{Access, StartRequest, Subject};
///
/// let start = StartRequest::new(Subject::User("ines".parse()?), "ticket 4711: cannot pay")
///     .with_access(Access::ReadWrite)
///     .with_duration(Duration::from_secs(600));
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug, Clone)]
pub struct StartRequest {
    subject: Wanted,
    reason: String,
    access: Access,
    ticket: Option<String>,
    duration: Option<Duration>,
}

/// The subject that a start asks for.
#[derive(Clone)]
enum Wanted {
    Subject(Subject),
    Login(String),
}

/// A session, and its subject as the directory knows them.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionWithUser {
    /// The session.
    pub session: Arc<Session>,
    /// Its subject; `None` without a directory, and for subjects that are not users.
    pub user: Option<DirectoryUser>,
}

// === impl StartRequest ===

impl StartRequest {
    /// The longest reason, in characters (rule [S1](crate::rules#s1)).
    pub const MAX_REASON: usize = MAX_REASON;

    /// The longest ticket, in characters.
    pub const MAX_TICKET: usize = 128;

    /// Act as `subject`, read-only, for as long as is allowed. The reason must not be blank and has at
    /// most 500 characters (rule [S1](crate::rules#s1)).
    #[must_use]
    pub fn new(subject: Subject, reason: impl Into<String>) -> Self {
        Self::wanting(Wanted::Subject(subject), reason.into())
    }

    /// Like [`new`](Self::new), for the user with this e-mail address or public id.
    ///
    /// ```
    /// use tower_impersonation::StartRequest;
    ///
    /// let start = StartRequest::for_login("ines@shop.example", "ticket 4711: cannot pay").with_ticket("4711");
    /// assert!(!format!("{start:?}").contains("ines@"), "logs do not have to know it");
    /// ```
    #[must_use]
    pub fn for_login(login: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::wanting(Wanted::Login(login.into()), reason.into())
    }

    /// The subject as the request names it, before anyone has looked it up: for the record of a refusal.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        self.subject.named()
    }

    fn wanting(subject: Wanted, reason: String) -> Self {
        Self {
            subject,
            reason,
            access: Access::ReadOnly,
            ticket: None,
            duration: None,
        }
    }

    /// The access asked for; the grant may narrow it. Default: read-only.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// The case that this belongs to in your own tools, at most 128 characters. Default: none.
    #[must_use]
    pub fn with_ticket(mut self, ticket: impl Into<String>) -> Self {
        self.ticket = Some(ticket.into());
        self
    }

    /// How long; the grant and the ceiling may narrow it. Default: as long as they allow.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }
}

impl Wanted {
    /// The subject for the trail, before anyone looked it up.
    fn named(&self) -> Option<Subject> {
        match self {
            Self::Subject(subject) => Some(subject.clone()),
            Self::Login(login) => login.parse().ok(),
        }
    }
}

impl fmt::Debug for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Subject(subject) => subject.fmt(f),
            // An e-mail address as a rule, which no log has to know.
            Self::Login(_) => f.write_str("Login(REDACTED)"),
        }
    }
}

// === impl Engine ===

impl Engine {
    /// Starts a session of `actor` (rules [S1](crate::rules#s1) to [S3](crate::rules#s3), [S8](crate::rules#s8)).
    pub(crate) async fn start(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        request: StartRequest,
    ) -> Result<SessionWithUser, Refusal> {
        let started = self.try_start(actor, parts, request).await;
        started.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn try_start(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        request: StartRequest,
    ) -> Result<SessionWithUser, Refusal> {
        let now = self.now()?;
        let reason = check_reason(&request.reason)
            .map_err(|problem| Refusal::invalid(problem.to_string()))?;
        let ticket = check_ticket(request.ticket)?;
        check_duration(request.duration)?;
        let subject = self.wanted(actor, parts, request.subject).await?;
        let may = self.may_start(actor, &subject, parts, now).await;
        let (grant, user) = may.map_err(|refusal| refusal.about(&subject))?;

        let lifetime = self.sessions.lifetime(request.duration, &grant);
        let id = SessionId(self.trail.next_id(now));
        let mut session =
            Session::new(id, actor.id().clone(), subject, reason, now, now + lifetime);
        session.actor_rank = actor.rank();
        session.role = user.as_ref().and_then(DirectoryUser::shared_role);
        session.access = policy::narrow(request.access, &grant);
        session.ticket = ticket;
        session.idle_timeout = self.sessions.settings.idle_timeout;
        session.address = self.client.address_of(parts);
        session.user_agent = Client::user_agent(parts);

        let mut event = self.session_event(EventName::Start, &session, now);
        describe_call(&mut event, &self.client, parts);
        let this = self.clone();
        // In a task of its own, so that a client who goes away leaves no start without its session.
        let starting = tokio::spawn(async move { this.carry_through(session, event).await });
        let session = join("session store", starting.await)?;
        Ok(SessionWithUser { session, user })
    }

    /// The subject that is wanted; a login is looked up.
    ///
    /// If no user has the login, the checker is asked as if it were an id, so that an actor who may act as nobody
    /// cannot tell it from the login of a user (rule [R7](crate::rules#r7)).
    async fn wanted(
        &self,
        actor: &Actor,
        parts: &Parts,
        wanted: Wanted,
    ) -> Result<Subject, Refusal> {
        let login = match wanted {
            Wanted::Subject(subject) => return Ok(subject),
            Wanted::Login(login) => login,
        };
        if let Some(found) = self.host.find_by_login(&login).await? {
            return Ok(Subject::User(found.id().clone()));
        }
        if let Ok(nobody) = login.parse() {
            let denied = |denial| Refusal::denied(RejectionKind::Denied, &denial);
            self.may_ask(actor, &nobody, parts).await?.map_err(denied)?;
        }
        let unknown = &Denial::UnknownSubject;
        Err(Refusal::denied(RejectionKind::SubjectNotFound, unknown))
    }

    /// Trail and store in one step where the store can, else trail, then store: the order of rule
    /// [A1](crate::rules#a1).
    async fn carry_through(
        self: Arc<Self>,
        session: Session,
        event: AuditEvent,
    ) -> Result<Arc<Session>, Refusal> {
        let sessions = self.sessions.required()?;
        let limits = self.sessions.settings.limits;
        let _one_at_a_time = self
            .ask("session store", async {
                Ok(self.sessions.starting.lock(&session.actor).await)
            })
            .await?;
        self.tell_last_seen().await?;
        let check = async { Ok(sessions.check(&session, &limits, session.started_at).await) };
        self.ask("session store", check)
            .await?
            .map_err(not_started)?;
        // Told before there is anything to take back.
        self.notify_start(&session).await?;
        let told = self.host.notifying.as_ref().map(|_| session.clone());
        let id = session.id;
        let at_once = async { Ok(sessions.start_recorded(&session, &limits, &event).await) };
        let at_once = self.ask("session store", at_once).await;
        let (started, is_recorded) = match at_once.transpose() {
            Some(started) => (started, true),
            None => {
                // From here on the trail says, or will say once its sink is back, that this session starts.
                if let Err(error) = self.trail.record_durable(event.clone()).await {
                    self.untell(told);
                    return Err(self.take_back([event], error.into()));
                }
                let start = async { Ok(sessions.start(session, &limits).await) };
                (self.ask("session store", start).await, false)
            }
        };
        match started.and_then(|started| started.map_err(not_started)) {
            Ok(Started { session, ended }) => {
                for session in &ended {
                    match is_recorded {
                        true => self.after_end(session),
                        false => self.record_end(session, &Call::default()),
                    }
                }
                self.keep_swept();
                Ok(session)
            }
            Err(refusal) => {
                self.end_unanswered(id, &refusal).await;
                self.untell(told);
                Err(self.take_back([event], refusal))
            }
        }
    }

    /// Tells the user who was told of a start that it is over before it began.
    fn untell(self: &Arc<Self>, told: Option<Session>) {
        if let Some(session) = told {
            let at = session.started_at;
            self.notify_end(&session.ended(EndedReason::SessionRevoked, at));
        }
    }

    /// The trail says that something is about to be done; now it has to say that it was not, also to someone
    /// who no longer waits for the answer.
    pub(super) fn take_back(
        &self,
        announced: impl IntoIterator<Item = AuditEvent>,
        mut refusal: Refusal,
    ) -> Refusal {
        for mut event in announced {
            event.name = EventName::Denied;
            event.rule = Some(refusal.rule.clone());
            event.reason = Some(refusal.rejection.reason().to_owned());
            event.status = Some(refusal.rejection.kind().status().as_u16());
            event.id = self.trail.next_id(event.time);
            self.trail.record(event);
            refusal.noted = true;
        }
        refusal
    }

    /// A store that gave no answer may have done its step all the same. What the session may do now is not
    /// known, so it ends: nothing stays half-started or half-raised.
    pub(super) async fn end_unanswered(self: &Arc<Self>, id: SessionId, refusal: &Refusal) {
        if refusal.rejection.kind() != RejectionKind::Unavailable {
            return;
        }
        // It is asked until it holds, and this process refuses the session meanwhile.
        let _ = self
            .end(id, EndedReason::SessionRevoked, Call::default())
            .await;
    }
}

fn not_started(error: StartError) -> Refusal {
    match error {
        StartError::AlreadyActive => {
            Refusal::of(RejectionKind::AlreadyActive, "there is an active session")
        }
        StartError::TooManyStarts { retry_after } => Refusal::new(Rejection::too_many(retry_after)),
        StartError::Store(error) => {
            tracing::error!(target: "tower_impersonation", error = &*error, "no session started");
            Refusal::of(
                RejectionKind::Unavailable,
                format!("session store: {error}"),
            )
        }
        StartError::Trail(error) => {
            tracing::error!(target: "tower_impersonation", error = &*error, "no start recorded");
            Refusal::of(
                RejectionKind::TrailUnavailable,
                format!("the trail of starts: {error}"),
            )
        }
    }
}

fn check_ticket(ticket: Option<String>) -> Result<Option<Arc<str>>, Refusal> {
    let Some(ticket) = ticket else {
        return Ok(None);
    };
    let ticket = ticket.trim();
    if ticket.chars().count() > StartRequest::MAX_TICKET {
        return Err(Refusal::invalid(
            "`ticket` must not be longer than 128 characters",
        ));
    }
    if has_controls(ticket) {
        return Err(Refusal::invalid(
            "`ticket` must not hold control characters",
        ));
    }
    Ok((!ticket.is_empty()).then(|| ticket.into()))
}

pub(super) fn check_duration(duration: Option<Duration>) -> Result<(), Refusal> {
    match duration {
        Some(duration) if duration < Duration::from_secs(1) => {
            Err(Refusal::invalid("`duration` must be at least one second"))
        }
        _ => Ok(()),
    }
}
