//! The trail in a database: [`SqlTrail`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sqlx::Pool;
use time::OffsetDateTime;
use tower_impersonation::{
    BoxError,
    audit::{AuditEvent, AuditSink},
};
use uuid::Uuid;

use crate::{reserve::Reserve, transaction::Transaction};

mod dialect;
pub(crate) mod fields;
mod filter;
mod heartbeat;
mod place;
mod read;
mod summaries;
mod unknown;

pub(crate) use self::dialect::{TrailDialect, TrailWords, trail_words};
use self::heartbeat::Heartbeat;

/// The trail in a database: [`PostgresTrail`](crate::PostgresTrail) or [`SqliteTrail`](crate::SqliteTrail). Clones
/// share it.
///
/// Append-only (rule A8): the database refuses to change or delete an event. A write is one transaction, whatever
/// the size of the batch, and on the disk before it is acknowledged, whatever the host has set. What is written twice
/// is kept once. It has connections beside the host's pool, so that a host that has used up its own still writes.
///
/// A view shows each acted request once, with `unknown` for an intent that has no outcome (rule A2). Every trail that
/// writes also says every ten seconds that its process lives; intents of one that was silent for a minute are given
/// the outcome [`Outcome::Unknown`](tower_impersonation::audit::Outcome::Unknown).
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use tower_impersonation::audit::{AuditEvent, AuditSink, EventName, TrailFilter, TrailPage, TrailReader};
/// use tower_impersonation_sqlx::{SqliteTrail, sqlite};
///
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// sqlite::migrate(&pool).await?;
/// let trail = SqliteTrail::new(pool);
/// # let (id, now) = (uuid::Uuid::now_v7(), time::OffsetDateTime::now_utc());
/// trail.write(&[AuditEvent::new(id, now, EventName::Denied)]).await?;
///
/// let denials = TrailFilter::default();
/// let list = trail.read(&denials, &TrailPage::first(50)).await?;
/// assert_eq!(list.events.len(), 1);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
pub struct SqlTrail<D: TrailDialect> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: TrailDialect> {
    reserve: Arc<Reserve<D>>,
    process: Uuid,
    heartbeat: Heartbeat,
    months: D::Months,
}

// === impl SqlTrail ===

impl<D: TrailDialect> SqlTrail<D> {
    /// The trail in the database of this pool.
    #[must_use]
    pub fn new(pool: Pool<D>) -> Self {
        Self {
            shared: Arc::new(Shared {
                reserve: Reserve::of(pool),
                process: Uuid::now_v7(),
                heartbeat: Heartbeat::default(),
                months: D::Months::default(),
            }),
        }
    }

    pub(crate) fn reserve(&self) -> &Reserve<D> {
        &self.shared.reserve
    }

    pub(crate) fn months(&self) -> &D::Months {
        &self.shared.months
    }

    /// Sees to it that there is room for events of this time. Before the transaction that writes them.
    pub(crate) async fn make_room(&self, at: OffsetDateTime) -> Result<(), sqlx::Error> {
        D::make_room(self.reserve(), self.months(), at).await
    }

    /// Whether there is room for events of this time, as far as this process knows.
    pub(crate) fn has_room(&self, at: OffsetDateTime) -> bool {
        D::has_room(self.months(), at)
    }

    /// Writes events within a transaction of somebody else's. They have to have room.
    pub(crate) async fn insert(
        &self,
        transaction: &mut Transaction<D>,
        events: &[AuditEvent],
    ) -> Result<(), sqlx::Error> {
        D::insert(transaction, events, self.shared.process).await
    }

    async fn try_write(&self, events: &[AuditEvent]) -> Result<(), sqlx::Error> {
        Heartbeat::keep_running(&self.shared).await?;
        for event in events {
            self.make_room(event.time).await?;
        }
        D::write(&self.shared.reserve, events, self.shared.process).await
    }
}

#[async_trait]
impl<D: TrailDialect> AuditSink for SqlTrail<D> {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let written = self.try_write(events).await;
        if written.is_err() {
            D::forget_room(&self.shared.months);
        }
        Ok(written?)
    }
}

impl<D: TrailDialect> Clone for SqlTrail<D> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<D: TrailDialect> fmt::Debug for SqlTrail<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlTrail")
            .field("process", &self.shared.process)
            .finish_non_exhaustive()
    }
}
