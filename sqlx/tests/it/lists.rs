//! What a page costs: rows that PostgreSQL had to touch, as it counts them itself.

use std::time::Duration;

use sqlx::{Executor as _, PgPool, postgres::PgPoolOptions};
use tower_impersonation::{
    Subject,
    audit::{EventName, TrailFilter, TrailPage, TrailReader},
    session::{Page, SessionFilter, SessionId, SessionStore, SubjectKind},
};
use tower_impersonation_sqlx::{COUNTED, PostgresSessions, PostgresTrail};
use uuid::Uuid;

use crate::host::{Pg, now, user};

/// More than this is more than a page, its total, and what an index reads on the way.
const MOST: i64 = COUNTED as i64 + 500;
const ROWS: i64 = 60_000;
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A database with one connection, so that what it did can be counted.
async fn one_connection(db: &Pg) -> PgPool {
    let pool = PgPoolOptions::new().max_connections(1);
    pool.connect_with(db.options.clone()).await.unwrap()
}

/// How many rows of the table and of its partitions were touched so far.
async fn touched(pool: &PgPool, table: &str) -> i64 {
    pool.execute("select pg_stat_force_next_flush()")
        .await
        .unwrap();
    let touched = "select sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint from pg_stat_user_tables \
        where schemaname = 'impersonation' and relname like $1";
    let touched = sqlx::query_scalar(touched).bind(format!("{table}%"));
    touched.fetch_one(pool).await.unwrap()
}

fn sessions(set: impl FnOnce(&mut SessionFilter)) -> SessionFilter {
    let mut filter = SessionFilter::default();
    set(&mut filter);
    filter
}

fn events(set: impl FnOnce(&mut TrailFilter)) -> TrailFilter {
    let mut filter = TrailFilter::default();
    set(&mut filter);
    filter
}

#[tokio::test]
async fn a_page_of_sessions_touches_as_many_rows_whatever_the_filter() {
    let db = Pg::new().await;
    // One a minute, for six weeks; every 200th is still open, by an actor of its own.
    db.pool
        .execute(
            "insert into impersonation.sessions (id, actor, actor_rank, subject, kind, access, reason, \
               started_at, expires_at, last_seen_at, due_at, ended_at, ended_reason) \
             select gen_random_uuid(), case when i % 200 = 0 then 'open ' || i else 'admin ' || i % 49 end, 0, \
               'user ' || i % 1000, case when i % 1000 = 0 then 'anon' else 'user' end, 'read_only', 'x', \
               at, at + interval '1 year', at, at + interval '1 year', \
               case when i % 200 <> 0 then at end, case when i % 200 <> 0 then 'manual' end \
             from generate_series(1, 60000) i, lateral (select now() - i * interval '1 minute' as at) t",
        )
        .await
        .unwrap();
    db.pool
        .execute("vacuum analyze impersonation.sessions")
        .await
        .unwrap();
    let pool = one_connection(&db).await;
    let store = PostgresSessions::new(pool.clone());
    let long_ago = now() - 40 * DAY;
    let filters = [
        (sessions(|_| {}), 50),
        (sessions(|f| f.actor = Some(user("admin 7"))), 50),
        (sessions(|f| f.actor = Some(user("open 200"))), 1),
        (
            sessions(|f| f.subject = Some(Subject::User(user("user 7")))),
            50,
        ),
        (
            sessions(|f| {
                f.actor = Some(user("admin 7"));
                f.subject = Some(Subject::User(user("user 7")));
            }),
            2,
        ),
        (sessions(|f| f.kind = Some(SubjectKind::Anon)), 50),
        (sessions(|f| f.kind = Some(SubjectKind::Service)), 0),
        (sessions(|f| f.is_active = Some(true)), 50),
        (sessions(|f| f.is_active = Some(false)), 50),
        (sessions(|f| f.to = Some(long_ago)), 50),
        (
            sessions(|f| {
                f.from = Some(long_ago - DAY / 100);
                f.to = Some(long_ago);
            }),
            14,
        ),
    ];
    for (filter, wanted) in filters {
        let before = touched(&pool, "sessions").await;
        let list = store.list(&filter, &Page::default(), now()).await.unwrap();
        let cost = touched(&pool, "sessions").await - before;
        assert!(
            list.sessions.len() >= wanted,
            "{filter:?}: {}",
            list.sessions.len()
        );
        assert!(cost <= MOST, "{filter:?} touched {cost} of {ROWS} rows");
        // And as many where the list is nearly at its end.
        if let Some(next) = list.next {
            let mut page = Page::default();
            page.before = Some(next);
            let before = touched(&pool, "sessions").await;
            store.list(&filter, &page, now()).await.unwrap();
            let cost = touched(&pool, "sessions").await - before;
            assert!(
                cost <= MOST,
                "{filter:?}, second page, touched {cost} of {ROWS} rows"
            );
        }
    }
}

#[tokio::test]
async fn a_page_of_the_trail_touches_as_many_rows_whatever_the_filter() {
    let db = Pg::new().await;
    db.pool
        .execute(
            "do $$ begin for m in 0..2 loop \
               perform impersonation.add_month(now() - m * interval '25 days'); end loop; end $$; \
             insert into impersonation.trail (id, is_intent, time, name, actor, subject, session) \
             select gen_random_uuid(), false, at, \
               case when i % 1000 = 0 then 'impersonation.denied' else 'impersonation.request' end, \
               'admin ' || i % 50, 'user ' || i % 1000, lpad(to_hex(i % 2000), 32, '0')::uuid \
             from generate_series(1, 60000) i, lateral (select now() - i * interval '1 minute' as at) t",
        )
        .await
        .unwrap();
    db.pool.execute("vacuum analyze").await.unwrap();
    let pool = one_connection(&db).await;
    let trail = PostgresTrail::new(pool.clone());
    let long_ago = now() - 40 * DAY;
    let filters = [
        (events(|_| {}), 50),
        (events(|f| f.name = Some(EventName::Denied)), 50),
        (events(|f| f.name = Some(EventName::TrailRead)), 0),
        (events(|f| f.name = Some(EventName::Request)), 50),
        (events(|f| f.actor = Some(user("admin 7"))), 50),
        (events(|f| f.subject = Some(user("user 7").into())), 50),
        (events(|f| f.kind = Some(SubjectKind::User)), 50),
        (events(|f| f.kind = Some(SubjectKind::Service)), 0),
        (
            events(|f| f.session = Some(SessionId(Uuid::from_u128(7)))),
            30,
        ),
        (events(|f| f.to = Some(long_ago)), 50),
        (
            events(|f| {
                f.from = Some(long_ago - DAY / 100);
                f.to = Some(long_ago);
            }),
            14,
        ),
    ];
    for (filter, wanted) in filters {
        let before = touched(&pool, "trail").await;
        let list = trail.read(&filter, &TrailPage::default()).await.unwrap();
        let cost = touched(&pool, "trail").await - before;
        assert!(
            list.events.len() >= wanted,
            "{filter:?}: {}",
            list.events.len()
        );
        assert!(cost <= MOST, "{filter:?} touched {cost} of {ROWS} rows");
        if let Some(next) = list.next {
            let page = TrailPage::default().after(next);
            let before = touched(&pool, "trail").await;
            trail.read(&filter, &page).await.unwrap();
            let cost = touched(&pool, "trail").await - before;
            assert!(
                cost <= MOST,
                "{filter:?}, second page, touched {cost} of {ROWS} rows"
            );
        }
    }
}
