//! R8, R16, S1, S2, S5: mistakes of others with sessions: they outlived a demotion, were started twice or by the subject.

use http::StatusCode;
use tower_impersonation::{
    ActingAs, Builder, DirectoryUser, Rank, RejectionKind, StartRequest, audit::EventName,
    session::EndedReason,
};

use crate::support::{
    ADMIN, Desk, How, ask, customer, desk, desk_with, get, id, parts, sessionless, settle, subject,
};

/// CVE-2016-4340 GitLab. S5.
#[tokio::test]
async fn gitlab_stop_ignores_every_id_but_the_callers_own() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    let (mut stop, _) = ask("DELETE", "mia", "/stop_impersonation?id=root&as=ines").into_parts();
    stop.headers.insert("act-as", "ines".parse().unwrap());
    stop.headers
        .insert("x-session", session.id.to_string().parse().unwrap());

    assert_eq!(
        desk.handle.stop(&stop).await.unwrap_err().kind(),
        RejectionKind::NothingToEnd
    );
    assert_eq!(desk.active().await, [session]);
    // And nobody became anyone.
    assert_eq!(desk.send(get("mia", "/")).await.body, "themselves");
    assert_eq!(
        desk.send(get("mia", "/?as=root")).await.kind,
        Some(RejectionKind::NotAdmin)
    );
}

/// gitlab#20388, symfony#37307, symfony#65502, Hephaestus#1885, better-auth. R8.
#[tokio::test]
async fn gitlab_and_symfony_a_session_does_not_outlive_demotion_or_promotion() {
    struct Case {
        change: fn(&Desk),
        reason: EndedReason,
    }
    let cases = [
        Case {
            change: |desk| desk.cast.dismiss("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Case {
            change: |desk| {
                let locked = customer("ines").not_impersonable_because("locked");
                desk.cast.users.insert(locked);
            },
            reason: EndedReason::SubjectGone,
        },
        Case {
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(25)))
            },
            reason: EndedReason::SubjectGone,
        },
    ];
    for case in cases {
        let desk = desk();
        let session = desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (case.change)(&desk);
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::SessionEnded),
            "{}",
            case.reason
        );
        assert_eq!(desk.row(&session).await.ended_reason, Some(case.reason));
        // The rank that comes back does not bring the session back.
        desk.cast.hire("ada", ADMIN);
        desk.cast.users.insert(customer("ines"));
        assert_eq!(
            desk.send(get("ada", "/?as=ines")).await.kind,
            Some(RejectionKind::NoSession)
        );
        assert_eq!(desk.echo.calls(), 0);
    }
}

/// synaplan#1657, accounts-js#1096, fluxbase. S4.
#[tokio::test]
async fn synaplan_and_accounts_js_stop_and_log_out_end_what_was_started() {
    for log_out in [true, false] {
        let desk = desk_with(|b| b.max_active(2));
        desk.start("ada", "ines").await.unwrap();
        desk.start("ada", "otto").await.unwrap();
        let ended = match log_out {
            true => desk.handle.log_out(&id("ada")).await,
            false => desk.handle.stop(&parts("ada")).await,
        };
        assert_eq!(ended.unwrap().sessions.len(), 2);
        for target in ["/?as=ines", "/?as=otto"] {
            let reply = desk.send(get("ada", target)).await;
            assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{target}");
        }
        assert_eq!(desk.echo.calls(), 0);
    }
}

/// CVE-2026-17526 Keycloak, calagopus#91, StudioCMS CVE-2026-32103. S1, R14.
#[tokio::test]
async fn keycloak_and_studiocms_only_strictly_lower_ranks_on_every_path() {
    for (who, whom) in [
        ("ada", "abe"),
        ("ada", "root"),
        ("sam", "ada"),
        ("sam", "sam"),
    ] {
        let desk = desk();
        assert!(desk.start(who, whom).await.is_err(), "{who} {whom}");
        let login = StartRequest::for_login(format!("{whom}@shop.example"), "ticket 1");
        assert!(
            desk.handle.start(&parts(who), login).await.is_err(),
            "{who} {whom}"
        );
        assert_eq!(desk.active().await.len(), 0, "{who} {whom}");

        let alone = sessionless(|b| b);
        let reply = alone.send(get(who, &format!("/?as={whom}"))).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{who} {whom}");
        assert_eq!(alone.echo.calls(), 0, "{who} {whom}");
    }
}

