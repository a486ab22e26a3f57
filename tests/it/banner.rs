//! The banner on acted pages: what people see, what is never touched, and what a page's bytes cannot do to it.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::{compression::CompressionLayer, decompression::DecompressionLayer};
use tower_impersonation::{
    ActingAs, Builder, DirectoryUser, PageLayer, Rank, SessionOver,
    page::{PageBody, Position, Wording},
    session::EndedReason,
};

use crate::support::{ADMIN, Desk, MINUTE, Req, desk_with, get, id, poll_once, post, sessionless};

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = "<!doctype html><html><head><title>x</title></head><body><p>x</p></body></html>";

fn at_path(builder: Builder) -> Builder {
    builder.control_path("/impersonation")
}

/// With a session of ada's for ines, and a control API.
async fn acting_desk() -> Desk {
    let desk = desk_with(at_path);
    desk.start("ada", "ines").await.unwrap();
    desk
}

fn html(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    response
}

/// The answer to `request` of an application that answers `response`.
async fn ask<B>(
    desk: &Desk,
    page: PageLayer,
    request: Req,
    response: Response<B>,
) -> Response<tower_impersonation::ResponseBody<PageBody<B>>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tower_impersonation::BoxError> + Send,
{
    let response = Arc::new(Mutex::new(Some(response)));
    let app = service_fn(move |_: Req| {
        let response = response.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let app = desk.handle.layer().layer(page.layer(app));
    app.oneshot(request).await.unwrap()
}

async fn text<B>(response: Response<B>) -> String
where
    B: Body,
    B::Error: std::fmt::Debug,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The page as ada sees it, acting as ines.
async fn shown(desk: &Desk, page: PageLayer, body: &str) -> String {
    let request = get("ada", "/orders?as=ines");
    text(ask(desk, page, request, html(body.to_owned())).await).await
}

/// What is put into every page of this desk: into the head, and into the body.
async fn ours(desk: &Desk) -> (String, String) {
    let page = shown(desk, desk.handle.page(), "<head>|</head><body>|").await;
    let (head, rest) = page
        .strip_prefix("<head>")
        .unwrap()
        .split_once('|')
        .unwrap();
    let banner = rest.strip_prefix("</head><body>").unwrap();
    (
        head.to_owned(),
        banner.strip_suffix('|').unwrap().to_owned(),
    )
}

// === what compresses ===

#[tokio::test]
async fn a_layer_that_compresses_may_stand_outside_and_inside() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    // Long enough to be worth it.
    let filling = "<p>x</p>".repeat(1_000);
    let page = format!("<head></head><body>{filling}");
    let expected = format!("<head>{head}</head><body>{banner}{filling}");
    let app = {
        let page = page.clone();
        service_fn(move |_: Req| {
            let page = html(page.clone());
            async { Ok::<_, Infallible>(page) }
        })
    };
    let compress = CompressionLayer::new;
    for inside in [false, true] {
        let was_gzip = Arc::new(Mutex::new(None));
        let seen = was_gzip.clone();
        let look = move |headers: &HeaderMap| {
            *seen.lock().unwrap() = headers.get(header::CONTENT_ENCODING).cloned();
        };
        let request = get("ada", "/orders?as=ines");
        let shown = if inside {
            let app = desk.handle.page().layer(compress().layer(app.clone()));
            let app = ServiceExt::<Req>::map_response(desk.handle.layer().layer(app), move |it| {
                look(Response::headers(&it));
                it
            });
            text(
                DecompressionLayer::new()
                    .layer(app)
                    .oneshot(request)
                    .await
                    .unwrap(),
            )
            .await
        } else {
            let app = desk
                .handle
                .layer()
                .layer(desk.handle.page().layer(app.clone()));
            let app = ServiceExt::<Req>::map_response(compress().layer(app), move |it| {
                look(Response::headers(&it));
                it
            });
            text(
                DecompressionLayer::new()
                    .layer(app)
                    .oneshot(request)
                    .await
                    .unwrap(),
            )
            .await
        };
        assert_eq!(shown, expected, "inside: {inside}");
        let encoding = was_gzip.lock().unwrap().take();
        assert_eq!(encoding.is_some(), !inside, "{encoding:?}");
    }
}

// === what people see ===

#[tokio::test]
async fn the_banner_says_who_by_whom_how_far_and_until_when_and_leads_out() {
    let desk = desk_with(at_path);
    desk.cast.users.insert(
        DirectoryUser::new(id("ines"), Rank(0))
            .with_login("ines@shop.example")
            .with_display_name("Inés López"),
    );
    let session = desk.start("sam", "ines").await.unwrap().session;
    // What is left is rounded up: nothing is over before it is.
    desk.clock
        .advance(MINUTE / 2 + std::time::Duration::from_millis(400));

    let response = ask(
        &desk,
        desk.handle.page(),
        get("sam", "/orders?as=ines"),
        html("<body>|"),
    );
    let page = text(response.await).await;
    let (_, banner) = page.split_once("</script>").unwrap();
    let expected = format!(
        "<aside class=\"impersonation-banner\" data-impersonation-banner=\"\" role=\"region\" \
         aria-label=\"Impersonation\" lang=\"en\" dir=\"ltr\"><div class=\"impersonation-banner-bar\">\
         <p class=\"impersonation-banner-who\"><span class=\"impersonation-banner-as\">Acting as \
         <bdi class=\"impersonation-banner-name\" title=\"In&#xE9;s L&#xF3;pez\">In&#xE9;s L&#xF3;pez</bdi></span> \
         <bdi class=\"impersonation-banner-login\" title=\"ines@shop.example\">ines@shop.example</bdi></p> \
         <p class=\"impersonation-banner-facts\">\
         <span class=\"impersonation-banner-access impersonation-banner-read-only\">read-only</span> \
         <span class=\"impersonation-banner-actor\">signed in as <bdi>sam</bdi></span> \
         <span class=\"impersonation-banner-until\">until <time datetime=\"2026-11-20T12:30:00Z\">12:30 UTC</time></span> \
         <span class=\"impersonation-banner-left\" data-impersonation-left=\"1770\" \
         data-impersonation-format=\"{{time}} left\" data-impersonation-over=\"This session is over.\">29 min left</span></p> \
         <form class=\"impersonation-banner-form\" method=\"post\" action=\"/impersonation/end\">\
         <input type=\"hidden\" name=\"session_id\" value=\"{}\"/>\
         <button class=\"impersonation-banner-exit\" type=\"submit\">Exit</button></form></div></aside>|",
        session.id
    );
    assert_eq!(banner, expected);
}

#[tokio::test]
async fn the_banner_names_those_who_are_no_users_and_writing_access() {
    let desk = acting_desk().await;
    let (_, banner) = ours(&desk).await;
    assert!(
        banner.contains("impersonation-banner-read-write\">read and write<"),
        "{banner}"
    );

    // No session, so there is nothing to end: the way out is the page without the marker.
    let alone = sessionless(|builder| builder.control_path("/impersonation"));
    let tests = [
        (
            "/a?as=~anon&b=1",
            ">an anonymous visitor</bdi>",
            "href=\"/a?b=1\"",
        ),
        ("/a?as=~service", ">the service role</bdi>", "href=\"/a\""),
        // No other host, whatever the path looks like.
        (
            "//evil.example/?as=ines",
            ">ines</bdi>",
            "href=\"/evil.example/\"",
        ),
    ];
    for (target, who, link) in tests {
        let page = ask(&alone, alone.handle.page(), get("root", target), html(PAGE)).await;
        let page = text(page).await;
        assert!(page.contains(who), "{page}");
        assert!(
            page.contains(&format!("rel=\"noreferrer\" {link}")),
            "{page}"
        );
        assert!(!page.contains("<form"), "{page}");
        assert!(!page.contains("data-impersonation-left"), "{page}");
    }
}

#[tokio::test]
async fn style_and_script_stand_first_in_the_head_and_say_where_the_marker_goes() {
    let desk = acting_desk().await;
    let (head, _) = ours(&desk).await;
    let (style, script) = head.split_once("/>").unwrap();
    let version = style
        .strip_prefix("<link rel=\"stylesheet\" href=\"/impersonation/page.css?v=")
        .and_then(|rest| rest.strip_suffix('"'));
    assert_eq!(version.unwrap().len(), 16, "{style}");
    assert!(
        script.starts_with("<script src=\"/impersonation/page.js?v="),
        "{script}"
    );
    let attributes =
        "\" data-parameter=\"as\" data-header=\"act-as\" data-subject=\"ines\"></script>";
    assert!(script.ends_with(attributes), "{script}");

    let sources = [
        (
            desk_with(|builder| at_path(builder).without_header().query_parameter("u")),
            "/?u=ines",
            "data-parameter=\"u\" data-subject=\"ines\"",
        ),
        (
            desk_with(|builder| at_path(builder).without_query_parameter()),
            "/",
            "data-header=\"act-as\" data-subject=\"ines\"",
        ),
        (
            desk_with(|builder| at_path(builder).without_header().sticky_marker()),
            "/?as=ines",
            "data-parameter=\"as\" data-subject=\"ines\" data-sticky=\"\"",
        ),
    ];
    for (desk, target, expected) in sources {
        desk.start("ada", "ines").await.unwrap();
        let mut request = get("ada", target);
        if target == "/" {
            let ines = HeaderValue::from_static("ines");
            request.headers_mut().insert("act-as", ines);
        }
        let page = text(ask(&desk, desk.handle.page(), request, html(PAGE)).await).await;
        assert!(page.contains(&format!(" {expected}></script>")), "{page}");
    }

    // Without a control path there is nothing to load; the banner reads and leads out all the same.
    let desk = crate::support::desk();
    desk.start("ada", "ines").await.unwrap();
    let page = shown(&desk, desk.handle.page(), PAGE).await;
    assert!(
        !page.contains("<link") && !page.contains("<script"),
        "{page}"
    );
    assert!(
        page.contains(
            "<a class=\"impersonation-banner-exit\" rel=\"noreferrer\" href=\"/orders\">"
        )
    );
}

#[tokio::test]
async fn the_tags_carry_the_nonce_of_the_policy_and_nothing_is_inline() {
    let desk = acting_desk().await;
    let mut response = html(PAGE);
    let policy = "script-src 'nonce-abc'; style-src 'self' 'nonce-def'";
    response.headers_mut().insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(policy),
    );
    let page = ask(&desk, desk.handle.page(), get("ada", "/?as=ines"), response).await;
    assert_eq!(page.headers()[header::CONTENT_SECURITY_POLICY], policy);
    let page = text(page).await;
    assert!(page.contains(" nonce=\"def\"/>"), "{page}");
    assert!(page.contains(" nonce=\"abc\"></script>"), "{page}");

    let (head, banner) = ours(&desk).await;
    let ours = format!("{head}{banner}");
    assert!(!ours.contains("nonce"), "{ours}");
    assert!(
        !ours.contains(" style=") && !ours.contains("<style") && !ours.contains(" on"),
        "{ours}"
    );
    assert_eq!(ours.matches("<script").count(), 1);
    assert!(ours.contains("></script>"), "the script is a file: {ours}");
}

