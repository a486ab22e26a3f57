//! Requests without a marker, where the host has them looked at: the sticky marker and R20.

use http::{StatusCode, header};
use tower::Layer;
use tower_impersonation::{
    Builder, ConfigError, Impersonation, RejectionKind,
    audit::MemorySink,
    checker_fn,
    session::{EndedReason, MemorySessions},
};

use crate::support::*;

const HOST: (&str, &str) = ("host", "shop.example");
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
const TYPED: (&str, &str) = ("sec-fetch-site", "none");
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const FROM_INES: (&str, &str) = ("referer", "https://shop.example/orders?page=2&as=ines");

type Headers<'h> = &'h [(&'static str, &'h str)];

/// A request of ada's to shop.example.
fn sent(method: &str, target: &str, headers: Headers) -> Req {
    let mut request = ask(method, "ada", target);
    for (name, value) in [HOST].iter().chain(headers) {
        let value = http::HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(*name, value);
    }
    request
}

fn sticky() -> Desk {
    desk_with(|b| b.sticky_marker().exclude("/admin").protect("/password"))
}

fn all_settings(builder: Builder) -> Builder {
    builder
        .sticky_marker()
        .refuse_unmarked_writes()
        .end_when_marker_removed()
        .exclude("/admin")
        .protect("/password")
        .read_route(http::Method::POST, "/search")
}

fn r20_writes() -> Desk {
    desk_with(|b| all_settings(b).refuse_unmarked_writes())
}

fn location(reply: &Reply) -> &str {
    reply.headers[header::LOCATION].to_str().unwrap()
}

// === All off ===

