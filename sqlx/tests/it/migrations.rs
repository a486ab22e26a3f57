//! Making the tables: by whom, at once, and what is said when it cannot be done.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Executor as _, SqlitePool, postgres::PgPoolOptions};
use tower_impersonation_sqlx::{MigrationError, postgres, sqlite};

use crate::host::{Lite, Pg};

/// Which file the child migrates; only the child has it.
const FILE: &str = "MIGRATION_TEST_FILE";

/// What one of many processes does; does nothing where it is not the child.
#[tokio::test]
async fn child() {
    let Ok(file) = std::env::var(FILE) else {
        return;
    };
    // As hosts that do not know `sqlite::options` have it: nobody waits for anybody.
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .busy_timeout(Duration::from_millis(1));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlite::migrate(&pool).await.unwrap();
    sqlite::check(&pool).await.unwrap();
}

#[tokio::test]
async fn several_processes_may_migrate_one_file_of_sqlite_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.sqlite");
    let children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["migrations::child", "--exact", "--test-threads=1"])
                .env(FILE, &file)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let waited = tokio::task::spawn_blocking(|| {
        let wait = |mut child: std::process::Child| child.wait().unwrap().success();
        children.into_iter().map(wait).filter(|done| *done).count()
    });
    assert_eq!(waited.await.unwrap(), 8);
}

#[tokio::test]
async fn a_role_that_may_not_migrate_starts_when_there_is_nothing_to_migrate() {
    let db = Pg::new().await;
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    let grants = format!(
        "create role {name} login; grant usage on schema impersonation to {name}; \
         grant select on impersonation.migrations to {name}"
    );
    db.pool.execute(AssertSqlSafe(grants)).await.unwrap();
    let pool = PgPoolOptions::new().max_connections(2);
    let pool = pool.connect_with(db.options.clone().username(&name));
    let pool = pool.await.unwrap();
    postgres::check(&pool).await.unwrap();
    postgres::migrate(&pool).await.unwrap();

    db.pool
        .execute("delete from impersonation.migrations where version = 3")
        .await
        .unwrap();
    for result in [postgres::check(&pool).await, postgres::migrate(&pool).await] {
        let error = result.unwrap_err();
        assert!(
            error.to_string().contains("impersonation.migrations"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_tables_names_them() {
    let pg = Pg::new().await;
    let insert = "insert into impersonation.migrations (version, description, success, checksum, execution_time) \
        values (99, 'of a newer version', true, '', 0)";
    pg.pool.execute(insert).await.unwrap();
    for result in [
        postgres::check(&pg.pool).await,
        postgres::migrate(&pg.pool).await,
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, MigrationError::Newer { version: 99, .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("impersonation.migrations"),
            "{error}"
        );
    }

    let lite = Lite::new().await;
    let change = "update impersonation_migrations set checksum = x'00' where version = 2";
    lite.pool.execute(change).await.unwrap();
    for result in [
        sqlite::check(&lite.pool).await,
        sqlite::migrate(&lite.pool).await,
    ] {
        let error = result.unwrap_err();
        assert!(
            matches!(error, MigrationError::Changed { version: 2, .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("impersonation_migrations"),
            "{error}"
        );
    }

    let empty = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let error = sqlite::check(&empty).await.unwrap_err();
    assert!(
        matches!(error, MigrationError::Pending { version: 1, .. }),
        "{error}"
    );
    sqlite::migrate(&empty).await.unwrap();
    sqlite::check(&empty).await.unwrap();
}
