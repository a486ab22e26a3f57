//! What went wrong in systems like ours, each as a test: the rows about requests, sessions and the trail.

use std::{convert::Infallible, future::ready, time::Duration};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    Access, ActingAs, Builder, ChangeRequest, DirectoryUser, Rank, RejectionKind, StartRequest,
    audit::{EventName, Outcome},
    session::EndedReason,
};

use crate::{rules_requests::each_sees_its_own, support::*};

/// CVE-2021-31999 Rancher, CVE-2022-23652 capsule-proxy. R3.
#[tokio::test]
async fn rancher_and_capsule_proxy_a_marker_named_in_connection_is_refused() {
    for value in [
        "act-as",
        "Act-As",
        "close, ACT-AS",
        "keep-alive,\tact-as ,close",
        "act-as-reason",
    ] {
        // With the marker still there, and with the marker already dropped by a proxy.
        for marked in [true, false] {
            let desk = sessionless(|b| b);
            let mut request = post("ada", "/orders");
            request
                .headers_mut()
                .append("connection", "close".parse().unwrap());
            request
                .headers_mut()
                .append("connection", value.parse().unwrap());
            if marked {
                request
                    .headers_mut()
                    .insert("act-as", "ines".parse().unwrap());
            }
            let reply = desk.send(request).await;

            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{value}");
            assert_eq!(desk.echo.calls(), 0, "{value}");
        }
    }
}

/// CVE-2021-36776 Rancher, cluster-proxy#335. R9.
#[tokio::test]
async fn rancher_and_cluster_proxy_a_marker_does_not_go_upstream() {
    let desk = desk_with(|b| b.exclude("/proxy"));
    desk.start("ada", "ines").await.unwrap();
    // A handler that forwards all it got to a second application with the same layer.
    let upstream = sessionless(|b| b);
    let forward = upstream.handle.layer().layer(upstream.echo.clone());
    let inner = service_fn(move |request: Req| {
        let mut forwarded = Req::new(Full::default());
        *forwarded.uri_mut() = request.uri().clone();
        *forwarded.headers_mut() = request.headers().clone();
        forward.clone().oneshot(forwarded)
    });
    for target in ["/orders?as=ines&page=2", "/proxy/x?%61s=ines&page=2"] {
        let mut request = get("ada", target);
        request
            .headers_mut()
            .insert("act-as", "ines".parse().unwrap());
        let reply = desk.send_to(inner.clone(), request).await;
        assert_eq!(reply.body, "themselves", "{target}");
        assert_eq!(upstream.echo.last().uri.query(), Some("page=2"), "{target}");
    }
    assert_eq!(upstream.world.asked(), Vec::<String>::new());
}

/// Redmine, Hadoop, appwrite#11533, django-impersonate, pretender. R4.
#[tokio::test]
async fn redmine_and_hadoop_a_marker_that_cannot_be_honoured_is_never_dropped() {
    struct Test {
        name: &'static str,
        then: fn(&Desk),
        target: &'static str,
    }
    let tests = [
        Test {
            name: "unknown",
            then: |_| {},
            target: "/?as=nobody",
        },
        Test {
            name: "deleted",
            then: |desk| drop(desk.cast.users.remove(&id("ines"))),
            target: "/?as=ines",
        },
        Test {
            name: "expired",
            then: |d| d.clock.advance(MINUTE * 120),
            target: "/?as=ines",
        },
    ];
    for test in tests {
        let desk = desk();
        desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (test.then)(&desk);
        let reply = desk.send(post("ada", test.target)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{}", test.name);
        assert_eq!(desk.echo.calls(), 0, "{}", test.name);
    }
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    desk.handle
        .revoke(&parts("root"), session.id)
        .await
        .unwrap();
    assert_eq!(
        desk.send(post("ada", "/?as=ines")).await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(desk.echo.calls(), 0);
}

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
    struct Test {
        change: fn(&Desk),
        reason: EndedReason,
    }
    let tests = [
        Test {
            change: |desk| desk.cast.dismiss("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Test {
            change: |desk| {
                let locked = customer("ines").not_impersonable_because("locked");
                desk.cast.users.insert(locked);
            },
            reason: EndedReason::SubjectGone,
        },
        Test {
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(25)))
            },
            reason: EndedReason::SubjectGone,
        },
    ];
    for test in tests {
        let desk = desk();
        let session = desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (test.change)(&desk);
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::SessionEnded),
            "{}",
            test.reason
        );
        assert_eq!(desk.row(&session).await.ended_reason, Some(test.reason));
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
        assert_eq!(ended.unwrap().len(), 2);
        for target in ["/?as=ines", "/?as=otto"] {
            let reply = desk.send(get("ada", target)).await;
            assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{target}");
        }
        assert_eq!(desk.echo.calls(), 0);
    }
}

