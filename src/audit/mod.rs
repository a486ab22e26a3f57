//! The trail: what happened, written so that it cannot be skipped.
//!
//! 1. A session exists only after its start event is durable, and an unsafe acted request reaches its
//!    handler only after its intent is. Else 503, and nothing was done (rule A1).
//! 2. Every acted request is counted in exactly one outcome event, its own or a folded one: also one that
//!    panics, and one whose client went away (rule A2).
//! 3. Refused attempts are events, with the subject that was asked for (rule A3).
//! 4. Nothing is dropped in silence: repeated reads are folded into a count, a full queue refuses acted
//!    requests, and requests without a marker never notice (rule A4).
//! 5. Concurrent events share one [`AuditSink::write`]; a failing sink is tried again, a hanging one is
//!    timed out, and [`Trail::flush`] leaves nothing behind (rule A5).
//!
//! # Writing a sink
//!
//! `conformance` (feature of that name) is what every sink has to pass, yours included.
//!
//! ```
//! use async_trait::async_trait;
//! use tower_impersonation::{BoxError, audit::{AuditEvent, AuditSink}};
//!
//! struct Stdout;
//!
//! #[async_trait]
//! impl AuditSink for Stdout {
//!     async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
//!         for event in events {
//!             println!("{}", event.to_json_line());
//!         }
//!         Ok(())
//!     }
//! }
//! ```

mod alerts;
#[cfg(feature = "conformance")]
pub mod conformance;
mod facts;
mod fold;
mod guard;
mod reader;
mod sinks;
mod summaries;
mod trail;

use async_trait::async_trait;

pub use self::{
    alerts::{Alert, AlertRule, Alerts},
    reader::{InvalidCursor, TrailCursor, TrailFilter, TrailList, TrailPage, TrailReader},
    sinks::{FanOut, JsonLines, MemorySink, SinkFn, TracingSink, sink_fn},
    summaries::{Summaries, Summary, SummaryFilter},
    trail::{Trail, TrailError},
};
pub(crate) use self::{
    facts::{RequestFacts, describe_call},
    guard::RequestGuard,
    trail::TrailSettings,
};
use crate::words::BoxError;
pub use crate::words::{
    AuditEvent, EventName, Field, FieldKind, FieldValue, InvalidValue, Outcome, UnknownWord,
};

/// Where the trail goes.
///
/// `Ok` means that all of `events` are durable, in this order. On an error, or when `write` takes longer
/// than [`Builder::audit_timeout`](crate::Builder::audit_timeout), the same events come again, maybe with
/// more behind them: what was already written is told by [`AuditEvent::key`]. `write` is never called
/// twice at the same time.
///
/// # Cancel safety
///
/// The future is dropped when it takes too long. Some, all or none of the events may have been written.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Writes `events`. There is at least one, and not more than a thousand or so.
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError>;
}

#[async_trait]
impl<S: AuditSink + ?Sized> AuditSink for std::sync::Arc<S> {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        (**self).write(events).await
    }
}

#[cfg(test)]
mod tests;
