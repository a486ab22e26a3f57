//! [`Impersonation`], the handle: what the layer, the HTTP API and host code share.
//!
//! It is thin: every call identifies the caller once ([`Impersonation::admin`], [`Impersonation::signed_in`]), and the
//! engine does the rest.

mod admin;
mod builder;
mod signed_in;
#[cfg(feature = "jwt")]
mod tokens;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Response, Uri, request::Parts};
use time::OffsetDateTime;

#[cfg(feature = "jwt")]
pub use self::tokens::LiveTokens;
pub use self::{
    admin::{Admin, TrailReading},
    builder::Builder,
    signed_in::SignedIn,
};
use crate::{
    audit::{AuditSink, Summary, Trail, TrailError, TrailFilter, TrailList, TrailPage},
    engine::{ChangeRequest, Engine, People, Refusal, SessionWithUser, StartRequest, Stopped},
    host::{AdminChecker, Credentials},
    rejection::{Rejection, RejectionKind},
    session::{Limits, Page, SessionFeed, SessionFilter, SessionList},
    tower::ImpersonationLayer,
    words::{Call, DirectoryUser, EndedReason, Places, Session, SessionId, Subject, UserId},
};

/// Impersonation for one application: what the layer, the HTTP API and host code share. Cheap to clone.
///
/// [`layer`](Self::layer) makes requests act. Everything else here starts, ends and shows sessions, or reads the trail.
/// Calls that take the [`Parts`] of a request ask the [`AdminChecker`] who sent it.
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
///     .handlers_read_acting_as()
///     .build()?;
/// let layer = impersonation.layer();
/// # Ok::<(), tower_impersonation::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct Impersonation {
    pub(crate) engine: Arc<Engine>,
}