#[tokio::test]
async fn names_are_text_and_nothing_else_in_every_field() {
    for hostile in [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-->&<b>",
    ] {
        let desk = desk_with(|builder| {
            let path = format!("/{hostile}").replace([' ', '<', '>', '"', '&'], "_");
            builder.control_path(path)
        });
        let actor = format!("actor {hostile}");
        desk.cast.hire(&actor, ADMIN);
        desk.cast.users.insert(
            DirectoryUser::new(id(hostile), Rank(0))
                .with_login(format!("login {hostile}"))
                .with_display_name(format!("name {hostile}")),
        );
        desk.start(&actor, hostile).await.unwrap();
        let subject = form_urlencoded(hostile);
        let page = desk.handle.page().with_wording(move |_| {
            let mut words = Wording::english();
            words.language = hostile.into();
            words.label = hostile.into();
            words.acting_as = format!("{hostile} {{subject}} {hostile}").into();
            words.signed_in_as = hostile.into();
            words.read_only = hostile.into();
            words.until = hostile.into();
            words.left = hostile.into();
            words.over = hostile.into();
            words.exit = hostile.into();
            words
        });
        let request = get(&actor, &format!("/?as={subject}"));
        let shown = text(ask(&desk, page, request, html("<body>")).await).await;
        let tags: Vec<&str> = shown.split('<').skip(1).collect();
        let names = tags.iter().map(|tag| {
            let end = tag.find([' ', '>', '/']);
            tag.split_at(end.filter(|at| *at > 0).unwrap_or(tag.len()))
                .0
        });
        let opened: Vec<&str> = names.filter(|name| !name.starts_with('/')).collect();
        let expected = [
            "body", "link", "script", "aside", "div", "p", "span", "bdi", "bdi", "p", "span",
            "span", "bdi", "span", "time", "span", "form", "input", "button",
        ];
        assert_eq!(opened, expected, "{shown}");
        assert_eq!(shown.matches('"').count() % 2, 0);
        assert!(!shown.contains(" onerror=alert(1)>"), "{shown}");
    }
}

