//! A channel that is cut, and one that nobody needs any more.

use std::sync::Arc;

use sqlx::{Executor as _, PgPool};
use tokio::sync::mpsc;
use tower_impersonation::session::{Cached, EndedReason, SessionChange, SessionStore};
use tower_impersonation_sqlx::PostgresSessions;

use super::{HOUR, Replica};
use crate::host::{Pg, now, session, started};

/// Ends every connection that listens, as a network that breaks would.
async fn cut(pool: &PgPool) -> i64 {
    let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
        where datname = current_database() and application_name like '%listener'";
    sqlx::query_scalar(cut).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn s9_while_the_channel_is_cut_nothing_that_is_kept_is_used() {
    let db = Pg::new().await;
    // The replica listens through a pool of its own, which can be kept from connecting again.
    // Roles are the server's, so it has the name of its database.
    let name: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    let admin = async |statement: &str| {
        let statement = sqlx::AssertSqlSafe(statement.replace("listener", &name));
        db.pool.execute(statement).await.unwrap();
    };
    admin("create role listener login").await;
    admin("grant usage on schema impersonation to listener").await;
    admin("grant select on impersonation.sessions to listener").await;
    admin("grant select, insert, update, delete on impersonation.replicas to listener").await;
    let listener = db.options.clone().username(&name);
    let listener = sqlx::postgres::PgPoolOptions::new().connect_lazy_with(listener);
    let store = PostgresSessions::new(db.other_pool().await).with_listener(listener);
    let cached = Cached::new(store.clone(), HOUR);
    let (heard, news) = mpsc::unbounded_channel();
    store.subscribe(Arc::new(move |change| {
        let _ = heard.send(change.clone());
    }));
    assert!(!store.hears_all(), "not yet");
    store.listening().await;
    assert!(store.hears_all());
    let mut replica = Replica {
        store,
        cached,
        news,
    };
    let elsewhere = PostgresSessions::new(db.pool.clone());
    let session = started(&elsewhere, session("ada", "ines")).await;
    let first = replica.news.try_recv();
    assert!(
        matches!(first, Ok(SessionChange::Unknown)),
        "what came before is unknown: {first:?}"
    );
    assert!(matches!(replica.next().await, SessionChange::Started(_)));
    assert!(replica.is_active(&session).await && replica.peeks(&session));

    admin("alter role listener nologin").await;
    assert_eq!(cut(&db.pool).await, 1);
    assert!(matches!(replica.next().await, SessionChange::Unknown));
    assert!(!replica.store.hears_all());
    assert!(!replica.peeks(&session), "nothing is answered from memory");
    assert!(replica.is_active(&session).await, "but from the database");
    assert!(!replica.peeks(&session), "and that is not kept");
    elsewhere
        .end(session.id, EndedReason::Manual, now())
        .await
        .unwrap()
        .unwrap();
    assert!(!replica.is_active(&session).await, "still refused");

    // It comes back by itself, and forgets what it knew.
    admin("alter role listener login").await;
    replica.store.listening().await;
    assert!(replica.store.hears_all());
    assert!(!replica.is_active(&session).await);
    let again = started(&elsewhere, crate::host::session("ada", "ines")).await;
    assert!(replica.is_active(&again).await && replica.peeks(&again));
    elsewhere
        .end(again.id, EndedReason::Manual, now())
        .await
        .unwrap()
        .unwrap();
    replica.hears_of(again.id).await;
    assert!(!replica.peeks(&again));
}

#[tokio::test]
async fn s9_what_happened_while_the_channel_was_cut_is_caught_up_with() {
    let db = Pg::new().await;
    let replica = Replica::new(db.other_pool().await).await;
    let elsewhere = PostgresSessions::new(db.pool.clone());
    let session = started(&elsewhere, session("ada", "ines")).await;
    assert!(replica.is_active(&session).await && replica.peeks(&session));

    // Cut and ended in one step of the database: the news go to nobody.
    let mut tx = db.pool.begin().await.unwrap();
    let pids = "select pid from pg_stat_activity \
        where datname = current_database() and application_name like '%listener'";
    let pid: i32 = sqlx::query_scalar(pids).fetch_one(&mut *tx).await.unwrap();
    sqlx::query("select pg_terminate_backend($1, 10000)")
        .bind(pid)
        .execute(&mut *tx)
        .await
        .unwrap();
    sqlx::query("update impersonation.sessions set ended_at = now(), ended_reason = 'manual'")
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let mut news = replica.news;
    while !matches!(news.recv().await, Some(SessionChange::Unknown)) {}
    let (actor, subject) = (&session.actor, &session.subject);
    assert!(replica.cached.peek(actor, subject, now()).is_none());
    let active = replica.cached.active(actor, subject, now()).await.unwrap();
    assert!(active.is_none());
}

#[tokio::test]
async fn the_listener_goes_away_with_its_store() {
    let db = Pg::new().await;
    let replica = Replica::new(db.other_pool().await).await;
    let listening = async || -> i64 {
        let count = "select count(*) from pg_stat_activity \
            where datname = current_database() and application_name like '%listener'";
        sqlx::query_scalar(count).fetch_one(&db.pool).await.unwrap()
    };
    drop(replica);
    // It looks every second; the runner's own limit ends a wait for what never comes.
    while listening().await > 0 {
        tokio::task::yield_now().await;
    }
}
