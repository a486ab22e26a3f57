//! The lane of refusals: rule A4.

use super::*;

#[tokio::test]
async fn a4_refusals_have_slots_of_their_own_and_are_counted_beyond() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    for caller in 0..1_000 {
        trail.record_refusal(refusal_from(&trail, "not_admin", caller));
    }
    trail.record_refusal(refusal(&trail, "self"));
    assert!(
        all_slots_are_free(&trail).await,
        "anyone can fill the queue with refusals"
    );

    sink.go_on_with(Act::Take);
    sink.open(1);
    trail.flush().await.unwrap();
    let kept = sink.kept();
    assert_eq!(refusals(&kept, "not_admin"), 1_000);
    assert_eq!(refusals(&kept, "self"), 1);
    assert!(kept.len() <= QUEUE, "{}", kept.len());
}

#[tokio::test]
async fn a4_callers_whom_nobody_knows_leave_room_for_the_refusals_of_those_who_are_signed_in() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    for caller in 0..1_000 {
        trail.record_refusal(refusal_from(&trail, "unauthenticated", caller));
    }
    let mut known = refusal(&trail, "read_only");
    known.actor = "ada".parse().ok();
    trail.record_refusal(known.clone());
    sink.go_on_with(Act::Take);
    sink.open(1);
    trail.flush().await.unwrap();
    assert!(sink.kept().contains(&known), "it is a mere count");
}

#[tokio::test]
async fn a4_an_intent_waits_behind_no_more_refusals_than_one_write_holds() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail_of(sink.clone(), 4_000, WINDOW);
    trail.record_refusal(refusal_from(&trail, "unauthenticated", 0));
    sink.called(1).await;
    for caller in 1..10_000 {
        trail.record_refusal(refusal_from(&trail, "unauthenticated", caller));
    }
    let mut entering = pin!(RequestGuard::write(&trail, post("/orders")));
    assert!(poll(entering.as_mut()).await.is_pending());
    sink.open(1);
    sink.called(2).await;
    let second = sink.calls().remove(1);
    assert!(
        outcomes(&second).contains(&Some(Outcome::Intent)),
        "{second:?}"
    );
    assert_eq!(second.len(), REFUSALS_PER_WRITE + 1);

    sink.go_on_with(Act::Take);
    sink.open(1);
    entering.await.unwrap().complete(http::StatusCode::OK);
    trail.flush().await.unwrap();
    assert_eq!(refusals(&sink.kept(), "unauthenticated"), 10_000);
}

#[tokio::test]
async fn a4_a_batch_that_is_tried_again_and_again_does_not_fill_up_with_refusals() {
    let sink = Scripted::new([Act::Fail; 30], Act::Take);
    let (trail, clock) = trail_of(sink.clone(), 4_000, WINDOW);
    for caller in 0..2_000 {
        trail.record_refusal(refusal_from(&trail, "unauthenticated", caller));
    }
    while_time_passes(&clock, sink.called(20)).await;
    trail.record(event(&trail, "/end"));
    while_time_passes(&clock, sink.called(31)).await;
    let last = sink.calls().remove(30);
    assert_eq!(last.len(), REFUSALS_PER_WRITE + 1);
    assert_eq!(last[REFUSALS_PER_WRITE].path.as_deref(), Some("/end"));
}

#[tokio::test]
async fn a4_acted_requests_do_not_keep_refusals_out_of_the_trail() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    trail.record(event(&trail, "/first"));
    sink.called(1).await;
    for _ in 0..5_000 {
        trail.record(event(&trail, "/more"));
    }
    trail.record_refusal(refusal(&trail, "self"));
    sink.open(1);
    sink.called(2).await;
    assert_eq!(refusals(&sink.calls()[1], "self"), 1);
}

#[tokio::test]
async fn a5_within_a_write_events_stand_in_the_order_in_which_they_were_recorded() {
    let sink = Scripted::new([Act::Wait], Act::Take);
    let (trail, _) = trail(sink.clone());
    trail.record(event(&trail, "/first"));
    sink.called(1).await;
    for number in 0..10 {
        let mut refused = refusal_from(&trail, "self", number);
        refused.path = Some(format!("/{number}/refused"));
        trail.record(event(&trail, &format!("/{number}/acted")));
        trail.record_refusal(refused);
    }
    sink.open(1);
    trail.flush().await.unwrap();
    let expected: Vec<_> = (0..10)
        .flat_map(|number| [format!("/{number}/acted"), format!("/{number}/refused")])
        .collect();
    assert_eq!(paths(&sink.calls()[1]), expected);
}