fn form_urlencoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

// === what the host sets ===

#[tokio::test]
async fn the_words_follow_the_language_of_the_actor() {
    let desk = acting_desk().await;
    let page = desk.handle.page().with_wording(|language| {
        let mut words = Wording::english();
        if language.is_some_and(|language| language.starts_with("he")) {
            words.language = "he".into();
            words.right_to_left = true;
            words.exit = "יציאה".into();
        }
        words
    });
    let mut request = get("ada", "/?as=ines");
    let language = HeaderValue::from_static("he-IL, en;q=0.5");
    request
        .headers_mut()
        .insert(header::ACCEPT_LANGUAGE, language);
    let shown_to_ada = text(ask(&desk, page.clone(), request, html(PAGE)).await).await;
    assert!(
        shown_to_ada.contains("lang=\"he\" dir=\"rtl\""),
        "{shown_to_ada}"
    );
    let exit = "&#x5D9;&#x5E6;&#x5D9;&#x5D0;&#x5D4;</button>";
    assert!(shown_to_ada.contains(exit), "{shown_to_ada}");
    assert!(
        shown(&desk, page, PAGE)
            .await
            .contains("lang=\"en\" dir=\"ltr\"")
    );
}

#[tokio::test]
async fn a_template_replaces_the_banner_and_what_it_breaks_is_caught() {
    let desk = acting_desk().await;
    let own = desk.handle.page().with_template(|view| {
        format!(
            "<b {}>é {} {}</b>",
            view.root_attributes(),
            view.html.subject,
            view.plain.actor
        )
    });
    let page = shown(&desk, own, "<body>|").await;
    assert!(page.contains("dir=\"ltr\">&#xE9; ines ada</b>|"), "{page}");
    assert!(!page.contains("<aside"), "{page}");

    let (_, banner) = ours(&desk).await;
    let broken = [
        desk.handle.page().with_template(|_| panic!("a template")),
        desk.handle.page().with_wording(|_| panic!("a wording")),
    ];
    for page in broken {
        let page = shown(&desk, page, PAGE).await;
        assert!(page.contains(&banner), "{page}");
    }
}

