//! What this process knows of the sessions that act through it: when they were last seen, and that they
//! ended.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
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
    /// The store has said since this entry exists that the session is open.
    confirmed: AtomicBool,
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
    /// News were lost: the store has to be asked what became of each.
    unsure: AtomicBool,
}

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
            confirmed: AtomicBool::new(false),
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

    /// Whether the end of the session cannot be missed any more: see [`confirm`](Self::confirm).
    pub(crate) fn is_confirmed(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }

    /// The store was asked after this entry was made, and the session was open: whoever ends it from now
    /// on finds the entry.
    pub(crate) fn confirm(&self) {
        self.confirmed.store(true, Ordering::Release);
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
    /// The entry of this session; a new one when it acts through this process for the first time.
    pub(crate) fn of(&self, session: &Session) -> Arc<Live> {
        let by_id = self.by_id.pin();
        match by_id.get(&session.id) {
            Some(live) => live.clone(),
            None => by_id
                .get_or_insert_with(session.id, || Arc::new(Live::new(session)))
                .clone(),
        }
    }

    pub(crate) fn hear(&self, change: &SessionChange) {
        match change {
            SessionChange::Ended(id, reason) => self.end(*id, *reason),
            SessionChange::Updated(session) => {
                if let Some(live) = self.by_id.pin().get(&session.id) {
                    let expires_at = session.expires_at;
                    live.state
                        .send_modify(|state| state.expires_at = expires_at);
                }
            }
            SessionChange::Unknown => self.unsure.store(true, Ordering::Relaxed),
        }
    }

    /// Tells everyone who waits that it is over, and forgets it.
    pub(crate) fn end(&self, id: SessionId, reason: EndedReason) {
        if let Some(live) = self.by_id.pin().remove(&id) {
            live.state
                .send_modify(|state| state.ended = state.ended.or(Some(reason)));
        }
    }

    /// The requests that the store was not told of.
    pub(crate) fn untold(&self) -> Vec<(Arc<Live>, OffsetDateTime)> {
        let by_id = self.by_id.pin();
        let untold = |live: &Arc<Live>| Some((live.clone(), live.untold()?));
        by_id.values().filter_map(untold).collect()
    }

    /// Those that have to be looked up again, because news of them may have been lost.
    pub(crate) fn unsure(&self) -> Vec<SessionId> {
        if !self.unsure.swap(false, Ordering::Relaxed) {
            return Vec::new();
        }
        self.by_id.pin().keys().copied().collect()
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
