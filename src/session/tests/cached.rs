//! R13, S4, S9: the store that keeps answers of a slower one, and forgets them in time.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{Fault, MINUTE, NOON, Probed, SECOND, TICK, find, peek, session, started};
use crate::{
    session::{
        Cached, EndedReason, Limits, Session, SessionChange, SessionId, SessionStore, SessionUpdate,
    },
    words::BoxError,
};

/// A task that looks ada's session as ines up; it has run until it had to wait.
async fn look_up(
    store: &Arc<Cached<Probed>>,
    after: Duration,
) -> tokio::task::JoinHandle<Result<Option<Arc<Session>>, BoxError>> {
    let store = store.clone();
    let task = tokio::spawn(async move { find(&*store, after).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn s9_while_the_store_does_not_hear_nothing_kept_is_used_and_nothing_is_kept() {
    let probe = Probed::new();
    let cached = probe.cached(10 * SECOND);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    find(&*cached, Duration::ZERO).await.unwrap().unwrap();
    assert!(peek(&*cached, Duration::ZERO).is_some());

    probe.0.is_cut.store(true, Ordering::SeqCst);
    assert!(
        !cached.hears_all(),
        "who caches this cache has to know as well"
    );
    let asked = probe.asked();
    for again in 1..4 {
        assert!(peek(&*cached, Duration::ZERO).is_none());
        find(&*cached, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(probe.asked(), asked + again);
    }
}

#[tokio::test]
async fn a_hit_asks_the_store_once_and_for_its_time() {
    let probe = Probed::new();
    let cached = probe.cached(10 * SECOND);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(peek(&*cached, Duration::ZERO).is_none());

    // When, whether it is kept already, and how often the store was asked then.
    let tests = [
        (Duration::ZERO, false, 1),
        (Duration::ZERO, true, 1),
        (10 * SECOND - TICK, true, 1),
        (10 * SECOND, false, 2),
        (20 * SECOND - TICK, true, 2),
        (25 * SECOND, false, 3),
    ];
    for (after, peeked, asked) in tests {
        let found = peek(&*cached, after).map(|found| found.id);
        assert_eq!(found, peeked.then_some(session.id), "peek at {after:?}");
        let found = find(&*cached, after).await.unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
        assert_eq!(probe.asked(), asked, "at {after:?}");
    }
}

#[tokio::test]
async fn s4_nothing_is_kept_past_the_end() {
    let probe = Probed::new();
    let cached = probe.cached(Duration::from_secs(1_000_000));
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(find(&*cached, MINUTE).await.unwrap().is_some());
    assert!(peek(&*cached, 120 * MINUTE - TICK).is_some());
    assert!(peek(&*cached, 120 * MINUTE).is_none());
    assert!(find(&*cached, 120 * MINUTE).await.unwrap().is_none());
}

#[tokio::test]
async fn no_time_keeps_nothing() {
    let probe = Probed::new();
    let cached = probe.cached(Duration::ZERO);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    for asked in 1..4 {
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
        assert!(peek(&*cached, Duration::ZERO).is_none());
        assert_eq!(probe.asked(), asked);
    }
}

#[tokio::test]
async fn concurrent_misses_share_one_question() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(look_up(&cached, SECOND).await);
    }
    probe.answer_waits().await;
    assert!(peek(&*cached, SECOND).is_none());
    probe.let_go(20);
    for task in tasks {
        let found = task.await.unwrap().unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
    }
    assert_eq!(probe.asked(), 1);
}

#[tokio::test]
async fn that_there_is_none_is_never_kept() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    for asked in 1..4 {
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_none());
        assert_eq!(probe.asked(), asked);
        assert!(format!("{cached:?}").contains("kept: 0"), "not even room");
    }

    // Nor is it shared: who asks after a start finds it, even while an older question is open.
    probe.gate(true);
    let early = look_up(&cached, Duration::ZERO).await;
    probe.answer_waits().await;
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    let late = look_up(&cached, Duration::ZERO).await;
    probe.gate(false);
    probe.let_go(1);
    assert!(early.await.unwrap().unwrap().is_none());
    let found = late.await.unwrap().unwrap();
    assert_eq!(found.map(|found| found.id), Some(session.id));
}