#[tokio::test]
async fn either_part_can_be_left_out_and_the_place_be_chosen() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let (style, script) = head.split_at(head.find("<script").unwrap());

    let page = shown(
        &desk,
        desk.handle.page().without_script(),
        "<head></head><body>",
    )
    .await;
    assert_eq!(page, format!("<head>{style}</head><body>{banner}"));
    let page = shown(
        &desk,
        desk.handle.page().without_banner(),
        "<head></head><body>",
    )
    .await;
    assert_eq!(page, format!("<head>{script}</head><body>"));
    let page = desk.handle.page().without_banner().without_script();
    assert_eq!(shown(&desk, page, PAGE).await, PAGE);

    let page = shown(
        &desk,
        desk.handle.page().with_position(Position::Bottom),
        "<body>",
    )
    .await;
    assert!(
        page.contains("class=\"impersonation-banner impersonation-banner-at-bottom\""),
        "{page}"
    );
}

// === what is never touched ===

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
    let app = desk.handle.layer().layer(desk.handle.page().layer(app));
    for (target, is_acted) in [("/", false), ("/?as=ines", true)] {
        let mut request = get("ada", target);
        let gzip = HeaderValue::from_static("gzip");
        request.headers_mut().insert(header::ACCEPT_ENCODING, gzip);
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
    struct Test {
        status: u16,
        headers: &'static [(&'static str, &'static str)],
        has_banner: bool,
    }
    let test = |status, headers, has_banner| Test {
        status,
        headers,
        has_banner,
    };
    let tests = [
        test(200, &[("content-type", HTML)], true),
        test(404, &[("content-type", HTML)], true),
        test(500, &[("content-type", HTML)], true),
        test(
            206,
            &[("content-type", HTML), ("content-range", "bytes 0-9/99")],
            false,
        ),
        test(304, &[("content-type", HTML)], false),
        test(200, &[("content-type", "application/json")], false),
        test(
            200,
            &[("content-type", HTML), ("content-encoding", "gzip")],
            false,
        ),
        test(
            200,
            &[
                ("content-type", HTML),
                ("content-disposition", "attachment"),
            ],
            false,
        ),
    ];
    let desk = acting_desk().await;
    for test in tests {
        let mut response = Response::builder()
            .status(test.status)
            .header("etag", "\"a\"");
        for (name, value) in test.headers {
            response = response.header(*name, *value);
        }
        let response = response.header("content-length", PAGE.len());
        let response = response.body(Full::new(Bytes::from(PAGE))).unwrap();
        let response = ask(&desk, desk.handle.page(), get("ada", "/?as=ines"), response).await;
        let name = format!("{} {:?}", test.status, test.headers);
        assert_eq!(response.status(), test.status, "{name}");
        // What speaks of other bytes is gone, and only then.
        for header in ["etag", "content-length"] {
            assert_eq!(
                response.headers().contains_key(header),
                !test.has_banner,
                "{name}: {header}"
            );
        }
        assert_eq!(text(response).await != PAGE, test.has_banner, "{name}");
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
        let request = crate::support::ask(method, "ada", "/?as=ines");
        let response = ask(&desk, desk.handle.page(), request, response).await;
        for name in about {
            assert!(!response.headers().contains_key(name), "{method}: {name}");
        }
        assert_eq!(response.headers()["x-other"], "stays");
        assert_eq!(text(response).await.is_empty(), method == "HEAD");
    }
}

