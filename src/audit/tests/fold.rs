//! Folding repeated reads and refusals: rule A4.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What was counted, each by method, path or route, and status.
fn counts(events: &[AuditEvent]) -> BTreeMap<(String, Option<u16>), u64> {
    let mut counts = BTreeMap::new();
    for event in events {
        let what = event.route.as_ref().or(event.path.as_ref());
        let kind = (what.cloned().unwrap_or_default(), event.status);
        *counts.entry(kind).or_default() += event.count.unwrap_or(1);
    }
    counts
}

#[tokio::test]
async fn a4_the_first_read_is_written_at_once_and_the_rest_as_one_event() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    read(&trail, get("/orders"), 200).await;
    settle().await;
    let [first] = &sink.events()[..] else {
        panic!("{:?}", sink.events())
    };
    assert_eq!((first.count, first.time), (None, NOON));
    let first = first.clone();

    for _ in 0..3 {
        clock.advance(SECOND);
        read(&trail, get("/orders"), 200).await;
    }
    settle().await;
    assert_eq!(sink.events().len(), 1, "they wait for their window");
    trail.flush().await.unwrap();

    let [_, rest] = &sink.events()[..] else {
        panic!("{:?}", sink.events())
    };
    // The rest is like the first, but for what is its own.
    let mut expected = first.clone();
    expected.id = rest.id;
    expected.time = NOON + SECOND;
    expected.count = Some(3);
    expected.request_id = None;
    assert_eq!(*rest, expected);
    assert!(rest.id > first.id);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a4_one_read_alone_is_one_event() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    read(&trail, get("/orders"), 200).await;
    clock.advance(WINDOW * 3);
    settle().await;
    trail.flush().await.unwrap();
    assert_eq!(sink.events().len(), 1);
}

#[tokio::test]
async fn a4_a_window_is_over_when_its_time_is_and_not_before() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    read(&trail, get("/orders"), 200).await;
    settle().await;
    clock.advance(WINDOW - Duration::from_nanos(1));
    read(&trail, get("/orders"), 200).await;
    settle().await;
    assert_eq!(sink.events().len(), 1);

    // No task ran since, so it is the read that closes the window.
    clock.advance(Duration::from_nanos(1));
    read(&trail, get("/orders"), 200).await;
    settle().await;
    let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
    assert_eq!(counts, [None, Some(1), None]);
    let times: Vec<_> = sink
        .events()
        .iter()
        .map(|event| event.time - NOON)
        .collect();
    let last = time::Duration::seconds(60);
    assert_eq!(
        times,
        [
            time::Duration::ZERO,
            last - time::Duration::NANOSECOND,
            last
        ]
    );
    assert!(sink.events().is_sorted_by_key(|event| event.id));
}

#[tokio::test]
async fn a4_a_window_is_closed_in_time_without_another_read() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    read(&trail, get("/early"), 200).await;
    read(&trail, get("/early"), 200).await;
    settle().await;
    clock.advance(WINDOW / 2);
    read(&trail, get("/late"), 200).await;
    read(&trail, get("/late"), 200).await;
    settle().await;
    assert_eq!(paths(&sink.events()), ["/early", "/late"]);

    clock.advance(WINDOW / 2);
    settle().await;
    assert_eq!(paths(&sink.events()), ["/early", "/late", "/early"]);
    clock.advance(WINDOW);
    settle().await;
    assert_eq!(
        paths(&sink.events()),
        ["/early", "/late", "/early", "/late"]
    );

    // The one who closes them went away, and comes again.
    settle().await;
    read(&trail, get("/again"), 200).await;
    read(&trail, get("/again"), 200).await;
    settle().await;
    clock.advance(WINDOW);
    settle().await;
    assert_eq!(paths(&sink.events())[4..], ["/again", "/again"]);
}

#[test]
fn a4_windows_are_closed_in_time_though_their_runtime_went_away() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    runtime().block_on(async {
        read(&trail, get("/"), 200).await;
        read(&trail, get("/"), 200).await;
        settle().await;
    });
    runtime().block_on(async {
        read(&trail, get("/"), 200).await;
        settle().await;
        assert_eq!(sink.events().len(), 1);
        clock.advance(WINDOW);
        settle().await;
        let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
        assert_eq!(counts, [None, Some(2)]);
    });
}

