//! [`JsonLines`]: the trail as lines of JSON in a file.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _, Seek, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use crate::{
    audit::{AuditEvent, AuditSink},
    words::BoxError,
};

/// Appends each event as one line of JSON to a file, and has the system put it on the disk before the event counts as
/// written. Clones share the file.
///
/// ```
/// use tower_impersonation::audit::JsonLines;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.jsonl");
/// let audit = JsonLines::open(&path)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # What a reader of the file has to know
///
/// - A start stands in the file *before* its session exists (rule [A1](crate::rules#a1)). If the store then refuses or
///   the process dies, the file holds a start without a session.
/// - A line that a crash has cut off was never acknowledged. It is left as it is and closed with a line break, so that
///   what follows stays readable.
/// - After a failed write the same event may stand there twice, with the same [`key`](AuditEvent::key).
///
/// # Rotation
///
/// Before each write the sink looks at its path. When the file there is another one, or none, it opens the path again
/// and creates the file if it has to; a symbolic link that points elsewhere counts as well (rule
/// [A5](crate::rules#a5)). So logrotate needs no script:
///
/// ```text
/// /var/log/shop/audit.jsonl {
///     weekly
///     rotate 520
///     compress
///     delaycompress
///     create 0600 shop shop
/// }
/// ```
///
/// - `create` and `nocreate` both work: a new file that the sink creates is readable and writable by its owner only.
///   The process needs the right to create files in that folder, or logrotate has to create them.
/// - `delaycompress` matters. A line that is being written while the file is renamed goes into the renamed file, which
///   must not be compressed at that moment.
/// - `copytruncate` works, but logrotate itself loses what is written between its copy and its truncation. The sink
///   writes its lines once more when it sees that they are gone; it cannot see those that went right after it had
///   looked. Prefer `create`.
///
/// [`reopen`](Self::reopen) does the same at once, for a host that answers `SIGHUP`.
#[derive(Debug, Clone)]
pub struct JsonLines {
    /// Waited for without a thread, so that a disk that hangs holds one thread and not one per attempt.
    lines: Arc<tokio::sync::Mutex<Lines>>,
}

#[derive(Debug)]
struct Lines {
    /// Absolute, so that a process that changes its folder still finds it.
    path: PathBuf,
    file: File,
    /// The length of the file after the last write.
    length: u64,
    /// The file is new to us, or the last write failed: its last line may be cut off.
    unsure: bool,
}

/// What has become of the file since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Unchanged,
    /// It is shorter than it was.
    Truncated,
    /// The path leads to another file, or to none.
    Elsewhere,
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
        let lines = Lines::open(std::path::absolute(path)?)?;
        Ok(Self {
            lines: Arc::new(tokio::sync::Mutex::new(lines)),
        })
    }

    /// Opens the path again, whatever is there now.
    ///
    /// A rotated file is noticed before the next write anyway. Call this on `SIGHUP`, so that the old file is let go
    /// without waiting for one:
    ///
    /// ```no_run
    /// use tower_impersonation::audit::JsonLines;
    ///
    /// # #[cfg(unix)]
    /// # async fn run() -> std::io::Result<()> {
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// let audit = JsonLines::open("/var/log/shop/audit.jsonl")?;
    /// let reopened = audit.clone();
    /// let mut hangups = signal(SignalKind::hangup())?;
    /// tokio::spawn(async move {
    ///     while hangups.recv().await.is_some() {
    ///         if let Err(error) = reopened.reopen().await {
    ///             eprintln!("the trail's file cannot be opened again: {error}");
    ///         }
    ///     }
    /// });
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When the file cannot be opened. The one that was open stays in use then.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future either leaves the file as it was, or lets it be opened behind your back.
    pub async fn reopen(&self) -> io::Result<()> {
        let mut lines = self.lines.clone().lock_owned().await;
        tokio::task::spawn_blocking(move || lines.reopen()).await?
    }
}

/// Opens a file to append to, and creates it where there is none.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    if let Err(error) = keep_name(path) {
        tracing::warn!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "the folder of the trail cannot be synced; a new file in it may not outlive a crash"
        );
    }
    Ok(file)
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

