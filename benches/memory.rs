//! What a request allocates, what a session weighs, and that nothing grows.
//!
//! Every allocation of the process is counted, so this is a program of its own and times nothing.

#![expect(clippy::disallowed_methods, reason = "a bench measures real time")]

mod common;

use std::alloc::System;

use common::{Answer, Request, request, runtime};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use time::OffsetDateTime;
use tower_impersonation::{
    Rank, Subject, UserId,
    session::{Cached, Limits, MemorySessions, Session, SessionId, SessionStore},
};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn main() {
    allocations_per_request();
    bytes_per_session();
    growth_over_a_million_requests();
}

fn allocations_per_request() {
    let bare = allocations(&mut common::bare(), common::MARKED);
    println!("Allocations per request, beside the bare service ({bare})\n");
    let rows: [(&str, Answer, &'static str); 7] = [
        ("tower-http csrf", common::csrf(), common::PLAIN),
        ("unmarked, no query", common::in_memory(), common::PLAIN),
        ("unmarked, query", common::in_memory(), common::QUERY),
        ("acted read, memory", common::in_memory(), common::MARKED),
        ("acted read, cached", common::in_cache(), common::MARKED),
        (
            "acted read, 2 more",
            common::in_memory(),
            "/o?a=b&as=u-1001&c=d",
        ),
        ("acted read, unfolded", common::unfolded(), common::MARKED),
    ];
    for (name, mut answer, path) in rows {
        let more = allocations(&mut answer, path) - bare;
        println!("{name:24} +{more}");
    }
}

/// The middle one of many requests, because a queue that grows now and then is not the request's.
fn allocations(answer: &mut Answer, path: &'static str) -> usize {
    let mut counts: Vec<usize> = (0..101)
        .map(|_| {
            let request: Request = request(path);
            let region = Region::new(ALLOCATOR);
            answer(request);
            let change = region.change();
            change.allocations + change.reallocations
        })
        .collect();
    counts.sort_unstable();
    counts[counts.len() / 2]
}

fn bytes_per_session() {
    const SESSIONS: usize = 20_000;
    println!("\nBytes per active session, {SESSIONS} of them, one for each actor\n");

    let region = Region::new(ALLOCATOR);
    let store = MemorySessions::new();
    let pairs = start_sessions(&store, SESSIONS);
    // The test's own list of who acts as whom is not the store's.
    let own = pairs.capacity() * size_of_val(&pairs[0]);
    let held = held(&region) - own;
    println!("{:24} {}", "memory store", held / SESSIONS);

    let store = Cached::new(store, std::time::Duration::from_secs(60));
    let region = Region::new(ALLOCATOR);
    let now = OffsetDateTime::now_utc();
    for (actor, subject) in &pairs {
        let found = common::block_on(store.active(actor, subject, now));
        assert!(found.is_ok_and(|session| session.is_some()));
    }
    println!(
        "{:24} +{}",
        "and kept by `Cached`",
        self::held(&region) / SESSIONS
    );
}

/// Sessions as a busy desk has them: a reason in a sentence, an address and a browser.
fn start_sessions(store: &impl SessionStore, count: usize) -> Vec<(UserId, Subject)> {
    let now = OffsetDateTime::now_utc();
    let limits = Limits::default();
    let mut pairs = Vec::with_capacity(count);
    for n in 0..count {
        let id = |prefix: &str| UserId::new(format!("{prefix}-{n:06}")).expect("a valid id");
        let subject = Subject::User(id("user"));
        let mut session = Session::new(
            SessionId(Uuid::now_v7()),
            id("admin"),
            subject.clone(),
            "ticket 4711: cannot see the order",
            now,
            now + std::time::Duration::from_secs(7_200),
        );
        session.actor_rank = Rank(20);
        session.user_agent = Some("Mozilla/5.0 (X11; Linux x86_64) Chrome/156.0.0.0".into());
        pairs.push((session.actor.clone(), subject));
        let started = common::block_on(store.start(session, &limits));
        assert!(started.is_ok());
    }
    pairs
}

fn growth_over_a_million_requests() {
    const REQUESTS: usize = 1_000_000;
    println!("\nGrowth over {REQUESTS} acted requests, in bytes held\n");

    let builder = common::impersonation(MemorySessions::new());
    let impersonation = builder.build().expect("valid settings");
    let mut answer = common::acting(&impersonation);
    let runtime = runtime();
    let mut run = |requests: usize| {
        runtime.block_on(async {
            for n in 0..requests {
                answer(request(common::MARKED));
                if n % 1_000 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            impersonation.trail().flush().await.expect("it is written");
        });
    };
    run(REQUESTS / 10);
    let region = Region::new(ALLOCATOR);
    run(REQUESTS);
    println!("{:24} {}", "after flush", held(&region));
}

fn held(region: &Region<'_, System>) -> usize {
    let change = region.change();
    // What a reallocation adds or frees is in these numbers already.
    change
        .bytes_allocated
        .saturating_sub(change.bytes_deallocated)
}
