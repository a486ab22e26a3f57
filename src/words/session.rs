//! A [`Session`]: who acts as whom, why, how far, from when to when, and how it ended.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    identity::{Access, Rank, Subject, UserId},
    open::open_words,
};

/// A session's id: a UUID v7, so that newer ones sort after older ones (rule [S7](crate::rules#s7)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

/// A started, bounded, reasoned permission of one actor to act as one subject (rule [S7](crate::rules#s7)).
///
/// Stores make one with [`Session::new`] and fill in the other fields from their rows.
///
/// ```
/// use time::{Duration, macros::datetime};
/// use tower_impersonation::{Subject, session::{EndedReason, Session, SessionId}};
///
/// let noon = datetime!(2026-11-20 12:00 UTC);
/// let session = Session::new(
///     SessionId(uuid::Uuid::now_v7()),
///     "ada".parse()?,
///     Subject::User("ines".parse()?),
///     "ticket 4711: cannot pay",
///     noon,
///     noon + Duration::HOUR,
/// );
/// assert!(session.is_active(noon));
/// assert!(!session.is_active(session.expires_at), "at its very end it is over");
/// assert!(!session.ended(EndedReason::Manual, noon).is_active(noon));
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Session {
    /// The session's id.
    pub id: SessionId,
    /// Who acts.
    pub actor: UserId,
    /// The actor's rank at the start. An actor who falls below it counts as demoted (rule [R8](crate::rules#r8)).
    pub actor_rank: Rank,
    /// As whom.
    pub subject: Subject,
    /// The subject's role at the start.
    pub role: Option<Arc<str>>,
    /// What the session may do.
    pub access: Access,
    /// Why: not blank, trimmed, at most 500 characters (rule [S1](crate::rules#s1)).
    pub reason: Arc<str>,
    /// The case that this belongs to, as your tools write it.
    pub ticket: Option<Arc<str>>,
    /// When it started.
    pub started_at: OffsetDateTime,
    /// When it is over at the latest; at exactly this time it is over (rule [S4](crate::rules#s4)).
    pub expires_at: OffsetDateTime,
    /// How long it lives without an acted request.
    pub idle_timeout: Duration,
    /// The last acted request that the store knows of; the start, if there was none.
    pub last_seen_at: OffsetDateTime,
    /// When it ended, if it did.
    pub ended_at: Option<OffsetDateTime>,
    /// Why it ended, if it did.
    pub ended_reason: Option<EndedReason>,
    /// Where the start came from (rule [R18](crate::rules#r18)).
    pub address: Option<IpAddr>,
    /// The `User-Agent` of the start, cut at 256 bytes.
    pub user_agent: Option<Arc<str>>,
}

open_words! {
    /// Why a session ended (rule [S4](crate::rules#s4)).
    ///
    /// A reason that a newer release wrote reads as [`Other`](Self::Other), so that replicas can be updated one by
    /// one (rule [A6](crate::rules#a6)).
    pub enum EndedReason {
        /// The actor stopped.
        Manual = "manual",
        /// The lifetime was over.
        Timeout = "timeout",
        /// There was no acted request for too long.
        Idle = "idle",
        /// The actor signed out.
        AdminLogout = "admin_logout",
        /// Another admin ended it.
        SessionRevoked = "session_revoked",
        /// The actor lost the right to it.
        ActorDemoted = "actor_demoted",
        /// The subject was deleted, promoted, or may no longer be acted as.
        SubjectGone = "subject_gone",
        /// The actor started another one.
        Replaced = "replaced",
        /// The actor removed the marker from the address bar (rule [R20](crate::rules#r20)).
        MarkerRemoved = "marker_removed",
    }
}

/// The kind of a subject: the `impersonation_type` of the HTTP contract.
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

// === impl Session ===

impl Session {
    /// A session with the required parts: read-only, without an idle limit.
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

    /// Whether it has neither ended nor reached its lifetime at `now`. It may have been idle for too long.
    #[must_use]
    pub fn is_open(&self, now: OffsetDateTime) -> bool {
        self.ended_at.is_none() && now < self.expires_at
    }

    /// Whether it may still be used at `now` (rule [S4](crate::rules#s4)).
    #[must_use]
    pub fn is_active(&self, now: OffsetDateTime) -> bool {
        self.ended_at.is_none() && self.due(now).is_none()
    }

    /// Why and when it ran out, if it has by `now` and has not been ended yet.
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

// === impl SessionId ===

impl FromStr for SessionId {
    type Err = uuid::Error;

    fn from_str(id: &str) -> Result<Self, uuid::Error> {
        id.parse().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId({})", self.0)
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