#[tokio::test]
async fn parts_of_pages_and_what_is_no_page_stay_as_they_are() {
    let tests = [
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
    for (dest, page, has_banner) in tests {
        let mut request = get("ada", "/?as=ines");
        if let Some(dest) = dest {
            request
                .headers_mut()
                .insert("sec-fetch-dest", HeaderValue::from_static(dest));
        }
        let shown = text(ask(&desk, desk.handle.page(), request, html(page)).await).await;
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
    let shown = text(ask(&desk, desk.handle.page(), get("ada", "/?as=ines"), response).await).await;
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

// === bodies as they come ===

#[derive(Debug)]
enum Step {
    Data(&'static str),
    Trailers,
    Fail,
    Wait,
}

/// A body that does what it is told, when it is told.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<VecDeque<Step>>>);

impl Scripted {
    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(Arc::new(Mutex::new(steps.into_iter().collect())))
    }

    /// What was waited for has come.
    fn goes_on(&self, with: Step) {
        let mut steps = self.0.lock().unwrap();
        assert!(matches!(steps.pop_front(), Some(Step::Wait)));
        steps.push_front(with);
        steps.push_back(Step::Wait);
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut steps = self.0.lock().unwrap();
        if let Some(Step::Wait) = steps.front() {
            return Poll::Pending;
        }
        Poll::Ready(steps.pop_front().map(|step| match step {
            Step::Data(text) => Ok(Frame::data(Bytes::from(text))),
            Step::Trailers => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("1"));
                Ok(Frame::trailers(trailers))
            }
            Step::Fail => Err(std::io::Error::other("the disk is gone")),
            Step::Wait => unreachable!("waits"),
        }))
    }
}

fn scripted(body: &Scripted) -> Response<Scripted> {
    html("").map(|_| body.clone())
}

#[tokio::test]
async fn each_chunk_goes_on_before_the_next_one_exists() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let body = Scripted::of([Step::Data("<html><head><title>x"), Step::Wait]);
    let response = ask(
        &desk,
        desk.handle.page(),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let mut shown = response.into_body();
    let mut more = async || {
        let mut text = String::new();
        while let Poll::Ready(frame) = poll_once(std::pin::pin!(shown.frame())).await {
            let data = frame.unwrap().unwrap().into_data().unwrap();
            text += std::str::from_utf8(&data).unwrap();
        }
        text
    };
    assert_eq!(more().await, format!("<html><head>{head}<title>x"));
    body.goes_on(Step::Data("</title></head><body clas"));
    assert_eq!(
        more().await,
        "</title></head>",
        "only the incomplete tag waits"
    );
    body.goes_on(Step::Data("s='>'>a"));
    assert_eq!(more().await, format!("<body class='>'>{banner}a"));
    body.goes_on(Step::Data("<b"));
    assert_eq!(more().await, "<b", "nothing waits any more");
}

#[tokio::test]
async fn nothing_is_read_ahead_and_trailers_and_errors_arrive() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let start = "<body>";
    let steps = || [Step::Data(start), Step::Data("a"), Step::Data("b<i")];
    for last in [Step::Trailers, Step::Fail] {
        let fails = matches!(last, Step::Fail);
        let body = Scripted::of(steps().into_iter().chain([last]));
        let response = ask(
            &desk,
            desk.handle.page(),
            get("ada", "/?as=ines"),
            scripted(&body),
        )
        .await;
        let mut shown = response.into_body();
        assert_eq!(body.0.lock().unwrap().len(), 4);
        for (left, expected) in [
            (3, &*format!("{start}{head}{banner}")),
            (2, "a"),
            (1, "b<i"),
        ] {
            let data = shown.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, expected.as_bytes());
            assert_eq!(
                body.0.lock().unwrap().len(),
                left,
                "one chunk for one chunk"
            );
        }
        match shown.frame().await.unwrap() {
            Ok(frame) => assert!(!fails && frame.into_trailers().unwrap().contains_key("x-sum")),
            Err(error) => assert!(fails && error.to_string() == "the disk is gone"),
        }
    }
    // An error in the middle of a tag: what was kept of it goes out first, and no banner behind it.
    let body = Scripted::of([Step::Data("<title>x</title><bod"), Step::Fail]);
    let response = ask(
        &desk,
        desk.handle.page(),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let mut shown = response.into_body();
    let mut text = String::new();
    let error = loop {
        match shown.frame().await.unwrap() {
            Ok(frame) => text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (&*text, &*error.to_string()),
        ("<title>x</title><bod", "the disk is gone")
    );
    // Trailers wait for a banner that comes last.
    let body = Scripted::of([Step::Data("text"), Step::Trailers]);
    let response = ask(
        &desk,
        desk.handle.page(),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let whole = response.into_body().collect().await.unwrap();
    assert!(whole.trailers().unwrap().contains_key("x-sum"));
    assert_eq!(whole.to_bytes(), format!("text{head}{banner}"));
}

#[tokio::test]
async fn r19_the_end_of_the_session_cuts_a_page_but_not_one_that_is_there() {
    let desk = acting_desk().await;
    let body = Scripted::of([Step::Data("<body>"), Step::Wait]);
    let request = || get("ada", "/?as=ines");
    let response = ask(&desk, desk.handle.page(), request(), scripted(&body)).await;
    let mut streamed = response.into_body();
    assert!(streamed.frame().await.unwrap().is_ok());

    let whole = ask(&desk, desk.handle.page(), request(), html(PAGE)).await;
    desk.handle
        .stop(&crate::support::parts("ada"))
        .await
        .unwrap();

    let error = streamed.frame().await.unwrap().unwrap_err();
    let SessionOver(reason) = error.downcast_ref().unwrap();
    assert_eq!(*reason, EndedReason::Manual);
    // It was there in one piece, and is with the banner in it.
    assert!(text(whole).await.contains("impersonation-banner"));
}

// === any page at all ===

/// Parts of pages, good and bad.
const PARTS: &[&[u8]] = &[
    b"<!doctype html>",
    b"<html>",
    b"<HTML lang=en>",
    b"<head>",
    b"</head>",
    b"<Body>",
    b"<body class=\"a>b\">",
    b"</body>",
    b"</html>",
    b"<title><body></title>",
    b"<title>",
    b"</title>",
    b"<script>let a = '<body>';</script>",
    b"<script><!-- <script> </script>",
    b"</script>",
    b"<style>p > a { }</style>",
    b"<!-- <body> -->",
    b"<!--",
    b"-->",
    b"<!---->",
    b"<!-->",
    b"<![CDATA[<body>]]>",
    b"<textarea><body></textarea>",
    b"<textarea>",
    b"<plaintext>",
    b"<template><div>",
    b"</template>",
    b"<noscript><img></noscript>",
    b"<svg><title><p></svg>",
    b"<math><mi>",
    b"<table><tr>",
    b"<select><option>",
    b"<frameset>",
    b"<iframe><body></iframe>",
    b"<xmp><body></xmp>",
    b"<p>",
    b"</p>",
    b"<br/>",
    b"<a href='x>y' b=\"'\" c>",
    b"<a href=",
    b"<body class=",
    b"<head ",
    b"'",
    b"\"",
    b">",
    b"<",
    b"</",
    b"<!",
    b"<?php ?>",
    b"&amp;",
    b"\0",
    b"\r\n",
    b"text ",
    b"\xe9\x80",
    b"\x83\x5c",
    b"\xff",
    b"\xf0\x9f\x98\x80",
    b"<\xc3\xa9>",
    b"<meta charset=x>",
    b"<link rel=a>",
];

fn any_page() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let part = prop_oneof![
        8 => proptest::sample::select(PARTS).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>().prop_filter("no mark", |byte| *byte < 0xfe), 0..8),
    ];
    let page = proptest::collection::vec(part, 0..40).prop_map(|parts| parts.concat());
    (page, proptest::collection::vec(1_usize..40, 1..20))
}