impl Impersonation {
    /// Begins the set-up with the two things that have no default: who is an admin, and where the trail goes.
    pub fn builder(checker: impl AdminChecker, audit: impl AuditSink) -> Builder {
        Builder::new(checker, audit)
    }

    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine: Arc::new(engine),
        }
    }

    /// The layer that makes marked requests act. Put it outside your application and inside its authentication.
    ///
    /// ```
    /// use std::convert::Infallible;
    ///
    /// use http::{Request, Response};
    /// use tower::{Layer, service_fn};
    /// # use tower_impersonation::Impersonation;
    ///
    /// # fn serve(impersonation: Impersonation) {
    /// let application = service_fn(|_: Request<String>| async { Ok::<_, Infallible>(Response::new(String::new())) });
    /// let service = impersonation.layer().layer(application);
    /// # let _ = service;
    /// # }
    /// ```
    pub fn layer(&self) -> ImpersonationLayer {
        ImpersonationLayer::of(self.engine.clone())
    }

    /// The trail.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.engine.trail
    }

    /// Waits until nothing would be lost with this process: the store has every end that was asked for (rule
    /// [S5](crate::rules#s5)), and the trail every event (rule [A1](crate::rules#a1)). Call it when your server shuts
    /// down, once it takes no requests any more and before its database closes.
    ///
    /// It waits for as long as the store fails, so put a time-out around it. Sessions go on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_impersonation::Impersonation;
    /// # async fn shut_down(impersonation: &Impersonation) {
    /// match tokio::time::timeout(Duration::from_secs(10), impersonation.flush()).await {
    ///     Ok(Ok(())) => {}
    ///     Ok(Err(error)) => eprintln!("the trail is incomplete: {error}"),
    ///     Err(_) => eprintln!("some sessions have not ended: the store did not answer in time"),
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Trail::flush`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    pub async fn flush(&self) -> Result<(), TrailError> {
        self.engine.sessions.lives.all_stored().await;
        self.engine.trail.flush().await
    }
}

/// # For the sender of a request
///
/// [`admin`](Self::admin) and [`signed_in`](Self::signed_in) identify the sender once; ask what they return for as
/// much as you need. The other methods do both in one step.
impl Impersonation {
    /// The admin who sent the request, identified once for everything that follows (rule [R6](crate::rules#r6)).
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, session::{Page, SessionFilter}};
    /// # async fn page(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let admin = impersonation.admin(parts).await?;
    /// let mine = admin.list(SessionFilter::default(), Page::default()).await?;
    /// println!("{}: {} sessions", admin.actor().id(), mine.total);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested` (rule [R16](crate::rules#r16)) or `Unavailable`.
    /// It is in the trail (rule [A3](crate::rules#a3)).
    pub async fn admin<'r>(&self, parts: &'r Parts) -> Result<Admin<'r>, Rejection> {
        self.admin_for(parts, None).await
    }

    /// Like [`admin`](Self::admin), for a call that names a subject: a refusal is then recorded with it (rule
    /// [A3](crate::rules#a3)).
    ///
    /// # Errors
    ///
    /// As [`admin`](Self::admin).
    pub async fn admin_for<'r>(
        &self,
        parts: &'r Parts,
        subject: Option<&Subject>,
    ) -> Result<Admin<'r>, Rejection> {
        let actor = self.engine.admin(parts).await;
        let actor = actor.map_err(|refusal| self.engine.refused(parts, subject, refusal))?;
        Ok(Admin::new(self.clone(), parts, actor))
    }

    /// The person who sent the request, identified once, whether they are an admin or no longer one: for what needs
    /// no right, such as stopping one's own session (rule [S5](crate::rules#s5)).
    ///
    /// On an acted request this is the actor. If nobody is signed in, the acting token of a session is enough for
    /// that one session.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let person = impersonation.signed_in(parts).await?;
    /// for session in person.active(10).await? {
    ///     println!("{} acts as {}", person.id(), session.subject);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated` or `Unavailable`.
    pub async fn signed_in<'r>(&self, parts: &'r Parts) -> Result<SignedIn<'r>, Rejection> {
        let caller = self.engine.signed_in(parts).await;
        let caller = caller.map_err(|refusal| refusal.rejection)?;
        Ok(SignedIn::new(self.clone(), parts, caller))
    }

    /// Starts a session for the admin who sent the request (rules [S1](crate::rules#s1) to [S3](crate::rules#s3),
    /// [S8](crate::rules#s8)).
    ///
    /// The session exists only after its start event is durable (rule [A1](crate::rules#a1)). Nothing is
    /// half-started: after an error there is no session.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, StartRequest};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let request = StartRequest::new("ines".parse().map_err(|_| bad())?, "ticket 4711: cannot pay");
    /// let started = impersonation.start(parts, request).await?;
    /// println!("{} until {}", started.session.subject, started.session.expires_at);
    /// # fn bad() -> Rejection { Rejection::invalid("no such id") }
    /// # Ok(())
    /// # }
    /// ```
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
        let admin = self.admin_for(parts, request.subject().as_ref()).await?;
        admin.start(request).await
    }

    /// Ends the sessions of the person who sent the request: on an acted request that session, else all of their
    /// active ones (rule [S5](crate::rules#s5)). Nothing in the request names them, and no right is needed.
    ///
    /// This process refuses the sessions from now on, whatever the store answers; [`Stopped::is_stored`] says
    /// whether the end holds everywhere.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let stopped = impersonation.stop(parts).await?;
    /// if !stopped.is_stored {
    ///     println!("ended here; the store has not confirmed it yet");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NothingToEnd` or `Unavailable`.
    pub async fn stop(&self, parts: &Parts) -> Result<Stopped, Rejection> {
        self.signed_in(parts).await?.stop().await
    }

    /// Ends this one session of the person who sent the request, and leaves their others alone. Nobody but its
    /// actor learns whether it exists.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, session::SessionId};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts, id: SessionId) -> Result<(), Rejection> {
    /// let stopped = impersonation.stop_one(parts, id).await?;
    /// println!("stored: {}", stopped.is_stored);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NothingToEnd` or `Unavailable`.
    pub async fn stop_one(&self, parts: &Parts, id: SessionId) -> Result<Stopped, Rejection> {
        self.signed_in(parts).await?.stop_one(id).await
    }

    /// The newest active session of the person who sent the request.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// if let Some(current) = impersonation.current(parts).await? {
    ///     println!("acting as {}: {}", current.session.subject, current.session.reason);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated` or `Unavailable`.
    pub async fn current(&self, parts: &Parts) -> Result<Option<SessionWithUser>, Rejection> {
        self.signed_in(parts).await?.current().await
    }

    /// Lists sessions, newest first: the admin's own, or with
    /// [`Rights::LIST_SESSIONS`](crate::Rights::LIST_SESSIONS) everyone's. See [`SessionFilter`] for an example.
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
        self.admin(parts).await?.list(filter, page).await
    }

    /// Changes the admin's active session for this subject: raises or lowers its access, or moves its end (rule
    /// [S6](crate::rules#s6)). Everything that a start checks is checked again.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, Access, ChangeRequest, Subject};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts, subject: &Subject) -> Result<(), Rejection> {
    /// let request = ChangeRequest::new("ticket 4711: has to correct the address").with_access(Access::ReadWrite);
    /// let session = impersonation.change(parts, subject, request).await?;
    /// assert_eq!(session.access, Access::ReadWrite);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and `NothingToEnd` if there is no such session.
    pub async fn change(
        &self,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Rejection> {
        let admin = self.admin_for(parts, Some(subject)).await?;
        admin.change(subject, request).await
    }

    /// Ends anyone's session. Ending one's own needs no right; ending others' needs
    /// [`Rights::END_SESSIONS`](crate::Rights::END_SESSIONS).
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `MissingRight`, `NothingToEnd` or
    /// `Unavailable`.
    pub async fn revoke(&self, parts: &Parts, id: SessionId) -> Result<Stopped, Rejection> {
        self.admin(parts).await?.revoke(id).await
    }

    /// Searches for users as whom the sender of the request may act; see [`Admin::people`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested` or `Unavailable`.
    pub async fn people(
        &self,
        parts: &Parts,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Rejection> {
        self.admin(parts).await?.people(text, limit, offset).await
    }

    /// Reads the trail: the admin's own events, or with [`Rights::READ_TRAIL`](crate::Rights::READ_TRAIL)
    /// everyone's. The reading is an event too, and is durable before anything is read (rule
    /// [A7](crate::rules#a7)).
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, audit::{EventName, TrailFilter, TrailPage}};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let mut filter = TrailFilter::default();
    /// filter.name = Some(EventName::Denied);
    /// let page = impersonation.read_trail(parts, filter, TrailPage::first(20)).await?;
    /// println!("{} refusals in all", page.total);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `MissingRight`, `InvalidRequest` for a
    /// malformed cursor, `NotFound` if no [`trail_reader`](Builder::trail_reader) is set, `TrailUnavailable` or
    /// `Unavailable`.
    pub async fn read_trail(
        &self,
        parts: &Parts,
        filter: TrailFilter,
        page: TrailPage,
    ) -> Result<TrailList, Rejection> {
        let admin = self.admin_for(parts, filter.subject.as_ref()).await?;
        admin.open_trail(filter).await?.page(&page).await
    }

    /// What each admin did from `from` to `to`; see [`Admin::summaries`].
    ///
    /// # Errors
    ///
    /// As [`read_trail`](Self::read_trail).
    pub async fn summaries(
        &self,
        parts: &Parts,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Result<Vec<Summary>, Rejection> {
        self.admin(parts).await?.summaries(from, to).await
    }
}

/// # For host code
///
/// What your application knows by itself, without a request that shows it.
impl Impersonation {
    /// Ends all sessions of an actor who signs out (rule [S4](crate::rules#s4)). Call it from your log-out, or set
    /// [`Builder::log_out_path`].
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, Rejection, UserId};
    /// # async fn log_out(impersonation: &Impersonation, user: &UserId) -> Result<(), Rejection> {
    /// let stopped = impersonation.log_out(user).await?;
    /// println!("{} sessions ended", stopped.sessions.len());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` if there are no sessions here or the clock fails. If the store fails,
    /// see [`Stopped::is_stored`].
    pub async fn log_out(&self, actor: &UserId) -> Result<Stopped, Rejection> {
        self.end_of(actor, EndedReason::AdminLogout).await
    }

    /// Ends all sessions of an actor who lost their role (rule [R8](crate::rules#r8)), without waiting for their
    /// next request to show it. Call it when an account is deleted or locked: no request of theirs could show that.
    ///
    /// # Errors
    ///
    /// As [`log_out`](Self::log_out).
    pub async fn demote(&self, actor: &UserId) -> Result<Stopped, Rejection> {
        self.end_of(actor, EndedReason::ActorDemoted).await
    }

    /// Drops what is kept of a user who has changed: the next acted request asks the directory again.
    pub fn forget_user(&self, id: &UserId) {
        if let Some(directory) = &self.engine.host.directory {
            directory.forget(id);
        }
    }

    async fn end_of(&self, actor: &UserId, reason: EndedReason) -> Result<Stopped, Rejection> {
        let ended = self.engine.end_all(actor, reason, Call::default()).await;
        ended.map_err(|refusal| refusal.rejection)
    }

    /// Hands out the credentials of a session that host code has just started; the HTTP API does this by itself.
    /// Without an issuer or tokens there are none.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`; the session has then been ended.
    pub async fn hand_out(&self, started: &SessionWithUser) -> Result<Credentials, Rejection> {
        self.engine.hand_out(&started.session).await
    }

    /// New credentials for a refresh token, if its session is active. `parts` are those of the request that asks,
    /// which needs no login.
    ///
    /// A refresh token is good once. If one comes a second time, someone else has it too, and its session ends.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidToken`, `Unavailable`, or `NotFound` if no tokens are set.
    pub async fn refresh(
        &self,
        parts: &Parts,
        refresh_token: &str,
    ) -> Result<Credentials, Rejection> {
        self.engine.refresh(parts, refresh_token).await
    }

    /// `Set-Cookie` values for a browser whose session was changed, since its cookie may live longer now.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` when the cookie cannot be signed.
    pub fn renewed_cookies(&self, session: &Session) -> Result<Vec<HeaderValue>, Rejection> {
        let cookie = self.engine.session_cookie(session);
        let cookie = cookie.map_err(|refusal| refusal.rejection)?;
        Ok(cookie.into_iter().collect())
    }

    /// `Set-Cookie` values for a browser whose session was stopped.
    #[must_use]
    pub fn cleared_cookies(&self) -> Vec<HeaderValue> {
        self.engine.cleared_cookies()
    }
}

