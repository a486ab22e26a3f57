//! R2, R4: a navigation from a marked page goes on to the same URL with the marker, a form too, and what cannot carry it
//! is refused.

use http::{StatusCode, header};
use tower_impersonation::{
    Caller, ConfigError, Decision, Impersonation, RejectionKind, audit::MemorySink, checker_fn,
};

use super::{DOCUMENT, FROM_INES, HTML, Headers, NAVIGATE, SAME_ORIGIN, sent, sticky};
use crate::support::{Reply, desk_with, told};

fn location(reply: &Reply) -> &str {
    reply.headers[header::LOCATION].to_str().unwrap()
}

// === The sticky marker ===

#[test]
fn r2_the_sticky_marker_needs_one_in_the_url() {
    let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let error = Impersonation::builder(checker, MemorySink::default())
        .handlers_read_acting_as()
        .sticky_marker()
        .without_query_parameter()
        .build()
        .unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::Conflict {
                setting: "sticky_marker",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn r2_a_navigation_from_a_marked_page_goes_to_the_same_url_with_the_marker() {
    struct Case {
        method: &'static str,
        target: &'static str,
        headers: Headers<'static>,
        to: &'static str,
    }
    let case = |method, target, headers, to| Case {
        method,
        target,
        headers,
        to,
    };
    const CLICK: Headers = &[SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES];
    const OLD: Headers = &[HTML, FROM_INES];
    const ANON: (&str, &str) = ("referer", "https://shop.example/?as=~anon");
    const SPELLED: (&str, &str) = ("referer", "https://shop.example/?x&%61s=i%6ees&y#part");
    const ODD_ID: (&str, &str) = ("referer", "https://shop.example/?as=m%26m%20%C3%BC");
    let cases = [
        case("GET", "/", CLICK, "/?as=ines"),
        case(
            "GET",
            "/orders/7?q=a%20b&r",
            CLICK,
            "/orders/7?q=a%20b&r&as=ines",
        ),
        case("GET", "/orders?", CLICK, "/orders?&as=ines"),
        case("HEAD", "/orders", CLICK, "/orders?as=ines"),
        // The redirected request has the marker; whether it may have the page is seen then.
        case("GET", "/password", CLICK, "/password?as=ines"),
        case("GET", "/administration", CLICK, "/administration?as=ines"),
        case("GET", "/x/../admin/y", CLICK, "/x/../admin/y?as=ines"),
        // A browser that says nothing of itself.
        case("GET", "/orders", OLD, "/orders?as=ines"),
        case("HEAD", "/orders", OLD, "/orders?as=ines"),
        case(
            "GET",
            "http://shop.example/orders",
            &[SAME_ORIGIN, NAVIGATE, FROM_INES],
            "/orders?as=ines",
        ),
        case("GET", "/", &[SAME_ORIGIN, NAVIGATE, ANON], "/?as=%7Eanon"),
        case("GET", "/", &[SAME_ORIGIN, NAVIGATE, SPELLED], "/?as=ines"),
        case(
            "GET",
            "/",
            &[SAME_ORIGIN, NAVIGATE, ODD_ID],
            "/?as=m%26m+%C3%BC",
        ),
        // Never to another host.
        case(
            "GET",
            "//evil.example/x?y",
            CLICK,
            "/.//evil.example/x?y&as=ines",
        ),
        case("GET", "///evil.example", CLICK, "/.///evil.example?as=ines"),
        case("GET", r"/\evil.example", CLICK, r"/./\evil.example?as=ines"),
        case("GET", "/%5cevil.example", CLICK, "/%5cevil.example?as=ines"),
        case("GET", "/.//evil.example", CLICK, "/.//evil.example?as=ines"),
    ];
    let desk = sticky();
    for Case {
        method,
        target,
        headers,
        to,
    } in cases
    {
        let reply = desk.send(sent(method, target, headers)).await;
        let what = format!("{method} {target} {headers:?}");
        assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT, "{what}");
        assert_eq!(location(&reply), to, "{what}");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store", "{what}");
        assert_eq!(
            reply.headers[header::REFERRER_POLICY],
            "same-origin",
            "{what}"
        );
        assert_eq!(reply.body, "", "{what}");
        assert_eq!(reply.kind, None, "{what}");
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new(), "nobody is asked");
    assert_eq!(desk.echo.calls(), 0);
    assert_eq!(desk.trail().await, Vec::<String>::new());
}

#[tokio::test]
async fn r2_a_redirected_navigation_is_acted() {
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    let click = [SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES];
    let reply = desk.send(sent("GET", "/orders/7?x", &click)).await;
    let reply = desk.send(sent("GET", location(&reply), &click)).await;
    assert_eq!(reply.body, "ines by ada");
    assert_eq!(desk.echo.last().uri, "/orders/7?x");
}

#[tokio::test]
async fn r4_a_form_is_sent_on_with_the_marker_so_that_its_answer_has_it_too() {
    const OURS: (&str, &str) = ("origin", "https://shop.example");
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    let cases: [Headers; 3] = [
        &[
            SAME_ORIGIN,
            NAVIGATE,
            DOCUMENT,
            OURS,
            FROM_INES,
            ("content-length", "0"),
        ],
        &[
            SAME_ORIGIN,
            NAVIGATE,
            DOCUMENT,
            OURS,
            FROM_INES,
            ("content-length", "65536"),
        ],
        // Browsers that say nothing of themselves.
        &[HTML, OURS, FROM_INES, ("content-length", "9")],
    ];
    for headers in cases {
        let form = desk.send(sent("POST", "/orders?x=1", headers)).await;
        assert_eq!(form.status, 307, "{headers:?}");
        assert_eq!(location(&form), "/orders?x=1&as=ines", "{headers:?}");
        assert_eq!(desk.echo.calls(), 0, "{headers:?}");
    }
    let again = sent("POST", "/orders?x=1&as=ines", cases[1]);
    assert_eq!(desk.send(again).await.body, "ines by ada");
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn r2_a_nested_layer_redirects_to_where_the_browser_was() {
    use axum::{Router, body::Body, routing::get};
    use tower::ServiceExt as _;

    let desk = sticky();
    let inner = Router::new()
        .route("/orders", get(|| async { "orders" }))
        .layer(desk.handle.layer());
    let app: Router = Router::new().nest("/shop", inner);
    let request = sent("GET", "/shop/orders?x", &[SAME_ORIGIN, NAVIGATE, FROM_INES]);
    let answer = app.oneshot(request.map(Body::new)).await.unwrap();
    assert_eq!(answer.headers()[header::LOCATION], "/shop/orders?x&as=ines");
}

#[tokio::test]
async fn r4_the_way_out_of_a_refusal_does_not_lead_back_in() {
    let desk = sticky();
    let page = sent(
        "GET",
        "/orders?as=ines&x=1",
        &[SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES],
    );
    let reply = desk.send(page).await;
    assert_eq!(reply.kind, Some(RejectionKind::NoSession));
    let link = r#"<a href="/orders?x=1" rel="noreferrer">Continue as yourself</a>"#;
    assert!(reply.body.contains(link), "{}", reply.body);
    // As such a link is followed.
    let out = sent("GET", "/orders?x=1", &[SAME_ORIGIN, NAVIGATE, DOCUMENT]);
    assert_eq!(desk.send(out).await.body, "themselves");
}

// === The way out over HTTP ===

#[tokio::test]
async fn r4_a_page_that_would_be_too_long_for_a_referer_is_refused() {
    let long = |length: usize| {
        let target = "/orders?as=ines&x=";
        format!("{target}{}", "a".repeat(length - target.len()))
    };
    let page = |target: &str| sent("GET", target, &[SAME_ORIGIN, NAVIGATE, DOCUMENT]);
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(page(&long(3_800))).await.body, "ines by ada");
    let refused = desk.send(page(&long(3_801))).await;
    assert_eq!(refused.kind, Some(RejectionKind::MalformedMarker));
    let old = desk.send(sent("GET", &long(3_801), &[HTML])).await;
    assert_eq!(old.kind, Some(RejectionKind::MalformedMarker));
    let form = [SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES];
    let form = sent("POST", &long(3_801).replace("as=ines&", ""), &form);
    assert_eq!(desk.send(form).await.body, "ines by ada");
    // Without the marker in it: sent on, and refused then.
    let link = [SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES];
    let link = sent("GET", &long(3_801).replace("as=ines&", ""), &link);
    let sent_on = desk.send(link).await;
    assert_eq!(sent_on.status, StatusCode::TEMPORARY_REDIRECT);
    let refused = desk.send(page(location(&sent_on))).await;
    assert_eq!(refused.kind, Some(RejectionKind::MalformedMarker));
    assert_eq!(desk.echo.calls(), 2);
    let denied = "denied - ines malformed_marker".to_owned();
    assert_eq!(told(&desk.trail().await, &denied), 3);

    // What a script asks for is no page, an excluded one is the actor's own, and without the setting nothing is lost.
    let call = sent(
        "GET",
        &long(9_000),
        &[SAME_ORIGIN, ("sec-fetch-mode", "cors")],
    );
    assert_eq!(desk.send(call).await.body, "ines by ada");
    let excluded = page(&long(9_000).replace("/orders", "/admin"));
    assert_eq!(desk.send(excluded).await.body, "themselves");
    let desk = desk_with(|b| b);
    desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(page(&long(9_000))).await.body, "ines by ada");
}
