//! S1 to S8 and A1 to A4: what a session may do, and what the trail holds of it.

use std::{
    future::{Future, pending, ready},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    Access, ChangeRequest, Rejection, RejectionKind, SessionWithUser, StartRequest,
    audit::{AuditEvent, EventName, Outcome},
    clock::Clock as _,
    session::{EndedReason, MemorySessions, SessionFilter},
};

use crate::support::*;

// === S1 ===

#[tokio::test]
async fn s1_a_start_needs_an_admin_a_reason_and_a_subject_of_lower_rank() {
    use RejectionKind::*;

    struct Test {
        name: &'static str,
        who: &'static str,
        whom: &'static str,
        reason: String,
        refused: Option<RejectionKind>,
    }
    let test = |name, who, whom, reason: &str, refused| Test {
        name,
        who,
        whom,
        reason: reason.to_owned(),
        refused,
    };
    let tests = [
        test("fine", "ada", "ines", "ticket 1", None),
        test("an admin for support", "ada", "sam", "ticket 1", None),
        test("the anonymous visitor", "sam", "~anon", "ticket 1", None),
        test("the service role", "root", "~service", "ticket 1", None),
        test("500 characters", "ada", "ines", &"ü".repeat(500), None),
        test(
            "501 characters",
            "ada",
            "ines",
            &"ü".repeat(501),
            Some(InvalidRequest),
        ),
        test(
            "500 and blanks",
            "ada",
            "ines",
            &format!(" {} ", "x".repeat(500)),
            None,
        ),
        test("no reason", "ada", "ines", "", Some(InvalidRequest)),
        test(
            "a blank reason",
            "ada",
            "ines",
            " \t\n\u{a0}\u{2003}",
            Some(InvalidRequest),
        ),
        test("oneself", "ada", "ada", "ticket 1", Some(Yourself)),
        test("equal rank", "ada", "abe", "ticket 1", Some(Denied)),
        test("higher rank", "sam", "ada", "ticket 1", Some(Denied)),
        test("opted out", "root", "kim", "ticket 1", Some(Denied)),
        test("a system account", "root", "bot", "ticket 1", Some(Denied)),
        test(
            "unknown",
            "ada",
            "nobody",
            "ticket 1",
            Some(SubjectNotFound),
        ),
        test(
            "the service role without the right",
            "ada",
            "~service",
            "ticket 1",
            Some(Denied),
        ),
        test("nobody", "", "ines", "ticket 1", Some(Unauthenticated)),
        test("a user", "mia", "ines", "ticket 1", Some(NotAdmin)),
        test("barred", "ada", "otto", "ticket 1", Some(Denied)),
    ];
    for test in tests {
        let desk = desk();
        desk.cast.bar("otto");
        let start = StartRequest::new(subject(test.whom), test.reason);
        let started = desk.handle.start(&parts(test.who), start).await;

        let kind = started.as_ref().err().map(Rejection::kind);
        assert_eq!(kind, test.refused, "{}", test.name);
        let active = desk.active().await.len();
        assert_eq!(active, usize::from(test.refused.is_none()), "{}", test.name);
        let trail = desk.trail().await;
        assert_eq!(trail.len(), 1, "{}: {trail:?}", test.name);
        assert_eq!(
            trail[0].starts_with("start"),
            test.refused.is_none(),
            "{}",
            test.name
        );
    }
}