#[test]
fn a_thousand_pages_come_out_as_they_went_in_but_for_the_banner() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let desk = runtime.block_on(acting_desk());
    let (head, banner) = runtime.block_on(ours(&desk));
    let with_banner = std::cell::Cell::new(0);
    let mut runner = proptest::test_runner::TestRunner::new(proptest::test_runner::Config {
        cases: 1_000,
        failure_persistence: None,
        ..Default::default()
    });
    let run = runner.run(&any_page(), |(page, sizes)| {
        let mut chunks = VecDeque::new();
        let mut rest = &*page;
        for size in sizes.iter().cycle() {
            let (chunk, behind) = rest.split_at((*size).min(rest.len()));
            rest = behind;
            chunks.push_back(Ok::<_, Infallible>(Frame::data(Bytes::copy_from_slice(
                chunk,
            ))));
            if rest.is_empty() {
                break;
            }
        }
        let response = html("").map(|_| Chunks(chunks));
        let shown = runtime.block_on(async {
            let response = ask(&desk, desk.handle.page(), get("ada", "/?as=ines"), response).await;
            response.into_body().collect().await.unwrap().to_bytes()
        });
        let (heads, shown) = without(&shown, head.as_bytes());
        let (banners, shown) = without(&shown, banner.as_bytes());
        prop_assert!(heads <= 1 && banners <= 1);
        prop_assert!(shown == page, "other bytes");
        with_banner.set(with_banner.get() + banners);
        Ok(())
    });
    run.unwrap();
    // Most of them are pages that people see.
    assert!(
        with_banner.get() > 500,
        "{} have a banner",
        with_banner.get()
    );
}

