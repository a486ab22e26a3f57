//! [`Trail`]: a bounded queue in front of a sink, with group commit.
//!
//! Data flows one way: slot → entry → queue → writer → sink. A *slot* is room in the queue for one event. Callers take
//! it before they record anything, so that recording itself never has to wait. The *writer* is a task that lives only
//! while there is something to write; if its runtime goes away, its events go back into the queue for the next one.
//!
//! Refusals come from anyone, so they have slots and a lane of their own, and each write takes only a few of them: no
//! flood of refusals delays an acted request's intent by more than one write, or refuses it (rule
//! [A4](crate::rules#a4)).

mod queue;
mod writer;

use std::{
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::{Notify, Semaphore, oneshot};
use uuid::Uuid;

pub(super) use self::queue::Slot;
#[cfg(feature = "conformance")]
pub(super) use self::writer::MAX_BATCH;
use self::{
    queue::{Entry, Lane, Queue},
    writer::Writer,
};
use super::{
    AuditSink,
    fold::{Counted, Folds, Limits, Read, Which},
};
use crate::{
    host::guarded,
    words::{
        AuditEvent, EventName, Ids, SessionId,
        clock::{Clock, ClockError},
    },
};

/// The way into the trail. Clones share it.
///
/// The layer and the handle record everything. Host code needs it only to [`flush`](Self::flush) it when the server
/// has shut down:
///
/// ```
/// use tower_impersonation::Impersonation;
///
/// async fn run(impersonation: Impersonation, server: impl Future<Output = ()>) {
///     server.await;
///     if let Err(error) = impersonation.trail().flush().await {
///         eprintln!("the end of the trail is not written: {error}");
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Trail {
    shared: Arc<Shared>,
}

/// The trail did not take an event. Whatever depended on it was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrailError {
    /// The sink failed several times in a row.
    #[error("the audit sink fails")]
    Failing,
    /// There was neither room in the queue nor an answer of the sink within the time allowed.
    #[error("the audit sink did not answer in time")]
    TimedOut,
    /// The clock failed.
    #[error("the clock cannot tell the time")]
    NoTime,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct TrailSettings {
    /// For one write, and for everything that waits for one.
    pub(crate) timeout: Duration,
    /// Slots for acted requests and sessions. Refusals have half as many besides.
    pub(crate) queue: usize,
    /// How long repeated reads and refusals are folded.
    pub(crate) fold: Duration,
}

pub(super) struct Shared {
    sink: Arc<dyn AuditSink>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: TrailSettings,
    ids: Ids,
    slots: Arc<Semaphore>,
    refusal_slots: Arc<Semaphore>,
    queue: Mutex<Queue>,
    /// Someone may wait for events to be durable, or for the sink to be failing.
    moved: Notify,
    pub(super) folds: Mutex<Folds>,
}

// === impl TrailSettings ===

impl TrailSettings {
    /// Slots for refusals, beside those for everything else.
    fn refusals(&self) -> usize {
        (self.queue / 2).max(1)
    }
}

// === impl Trail ===

impl Trail {
    pub(crate) fn new(
        sink: Arc<dyn AuditSink>,
        clock: Arc<dyn Clock>,
        settings: TrailSettings,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                sink,
                clock,
                settings,
                ids: Ids::default(),
                slots: Arc::new(Semaphore::new(settings.queue)),
                refusal_slots: Arc::new(Semaphore::new(settings.refusals())),
                queue: Mutex::default(),
                moved: Notify::new(),
                folds: Mutex::default(),
            }),
        }
    }

    /// Writes everything recorded so far, folded events included. Call it before the process ends.
    ///
    /// It does not wait for what is recorded meanwhile, so it finishes on a busy server too.
    ///
    /// # Errors
    ///
    /// [`TrailError::Failing`] if the sink has failed several times in a row. The events are still in the queue,
    /// and are still being retried. [`TrailError::NoTime`] if refusals were only counted and the clock cannot say
    /// when.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    pub async fn flush(&self) -> Result<(), TrailError> {
        let shared = &self.shared;
        shared.unfold(Which::All);
        let now = shared.clock.now().ok();
        let (until, all_counted) = {
            let mut queue = shared.queue();
            queue.recount(&shared.ids, now);
            (queue.mark(), !queue.has_uncounted())
        };
        loop {
            // Hears of what happens from here on, before it is awaited.
            let moved = shared.moved.notified();
            {
                let queue = shared.queue();
                if queue.has_written(until) {
                    break;
                }
                if queue.failing {
                    return Err(TrailError::Failing);
                }
            }
            shared.wake();
            moved.await;
        }
        all_counted.then_some(()).ok_or(TrailError::NoTime)
    }

    /// A new event of now.
    pub(crate) fn event(&self, name: EventName) -> Result<AuditEvent, ClockError> {
        Ok(self.event_at(name, self.shared.clock.now()?))
    }

    pub(crate) fn event_at(&self, name: EventName, now: OffsetDateTime) -> AuditEvent {
        AuditEvent::new(self.shared.ids.next(now), now, name)
    }

    /// A new id of this time.
    pub(crate) fn next_id(&self, at: OffsetDateTime) -> Uuid {
        self.shared.ids.next(at)
    }

    #[cfg(test)]
    pub(crate) fn timeout(&self) -> Duration {
        self.shared.settings.timeout
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    /// Records `event` and waits until it is durable (rule [A1](crate::rules#a1)).
    ///
    /// # Cancel safety
    ///
    /// Once recorded, the event stays recorded, also when this gives up: the caller has to record what became of
    /// the request.
    pub(crate) async fn record_durable(&self, event: AuditEvent) -> Result<(), TrailError> {
        let [slot] = self.slots().await?;
        self.commit(event, slot).await
    }

    /// Records `event` without waiting for a slot: ends and what follows from them must not get lost
    /// because the queue is full (rule [S5](crate::rules#s5)).
    pub(crate) fn record(&self, event: AuditEvent) {
        let slot = self.shared.try_slot();
        self.shared.push(Entry::new(Lane::Acted, event, slot));
    }

    /// The same, and tells when it is durable. After an error it is still in the queue, and still being tried.
    pub(crate) fn record_watched(
        &self,
        event: AuditEvent,
    ) -> oneshot::Receiver<Result<(), TrailError>> {
        let slot = self.shared.try_slot();
        let (done, durable) = oneshot::channel();
        let entry = Entry::new(Lane::Acted, event, slot);
        self.shared.push(entry.telling(done));
        durable
    }

    /// Records a refusal: as an event of its own, in a folded one, or, when the refusals' lane is full, as one more in
    /// the count of its rule (rule [A4](crate::rules#a4)).
    pub(crate) fn record_refusal(&self, mut event: AuditEvent) {
        event.cut();
        let shared = &self.shared;
        let slot = shared.try_refusal_slot(event.actor.is_some());
        let limits = Limits {
            window: shared.settings.fold,
            slots: shared.settings.refusals(),
        };
        let (over, counted, start_ticking) = {
            let mut folds = shared.folds();
            let (over, counted) = folds.refusals.count(event, slot, limits, &shared.ids);
            (over, counted, folds.should_tick())
        };
        if let Some((event, slot)) = over {
            shared.push(Entry::new(Lane::Refusals, event, Some(slot)));
        }
        match counted {
            Counted::Folded => {}
            Counted::Alone((event, slot)) => {
                shared.push(Entry::new(Lane::Refusals, event, Some(slot)));
            }
            Counted::NoRoom(event) => shared.count_only(&event),
        }
        if start_ticking {
            self.tick();
        }
    }

    /// Room for `N` events, waiting for it as long as the trail may take (rule [A4](crate::rules#a4)).
    pub(super) async fn slots<const N: usize>(&self) -> Result<[Slot; N], TrailError> {
        let permits = u32::try_from(N).unwrap_or(u32::MAX);
        let permit = match self.shared.slots.try_acquire_many(permits) {
            Ok(permit) => permit,
            Err(_) => {
                let permit = async { Ok(self.shared.slots.acquire_many(permits).await?) };
                guarded(self.clock(), self.shared.settings.timeout, permit)
                    .await
                    .map_err(|_| TrailError::TimedOut)?
            }
        };
        permit.forget();
        Ok(std::array::from_fn(|_| Slot::of(&self.shared.slots)))
    }

    /// Queues the event and waits for it to be durable.
    pub(super) async fn commit(&self, event: AuditEvent, slot: Slot) -> Result<(), TrailError> {
        let (done, durable) = oneshot::channel();
        let entry = Entry::new(Lane::Acted, event, Some(slot));
        self.shared.push(entry.telling(done));
        let durable = async { Ok(durable.await?) };
        match guarded(self.clock(), self.shared.settings.timeout, durable).await {
            Ok(result) => result,
            Err(_) => Err(TrailError::TimedOut),
        }
    }

    /// Queues the event.
    pub(super) fn queue(&self, event: AuditEvent, slot: Slot) {
        self.shared.push(Entry::new(Lane::Acted, event, Some(slot)));
    }

    /// Counts a read that went well: as an event of its own, or in a folded one (rule [A4](crate::rules#a4)).
    pub(super) fn read(&self, read: &Read<'_>, slot: Slot) {
        let (closed, start_ticking) = {
            let mut folds = self.shared.folds();
            let closed = folds
                .reads
                .count(read, slot, &self.shared.settings, &self.shared.ids);
            (closed, folds.should_tick())
        };
        for (event, slot) in closed.into_iter().flatten() {
            self.queue(event, slot);
        }
        if start_ticking {
            self.tick();
        }
    }

    /// Closes what was folded of a session, so that its reads stand before its end.
    pub(crate) fn unfold_session(&self, session: SessionId) {
        self.shared.unfold(Which::Of(session));
    }

    /// Closes the windows of folded events when their time is over, until there are none.
    fn tick(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.shared.folds().ticking = false;
            return;
        };
        let mut ticking = Ticking(Arc::downgrade(&self.shared));
        let (clock, window) = (self.shared.clock.clone(), self.shared.settings.fold);
        runtime.spawn(async move {
            loop {
                clock.sleep(window).await;
                let Some(shared) = ticking.0.upgrade() else {
                    return;
                };
                match clock.now() {
                    Ok(now) => shared.unfold(Which::Over(now, window)),
                    Err(_) => shared.unfold(Which::All),
                }
                let mut folds = shared.folds();
                if folds.is_empty() {
                    folds.ticking = false;
                    // From here on there may be another ticker, which is not ours to stop.
                    drop(mem::take(&mut ticking.0));
                    return;
                }
            }
        });
    }
}

