//! R1, R2, R3, R9: a request without a marker is left alone, a marker is read in each place where it may stand, one
//! that cannot be read is refused, and none of them reaches the inner service.

use std::net::SocketAddr;

use http::{StatusCode, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::Layer;
use tower_impersonation::RejectionKind;

use crate::support::{Desk, How, desk, desk_with_consent, get, post, serve, sessionless, with};

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
    struct Case {
        name: &'static str,
        desk: Desk,
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
        body: &'static str,
    }
    let usual = |name, target, headers, body| {
        let desk = sessionless(|b| b);
        Case {
            name,
            desk,
            target,
            headers,
            body,
        }
    };
    let renamed = |name, target, headers, body| {
        let desk = sessionless(|b| b.query_parameter("behalf").header("X-Behalf"));
        Case {
            name,
            desk,
            target,
            headers,
            body,
        }
    };
    const HEADER: &[(&str, &str)] = &[("act-as", "ines")];
    const RENAMED: &[(&str, &str)] = &[("x-behalf", "ines")];
    let cases = [
        usual("query", "/?as=ines", &[], "ines by ada"),
        usual("header", "/", HEADER, "ines by ada"),
        usual("both, when they agree", "/?as=ines", HEADER, "ines by ada"),
        renamed("other names", "/?behalf=ines", RENAMED, "ines by ada"),
        renamed(
            "the usual names are no markers then",
            "/?as=ines",
            HEADER,
            "themselves",
        ),
        usual("the anonymous visitor", "/?as=~anon", &[], "~anon by ada"),
    ];
    for case in cases {
        let request = with(get("ada", case.target), case.headers);
        let body = case.desk.send(request).await.body;
        assert_eq!(body, case.body, "{}", case.name);
    }
}

#[tokio::test]
async fn r3_a_marker_that_cannot_be_read_is_refused() {
    struct Case {
        name: &'static str,
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
    }
    let query = |name, target| Case {
        name,
        target,
        headers: &[],
    };
    let header = |name, headers| Case {
        name,
        target: "/",
        headers,
    };
    let both = |name, headers| Case {
        name,
        target: "/?as=ines",
        headers,
    };
    let cases = [
        query("empty", "/?as="),
        query("without a value", "/?as"),
        query("repeated", "/?as=ines&as=ines"),
        query("repeated in disguise", "/?as=ines&%61%73=otto"),
        query("a control", "/?as=a%00b"),
        query("no UTF-8", "/?as=%ff"),
        query("a broken sequence", "/?as=ines%2"),
        header("empty header", &[("act-as", "")]),
        header("repeated header", &[("act-as", "ines"), ("act-as", "ines")]),
        both("they disagree", &[("act-as", "otto")]),
        header(
            "named in Connection",
            &[("act-as", "ines"), ("connection", "close, aCT-aS")],
        ),
        header(
            "named in Connection and already gone",
            &[("connection", "act-as")],
        ),
        header("a reason alone", &[("act-as-reason", "ticket 1")]),
        both("a blank reason", &[("act-as-reason", " ")]),
    ];
    for case in cases {
        let name = case.name;
        let desk = sessionless(|b| b.exclude("/admin"));
        // An excluded path is no way around it.
        for path in ["", "/admin"] {
            let request = get("ada", &format!("{path}{}", case.target));
            let reply = desk.send(with(request, case.headers)).await;

            assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}");
            assert_eq!(reply.kind, Some(RejectionKind::MalformedMarker), "{name}");
        }
        assert_eq!(desk.echo.calls(), 0, "{name}");
        let refused = "denied - - malformed_marker";
        let folded = format!("{refused} x1");
        assert_eq!(desk.trail().await, [refused, &folded], "{name}");
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
    struct Case {
        name: &'static str,
        request: &'static str,
        status: &'static str,
        inner: Option<&'static str>,
    }
    let cases = [
        Case {
            name: "acted",
            request: "GET /orders?page=2&%61s=ines&x=%20 HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\n\
                      aCt-AS: ines\r\nACT-as-REASON: ticket 7\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/orders?page=2&x=%20"),
        },
        Case {
            name: "excluded",
            request: "GET /admin/users?as=ines&page=2 HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\n\
                      ACT-AS: ines\r\nAct-as-Reason: ticket 7\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/admin/users?page=2"),
        },
        Case {
            name: "nothing but the marker",
            request: "GET /?as=ines HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 200",
            inner: Some("/"),
        },
        Case {
            name: "refused",
            request: "GET /?as=nobody HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\nConnection: close\r\n\r\n",
            status: "HTTP/1.1 403",
            inner: None,
        },
        Case {
            name: "twice in odd case",
            request: "GET / HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\naCt-As: ines\r\nACT-AS: ines\r\n\
                      Connection: close\r\n\r\n",
            status: "HTTP/1.1 400",
            inner: None,
        },
        Case {
            name: "twice on an excluded path",
            request: "GET /admin HTTP/1.1\r\nHost: shop\r\nX-User: ada\r\naCt-As: ines\r\nACT-AS: otto\r\n\
                      Connection: close\r\n\r\n",
            status: "HTTP/1.1 400",
            inner: None,
        },
    ];
    for case in cases {
        let desk = sessionless(|b| b.exclude("/admin"));
        let address = serve(desk.handle.layer().layer(desk.echo.clone())).await;
        let answer = raw(address, case.request).await;

        assert!(answer.starts_with(case.status), "{}: {answer}", case.name);
        assert_eq!(
            desk.echo.calls(),
            usize::from(case.inner.is_some()),
            "{}",
            case.name
        );
        if let Some(target) = case.inner {
            let seen = desk.echo.last();
            assert_eq!(seen.uri, target, "{}", case.name);
            let names: Vec<_> = seen.headers.keys().map(http::HeaderName::as_str).collect();
            assert_eq!(names, ["host", "x-user", "connection"], "{}", case.name);
        }
    }
}
