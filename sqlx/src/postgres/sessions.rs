//! What is PostgreSQL's own about sessions.

use sqlx::{Postgres, error::DatabaseError};
use time::OffsetDateTime;
use tower_impersonation::session::SessionId;
use uuid::Uuid;

use super::replicas::Replicas;
use crate::{
    moment::to_micros,
    reserve::Reserve,
    sessions::{SessionDialect, SessionWords, SqlSessions, row::session_columns, session_words},
};

/// Sessions in PostgreSQL, for many replicas: [`SqlSessions`] says the rest. A zero byte in a text becomes U+FFFD.
///
/// # Revocation (rule S9)
///
/// Every change is told to every replica by NOTIFY, from a trigger, so also what is done by hand in `psql`. Once
/// anybody subscribes ([`Cached`](tower_impersonation::session::Cached) and the handle do), a task listens, with a
/// connection of its own that is not one of the pool's; everything that was made from one pool shares it.
///
/// **None is served after the answer.** An end, a start that replaces a session and a change of access or lifetime
/// return when no replica serves from memory what was before. Each replica pings itself through the database once a
/// second, which gives it a lease of three seconds, written down in `impersonation.replicas`. Whoever ends a session
/// asks all that have a lease, and waits for each to say that it forgot, or for the end of its lease. That costs one
/// round trip; up to three seconds where a replica hangs, was cut off or has just gone. `check_timeout` of the
/// handle's builder has to be longer than that, as it is by default: else the answer says that the end is not stored
/// yet.
///
/// Without a lease, [`hears_all`](tower_impersonation::session::SessionStore::hears_all) is false and a cache asks the
/// database each time; with a new one, all that was kept is forgotten. So what is done by hand holds within three
/// seconds everywhere, and at once where replicas hear.
///
/// A pooler in transaction mode passes no notifications on, and no replica gets a lease:
/// [`with_listener`](SqlSessions::with_listener) takes a pool that goes past it.
///
/// ```no_run
/// # async fn set_up(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use std::time::Duration;
/// use tower_impersonation::session::{Cached, EndedReason, SessionId, SessionStore};
/// use tower_impersonation_sqlx::PostgresSessions;
///
/// # let (id, now) = (SessionId(uuid::Uuid::nil()), time::OffsetDateTime::now_utc());
/// let sessions = Cached::new(PostgresSessions::new(pool), Duration::from_secs(30));
/// sessions.end(id, EndedReason::SessionRevoked, now).await?;
/// // No replica serves it any more.
/// # Ok(())
/// # }
/// ```
///
/// # Idle time
///
/// Requests are told to the database from time to time (every tenth of the idle limit, at most every 30 seconds),
/// all of a process in one statement. So another replica may take a session for idle by as much too early.
pub type PostgresSessions = SqlSessions<Postgres>;

impl SqlSessions<Postgres> {
    /// Listens where this pool connects to, with a connection that is not one of the pool's. Its role has to be allowed
    /// to read `impersonation.sessions`, and to read and change `impersonation.replicas`. Default: where the other one
    /// connects to.
    ///
    /// ```no_run
    /// # fn set_up(through_the_pooler: sqlx::PgPool, past_it: sqlx::PgPool) {
    /// use tower_impersonation_sqlx::PostgresSessions;
    ///
    /// let sessions = PostgresSessions::new(through_the_pooler).with_listener(past_it);
    /// # drop(sessions);
    /// # }
    /// ```
    #[must_use]
    pub fn with_listener(self, listener: sqlx::PgPool) -> Self {
        self.with_news(Replicas::of(Reserve::of(listener)))
    }

    /// Waits until changes of other replicas come in.
    ///
    /// Nothing needs it: before that, the database is asked each time.
    pub async fn listening(&self) {
        self.news().listening(self.listeners()).await;
    }
}

impl SessionDialect for Postgres {
    const SESSIONS: SessionWords = session_words!(
        table: "impersonation.sessions",
        spent: "impersonation.spent_tokens",
        lock: Some("select pg_advisory_xact_lock(hashtextextended($1, 4711))"),
        // An end waits for it, and forgets it then.
        share: " for share",
        patient: (
            "with patient as materialized (select set_config('lock_timeout', '1s', true)) ",
            " and (select count(*) from patient) > 0"
        ),
        least: "least",
        microseconds: " * interval '1 microsecond'",
        // What another replica is just ending is left to it.
        due: ("= any(array(", " for update skip locked))")
    );

    type News = Replicas;

    fn is_second(error: &dyn DatabaseError) -> bool {
        error.constraint() == Some("sessions_open")
    }

    async fn touch_all(
        reserve: &Reserve<Self>,
        seen: &[(SessionId, OffsetDateTime)],
    ) -> Result<(), sqlx::Error> {
        let ids: Vec<Uuid> = seen.iter().map(|(id, _)| id.0).collect();
        let times: Vec<_> = seen.iter().map(|(_, at)| to_micros(*at)).collect();
        let mut connection = reserve.connection().await?;
        // Locked in the order of their ids, so that two replicas never wait for each other.
        sqlx::query(
            "with seen as ( \
               select id, max(at) as at from unnest($1::uuid[], $2::timestamptz[]) as s (id, at) group by id \
             ), locked as ( \
               select s.id from impersonation.sessions s \
               where s.id = any($1) and s.ended_at is null order by s.id for update \
             ) \
             update impersonation.sessions s set last_seen_at = seen.at, \
               due_at = least(s.expires_at, seen.at + s.idle_us * interval '1 microsecond') \
             from locked join seen using (id) \
             where s.id = locked.id and s.ended_at is null and s.last_seen_at < seen.at",
        )
        .bind(ids)
        .bind(times)
        .execute(&mut *connection)
        .await?;
        Ok(())
    }
}
