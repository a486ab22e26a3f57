//! Who allows support access, as a table: [`SqlConsents`] (rule S8).

use std::fmt;

use async_trait::async_trait;
#[cfg(feature = "sqlite")]
use sqlx::Sqlite;
#[cfg(feature = "postgres")]
use sqlx::{Postgres, query_scalar};
use time::OffsetDateTime;
use tower_impersonation::{BoxError, Consent, UserId};

use crate::{
    columns::Columns as _,
    dialect::Dialect,
    pool::{Pool, sealed::Db},
    reserve::Reserve,
    statement::{Run as _, Statement},
};

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
            Db::Postgres(reserve) => {
                let allow = Statement::new("select impersonation.allow_support($1, $2)");
                let allow = allow.bind(subject).bind(until);
                Postgres::execute(&mut *reserve.connection().await?, allow).await?;
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => {
                let now = OffsetDateTime::now_utc();
                let mut transaction = reserve.begin().await?;
                transaction.execute(sqlite_withdrawal(subject, now)).await?;
                let allow = Statement::new(
                    "insert into impersonation_consents (user_id, allowed_until, granted_at) \
                     values ($1, $2, $3)",
                );
                let allow = allow.bind(subject).bind(until).bind(now);
                transaction.execute(allow).await?;
                transaction.commit().await?;
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
            Db::Postgres(reserve) => {
                let withdrawn = query_scalar("select impersonation.withdraw_support($1)");
                let withdrawn = withdrawn.bind(subject.as_str());
                withdrawn.fetch_one(&mut *reserve.connection().await?).await
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => {
                let withdrawal = sqlite_withdrawal(subject, OffsetDateTime::now_utc());
                let mut connection = reserve.connection().await?;
                let withdrawn = Sqlite::execute(&mut connection, withdrawal).await?;
                Ok(withdrawn > 0)
            }
        }
    }
}

#[cfg(feature = "sqlite")]
fn sqlite_withdrawal(subject: &UserId, now: OffsetDateTime) -> Statement<'_> {
    let withdrawal = Statement::new(
        "update impersonation_consents set withdrawn_at = $2 \
         where user_id = $1 and withdrawn_at is null",
    );
    withdrawal.bind(subject).bind(now)
}

#[async_trait]
impl Consent for SqlConsents {
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
        Ok(match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(reserve) => {
                let until = Statement::new(
                    "select allowed_until from impersonation.consents \
                     where user_id = $1 and withdrawn_at is null",
                );
                until_of(reserve, until.bind(subject)).await?
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => {
                let until = Statement::new(
                    "select allowed_until from impersonation_consents \
                     where user_id = $1 and withdrawn_at is null",
                );
                until_of(reserve, until.bind(subject)).await?
            }
        })
    }
}

async fn until_of<D: Dialect>(
    reserve: &Reserve<D>,
    until: Statement<'_>,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let rows = D::rows(&mut *reserve.connection().await?, until).await?;
    let until = rows.first().map(|row| row.time("allowed_until"));
    Ok(until.transpose()?.flatten())
}

impl fmt::Debug for SqlConsents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlConsents").finish_non_exhaustive()
    }
}
