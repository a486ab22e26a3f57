//! R4, R5: only a page of this very origin, by scheme, host and port, passes its marker on.

use super::{DOCUMENT, FROM_INES, NAVIGATE, SAME_ORIGIN, TYPED, sent, sticky};
use crate::support::{ask, post, sessionless, with};

// === The sticky marker ===

#[tokio::test]
async fn r5_what_is_not_surely_sent_by_a_page_of_this_origin_is_untouched() {
    let referer = |url: &'static str| ("referer", url);
    let ines = FROM_INES;
    let cross = |site: &'static str| ("sec-fetch-site", site);
    let cases: Vec<(&str, Vec<(&'static str, &str)>)> = vec![
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
    for (name, headers) in &cases {
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
        let headers = [("host", host), ("referer", referer)];
        desk.send(with(ask("POST", "ada", target), &headers))
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
    let request = with(post("ada", "/"), &[FROM_INES]);
    assert_eq!(desk.send(request).await.body, "themselves");
}

// === The way out over HTTP ===

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
        let headers = [("host", host), ("referer", page)];
        let reply = desk
            .send(with(ask("GET", "ada", "/orders"), &headers))
            .await;
        let shown = if is_own { "ines by ada" } else { "themselves" };
        assert_eq!(reply.body, shown, "{host} {page}");
    }
}
