//! Who allows support access, as a table: [`SqlConsents`] (rule S8).

use std::fmt;

use async_trait::async_trait;
use sqlx::query_scalar;
use time::OffsetDateTime;
use tower_impersonation::{BoxError, Consent, UserId};

use crate::pool::{Pool, sealed::Db};

/// Consents in the database. Every permission stays in the table (`impersonation.consents`, or
/// `impersonation_consents`), with when it was given and withdrawn.
///
/// Read at the start and on every acted request, so what is withdrawn holds from the next one on.
///
/// ```no_run
/// # use sqlx::SqlitePool;
/// # use time::{Duration, OffsetDateTime};
/// # use tower_impersonation_sqlx::SqlConsents;
/// # #[cfg(feature = "sqlite")]
/// # async fn set_up(pool: SqlitePool) -> Result<(), Box<dyn std::error::Error>> {
/// let consents = SqlConsents::new(pool);
/// let ines = "ines".parse()?;
/// consents.allow(&ines, OffsetDateTime::now_utc() + Duration::days(1)).await?;
/// consents.withdraw(&ines).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqlConsents {
    db: Db,
}

// === impl SqlConsents ===

impl SqlConsents {
    /// The consents in the database of this pool, of PostgreSQL or of SQLite.
    #[must_use]
    pub fn new(pool: impl Pool) -> Self {
        Self { db: pool.into_db() }
    }

    /// `subject` allows support access until then, in place of what they allowed before.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn allow(&self, subject: &UserId, until: OffsetDateTime) -> Result<(), sqlx::Error> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(pool) => {
                sqlx::query("select impersonation.allow_support($1, $2)")
                    .bind(subject.as_str())
                    .bind(crate::columns::to_micros(until))
                    .execute(pool)
                    .await?;
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                use crate::trail::micros;

                let now = micros(OffsetDateTime::now_utc());
                let mut tx = pool.begin_with("begin immediate").await?;
                sqlite_withdraw(&mut *tx, subject, now).await?;
                sqlx::query(
                    "insert into impersonation_consents (user_id, allowed_until, granted_at) values (?, ?, ?)",
                )
                .bind(subject.as_str())
                .bind(micros(until))
                .bind(now)
                .execute(&mut *tx)
                .await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    /// From now on `subject` allows nothing; `false` when they did not before.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn withdraw(&self, subject: &UserId) -> Result<bool, sqlx::Error> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(pool) => {
                let withdrawn = query_scalar("select impersonation.withdraw_support($1)");
                withdrawn.bind(subject.as_str()).fetch_one(pool).await
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                let now = crate::trail::micros(OffsetDateTime::now_utc());
                sqlite_withdraw(pool, subject, now).await
            }
        }
    }
}

#[cfg(feature = "sqlite")]
async fn sqlite_withdraw(
    connection: impl sqlx::SqliteExecutor<'_>,
    subject: &UserId,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let withdrawn = sqlx::query(
        "update impersonation_consents set withdrawn_at = ?2 where user_id = ?1 and withdrawn_at is null",
    )
    .bind(subject.as_str())
    .bind(now)
    .execute(connection)
    .await?;
    Ok(withdrawn.rows_affected() > 0)
}

#[async_trait]
impl Consent for SqlConsents {
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(pool) => Ok(query_scalar(
                "select allowed_until from impersonation.consents \
                 where user_id = $1 and withdrawn_at is null",
            )
            .bind(subject.as_str())
            .fetch_optional(pool)
            .await?),
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                let until = query_scalar::<_, i64>(
                    "select allowed_until from impersonation_consents \
                     where user_id = ?1 and withdrawn_at is null",
                );
                let until = until.bind(subject.as_str()).fetch_optional(pool).await?;
                Ok(until.map(crate::sqlite::time).transpose()?)
            }
        }
    }
}

impl fmt::Debug for SqlConsents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConsents").finish_non_exhaustive()
    }
}
