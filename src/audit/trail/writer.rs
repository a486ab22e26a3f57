//! [`Writer`]: the task that brings what waits to the sink.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::oneshot;

use super::{
    Shared, TrailError,
    queue::{Entry, Slot},
};
use crate::{host::guarded, words::AuditEvent};

/// The most events in one write.
pub(crate) const MAX_BATCH: usize = 1_000;
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

type Ticket = (
    Option<Slot>,
    Option<oneshot::Sender<Result<(), TrailError>>>,
);

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
        let room = MAX_BATCH.saturating_sub(self.events.len());
        let taken = queue.pending.len().min(room);
        for entry in queue.pending.drain(..taken) {
            self.events.push(entry.event);
            self.tickets.push((entry.slot, entry.done));
        }
        if self.events.is_empty() {
            queue.writing = false;
            self.is_over = true;
            return false;
        }
        true
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
            // Before anyone hears of it, who may ask at once.
            let mut queue = self.shared.queue();
            queue.failing = false;
            queue.durable += self.events.len() as u64;
        }
        self.events.clear();
        for (slot, done) in self.tickets.drain(..) {
            drop(slot);
            if let Some(done) = done {
                // Who no longer waits has recorded what became of it.
                let _ = done.send(Ok(()));
            }
        }
        self.shared.moved.notify_waiters();
    }

    fn tell_failing(&mut self) {
        self.shared.queue().failing = true;
        for (_, done) in &mut self.tickets {
            if let Some(done) = done.take() {
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
        let tickets = self.tickets.drain(..);
        let entries = self.events.drain(..).zip(tickets);
        for (event, (slot, done)) in entries.rev() {
            queue.pending.push_front(Entry { event, slot, done });
        }
        queue.writing = false;
        // Nobody tries any more, so nobody can say that it fails.
        queue.failing = false;
        drop(queue);
        self.shared.moved.notify_waiters();
    }
}
