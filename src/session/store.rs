//! [`SessionStore`], the boundary: what it keeps, what it must do in one step, and what it tells.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::list::{Page, SessionFilter, SessionList};
use crate::words::{
    Access, AuditEvent, BoxError, Call, EndedReason, Session, SessionId, Subject, UserId,
};

/// The window of rule [S3](crate::rules#s3).
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A change of sessions, here or on another replica. A store may report the same change more than once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionChange {
    /// It started.
    Started(Arc<Session>),
    /// It ended.
    Ended(SessionId, EndedReason),
    /// Its access or its end changed.
    Updated(Arc<Session>),
    /// Changes were lost, so anything may have happened: forget what you know.
    Unknown,
}

/// Called on every change; must not block.
pub type SessionListener = Arc<dyn Fn(&SessionChange) + Send + Sync>;

/// How many sessions an actor may have, checked by the store in the step that inserts (rules [S2](crate::rules#s2),
/// [S3](crate::rules#s3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Active sessions per actor. Two for the same subject are never active at once.
    pub active: usize,
    /// A start ends the sessions in its way instead of being refused.
    pub replace: bool,
    /// Starts per actor within any 60 minutes.
    pub starts_per_hour: u32,
}

/// What [`SessionStore::start`] did.
#[derive(Debug, Clone)]
pub struct Started {
    /// The new session.
    pub session: Arc<Session>,
    /// Sessions that this start ended: replaced ones, and overdue ones.
    pub ended: Vec<Arc<Session>>,
}

/// Why a session was not started. The store has changed nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The actor has as many as allowed, or one for this very subject (rule [S2](crate::rules#s2)).
    #[error("the actor has an active session")]
    AlreadyActive,
    /// Too many starts within the hour (rule [S3](crate::rules#s3)).
    #[error("too many starts; the next is possible in {retry_after:?}")]
    TooManyStarts {
        /// How long until the next one is possible.
        retry_after: Duration,
    },
    /// The store failed.
    #[error("the session store failed")]
    Store(#[source] BoxError),
    /// A store that writes the start's event itself ([`SessionStore::start_recorded`]) could not.
    #[error("the start could not be recorded")]
    Trail(#[source] BoxError),
}

/// What is to change in an active session (rule [S6](crate::rules#s6)). `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionUpdate {
    /// The new access.
    pub access: Option<Access>,
    /// The new end.
    pub expires_at: Option<OffsetDateTime>,
}

