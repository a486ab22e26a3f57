//! How long a replica may serve from memory what it has not heard to be over: [`Lease`] (rule S9).
//!
//! A replica pings itself through the channel. What was told before a ping comes in before it, so once that is back,
//! everything was heard that had happened when it was sent. From then on counts the lease, here and, by the
//! database's own clock, in the row that the ping writes: whoever ends a session waits for each replica that has
//! such a row to say that it forgot the session, or for the end of its lease.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use sqlx::postgres::PgListener;
use uuid::Uuid;

/// From the moment when a ping was sent that came back. The question in `asking` says it in SQL.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// Between two pings.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);
/// A ping that is not back by then does not come back.
pub(super) const ANSWER: Duration = Duration::from_secs(2);

const PING: &str = "with lease as ( \
       insert into impersonation.replicas (id, seen_at) values ($1, clock_timestamp()) \
       on conflict (id) do update set seen_at = excluded.seen_at \
     ) \
     select pg_notify($2, $3)";
/// Processes that did not leave, and are gone.
const CLEAR: &str =
    "delete from impersonation.replicas where seen_at < clock_timestamp() - interval '1 minute'";

/// Until when this replica may serve from memory.
#[derive(Debug)]
pub(super) struct Lease {
    since: Instant,
    /// Milliseconds after `since`; 0 while there is none.
    until: AtomicU64,
}

/// The pings of one connection.
pub(super) struct Pings {
    replica: Uuid,
    number: u64,
    /// When the last one was sent.
    sent_at: Instant,
    is_out: bool,
}

// === impl Lease ===

impl Lease {
    pub(super) fn is_held(&self) -> bool {
        let until = self.until.load(Ordering::SeqCst);
        // Most often there is one, and asking the clock is all that this costs.
        until > 0 && self.millis(Instant::now()) < until
    }

    /// A ping is back that was sent then.
    fn renew(&self, sent_at: Instant) {
        let until = self.millis(sent_at + LEASE);
        self.until.store(until, Ordering::SeqCst);
    }

    /// Something may be missed from now on.
    pub(super) fn lose(&self) {
        self.until.store(0, Ordering::SeqCst);
    }

    fn millis(&self, at: Instant) -> u64 {
        let millis = at.saturating_duration_since(self.since).as_millis();
        u64::try_from(millis).unwrap_or(u64::MAX)
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            until: AtomicU64::new(0),
        }
    }
}

// === impl Pings ===

impl Pings {
    /// Sends the first one.
    pub(super) async fn start(
        replica: Uuid,
        connection: &mut PgListener,
    ) -> Result<Self, sqlx::Error> {
        sqlx::query(CLEAR).execute(&mut *connection).await?;
        let mut pings = Self {
            replica,
            number: 0,
            sent_at: Instant::now(),
            is_out: false,
        };
        pings.send(connection).await?;
        Ok(pings)
    }

    /// When the next one is to be sent, or the last one has to be back.
    pub(super) fn due_at(&self) -> Instant {
        self.sent_at + if self.is_out { ANSWER } else { INTERVAL }
    }

    /// Sends the next one. An error when the last one is still out.
    pub(super) async fn go_on(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error> {
        match self.is_out {
            true => Err(lost()),
            false => self.send(connection).await,
        }
    }

    async fn send(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error> {
        self.number += 1;
        self.is_out = true;
        self.sent_at = Instant::now();
        let ping = sqlx::query(PING)
            .bind(self.replica)
            .bind(channel_of(self.replica))
            .bind(format!("ping {}", self.number))
            .execute(connection);
        let sent = tokio::time::timeout(ANSWER, ping).await;
        sent.map_err(|_| lost())?.map(drop)
    }

    /// This one is back. Whether it was out.
    pub(super) fn is_back(&mut self, number: u64, lease: &Lease) -> bool {
        if !self.is_out || number != self.number {
            return false;
        }
        self.is_out = false;
        lease.renew(self.sent_at);
        lease.is_held()
    }
}

/// Where a replica alone listens.
pub(super) fn channel_of(replica: Uuid) -> String {
    format!("impersonation_{}", replica.simple())
}

/// The connection tells nothing any more.
pub(super) fn lost() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into())
}
