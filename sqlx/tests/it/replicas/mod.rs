//! Several replicas on one database: two stores, each with a pool of its own, as two processes have.

use std::{sync::Arc, time::Duration};

use sqlx::{Executor as _, PgPool};
use tokio::sync::mpsc;
use tower_impersonation::{
    Access,
    session::{
        Cached, EndedReason, Session, SessionChange, SessionId, SessionStore, SessionUpdate,
    },
};
use tower_impersonation_sqlx::PostgresSessions;

use crate::host::{Pg, now, session, started};

mod answered;
mod cut;
mod starts;

const HOUR: Duration = Duration::from_secs(60 * 60);

/// One replica: its store behind a cache that would keep for an hour, and what it hears.
struct Replica {
    store: PostgresSessions,
    cached: Cached<PostgresSessions>,
    news: mpsc::UnboundedReceiver<SessionChange>,
}

impl Replica {
    async fn new(pool: PgPool) -> Self {
        let store = PostgresSessions::new(pool);
        let cached = Cached::new(store.clone(), HOUR);
        let (heard, news) = mpsc::unbounded_channel();
        // After the cache: what is heard here, it has heard.
        store.subscribe(Arc::new(move |change| {
            let _ = heard.send(change.clone());
        }));
        store.listening().await;
        Self {
            store,
            cached,
            news,
        }
    }

    async fn is_active(&self, session: &Session) -> bool {
        let (actor, subject) = (&session.actor, &session.subject);
        let active = self.cached.active(actor, subject, now()).await;
        active.unwrap().is_some()
    }

    fn peeks(&self, session: &Session) -> bool {
        let (actor, subject) = (&session.actor, &session.subject);
        self.cached.peek(actor, subject, now()).is_some()
    }

    /// Waits for news of this session; never longer than a test may take.
    async fn hears_of(&mut self, id: SessionId) -> SessionChange {
        loop {
            let change = self.next().await;
            match &change {
                SessionChange::Ended(ended, _) if *ended == id => return change,
                SessionChange::Updated(session) if session.id == id => return change,
                _ => {}
            }
        }
    }

    async fn next(&mut self) -> SessionChange {
        let next = tokio::time::timeout(Duration::from_secs(30), self.news.recv()).await;
        next.expect("there have to be news").unwrap()
    }
}

#[tokio::test]
async fn s9_an_end_on_one_replica_is_heard_by_the_other() {
    let db = Pg::new().await;
    let one = Replica::new(db.pool.clone()).await;
    let mut other = Replica::new(db.other_pool().await).await;
    let session = started(&one.store, session("ada", "ines")).await;

    assert!(other.is_active(&session).await);
    assert!(other.peeks(&session), "it is kept");
    let ended = one
        .store
        .end(session.id, EndedReason::SessionRevoked, now());
    assert!(ended.await.unwrap().is_some());
    let news = other.hears_of(session.id).await;
    assert!(matches!(
        news,
        SessionChange::Ended(_, EndedReason::SessionRevoked)
    ));
    assert!(!other.peeks(&session));
    assert!(!other.is_active(&session).await);
}

#[tokio::test]
async fn s9_what_is_done_by_hand_is_heard_as_well() {
    let db = Pg::new().await;
    let mut replica = Replica::new(db.other_pool().await).await;
    let first = started(&replica.store, session("ada", "ines")).await;
    let second = started(&replica.store, session("eve", "ines")).await;
    assert!(replica.is_active(&first).await && replica.is_active(&second).await);

    let by_hand = "update impersonation.sessions set ended_at = now(), ended_reason = 'manual' \
        where actor = 'ada'; delete from impersonation.sessions where actor = 'eve'";
    db.pool.execute(by_hand).await.unwrap();
    replica.hears_of(first.id).await;
    replica.hears_of(second.id).await;
    assert!(!replica.peeks(&first) && !replica.peeks(&second));
}

#[tokio::test]
async fn s9_a_change_of_access_on_one_replica_holds_on_the_other() {
    let db = Pg::new().await;
    let one = PostgresSessions::new(db.pool.clone());
    let mut other = Replica::new(db.other_pool().await).await;
    let session = started(&one, session("ada", "ines")).await;
    assert!(other.is_active(&session).await);

    let mut raise = SessionUpdate::default();
    raise.access = Some(Access::ReadWrite);
    one.update(session.id, raise, now()).await.unwrap().unwrap();
    let SessionChange::Updated(heard) = other.hears_of(session.id).await else {
        panic!("it was updated");
    };
    assert_eq!(heard.access, Access::ReadWrite);
    let active = other.cached.active(&session.actor, &session.subject, now());
    assert_eq!(active.await.unwrap().unwrap().access, Access::ReadWrite);
}

#[tokio::test]
async fn s4_touches_are_told_in_one_statement_and_to_nobody() {
    let db = Pg::new().await;
    let mut replica = Replica::new(db.other_pool().await).await;
    let first = started(&replica.store, session("ada", "ines")).await;
    let second = started(&replica.store, session("eve", "ines")).await;
    let later = now() + Duration::from_secs(60);
    let seen = [
        (second.id, later),
        (first.id, later),
        // Twice, and an older one: the latest counts.
        (first.id, later - Duration::from_secs(30)),
    ];
    replica.store.touch_all(&seen).await.unwrap();
    for session in [&first, &second] {
        let touched = replica.store.get(session.id).await.unwrap().unwrap();
        assert_eq!(touched.last_seen_at, later);
    }
    // Whatever the touches had told would come before this.
    replica
        .store
        .end(first.id, EndedReason::Manual, now())
        .await
        .unwrap();
    while let change = replica.next().await
        && !matches!(change, SessionChange::Ended(..))
    {
        let of_others = matches!(change, SessionChange::Unknown | SessionChange::Started(_));
        assert!(of_others, "{change:?}");
    }
}
