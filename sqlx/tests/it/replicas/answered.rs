//! When an end is answered, no replica serves the session (rule S9).

use std::{
    process::Command,
    time::{Duration, Instant},
};

use sqlx::PgPool;
use tower_impersonation::{
    Access,
    audit::{Call, EventName},
    session::{Cached, EndedReason, Limits, Session, SessionChange, SessionStore, SessionUpdate},
};
use tower_impersonation_sqlx::{PostgresSessions, PostgresTrail, SqliteSessions, SqliteTrail};

use super::{HOUR, Replica};
use crate::host::{Lite, Pg, event, now, session, started};

/// What a replica may take to say that it forgot, at most.
const LEASE: Duration = Duration::from_secs(3);

async fn kept(replica: &Replica, session: &Session) {
    assert!(replica.is_active(session).await && replica.peeks(session));
}

async fn is_served(replica: &Replica, session: &Session) -> bool {
    replica.peeks(session) || replica.is_active(session).await
}

#[tokio::test]
async fn s9_when_an_end_is_answered_no_replica_serves_the_session() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let others = [
        Replica::new(db.other_pool().await).await,
        Replica::new(db.other_pool().await).await,
    ];
    let trail = PostgresTrail::new(db.pool.clone());
    let recorded = one.store.clone().with_trail(&trail);
    let begun = Instant::now();
    for round in 0..50 {
        let session = started(&one.store, session("ada", "ines")).await;
        for other in &others {
            kept(other, &session).await;
        }
        let (id, reason) = (session.id, EndedReason::SessionRevoked);
        let ended = match round % 2 {
            0 => one.store.end(id, reason, now()).await,
            _ => {
                let call = Call::default();
                let ended = recorded.end_recorded(id, reason, &call, now()).await;
                ended.unwrap()
            }
        };
        assert!(ended.unwrap().is_some());
        for other in &others {
            assert!(!is_served(other, &session).await, "round {round}");
        }
    }
    let each = begun.elapsed() / 50;
    assert!(each < LEASE / 3, "no end waits for a lease: {each:?}");
}

#[tokio::test]
async fn s9_what_a_start_replaces_is_served_nowhere_after_the_answer() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let other = Replica::new(db.other_pool().await).await;
    let trail = PostgresTrail::new(db.pool.clone());
    let recorded = one.store.clone().with_trail(&trail);
    let mut limits = Limits::default();
    limits.replace = true;
    limits.starts_per_hour = 1_000;
    let mut before = started(&one.store, session("ada", "ines")).await;
    for round in 0..20 {
        kept(&other, &before).await;
        let next = session("ada", &format!("user {round}"));
        let started = match round % 2 {
            0 => one.store.start(next, &limits).await,
            _ => {
                let start = event(EventName::Start);
                let started = recorded.start_recorded(&next, &limits, &start).await;
                started.unwrap()
            }
        };
        assert!(!is_served(&other, &before).await, "round {round}");
        before = started.unwrap().session;
    }
}

#[tokio::test]
async fn s9_access_that_is_lowered_is_lowered_everywhere_after_the_answer() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let other = Replica::new(db.other_pool().await).await;
    let session = started(&one.store, session("ada", "ines")).await;
    for round in 0..40 {
        kept(&other, &session).await;
        let access = [Access::ReadWrite, Access::ReadOnly][round % 2];
        let mut update = SessionUpdate::default();
        update.access = Some(access);
        let updated = one.store.update(session.id, update, now()).await;
        assert!(updated.unwrap().is_some());
        let active = other.cached.active(&session.actor, &session.subject, now());
        assert_eq!(
            active.await.unwrap().unwrap().access,
            access,
            "round {round}"
        );
    }
}

/// Whoever asks to end what somebody else is just ending is not answered before them.
#[tokio::test]
async fn s9_an_end_that_comes_second_is_answered_no_earlier() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let other = Replica::new(db.other_pool().await).await;
    for round in 0..20 {
        let session = started(&one.store, session("ada", "ines")).await;
        kept(&other, &session).await;
        let end = async |reason| {
            let ended = one.store.end(session.id, reason, now()).await;
            assert!(!is_served(&other, &session).await, "round {round}");
            ended.unwrap().is_some()
        };
        let (first, second) =
            tokio::join!(end(EndedReason::Manual), end(EndedReason::SessionRevoked));
        assert!(first != second);
    }
}

/// The backends of this database that listen, or only those that are not of `except`.
async fn listeners(pool: &PgPool, except: &[i32]) -> Vec<i32> {
    let pids = "select pid from pg_stat_activity where datname = current_database() \
        and application_name like '%listener' and pid <> all($1)";
    let pids = sqlx::query_scalar(pids).bind(except).fetch_all(pool);
    pids.await.unwrap()
}

#[tokio::test]
async fn s9_a_replica_whose_listener_is_killed_serves_nothing_after_the_answer() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let known = listeners(&db.pool, &[]).await;
    let other = Replica::new(db.other_pool().await).await;
    for round in 0..5 {
        let session = started(&one.store, session("ada", "ines")).await;
        other.store.listening().await;
        while !other.peeks(&session) {
            assert!(other.is_active(&session).await);
        }
        let kill = "select pg_terminate_backend(pid) from unnest($1) as pid";
        let pids = listeners(&db.pool, &known).await;
        assert_eq!(pids.len(), 1);
        sqlx::query(kill)
            .bind(pids)
            .execute(&db.pool)
            .await
            .unwrap();
        let begun = Instant::now();
        let ended = one.store.end(session.id, EndedReason::Manual, now()).await;
        assert!(ended.unwrap().is_some());
        assert!(!is_served(&other, &session).await, "round {round}");
        assert!(begun.elapsed() < LEASE + Duration::from_millis(500));
    }
}

