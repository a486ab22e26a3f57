//! R13: a checker, store, directory, sink or clock that fails, hangs or panics refuses the request.

use std::time::Duration;

use http::StatusCode;
use tower_impersonation::{MemoryConsents, RejectionKind, session::MemorySessions};

use super::Login;
use crate::support::{
    ADMIN, Desk, How, MINUTE, NOON, Watched, World, desk, get, id, post, sessionless,
};

#[tokio::test]
async fn r13_whatever_does_not_answer_refuses() {
    let places = [
        ("identify", RejectionKind::Unavailable),
        ("authorize", RejectionKind::Unavailable),
        ("active", RejectionKind::Unavailable),
        ("find", RejectionKind::Unavailable),
        ("consent", RejectionKind::Unavailable),
        ("assume", RejectionKind::Unavailable),
        ("write", RejectionKind::TrailUnavailable),
    ];
    for (place, kind) in places {
        for how in [How::Fail, How::Hang, How::Panic] {
            let world = World::default();
            let what = format!("{place}: {}", how.name());
            let consents = MemoryConsents::default();
            consents.grant(id("ines"), NOON + MINUTE * 60);
            let consents = Watched {
                world: world.clone(),
                inner: consents,
            };
            let loading = world.clone();
            let desk = Desk::within(world, &MemorySessions::new(), true, |b| {
                b.require_consent(consents)
                    .directory_cache(Duration::ZERO)
                    .assume_new(move |_| {
                        let world = loading.clone();
                        async move { world.at("assume", "").await.map(|()| None::<Login>) }
                    })
            });
            let session = desk.start("ada", "ines").await.expect(&what);
            assert_eq!(
                desk.send(post("ada", "/?as=ines")).await.kind,
                None,
                "{what}"
            );

            desk.world.trouble(place, how);
            let reply = desk.send_slowly(post("ada", "/?as=ines")).await;

            assert_eq!(reply.kind, Some(kind), "{what}");
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{what}");
            assert_eq!(desk.echo.calls(), 1, "{what}");
            // Trouble is no reason to end anything.
            desk.world.calm();
            assert_eq!(desk.row(&session).await.ended_reason, None, "{what}");
            assert_eq!(
                desk.send_slowly(post("ada", "/?as=ines")).await.kind,
                None,
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn r13_a_panic_before_there_is_a_future_refuses_as_well() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.world.trouble("peek", How::Panic);
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::Unavailable));

    let desk = sessionless(|b| {
        b.assume(|acting_as| {
            assert!(
                acting_as.subject().user_id().is_none(),
                "users are not expected"
            );
            async { Ok(None::<Login>) }
        })
    });
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::Unavailable));
    assert_eq!(desk.echo.calls(), 0);
}

#[tokio::test]
async fn r13_a_session_that_cannot_be_ended_acts_no_more_all_the_same() {
    for how in [How::Fail, How::Hang, How::Panic] {
        let desk = desk();
        desk.start("ada", "ines").await.unwrap();
        desk.cast.dismiss("ada");
        desk.world.trouble("end", how);

        let reply = desk.send_slowly(get("ada", "/?as=ines")).await;

        // This process refuses it from now on, and asks the store until it holds (rule S5).
        assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
        assert_eq!(desk.echo.calls(), 0);
        desk.cast.hire("ada", ADMIN);
        let reply = desk.send_slowly(get("ada", "/?as=ines")).await;
        assert_eq!(reply.kind, Some(RejectionKind::NoSession));
        assert_eq!(desk.echo.calls(), 0);
    }
}

#[tokio::test]
async fn r13_a_broken_clock_refuses() {
    for desk in [desk(), sessionless(|b| b)] {
        desk.clock.break_down("no battery");
        let reply = desk.send(get("ada", "/?as=ines")).await;

        assert_eq!(reply.kind, Some(RejectionKind::Unavailable));
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(desk.echo.calls(), 0);
        assert_ne!(
            desk.start("ada", "ines").await.unwrap_err().kind(),
            RejectionKind::NoSession
        );
    }
}
