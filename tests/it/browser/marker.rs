//! The marker that stays: what the server does (`sticky_marker`), what `page.js` does, what is left to rule R20,
//! and the ways out.
//!
//! The application is small and knows nothing of impersonation: each page says who it was made for. Everyone who
//! comes is ada, so that whatever is not acted is hers.

use std::{fmt::Write as _, net::SocketAddr};

use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use tokio::{net::TcpListener, sync::watch, time::timeout};
use tower_impersonation::{
    Access, ActingAs, Actor, Builder, Caller, Decision, DirectoryUser, Grant, Impersonation,
    MemoryDirectory, Rank, StartRequest,
    audit::MemorySink,
    checker_fn,
    session::{EndedReason, MemorySessions, SessionFilter},
};

use super::{Browser, PATIENCE, Set, browse};
use crate::support::{id, line, parts, subject, who};

const STRICT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      frame-src 'self'; form-action 'self'; base-uri 'none'";
const NO_SCRIPT: &str =
    "default-src 'none'; script-src 'none'; connect-src 'self'; form-action 'self'";

/// A script's tag, as acted pages have it.
const BOTH: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-header="act-as" data-subject="ines"></script>"#;
/// Where the host has the marker stay.
const STICKY: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-header="act-as" data-subject="ines" data-sticky=""></script>"#;
const ONLY_QUERY: &str =
    r#"<script src="/impersonation/page.js" data-parameter="as" data-subject="ines"></script>"#;

const ONLY_HEADER: &str =
    r#"<script src="/impersonation/page.js" data-header="act-as" data-subject="ines"></script>"#;
/// Of someone whose id has to be encoded, in the URL and in a header, each in its way.
const ODD_HEADER: &str = r#"<script src="/impersonation/page.js" data-header="act-as" data-subject="m&amp;m %41+ü"></script>"#;
const ODD_QUERY: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-subject="m&amp;m %41+ü"></script>"#;
const ODD: &str = "m&m %41+ü";

/// The application.
#[derive(Clone)]
struct Site {
    handle: Impersonation,
    sink: MemorySink,
    /// What was asked of the handlers: `GET /orders ines by ada`.
    heard: watch::Sender<Vec<String>>,
    policy: &'static str,
    /// In acted pages.
    tag: &'static str,
    address: SocketAddr,
}

impl Site {
    async fn open(
        tag: &'static str,
        policy: &'static str,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let checker = checker_fn(
            |_| Caller::Admin(Actor::new(id("ada"), Rank(20))),
            |_, _, _| Decision::Allow(Grant::read_write()),
        );
        let sink = MemorySink::default();
        let users = ["ines", "otto", ODD].map(|name| DirectoryUser::new(id(name), Rank(0)));
        let builder = Impersonation::builder(checker, sink.clone())
            .directory(users.into_iter().collect::<MemoryDirectory>())
            .sessions(MemorySessions::new())
            .control_path("/impersonation")
            .after_stop("/home")
            .exclude("/admin");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let site = Self {
            handle: set(builder).build().unwrap(),
            sink,
            heard: watch::Sender::default(),
            policy,
            tag,
            address: listener.local_addr().unwrap(),
        };
        let app = Router::<Self>::new()
            .nest_service("/impersonation", site.handle.control())
            .fallback(answer)
            .with_state(site.clone())
            .layer(site.handle.layer());
        tokio::spawn(async move { axum::serve(listener, app).await });
        site
    }

    async fn started(
        tag: &'static str,
        policy: &'static str,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let site = Self::open(tag, policy, set).await;
        let start =
            StartRequest::new(subject("ines"), "ticket 4711").with_access(Access::ReadWrite);
        site.handle.start(&parts("ada"), start).await.unwrap();
        site
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.address)
    }

    /// Waits until a handler was asked this.
    async fn hears(&self, line: &str) {
        let mut heard = self.heard.subscribe();
        let came = heard.wait_for(|heard| heard.iter().any(|it| it == line));
        if timeout(PATIENCE, came).await.is_err() {
            panic!("no {line:?} in {:#?}", self.heard());
        }
    }

    /// What was asked of the handlers since the last time.
    fn heard(&self) -> Vec<String> {
        self.heard.send_replace(Vec::new())
    }

    /// How the sessions of the trail have ended, and how many have not.
    async fn ended(&self) -> (Vec<EndedReason>, usize) {
        let list = self
            .handle
            .list(&parts("ada"), SessionFilter::default(), Default::default())
            .await;
        let sessions = list.unwrap().sessions;
        let ended: Vec<_> = sessions
            .iter()
            .filter_map(|session| session.ended_reason)
            .collect();
        let active = sessions.len() - ended.len();
        (ended, active)
    }

    async fn trail(&self) -> Vec<String> {
        self.handle.trail().flush().await.unwrap();
        self.sink.events().iter().map(line).collect()
    }
}

