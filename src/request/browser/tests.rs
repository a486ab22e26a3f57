//! Where a browser says that a request comes from (rule R5).
#![allow(clippy::unwrap_used)]

use http::Request;

use super::*;

#[test]
fn r5_another_site_is_told_by_fetch_metadata_or_origin() {
    struct Test {
        target: &'static str,
        headers: &'static [(&'static str, &'static str)],
        cross: bool,
    }
    const HOST: (&str, &str) = ("host", "shop.example");
    const PORT: (&str, &str) = ("host", "shop.example:8080");
    let tests = [
        Test {
            target: "/",
            headers: &[HOST],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "same-origin")],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "none")],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "same-site")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "cross-site")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "something-new")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[
                HOST,
                ("sec-fetch-site", "none"),
                ("sec-fetch-site", "cross-site"),
            ],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("sec-fetch-site", "same-origin, cross-site")],
            cross: true,
        },
        // The browser's own word counts more than what it is derived from.
        Test {
            target: "/",
            headers: &[
                HOST,
                ("sec-fetch-site", "same-site"),
                ("origin", "https://shop.example"),
            ],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[
                HOST,
                ("sec-fetch-site", "same-origin"),
                ("origin", "https://evil.example"),
            ],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "https://shop.example")],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "http://shop.example")],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[PORT, ("origin", "http://shop.example:8080")],
            cross: false,
        },
        Test {
            target: "/",
            headers: &[PORT, ("origin", "http://shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "http://shop.example:8080")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "https://evil.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "https://a.shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "https://shop.example.evil")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "https://x@shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "ftp://shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "null")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[HOST, ("origin", "")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[("origin", "https://shop.example")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[("origin", "null")],
            cross: true,
        },
        Test {
            target: "/",
            headers: &[
                HOST,
                ("origin", "https://shop.example"),
                ("origin", "https://evil.example"),
            ],
            cross: true,
        },
        // HTTP/2 and proxies: the target names the host, and wins over the header.
        Test {
            target: "https://shop.example/",
            headers: &[("origin", "https://shop.example")],
            cross: false,
        },
        Test {
            target: "https://shop.example/",
            headers: &[("host", "evil.example"), ("origin", "https://evil.example")],
            cross: true,
        },
        Test {
            target: "https://shop.example:444/",
            headers: &[("origin", "https://shop.example")],
            cross: true,
        },
    ];
    for test in tests {
        let mut request = Request::builder().method(Method::GET).uri(test.target);
        for (name, value) in test.headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let cross = is_cross_site(&parts);
        assert_eq!(cross, test.cross, "{} {:?}", test.target, test.headers);
    }
}
