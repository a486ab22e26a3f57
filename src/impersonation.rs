//! [`Impersonation`], the handle: start, stop, current, list, and the layer.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::request::Parts;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use crate::{
    BoxError,
    acting_as::ActingAs,
    assume::Assume,
    audit::{AuditEvent, AuditSink, EventName, Ids, Trail, TrailReader},
    builder::{Builder, Settings},
    checker::{AdminChecker, Caller, Grant},
    client::{Client, user_agent},
    clock::Clock,
    consent::Consent,
    credentials::CredentialIssuer,
    directory::{DirectoryCache, DirectoryUser},
    identity::{Access, Actor, Rights, Subject, UserId},
    layer::ImpersonationLayer,
    marker::{Sources, check_reason, has_controls},
    notifier::Notifying,
    policy::{self, Denial, Routes},
    rejection::{Rejection, RejectionKind, RejectionResponse},
    session::{
        EndedReason, Page, Session, SessionChange, SessionFilter, SessionId, SessionList,
        SessionStore, SessionUpdate, StartError, Started, live::Lives,
    },
    unmarked::Watch,
    vet::{Freshness, Refusal},
};

/// Impersonation for one application: what the layer, the control API and the host's own code share.
///
/// Cheap to clone. Sessions are started and ended through it; [`layer`](Self::layer) makes requests act.
///
/// ```
/// use tower_impersonation::{
///     Actor, Caller, Decision, Grant, Impersonation, Rank, UserId, audit::MemorySink, checker_fn,
///     session::MemorySessions,
/// };
///
/// let checker = checker_fn(
///     |parts| match parts.extensions.get::<UserId>() {
///         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
///         None => Caller::Anonymous,
///     },
///     |_, _, _| Decision::Allow(Grant::read_write()),
/// );
/// let impersonation = Impersonation::builder(checker, MemorySink::default())
///     .sessions(MemorySessions::new())
///     .protect("/account/password")
///     .build()?;
/// let layer = impersonation.layer();
/// # Ok::<(), tower_impersonation::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Impersonation {
    pub(crate) inner: Arc<Inner>,
}

/// Everything that was set, and what is shared while it runs.
pub(crate) struct Inner {
    pub(crate) sources: Sources,
    pub(crate) routes: Routes,
    pub(crate) watch: Option<Watch>,
    pub(crate) checker: Arc<dyn AdminChecker>,
    pub(crate) directory: Option<DirectoryCache>,
    pub(crate) sessions: Option<Arc<dyn SessionStore>>,
    pub(crate) consent: Option<Arc<dyn Consent>>,
    #[cfg(feature = "jwt")]
    pub(crate) tokens: Option<Arc<crate::token::Signer>>,
    pub(crate) reader: Option<Arc<dyn TrailReader>>,
    pub(crate) notifying: Option<Notifying>,
    pub(crate) issuer: Option<Arc<dyn CredentialIssuer>>,
    #[cfg(feature = "control")]
    pub(crate) news: crate::control::News,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) trail: Trail,
    pub(crate) ids: Arc<Ids>,
    pub(crate) assume: Vec<Assume>,
    pub(crate) client: Client,
    pub(crate) reject: Option<Box<RejectionResponse>>,
    pub(crate) control_path: Option<String>,
    #[cfg(feature = "console")]
    pub(crate) console_path: Option<String>,
    #[cfg(feature = "control")]
    pub(crate) after_start: String,
    #[cfg(feature = "control")]
    pub(crate) after_stop: String,
    pub(crate) settings: Settings,
    pub(crate) lives: Arc<Lives>,
    pub(crate) starting: Starting,
    pub(crate) sweeping: AtomicBool,
}

/// One start at a time per actor in this process, so that a start that will be refused is refused before
/// its event is written. The store decides all the same.
#[derive(Default)]
pub(crate) struct Starting {
    hasher: RandomState,
    stripes: [Mutex<()>; 32],
}

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

/// Whom a start asks for.
#[derive(Clone)]
enum Wanted {
    Subject(Subject),
    Login(String),
}

/// What to change in an active session, and why (rule S6).
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    reason: String,
    access: Option<Access>,
    duration: Option<Duration>,
}