/// # For pages and APIs around the core
///
/// The HTTP API, the console and the banner of `tower-impersonation-web` use nothing else, so you can write the
/// same for another framework.
impl Impersonation {
    /// A path with the marker of `subject` added, for links that lead in. Returns the path unchanged if
    /// [`without_query_parameter`](Builder::without_query_parameter) is set.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// # let impersonation = Impersonation::builder(checker, MemorySink::default())
    /// #     .handlers_read_acting_as()
    /// #     .build()?;
    /// let link = impersonation.marked("/orders?page=2", &"ines".parse()?);
    /// assert_eq!(link, "/orders?page=2&as=ines");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn marked(&self, path: &str, subject: &Subject) -> String {
        self.engine.sources.with_marker(path, subject)
    }

    /// The same address without the marker, for links that lead out.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// # let impersonation = Impersonation::builder(checker, MemorySink::default())
    /// #     .handlers_read_acting_as()
    /// #     .build()?;
    /// let out = impersonation.unmarked(&"/orders?as=ines&page=2".parse()?);
    /// assert_eq!(out, "/orders?page=2");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn unmarked(&self, uri: &Uri) -> Uri {
        self.engine.sources.without_marker(uri)
    }

    /// The names of the marker's query parameter and header, for scripts; `None` for one that is off.
    #[must_use]
    pub fn marker_names(&self) -> (Option<&str>, Option<&str>) {
        self.engine.sources.names()
    }

    /// Whether links keep the marker without help ([`Builder::sticky_marker`]); if so, scripts do not have to add
    /// it to them.
    #[must_use]
    pub fn is_sticky(&self) -> bool {
        self.engine.watch.is_some_and(|watch| watch.sticky)
    }

    /// Where the HTTP API and the console are mounted, and where browsers go after a start and a stop.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.engine.answers.places
    }

    /// Whether acting needs a started session.
    #[must_use]
    pub fn has_sessions(&self) -> bool {
        self.engine.sessions.store().is_some()
    }

    /// Whether the trail can be read.
    #[must_use]
    pub fn has_trail_reader(&self) -> bool {
        self.engine.reader.is_some()
    }

    /// Whether there is a directory, so that users can be searched.
    #[must_use]
    pub fn has_directory(&self) -> bool {
        self.engine.host.directory.is_some()
    }

    /// Whether sessions have tokens, which can be [refreshed](Self::refresh).
    #[must_use]
    pub fn has_tokens(&self) -> bool {
        #[cfg(feature = "jwt")]
        return self.engine.tokens.0.is_some();
        #[cfg(not(feature = "jwt"))]
        return false;
    }

    /// The time, by the [`Clock`](crate::clock::Clock) that was set.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` if the clock fails.
    pub fn now(&self) -> Result<OffsetDateTime, Rejection> {
        self.engine.now().map_err(|refusal| refusal.rejection)
    }

    /// Waits, by the [`Clock`](crate::clock::Clock) that was set.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    pub async fn sleep(&self, duration: Duration) {
        self.engine.host.calls.clock.sleep(duration).await;
    }

    /// The longest lifetime of a session, as set by [`Builder::max_lifetime`].
    #[must_use]
    pub fn max_lifetime(&self) -> Duration {
        self.engine.sessions.settings.max_lifetime
    }

    /// How many sessions an admin may have. [`Limits::admit`] says what a start would find in its way.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.engine.sessions.settings.limits
    }

    /// The users with these ids, as far as the directory answers: a name that is missing is no reason to refuse a
    /// page.
    pub async fn names<'i>(
        &self,
        ids: impl IntoIterator<Item = &'i UserId>,
    ) -> HashMap<UserId, DirectoryUser> {
        let mut ids: Vec<&UserId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        let Ok(now) = self.engine.now() else {
            return HashMap::new();
        };
        let users = self.engine.host.names(&ids, now).await;
        let named = users.into_iter().map(|user| (user.id().clone(), user));
        named.collect()
    }

    /// What happens to sessions from now on, here and on other replicas. If you pass it on, you decide who may know
    /// it.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, session::SessionChange};
    /// # async fn watch(impersonation: &Impersonation) {
    /// let mut feed = impersonation.feed();
    /// while let Some(change) = feed.next().await {
    ///     if let SessionChange::Ended(id, reason) = change {
    ///         println!("{id} has ended: {reason}");
    ///     }
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn feed(&self) -> SessionFeed {
        self.engine.sessions.feeds.subscribe()
    }

    /// A session by its id, to look up what a [`SessionFeed`] names. If you pass it on, you decide who may know it.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`.
    pub async fn session(&self, id: SessionId) -> Result<Option<Arc<Session>>, Rejection> {
        let found = self.engine.get(id).await;
        found.map_err(|refusal| refusal.rejection)
    }

    /// The response of a refusal as this host builds it ([`Builder::rejection_response`]), with what every refusal
    /// carries.
    #[must_use]
    pub fn response_of(&self, rejection: Rejection, parts: &Parts) -> Response<Bytes> {
        let engine = &self.engine;
        engine
            .answers
            .respond(rejection, parts, &engine.sources, false)
    }

    /// Puts on your own response what every refusal carries: its headers, and the [`Rejection`] in the extensions.
    ///
    /// ```
    /// # use bytes::Bytes;
    /// # use http::Response;
    /// # use tower_impersonation::{Impersonation, Rejection};
    /// fn page(impersonation: &Impersonation, rejection: Rejection) -> Response<Bytes> {
    ///     let mut page = Response::new(Bytes::from(format!("<p>{rejection}</p>")));
    ///     *page.status_mut() = rejection.kind().status();
    ///     impersonation.sealed(rejection, page)
    /// }
    /// ```
    #[must_use]
    pub fn sealed(&self, rejection: Rejection, response: Response<Bytes>) -> Response<Bytes> {
        rejection.seal(response)
    }

    /// Refuses a call that code around the core found to be cross-site or wrong. The refusal is recorded (rule
    /// [A3](crate::rules#a3)), with the caller if one is signed in.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection, RejectionKind};
    /// # async fn handler(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let kind = RejectionKind::CrossSite;
    /// return Err(impersonation.refuse(parts, None, kind, "another site sent the form").await);
    /// # }
    /// ```
    pub async fn refuse(
        &self,
        parts: &Parts,
        subject: Option<&Subject>,
        kind: RejectionKind,
        reason: impl Into<std::borrow::Cow<'static, str>>,
    ) -> Rejection {
        let refusal = self.engine.name_caller(parts, Refusal::of(kind, reason));
        let refusal = refusal.await;
        self.engine.refused(parts, subject, refusal)
    }
}

