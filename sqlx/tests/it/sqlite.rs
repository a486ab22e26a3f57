//! SQLite, in a file of its own for each test.

use sqlx::{SqlitePool, sqlite::SqlitePoolOptions};
use tempfile::TempDir;
use tower_impersonation::session::SessionStore;
use tower_impersonation_sqlx::{SqliteSessions, SqliteTrail, sqlite};

/// A database in a folder that goes away with it.
struct Db {
    pool: SqlitePool,
    folder: TempDir,
}

impl Db {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let pool = Self::open(&folder).await;
        sqlite::migrate(&pool).await.unwrap();
        Self { pool, folder }
    }

    /// One more pool, as another process would have.
    async fn other_pool(&self) -> SqlitePool {
        Self::open(&self.folder).await
    }

    async fn open(folder: &TempDir) -> SqlitePool {
        let file = folder.path().join("shop.sqlite");
        let pool = SqlitePoolOptions::new().max_connections(8);
        pool.connect_with(sqlite::options(file)).await.unwrap()
    }
}

#[tokio::test]
async fn migrations_run_again_do_nothing_and_leave_the_hosts_alone() {
    let db = Db::new().await;
    sqlite::migrate(&db.pool).await.unwrap();
    sqlite::migrate(&db.other_pool().await).await.unwrap();
    let foreign = "select count(*) from sqlite_schema where type = 'table' and name not like 'impersonation\\_%' escape '\\'";
    let foreign: i64 = sqlx::query_scalar(foreign)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(foreign, 0);
    let _ = (
        SqliteSessions::new(db.pool.clone()).hears_all(),
        SqliteTrail::new(db.pool),
    );
}
