//! SQLite and PostgreSQL for [`tower-impersonation`](tower_impersonation): sessions, trail, roles and consents
//! that survive a restart and are shared by replicas, and row-level security.
//!
//! | | SQLite, beside one process | PostgreSQL, for many |
//! | --- | --- | --- |
//! | sessions | [`SqliteSessions`] | [`PostgresSessions`]: ends are heard by every replica at once |
//! | trail | [`SqliteTrail`] | [`PostgresTrail`]: one partition a month |
//! | roles, consents | [`SqlRoles`], [`SqlConsents`] | the same |
//! | row-level security | - | [`Profile`], [`ApplyActingAs`] |
//!
//! ```no_run
//! # #[cfg(feature = "postgres")]
//! # async fn set_up(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use std::time::Duration;
//! use tower_impersonation::{Impersonation, session::Cached};
//! use tower_impersonation_sqlx::{PostgresSessions, PostgresTrail, SqlRoles, postgres};
//!
//! postgres::migrate(&pool).await?;
//! let trail = PostgresTrail::new(pool.clone());
//! let sessions = PostgresSessions::new(pool.clone()).with_starts_in(&trail);
//! let roles = SqlRoles::new(pool);
//! // Who is signed in: your authentication has left that in the request's extensions.
//! let checker = roles.checker(|parts| parts.extensions.get().cloned());
//!
//! let impersonation = Impersonation::builder(checker, trail)
//!     .sessions(Cached::new(sessions, Duration::from_secs(30)))
//!     .build()?;
//! let watch = roles.watch(&impersonation); // a role that is taken away ends its sessions at once
//! # drop(watch);
//! # Ok(())
//! # }
//! ```
//!
//! Everything works over the host's own pool, in tables of its own: the schema `impersonation` in PostgreSQL, the
//! prefix `impersonation_` in SQLite. Nothing refers to the host's tables, so that what happened outlives its users.
//!
//! # Pools
//!
//! A store and a trail take a connection for each step and give it back. They never hold one while they wait for
//! the other. A *handler* that holds one (an open transaction) and starts a session or waits for anything else of
//! ours can come to wait for its own kind: give the trail a pool of its own where handlers do that. Where every
//! microsecond of a cache miss counts, turn off the pool's ping (`test_before_acquire(false)`).
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `postgres` | what is for PostgreSQL |
//! | `sqlite` | what is for SQLite |
//! | `full` | both |
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod columns;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod consents;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod dialect;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod migrations;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod moment;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod pool;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod reserve;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod roles;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sessions;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod statement;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod trail;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod transaction;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod words;

#[cfg(feature = "postgres")]
pub use self::postgres::{ApplyActingAs, Identity, PostgresSessions, PostgresTrail, Profile};
#[cfg(feature = "sqlite")]
pub use self::sqlite::{SqliteSessions, SqliteTrail};
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub use self::{
    consents::SqlConsents,
    migrations::MigrationError,
    pool::Pool,
    roles::{AdminRole, InvalidRole, RoleChecker, RoleError, RoleWatch, SqlRoles},
    sessions::SqlSessions,
    trail::SqlTrail,
};

/// Lists count up to this; a `total` of one more means "more than that".
///
/// Up to it, `total` is exact. Counting on would cost more than the page itself, and the more the bigger the table is.
pub const COUNTED: u64 = 1_000;
