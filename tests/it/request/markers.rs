//! R1, R2, R3, R9: a request without a marker is left alone, a marker is read in each place where it may stand, one
//! that cannot be read is refused, and none of them reaches the inner service.

use std::net::SocketAddr;

use http::{StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Layer;
use tower_impersonation::RejectionKind;

use crate::support::{Desk, How, desk, desk_with_consent, get, post, serve, sessionless};

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

/// One request as it is, and the whole answer.
async fn raw(address: SocketAddr, request: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

// === R9 ===

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
