//! [`SessionFeed`]: what happens to sessions, for host code that watches.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::broadcast::{self, error::RecvError};

use super::SessionChange;
use crate::words::SessionId;

/// Changes that may wait for a slow reader.
const MOST_WAITING: usize = 256;

/// How many starts and ends are remembered, so that each is passed on once: a store may report its own change and
/// then hear of it again from the database.
const REMEMBERED: usize = 1_000;

/// Changes of sessions as they happen, on this replica and on others. From
/// [`Impersonation::feed`](crate::Impersonation::feed).
///
/// Each start and each end comes once. Nothing is filtered: if you pass changes on, you decide who may know them.
pub struct SessionFeed(broadcast::Receiver<SessionChange>);

/// Passes on what the store tells. Clones share their readers.
#[derive(Clone)]
pub(crate) struct Feeds {
    readers: broadcast::Sender<SessionChange>,
    told: Arc<Mutex<VecDeque<Told>>>,
}

#[derive(PartialEq)]
enum Told {
    Start(SessionId),
    End(SessionId),
}

// === impl SessionFeed ===

impl SessionFeed {
    /// Waits for the next change. A reader that was too slow gets [`SessionChange::Unknown`] in place of what it
    /// missed. `None` when there will be no more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<SessionChange> {
        match self.0.recv().await {
            Ok(change) => Some(change),
            Err(RecvError::Lagged(_)) => Some(SessionChange::Unknown),
            Err(RecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for SessionFeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionFeed")
            .field("waiting", &self.0.len())
            .finish()
    }
}

// === impl Feeds ===

impl Feeds {
    /// Each start and each end once; what has changed in between as often as it is told.
    pub(crate) fn tell(&self, change: &SessionChange) {
        let told = match change {
            SessionChange::Started(session) => Some(Told::Start(session.id)),
            SessionChange::Ended(id, _) => Some(Told::End(*id)),
            SessionChange::Updated(_) | SessionChange::Unknown => None,
        };
        if told.is_none_or(|told| self.is_first(told)) {
            // An error means that nobody listens.
            let _ = self.readers.send(change.clone());
        }
    }

    pub(crate) fn subscribe(&self) -> SessionFeed {
        SessionFeed(self.readers.subscribe())
    }

    fn is_first(&self, what: Told) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !told.contains(&what);
        if is_first {
            told.truncate(REMEMBERED - 1);
            told.push_front(what);
        }
        is_first
    }
}

impl Default for Feeds {
    fn default() -> Self {
        Self {
            readers: broadcast::Sender::new(MOST_WAITING),
            told: Arc::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::words::{EndedReason, Session, Subject};

    fn session(number: u128) -> Arc<Session> {
        let at = OffsetDateTime::UNIX_EPOCH;
        let (actor, id) = ("ada".parse().unwrap(), SessionId(Uuid::from_u128(number)));
        Arc::new(Session::new(id, actor, Subject::Anonymous, "r", at, at))
    }

    #[test]
    fn s9_what_a_store_tells_twice_is_passed_on_once() {
        let feeds = Feeds::default();
        let mut reader = feeds.subscribe().0;
        let one = session(1);
        let started = || SessionChange::Started(one.clone());
        let ended = || SessionChange::Ended(one.id, EndedReason::Manual);
        // By itself, and again when the database has told it: in order, or late.
        for change in [started(), started(), ended(), started(), ended()] {
            feeds.tell(&change);
        }
        feeds.tell(&SessionChange::Started(session(2)));
        assert!(matches!(reader.try_recv().unwrap(), SessionChange::Started(s) if s.id == one.id));
        assert!(matches!(reader.try_recv().unwrap(), SessionChange::Ended(id, _) if id == one.id));
        assert!(matches!(reader.try_recv().unwrap(), SessionChange::Started(s) if s.id != one.id));
        assert!(reader.try_recv().is_err());
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let feeds = Feeds::default();
        for number in 0..2 * REMEMBERED as u128 {
            feeds.tell(&SessionChange::Started(session(number)));
        }
        assert_eq!(feeds.told.lock().unwrap().len(), REMEMBERED);
    }
}
