//! SQLite: sessions and trail in a file beside the application.
//!
//! ```no_run
//! # async fn set_up() -> Result<(), Box<dyn std::error::Error>> {
//! use sqlx::SqlitePool;
//! use tower_impersonation_sqlx::{SqliteSessions, SqliteTrail, sqlite};
//!
//! let pool = SqlitePool::connect_with(sqlite::options("shop.sqlite")).await?;
//! sqlite::migrate(&pool).await?;
//! let trail = SqliteTrail::new(pool.clone());
//! let sessions = SqliteSessions::new(pool).with_trail(&trail);
//! # let _ = (trail, sessions);
//! # Ok(())
//! # }
//! ```
//!
//! # One process
//!
//! SQLite tells nobody of changes. The file is read for every acted request, so what another process ends in it is
//! refused from the next request on (rule S9). Streams that run in this process are cut only by what this process
//! ends.

use std::{path::Path, time::Duration};

use sqlx::{
    Connection as _, Sqlite, SqliteConnection, SqlitePool, query, query_scalar,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    dialect::Dialect as _,
    migrations::{MigrationError, Migrations},
};

mod dialect;
mod retention;
mod sessions;
mod trail;

pub use self::{sessions::SqliteSessions, trail::SqliteTrail};

/// How to open a file so that nothing that was acknowledged is lost with the power, readers do not wait for a
/// writer, and writers wait for each other: WAL, `synchronous = FULL`, 5 seconds of patience.
///
/// Created where there is none. A host's own options do as well, if they have the same: the trail sees to
/// `FULL` by itself.
///
/// ```no_run
/// # async fn open() -> Result<(), sqlx::Error> {
/// use sqlx::SqlitePool;
/// use tower_impersonation_sqlx::sqlite;
///
/// let pool = SqlitePool::connect_with(sqlite::options("shop.sqlite")).await?;
/// # drop(pool);
/// # Ok(())
/// # }
/// ```
pub fn options(file: impl AsRef<Path>) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .foreign_keys(true)
}

/// Makes or brings up to date the tables of this crate. They and the list of what was done
/// (`impersonation_migrations`) start with `impersonation_`; the host's own migrations are not touched.
///
/// One transaction, or none where there is nothing to do; several processes may run it at once.
///
/// ```no_run
/// # async fn set_up(pool: sqlx::SqlitePool) -> Result<(), tower_impersonation_sqlx::MigrationError> {
/// use tower_impersonation_sqlx::sqlite;
///
/// sqlite::migrate(&pool).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the database fails, or has migrations of a newer version of this crate.
pub async fn migrate(pool: &SqlitePool) -> Result<(), MigrationError> {
    for pause in PAUSES {
        match try_migrate(pool).await {
            Err(MigrationError::Database { source, .. }) if is_busy(&source) => {
                tokio::time::sleep(pause).await;
            }
            result => return result,
        }
    }
    try_migrate(pool).await
}

/// Whether [`migrate`] has nothing to do. Reads and writes nothing.
///
/// ```no_run
/// # async fn start(pool: sqlx::SqlitePool) -> Result<(), tower_impersonation_sqlx::MigrationError> {
/// use tower_impersonation_sqlx::sqlite;
///
/// sqlite::check(&pool).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`MigrationError::Pending`] when it has; when the database fails, or has migrations of a newer version of this
/// crate.
pub async fn check(pool: &SqlitePool) -> Result<(), MigrationError> {
    let migrations = migrations();
    let failed = |error| migrations.failed(error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let there =
        "select exists (select 1 from sqlite_schema where name = 'impersonation_migrations')";
    let there = query_scalar(there).fetch_one(&mut *connection).await;
    if !there.map_err(failed)? {
        return Err(migrations.pending(1));
    }
    let done = "select version, checksum from impersonation_migrations order by version";
    let done = query(done).fetch_all(&mut *connection).await;
    migrations.compare(&done.map_err(failed)?)
}

/// Between two tries, where the host's connections do not wait for each other.
const PAUSES: [Duration; 6] = [Duration::from_millis(500); 6];

async fn try_migrate(pool: &SqlitePool) -> Result<(), MigrationError> {
    match check(pool).await {
        Err(MigrationError::Pending { .. }) => {}
        checked => return checked,
    }
    let migrations = migrations();
    let failed = |error| migrations.failed(error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let done = run(&migrations, &mut connection).await;
    if done.is_err() && !Sqlite::is_in_memory(&pool.connect_options()) {
        // As after every transaction that fails.
        connection.close_on_drop();
    }
    done
}

/// SQLite has no lock for this but that of writers. What another process did meanwhile is seen within it.
async fn run(
    migrations: &Migrations,
    connection: &mut SqliteConnection,
) -> Result<(), MigrationError> {
    let failed = |error| migrations.failed(error);
    let begun = connection.begin_with(Sqlite::BEGIN).await;
    let mut transaction = begun.map_err(failed)?;
    let run = migrations.migrator.run(&mut *transaction).await;
    run.map_err(|error| migrations.named(error))?;
    transaction.commit().await.map_err(failed)
}

fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: i64 = 5;
    let code = error.as_database_error().and_then(|error| error.code());
    // Extended codes have the plain one in their lowest byte.
    code.and_then(|code| code.parse::<i64>().ok())
        .is_some_and(|code| code & 0xff == BUSY)
}

fn migrations() -> Migrations {
    Migrations::new(
        "impersonation_migrations",
        [
            include_str!("../../migrations/sqlite/0001_sessions.sql"),
            include_str!("../../migrations/sqlite/0002_trail.sql"),
            include_str!("../../migrations/sqlite/0003_roles_and_consents.sql"),
        ],
    )
}
