//! Retention in PostgreSQL: whole partitions.

use sqlx::{Postgres, query_scalar};
use time::OffsetDateTime;

use crate::trail::SqlTrail;

impl SqlTrail<Postgres> {
    /// Retention: drops the partitions of the months (in UTC) that are wholly before `keep_from`, and says which.
    /// Never a row, and never a month that is not over. Needs the rights of the tables' owner.
    ///
    /// # Errors
    ///
    /// When `keep_from` is in the future, or the database fails.
    pub async fn drop_months_before(
        &self,
        keep_from: OffsetDateTime,
    ) -> Result<Vec<String>, sqlx::Error> {
        let dropped = query_scalar("select impersonation.drop_months_before($1)")
            .bind(keep_from)
            .fetch_all(self.reserve().host())
            .await?;
        self.months().forget();
        Ok(dropped)
    }
}