#[tokio::test]
async fn a4_only_reads_of_one_kind_are_folded() {
    fn with(change: impl FnOnce(&mut RequestFacts)) -> RequestFacts {
        let mut facts = get("/orders");
        change(&mut facts);
        facts
    }
    let alone = |subject: &str, access, reason| {
        let acting_as = acting_alone(subject.parse().unwrap(), access, reason);
        with(|facts| facts.acting_as = acting_as)
    };
    let (ro, rw) = (Access::ReadOnly, Access::ReadWrite);
    let mut raised = session(1);
    raised.access = rw;

    struct Test {
        name: &'static str,
        reads: [(RequestFacts, u16); 2],
        folded: bool,
    }
    let test = |name, one, other, folded| Test {
        name,
        reads: [one, other],
        folded,
    };
    let tests = [
        test(
            "the same",
            (get("/orders"), 200),
            (get("/orders"), 200),
            true,
        ),
        test(
            "query",
            (get("/orders?a=1"), 200),
            (get("/orders?a=2"), 200),
            true,
        ),
        test("path", (get("/orders"), 200), (get("/items"), 200), false),
        test(
            "status",
            (get("/orders"), 200),
            (get("/orders"), 404),
            false,
        ),
        test(
            "method",
            (get("/orders"), 200),
            (request(Method::HEAD, "/orders"), 200),
            false,
        ),
        test(
            "request id",
            (get("/orders"), 200),
            (with(|facts| facts.request_id = None), 200),
            true,
        ),
        test(
            "session",
            (get("/orders"), 200),
            (with(|facts| facts.acting_as = acting_in(&session(2))), 200),
            false,
        ),
        test(
            "access of a session",
            (get("/orders"), 200),
            (with(|facts| facts.acting_as = acting_in(&raised)), 200),
            false,
        ),
        test(
            "no session",
            (alone("ines", ro, Some("why")), 200),
            (alone("ines", ro, Some("why")), 200),
            true,
        ),
        test(
            "subject",
            (alone("ines", ro, None), 200),
            (alone("~anon", ro, None), 200),
            false,
        ),
        test(
            "access",
            (alone("ines", ro, None), 200),
            (alone("ines", rw, None), 200),
            false,
        ),
        test(
            "reason",
            (alone("ines", ro, Some("why")), 200),
            (alone("ines", ro, Some("because")), 200),
            false,
        ),
        test(
            "address",
            (get("/orders"), 200),
            (
                with(|facts| facts.address = Some([192, 0, 2, 8].into())),
                200,
            ),
            false,
        ),
        test(
            "user agent",
            (get("/orders"), 200),
            (
                with(|facts| facts.user_agent = Some(HeaderValue::from_static("curl/8"))),
                200,
            ),
            false,
        ),
        test(
            "no user agent",
            (get("/orders"), 200),
            (with(|facts| facts.user_agent = None), 200),
            false,
        ),
        test(
            "long user agent that is no UTF-8",
            (
                with(|facts| facts.user_agent = HeaderValue::from_bytes(&[0xff; 300]).ok()),
                200,
            ),
            (
                with(|facts| facts.user_agent = HeaderValue::from_bytes(&[0xff; 300]).ok()),
                200,
            ),
            true,
        ),
        test(
            "route",
            (with(|facts| facts.route = Some("/{a}".into())), 200),
            (with(|facts| facts.route = Some("/{b}".into())), 200),
            false,
        ),
        test(
            "a route that is another's path",
            (get("/orders"), 200),
            (
                with(|facts| {
                    facts.uri = "/else".parse().unwrap();
                    facts.route = Some("/orders".into());
                }),
                200,
            ),
            false,
        ),
        test(
            "a long route",
            (
                with(|facts| facts.route = Some("/a".repeat(600).into())),
                200,
            ),
            (
                with(|facts| facts.route = Some("/a".repeat(600).into())),
                200,
            ),
            true,
        ),
    ];
    for Test {
        name,
        reads,
        folded,
    } in tests
    {
        let sink = MemorySink::default();
        let (trail, _) = trail(sink.clone());
        for _ in 0..2 {
            for (facts, status) in &reads {
                read(&trail, again(facts), *status).await;
            }
        }
        settle().await;
        // Those of another kind are folded among themselves.
        let (at_once, expected) = match folded {
            true => (1, vec![None, Some(3)]),
            false => (2, vec![None, None, Some(1), Some(1)]),
        };
        assert_eq!(sink.events().len(), at_once, "{name}");
        trail.flush().await.unwrap();
        let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
        assert_eq!(counts, expected, "{name}");
    }
}

