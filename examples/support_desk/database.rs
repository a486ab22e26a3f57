//! Where everything is kept: a file of SQLite, or PostgreSQL for many processes at once.

use std::{borrow::Cow, str::FromStr as _, sync::Arc, time::Duration};

use sqlx::{
    PgPool, SqlStr, SqlitePool,
    migrate::{Migration, MigrationType, Migrator},
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tower_impersonation::{
    AdminChecker, BoxError, Builder, Impersonation,
    audit::{FanOut, JsonLines, TracingSink},
    session::Cached,
};
use tower_impersonation_sqlx::{
    PostgresSessions, PostgresTrail, SqlRoles, SqliteSessions, SqliteTrail, postgres, sqlite,
};

/// How long a request waits for a connection. Short, so that a database that is gone is soon known to be.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a session is taken for active when nothing was heard of it. News come in by themselves.
const KEEP: Duration = Duration::from_secs(30);

/// Clones share the connections.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

// === impl Database ===

impl Database {
    /// Opens the database of this URL, and makes the tables where they are not there yet: the crate's, then the
    /// shop's. Each has its own list of what was done.
    pub(crate) async fn open(url: &str) -> Result<Self, BoxError> {
        match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => {
                let asked = SqliteConnectOptions::from_str(url)?;
                // Not PATIENCE: writers of one file wait for each other, and that is no fault.
                let pool = SqlitePoolOptions::new().max_connections(4);
                let options = sqlite::options(asked.get_filename());
                let pool = pool.connect_with(options).await?;
                sqlite::migrate(&pool).await?;
                let tables = [
                    include_str!("tables/sqlite.sql"),
                    include_str!("tables/sqlite_staff.sql"),
                ];
                shop(tables).run(&pool).await?;
                Ok(Self::Sqlite(pool))
            }
            Some("postgres" | "postgresql") => {
                let options = PgConnectOptions::from_str(url)?;
                let pool = PgPoolOptions::new()
                    .max_connections(16)
                    .acquire_timeout(PATIENCE);
                let pool = pool.connect_with(options).await?;
                postgres::migrate(&pool).await?;
                let tables = [
                    include_str!("tables/postgres.sql"),
                    include_str!("tables/postgres_staff.sql"),
                ];
                shop(tables).run(&pool).await?;
                Ok(Self::Postgres(pool))
            }
            _ => Err("neither sqlite://… nor postgres://…".into()),
        }
    }

    /// Sessions and trail in this database, from which the trail is read as well; it also goes to the file and to the
    /// log.
    ///
    /// A start is one transaction of session and event, so the rest of the trail gets that event from the store.
    pub(crate) fn impersonation(&self, checker: impl AdminChecker, file: JsonLines) -> Builder {
        let file = Arc::new(file);
        let beside = || FanOut::all().and(file.clone()).and(TracingSink);
        match self {
            Self::Sqlite(pool) => {
                let trail = SqliteTrail::new(pool.clone());
                let sessions = SqliteSessions::new(pool.clone())
                    .with_trail(&trail)
                    .with_trail_also_in(beside());
                Impersonation::builder(checker, beside().and(trail.clone()))
                    .sessions(sessions)
                    .trail_reader(trail)
            }
            Self::Postgres(pool) => {
                let trail = PostgresTrail::new(pool.clone());
                let sessions = PostgresSessions::new(pool.clone())
                    .with_trail(&trail)
                    .with_trail_also_in(beside());
                Impersonation::builder(checker, beside().and(trail.clone()))
                    .sessions(Cached::new(sessions, KEEP))
                    .trail_reader(trail)
            }
        }
    }

    /// The roles of the staff. Clones know of each other's changes, others read them.
    pub(crate) fn roles(&self) -> SqlRoles {
        match self {
            Self::Sqlite(pool) => SqlRoles::new(pool.clone()),
            Self::Postgres(pool) => SqlRoles::new(pool.clone()),
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

fn shop([shop, staff]: [&'static str; 2]) -> Migrator {
    let migration = |version, name, tables| {
        let tables = SqlStr::from_static(tables);
        Migration::new(
            version,
            Cow::Borrowed(name),
            MigrationType::Simple,
            tables,
            false,
        )
    };
    Migrator::with_migrations(vec![
        migration(1, "shop", shop),
        migration(2, "staff", staff),
    ])
}
