//! The trail: what happened, written so that it cannot be skipped.
//!
//! 1. A session exists only after its start event is durable, and an unsafe acted request reaches its
//!    handler only after its intent is. Otherwise the answer is 503, and nothing was done (rule [A1](crate::rules#a1)).
//! 2. Every acted request is counted in exactly one outcome event, its own or a folded one, even if the handler
//!    panics or the client goes away (rule [A2](crate::rules#a2)).
//! 3. Refused attempts are events, with the subject that was asked for (rule [A3](crate::rules#a3)).
//! 4. Nothing is dropped silently. Repeated reads are folded into a count, and so are repeated refusals of one
//!    actor by one rule and address. Refusals have a lane of their own: a flood of them refuses no acted request,
//!    and delays none by more than one write. A full queue slows acted requests down, then refuses them; requests
//!    without a marker never notice (rule [A4](crate::rules#a4)).
//! 5. Concurrent events share one [`AuditSink::write`]. A failing sink is retried, a hanging one times out, and
//!    [`Trail::flush`] leaves nothing behind (rule [A5](crate::rules#a5)).
//!
//! # Where it goes
//!
//! | sink | writes |
//! | --- | --- |
//! | [`JsonLines`] | a file, one JSON object a line; reopened after a rotation |
//! | [`TracingSink`] | `tracing` events |
//! | [`MemorySink`] | memory, for tests; can be read |
//! | [`FanOut`] | several sinks at once |
//! | [`sink_fn`] | whatever a function does |
//! | [`Alerts`] | another sink, and calls you when someone tries too much |
//!
//! `tower-impersonation-sqlx` has tables in SQLite and PostgreSQL.
//!
//! # Writing a sink
//!
//! Every sink has to pass the suite in `conformance` (the feature of that name), including yours. [`TrailReader`]
//! shows a sink that can also be read.
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
mod filter;
mod fold;
mod guard;
mod reader;
mod sinks;
mod summaries;
mod trail;

use async_trait::async_trait;

pub use self::{
    alerts::{Alert, AlertRule, Alerts},
    filter::{Condition, TrailFilter},
    reader::{InvalidCursor, TrailCursor, TrailList, TrailPage, TrailReader},
    sinks::{FanOut, JsonLines, MemorySink, SinkFn, TracingSink, sink_fn},
    summaries::{Summaries, Summary, SummaryFilter},
    trail::{Trail, TrailError},
};
pub(crate) use self::{
    facts::{RequestFacts, call_of, describe_call},
    guard::RequestGuard,
    trail::TrailSettings,
};
use crate::words::BoxError;
pub use crate::words::{
    AuditEvent, Call, EventName, Field, FieldKind, FieldValue, InvalidValue, Outcome, UnknownWord,
};

/// Where the trail goes.
///
/// `Ok` means that all of `events` are durable, in this order. After an error, or if `write` takes longer than
/// [`Builder::audit_timeout`](crate::Builder::audit_timeout), the same events come again, possibly followed by more;
/// [`AuditEvent::key`] tells which ones were written already. `write` is never called concurrently.
///
/// Within one write, events stand in the order in which they were recorded. A refusal may come in a later write than
/// an acted request that was recorded after it (rule [A4](crate::rules#a4)).
///
/// # Cancel safety
///
/// The future is dropped when it takes too long. Some, all or none of the events may have been written.
#[async_trait]
pub trait AuditSink: Send + Sync + 'static {
    /// Writes `events`: at least one, and not more than about a thousand.
    ///
    /// # Errors
    ///
    /// Anything that keeps the events from being durable. It is logged, and the same events are written again.
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