#[tokio::test]
async fn s1_a_grant_narrows_access_and_lifetime() {
    struct Test {
        who: &'static str,
        access: Access,
        duration: Option<Duration>,
        got: (Access, Duration),
    }
    let hours = |n: u32| MINUTE * 60 * n;
    let tests = [
        Test {
            who: "ada",
            access: Access::ReadOnly,
            duration: None,
            got: (Access::ReadOnly, hours(2)),
        },
        Test {
            who: "ada",
            access: Access::ReadWrite,
            duration: Some(hours(9)),
            got: (Access::ReadWrite, hours(2)),
        },
        Test {
            who: "ada",
            access: Access::ReadWrite,
            duration: Some(MINUTE),
            got: (Access::ReadWrite, MINUTE),
        },
        Test {
            who: "sam",
            access: Access::ReadWrite,
            duration: Some(hours(1)),
            got: (Access::ReadOnly, MINUTE * 30),
        },
    ];
    for test in tests {
        let desk = desk();
        let mut start = StartRequest::new(subject("ines"), "ticket 1").with_access(test.access);
        if let Some(duration) = test.duration {
            start = start.with_duration(duration);
        }
        let session = desk
            .handle
            .start(&parts(test.who), start)
            .await
            .unwrap()
            .session;
        assert_eq!(
            (session.access, session.expires_at),
            (test.got.0, NOON + test.got.1)
        );
    }
}

#[tokio::test]
async fn s1_a_start_by_login_obeys_the_same_rules() {
    let desk = desk();
    let start = |login: &str| {
        let request = StartRequest::for_login(login, "ticket 1");
        let (desk, parts) = (desk.clone(), parts("ada"));
        async move { desk.handle.start(&parts, request).await }
    };
    let kind = |result: Result<SessionWithUser, Rejection>| result.unwrap_err().kind();

    assert_eq!(kind(start("kim@shop.example").await), RejectionKind::Denied);
    assert_eq!(
        kind(start("nobody@shop.example").await),
        RejectionKind::SubjectNotFound
    );
    let started = start("Ines@shop.example").await.unwrap();
    assert_eq!(started.session.subject, subject("ines"));
    assert_eq!(started.user.unwrap().role(), Some("customer"));
}

// === S2, S3 ===

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
    assert_eq!(events.len(), 100);
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

fn is_taken_back(events: &[AuditEvent], start: &AuditEvent) -> bool {
    events
        .iter()
        .any(|event| event.name == EventName::Denied && event.session == start.session)
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

// === S4 ===

type Ending = for<'a> fn(&'a Desk, &'a SessionWithUser) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

#[tokio::test]
async fn s4_each_end_is_recorded_with_its_reason_and_acts_no_more() {
    struct Test {
        reason: EndedReason,
        end: Ending,
    }
    let tests = [
        Test {
            reason: EndedReason::Manual,
            end: |desk, _| Box::pin(async { drop(desk.handle.stop(&parts("ada")).await.unwrap()) }),
        },
        Test {
            reason: EndedReason::Manual,
            end: |desk, session| {
                let id = session.session.id;
                Box::pin(async move { drop(desk.handle.revoke(&parts("ada"), id).await.unwrap()) })
            },
        },
        Test {
            reason: EndedReason::SessionRevoked,
            end: |desk, session| {
                let id = session.session.id;
                Box::pin(async move { drop(desk.handle.revoke(&parts("root"), id).await.unwrap()) })
            },
        },
        Test {
            reason: EndedReason::AdminLogout,
            end: |desk, _| Box::pin(async { drop(desk.handle.log_out(&id("ada")).await.unwrap()) }),
        },
        Test {
            reason: EndedReason::ActorDemoted,
            end: |desk, _| Box::pin(async { drop(desk.handle.demote(&id("ada")).await.unwrap()) }),
        },
        Test {
            reason: EndedReason::SubjectGone,
            end: |desk, _| {
                Box::pin(async {
                    desk.cast.users.remove(&id("ines"));
                    desk.handle.forget_user(&id("ines"));
                    desk.send(get("ada", "/?as=ines")).await;
                })
            },
        },
        Test {
            reason: EndedReason::Replaced,
            end: |desk, _| Box::pin(async { drop(desk.start("ada", "otto").await.unwrap()) }),
        },
        Test {
            reason: EndedReason::Idle,
            end: |desk, _| {
                Box::pin(async {
                    desk.clock.advance(MINUTE * 30);
                    settle().await;
                })
            },
        },
        Test {
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
    for test in tests {
        let desk = desk_with(|b| b.replace_active());
        let session = desk.start("ada", "ines").await.unwrap();
        (test.end)(&desk, &session).await;

        let row = desk.row(&session).await;
        assert_eq!(row.ended_reason, Some(test.reason));
        let calls = desk.echo.calls();
        let reply = desk.send(post("ada", "/?as=ines")).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::NoSession),
            "{}",
            test.reason
        );
        assert_eq!(desk.echo.calls(), calls, "{}", test.reason);
        let events = desk.events().await;
        let mut ends = events.iter().filter(|event| event.name == EventName::End);
        let end = ends.next().unwrap();
        assert_eq!(end.session, Some(session.session.id), "{}", test.reason);
        assert_eq!(end.reason.as_deref(), Some(test.reason.as_str()));
        assert_eq!(end.subject, Some(subject("ines")), "{}", test.reason);
        assert_eq!(Some(end.time), row.ended_at, "{}", test.reason);
        let by = if test.reason == EndedReason::SessionRevoked {
            "root"
        } else {
            "ada"
        };
        assert_eq!(end.actor, Some(id(by)), "{}", test.reason);
        assert!(ends.next().is_none(), "{}", test.reason);
    }
}

#[tokio::test]
async fn s4_at_its_very_end_a_session_is_over() {
    let desk = desk();
    let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE);
    desk.handle.start(&parts("ada"), start).await.unwrap();

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

// === S5 ===

#[tokio::test]
async fn s5_a_demoted_actor_can_stop() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    desk.cast.dismiss("ada");
    let current = desk.handle.current(&parts("ada")).await.unwrap().unwrap();
    assert_eq!(current.session.id, session.session.id);

    let ended = desk.handle.stop(&parts("ada")).await.unwrap();

    assert_eq!(ended.len(), 1);
    assert_eq!(
        desk.row(&session).await.ended_reason,
        Some(EndedReason::Manual)
    );
}

