//! One outcome for every acted request: rules A1 and A2.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use http::StatusCode;

use super::*;

/// How a request may end.
#[derive(Debug, Clone, Copy)]
enum End {
    Answer(u16),
    Fail,
    Panic,
    GoAway,
}

/// Ends a guarded request as a service would.
async fn end(guard: RequestGuard, end: End) {
    let task = tokio::spawn(async move {
        match end {
            End::Answer(status) => guard.complete(StatusCode::from_u16(status).unwrap()),
            End::Fail => guard.fail(),
            End::Panic => {
                let _guard = guard;
                panic!("the handler panics, as the test wants it to");
            }
            End::GoAway => {
                let _guard = guard;
                std::future::pending().await
            }
        }
    });
    match end {
        End::Answer(_) | End::Fail => task.await.unwrap(),
        End::Panic => assert!(task.await.unwrap_err().is_panic()),
        End::GoAway => {
            settle().await;
            task.abort();
            assert!(task.await.unwrap_err().is_cancelled());
        }
    }
}

#[tokio::test]
async fn a2_every_request_has_exactly_one_outcome() {
    let tests = [
        (End::Answer(200), Outcome::Completed, Some(200)),
        (End::Answer(500), Outcome::Completed, Some(500)),
        (End::Fail, Outcome::Failed, None),
        (End::Panic, Outcome::Failed, None),
        (End::GoAway, Outcome::Cancelled, None),
    ];
    for (how, outcome, status) in tests {
        let sink = MemorySink::default();
        let (trail, clock) = trail(sink.clone());
        let guard = RequestGuard::read(&trail, get("/orders?as=42")).await;
        clock.advance(Duration::from_secs(3));
        end(guard.unwrap(), how).await;
        trail.flush().await.unwrap();
        let [event] = &sink.events()[..] else {
            panic!("{how:?} read: {:?}", sink.events())
        };
        assert_eq!(event.outcome, Some(outcome), "{how:?} read");
        assert_eq!(event.status, status, "{how:?} read");
        assert_eq!(event.time, NOON + Duration::from_secs(3), "{how:?} read");
        assert_eq!(event.count, None, "{how:?} read");
        assert!(all_slots_are_free(&trail).await, "{how:?} read");

        let sink = MemorySink::default();
        let (trail, clock) = self::trail(sink.clone());
        let guard = RequestGuard::write(&trail, post("/orders?as=42")).await;
        clock.advance(Duration::from_secs(3));
        end(guard.unwrap(), how).await;
        trail.flush().await.unwrap();
        let [intent, event] = &sink.events()[..] else {
            panic!("{how:?} write: {:?}", sink.events())
        };
        assert_eq!(intent.outcome, Some(Outcome::Intent), "{how:?} write");
        assert_eq!((intent.status, intent.time), (None, NOON), "{how:?} write");
        assert_eq!(event.outcome, Some(outcome), "{how:?} write");
        assert_eq!(event.status, status, "{how:?} write");
        assert_eq!(event.time, NOON + Duration::from_secs(3), "{how:?} write");
        assert_eq!(intent.id, event.id, "{how:?} write");
        assert_ne!(intent.key(), event.key(), "{how:?} write");
        assert!(all_slots_are_free(&trail).await, "{how:?} write");
    }
}

#[tokio::test]
async fn a2_writes_are_never_folded() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for _ in 0..3 {
        let guard = RequestGuard::write(&trail, post("/")).await.unwrap();
        guard.complete(StatusCode::OK);
    }
    trail.flush().await.unwrap();
    let pair = [Some(Outcome::Intent), Some(Outcome::Completed)];
    assert_eq!(outcomes(&sink.events()), pair.repeat(3));
}

#[tokio::test]
async fn a1_a_write_reaches_its_handler_only_after_its_intent_is_durable() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    let mut entering = pin!(RequestGuard::write(&trail, post("/")));
    assert!(poll(entering.as_mut()).await.is_pending());
    sink.called(1).await;
    settle().await;
    assert!(poll(entering.as_mut()).await.is_pending());
    sink.open(1);
    let guard = entering.await.unwrap();
    assert_eq!(outcomes(&sink.kept()), [Some(Outcome::Intent)]);
    sink.go_on_with(Act::Take);
    guard.complete(StatusCode::OK);
}

#[tokio::test]
async fn a1_a_read_does_not_wait_for_the_sink() {
    let sink = Scripted::always(Act::Hang);
    let (trail, _) = trail(sink.clone());
    for _ in 0..5 {
        let mut entering = pin!(RequestGuard::read(&trail, get("/")));
        let Poll::Ready(guard) = poll(entering.as_mut()).await else {
            panic!("a read waits")
        };
        guard.unwrap().complete(StatusCode::OK);
        settle().await;
    }
}