struct Chunks(VecDeque<Result<Frame<Bytes>, Infallible>>);

impl Body for Chunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front())
    }
}

/// How often it is in there, and the rest.
fn without(bytes: &[u8], part: &[u8]) -> (usize, Vec<u8>) {
    let mut rest = Vec::with_capacity(bytes.len());
    let (mut at, mut found) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(part) {
            found += 1;
            at += part.len();
        } else {
            rest.push(bytes[at]);
            at += 1;
        }
    }
    (found, rest)
}

#[tokio::test]
async fn a_hundred_megabytes_come_through_unchanged() {
    use std::hash::{DefaultHasher, Hasher as _};

    const PARTS: usize = 1_600;
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let part = Bytes::from("<p>some text, and <b>more</b> of it</p>\n".repeat(1_640));
    let start = Bytes::from("<html><head></head><body>");
    let chunks = std::iter::once(start).chain(std::iter::repeat_n(part.clone(), PARTS));
    let chunks: VecDeque<_> = chunks.map(|chunk| Ok(Frame::data(chunk))).collect();
    let mut expected = DefaultHasher::new();
    expected.write(format!("<html><head>{head}</head><body>{banner}").as_bytes());
    (0..PARTS).for_each(|_| expected.write(&part));

    let response = html("").map(|_| Chunks(chunks));
    let response = ask(&desk, desk.handle.page(), get("ada", "/?as=ines"), response).await;
    let mut body = response.into_body();
    let (mut hash, mut length, mut copied) = (DefaultHasher::new(), 0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.unwrap().into_data().unwrap();
        hash.write(&data);
        length += data.len();
        copied += usize::from(data.len() == part.len() && data.as_ptr() != part.as_ptr());
    }
    assert!(length > 100_000_000, "{length}");
    assert_eq!(hash.finish(), expected.finish());
    // They are not even copied: the same memory goes on.
    assert_eq!(copied, 0);
}