/// CVE-2018-17244 Elasticsearch, CVE-2022-39328 Grafana.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn elasticsearch_and_grafana_identities_of_concurrent_requests_do_not_mix() {
    each_sees_its_own().await;
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

/// CVE-2022-1245, keycloak#48104, GHSA-q7fm-83gr-cqg5: one policy on every entry point.
#[tokio::test]
async fn keycloak_no_entry_point_lacks_a_check() {
    struct Test {
        name: &'static str,
        /// What makes it forbidden.
        change: fn(&Desk),
    }
    let tests = [
        Test {
            name: "barred",
            change: |desk| desk.cast.bar("ines"),
        },
        Test {
            name: "unknown",
            change: |desk| drop(desk.cast.users.remove(&id("ines"))),
        },
        Test {
            name: "equal rank",
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(20)))
            },
        },
        Test {
            name: "opted out",
            change: |desk| {
                let out = customer("ines").not_impersonable_because("opted out");
                desk.cast.users.insert(out);
            },
        },
        Test {
            name: "no consent",
            change: |desk| desk.consents.withdraw(&id("ines")),
        },
        Test {
            name: "no admin",
            change: |desk| desk.cast.dismiss("ada"),
        },
    ];
    let raise = || ChangeRequest::new("ticket 2").with_access(Access::ReadWrite);
    for test in tests {
        let with_consent = || {
            let desk = desk_with_consent();
            desk.consents.grant(id("ines"), NOON + MINUTE * 60);
            desk
        };
        // The layer.
        let desk = with_consent();
        desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (test.change)(&desk);
        assert!(
            desk.send(get("ada", "/?as=ines")).await.kind.is_some(),
            "{}",
            test.name
        );
        assert_eq!(desk.echo.calls(), 0, "{}", test.name);
        // The start, by id and by login.
        let desk = with_consent();
        (test.change)(&desk);
        assert!(desk.start("ada", "ines").await.is_err(), "{}", test.name);
        let login = StartRequest::for_login("ines@shop.example", "ticket 1");
        assert!(
            desk.handle.start(&parts("ada"), login).await.is_err(),
            "{}",
            test.name
        );
        // The change.
        let desk = with_consent();
        desk.start("ada", "ines").await.unwrap();
        (test.change)(&desk);
        let changed = desk
            .handle
            .change(&parts("ada"), &subject("ines"), raise())
            .await;
        assert!(changed.is_err(), "{}", test.name);
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

/// CVE-2019-18886 Symfony. R7.
#[tokio::test]
async fn symfony_answers_do_not_tell_which_users_exist() {
    let desk = sessionless(|b| b);
    let mut answers = Vec::new();
    for whom in [
        "root",
        "abe",
        "kim",
        "bot",
        "nobody",
        "no%20body",
        "~service",
    ] {
        desk.world.forget();
        let reply = desk.send(get("ada", &format!("/?as={whom}"))).await;
        answers.push((reply.status, reply.headers, reply.body));
        if whom != "~service" {
            // The same work for all of them.
            assert_eq!(desk.world.count("find"), 1, "{whom}");
        }
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
    // Who may not ask causes no look-up at all.
    desk.world.forget();
    desk.send(get("mia", "/?as=root")).await;
    desk.send(get("mia", "/?as=nobody")).await;
    assert_eq!(desk.world.count("find"), 0);
}

/// appwrite#12167. R5.
#[tokio::test]
async fn appwrite_a_link_on_another_site_does_not_act() {
    for site in ["cross-site", "same-site"] {
        for mode in ["navigate", "no-cors", "cors"] {
            let desk = desk();
            desk.start("ada", "ines").await.unwrap();
            let mut request = get("ada", "/?as=ines");
            request
                .headers_mut()
                .insert("sec-fetch-site", site.parse().unwrap());
            request
                .headers_mut()
                .insert("sec-fetch-mode", mode.parse().unwrap());
            let reply = desk.send(request).await;
            assert_eq!(reply.kind, Some(RejectionKind::CrossSite), "{site} {mode}");
            assert_eq!(desk.echo.calls(), 0, "{site} {mode}");
        }
    }
}

/// CVE-2017-5646 Knox, Hadoop's first-match `doAs`. R3, R9.
#[tokio::test]
async fn knox_and_hadoop_parser_stripper_and_trail_read_the_same_marker() {
    for (target, whom) in [
        ("/?as=ines&AS=otto", Some(("ines", "AS=otto"))),
        ("/?x=1&%41s=otto&as=ines", Some(("ines", "x=1&%41s=otto"))),
        ("/?a%73=ines&x=as=otto", Some(("ines", "x=as=otto"))),
        ("/?as=ines;as=otto", None),
        ("/?as=ines&as=otto", None),
        ("/?as=otto&a%73=ines", None),
        ("/?as=ines&as", None),
        ("/?as=ines&as%00=otto", Some(("ines", "as%00=otto"))),
    ] {
        let desk = sessionless(|b| b);
        let reply = desk.send(get("ada", target)).await;
        let Some((whom, rest)) = whom else {
            assert!(reply.kind.is_some(), "{target}");
            assert_eq!(desk.echo.calls(), 0, "{target}");
            continue;
        };
        assert_eq!(reply.headers["acted-as"], whom, "{target}");
        assert_eq!(desk.echo.last().uri.query(), Some(rest), "{target}");
        let event = &desk.events().await[0];
        assert_eq!(event.subject, Some(subject(whom)), "{target}");
    }
}

/// CVE-2026-27880 Grafana. R11.
#[tokio::test]
async fn grafana_no_spelling_of_a_path_gets_around_a_protected_route() {
    for path in [
        "//account//2fa",
        "/account/./2fa",
        "/account/%2e/2fa",
        "/account/2fa/",
        "/account%2F2fa",
    ] {
        let desk = desk_with(|b| b.protect("/account/2fa"));
        desk.start("ada", "ines").await.unwrap();
        let reply = desk.send(post("ada", &format!("{path}?as=ines"))).await;
        assert_eq!(reply.kind, Some(RejectionKind::Protected), "{path}");
        assert_eq!(desk.echo.calls(), 0, "{path}");
    }
}

/// fluxbase: the service role needs its own grant.
#[tokio::test]
async fn fluxbase_the_service_role_is_reached_by_leaving_nothing_out() {
    for target in ["/?as=~service", "/?as=~service&x=", "/?as=%7Eservice"] {
        let desk = sessionless(|b| b);
        assert_eq!(
            desk.send(get("ada", target)).await.kind,
            Some(RejectionKind::Denied),
            "{target}"
        );
        assert_eq!(
            desk.send(get("root", target)).await.body,
            "~service by root",
            "{target}"
        );
    }
    for target in ["/?as=", "/?as", "/?as=%7Eanon%00"] {
        let desk = sessionless(|b| b);
        let reply = desk.send(get("root", target)).await;
        assert_eq!(reply.kind, Some(RejectionKind::MalformedMarker), "{target}");
    }
    // The right can be lost like any other.
    let desk = desk();
    desk.start("root", "~service").await.unwrap();
    assert_eq!(
        desk.send(get("root", "/?as=~service")).await.body,
        "~service by root"
    );
    desk.cast.hire("root", Staff { rank: 30, ..ADMIN });
    let reply = desk.send(get("root", "/?as=~service")).await;
    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
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

/// fluxbase, nextcloud, frappe. A6, A8.
#[tokio::test]
async fn fluxbase_and_nextcloud_the_trail_names_the_real_person_and_outlives_the_subject() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.send(post("ada", "/orders?as=ines")).await;
    desk.cast.users.remove(&id("ines"));
    desk.handle.forget_user(&id("ines"));
    desk.send(get("ada", "/?as=ines")).await;

    let events = desk.events().await;
    assert_eq!(
        events.iter().map(line).collect::<Vec<_>>(),
        [
            "start ada ines",
            "request ada ines POST /orders intent",
            "request ada ines POST /orders completed 200",
            "end ada ines subject_gone",
            "denied ada ines subject_gone",
        ]
    );
}

/// kubernetes audit. A3.
#[tokio::test]
async fn kubernetes_a_refused_attempt_names_whom_it_asked_for_in_its_own_field() {
    let desk = sessionless(|b| b);
    desk.send(get("mia", "/?as=root")).await;
    let events = desk.events().await;

    assert_eq!(events[0].subject, Some(subject("root")));
    let json: serde_json::Value = serde_json::from_str(&events[0].to_json_line()).unwrap();
    assert_eq!(
        (&json["actor"], &json["subject"]),
        (&"mia".into(), &"root".into())
    );
    assert_eq!(json["name"], "privilege_violation");
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

/// devise_masquerade, agenticos#943: a marker never grants anything.
#[tokio::test]
async fn devise_masquerade_a_link_is_no_credential() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    // The link of an open session in other hands.
    for (who, status) in [("", 401), ("mia", 403), ("abe", 403), ("root", 403)] {
        for target in ["/?as=ines".to_owned(), format!("/?as={}", session.id)] {
            let reply = desk.send(get(who, &target)).await;
            assert_eq!(reply.status, status, "{who} {target}");
        }
    }
    assert_eq!(desk.echo.calls(), 0);
}

/// statamic#15247, gitlabhq#10074. R11.
#[tokio::test]
async fn statamic_second_factor_set_up_never_runs_for_the_subject() {
    let desk = desk_with(|b| b.protect("/two-factor"));
    desk.start("ada", "ines").await.unwrap();
    for method in ["GET", "POST", "DELETE"] {
        let reply = desk
            .send(ask(method, "ada", "/two-factor/setup?as=ines"))
            .await;
        assert_eq!(reply.kind, Some(RejectionKind::Protected), "{method}");
    }
    assert_eq!(desk.echo.calls(), 0);
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

/// pgaudit, sudo, Vault. A1, A5.
#[tokio::test]
async fn pgaudit_sudo_and_vault_a_dead_audit_device_is_neither_ignored_nor_hangs_everything() {
    for how in [How::Fail, How::Hang] {
        let desk = desk();
        desk.start("ada", "ines").await.unwrap();
        desk.world.trouble("write", how.clone());
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let desk = desk.clone();
                tokio::spawn(async move { desk.send(post("ada", "/orders?as=ines")).await })
            })
            .collect();
        // Those who have nothing to do with it do not wait.
        assert_eq!(desk.send(post("ada", "/")).await.body, "themselves");
        assert_eq!(desk.send(get("mia", "/")).await.body, "themselves");
        let answers = desk.while_time_passes(async {
            let mut answers = Vec::new();
            for one in waiting {
                answers.push(one.await.unwrap());
            }
            answers
        });
        for answer in answers.await {
            assert_eq!(
                answer.status,
                StatusCode::SERVICE_UNAVAILABLE,
                "{}",
                how.name()
            );
        }
        assert_eq!(desk.echo.calls(), 2, "{}", how.name());
        desk.world.calm();
        for event in desk.events().await {
            assert_ne!(event.outcome, Some(Outcome::Completed), "{event:?}");
        }
        assert_eq!(
            desk.send_slowly(post("ada", "/orders?as=ines"))
                .await
                .status,
            StatusCode::OK
        );
    }
}

/// ASVS 16.4.1. A6.
#[tokio::test]
async fn asvs_a_newline_forges_no_line() {
    let desk = desk_with(|b| b.fold_reads(Duration::ZERO));
    let reason = "ticket 1\n{\"name\":\"impersonation.end\"}\r\n\u{2028}\u{202e}";
    let start = StartRequest::new(subject("ines"), reason);
    let (mut from, _) = post("ada", "/start%0a%0d").into_parts();
    let agent = http::HeaderValue::from_bytes(b"agent\tone\xff\xc2\x85").unwrap();
    from.headers.insert("user-agent", agent);
    desk.handle.start(&from, start).await.unwrap();
    let inner =
        service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))));
    desk.send_to(inner, get("ada", "/%0aforged?as=ines")).await;

    for event in desk.events().await {
        let line = event.to_json_line();
        assert!(
            !line.chars().any(|c| c.is_control() || c == '\u{2028}'),
            "{line:?}"
        );
        assert!(
            serde_json::from_str::<serde_json::Value>(&line).is_ok(),
            "{line}"
        );
    }
}
