//! Processes that are killed around the ends of sessions: no end stays without its event (rule A1).
//!
//! `KILLS` says how often on each database, in one transaction and in two.

use std::time::Duration;

use sqlx::{PgPool, SqlitePool};
use tower_impersonation::{
    Access, Impersonation, StartRequest,
    audit::{AuditEvent, AuditSink, Call},
    session::SessionStore,
};
use tower_impersonation_sqlx::{
    PostgresSessions, PostgresTrail, SqliteSessions, SqliteTrail, sqlite,
};
use uuid::Uuid;

use crate::{
    child::{self, Process},
    handle::{act, build, request_of},
    host::{Lite, Pg, now, user},
};

/// Before an address: trail and sessions do not know that they are in one database.
const APART: &str = "apart ";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Some(database) = child::database() else {
        return;
    };
    let apart = database.strip_prefix(APART);
    let address = apart.unwrap_or(&database);
    if address.starts_with("postgres:") {
        let pool = PgPool::connect(address).await.unwrap();
        let trail = PostgresTrail::new(pool.clone());
        let sessions = PostgresSessions::new(pool);
        work(match apart {
            Some(_) => build(trail, sessions),
            None => build(trail.clone(), sessions.with_trail(&trail)),
        })
        .await;
    } else {
        let pool = SqlitePool::connect_with(sqlite::options(address))
            .await
            .unwrap();
        let trail = SqliteTrail::new(pool.clone());
        let sessions = SqliteSessions::new(pool);
        work(match apart {
            Some(_) => build(trail, sessions),
            None => build(trail.clone(), sessions.with_trail(&trail)),
        })
        .await;
    }
}

/// Admins who start, act and stop, until all are killed.
async fn work(impersonation: Impersonation) {
    let admin = async || {
        loop {
            let by = format!("admin {}", Uuid::now_v7());
            let (parts, ()) = request_of(&by, ()).into_parts();
            let start = StartRequest::new(user("ines").into(), "ticket 4711");
            let start = start.with_access(Access::ReadWrite);
            impersonation.start(&parts, start).await.unwrap();
            act(&impersonation, &by, http::Method::POST).await;
            child::say("about to stop");
            impersonation.stop(&parts).await.unwrap();
        }
    };
    tokio::join!(admin(), admin(), admin());
}

/// What was done, as the database has it.
struct Found {
    ended: i64,
    /// Ends that the sweep had to write.
    repaired: usize,
    missing: i64,
}

/// Kills a child that works there so often, each time a little later, and repairs what it left as the sweep does.
async fn kill(
    database: String,
    sessions: &impl SessionStore,
    trail: &impl AuditSink,
    kills: usize,
) -> usize {
    let mut repaired = 0;
    for number in 0..kills {
        let database = database.clone();
        let killed = tokio::task::spawn_blocking(move || {
            let mut child = Process::new("kills::child", &database);
            for _ in 0..4 + number % 7 {
                child.next();
            }
            // Anywhere between the request to stop and the next start.
            let micros = 137 * number as u64 % 4_000;
            std::thread::sleep(Duration::from_micros(micros));
        });
        killed.await.unwrap();
        let later = now() + Duration::from_secs(60);
        let found = sessions.unconfirmed_ends(later, 1_000).await.unwrap();
        for session in &found {
            let event = AuditEvent::end_of(session, &Call::default());
            trail.write(&[event]).await.unwrap();
            sessions.confirm_ends(&[session.id]).await.unwrap();
        }
        repaired += found.len();
    }
    repaired
}

fn report(what: &str, kills: usize, found: &Found) {
    let Found {
        ended,
        repaired,
        missing,
    } = found;
    eprintln!("{what}, {kills} kills: {ended} ends, {repaired} repaired, {missing} missing");
    assert!(*ended > 0);
    assert_eq!(*missing, 0, "{what}: an end has exactly one event");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_however_often_a_process_is_killed_no_end_lacks_its_event_in_postgres() {
    let kills = child::rounds("KILLS", 3);
    for apart in ["", APART] {
        let db = Pg::new().await;
        let database = format!("{apart}{}", child::url_of(&db.pool).await);
        let trail = PostgresTrail::new(db.pool.clone());
        let sessions = PostgresSessions::new(db.pool.clone());
        let repaired = kill(database, &sessions, &trail, kills).await;
        let (ended, missing) = sqlx::query_as(
            "select count(*), count(*) filter (where 1 <> ( \
               select count(*) from impersonation.trail t \
               where t.session = s.id and t.name = 'impersonation.end')) \
             from impersonation.sessions s where s.ended_at is not null",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        let found = Found {
            ended,
            repaired,
            missing,
        };
        report(&format!("PostgreSQL {apart}"), kills, &found);
        assert!(apart == APART || repaired == 0, "one transaction");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_however_often_a_process_is_killed_no_end_lacks_its_event_in_sqlite() {
    let kills = child::rounds("KILLS", 3);
    for apart in ["", APART] {
        let db = Lite::new().await;
        let database = format!("{apart}{}", db.file().to_str().unwrap());
        let trail = SqliteTrail::new(db.pool.clone());
        let sessions = SqliteSessions::new(db.pool.clone());
        let repaired = kill(database, &sessions, &trail, kills).await;
        let (ended, missing) = sqlx::query_as(
            "select count(*), count(*) filter (where 1 <> ( \
               select count(*) from impersonation_trail t \
               where t.session = s.id and t.name = 'impersonation.end')) \
             from impersonation_sessions s where s.ended_at is not null",
        )
        .fetch_one(&db.pool)
        .await
        .unwrap();
        let found = Found {
            ended,
            repaired,
            missing,
        };
        report(&format!("SQLite {apart}"), kills, &found);
        assert!(apart == APART || repaired == 0, "one transaction");
    }
}
