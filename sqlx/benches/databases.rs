//! What the stores and the trail cost beside the plainest statements that could do it, in one run.
//!
//!     TEST_DATABASE_URL=postgres://… cargo bench -p tower-impersonation-sqlx --all-features
//!
//! Each row: the median of ours, the median of the plain one, and their ratio; both take turns, so that what else the
//! machine does hits both. The databases are made for the run.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{Method, Request, Response};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, SqlitePool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use time::OffsetDateTime;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_impersonation::{
    Access, Actor, Caller, Decision, Grant, Impersonation, Rank, StartRequest, Subject, UserId,
    audit::{AuditEvent, AuditSink, EventName, Outcome, TrailFilter, TrailPage, TrailReader},
    checker_fn,
    session::{
        EndedReason, Limits, MemorySessions, Page, Session, SessionFilter, SessionId, SessionStore,
    },
};
use tower_impersonation_sqlx::{PostgresSessions, PostgresTrail, SqliteTrail, postgres, sqlite};
use uuid::Uuid;

const BATCH: usize = 1_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        println!("{:<58}{:>12}{:>12}{:>8}", "", "ours", "plain", "ratio");
        trail_into_postgres().await;
        trail_into_sqlite().await;
        durable_writes().await;
        look_up().await;
        pages().await;
        revocation().await;
    });
}

/// Runs both in turns.
async fn beside(what: &str, rounds: usize, ours: impl AsyncFn(), plain: impl AsyncFn()) {
    let (mut times, mut plain_times) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let start = Instant::now();
        ours().await;
        times.push(start.elapsed());
        let start = Instant::now();
        plain().await;
        plain_times.push(start.elapsed());
    }
    let (ours, plain) = (median(times), median(plain_times));
    let ratio = ours.as_secs_f64() / plain.as_secs_f64();
    println!("{what:<58}{ours:>12.1?}{plain:>12.1?}{ratio:>8.2}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

struct Db(PgConnectOptions);

impl Db {
    async fn new() -> Self {
        let url = std::env::var("TEST_DATABASE_URL")
            .expect("TEST_DATABASE_URL must name a PostgreSQL server to measure with");
        let server: PgConnectOptions = url.parse().unwrap();
        let name = format!("bench_{}", Uuid::now_v7().simple());
        let mut connection = PgConnection::connect_with(&server).await.unwrap();
        let create = AssertSqlSafe(format!("create database {name}"));
        connection.execute(create).await.unwrap();
        let db = Self(server.database(&name));
        postgres::migrate(&db.pool(1).await).await.unwrap();
        db
    }

    async fn pool(&self, connections: u32) -> PgPool {
        // Without the ping, as a host does who counts microseconds.
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .min_connections(connections)
            .test_before_acquire(false);
        pool.connect_with(self.0.clone()).await.unwrap()
    }
}

fn events(count: usize) -> Vec<AuditEvent> {
    (0..count)
        .map(|number| {
            let mut event = AuditEvent::new(
                Uuid::now_v7(),
                OffsetDateTime::now_utc(),
                EventName::Request,
            );
            event.actor = Some("ada".parse().unwrap());
            event.subject = Some("ines".parse().unwrap());
            event.session = Some(SessionId(Uuid::now_v7()));
            event.reason = Some("ticket 4711: cannot pay".to_owned());
            event.access = Some(Access::ReadOnly);
            event.method = Some("GET".to_owned());
            event.path = Some(format!("/orders/{number}"));
            event.route = Some("/orders/{id}".to_owned());
            event.status = Some(200);
            event.outcome = Some(Outcome::Completed);
            event.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64)".to_owned());
            event
        })
        .collect()
}

/// The same columns from the same events, as someone would write it who has only this to do.
async fn raw_postgres(pool: &PgPool, events: &[AuditEvent]) {
    fn all<'e, T>(events: &'e [AuditEvent], field: impl Fn(&'e AuditEvent) -> T) -> Vec<T> {
        events.iter().map(field).collect()
    }
    sqlx::query(
        "insert into impersonation.trail (id, is_intent, time, name, actor, subject, session, reason, access, \
           method, path, route, status, outcome, user_agent, process) \
         select e.*, $16 from unnest($1::uuid[], $2::bool[], $3::timestamptz[], $4::text[], $5::text[], \
           $6::text[], $7::uuid[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], \
           $14::text[], $15::text[]) as e \
         on conflict (id, is_intent, time) do nothing",
    )
    .bind(all(events, |event| event.id))
    .bind(all(events, |event| event.key().1))
    .bind(all(events, |event| event.time))
    .bind(all(events, |event| event.name.as_str()))
    .bind(all(events, |event| event.actor.as_ref().map(UserId::as_str)))
    .bind(all(events, |event| event.subject.as_ref().map(Subject::as_str)))
    .bind(all(events, |event| event.session.map(|id| id.0)))
    .bind(all(events, |event| event.reason.as_deref()))
    .bind(all(events, |event| event.access.map(Access::as_str)))
    .bind(all(events, |event| event.method.as_deref()))
    .bind(all(events, |event| event.path.as_deref()))
    .bind(all(events, |event| event.route.as_deref()))
    .bind(all(events, |event| event.status.map(i32::from)))
    .bind(all(events, |event| event.outcome.map(Outcome::as_str)))
    .bind(all(events, |event| event.user_agent.as_deref()))
    .bind(Uuid::nil())
    .execute(pool)
    .await
    .unwrap();
}