async fn answer(State(site): State<Site>, request: Request) -> Response {
    let acting_as = request.extensions().get::<ActingAs>();
    let who = who(acting_as);
    let (method, path) = (request.method(), request.uri().path());
    if path == "/favicon.ico" {
        // The browser's own idea, and when it likes.
        return StatusCode::NOT_FOUND.into_response();
    }
    let what = format!("{method} {path} {who}");
    site.heard.send_modify(|heard| heard.push(what));
    match (method, path) {
        (&Method::POST, "/orders") => Redirect::to("/orders/7").into_response(),
        (&Method::GET, "/stream") => {
            let event = format!("retry: 3600000\ndata: {who}\n\n");
            ([(header::CONTENT_TYPE, "text/event-stream")], event).into_response()
        }
        (&Method::GET, "/image.svg") => {
            let image = r#"<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>"#;
            ([(header::CONTENT_TYPE, "image/svg+xml")], image).into_response()
        }
        (&Method::GET, "/worker.js") => {
            let script = "fetch('/api/worker', { method: 'POST' })";
            ([(header::CONTENT_TYPE, "text/javascript")], script).into_response()
        }
        (_, "/api/echo") => {
            let own = request.headers().get("x-own").cloned();
            let own = own.map_or("-".to_owned(), |own| own.to_str().unwrap().to_owned());
            let method = method.clone();
            let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
            let body = String::from_utf8_lossy(&body);
            format!("{who} {method} {own} {body}").into_response()
        }
        // A form that is shown again, with what was wrong.
        (method, path)
            if path == "/check" || (method == Method::GET && !path.starts_with("/api")) =>
        {
            let tag = acting_as.map_or("", |_| site.tag);
            let mut page = Html(page(path, &who, tag)).into_response();
            let policy = HeaderValue::from_static(site.policy);
            page.headers_mut()
                .insert(header::CONTENT_SECURITY_POLICY, policy);
            page
        }
        _ => who.into_response(),
    }
}

fn page(path: &str, who: &str, tag: &str) -> String {
    let mut page = format!(
        r#"<!doctype html><html lang="en"><head><title>{path}</title></head>
<body><main><h1 id="path">{path}</h1><p id="who">{who}</p>
<p><a id="next" href="/next">Next</a> <a id="out" href="/next" rel="noreferrer">Out</a>
<a id="window" href="/window" target="_blank" rel="opener">Window</a></p>
<form id="form" method="post" action="/orders"><button id="send">Send</button></form>
<form id="search" action="/search"><label>Search <input name="q" value="a"></label><button id="find">Find</button></form>
<form method="post" action="/impersonation/end"><button id="exit">Exit</button></form>
"#
    );
    if path == "/orders" {
        page.push_str(
            r#"<img src="/image.svg" alt=""><iframe title="A part" src="/part"></iframe>"#,
        );
    }
    if path == "/timed" {
        let _ = write!(
            page,
            r#"<aside data-impersonation-banner><span id="left" data-impersonation-left="3909"
                data-impersonation-format="{{time}} left" data-impersonation-over="It is over">65 minutes</span></aside>"#
        );
    }
    page.push_str(tag);
    page.push_str("</main></body></html>");
    page
}

/// The page is this one, and was made for this one.
async fn is_at(browser: &Browser, path: &str, who: &str) {
    browser.find_saying("#path", path).await;
    assert_eq!(browser.text("#who").await, who, "{path}");
}

