//! R3, R4, R20: what the script adds to requests, what it leaves alone, and what happens where it is blocked.

use tokio::time::timeout;
use tower_impersonation::{Access, Builder, StartRequest, session::EndedReason};

use super::{BOTH, ODD, STRICT, Site, elsewhere, is_at};
use crate::support::{
    browser::{Browser, PATIENCE, Set, browse},
    parts, subject, told,
};

const NO_SCRIPT: &str =
    "default-src 'none'; script-src 'none'; connect-src 'self'; form-action 'self'";

const ONLY_QUERY: &str =
    r#"<script src="/impersonation/page.js" data-parameter="as" data-subject="ines"></script>"#;

const ONLY_HEADER: &str =
    r#"<script src="/impersonation/page.js" data-header="act-as" data-subject="ines"></script>"#;
/// Of someone whose id has to be encoded, in the URL and in a header, each in its way.
const ODD_HEADER: &str = r#"<script src="/impersonation/page.js" data-header="act-as" data-subject="m&amp;m %41+ü"></script>"#;
const ODD_QUERY: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-subject="m&amp;m %41+ü"></script>"#;

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
        let missing = told(&trail, "denied ada - marker_missing");
        assert_eq!(missing, 2, "{trail:?}");
    })
    .await;
}
