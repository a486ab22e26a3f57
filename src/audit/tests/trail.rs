//! The queue and its writer: rules A1, A4, A5.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use super::*;
use crate::clock::SystemClock;

/// The most refusals in one write.
const REFUSALS_PER_WRITE: usize = 50;

fn one_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn refusal(trail: &Trail, rule: &'static str) -> AuditEvent {
    let mut event = trail.event(EventName::Denied).unwrap();
    event.rule = Some(rule.into());
    event
}

/// The same from another address.
fn refusal_from(trail: &Trail, rule: &'static str, caller: u32) -> AuditEvent {
    let mut event = refusal(trail, rule);
    event.address = Some(std::net::Ipv4Addr::from(caller).into());
    event
}

/// A hundred refusals, more than there is room for.
fn fill_refusals(trail: &Trail) {
    for caller in 0..100 {
        trail.record_refusal(refusal_from(trail, "flood", caller));
    }
}

/// How many refusals the events stand for.
fn refusals(events: &[AuditEvent], rule: &str) -> u64 {
    events
        .iter()
        .filter(|event| event.name == EventName::Denied && event.rule.as_deref() == Some(rule))
        .map(|event| event.count.unwrap_or(1))
        .sum()
}

/// A sink that panics before there is a future.
struct PanicsAtOnce;

impl AuditSink for PanicsAtOnce {
    fn write<'a, 'b, 'c>(
        &'a self,
        _: &'b [AuditEvent],
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'c>>
    where
        'a: 'c,
        'b: 'c,
        Self: 'c,
    {
        panic!("the sink panics, as the test wants it to")
    }
}

#[tokio::test]
async fn a1_a_durable_event_waits_for_the_sink() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    let mut durable = pin!(trail.record_durable(event(&trail, "/1")));
    assert!(poll(durable.as_mut()).await.is_pending());
    sink.called(1).await;
    settle().await;
    assert!(poll(durable.as_mut()).await.is_pending());
    assert!(sink.kept().is_empty());

    sink.open(1);
    assert_eq!(durable.await, Ok(()));
    assert_eq!(paths(&sink.kept()), ["/1"]);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a1_a_hanging_sink_refuses_when_the_time_is_up_and_not_before() {
    let sink = Scripted::always(Act::Hang);
    let (trail, clock) = trail(sink.clone());
    let mut durable = pin!(trail.record_durable(event(&trail, "/1")));
    assert!(poll(durable.as_mut()).await.is_pending());
    sink.called(1).await;

    clock.advance(TIMEOUT - Duration::from_millis(1));
    settle().await;
    assert!(poll(durable.as_mut()).await.is_pending());

    clock.advance(Duration::from_millis(1));
    assert_eq!(durable.await, Err(TrailError::TimedOut));
}

#[tokio::test]
async fn a1_a_sink_that_fails_for_ever_refuses() {
    let tests = [Act::Fail, Act::Panic];
    for act in tests {
        let sink = Scripted::always(act);
        let (trail, clock) = trail(sink.clone());
        let durable = trail.record_durable(event(&trail, "/1"));
        let result = while_time_passes(&clock, durable).await;
        assert_eq!(result, Err(TrailError::Failing), "{act:?}");
        assert!(sink.kept().is_empty());
    }
}

#[tokio::test]
async fn a1_a_sink_that_panics_before_there_is_a_future_refuses_and_is_tried_again() {
    let (trail, clock) = trail(PanicsAtOnce);
    let result = while_time_passes(&clock, trail.record_durable(event(&trail, "/1"))).await;
    assert_eq!(result, Err(TrailError::Failing));
    // The one writer is still there.
    let result = while_time_passes(&clock, trail.record_durable(event(&trail, "/2"))).await;
    assert_eq!(result, Err(TrailError::Failing));
}

