//! R8: actor and subject are checked on every acted request. The directory's answer may be kept for a stated time, a
//! denial never, and what changed ends the session.

use std::{pin::pin, time::Duration};

use http::StatusCode;
use tower_impersonation::{
    Access, DirectoryUser, Rank, RejectionKind,
    session::{EndedReason, MemorySessions},
};

use super::Login;
use crate::support::{
    ADMIN, Desk, Staff, World, ask, customer, desk, desk_with, get, id, line, parts, post,
    sessionless, still_waits,
};

#[tokio::test]
async fn r8_what_changed_since_the_start_ends_the_session_with_the_next_request() {
    struct Case {
        name: &'static str,
        change: fn(&Desk),
        reason: EndedReason,
    }
    let cases = [
        Case {
            name: "the actor is a user now",
            change: |desk| desk.cast.dismiss("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Case {
            name: "the actor fell in rank",
            change: |desk| desk.cast.hire("ada", Staff { rank: 19, ..ADMIN }),
            reason: EndedReason::ActorDemoted,
        },
        Case {
            name: "the checker says no",
            change: |desk| desk.cast.bar("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Case {
            name: "the grant is narrower",
            change: |desk| {
                let access = Access::ReadOnly;
                desk.cast.hire("ada", Staff { access, ..ADMIN });
            },
            reason: EndedReason::ActorDemoted,
        },
        Case {
            name: "the subject is gone",
            change: |desk| drop(desk.cast.users.remove(&id("ines"))),
            reason: EndedReason::SubjectGone,
        },
        Case {
            name: "the subject rose",
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(20)))
            },
            reason: EndedReason::SubjectGone,
        },
        Case {
            name: "the subject opted out",
            change: |desk| {
                desk.cast
                    .users
                    .insert(customer("ines").not_impersonable_because("opted out"));
            },
            reason: EndedReason::SubjectGone,
        },
    ];
    for case in cases {
        let name = case.name;
        let desk = desk_with(|b| b.directory_cache(Duration::ZERO));
        let session = desk.start("ada", "ines").await.unwrap();
        assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");

        (case.change)(&desk);
        let reply = desk.send(post("ada", "/?as=ines")).await;

        assert_eq!(reply.kind, Some(RejectionKind::SessionEnded), "{name}");
        assert_eq!(desk.echo.calls(), 1, "{name}");
        assert_eq!(
            desk.row(&session).await.ended_reason,
            Some(case.reason),
            "{name}"
        );
        let events = desk.events().await;
        let (end, denied) = (&events[2], &events[3]);
        assert_eq!(line(end), format!("end ada ines {}", case.reason), "{name}");
        assert_eq!(
            line(denied),
            format!("denied ada ines {}", case.reason),
            "{name}"
        );
        assert_eq!(end.session, Some(session.session.id), "{name}");
        // It stays refused.
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_ne!(reply.kind, None, "{name}");
        assert_eq!(desk.echo.calls(), 1, "{name}");
    }
}

#[tokio::test]
async fn r8_a_good_answer_of_the_directory_is_kept_for_its_time() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    desk.send(get("ada", "/?as=ines")).await;
    desk.send(get("ada", "/?as=ines")).await;
    assert!(desk.world.count("find") <= 1);
    desk.world.forget();

    desk.cast.users.remove(&id("ines"));
    desk.clock.advance(Duration::from_secs(29));
    assert_eq!(
        desk.send(get("ada", "/?as=ines")).await.status,
        StatusCode::OK
    );
    assert_eq!(desk.world.count("find"), 0);

    desk.clock.advance(Duration::from_secs(1));
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
    assert_eq!(desk.world.count("find"), 1);
}

#[tokio::test]
async fn r8_forgetting_a_user_makes_the_next_request_ask() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.send(get("ada", "/?as=ines")).await;

    desk.cast.users.remove(&id("ines"));
    desk.handle.forget_user(&id("ines"));

    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
}

#[tokio::test]
async fn r8_a_denial_is_never_kept() {
    let desk = sessionless(|b| b);
    for _ in 0..2 {
        let reply = desk.send(get("ada", "/?as=kim")).await;
        assert_eq!(reply.kind, Some(RejectionKind::Denied));
        let reply = desk.send(get("ada", "/?as=nobody")).await;
        assert_eq!(reply.kind, Some(RejectionKind::Denied));
    }
    assert_eq!(desk.world.count("find"), 4);

    desk.cast.users.insert(customer("kim"));
    assert_eq!(desk.send(get("ada", "/?as=kim")).await.body, "kim by ada");
}

#[tokio::test]
async fn r8_a_session_that_ends_while_its_request_is_under_way_runs_no_handler() {
    struct Case {
        name: &'static str,
        method: &'static str,
        held_at: &'static str,
    }
    let cases = [
        Case {
            name: "while the intent is written",
            method: "POST",
            held_at: "write",
        },
        Case {
            name: "while the directory answers",
            method: "GET",
            held_at: "find",
        },
        Case {
            name: "while the subject's type is loaded",
            method: "GET",
            held_at: "assume",
        },
    ];
    for case in cases {
        let name = case.name;
        let world = World::default();
        let loading = world.clone();
        let desk = Desk::within(world, &MemorySessions::new(), true, |b| {
            b.directory_cache(Duration::ZERO).assume_new(move |_| {
                let world = loading.clone();
                async move { world.at("assume", "").await.map(|()| None::<Login>) }
            })
        });
        let session = desk.start("ada", "ines").await.unwrap();
        // The process knows the session already.
        assert_eq!(
            desk.send(get("ada", "/?as=ines")).await.status,
            StatusCode::OK,
            "{name}"
        );
        desk.events().await;

        let gate = desk.world.gate(case.held_at);
        let mut sending = pin!(desk.send(ask(case.method, "ada", "/?as=ines")));
        still_waits(sending.as_mut()).await;
        desk.handle
            .revoke(&parts("root"), session.session.id)
            .await
            .unwrap();
        gate.add_permits(100);
        let reply = sending.await;

        assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{name}");
        assert_eq!(desk.echo.calls(), 1, "{name}");
        if case.method == "POST" {
            let trail = desk.trail().await;
            assert!(
                trail.contains(&"request ada ines POST / refused".to_owned()),
                "{trail:?}"
            );
        }
    }
}
