//! Lists of sessions: which, which part, what was found.

use std::sync::Arc;

use time::OffsetDateTime;

use crate::words::{Session, SessionId, Subject, SubjectKind, UserId};

/// Which sessions to list. `None` does not filter.
///
/// ```
/// # use http::request::Parts;
/// # use tower_impersonation::{Impersonation, Rejection};
/// use tower_impersonation::session::{Page, SessionFilter};
///
/// # async fn list(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
/// let mut filter = SessionFilter::default();
/// filter.is_active = Some(true);
/// let mut page = Page::default();
/// page.limit = 20;
/// let list = impersonation.list(parts, filter, page).await?;
/// println!("{} of {}", list.sessions.len(), list.total);
/// # Ok(())
/// # }
/// ```
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

/// A part of a list, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Page {
    /// At most this many sessions.
    pub limit: usize,
    /// Skips this many of the newest.
    pub offset: usize,
    /// Only sessions older than this one: [`SessionList`] says where its next page starts.
    pub before: Option<SessionId>,
}

/// What [`SessionStore::list`](super::SessionStore::list) found.
#[derive(Debug, Clone, Default)]
pub struct SessionList {
    /// The sessions of the page, newest first.
    pub sessions: Vec<Arc<Session>>,
    /// How many the filter matches in all. A store may stop counting at a number that it documents.
    pub total: u64,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<SessionId>,
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