#[tokio::test]
async fn a4_paths_of_one_route_are_folded_and_a_path_is_told_only_if_it_is_all_of_theirs() {
    let tests: [(&[&str], Option<&str>); 4] = [
        (&["/orders/1", "/orders/1", "/orders/1"], Some("/orders/1")),
        (&["/orders/1", "/orders/2", "/orders/2"], None),
        (&["/orders/1", "/orders/1", "/orders/2"], None),
        (&["/orders/1", "/orders/2", "/orders/1"], None),
    ];
    for (reads, path) in tests {
        let sink = MemorySink::default();
        let (trail, _) = trail(sink.clone());
        for uri in reads {
            let mut facts = get(uri);
            facts.route = Some("/orders/{id}".into());
            read(&trail, facts, 200).await;
        }
        trail.flush().await.unwrap();
        let [first, rest] = &sink.events()[..] else {
            panic!("{reads:?}: {:?}", sink.events())
        };
        assert_eq!(first.path.as_deref(), Some("/orders/1"), "{reads:?}");
        assert_eq!(rest.path.as_deref(), path, "{reads:?}");
        assert_eq!(rest.route.as_deref(), Some("/orders/{id}"), "{reads:?}");
        assert_eq!(rest.count, Some(2), "{reads:?}");
    }
}

#[tokio::test]
async fn a4_reads_that_failed_or_were_cancelled_are_not_folded() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for _ in 0..2 {
        RequestGuard::read(&trail, get("/")).await.unwrap().fail();
        drop(RequestGuard::read(&trail, get("/")).await.unwrap());
    }
    trail.flush().await.unwrap();
    let pair = [Some(Outcome::Failed), Some(Outcome::Cancelled)];
    assert_eq!(outcomes(&sink.events()), pair.repeat(2));
}

#[tokio::test]
async fn a4_the_end_of_a_session_closes_its_windows_and_no_others() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for _ in 0..2 {
        for id in [1, 2] {
            let mut facts = get(&format!("/{id}"));
            facts.acting_as = acting_in(&session(id));
            read(&trail, facts, 200).await;
        }
    }
    trail.unfold_session(session(1).id);
    trail.record(event(&trail, "/end"));
    settle().await;
    assert_eq!(paths(&sink.events()), ["/1", "/2", "/1", "/end"]);
    trail.flush().await.unwrap();
    assert_eq!(paths(&sink.events())[4..], ["/2"]);
}

#[tokio::test]
async fn a4_without_a_window_each_read_is_written() {
    let sink = MemorySink::default();
    let (trail, _) = trail_of(sink.clone(), QUEUE, Duration::ZERO);
    for _ in 0..3 {
        read(&trail, get("/"), 200).await;
    }
    settle().await;
    assert_eq!(sink.events().len(), 3);
    assert!(sink.events().iter().all(|event| event.count.is_none()));
}

#[tokio::test]
async fn a4_open_windows_leave_slots_to_requests() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for _ in 0..3 {
        for page in 0..QUEUE * 3 {
            read(&trail, get(&format!("/{page}")), 200).await;
            settle().await;
        }
    }
    let mut entering = pin!(RequestGuard::write(&trail, post("/")));
    assert!(poll(entering.as_mut()).await.is_pending());
    settle().await;
    assert!(poll(entering.as_mut()).await.is_ready());
    trail.flush().await.unwrap();
    let reads: u64 = sink
        .events()
        .iter()
        .filter(|event| event.method.as_deref() == Some("GET"))
        .map(|event| event.count.unwrap_or(1))
        .sum();
    assert_eq!(reads, QUEUE as u64 * 9);
}

/// A refusal of someone whom nobody knows.
fn refusal(trail: &Trail, subject: &str, path: &str) -> AuditEvent {
    let mut event = trail.event(EventName::Denied).unwrap();
    event.rule = Some("unauthenticated".into());
    event.reason = Some("nobody is signed in".to_owned());
    event.subject = subject.parse().ok();
    event.method = Some("GET".to_owned());
    event.path = Some(path.to_owned());
    event.status = Some(401);
    event.address = Some([192, 0, 2, 7].into());
    event.request_id = Some("4f1c".to_owned());
    event
}

