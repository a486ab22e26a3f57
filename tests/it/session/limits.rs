//! S2, S3: how many sessions an actor may have at a time and how many starts in an hour, also when all come at once.

use http::StatusCode;
use tower_impersonation::{
    RejectionKind,
    audit::EventName,
    session::{EndedReason, MemorySessions},
};

use crate::support::{Desk, How, MINUTE, desk, desk_with, get, is_taken_back, parts};

#[tokio::test]
async fn s2_a_second_start_is_refused_and_changes_nothing() {
    for whom in ["ines", "otto"] {
        let desk = desk();
        let first = desk.start("ada", "ines").await.unwrap();
        let second = desk.start("ada", whom).await.unwrap_err();

        assert_eq!(second.kind(), RejectionKind::AlreadyActive, "{whom}");
        assert_eq!(second.kind().status(), StatusCode::CONFLICT);
        assert_eq!(desk.active().await, [first.session], "{whom}");
        let denied = format!("denied ada {whom} already_active");
        assert_eq!(desk.trail().await, ["start ada ines".to_owned(), denied]);
    }
    // Another actor's session is in nobody's way.
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.start("abe", "ines").await.unwrap();
    assert_eq!(desk.active().await.len(), 2);
}

#[tokio::test]
async fn s2_a_start_replaces_when_it_is_set_so() {
    let desk = desk_with(|b| b.replace_active());
    let first = desk.start("ada", "ines").await.unwrap();
    let second = desk.start("ada", "otto").await.unwrap();

    assert_eq!(desk.active().await, [second.session]);
    assert_eq!(
        desk.row(&first).await.ended_reason,
        Some(EndedReason::Replaced)
    );
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::NoSession));
    let trail = desk.trail().await;
    assert_eq!(
        trail[..3],
        ["start ada ines", "start ada otto", "end ada ines replaced"]
    );
}

#[tokio::test]
async fn s2_an_actor_may_have_as_many_as_set() {
    let desk = desk_with(|b| b.max_active(2));
    desk.start("ada", "ines").await.unwrap();
    desk.start("ada", "otto").await.unwrap();
    let third = desk.start("ada", "mia").await.unwrap_err();
    assert_eq!(third.kind(), RejectionKind::AlreadyActive);
    for (target, body) in [("/?as=ines", "ines by ada"), ("/?as=otto", "otto by ada")] {
        assert_eq!(desk.send(get("ada", target)).await.body, body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s2_a_hundred_starts_at_once_leave_one_session_and_one_start_event() {
    let desk = desk();
    for place in ["identify", "find", "check", "write", "start"] {
        desk.world.trouble(place, How::Slow(3));
    }
    let running: Vec<_> = (0..100)
        .map(|n| {
            let desk = desk.clone();
            let whom = ["ines", "otto", "mia"][n % 3];
            tokio::spawn(async move { desk.start("ada", whom).await })
        })
        .collect();
    let mut started = Vec::new();
    for one in running {
        match one.await.unwrap() {
            Ok(one) => started.push(one.session),
            Err(refused) => assert_eq!(refused.kind(), RejectionKind::AlreadyActive),
        }
    }
    assert_eq!(started.len(), 1);
    assert_eq!(desk.active().await, started);
    desk.handle.trail().flush().await.unwrap();
    let events = desk.sink.events();
    let starts = events.iter().filter(|event| event.name == EventName::Start);
    assert_eq!(starts.count(), 1);
    // The others are refusals, and folded from the second of a kind on (rule A4).
    let told: u64 = events.iter().map(|event| event.count.unwrap_or(1)).sum();
    assert_eq!(told, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s2_two_replicas_share_the_limit_and_every_start_event_without_a_session_is_taken_back() {
    let sessions = MemorySessions::new();
    let replicas = [
        Desk::new(&sessions, true, |b| b),
        Desk::new(&sessions, true, |b| b),
    ];
    for replica in &replicas {
        replica.world.trouble("write", How::Slow(20));
    }
    let running: Vec<_> = (0..50)
        .map(|n| {
            let desk = replicas[n % 2].clone();
            tokio::spawn(async move { desk.start("ada", "ines").await.is_ok() })
        })
        .collect();
    let mut started = 0;
    for one in running {
        started += usize::from(one.await.unwrap());
    }
    assert_eq!(started, 1);
    let active = replicas[0].active().await;
    assert_eq!(active.len(), 1);
    for replica in replicas {
        replica.handle.trail().flush().await.unwrap();
        let events = replica.sink.events();
        for start in events.iter().filter(|event| event.name == EventName::Start) {
            let is_taken_back = is_taken_back(&events, start);
            assert_eq!(is_taken_back, start.session != Some(active[0].id));
        }
    }
}

#[tokio::test]
async fn s3_the_eleventh_start_within_an_hour_has_to_wait() {
    let sessions = MemorySessions::new();
    let replicas = [
        Desk::new(&sessions, true, |b| b),
        Desk::new(&sessions, true, |b| b),
    ];
    for n in 0..10 {
        let desk = &replicas[n % 2];
        desk.start("ada", "ines").await.unwrap();
        desk.handle.stop(&parts("ada")).await.unwrap();
        replicas.iter().for_each(|desk| desk.clock.advance(MINUTE));
    }
    for desk in &replicas {
        let refused = desk.start("ada", "ines").await.unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::TooManyStarts);
        assert_eq!(refused.kind().status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(refused.retry_after(), Some(MINUTE * 50));
        assert_eq!(
            desk.trail().await.last().unwrap(),
            "denied ada ines too_many_starts"
        );
    }
    // Others are not held up.
    replicas[0].start("abe", "ines").await.unwrap();

    replicas
        .iter()
        .for_each(|desk| desk.clock.advance(MINUTE * 50));
    replicas[1].start("ada", "ines").await.unwrap();
}
