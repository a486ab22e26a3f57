//! The sinks that come with the crate.

use std::{
    collections::HashSet,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek, SeekFrom, Write as _},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use uuid::Uuid;

use super::{AuditEvent, AuditSink};
use crate::{
    BoxError,
    clock::SystemClock,
    guarded::{guarded, join_all},
};

/// Writes each event as one `tracing` event: target `tower_impersonation::audit`, level INFO, the whole
/// event as JSON in the field `event`.
///
/// As durable as what listens to it: put it beside a file or a database with [`FanOut`].
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

/// Appends each event as one line of JSON to a file, and has the system put it on the disk before it says
/// that it is written.
///
/// A line that was cut off by a crash was never acknowledged; it is left as it is and closed with a line
/// break, so that what follows stays readable. After a failed write the same event may stand twice, with
/// the same `id`.
///
/// ```
/// use tower_impersonation::audit::JsonLines;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.jsonl");
/// let audit = JsonLines::open(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct JsonLines {
    /// Waited for without a thread, so that a disk that hangs holds one thread and not one per attempt.
    file: Arc<tokio::sync::Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    file: File,
    /// The last write failed: its last line may be cut off.
    unsure: bool,
}

/// Keeps events in memory, for tests. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    events: Arc<Mutex<Vec<AuditEvent>>>,
}

/// Writes to several sinks at once, each for at most a second; so
/// [`audit_timeout`](crate::Builder::audit_timeout) has to be longer than that.
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

/// An [`AuditSink`] made of a plain function; see [`sink_fn`].
#[derive(Clone, Copy)]
pub struct SinkFn<F>(F);

/// Makes an [`AuditSink`] of a function that does not wait.
///
/// ```
/// use tower_impersonation::audit::sink_fn;
///
/// let audit = sink_fn(|events| {
///     for event in events {
///         eprintln!("{}", event.to_json_line());
///     }
///     Ok(())
/// });
/// ```
pub fn sink_fn<F>(write: F) -> SinkFn<F>
where
    F: Fn(&[AuditEvent]) -> Result<(), BoxError> + Send + Sync + 'static,
{
    SinkFn(write)
}

// === impl TracingSink ===

#[async_trait]
impl AuditSink for TracingSink {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        for event in events {
            tracing::info!(
                target: "tower_impersonation::audit",
                event = %event.to_json_line(), "{}", event.name
            );
        }
        Ok(())
    }
}

// === impl JsonLines ===

impl JsonLines {
    /// Opens the file for appending, and creates it where there is none: on Unix, readable and writable
    /// by its owner only.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let path = path.as_ref();
        let file = options.open(path)?;
        #[cfg(unix)]
        if let Err(error) = keep_name(path) {
            tracing::warn!(
                target: "tower_impersonation",
                error = &error as &dyn std::error::Error,
                "the folder of the trail cannot be synced; a new file in it may not outlive a crash"
            );
        }
        Ok(Self {
            file: Arc::new(tokio::sync::Mutex::new(Lines { file, unsure: true })),
        })
    }
}

/// Has the system put the name of a new file on the disk, without which its lines are lost as well.
#[cfg(unix)]
fn keep_name(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        Some(_) => File::open(".")?.sync_all(),
        None => Ok(()),
    }
}

impl Lines {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        if self.unsure && self.is_torn()? {
            self.file.write_all(b"\n")?;
        }
        self.unsure = true;
        self.file.write_all(lines)?;
        self.file.sync_data()?;
        self.unsure = false;
        Ok(())
    }

    /// Whether the last line has no end.
    fn is_torn(&mut self) -> io::Result<bool> {
        if self.file.seek(SeekFrom::End(-1)).is_err() {
            // Empty: there is nothing before its end.
            return Ok(false);
        }
        let mut last = [0];
        self.file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}

#[async_trait]
impl AuditSink for JsonLines {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let mut lines = String::with_capacity(events.len() * 512);
        for event in events {
            lines.push_str(&event.to_json_line());
            lines.push('\n');
        }
        let mut file = self.file.clone().lock_owned().await;
        let append = move || file.append(lines.as_bytes());
        Ok(tokio::task::spawn_blocking(append).await??)
    }
}

// === impl MemorySink ===

impl MemorySink {
    /// What was written so far. Call [`Trail::flush`](super::Trail::flush) before, to have it all.
    #[must_use]
    pub fn events(&self) -> Vec<AuditEvent> {
        let events = self.events.lock();
        events.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl AuditSink for MemorySink {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let kept = self.events.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(events);
        Ok(())
    }
}

// === impl FanOut ===

impl FanOut {
    /// Durable means: every sink has it. One that fails holds the trail up.
    #[must_use]
    pub fn all() -> Self {
        Self {
            sinks: Vec::new(),
            all: true,
        }
    }

    /// Durable means: at least one sink has it. Events that another one missed are not brought to it
    /// later; a warning in the log says so.
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
    pub(super) fn remembered(&self) -> usize {
        self.sinks.iter().map(|branch| branch.has().len()).sum()
    }
}

impl Branch {
    /// How long one sink of several may take.
    const PATIENCE: Duration = Duration::from_secs(1);

    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        match self.missing(events) {
            None => self.write_in_time(events).await?,
            Some(missing) if missing.is_empty() => {}
            Some(missing) => self.write_in_time(&missing).await?,
        }
        // In place of what was there: those who come again come all together.
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
        Ok(guarded(&SystemClock, Self::PATIENCE, write).await?)
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

// === impl SinkFn ===

#[async_trait]
impl<F> AuditSink for SinkFn<F>
where
    F: Fn(&[AuditEvent]) -> Result<(), BoxError> + Send + Sync + 'static,
{
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        (self.0)(events)
    }
}

impl<F> fmt::Debug for SinkFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SinkFn(<fn>)")
    }
}
