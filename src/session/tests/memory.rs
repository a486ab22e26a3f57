//! What the store in memory keeps, and that its listeners may use it.

use std::{sync::Arc, time::Duration};

use super::{MINUTE, NOON, SECOND, session, started, subject, user};
use crate::session::{
    EndedReason, Limits, MemorySessions, Page, SessionFilter, SessionStore, StartError,
};

#[tokio::test]
async fn memory_keeps_the_newest_ended_sessions_and_all_active_ones() {
    for history in [0, 1, 3] {
        let store = MemorySessions::new().with_history(history);
        let active = started(&store, session("ada", "otto", Duration::ZERO)).await;
        let mut ended = Vec::new();
        for number in 1..6 {
            let session = started(&store, session("ada", "ines", number * SECOND)).await;
            let reason = EndedReason::Manual;
            let by_end = store.end(session.id, reason, NOON + MINUTE).await.unwrap();
            assert!(by_end.is_some(), "the one who ends it gets it all the same");
            ended.push(session.id);
        }
        ended.reverse();
        ended.truncate(history);
        for id in &ended {
            assert!(store.get(*id).await.unwrap().is_some());
        }
        ended.push(active.id);
        let all = SessionFilter::default();
        let list = store.list(&all, &Page::default(), NOON + MINUTE).await;
        let list = list.unwrap();
        let listed: Vec<_> = list.sessions.iter().map(|session| session.id).collect();
        assert_eq!(listed, ended, "history of {history}");
        assert_eq!(list.total, ended.len() as u64);

        // What was forgotten still counts (rule S3).
        let limits = Limits {
            active: 9,
            starts_per_hour: 6,
            replace: false,
        };
        let seventh = session("ada", "vera", MINUTE);
        let refused = store.start(seventh, &limits).await;
        assert!(matches!(refused, Err(StartError::TooManyStarts { .. })));
    }
}

#[tokio::test]
async fn a_listener_may_use_the_store() {
    let store = MemorySessions::new();
    let (asked, answers) = std::sync::mpsc::channel();
    let listening = store.clone();
    store.subscribe(Arc::new(move |_| {
        let there = listening.peek(&user("ada"), &subject("ines"), NOON);
        // It would hang here if a lock were held.
        let due = tokio_test::task::spawn(listening.end_due(NOON, 9)).poll();
        asked.send((there.is_some(), due.is_ready())).unwrap();
    }));
    let session = started(&store, session("ada", "ines", Duration::ZERO)).await;
    let ended = store.end(session.id, EndedReason::Manual, NOON).await;
    assert!(ended.unwrap().is_some());
    assert_eq!(answers.try_recv(), Ok((true, true)), "of the start");
    assert_eq!(answers.try_recv(), Ok((false, true)), "of the end");
}
