//! [`FanOut`]: the trail in several places at once.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    audit::{AuditEvent, AuditSink},
    host::guarded,
    words::{BoxError, clock::SystemClock, join_all},
};

/// Writes to several sinks at once.
///
/// Each may take a second, so [`audit_timeout`](crate::Builder::audit_timeout) has to be longer than that. A sink
/// that hangs delays each write by that second, with [`any`](Self::any) too.
///
/// ```
/// use tower_impersonation::audit::{FanOut, MemorySink, TracingSink};
///
/// let audit = FanOut::all().and(MemorySink::default()).and(TracingSink);
/// ```
pub struct FanOut {
    sinks: Vec<Branch>,
    all: bool,
}

struct Branch {
    sink: Box<dyn AuditSink>,
    /// What this one has of a batch that others have not: it does not get it twice.
    has: Mutex<HashSet<(Uuid, bool)>>,
}

// === impl FanOut ===

impl FanOut {
    /// How long one sink of several may take.
    pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

    /// An event is durable when every sink has it. A failing sink holds up the trail; the others do not get an
    /// event twice because of it.
    ///
    /// ```
    /// use tower_impersonation::audit::{FanOut, MemorySink, TracingSink};
    ///
    /// let audit = FanOut::all().and(MemorySink::default()).and(TracingSink);
    /// ```
    #[must_use]
    pub fn all() -> Self {
        Self {
            sinks: Vec::new(),
            all: true,
        }
    }

    /// An event is durable when at least one sink has it. A sink that missed an event does not get it later; the
    /// log warns of it.
    #[must_use]
    pub fn any() -> Self {
        Self {
            sinks: Vec::new(),
            all: false,
        }
    }

    /// Adds a sink.
    #[must_use]
    pub fn and(mut self, sink: impl AuditSink) -> Self {
        self.sinks.push(Branch {
            sink: Box::new(sink),
            has: Mutex::default(),
        });
        self
    }

    /// How many events it knows to be in one sink and not in another.
    #[cfg(test)]
    pub(crate) fn remembered(&self) -> usize {
        self.sinks.iter().map(|branch| branch.has().len()).sum()
    }
}

impl Branch {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        match self.missing(events) {
            None => self.write_in_time(events).await?,
            Some(missing) if missing.is_empty() => {}
            Some(missing) => self.write_in_time(&missing).await?,
        }
        // In place of what was there: events that come again come all together.
        *self.has() = events.iter().map(AuditEvent::key).collect();
        Ok(())
    }

    /// What this one does not have yet; `None` for all of it.
    fn missing(&self, events: &[AuditEvent]) -> Option<Vec<AuditEvent>> {
        let has = self.has();
        let is_missing = |event: &&AuditEvent| !has.contains(&event.key());
        (!has.is_empty()).then(|| events.iter().filter(is_missing).cloned().collect())
    }

    async fn write_in_time(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let write = async { self.sink.write(events).await };
        Ok(guarded(&SystemClock, FanOut::PATIENCE, write).await?)
    }

    fn has(&self) -> MutexGuard<'_, HashSet<(Uuid, bool)>> {
        self.has.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self) {
        self.has().clear();
    }
}

#[async_trait]
impl AuditSink for FanOut {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let writes = self.sinks.iter().map(|branch| branch.write(events));
        let mut failed = None;
        let mut written = 0;
        for result in join_all(writes).await {
            match result {
                Ok(()) => written += 1,
                Err(error) => {
                    tracing::warn!(
                        target: "tower_impersonation",
                        error = &*error, "one of several audit sinks did not write"
                    );
                    failed = Some(error);
                }
            }
        }
        let enough = match (self.all, failed) {
            (true, None) if written > 0 => Ok(()),
            (false, _) if written > 0 => Ok(()),
            (_, Some(error)) => Err(error),
            (_, None) => Err("a fan-out without sinks keeps nothing".into()),
        };
        if enough.is_ok() {
            self.sinks.iter().for_each(Branch::forget);
        }
        enough
    }
}

impl fmt::Debug for FanOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("sinks", &self.sinks.len())
            .field("all", &self.all)
            .finish_non_exhaustive()
    }
}