/// Keeps sessions.
///
/// Each method is one atomic step. Times come from the caller, so that everything in a process agrees on them. A
/// session past its end is not active, whether or not anyone has ended it yet.
///
/// # Writing a store
///
/// 1. Put the check and the insert of [`start`](Self::start) into one transaction, and let [`Limits::admit`] decide: a
///    hundred parallel starts must leave one session.
/// 2. Report every change to the listeners of [`subscribe`](Self::subscribe), including changes that other replicas
///    make.
/// 3. If changes can get lost, say so with [`SessionChange::Unknown`], and with [`hears_all`](Self::hears_all)
///    while they do.
/// 4. A store that outlives its process also implements [`unconfirmed_ends`](Self::unconfirmed_ends) and
///    [`confirm_ends`](Self::confirm_ends), so that no end stays without its event, and [`spend`](Self::spend) if
///    acting tokens are to be refreshed.
/// 5. Run the suite in `conformance` against it.
///
/// # Cancel safety
///
/// A future that is dropped has either done its step or nothing.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Whether [`start`](Self::start) would be admitted now. A cheap preview that promises nothing: it only spares
    /// the trail the event of a start that would be refused.
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError>;

    /// Inserts `session` if the limits allow it: check and insert are one step (rule [S2](crate::rules#s2)). An id that
    /// another session has, ended or not, is a failure of the store.
    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError>;

    /// The same, with the event of the start written in the same transaction: for a store whose database also holds the
    /// whole trail, and that was told so. Then there is never a session without its event, nor an event without its
    /// session. The ends of sessions that it ends are recorded too, as by [`end_recorded`](Self::end_recorded).
    ///
    /// Default: `None`, which means that this store cannot, and has done nothing. The caller then writes the event
    /// first and calls [`start`](Self::start) after it (rule [A1](crate::rules#a1)). A store whose connections are
    /// limited must not wait here for the trail's writer, which may wait for one of them.
    async fn start_recorded(
        &self,
        session: &Session,
        limits: &Limits,
        event: &AuditEvent,
    ) -> Option<Result<Started, StartError>> {
        let _ = (session, limits, event);
        None
    }

    /// The session of this actor for this subject that has neither ended nor reached `expires_at`. Whether
    /// it has been idle for too long is judged by the caller, who may know of later requests.
    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError>;

    /// The same, if the answer is known without waiting. `None` means: ask [`active`](Self::active). Default:
    /// always `None`.
    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        let _ = (actor, subject, now);
        None
    }

    /// The session with this id, ended or not.
    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError>;

    /// Ends an active session. `None` when there is none to end: then nothing was changed.
    ///
    /// When this returns, no replica serves the session any more (rule [S9](crate::rules#s9)): a store that is shared
    /// tells the others, and waits until each has forgotten it or has to ask the store again.
    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError>;

    /// The same, with the event of the end, [`AuditEvent::end_of`], written in the same transaction: for a store whose
    /// database also has the whole trail (rule [A1](crate::rules#a1)).
    ///
    /// `None`, the default: this store cannot, and nothing was done. Then the event follows [`end`](Self::end).
    async fn end_recorded(
        &self,
        id: SessionId,
        reason: EndedReason,
        call: &Call,
        now: OffsetDateTime,
    ) -> Option<Result<Option<Arc<Session>>, BoxError>> {
        let _ = (id, reason, call, now);
        None
    }

    /// Ends those that are past their end and returns them, each to one caller only. At most `limit`.
    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError>;

    /// Sessions that ended before `before` and whose end is not confirmed to be in the trail: the process that
    /// ended them died, or someone ended them by hand. At most `limit`, oldest first.
    ///
    /// The caller writes their events, repeatedly if need be (it is the same event each time), and confirms them with
    /// [`confirm_ends`](Self::confirm_ends). Default: none, right for a store that does not outlive its process.
    async fn unconfirmed_ends(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        let _ = (before, limit);
        Ok(Vec::new())
    }

    /// The ends of these sessions are durable in the trail.
    async fn confirm_ends(&self, ids: &[SessionId]) -> Result<(), BoxError> {
        let _ = ids;
        Ok(())
    }

    /// Spends one of the session's refresh tokens, by its id. `false` if it has been spent before, which means that
    /// someone else has it too. Remember spent tokens at least as long as their session is active.
    ///
    /// Default: an error, because a store that does not remember spent tokens must not refresh any.
    async fn spend(&self, id: SessionId, token: Uuid) -> Result<bool, BoxError> {
        let _ = (id, token);
        Err("this session store does not remember refresh tokens".into())
    }

    /// Notes that there was an acted request. Never moves `last_seen_at` back.
    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError>;

    /// The same for several sessions. The default asks [`touch`](Self::touch) for each; a store in a
    /// database does it in one statement.
    async fn touch_all(&self, seen: &[(SessionId, OffsetDateTime)]) -> Result<(), BoxError> {
        for (id, seen_at) in seen {
            self.touch(*id, *seen_at).await?;
        }
        Ok(())
    }

    /// Changes an active session. `None` when it is not active: then nothing was changed.
    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError>;

    /// Lists sessions, newest first.
    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError>;

    /// Calls `listener` on every change from now on, those of other replicas included (rule [S9](crate::rules#s9)).
    fn subscribe(&self, listener: SessionListener);

    /// Whether changes by other replicas are coming in right now. While they are not, answers of this store may not be
    /// kept: it has to be asked each time. Default: `true`, right for a store without other replicas.
    fn hears_all(&self) -> bool {
        true
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            active: 1,
            replace: false,
            starts_per_hour: 10,
        }
    }
}

impl Limits {
    /// Decides on a start: the sessions that it has to end, or why it may not be (rules [S2](crate::rules#s2),
    /// [S3](crate::rules#s3)).
    ///
    /// Every store calls this within its atomic step. `active` are the actor's active sessions, oldest
    /// first; `starts` the times of the actor's starts, oldest first.
    ///
    /// # Errors
    ///
    /// [`StartError::AlreadyActive`] or [`StartError::TooManyStarts`].
    pub fn admit<'s>(
        &self,
        subject: &Subject,
        active: &'s [Arc<Session>],
        starts: &[OffsetDateTime],
        now: OffsetDateTime,
    ) -> Result<Vec<&'s Arc<Session>>, StartError> {
        let (mut in_the_way, others): (Vec<_>, Vec<_>) = active
            .iter()
            .partition(|session| session.subject == *subject);
        let surplus = (others.len() + 1).saturating_sub(self.active.max(1));
        in_the_way.extend(others.into_iter().take(surplus));
        if !in_the_way.is_empty() && !self.replace {
            return Err(StartError::AlreadyActive);
        }
        let recent = starts.partition_point(|start| now - *start >= HOUR);
        let recent = &starts[recent..];
        let most = self.starts_per_hour as usize;
        if recent.len() >= most {
            // Room is made when the oldest of the last `most` leaves the window.
            let oldest = recent.get(recent.len() - most).copied().unwrap_or(now);
            let retry_after = Duration::try_from(oldest + HOUR - now).unwrap_or(HOUR);
            return Err(StartError::TooManyStarts { retry_after });
        }
        Ok(in_the_way)
    }

    /// Starts before this time no longer count.
    #[must_use]
    pub fn window_start(now: OffsetDateTime) -> OffsetDateTime {
        now - HOUR
    }
}
