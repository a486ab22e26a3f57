//! Folding refusals by rule and address.
//!
//! Anyone can cause refusals, and each may look a little different: another path, another subject. So the key is what
//! the caller cannot choose freely, and the folded event keeps of the rest only what all of its refusals share.

use std::{borrow::Cow, collections::HashMap, net::IpAddr, time::Duration};

use foldhash::fast::RandomState;
use time::OffsetDateTime;

use super::{Closed, Slot, Which, is_over};
use crate::words::{AuditEvent, EventName, Ids, SessionId, Subject, UserId};

/// More kinds of refusals at once than this are not folded but written one by one.
const MAX_FOLDS: usize = 1_024;

/// The open windows.
#[derive(Default)]
pub(in crate::audit) struct Refusals {
    windows: HashMap<Kind, Window, RandomState>,
}

/// What refusals of one window have in common.
#[derive(PartialEq, Eq, Hash)]
struct Kind {
    name: EventName,
    rule: Option<Cow<'static, str>>,
    address: Option<IpAddr>,
    actor: Option<UserId>,
    /// Of an actor who is known, whom they asked for: another one is no repetition (rule [A3](crate::rules#a3)). A
    /// caller whom nobody knows could ask for anyone.
    subject: Option<Subject>,
    session: Option<SessionId>,
}

/// One kind of refusal within one window. The first of them was written.
struct Window {
    opened: OffsetDateTime,
    rest: Option<Rest>,
}

/// Those after the first.
struct Rest {
    count: u64,
    /// What they all share; the time is that of the earliest.
    event: AuditEvent,
    slot: Slot,
}

/// What became of a refusal.
pub(in crate::audit) enum Counted {
    /// It is in an open window.
    Folded,
    /// It has to be queued.
    Alone(Closed),
    /// There was no slot for it.
    NoRoom(AuditEvent),
}

/// How much may be folded.
#[derive(Debug, Clone, Copy)]
pub(in crate::audit) struct Limits {
    pub(in crate::audit) window: Duration,
    /// Slots of the lane. Open windows hold at most half of them.
    pub(in crate::audit) slots: usize,
}

// === impl Refusals ===

impl Refusals {
    /// Counts a refusal. The window before it, if that is over, has to be queued as well.
    pub(in crate::audit) fn count(
        &mut self,
        event: AuditEvent,
        slot: Option<Slot>,
        limits: Limits,
        ids: &Ids,
    ) -> (Option<Closed>, Counted) {
        let kind = Kind::of(&event);
        let mut over = None;
        if let Some(open) = self.windows.get_mut(&kind) {
            if !is_over(open.opened, event.time, limits.window) {
                return (None, open.add(event, slot));
            }
            over = self.windows.remove(&kind).and_then(|open| open.close(ids));
        }
        let Some(slot) = slot else {
            return (over, Counted::NoRoom(event));
        };
        // Callers whom nobody knows may not use up the windows of those who are signed in.
        let most = MAX_FOLDS.min(limits.slots / 2);
        let most = if kind.actor.is_some() { most } else { most / 2 };
        if self.windows.len() < most && !limits.window.is_zero() {
            let opened = event.time;
            self.windows.insert(kind, Window { opened, rest: None });
        }
        (over, Counted::Alone((event, slot)))
    }

    pub(super) fn close(&mut self, which: Which, ids: &Ids) -> Vec<Closed> {
        let is_one = |kind: &Kind, window: &mut Window| which.includes(kind.session, window.opened);
        let closed = self.windows.extract_if(is_one);
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

// === impl Kind ===

impl Kind {
    fn of(event: &AuditEvent) -> Self {
        Self {
            name: event.name,
            rule: event.rule.clone(),
            address: event.address,
            actor: event.actor.clone(),
            subject: event.subject.clone().filter(|_| event.actor.is_some()),
            session: event.session,
        }
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, event: AuditEvent, slot: Option<Slot>) -> Counted {
        match (&mut self.rest, slot) {
            // The rest has its slot already.
            (Some(rest), _) => {
                rest.count += 1;
                rest.event.keep_common(&event);
                Counted::Folded
            }
            (None, Some(slot)) => {
                let count = 1;
                self.rest = Some(Rest { count, event, slot });
                Counted::Folded
            }
            (None, None) => Counted::NoRoom(event),
        }
    }

    fn close(self, ids: &Ids) -> Option<Closed> {
        let Rest {
            count,
            mut event,
            slot,
        } = self.rest?;
        // Readers that follow the trail by id would miss an event with an old one.
        event.id = ids.next(event.time);
        event.count = Some(count);
        Some((event, slot))
    }
}