#[tokio::test]
async fn a2_a_refused_intent_gets_its_outcome() {
    let tests = [
        (Act::Hang, TrailError::TimedOut),
        (Act::Fail, TrailError::Failing),
        (Act::Panic, TrailError::Failing),
    ];
    for (act, expected) in tests {
        let sink = Scripted::always(act);
        let (trail, clock) = trail(sink.clone());
        let entering = RequestGuard::write(&trail, post("/"));
        let refused = while_time_passes(&clock, entering).await;
        assert_eq!(refused.err(), Some(expected), "{act:?}");

        sink.go_on_with(Act::Take);
        let calls = sink.calls().len();
        while_time_passes(&clock, sink.called(calls + 1)).await;
        trail.flush().await.unwrap();
        let [intent, outcome] = &sink.kept()[..] else {
            panic!("{act:?}: {:?}", sink.kept())
        };
        assert_eq!(intent.outcome, Some(Outcome::Intent), "{act:?}");
        assert_eq!(outcome.outcome, Some(Outcome::Refused), "{act:?}");
        assert_eq!(outcome.id, intent.id, "{act:?}");
        assert!(all_slots_are_free(&trail).await, "{act:?}");
    }
}

#[tokio::test]
async fn a2_a_client_that_goes_away_while_the_intent_is_written_is_recorded() {
    let sink = Scripted::new([Act::Wait], Act::Take);
    let (trail, _) = trail(sink.clone());
    {
        let mut entering = pin!(RequestGuard::write(&trail, post("/")));
        assert!(poll(entering.as_mut()).await.is_pending());
        sink.called(1).await;
    }
    sink.open(1);
    trail.flush().await.unwrap();
    let [intent, outcome] = &sink.kept()[..] else {
        panic!("{:?}", sink.kept())
    };
    assert_eq!(intent.outcome, Some(Outcome::Intent));
    assert_eq!(outcome.outcome, Some(Outcome::Cancelled));
    assert_eq!(outcome.id, intent.id);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a2_a_request_that_gets_no_slot_leaves_nothing() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    let taken = trail.slots::<{ QUEUE - 1 }>().await.unwrap();
    // An intent needs two: without room for its outcome it is not written at all.
    let entering = RequestGuard::write(&trail, post("/"));
    let refused = while_time_passes(&clock, entering).await;
    assert_eq!(refused.err(), Some(TrailError::TimedOut));
    drop(taken);
    trail.flush().await.unwrap();
    assert!(sink.events().is_empty());
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a2_a_clock_that_breaks_down_does_not_cost_an_outcome() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    let guard = RequestGuard::write(&trail, post("/")).await.unwrap();
    clock.break_down("no battery");
    guard.complete(StatusCode::OK);
    trail.flush().await.unwrap();
    let expected = [Some(Outcome::Intent), Some(Outcome::Completed)];
    assert_eq!(outcomes(&sink.events()), expected);
    assert_eq!(sink.events()[1].time, NOON);
}

#[tokio::test]
async fn a6_an_outcome_says_who_as_whom_why_and_what() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let mut facts = post("/orders/7?as=ines&token=secret");
    facts.route = Some("/orders/{id}".into());
    let guard = RequestGuard::write(&trail, facts).await.unwrap();
    guard.complete(StatusCode::CREATED);
    trail.flush().await.unwrap();
    let mut json = serde_json::to_value(&sink.events()[1]).unwrap();
    json["id"] = "".into();
    let expected = serde_json::json!({
        "id": "",
        "time": "2026-11-20T12:00:00Z",
        "name": "impersonation.request",
        "actor": "ada",
        "subject": "ines",
        "session": "00000000-0000-0000-0000-000000000001",
        "reason": "ticket 4711",
        "access": "read_only",
        "method": "POST",
        "path": "/orders/7",
        "route": "/orders/{id}",
        "status": 201,
        "outcome": "completed",
        "address": "192.0.2.7",
        "user_agent": "Mozilla/5.0",
        "request_id": "4f1c",
    });
    assert_eq!(json, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_requests_that_are_aborted_at_any_moment_have_one_outcome_each() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let mut tasks = Vec::new();
    let any_ran = Arc::new(AtomicBool::new(false));
    for request in 0..300 {
        let (trail, any_ran) = (trail.clone(), any_ran.clone());
        tasks.push(tokio::spawn(async move {
            let Ok(guard) = RequestGuard::write(&trail, post("/")).await else {
                return;
            };
            any_ran.store(true, SeqCst);
            for _ in 0..request % 7 {
                tokio::task::yield_now().await;
            }
            guard.complete(StatusCode::OK);
        }));
        if request % 3 == 0 {
            tokio::task::yield_now().await;
        }
        if request % 2 == 0 {
            tasks[request / 2].abort();
        }
    }
    for task in tasks {
        let _ = task.await;
    }
    trail.flush().await.unwrap();
    assert!(any_ran.load(SeqCst));

    let events = sink.events();
    let (intents, outcomes): (Vec<_>, Vec<_>) = events.iter().partition(|event| event.key().1);
    let ids = |events: &[&AuditEvent]| {
        let mut ids: Vec<_> = events.iter().map(|event| event.id).collect();
        ids.sort();
        ids
    };
    assert_eq!(ids(&intents), ids(&outcomes));
    let mut unique = ids(&intents);
    unique.dedup();
    assert_eq!(unique.len(), intents.len());
    assert!(all_slots_are_free(&trail).await);
}
