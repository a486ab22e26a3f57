//! R11 before real servers: each spelling of a protected path, to axum, to plain hyper, and to a strict and a lax reader of
//! paths. The table says which of them serves the page for it, so that no spelling is made up; behind the layer none does.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, service_fn};
use tower_impersonation::{Access, Rejection, StartRequest};

use crate::support::{Desk, ask, desk_with, fetch, parts, serve, subject, with};

const PAGE: &str = "the password page";

/// Who takes it for `/account/password` or for something below it.
struct Spelling {
    path: &'static str,
    /// A router of axum, with a route for what is below.
    axum: bool,
    /// A handler that compares the path as it came.
    hyper: bool,
    /// Whole segments, each decoded once.
    strict: bool,
    /// Whatever can be made of it.
    lax: bool,
}

const fn spelling(path: &'static str, [axum, hyper, strict, lax]: [bool; 4]) -> Spelling {
    Spelling {
        path,
        axum,
        hyper,
        strict,
        lax,
    }
}

const ALL: [bool; 4] = [true; 4];
const BY_SEGMENTS: [bool; 4] = [true, false, true, true];
const DECODED: [bool; 4] = [false, false, true, true];
const LAX: [bool; 4] = [false, false, false, true];
const NOBODY: [bool; 4] = [false; 4];

const SPELLINGS: &[Spelling] = &[
    spelling("/account/password", ALL),
    spelling("/account/password/new", BY_SEGMENTS),
    spelling("/account/password/../../orders", [true, false, true, false]),
    spelling("/account/password/", [false, false, true, true]),
    spelling("/account/passwor%64", DECODED),
    spelling("/%61ccount/%70assword/new", DECODED),
    spelling("/Account/Password", LAX),
    spelling("/account/PASSWOR%44", LAX),
    spelling("//account/password", LAX),
    spelling("/./account//password", LAX),
    spelling("/x/../account/password", LAX),
    spelling("/x/%2e%2e/account/password", LAX),
    spelling("/account%2fpassword", LAX),
    spelling("/account%5Cpassword", LAX),
    spelling("/account\\password", LAX),
    spelling("/account/%2570assword", LAX),
    spelling("/account%252fpassword", LAX),
    spelling("/account/password;jsessionid=1", LAX),
    spelling("/account;x/password", LAX),
    spelling("/orders/..;/account/password", LAX),
    spelling("/account/password.", LAX),
    spelling("/account/password%20", LAX),
    spelling("/account/password%00", LAX),
    spelling("/account/password%00.html", LAX),
    spelling("/account/password.json", LAX),
    spelling("/account/Password%2Ejson;x", LAX),
    // Others' paths stay open, odd or not.
    spelling("/account", NOBODY),
    spelling("/account/passwords", NOBODY),
    spelling("/account/pass%20word", NOBODY),
    spelling("/account/x/password", NOBODY),
    spelling("/orders/a%2fb;x=1/c.json", NOBODY),
    spelling("/orders//7", NOBODY),
];

#[tokio::test]
async fn r11_no_router_serves_a_protected_page_in_any_spelling() {
    let desk = desk_with(|builder| builder.protect("/account/password"));
    let start = StartRequest::new(subject("ines"), "ticket 1").with_access(Access::ReadWrite);
    desk.handle.start(&parts("ada"), start).await.unwrap();

    for (name, expected, bare, acted) in servers(&desk).await {
        for spelling in SPELLINGS {
            let what = format!("{} by {name}", spelling.path);
            let (status, body) = send(bare, "GET", spelling.path, "").await;
            assert_eq!(status, StatusCode::OK, "{what}");
            assert_eq!(body == PAGE, expected(spelling), "{what}");

            let is_somebodys = spelling.axum || spelling.hyper || spelling.strict || spelling.lax;
            for method in ["GET", "POST"] {
                let (status, body) = send(acted, method, spelling.path, "ines").await;
                if is_somebodys {
                    assert_eq!(status, StatusCode::FORBIDDEN, "{method} {what}");
                    assert!(body.contains("\"protected\""), "{method} {what}: {body}");
                } else {
                    assert_eq!(status, StatusCode::OK, "{method} {what}");
                    assert_ne!(body, PAGE, "{method} {what}");
                }
            }
        }
    }
}