#[tokio::test]
async fn a4_the_first_refusal_is_written_at_once_and_the_rest_as_one_event() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    let first = refusal(&trail, "ines", "/1");
    trail.record_refusal(first.clone());
    settle().await;
    assert_eq!(sink.events(), [first]);

    clock.advance(SECOND);
    let second = refusal(&trail, "otto", "/2");
    trail.record_refusal(second.clone());
    for _ in 0..998 {
        clock.advance(SECOND / 100);
        trail.record_refusal(refusal(&trail, "otto", "/2"));
    }
    settle().await;
    assert_eq!(sink.events().len(), 1, "they wait for their window");
    clock.advance(WINDOW);
    settle().await;

    let [_, rest] = &sink.events()[..] else {
        panic!("{:?}", sink.events())
    };
    // What they share is kept, though the first one of all was another.
    let mut expected = second.clone();
    expected.id = rest.id;
    expected.count = Some(999);
    assert_eq!(*rest, expected);
    assert!(rest.id > second.id);
    assert!(all_slots_are_free(&trail).await);
}

#[tokio::test]
async fn a3_a_folded_refusal_names_a_subject_only_if_it_is_that_of_all() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for (subject, path) in [("ines", "/"), ("ines", "/"), ("otto", "/"), ("ines", "/")] {
        trail.record_refusal(refusal(&trail, subject, path));
    }
    trail.flush().await.unwrap();
    let rest = sink.events().remove(1);
    assert_eq!((rest.count, rest.subject), (Some(3), None));
    assert_eq!(rest.path.as_deref(), Some("/"));
    assert_eq!(rest.rule.as_deref(), Some("unauthenticated"));
}

#[tokio::test]
async fn a4_only_refusals_of_one_rule_address_actor_and_session_are_folded() {
    type Change = fn(&mut AuditEvent);
    let tests: [(&str, Change, bool); 9] = [
        ("the same", |_| {}, true),
        ("subject", |e| e.subject = Some(Subject::Anonymous), true),
        ("path", |e| e.path = Some("/else".to_owned()), true),
        ("reason", |e| e.reason = Some("else".to_owned()), true),
        ("name", |e| e.name = EventName::PrivilegeViolation, false),
        ("rule", |e| e.rule = Some("not_admin".into()), false),
        ("address", |e| e.address = None, false),
        ("actor", |e| e.actor = "ada".parse().ok(), false),
        ("session", |e| e.session = Some(session(1).id), false),
    ];
    for (name, change, folded) in tests {
        let sink = MemorySink::default();
        let (trail, _) = trail(sink.clone());
        trail.record_refusal(refusal(&trail, "ines", "/"));
        let mut other = refusal(&trail, "ines", "/");
        change(&mut other);
        trail.record_refusal(other);
        settle().await;
        assert_eq!(sink.events().len() == 1, folded, "{name}");
        trail.flush().await.unwrap();
        assert_eq!(sink.events().len(), 2, "{name}");
    }
}

#[tokio::test]
async fn a4_refusals_of_the_next_window_begin_with_one_of_their_own() {
    let sink = MemorySink::default();
    let (trail, clock) = trail(sink.clone());
    for _ in 0..2 {
        for _ in 0..3 {
            trail.record_refusal(refusal(&trail, "ines", "/"));
        }
        // No task runs in between, so it is the refusal that closes the window.
        clock.advance(WINDOW);
    }
    trail.flush().await.unwrap();
    let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
    assert_eq!(counts, [None, Some(2), None, Some(2)]);
}

#[tokio::test]
async fn a4_the_end_of_a_session_closes_the_windows_of_its_refusals() {
    let sink = MemorySink::default();
    let (trail, _) = trail(sink.clone());
    for _ in 0..2 {
        let mut event = refusal(&trail, "ines", "/");
        event.session = Some(session(1).id);
        trail.record_refusal(event);
    }
    trail.unfold_session(session(1).id);
    settle().await;
    let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
    assert_eq!(counts, [None, Some(1)]);
}

#[tokio::test]
async fn a4_without_a_window_each_refusal_is_written() {
    let sink = MemorySink::default();
    let (trail, _) = trail_of(sink.clone(), QUEUE, Duration::ZERO);
    for _ in 0..3 {
        trail.record_refusal(refusal(&trail, "ines", "/"));
    }
    trail.flush().await.unwrap();
    assert_eq!(sink.events().len(), 3);
    assert!(sink.events().iter().all(|event| event.count.is_none()));
}

