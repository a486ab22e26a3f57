//! R2, R3, R4, R10, R11, R12, R16: what else a marked page sends is acted, with the rights of a marker and no more.

use http::{StatusCode, header};
use tower::Layer;
use tower_impersonation::RejectionKind;

use super::{
    DOCUMENT, FROM_INES, HTML, Headers, NAVIGATE, SAME_ORIGIN, TYPED, all_settings, sent, sticky,
};
use crate::support::{desk_with, parts, sessionless};

#[tokio::test]
async fn r2_what_else_a_marked_page_sends_is_acted() {
    const CORS: (&str, &str) = ("sec-fetch-mode", "cors");
    const NO_CORS: (&str, &str) = ("sec-fetch-mode", "no-cors");
    const OURS: (&str, &str) = ("origin", "https://shop.example");
    let image = ("sec-fetch-dest", "image");
    let cases: [(&str, Headers); 14] = [
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
    for (method, headers) in cases {
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
            "start ada ines",
            "end ada ines manual",
            "denied - ines unauthenticated",
            "denied ada ines no_session x3",
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
