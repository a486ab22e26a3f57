//! [`JsonLines`]: the trail as lines of JSON in a file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek, SeekFrom, Write as _},
    path::Path,
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    audit::{AuditEvent, AuditSink},
    words::BoxError,
};

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
