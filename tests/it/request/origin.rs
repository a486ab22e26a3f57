//! R5, R18: a marker in the URL counts only when this site sent it, and the client's address comes from the connection
//! unless the host trusts a header.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroUsize,
};

use http::{StatusCode, header};
use tower_impersonation::{RejectionKind, StartRequest};

use crate::support::{Desk, desk, desk_with, get, parts, sessionless, subject, with};

// === R5 ===

#[tokio::test]
async fn r5_a_marker_in_the_url_is_refused_from_other_sites() {
    struct Case {
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
        refused: bool,
    }
    let query = |refused, headers| Case {
        target: "/orders?as=ines",
        headers,
        refused,
    };
    let header = |refused, headers| Case {
        target: "/orders",
        headers,
        refused,
    };
    let cases = [
        query(true, &[("sec-fetch-site", "cross-site")]),
        query(true, &[("sec-fetch-site", "same-site")]),
        query(false, &[("sec-fetch-site", "same-origin")]),
        query(false, &[("sec-fetch-site", "none")]),
        query(
            true,
            &[("sec-fetch-site", "none"), ("sec-fetch-site", "cross-site")],
        ),
        query(false, &[]),
        query(false, &[("origin", "https://shop.example")]),
        query(true, &[("origin", "https://evil.example")]),
        query(true, &[("origin", "null")]),
        query(
            true,
            &[("act-as", "ines"), ("sec-fetch-site", "cross-site")],
        ),
        // A header cannot be set across sites without the application's own leave.
        header(
            false,
            &[("act-as", "ines"), ("sec-fetch-site", "cross-site")],
        ),
    ];
    for case in cases {
        let desk = sessionless(|b| b);
        let request = with(get("ada", case.target), &[("host", "shop.example")]);
        let reply = desk.send(with(request, case.headers)).await;

        let kind = case.refused.then_some(RejectionKind::CrossSite);
        assert_eq!(reply.kind, kind, "{:?}", case.headers);
        assert_eq!(
            desk.echo.calls(),
            usize::from(!case.refused),
            "{:?}",
            case.headers
        );
        if case.refused {
            assert_eq!(reply.status, StatusCode::FORBIDDEN);
            // Asked for the trail alone, when the refusal is decided.
            assert_eq!(desk.world.count("authorize"), 0, "nobody is asked whether");
            assert_eq!(desk.trail().await, ["denied ada ines cross_site"]);
        }
    }
}

#[tokio::test]
async fn r5_a_page_gets_an_interstitial_with_a_link_to_continue() {
    let desk = sessionless(|b| b);
    let headers = [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
    ];
    let request = with(get("ada", "/orders?as=ines&q=%22x"), &headers);
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
    struct Case {
        name: &'static str,
        desk: Desk,
        address: Option<&'static str>,
    }
    let cases = [
        Case {
            name: "by default",
            desk: desk(),
            address: None,
        },
        Case {
            name: "one proxy",
            desk: desk_with(|b| b.trusted_proxies(NonZeroUsize::MIN)),
            address: Some("10.0.0.7"),
        },
        Case {
            name: "the host's own",
            desk: desk_with(|b| b.client_address(|_| Some(IpAddr::from([192, 0, 2, 1])))),
            address: Some("192.0.2.1"),
        },
    ];
    for case in cases {
        let name = case.name;
        let claims = [("x-forwarded-for", "6.6.6.6, 10.0.0.7")];
        let request = with(get("ada", "/?as=ines"), &claims);
        let (from, _) = request.clone().into_parts();
        let start = StartRequest::new(subject("ines"), "ticket 1");
        let session = case.desk.started(&from, start).await;
        case.desk.send(request).await;

        let address = case
            .address
            .map(|address| address.parse::<IpAddr>().unwrap());
        assert_eq!(session.address, address, "{name}");
        let events = case.desk.events().await;
        assert_eq!(events.len(), 2, "{name}");
        for event in events {
            assert_eq!(event.address, address, "{name}: {event:?}");
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
    let session = desk.started(&from, start).await;

    assert_eq!(session.address, Some(IpAddr::from([192, 0, 2, 9])));
}
