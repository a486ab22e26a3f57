//! [`Live`]: what this process knows of one session that acts through it: when it was last seen, and that it ended.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{
    clock::Clock,
    identity::{Subject, UserId},
    session::{EndedReason, Session, SessionId},
    wait::race,
};

/// What cannot stand in the `Acted-As` header as it is.
const NOT_IN_HEADER: &AsciiSet = &CONTROLS.add(b'%');

/// One session that acts through this process.
pub(crate) struct Live {
    pub(crate) id: SessionId,
    pub(crate) actor: UserId,
    pub(crate) started_at: OffsetDateTime,
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

// === impl Live ===

impl Live {
    pub(crate) fn new(session: &Session) -> Self {
        let seen = nanos(session.last_seen_at);
        Self {
            id: session.id,
            actor: session.actor.clone(),
            started_at: session.started_at,
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

    /// The same, but a lifetime that is over counts even if nobody has ended the session yet.
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

    /// Ends it and wakes its waiters. The first reason stays.
    pub(crate) fn end(&self, reason: EndedReason) {
        self.state
            .send_modify(|state| state.ended = state.ended.or(Some(reason)));
    }

    /// Its lifetime was moved.
    pub(crate) fn expire_at(&self, expires_at: OffsetDateTime) {
        self.state
            .send_modify(|state| state.expires_at = expires_at);
    }

    pub(crate) fn expires_at(&self) -> OffsetDateTime {
        self.state.borrow().expires_at
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
    pub(crate) fn untold(&self) -> Option<OffsetDateTime> {
        let seen = self.seen.load(Ordering::Relaxed);
        (self.stored.load(Ordering::Relaxed) < seen)
            .then(|| OffsetDateTime::from_unix_timestamp_nanos(i128::from(seen)).ok())?
    }

    /// The store knows of the request at `seen_at`.
    pub(crate) fn told(&self, seen_at: OffsetDateTime) {
        self.stored.fetch_max(nanos(seen_at), Ordering::Relaxed);
    }
}

/// The subject as a header's value (rule [R15](crate::rules#r15)): percent-encoded where it is not visible ASCII.
pub(crate) fn acted_as(subject: &Subject) -> HeaderValue {
    let text: String = utf8_percent_encode(subject.as_str(), NOT_IN_HEADER).collect();
    // Percent-encoding leaves visible ASCII and spaces.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("?"))
}

fn nanos(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)
}
