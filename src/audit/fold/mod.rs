//! Folding: what repeats becomes one event with a count (rule [A4](crate::rules#a4)).
//!
//! The first of a kind is an event of its own, at once. The others of the same kind are counted, and become one event
//! when the window, the session or the process ends. [`reads`] are folded by everything that an event says of them,
//! [`refusals`] by rule and address.

mod reads;
mod refusals;

use std::time::Duration;

use time::OffsetDateTime;

pub(super) use self::{
    reads::Read,
    refusals::{Counted, Limits},
};
use self::{reads::Reads, refusals::Refusals};
use super::trail::Slot;
use crate::words::{AuditEvent, Ids, SessionId};

/// The open windows.
#[derive(Default)]
pub(super) struct Folds {
    pub(super) reads: Reads,
    pub(super) refusals: Refusals,
    pub(super) ticking: bool,
}

/// An event to be queued, with its room.
pub(super) type Closed = (AuditEvent, Slot);

/// What closing windows has brought up, each for its own lane.
#[derive(Default)]
pub(super) struct AllClosed {
    pub(super) reads: Vec<Closed>,
    pub(super) refusals: Vec<Closed>,
}

/// Which windows to close.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which {
    All,
    /// Those that are over at this time.
    Over(OffsetDateTime, Duration),
    /// Those of this session.
    Of(SessionId),
}

/// Whether a window that was opened then is over. One that was opened as far ahead is older than a clock that was set
/// back.
fn is_over(opened: OffsetDateTime, now: OffsetDateTime, window: Duration) -> bool {
    (now - opened).unsigned_abs() >= window
}

// === impl Folds ===

impl Folds {
    pub(super) fn close(&mut self, which: Which, ids: &Ids) -> AllClosed {
        AllClosed {
            reads: self.reads.close(which, ids),
            refusals: self.refusals.close(which, ids),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.refusals.is_empty()
    }

    /// Windows with something in them that was not written yet.
    pub(super) fn unwritten(&self) -> usize {
        self.reads.unwritten() + self.refusals.unwritten()
    }

    /// Whether the caller has to start the ticker. Says yes once.
    pub(super) fn should_tick(&mut self) -> bool {
        !self.ticking && !self.is_empty() && {
            self.ticking = true;
            true
        }
    }
}

// === impl Which ===

impl Which {
    /// Whether a window of this session, opened then, is one of them.
    fn includes(self, session: Option<SessionId>, opened: OffsetDateTime) -> bool {
        match self {
            Self::All => true,
            Self::Over(now, window) => is_over(opened, now, window),
            Self::Of(wanted) => session == Some(wanted),
        }
    }
}
