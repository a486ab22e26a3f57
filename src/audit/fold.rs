//! Folding: repeated reads of one route in a session become one event with a count (rule A4).
//!
//! The first read of a window is an event of its own, at once; the others of the same kind are counted and
//! become one event when the window, the session or the process ends.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use time::OffsetDateTime;

use super::{
    AuditEvent,
    event::{Ids, cut_path},
    guard::RequestFacts,
    trail::Slot,
};

/// More kinds of reads at once than this are not folded but written one by one.
const MAX_FOLDS: usize = 4_096;

/// A read that went well.
pub(super) struct Read<'a> {
    pub(super) facts: &'a RequestFacts,
    pub(super) status: u16,
    pub(super) at: OffsetDateTime,
}

/// The open windows.
#[derive(Default)]
pub(super) struct Folds {
    hasher: RandomState,
    /// By the hash of the kind; two kinds with the same hash are told apart by comparing.
    windows: HashMap<u64, Window>,
    pub(super) ticking: bool,
}

/// One kind of read within one window.
struct Window {
    /// The first of them, which was written; the folded event is made of it.
    event: AuditEvent,
    /// How many came after it, and since when.
    rest: Option<Rest>,
}

struct Rest {
    count: u64,
    since: OffsetDateTime,
    slot: Slot,
    same_path: bool,
}

/// An event to be queued, with its room.
pub(super) type Closed = (AuditEvent, Slot);

// === impl Folds ===

impl Folds {
    /// Counts a read. What comes back has to be queued: the read itself when it is the first of its
    /// window, and the window before it.
    pub(super) fn count(
        &mut self,
        read: Read<'_>,
        slot: Slot,
        window: Duration,
        ids: &Ids,
    ) -> [Option<Closed>; 2] {
        let key = read.hash(&self.hasher);
        let mut over = None;
        if let Some(open) = self.windows.get_mut(&key) {
            if !read.is_like(&open.event) {
                let event = read.event(ids);
                return [Some((event, slot)), None];
            }
            if read.at - open.event.time < window {
                open.add(&read, slot);
                return [None, None];
            }
            over = self.windows.remove(&key).and_then(|open| open.close(ids));
        }
        let event = read.event(ids);
        if self.windows.len() < MAX_FOLDS && !window.is_zero() {
            let opened = Window {
                event: event.clone(),
                rest: None,
            };
            self.windows.insert(key, opened);
        }
        [over, Some((event, slot))]
    }

    /// Closes the windows whose first event is one of `which`.
    pub(super) fn close(&mut self, which: impl Fn(&AuditEvent) -> bool, ids: &Ids) -> Vec<Closed> {
        let closed = self.windows.extract_if(|_, window| which(&window.event));
        closed.filter_map(|(_, window)| window.close(ids)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    /// Windows with reads that were not written yet.
    pub(super) fn open(&self) -> usize {
        let unwritten = |window: &&Window| window.rest.is_some();
        self.windows.values().filter(unwritten).count()
    }

    /// Whether the caller has to start the ticker. Says yes once.
    pub(super) fn should_tick(&mut self) -> bool {
        !self.ticking && !self.is_empty() && {
            self.ticking = true;
            true
        }
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, read: &Read<'_>, slot: Slot) {
        let same_path = self.event.path.as_deref() == Some(cut_path(read.facts.path()));
        match &mut self.rest {
            Some(rest) => {
                rest.count += 1;
                rest.same_path &= same_path;
            }
            None => {
                self.rest = Some(Rest {
                    count: 1,
                    since: read.at,
                    slot,
                    same_path,
                });
            }
        }
    }

    fn close(self, ids: &Ids) -> Option<Closed> {
        let rest = self.rest?;
        let mut event = self.event;
        event.id = ids.next(rest.since);
        event.time = rest.since;
        event.count = Some(rest.count);
        if !rest.same_path {
            event.path = None;
        }
        event.request_id = None;
        Some((event, rest.slot))
    }
}

// === impl Read ===

impl Read<'_> {
    fn event(&self, ids: &Ids) -> AuditEvent {
        self.facts
            .completed(ids.next(self.at), self.at, self.status)
    }

    fn hash(&self, hasher: &RandomState) -> u64 {
        let acting_as = &self.facts.acting_as;
        hasher.hash_one((
            acting_as.session().map(|session| session.id),
            acting_as.actor().id(),
            acting_as.subject(),
            &self.facts.method,
            self.facts.route_or_path(),
            self.status,
        ))
    }

    /// Whether the read is of the same kind as `event`.
    fn is_like(&self, event: &AuditEvent) -> bool {
        let acting_as = &self.facts.acting_as;
        event.session == acting_as.session().map(|session| session.id)
            && event.actor.as_ref() == Some(acting_as.actor().id())
            && event.subject.as_ref() == Some(acting_as.subject())
            && event.method.as_deref() == Some(self.facts.method.as_str())
            && event.status == Some(self.status)
            && match (&event.route, self.facts.route.as_deref()) {
                (Some(there), Some(here)) => there == here,
                (None, None) => event.path.as_deref() == Some(cut_path(self.facts.path())),
                _ => false,
            }
    }
}