#[tokio::test]
async fn a5_the_same_events_come_again_in_order_and_new_ones_behind_them() {
    struct Test {
        acts: &'static [Act],
        durable: Result<(), TrailError>,
    }
    let tests = [
        Test {
            acts: &[],
            durable: Ok(()),
        },
        Test {
            acts: &[Act::Fail],
            durable: Ok(()),
        },
        Test {
            acts: &[Act::Fail, Act::Panic],
            durable: Ok(()),
        },
        Test {
            acts: &[Act::Fail, Act::Fail, Act::Fail],
            durable: Err(TrailError::Failing),
        },
        Test {
            acts: &[Act::Panic, Act::Panic, Act::Panic, Act::Fail, Act::Fail],
            durable: Err(TrailError::Failing),
        },
        Test {
            acts: &[Act::Hang],
            durable: Err(TrailError::TimedOut),
        },
        Test {
            acts: &[Act::Hang, Act::Fail, Act::Hang, Act::Panic],
            durable: Err(TrailError::TimedOut),
        },
    ];
    for Test { acts, durable } in tests {
        let sink = Scripted::new(acts.iter().copied(), Act::Take);
        let (trail, clock) = trail(sink.clone());
        trail.record(event(&trail, "/1"));
        let waiting = trail.record_durable(event(&trail, "/2"));
        let result = while_time_passes(&clock, waiting).await;
        assert_eq!(result, durable, "{acts:?}");
        trail.record(event(&trail, "/3"));
        let flushed = while_time_passes(&clock, async {
            // It says that the sink fails for as long as it does.
            while trail.flush().await.is_err() {
                tokio::task::yield_now().await;
            }
        });
        flushed.await;

        assert_eq!(paths(&sink.kept()), ["/1", "/2", "/3"], "{acts:?}");
        let calls = sink.calls();
        for pair in calls[..=acts.len()].windows(2) {
            let (before, after) = (paths(&pair[0]), paths(&pair[1]));
            assert!(after.starts_with(&before), "{acts:?}: {before:?} {after:?}");
        }
        assert!(all_slots_are_free(&trail).await, "{acts:?}");
    }
}

#[tokio::test]
async fn a5_events_that_come_while_a_batch_is_retried_join_it_up_to_its_limit() {
    let sink = Scripted::new([Act::Fail], Act::Take);
    let (trail, clock) = trail(sink.clone());
    trail.record(event(&trail, "/first"));
    sink.called(1).await;
    for _ in 0..2_500 {
        trail.record(event(&trail, "/more"));
    }
    while_time_passes(&clock, trail.flush()).await.unwrap();
    let sizes: Vec<_> = sink.calls().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 1_000, 1_000, 501]);
    assert_eq!(sink.kept().len(), 2_501);
    assert_eq!(sink.kept()[0].path.as_deref(), Some("/first"));
}

