//! Retention in SQLite: whole months, in one transaction.

use sqlx::{AssertSqlSafe, Sqlite, query_scalar};
use time::{OffsetDateTime, Time, UtcOffset};

use crate::{statement::Statement, trail::SqlTrail};

impl SqlTrail<Sqlite> {
    /// Retention: drops the months (in UTC) that are wholly before `keep_from`, and says how many events that
    /// were. Never a part of a month, and never one that is not over.
    ///
    /// One transaction, in which nobody else can write, lifts the rule and restores it: no one ever sees a
    /// trail that can be changed.
    ///
    /// # Errors
    ///
    /// When `keep_from` is in the future, or the database fails.
    pub async fn drop_months_before(&self, keep_from: OffsetDateTime) -> Result<u64, sqlx::Error> {
        let keep_from = keep_from.to_offset(UtcOffset::UTC);
        if keep_from > OffsetDateTime::now_utc() {
            let why = "only months that are over can be dropped";
            return Err(sqlx::Error::Configuration(why.into()));
        }
        let month = keep_from.replace_day(1).unwrap_or(keep_from);
        let month = month.replace_time(Time::MIDNIGHT);
        let mut transaction = self.reserve().begin().await?;
        let rule = query_scalar::<_, String>(
            "select sql from sqlite_schema where name = 'impersonation_trail_no_delete'",
        )
        .fetch_one(&mut *transaction)
        .await?;
        let lift = Statement::new("drop trigger impersonation_trail_no_delete");
        transaction.execute(lift).await?;
        let old = Statement::new("delete from impersonation_trail where time < $1").bind(month);
        let dropped = transaction.execute(old).await?;
        // Else the sweep would write again what is just dropped.
        let ends = Statement::new(
            "update impersonation_sessions set end_confirmed = true \
             where ended_at < $1 and ended_at is not null and not end_confirmed",
        );
        transaction.execute(ends.bind(month)).await?;
        sqlx::query(AssertSqlSafe(rule))
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(dropped)
    }
}
