//! Sessions: a started, bounded, reasoned permission to act, and where they are kept.
//!
//! [`SessionStore`] is the boundary. This crate ships [`MemorySessions`] for one process and [`Cached`],
//! which keeps answers of a slower store; `conformance` (feature of that name) is what every
//! store has to pass, yours included.

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{
    BoxError,
    event::AuditEvent,
    identity::{Access, Rank, Subject, UserId},
};

mod cached;
#[cfg(feature = "conformance")]
pub mod conformance;
pub(crate) mod live;
mod memory;

pub use self::{cached::Cached, memory::MemorySessions};
pub use crate::identity::SessionId;

/// The window of rule S3.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A started, bounded, reasoned permission of one actor to act as one subject (rule S7).
///
/// Stores make one with [`Session::new`] and fill in the other fields from their rows.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// Who acts.
    pub actor: UserId,
    /// The actor's rank at the start: whoever falls below it is demoted (rule R8).
    pub actor_rank: Rank,
    /// As whom.
    pub subject: Subject,
    /// The subject's role at the start.
    pub role: Option<Arc<str>>,
    /// What the session may do.
    pub access: Access,
    /// Why: not blank, trimmed, at most 500 characters (rule S1).
    pub reason: Arc<str>,
    /// The case that this belongs to, as the host's tools write it.
    pub ticket: Option<Arc<str>>,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// When it is over at the latest. At this very time it is over (rule S4).
    pub expires_at: OffsetDateTime,
    /// It is over after this time without an acted request.
    pub idle_timeout: Duration,
    /// The last acted request that the store knows of; the start, when there was none.
    pub last_seen_at: OffsetDateTime,
    /// When it ended, if it did.
    pub ended_at: Option<OffsetDateTime>,
    /// Why it ended, if it did.
    pub ended_reason: Option<EndedReason>,
    /// Where the start came from (rule R18).
    pub address: Option<IpAddr>,
    /// What the start came with, at most 256 bytes.
    pub user_agent: Option<Arc<str>>,
}

/// Why a session ended (rule S4).
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndedReason {
    /// The actor stopped.
    Manual,
    /// The lifetime was over.
    Timeout,
    /// No acted request for too long.
    Idle,
    /// The actor signed out.
    AdminLogout,
    /// Another admin ended it.
    SessionRevoked,
    /// The actor lost the right to it.
    ActorDemoted,
    /// The subject was deleted, promoted, or may no longer be acted as.
    SubjectGone,
    /// The actor started another one.
    Replaced,
    /// The actor took the marker out of the address bar (rule R20).
    MarkerRemoved,
}

/// How many sessions an actor may have, checked by the store in the step that inserts (rules S2, S3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Active sessions per actor. Two for the same subject are never active at once.
    pub active: usize,
    /// A start ends what stands in its way, instead of being refused.
    pub replace: bool,
    /// Starts per actor within any 60 minutes.
    pub starts_per_hour: u32,
}

/// What [`SessionStore::start`] did.
#[derive(Debug, Clone)]
pub struct Started {
    /// The new session.
    pub session: Arc<Session>,
    /// What ended with it: replaced ones, and those that were overdue.
    pub ended: Vec<Arc<Session>>,
}

/// Why a session was not started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The actor has as many as allowed, or one for this very subject (rule S2).
    #[error("the actor has an active session")]
    AlreadyActive,
    /// Too many starts within the hour (rule S3).
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

/// What is to change in an active session (rule S6). `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionUpdate {
    /// The new access.
    pub access: Option<Access>,
    /// The new end.
    pub expires_at: Option<OffsetDateTime>,
}

/// Which sessions to list. `None` does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionFilter {
    /// Those of this actor.
    pub actor: Option<UserId>,
    /// Those for this subject.
    pub subject: Option<Subject>,
    /// Those for this kind of subject: `user`, `anon` or `service`.
    pub kind: Option<SubjectKind>,
    /// Only the active, or only the ended.
    pub is_active: Option<bool>,
    /// Started then or later.
    pub from: Option<OffsetDateTime>,
    /// Started before then.
    pub to: Option<OffsetDateTime>,
}

/// The kind of a subject: the `impersonation_type` of the HTTP contract.
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubjectKind {
    /// A user.
    User,
    /// The anonymous visitor.
    Anon,
    /// The service role.
    Service,
}

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// At most this many.
    pub limit: usize,
    /// Without this many of the newest.
    pub offset: usize,
    /// Only those older than this one.
    pub before: Option<SessionId>,
}

/// What [`SessionStore::list`] found.
#[derive(Debug, Clone, Default)]
pub struct SessionList {
    /// The sessions of the page, newest first.
    pub sessions: Vec<Arc<Session>>,
    /// How many the filter matches in all. A store may stop counting at a number that it documents.
    pub total: u64,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<SessionId>,
}

/// Something that happened to sessions, here or on another replica. The same may be told more than once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SessionChange {
    /// It started.
    Started(Arc<Session>),
    /// It ended.
    Ended(SessionId, EndedReason),
    /// Its access or its end changed.
    Updated(Arc<Session>),
    /// Anything may have happened: news were lost, forget what you know.
    Unknown,
}

/// Hears of changes; must not block.
pub type SessionListener = Arc<dyn Fn(&SessionChange) + Send + Sync>;

