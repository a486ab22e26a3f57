//! Which responses are pages, and which nonces their policies have.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use crate::page::{
    insert::Unit,
    response::{self, Html, Nonces, Not},
    scan::Which,
};

fn headers(all: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        )
    };
    let mut headers = HeaderMap::new();
    for (name, value) in all.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

#[test]
fn only_pages_are_pages() {
    const BYTES: Html = Html {
        is_xml: false,
        declared: Unit::Byte,
    };
    struct Test {
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        expected: Result<Html, bool>,
    }
    let page = |headers| Test {
        status: 200,
        headers,
        expected: Ok(BYTES),
    };
    let none = |status, headers| Test {
        status,
        headers,
        expected: Err(false),
    };
    let unable = |status, headers| Test {
        status,
        headers,
        expected: Err(true),
    };
    let with = |headers, declared| Test {
        status: 200,
        headers,
        expected: Ok(Html {
            is_xml: false,
            declared,
        }),
    };
    let tests = [
        page(&[("content-type", "text/html")]),
        page(&[("content-type", "Text/HTML ; Charset=\"utf-8\"")]),
        page(&[("content-type", "text/html; charset=Shift_JIS")]),
        page(&[
            ("content-type", "text/html"),
            ("content-encoding", "Identity"),
        ]),
        page(&[
            ("content-type", "text/html"),
            ("content-disposition", "inline; filename=a"),
        ]),
        page(&[
            ("content-type", "text/html"),
            ("content-disposition", "filename=a"),
        ]),
        with(
            &[("content-type", "text/html; charset=UTF-16")],
            Unit::Utf16Le,
        ),
        with(
            &[("content-type", "text/html;charset=utf-16be")],
            Unit::Utf16Be,
        ),
        none(200, &[]),
        none(200, &[("content-type", "application/json")]),
        none(200, &[("content-type", "text/html-sandboxed")]),
        none(
            200,
            &[("content-type", "multipart/mixed; boundary=\"text/html\"")],
        ),
        none(204, &[("content-type", "text/html")]),
        none(205, &[("content-type", "text/html")]),
        none(304, &[("content-type", "text/html")]),
        none(101, &[("content-type", "text/html")]),
        none(
            200,
            &[
                ("content-type", "text/html"),
                ("content-disposition", "attachment"),
            ],
        ),
        none(
            200,
            &[
                ("content-type", "text/html"),
                ("content-disposition", "Unknown; filename=a"),
            ],
        ),
        // Names of files, as some hosts write them.
        none(
            200,
            &[
                ("content-type", "text/html"),
                (
                    "content-disposition",
                    "attachment; filename=\"für Inés.html\"",
                ),
            ],
        ),
        page(&[("content-type", "text/html; title=ü")]),
        unable(206, &[("content-type", "text/html")]),
        unable(
            200,
            &[("content-type", "text/html"), ("content-encoding", "gzip")],
        ),
        unable(
            200,
            &[
                ("content-type", "text/html"),
                ("content-encoding", "identity"),
                ("content-encoding", "br"),
            ],
        ),
        unable(200, &[("content-type", "text/html; charset=iso-2022-jp")]),
    ];
    for test in tests {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(test.status).unwrap();
        *response.headers_mut() = headers(test.headers);
        let (parts, ()) = response.into_parts();
        let html = response::html(&Method::GET, &parts);
        let html = html.map_err(|not| matches!(not, Not::Able(_)));
        assert_eq!(html, test.expected, "{} {:?}", test.status, test.headers);
    }
    let xml = Response::builder().header("content-type", "application/xhtml+xml");
    let (parts, ()) = xml.body(()).unwrap().into_parts();
    assert!(response::html(&Method::GET, &parts).unwrap().is_xml);
    for status in [400, 404, 500, 503] {
        let page = Response::builder()
            .status(status)
            .header("content-type", "text/html");
        let (parts, ()) = page.body(()).unwrap().into_parts();
        assert_eq!(response::html(&Method::POST, &parts), Ok(BYTES), "{status}");
    }
}

#[test]
fn only_what_is_shown_as_a_page_gets_it() {
    type Sent = &'static [(&'static str, &'static str)];
    let tests: [(Sent, Option<Which>); 11] = [
        (&[], Some(Which::Any)),
        (&[("sec-fetch-dest", "document")], Some(Which::Any)),
        (&[("sec-fetch-dest", "iframe")], Some(Which::Any)),
        (&[("sec-fetch-dest", "frame")], Some(Which::Any)),
        (&[("sec-fetch-dest", "empty")], Some(Which::Whole)),
        (&[("sec-fetch-dest", "image")], None),
        (&[("sec-fetch-dest", "script")], None),
        (&[("sec-fetch-dest", "object")], None),
        (&[("hx-request", "true")], Some(Which::Whole)),
        (&[("turbo-frame", "a")], Some(Which::Whole)),
        (
            &[("x-requested-with", "XMLHttpRequest")],
            Some(Which::Whole),
        ),
    ];
    for (request, expected) in tests {
        assert_eq!(response::which(&headers(request)), expected, "{request:?}");
    }
}

#[test]
fn a_nonce_is_found_where_it_counts() {
    const CSP: &str = "content-security-policy";
    struct Test {
        headers: &'static [(&'static str, &'static str)],
        script: Option<&'static str>,
        style: Option<&'static str>,
    }
    let tests = [
        Test {
            headers: &[],
            script: None,
            style: None,
        },
        Test {
            headers: &[(
                CSP,
                "script-src 'self' 'nonce-abc+/-_='; style-src 'nonce-s'",
            )],
            script: Some("abc+/-_="),
            style: Some("s"),
        },
        Test {
            headers: &[(CSP, "Default-Src 'Nonce-d'")],
            script: Some("d"),
            style: Some("d"),
        },
        // The closest directive alone counts, and the first of its name.
        Test {
            headers: &[(
                CSP,
                "default-src 'nonce-d'; script-src 'self'; style-src-elem 'nonce-e'; style-src 'nonce-s'",
            )],
            script: None,
            style: Some("e"),
        },
        Test {
            headers: &[(CSP, "script-src 'nonce-a'; script-src 'nonce-b'")],
            script: Some("a"),
            style: None,
        },
        // Several policies.
        Test {
            headers: &[
                (CSP, "frame-ancestors 'none', script-src 'nonce-b'"),
                (CSP, "style-src 'nonce-c'"),
            ],
            script: Some("b"),
            style: Some("c"),
        },
        // What would leave the attribute is no nonce.
        Test {
            headers: &[(
                CSP,
                "script-src 'nonce-\"><script>' 'nonce-' nonce-x 'nonce-ok'",
            )],
            script: Some("ok"),
            style: None,
        },
        Test {
            headers: &[
                (
                    "content-security-policy-report-only",
                    "script-src 'nonce-r'; style-src 'nonce-r'",
                ),
                (CSP, "script-src 'nonce-e'"),
            ],
            script: Some("e"),
            style: Some("r"),
        },
    ];
    for test in tests {
        let expected = Nonces {
            script: test.script.map(str::to_owned),
            style: test.style.map(str::to_owned),
        };
        assert_eq!(
            Nonces::of(&headers(test.headers)),
            expected,
            "{:?}",
            test.headers
        );
    }
}