#[tokio::test]
async fn s5_a_stop_succeeds_while_the_trail_is_down_and_is_recorded_later() {
    for how in [How::Fail, How::Hang, How::Panic] {
        let desk = desk();
        let session = desk.start("ada", "ines").await.unwrap();
        desk.world.trouble("write", how);

        desk.handle.stop(&parts("ada")).await.unwrap();

        assert_eq!(
            desk.row(&session).await.ended_reason,
            Some(EndedReason::Manual)
        );
        assert_eq!(desk.sink.events().len(), 1);
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_eq!(reply.kind, Some(RejectionKind::NoSession));
        desk.world.calm();
        let trail = desk.trail().await;
        assert_eq!(trail[..2], ["start ada ines", "end ada ines manual"]);
    }
}

#[tokio::test]
async fn s5_a_second_stop_finds_nothing_and_changes_nothing() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    desk.handle.stop(&parts("ada")).await.unwrap();
    let row = desk.row(&session).await;
    desk.clock.advance(MINUTE);

    let again = desk.handle.stop(&parts("ada")).await.unwrap_err();

    assert_eq!(again.kind(), RejectionKind::NothingToEnd);
    assert_eq!(desk.row(&session).await, row);
    assert_eq!(
        desk.trail().await,
        ["start ada ines", "end ada ines manual"]
    );
}

#[tokio::test]
async fn s5_a_stop_takes_no_identity_from_the_request() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    let target = format!(
        "/stop?id={0}&session={0}&admin_user_id=ada&target_user_id=ines",
        session.id
    );
    for who in ["abe", "root", "ines", ""] {
        let (mut parts, _) = post(who, &target).into_parts();
        parts.headers.insert("act-as", "ines".parse().unwrap());
        let refused = desk.handle.stop(&parts).await.unwrap_err();
        let nobody = who.is_empty();
        let kind = if nobody {
            RejectionKind::Unauthenticated
        } else {
            RejectionKind::NothingToEnd
        };
        assert_eq!(refused.kind(), kind, "{who}");
    }
    assert_eq!(desk.active().await, [session]);
}