// === the files, and axum ===

#[tokio::test]
async fn style_and_script_are_files_that_may_be_kept_and_nothing_else_is() {
    let desk = acting_desk().await;
    let app = Router::new()
        .nest("/impersonation", desk.handle.control())
        .route(
            "/orders",
            axum::routing::get(async || axum::response::Html(PAGE)),
        )
        .layer(desk.handle.page())
        .layer(desk.handle.layer());
    let send = async |request: Req| {
        let request: Request<axum::body::Body> = request.map(axum::body::Body::new);
        app.clone().oneshot(request).await.unwrap()
    };
    let page = text(send(get("ada", "/orders?as=ines")).await).await;
    assert!(
        page.contains("<aside class=\"impersonation-banner\""),
        "{page}"
    );
    let files = [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
    ];
    for (name, content_type) in files {
        let start = page.find(&format!("/impersonation/{name}?v=")).unwrap();
        let target = page[start..].split('"').next().unwrap();
        // Also for who is not signed in any more: the page that one looks at still needs it.
        for who in ["ada", ""] {
            let response = send(get(who, target)).await;
            assert_eq!(response.status(), 200, "{target}");
            let headers = response.headers();
            assert_eq!(headers[header::CONTENT_TYPE], content_type);
            assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=3600");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(!text(response).await.is_empty());
        }
    }
    let elsewhere = [
        get("ada", "/impersonation"),
        get("ada", "/impersonation/page.png"),
        post("ada", "/impersonation/page.css"),
    ];
    for request in elsewhere {
        let target = request.uri().to_string();
        let response = send(request).await;
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            "no-store",
            "{target}"
        );
    }
}

#[tokio::test]
async fn handlers_still_find_who_is_acted_as() {
    let desk = acting_desk().await;
    let app = service_fn(|request: Req| {
        let who = crate::support::who(request.extensions().get::<ActingAs>());
        async move { Ok::<_, Infallible>(html(format!("<body>{who}"))) }
    });
    let app = desk.handle.layer().layer(desk.handle.page().layer(app));
    let response = app.oneshot(get("ada", "/?as=ines")).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(text(response).await.ends_with("ines by ada"));
}
