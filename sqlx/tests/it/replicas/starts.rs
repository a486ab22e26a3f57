//! Starts on several replicas at once.

use tower_impersonation::session::{Limits, Page, SessionFilter, SessionStore, StartError};
use tower_impersonation_sqlx::{PostgresSessions, SqliteSessions};

use crate::host::{Lite, Pg, now, session};

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
