//! Sessions in SQLite.

use tower_impersonation::session::conformance;
use tower_impersonation_sqlx::{SqliteSessions, sqlite};

use crate::host::Lite;

#[tokio::test]
async fn migrations_run_again_do_nothing_and_leave_the_hosts_alone() {
    let db = Lite::new().await;
    let other = db.other_pool().await;
    let (one, two) = tokio::join!(sqlite::migrate(&db.pool), sqlite::migrate(&other));
    one.unwrap();
    two.unwrap();
    let foreign = "select count(*) from sqlite_schema where name not like '%impersonation%'";
    let foreign: i64 = sqlx::query_scalar(foreign)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(foreign, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sqlite_sessions_conform() {
    let db = Lite::new().await;
    conformance::run(|| async { SqliteSessions::new(db.pool.clone()) }).await;
}
