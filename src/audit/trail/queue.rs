//! What waits to be written, and the room for it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    mem,
    sync::Arc,
};

use time::OffsetDateTime;
use tokio::sync::{Semaphore, oneshot};

use super::TrailError;
use crate::words::{AuditEvent, EventName, Ids};

/// What waits, and how far the sink has come.
#[derive(Default)]
pub(super) struct Queue {
    pub(super) pending: VecDeque<Entry>,
    /// There is a writer.
    pub(super) writing: bool,
    pub(super) failing: bool,
    /// How many events have come in so far, and how many of them, the oldest, are durable.
    pub(super) recorded: u64,
    pub(super) durable: u64,
    /// Refusals for which there was no slot, by rule.
    pub(super) uncounted: BTreeMap<Cow<'static, str>, u64>,
}

/// Room in the queue for one event. Gives it back when dropped.
///
/// Slots lie in the queue itself, so they must not keep it alive.
pub(crate) struct Slot(Arc<Semaphore>);

/// An event that waits.
pub(super) struct Entry {
    pub(super) event: AuditEvent,
    /// `None` for the few events that are recorded even into a full queue.
    pub(super) slot: Option<Slot>,
    pub(super) done: Option<oneshot::Sender<Result<(), TrailError>>>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn push(&mut self, entry: Entry) {
        self.recorded += 1;
        self.pending.push_back(entry);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty() && self.uncounted.is_empty()
    }

    /// The counted refusals become events. Without the time they stay what they are.
    pub(super) fn recount(&mut self, ids: &Ids, now: Option<OffsetDateTime>) {
        let Some(now) = now else { return };
        for (rule, count) in mem::take(&mut self.uncounted) {
            let mut event = AuditEvent::new(ids.next(now), now, EventName::Denied);
            event.rule = Some(rule);
            event.count = Some(count);
            self.push(Entry {
                event,
                slot: None,
                done: None,
            });
        }
    }
}

// === impl Slot ===

impl Slot {
    /// A permit that was taken from `slots` and forgotten.
    pub(super) fn of(slots: &Arc<Semaphore>) -> Self {
        Self(slots.clone())
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}