#[tokio::test]
async fn s5_an_acted_stop_ends_its_own_session_and_no_other() {
    let desk = desk_with(|b| b.max_active(2));
    desk.start("ada", "ines").await.unwrap();
    let otto = desk.start("ada", "otto").await.unwrap().session;
    desk.send(get("ada", "/?as=ines")).await;
    let mut acted = parts("ada");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());

    let ended = desk.handle.stop(&acted).await.unwrap();

    assert_eq!(ended[0].subject, subject("ines"));
    assert_eq!(desk.active().await, [otto]);
}

#[tokio::test]
async fn s5_a_stop_of_one_session_is_for_its_actor_only() {
    let desk = desk_with(|b| b.max_active(2));
    let ines = desk.start("ada", "ines").await.unwrap().session;
    let otto = desk.start("ada", "otto").await.unwrap().session;
    for who in ["abe", "root", "ines", ""] {
        let refused = desk.handle.stop_one(&parts(who), ines.id).await;
        let kind = match who {
            "" => RejectionKind::Unauthenticated,
            _ => RejectionKind::NothingToEnd,
        };
        assert_eq!(refused.unwrap_err().kind(), kind, "{who}");
    }
    assert_eq!(desk.active().await.len(), 2);

    // An acted request is its actor's: not the subject's, whose name it goes by.
    desk.send(get("ada", "/?as=otto")).await;
    let mut acted = parts("ines");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());
    let ended = desk.handle.stop_one(&acted, ines.id).await.unwrap();
    assert_eq!(ended.ended_reason, Some(EndedReason::Manual));
    assert_eq!(desk.active().await[0].id, otto.id);

    // Active for this process is active, even if the store was not told yet.
    let idle = MINUTE * 30;
    desk.clock.advance(idle - MINUTE);
    desk.send(get("ada", "/?as=otto")).await;
    desk.clock.advance(MINUTE * 2);
    desk.handle.stop_one(&parts("ada"), otto.id).await.unwrap();
}

// === S6 ===

fn raise() -> ChangeRequest {
    ChangeRequest::new("ticket 2: has to change it").with_access(Access::ReadWrite)
}

