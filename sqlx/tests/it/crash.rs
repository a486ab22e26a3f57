//! Processes that are killed in the middle of their work, as by kill -9.
//!
//! A child works in a loop, and tells of each step. After so many steps it is killed, wherever it is by then, and the
//! database looked at.

use sqlx::{Executor as _, PgPool, SqlitePool};
use tower_impersonation::{
    audit::{AuditSink, EventName, Outcome},
    session::{EndedReason, Limits, SessionStore},
};
use tower_impersonation_sqlx::{
    PostgresSessions, PostgresTrail, SqliteSessions, SqliteTrail, sqlite,
};
use uuid::Uuid;

use crate::{
    child::{self, Process},
    host::{Lite, Pg, event, now, request, session},
};

const ORDERS: &str = "create table orders (intent text not null)";

/// What the child does; does nothing where it is not the child.
#[tokio::test]
async fn child() {
    let Some(database) = child::database() else {
        return;
    };
    if database.starts_with("postgres:") {
        let pool = PgPool::connect(&database).await.unwrap();
        let trail = PostgresTrail::new(pool.clone());
        let sessions = PostgresSessions::new(pool.clone()).with_trail(&trail);
        work(&trail, &sessions, async |intent: Uuid| {
            let order = sqlx::query("insert into orders values ($1)").bind(intent.to_string());
            order.execute(&pool).await.unwrap();
        })
        .await;
    } else {
        let pool = SqlitePool::connect_with(sqlite::options(database))
            .await
            .unwrap();
        let trail = SqliteTrail::new(pool.clone());
        let sessions = SqliteSessions::new(pool.clone()).with_trail(&trail);
        work(&trail, &sessions, async |intent: Uuid| {
            let order = sqlx::query("insert into orders values ($1)").bind(intent.to_string());
            order.execute(&pool).await.unwrap();
        })
        .await;
    }
}

/// Starts, acts and ends, until it is killed.
async fn work(
    trail: &impl AuditSink,
    sessions: &impl SessionStore,
    order: impl AsyncFn(Uuid),
) -> ! {
    let mut limits = Limits::default();
    limits.replace = true;
    limits.starts_per_hour = u32::MAX;
    loop {
        let session = session("ada", "ines");
        let mut start = event(EventName::Start);
        start.session = Some(session.id);
        let started = sessions.start_recorded(&session, &limits, &start).await;
        started.unwrap().unwrap();
        child::say("started");
        for _ in 0..3 {
            let intent = request(Outcome::Intent);
            trail.write(std::slice::from_ref(&intent)).await.unwrap();
            order(intent.id).await;
            let mut outcome = request(Outcome::Completed);
            outcome.id = intent.id;
            trail.write(&[outcome]).await.unwrap();
            child::say("ordered");
        }
        let ended = sessions.end(session.id, EndedReason::Manual, now());
        ended.await.unwrap().unwrap();
    }
}

/// Has a child work, and kills it after so many steps.
fn work_and_be_killed(database: &str, steps: usize) {
    let mut child = Process::new("crash::child", database);
    for _ in 0..steps {
        child.next();
    }
}

#[tokio::test]
async fn a1_after_a_crash_every_order_has_its_intent_and_every_session_its_start() {
    let pg = Pg::new().await;
    pg.pool.execute(ORDERS).await.unwrap();
    let url = child::url_of(&pg.pool).await;

    let lite = Lite::new().await;
    lite.pool.execute(ORDERS).await.unwrap();
    let file = lite.file().to_str().unwrap().to_owned();

    for round in 1..9 {
        let (url, file) = (url.clone(), file.clone());
        let killed = tokio::task::spawn_blocking(move || {
            work_and_be_killed(&url, 3 * round);
            work_and_be_killed(&file, 3 * round);
        });
        killed.await.unwrap();

        let missing: i64 = sqlx::query_scalar(
            "select (select count(*) from orders o where not exists ( \
               select from impersonation.trail t where t.id = o.intent::uuid and t.is_intent)) \
             + (select count(*) from impersonation.sessions s where not exists ( \
               select from impersonation.trail t where t.session = s.id and t.name = 'impersonation.start')) \
             + (select count(*) from impersonation.trail t where t.name = 'impersonation.start' and not exists ( \
               select from impersonation.sessions s where s.id = t.session)) \
             + (select count(*) - count(distinct (id, is_intent)) from impersonation.trail) \
             + greatest((select count(*) from impersonation.sessions where ended_at is null) - 1, 0)",
        )
        .fetch_one(&pg.pool)
        .await
        .unwrap();
        assert_eq!(missing, 0, "PostgreSQL, round {round}");
        let orders: i64 = sqlx::query_scalar("select count(*) from orders")
            .fetch_one(&pg.pool)
            .await
            .unwrap();
        assert!(orders > 0);

        // Ids are blobs here, and the orders have them as text.
        let missing: i64 = sqlx::query_scalar(
            "select (select count(*) from orders o where not exists ( \
               select 1 from impersonation_trail t \
               where t.id = unhex(replace(o.intent, '-', '')) and t.is_intent)) \
             + (select count(*) from impersonation_sessions s where not exists ( \
               select 1 from impersonation_trail t where t.session = s.id and t.name = 'impersonation.start')) \
             + (select count(*) from impersonation_trail t where t.name = 'impersonation.start' and not exists ( \
               select 1 from impersonation_sessions s where s.id = t.session)) \
             + max((select count(*) from impersonation_sessions where ended_at is null) - 1, 0)",
        )
        .fetch_one(&lite.pool)
        .await
        .unwrap();
        assert_eq!(missing, 0, "SQLite, round {round}");
        let sound: String = sqlx::query_scalar("pragma integrity_check")
            .fetch_one(&lite.pool)
            .await
            .unwrap();
        assert_eq!(sound, "ok");
    }
}
