//! R4, R6, R7, R17: a marker that cannot be honoured runs no handler, the caller gets one constant sentence, which does
//! not tell who exists, and the reason goes to the trail.

use bytes::Bytes;
use http::{Response, StatusCode, header};
use tower_impersonation::RejectionKind;

use crate::support::{Desk, How, MINUTE, Req, ask, desk, desk_with, get, post, sessionless, with};

// === R4 ===

#[tokio::test]
async fn r4_a_marker_that_cannot_be_honoured_runs_no_handler() {
    use RejectionKind::*;

    struct Case {
        name: &'static str,
        desk: Desk,
        /// Who has a session for whom.
        session: Option<(&'static str, &'static str)>,
        then: fn(&Desk),
        request: Req,
        kind: RejectionKind,
    }
    let case = |name, session, then, request, kind| Case {
        name,
        desk: desk_with(|b| b.protect("/password")),
        session,
        then,
        request,
        kind,
    };
    let alone = |name, then, request, kind| Case {
        name,
        desk: sessionless(|b| b),
        session: None,
        then,
        request,
        kind,
    };
    let ada = Some(("ada", "ines"));
    let cases = [
        case(
            "no session",
            None,
            |_| {},
            get("ada", "/?as=ines"),
            NoSession,
        ),
        case(
            "a session for someone else",
            ada,
            |_| {},
            get("ada", "/?as=otto"),
            NoSession,
        ),
        case(
            "a session of someone else",
            ada,
            |_| {},
            get("abe", "/?as=ines"),
            NoSession,
        ),
        case(
            "unknown, with sessions",
            ada,
            |_| {},
            get("ada", "/?as=nobody"),
            NoSession,
        ),
        case(
            "over",
            ada,
            |d| d.clock.advance(MINUTE * 120),
            get("ada", "/?as=ines"),
            NoSession,
        ),
        case(
            "idle",
            ada,
            |d| d.clock.advance(MINUTE * 30),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        case("nobody", ada, |_| {}, get("", "/?as=ines"), Unauthenticated),
        case("no admin", ada, |_| {}, get("mia", "/?as=ines"), NotAdmin),
        case(
            "the subject",
            ada,
            |_| {},
            get("ines", "/?as=ines"),
            NotAdmin,
        ),
        case(
            "demoted",
            ada,
            |d| d.cast.dismiss("ada"),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        case(
            "barred",
            ada,
            |d| d.cast.bar("ines"),
            get("ada", "/?as=ines"),
            SessionEnded,
        ),
        case(
            "read-only",
            Some(("sam", "ines")),
            |_| {},
            post("sam", "/?as=ines"),
            ReadOnly,
        ),
        case(
            "protected",
            ada,
            |_| {},
            get("ada", "/password?as=ines"),
            Protected,
        ),
        case(
            "the service role",
            ada,
            |_| {},
            get("ada", "/?as=~service"),
            Denied,
        ),
        case("oneself", ada, |_| {}, get("ada", "/?as=ada"), Denied),
        case("empty", ada, |_| {}, get("ada", "/?as="), MalformedMarker),
        case(
            "no trail",
            ada,
            |d| d.world.trouble("write", How::Fail),
            post("ada", "/?as=ines"),
            TrailUnavailable,
        ),
        case(
            "no checker",
            ada,
            |d| d.world.trouble("identify", How::Fail),
            get("ada", "/?as=ines"),
            Unavailable,
        ),
        case(
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
    for case in cases {
        let name = case.name;
        if let Some((who, whom)) = case.session {
            case.desk.start(who, whom).await.unwrap();
        }
        (case.then)(&case.desk);
        let reply = case.desk.send_slowly(case.request).await;

        assert_eq!(reply.kind, Some(case.kind), "{name}");
        assert_eq!(reply.status, case.kind.status(), "{name}");
        assert_eq!(case.desk.echo.calls(), 0, "{name}");
        assert!(reply.acting_as.is_none(), "{name}");
    }
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

// === R17 ===

#[tokio::test]
async fn r17_a_refusal_is_one_constant_sentence_in_the_form_that_is_asked_for() {
    struct Case {
        headers: &'static [(&'static str, &'static str)],
        content_type: &'static str,
        is_json: bool,
    }
    let cases = [
        Case {
            headers: &[],
            content_type: "application/json",
            is_json: true,
        },
        Case {
            headers: &[("accept", "application/problem+json")],
            content_type: "application/problem+json",
            is_json: true,
        },
        Case {
            headers: &[("accept", "text/html,*/*;q=0.8")],
            content_type: "text/html; charset=utf-8",
            is_json: false,
        },
        Case {
            headers: &[("sec-fetch-mode", "navigate"), ("sec-fetch-site", "none")],
            content_type: "text/html; charset=utf-8",
            is_json: false,
        },
        Case {
            headers: &[("accept", "text/html"), ("sec-fetch-mode", "cors")],
            content_type: "application/json",
            is_json: true,
        },
    ];
    let desk = desk_with(|b| b.control_path("/impersonation"));
    for case in cases {
        let mut request = with(get("ada", "/orders?as=ines&page=2"), case.headers);
        if !request.headers().contains_key("sec-fetch-site") {
            request = with(request, &[("sec-fetch-site", "same-origin")]);
        }
        let reply = desk.send(request).await;

        assert_eq!(
            reply.kind,
            Some(RejectionKind::NoSession),
            "{:?}",
            case.headers
        );
        assert_eq!(
            reply.headers[header::CONTENT_TYPE],
            case.content_type,
            "{:?}",
            case.headers
        );
        assert_eq!(
            reply.headers[header::CACHE_CONTROL],
            "no-store",
            "{:?}",
            case.headers
        );
        let sentence = RejectionKind::NoSession.sentence();
        assert!(reply.body.contains(sentence), "{}", reply.body);
        if case.is_json {
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
