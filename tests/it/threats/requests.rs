//! R3 to R12: mistakes of others with the marker: dropped, passed on, mixed up, or let past a check.

use http::StatusCode;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    Access, ChangeRequest, DirectoryUser, Rank, RejectionKind, StartRequest,
};

use crate::support::{
    ADMIN, Desk, MINUTE, NOON, Req, Staff, ask, customer, desk, desk_with, desk_with_consent,
    each_sees_its_own, get, id, parts, post, sessionless, subject, with,
};

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
            let headers = [("connection", "close"), ("connection", value)];
            let mut request = with(post("ada", "/orders"), &headers);
            if marked {
                request = with(request, &[("act-as", "ines")]);
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
        let request = with(get("ada", target), &[("act-as", "ines")]);
        let reply = desk.send_to(inner.clone(), request).await;
        assert_eq!(reply.body, "themselves", "{target}");
        assert_eq!(upstream.echo.last().uri.query(), Some("page=2"), "{target}");
    }
    assert_eq!(upstream.world.asked(), Vec::<String>::new());
}

/// Redmine, Hadoop, appwrite#11533, django-impersonate, pretender. R4.
#[tokio::test]
async fn redmine_and_hadoop_a_marker_that_cannot_be_honoured_is_never_dropped() {
    struct Case {
        name: &'static str,
        then: fn(&Desk),
        target: &'static str,
    }
    let cases = [
        Case {
            name: "unknown",
            then: |_| {},
            target: "/?as=nobody",
        },
        Case {
            name: "deleted",
            then: |desk| drop(desk.cast.users.remove(&id("ines"))),
            target: "/?as=ines",
        },
        Case {
            name: "expired",
            then: |d| d.clock.advance(MINUTE * 120),
            target: "/?as=ines",
        },
    ];
    for case in cases {
        let name = case.name;
        let desk = desk();
        desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (case.then)(&desk);
        let reply = desk.send(post("ada", case.target)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{name}");
        assert_eq!(desk.echo.calls(), 0, "{name}");
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

/// CVE-2018-17244 Elasticsearch, CVE-2022-39328 Grafana.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn elasticsearch_and_grafana_identities_of_concurrent_requests_do_not_mix() {
    each_sees_its_own().await;
}

/// CVE-2022-1245, keycloak#48104, GHSA-q7fm-83gr-cqg5: one policy on every entry point.
#[tokio::test]
async fn keycloak_no_entry_point_lacks_a_check() {
    struct Case {
        name: &'static str,
        /// What makes it forbidden.
        change: fn(&Desk),
    }
    let cases = [
        Case {
            name: "barred",
            change: |desk| desk.cast.bar("ines"),
        },
        Case {
            name: "unknown",
            change: |desk| drop(desk.cast.users.remove(&id("ines"))),
        },
        Case {
            name: "equal rank",
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(20)))
            },
        },
        Case {
            name: "opted out",
            change: |desk| {
                let out = customer("ines").not_impersonable_because("opted out");
                desk.cast.users.insert(out);
            },
        },
        Case {
            name: "no consent",
            change: |desk| desk.consents.withdraw(&id("ines")),
        },
        Case {
            name: "no admin",
            change: |desk| desk.cast.dismiss("ada"),
        },
    ];
    let raise = || ChangeRequest::new("ticket 2").with_access(Access::ReadWrite);
    for case in cases {
        let name = case.name;
        let with_consent = || {
            let desk = desk_with_consent();
            desk.consents.grant(id("ines"), NOON + MINUTE * 60);
            desk
        };
        // The layer.
        let desk = with_consent();
        desk.start("ada", "ines").await.unwrap();
        desk.handle.forget_user(&id("ines"));
        (case.change)(&desk);
        assert!(
            desk.send(get("ada", "/?as=ines")).await.kind.is_some(),
            "{name}"
        );
        assert_eq!(desk.echo.calls(), 0, "{name}");
        // The start, by id and by login.
        let desk = with_consent();
        (case.change)(&desk);
        assert!(desk.start("ada", "ines").await.is_err(), "{name}");
        let login = StartRequest::for_login("ines@shop.example", "ticket 1");
        assert!(
            desk.handle.start(&parts("ada"), login).await.is_err(),
            "{name}"
        );
        // The change.
        let desk = with_consent();
        desk.start("ada", "ines").await.unwrap();
        (case.change)(&desk);
        let changed = desk
            .handle
            .change(&parts("ada"), &subject("ines"), raise())
            .await;
        assert!(changed.is_err(), "{name}");
    }
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
            let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
            let request = with(get("ada", "/?as=ines"), &headers);
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