async fn trail_into_postgres() {
    let db = Db::new().await;
    let pool = db.pool(2).await;
    let trail = PostgresTrail::new(pool.clone());
    trail.write(&events(1)).await.unwrap();
    beside(
        "PostgreSQL: 1,000 events / the same statement",
        60,
        async || trail.write(&events(BATCH)).await.unwrap(),
        async || raw_postgres(&pool, &events(BATCH)).await,
    )
    .await;
}

async fn trail_into_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let options = sqlite::options(folder.path().join("bench.sqlite"));
    let pool = SqlitePool::connect_with(options).await.unwrap();
    sqlite::migrate(&pool).await.unwrap();
    let trail = SqliteTrail::new(pool.clone());
    let row = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
    let rows = vec![row; BATCH].join(",");
    let sql: Arc<str> = format!(
        "insert into impersonation_trail (id, is_intent, time, name, actor, subject, session, reason, access, \
           method, path, route, status, outcome, user_agent, process) values {rows} on conflict do nothing"
    )
    .into();
    let raw = async |events: &[AuditEvent]| {
        let mut insert = sqlx::query(AssertSqlSafe(sql.clone()));
        for event in events {
            let micros = event.time.unix_timestamp_nanos() / 1_000;
            insert = insert
                .bind(event.id)
                .bind(event.key().1)
                .bind(i64::try_from(micros).unwrap())
                .bind(event.name.as_str())
                .bind(event.actor.as_ref().map(ToString::to_string))
                .bind(event.subject.as_ref().map(ToString::to_string))
                .bind(event.session.map(|id| id.0))
                .bind(event.reason.clone())
                .bind(event.access.map(Access::as_str))
                .bind(event.method.clone())
                .bind(event.path.clone())
                .bind(event.route.clone())
                .bind(event.status)
                .bind(event.outcome.map(Outcome::as_str))
                .bind(event.user_agent.clone())
                .bind(Uuid::nil());
        }
        insert.execute(&pool).await.unwrap();
    };
    trail.write(&events(1)).await.unwrap();
    beside(
        "SQLite: 1,000 events / the same VALUES",
        60,
        async || trail.write(&events(BATCH)).await.unwrap(),
        async || raw(&events(BATCH)).await,
    )
    .await;
}

