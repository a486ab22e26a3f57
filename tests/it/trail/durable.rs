//! A1: nothing happens before the event about it is durable, and a start that fails leaves no session.

use std::pin::pin;

use http::StatusCode;
use tower_impersonation::{
    RejectionKind,
    audit::{EventName, Outcome},
};

use crate::support::{How, desk, get, is_taken_back, line, post, settle, still_waits};

#[tokio::test]
async fn a1_a_session_exists_only_after_its_start_is_durable() {
    let desk = desk();
    let gate = desk.world.gate("write");
    let mut starting = pin!(desk.start("ada", "ines"));
    still_waits(starting.as_mut()).await;
    assert_eq!(desk.world.count("start"), 0);
    assert_eq!(desk.active().await.len(), 0);
    let early = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(early.kind, Some(RejectionKind::NoSession));

    gate.add_permits(100);
    starting.await.unwrap();
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn a1_an_unsafe_request_reaches_its_handler_only_after_its_intent_is_durable() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let gate = desk.world.gate("write");
    {
        let mut sending = pin!(desk.send(post("ada", "/orders?as=ines")));
        still_waits(sending.as_mut()).await;
        assert_eq!(desk.echo.calls(), 0);
        gate.add_permits(100);
        assert_eq!(sending.await.body, "ines by ada");
    }
    assert_eq!(desk.echo.last().durable, 2);
    let events = desk.events().await;
    let [_, intent, outcome] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(line(intent), "request ada ines POST /orders intent");
    assert_eq!(line(outcome), "request ada ines POST /orders completed 200");
    assert_eq!(intent.id, outcome.id);
}

#[tokio::test]
async fn a1_without_the_trail_no_session_starts_and_no_handler_writes() {
    for how in [How::Fail, How::Hang, How::Panic] {
        let desk = desk();
        desk.start("abe", "ines").await.unwrap();
        desk.world.trouble("write", how.clone());

        let refused = desk
            .while_time_passes(desk.start("ada", "otto"))
            .await
            .unwrap_err();
        let reply = desk.send_slowly(post("abe", "/?as=ines")).await;

        assert_eq!(
            refused.kind(),
            RejectionKind::TrailUnavailable,
            "{}",
            how.name()
        );
        assert_eq!(
            reply.kind,
            Some(RejectionKind::TrailUnavailable),
            "{}",
            how.name()
        );
        assert_eq!(
            reply.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{}",
            how.name()
        );
        assert_eq!(desk.echo.calls(), 0, "{}", how.name());
        assert_eq!(desk.active().await.len(), 1, "{}", how.name());
        // What had been tried is in the trail once it works again, and not as done.
        desk.world.calm();
        let events = desk.events().await;
        for event in &events[1..] {
            match event.name {
                EventName::Start => assert!(is_taken_back(&events, event), "{events:?}"),
                EventName::Request => {
                    assert_ne!(event.outcome, Some(Outcome::Completed), "{events:?}");
                }
                name => assert_eq!(name, EventName::Denied, "{events:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a1_a_start_whose_client_goes_away_is_carried_through() {
    let desk = desk();
    let gate = desk.world.gate("write");
    {
        let mut starting = pin!(desk.start("ada", "ines"));
        still_waits(starting.as_mut()).await;
    }
    gate.add_permits(100);
    settle().await;

    assert_eq!(desk.active().await.len(), 1);
    assert_eq!(desk.trail().await, ["start ada ines"]);
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
}

#[tokio::test]
async fn a1_a_start_that_fails_leaves_no_session_even_if_the_store_had_it() {
    for place in ["check", "start", "started"] {
        for how in [How::Fail, How::Hang, How::Panic] {
            let what = format!("{place} {}", how.name());
            let desk = desk();
            desk.world.trouble(place, how);
            let refused = desk
                .while_time_passes(desk.start("ada", "ines"))
                .await
                .unwrap_err();
            desk.world.calm();
            settle().await;

            assert_eq!(refused.kind(), RejectionKind::Unavailable, "{what}");
            assert_eq!(desk.active().await.len(), 0, "{what}");
            let events = desk.events().await;
            for start in events.iter().filter(|event| event.name == EventName::Start) {
                assert!(is_taken_back(&events, start), "{what}: {events:?}");
            }
            let reply = desk.send(get("ada", "/?as=ines")).await;
            assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{what}");
            desk.start("ada", "ines").await.expect(&what);
        }
    }
}
