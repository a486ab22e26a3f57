//! PostgreSQL: sessions and trail that replicas share, and row-level security.
//!
//! # Who may do what
//!
//! [`migrate`] needs the right to create the schema `impersonation` and owns what it makes. The application's own
//! role may be another one, and then needs no more than this:
//!
//! ```sql
//! grant usage on schema impersonation to app;
//! grant select, insert, update on impersonation.sessions, impersonation.processes,
//!     impersonation.admin_roles, impersonation.consents to app;
//! grant select, insert on impersonation.trail to app;
//! grant select on impersonation.requests to app;
//! grant usage on all sequences in schema impersonation to app;
//! ```
//!
//! Such a role cannot drop the triggers that keep the trail append-only, nor its partitions. An owner can: that
//! is the limit of what a database can promise.

use sqlx::{
    PgPool,
    migrate::{MigrateError, Migrator},
};

use crate::migrations::migrations;

pub(crate) mod channel;
mod dialect;
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
/// (`impersonation.migrations`). The host's own migrations are not touched. To run it again does nothing, and
/// several replicas may do so at once.
///
/// # Errors
///
/// When the database fails, or has migrations of a newer version of this crate.
pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    migrator().run(pool).await
}

fn migrator() -> Migrator {
    let mut migrator = migrations([
        include_str!("../../migrations/postgres/0001_sessions.sql"),
        include_str!("../../migrations/postgres/0002_trail.sql"),
        include_str!("../../migrations/postgres/0003_roles_and_consents.sql"),
    ]);
    migrator.create_schema("impersonation");
    migrator.dangerous_set_table_name("impersonation.migrations");
    migrator
}