/// A sink that takes 20 ms for each write, and 20 µs for each event.
struct Slow(MemorySink);

#[async_trait]
impl AuditSink for Slow {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let events_take = Duration::from_micros(20) * events.len() as u32;
        SystemClock.sleep(SLOW_WRITE + events_take).await;
        self.0.write(events).await
    }
}

const SLOW_WRITE: Duration = Duration::from_millis(20);

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "tokio's paused time is the time of this test"
)]
async fn a4_a_flood_of_refusals_refuses_no_acted_write_and_delays_none_by_much() {
    let sink = MemorySink::default();
    let trail = trail_with(Slow(sink.clone()), Arc::new(SystemClock), 10_000, WINDOW);
    // Four connections, each request from another address.
    let flood = |connection: u32| {
        let trail = trail.clone();
        async move {
            let mut sent = 0;
            for round in 0..1_000 {
                for number in 0..20 {
                    let caller = connection << 24 | round << 8 | number;
                    trail.record_refusal(refusal_from(&trail, "unauthenticated", caller));
                    sent += 1;
                }
                SystemClock.sleep(Duration::from_millis(1)).await;
            }
            sent
        }
    };
    let mut tasks = tokio::task::JoinSet::new();
    (0..4).for_each(|connection| drop(tasks.spawn(flood(connection))));
    let mut slowest = Duration::ZERO;
    for _ in 0..15 {
        let began = tokio::time::Instant::now();
        let guard = RequestGuard::write(&trail, post("/orders")).await;
        slowest = slowest.max(began.elapsed());
        guard.unwrap().complete(http::StatusCode::OK);
    }
    assert!(slowest < SLOW_WRITE * 5 / 2, "an intent waited {slowest:?}");

    let sent: u64 = tasks.join_all().await.into_iter().sum();
    trail.flush().await.unwrap();
    let kept = sink.events();
    assert_eq!(refusals(&kept, "unauthenticated"), sent);
    let acted: Vec<_> = kept
        .into_iter()
        .filter(|event| event.outcome.is_some())
        .collect();
    let pair = [Some(Outcome::Intent), Some(Outcome::Completed)];
    assert_eq!(outcomes(&acted), pair.repeat(15));
}

#[tokio::test]
async fn a4_counted_refusals_are_written_though_nothing_else_is() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    fill_refusals(&trail);
    settle().await;
    let before = sink.events().len();
    assert!(before < 100, "{before}");
    assert_eq!(refusals(&sink.events(), "flood"), 100);
    for event in &sink.events()[..before - 1] {
        assert_eq!(event.count, None);
    }
    let counted = &sink.events()[before - 1];
    assert_eq!(counted.address, None);
    assert_eq!(counted.time, NOON);
}

#[test]
fn a4_flush_writes_counted_refusals_too() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    // Outside of a runtime there is nobody to write.
    fill_refusals(&trail);
    assert!(sink.events().is_empty());
    one_thread().block_on(trail.flush()).unwrap();
    assert_eq!(refusals(&sink.events(), "flood"), 100);
}

#[tokio::test]
async fn a7_a_counted_refusal_keeps_its_name() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    fill_refusals(&trail);
    let mut violation = refusal(&trail, "not_admin");
    violation.name = EventName::PrivilegeViolation;
    trail.record_refusal(violation);
    trail.flush().await.unwrap();
    let events = sink.events();
    let violation = events
        .iter()
        .find(|e| e.rule.as_deref() == Some("not_admin"));
    assert_eq!(violation.unwrap().name, EventName::PrivilegeViolation);
    assert_eq!(violation.unwrap().count, Some(1));
}

#[tokio::test]
async fn r13_flush_says_so_when_counted_refusals_cannot_be_dated() {
    let (trail, clock) = trail(MemorySink::default());
    let event = refusal(&trail, "not_admin");
    fill_refusals(&trail);
    clock.break_down("no battery");
    trail.record_refusal(event);
    assert_eq!(trail.flush().await, Err(TrailError::NoTime));
}

#[test]
fn a4_the_log_tells_of_the_first_refusal_that_is_only_counted_and_not_of_each() {
    let log = logged(|| {
        let (trail, _) = trail(MemorySink::default());
        fill_refusals(&trail);
        one_thread().block_on(trail.flush()).unwrap();
    });
    assert_eq!(log.matches("only be counted").count(), 1, "{log}");
}