/// A session and the user that it is for, where that is one the directory knows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct SessionWithUser {
    /// The session.
    pub session: Arc<Session>,
    /// Its subject.
    pub user: Option<DirectoryUser>,
}

// === impl StartRequest ===

impl StartRequest {
    /// The longest ticket, in characters.
    pub const MAX_TICKET: usize = 128;

    /// Act as `subject`, read-only, for as long as is allowed. The reason must not be blank and has at
    /// most 500 characters (rule S1).
    #[must_use]
    pub fn new(subject: Subject, reason: impl Into<String>) -> Self {
        Self::wanting(Wanted::Subject(subject), reason.into())
    }

    /// The same for the user with this e-mail address or public id.
    #[must_use]
    pub fn for_login(login: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::wanting(Wanted::Login(login.into()), reason.into())
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

    /// The case that this belongs to, at most 128 characters. Default: none.
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

// === impl ChangeRequest ===

impl ChangeRequest {
    /// Changes nothing yet, for this reason; it must not be blank and has at most 500 characters.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            access: None,
            duration: None,
        }
    }

    /// The new access.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// How long from now.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }
}

// === impl Impersonation ===

impl Impersonation {
    /// Begins to set up: who is an admin, and where the trail goes. Both are needed; everything else has
    /// a default.
    pub fn builder(checker: impl AdminChecker, audit: impl AuditSink) -> Builder {
        Builder::new(Arc::new(checker), Arc::new(audit))
    }

    pub(crate) fn new(inner: Inner) -> Self {
        if let Some(sessions) = &inner.sessions {
            let lives = inner.lives.clone();
            #[cfg(feature = "control")]
            let news = inner.news.clone();
            sessions.subscribe(Arc::new(move |change| {
                lives.hear(change);
                #[cfg(feature = "control")]
                news.tell(change);
            }));
        }
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The layer that makes marked requests act. Outside of the application, inside of its authentication.
    pub fn layer(&self) -> ImpersonationLayer {
        ImpersonationLayer::of(self.clone())
    }

    /// A path with the marker of `subject` behind it, for links that lead into its pages. As it is where
    /// [`without_query_parameter`](Builder::without_query_parameter) is set.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// # let impersonation = Impersonation::builder(checker, MemorySink::default()).build()?;
    /// let link = impersonation.marked("/orders?page=2", &"ines".parse()?);
    /// assert_eq!(link, "/orders?page=2&as=ines");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn marked(&self, path: &str, subject: &Subject) -> String {
        self.inner.sources.with_marker(path, subject)
    }

