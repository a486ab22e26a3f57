//! [`RequestGuard`]: one outcome for every acted request, whatever becomes of it (rule [A2](crate::rules#a2)).
//!
//! | what happens | outcome |
//! | --- | --- |
//! | the handler answers | `completed`, with the status; reads may be folded |
//! | the handler panics, or its service fails | `failed`; the panic continues |
//! | the future is dropped: the client went away | `cancelled` |
//! | the intent cannot be written, or the session ends before the handler runs | `refused` |
//! | the process dies | none: an intent without an outcome is unknown, never a success |
//!
//! The guard takes room in the queue for the outcome before the handler runs, so recording it never waits and never
//! fails.

use http::StatusCode;
use uuid::Uuid;

use super::{
    facts::RequestFacts,
    fold::Read,
    trail::{Slot, Trail, TrailError},
};
use crate::words::{EventName, Outcome};

/// Stands for an acted request that is under way, and records its one outcome: by
/// [`complete`](Self::complete), or when dropped.
pub(crate) struct RequestGuard {
    trail: Trail,
    facts: RequestFacts,
    /// The id that an intent and its outcome share.
    intent: Option<Uuid>,
    /// Room for the outcome; gone once it is recorded.
    slot: Option<Slot>,
}

// === impl RequestGuard ===

impl RequestGuard {
    /// Begins to guard a request that changes nothing. Nothing is written before; its outcome is recorded in the
    /// background.
    pub(crate) async fn read(trail: &Trail, facts: RequestFacts) -> Result<Self, TrailError> {
        let [slot] = trail.slots().await?;
        Ok(Self {
            slot: Some(slot),
            trail: trail.clone(),
            facts,
            intent: None,
        })
    }

    /// Begins to guard a request that may change something: its intent is durable when this returns (rule
    /// [A1](crate::rules#a1)). If it cannot be, the outcome says `refused`; if the future is dropped, `cancelled`.
    pub(crate) async fn write(trail: &Trail, facts: RequestFacts) -> Result<Self, TrailError> {
        let [slot, intent_slot] = trail.slots().await?;
        let mut intent = trail.event_at(EventName::Request, facts.at);
        facts.describe(&mut intent);
        intent.outcome = Some(Outcome::Intent);
        let mut guard = Self {
            slot: Some(slot),
            trail: trail.clone(),
            facts,
            intent: Some(intent.id),
        };
        if let Err(error) = trail.commit(intent, intent_slot).await {
            guard.record(Outcome::Refused, None);
            return Err(error);
        }
        Ok(guard)
    }

    /// The handler answered.
    pub(crate) fn complete(mut self, status: StatusCode) {
        self.record(Outcome::Completed, Some(status));
    }

    /// The service failed without an answer.
    pub(crate) fn fail(mut self) {
        self.record(Outcome::Failed, None);
    }

    /// The handler will not run after all. Without an intent there is nothing to take back.
    pub(crate) fn refuse(mut self) {
        match self.intent {
            Some(_) => self.record(Outcome::Refused, None),
            None => self.slot = None,
        }
    }

    fn record(&mut self, outcome: Outcome, status: Option<StatusCode>) {
        let Some(slot) = self.slot.take() else { return };
        let at = self.trail.clock().now().unwrap_or(self.facts.at);
        if let (None, Outcome::Completed, Some(status)) = (self.intent, &outcome, status) {
            let read = Read {
                facts: &self.facts,
                status: status.as_u16(),
                at,
            };
            return self.trail.read(&read, slot);
        }
        let mut event = self.trail.event_at(EventName::Request, at);
        if let Some(id) = self.intent {
            event.id = id;
        }
        self.facts.describe(&mut event);
        event.outcome = Some(outcome);
        event.status = status.map(|status| status.as_u16());
        self.trail.queue(event, slot);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        // A panic in the handler unwinds through the future that holds this guard.
        let outcome = if std::thread::panicking() {
            Outcome::Failed
        } else {
            Outcome::Cancelled
        };
        self.record(outcome, None);
    }
}
