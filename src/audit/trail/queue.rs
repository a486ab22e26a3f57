//! What waits to be written, and the room for it.
//!
//! There are two lanes, one for acted requests and sessions, one for refusals (rule [A4](crate::rules#a4)): anyone
//! can cause refusals, and nobody should wait behind them. Each keeps its order; within one write, events stand in
//! the order in which they were recorded.

use std::{
    borrow::Cow,
    collections::{HashMap, VecDeque},
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
    acted: Queued,
    refusals: Queued,
    /// How many events have come in so far, in both lanes.
    recorded: u64,
    /// There is a writer.
    pub(super) writing: bool,
    pub(super) failing: bool,
    /// Refusals for which there was no slot.
    uncounted: HashMap<(EventName, Cow<'static, str>), u64>,
}

/// Where an event waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// What acted requests and sessions wait for, and what must not get lost.
    Acted,
    /// Refused attempts, which come from anyone.
    Refusals,
}

/// What waits in one lane.
#[derive(Default)]
struct Queued {
    entries: VecDeque<Entry>,
    progress: Progress,
}

/// How many events have come into a lane so far, and how many of them, the oldest, are durable.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    recorded: u64,
    durable: u64,
}

/// Everything that was recorded up to some moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    acted: u64,
    refusals: u64,
}

/// How many events a write still takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) acted: usize,
    pub(super) refusals: usize,
}

/// Room in the queue for one event. Gives it back when dropped.
///
/// Slots lie in the queue itself, so they must not keep it alive.
pub(crate) struct Slot(Arc<Semaphore>);

/// An event that waits.
pub(super) struct Entry {
    pub(super) event: AuditEvent,
    pub(super) ticket: Ticket,
}

/// What an entry holds besides its event.
pub(super) struct Ticket {
    pub(super) lane: Lane,
    /// Counts up over both lanes.
    number: u64,
    /// `None` for the few events that are recorded even into a full queue.
    slot: Option<Slot>,
    pub(super) done: Option<oneshot::Sender<Result<(), TrailError>>>,
}

// === impl Queue ===

impl Queue {
    pub(super) fn push(&mut self, mut entry: Entry) {
        self.recorded += 1;
        entry.ticket.number = self.recorded;
        let lane = self.lane(entry.ticket.lane);
        lane.progress.recorded += 1;
        lane.entries.push_back(entry);
    }

    /// Puts back what was taken and not written. The latest goes first.
    pub(super) fn put_back(&mut self, entry: Entry) {
        self.lane(entry.ticket.lane).entries.push_front(entry);
    }

    /// Takes the oldest entry for which there is room.
    pub(super) fn pop(&mut self, room: &mut Room) -> Option<Entry> {
        let front = |lane: &Queued, room: usize| {
            let entry = lane.entries.front().filter(|_| room > 0);
            entry.map(|entry| entry.ticket.number)
        };
        let acted = front(&self.acted, room.acted);
        let refused = front(&self.refusals, room.refusals);
        let (lane, room) = match (acted, refused) {
            (None, None) => return None,
            (acted, Some(refused)) if acted.is_none_or(|acted| refused < acted) => {
                (&mut self.refusals, &mut room.refusals)
            }
            _ => (&mut self.acted, &mut room.acted),
        };
        *room -= 1;
        lane.entries.pop_front()
    }

    /// This event is durable.
    pub(super) fn wrote(&mut self, lane: Lane) {
        self.lane(lane).progress.durable += 1;
    }

    /// Everything that was recorded so far.
    pub(super) fn mark(&self) -> Mark {
        Mark {
            acted: self.acted.progress.recorded,
            refusals: self.refusals.progress.recorded,
        }
    }

    /// Whether all of that is durable.
    pub(super) fn has_written(&self, mark: Mark) -> bool {
        self.acted.progress.durable >= mark.acted && self.refusals.progress.durable >= mark.refusals
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending() == 0 && !self.has_uncounted()
    }

    /// How many events wait.
    pub(super) fn pending(&self) -> usize {
        self.acted.entries.len() + self.refusals.entries.len()
    }

    /// How many refusals wait.
    pub(super) fn pending_refusals(&self) -> usize {
        self.refusals.entries.len()
    }

    /// Counts a refusal for which there was no slot. Says whether it is the first of its rule.
    pub(super) fn count_only(&mut self, name: EventName, rule: Cow<'static, str>) -> bool {
        let count = self.uncounted.entry((name, rule)).or_default();
        *count += 1;
        *count == 1
    }

    pub(super) fn has_uncounted(&self) -> bool {
        !self.uncounted.is_empty()
    }

    /// How many refusals were counted and not recorded yet.
    pub(super) fn uncounted(&self) -> u64 {
        self.uncounted.values().sum()
    }

    /// The counted refusals become events. Without the time they stay what they are.
    pub(super) fn recount(&mut self, ids: &Ids, now: Option<OffsetDateTime>) {
        let Some(now) = now else { return };
        for ((name, rule), count) in mem::take(&mut self.uncounted) {
            let mut event = AuditEvent::new(ids.next(now), now, name);
            event.rule = Some(rule);
            event.count = Some(count);
            self.push(Entry::new(Lane::Refusals, event, None));
        }
    }

    fn lane(&mut self, lane: Lane) -> &mut Queued {
        match lane {
            Lane::Acted => &mut self.acted,
            Lane::Refusals => &mut self.refusals,
        }
    }
}

// === impl Entry ===

impl Entry {
    /// An event without a waiter.
    pub(super) fn new(lane: Lane, event: AuditEvent, slot: Option<Slot>) -> Self {
        let ticket = Ticket {
            lane,
            number: 0,
            slot,
            done: None,
        };
        Self { event, ticket }
    }

    /// Tells when it is durable, or that the sink fails.
    pub(super) fn telling(mut self, done: oneshot::Sender<Result<(), TrailError>>) -> Self {
        self.ticket.done = Some(done);
        self
    }
}

// === impl Ticket ===

impl Ticket {
    /// Gives the room back, then tells the waiter.
    pub(super) fn finish(self) {
        drop(self.slot);
        if let Some(done) = self.done {
            // A waiter that is gone has recorded what became of its request.
            let _ = done.send(Ok(()));
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