#[tokio::test]
async fn r11_every_spelling_is_refused_with_the_same_kind() {
    let desk = desk_with(|builder| builder.protect("/account/password"));
    desk.start("ada", "ines").await.unwrap();
    for spelling in SPELLINGS {
        let request = ask("GET", "ada", spelling.path);
        let reply = desk.send(with(request, &[("act-as", "ines")])).await;
        let is_somebodys = spelling.axum || spelling.hyper || spelling.strict || spelling.lax;
        let kind = is_somebodys.then_some(tower_impersonation::RejectionKind::Protected);
        assert_eq!(reply.kind, kind, "{}", spelling.path);
    }
}

type Expected = fn(&Spelling) -> bool;

/// Each server as it is, and behind the layer.
async fn servers(desk: &Desk) -> Vec<(&'static str, Expected, SocketAddr, SocketAddr)> {
    let layer = desk.handle.layer();
    let router = || {
        let page = || async { PAGE };
        axum::Router::new()
            .route("/account/password", axum::routing::any(page))
            .route("/account/password/{*below}", axum::routing::any(page))
            .fallback(|| async { "something else" })
    };
    let mut servers: Vec<(&'static str, Expected, SocketAddr, SocketAddr)> = vec![(
        "axum",
        |spelling| spelling.axum,
        serve(router()).await,
        serve(layer.layer(router())).await,
    )];
    type Reader = (&'static str, Expected, fn(&str) -> bool);
    let readers: [Reader; 3] = [
        (
            "hyper",
            |spelling| spelling.hyper,
            |path| path == "/account/password",
        ),
        ("a strict reader", |spelling| spelling.strict, strict),
        ("a lax reader", |spelling| spelling.lax, lax),
    ];
    for (name, expected, is_it) in readers {
        let reader = service_fn(move |request: Request<_>| async move {
            let _: &hyper::body::Incoming = request.body();
            let body = if is_it(request.uri().path()) {
                PAGE
            } else {
                "something else"
            };
            Ok::<_, Infallible>(Response::new(Full::from(body)))
        });
        let (bare, acted) = (serve(reader).await, serve(layer.layer(reader)).await);
        servers.push((name, expected, bare, acted));
    }
    servers
}

async fn send(to: SocketAddr, method: &str, path: &str, subject: &str) -> (StatusCode, String) {
    let mut request = ask(method, "ada", path);
    if !subject.is_empty() {
        request = with(request, &[("act-as", subject)]);
    }
    let (parts, body) = fetch(to, request).await.into_parts();
    assert!(
        parts.extensions.get::<Rejection>().is_none(),
        "over the wire nothing is typed"
    );
    let body: Bytes = body.collect().await.unwrap().to_bytes();
    (parts.status, String::from_utf8(body.to_vec()).unwrap())
}

fn strict(path: &str) -> bool {
    let decode = |segment| percent_encoding::percent_decode_str(segment).decode_utf8_lossy();
    let mut segments = path.split('/').skip(1).map(decode);
    segments.next().as_deref() == Some("account") && segments.next().as_deref() == Some("password")
}

fn lax(path: &str) -> bool {
    let decode = |path: &[u8]| percent_encoding::percent_decode(path).collect::<Vec<u8>>();
    let path = String::from_utf8_lossy(&decode(&decode(path.as_bytes()))).to_ascii_lowercase();
    // C knows no more of it.
    let path = path.split('\0').next().unwrap_or_default();
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment.trim_end_matches([' ', '.'])),
        }
    }
    let name = |segment: &&str| segment.split('.').next().unwrap_or_default().to_owned();
    matches!(&segments[..], [first, second, ..] if *first == "account" && name(second) == "password")
}