/// Lets the next read start a new ticker when this one goes away with its runtime.
struct Ticking(Weak<Shared>);

impl Drop for Ticking {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.folds().ticking = false;
        }
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail")
            .field("pending", &self.shared.queue().pending())
            .finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn folds(&self) -> MutexGuard<'_, Folds> {
        self.folds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_slot(&self) -> Option<Slot> {
        self.slots.try_acquire().ok()?.forget();
        Some(Slot::of(&self.slots))
    }

    /// Room for a refusal. Callers who are not signed in get at most half of it, so they cannot keep the name of
    /// someone who is signed in out of the trail.
    fn try_refusal_slot(&self, is_known: bool) -> Option<Slot> {
        let slots = &self.refusal_slots;
        if !is_known && slots.available_permits() <= self.settings.refusals() / 2 {
            return None;
        }
        slots.try_acquire().ok()?.forget();
        Some(Slot::of(slots))
    }

    fn push(self: &Arc<Self>, mut entry: Entry) {
        entry.event.cut();
        self.queue().push(entry);
        self.wake();
    }

    /// Counts a refusal for which there is no room. The log tells of the first of each count.
    fn count_only(self: &Arc<Self>, event: &AuditEvent) {
        let rule = event.rule.clone().unwrap_or("unknown".into());
        if self.queue().count_only(event.name, rule) {
            tracing::warn!(
                target: "tower_impersonation",
                event = %event.to_json_line(),
                "the trail has no room for more refusals; this one and others by its rule will only be counted"
            );
        }
        self.wake();
    }

    /// Starts a writer where there is none and something to write. Without a runtime the next push or
    /// flush will.
    fn wake(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        {
            let mut queue = self.queue();
            if queue.writing || queue.is_empty() {
                return;
            }
            queue.writing = true;
        }
        // Not under the lock: a runtime that is going away drops the writer at once, which takes the lock.
        runtime.spawn(Writer::new(self.clone()).run());
    }

    fn unfold(self: &Arc<Self>, which: Which) {
        let closed = self.folds().close(which, &self.ids);
        for (event, slot) in closed.reads {
            self.push(Entry::new(Lane::Acted, event, Some(slot)));
        }
        for (event, slot) in closed.refusals {
            self.push(Entry::new(Lane::Refusals, event, Some(slot)));
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        let folds = self.folds.get_mut().unwrap_or_else(PoisonError::into_inner);
        let lost = (queue.pending() + folds.unwritten()) as u64 + queue.uncounted();
        if lost > 0 {
            tracing::error!(
                target: "tower_impersonation",
                lost, "the trail was dropped with events in it; call `flush` before"
            );
        }
    }
}
