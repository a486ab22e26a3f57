//! S4: every way in which a session ends, its reason in the trail, and who may list and end the sessions of others.

use std::{future::Future, pin::Pin, time::Duration};

use http::StatusCode;
use tower_impersonation::{
    RejectionKind, SessionWithUser, StartRequest,
    audit::EventName,
    session::{EndedReason, SessionFilter},
};

use crate::support::{
    Desk, How, MINUTE, NOON, desk, desk_with, get, id, parts, post, settle, subject,
};

type Ending = for<'a> fn(&'a Desk, &'a SessionWithUser) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

#[tokio::test]
async fn s4_each_end_is_recorded_with_its_reason_and_acts_no_more() {
    struct Case {
        reason: EndedReason,
        end: Ending,
    }
    let cases = [
        Case {
            reason: EndedReason::Manual,
            end: |desk, _| Box::pin(async { drop(desk.handle.stop(&parts("ada")).await.unwrap()) }),
        },
        Case {
            reason: EndedReason::Manual,
            end: |desk, session| {
                let id = session.session.id;
                Box::pin(async move { drop(desk.handle.revoke(&parts("ada"), id).await.unwrap()) })
            },
        },
        Case {
            reason: EndedReason::SessionRevoked,
            end: |desk, session| {
                let id = session.session.id;
                Box::pin(async move { drop(desk.handle.revoke(&parts("root"), id).await.unwrap()) })
            },
        },
        Case {
            reason: EndedReason::AdminLogout,
            end: |desk, _| Box::pin(async { drop(desk.handle.log_out(&id("ada")).await.unwrap()) }),
        },
        Case {
            reason: EndedReason::ActorDemoted,
            end: |desk, _| Box::pin(async { drop(desk.handle.demote(&id("ada")).await.unwrap()) }),
        },
        Case {
            reason: EndedReason::SubjectGone,
            end: |desk, _| {
                Box::pin(async {
                    desk.cast.users.remove(&id("ines"));
                    desk.handle.forget_user(&id("ines"));
                    desk.send(get("ada", "/?as=ines")).await;
                })
            },
        },
        Case {
            reason: EndedReason::Replaced,
            end: |desk, _| Box::pin(async { drop(desk.start("ada", "otto").await.unwrap()) }),
        },
        Case {
            reason: EndedReason::Idle,
            end: |desk, _| {
                Box::pin(async {
                    desk.clock.advance(MINUTE * 30);
                    settle().await;
                })
            },
        },
        Case {
            reason: EndedReason::Timeout,
            end: |desk, _| {
                Box::pin(async {
                    for _ in 0..6 {
                        desk.clock.advance(MINUTE * 20);
                        let _ = desk.send(get("ada", "/?as=ines")).await;
                        settle().await;
                    }
                })
            },
        },
    ];
    for case in cases {
        let desk = desk_with(|b| b.replace_active());
        let session = desk.start("ada", "ines").await.unwrap();
        (case.end)(&desk, &session).await;

        let row = desk.row(&session).await;
        assert_eq!(row.ended_reason, Some(case.reason));
        let calls = desk.echo.calls();
        let reply = desk.send(post("ada", "/?as=ines")).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::NoSession),
            "{}",
            case.reason
        );
        assert_eq!(desk.echo.calls(), calls, "{}", case.reason);
        let events = desk.events().await;
        let mut ends = events.iter().filter(|event| event.name == EventName::End);
        let end = ends.next().unwrap();
        assert_eq!(end.session, Some(session.session.id), "{}", case.reason);
        assert_eq!(end.reason.as_deref(), Some(case.reason.as_str()));
        assert_eq!(end.subject, Some(subject("ines")), "{}", case.reason);
        assert_eq!(Some(end.time), row.ended_at, "{}", case.reason);
        // The session's actor, and who ended it where that is someone else.
        assert_eq!(end.actor, Some(id("ada")), "{}", case.reason);
        let by = (case.reason == EndedReason::SessionRevoked).then(|| id("root"));
        assert_eq!(end.by, by, "{}", case.reason);
        assert!(ends.next().is_none(), "{}", case.reason);
    }
}

