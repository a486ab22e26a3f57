//! The trail's months in PostgreSQL: made ahead of time, dropped without anybody waiting.

use std::time::{Duration, Instant};

use sqlx::{Executor as _, PgPool};
use time::{OffsetDateTime, macros::datetime};
use tower_impersonation::audit::{AuditEvent, AuditSink, EventName};
use tower_impersonation_sqlx::PostgresTrail;

use crate::host::{Pg, event, now};

const SECOND: Duration = Duration::from_secs(1);

fn event_at(at: OffsetDateTime) -> AuditEvent {
    let mut event = event(EventName::Request);
    event.time = at;
    event
}

/// From any day of a month, a time in the next one.
fn next_month() -> OffsetDateTime {
    now().replace_day(1).unwrap() + time::Duration::days(31)
}

async fn months(pool: &PgPool) -> Vec<String> {
    let months = "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
        where i.inhparent = 'impersonation.trail'::regclass order by 1";
    sqlx::query_scalar(months).fetch_all(pool).await.unwrap()
}

/// Writes one event after the other until `done`, and says how long the slowest took.
async fn slowest_write(trail: &PostgresTrail, done: impl Future<Output = ()>) -> Duration {
    let mut slowest = Duration::ZERO;
    let mut done = std::pin::pin!(done);
    loop {
        let began = Instant::now();
        trail.write(&[event_at(now())]).await.unwrap();
        slowest = slowest.max(began.elapsed());
        let pause = Duration::from_millis(5);
        if tokio::time::timeout(pause, &mut done).await.is_ok() {
            return slowest;
        }
    }
}

#[tokio::test]
async fn a5_the_next_month_is_there_before_it_begins() {
    let db = Pg::new().await;
    let all = months(&db.pool).await;
    assert_eq!(all.len(), 2, "they come with the tables: {all:?}");
    // As after some months without a new release.
    for month in &all {
        let drop = format!("drop table impersonation.{month}");
        db.pool.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
    }
    let trail = PostgresTrail::new(db.pool.clone());
    trail.write(&[event_at(now())]).await.unwrap();
    let began = Instant::now();
    while months(&db.pool).await.len() < 2 {
        assert!(
            began.elapsed() < 10 * SECOND,
            "{:?}",
            months(&db.pool).await
        );
        tokio::time::sleep(SECOND / 20).await;
    }
}

#[tokio::test]
async fn a5_under_a_lock_as_analyze_takes_both_months_can_be_written() {
    let db = Pg::new().await;
    let mut analyze = db.pool.begin().await.unwrap();
    let lock = "lock table impersonation.trail in share update exclusive mode";
    sqlx::query(lock).execute(&mut *analyze).await.unwrap();
    let trail = PostgresTrail::new(db.other_pool().await);
    let events = [event_at(now()), event_at(next_month())];
    let written = tokio::time::timeout(SECOND, trail.write(&events)).await;
    written.expect("nobody waits for ANALYZE").unwrap();
    // A month that nobody could foresee fails soon, and is there once the lock is gone.
    let unforeseen = [event_at(datetime!(2024-05-05 12:00 UTC))];
    let written = tokio::time::timeout(5 * SECOND, trail.write(&unforeseen)).await;
    assert!(written.expect("it does not hang").is_err());
    analyze.rollback().await.unwrap();
    trail.write(&unforeseen).await.unwrap();
}

#[tokio::test]
async fn a8_nobody_who_writes_waits_while_old_months_are_dropped() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let old = datetime!(2026-01-05 12:00 UTC);
    trail
        .write(&[event_at(old), event_at(now())])
        .await
        .unwrap();

    // A report that reads all of it, and then something like ANALYZE.
    for hold in [
        "select count(*) from impersonation.trail",
        "lock table impersonation.trail in share update exclusive mode",
    ] {
        trail.write(&[event_at(old)]).await.unwrap();
        let mut holder = db.pool.begin().await.unwrap();
        sqlx::query(hold).execute(&mut *holder).await.unwrap();
        let (elsewhere, keep_from) = (trail.clone(), datetime!(2026-03-01 00:00 UTC));
        let dropping = tokio::spawn(async move { elsewhere.drop_months_before(keep_from).await });
        let slowest = slowest_write(&trail, tokio::time::sleep(3 * SECOND)).await;
        assert!(slowest < SECOND, "{hold}: a write took {slowest:?}");
        assert!(!dropping.is_finished(), "{hold}: it waits");
        holder.rollback().await.unwrap();
        let dropped = dropping.await.unwrap().unwrap();
        assert_eq!(dropped, ["trail_2026_01"], "{hold}");
    }
}

#[tokio::test]
async fn a8_what_one_retention_could_not_finish_the_next_one_does() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let months = ["2026-01-05", "2026-02-05"];
    for month in months {
        let at = format!("select impersonation.add_month('{month}')");
        db.pool.execute(sqlx::AssertSqlSafe(at)).await.unwrap();
    }
    // As after a crash in between: one is detached and not dropped, one is on its way.
    let detach = "alter table impersonation.trail detach partition impersonation.trail_2026_01";
    db.pool.execute(detach).await.unwrap();
    let mut reader = db.pool.begin().await.unwrap();
    let read = "select count(*) from impersonation.trail";
    sqlx::query(read).execute(&mut *reader).await.unwrap();
    let detach = "set lock_timeout = '100ms'; \
        alter table impersonation.trail detach partition impersonation.trail_2026_02 concurrently";
    let mut connection = db.pool.acquire().await.unwrap();
    for step in detach.split("; ") {
        let _ = connection.execute(step).await;
    }
    connection.execute("reset lock_timeout").await.unwrap();
    reader.rollback().await.unwrap();
    let pending = "select count(*) from pg_inherits where inhdetachpending";
    let pending: i64 = sqlx::query_scalar(pending)
        .fetch_one(&db.pool)
        .await
        .unwrap();
    assert_eq!(pending, 1);

    let dropped = trail
        .drop_months_before(datetime!(2026-03-01 00:00 UTC))
        .await;
    assert_eq!(dropped.unwrap(), ["trail_2026_01", "trail_2026_02"]);
}