impl fmt::Debug for Impersonation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Impersonation")
            .field("sources", &self.engine.sources)
            .field("routes", &self.engine.routes)
            .field("sessions", &self.engine.sessions.settings)
            .finish_non_exhaustive()
    }
}

impl ImpersonationLayer {
    /// The layer with every setting at its default, without a directory and without sessions: each marked request
    /// stands alone, and `checker` decides.
    ///
    /// Handlers must read [`ActingAs`](crate::ActingAs) themselves
    /// ([`handlers_read_acting_as`](Builder::handlers_read_acting_as)): what authentication left in the extensions
    /// is still the actor's. If your handlers know nothing of impersonation, use [`Impersonation::builder`] with
    /// [`assume`](Builder::assume).
    ///
    /// ```
    /// use tower_impersonation::{
    ///     Actor, Caller, Decision, Grant, ImpersonationLayer, Rank, UserId, audit::TracingSink, checker_fn,
    /// };
    ///
    /// let checker = checker_fn(
    ///     |parts| match parts.extensions.get::<UserId>() {
    ///         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(1))),
    ///         None => Caller::Anonymous,
    ///     },
    ///     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
    /// );
    /// let layer = ImpersonationLayer::new(checker, TracingSink);
    /// ```
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    pub fn new(checker: impl AdminChecker, audit: impl AuditSink) -> Self {
        let builder = Impersonation::builder(checker, audit).handlers_read_acting_as();
        Self::of(builder.build().expect("the defaults are valid").engine)
    }

    /// The handle behind the layer.
    #[must_use]
    pub fn impersonation(&self) -> Impersonation {
        Impersonation {
            engine: self.engine.clone(),
        }
    }
}
