//! PostgreSQL: sessions and trail that replicas share, and row-level security.
//!
//! # Who may do what
//!
//! [`migrate`] needs the right to create the schema `impersonation` and owns what it makes. The application's own
//! role may be another one, which calls [`check`] at its start, and then needs no more than this:
//!
//! ```sql
//! grant usage on schema impersonation to app;
//! grant select, insert, update on impersonation.sessions, impersonation.processes,
//!     impersonation.admin_roles, impersonation.consents to app;
//! grant select, insert on impersonation.trail, impersonation.spent_tokens to app;
//! grant select, insert, update, delete on impersonation.replicas to app;
//! grant select on impersonation.requests, impersonation.migrations to app;
//! grant usage on all sequences in schema impersonation to app;
//! ```
//!
//! Such a role cannot drop the triggers that keep the trail append-only, nor its partitions. An owner can: that
//! is the limit of what a database can promise.

use sqlx::{PgPool, query, query_scalar};

use crate::migrations::{MigrationError, Migrations};

mod asking;
pub(crate) mod channel;
mod dialect;
mod lease;
mod listener;
mod months;
mod replicas;
mod retention;
mod rls;
mod sessions;
mod trail;

pub use self::{
    rls::{ApplyActingAs, Identity, Profile},
    sessions::PostgresSessions,
    trail::PostgresTrail,
};

/// Makes or brings up to date the schema `impersonation`: the tables of this crate, and the list of what was done
/// (`impersonation.migrations`). The host's own migrations are not touched.
///
/// Where there is nothing to do, nothing is done, and no more rights are needed than [`check`] needs. Several
/// replicas may run it at once.
///
/// ```no_run
/// # async fn set_up(pool: sqlx::PgPool) -> Result<(), tower_impersonation_sqlx::MigrationError> {
/// use tower_impersonation_sqlx::postgres;
///
/// postgres::migrate(&pool).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// When the database fails or refuses, or has migrations of a newer version of this crate.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrationError> {
    match check(pool).await {
        Err(MigrationError::Pending { .. }) => {}
        checked => return checked,
    }
    let migrations = migrations();
    let failed = |error| migrations.failed(error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let done = migrations.migrator.run(&mut *connection).await;
    if done.is_err() {
        // It may still hold the lock by which replicas wait for each other.
        connection.close_on_drop();
    }
    done.map_err(|error| migrations.named(error))
}

/// Whether [`migrate`] has nothing to do. Reads `impersonation.migrations` and nothing else, so that a role which may
/// not create tables can start.
///
/// ```no_run
/// # async fn start(pool: sqlx::PgPool) -> Result<(), tower_impersonation_sqlx::MigrationError> {
/// use tower_impersonation_sqlx::postgres;
///
/// postgres::check(&pool).await?; // the deployment has run `migrate` as another role
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`MigrationError::Pending`] when it has; when the database fails or refuses, or has migrations of a newer version
/// of this crate.
pub async fn check(pool: &PgPool) -> Result<(), MigrationError> {
    let migrations = migrations();
    let failed = |error| migrations.failed(error);
    let mut connection = pool.acquire().await.map_err(failed)?;
    let there = query_scalar("select to_regclass('impersonation.migrations') is not null");
    if !there.fetch_one(&mut *connection).await.map_err(failed)? {
        return Err(migrations.pending(1));
    }
    let done = "select version, checksum from impersonation.migrations order by version";
    let done = query(done).fetch_all(&mut *connection).await;
    migrations.compare(&done.map_err(failed)?)
}

fn migrations() -> Migrations {
    let mut migrations = Migrations::new(
        "impersonation.migrations",
        [
            include_str!("../../migrations/postgres/0001_sessions.sql"),
            include_str!("../../migrations/postgres/0002_trail.sql"),
            include_str!("../../migrations/postgres/0003_roles_and_consents.sql"),
        ],
    );
    migrations.migrator.create_schema("impersonation");
    migrations
}
