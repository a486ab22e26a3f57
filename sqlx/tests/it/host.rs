//! What a host brings: databases, sessions to start, an application to act in.

use std::{path::PathBuf, sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, Connection as _, PgConnection, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
    sqlite::SqlitePoolOptions,
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tower_impersonation::{
    Access, Subject, UserId,
    audit::{AuditEvent, EventName, Outcome},
    session::{Limits, Session, SessionId, SessionStore},
};
use tower_impersonation_sqlx::{postgres, sqlite};
use uuid::Uuid;

/// A database of PostgreSQL, made for one test.
///
/// It is left behind: the server is a throw-away one.
pub(crate) struct Pg {
    pub(crate) pool: PgPool,
    pub(crate) options: PgConnectOptions,
}

/// A file of SQLite, in a folder that goes away with it.
pub(crate) struct Lite {
    pub(crate) pool: SqlitePool,
    folder: TempDir,
}

// === impl Pg ===

impl Pg {
    pub(crate) async fn new() -> Self {
        let server: PgConnectOptions = std::env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL must name a PostgreSQL server to test with; tests/run starts one")
            .parse()
            .expect("TEST_DATABASE_URL must be a postgres:// address");
        let name = format!("test_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server)
            .await
            .expect("the PostgreSQL server that TEST_DATABASE_URL names must answer");
        let create = format!("create database {name}");
        sqlx::query(AssertSqlSafe(create))
            .execute(&mut connection)
            .await
            .unwrap();
        let options = server.database(&name);
        let pool = Self::connect(&options).await;
        postgres::migrate(&pool).await.unwrap();
        Self { pool, options }
    }

    /// One more pool, as another replica has.
    pub(crate) async fn other_pool(&self) -> PgPool {
        Self::connect(&self.options).await
    }

    async fn connect(options: &PgConnectOptions) -> PgPool {
        let pool = PgPoolOptions::new().max_connections(8);
        pool.connect_with(options.clone()).await.unwrap()
    }
}

// === impl Lite ===

impl Lite {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = Self::open(&folder).await;
        sqlite::migrate(&pool).await.unwrap();
        Self { pool, folder }
    }

    /// One more pool, as another process has.
    pub(crate) async fn other_pool(&self) -> SqlitePool {
        Self::open(&self.folder).await
    }

    /// Where it is.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("shop.sqlite")
    }

    async fn open(folder: &TempDir) -> SqlitePool {
        let file = folder.path().join("shop.sqlite");
        let pool = SqlitePoolOptions::new().max_connections(8);
        pool.connect_with(sqlite::options(file)).await.unwrap()
    }
}

pub(crate) fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

/// Now, as databases keep it.
pub(crate) fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(now.nanosecond() / 1_000 * 1_000)
        .unwrap()
}

/// A session that starts now.
pub(crate) fn session(actor: &str, subject: &str) -> Session {
    session_at(actor, subject, now())
}

pub(crate) fn session_at(actor: &str, subject: &str, at: OffsetDateTime) -> Session {
    let subject: Subject = subject.parse().unwrap();
    let until = at + Duration::from_secs(2 * 60 * 60);
    let id = SessionId(Uuid::now_v7());
    Session::new(id, user(actor), subject, "ticket 4711", at, until)
}

/// Starts a session, whatever else is active.
pub(crate) async fn started(store: &impl SessionStore, session: Session) -> Arc<Session> {
    let mut limits = Limits::default();
    limits.active = 1_000;
    limits.starts_per_hour = 1_000_000;
    store.start(session, &limits).await.unwrap().session
}

pub(crate) fn event(name: EventName) -> AuditEvent {
    let mut event = AuditEvent::new(Uuid::now_v7(), now(), name);
    event.actor = Some(user("ada"));
    event.subject = Some(user("ines").into());
    event
}

/// Of an acted request.
pub(crate) fn request(outcome: Outcome) -> AuditEvent {
    let mut event = event(EventName::Request);
    event.outcome = Some(outcome);
    event.access = Some(Access::ReadWrite);
    event
}
