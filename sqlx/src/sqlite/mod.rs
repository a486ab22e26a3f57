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
//! let sessions = SqliteSessions::new(pool).with_starts_in(&trail);
//! # let _ = (trail, sessions);
//! # Ok(())
//! # }
//! ```
//!
//! # One process
//!
//! SQLite tells nobody of changes. Sessions that another process ends in the same file are seen when the file
//! is read, so at the latest when [`Cached`](tower_impersonation::session::Cached) asks again.

use std::{path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    migrate::{MigrateError, Migrator},
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::migrations::migrations;

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
/// (`impersonation_migrations`) start with `impersonation_`; the host's own migrations are not touched. To run it
/// again does nothing.
///
/// # Errors
///
/// When the database fails, or has migrations of a newer version of this crate.
pub async fn migrate(pool: &SqlitePool) -> Result<(), MigrateError> {
    // SQLite has no lock for this: where two processes start at once, one finds the tables half-way.
    let mut tries = 0;
    loop {
        match migrator().run(pool).await {
            Err(MigrateError::Execute(_) | MigrateError::ExecuteMigration(..)) if tries < 2 => {
                tries += 1;
            }
            result => return result,
        }
    }
}

fn migrator() -> Migrator {
    let mut migrator = migrations([
        include_str!("../../migrations/sqlite/0001_sessions.sql"),
        include_str!("../../migrations/sqlite/0002_trail.sql"),
        include_str!("../../migrations/sqlite/0003_roles_and_consents.sql"),
    ]);
    migrator.dangerous_set_table_name("impersonation_migrations");
    migrator
}