/// A clock that is set, forward or back.
#[derive(Clone)]
struct Wall(Arc<Mutex<OffsetDateTime>>);

#[async_trait]
impl Clock for Wall {
    fn now(&self) -> Result<OffsetDateTime, crate::clock::ClockError> {
        Ok(*self.0.lock().unwrap())
    }

    async fn sleep(&self, _: Duration) {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a4_a_clock_that_is_set_back_does_not_keep_a_window_open() {
    let sink = MemorySink::default();
    let wall = Wall(Arc::new(Mutex::new(NOON)));
    let trail = trail_with(sink.clone(), Arc::new(wall.clone()), QUEUE, WINDOW);
    read(&trail, get("/"), 200).await;
    read(&trail, get("/"), 200).await;
    // A little is nothing: threads overtake each other.
    *wall.0.lock().unwrap() = NOON - SECOND;
    read(&trail, get("/"), 200).await;
    settle().await;
    assert_eq!(sink.events().len(), 1);

    *wall.0.lock().unwrap() = NOON - SECOND * 3_600;
    read(&trail, get("/"), 200).await;
    settle().await;
    let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
    assert_eq!(counts, [None, Some(2), None]);
}

#[tokio::test]
async fn a4_windows_are_closed_when_the_clock_breaks_down() {
    /// Tells no time, but wakes.
    struct Broken(ManualClock);

    #[async_trait]
    impl Clock for Broken {
        fn now(&self) -> Result<OffsetDateTime, crate::clock::ClockError> {
            match self.0.now() {
                Ok(now) if now < NOON + WINDOW => Ok(now),
                _ => Err(crate::clock::ClockError("no battery".to_owned())),
            }
        }

        async fn sleep(&self, duration: Duration) {
            self.0.sleep(duration).await;
        }
    }

    let sink = MemorySink::default();
    let clock = ManualClock::new(NOON);
    let trail = trail_with(sink.clone(), Arc::new(Broken(clock.clone())), QUEUE, WINDOW);
    read(&trail, get("/"), 200).await;
    read(&trail, get("/"), 200).await;
    settle().await;
    clock.advance(WINDOW);
    settle().await;
    let counts: Vec<_> = sink.events().iter().map(|event| event.count).collect();
    assert_eq!(counts, [None, Some(1)]);
}

#[derive(Debug, Clone)]
enum Step {
    Read {
        path: u8,
        status: u16,
        session: u128,
    },
    Advance(u64),
    Settle,
    EndSession(u128),
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_u8, prop_oneof![Just(200), Just(404)], 1..3_u128)
            .prop_map(|(path, status, session)| Step::Read { path, status, session }),
        3 => (0..70_u64).prop_map(Step::Advance),
        2 => Just(Step::Settle),
        1 => (1..3_u128).prop_map(Step::EndSession),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a2_every_read_is_counted_once_whatever_the_windows_do(
        steps in prop::collection::vec(step(), 0..60),
        with_routes: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sink = MemorySink::default();
        // Room for the odd step without a settle; the windows get half of it.
        let (trail, clock) = trail_of(sink.clone(), 128, WINDOW);
        let mut expected = BTreeMap::new();
        runtime.block_on(async {
            for step in steps {
                match step {
                    Step::Read { path, status, session } => {
                        let path = format!("/{path}");
                        let mut facts = get(&path);
                        facts.acting_as = acting_in(&self::session(session));
                        facts.route = with_routes.then(|| path.as_str().into());
                        read(&trail, facts, status).await;
                        *expected.entry((path, Some(status))).or_default() += 1;
                    }
                    Step::Advance(seconds) => clock.advance(SECOND * seconds as u32),
                    Step::Settle => settle().await,
                    Step::EndSession(id) => trail.unfold_session(session(id).id),
                    Step::Flush => trail.flush().await.unwrap(),
                }
            }
            trail.flush().await.unwrap();
        });
        let events = sink.events();
        prop_assert_eq!(counts(&events), expected);
        prop_assert!(events.is_sorted_by_key(|event| event.id));
        for event in &events {
            prop_assert!(event.count != Some(0));
        }
    }
}
