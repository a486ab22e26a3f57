//! The queue and its writer: rules A1, A4, A5.

mod endings;
mod refusals;

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