/// Keeps sessions.
///
/// Each method is one atomic step. Times come from the caller, so that all of a process agree on them.
/// A session that is past its end is not active, whether or not anyone has ended it yet.
///
/// # Cancel safety
///
/// A future that is dropped has either done its step or nothing.
#[async_trait]
pub trait SessionStore: Send + Sync + 'static {
    /// Whether [`start`](Self::start) would be admitted now. A cheap look that promises nothing.
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError>;

    /// Inserts `session` if the limits allow it: check and insert are one step (rule S2). An id that
    /// another session has, ended or not, is a failure of the store.
    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError>;

    /// The same, with the event of the start written in the same transaction: for a store whose database
    /// also has the trail, the whole trail, and that was told so. Then there is neither a session without
    /// its event nor an event without its session.
    ///
    /// `None`, the default: this store cannot, and nothing was done. Then the event is written before, and
    /// [`start`](Self::start) comes after it (rule A1). A store whose connections are limited must not wait here for
    /// the trail's writer, which may wait for one of them.
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

    /// The same, if it can be told without waiting. `None` means: ask [`active`](Self::active). The
    /// default never knows.
    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        let _ = (actor, subject, now);
        None
    }

    /// The session with this id, ended or not.
    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError>;

    /// Ends an active session. `None` when there is none to end: then nothing was changed.
    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError>;

    /// Ends those that are past their end and returns them, each to one caller only. At most `limit`.
    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError>;

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

    /// Calls `listener` on every change from now on, those of other replicas included (rule S9).
    fn subscribe(&self, listener: SessionListener);

    /// Whether news of other replicas come in now. While they do not, nobody may keep an answer of this store:
    /// it has to be asked each time. The default: always.
    fn hears_all(&self) -> bool {
        true
    }
}

// === impl Session ===

impl Session {
    /// A session with the required parts; read-only, with no idle limit of its own.
    #[must_use]
    pub fn new(
        id: SessionId,
        actor: UserId,
        subject: Subject,
        reason: impl Into<Arc<str>>,
        started_at: OffsetDateTime,
        expires_at: OffsetDateTime,
    ) -> Self {
        Self {
            id,
            actor,
            actor_rank: Rank::default(),
            subject,
            role: None,
            access: Access::ReadOnly,
            reason: reason.into(),
            ticket: None,
            started_at,
            expires_at,
            idle_timeout: Duration::MAX,
            last_seen_at: started_at,
            ended_at: None,
            ended_reason: None,
            address: None,
            user_agent: None,
        }
    }

    /// Neither ended nor past its lifetime at `now`; it may have been idle for too long.
    #[must_use]
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }

    /// Whether it may still be used at `now` (rule S4).
    #[must_use]
    pub fn is_active(&self, now: OffsetDateTime) -> bool {
        self.ended_at.is_none() && self.due(now).is_none()
    }

    /// Why and when it came to its end by itself, if it has by `now` and nobody has ended it yet.
    #[must_use]
    pub fn due(&self, now: OffsetDateTime) -> Option<(EndedReason, OffsetDateTime)> {
        if self.ended_at.is_some() {
            return None;
        }
        let idle_at = self.last_seen_at.checked_add(
            time::Duration::try_from(self.idle_timeout).unwrap_or(time::Duration::MAX),
        );
        match idle_at {
            Some(idle_at) if idle_at < self.expires_at => {
                (now >= idle_at).then_some((EndedReason::Idle, idle_at))
            }
            _ => (now >= self.expires_at).then_some((EndedReason::Timeout, self.expires_at)),
        }
    }

    /// The same session, ended.
    #[must_use]
    pub fn ended(&self, reason: EndedReason, at: OffsetDateTime) -> Self {
        Self {
            ended_at: Some(at),
            ended_reason: Some(reason),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("actor", &self.actor)
            .field("subject", &self.subject)
            .field("access", &self.access)
            .field("ended_reason", &self.ended_reason)
            .finish_non_exhaustive()
    }
}

// === impl EndedReason ===

impl EndedReason {
    /// The reason as it is written in the contract and the trail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::AdminLogout => "admin_logout",
            Self::SessionRevoked => "session_revoked",
            Self::ActorDemoted => "actor_demoted",
            Self::SubjectGone => "subject_gone",
            Self::Replaced => "replaced",
            Self::MarkerRemoved => "marker_removed",
        }
    }
}

impl fmt::Display for EndedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
    /// Decides on a start: the sessions that it has to end, or why it may not be (rules S2, S3).
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

// === impl SessionFilter ===

impl SessionFilter {
    /// Whether this session is among those asked for.
    #[must_use]
    pub fn matches(&self, session: &Session, now: OffsetDateTime) -> bool {
        let is = |wanted: &Option<UserId>, it: &UserId| wanted.as_ref().is_none_or(|w| w == it);
        is(&self.actor, &session.actor)
            && self.subject.as_ref().is_none_or(|s| *s == session.subject)
            && self.kind.is_none_or(|kind| kind.is_of(&session.subject))
            && self.is_active.is_none_or(|a| a == session.is_active(now))
            && self.from.is_none_or(|from| session.started_at >= from)
            && self.to.is_none_or(|to| session.started_at < to)
    }
}

// === impl SubjectKind ===

impl SubjectKind {
    /// `user`, `anon` or `service`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Anon => "anon",
            Self::Service => "service",
        }
    }

    pub(crate) fn is_of(self, subject: &Subject) -> bool {
        matches!(
            (self, subject),
            (Self::User, Subject::User(_))
                | (Self::Anon, Subject::Anonymous)
                | (Self::Service, Subject::Service)
        )
    }
}

// === impl Page ===

impl Default for Page {
    fn default() -> Self {
        Self {
            limit: 50,
            offset: 0,
            before: None,
        }
    }
}

#[cfg(test)]
mod tests;