#[tokio::test]
async fn r1_by_default_no_unmarked_request_is_looked_at() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    for (method, headers) in [
        ("GET", &[SAME_ORIGIN, NAVIGATE, FROM_INES][..]),
        ("POST", &[SAME_ORIGIN, FROM_INES]),
        ("POST", &[]),
        ("GET", &[TYPED, NAVIGATE, DOCUMENT]),
    ] {
        let reply = desk.send(sent(method, "/orders", headers)).await;
        assert_eq!(reply.body, "themselves", "{method} {headers:?}");
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn r1_what_none_of_the_settings_is_about_asks_nobody() {
    let desk = desk_with(all_settings);
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    let unmarked_page = ("referer", "https://shop.example/orders?page=2&has=ines");
    for (method, target, headers) in [
        ("GET", "/orders", &[][..]),
        (
            "GET",
            "/orders?page=2",
            &[SAME_ORIGIN, NAVIGATE, DOCUMENT, unmarked_page],
        ),
        ("HEAD", "/orders", &[TYPED, NAVIGATE, DOCUMENT]),
        ("OPTIONS", "/orders", &[]),
        ("POST", "/search", &[]),
    ] {
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(reply.body, "themselves", "{method} {target}");
        assert!(!reply.headers.contains_key(header::CACHE_CONTROL));
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.active().await.len(), 1);
}

// === The sticky marker ===

#[test]
fn r2_the_sticky_marker_needs_one_in_the_url() {
    let checker = checker_fn(
        |_| tower_impersonation::Caller::Anonymous,
        |_, _, _| tower_impersonation::Decision::deny("nobody"),
    );
    let error = Impersonation::builder(checker, MemorySink::default())
        .sticky_marker()
        .without_query_parameter()
        .build()
        .unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::Invalid {
                setting: "sticky_marker",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn r2_a_navigation_from_a_marked_page_goes_to_the_same_url_with_the_marker() {
    struct Test {
        method: &'static str,
        target: &'static str,
        headers: Headers<'static>,
        to: &'static str,
    }
    let test = |method, target, headers, to| Test {
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
    let tests = [
        test("GET", "/", CLICK, "/?as=ines"),
        test(
            "GET",
            "/orders/7?q=a%20b&r",
            CLICK,
            "/orders/7?q=a%20b&r&as=ines",
        ),
        test("GET", "/orders?", CLICK, "/orders?&as=ines"),
        test("HEAD", "/orders", CLICK, "/orders?as=ines"),
        // The redirected request has the marker; whether it may have the page is seen then.
        test("GET", "/password", CLICK, "/password?as=ines"),
        test("GET", "/administration", CLICK, "/administration?as=ines"),
        test("GET", "/x/../admin/y", CLICK, "/x/../admin/y?as=ines"),
        // A browser that says nothing of itself.
        test("GET", "/orders", OLD, "/orders?as=ines"),
        test("HEAD", "/orders", OLD, "/orders?as=ines"),
        test(
            "GET",
            "http://shop.example/orders",
            &[SAME_ORIGIN, NAVIGATE, FROM_INES],
            "/orders?as=ines",
        ),
        test("GET", "/", &[SAME_ORIGIN, NAVIGATE, ANON], "/?as=%7Eanon"),
        test("GET", "/", &[SAME_ORIGIN, NAVIGATE, SPELLED], "/?as=ines"),
        test(
            "GET",
            "/",
            &[SAME_ORIGIN, NAVIGATE, ODD_ID],
            "/?as=m%26m+%C3%BC",
        ),
        // Never to another host.
        test(
            "GET",
            "//evil.example/x?y",
            CLICK,
            "/.//evil.example/x?y&as=ines",
        ),
        test("GET", "///evil.example", CLICK, "/.///evil.example?as=ines"),
        test("GET", r"/\evil.example", CLICK, r"/./\evil.example?as=ines"),
        test("GET", "/%5cevil.example", CLICK, "/%5cevil.example?as=ines"),
        test("GET", "/.//evil.example", CLICK, "/.//evil.example?as=ines"),
    ];
    let desk = sticky();
    for Test {
        method,
        target,
        headers,
        to,
    } in tests
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
    let tests: [Headers; 3] = [
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
    for headers in tests {
        let form = desk.send(sent("POST", "/orders?x=1", headers)).await;
        assert_eq!(form.status, 307, "{headers:?}");
        assert_eq!(location(&form), "/orders?x=1&as=ines", "{headers:?}");
        assert_eq!(desk.echo.calls(), 0, "{headers:?}");
    }
    let again = sent("POST", "/orders?x=1&as=ines", tests[1]);
    assert_eq!(desk.send(again).await.body, "ines by ada");
}

#[tokio::test]
async fn r2_what_else_a_marked_page_sends_is_acted() {
    const CORS: (&str, &str) = ("sec-fetch-mode", "cors");
    const NO_CORS: (&str, &str) = ("sec-fetch-mode", "no-cors");
    const OURS: (&str, &str) = ("origin", "https://shop.example");
    let image = ("sec-fetch-dest", "image");
    let tests: [(&str, Headers); 14] = [
        ("GET", &[SAME_ORIGIN, CORS, FROM_INES]),
        ("GET", &[SAME_ORIGIN, NO_CORS, image, FROM_INES]),
        // A script that asks for a part of a page is no navigation.
        ("GET", &[SAME_ORIGIN, CORS, HTML, FROM_INES]),
        ("HEAD", &[SAME_ORIGIN, CORS, FROM_INES]),
        ("OPTIONS", &[SAME_ORIGIN, CORS, FROM_INES]),
        ("POST", &[SAME_ORIGIN, CORS, OURS, FROM_INES]),
        ("DELETE", &[SAME_ORIGIN, CORS, OURS, FROM_INES]),
        // A form that is too long to be sent twice, or that does not say how long it is.
        (
            "POST",
            &[SAME_ORIGIN, NAVIGATE, DOCUMENT, HTML, OURS, FROM_INES],
        ),
        (
            "POST",
            &[
                SAME_ORIGIN,
                NAVIGATE,
                OURS,
                FROM_INES,
                ("content-length", "65537"),
            ],
        ),
        (
            "POST",
            &[
                SAME_ORIGIN,
                NAVIGATE,
                OURS,
                FROM_INES,
                ("content-length", "9"),
                ("transfer-encoding", "chunked"),
            ],
        ),
        (
            "PUT",
            &[
                SAME_ORIGIN,
                NAVIGATE,
                OURS,
                FROM_INES,
                ("content-length", "9"),
            ],
        ),
        // Browsers that say nothing of themselves.
        ("GET", &[("accept", "image/png"), FROM_INES]),
        ("GET", &[FROM_INES]),
        ("POST", &[HTML, OURS, FROM_INES]),
    ];
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    for (method, headers) in tests {
        let reply = desk.send(sent(method, "/orders?x=1", headers)).await;
        assert_eq!(reply.body, "ines by ada", "{method} {headers:?}");
        assert_eq!(reply.headers["acted-as"], "ines", "{method} {headers:?}");
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(desk.echo.last().uri, "/orders?x=1");
    }
}

#[tokio::test]
async fn r4_without_a_session_behind_it_what_a_marked_page_sends_is_refused() {
    let desk = sticky();
    for (method, headers) in [
        (
            "GET",
            &[SAME_ORIGIN, ("sec-fetch-mode", "no-cors"), FROM_INES][..],
        ),
        ("POST", &[SAME_ORIGIN, FROM_INES]),
        ("POST", &[SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES]),
    ] {
        let reply = desk.send(sent(method, "/orders", headers)).await;
        assert_eq!(reply.kind, Some(RejectionKind::NoSession), "{method}");
    }
    let session = desk.start("ada", "ines").await.unwrap();
    desk.handle
        .revoke(&parts("ada"), session.session.id)
        .await
        .unwrap();
    let post = || sent("POST", "/orders", &[SAME_ORIGIN, FROM_INES]);
    assert_eq!(desk.send(post()).await.kind, Some(RejectionKind::NoSession));
    let mut anonymous = post();
    anonymous.headers_mut().remove("x-user");
    assert_eq!(
        desk.send(anonymous).await.kind,
        Some(RejectionKind::Unauthenticated)
    );
    assert_eq!(desk.echo.calls(), 0);
    assert_eq!(
        desk.trail().await,
        [
            "denied ada ines no_session",
            "denied ada ines no_session",
            "denied ada ines no_session",
            "start ada ines",
            "end ada ines manual",
            "denied ada ines no_session",
            "denied - ines unauthenticated",
        ]
    );
}

#[tokio::test]
async fn r10_r11_what_a_marked_page_sends_has_no_more_rights_than_a_marker() {
    let desk = sticky();
    desk.start("sam", "ines").await.unwrap();
    desk.start("ada", "ines").await.unwrap();
    let mut post = sent("POST", "/orders", &[SAME_ORIGIN, FROM_INES]);
    post.headers_mut().insert("x-user", "sam".parse().unwrap());
    assert_eq!(desk.send(post).await.kind, Some(RejectionKind::ReadOnly));
    let protected = sent("GET", "/password", &[SAME_ORIGIN, FROM_INES]);
    assert_eq!(
        desk.send(protected).await.kind,
        Some(RejectionKind::Protected)
    );
    assert_eq!(desk.echo.calls(), 0);
}

#[tokio::test]
async fn r5_what_is_not_surely_sent_by_a_page_of_this_origin_is_untouched() {
    let referer = |url: &'static str| ("referer", url);
    let ines = FROM_INES;
    let cross = |site: &'static str| ("sec-fetch-site", site);
    let tests: Vec<(&str, Vec<(&'static str, &str)>)> = vec![
        ("typed", vec![TYPED, ines]),
        ("same site", vec![cross("same-site"), ines]),
        ("cross site", vec![cross("cross-site"), ines]),
        ("an unknown word", vec![cross("SAME-ORIGIN"), ines]),
        ("two words", vec![SAME_ORIGIN, cross("cross-site"), ines]),
        ("no referer", vec![SAME_ORIGIN]),
        (
            "an unmarked page",
            vec![SAME_ORIGIN, referer("https://shop.example/?has=ines")],
        ),
        (
            "only the origin",
            vec![SAME_ORIGIN, referer("https://shop.example/")],
        ),
        (
            "a marker in the fragment",
            vec![SAME_ORIGIN, referer("https://shop.example/#?as=ines")],
        ),
        (
            "a marker in the path",
            vec![SAME_ORIGIN, referer("https://shop.example/as=ines")],
        ),
        (
            "another case",
            vec![SAME_ORIGIN, referer("https://shop.example/?AS=ines")],
        ),
        (
            "an excluded page",
            vec![SAME_ORIGIN, referer("https://shop.example/admin/?as=ines")],
        ),
        ("no URL", vec![SAME_ORIGIN, referer("?as=ines")]),
        ("a path", vec![SAME_ORIGIN, referer("/?as=ines")]),
        (
            "another scheme",
            vec![SAME_ORIGIN, referer("ftp://shop.example/?as=ines")],
        ),
        (
            "an app's",
            vec![referer("android-app://shop.example/?as=ines")],
        ),
        (
            "another host",
            vec![referer("https://evil.example/?as=ines")],
        ),
        (
            "a host below",
            vec![referer("https://a.shop.example/?as=ines")],
        ),
        ("a host above", vec![referer("https://example/?as=ines")]),
        (
            "a longer host",
            vec![referer("https://shop.example.evil/?as=ines")],
        ),
        (
            "another port",
            vec![referer("https://shop.example:8443/?as=ines")],
        ),
        (
            "userinfo",
            vec![referer("https://shop.example@evil.example/?as=ines")],
        ),
        (
            "userinfo before it",
            vec![referer("https://x@shop.example/?as=ines")],
        ),
        (
            "a backslash",
            vec![referer("https://evil.example\\@shop.example/?as=ines")],
        ),
        (
            "a host in the query",
            vec![referer("https://evil.example?://shop.example/?as=ines")],
        ),
        (
            "another origin",
            vec![("origin", "https://evil.example"), ines],
        ),
        ("no origin", vec![("origin", "null"), ines]),
    ];
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    for (name, headers) in &tests {
        for (method, more) in [
            ("GET", &[NAVIGATE, DOCUMENT][..]),
            ("GET", &[]),
            ("POST", &[]),
        ] {
            let headers = [headers, more].concat();
            let reply = desk.send(sent(method, "/orders", &headers)).await;
            assert_eq!(reply.body, "themselves", "{name}: {method} {more:?}");
        }
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn r5_a_referer_is_held_against_scheme_host_and_port_as_far_as_they_are_known() {
    let desk = sessionless(|b| b.sticky_marker());
    let send = |target: &str, host: &str, referer: &str| {
        let mut request = ask("POST", "ada", target);
        request.headers_mut().insert("host", host.parse().unwrap());
        request
            .headers_mut()
            .insert("referer", referer.parse().unwrap());
        desk.send(request)
    };
    for (target, host, referer, acted) in [
        ("/", "shop.example", "http://shop.example/?as=ines", true),
        ("/", "shop.example", "https://shop.example/?as=ines", true),
        ("/", "Shop.Example", "HTTPS://shop.EXAMPLE/?as=ines", true),
        ("/", "shop.example", "https://shop.example?as=ines", true),
        (
            "/",
            "shop.example:81",
            "http://shop.example:81/?as=ines",
            true,
        ),
        (
            "/",
            "shop.example:81",
            "http://shop.example:82/?as=ines",
            false,
        ),
        (
            "/",
            "shop.example:81",
            "http://shop.example/?as=ines",
            false,
        ),
        ("/", "[::1]:80", "http://[::1]:80/?as=ines", true),
        // As HTTP/2 says it.
        (
            "https://shop.example/",
            "evil.example",
            "https://shop.example/?as=ines",
            true,
        ),
        (
            "https://shop.example/",
            "evil.example",
            "http://shop.example/?as=ines",
            false,
        ),
        (
            "https://shop.example/",
            "evil.example",
            "https://evil.example/?as=ines",
            false,
        ),
    ] {
        let reply = send(target, host, referer).await;
        let who = if acted { "ines by ada" } else { "themselves" };
        assert_eq!(reply.body, who, "{target} {host} {referer}");
    }
    // A request that does not say for whom it is has no origin.
    let mut request = post("ada", "/");
    request
        .headers_mut()
        .insert("referer", FROM_INES.1.parse().unwrap());
    assert_eq!(desk.send(request).await.body, "themselves");
}

#[tokio::test]
async fn r3_a_marked_page_that_cannot_be_read_refuses_what_it_sends() {
    let urls = [
        "https://shop.example/?as=",
        "https://shop.example/?as",
        "https://shop.example/?as=ines&as=ines",
        "https://shop.example/?as=ines&%61s=otto",
        "https://shop.example/?as=%zz",
        "https://shop.example/?as=%ff",
        "https://shop.example/?as=%00",
    ];
    let desk = sticky();
    for url in urls {
        for (method, more) in [
            ("GET", &[NAVIGATE, DOCUMENT][..]),
            ("GET", &[]),
            ("POST", &[]),
        ] {
            let headers = [&[SAME_ORIGIN, ("referer", url)], more].concat();
            let reply = desk.send(sent(method, "/orders", &headers)).await;
            assert_eq!(
                reply.kind,
                Some(RejectionKind::MalformedMarker),
                "{method} {url}"
            );
            assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        }
    }
    // Two pages cannot both have sent it.
    let otto = ("referer", "https://shop.example/?as=otto");
    let twice = sent("GET", "/orders", &[SAME_ORIGIN, FROM_INES, otto]);
    assert_eq!(
        desk.send(twice).await.kind,
        Some(RejectionKind::MalformedMarker)
    );
    let mut raw = sent("GET", "/orders", &[SAME_ORIGIN]);
    let bytes = http::HeaderValue::from_bytes(b"https://shop.example/?as=in\xffes").unwrap();
    raw.headers_mut().insert("referer", bytes);
    assert_eq!(
        desk.send(raw).await.kind,
        Some(RejectionKind::MalformedMarker)
    );
    let mut raw = sent("GET", "/orders", &[SAME_ORIGIN]);
    let bytes = http::HeaderValue::from_bytes(b"https://shop.example/?q=\xff").unwrap();
    raw.headers_mut().insert("referer", bytes);
    assert_eq!(desk.send(raw).await.body, "themselves");

    assert_eq!(desk.world.count("identify"), 0);
    let denied = "denied - - malformed_marker";
    assert!(
        desk.trail()
            .await
            .iter()
            .all(|line| line.starts_with(denied))
    );
}

#[tokio::test]
async fn r2_a_requests_own_marker_is_the_one_that_counts() {
    let desk = desk_with(|b| b.sticky_marker().max_active(2));
    desk.start("ada", "ines").await.unwrap();
    desk.start("ada", "otto").await.unwrap();
    let query = sent("GET", "/?as=otto", &[SAME_ORIGIN, NAVIGATE, FROM_INES]);
    assert_eq!(desk.send(query).await.body, "otto by ada");
    let header = sent("POST", "/", &[SAME_ORIGIN, FROM_INES, ("act-as", "otto")]);
    assert_eq!(desk.send(header).await.body, "otto by ada");
    let bad = sent("POST", "/?as=", &[SAME_ORIGIN, FROM_INES]);
    assert_eq!(
        desk.send(bad).await.kind,
        Some(RejectionKind::MalformedMarker)
    );
    let facet = sent(
        "POST",
        "/",
        &[SAME_ORIGIN, FROM_INES, ("act-as-reason", "why")],
    );
    assert_eq!(
        desk.send(facet).await.kind,
        Some(RejectionKind::MalformedMarker)
    );
}

#[tokio::test]
async fn r12_excluded_paths_run_as_the_actor_wherever_they_are_called_from() {
    let desk = desk_with(all_settings);
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    for (method, headers) in [
        ("GET", &[SAME_ORIGIN, NAVIGATE, DOCUMENT, FROM_INES][..]),
        ("POST", &[SAME_ORIGIN, FROM_INES]),
        ("POST", &[]),
        ("GET", &[TYPED, NAVIGATE, DOCUMENT]),
        (
            "GET",
            &[SAME_ORIGIN, ("referer", "https://shop.example/?as=")],
        ),
    ] {
        let reply = desk.send(sent(method, "/admin/people", headers)).await;
        assert_eq!(reply.body, "themselves", "{method} {headers:?}");
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn r16_an_acted_request_is_not_looked_at_again() {
    let outer = sessionless(|b| b);
    let inner = desk_with(all_settings);
    inner.start("ada", "otto").await.unwrap();
    inner.world.forget();
    let otto = ("referer", "https://shop.example/?as=otto");
    for (method, headers) in [
        ("GET", &[SAME_ORIGIN, NAVIGATE, DOCUMENT, otto][..]),
        ("POST", &[SAME_ORIGIN, otto]),
        ("POST", &[]),
        ("GET", &[TYPED, NAVIGATE, DOCUMENT]),
    ] {
        let service = inner.handle.layer().layer(inner.echo.clone());
        let reply = outer
            .send_to(service, sent(method, "/?as=ines", headers))
            .await;
        assert_eq!(reply.body, "ines by ada", "{method} {headers:?}");
    }
    assert_eq!(inner.world.asked(), Vec::<String>::new());
    assert_eq!(inner.active().await.len(), 1);
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

// === R20: writes without a marker ===

#[tokio::test]
async fn r20_an_unmarked_write_of_someone_with_a_session_is_refused() {
    struct Test {
        name: &'static str,
        method: &'static str,
        target: &'static str,
        headers: Headers<'static>,
        refused: bool,
    }
    let test = |name, method, target, headers, refused| Test {
        name,
        method,
        target,
        headers,
        refused,
    };
    let tests = [
        test(
            "a form",
            "POST",
            "/orders",
            &[SAME_ORIGIN, NAVIGATE, HTML][..],
            true,
        ),
        test("a script", "DELETE", "/orders/7", &[SAME_ORIGIN], true),
        test("no browser", "PUT", "/orders", &[], true),
        test("TRACE", "TRACE", "/orders", &[], true),
        test("a method of someone's own", "BREW", "/orders", &[], true),
        test("a read", "GET", "/orders", &[], false),
        test("a head", "HEAD", "/orders", &[], false),
        test("options", "OPTIONS", "/orders", &[], false),
        test("listed as a read", "POST", "/search", &[], false),
        test("listed for another method", "PUT", "/search", &[], true),
        test(
            "listed, and overridden",
            "POST",
            "/search",
            &[("x-http-method", "DELETE")],
            true,
        ),
        test(
            "an override",
            "GET",
            "/orders",
            &[("x-http-method-override", "DELETE")],
            true,
        ),
        test(
            "a WebSocket",
            "GET",
            "/live",
            &[("upgrade", "websocket")],
            true,
        ),
        test(
            "another upgrade",
            "GET",
            "/live",
            &[("upgrade", "h2c")],
            false,
        ),
        test("protected, written", "POST", "/password", &[], true),
        test("protected, read", "GET", "/password", &[], false),
        test("excluded", "POST", "/admin/people", &[], false),
        test("a spelling of it", "POST", "/x/../admin/people", &[], true),
        test(
            "another site's page",
            "POST",
            "/orders",
            &[("sec-fetch-site", "cross-site"), FROM_INES],
            true,
        ),
    ];
    let desk = r20_writes();
    let session = desk.start("ada", "ines").await.unwrap();
    for Test {
        name,
        method,
        target,
        headers,
        refused,
    } in tests
    {
        let before = desk.echo.calls();
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(desk.echo.calls() - before, usize::from(!refused), "{name}");
        if refused {
            assert_eq!(reply.kind, Some(RejectionKind::MarkerMissing), "{name}");
            assert_eq!(reply.status, StatusCode::CONFLICT, "{name}");
        } else {
            assert_eq!(reply.body, "themselves", "{name}");
        }
    }
    assert_eq!(desk.active().await.len(), 1);
    let events = desk.events().await;
    let denied: Vec<_> = events.iter().filter(|e| e.rule.is_some()).collect();
    assert_eq!(line(denied[0]), "denied ada - marker_missing");
    let first = denied[0];
    assert_eq!(first.session, Some(session.session.id));
    assert_eq!(
        (first.status, first.method.as_deref(), first.path.as_deref()),
        (Some(409), Some("POST"), Some("/orders"))
    );
    assert!(
        denied
            .iter()
            .all(|event| event.rule == Some("marker_missing"))
    );
}

#[tokio::test]
async fn r20_a_write_from_a_marked_page_is_acted_and_not_refused() {
    let desk = r20_writes();
    desk.start("ada", "ines").await.unwrap();
    let write = sent("POST", "/orders", &[SAME_ORIGIN, FROM_INES]);
    assert_eq!(desk.send(write).await.body, "ines by ada");
    let marked = sent("POST", "/orders?as=ines", &[SAME_ORIGIN]);
    assert_eq!(desk.send(marked).await.body, "ines by ada");
}

#[tokio::test]
async fn r20_whoever_has_no_session_writes_as_themselves() {
    let desk = r20_writes();
    let write = |who| desk.send(post(who, "/orders"));
    for who in ["", "ines", "ada"] {
        assert_eq!(write(who).await.body, "themselves", "{who:?}");
    }
    desk.start("ada", "ines").await.unwrap();
    for who in ["", "ines", "abe"] {
        assert_eq!(write(who).await.body, "themselves", "{who:?}");
    }
    assert_eq!(write("ada").await.kind, Some(RejectionKind::MarkerMissing));
    // No admin any more, and still in the page that lost its marker.
    desk.cast.dismiss("ada");
    assert_eq!(write("ada").await.kind, Some(RejectionKind::MarkerMissing));
    desk.handle.stop(&parts("ada")).await.unwrap();
    assert_eq!(write("ada").await.body, "themselves");
}

#[tokio::test]
async fn r20_a_session_in_use_is_not_taken_for_an_idle_one() {
    let desk = r20_writes();
    desk.start("ada", "ines").await.unwrap();
    desk.clock.advance(29 * MINUTE);
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.clock.advance(2 * MINUTE);
    let reply = desk.send(post("ada", "/orders")).await;
    assert_eq!(reply.kind, Some(RejectionKind::MarkerMissing));
    desk.clock.advance(31 * MINUTE);
    assert_eq!(desk.send(post("ada", "/orders")).await.body, "themselves");
}

#[tokio::test]
async fn r20_without_a_store_there_is_no_session_to_be_missed() {
    let desk = sessionless(all_settings);
    for request in [
        post("ada", "/orders"),
        sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT]),
    ] {
        assert_eq!(desk.send(request).await.body, "themselves");
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn r13_r20_whatever_cannot_be_asked_refuses_the_request() {
    for place in ["identify", "list", "end"] {
        for how in [How::Fail, How::Hang, How::Panic] {
            let desk = r20_writes();
            desk.start("ada", "ines").await.unwrap();
            desk.world.trouble(place, how.clone());
            let write = desk.send_slowly(post("ada", "/orders")).await;
            let typed = sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT]);
            let typed = desk.send_slowly(typed).await;

            let what = format!("{place} {}", how.name());
            assert_eq!(typed.kind, Some(RejectionKind::Unavailable), "{what}");
            // To refuse a write, nothing has to end.
            let expected = match place {
                "end" => RejectionKind::MarkerMissing,
                _ => RejectionKind::Unavailable,
            };
            assert_eq!(write.kind, Some(expected), "{what}");
            assert_eq!(desk.echo.calls(), 0, "{what}");
            desk.world.calm();
            assert_eq!(desk.active().await.len(), 1, "{what}");
            let trail = desk.trail().await;
            let denied = trail.iter().filter(|line| line.starts_with("denied"));
            assert_eq!(denied.count(), 2, "{what}: {trail:?}");
        }
    }
}

// === R20: a URL typed without the marker ===

#[tokio::test]
async fn r20_a_url_typed_without_the_marker_ends_the_session() {
    let desk = desk_with(|b| all_settings(b).max_active(2));
    let ines = desk.start("ada", "ines").await.unwrap();
    let otto = desk.start("ada", "otto").await.unwrap();
    let other = desk.start("abe", "ines").await.unwrap();
    let typed = sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT, HTML]);
    assert_eq!(desk.send(typed).await.body, "themselves");
    for session in [&ines, &otto] {
        let reason = desk.row(session).await.ended_reason;
        assert_eq!(reason, Some(EndedReason::MarkerRemoved));
    }
    assert_eq!(desk.row(&other).await.ended_reason, None);
    let old_tab = desk.send(get("ada", "/orders?as=ines")).await;
    assert_eq!(old_tab.kind, Some(RejectionKind::NoSession));
    let mut trail = desk.trail().await;
    trail[3..5].sort();
    assert_eq!(
        trail[3..],
        [
            "end ada ines marker_removed",
            "end ada otto marker_removed",
            "denied ada ines no_session"
        ]
    );
}

#[tokio::test]
async fn r20_nothing_but_a_typed_page_ends_the_session() {
    const SISTER: (&str, &str) = ("sec-fetch-site", "same-site");
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
    const NO_CORS: (&str, &str) = ("sec-fetch-mode", "no-cors");
    const FRAME: (&str, &str) = ("sec-fetch-dest", "iframe");
    const IMAGE: (&str, &str) = ("sec-fetch-dest", "image");
    const ALL: Headers = &[TYPED, NAVIGATE, DOCUMENT];
    let tests: [(&str, &str, &str, Headers); 14] = [
        ("our link", "GET", "/", &[SAME_ORIGIN, NAVIGATE, DOCUMENT]),
        ("a sister's", "GET", "/", &[SISTER, NAVIGATE, DOCUMENT]),
        ("another's", "GET", "/", &[CROSS, NAVIGATE, DOCUMENT]),
        ("both", "GET", "/", &[TYPED, CROSS, NAVIGATE, DOCUMENT]),
        ("no word", "GET", "/", &[NAVIGATE, DOCUMENT]),
        ("an old browser", "GET", "/", &[HTML]),
        ("no mode", "GET", "/", &[TYPED, DOCUMENT]),
        ("no navigation", "GET", "/", &[TYPED, NO_CORS, DOCUMENT]),
        ("a frame", "GET", "/", &[TYPED, NAVIGATE, FRAME]),
        ("an image", "GET", "/", &[TYPED, NAVIGATE, IMAGE]),
        ("no destination", "GET", "/", &[TYPED, NAVIGATE]),
        ("only the headers", "HEAD", "/", ALL),
        ("an excluded page", "GET", "/admin", ALL),
        ("a marked page", "GET", "/?as=ines", ALL),
    ];
    let desk = desk_with(all_settings);
    desk.start("ada", "ines").await.unwrap();
    for (name, method, target, headers) in tests {
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(reply.status, StatusCode::OK, "{name}");
        assert_eq!(desk.active().await.len(), 1, "{name}");
    }
    // Of others nothing is ended.
    for who in ["", "ines", "abe"] {
        let mut typed = sent("GET", "/", &[TYPED, NAVIGATE, DOCUMENT]);
        typed.headers_mut().remove("x-user");
        if !who.is_empty() {
            typed.headers_mut().insert("x-user", who.parse().unwrap());
        }
        assert_eq!(desk.send(typed).await.body, "themselves", "{who:?}");
    }
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn r20_a_browser_that_asks_ahead_ends_nothing_and_has_to_ask_again() {
    let desk = desk_with(all_settings);
    let ahead = |purpose: (&'static str, &'static str)| {
        desk.send(sent("GET", "/", &[TYPED, NAVIGATE, DOCUMENT, purpose]))
    };
    let purposes = [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
    ];
    for purpose in purposes {
        assert_eq!(ahead(purpose).await.body, "themselves", "{purpose:?}");
    }
    desk.start("ada", "ines").await.unwrap();
    for purpose in purposes {
        let reply = ahead(purpose).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::MarkerMissing),
            "{purpose:?}"
        );
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(desk.active().await.len(), 1, "{purpose:?}");
    }
    assert_eq!(
        desk.trail().await,
        ["start ada ines"],
        "nobody has done anything"
    );
}

// === Tokens ===

#[cfg(feature = "jwt")]
#[tokio::test]
async fn r2_a_token_or_a_cookie_says_whom_not_the_page() {
    use tower_impersonation::token::Tokens;

    crate::tokens::provider();
    let desk = desk_with(|b| {
        all_settings(b)
            .max_active(2)
            .control_path("/impersonation")
            .tokens(Tokens::hs256(
                "https://shop.example",
                "shop",
                "k1",
                b"0123456789abcdef0123456789abcdef",
            ))
    });
    let session = desk.start("ada", "otto").await.unwrap();
    let tokens = desk
        .handle
        .tokens()
        .unwrap()
        .issue(&session.session)
        .unwrap();
    let token = tokens.access_token.as_str();
    for (method, headers) in [
        (
            "GET",
            [
                SAME_ORIGIN,
                NAVIGATE,
                FROM_INES,
                ("impersonation-token", token),
            ],
        ),
        (
            "POST",
            [
                SAME_ORIGIN,
                DOCUMENT,
                FROM_INES,
                ("impersonation-token", token),
            ],
        ),
        (
            "GET",
            [TYPED, NAVIGATE, DOCUMENT, ("impersonation-token", token)],
        ),
    ] {
        let reply = desk.send(sent(method, "/orders", &headers)).await;
        assert_eq!(reply.body, "otto by ada", "{method}");
    }
    assert_eq!(desk.active().await.len(), 1);
}

// === The way out over HTTP ===

#[cfg(feature = "control")]
mod control {
    use axum::{Router, body::Body};
    use tower::ServiceExt as _;
    use tower_impersonation::Rejection;

    use super::*;

    fn app(desk: &Desk) -> Router {
        Router::new()
            .nest("/impersonation", desk.handle.control())
            .layer(desk.handle.layer())
    }

    async fn call(app: &Router, method: &str, path: &str, form: bool) -> http::Response<Body> {
        let mut request = sent(method, path, &[SAME_ORIGIN, FROM_INES]).map(Body::new);
        if form {
            let form = "application/x-www-form-urlencoded".parse().unwrap();
            request.headers_mut().insert(header::CONTENT_TYPE, form);
        }
        app.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn s5_the_answer_that_leads_out_takes_the_marked_page_with_it() {
        let desk = desk_with(|b| {
            all_settings(b)
                .control_path("/impersonation")
                .after_stop("/home")
        });
        let app = app(&desk);
        for (method, path, form, status) in [
            ("POST", "/impersonation/end", true, StatusCode::SEE_OTHER),
            ("POST", "/impersonation/end", false, StatusCode::OK),
            ("DELETE", "/impersonation", true, StatusCode::SEE_OTHER),
            ("DELETE", "/impersonation", false, StatusCode::OK),
        ] {
            desk.start("ada", "ines").await.unwrap();
            let answer = call(&app, method, path, form).await;
            assert_eq!(answer.status(), status, "{method} {path} {form}");
            assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
            if form {
                assert_eq!(answer.headers()[header::LOCATION], "/home");
            }
            assert_eq!(desk.active().await.len(), 0);
        }
    }

    #[tokio::test]
    async fn s5_exit_on_a_page_that_is_older_than_the_end_leads_out_too() {
        let desk = desk_with(|b| {
            all_settings(b)
                .control_path("/impersonation")
                .after_stop("/home")
        });
        let app = app(&desk);
        let answer = call(&app, "POST", "/impersonation/end", true).await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        assert_eq!(answer.headers()[header::LOCATION], "/home");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        // A client that reads the answer is told.
        let answer = call(&app, "POST", "/impersonation/end", false).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND);
        let kind = answer.extensions().get::<Rejection>().unwrap().kind();
        assert_eq!(kind, RejectionKind::NothingToEnd);
    }

    #[cfg(feature = "page")]
    #[tokio::test]
    async fn the_script_is_served_as_one_and_may_be_kept() {
        use http_body_util::BodyExt as _;

        let desk = desk_with(|b| all_settings(b).control_path("/impersonation"));
        let answer = call(&app(&desk), "GET", "/impersonation/page.js?v=1", false).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let expected = [
            (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::CACHE_CONTROL, "public, max-age=3600"),
        ];
        for (name, value) in expected {
            assert_eq!(answer.headers()[&name], value);
        }
        let script = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(script.starts_with(b"//") && script.ends_with(b"})();\n"));
        assert_eq!(desk.world.asked(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn r1_the_settings_do_not_need_each_other() {
    let post = || sent("POST", "/orders", &[]);
    let typed = || sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT]);
    let click = || sent("GET", "/orders", &[SAME_ORIGIN, NAVIGATE, FROM_INES]);
    type Set = fn(Builder) -> Builder;
    let tests: [(Set, [bool; 3]); 3] = [
        (Builder::sticky_marker, [true, false, false]),
        (Builder::refuse_unmarked_writes, [false, true, false]),
        (Builder::end_when_marker_removed, [false, false, true]),
    ];
    for (set, [redirected, refused, ended]) in tests {
        let desk = Desk::new(&MemorySessions::new(), true, set);
        desk.start("ada", "ines").await.unwrap();
        let is_redirect = desk.send(click()).await.status == StatusCode::TEMPORARY_REDIRECT;
        assert_eq!(is_redirect, redirected);
        let is_refused = desk.send(post()).await.kind.is_some();
        assert_eq!(is_refused, refused);
        desk.send(typed()).await;
        assert_eq!(desk.active().await.is_empty(), ended);
    }
}

#[tokio::test]
async fn r4_a_port_that_goes_without_saying_makes_no_other_host() {
    let desk = sticky();
    desk.start("ada", "ines").await.unwrap();
    // Browsers leave it out of the `Referer`, some proxies write it into `Host`.
    for (host, page, is_own) in [
        ("shop.example:80", "http://shop.example/?as=ines", true),
        ("shop.example:443", "https://shop.example/?as=ines", true),
        ("shop.example", "http://shop.example:80/?as=ines", true),
        ("[::1]:80", "http://[::1]/?as=ines", true),
        ("shop.example:443", "http://shop.example/?as=ines", false),
        ("shop.example:80", "https://shop.example/?as=ines", false),
        ("shop.example:8080", "http://shop.example/?as=ines", false),
        ("shop.example", "http://shop.example:8080/?as=ines", false),
        ("[::80]", "http://[:]/?as=ines", false),
    ] {
        let mut request = ask("GET", "ada", "/orders");
        let headers = request.headers_mut();
        headers.insert("host", host.parse().unwrap());
        headers.insert("referer", page.parse().unwrap());
        let reply = desk.send(request).await;
        let shown = if is_own { "ines by ada" } else { "themselves" };
        assert_eq!(reply.body, shown, "{host} {page}");
    }
}

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
    assert_eq!(
        desk.trail()
            .await
            .iter()
            .filter(|line| **line == denied)
            .count(),
        3
    );

    // What a script asks for is no page, an excluded one is the actor's own, and without the setting nothing is lost.
    let call = sent(
        "GET",
        &long(9_000),
        &[SAME_ORIGIN, ("sec-fetch-mode", "cors")],
    );
    assert_eq!(desk.send(call).await.body, "ines by ada");
    let excluded = page(&long(9_000).replace("/orders", "/admin"));
    assert_eq!(desk.send(excluded).await.body, "themselves");
    let desk = crate::support::desk();
    desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(page(&long(9_000))).await.body, "ines by ada");
}
