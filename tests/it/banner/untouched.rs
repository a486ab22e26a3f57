//! R1: what is not acted, or not a page, passes as it is, and headers about the bytes go where the bytes change.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower_impersonation_web::page as with_banner;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};

use super::{HTML, PAGE, acting_desk, answer, html, text};
use crate::support::{Req, ask, get, with};

#[tokio::test]
async fn r1_what_is_not_acted_passes_as_it_is() {
    let desk = acting_desk().await;
    let seen = Arc::new(Mutex::new(HeaderMap::new()));
    let app = service_fn({
        let seen = seen.clone();
        move |request: Req| {
            *seen.lock().unwrap() = request.headers().clone();
            let mut response = html(PAGE);
            let tag = HeaderValue::from_static("\"a\"");
            response.headers_mut().insert(header::ETAG, tag);
            async { Ok::<_, Infallible>(response) }
        }
    });
    let app = desk
        .handle
        .layer()
        .layer(with_banner(&desk.handle).layer(app));
    for (target, is_acted) in [("/", false), ("/?as=ines", true)] {
        let request = with(get("ada", target), &[("accept-encoding", "gzip")]);
        let response = app.clone().oneshot(request).await.unwrap();
        // A layer inside would compress the page, and hide it from ours.
        let accepts = seen.lock().unwrap().contains_key(header::ACCEPT_ENCODING);
        assert_eq!(accepts, !is_acted, "{target}");
        assert_eq!(
            response.headers().contains_key(header::ETAG),
            !is_acted,
            "{target}"
        );
        let is_exact = response.body().size_hint().exact() == Some(PAGE.len() as u64);
        assert_eq!(is_exact, !is_acted, "{target}");
        assert_eq!(text(response).await == PAGE, !is_acted, "{target}");
    }
    // What the layer itself refuses never comes by here: such a page has its own way out.
    let refused = app.oneshot(get("ada", "/?as=otto")).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert!(!text(refused).await.contains("impersonation-banner"));
}

#[tokio::test]
async fn only_pages_get_it_on_any_status() {
    struct Case {
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        has_banner: bool,
    }
    let case = |status, headers, has_banner| Case {
        status,
        headers,
        has_banner,
    };
    let cases = [
        case(200, &[("content-type", HTML)], true),
        case(404, &[("content-type", HTML)], true),
        case(500, &[("content-type", HTML)], true),
        case(
            206,
            &[("content-type", HTML), ("content-range", "bytes 0-9/99")],
            false,
        ),
        case(304, &[("content-type", HTML)], false),
        case(200, &[("content-type", "application/json")], false),
        case(
            200,
            &[("content-type", HTML), ("content-encoding", "gzip")],
            false,
        ),
        case(
            200,
            &[
                ("content-type", HTML),
                ("content-disposition", "attachment"),
            ],
            false,
        ),
    ];
    let desk = acting_desk().await;
    for case in cases {
        let mut response = Response::builder()
            .status(case.status)
            .header("etag", "\"a\"");
        for (name, value) in case.headers {
            response = response.header(*name, *value);
        }
        let response = response.header("content-length", PAGE.len());
        let response = response.body(Full::new(Bytes::from(PAGE))).unwrap();
        let response = answer(
            &desk,
            with_banner(&desk.handle),
            get("ada", "/?as=ines"),
            response,
        )
        .await;
        let name = format!("{} {:?}", case.status, case.headers);
        assert_eq!(response.status(), case.status, "{name}");
        // What speaks of other bytes is gone, and only then.
        for header in ["etag", "content-length"] {
            assert_eq!(
                response.headers().contains_key(header),
                !case.has_banner,
                "{name}: {header}"
            );
        }
        assert_eq!(text(response).await != PAGE, case.has_banner, "{name}");
    }
}

#[tokio::test]
async fn every_header_about_the_bytes_is_gone_also_for_head() {
    let desk = acting_desk().await;
    let about = [
        "content-length",
        "etag",
        "accept-ranges",
        "content-md5",
        "digest",
        "content-digest",
        "repr-digest",
    ];
    for method in ["GET", "HEAD"] {
        let mut response = html(if method == "GET" { PAGE } else { "" });
        for name in about {
            response
                .headers_mut()
                .insert(name, HeaderValue::from_static("78"));
        }
        response
            .headers_mut()
            .insert("x-other", HeaderValue::from_static("stays"));
        let request = ask(method, "ada", "/?as=ines");
        let response = answer(&desk, with_banner(&desk.handle), request, response).await;
        for name in about {
            assert!(!response.headers().contains_key(name), "{method}: {name}");
        }
        assert_eq!(response.headers()["x-other"], "stays");
        assert_eq!(text(response).await.is_empty(), method == "HEAD");
    }
}

#[tokio::test]
async fn parts_of_pages_and_what_is_no_page_stay_as_they_are() {
    let cases = [
        (Some("document"), "<li>x", true),
        (Some("iframe"), "<li>x", true),
        (None, "<li>x", true),
        (Some("empty"), "<li>x", false),
        (Some("empty"), PAGE, true),
        (Some("image"), PAGE, false),
        (
            Some("document"),
            "<frameset><frame src=a></frameset>",
            false,
        ),
    ];
    let desk = acting_desk().await;
    for (dest, page, has_banner) in cases {
        let mut request = get("ada", "/?as=ines");
        if let Some(dest) = dest {
            request = with(request, &[("sec-fetch-dest", dest)]);
        }
        let shown = text(answer(&desk, with_banner(&desk.handle), request, html(page)).await).await;
        assert_eq!(shown != page, has_banner, "{dest:?} {page}");
    }
}

#[tokio::test]
async fn xhtml_stays_well_formed() {
    let desk = acting_desk().await;
    let page = "<html><head><script src='a'/></head><body>x</body></html>";
    let mut response = html(page);
    let xhtml = HeaderValue::from_static("application/xhtml+xml");
    response.headers_mut().insert(header::CONTENT_TYPE, xhtml);
    let shown = text(
        answer(
            &desk,
            with_banner(&desk.handle),
            get("ada", "/?as=ines"),
            response,
        )
        .await,
    )
    .await;
    assert_eq!(
        shown
            .matches("xmlns=\"http://www.w3.org/1999/xhtml\"")
            .count(),
        3,
        "{shown}"
    );
    let mut open = Vec::new();
    for tag in shown.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap();
        let name = tag.split([' ', '/']).next().unwrap();
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed), "{shown}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        // Every attribute has a value in quotes.
        let outside = tag.split(['"', '\'']).step_by(2);
        for attribute in outside.flat_map(str::split_whitespace).skip(1) {
            assert!(
                attribute.ends_with('=') || attribute == "/",
                "{attribute} in <{tag}>"
            );
        }
    }
    assert!(open.is_empty(), "{open:?}");
}