    /// The trail, to flush it on shutdown.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.inner.trail
    }

    /// Starts a session for whoever sent the request (rules S1 to S3, S8).
    ///
    /// The session exists only after its start event is durable (rule A1). Nothing is half-started: on an
    /// error there is no session.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `InvalidRequest`, `Yourself`, `Denied`,
    /// `SubjectNotFound`, `AlreadyActive`, `TooManyStarts`, `TrailUnavailable` or `Unavailable`.
    ///
    /// # Cancel safety
    ///
    /// Once the checks are done the start is carried through, even if the future is dropped.
    pub async fn start(
        &self,
        parts: &Parts,
        request: StartRequest,
    ) -> Result<SessionWithUser, Rejection> {
        let subject = request.subject.named();
        let started = self.inner.try_start(parts, request).await;
        started.map_err(|refusal| self.inner.refused(parts, subject.as_ref(), refusal))
    }

    /// Ends the sessions of whoever sent the request: of an acted request its own, else all active ones
    /// (rule S5). Nothing in the request names them, and no right is needed but to be their actor.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NothingToEnd` or `Unavailable`.
    pub async fn stop(&self, parts: &Parts) -> Result<Vec<Arc<Session>>, Rejection> {
        let stopped = self.inner.try_stop(parts).await;
        stopped.map_err(|refusal| refusal.rejection)
    }

    /// Ends this one of the sessions of whoever sent the request, and leaves their others alone. That it exists, ended or
    /// someone else's, is told to nobody but its actor.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, session::SessionId};
    /// # async fn exit(impersonation: &Impersonation, parts: &Parts, id: SessionId) -> Result<(), Rejection> {
    /// let ended = impersonation.stop_one(parts, id).await?;
    /// assert_eq!(ended.id, id);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NothingToEnd` or `Unavailable`.
    pub async fn stop_one(&self, parts: &Parts, id: SessionId) -> Result<Arc<Session>, Rejection> {
        let stopped = self.inner.try_stop_one(parts, id).await;
        stopped.map_err(|refusal| refusal.rejection)
    }

    /// The newest active session of whoever sent the request.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated` or `Unavailable`.
    pub async fn current(&self, parts: &Parts) -> Result<Option<SessionWithUser>, Rejection> {
        let current = self.inner.try_current(parts).await;
        current.map_err(|refusal| refusal.rejection)
    }

    /// Lists sessions, newest first: one's own, or with [`Rights::LIST_SESSIONS`] any.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `MissingRight` or `Unavailable`.
    pub async fn list(
        &self,
        parts: &Parts,
        filter: SessionFilter,
        page: Page,
    ) -> Result<SessionList, Rejection> {
        let list = self.inner.try_list(parts, filter, &page).await;
        list.map_err(|refusal| self.inner.refused(parts, None, refusal))
    }

    /// Changes the caller's active session for this subject: raises its access, or moves its end (rule S6).
    /// Everything that a start has to pass is checked again.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and `NothingToEnd` when there is no such session.
    pub async fn change(
        &self,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Rejection> {
        let changed = self.inner.try_change(parts, subject, request).await;
        changed.map_err(|refusal| self.inner.refused(parts, Some(subject), refusal))
    }

    /// Ends someone's session. One's own needs no right, others' need [`Rights::END_SESSIONS`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `MissingRight`, `NothingToEnd` or
    /// `Unavailable`.
    pub async fn revoke(&self, parts: &Parts, id: SessionId) -> Result<Arc<Session>, Rejection> {
        let revoked = self.inner.try_revoke(parts, id).await;
        revoked.map_err(|refusal| self.inner.refused(parts, None, refusal))
    }

    /// Ends all sessions of an actor who signs out (rule S4). Call it from the host's log-out.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` when the store fails.
    pub async fn log_out(&self, actor: &UserId) -> Result<Vec<Arc<Session>>, Rejection> {
        self.end_of(actor, EndedReason::AdminLogout).await
    }

    /// Ends all sessions of an actor whose role was taken away (rule R8), without waiting for the next
    /// request to show it. For one whose account is deleted or locked this is the only way: nobody
    /// signed in sends no request that could show it.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` when the store fails.
    pub async fn demote(&self, actor: &UserId) -> Result<Vec<Arc<Session>>, Rejection> {
        self.end_of(actor, EndedReason::ActorDemoted).await
    }

    /// Forgets what was kept of a user, who has changed: the next acted request asks the directory.
    pub fn forget_user(&self, id: &UserId) {
        if let Some(directory) = &self.inner.directory {
            directory.forget(id);
        }
    }

    async fn end_of(
        &self,
        actor: &UserId,
        reason: EndedReason,
    ) -> Result<Vec<Arc<Session>>, Rejection> {
        let ended = self.inner.end_all(actor, reason).await;
        ended.map_err(|refusal| refusal.rejection)
    }
}

impl fmt::Debug for Impersonation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impersonation")
            .field("sources", &self.inner.sources)
            .field("routes", &self.inner.routes)
            .field("settings", &self.inner.settings)
            .finish_non_exhaustive()
    }
}

// === impl Starting ===

impl Starting {
    async fn lock(&self, actor: &UserId) -> tokio::sync::MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(actor) as usize % self.stripes.len();
        self.stripes[stripe].lock().await
    }
}

// === impl Inner ===

impl Inner {
    /// Records a refusal and gives the caller's part of it.
    pub(crate) fn refused(
        &self,
        parts: &Parts,
        subject: Option<&Subject>,
        refusal: Refusal,
    ) -> Rejection {
        self.note(parts, subject, &refusal);
        refusal.rejection
    }

    pub(crate) fn store(&self) -> Result<&Arc<dyn SessionStore>, Refusal> {
        self.sessions.as_ref().ok_or_else(|| {
            let reason = "no session store is set; see `Builder::sessions`";
            Refusal::of(RejectionKind::Unavailable, reason)
        })
    }

