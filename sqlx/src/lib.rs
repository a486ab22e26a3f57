//! SQLite and PostgreSQL for [`tower-impersonation`](tower_impersonation): sessions, trail, roles and consents
//! that survive a restart and are shared by replicas, and row-level security.
//!
//! | | SQLite, beside one process | PostgreSQL, for many |
//! | --- | --- | --- |
//! | sessions | [`SqliteSessions`] | [`PostgresSessions`]: what is ended is served by no replica after the answer |
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
//! let sessions = PostgresSessions::new(pool.clone()).with_trail(&trail);
//! let roles = SqlRoles::new(pool);
//! // Who is signed in: your authentication has left that in the request's extensions.
//! let checker = roles.checker(|parts| parts.extensions.get().cloned());
//!
//! let impersonation = Impersonation::builder(checker, trail)
//!     .handlers_read_acting_as()
//!     .sessions(Cached::new(sessions, Duration::from_secs(30)))
//!     .build()?;
//! let watch = roles.watch(&impersonation); // a role that is taken away ends its sessions at once
//! # drop(watch);
//! # Ok(())
//! # }
//! ```
//!
//! All tables are the crate's own: the schema `impersonation` in PostgreSQL, the prefix `impersonation_` in SQLite.
//! Nothing refers to the host's tables, so that what happened outlives its users.
//!
//! # Connections
//!
//! Starts, lists and the reading of the trail go through the host's pool. Everything that an end, a revocation or an
//! acted request waits for has a small pool of its own, of at most four connections: a host that has used up its
//! own can still stop sessions, take roles away and write the trail. That pool opens when it is first needed, with the
//! host's settings and connect options, and closes with the host's pool. Whatever is made from clones of one pool
//! shares it. A database in memory has none: another connection could come to another database.
//!
//! With PostgreSQL, one more connection listens for what other replicas do, and pings itself once a second.
//!
//! A connection on which a transaction failed is closed, never reused. Where every microsecond of a cache miss
//! counts, turn off the pool's ping (`test_before_acquire(false)`).
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
mod count;
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
    count::COUNTED,
    migrations::MigrationError,
    pool::Pool,
    roles::{AdminRole, InvalidRole, RoleChecker, RoleError, RoleWatch, SqlRoles},
    sessions::SqlSessions,
    trail::SqlTrail,
};
