//! Several replicas on one database: two stores, each with a pool of its own, as two processes have.

use std::{sync::Arc, time::Duration};

use sqlx::{Executor as _, PgPool};
use tokio::sync::mpsc;
use tower_impersonation::{
    Access,
    session::{
        Cached, EndedReason, Limits, Page, Session, SessionChange, SessionFilter, SessionId,
        SessionStore, SessionUpdate, StartError,
    },
};
use tower_impersonation_sqlx::{PostgresSessions, SqliteSessions};

use crate::host::{Lite, Pg, now, session, started};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s2_100_parallel_starts_over_two_pools_leave_one_session() {
    let db = Pg::new().await;
    let replicas = [
        PostgresSessions::new(db.pool.clone()),
        PostgresSessions::new(db.other_pool().await),
    ];
    one_of_100(&replicas).await;

    let db = Lite::new().await;
    let replicas = [
        SqliteSessions::new(db.pool.clone()),
        SqliteSessions::new(db.other_pool().await),
    ];
    one_of_100(&replicas).await;
}

async fn one_of_100<S: SessionStore + Clone>(replicas: &[S; 2]) {
    let starts: Vec<_> = (0..100)
        .map(|number| {
            let store = replicas[number % 2].clone();
            let session = session("ada", &format!("user {}", number % 3));
            tokio::spawn(async move { store.start(session, &Limits::default()).await })
        })
        .collect();
    let mut done = 0;
    for start in starts {
        match start.await.unwrap() {
            Ok(_) => done += 1,
            Err(StartError::AlreadyActive) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(done, 1);
    let (filter, page) = (SessionFilter::default(), Page::default());
    let all = replicas[0].list(&filter, &page, now());
    assert_eq!(all.await.unwrap().total, 1);
}

#[tokio::test]
async fn s2_the_index_holds_what_is_written_past_the_lock() {
    let db = Pg::new().await;
    let store = PostgresSessions::new(db.pool.clone());
    // Someone inserts by hand what a start does not see, because it is not committed when that looks.
    let mut tx = db.pool.begin().await.unwrap();
    let session_of_ada = session("ada", "ines");
    sqlx::query(
        "insert into impersonation.sessions (id, actor, actor_rank, subject, kind, access, reason, started_at, \
           expires_at, last_seen_at, due_at) \
         values ($1, 'ada', 0, 'ines', 'user', 'read_only', 'by hand', now(), now(), now(), now())",
    )
    .bind(session("ada", "ines").id.0)
    .execute(&mut *tx)
    .await
    .unwrap();
    let limits = Limits::default();
    let start = store.start(session_of_ada, &limits);
    let commit = async {
        // The start waits for this transaction once it has got as far as its own insert.
        let waits = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' \
            and datname = current_database()";
        loop {
            let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&db.pool).await.unwrap();
            if waiting > 0 {
                return tx.commit().await.unwrap();
            }
        }
    };
    let (start, ()) = tokio::join!(start, commit);
    assert!(matches!(start, Err(StartError::AlreadyActive)));
}

#[tokio::test]
async fn a_start_that_is_dropped_leaves_all_or_nothing() {
    let db = Pg::new().await;
    let store = PostgresSessions::new(db.pool.clone());
    let limits = Limits::default();
    for polls in 1..12 {
        let actor = format!("ada {polls}");
        let session = session(&actor, "ines");
        let id = session.id;
        {
            let mut start = std::pin::pin!(store.start(session, &limits));
            let mut left = polls;
            std::future::poll_fn(|cx| {
                left -= 1;
                match start.as_mut().poll(cx) {
                    std::task::Poll::Pending if left > 0 => std::task::Poll::Pending,
                    _ => std::task::Poll::Ready(()),
                }
            })
            .await;
        }
        // The same actor can start at once: no lock, no transaction is left.
        let there = store.get(id).await.unwrap().is_some();
        let next = store
            .start(crate::host::session(&actor, "otto"), &limits)
            .await;
        match next {
            Ok(_) => {
                let there = store.get(id).await.unwrap().is_some();
                assert!(
                    !there,
                    "after {polls} polls there is a session that did not count"
                );
            }
            Err(StartError::AlreadyActive) => {
                let _ = there;
                assert!(store.get(id).await.unwrap().is_some());
            }
            Err(error) => panic!("after {polls} polls: {error}"),
        }
    }
}
