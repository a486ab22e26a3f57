//! R1 to R19: what a request may do.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_impersonation::{
    Access, ActingAs, ChangeRequest, DirectoryUser, Impersonation, Rank, Rejection, RejectionKind,
    StartRequest, Subject, UserId,
    audit::EventName,
    session::{EndedReason, MemorySessions},
};

use crate::support::*;

// === R1 ===

#[tokio::test]
async fn r1_an_unmarked_request_asks_and_records_nothing() {
    let desk = desk_with_consent();
    for target in [
        "/",
        "/orders",
        "/orders?page=2&has=42",
        "/orders?q=%20&AS=ines",
    ] {
        let reply = desk.send(get("ada", target)).await;

        assert_eq!(reply.body, "themselves", "{target}");
        assert!(!reply.headers.contains_key("acted-as"), "{target}");
        assert!(
            !reply.headers.contains_key(header::CACHE_CONTROL),
            "{target}"
        );
    }
    assert_eq!(desk.echo.calls(), 4);
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.trail().await, Vec::<String>::new());
}

#[tokio::test]
async fn r1_an_unmarked_request_passes_while_everything_is_down() {
    let desk = desk();
    for place in ["identify", "authorize", "find", "active", "write"] {
        desk.world.trouble(place, How::Panic);
    }
    desk.clock.break_down("no battery");

    assert_eq!(desk.send(post("ada", "/orders")).await.body, "themselves");
}

// === R2, R3 ===

