//! [`sink_fn`]: a sink of a plain function.

use std::fmt;

use async_trait::async_trait;

use crate::{
    audit::{AuditEvent, AuditSink},
    words::BoxError,
};

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
