//! A4, A6: repeated reads are folded and none is lost, a full queue refuses acted requests alone, and events carry the
//! time of what they tell.

use std::{pin::pin, time::Duration};

use http::StatusCode;
use tower_impersonation::{RejectionKind, clock::Clock as _};

use crate::support::{MINUTE, NOON, desk, desk_with, get, parts, post, still_waits};

// === A4 ===

#[tokio::test]
async fn a4_repeated_reads_are_folded_and_none_is_lost() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    for n in 0..10 {
        desk.send(get("ada", &format!("/orders?as=ines&page={n}")))
            .await;
    }
    desk.send(post("ada", "/orders?as=ines")).await;
    desk.handle.stop(&parts("ada")).await.unwrap();

    assert_eq!(
        desk.trail().await,
        [
            "start ada ines",
            "request ada ines GET /orders completed 200",
            "request ada ines POST /orders intent",
            "request ada ines POST /orders completed 200",
            "request ada ines GET /orders completed 200 x9",
            "end ada ines manual",
        ]
    );
}

#[tokio::test]
async fn a4_a_full_queue_refuses_acted_requests_and_no_others() {
    let desk = desk_with(|b| b.audit_queue(16).fold_reads(Duration::ZERO));
    desk.start("ada", "ines").await.unwrap();
    let gate = desk.world.gate("write");
    for n in 0..16 {
        let reply = desk.send(get("ada", &format!("/{n}?as=ines"))).await;
        assert_eq!(reply.status, StatusCode::OK, "{n}");
    }
    {
        let mut slowed = pin!(desk.send(get("ada", "/?as=ines")));
        still_waits(slowed.as_mut()).await;
        // Without a marker nobody notices.
        assert_eq!(desk.send(post("ada", "/")).await.body, "themselves");
        let refused = desk.while_time_passes(slowed).await;
        assert_eq!(refused.kind, Some(RejectionKind::TrailUnavailable));
    }
    assert_eq!(desk.echo.calls(), 17);
    gate.add_permits(1_000);

    let trail = desk.trail().await;
    let requests = trail
        .iter()
        .filter(|line| line.starts_with("request"))
        .count();
    assert_eq!(requests, 16, "{trail:?}");
    // Refusals have room of their own.
    assert_eq!(trail.last().unwrap(), "denied ada ines trail_unavailable");
}

// === The times of the trail ===

#[tokio::test]
async fn a6_events_carry_the_time_of_what_happened() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.clock.advance(MINUTE);
    desk.send(get("ada", "/?as=ines")).await;
    let now = desk.clock.now().unwrap();

    let events = desk.events().await;
    assert_eq!((events[0].time, events[1].time), (NOON, now));
    assert_eq!(events[1].reason.as_deref(), Some("ticket 4711"));
}