#[tokio::test]
async fn s6_raising_and_extending_need_a_fresh_reason_and_a_fresh_check() {
    struct Test {
        name: &'static str,
        who: &'static str,
        then: fn(&Desk),
        change: ChangeRequest,
        refused: Option<RejectionKind>,
    }
    let hours = |n: u32| MINUTE * 60 * n;
    let test = |name, who, then, change, refused| Test {
        name,
        who,
        then,
        change,
        refused,
    };
    let tests = [
        test("raised", "ada", |_| {}, raise(), None),
        test(
            "extended",
            "ada",
            |_| {},
            ChangeRequest::new("ticket 2").with_duration(hours(1)),
            None,
        ),
        test(
            "blank",
            "ada",
            |_| {},
            ChangeRequest::new(" ").with_access(Access::ReadWrite),
            Some(RejectionKind::InvalidRequest),
        ),
        test(
            "too long a reason",
            "ada",
            |_| {},
            ChangeRequest::new("x".repeat(501)).with_access(Access::ReadWrite),
            Some(RejectionKind::InvalidRequest),
        ),
        test(
            "nothing to change",
            "ada",
            |_| {},
            ChangeRequest::new("ticket 2"),
            Some(RejectionKind::InvalidRequest),
        ),
        test(
            "beyond the grant",
            "sam",
            |_| {},
            raise(),
            Some(RejectionKind::Denied),
        ),
        test(
            "demoted",
            "ada",
            |d| d.cast.dismiss("ada"),
            raise(),
            Some(RejectionKind::NotAdmin),
        ),
        test(
            "barred",
            "ada",
            |d| d.cast.bar("ines"),
            raise(),
            Some(RejectionKind::Denied),
        ),
        test(
            "the subject is gone",
            "ada",
            |d| drop(d.cast.users.remove(&id("ines"))),
            raise(),
            Some(RejectionKind::SubjectNotFound),
        ),
        test(
            "over",
            "ada",
            |d| d.clock.advance(MINUTE * 30),
            raise(),
            Some(RejectionKind::NothingToEnd),
        ),
        test(
            "no trail",
            "ada",
            |d| d.world.trouble("write", How::Fail),
            raise(),
            Some(RejectionKind::TrailUnavailable),
        ),
        test(
            "no store",
            "ada",
            |d| d.world.trouble("update", How::Hang),
            raise(),
            Some(RejectionKind::Unavailable),
        ),
    ];
    for test in tests {
        let desk = desk();
        let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 30);
        let session = desk.handle.start(&parts(test.who), start).await.unwrap();
        (test.then)(&desk);
        let (parts, whom) = (parts(test.who), subject("ines"));
        let changing = desk.handle.change(&parts, &whom, test.change);
        let changed = desk.while_time_passes(changing).await;

        let kind = changed.as_ref().err().map(Rejection::kind);
        assert_eq!(kind, test.refused, "{}", test.name);
        let row = desk.row(&session).await;
        desk.world.calm();
        let events = desk.events().await;
        if test.refused.is_some() {
            assert_eq!(row.access, Access::ReadOnly, "{}", test.name);
            assert_eq!(row.expires_at, NOON + MINUTE * 30, "{}", test.name);
            assert!(
                events.iter().any(|event| event.rule.is_some()),
                "{}",
                test.name
            );
            // A raise that was announced and did not happen is taken back.
            let raised = |event: &&AuditEvent| event.name == EventName::AccessRaised;
            for raised in events.iter().filter(raised) {
                assert!(is_taken_back(&events, raised), "{}: {events:?}", test.name);
            }
        } else {
            let event = &events[1];
            let reason = event.reason.as_deref().unwrap();
            assert!(reason.starts_with("ticket 2"), "{reason}");
            assert_eq!(event.session, Some(session.session.id));
        }
    }
}

