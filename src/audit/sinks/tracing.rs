//! [`TracingSink`]: the trail as `tracing` events.

use async_trait::async_trait;

use crate::{
    audit::{AuditEvent, AuditSink},
    words::BoxError,
};

/// Writes each event as one `tracing` event: target `tower_impersonation::audit`, level INFO, the whole
/// event as JSON in the field `event`.
///
/// It is as durable as its subscriber: put it beside a file or a database with [`FanOut`](super::FanOut).
///
/// ```
/// use tower_impersonation::audit::{FanOut, JsonLines, TracingSink};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("audit.jsonl");
/// let audit = FanOut::all().and(JsonLines::open(path)?).and(TracingSink);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingSink;

// === impl TracingSink ===

#[async_trait]
impl AuditSink for TracingSink {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        for event in events {
            ::tracing::info!(
                target: "tower_impersonation::audit",
                event = %event.to_json_line(), "{}", event.name
            );
        }
        Ok(())
    }
}