#[tokio::test]
async fn r2_a_marker_stands_in_the_query_or_in_the_header_of_the_set_name() {
    struct Test {
        name: &'static str,
        desk: Desk,
        target: &'static str,
        header: Option<(&'static str, &'static str)>,
        body: &'static str,
    }
    let tests = [
        Test {
            name: "query",
            desk: sessionless(|b| b),
            target: "/?as=ines",
            header: None,
            body: "ines by ada",
        },
        Test {
            name: "header",
            desk: sessionless(|b| b),
            target: "/",
            header: Some(("act-as", "ines")),
            body: "ines by ada",
        },
        Test {
            name: "both, when they agree",
            desk: sessionless(|b| b),
            target: "/?as=ines",
            header: Some(("act-as", "ines")),
            body: "ines by ada",
        },
        Test {
            name: "other names",
            desk: sessionless(|b| b.query_parameter("behalf").header("X-Behalf")),
            target: "/?behalf=ines",
            header: Some(("x-behalf", "ines")),
            body: "ines by ada",
        },
        Test {
            name: "with other names, the usual ones are not markers",
            desk: sessionless(|b| b.query_parameter("behalf").header("X-Behalf")),
            target: "/?as=ines",
            header: Some(("act-as", "ines")),
            body: "themselves",
        },
        Test {
            name: "the anonymous visitor",
            desk: sessionless(|b| b),
            target: "/?as=~anon",
            header: None,
            body: "~anon by ada",
        },
    ];
    for test in tests {
        let mut request = get("ada", test.target);
        if let Some((name, value)) = test.header {
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(
            test.desk.send(request).await.body,
            test.body,
            "{}",
            test.name
        );
    }
}

#[tokio::test]
async fn r3_a_marker_that_cannot_be_read_is_refused() {
    struct Test {
        name: &'static str,
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
    }
    let tests = [
        Test {
            name: "empty",
            target: "/?as=",
            headers: &[],
        },
        Test {
            name: "without a value",
            target: "/?as",
            headers: &[],
        },
        Test {
            name: "repeated",
            target: "/?as=ines&as=ines",
            headers: &[],
        },
        Test {
            name: "repeated in disguise",
            target: "/?as=ines&%61%73=otto",
            headers: &[],
        },
        Test {
            name: "a control",
            target: "/?as=a%00b",
            headers: &[],
        },
        Test {
            name: "no UTF-8",
            target: "/?as=%ff",
            headers: &[],
        },
        Test {
            name: "a broken sequence",
            target: "/?as=ines%2",
            headers: &[],
        },
        Test {
            name: "empty header",
            target: "/",
            headers: &[("act-as", "")],
        },
        Test {
            name: "repeated header",
            target: "/",
            headers: &[("act-as", "ines"), ("act-as", "ines")],
        },
        Test {
            name: "they disagree",
            target: "/?as=ines",
            headers: &[("act-as", "otto")],
        },
        Test {
            name: "named in Connection",
            target: "/",
            headers: &[("act-as", "ines"), ("connection", "close, aCT-aS")],
        },
        Test {
            name: "named in Connection and already gone",
            target: "/",
            headers: &[("connection", "act-as")],
        },
        Test {
            name: "a reason alone",
            target: "/",
            headers: &[("act-as-reason", "ticket 1")],
        },
        Test {
            name: "a blank reason",
            target: "/?as=ines",
            headers: &[("act-as-reason", " ")],
        },
    ];
    for test in tests {
        let desk = sessionless(|b| b.exclude("/admin"));
        // An excluded path is no way around it.
        for path in ["", "/admin"] {
            let mut request = get("ada", &format!("{path}{}", test.target));
            for (name, value) in test.headers {
                request.headers_mut().append(*name, value.parse().unwrap());
            }
            let reply = desk.send(request).await;

            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{}", test.name);
            assert_eq!(
                reply.kind,
                Some(RejectionKind::MalformedMarker),
                "{}",
                test.name
            );
        }
        assert_eq!(desk.echo.calls(), 0, "{}", test.name);
        let refused = "denied - - malformed_marker";
        assert_eq!(desk.trail().await, [refused, refused], "{}", test.name);
    }
}

#[tokio::test]
async fn r3_an_encoded_name_is_a_marker() {
    let desk = sessionless(|b| b);

    let reply = desk.send(get("ada", "/orders?page=2&%61s=%69nes")).await;

    assert_eq!(reply.body, "ines by ada");
    assert_eq!(desk.echo.last().uri, "/orders?page=2");
}

// === R4 ===

#[tokio::test]
async fn r4_a_marker_that_cannot_be_honoured_runs_no_handler() {
    use RejectionKind::*;

    struct Test {
        name: &'static str,
        desk: Desk,
        /// Who has a session for whom.
        session: Option<(&'static str, &'static str)>,
        then: fn(&Desk),
        request: Req,
        kind: RejectionKind,
    }
    let test = |name, session, then, request, kind| Test {
        name,
        desk: desk_with(|b| b.protect("/password")),
        session,
        then,
        request,
        kind,
    };
    let alone = |name, then, request, kind| Test {
        name,
        desk: sessionless(|b| b),
        session: None,
        then,
        request,
        kind,
    };
    let ada = Some(("ada", "ines"));
    let tests = [
        test(
            "no session",
            None,
            |_| {},
            get("ada", "/?as=ines"),
            NoSession,
        ),
        test(
            "a session for someone else",
            ada,
            |_| {},
            get("ada", "/?as=otto"),
            NoSession,
        ),
        test(
            "a session of someone else",
            ada,
            |_| {},
            get("abe", "/?as=ines"),
            NoSession,
        ),
        test(
            "unknown, with sessions",
            ada,
            |_| {},
            get("ada", "/?as=nobody"),
            NoSession,
        ),
        test(
            "over",
            ada,
            |d| d.clock.advance(MINUTE * 120),
            get("ada", "/?as=ines"),
            NoSession,
        ),
        test(
            "idle",
            ada,
            |d| d.clock.advance(MINUTE * 30),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        test("nobody", ada, |_| {}, get("", "/?as=ines"), Unauthenticated),
        test("no admin", ada, |_| {}, get("mia", "/?as=ines"), NotAdmin),
        test(
            "the subject",
            ada,
            |_| {},
            get("ines", "/?as=ines"),
            NotAdmin,
        ),
        test(
            "demoted",
            ada,
            |d| d.cast.dismiss("ada"),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        test(
            "barred",
            ada,
            |d| d.cast.bar("ines"),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        test(
            "read-only",
            Some(("sam", "ines")),
            |_| {},
            post("sam", "/?as=ines"),
            ReadOnly,
        ),
        test(
            "protected",
            ada,
            |_| {},
            get("ada", "/password?as=ines"),
            Protected,
        ),
        test(
            "the service role",
            ada,
            |_| {},
            get("ada", "/?as=~service"),
            Denied,
        ),
        test("oneself", ada, |_| {}, get("ada", "/?as=ada"), Denied),
        test("empty", ada, |_| {}, get("ada", "/?as="), MalformedMarker),
        test(
            "no trail",
            ada,
            |d| d.world.trouble("write", How::Fail),
            post("ada", "/?as=ines"),
            TrailUnavailable,
        ),
        test(
            "no checker",
            ada,
            |d| d.world.trouble("identify", How::Fail),
            get("ada", "/?as=ines"),
            Unavailable,
        ),
        test(
            "no time",
            ada,
            |d| d.clock.break_down("no battery"),
            get("ada", "/?as=ines"),
            Unavailable,
        ),
        alone("unknown", |_| {}, get("ada", "/?as=nobody"), Denied),
        alone("opted out", |_| {}, get("ada", "/?as=kim"), Denied),
        alone("a system account", |_| {}, get("ada", "/?as=bot"), Denied),
        alone("equal rank", |_| {}, get("ada", "/?as=abe"), Denied),
        alone("higher rank", |_| {}, get("sam", "/?as=ada"), Denied),
        alone(
            "barred",
            |d| d.cast.bar("ines"),
            get("ada", "/?as=ines"),
            Denied,
        ),
        alone("oneself", |_| {}, get("ada", "/?as=ada"), Denied),
        alone("read-only", |_| {}, post("sam", "/?as=ines"), ReadOnly),
        alone("trace", |_| {}, ask("TRACE", "sam", "/?as=ines"), ReadOnly),
    ];
    for test in tests {
        if let Some((who, whom)) = test.session {
            test.desk.start(who, whom).await.unwrap();
        }
        (test.then)(&test.desk);
        let reply = test.desk.send_slowly(test.request).await;

        assert_eq!(reply.kind, Some(test.kind), "{}", test.name);
        assert_eq!(reply.status, test.kind.status(), "{}", test.name);
        assert_eq!(test.desk.echo.calls(), 0, "{}", test.name);
        assert!(reply.acting_as.is_none(), "{}", test.name);
    }
}

// === R5 ===

#[tokio::test]
async fn r5_a_marker_in_the_url_is_refused_from_other_sites() {
    struct Test {
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
        refused: bool,
    }
    const MARKED: &str = "/orders?as=ines";
    let tests = [
        Test {
            target: MARKED,
            headers: &[("sec-fetch-site", "cross-site")],
            refused: true,
        },
        Test {
            target: MARKED,
            headers: &[("sec-fetch-site", "same-site")],
            refused: true,
        },
        Test {
            target: MARKED,
            headers: &[("sec-fetch-site", "same-origin")],
            refused: false,
        },
        Test {
            target: MARKED,
            headers: &[("sec-fetch-site", "none")],
            refused: false,
        },
        Test {
            target: MARKED,
            headers: &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
            refused: true,
        },
        Test {
            target: MARKED,
            headers: &[],
            refused: false,
        },
        Test {
            target: MARKED,
            headers: &[("origin", "https://shop.example")],
            refused: false,
        },
        Test {
            target: MARKED,
            headers: &[("origin", "https://evil.example")],
            refused: true,
        },
        Test {
            target: MARKED,
            headers: &[("origin", "null")],
            refused: true,
        },
        Test {
            target: MARKED,
            headers: &[("act-as", "ines"), ("sec-fetch-site", "cross-site")],
            refused: true,
        },
        // A header cannot be set across sites without the application's own leave.
        Test {
            target: "/orders",
            headers: &[("act-as", "ines"), ("sec-fetch-site", "cross-site")],
            refused: false,
        },
    ];
    for test in tests {
        let desk = sessionless(|b| b);
        let mut request = get("ada", test.target);
        request
            .headers_mut()
            .insert("host", "shop.example".parse().unwrap());
        for (name, value) in test.headers {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        let reply = desk.send(request).await;

        let kind = test.refused.then_some(RejectionKind::CrossSite);
        assert_eq!(reply.kind, kind, "{:?}", test.headers);
        assert_eq!(
            desk.echo.calls(),
            usize::from(!test.refused),
            "{:?}",
            test.headers
        );
        if test.refused {
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
            assert_eq!(desk.world.count("identify"), 0, "nobody is asked");
            assert_eq!(desk.trail().await, ["denied - ines cross_site"]);
        }
    }
}

#[tokio::test]
async fn r5_a_page_gets_an_interstitial_with_a_link_to_continue() {
    let desk = sessionless(|b| b);
    let mut request = get("ada", "/orders?as=ines&q=%22x");
    let headers = request.headers_mut();
    headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    headers.insert("sec-fetch-mode", "navigate".parse().unwrap());
    let reply = desk.send(request).await;

    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert_eq!(
        reply.headers[header::CONTENT_TYPE],
        "text/html; charset=utf-8"
    );
    assert!(
        reply.body.contains("href=\"/orders?as=ines&amp;q=%22x\""),
        "{}",
        reply.body
    );
    assert!(
        reply.body.contains("href=\"/orders?q=%22x\""),
        "{}",
        reply.body
    );
}

// === R6, R7 ===

#[tokio::test]
async fn r6_nobody_is_401_and_a_user_is_403_and_a_privilege_violation() {
    for desk in [desk(), sessionless(|b| b)] {
        let nobody = desk.send(get("", "/?as=ines")).await;
        assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);

        let user = desk.send(get("mia", "/?as=ines")).await;
        assert_eq!(user.status, StatusCode::FORBIDDEN);

        assert_eq!(
            desk.trail().await,
            [
                "denied - ines unauthenticated",
                "privilege_violation mia ines not_admin"
            ]
        );
        assert_eq!(desk.world.count("authorize") + desk.world.count("find"), 0);
    }
}

#[tokio::test]
async fn r7_not_allowed_and_unknown_look_the_same() {
    let alone = sessionless(|b| b);
    alone.cast.bar("otto");
    let mut replies = Vec::new();
    for whom in ["otto", "kim", "abe", "root", "nobody"] {
        let reply = alone.send(get("ada", &format!("/orders?as={whom}"))).await;
        replies.push((reply.status, reply.headers, reply.body));
    }
    assert_eq!(replies[0].0, StatusCode::FORBIDDEN);
    for reply in &replies {
        assert_eq!(*reply, replies[0]);
    }

    // With sessions nobody is looked up at all before there is one.
    let desk = desk();
    let known = desk.send(get("ada", "/orders?as=otto")).await;
    let unknown = desk.send(get("ada", "/orders?as=nobody")).await;
    assert_eq!(
        (known.status, known.headers, known.body),
        (unknown.status, unknown.headers, unknown.body)
    );
    assert_eq!(desk.world.count("find"), 0);
}

#[tokio::test]
async fn r7_the_checker_is_asked_before_the_directory() {
    let desk = sessionless(|b| b);
    desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(
        desk.world.asked()[..3],
        ["identify", "authorize ines", "find ines"]
    );

    desk.world.forget();
    desk.cast.bar("otto");
    desk.send(get("ada", "/?as=otto")).await;
    desk.events().await;
    assert_eq!(desk.world.asked(), ["identify", "authorize otto", "write"]);
}

// === R8 ===

#[tokio::test]
async fn r8_what_changed_since_the_start_ends_the_session_with_the_next_request() {
    struct Test {
        name: &'static str,
        change: fn(&Desk),
        reason: EndedReason,
    }
    let tests = [
        Test {
            name: "the actor is a user now",
            change: |desk| desk.cast.dismiss("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Test {
            name: "the actor fell in rank",
            change: |desk| desk.cast.hire("ada", Staff { rank: 19, ..ADMIN }),
            reason: EndedReason::ActorDemoted,
        },
        Test {
            name: "the checker says no",
            change: |desk| desk.cast.bar("ada"),
            reason: EndedReason::ActorDemoted,
        },
        Test {
            name: "the grant is narrower",
            change: |desk| {
                let access = Access::ReadOnly;
                desk.cast.hire("ada", Staff { access, ..ADMIN });
            },
            reason: EndedReason::ActorDemoted,
        },
        Test {
            name: "the subject is gone",
            change: |desk| drop(desk.cast.users.remove(&id("ines"))),
            reason: EndedReason::SubjectGone,
        },
        Test {
            name: "the subject rose",
            change: |desk| {
                desk.cast
                    .users
                    .insert(DirectoryUser::new(id("ines"), Rank(20)))
            },
            reason: EndedReason::SubjectGone,
        },
        Test {
            name: "the subject opted out",
            change: |desk| {
                desk.cast
                    .users
                    .insert(customer("ines").not_impersonable_because("opted out"));
            },
            reason: EndedReason::SubjectGone,
        },
    ];
    for test in tests {
        let desk = desk_with(|b| b.directory_cache(Duration::ZERO));
        let session = desk.start("ada", "ines").await.unwrap();
        assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");

        (test.change)(&desk);
        let reply = desk.send(post("ada", "/?as=ines")).await;

        assert_eq!(
            reply.kind,
            Some(RejectionKind::SessionEnded),
            "{}",
            test.name
        );
        assert_eq!(desk.echo.calls(), 1, "{}", test.name);
        assert_eq!(
            desk.row(&session).await.ended_reason,
            Some(test.reason),
            "{}",
            test.name
        );
        let events = desk.events().await;
        let (end, denied) = (&events[2], &events[3]);
        assert_eq!(
            line(end),
            format!("end ada ines {}", test.reason),
            "{}",
            test.name
        );
        assert_eq!(
            line(denied),
            format!("denied ada ines {}", test.reason),
            "{}",
            test.name
        );
        assert_eq!(end.session, Some(session.session.id), "{}", test.name);
        // It stays refused.
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_ne!(reply.kind, None, "{}", test.name);
        assert_eq!(desk.echo.calls(), 1, "{}", test.name);
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
    struct Test {
        name: &'static str,
        method: &'static str,
        held_at: &'static str,
    }
    let tests = [
        Test {
            name: "while the intent is written",
            method: "POST",
            held_at: "write",
        },
        Test {
            name: "while the directory answers",
            method: "GET",
            held_at: "find",
        },
        Test {
            name: "while the subject's type is loaded",
            method: "GET",
            held_at: "assume",
        },
    ];
    for test in tests {
        let world = World::default();
        let loading = world.clone();
        let desk = Desk::within(world, &MemorySessions::new(), true, |b| {
            b.directory_cache(Duration::ZERO).assume(move |_| {
                let world = loading.clone();
                async move { world.at("assume", "").await.map(|()| None::<Login>) }
            })
        });
        let session = desk.start("ada", "ines").await.unwrap();
        // The process knows the session already.
        assert_eq!(
            desk.send(get("ada", "/?as=ines")).await.status,
            StatusCode::OK,
            "{}",
            test.name
        );
        desk.events().await;

        let gate = desk.world.gate(test.held_at);
        let mut sending = pin!(desk.send(ask(test.method, "ada", "/?as=ines")));
        still_waits(sending.as_mut()).await;
        desk.handle
            .revoke(&parts("root"), session.session.id)
            .await
            .unwrap();
        gate.add_permits(100);
        let reply = sending.await;

        assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{}", test.name);
        assert_eq!(desk.echo.calls(), 1, "{}", test.name);
        if test.method == "POST" {
            let trail = desk.trail().await;
            assert!(
                trail.contains(&"request ada ines POST / refused".to_owned()),
                "{trail:?}"
            );
        }
    }
}

// === R9 ===

/// One request as it is, and the whole answer.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn r9_the_inner_service_sees_no_marker_on_any_path() {
    struct Test {
        name: &'static str,
        request: &'static str,
        status: &'static str,
        inner: Option<&'static str>,
    }
    let tests = [
        Test {
            name: "acted",
            request: "GET /orders?page=2&%61s=ines&x=%20 HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\n\
                      aCt-AS: ines\r\nACT-as-REASON: ticket 7\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/orders?page=2&x=%20"),
        },
        Test {
            name: "excluded",
            request: "GET /admin/users?as=ines&page=2 HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\n\
                      ACT-AS: ines\r\nAct-as-Reason: ticket 7\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/admin/users?page=2"),
        },
        Test {
            name: "nothing but the marker",
            request: "GET /?as=ines HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/"),
        },
        Test {
            name: "refused",
            request: "GET /?as=nobody HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 403",
            inner: None,
        },
        Test {
            name: "twice in odd case",
            request: "GET / HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\naCt-As: ines\r\nACT-AS: ines\r\n\
                      Connection: close\r\n\r\n",
            status: "HTTP/1.1 400",
            inner: None,
        },
        Test {
            name: "twice on an excluded path",
            request: "GET /admin HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\naCt-As: ines\r\nACT-AS: otto\r\n\
                      Connection: close\r\n\r\n",
            status: "HTTP/1.1 400",
            inner: None,
        },
    ];
    for test in tests {
        let desk = sessionless(|b| b.exclude("/admin"));
        let address = serve(desk.handle.layer().layer(desk.echo.clone())).await;
        let answer = raw(address, test.request).await;

        assert!(answer.starts_with(test.status), "{}: {answer}", test.name);
        assert_eq!(
            desk.echo.calls(),
            usize::from(test.inner.is_some()),
            "{}",
            test.name
        );
        if let Some(target) = test.inner {
            let seen = desk.echo.last();
            assert_eq!(seen.uri, target, "{}", test.name);
            let names: Vec<_> = seen.headers.keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["host", "x-user", "connection"], "{}", test.name);
        }
    }
}

// === R10, R11, R12 ===

#[tokio::test]
async fn r10_unsafe_methods_need_read_write_access() {
    struct Test {
        method: &'static str,
        target: &'static str,
        r#override: bool,
        read: bool,
    }
    let test = |method, target, read| Test {
        method,
        target,
        r#override: false,
        read,
    };
    let tests = [
        test("GET", "/orders?as=ines", true),
        test("HEAD", "/orders?as=ines", true),
        test("OPTIONS", "/orders?as=ines", true),
        test("POST", "/orders?as=ines", false),
        test("PUT", "/orders?as=ines", false),
        test("PATCH", "/orders?as=ines", false),
        test("DELETE", "/orders?as=ines", false),
        test("TRACE", "/orders?as=ines", false),
        test("CONNECT", "/orders?as=ines", false),
        test("PURGE", "/orders?as=ines", false),
        test("get", "/orders?as=ines", false),
        test("POST", "/search?as=ines", true),
        test("PUT", "/search?as=ines", false),
        test("POST", "/search/save?as=ines", false),
        test("POST", "/search/?as=ines", false),
        Test {
            method: "GET",
            target: "/orders?as=ines",
            r#override: true,
            read: false,
        },
    ];
    for test in tests {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let desk = desk_with(|b| b.read_route(Method::POST, "/search"));
            let start = StartRequest::new(subject("ines"), "ticket 1").with_access(access);
            desk.handle.start(&parts("ada"), start).await.unwrap();
            let mut request = ask(test.method, "ada", test.target);
            if test.r#override {
                let method = "DELETE".parse().unwrap();
                request
                    .headers_mut()
                    .insert("x-http-method-override", method);
            }
            let reply = desk.send(request).await;

            let what = format!("{} {} {access}", test.method, test.target);
            if test.read || access == Access::ReadWrite {
                assert_eq!(reply.kind, None, "{what}");
                assert_eq!(desk.echo.calls(), 1, "{what}");
                let access_seen = desk.echo.last().acting_as.map(|a| a.access());
                assert_eq!(access_seen, Some(access), "{what}");
            } else {
                assert_eq!(reply.kind, Some(RejectionKind::ReadOnly), "{what}");
                assert_eq!(desk.echo.calls(), 0, "{what}");
                let denied = "denied ada ines read_only".to_owned();
                assert_eq!(desk.trail().await.last(), Some(&denied), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn r11_protected_routes_are_refused_in_every_access_mode_and_spelling() {
    let paths = [
        "/account/password",
        "/account/password/",
        "/account/password/new",
        "//account//password",
        "/account/./password",
        "/account/x/../password",
        "/account/%70assword",
        "/account%2fpassword",
        "/account/%2e/password",
        "/orders/%2e%2e/account/password",
        "/account\\password",
    ];
    for path in paths {
        for method in ["GET", "POST"] {
            for who in ["ada", "sam"] {
                let desk = desk_with(|b| b.protect("/account/password"));
                desk.start(who, "ines").await.unwrap();
                let Ok(target) = format!("{path}?as=ines").parse::<http::Uri>() else {
                    // It never gets past the parser of the server either.
                    continue;
                };
                let reply = desk.send(ask(method, who, &target.to_string())).await;

                assert_eq!(
                    reply.kind,
                    Some(RejectionKind::Protected),
                    "{method} {path} {who}"
                );
                assert_eq!(desk.echo.calls(), 0, "{method} {path} {who}");
                // Unmarked it is the caller's own.
                assert_eq!(desk.send(ask(method, who, path)).await.body, "themselves");
            }
        }
    }
    // Whole segments.
    let desk = desk_with(|b| b.protect("/account/password"));
    desk.start("ada", "ines").await.unwrap();
    let reply = desk
        .send(get("ada", "/account/password-hints?as=ines"))
        .await;
    assert_eq!(reply.body, "ines by ada");
}

#[tokio::test]
async fn r12_excluded_paths_run_as_the_actor_and_no_spelling_widens_them() {
    struct Test {
        target: &'static str,
        excluded: bool,
    }
    let test = |target, excluded| Test { target, excluded };
    let tests = [
        test("/admin?as=ines", true),
        test("/admin/?as=ines", true),
        test("/admin/users/7?as=ines", true),
        test("/tenants/8/admin/x?as=ines", true),
        test("/administrators?as=ines", false),
        test("/orders/admin?as=ines", false),
        test("/admin/../orders?as=ines", false),
        test("/admin/%2e%2e/orders?as=ines", false),
        test("/admin%2f..%2forders?as=ines", false),
        test("/admin/..%2forders?as=ines", false),
        test("//admin?as=ines", false),
        test("/%61dmin?as=ines", false),
        test("/tenants//admin?as=ines", false),
    ];
    for test in tests {
        let desk = desk_with(|b| b.exclude("/admin").exclude("/tenants/*/admin"));
        desk.start("ada", "ines").await.unwrap();
        desk.world.forget();
        let reply = desk.send(get("ada", test.target)).await;

        let body = if test.excluded {
            "themselves"
        } else {
            "ines by ada"
        };
        assert_eq!(reply.body, body, "{}", test.target);
        assert_eq!(
            desk.world.count("identify") == 0,
            test.excluded,
            "{}",
            test.target
        );
        assert_eq!(desk.echo.last().uri.query(), None, "{}", test.target);
    }
}

// === R13 ===

/// What the host's authentication leaves in the extensions.
#[derive(Debug, Clone, PartialEq)]
struct Login(String);

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
            let consents = tower_impersonation::MemoryConsents::default();
            consents.grant(id("ines"), NOON + MINUTE * 60);
            let consents = Watched {
                world: world.clone(),
                inner: consents,
            };
            let loading = world.clone();
            let desk = Desk::within(world, &MemorySessions::new(), true, |b| {
                b.require_consent(consents)
                    .directory_cache(Duration::ZERO)
                    .assume(move |_| {
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

        assert_eq!(reply.kind, Some(RejectionKind::Unavailable));
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

// === R14, R15 ===

#[tokio::test]
async fn r14_the_host_finds_the_subject_where_its_own_user_was() {
    #[derive(Debug, Clone, PartialEq)]
    struct Roles(Vec<String>);

    let desk = sessionless(|b| {
        b.assume(|acting_as: ActingAs| async move {
            Ok(acting_as
                .subject()
                .user_id()
                .map(|id| Login(id.to_string())))
        })
        .assume(|acting_as: ActingAs| async move {
            let role = acting_as
                .user()
                .and_then(DirectoryUser::role)
                .map(str::to_owned);
            Ok(role.map(|role| Roles(vec![role])))
        })
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let inner = service_fn(move |request: Req| {
        let extensions = request.extensions();
        seeing.lock().unwrap().push((
            extensions.get::<Login>().cloned(),
            extensions.get::<Roles>().cloned(),
            extensions.get::<ActingAs>().is_some(),
        ));
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    for target in ["/?as=ines", "/?as=~anon", "/"] {
        let mut request = get("ada", target);
        request.extensions_mut().insert(Login("ada".to_owned()));
        request
            .extensions_mut()
            .insert(Roles(vec!["admin".to_owned()]));
        let reply = desk.send_to(inner.clone(), request).await;
        assert_eq!(reply.acting_as.is_some(), target != "/");
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (
                Some(Login("ines".to_owned())),
                Some(Roles(vec!["customer".to_owned()])),
                true
            ),
            (None, None, true),
            (
                Some(Login("ada".to_owned())),
                Some(Roles(vec!["admin".to_owned()])),
                false
            ),
        ]
    );
}

#[tokio::test]
async fn r14_acting_as_is_in_the_request_and_in_the_response() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    let reply = desk.send(get("ada", "/?as=ines")).await;

    for acting_as in [
        reply.acting_as.unwrap(),
        desk.echo.last().acting_as.unwrap(),
    ] {
        assert_eq!(acting_as.actor().id(), &id("ada"));
        assert_eq!(acting_as.subject(), &subject("ines"));
        assert_eq!(acting_as.access(), Access::ReadWrite);
        assert_eq!(acting_as.session(), Some(&*session));
        assert_eq!(acting_as.reason(), Some("ticket 4711"));
        assert_eq!(
            acting_as.user().and_then(DirectoryUser::login),
            Some("ines@shop.example")
        );
        assert_eq!(acting_as.expires_at(), Some(NOON + MINUTE * 120));
    }
}

#[tokio::test]
async fn r15_acted_responses_say_so_and_are_not_stored() {
    struct Test {
        marker: &'static str,
        subject: &'static str,
        acted_as: &'static str,
    }
    let tests = [
        Test {
            marker: "ines",
            subject: "ines",
            acted_as: "ines",
        },
        Test {
            marker: "~anon",
            subject: "~anon",
            acted_as: "~anon",
        },
        Test {
            marker: "J%C3%BCrgen+%25",
            subject: "Jürgen %",
            acted_as: "J%C3%BCrgen %25",
        },
    ];
    for test in tests {
        for keep in [true, false] {
            let desk = Desk::new(&MemorySessions::new(), keep, |b| b);
            desk.cast.users.insert(customer("Jürgen %"));
            if keep {
                desk.start("ada", test.subject).await.unwrap();
            }
            let inner = service_fn(|_: Req| {
                let response = Response::builder()
                    .status(404)
                    .header(header::CACHE_CONTROL, "public, max-age=60")
                    .header(header::CACHE_CONTROL, "immutable")
                    .header(header::REFERRER_POLICY, "unsafe-url")
                    .header("acted-as", "nobody");
                ready(Ok::<_, Infallible>(
                    response.body(Full::<Bytes>::default()).unwrap(),
                ))
            });
            let reply = desk
                .send_to(inner, get("ada", &format!("/?as={}", test.marker)))
                .await;

            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", test.marker);
            let all = |name| reply.headers.get_all(name).iter().collect::<Vec<_>>();
            assert_eq!(all("acted-as"), [test.acted_as], "{}", test.marker);
            assert_eq!(all("cache-control"), ["no-store"], "{}", test.marker);
            assert_eq!(all("referrer-policy"), ["same-origin"], "{}", test.marker);
        }
    }
}

// === R16 ===

#[tokio::test]
async fn r16_an_acted_request_is_not_acted_again() {
    // Two layers around one service: the outer one acts, the inner one finds no marker any more.
    let outer = sessionless(|b| b);
    let inner = sessionless(|b| b);
    let reply = outer
        .send_to(
            inner.handle.layer().layer(inner.echo.clone()),
            get("ada", "/?as=ines"),
        )
        .await;
    assert_eq!(reply.body, "ines by ada");
    assert_eq!(inner.world.count("identify"), 0);

    // With a marker of its own for the inner one, there would be a chain.
    let inner = sessionless(|b| b.query_parameter("then"));
    let reply = outer
        .send_to(
            inner.handle.layer().layer(inner.echo.clone()),
            get("ada", "/?as=ines&then=otto"),
        )
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.body.contains("\"nested\""), "{}", reply.body);
    assert_eq!(inner.echo.calls(), 0);
    assert_eq!(inner.trail().await, ["denied - otto nested"]);
}

#[tokio::test]
async fn r16_an_acted_request_starts_changes_lists_and_revokes_nothing() {
    let desk = desk_with(|b| b.max_active(5));
    let session = desk.start("root", "ada").await.unwrap().session;
    desk.send(get("root", "/?as=ada")).await;
    let mut acted = parts("root");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());

    let start = StartRequest::new(subject("ines"), "ticket 1");
    let change = ChangeRequest::new("ticket 2").with_access(Access::ReadWrite);
    let kinds = [
        desk.handle.start(&acted, start).await.unwrap_err().kind(),
        desk.handle
            .change(&acted, &subject("ada"), change)
            .await
            .unwrap_err()
            .kind(),
        desk.handle
            .revoke(&acted, session.id)
            .await
            .unwrap_err()
            .kind(),
        desk.handle
            .list(&acted, Default::default(), Default::default())
            .await
            .unwrap_err()
            .kind(),
    ];

    assert_eq!(kinds, [RejectionKind::Nested; 4]);
    assert_eq!(desk.active().await.len(), 1);
    let trail = desk.trail().await;
    assert!(
        trail.contains(&"denied root ines nested".to_owned()),
        "{trail:?}"
    );
}

// === R17 ===

#[tokio::test]
async fn r17_a_refusal_is_one_constant_sentence_in_the_form_that_is_asked_for() {
    struct Test {
        headers: &'static [(&'static str, &'static str)],
        content_type: &'static str,
        is_json: bool,
    }
    let tests = [
        Test {
            headers: &[],
            content_type: "application/json",
            is_json: true,
        },
        Test {
            headers: &[("accept", "application/problem+json")],
            content_type: "application/problem+json",
            is_json: true,
        },
        Test {
            headers: &[("accept", "text/html,*/*;q=0.8")],
            content_type: "text/html; charset=utf-8",
            is_json: false,
        },
        Test {
            headers: &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")],
            content_type: "text/html; charset=utf-8",
            is_json: false,
        },
        Test {
            headers: &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            content_type: "application/json",
            is_json: true,
        },
    ];
    let desk = desk_with(|b| b.control_path("/impersonation"));
    for test in tests {
        let mut request = get("ada", "/orders?as=ines&page=2");
        for (name, value) in test.headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        if !test
            .headers
            .iter()
            .any(|(name, _)| *name == "sec-fetch-site")
        {
            request
                .headers_mut()
                .insert("sec-fetch-site", "same-origin".parse().unwrap());
        }
        let reply = desk.send(request).await;

        assert_eq!(
            reply.kind,
            Some(RejectionKind::NoSession),
            "{:?}",
            test.headers
        );
        assert_eq!(
            reply.headers[header::CONTENT_TYPE],
            test.content_type,
            "{:?}",
            test.headers
        );
        assert_eq!(
            reply.headers[header::CACHE_CONTROL],
            "no-store",
            "{:?}",
            test.headers
        );
        let sentence = RejectionKind::NoSession.sentence();
        assert!(reply.body.contains(sentence), "{}", reply.body);
        if test.is_json {
            let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(
                body,
                serde_json::json!({
                    "type": "about:blank", "title": "Forbidden", "status": 403,
                    "detail": sentence, "code": "no_session", "error": sentence,
                })
            );
        } else {
            assert!(
                reply.body.contains("href=\"/orders?page=2\""),
                "{}",
                reply.body
            );
            assert!(
                reply.body.contains("action=\"/impersonation/end\""),
                "{}",
                reply.body
            );
        }
    }
}

#[tokio::test]
async fn r17_the_reason_goes_to_the_trail_and_not_to_the_caller() {
    let desk = sessionless(|b| b);
    desk.cast.bar("otto");
    let reply = desk.send(get("ada", "/?as=otto")).await;

    assert!(!reply.body.contains("barred"), "{}", reply.body);
    assert!(!format!("{:?}", reply.headers).contains("barred"));
    let reason = desk.events().await[0].reason.clone().unwrap();
    assert!(reason.contains("barred by name"), "{reason}");
}

#[tokio::test]
async fn r17_a_host_builds_its_own_refusals_and_the_rejection_is_still_in_them() {
    let desk = sessionless(|b| {
        b.rejection_response(|rejection, parts| {
            let mut response = Response::new(Bytes::from(format!("{} {}", rejection, parts.uri)));
            *response.status_mut() = StatusCode::IM_A_TEAPOT;
            response
                .headers_mut()
                .insert("cache-control", "max-age=60".parse().unwrap());
            response
        })
    });
    for (request, kind) in [
        (get("ada", "/?as=kim"), RejectionKind::Denied),
        (get("ada", "/?as="), RejectionKind::MalformedMarker),
        (get("", "/?as=ines"), RejectionKind::Unauthenticated),
    ] {
        let reply = desk.send(request).await;
        assert_eq!(reply.status, StatusCode::IM_A_TEAPOT);
        assert_eq!(reply.kind, Some(kind));
        assert!(reply.body.starts_with(kind.sentence()), "{}", reply.body);
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
    }
}

// === R18 ===

#[tokio::test]
async fn r18_forwarded_headers_are_trusted_only_when_the_host_says_so() {
    struct Test {
        name: &'static str,
        desk: Desk,
        address: Option<&'static str>,
    }
    let tests = [
        Test {
            name: "by default",
            desk: desk(),
            address: None,
        },
        Test {
            name: "one proxy",
            desk: desk_with(|b| b.trusted_proxies(NonZeroUsize::MIN)),
            address: Some("10.0.0.7"),
        },
        Test {
            name: "the host's own",
            desk: desk_with(|b| b.client_address(|_| Some(IpAddr::from([192, 0, 2, 1])))),
            address: Some("192.0.2.1"),
        },
    ];
    for test in tests {
        let mut request = get("ada", "/?as=ines");
        let claims = "6.6.6.6, 10.0.0.7".parse().unwrap();
        request.headers_mut().insert("x-forwarded-for", claims);
        let (from, _) = request.clone().into_parts();
        let start = StartRequest::new(subject("ines"), "ticket 1");
        let session = test.desk.handle.start(&from, start).await.unwrap().session;
        test.desk.send(request).await;

        let address = test
            .address
            .map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(session.address, address, "{}", test.name);
        let events = test.desk.events().await;
        assert_eq!(events.len(), 2, "{}", test.name);
        for event in events {
            assert_eq!(event.address, address, "{}: {event:?}", test.name);
        }
    }
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn r18_the_peer_of_the_connection_is_the_default() {
    let desk = desk();
    let mut from = parts("ada");
    let peer = axum::extract::ConnectInfo(SocketAddr::from(([192, 0, 2, 9], 4711)));
    from.extensions.insert(peer);
    from.headers
        .insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
    let start = StartRequest::new(subject("ines"), "ticket 1");
    let session = desk.handle.start(&from, start).await.unwrap().session;

    assert_eq!(session.address, Some(IpAddr::from([192, 0, 2, 9])));
}

// === R19 ===

/// A body of whatever is sent to it.
struct Channel(mpsc::UnboundedReceiver<&'static str>);

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = self.0.poll_recv(cx);
        text.map(|text| text.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

/// A body that always has more.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}

type Ending =
    fn(&Desk, &tower_impersonation::session::Session) -> Pin<Box<dyn Future<Output = ()>>>;

/// Every way for a session to end while a response is under way.
fn endings() -> [(&'static str, Ending); 5] {
    [
        ("stopped", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move { drop(desk.handle.stop(&parts("ada")).await.unwrap()) })
        }),
        ("revoked", |desk, session| {
            let (desk, id) = (desk.clone(), session.id);
            Box::pin(async move { drop(desk.handle.revoke(&parts("root"), id).await.unwrap()) })
        }),
        ("over", |desk, _| {
            desk.clock.advance(MINUTE * 10);
            Box::pin(async {})
        }),
        ("logged out", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move { drop(desk.handle.log_out(&id("ada")).await.unwrap()) })
        }),
        ("demoted", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move {
                desk.cast.dismiss("ada");
                desk.send(get("ada", "/?as=ines")).await;
            })
        }),
    ]
}

#[tokio::test]
async fn r19_a_streaming_body_is_cut_when_its_session_ends() {
    for (name, ending) in endings() {
        let desk = desk();
        let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 10);
        let session = desk
            .handle
            .start(&parts("ada"), start)
            .await
            .unwrap()
            .session;
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        let inner = service_fn(move |_: Request<hyper::body::Incoming>| {
            let body = Channel(receiver.lock().unwrap().take().unwrap());
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let address = serve(desk.handle.layer().layer(inner)).await;

        let mut body = fetch(address, get("ada", "/?as=ines")).await.into_body();
        sender.send("one").unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one", "{name}");
        ending(&desk, &session).await;
        let _ = sender.send("two");
        let cut = body.frame().await;

        // An error, and neither more data nor a clean end.
        assert!(matches!(cut, Some(Err(_))), "{name}: {cut:?}");
    }
}

#[tokio::test]
async fn r19_a_body_that_never_has_to_wait_is_cut_as_well() {
    for (name, ending) in endings() {
        let desk = desk();
        let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 10);
        let session = desk
            .handle
            .start(&parts("ada"), start)
            .await
            .unwrap()
            .session;
        let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
        let response = desk
            .handle
            .layer()
            .layer(inner)
            .oneshot(get("ada", "/?as=ines"));
        let mut body = response.await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok(), "{name}");

        ending(&desk, &session).await;

        let cut = body.frame().await.unwrap();
        let error = cut.expect_err(name);
        assert!(
            error.is::<tower_impersonation::SessionOver>(),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn r19_a_handler_can_wait_for_the_end() {
    for (name, ending) in endings() {
        let desk = desk();
        let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 10);
        let session = desk
            .handle
            .start(&parts("ada"), start)
            .await
            .unwrap()
            .session;
        desk.send(get("ada", "/?as=ines")).await;
        let acting_as = desk.echo.last().acting_as.unwrap();
        let mut ended = pin!(acting_as.ended());
        still_waits(ended.as_mut()).await;

        ending(&desk, &session).await;

        let reason = ended.await;
        let expected = match name {
            "stopped" => EndedReason::Manual,
            "revoked" => EndedReason::SessionRevoked,
            "over" => EndedReason::Timeout,
            "logged out" => EndedReason::AdminLogout,
            _ => EndedReason::ActorDemoted,
        };
        assert_eq!(reason, expected, "{name}");
    }
}

#[tokio::test]
async fn r19_an_end_that_overtakes_the_first_look_at_the_session_still_cuts() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    // The store has answered, and the session ends before the answer is there.
    let gate = desk.world.gate("answer");
    let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
    let mut sending = pin!(
        desk.handle
            .layer()
            .layer(inner)
            .oneshot(get("ada", "/?as=ines"))
    );
    still_waits(sending.as_mut()).await;
    desk.handle
        .revoke(&parts("root"), session.id)
        .await
        .unwrap();
    gate.add_permits(1);

    let response = sending.await.unwrap();

    let kind = response
        .extensions()
        .get::<Rejection>()
        .map(Rejection::kind);
    assert_eq!(kind, Some(RejectionKind::NoSession));
}

#[tokio::test]
async fn r19_the_answer_to_a_stop_arrives_whole() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let handle: Impersonation = desk.handle.clone();
    let inner = service_fn(move |request: Request<hyper::body::Incoming>| {
        let handle = handle.clone();
        async move {
            let (parts, _) = request.into_parts();
            let ended = handle.stop(&parts).await.unwrap();
            Ok::<_, Infallible>(Response::new(Full::from(format!("ended {}", ended.len()))))
        }
    });
    let address = serve(desk.handle.layer().layer(inner)).await;

    let response = fetch(address, post("ada", "/exit?as=ines")).await;

    assert_eq!(response.status(), StatusCode::OK);
    let body = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, "ended 1");
    assert_eq!(desk.active().await.len(), 0);
}

#[tokio::test]
async fn r19_without_a_session_nothing_is_cut() {
    let desk = sessionless(|b| b);
    let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
    let response = desk
        .handle
        .layer()
        .layer(inner)
        .oneshot(get("ada", "/?as=ines"));
    let mut body = response.await.unwrap().into_body();
    desk.clock.advance(MINUTE * 600);

    assert!(body.frame().await.unwrap().is_ok());
}

// === The tower part ===

#[tokio::test]
async fn the_layer_takes_bodies_that_are_not_sync() {
    struct NotSync(std::cell::Cell<Option<Bytes>>);

    impl Body for NotSync {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    for target in ["/", "/?as=ines", "/?as=otto"] {
        let inner = service_fn(|request: Request<NotSync>| {
            let body = request.into_body();
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let body = NotSync(std::cell::Cell::new(Some(Bytes::from_static(b"it"))));
        let (parts, _) = get("ada", target).into_parts();
        let sending = desk
            .handle
            .layer()
            .layer(inner)
            .oneshot(Request::from_parts(parts, body));
        // It can be sent to another thread.
        let response = tokio::spawn(sending).await.unwrap().unwrap();
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole == "it", target != "/?as=otto");
    }
}

/// Ready only after it was asked, one permit per call, as `tower::limit` does it: a clone has to ask anew.
struct Limited {
    permits: Arc<AtomicUsize>,
    holds: bool,
    called: Arc<AtomicUsize>,
}

impl Clone for Limited {
    fn clone(&self) -> Self {
        Self {
            permits: self.permits.clone(),
            holds: false,
            called: self.called.clone(),
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if self.holds {
            self.permits.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Service<Req> for Limited {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.holds {
            if self.permits.load(Ordering::SeqCst) == 0 {
                return Poll::Pending;
            }
            self.permits.fetch_sub(1, Ordering::SeqCst);
            self.holds = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(self.holds, "called before it was ready");
        self.holds = false;
        self.permits.fetch_add(1, Ordering::SeqCst);
        self.called.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn the_service_calls_only_what_was_ready_and_gives_every_permit_back() {
    let desk = desk_with(|b| b.exclude("/admin"));
    desk.start("ada", "ines").await.unwrap();
    let permits = Arc::new(AtomicUsize::new(1));
    let called = Arc::new(AtomicUsize::new(0));
    let limited = Limited {
        permits: permits.clone(),
        holds: false,
        called: called.clone(),
    };
    let mut service = desk.handle.layer().layer(limited);
    // One service for all, as a connection has it.
    for target in [
        "/?as=ines",
        "/",
        "/?as=otto",
        "/admin?as=ines",
        "/?as=",
        "/?as=ines",
        "/",
    ] {
        poll_fn(|cx| Service::<Req>::poll_ready(&mut service, cx))
            .await
            .unwrap();
        assert_eq!(permits.load(Ordering::SeqCst), 0, "{target}");
        service.call(get("ada", target)).await.unwrap();
    }
    assert_eq!(called.load(Ordering::SeqCst), 5);
    drop(service);
    assert_eq!(permits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_service_waits_for_its_inner_one() {
    let desk = sessionless(|b| b);
    let (mut service, mut inner) =
        tower_test::mock::spawn_layer::<Req, Response<Full<Bytes>>, _>(desk.handle.layer());
    inner.allow(0);
    assert!(service.poll_ready().is_pending());
    inner.allow(1);
    assert!(service.poll_ready().is_ready());
    let sending = service.call(get("ada", "/?as=ines"));
    let answering = async {
        let (request, send) = inner.next_request().await.unwrap();
        assert!(request.extensions().get::<ActingAs>().is_some());
        send.send_response(Response::new(Full::default()));
    };
    let (response, ()) = tokio::join!(sending, answering);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_axum_router_serves_the_subject_inside_and_around() {
    use axum::{Extension, Router, routing::get as route};

    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let router = || {
        Router::new().route(
            "/orders/{id}",
            route(|acting_as: Option<Extension<ActingAs>>| async move {
                who(acting_as.map(|Extension(acting_as)| acting_as).as_ref())
            }),
        )
    };
    let around = desk.handle.layer().layer(router());
    let inside = router().layer(desk.handle.layer());
    for (target, body) in [
        ("/orders/7?as=ines", "ines by ada"),
        ("/orders/7", "themselves"),
    ] {
        let request = get("ada", target).map(axum::body::Body::new);
        let response = around.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            body
        );

        let request = get("ada", target).map(axum::body::Body::new);
        let response = inside.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            body
        );
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_stays_its_error() {
    let desk = sessionless(|b| b);
    let inner = service_fn(|_: Req| ready(Err::<Response<Full<Bytes>>, _>("inner")));
    let sent = desk
        .handle
        .layer()
        .layer(inner)
        .oneshot(get("ada", "/?as=ines"))
        .await;
    assert_eq!(sent.err(), Some("inner"));
    assert_eq!(desk.trail().await, ["request ada ines GET / failed"]);
}

// === Nobody sees another's ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_each_see_their_own_pair() {
    each_sees_its_own().await;
}

pub(crate) async fn each_sees_its_own() {
    let desk = desk_with(|b| b.max_active(10).directory_cache(Duration::ZERO));
    let mut pairs = Vec::new();
    for actor in ["root", "ada", "abe", "sam"] {
        for whom in ["ines", "otto", "mia"] {
            desk.start(actor, whom).await.unwrap();
            pairs.push((actor, whom));
        }
    }
    for place in ["identify", "authorize", "find"] {
        desk.world.trouble(place, How::Slow(7));
    }
    let (go, _) = tokio::sync::broadcast::channel::<()>(1);
    let mut running = Vec::new();
    for n in 0..100 {
        let (actor, whom) = pairs[n % pairs.len()];
        let (desk, mut go) = (desk.clone(), go.subscribe());
        running.push(tokio::spawn(async move {
            let _ = go.recv().await;
            let reply = desk.send(get(actor, &format!("/{n}?as={whom}"))).await;
            (format!("{whom} by {actor}"), reply)
        }));
    }
    drop(go);
    for one in running {
        let (pair, reply) = one.await.unwrap();
        assert_eq!(reply.body, pair);
        assert_eq!(who(reply.acting_as.as_ref()), pair);
        let whom = pair.split(' ').next().unwrap();
        assert_eq!(reply.headers["acted-as"], whom);
    }
    // And so does the trail.
    let flushed = desk.handle.trail().flush().await;
    flushed.unwrap();
    let mut requests = 0;
    for event in desk.sink.events() {
        if event.name == EventName::Request {
            let n: usize = event.path.as_deref().unwrap()[1..].parse().unwrap();
            let (actor, whom) = pairs[n % pairs.len()];
            assert_eq!(event.actor.as_ref().map(UserId::as_str), Some(actor));
            assert_eq!(event.subject.as_ref().map(Subject::as_str), Some(whom));
            requests += 1;
        }
    }
    assert_eq!(requests, 100);
}