#[tokio::test]
async fn s6_a_raise_counts_from_the_next_request_and_is_durable_before() {
    let desk = desk();
    let start = StartRequest::new(subject("ines"), "ticket 1");
    desk.handle.start(&parts("ada"), start).await.unwrap();
    let reply = desk.send(post("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::ReadOnly));

    let gate = desk.world.gate("write");
    let (parts, whom) = (parts("ada"), subject("ines"));
    {
        let mut changing = pin!(desk.handle.change(&parts, &whom, raise()));
        still_waits(changing.as_mut()).await;
        let reply = desk.send(post("ada", "/?as=ines")).await;
        assert_eq!(reply.kind, Some(RejectionKind::ReadOnly));
        gate.add_permits(100);
        assert_eq!(changing.await.unwrap().access, Access::ReadWrite);
    }
    assert_eq!(desk.send(post("ada", "/?as=ines")).await.kind, None);
    let trail = desk.trail().await;
    assert!(
        trail.contains(&"access_raised ada ines".to_owned()),
        "{trail:?}"
    );
}

#[tokio::test]
async fn s6_an_extension_stays_within_the_ceiling_of_the_grant() {
    let desk = desk();
    let session = desk.start("sam", "ines").await.unwrap();
    desk.clock.advance(MINUTE * 10);
    let longer = ChangeRequest::new("ticket 2").with_duration(MINUTE * 600);
    let changed = desk
        .handle
        .change(&parts("sam"), &subject("ines"), longer)
        .await
        .unwrap();

    assert_eq!(changed.id, session.session.id);
    assert_eq!(changed.expires_at, NOON + MINUTE * 40);
    assert_eq!(desk.trail().await, ["start sam ines", "extended sam ines"]);
}

// === S7, S8 ===

#[tokio::test]
async fn s7_a_session_keeps_who_whom_why_how_and_from_where() {
    let desk = desk_with(|b| b.client_address(|_| Some([192, 0, 2, 1].into())));
    let mut from = parts("ada");
    from.headers
        .insert("user-agent", "browser/1".parse().unwrap());
    let start = StartRequest::new(subject("ines"), " cannot pay ")
        .with_ticket("4711")
        .with_access(Access::ReadWrite);
    let session = desk.handle.start(&from, start).await.unwrap().session;

    assert_eq!(session.id.0.get_version_num(), 7);
    assert_eq!(
        (session.actor.clone(), session.subject.clone()),
        (id("ada"), subject("ines"))
    );
    assert_eq!(session.actor_rank.0, 20);
    assert_eq!(session.role.as_deref(), Some("customer"));
    assert_eq!(session.access, Access::ReadWrite);
    assert_eq!(&*session.reason, "cannot pay");
    assert_eq!(session.ticket.as_deref(), Some("4711"));
    assert_eq!(
        (session.started_at, session.expires_at),
        (NOON, NOON + MINUTE * 120)
    );
    assert_eq!(session.address, Some([192, 0, 2, 1].into()));
    assert_eq!(session.user_agent.as_deref(), Some("browser/1"));
    desk.handle.stop(&from).await.unwrap();
    let later = desk.start("ada", "ines").await.unwrap().session;
    assert!(session.id < later.id);
}

#[tokio::test]
async fn s8_consent_is_asked_at_the_start_and_on_every_request() {
    let desk = desk_with_consent();
    let refused = desk.start("ada", "ines").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Denied);

    desk.consents.grant(id("ines"), NOON + MINUTE * 10);
    let session = desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.consents.withdraw(&id("ines"));
    let reply = desk.send(get("ada", "/?as=ines")).await;

    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
    assert_eq!(
        desk.row(&session).await.ended_reason,
        Some(EndedReason::SubjectGone)
    );
    assert_eq!(desk.echo.calls(), 1);
    assert_eq!(
        desk.trail().await,
        [
            "denied ada ines no_consent",
            "start ada ines",
            "request ada ines GET / completed 200",
            "end ada ines subject_gone",
            "denied ada ines subject_gone",
        ]
    );
}

#[tokio::test]
async fn s8_consent_that_runs_out_ends_the_session_at_that_very_time() {
    let desk = desk_with_consent();
    desk.consents.grant(id("ines"), NOON + MINUTE);
    desk.start("ada", "ines").await.unwrap();
    desk.clock.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.clock.advance(Duration::from_nanos(1));
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
}

// === A1 ===

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

// === A2 ===

#[tokio::test]
async fn a2_every_acted_request_has_one_outcome_whatever_becomes_of_it() {
    type Inner = tower::util::BoxCloneService<Req, Response<Full<Bytes>>, &'static str>;

    struct Test {
        name: &'static str,
        inner: fn() -> Inner,
        outcome: &'static str,
    }
    let tests = [
        Test {
            name: "an answer",
            inner: || Inner::new(service_fn(|_| ready(Ok(Response::new(Full::default()))))),
            outcome: "completed 200",
        },
        Test {
            name: "an answer that says no",
            inner: || {
                Inner::new(service_fn(|_| {
                    let response = Response::builder().status(500).body(Full::default());
                    ready(Ok(response.unwrap()))
                }))
            },
            outcome: "completed 500",
        },
        Test {
            name: "a panic",
            inner: || Inner::new(service_fn(|_| async { panic!("handler") })),
            outcome: "failed",
        },
        Test {
            name: "a panic before there is a future",
            inner: || {
                Inner::new(service_fn(|_| -> std::future::Ready<_> {
                    panic!("handler")
                }))
            },
            outcome: "failed",
        },
        Test {
            name: "an error",
            inner: || Inner::new(service_fn(|_| ready(Err("inner")))),
            outcome: "failed",
        },
        Test {
            name: "the client goes away",
            inner: || Inner::new(service_fn(|_| pending())),
            outcome: "cancelled",
        },
    ];
    for test in tests {
        for method in ["GET", "POST"] {
            let desk = desk();
            desk.start("ada", "ines").await.unwrap();
            let layer = desk.handle.layer();
            let sending = layer
                .layer((test.inner)())
                .oneshot(ask(method, "ada", "/?as=ines"));
            let mut sending: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(sending);
            // Whoever has no answer after a while goes away.
            let sending = tokio::spawn(async move {
                for _ in 0..100 {
                    let polled = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx)));
                    if polled.await.is_ready() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
            let panicked = sending.await.is_err();

            // A panic goes on to whoever runs the service.
            assert_eq!(panicked, test.name.starts_with("a panic"), "{}", test.name);
            let events = desk.events().await;
            let requests: Vec<_> = events
                .iter()
                .filter(|event| event.name == EventName::Request)
                .collect();
            let (outcome, intents) = requests.split_last().unwrap();
            let expected = format!("request ada ines {method} / {}", test.outcome);
            assert_eq!(line(outcome), expected, "{}", test.name);
            assert_eq!(
                intents.len(),
                usize::from(method == "POST"),
                "{}",
                test.name
            );
            for intent in intents {
                assert_eq!(intent.outcome, Some(Outcome::Intent), "{}", test.name);
                assert_eq!(intent.id, outcome.id, "{}", test.name);
            }
        }
    }
}

#[tokio::test]
async fn a2_a_client_that_goes_away_before_the_handler_leaves_its_outcome_too() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let gate = desk.world.gate("write");
    {
        let mut sending = pin!(desk.send(post("ada", "/?as=ines")));
        still_waits(sending.as_mut()).await;
    }
    gate.add_permits(100);

    assert_eq!(
        desk.trail().await,
        [
            "start ada ines",
            "request ada ines POST / intent",
            "request ada ines POST / cancelled",
        ]
    );
    assert_eq!(desk.echo.calls(), 0);
}