#[tokio::test]
async fn a5_concurrent_durable_events_share_a_write_and_wait_for_their_own() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail_of(sink.clone(), 1_000, WINDOW);
    let mut tasks = tokio::task::JoinSet::new();
    let done = Arc::new(AtomicUsize::new(0));
    let start = |tasks: &mut tokio::task::JoinSet<()>| {
        let (trail, done) = (trail.clone(), done.clone());
        tasks.spawn(async move {
            trail.record_durable(event(&trail, "/")).await.unwrap();
            done.fetch_add(1, SeqCst);
        });
    };
    start(&mut tasks);
    sink.called(1).await;
    for _ in 1..200 {
        start(&mut tasks);
    }
    settle().await;
    assert_eq!(done.load(SeqCst), 0);

    sink.open(1);
    sink.called(2).await;
    settle().await;
    // The first write had one event; the second, which has the others, is under way.
    assert_eq!(done.load(SeqCst), 1);
    assert_eq!(sink.kept().len(), 1);

    sink.open(1);
    tasks.join_all().await;
    assert_eq!(done.load(SeqCst), 200);
    assert_eq!(sink.kept().len(), 200);
    assert_eq!(sink.calls().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a5_writes_never_overlap_and_each_is_durable_before_it_is_acknowledged() {
    let kept = Arc::new(Mutex::new(std::collections::HashSet::new()));
    let writing = AtomicBool::new(false);
    let sink = {
        let kept = kept.clone();
        sink_fn(move |events| {
            assert!(!writing.swap(true, SeqCst), "two writes at once");
            for event in events {
                assert!(kept.lock().unwrap().insert(event.id), "written twice");
            }
            writing.store(false, SeqCst);
            Ok(())
        })
    };
    let (trail, _) = trail(sink);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (trail, kept) = (trail.clone(), kept.clone());
        tasks.spawn(async move {
            for _ in 0..200 {
                let event = event(&trail, "/");
                let id = event.id;
                trail.record_durable(event).await.unwrap();
                assert!(kept.lock().unwrap().contains(&id));
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(kept.lock().unwrap().len(), 1_600);
}

#[tokio::test]
async fn a1_a_waiter_that_goes_away_takes_nothing_with_it() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    {
        let mut durable = pin!(trail.record_durable(event(&trail, "/1")));
        assert!(poll(durable.as_mut()).await.is_pending());
        sink.called(1).await;
    }
    sink.open(1);
    trail.flush().await.unwrap();
    assert_eq!(paths(&sink.kept()), ["/1"]);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a4_waiting_for_a_slot_and_going_away_leaves_the_slots_as_they_were() {
    let (trail, _) = trail(MemorySink::default());
    let taken = trail.slots::<QUEUE>().await.unwrap();
    {
        let mut waiting = pin!(trail.slots::<2>());
        assert!(poll(waiting.as_mut()).await.is_pending());
    }
    drop(taken);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a4_a_full_queue_slows_acted_requests_then_refuses_them() {
    let (trail, clock) = trail_of(MemorySink::default(), 16, WINDOW);
    let mut under_way = Vec::new();
    for _ in 0..16 {
        under_way.push(RequestGuard::read(&trail, get("/")).await.unwrap());
    }
    let mut slow = pin!(RequestGuard::read(&trail, get("/")));
    assert!(poll(slow.as_mut()).await.is_pending());
    drop(under_way.pop());
    settle().await;
    under_way.push(slow.await.unwrap());

    let mut refused = pin!(RequestGuard::read(&trail, get("/")));
    assert!(poll(refused.as_mut()).await.is_pending());
    clock.advance(TIMEOUT);
    assert_eq!(refused.await.err(), Some(TrailError::TimedOut));
}

#[tokio::test]
async fn s5_what_must_not_get_lost_is_recorded_into_a_full_queue() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let _taken = trail.slots::<QUEUE>().await.unwrap();
    trail.record(event(&trail, "/end"));
    trail.flush().await.unwrap();
    assert_eq!(paths(&sink.events()), ["/end"]);
}

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

#[tokio::test]
async fn a5_flush_reports_a_failing_sink_and_later_that_all_is_well() {
    let sink = Scripted::always(Act::Fail);
    let (trail, clock) = trail(sink.clone());
    trail.record(event(&trail, "/1"));
    let flushed = while_time_passes(&clock, trail.flush()).await;
    assert_eq!(flushed, Err(TrailError::Failing));
    // It does not wait for what will not come.
    assert_eq!(trail.flush().await, Err(TrailError::Failing));

    sink.go_on_with(Act::Take);
    while_time_passes(&clock, sink.called(sink.calls().len() + 1)).await;
    trail.flush().await.unwrap();
    assert_eq!(paths(&sink.kept()), ["/1"]);
}

#[tokio::test]
async fn a5_several_flushes_wait_for_the_same_write() {
    let sink = Scripted::always(Act::Wait);
    let (trail, _) = trail(sink.clone());
    trail.record(event(&trail, "/1"));
    let (mut one, mut two) = (pin!(trail.flush()), pin!(trail.flush()));
    assert!(poll(one.as_mut()).await.is_pending());
    assert!(poll(two.as_mut()).await.is_pending());
    sink.open(1);
    assert_eq!(tokio::join!(one, two), (Ok(()), Ok(())));
    assert_eq!(sink.kept().len(), 1);
}

/// A sink that has one more event recorded on each write, up to a limit.
fn busy(limit: usize) -> (Trail, Arc<AtomicUsize>) {
    let writes = Arc::new(AtomicUsize::new(0));
    let handle = Arc::new(OnceLock::<Trail>::new());
    let sink = {
        let (writes, handle) = (writes.clone(), handle.clone());
        sink_fn(move |_| {
            if writes.fetch_add(1, SeqCst) < limit {
                let trail = handle.get().expect("it is set before the first write");
                trail.record(event(trail, "/more"));
            }
            Ok(())
        })
    };
    let (trail, _) = trail(sink);
    handle.set(trail.clone()).unwrap();
    (trail, writes)
}

#[tokio::test]
async fn a5_flush_comes_to_an_end_on_a_busy_server() {
    let (trail, writes) = busy(500);
    trail.record(event(&trail, "/1"));
    trail.flush().await.unwrap();
    assert!(writes.load(SeqCst) < 10, "{writes:?}");
}

#[tokio::test]
async fn a4_a_busy_writer_leaves_the_thread_to_others() {
    let (trail, writes) = busy(500);
    trail.record(event(&trail, "/1"));
    // Runs behind the writer's task.
    let other = tokio::spawn({
        let writes = writes.clone();
        async move { writes.load(SeqCst) }
    });
    assert!(other.await.unwrap() < 10);
}

#[test]
fn a5_events_recorded_without_a_runtime_are_written_by_the_next_flush() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    trail.record(event(&trail, "/1"));
    assert!(sink.events().is_empty());
    one_thread().block_on(trail.flush()).unwrap();
    assert_eq!(paths(&sink.events()), ["/1"]);
}

#[test]
fn a5_a_runtime_that_goes_away_before_the_writer_ran_loses_nothing() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let first = one_thread();
    first.block_on(async { trail.record(event(&trail, "/1")) });
    drop(first);
    assert!(sink.events().is_empty());

    one_thread().block_on(async {
        assert!(while_ready(trail.flush()).await, "nobody writes any more");
    });
    assert_eq!(paths(&sink.events()), ["/1"]);
}

#[test]
fn a5_a_runtime_that_goes_away_in_the_middle_of_a_write_loses_nothing() {
    let sink = Scripted::new([Act::Hang], Act::Take);
    let (trail, _) = trail(sink.clone());
    let first = one_thread();
    first.block_on(async {
        trail.record(event(&trail, "/1"));
        trail.record(event(&trail, "/2"));
        sink.called(1).await;
        trail.record(event(&trail, "/3"));
    });
    drop(first);
    one_thread().block_on(async {
        trail.record(event(&trail, "/4"));
        assert!(while_ready(trail.flush()).await, "nobody writes any more");
        assert!(all_slots_are_free(&trail).await);
    });
    assert_eq!(paths(&sink.kept()), ["/1", "/2", "/3", "/4"]);
}

#[test]
fn a5_a_runtime_that_goes_away_while_the_sink_fails_takes_the_failure_with_it() {
    let sink = Scripted::always(Act::Fail);
    let (trail, clock) = trail(sink.clone());
    let first = one_thread();
    first.block_on(async {
        trail.record(event(&trail, "/1"));
        let flushed = while_time_passes(&clock, trail.flush()).await;
        assert_eq!(flushed, Err(TrailError::Failing));
    });
    drop(first);
    sink.go_on_with(Act::Take);
    assert_eq!(one_thread().block_on(trail.flush()), Ok(()));
    assert_eq!(paths(&sink.kept()), ["/1"]);
}

#[test]
fn a2_requests_that_end_with_their_runtime_are_recorded() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    let first = one_thread();
    first.block_on(async {
        let guard = RequestGuard::read(&trail, get("/")).await.unwrap();
        tokio::spawn(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        settle().await;
    });
    // The request's task is dropped, and the writer that this would start as well.
    drop(first);
    one_thread().block_on(async {
        assert!(while_ready(trail.flush()).await, "nobody writes any more");
    });
    assert_eq!(outcomes(&sink.events()), [Some(Outcome::Cancelled)]);
}

/// Whether this ends by itself, without any time passing.
async fn while_ready(work: impl Future<Output = Result<(), TrailError>>) -> bool {
    let mut work = pin!(work);
    for _ in 0..1_000 {
        if let Poll::Ready(done) = poll(work.as_mut()).await {
            return done.is_ok();
        }
        tokio::task::yield_now().await;
    }
    false
}

#[test]
fn a4_a_trail_that_is_dropped_with_events_in_it_says_so_and_is_gone() {
    struct Test {
        name: &'static str,
        leave: fn(&Trail),
        lost: Option<&'static str>,
    }
    let tests = [
        Test {
            name: "nothing",
            leave: |_| {},
            lost: None,
        },
        Test {
            name: "a queued event with a slot",
            leave: |trail| {
                let slots = one_thread().block_on(trail.slots::<1>());
                let [slot] = slots.unwrap();
                trail.queue(event(trail, "/1"), slot);
            },
            lost: Some("lost=1"),
        },
        Test {
            name: "an event without a slot",
            leave: |trail| {
                let slots = one_thread().block_on(trail.slots::<QUEUE>());
                trail.record(event(trail, "/1"));
                drop(slots);
            },
            lost: Some("lost=1"),
        },
        Test {
            name: "a folded refusal",
            leave: |trail| {
                one_thread().block_on(async {
                    trail.record_refusal(refusal(trail, "self"));
                    settle().await;
                    trail.record_refusal(refusal(trail, "self"));
                });
            },
            lost: Some("lost=1"),
        },
        Test {
            name: "a folded read",
            leave: |trail| {
                one_thread().block_on(async {
                    read(trail, get("/"), 200).await;
                    read(trail, get("/"), 200).await;
                    settle().await;
                });
            },
            lost: Some("lost=1"),
        },
    ];
    for Test { name, leave, lost } in tests {
        let sink = Arc::new(MemorySink::default());
        let log = logged(|| {
            let (trail, _) = trail(sink.clone());
            leave(&trail);
        });
        assert_eq!(Arc::strong_count(&sink), 1, "{name}: the trail lives on");
        match lost {
            Some(lost) => assert!(log.contains(lost), "{name}: {log}"),
            None => assert_eq!(log, "", "{name}"),
        }
    }
}

#[tokio::test]
async fn a6_the_trail_can_be_debug_printed() {
    let (trail, _) = trail(MemorySink::default());
    trail.record(event(&trail, "/1"));
    assert_eq!(format!("{trail:?}"), "Trail { pending: 1, .. }");
}
