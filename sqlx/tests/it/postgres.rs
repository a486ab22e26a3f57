//! Sessions in PostgreSQL.

use tower_impersonation::session::conformance;
use tower_impersonation_sqlx::{PostgresSessions, postgres};

use crate::host::Pg;

#[tokio::test]
async fn migrations_run_again_do_nothing_and_leave_the_hosts_alone() {
    let db = Pg::new().await;
    let other = db.other_pool().await;
    let (one, two) = tokio::join!(postgres::migrate(&db.pool), postgres::migrate(&other));
    one.unwrap();
    two.unwrap();
    let foreign = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace \
        where n.nspname = 'public'";
    let foreign: i64 = sqlx::query_scalar(foreign)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(foreign, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn postgres_sessions_conform() {
    let db = Pg::new().await;
    conformance::run(|| async { PostgresSessions::new(db.pool.clone()) }).await;
}