// === A3 ===

#[tokio::test]
async fn a3_refused_attempts_are_events_with_the_subject_that_was_asked_for() {
    let desk = desk_with(|b| b.protect("/password"));
    desk.start("sam", "ines").await.unwrap();
    for (request, expected) in [
        (get("", "/?as=ines"), "denied - ines unauthenticated"),
        (
            get("mia", "/?as=root"),
            "privilege_violation mia root not_admin",
        ),
        (get("ada", "/?as=root"), "denied ada root no_session"),
        (
            get("sam", "/?as=~service"),
            "denied sam ~service service_right",
        ),
        (post("sam", "/?as=ines"), "denied sam ines read_only"),
        (get("sam", "/password?as=ines"), "denied sam ines protected"),
        (get("ada", "/?as="), "denied - - malformed_marker"),
    ] {
        let reply = desk.send(request).await;
        let events = desk.events().await;
        let event = events.last().unwrap();
        assert_eq!(line(event), expected);
        assert_eq!(event.status, Some(reply.status.as_u16()));
        assert!(event.path.is_some() && event.method.is_some(), "{event:?}");
    }
    let refused = desk.start("ada", "root").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Denied);
    assert_eq!(desk.trail().await.last().unwrap(), "denied ada root rank");
}

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
    // Refusals have room of their own, so it is more than a count.
    assert!(
        trail.last().unwrap().starts_with("denied ada ines"),
        "{trail:?}"
    );
    assert!(
        trail.last().unwrap().contains("trail_unavailable"),
        "{trail:?}"
    );
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