/// A process of the server that is stopped, and goes on when this is dropped.
struct Stopped(i32);

impl Stopped {
    fn new(pid: i32) -> Option<Self> {
        signal("-STOP", pid).then_some(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", self.0);
    }
}

fn signal(signal: &str, pid: i32) -> bool {
    let kill = Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    kill.is_ok_and(|kill| kill.success())
}

#[tokio::test]
async fn s9_a_replica_whose_listener_hangs_serves_nothing_after_a_lease() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let known = listeners(&db.pool, &[]).await;
    let mut other = Replica::new(db.other_pool().await).await;
    let pids = listeners(&db.pool, &known).await;
    let session = started(&one.store, session("ada", "ines")).await;
    kept(&other, &session).await;

    let Some(stopped) = Stopped::new(pids[0]) else {
        eprintln!("the server's processes cannot be stopped by this user");
        return;
    };
    let begun = Instant::now();
    let ended = one.store.end(session.id, EndedReason::Manual, now()).await;
    assert!(ended.unwrap().is_some());
    let waited = begun.elapsed();
    assert!(!is_served(&other, &session).await);
    assert!(waited < LEASE + Duration::from_millis(500), "{waited:?}");

    // It finds that out by itself, and listens by another connection.
    other.store.listening().await;
    while !matches!(other.next().await, SessionChange::Unknown) {}
    let again = started(&one.store, crate::host::session("ada", "ines")).await;
    while !other.peeks(&again) {
        assert!(other.is_active(&again).await);
    }
    drop(stopped);
    one.store
        .end(again.id, EndedReason::Manual, now())
        .await
        .unwrap()
        .unwrap();
    assert!(!is_served(&other, &again).await);
}

/// The one who ends cannot hear the answers: then it waits until all leases are over.
#[tokio::test]
async fn s9_an_end_waits_for_leases_where_no_answer_comes_in() {
    let db = Pg::new().await;
    let other = Replica::new(db.other_pool().await).await;
    let known = listeners(&db.pool, &[]).await;
    let one = Replica::new(db.pool.clone()).await;
    let pids = listeners(&db.pool, &known).await;
    let session = started(&one.store, session("ada", "ines")).await;
    kept(&other, &session).await;
    let Some(_stopped) = Stopped::new(pids[0]) else {
        return;
    };
    let begun = Instant::now();
    let ended = one.store.end(session.id, EndedReason::Manual, now()).await;
    assert!(ended.unwrap().is_some());
    assert!(!is_served(&other, &session).await);
    assert!(begun.elapsed() < LEASE + Duration::from_millis(500));
}

#[tokio::test]
async fn s9_a_store_that_nobody_listens_to_ends_for_the_others_too() {
    let db = Pg::new().await;
    let alone = PostgresSessions::new(db.other_pool().await);
    let first = started(&alone, session("ada", "ines")).await;
    alone
        .end(first.id, EndedReason::Manual, now())
        .await
        .unwrap()
        .unwrap();
    assert!(
        listeners(&db.pool, &[]).await.is_empty(),
        "there is nobody to wait for"
    );

    let other = Replica::new(db.pool.clone()).await;
    let second = started(&alone, session("ada", "ines")).await;
    kept(&other, &second).await;
    alone
        .end(second.id, EndedReason::Manual, now())
        .await
        .unwrap()
        .unwrap();
    assert!(!is_served(&other, &second).await);
}

#[tokio::test]
async fn s9_an_end_by_hand_holds_within_a_lease() {
    let db = Pg::new().await;
    let other = Replica::new(db.other_pool().await).await;
    let session = started(&other.store, session("ada", "ines")).await;
    kept(&other, &session).await;
    let pids = listeners(&db.pool, &[]).await;
    let stopped = Stopped::new(pids[0]);
    let by_hand = "update impersonation.sessions set ended_at = now(), ended_reason = 'manual'";
    sqlx::query(by_hand).execute(&db.pool).await.unwrap();
    tokio::time::sleep(LEASE).await;
    assert!(!is_served(&other, &session).await);
    drop(stopped);
}

/// Nobody tells of what another process does in a file: nothing is served from memory.
#[tokio::test]
async fn s9_sqlite_is_read_each_time() {
    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    let one = SqliteSessions::new(db.pool.clone()).with_trail(&trail);
    let other = Cached::new(SqliteSessions::new(db.other_pool().await), HOUR);
    for _ in 0..20 {
        let session = started(&one, session("ada", "ines")).await;
        let (actor, subject) = (&session.actor, &session.subject);
        let active = async || other.active(actor, subject, now()).await.unwrap();
        assert!(active().await.is_some());
        let (reason, call) = (EndedReason::Manual, Call::default());
        let ended = one.end_recorded(session.id, reason, &call, now()).await;
        assert!(ended.unwrap().unwrap().is_some());
        assert!(other.peek(actor, subject, now()).is_none());
        assert!(active().await.is_none());
    }
}