    /// The admin who calls, on a request that is not acted itself (rule R16).
    pub(crate) async fn unacted_actor(&self, parts: &Parts) -> Result<Actor, Refusal> {
        not_acted(parts)?;
        self.actor(parts).await
    }

    async fn try_start(
        self: &Arc<Self>,
        parts: &Parts,
        request: StartRequest,
    ) -> Result<SessionWithUser, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        let started = self.start_as(&actor, parts, request).await;
        started.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn start_as(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        request: StartRequest,
    ) -> Result<SessionWithUser, Refusal> {
        let now = self.clock.now()?;
        let reason = check_reason(&request.reason)
            .map_err(|problem| Refusal::invalid(problem.to_string()))?;
        let ticket = check_ticket(request.ticket)?;
        check_duration(request.duration)?;
        let subject = self.wanted(request.subject).await?;
        let (grant, user) = self.vet(actor, &subject, parts, now).await?;

        let lifetime = self.lifetime(request.duration, &grant);
        let id = SessionId(self.ids.next(now));
        let mut session =
            Session::new(id, actor.id().clone(), subject, reason, now, now + lifetime);
        session.actor_rank = actor.rank();
        session.role = user.as_ref().and_then(DirectoryUser::shared_role);
        session.access = policy::narrow(request.access, &grant);
        session.ticket = ticket;
        session.idle_timeout = self.settings.idle_timeout;
        session.address = self.client.address_of(parts);
        session.user_agent = user_agent(parts);

        let mut event = self.session_event(EventName::Start, &session, now);
        self.client.describe(&mut event, parts);
        let this = self.clone();
        // In a task of its own, so that a client who goes away leaves no start without its session.
        let starting = tokio::spawn(async move { this.carry_through(session, event).await });
        let session = join("session store", starting.await)?;
        Ok(SessionWithUser { session, user })
    }

    /// The subject that is wanted; a login is looked up.
    async fn wanted(&self, wanted: Wanted) -> Result<Subject, Refusal> {
        let login = match wanted {
            Wanted::Subject(subject) => return Ok(subject),
            Wanted::Login(login) => login,
        };
        let unknown = || Refusal::denied(RejectionKind::SubjectNotFound, &Denial::UnknownSubject);
        let directory = self.directory.as_ref().ok_or_else(unknown)?;
        let found = directory.directory().find_by_login(&login);
        let user = self.ask("directory", found).await?.ok_or_else(unknown)?;
        Ok(Subject::User(user.id().clone()))
    }

    /// Both questions, for a start or a change. The directory is asked afresh.
    pub(crate) async fn vet(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
        now: OffsetDateTime,
    ) -> Result<(Grant, Option<DirectoryUser>), Refusal> {
        let told = |denial: Denial| {
            let kind = match denial {
                Denial::Oneself => RejectionKind::Yourself,
                Denial::UnknownSubject => RejectionKind::SubjectNotFound,
                _ => RejectionKind::Denied,
            };
            Refusal::denied(kind, &denial)
        };
        let grant = self.may_ask(actor, subject, parts).await?.map_err(told)?;
        let user = self.may_act(actor, subject, Freshness::Asked, now).await?;
        Ok((grant, user.map_err(told)?))
    }

    /// The length of a session: what is asked for, within the grant and the ceiling.
    pub(crate) fn lifetime(&self, asked: Option<Duration>, grant: &Grant) -> Duration {
        let ceiling = self.settings.max_lifetime;
        let ceiling = grant.max_lifetime().map_or(ceiling, |max| max.min(ceiling));
        asked.map_or(ceiling, |asked| asked.min(ceiling))
    }

