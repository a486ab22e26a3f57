//! Time per request beside the bare service, and look-ups on two threads beside one.
//!
//! Criterion gives each case's distribution. The two tables after it come from runs that take turns, so that
//! whatever else the machine does meets all of them alike: read the ratios there, not the nanoseconds.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod common;

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use common::{Answer, Request, request};
use criterion::{BatchSize, Criterion};
use time::OffsetDateTime;
use tower_impersonation::{
    Subject, UserId,
    session::{Cached, Limits, MemorySessions, Session, SessionId, SessionStore},
};
use uuid::Uuid;

struct Case {
    name: &'static str,
    answer: Answer,
    path: &'static str,
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("request");
    for Case {
        name,
        mut answer,
        path,
    } in cases()
    {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| request(path), &mut answer, BatchSize::SmallInput);
        });
    }
    group.finish();
    criterion.final_summary();
    // `cargo test --benches` only wants to know that everything runs.
    if !std::env::args().any(|argument| argument == "--test") {
        ratios();
        two_threads();
    }
}

fn cases() -> Vec<Case> {
    let case = |name, answer, path| Case { name, answer, path };
    vec![
        case("bare service", common::bare(), common::PLAIN),
        case("tower-http csrf", common::csrf(), common::PLAIN),
        case("unmarked, no query", common::in_memory(), common::PLAIN),
        case(
            "unmarked, 62-byte query",
            common::in_memory(),
            common::QUERY,
        ),
        case("acted read, memory", common::in_memory(), common::MARKED),
        case("acted read, cached", common::in_cache(), common::MARKED),
    ]
}

fn ratios() {
    const ROUNDS: usize = 201;
    const REQUESTS: usize = 1_000;

    let mut cases = cases();
    let mut times = vec![Vec::with_capacity(ROUNDS); cases.len()];
    for _ in 0..ROUNDS {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let requests: Vec<Request> = (0..REQUESTS).map(|_| request(case.path)).collect();
            let begin = Instant::now();
            requests.into_iter().for_each(&mut case.answer);
            times.push(begin.elapsed() / u32::try_from(REQUESTS).unwrap_or(u32::MAX));
        }
    }
    let medians: Vec<Duration> = times.into_iter().map(median).collect();
    println!("\nTime per request, taken in turns\n");
    for (case, time) in cases.iter().zip(&medians) {
        let ratio = time.as_secs_f64() / medians[0].as_secs_f64();
        println!("{:24} {time:>10.0?}   {ratio:5.2} x bare", case.name);
    }
}

/// How much more two threads look up than one.
fn two_threads() {
    const ROUNDS: usize = 200;

    let (memory, pairs) = filled();
    let (behind, _) = filled();
    let cached = Cached::new(behind, Duration::from_secs(3_600));
    let now = OffsetDateTime::now_utc();
    for (actor, subject) in &pairs {
        let found = common::block_on(cached.active(actor, subject, now));
        drop(found.expect("memory does not fail"));
    }
    println!("\nLook-ups of active sessions, two threads beside one\n");
    // What this machine has to give to two threads right now: work that shares nothing.
    let alone = |actor: &UserId, subject: &Subject| {
        let bytes = actor.as_str().bytes().chain(subject.as_str().bytes());
        black_box(bytes.fold(7_u64, |hash, byte| hash.rotate_left(5) ^ u64::from(byte))) != 0
    };
    let in_memory = |actor: &UserId, subject: &Subject| memory.peek(actor, subject, now).is_some();
    let in_cache = |actor: &UserId, subject: &Subject| cached.peek(actor, subject, now).is_some();
    let cases: [(&str, &LookUp<'_>); 3] = [
        ("nothing shared", &alone),
        ("memory", &in_memory),
        ("cached", &in_cache),
    ];
    for (name, look_up) in cases {
        let rounds = (0..ROUNDS).map(|_| {
            let one = timed(|| look_up_many(look_up, &pairs, 0));
            let two = timed(|| {
                thread::scope(|scope| {
                    scope.spawn(|| look_up_many(look_up, &pairs, 1));
                    look_up_many(look_up, &pairs, 0);
                });
            });
            (one, two)
        });
        let (one, two): (Vec<_>, Vec<_>) = rounds.unzip();
        // The shortest of each: two threads are the first to suffer from whatever else is running. Two did
        // twice the work.
        let [one, two] = [one, two].map(|times| times.into_iter().min().unwrap_or_default());
        let ratio = 2.0 * one.as_secs_f64() / two.as_secs_f64();
        let each = one / u32::try_from(LOOK_UPS).unwrap_or(u32::MAX);
        println!("{name:24} {each:>8.0?} each, {ratio:.2} x one");
    }
}

type Pairs = Vec<(UserId, Subject)>;
type LookUp<'a> = dyn Fn(&UserId, &Subject) -> bool + Sync + 'a;

const LOOK_UPS: usize = 200_000;

/// A store with sessions of many actors.
fn filled() -> (MemorySessions, Pairs) {
    let store = MemorySessions::new();
    let now = OffsetDateTime::now_utc();
    let id = |prefix: &str, n| UserId::new(format!("{prefix}-{n}")).expect("a valid id");
    let pairs: Pairs = (0..512)
        .map(|n| (id("admin", n), Subject::User(id("user", n))))
        .collect();
    for (actor, subject) in &pairs {
        let session = Session::new(
            SessionId(Uuid::now_v7()),
            actor.clone(),
            subject.clone(),
            "a reason",
            now,
            now + Duration::from_secs(7_200),
        );
        let started = common::block_on(store.start(session, &Limits::default()));
        drop(started.expect("it is the actor's first"));
    }
    (store, pairs)
}

/// Each thread in an order of its own: threads meet on the map, and seldom on one session.
fn look_up_many(look_up: &LookUp<'_>, pairs: &Pairs, thread: usize) {
    let step = [101, 203][thread % 2];
    let mut at = thread;
    for _ in 0..LOOK_UPS {
        at = (at + step) % pairs.len();
        let (actor, subject) = &pairs[at];
        assert!(look_up(actor, subject));
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    work();
    begin.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