#[tokio::test]
async fn s9_what_changes_is_forgotten_at_once() {
    type Change = fn(&Probed, Arc<Cached<Probed>>, SessionId) -> BoxFuture;
    type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

    const BY_ITSELF: [(&str, Change); 4] = [
        ("end", |_, cached, id| {
            Box::pin(async move {
                let ended = cached.end(id, EndedReason::Manual, NOON + SECOND);
                assert!(ended.await.unwrap().is_some());
            })
        }),
        ("end_due", |_, cached, _| {
            Box::pin(async move {
                let ended = cached.end_due(NOON + 30 * MINUTE, 9).await;
                assert_eq!(ended.unwrap().len(), 1);
            })
        }),
        ("update", |_, cached, id| {
            Box::pin(async move {
                let update = SessionUpdate {
                    expires_at: Some(NOON + SECOND),
                    ..SessionUpdate::default()
                };
                let updated = cached.update(id, update, NOON);
                assert!(updated.await.unwrap().is_some());
            })
        }),
        ("start", |_, cached, _| {
            Box::pin(async move {
                let limits = Limits {
                    replace: true,
                    ..Limits::default()
                };
                let other = session("ada", "otto", SECOND);
                let started = cached.start(other, &limits).await.unwrap();
                assert_eq!(started.ended.len(), 1);
            })
        }),
    ];
    const ELSEWHERE: [(&str, Change); 2] = [
        ("end elsewhere", |probe, _, id| {
            let store = probe.0.store.clone();
            Box::pin(async move {
                let ended = store.end(id, EndedReason::SessionRevoked, NOON + SECOND);
                assert!(ended.await.unwrap().is_some());
            })
        }),
        ("update elsewhere", |probe, _, id| {
            let store = probe.0.store.clone();
            Box::pin(async move {
                let update = SessionUpdate {
                    expires_at: Some(NOON + SECOND),
                    ..SessionUpdate::default()
                };
                let updated = store.update(id, update, NOON);
                assert!(updated.await.unwrap().is_some());
            })
        }),
    ];
    // What goes through the cache needs no news; what does not is heard of.
    let tests = BY_ITSELF.iter().map(|test| (Probed::deaf(), test));
    let tests = tests.chain(BY_ITSELF.iter().map(|test| (Probed::new(), test)));
    let tests = tests.chain(ELSEWHERE.iter().map(|test| (Probed::new(), test)));
    for (probe, (name, change)) in tests {
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
        assert!(peek(&*cached, SECOND).is_some(), "{name}");
        change(&probe, cached.clone(), session.id).await;
        assert!(peek(&*cached, SECOND).is_none(), "{name}: peek");
        let found = find(&*cached, SECOND).await.unwrap();
        assert!(found.is_none(), "{name}: active");
    }
}

#[tokio::test]
async fn s9_lost_news_empty_the_cache() {
    let probe = Probed::deaf();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
    let reason = EndedReason::SessionRevoked;
    let ended = probe.0.store.end(session.id, reason, NOON + SECOND).await;
    assert!(ended.unwrap().is_some());
    assert!(peek(&*cached, SECOND).is_some(), "it has not heard of it");
    probe.say(&SessionChange::Unknown);
    assert!(peek(&*cached, SECOND).is_none());
    assert!(find(&*cached, SECOND).await.unwrap().is_none());
}

#[tokio::test]
async fn s9_a_session_that_ends_while_it_is_looked_up_is_not_kept() {
    enum News {
        ByEnd,
        Heard,
        Lost,
    }
    for news in [News::ByEnd, News::Heard, News::Lost] {
        let probe = Probed::deaf();
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        probe.gate(true);
        let early = look_up(&cached, SECOND).await;
        probe.answer_waits().await;

        // The store has said yes. Now it ends, and only then the answer arrives.
        let reason = EndedReason::SessionRevoked;
        if let News::ByEnd = news {
            let ended = cached.end(session.id, reason, NOON + SECOND).await;
            assert!(ended.unwrap().is_some());
        } else {
            let ended = probe.0.store.end(session.id, reason, NOON + SECOND).await;
            assert!(ended.unwrap().is_some());
            probe.say(&match news {
                News::Lost => SessionChange::Unknown,
                _ => SessionChange::Ended(session.id, reason),
            });
        }
        // It waits for the open question, or has one of its own.
        let late = look_up(&cached, SECOND).await;
        probe.gate(false);
        probe.let_go(2);
        assert!(early.await.unwrap().unwrap().is_none());
        assert!(late.await.unwrap().unwrap().is_none());
        assert!(peek(&*cached, SECOND).is_none());
        assert!(find(&*cached, SECOND).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn s4_who_waits_past_the_end_gets_nothing() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let before = look_up(&cached, 120 * MINUTE - TICK).await;
    probe.answer_waits().await;
    let at_the_end = look_up(&cached, 120 * MINUTE).await;
    probe.gate(false);
    probe.let_go(1);
    assert!(before.await.unwrap().unwrap().is_some());
    assert!(at_the_end.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn r13_a_look_up_that_fails_is_not_kept_and_wedges_nobody() {
    for fault in [Fault::Error, Fault::Panic] {
        let probe = Probed::new();
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        probe.gate(true);
        probe.next([fault, Fault::None]);
        let first = look_up(&cached, SECOND).await;
        probe.answer_waits().await;
        let second = look_up(&cached, SECOND).await;
        probe.let_go(2);
        let failed = match first.await {
            Ok(answer) => answer.is_err(),
            Err(error) => error.is_panic(),
        };
        assert!(failed, "a failure of the store is no answer");
        let found = second.await.unwrap().unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
        assert_eq!(probe.asked(), 2);

        probe.gate(false);
        assert!(find(&*cached, SECOND).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_look_up_that_is_dropped_wedges_nobody() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let dropped = look_up(&cached, SECOND).await;
    probe.answer_waits().await;
    let waiting = look_up(&cached, SECOND).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    probe.answer_waits().await;
    probe.let_go(1);
    let found = waiting.await.unwrap().unwrap();
    assert_eq!(found.map(|found| found.id), Some(session.id));
    assert_eq!(probe.asked(), 2);

    // The same with nobody there to take over.
    let lonely = probe.cached(MINUTE);
    let dropped = look_up(&lonely, SECOND).await;
    probe.answer_waits().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    probe.gate(false);
    assert!(find(&*lonely, SECOND).await.unwrap().is_some());
}
