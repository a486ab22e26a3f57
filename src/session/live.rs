//! What this process knows of the sessions that act through it: when they were last seen, and that they
//! ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{EndedReason, Session, SessionChange, SessionId};
use crate::{Map, clock::Clock, guarded::race, identity::Subject};

/// What cannot stand in the `Acted-As` header as it is.
const NOT_IN_HEADER: &AsciiSet = &CONTROLS.add(b'%');

/// One session that acts through this process.
pub(crate) struct Live {
    pub(crate) id: SessionId,
    pub(crate) acted_as: HeaderValue,
    state: watch::Sender<State>,
    /// Unix nanoseconds of the last acted request, and of the last one that the store was told of.
    seen: AtomicI64,
    stored: AtomicI64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    expires_at: OffsetDateTime,
    ended: Option<EndedReason>,
}

/// All of them. Reads take no lock.
#[derive(Default)]
pub(crate) struct Lives {
    by_id: Map<SessionId, Arc<Live>>,
    /// Moves with every end, so that a look-up that was under way meanwhile is not trusted.
    ends: AtomicU64,
    /// How often news were lost, and up to which of these times the store was asked what became of each.
    losses: AtomicU64,
    made_up: AtomicU64,
}

/// What had ended before a session was looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

// === impl Live ===

impl Live {
    fn new(session: &Session) -> Self {
        let seen = nanos(session.last_seen_at);
        Self {
            id: session.id,
            acted_as: acted_as(&session.subject),
            state: watch::Sender::new(State {
                expires_at: session.expires_at,
                ended: session.ended_reason,
            }),
            seen: AtomicI64::new(seen),
            stored: AtomicI64::new(seen),
        }
    }

    /// Why it ended, if it has.
    pub(crate) fn ended(&self) -> Option<EndedReason> {
        self.state.borrow().ended
    }

    /// The same, and whether its lifetime is over: nobody may have ended it yet.
    pub(crate) fn ended_by_now(&self, clock: &dyn Clock) -> Option<EndedReason> {
        let State { expires_at, ended } = *self.state.borrow();
        ended.or_else(|| match clock.now() {
            Ok(now) if now < expires_at => None,
            // Without the time nothing may go on (rule R13).
            _ => Some(EndedReason::Timeout),
        })
    }

    /// Waits for the end: a stop, a revocation, or the lifetime.
    pub(crate) async fn until_ended(&self, clock: &dyn Clock) -> EndedReason {
        let mut changes = self.state.subscribe();
        loop {
            let State { expires_at, ended } = *changes.borrow_and_update();
            if let Some(reason) = ended {
                return reason;
            }
            let Ok(now) = clock.now() else {
                // Without the time nothing may go on (rule R13).
                return EndedReason::Timeout;
            };
            let Some(left) = Duration::try_from(expires_at - now)
                .ok()
                .filter(|d| !d.is_zero())
            else {
                return EndedReason::Timeout;
            };
            race(clock.sleep(left), async {
                // The sender is in `self`.
                let _ = changes.changed().await;
            })
            .await;
        }
    }

    /// There was an acted request at `now`.
    pub(crate) fn see(&self, now: OffsetDateTime) {
        self.seen.fetch_max(nanos(now), Ordering::Relaxed);
    }

    /// When the last one was, as far as this process or the store knows.
    pub(crate) fn last_seen(&self, session: &Session) -> OffsetDateTime {
        let seen = i128::from(self.seen.load(Ordering::Relaxed));
        let here = OffsetDateTime::from_unix_timestamp_nanos(seen);
        here.unwrap_or(session.last_seen_at)
            .max(session.last_seen_at)
    }

    /// What the store was not told yet.
    fn untold(&self) -> Option<OffsetDateTime> {
        let seen = self.seen.load(Ordering::Relaxed);
        (self.stored.load(Ordering::Relaxed) < seen)
            .then(|| OffsetDateTime::from_unix_timestamp_nanos(i128::from(seen)).ok())?
    }

    /// The store knows of the request at `seen_at`.
    pub(crate) fn told(&self, seen_at: OffsetDateTime) {
        self.stored.fetch_max(nanos(seen_at), Ordering::Relaxed);
    }
}

// === impl Lives ===

impl Lives {
    /// To be asked before a session is looked up.
    pub(crate) fn before(&self) -> Before {
        Before(self.ends.load(Ordering::SeqCst))
    }

    /// The entry of a session that was looked up, and whether it is sure to hear of the session's end.
    ///
    /// It is not when the entry is new and something has ended since `before`: that may have been this
    /// session, and the news came too early for the entry. Then the store has to be asked again.
    pub(crate) fn of(&self, session: &Session, before: Before) -> (Arc<Live>, bool) {
        let by_id = self.by_id.pin();
        if let Some(live) = by_id.get(&session.id) {
            return (live.clone(), true);
        }
        let live = by_id
            .get_or_insert_with(session.id, || Arc::new(Live::new(session)))
            .clone();
        // Written to, not only read: so an end that moves it later also finds the entry.
        (live, self.ends.fetch_add(0, Ordering::SeqCst) == before.0)
    }

    pub(crate) fn hear(&self, change: &SessionChange) {
        match change {
            // Its first acted request makes the entry.
            SessionChange::Started(_) => {}
            SessionChange::Ended(id, reason) => self.end(*id, *reason),
            SessionChange::Updated(session) => {
                if let Some(live) = self.by_id.pin().get(&session.id) {
                    let expires_at = session.expires_at;
                    live.state
                        .send_modify(|state| state.expires_at = expires_at);
                }
            }
            SessionChange::Unknown => {
                self.ends.fetch_add(1, Ordering::SeqCst);
                self.losses.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Tells everyone who waits that it is over, and forgets it.
    pub(crate) fn end(&self, id: SessionId, reason: EndedReason) {
        self.ends.fetch_add(1, Ordering::SeqCst);
        if let Some(live) = self.by_id.pin().remove(&id) {
            live.state
                .send_modify(|state| state.ended = state.ended.or(Some(reason)));
        }
    }

    /// The last requests that the store was not told of, until [`Live::told`].
    pub(crate) fn untold(&self) -> Vec<(Arc<Live>, OffsetDateTime)> {
        let by_id = self.by_id.pin();
        let untold = |live: &Arc<Live>| Some((live.clone(), live.untold()?));
        by_id.values().filter_map(untold).collect()
    }

    /// Those that have to be looked up again, because news of them may have been lost, and the loss to
    /// report to [`made_up`](Self::made_up) when that is done.
    pub(crate) fn unsure(&self) -> Option<(u64, Vec<SessionId>)> {
        let losses = self.losses.load(Ordering::SeqCst);
        (self.made_up.load(Ordering::SeqCst) < losses)
            .then(|| (losses, self.by_id.pin().keys().copied().collect()))
    }

    /// The store was asked about all that was lost up to then.
    pub(crate) fn made_up(&self, losses: u64) {
        self.made_up.fetch_max(losses, Ordering::SeqCst);
    }

    /// Lets go of those that are past their lifetime, whoever ended them.
    pub(crate) fn prune(&self, now: OffsetDateTime) {
        let by_id = self.by_id.pin();
        by_id.retain(|_, live| now < live.state.borrow().expires_at);
    }
}

/// The subject as a header's value (rule R15): percent-encoded where it is not visible ASCII.
pub(crate) fn acted_as(subject: &Subject) -> HeaderValue {
    let text: String = utf8_percent_encode(subject.as_str(), NOT_IN_HEADER).collect();
    // Percent-encoding leaves visible ASCII and spaces.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

fn nanos(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