    /// Trail and store in one step where the store can, else trail, then store: the order of rule A1.
    async fn carry_through(
        self: Arc<Self>,
        session: Session,
        event: AuditEvent,
    ) -> Result<Arc<Session>, Refusal> {
        let sessions = self.store()?;
        let limits = self.settings.limits;
        let _one_at_a_time = self
            .ask("session store", async {
                Ok(self.starting.lock(&session.actor).await)
            })
            .await?;
        self.tell_last_seen().await?;
        let check = sessions.check(&session, &limits, session.started_at);
        self.ask("session store", async { Ok(check.await) })
            .await?
            .map_err(not_started)?;
        // Told before there is anything to take back.
        self.notify_start(&session).await?;
        let told = self.notifying.as_ref().map(|_| session.clone());
        let id = session.id;
        let at_once = sessions.start_recorded(&session, &limits, &event);
        let at_once = self.ask("session store", async { Ok(at_once.await) }).await;
        let started = match at_once.transpose() {
            Some(started) => started,
            None => {
                // From here on the trail says, or will say once its sink is back, that this session starts.
                if let Err(error) = self.trail.record_durable(event.clone()).await {
                    self.untell(told);
                    return Err(self.take_back([event], error.into()));
                }
                let start = sessions.start(session, &limits);
                self.ask("session store", async { Ok(start.await) }).await
            }
        };
        match started.and_then(|started| started.map_err(not_started)) {
            Ok(Started { session, ended }) => {
                ended
                    .iter()
                    .for_each(|session| self.record_end(session, None));
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

    /// Whoever was told of a start hears that it is over before it began.
    fn untell(self: &Arc<Self>, told: Option<Session>) {
        if let Some(session) = told {
            let at = session.started_at;
            self.notify_end(&session.ended(EndedReason::SessionRevoked, at));
        }
    }

    /// The trail says that something is about to be done; now it has to say that it was not, also to someone
    /// who no longer waits for the answer.
    fn take_back(
        &self,
        announced: impl IntoIterator<Item = AuditEvent>,
        mut refusal: Refusal,
    ) -> Refusal {
        for mut event in announced {
            event.name = EventName::Denied;
            event.rule = Some(refusal.rule);
            event.reason = Some(refusal.rejection.reason().to_owned());
            event.status = Some(refusal.rejection.kind().status().as_u16());
            event.id = self.ids.next(event.time);
            self.trail.record(event);
            refusal.noted = true;
        }
        refusal
    }

    /// A store that gave no answer may have done its step all the same. What the session may do now is not
    /// known, so it ends: nothing stays half-started or half-raised.
    async fn end_unanswered(self: &Arc<Self>, id: SessionId, refusal: &Refusal) {
        if refusal.rejection.kind() != RejectionKind::Unavailable {
            return;
        }
        if let Err(left) = self.end(id, EndedReason::SessionRevoked, None).await {
            tracing::error!(
                target: "tower_impersonation",
                session = %id, reason = left.rejection.reason(),
                "the session store gave no answer; this session may be active until its time is over"
            );
        }
    }

    async fn try_stop(self: &Arc<Self>, parts: &Parts) -> Result<Vec<Arc<Session>>, Refusal> {
        if let Some(acting_as) = parts.extensions.get::<ActingAs>() {
            let session = acting_as.session().ok_or_else(nothing_to_end)?;
            let ended = self.end(session.id, EndedReason::Manual, None).await?;
            return ended.map(|ended| vec![ended]).ok_or_else(nothing_to_end);
        }
        let actor = self.caller_id(parts).await?.ok_or_else(nothing_to_end)?;
        let ended = self.end_all(&actor, EndedReason::Manual).await?;
        if ended.is_empty() {
            return Err(nothing_to_end());
        }
        Ok(ended)
    }

    async fn try_stop_one(
        self: &Arc<Self>,
        parts: &Parts,
        id: SessionId,
    ) -> Result<Arc<Session>, Refusal> {
        let caller = self.caller_id(parts).await?.ok_or_else(nothing_to_end)?;
        let sessions = self.store()?;
        self.sweep().await?;
        let found = self.ask("session store", sessions.get(id)).await?;
        if found.is_none_or(|session| session.actor != caller) {
            return Err(nothing_to_end());
        }
        let ended = self.end(id, EndedReason::Manual, None).await?;
        ended.ok_or_else(nothing_to_end)
    }

    /// Who is really there, admin or not any more.
    async fn caller_id(&self, parts: &Parts) -> Result<Option<UserId>, Refusal> {
        if let Some(acting_as) = parts.extensions.get::<ActingAs>() {
            return Ok(Some(acting_as.actor().id().clone()));
        }
        Ok(match self.caller(parts).await? {
            Caller::Admin(actor) => Some(actor.id().clone()),
            Caller::User(id) => Some(id),
            Caller::Anonymous => None,
        })
    }

    async fn try_current(
        self: &Arc<Self>,
        parts: &Parts,
    ) -> Result<Option<SessionWithUser>, Refusal> {
        let Some(actor) = self.caller_id(parts).await? else {
            return Ok(None);
        };
        let Some(session) = self.active_of(&actor, 1).await?.into_iter().next() else {
            return Ok(None);
        };
        let user = match (&self.directory, session.subject.user_id()) {
            (Some(directory), Some(id)) => {
                self.ask("directory", directory.directory().find(id))
                    .await?
            }
            _ => None,
        };
        Ok(Some(SessionWithUser { session, user }))
    }

    async fn try_list(
        self: &Arc<Self>,
        parts: &Parts,
        mut filter: SessionFilter,
        page: &Page,
    ) -> Result<SessionList, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        if !actor.rights().contains(Rights::LIST_SESSIONS) {
            let own = filter.actor.get_or_insert_with(|| actor.id().clone());
            if own != actor.id() {
                return Err(missing_right("to list the sessions of others").by(actor.id()));
            }
        }
        let listed = self.list_page(&filter, page).await;
        listed.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn list_page(
        self: &Arc<Self>,
        filter: &SessionFilter,
        page: &Page,
    ) -> Result<SessionList, Refusal> {
        self.sweep().await?;
        self.list_unswept(filter, page).await
    }

    async fn list_unswept(
        &self,
        filter: &SessionFilter,
        page: &Page,
    ) -> Result<SessionList, Refusal> {
        let sessions = self.store()?;
        let now = self.clock.now()?;
        self.ask("session store", sessions.list(filter, page, now))
            .await
    }

    async fn try_change(
        self: &Arc<Self>,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        let changed = self.change_as(&actor, parts, subject, request).await;
        changed.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn change_as(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Refusal> {
        let now = self.clock.now()?;
        let reason = check_reason(&request.reason)
            .map_err(|problem| Refusal::invalid(problem.to_string()))?;
        check_duration(request.duration)?;
        if request.access.is_none() && request.duration.is_none() {
            return Err(Refusal::invalid("`access` or `duration` must be given"));
        }
        let sessions = self.store()?.clone();
        self.sweep().await?;
        let open = self.ask("session store", sessions.active(actor.id(), subject, now));
        let session = open
            .await?
            .filter(|session| session.is_active(now))
            .ok_or_else(|| Refusal::of(RejectionKind::NothingToEnd, "no active session"))?;
        let (grant, _) = self.vet(actor, subject, parts, now).await?;
        if request.access.is_some_and(|asked| asked > grant.access()) {
            let reason = "the grant does not allow this access";
            return Err(Refusal::of(RejectionKind::Denied, reason));
        }
        let expires_at = request
            .duration
            .map(|asked| now + self.lifetime(Some(asked), &grant));

        let mut events = Vec::new();
        let mut describe = |name| {
            let mut event = self.session_event(name, &session, now);
            event.reason = Some(reason.clone());
            event.access = Some(request.access.unwrap_or(session.access));
            self.client.describe(&mut event, parts);
            events.push(event);
        };
        if request.access.is_some_and(|asked| asked > session.access) {
            describe(EventName::AccessRaised);
        }
        if expires_at.is_some_and(|at| at > session.expires_at) {
            describe(EventName::Extended);
        }
        let id = session.id;
        let this = self.clone();
        let update = SessionUpdate {
            access: request.access,
            expires_at,
        };
        let changing = tokio::spawn(async move {
            let mut announced = Vec::new();
            let changed = async {
                for event in events {
                    announced.push(event.clone());
                    this.trail.record_durable(event).await?;
                }
                let updated = async { sessions.update(id, update, now).await };
                let gone = || Refusal::of(RejectionKind::NothingToEnd, "it has ended meanwhile");
                this.ask("session store", updated).await?.ok_or_else(gone)
            };
            match changed.await {
                Ok(session) => Ok(session),
                Err(refusal) => {
                    this.end_unanswered(id, &refusal).await;
                    Err(this.take_back(announced, refusal))
                }
            }
        });
        join("session store", changing.await)
    }

    async fn try_revoke(
        self: &Arc<Self>,
        parts: &Parts,
        id: SessionId,
    ) -> Result<Arc<Session>, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        let nothing = || Refusal::of(RejectionKind::NothingToEnd, "no such active session");
        let sessions = self.store()?;
        let found = self.ask("session store", sessions.get(id)).await?;
        let is_own = found.is_some_and(|session| session.actor == *actor.id());
        let reason = match (is_own, actor.rights().contains(Rights::END_SESSIONS)) {
            (true, _) => EndedReason::Manual,
            (false, true) => EndedReason::SessionRevoked,
            // Who may not end others' sessions learns nothing of them.
            (false, false) => {
                return Err(missing_right("to end the sessions of others").by(actor.id()));
            }
        };
        let ended = self.end(id, reason, Some(actor.id().clone())).await?;
        ended.ok_or_else(|| nothing().by(actor.id()))
    }

    /// Ends all active sessions of an actor.
    pub(crate) async fn end_all(
        self: &Arc<Self>,
        actor: &UserId,
        reason: EndedReason,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        let mut ended = Vec::new();
        for session in self.active_of(actor, usize::MAX - 1).await? {
            ended.extend(self.end(session.id, reason, None).await?);
        }
        Ok(ended)
    }

    /// The active sessions of an actor, newest first.
    pub(crate) async fn active_of(
        self: &Arc<Self>,
        actor: &UserId,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        self.sweep().await?;
        self.list_active(actor, limit).await
    }

    /// The same without a sweep before it, for requests of which there are many.
    pub(crate) async fn list_active(
        &self,
        actor: &UserId,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        let filter = SessionFilter {
            actor: Some(actor.clone()),
            is_active: Some(true),
            ..SessionFilter::default()
        };
        let page = Page {
            limit,
            ..Page::default()
        };
        Ok(self.list_unswept(&filter, &page).await?.sessions)
    }

    /// Ends one session, if it is active, and records it. `by` is who did it, if not its actor.
    ///
    /// The end is carried through even if the future is dropped, and even if the trail fails then (rule S5).
    pub(crate) async fn end(
        self: &Arc<Self>,
        id: SessionId,
        reason: EndedReason,
        by: Option<UserId>,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        let sessions = self.store()?.clone();
        let this = self.clone();
        let ending = tokio::spawn(async move {
            let now = this.clock.now()?;
            let ended = this
                .ask("session store", sessions.end(id, reason, now))
                .await?;
            if let Some(session) = &ended {
                this.record_end(session, by);
            }
            Ok(ended)
        });
        join("session store", ending.await)
    }

    /// Tells everyone that a session has ended, and the trail.
    fn record_end(self: &Arc<Self>, session: &Session, by: Option<UserId>) {
        let reason = session.ended_reason.unwrap_or(EndedReason::Timeout);
        self.lives.end(session.id, reason);
        self.trail.unfold_session(session.id);
        let at = session.ended_at.unwrap_or(session.expires_at);
        let mut event = self.session_event(EventName::End, session, at);
        event.reason = Some(reason.as_str().to_owned());
        if by.is_some() {
            event.actor = by;
        }
        self.trail.record(event);
        self.notify_end(session);
        self.revoke_credentials(session);
    }

    fn session_event(&self, name: EventName, session: &Session, at: OffsetDateTime) -> AuditEvent {
        let mut event = self.trail.event_at(name, at);
        event.actor = Some(session.actor.clone());
        event.subject = Some(session.subject.clone());
        event.session = Some(session.id);
        event.reason = Some(session.reason.to_string());
        event.access = Some(session.access);
        event
    }

    /// Tells the store of acted requests that it has not heard of.
    pub(crate) async fn tell_last_seen(&self) -> Result<(), Refusal> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        let untold = self.lives.untold();
        if untold.is_empty() {
            return Ok(());
        }
        let seen: Vec<_> = untold.iter().map(|(live, at)| (live.id, *at)).collect();
        self.ask("session store", sessions.touch_all(&seen)).await?;
        untold.iter().for_each(|(live, at)| live.told(*at));
        Ok(())
    }

    /// Asks the store what became of a session, where the news of it may have been missed.
    pub(crate) async fn catch_up(
        &self,
        sessions: &Arc<dyn SessionStore>,
        id: SessionId,
    ) -> Result<(), Refusal> {
        let session = self.ask("session store", sessions.get(id)).await?;
        match session {
            Some(session) => match session.ended_reason {
                Some(reason) => self.lives.end(id, reason),
                None => self.lives.hear(&SessionChange::Updated(session)),
            },
            None => self.lives.end(id, EndedReason::Timeout),
        }
        Ok(())
    }

    /// Ends what is past its end, and records it.
    async fn sweep(self: &Arc<Self>) -> Result<(), Refusal> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        self.tell_last_seen().await?;
        if let Some((losses, ids)) = self.lives.unsure() {
            for id in ids {
                self.catch_up(sessions, id).await?;
            }
            self.lives.made_up(losses);
        }
        self.lives.prune(self.clock.now()?);
        let this = self.clone();
        // In a task of its own: the store tells of each end once, so that it has to be recorded even if
        // whoever asked goes away.
        let ending = tokio::spawn(async move { this.end_due().await });
        join("session store", ending.await)
    }

    async fn end_due(self: &Arc<Self>) -> Result<(), Refusal> {
        const AT_ONCE: usize = 500;

        let sessions = self.store()?;
        loop {
            let now = self.clock.now()?;
            let due = sessions.end_due(now, AT_ONCE);
            let ended = self.ask("session store", due).await?;
            ended
                .iter()
                .for_each(|session| self.record_end(session, None));
            if ended.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Has someone sweep from now on, for as long as the handle lives.
    pub(crate) fn keep_swept(self: &Arc<Self>) {
        if self.sweeping.load(Ordering::Relaxed) || self.sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle = self.settings.idle_timeout;
        let pause = (idle / 10).clamp(Duration::from_millis(100), Duration::from_secs(30));
        let clock = self.clock.clone();
        let sweeper = Sweeper(Arc::downgrade(self));
        tokio::spawn(async move {
            let sweeper = sweeper;
            loop {
                clock.sleep(pause).await;
                let Some(inner) = sweeper.0.upgrade() else {
                    return;
                };
                if let Err(refusal) = inner.sweep().await {
                    tracing::warn!(
                        target: "tower_impersonation",
                        reason = refusal.rejection.reason(), "overdue sessions were not ended"
                    );
                }
            }
        });
    }
}

/// Lets the next request start a new sweeper when this one goes away with its runtime.
struct Sweeper(std::sync::Weak<Inner>);

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.sweeping.store(false, Ordering::Relaxed);
        }
    }
}

/// An acted request starts and changes nothing (rule R16).
pub(crate) fn not_acted(parts: &Parts) -> Result<(), Refusal> {
    match parts.extensions.get::<ActingAs>() {
        Some(acting_as) => {
            let reason = "the request is acted itself";
            Err(Refusal::of(RejectionKind::Nested, reason).by(acting_as.actor().id()))
        }
        None => Ok(()),
    }
}

fn nothing_to_end() -> Refusal {
    Refusal::of(RejectionKind::NothingToEnd, "no active session")
}

pub(crate) fn missing_right(what: &'static str) -> Refusal {
    Refusal::of(RejectionKind::MissingRight, what)
}

fn not_started(error: StartError) -> Refusal {
    match error {
        StartError::AlreadyActive => {
            Refusal::of(RejectionKind::AlreadyActive, "there is an active session")
        }
        StartError::TooManyStarts { retry_after } => Refusal {
            rejection: Rejection::too_many(retry_after),
            rule: RejectionKind::TooManyStarts.code(),
            actor: None,
            session: None,
            noted: false,
        },
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

fn check_duration(duration: Option<Duration>) -> Result<(), Refusal> {
    match duration {
        Some(duration) if duration < Duration::from_secs(1) => {
            Err(Refusal::invalid("`duration` must be at least one second"))
        }
        _ => Ok(()),
    }
}

/// The result of a task; one that panicked or was cancelled with its runtime is a refusal (rule R13).
fn join<T>(
    what: &'static str,
    joined: Result<Result<T, Refusal>, tokio::task::JoinError>,
) -> Result<T, Refusal> {
    joined.unwrap_or_else(|error| {
        let error: BoxError = Box::new(error);
        Err(Refusal::of(
            RejectionKind::Unavailable,
            format!("{what}: {error}"),
        ))
    })
}