/// 64 acted writes at once through the layer, each with its intent durable before the handler, beside one INSERT for
/// each request on 16 connections.
async fn durable_writes() {
    const AT_ONCE: usize = 64;
    const EACH: usize = 8;

    let db = Db::new().await;
    let trail = PostgresTrail::new(db.pool(2).await);
    let checker = checker_fn(
        |parts| match parts.extensions.get::<UserId>() {
            Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let impersonation = Impersonation::builder(checker, trail)
        .handlers_read_acting_as()
        .sessions(MemorySessions::new())
        .build()
        .unwrap();
    let ada: UserId = "ada".parse().unwrap();
    let ines: Subject = "ines".parse().unwrap();
    let mut parts = Request::new(()).into_parts().0;
    parts.extensions.insert(ada.clone());
    let start = StartRequest::new(ines, "bench").with_access(Access::ReadWrite);
    impersonation.start(&parts, start).await.unwrap();
    let act = {
        let layer = impersonation.layer();
        move || {
            let handler = service_fn(async |_: Request<String>| {
                Ok::<_, Infallible>(Response::new(String::new()))
            });
            let mut request = Request::builder()
                .method(Method::POST)
                .uri("/orders")
                .header("act-as", "ines")
                .body(String::new())
                .unwrap();
            request.extensions_mut().insert(ada.clone());
            layer.layer(handler).oneshot(request)
        }
    };
    let pool = db.pool(16).await;
    beside(
        "64 durable writes at once / an INSERT each, 16 connections",
        30,
        async || {
            let tasks: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let act = act.clone();
                    tokio::spawn(async move {
                        for _ in 0..EACH {
                            assert!(act().await.unwrap().status().is_success());
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        },
        async || {
            let tasks: Vec<_> = (0..AT_ONCE)
                .map(|_| {
                    let pool = pool.clone();
                    tokio::spawn(async move {
                        for event in events(EACH) {
                            raw_postgres(&pool, std::slice::from_ref(&event)).await;
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
        },
    )
    .await;
}

fn session(actor: &str) -> Session {
    let now = OffsetDateTime::now_utc();
    let until = now + Duration::from_secs(3_600);
    let id = SessionId(Uuid::now_v7());
    let (actor, ines) = (actor.parse().unwrap(), "ines".parse().unwrap());
    Session::new(id, actor, ines, "bench", now, until)
}

async fn look_up() {
    let db = Db::new().await;
    let pool = db.pool(1).await;
    let store = PostgresSessions::new(pool.clone());
    let session = session("ada");
    let started = store.start(session, &Limits::default()).await.unwrap();
    let session = started.session;
    beside(
        "100 look-ups of a session / select 1",
        60,
        async || {
            for _ in 0..100 {
                let now = OffsetDateTime::now_utc();
                let found = store.active(&session.actor, &session.subject, now).await;
                assert!(found.unwrap().is_some());
            }
        },
        async || {
            for _ in 0..100 {
                sqlx::query("select 1").fetch_one(&pool).await.unwrap();
            }
        },
    )
    .await;
}

/// A page with and without filter, of a table with a million rows ("ours") beside one with ten thousand ("plain").
async fn pages() {
    let mut stores = Vec::new();
    for rows in [1_000_000, 10_000] {
        let db = Db::new().await;
        let pool = db.pool(1).await;
        let fill = format!(
            "insert into impersonation.sessions (id, actor, actor_rank, subject, kind, access, reason, \
               started_at, expires_at, last_seen_at, due_at, ended_at, ended_reason) \
             select gen_random_uuid(), 'admin ' || i % 10, 0, 'user ' || i % 50, 'user', 'read_only', 'x', \
               at, at, at, at, at, 'manual' \
             from generate_series(1, {rows}) i, lateral (select now() - i * interval '10 seconds' as at) t; \
             do $$ begin for m in 0..6 loop \
               perform impersonation.add_month(now() - m * interval '20 days'); end loop; end $$; \
             insert into impersonation.trail (id, is_intent, time, name, actor, subject) \
             select gen_random_uuid(), false, at, 'impersonation.request', 'admin ' || i % 10, 'user ' || i % 50 \
             from generate_series(1, {rows}) i, lateral (select now() - i * interval '8 seconds' as at) t"
        );
        pool.execute(AssertSqlSafe(fill)).await.unwrap();
        pool.execute("vacuum analyze").await.unwrap();
        stores.push((
            PostgresSessions::new(pool.clone()),
            PostgresTrail::new(pool),
        ));
    }
    let [(million, million_trail), (few, few_trail)] = <[_; 2]>::try_from(stores).ok().unwrap();
    let list = async |store: &PostgresSessions, actor: Option<&str>| {
        let mut filter = SessionFilter::default();
        filter.actor = actor.map(|id| id.parse().unwrap());
        let now = OffsetDateTime::now_utc();
        let list = store.list(&filter, &Page::default(), now).await.unwrap();
        assert_eq!(list.sessions.len(), 50);
    };
    let read = async |trail: &PostgresTrail, actor: Option<&str>| {
        let mut filter = TrailFilter::default();
        filter.actor = actor.map(|id| id.parse().unwrap());
        let list = trail.read(&filter, &TrailPage::default()).await.unwrap();
        assert_eq!(list.events.len(), 50);
    };
    for actor in [None, Some("admin 7")] {
        let of = actor.map_or("all", |_| "of one actor");
        beside(
            &format!("sessions, {of}: 1 M rows / 10 k rows"),
            100,
            async || list(&million, actor).await,
            async || list(&few, actor).await,
        )
        .await;
        beside(
            &format!("trail, {of}: 1 M rows / 10 k rows"),
            100,
            async || read(&million_trail, actor).await,
            async || read(&few_trail, actor).await,
        )
        .await;
    }
}

/// An end where nobody else listens, and one that two replicas have to acknowledge (rule S9).
async fn revocation() {
    let db = Db::new().await;
    let one = PostgresSessions::new(db.pool(2).await);
    let alone = ends(&one, "alone").await;
    let others = [db.pool(2).await, db.pool(2).await].map(PostgresSessions::new);
    for store in others.iter().chain([&one]) {
        store.subscribe(Arc::new(|_| {}));
        store.listening().await;
    }
    let acknowledged = ends(&one, "acknowledged").await;
    println!(
        "an end: {:.1?} (median), {:.1?} (p99); acknowledged by two replicas {:.1?} (median), {:.1?} (p99)",
        alone[500], alone[990], acknowledged[500], acknowledged[990]
    );
}

/// What 1,000 ends take, shortest first.
async fn ends(store: &PostgresSessions, by: &str) -> Vec<Duration> {
    let mut ends = Vec::new();
    for number in 0..1_000 {
        let session = session(&format!("{by} {number}"));
        let started = store.start(session, &Limits::default()).await.unwrap();
        let before = Instant::now();
        let now = OffsetDateTime::now_utc();
        let ended = store.end(started.session.id, EndedReason::SessionRevoked, now);
        ended.await.unwrap().unwrap();
        ends.push(before.elapsed());
    }
    ends.sort();
    ends
}
