//! Folding acted reads: those of one route in a session, with the same answer.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use time::OffsetDateTime;

use super::{Closed, Slot, Which, is_over};
use crate::{
    audit::{facts::RequestFacts, trail::TrailSettings},
    words::{AuditEvent, Ids, cut_path},
};

/// More kinds of reads at once than this, or than half of the queue has slots, are not folded but written
/// one by one: each open window may hold a slot, and the requests under way need theirs.
const MAX_FOLDS: usize = 4_096;

/// A read that went well.
#[derive(Clone, Copy)]
pub(in crate::audit) struct Read<'a> {
    pub(in crate::audit) facts: &'a RequestFacts,
    pub(in crate::audit) status: u16,
    pub(in crate::audit) at: OffsetDateTime,
}

/// The open windows.
#[derive(Default)]
pub(in crate::audit) struct Reads {
    hasher: RandomState,
    /// By the hash of the kind; two kinds with the same hash are told apart by comparing.
    windows: HashMap<u64, Window, RandomState>,
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

// === impl Reads ===

impl Reads {
    /// Counts a read. What comes back has to be queued: the read itself when it is the first of its
    /// window, and the window before it.
    pub(in crate::audit) fn count(
        &mut self,
        read: &Read<'_>,
        slot: Slot,
        settings: &TrailSettings,
        ids: &Ids,
    ) -> [Option<Closed>; 2] {
        let key = read.facts.fold_hash(&self.hasher, read.status);
        let mut over = None;
        if let Some(open) = self.windows.get_mut(&key) {
            if !read.facts.is_like(&open.event, read.status) {
                let event = read.event(ids);
                return [Some((event, slot)), None];
            }
            if !is_over(open.event.time, read.at, settings.fold) {
                open.add(read, slot);
                return [None, None];
            }
            over = self.windows.remove(&key).and_then(|open| open.close(ids));
        }
        let event = read.event(ids);
        let most = MAX_FOLDS.min(settings.queue / 2);
        if self.windows.len() < most && !settings.fold.is_zero() {
            let opened = Window {
                event: event.clone(),
                rest: None,
            };
            self.windows.insert(key, opened);
        }
        [over, Some((event, slot))]
    }

    pub(super) fn close(&mut self, which: Which, ids: &Ids) -> Vec<Closed> {
        let is_one = |first: &AuditEvent| which.includes(first.session, first.time);
        let closed = self.windows.extract_if(|_, window| is_one(&window.event));
        closed.filter_map(|(_, window)| window.close(ids)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty()
    }

    pub(super) fn unwritten(&self) -> usize {
        let unwritten = |window: &&Window| window.rest.is_some();
        self.windows.values().filter(unwritten).count()
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
}
