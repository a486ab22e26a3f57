//! Sessions starting and ending, as server-sent events.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::body::Bytes;
use http::request::Parts;
use tokio::sync::broadcast::{self, error::RecvError};

use super::{stream::Writer, wire::SessionView};
use crate::{
    guarded::race,
    identity::{Actor, Rights},
    impersonation::Impersonation,
    session::{Session, SessionChange, SessionId},
};

/// News that may wait for a slow reader; whoever is slower is told to look again.
const MOST_WAITING: usize = 256;
/// So that proxies keep a quiet stream open, and one whose reader is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);

/// Starts and ends that are remembered, so that each is passed on once: a store may tell of its own, and hear of it
/// again from the database.
const REMEMBERED: usize = 1_000;

/// Passes on what the store tells, to those who want to hear of sessions. Clones share them.
#[derive(Clone)]
pub(crate) struct News {
    readers: broadcast::Sender<Change>,
    told: Arc<Mutex<VecDeque<Told>>>,
}

#[derive(PartialEq)]
enum Told {
    Start(SessionId),
    End(SessionId),
}

/// Something that happened to a session.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Started(Arc<Session>),
    Ended(SessionId),
    Updated(Arc<Session>),
    Lost,
}

/// What a stream waits for.
enum Next {
    Change(Change),
    Quiet,
    Over,
}

// === impl News ===

impl News {
    /// Each start and each end once; what has changed in between as often as it is told.
    pub(crate) fn tell(&self, change: &SessionChange) {
        let (told, change) = match change {
            SessionChange::Started(session) => (
                Some(Told::Start(session.id)),
                Change::Started(session.clone()),
            ),
            SessionChange::Ended(id, _) => (Some(Told::End(*id)), Change::Ended(*id)),
            SessionChange::Updated(session) => (None, Change::Updated(session.clone())),
            SessionChange::Unknown => (None, Change::Lost),
        };
        if told.is_none_or(|told| self.is_first(told)) {
            // An error means that nobody listens.
            let _ = self.readers.send(change);
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.readers.subscribe()
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

impl Default for News {
    fn default() -> Self {
        Self {
            readers: broadcast::Sender::new(MOST_WAITING),
            told: Arc::default(),
        }
    }
}

// === the stream ===

/// Writes what happens for as long as someone reads it and may know it.
pub(super) async fn stream(
    impersonation: Impersonation,
    parts: Parts,
    mut changes: broadcast::Receiver<Change>,
    writer: Writer,
) {
    // Something to begin with, so that the reader knows that it is connected.
    let mut next = Some(Bytes::from_static(b"retry: 3000\n\n"));
    let inner = &impersonation.inner;
    loop {
        if let Some(bytes) = next.take()
            && writer.send(Ok(bytes)).await.is_err()
        {
            return;
        }
        let change = async {
            Next::Change(match changes.recv().await {
                Ok(change) => change,
                Err(RecvError::Lagged(_)) => Change::Lost,
                Err(RecvError::Closed) => return Next::Over,
            })
        };
        let quiet = async {
            inner.clock.sleep(QUIET).await;
            Next::Quiet
        };
        let over = async {
            writer.closed().await;
            Next::Over
        };
        let happened = race(change, race(over, quiet)).await;
        // Who was an admin at the beginning may be none now (rule R8).
        let Ok(actor) = inner.unacted_actor(&parts).await else {
            return;
        };
        next = match happened {
            Next::Over => return,
            Next::Quiet => Some(Bytes::from_static(b":\n\n")),
            Next::Change(change) => event(&impersonation, &actor, change).await,
        };
    }
}

/// The change as an event, if this actor may know of it.
async fn event(impersonation: &Impersonation, actor: &Actor, change: Change) -> Option<Bytes> {
    let inner = &impersonation.inner;
    let (name, session) = match change {
        Change::Started(session) => ("started", session),
        Change::Updated(session) => ("updated", session),
        Change::Ended(id) => {
            let sessions = inner.store().ok()?;
            let found = inner.ask("session store", async { sessions.get(id).await });
            ("ended", found.await.ok()??)
        }
        Change::Lost => return Some(Bytes::from_static(b"event: lost\ndata: {}\n\n")),
    };
    let may_know = session.actor == *actor.id() || actor.rights().contains(Rights::LIST_SESSIONS);
    if !may_know {
        return None;
    }
    let now = inner.clock.now().ok()?;
    // JSON has no line break in it.
    let data = serde_json::to_string(&SessionView::new(&session, now)).ok()?;
    Some(Bytes::from(format!(
        "event: {name}\nid: {}\ndata: {data}\n\n",
        session.id
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::OffsetDateTime;
    use uuid::Uuid;

    use super::*;
    use crate::{identity::Subject, session::EndedReason};

    fn session(number: u128) -> Arc<Session> {
        let at = OffsetDateTime::UNIX_EPOCH;
        let (actor, id) = ("ada".parse().unwrap(), SessionId(Uuid::from_u128(number)));
        Arc::new(Session::new(id, actor, Subject::Anonymous, "r", at, at))
    }

    #[test]
    fn s9_what_a_store_tells_twice_is_passed_on_once() {
        let news = News::default();
        let mut reader = news.subscribe();
        let one = session(1);
        let started = || SessionChange::Started(one.clone());
        let ended = || SessionChange::Ended(one.id, EndedReason::Manual);
        // By itself, and again when the database has told it: in order, or late.
        for change in [started(), started(), ended(), started(), ended()] {
            news.tell(&change);
        }
        news.tell(&SessionChange::Started(session(2)));
        assert!(matches!(reader.try_recv().unwrap(), Change::Started(s) if s.id == one.id));
        assert!(matches!(reader.try_recv().unwrap(), Change::Ended(id) if id == one.id));
        assert!(matches!(reader.try_recv().unwrap(), Change::Started(s) if s.id != one.id));
        assert!(reader.try_recv().is_err());
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let news = News::default();
        for number in 0..2 * REMEMBERED as u128 {
            news.tell(&SessionChange::Started(session(number)));
        }
        assert_eq!(news.told.lock().unwrap().len(), REMEMBERED);
    }
}
