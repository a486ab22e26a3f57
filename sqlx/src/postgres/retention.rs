//! Retention in PostgreSQL: whole partitions, and nobody who writes waits for it.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _, PgConnection, Postgres, query, query_scalar};
use time::OffsetDateTime;

use crate::trail::SqlTrail;

/// How long one step may wait for a lock: whoever wants the same lock after it waits as long.
const PATIENCE: &str = "set lock_timeout = '500ms'";
/// Before a step is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a step of one month is tried again.
const TRIES: u32 = 20;

/// Two that drop at once: one waits for the other.
const ONE_AT_ONCE: &str =
    "select pg_advisory_lock(hashtextextended('impersonation.drop_months_before', 0))";
/// Months that are wholly before `$1`, oldest first: partitions, and what an earlier call could not finish.
const OLD: &str = "select relname::text from pg_class \
     where relnamespace = 'impersonation'::regnamespace and relkind = 'r' \
       and relname ~ '^trail_[0-9]{4}_[0-9]{2}$' \
       and relname < 'trail_' || to_char(date_trunc('month', $1 at time zone 'UTC'), 'YYYY_MM') \
     order by relname";
/// Ends within those months. Else the sweep would write their events again, into months made anew.
const FORGET: &str = "update impersonation.sessions set end_confirmed = true \
     where ended_at < date_trunc('month', $1, 'UTC') and ended_at is not null and not end_confirmed";
/// How far the month `$1` is.
const STATE: &str = "select case when i.inhrelid is null then 'detached' \
         when i.inhdetachpending then 'pending' else 'attached' end \
     from pg_class c left join pg_inherits i on i.inhrelid = c.oid \
     where c.relnamespace = 'impersonation'::regnamespace and c.relname = $1";

impl SqlTrail<Postgres> {
    /// Retention: drops the partitions of the months (in UTC) that are wholly before `keep_from`, and says which.
    /// Never a row, and never a month that is not over. Needs the rights of the tables' owner, and PostgreSQL 14.
    ///
    /// A month is detached concurrently and then dropped: nobody who writes waits for it. It waits itself, up to 15
    /// seconds a month, for reads that are under way and for ANALYZE. What it could not finish, the next call
    /// finishes.
    ///
    /// ```no_run
    /// # async fn every_month(trail: &tower_impersonation_sqlx::PostgresTrail) -> Result<(), sqlx::Error> {
    /// use time::{Duration, OffsetDateTime};
    ///
    /// let year = Duration::days(365);
    /// for month in trail.drop_months_before(OffsetDateTime::now_utc() - year).await? {
    ///     println!("{month} is gone");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When `keep_from` is in the future, when someone reads for longer than that, or when the database fails. The
    /// months before are gone then.
    pub async fn drop_months_before(
        &self,
        keep_from: OffsetDateTime,
    ) -> Result<Vec<String>, sqlx::Error> {
        let mut connection = self.reserve().host().acquire().await?;
        // Its patience and its lock end with it.
        connection.close_on_drop();
        let is_over = query_scalar::<_, bool>("select $1 <= now()").bind(keep_from);
        if !is_over.fetch_one(&mut *connection).await? {
            let why = "only months that are over can be dropped";
            return Err(sqlx::Error::Configuration(why.into()));
        }
        query(ONE_AT_ONCE).execute(&mut *connection).await?;
        connection.execute(PATIENCE).await?;
        let old = query_scalar::<_, String>(OLD).bind(keep_from);
        let old = old.fetch_all(&mut *connection).await?;
        query(FORGET)
            .bind(keep_from)
            .execute(&mut *connection)
            .await?;
        for month in &old {
            drop_month(&mut connection, month).await?;
        }
        // A late event makes its month anew.
        self.months().forget();
        Ok(old)
    }
}

async fn drop_month(connection: &mut PgConnection, month: &str) -> Result<(), sqlx::Error> {
    let mut tries = 0;
    loop {
        let state = query_scalar::<_, String>(STATE).bind(month);
        let state = state.fetch_optional(&mut *connection).await?;
        // Names are of letters that `OLD` knows. Each in a statement of its own: none is allowed in a transaction.
        let step = match state.as_deref() {
            None => return Ok(()),
            // Whoever begins from then on does not see it, also where this fails to wait for those who began before.
            Some("attached") => format!(
                "alter table impersonation.trail detach partition impersonation.{month} concurrently"
            ),
            Some("pending") => format!(
                "alter table impersonation.trail detach partition impersonation.{month} finalize"
            ),
            Some(_) => format!("drop table impersonation.{month}"),
        };
        match connection.execute(AssertSqlSafe(step)).await {
            Ok(_) => {}
            Err(error) if tries < TRIES && is_locked(&error) => {
                tries += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Someone else has the lock, or they waited for each other.
fn is_locked(error: &sqlx::Error) -> bool {
    const LOCK_NOT_AVAILABLE: &str = "55P03";
    const DEADLOCK_DETECTED: &str = "40P01";

    let code = error.as_database_error().and_then(|error| error.code());
    matches!(
        code.as_deref(),
        Some(LOCK_NOT_AVAILABLE | DEADLOCK_DETECTED)
    )
}
