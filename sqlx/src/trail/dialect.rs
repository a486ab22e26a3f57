//! [`TrailDialect`]: what the trail has to know of a database.

use std::future::Future;

use time::OffsetDateTime;
use tower_impersonation::audit::AuditEvent;
use uuid::Uuid;

use crate::{dialect::Dialect, reserve::Reserve};

/// What the trail has to know of a database.
pub trait TrailDialect: Dialect {
    /// The tables and functions as this database names them.
    const TRAIL: TrailWords;

    /// What a process knows of the room that there is for events.
    type Months: Default + Send + Sync + 'static;

    /// Sees to it that there is room for events of this time. In transactions of its own, before that which writes
    /// them: it may have to wait for another process.
    fn make_room(
        reserve: &Reserve<Self>,
        months: &Self::Months,
        at: OffsetDateTime,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Whether there is room for events of this time, as far as this process knows.
    fn has_room(months: &Self::Months, at: OffsetDateTime) -> bool;

    /// Makes room for what comes, ahead of time. Called now and then.
    fn make_room_ahead(
        reserve: &Reserve<Self>,
        months: &Self::Months,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// A write has failed: what this process knows may be out of date.
    fn forget_room(months: &Self::Months);

    /// Sees to it that what this connection commits is on the disk. Before the transaction.
    fn make_durable(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Writes events in a transaction of their own; `Ok` means durable.
    fn write(
        reserve: &Reserve<Self>,
        events: &[AuditEvent],
        process: Uuid,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Writes events that are not there yet, in the transaction that the connection is in.
    fn insert(
        connection: &mut Self::Connection,
        events: &[AuditEvent],
        process: Uuid,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// The words of a database for the same things.
#[derive(Debug)]
pub struct TrailWords {
    /// The table of events.
    pub(crate) trail: &'static str,
    /// The time now, by the clock that all processes share.
    pub(crate) now: &'static str,
    /// The later of two.
    pub(crate) greatest: &'static str,
    /// The earlier of two.
    pub(crate) least: &'static str,
    /// Whole seconds from the column `started` to the column `ended`.
    pub(crate) seconds: &'static str,
    /// Says that the process `$1` lives.
    pub(crate) live: &'static str,
    /// Processes that were silent for `$1` microseconds.
    pub(crate) silent: &'static str,
    /// Takes the process `$1` for dead, if it was silent for `$2` microseconds and nobody else did so.
    pub(crate) give_up: &'static str,
}

/// The statements about processes, with a table's name and the words for times.
macro_rules! trail_words {
    (prefix: $prefix:literal, now: $now:literal, ago: $ago:literal, greatest: $greatest:literal,
     least: $least:literal, seconds: $seconds:literal) => {
        $crate::trail::TrailWords {
            trail: concat!($prefix, "trail"),
            now: $now,
            greatest: $greatest,
            least: $least,
            seconds: $seconds,
            live: concat!(
                "insert into ",
                $prefix,
                "processes (id, seen_at) values ($1, ",
                $now,
                ") \
                 on conflict (id) do update set seen_at = excluded.seen_at, swept_at = null"
            ),
            silent: concat!(
                "select id from ",
                $prefix,
                "processes \
                 where swept_at is null and seen_at <= ",
                $now,
                " - $1",
                $ago
            ),
            give_up: concat!(
                "update ",
                $prefix,
                "processes set swept_at = ",
                $now,
                " \
                 where id = $1 and swept_at is null and seen_at <= ",
                $now,
                " - $2",
                $ago
            ),
        }
    };
}

pub(crate) use trail_words;
