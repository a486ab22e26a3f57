//! What a refused caller reads (rules R5, R7, R17).
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeSet, time::Duration};

use http::StatusCode;

use super::{RejectionKind::*, *};
use crate::policy::Denial;

const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

fn text(response: &Response<Bytes>) -> &str {
    std::str::from_utf8(response.body()).unwrap()
}

fn page_of(kind: RejectionKind, method: &Method, way_out: &WayOut) -> String {
    let rejection = Rejection::new(kind, "only for the log");
    let response = rejection.render(method, &headers(&[HTML, NAVIGATE]), way_out);
    text(&response).to_owned()
}

#[test]
fn r17_every_kind_has_one_status_one_code_and_one_sentence() {
    let table: Vec<_> = RejectionKind::ALL
        .iter()
        .map(|kind| {
            format!(
                "{kind:?} {} {} | {}",
                kind.status().as_u16(),
                kind.code(),
                kind.sentence()
            )
        })
        .collect();
    insta::assert_snapshot!(table.join("\n"), @r#"
    MalformedMarker 400 malformed_marker | The impersonation marker of this request is malformed, repeated or contradicts itself.
    CrossSite 403 cross_site | A link or form on another site asked to act as a user. Continue only if you meant it.
    Unauthenticated 401 unauthenticated | Unauthorized
    NotAdmin 403 not_admin | Only an admin may impersonate.
    Denied 403 denied | You may not act as this user.
    NoSession 403 no_session | No active impersonation session covers this request.
    SessionEnded 403 session_ended | The impersonation session has ended.
    ReadOnly 403 read_only | This impersonation is read-only.
    Protected 403 protected | This page is closed while impersonating.
    Nested 403 nested | Impersonation cannot be nested.
    MarkerMissing 409 marker_missing | You are impersonating someone, but this request does not say so. Nothing was done.
    TrailUnavailable 503 trail_unavailable | The audit trail is unavailable; nothing was done.
    Unavailable 503 unavailable | Impersonation is unavailable; nothing was done.
    InvalidRequest 400 invalid_request | The request is invalid.
    Yourself 400 yourself | Cannot impersonate yourself
    SubjectNotFound 404 user_not_found | User not found
    AlreadyActive 409 already_active | Already impersonating; end the current session first.
    TooManyStarts 429 too_many_starts | Too many impersonations started; try again later.
    NothingToEnd 404 no_active_session | No active impersonation session found
    MissingRight 403 missing_right | You do not have the right to do this.
    InvalidToken 401 invalid_token | Unauthorized: the token is invalid or its session has ended.
    NotFound 404 not_found | Not found
    MethodNotAllowed 405 method_not_allowed | Method not allowed
    "#);

    let codes: BTreeSet<_> = RejectionKind::ALL.iter().map(|kind| kind.code()).collect();
    assert_eq!(
        codes.len(),
        RejectionKind::ALL.len(),
        "a code stands for one kind"
    );
    for kind in RejectionKind::ALL {
        assert!(
            kind.status().is_client_error() || kind.status().is_server_error(),
            "{kind:?}"
        );
    }
}

#[test]
fn r17_the_json_body_has_these_keys_and_no_others() {
    for &kind in RejectionKind::ALL {
        let rejection = Rejection::new(kind, "only for the log");
        let response = rejection.response(&Method::POST, &HeaderMap::new());
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        let keys: BTreeSet<_> = body
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let expected = ["type", "title", "status", "detail", "code", "error"];
        assert_eq!(keys, BTreeSet::from(expected), "{kind:?}");
        assert_eq!(response.status(), kind.status());
        assert_eq!(body["type"], "about:blank");
        assert_eq!(body["title"], kind.status().canonical_reason().unwrap());
        assert_eq!(body["status"], kind.status().as_u16());
        assert_eq!(body["code"], kind.code());
        assert_eq!(body["detail"], kind.sentence());
        assert_eq!(body["error"], kind.sentence());
        assert!(!text(&response).contains("only for the log"), "{kind:?}");
    }
}

#[test]
fn r17_a_wrong_field_is_named_to_whoever_sent_it() {
    let rejection = Rejection::invalid("`reason` must not be \"blank\"");
    assert_eq!(rejection.kind(), InvalidRequest);
    assert_eq!(rejection.reason(), rejection.detail());
    let response = rejection.response(&Method::POST, &HeaderMap::new());
    insta::assert_snapshot!(text(&response), @r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"`reason` must not be \"blank\"","code":"invalid_request","error":"`reason` must not be \"blank\""}"#);
}

#[test]
fn r17_the_client_chooses_between_page_problem_and_json() {
    const PAGE: &str = "text/html; charset=utf-8";
    const PROBLEM: &str = "application/problem+json";
    const JSON: &str = "application/json";
    let tests: &[(&[(&'static str, &'static str)], &str)] = &[
        (&[], JSON),
        (&[("accept", "*/*")], JSON),
        (&[("accept", "application/json")], JSON),
        (&[("accept", "application/problem+json")], PROBLEM),
        (
            &[("accept", "application/json, application/problem+json;q=0.9")],
            PROBLEM,
        ),
        (&[("accept", "text/event-stream")], JSON),
        (&[HTML], PAGE),
        (&[HTML, NAVIGATE], PAGE),
        (&[NAVIGATE], PAGE),
        (&[NAVIGATE, ("accept", "application/problem+json")], PAGE),
        // A script that asks for a fragment of a page is no navigation.
        (&[HTML, ("sec-fetch-mode", "cors")], JSON),
        (&[HTML, ("sec-fetch-mode", "same-origin")], JSON),
        (
            &[
                ("sec-fetch-mode", "cors"),
                ("accept", "application/problem+json"),
            ],
            PROBLEM,
        ),
    ];
    for (asked, expected) in tests {
        let response = Rejection::new(ReadOnly, "").response(&Method::GET, &headers(asked));
        assert_eq!(response.headers()[CONTENT_TYPE], expected, "{asked:?}");
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
        let is_page = *expected == PAGE;
        assert_eq!(
            text(&response).starts_with("<!doctype html>"),
            is_page,
            "{asked:?}"
        );
        let policy = response.headers().contains_key(CONTENT_SECURITY_POLICY);
        assert_eq!(policy, is_page, "{asked:?}");
    }
}

#[test]
fn r17_a_page_leads_out() {
    let way_out = WayOut {
        unmarked: Some("/orders?q=1&r=2".parse().unwrap()),
        end: Some("/impersonation/end".to_owned()),
        again: Some("/orders?q=1&as=7".parse().unwrap()),
    };
    insta::assert_snapshot!(page_of(ReadOnly, &Method::GET, &way_out), @r#"
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Forbidden</title></head>
    <body><main><h1>Forbidden</h1>
    <p>This impersonation is read-only.</p>
    <p><a href="/orders?q=1&amp;r=2" rel="noreferrer">Continue as yourself</a></p>
    <form method="post" action="/impersonation/end"><button>End impersonation</button></form>
    </main></body></html>
    "#);
    insta::assert_snapshot!(page_of(Denied, &Method::GET, &WayOut::default()), @r#"
    <!doctype html>
    <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark"><title>Forbidden</title></head>
    <body><main><h1>Forbidden</h1>
    <p>You may not act as this user.</p>
    </main></body></html>
    "#);
}

#[test]
fn r5_only_a_safe_request_from_another_site_may_be_repeated_by_a_link() {
    let way_out = WayOut {
        again: Some("/orders?as=7".parse().unwrap()),
        ..WayOut::default()
    };
    for &kind in RejectionKind::ALL {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE] {
            let page = page_of(kind, &method, &way_out);
            let expected = kind == CrossSite && method.is_safe();
            let link = "<a href=\"/orders?as=7\">Continue acting as this user</a>";
            assert_eq!(page.contains(link), expected, "{kind:?} {method}");
            assert_eq!(page.contains("as=7"), expected, "{kind:?} {method}");
        }
    }
}

#[test]
fn r17_no_target_breaks_out_of_the_page_or_off_the_host() {
    let hostile = [
        ("/\"onclick=x", "/&quot;onclick=x"),
        ("/'x'", "/&#39;x&#39;"),
        ("/?q='&lt;", "/?q=&#39;&amp;lt;"),
        ("//evil.example", "/evil.example"),
        ("///evil.example/x", "/evil.example/x"),
        (r"/\evil.example", "/evil.example"),
        (r"/\/\evil.example", "/evil.example"),
        ("http://evil.example/x?y", "/x?y"),
        ("http://evil.example//evil.example", "/evil.example"),
        ("javascript:80", "/"),
        ("evil.example:443", "/"),
        ("*", "/*"),
        ("/", "/"),
        ("/%22%3Cscript%3E", "/%22%3Cscript%3E"),
        ("/%5cevil.example", "/%5cevil.example"),
        ("/.//evil.example", "/.//evil.example"),
    ];
    for (target, link) in hostile {
        let way_out = WayOut {
            unmarked: Some(target.parse().unwrap()),
            end: None,
            again: Some(target.parse().unwrap()),
        };
        let page = page_of(CrossSite, &Method::GET, &way_out);
        let links: Vec<_> = page
            .split("href=\"")
            .skip(1)
            .map(|rest| rest.split_once('"').unwrap().0)
            .collect();
        assert_eq!(links, [link, link], "{target}");
        assert!(link.starts_with('/') && !link.starts_with("//"), "{target}");
    }
    // A target with these is no target: nothing of it can come into the page.
    for target in ["/\"><script>", "/<", "/>", "/\t/evil", "/ x"] {
        assert!(target.parse::<Uri>().is_err(), "{target}");
    }
}

#[test]
fn r17_text_and_settings_are_escaped_on_the_page() {
    let all = "<script>alert(\"1\" & '2')</script>";
    let escaped = "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;";
    assert_eq!(escape(all), escaped);
    assert_eq!(escape("plain é"), "plain é");

    let way_out = WayOut {
        end: Some(all.to_owned()),
        ..WayOut::default()
    };
    let response = Rejection::invalid(all).render(&Method::GET, &headers(&[HTML]), &way_out);
    assert!(!text(&response).contains("<script"));
    assert_eq!(text(&response).matches(escaped).count(), 2);
}

#[test]
fn r7_whoever_is_denied_cannot_tell_why() {
    let denials = [
        Denial::Checker("not on call".into()),
        Denial::Oneself,
        Denial::ServiceRight,
        Denial::UnknownSubject,
        Denial::Rank,
        Denial::NotImpersonable("opted out".to_owned()),
        Denial::NoConsent,
    ];
    for asked in [&[][..], &[HTML], &[("accept", "application/problem+json")]] {
        let mut answers = denials.iter().map(|denial| {
            let rejection = Rejection::new(Denied, denial.to_string());
            assert_eq!(rejection.reason(), denial.to_string());
            let response = rejection.response(&Method::GET, &headers(asked));
            let response = rejection.seal(response);
            (
                response.status(),
                response.headers().clone(),
                response.body().clone(),
            )
        });
        let first = answers.next().unwrap();
        assert!(answers.all(|answer| answer == first), "{asked:?}");
    }
}

#[test]
fn r17_every_refusal_is_sealed_whoever_built_it() {
    let own = Response::builder()
        .status(StatusCode::OK)
        .header(CACHE_CONTROL, "public, max-age=3600")
        .header(REFERRER_POLICY, "unsafe-url")
        .body(Bytes::from_static(b"the host's own"))
        .unwrap();
    let response = Rejection::new(NoSession, "why").seal(own);
    assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
    assert_eq!(response.headers()[REFERRER_POLICY], "same-origin");
    assert!(!response.headers().contains_key(RETRY_AFTER));
    assert_eq!(text(&response), "the host's own");
    let rejection = response.extensions().get::<Rejection>().unwrap();
    assert_eq!(rejection.kind(), NoSession);
    assert_eq!(rejection.reason(), "why");
}

#[test]
fn s3_retry_after_is_never_too_early() {
    let tests = [
        (Duration::ZERO, "1"),
        (Duration::from_millis(1), "1"),
        (Duration::from_secs(1), "1"),
        (Duration::from_millis(1001), "2"),
        (Duration::from_secs(59), "59"),
        (Duration::new(59, 1), "60"),
        (Duration::from_secs(3600), "3600"),
    ];
    for (wait, seconds) in tests {
        let rejection = Rejection::too_many(wait);
        assert_eq!(rejection.kind(), TooManyStarts);
        assert_eq!(rejection.retry_after(), Some(wait));
        let response = rejection.response(&Method::POST, &HeaderMap::new());
        let response = rejection.seal(response);
        assert_eq!(response.headers()[RETRY_AFTER], seconds, "{wait:?}");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[test]
fn r17_display_is_for_the_caller_and_debug_for_the_log() {
    let rejection = Rejection::new(Denied, "the subject's rank is not below the actor's");
    assert_eq!(rejection.to_string(), "You may not act as this user.");
    insta::assert_snapshot!(format!("{rejection:?}"), @r#"Rejection { kind: Denied, reason: "the subject's rank is not below the actor's", .. }"#);
}