/// Whether both are the same file.
#[cfg(unix)]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Whether both may be the same file: there is no number to tell. One that was created within the same tick of the
/// clock is told by its length, as a truncated one.
#[cfg(not(unix))]
fn is_same(one: &Metadata, other: &Metadata) -> bool {
    one.created().ok() == other.created().ok()
}

/// The file's length; that of a pipe or a device means nothing.
fn length_of(file: &Metadata) -> u64 {
    if file.is_file() { file.len() } else { 0 }
}

// === impl Lines ===

impl Lines {
    /// How often a write is tried whose file goes away while it is written.
    const TRIES: usize = 3;

    fn open(path: PathBuf) -> io::Result<Self> {
        let file = open(&path)?;
        let length = length_of(&file.metadata()?);
        Ok(Self {
            path,
            file,
            length,
            unsure: true,
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        *self = Self::open(self.path.clone())?;
        Ok(())
    }

    /// Appends `lines`, to the file that its path leads to.
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        for _ in 0..Self::TRIES {
            match self.look()? {
                Found::Unchanged => {}
                Found::Truncated => {
                    tracing::warn!(
                        target: "tower_impersonation",
                        file = %self.path.display(), before = self.length,
                        "the trail's file was truncated; what was in it may be lost"
                    );
                    self.reopen()?;
                }
                Found::Elsewhere => {
                    tracing::info!(
                        target: "tower_impersonation",
                        file = %self.path.display(), "the trail's file was moved away; it is opened again"
                    );
                    self.reopen()?;
                }
            }
            if self.unsure && self.is_torn()? {
                self.file.write_all(b"\n")?;
            }
            self.unsure = true;
            self.file.write_all(lines)?;
            self.file.sync_data()?;
            if self.has_kept(lines.len() as u64)? {
                self.unsure = false;
                return Ok(());
            }
        }
        let why = "the trail's file was removed or truncated each time it was written to";
        Err(io::Error::other(why))
    }

    /// What has become of the file since the last write.
    fn look(&self) -> io::Result<Found> {
        let there = match fs::metadata(&self.path) {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Elsewhere),
            Err(error) => return Err(error),
        };
        Ok(if !is_same(&there, &self.file.metadata()?) {
            Found::Elsewhere
        } else if length_of(&there) < self.length {
            Found::Truncated
        } else {
            Found::Unchanged
        })
    }

    /// Whether the file still has what was just written: it may have been removed or truncated before that. One that
    /// was renamed has it.
    fn has_kept(&mut self, written: u64) -> io::Result<bool> {
        let file = self.file.metadata()?;
        if !file.is_file() {
            return Ok(true);
        }
        let expected = self.length + written;
        self.length = file.len();
        #[cfg(unix)]
        if std::os::unix::fs::MetadataExt::nlink(&file) == 0 {
            // Some file systems do not count links.
            return Ok(self.look()? == Found::Unchanged);
        }
        Ok(self.length >= expected)
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
        let mut text = String::with_capacity(events.len() * 512);
        for event in events {
            text.push_str(&event.to_json_line());
            text.push('\n');
        }
        let mut lines = self.lines.clone().lock_owned().await;
        let append = move || lines.append(text.as_bytes());
        Ok(tokio::task::spawn_blocking(append).await??)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Whether lines count as kept after this has happened to their file.
    fn has_kept(happens: fn(&Path)) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut lines = Lines::open(path.clone()).unwrap();
        lines.append(b"{}\n").unwrap();
        lines.file.write_all(b"{}\n").unwrap();
        happens(&path);
        lines.has_kept(3).unwrap()
    }

    #[test]
    fn a5_lines_are_kept_in_a_renamed_file_and_not_in_one_that_was_removed_or_truncated() {
        assert!(has_kept(|_| {}));
        assert!(has_kept(|path| {
            fs::rename(path, path.with_extension("1")).unwrap();
        }));
        fn truncate(path: &Path, length: u64) {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(length).unwrap();
        }
        assert!(!has_kept(|path| truncate(path, 0)));
        assert!(!has_kept(|path| truncate(path, 5)));
        #[cfg(unix)]
        assert!(!has_kept(|path| fs::remove_file(path).unwrap()));
    }
}