/// MAIF/daikoku#1102: sessions belong to the actor; the subject's own login knows nothing of them.
#[tokio::test]
async fn daikoku_the_subject_gains_nothing_from_a_session_for_it() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;

    assert_eq!(desk.send(get("ines", "/")).await.body, "themselves");
    for target in ["/?as=ines", "/?as=ada"] {
        assert_eq!(
            desk.send(get("ines", target)).await.kind,
            Some(RejectionKind::NotAdmin)
        );
    }
    assert!(desk.handle.current(&parts("ines")).await.unwrap().is_none());
    assert!(desk.handle.stop(&parts("ines")).await.is_err());
    assert!(
        desk.handle
            .revoke(&parts("ines"), session.id)
            .await
            .is_err()
    );
    assert_eq!(desk.active().await, [session]);
}

/// gitlab#196028, Teleport, granit#424. R16, S1.
#[tokio::test]
async fn gitlab_and_teleport_an_acted_request_starts_nothing() {
    let desk = desk_with(|b| b.max_active(5));
    desk.start("root", "ada").await.unwrap();
    desk.send(get("root", "/?as=ada")).await;
    let acting_as: ActingAs = desk.echo.last().acting_as.unwrap();

    // As the actor and, were the login swapped, as the subject.
    for who in ["root", "ada"] {
        let mut acted = parts(who);
        acted.extensions.insert(acting_as.clone());
        let start = StartRequest::new(subject("ines"), "ticket 1");
        let refused = desk.handle.start(&acted, start).await.unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::Nested, "{who}");
        // The trail names the one who is really there.
        let trail = desk.trail().await;
        assert_eq!(trail.last().unwrap(), "denied root ines nested", "{who}");
    }
    assert_eq!(desk.active().await.len(), 1);
}

/// fluxbase, hijack. S2.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fluxbase_and_hijack_a_hundred_starts_leave_one_session() {
    for replace in [false, true] {
        let set = |builder: Builder| match replace {
            true => builder.replace_active().starts_per_hour(1_000),
            false => builder,
        };
        let desk = desk_with(set);
        desk.world.trouble("start", How::Slow(5));
        let running: Vec<_> = (0..100)
            .map(|n| {
                let desk = desk.clone();
                let whom = ["ines", "otto", "mia"][n % 3];
                tokio::spawn(async move { desk.start("ada", whom).await.is_ok() })
            })
            .collect();
        let mut started = 0;
        for one in running {
            started += usize::from(one.await.unwrap());
        }
        assert_eq!(started, if replace { 100 } else { 1 });
        assert_eq!(desk.active().await.len(), 1);
        desk.handle.trail().flush().await.unwrap();
        let ends = desk
            .sink
            .events()
            .into_iter()
            .filter(|event| event.name == EventName::End);
        assert_eq!(ends.count(), started - 1);
    }
}

/// tideway. A1, S1, R13.
#[tokio::test]
async fn tideway_no_session_before_its_row_no_blank_reason_and_no_time_zero() {
    let desk = desk();
    let gate = desk.world.gate("write");
    let starting = tokio::spawn({
        let desk = desk.clone();
        async move { desk.start("ada", "ines").await }
    });
    settle().await;
    assert_eq!(desk.active().await.len(), 0);
    gate.add_permits(100);
    starting.await.unwrap().unwrap();
    desk.handle.stop(&parts("ada")).await.unwrap();

    let blank = StartRequest::new(subject("ines"), "\u{200b} \t".replace('\u{200b}', " "));
    let refused = desk.handle.start(&parts("ada"), blank).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::InvalidRequest);

    desk.events().await;
    let before = desk.sink.events().len();
    desk.clock.break_down("no battery");
    let refused = desk.start("ada", "ines").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unavailable);
    settle().await;
    assert_eq!(
        desk.sink.events().len(),
        before,
        "no event of the year 1970"
    );
}

/// owncloud#58, filament. S2.
#[tokio::test]
async fn owncloud_a_start_that_fails_leaves_nothing() {
    for place in [
        "identify",
        "authorize",
        "find",
        "check",
        "write",
        "start",
        "started",
    ] {
        let desk = desk();
        desk.world.trouble(place, How::Fail);
        assert!(
            desk.while_time_passes(desk.start("ada", "ines"))
                .await
                .is_err(),
            "{place}"
        );
        desk.world.calm();
        settle().await;

        assert_eq!(desk.active().await.len(), 0, "{place}");
        assert!(
            desk.handle.current(&parts("ada")).await.unwrap().is_none(),
            "{place}"
        );
        assert!(
            desk.send(get("ada", "/?as=ines")).await.kind.is_some(),
            "{place}"
        );
        assert_eq!(desk.echo.calls(), 0, "{place}");
    }
}