#[tokio::test]
async fn r2_without_a_script_what_a_marked_page_sends_stays_acted() {
    browse(
        Set {
            scripts: false,
            ..Set::default()
        },
        async |browser| {
            let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
            browser.goto(&site.url("/orders?as=ines")).await;
            is_at(&browser, "/orders", "ines by ada").await;
            site.hears("GET /image.svg ines by ada").await;
            site.hears("GET /part ines by ada").await;

            browser.click("#next").await;
            is_at(&browser, "/next", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/next?as=ines"));
            browser.click("#find").await;
            is_at(&browser, "/search", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/search?q=a&as=ines"));
            browser.click("#send").await;
            is_at(&browser, "/orders/7", "ines by ada").await;
            assert_eq!(browser.url().await, site.url("/orders/7?as=ines"));
            site.hears("POST /orders ines by ada").await;

            let tab = browser.tab().await;
            browser.click("#window").await;
            let tabs = browser.driver.windows().await.unwrap();
            let other = tabs.into_iter().find(|it| *it != tab).unwrap();
            browser.switch_to(&other).await;
            is_at(&browser, "/window", "ines by ada").await;
            browser.switch_to(&tab).await;

            browser.driver.back().await.unwrap();
            is_at(&browser, "/search", "ines by ada").await;
            browser.driver.refresh().await.unwrap();
            is_at(&browser, "/search", "ines by ada").await;

            let heard = site.heard();
            assert!(
                heard.iter().all(|line| line.ends_with(" ines by ada")),
                "{heard:#?}"
            );
            // Typing the address without it, or coming without a page, leaves.
            browser.goto(&site.url("/orders")).await;
            is_at(&browser, "/orders", "themselves").await;
            browser.click("#next").await;
            is_at(&browser, "/next", "themselves").await;
            assert_eq!(browser.url().await, site.url("/next"));
            browser.goto(&site.url("/orders?as=ines")).await;
            browser.click("#out").await;
            is_at(&browser, "/next", "themselves").await;
            assert_eq!(site.ended().await, (vec![], 1));
        },
    )
    .await;
}

#[tokio::test]
async fn r4_the_page_that_answers_a_form_gets_the_marker_back_into_its_url() {
    browse(Set::default(), async |browser| {
        let site = Site::started(STICKY, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser
            .run_async(
                r#"const form = document.getElementById("form");
                form.action = "/check?x=1";
                form.submit();
                return null;"#,
            )
            .await;
        is_at(&browser, "/check", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/check?x=1&as=ines"));
        // Once more, and somewhere else.
        browser.click("#send").await;
        is_at(&browser, "/orders/7", "ines by ada").await;
        site.hears("POST /orders ines by ada").await;
        let heard = site.heard();
        assert!(
            heard.iter().all(|line| line.ends_with(" ines by ada")),
            "{heard:#?}"
        );
    })
    .await;
}

#[tokio::test]
async fn r4_without_a_script_the_page_that_answers_a_form_has_the_marker_as_well() {
    let quiet = Set {
        scripts: false,
        ..Set::default()
    };
    browse(quiet, async |browser| {
        let site = Site::started("", STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser
            .run(
                r#"const form = document.getElementById("form");
                form.action = "/check?x=1";
                form.submit();"#,
            )
            .await;
        is_at(&browser, "/check", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/check?x=1&as=ines"));
        browser.click("#send").await;
        is_at(&browser, "/orders/7", "ines by ada").await;
        let heard = site.heard();
        let posts = heard.iter().filter(|line| line.starts_with("POST"));
        assert_eq!(
            posts.collect::<Vec<_>>(),
            ["POST /check ines by ada", "POST /orders ines by ada"],
            "each once"
        );
    })
    .await;
}

#[tokio::test]
async fn r4_a_page_whose_url_is_too_long_for_a_referer_is_not_shown() {
    let quiet = Set {
        scripts: false,
        ..Set::default()
    };
    browse(quiet, async |browser| {
        let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        site.heard();
        // Such a link may stand in what the subject wrote.
        let long = format!("/next?x={}&as=ines", "a".repeat(4_100));
        browser.goto(&site.url(&long)).await;
        if browser.text("h1").await == "/next" {
            browser.click("#send").await;
            browser.find_saying("#path", "/orders/7").await;
        }
        assert_eq!(site.heard(), Vec::<String>::new());
    })
    .await;
}

/// Everything that a page's script can send, in one go, from a page whose URL has lost the marker if it can.
const SEND_EVERYTHING: &str = r#"
    history.pushState({}, "", "/pushed?x=1#part");
    const pushed = location.search;
    history.replaceState({}, "", "/pushed?x=2#part");
    const text = async (answer) => (await answer).text();
    const xhr = (open, prepare = () => {}) => new Promise((resolve) => {
      const request = new XMLHttpRequest();
      request.onload = () => resolve(request.responseText);
      open(request);
      prepare(request);
      request.send(null);
    });
    const results = {
      pushed,
      url: location.pathname + location.search + location.hash,
      text: await text(fetch("/api/text", { method: "POST", body: "b" })),
      relative: await text(fetch("../api/relative")),
      address: await text(fetch(new URL("/api/address", location))),
      absolute: await text(fetch(`${location.origin}/api/absolute`, { headers: [["x-own", "1"]] })),
      request: await text(fetch(new Request("/api/request", { method: "POST", body: "b", headers: { "x-own": "1" } }))),
      changed: await text(fetch(new Request("/api/changed"), { method: "PUT", body: "b" })),
      opaque: (await fetch("/api/opaque", { mode: "no-cors" })).ok,
      xhr: await xhr((it) => it.open("POST", "/api/xhr")),
      twice: await xhr((it) => { it.open("GET", "/api/x"); it.open("GET", "/api/twice"); }),
      stream: await new Promise((resolve) => {
        const stream = new EventSource("/stream");
        stream.onmessage = ({ data }) => { stream.close(); resolve(data); };
        stream.onerror = () => { stream.close(); resolve("error"); };
      }),
      beacon: navigator.sendBeacon("/api/beacon", "b"),
    };
    await new Promise((resolve) => { new WebSocket("/api/socket").onerror = resolve; });
    return results;
"#;

async fn sends_everything_as_ines(browser: &Browser, site: &Site) {
    browser.goto(&site.url("/orders?as=ines")).await;
    is_at(browser, "/orders", "ines by ada").await;
    let results = browser.run_async(SEND_EVERYTHING).await;
    let ines = "ines by ada";
    assert_eq!(
        results,
        serde_json::json!({
            "pushed": "?x=1&as=ines", "url": "/pushed?x=2&as=ines#part",
            "text": ines, "relative": ines, "address": ines, "absolute": ines, "request": ines, "changed": ines,
            "opaque": true, "xhr": ines, "twice": ines, "stream": ines, "beacon": true,
        })
    );
    for line in [
        "POST /api/beacon",
        "GET /api/socket",
        "PUT /api/changed",
        "GET /api/opaque",
    ] {
        site.hears(&format!("{line} {ines}")).await;
    }
    let tab = browser.tab().await;
    browser.run("window.opened = window.open('/opened')").await;
    site.hears("GET /opened ines by ada").await;
    browser.run("window.opened.close()").await;
    browser.switch_to(&tab).await;
    let heard = site.heard();
    assert!(heard.iter().all(|line| line.ends_with(ines)), "{heard:#?}");
}

#[tokio::test]
async fn r4_the_script_alone_keeps_all_that_a_page_sends_acted() {
    browse(Set::default(), async |browser| {
        // The image and the frame are not the script's to mark.
        let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
        sends_everything_as_ines(&browser, &site).await;
        let site = Site::started(ONLY_QUERY, STRICT, Builder::sticky_marker).await;
        sends_everything_as_ines(&browser, &site).await;

        // A worker's requests come from the worker's URL.
        browser.run("new Worker('/worker.js')").await;
        site.hears("POST /api/worker ines by ada").await;

        // Without the server's help.
        for tag in [BOTH, ONLY_QUERY] {
            let site = Site::started(tag, STRICT, |builder| builder).await;
            browser.goto(&site.url("/?as=ines")).await;
            let results = browser.run_async(SEND_EVERYTHING).await;
            assert_eq!(results["text"], "ines by ada");
            browser.run("window.open('/opened')").await;
            site.hears("GET /opened ines by ada").await;
            site.hears("POST /api/beacon ines by ada").await;
            let heard = site.heard();
            assert!(
                heard.iter().all(|line| line.ends_with("ines by ada")),
                "{heard:#?}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn r3_the_script_says_every_id_as_it_is() {
    browse(Set::default(), async |browser| {
        let max = |b: Builder| b.max_active(2);
        for (tag, name) in [(ONLY_HEADER, "ines"), (ODD_HEADER, ODD), (ODD_QUERY, ODD)] {
            let site = Site::started(tag, STRICT, max).await;
            let odd = StartRequest::new(subject(ODD), "ticket").with_access(Access::ReadWrite);
            site.handle.start(&parts("ada"), odd).await.unwrap();
            let target = site.handle.marked("/", &subject(name));
            browser.goto(&site.url(&target)).await;
            let who = format!("{name} by ada");
            is_at(&browser, "/", &who).await;
            let said = browser
                .run_async(
                    r#"const request = new XMLHttpRequest();
                    const loaded = new Promise((resolve) => { request.onload = resolve; });
                    request.open("GET", "/api/xhr?q=%20");
                    request.send();
                    await loaded;
                    return [await (await fetch("/api/fetch?q=%20")).text(), request.responseText];"#,
                )
                .await;
            assert_eq!(said, serde_json::json!([who, who]), "{tag}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_script_changes_nothing_else_of_a_request() {
    browse(Set::default(), async |browser| {
        for tag in [BOTH, ONLY_QUERY, ONLY_HEADER] {
            let site = Site::started(tag, STRICT, |builder| builder).await;
            browser.goto(&site.url("/?as=ines")).await;
            is_at(&browser, "/", "ines by ada").await;
            let echoed = browser
                .run_async(
                    r#"
    const text = async (answer) => (await answer).text();
    const echo = "/api/echo?a=1";
    const init = { method: "PUT", headers: { "x-own": "own" }, body: "böd" };
    const unread = new Request(echo, init);
    const texts = [
      await text(fetch(echo, init)),
      await text(fetch(new URL(echo, location), init)),
      await text(fetch(unread)),
      await text(fetch(new Request(echo, init), { method: "POST", body: "other" })),
      await text(fetch(new Request(echo, { headers: { "x-own": "own" } }), { headers: {} })),
      await text(fetch(echo, { method: "POST", body: new Blob(["blob"]) })),
      await text(fetch(echo, { method: "POST", body: new URLSearchParams({ a: "b" }) })),
    ];
    const stop = new AbortController();
    const stopped = fetch(new Request(echo, { ...init, signal: stop.signal })).catch((error) => error.name);
    stop.abort();
    return [texts, unread.bodyUsed, await stopped];"#,
                )
                .await;
            let who = "ines by ada";
            let expected = [
                "PUT own böd",
                "PUT own böd",
                "PUT own böd",
                "POST own other",
                "GET - ",
                "POST - blob",
                "POST - a=b",
            ]
            .map(|echo| format!("{who} {echo}"));
            assert_eq!(echoed, serde_json::json!([expected, true, "AbortError"]), "{tag}");
        }
    })
    .await;
}

#[tokio::test]
async fn the_script_leaves_alone_what_is_not_its_own() {
    browse(Set::default(), async |browser| {
        let site = Site::started(BOTH, "connect-src *", |b| b.max_active(2)).await;
        let otto = StartRequest::new(subject("otto"), "ticket").with_access(Access::ReadWrite);
        site.handle.start(&parts("ada"), otto).await.unwrap();
        browser.goto(&site.url("/?as=ines")).await;
        is_at(&browser, "/", "ines by ada").await;
        let own = browser
            .run_async(
                r#"
    const text = async (answer) => (await answer).text();
    history.pushState({}, "", "/pushed?as=otto");
    const pushed = location.search;
    return {
      pushed,
      query: await text(fetch("/api?as=otto")),
      encoded: await text(fetch("/api?%61s=otto")),
      header: await text(fetch("/api", { headers: { "ACT-AS": "otto" } })),
      request: await text(fetch(new Request("/api", { headers: { "act-as": "otto" } }))),
      xhr: await new Promise((resolve) => {
        const request = new XMLHttpRequest();
        request.onload = () => resolve(request.responseText);
        request.open("GET", "/api");
        request.setRequestHeader("Act-As", "otto");
        request.send();
      }),
      names: [fetch.name, fetch.length, history.pushState.name, EventSource.CLOSED, WebSocket.OPEN],
      kinds: [
        new EventSource("/stream") instanceof EventSource,
        new (class extends WebSocket {})("/api/socket") instanceof WebSocket,
      ],
      errors: [
        await fetch("http://[").catch((error) => error.name),
        await fetch("/api", { method: "TRACE" }).catch((error) => error.name),
        (() => { try { history.pushState({}, "", "https://other.example/"); } catch (error) { return error.name; } })(),
        (() => { try { fetch(); } catch (error) { return "thrown"; } })() || "rejected",
      ],
      aborted: await fetch("/api", { signal: AbortSignal.abort() }).catch((error) => error.name),
      unchanged: (() => { history.pushState({ a: 1 }, ""); return history.state.a; })(),
    };"#,
            )
            .await;
        let otto = "otto by ada";
        assert_eq!(
            own,
            serde_json::json!({
                "pushed": "?as=otto", "query": otto, "encoded": otto, "header": otto, "request": otto, "xhr": otto,
                "names": ["fetch", 1, "pushState", 2, 1],
                "kinds": [true, true],
                "errors": ["TypeError", "TypeError", "SecurityError", "rejected"],
                "aborted": "AbortError",
                "unchanged": 1,
            })
        );

        // To another origin nothing is added: neither a header, which would need leave, nor a parameter.
        let (other, mut lines) = elsewhere(String::new()).await;
        let script = format!(
            r#"
    const other = "http://{other}";
    await fetch(`${{other}}/fetch`);
    await fetch(new Request(`${{other}}/request`));
    await new Promise((resolve) => {{
      const request = new XMLHttpRequest();
      request.onload = resolve;
      request.open("GET", `${{other}}/xhr`);
      request.send();
    }});
    navigator.sendBeacon(`${{other}}/beacon`);
    await new Promise((resolve) => {{
      const stream = new EventSource(`${{other}}/stream`);
      stream.onerror = () => {{ stream.close(); resolve(); }};
    }});"#
        );
        browser.run_async(&script).await;
        let expected = ["/fetch", "/request", "/xhr", "/beacon", "/stream"];
        let all = |seen: &Vec<String>| expected.iter().all(|path| seen.iter().any(|it| it == path));
        let seen = timeout(PATIENCE, lines.wait_for(all)).await.is_ok();
        assert!(seen, "only {:?}", *lines.borrow());
        assert_eq!(lines.borrow().len(), expected.len(), "{:?}", *lines.borrow());
    })
    .await;
}

/// Another origin, with a page. It takes everything, and tells the targets that were asked for with the marker's
/// header behind those that have one.
async fn elsewhere(page: String) -> (SocketAddr, watch::Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, lines) = watch::channel(Vec::new());
    let app = Router::new().fallback(move |request: Request| {
        let marker = request.headers().get("act-as");
        let line = match marker {
            Some(marker) => format!("{} {marker:?}", request.uri()),
            None => request.uri().to_string(),
        };
        if line != "/favicon.ico" {
            heard.send_modify(|heard| heard.push(line));
        }
        let page = Html(page.clone());
        async move { ([(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*")], page) }
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    (address, lines)
}

#[tokio::test]
async fn r20_where_the_script_is_blocked_a_write_is_refused_and_not_run_as_the_actor() {
    browse(Set::default(), async |browser| {
        let set = |b: Builder| b.sticky_marker().refuse_unmarked_writes();
        let site = Site::started(BOTH, NO_SCRIPT, set).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        site.heard();
        let written = browser
            .run_async(
                r#"history.pushState({}, "", "/pushed");
                const answer = await fetch("/api/write", { method: "POST" });
                return [answer.status, (await answer.json()).code];"#,
            )
            .await;
        assert_eq!(written, serde_json::json!([409, "marker_missing"]));
        browser.click("#send").await;
        browser.find_saying("h1", "Conflict").await;
        assert_eq!(site.heard(), Vec::<String>::new());

        // What is wrong is said on the page, and one can get out of it.
        browser.click("form button").await;
        is_at(&browser, "/home", "themselves").await;
        assert_eq!(site.ended().await, (vec![EndedReason::Manual], 0));
        let trail = site.trail().await;
        let missing = trail
            .iter()
            .filter(|line| *line == "denied ada - marker_missing");
        assert_eq!(missing.count(), 2, "{trail:?}");
    })
    .await;
}

#[tokio::test]
async fn r20_typing_the_bare_url_ends_the_session_and_clicking_an_unmarked_link_does_not() {
    browse(Set::default(), async |browser| {
        let set = |b: Builder| b.sticky_marker().end_when_marker_removed();
        let site = Site::started(BOTH, STRICT, set).await;
        browser.goto(&site.url("/orders?as=ines")).await;
        is_at(&browser, "/orders", "ines by ada").await;
        browser.click("#out").await;
        is_at(&browser, "/next", "themselves").await;
        assert_eq!(site.ended().await, (vec![], 1));

        browser.goto(&site.url("/admin")).await;
        is_at(&browser, "/admin", "themselves").await;
        assert_eq!(site.ended().await, (vec![], 1));

        browser.goto(&site.url("/orders?as=ines")).await;
        browser.goto(&site.url("/orders")).await;
        is_at(&browser, "/orders", "themselves").await;
        assert_eq!(site.ended().await, (vec![EndedReason::MarkerRemoved], 0));
    })
    .await;
}

#[tokio::test]
async fn s5_exit_leads_out_and_so_does_the_refusal_in_the_old_tab() {
    browse(Set::default(), async |browser| {
        let site = Site::started(BOTH, STRICT, Builder::sticky_marker).await;
        let old = browser.tab().await;
        browser.goto(&site.url("/orders?as=ines")).await;
        browser.new_tab().await;
        browser.goto(&site.url("/orders?as=ines")).await;
        browser.click("#exit").await;
        is_at(&browser, "/home", "themselves").await;
        assert_eq!(browser.url().await, site.url("/home"));
        browser.click("#next").await;
        is_at(&browser, "/next", "themselves").await;

        browser.switch_to(&old).await;
        is_at(&browser, "/orders", "ines by ada").await;
        site.heard();
        browser.click("#next").await;
        browser.find_saying("h1", "Forbidden").await;
        assert_eq!(browser.url().await, site.url("/next?as=ines"));
        assert_eq!(site.heard(), Vec::<String>::new());
        assert_eq!(browser.complaints().await, Vec::<String>::new());
        browser.click("a").await;
        is_at(&browser, "/next", "themselves").await;
        assert_eq!(browser.url().await, site.url("/next"));

        // The other way out of it, long after the end.
        browser.driver.back().await.unwrap();
        browser.find_saying("h1", "Forbidden").await;
        browser.click("form button").await;
        is_at(&browser, "/home", "themselves").await;
    })
    .await;
}

#[tokio::test]
async fn a_form_starts_a_session_and_leads_into_it() {
    browse(Set::default(), async |browser| {
        let site = Site::open(BOTH, STRICT, Builder::sticky_marker).await;
        browser.goto(&site.url("/admin")).await;
        // The application has no page for it.
        browser
            .run(
                r#"const form = document.createElement("form");
                form.method = "post";
                form.action = "/impersonation/start";
                for (const [name, value] of Object.entries({
                  target_user_id: "ines", reason: "ticket 4711", next: "/orders",
                })) {
                  const input = document.createElement("input");
                  [input.name, input.value] = [name, value];
                  form.append(input);
                }
                document.body.append(form);
                form.submit();"#,
            )
            .await;
        is_at(&browser, "/orders", "ines by ada").await;
        assert_eq!(browser.url().await, site.url("/orders?as=ines"));
        browser.new_tab().await;
        browser.goto(&site.url("/orders")).await;
        is_at(&browser, "/orders", "themselves").await;
    })
    .await;
}

#[tokio::test]
async fn r5_what_another_origin_sends_is_asked_about_or_refused() {
    browse(Set::default(), async |browser| {
        let set = |b: Builder| b.sticky_marker().refuse_unmarked_writes().end_when_marker_removed();
        let site = Site::started(BOTH, STRICT, set).await;
        let to = site.url("");
        let (other, _) = elsewhere(format!(
            r#"<!doctype html><title>Elsewhere</title><h1 id="here">Elsewhere</h1>
            <a id="link" href="{to}/orders?as=ines">Look</a>
            <form method="post" action="{to}/orders?as=ines"><button id="marked">Send</button></form>
            <form method="post" action="{to}/orders"><button id="bare">Send</button></form>"#
        ))
        .await;
        // The same site on another port, and another site.
        for other in [format!("http://{other}/?as=ines"), format!("http://localhost:{}/?as=ines", other.port())] {
            for button in ["#link", "#marked", "#bare"] {
                browser.goto(&other).await;
                browser.click(button).await;
                let title = if button == "#bare" { "Conflict" } else { "Forbidden" };
                browser.find_saying("h1", title).await;
                let asks = browser.run("return document.querySelectorAll('a[href*=as]').length").await;
                assert_eq!(asks, i32::from(button == "#link"), "{other} {button}");
            }
        }
        assert_eq!(site.heard(), Vec::<String>::new(), "nothing acted, nothing written");
        let trail = site.trail().await;
        let denied = |rule: &str| trail.iter().filter(|line| line.ends_with(rule)).count();
        assert_eq!((denied(" cross_site"), denied(" marker_missing")), (4, 2), "{trail:?}");
        assert_eq!(trail.len(), 7, "{trail:?}");

        // Whoever means it, goes on.
        browser.goto(&format!("http://{other}/")).await;
        browser.click("#link").await;
        browser.find_saying("a", "Continue acting as this user").await.click().await.unwrap();
        is_at(&browser, "/orders", "ines by ada").await;
        assert_eq!(site.ended().await, (vec![], 1));
    })
    .await;
}

#[tokio::test]
async fn the_time_that_is_left_counts_down_also_while_the_machine_sleeps() {
    browse(Set::default(), async |browser| {
        let site = Site::started(BOTH, STRICT, |builder| builder).await;
        browser
            .before_each_page(
                "const now = Date.now; window.slept = 0; Date.now = () => now() + window.slept;",
            )
            .await;
        browser.goto(&site.url("/timed?as=ines")).await;
        let left = browser.text("#left").await;
        assert!(
            left.starts_with("1:05:0") && left.ends_with(" left"),
            "{left}"
        );
        for (slept, shown) in [(8 * 60, "57:0"), (65 * 60, "0:0")] {
            browser
                .run(&format!(
                    "window.slept = {slept} * 1000; dispatchEvent(new Event('pageshow'));"
                ))
                .await;
            let left = browser.text("#left").await;
            assert!(left.starts_with(shown), "{slept}: {left}");
            let over = "return document.querySelector('[data-over], [aria-live]') === null";
            assert_eq!(
                browser.run(over).await,
                true,
                "nothing is read out before the end"
            );
        }
        // The last seconds by themselves.
        browser.find("[data-over]").await;
        browser
            .find_saying("#left[aria-live=polite]", "It is over")
            .await;
    })
    .await;
}

#[tokio::test]
async fn pages_can_be_seen_in_the_dark_and_narrow() {
    let set = Set {
        width: 500,
        height: 800,
        ..Set::default()
    };
    browse(set, async |browser| {
        let site = Site::open("", STRICT, |builder| builder).await;
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Vec::new();
        for dark in [false, true] {
            if dark {
                browser.dark().await;
            }
            browser.goto(&site.url("/orders?as=ines")).await;
            browser.find_saying("h1", "Forbidden").await;
            let is_dark = browser
                .run("return matchMedia('(prefers-color-scheme: dark)').matches")
                .await;
            assert_eq!(is_dark, dark);
            assert_eq!(browser.run("return innerWidth").await, 500);
            assert_eq!(
                browser.complaints().await,
                Vec::<String>::new(),
                "dark: {dark}"
            );
            let file = folder.path().join("page.png");
            browser.screenshot(&file).await;
            pictures.push(std::fs::read(&file).unwrap());
        }
        assert_ne!(pictures[0], pictures[1]);
    })
    .await;
}

#[tokio::test]
async fn axe_finds_what_is_wrong() {
    browse(Set::default(), async |browser| {
        browser
            .goto("data:text/html,<title>x</title><img src=x>")
            .await;
        let complaints = browser.complaints().await;
        let is_found = |rule: &str| complaints.iter().any(|line| line.starts_with(rule));
        assert!(
            is_found("image-alt: ") && is_found("html-has-lang: "),
            "{complaints:?}"
        );
    })
    .await;
}
