//! [`Writer`]: the task that brings what waits to the sink.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::{
    Shared, TrailError,
    queue::{Entry, Lane, Room, Ticket},
};
use crate::{host::guarded, words::AuditEvent};

/// The most events in one write.
pub(crate) const MAX_BATCH: usize = 1_000;
/// The most refusals among them. An intent that comes while they are written waits for no more than these (rule
/// [A4](crate::rules#a4)).
pub(crate) const MAX_REFUSALS: usize = 50;
/// After this many failures in a row, waiters learn that the trail is unavailable.
const PATIENCE: usize = 3;

/// Writes what is pending, then goes away.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Side by side, because a sink takes a slice of events.
    events: Vec<AuditEvent>,
    tickets: Vec<Ticket>,
    /// There was nothing left; another one may be the writer by now.
    is_over: bool,
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            events: Vec::new(),
            tickets: Vec::new(),
            is_over: false,
        }
    }

    pub(super) async fn run(mut self) {
        while self.take_pending() {
            self.write().await;
            // A sink that never waits must not keep the thread from everyone else.
            tokio::task::yield_now().await;
        }
    }

    /// Moves pending events into the batch. `false` when there was nothing at all: then this writer is no
    /// more the writer.
    fn take_pending(&mut self) -> bool {
        let now = self.shared.clock.now().ok();
        let mut queue = self.shared.queue();
        if self.events.is_empty() {
            queue.recount(&self.shared.ids, now);
        }
        let mut room = self.room(queue.pending_refusals());
        while let Some(Entry { event, ticket }) = queue.pop(&mut room) {
            self.events.push(event);
            self.tickets.push(ticket);
        }
        if self.events.is_empty() {
            queue.writing = false;
            self.is_over = true;
            return false;
        }
        true
    }

    /// How much more this batch takes, when so many refusals wait. They have their share of the batch, however many
    /// acted requests there are, and never more.
    fn room(&self, waiting: usize) -> Room {
        let left = MAX_BATCH.saturating_sub(self.events.len());
        let refused = |ticket: &&Ticket| ticket.lane == Lane::Refusals;
        let refused = self.tickets.iter().filter(refused).count();
        let refusals = MAX_REFUSALS.saturating_sub(refused).min(waiting).min(left);
        Room {
            acted: left - refusals,
            refusals,
        }
    }

    /// Writes the batch, for as long as it takes.
    async fn write(&mut self) {
        let mut failures = 0;
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(1))
            .with_jitter()
            .without_max_times()
            .build();
        loop {
            let shared = self.shared.clone();
            // Within a future, so that a panic on the way to the sink's own is caught as well.
            let write = async { shared.sink.write(&self.events).await };
            match guarded(&*shared.clock, shared.settings.timeout, write).await {
                Ok(()) => return self.finish(),
                Err(error) => {
                    failures += 1;
                    tracing::warn!(
                        target: "tower_impersonation",
                        error = &error as &dyn std::error::Error,
                        failures, events = self.events.len(), "the audit sink did not write"
                    );
                    if failures >= PATIENCE {
                        self.tell_failing();
                    }
                }
            }
            let delay = delays.next().unwrap_or(Duration::from_secs(1));
            shared.clock.sleep(delay).await;
            self.take_pending();
        }
    }

    fn finish(&mut self) {
        {
            // Before a waiter hears of it, which may ask at once.
            let mut queue = self.shared.queue();
            queue.failing = false;
            for ticket in &self.tickets {
                queue.wrote(ticket.lane);
            }
        }
        self.events.clear();
        self.tickets.drain(..).for_each(Ticket::finish);
        self.shared.moved.notify_waiters();
    }

    fn tell_failing(&mut self) {
        self.shared.queue().failing = true;
        for ticket in &mut self.tickets {
            if let Some(done) = ticket.done.take() {
                let _ = done.send(Err(TrailError::Failing));
            }
        }
        self.shared.moved.notify_waiters();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // The runtime goes away, before a write or in the middle of one: the next writer starts with these.
        let mut queue = self.shared.queue();
        let entries = self.events.drain(..).zip(self.tickets.drain(..));
        for (event, ticket) in entries.rev() {
            queue.put_back(Entry { event, ticket });
        }
        queue.writing = false;
        // Nobody tries any more, so nobody can say that it fails.
        queue.failing = false;
        drop(queue);
        self.shared.moved.notify_waiters();
    }
}