#[tokio::test]
async fn s4_at_its_very_end_a_session_is_over() {
    let desk = desk();
    let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE);
    desk.started(&parts("ada"), start).await;

    desk.clock.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.clock.advance(Duration::from_nanos(1));
    assert_eq!(
        desk.send(get("ada", "/?as=ines")).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn s4_acted_requests_keep_a_session_from_being_idle_and_the_store_hears_in_batches() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    for _ in 0..4 {
        desk.clock.advance(MINUTE * 20);
        settle().await;
        for _ in 0..10 {
            assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
        }
        // Refused requests keep nothing alive, and neither do unmarked ones.
        desk.send(get("ada", "/?as=otto")).await;
    }
    settle().await;
    assert!(
        desk.world.count("touch") <= 4,
        "{}",
        desk.world.count("touch")
    );
    desk.clock.advance(MINUTE * 29);
    settle().await;
    desk.send(get("ada", "/?as=otto")).await;
    desk.send(get("ada", "/")).await;
    desk.clock.advance(MINUTE);
    settle().await;

    let row = desk.row(&session).await;
    assert_eq!(row.ended_reason, Some(EndedReason::Idle));
    assert_eq!(row.ended_at, Some(NOON + MINUTE * 110));
    assert_eq!(row.last_seen_at, NOON + MINUTE * 80);
}

#[tokio::test]
async fn s4_a_touch_that_failed_is_not_forgotten() {
    let desk = desk_with(|b| b.max_active(3));
    for whom in ["ines", "otto", "mia"] {
        desk.start("ada", whom).await.unwrap();
    }
    desk.clock.advance(MINUTE * 20);
    settle().await;
    for target in ["/?as=ines", "/?as=otto", "/?as=mia"] {
        assert_eq!(desk.send(get("ada", target)).await.status, StatusCode::OK);
    }
    desk.world.trouble("touch", How::Fail);
    desk.clock.advance(MINUTE * 5);
    settle().await;
    desk.world.calm();

    // 40 minutes after the start, 20 after the last request.
    desk.clock.advance(MINUTE * 15);
    settle().await;
    for target in ["/?as=ines", "/?as=otto", "/?as=mia"] {
        assert_eq!(
            desk.send(get("ada", target)).await.status,
            StatusCode::OK,
            "{target}"
        );
    }
}

#[tokio::test]
async fn s4_the_sweeper_ends_what_nobody_asks_for() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    settle().await;
    desk.clock.advance(MINUTE * 29);
    settle().await;
    assert_eq!(desk.row(&session).await.ended_reason, None);
    desk.clock.advance(MINUTE + MINUTE / 2);
    settle().await;

    assert_eq!(desk.row(&session).await.ended_at, Some(NOON + MINUTE * 30));
    assert_eq!(desk.trail().await, ["start ada ines", "end ada ines idle"]);
}

#[tokio::test]
async fn s4_revoking_others_needs_the_right() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    for who in ["abe", "sam"] {
        let refused = desk
            .handle
            .revoke(&parts(who), session.id)
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::MissingRight);
    }
    let refused = desk
        .handle
        .revoke(&parts("ines"), session.id)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::NotAdmin);
    let refused = desk
        .handle
        .revoke(&parts(""), session.id)
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unauthenticated);
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn s4_others_are_listed_only_with_the_right() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.start("abe", "otto").await.unwrap();
    let list = |who: &str, filter: SessionFilter| {
        let (desk, parts) = (desk.clone(), parts(who));
        async move {
            let list = desk.handle.list(&parts, filter, Default::default()).await;
            list.map(|list| list.total)
                .map_err(|refused| refused.kind())
        }
    };
    let mut of_abe = SessionFilter::default();
    of_abe.actor = Some(id("abe"));

    assert_eq!(list("ada", SessionFilter::default()).await, Ok(1));
    assert_eq!(
        list("ada", of_abe.clone()).await,
        Err(RejectionKind::MissingRight)
    );
    assert_eq!(list("root", SessionFilter::default()).await, Ok(2));
    assert_eq!(list("root", of_abe).await, Ok(1));
    assert_eq!(
        list("ines", SessionFilter::default()).await,
        Err(RejectionKind::NotAdmin)
    );
}
