//! R5, R18: a marker in the URL counts only when this site sent it, and the client's address comes from the connection
//! unless the host trusts a header.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
};

use http::{StatusCode, header};
use tower_impersonation::{RejectionKind, StartRequest};

use crate::support::{Desk, desk, desk_with, get, parts, sessionless, subject};

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
