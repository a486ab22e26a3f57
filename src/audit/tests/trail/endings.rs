//! What ends a trail: a flush, a runtime that goes away, the last handle (rules A2, A4, A5).

use super::*;

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
