//! The console, page by page. Every page that these tests get is held against what makes a page sound: one heading, labels
//! on fields, nothing inline, nothing from elsewhere.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_impersonation::{
    Builder, ConfigError, DirectoryUser, Impersonation, MemoryDirectory, Rank, Rejection,
    RejectionKind, Rights, StartRequest,
    audit::{AuditEvent, AuditSink, EventName, MemorySink, Outcome},
    session::{MemorySessions, Session},
};

use crate::{contract::LateReader, support::*};

const MOUNT: &str = "/admin/impersonation";
const HOSTILE: [&str; 3] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "=cmd()",
];

struct Console {
    desk: Desk,
    app: Router,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    kind: Option<RejectionKind>,
    html: String,
}

impl Console {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(Builder) -> Builder) -> Self {
        // The sink is made by the desk: what reads it comes afterwards, through the same handle.
        let reader = Arc::new(LateReader::default());
        let late = reader.clone();
        let set = |builder: Builder| {
            let builder = builder.console_path(MOUNT).trail_reader(late);
            set(builder.after_start("/orders").after_stop("/bye"))
        };
        let desk = Desk::new(&MemorySessions::new(), true, set);
        *reader.0.lock().unwrap() = Some(desk.sink.clone());
        Self::of(desk)
    }

    /// Nothing else is mounted, the control API least of all.
    fn of(desk: Desk) -> Self {
        let app = Router::new()
            .nest(MOUNT, desk.handle.console())
            .layer(desk.handle.layer());
        Self { desk, app }
    }

    async fn get(&self, who: &str, path: &str) -> Page {
        self.send(request("GET", who, path, "")).await
    }

    async fn post(&self, who: &str, path: &str, form: &str) -> Page {
        self.send(request("POST", who, path, form)).await
    }

    async fn send(&self, request: Request<Body>) -> Page {
        let page = self.raw(request).await;
        page.is_sound();
        page
    }

    async fn raw(&self, request: Request<Body>) -> Page {
        let response = self.app.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Page {
            status: parts.status,
            headers: parts.headers,
            kind: parts.extensions.get::<Rejection>().map(Rejection::kind),
            html: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    /// A session that has been started.
    async fn start(&self, who: &str, whom: &str) -> Arc<Session> {
        self.desk.start(who, whom).await.unwrap().session
    }

    fn add(&self, user: DirectoryUser) {
        self.desk.cast.users.insert(user);
    }
}

fn request(method: &str, who: &str, path: &str, form: &str) -> Request<Body> {
    let path = match path {
        "/" => MOUNT.to_owned(),
        _ if path.starts_with("/?") => format!("{MOUNT}{}", &path[1..]),
        _ if path.starts_with(MOUNT) => path.to_owned(),
        _ => format!("{MOUNT}{path}"),
    };
    let mut request = Request::builder().method(method).uri(path);
    if !who.is_empty() {
        request = request.header("x-user", who);
    }
    if method == "POST" {
        request = request.header("content-type", "application/x-www-form-urlencoded");
    }
    request.body(Body::from(form.to_owned())).unwrap()
}

fn form(fields: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(fields).finish()
}

// === What a page holds ===

struct Tag {
    name: String,
    is_end: bool,
    attributes: BTreeMap<String, String>,
}

impl Tag {
    fn get(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }
}

fn unescape(text: &str) -> String {
    let pairs = [
        ("&#60;", "<"),
        ("&#62;", ">"),
        ("&#34;", "\""),
        ("&#39;", "'"),
        ("&#38;", "&"),
    ];
    let unescape = |text: String, (from, to): (&str, &str)| text.replace(from, to);
    pairs.into_iter().fold(text.to_owned(), unescape)
}

impl Page {
    fn tags(&self) -> Vec<Tag> {
        let mut tags = Vec::new();
        let mut rest = self.html.as_str();
        while let Some(at) = rest.find('<') {
            rest = &rest[at + 1..];
            if rest.starts_with('!') {
                continue;
            }
            let is_end = rest.starts_with('/');
            rest = rest.strip_prefix('/').unwrap_or(rest);
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap();
            let name = rest[..end].to_owned();
            assert!(!name.is_empty(), "a bare `<` before {rest:.60}");
            rest = &rest[end..];
            let mut attributes = BTreeMap::new();
            loop {
                rest = rest.trim_start();
                if let Some(after) = rest.strip_prefix('>') {
                    rest = after;
                    break;
                }
                let end = rest.find(['=', '>', ' ']).unwrap();
                let key = rest[..end].to_owned();
                assert!(!key.is_empty(), "an odd attribute before {rest:.60}");
                rest = &rest[end..];
                let mut value = String::new();
                if let Some(quoted) = rest.strip_prefix("=\"") {
                    let end = quoted.find('"').unwrap();
                    value = unescape(&quoted[..end]);
                    rest = &quoted[end + 1..];
                }
                let before = attributes.insert(key.clone(), value);
                assert!(before.is_none(), "{key} twice in {name}");
            }
            tags.push(Tag {
                name,
                is_end,
                attributes,
            });
        }
        tags
    }

    fn all(&self, name: &str) -> Vec<Tag> {
        let tags = self.tags().into_iter();
        tags.filter(|tag| tag.name == name && !tag.is_end).collect()
    }

    /// The addresses of links whose text, tags left out, begins with this.
    fn links(&self, text: &str) -> Vec<String> {
        let mut links = Vec::new();
        for part in self.html.split("<a ").skip(1) {
            let (tag, rest) = part.split_once('>').unwrap();
            let inner = rest.split("</a>").next().unwrap();
            if plain(inner).starts_with(text) {
                let href = tag.split("href=\"").nth(1).unwrap();
                links.push(unescape(href.split('"').next().unwrap()));
            }
        }
        links
    }

    fn link(&self, text: &str) -> String {
        let links = self.links(text);
        assert_eq!(links.len(), 1, "{text}: {links:?}\n{}", self.html);
        links.into_iter().next().unwrap()
    }

    fn text(&self) -> String {
        plain(&self.html)
    }

    fn says(&self, text: &str) -> &Self {
        assert!(self.text().contains(text), "no {text:?} in {}", self.text());
        self
    }

    fn says_not(&self, text: &str) -> &Self {
        assert!(!self.text().contains(text), "{text:?} in {}", self.text());
        self
    }

    fn is(&self, status: u16, kind: Option<RejectionKind>) -> &Self {
        let is = (self.status.as_u16(), self.kind);
        assert_eq!(is, (status, kind), "{}", self.text());
        self
    }

    fn ok(&self) -> &Self {
        self.is(200, None)
    }

    fn to(&self) -> &str {
        assert_eq!(self.status, StatusCode::SEE_OTHER, "{}", self.text());
        self.headers["location"].to_str().unwrap()
    }

    /// The field of this name.
    fn field(&self, name: &str) -> Tag {
        let is_it = |tag: &Tag| {
            !tag.is_end
                && ["input", "select", "textarea"].contains(&&*tag.name)
                && tag.get("name") == name
        };
        let found = self.tags().into_iter().find(is_it);
        found.unwrap_or_else(|| panic!("no {name} in {}", self.html))
    }

    fn textarea(&self, id: &str) -> String {
        let area = self.html.split(&format!("<textarea id=\"{id}\"")).nth(1);
        let area = area.unwrap().split_once('>').unwrap().1;
        // A browser drops the first line break.
        let area = area.split("</textarea>").next().unwrap();
        unescape(area.strip_prefix('\n').unwrap())
    }

    /// The message that the field points to.
    fn problem_of(&self, name: &str) -> String {
        let field = self.field(name);
        assert_eq!(field.get("aria-invalid"), "true", "{name}");
        assert!(field.has("autofocus"), "{name}");
        let ids = field.get("aria-describedby").to_owned();
        let id = ids.split(' ').next_back().unwrap();
        let text = self.html.split(&format!("id=\"{id}\">")).nth(1).unwrap();
        unescape(text.split('<').next().unwrap())
    }

    /// What holds for every page.
    fn is_sound(&self) {
        let content_type = self.headers.get("content-type");
        if content_type.is_none_or(|it| it != "text/html; charset=utf-8") {
            return;
        }
        assert!(self.html.starts_with("<!doctype html>"));
        assert_eq!(self.all("html")[0].get("lang"), "en");
        for (tag, count) in [
            ("h1", 1),
            ("main", 1),
            ("title", 1),
            ("script", 1),
            ("style", 0),
        ] {
            assert_eq!(self.all(tag).len(), count, "{tag}: {}", self.html);
        }
        let tags = self.tags();
        let ids: Vec<&str> = tags
            .iter()
            .map(|tag| tag.get("id"))
            .filter(|id| !id.is_empty())
            .collect();
        let known: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), known.len(), "an id twice: {ids:?}");
        let mut open: Vec<&str> = Vec::new();
        let labelled: BTreeSet<&str> = tags.iter().map(|tag| tag.get("for")).collect();
        for tag in &tags {
            let name = tag.name.as_str();
            if ["meta", "link", "input", "br"].contains(&name) {
                assert!(!tag.is_end);
            } else if tag.is_end {
                assert_eq!(open.pop(), Some(name), "{}", self.html);
            } else {
                if open.contains(&"p") {
                    let block = [
                        "p", "div", "form", "ul", "table", "section", "dl", "fieldset",
                    ];
                    assert!(!block.contains(&name), "{name} in p: {}", self.html);
                }
                if open.contains(&"form") {
                    assert_ne!(name, "form");
                }
                open.push(name);
            }
            for (attribute, value) in &tag.attributes {
                assert!(
                    !attribute.starts_with("on") && attribute != "style",
                    "{attribute}={value}"
                );
                match attribute.as_str() {
                    "href" if value == "data:," => {}
                    "href" if value.starts_with('#') => assert!(known.contains(&value[1..])),
                    "href" | "src" | "action" | "data-live" | "data-events" => {
                        assert!(
                            value.starts_with('/') && !value.starts_with("//"),
                            "{value}"
                        );
                    }
                    "aria-describedby" | "aria-labelledby" => {
                        value
                            .split(' ')
                            .for_each(|id| assert!(known.contains(id), "{id}"));
                    }
                    _ => {}
                }
            }
            let is_field = ["input", "select", "textarea"].contains(&name) && !tag.is_end;
            if is_field && !["hidden", "radio"].contains(&tag.get("type")) {
                assert!(labelled.contains(tag.get("id")), "no label: {}", self.html);
            }
            if name == "th" && !tag.is_end {
                assert!(tag.has("scope"));
            }
            if name == "form" && !tag.is_end {
                assert!(["get", "post"].contains(&tag.get("method")));
            }
        }
        assert_eq!(open, [""; 0]);
        assert_eq!(self.all("table").len(), self.all("caption").len());
        assert!(self.all("a").iter().any(|a| a.get("class") == "skip"));
    }
}

fn plain(html: &str) -> String {
    let mut text = String::new();
    for part in html.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, text)| text));
    }
    let text: Vec<&str> = text.split_whitespace().collect();
    unescape(&text.join(" "))
}

// === Where it is ===

#[tokio::test]
async fn the_story_goes_by_links_and_forms_alone() {
    let console = Console::new();
    let people = console.get("root", "/?q=INES").await;
    people.ok().says("ines@shop.example").says_not("otto");

    let start = console.get("root", &people.link("Act as")).await;
    start
        .ok()
        .says("Role: customer")
        .says("None that you may see.");
    let action = start.all("form")[0].get("action").to_owned();
    let typed = form(&[
        ("reason", " ticket 4711: cannot pay "),
        ("ticket", "4711"),
        ("access", "read_write"),
        ("duration", "900"),
    ]);
    let started = console.post("root", &action, &typed).await;
    assert_eq!(started.to(), "/orders?as=ines");
    let session = console.desk.active().await.remove(0);
    assert_eq!(&*session.reason, "ticket 4711: cannot pay");
    assert_eq!(session.ticket.as_deref(), Some("4711"));
    assert_eq!(session.access.as_str(), "read_write");
    assert_eq!(session.expires_at, NOON + MINUTE * 15);

    // Everyone sees it, and its admin on every page.
    let people = console.get("root", "/").await;
    people.says("You have a session as ines@shop.example");
    let mine = console.get("root", &people.link("My session")).await;
    mine.says("15 min left").says("ticket 4711: cannot pay");
    assert_eq!(mine.link("Open"), "/orders?as=ines");
    assert_eq!(
        mine.all("form")[0].get("action"),
        format!("{MOUNT}/session/stop")
    );

    let history = console.get("root", &start.link("Who impersonated")).await;
    history.says("1 of 1").says("Active");
    let detail = console.get("root", &history.link("Details and end")).await;
    detail.says("End this session");
    let end = detail.all("form")[0].get("action").to_owned();
    let ended = console.post("root", &end, "").await;
    let detail = console.get("root", ended.to()).await;
    detail
        .says("The session has been ended.")
        .says("Stopped by the admin");
    assert!(detail.all("form").is_empty());
    assert!(console.desk.active().await.is_empty());

    let trail = console.get("root", &detail.link("In the trail")).await;
    trail.says("impersonation.start").says("impersonation.end");
    console
        .get("root", &trail.link("Summary"))
        .await
        .says("root 1 0 s 1 0 0");
}

#[tokio::test]
async fn links_lead_to_where_it_is_mounted() {
    let desk = desk();
    let nested = Router::new().nest("/a/b", desk.handle.console());
    let service = Router::new().nest_service("/a/b", desk.handle.console());
    let root = desk.handle.console();
    let tests = [
        (&nested, "/a/b", "/a/b"),
        (&nested, "/a/b/sessions", "/a/b"),
        (&nested, "/a/b/sessions/x", "/a/b"),
        (&nested, "/a/b/nothing", "/a/b"),
        (&service, "/a/b", "/a/b"),
        (&service, "/a/b/", "/a/b"),
        (&service, "/a/b/trail", "/a/b"),
        (&root, "/", ""),
        (&root, "/sessions", ""),
    ];
    for (app, path, base) in tests {
        let console = Console {
            desk: desk.clone(),
            app: app.clone(),
        };
        let request = Request::get(path).header("x-user", "root");
        let page = console.send(request.body(Body::empty()).unwrap()).await;
        if page.kind.is_none() {
            let home = if base.is_empty() { "/" } else { base };
            assert_eq!(page.link("People"), home, "{path}");
            assert_eq!(page.link("Trail"), format!("{base}/trail"), "{path}");
        }
        assert!(
            page.all("script")[0]
                .get("src")
                .starts_with(&format!("{base}/console.js?v="))
        );
    }
}

#[test]
fn r12_the_console_is_one_plain_place() {
    for path in [
        "/admin/*",
        "/admin/%41",
        "admin",
        "/",
        "/admin/../x",
        "/admin/{id}",
    ] {
        let checker = tower_impersonation::checker_fn(
            |_| tower_impersonation::Caller::Anonymous,
            |_, _, _| tower_impersonation::Decision::deny("nobody"),
        );
        let built = Impersonation::builder(checker, MemorySink::default())
            .console_path(path)
            .build();
        let Err(ConfigError::Invalid { setting, .. }) = built else {
            panic!("{path} was taken");
        };
        assert_eq!(setting, "console_path", "{path}");
    }
}

#[tokio::test]
async fn r12_a_marker_does_nothing_in_the_console() {
    let console = Console::new();
    console.start("ada", "ines").await;
    let page = console.get("ada", "/session?as=ines").await;
    page.ok().says("Signed in as ada");
    assert!(!page.headers.contains_key("acted-as"));
}

#[tokio::test]
async fn r16_an_acted_request_gets_no_page_but_the_way_out() {
    // Nobody said where the console is, so that it is not excluded.
    let console = Console::of(desk());
    console.start("ada", "ines").await;
    for path in [
        "/?as=ines",
        "/start?subject=otto&as=ines",
        "/session?as=ines",
        "/sessions?as=ines",
    ] {
        let page = console.get("ada", path).await;
        page.is(403, Some(RejectionKind::Nested))
            .says_not("Signed in");
        assert_eq!(page.link("My session"), format!("{MOUNT}/session"));
    }
    let start = console
        .post("ada", "/start?subject=otto&as=ines", "reason=x")
        .await;
    start.is(403, Some(RejectionKind::Nested));
    assert_eq!(console.desk.active().await.len(), 1);
    // But it can be left (rule S5).
    assert_eq!(
        console.post("ada", "/session/stop?as=ines", "").await.to(),
        "/"
    );
    assert!(console.desk.active().await.is_empty());
}

// === Who may ===

#[tokio::test]
async fn r6_every_page_is_for_admins_who_are_signed_in() {
    let console = Console::new();
    let id = console.start("ada", "ines").await.id;
    let pages = [
        "/".to_owned(),
        "/start?subject=ines".to_owned(),
        "/start".to_owned(),
        "/session".to_owned(),
        "/sessions".to_owned(),
        "/sessions?from=x".to_owned(),
        format!("/sessions/{id}"),
        "/trail".to_owned(),
        "/trail?name=x".to_owned(),
        "/trail.csv".to_owned(),
        "/trail.csv?name=x".to_owned(),
        "/summary".to_owned(),
        "/summary?week=x".to_owned(),
        "/events".to_owned(),
    ];
    for path in &pages {
        let nobody = console.get("", path).await;
        nobody
            .is(401, Some(RejectionKind::Unauthenticated))
            .says("Sign in first");
        assert_eq!(nobody.link("Leave"), "/bye");
        assert!(nobody.links("My session").is_empty());
        let user = console.get("mia", path).await;
        user.is(403, Some(RejectionKind::NotAdmin))
            .says("Only an admin may impersonate.");
    }
    let violations = console.desk.trail().await;
    assert!(violations.contains(&"privilege_violation mia - not_admin".to_owned()));
    let posts = [
        "/start?subject=ines".to_owned(),
        "/start".to_owned(),
        "/session/change?subject=ines".to_owned(),
        "/session/change".to_owned(),
        format!("/sessions/{id}/end"),
    ];
    for path in &posts {
        let nobody = console.post("", path, "reason=x").await;
        nobody.is(401, Some(RejectionKind::Unauthenticated));
        let user = console.post("mia", path, "reason=x").await;
        user.is(403, Some(RejectionKind::NotAdmin));
    }
    console
        .post("", "/session/stop", "")
        .await
        .is(401, Some(RejectionKind::Unauthenticated));
    assert_eq!(console.desk.active().await.len(), 1);
}

#[tokio::test]
async fn r17_what_is_not_there_is_a_page_too() {
    let console = Console::new();
    for who in ["", "ada"] {
        let page = console.get(who, "/nothing").await;
        page.is(404, Some(RejectionKind::NotFound))
            .says("Page not found");
        assert_eq!(page.link("To the console"), MOUNT);
        let page = console.post(who, "/sessions", "").await;
        page.is(405, Some(RejectionKind::MethodNotAllowed));
        assert_eq!(page.headers["allow"], "GET,HEAD");
    }
}

#[tokio::test]
async fn r13_what_fails_is_a_page_that_leads_on() {
    let console = Console::new();
    for (trouble, path) in [
        ("identify", "/"),
        ("authorize", "/"),
        ("search", "/"),
        ("list", "/sessions"),
        ("list", "/session"),
    ] {
        console.desk.world.trouble(trouble, How::Fail);
        let page = console.get("ada", path).await;
        page.is(503, Some(RejectionKind::Unavailable))
            .says_not("is broken");
        assert_eq!(
            page.link("Try again"),
            format!("{MOUNT}{}", path.trim_end_matches('/'))
        );
        console.desk.world.calm();
        console.get("ada", path).await.ok();
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_of_a_page_that_is_kept_by_nobody() {
    let console = Console::new();
    let cross_site = {
        let mut request = request("POST", "ada", "/session/stop", "");
        request.headers_mut().insert(
            "sec-fetch-site",
            http::HeaderValue::from_static("cross-site"),
        );
        console.send(request).await
    };
    let pages = [
        console.get("ada", "/").await,
        console.get("", "/").await,
        console.get("ada", "/nothing").await,
        console.post("ada", "/", "").await,
        console.post("ada", "/session/stop", "").await,
        console.get("ada", "/trail.csv").await,
        cross_site,
    ];
    for page in pages {
        let what = page.status;
        assert_eq!(page.headers["cache-control"], "no-store", "{what}");
        assert_eq!(page.headers["referrer-policy"], "same-origin", "{what}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff", "{what}");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
    }
    // Nobody has to be signed in to see the page of a refusal as it should be.
    for (path, content_type) in [
        ("/console.css", "text/css; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
    ] {
        let asset = console.get("", path).await;
        asset.ok();
        assert_eq!(asset.headers["content-type"], content_type);
        assert_eq!(asset.headers["cache-control"], "public, max-age=3600");
        assert!(!asset.html.contains("http:") && !asset.html.contains("https:"));
    }
}

#[tokio::test]
async fn another_site_changes_nothing() {
    let console = Console::new();
    let id = console.start("ada", "ines").await.id;
    let posts = [
        ("root", "/start?subject=otto".to_owned(), "reason=x"),
        ("ada", "/session/stop".to_owned(), ""),
        (
            "ada",
            "/session/change?subject=ines".to_owned(),
            "reason=x&duration=60",
        ),
        ("root", format!("/sessions/{id}/end"), ""),
    ];
    for (who, path, fields) in posts {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            let mut request = request("POST", who, &path, fields);
            request
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
            let page = console.send(request).await;
            page.is(403, Some(RejectionKind::CrossSite))
                .says("Nothing was done.");
        }
    }
    let active = console.desk.active().await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].expires_at, NOON + MINUTE * 120);
    let trail = console.desk.trail().await;
    assert!(
        trail
            .iter()
            .any(|line| line.starts_with("denied - - cross_site"))
    );
}

// === People ===

#[tokio::test]
async fn r7_people_lists_only_those_one_may_act_as() {
    let console = Console::new();
    console.desk.cast.bar("mia");
    let page = console.get("ada", "/").await;
    page.ok().says("ines").says("otto");
    for other in ["mia", "kim", "bot", "root", "abe"] {
        let start = format!("{MOUNT}/start?subject={other}");
        assert!(!page.links("Act as").contains(&start), "{other}");
    }
    // The service role takes a right.
    page.says("Anonymous visitor").says_not("Service role");
    console
        .get("root", "/")
        .await
        .says("Anonymous visitor")
        .says("Service role");
    console.desk.cast.bar("~anon");
    console.get("root", "/").await.says_not("Anonymous visitor");
}

#[tokio::test]
async fn people_come_in_pages_and_states() {
    let console = Console::new();
    for number in 100..160 {
        console.add(
            DirectoryUser::new(id(&format!("n{number}")), Rank(0))
                .with_display_name(format!("No {number}")),
        );
    }
    let mut seen = Vec::new();
    let mut path = "/?q=no+1".to_owned();
    loop {
        let page = console.get("ada", &path).await;
        page.ok();
        assert_eq!(page.field("q").get("value"), "no 1");
        assert_eq!(
            page.links("First page").len(),
            usize::from(!seen.is_empty())
        );
        seen.extend(page.links("Act as"));
        match page.links("Next page").pop() {
            Some(next) => path = next,
            None => break,
        }
    }
    let expected: Vec<String> = (100..160)
        .map(|n| format!("{MOUNT}/start?subject=n{n}"))
        .collect();
    assert_eq!(seen, expected);

    console
        .get("ada", "/?q=nobody")
        .await
        .ok()
        .says("Nobody found for “nobody”.");
    let wrong = console.get("ada", "/?offset=x").await;
    wrong
        .is(400, Some(RejectionKind::InvalidRequest))
        .says("The offset must be a number");

    let empty = Console::with(|builder| builder.directory(MemoryDirectory::default()));
    empty
        .get("ada", "/")
        .await
        .ok()
        .says("There is nobody whom you may act as.");

    let checker = tower_impersonation::checker_fn(
        |_| tower_impersonation::Caller::Admin(tower_impersonation::Actor::new(id("ada"), Rank(9))),
        |_, _, _| tower_impersonation::Decision::Allow(tower_impersonation::Grant::read_only()),
    );
    let none = Impersonation::builder(checker, MemorySink::default())
        .console_path(MOUNT)
        .build();
    let desk = desk();
    let none = Console {
        app: Router::new().nest(MOUNT, none.unwrap().console()),
        desk,
    };
    let page = none.get("ada", "/").await;
    page.ok().says("no directory");
    assert_eq!(page.field("subject").get("maxlength"), "128");
    // Neither are there sessions.
    let start = none.get("ada", "/start?subject=ines").await;
    start.ok().says("No sessions are kept on this host");
    assert_eq!(start.link("Open the pages"), "/?as=ines");
    none.get("ada", "/session")
        .await
        .ok()
        .says("No sessions are kept on this host");
    none.get("ada", "/sessions")
        .await
        .ok()
        .says("No sessions are kept on this host");
    none.get("ada", "/trail")
        .await
        .ok()
        .says("has not said where its trail can be read");
    none.get("ada", "/summary")
        .await
        .ok()
        .says("has not said where its trail can be read");
    none.post("ada", "/start?subject=ines", "reason=x")
        .await
        .is(503, Some(RejectionKind::Unavailable));
}

#[tokio::test]
async fn r3_any_id_survives_every_link_and_form() {
    let console = Console::with(|builder| builder.max_active(100));
    let odd = [
        "a/b", "..", ".", "a?b#c", "f%20", "%2e%2e", "a&b=c", "a+b c", "ü", "نور", "\"'<>", "x;y",
        "~x",
    ];
    for odd in odd {
        console.add(customer("x").with_role("odd").with_login("odd"));
        console.add(DirectoryUser::new(id(odd), Rank(0)).with_login("odd"));
        let people = console
            .get("root", &format!("/?{}", form(&[("q", odd)])))
            .await;
        let starts = people.links("Act as");
        let expected = format!("{MOUNT}/start?{}", form(&[("subject", odd)]));
        assert!(starts.contains(&expected), "{odd}: {starts:?}");
        let page = console.get("root", &expected).await;
        page.ok();
        let action = page.all("form")[0].get("action").to_owned();
        let started = console.post("root", &action, "reason=odd").await;
        let landing = console.desk.handle.marked("/orders", &subject(odd));
        assert_eq!(started.to(), landing, "{odd}");
        let history = console.get("root", &page.link("Who impersonated")).await;
        history.says("1 of 1");
        let mine = console.get("root", "/session").await;
        let change = mine
            .all("form")
            .iter()
            .map(|f| f.get("action").to_owned())
            .find(|action| action.contains(&form(&[("subject", odd)])));
        let changed = console
            .post("root", &change.unwrap(), "reason=more&access=read_write")
            .await;
        assert_eq!(
            changed.to(),
            format!("{MOUNT}/session?done=changed"),
            "{odd}"
        );
        console.desk.clock.advance(MINUTE * 61);
        console.post("root", "/session/stop", "").await;
    }
}

// === Start ===

#[tokio::test]
async fn s1_the_form_offers_what_is_granted() {
    let console = Console::new();
    let options = |page: &Page| -> Vec<String> {
        let options = page.all("option");
        options
            .iter()
            .map(|option| option.get("value").to_owned())
            .collect()
    };
    let page = console
        .get("ada", "/start?subject=ines&next=/orders/7")
        .await;
    page.ok()
        .says("Read and write")
        .says("2 h, the longest allowed");
    assert_eq!(options(&page), ["900", "1800", "3600", ""]);
    let radios = page.all("input");
    let checked: Vec<&str> = radios
        .iter()
        .filter(|i| i.has("checked"))
        .map(|i| i.get("value"))
        .collect();
    assert_eq!(checked, ["read_only"]);
    assert!(page.field("reason").has("required"));
    assert_eq!(page.field("reason").get("maxlength"), "500");
    assert_eq!(page.field("next").get("value"), "/orders/7");
    assert!(!page.all("fieldset")[0].has("disabled"));

    let page = console.get("sam", "/start?subject=ines").await;
    page.ok()
        .says("read-only access here")
        .says_not("Read and write")
        .says("30 min, the longest");
    assert_eq!(options(&page), ["900", ""]);
    // Whoever asks all the same gets what is granted.
    console
        .post(
            "sam",
            "/start?subject=ines",
            "reason=x&access=read_write&duration=99999",
        )
        .await
        .to();
    let session = console.desk.active().await.remove(0);
    assert_eq!(session.access.as_str(), "read_only");
    assert_eq!(session.expires_at, NOON + MINUTE * 30);

    for (whom, name) in [("~anon", "Anonymous visitor"), ("~service", "Service role")] {
        let page = console.get("root", &format!("/start?subject={whom}")).await;
        page.ok().says(&format!("Act as {name}"));
        let to = console
            .post(
                "root",
                &format!("/start?subject={whom}"),
                "reason=x&next=/b",
            )
            .await;
        assert_eq!(to.to(), console.desk.handle.marked("/b", &subject(whom)));
        console.post("root", "/session/stop", "").await;
    }
    // Another host is nothing to go on to.
    let to = console
        .post(
            "root",
            "/start?subject=otto",
            "reason=x&next=//evil.example/",
        )
        .await;
    assert_eq!(to.to(), "/orders?as=otto");
}

#[tokio::test]
async fn r7_whom_one_may_not_act_as_has_no_form() {
    let console = Console::new();
    console.desk.cast.bar("mia");
    console.add(
        customer("kim")
            .with_display_name("Kim Secret")
            .not_impersonable_because("opted out"),
    );
    let tests = [
        ("mia", 403, RejectionKind::Denied),
        ("kim", 403, RejectionKind::Denied),
        ("root", 403, RejectionKind::Denied),
        ("~service", 403, RejectionKind::Denied),
        ("nobody", 404, RejectionKind::SubjectNotFound),
        ("ada", 400, RejectionKind::Yourself),
        ("", 400, RejectionKind::InvalidRequest),
        ("%00", 400, RejectionKind::InvalidRequest),
    ];
    for (whom, status, kind) in tests {
        let page = console.get("ada", &format!("/start?subject={whom}")).await;
        page.is(status, Some(kind))
            .says_not("opted out")
            .says_not("Secret");
        assert!(page.all("form").is_empty(), "{whom}");
        // The same by the form of someone who may no longer: what was typed stays.
        let page = console
            .post(
                "ada",
                &format!("/start?subject={whom}"),
                "reason=why&ticket=7",
            )
            .await;
        page.is(status, Some(kind))
            .says_not("opted out")
            .says_not("Secret");
        if kind != RejectionKind::InvalidRequest {
            assert_eq!(page.textarea("reason"), "why");
        }
    }
    assert!(
        console
            .desk
            .trail()
            .await
            .contains(&"denied ada mia checker".to_owned())
    );
    assert!(console.desk.active().await.is_empty());
}

#[tokio::test]
async fn s1_a_refused_start_comes_back_with_everything_typed() {
    struct Test {
        name: &'static str,
        reason: &'static str,
        ticket: String,
        duration: &'static str,
        status: u16,
        kind: RejectionKind,
        /// The field with the message; none, where it is above the form.
        field: &'static str,
        message: &'static str,
    }
    let test = Test {
        name: "blank reason",
        reason: " \n ",
        ticket: "a\"<b>".to_owned(),
        duration: "900",
        status: 400,
        kind: RejectionKind::InvalidRequest,
        field: "reason",
        message: "The reason must not be blank.",
    };
    let tests = [
        Test {
            name: "no reason",
            reason: "",
            message: "The reason is missing.",
            ticket: test.ticket.clone(),
            ..test
        },
        Test {
            name: "long ticket",
            reason: "\nwhy </textarea><script>alert(1)</script>",
            ticket: "x".repeat(129),
            field: "ticket",
            message: "The ticket must not be longer than 128 characters.",
            ..test
        },
        Test {
            name: "odd duration",
            reason: "why",
            ticket: "7".to_owned(),
            duration: "soon",
            field: "duration",
            message: "The duration must be a whole number from 1 to 999999999.",
            ..test
        },
        Test {
            name: "barred meanwhile",
            reason: "why",
            ticket: "7".to_owned(),
            status: 403,
            kind: RejectionKind::Denied,
            field: "",
            message: "You may not act as this user.",
            ..test
        },
        Test {
            name: "gone meanwhile",
            reason: "why",
            ticket: "7".to_owned(),
            status: 404,
            kind: RejectionKind::SubjectNotFound,
            field: "",
            message: "User not found",
            ..test
        },
        Test {
            name: "store",
            reason: "why",
            ticket: "7".to_owned(),
            status: 503,
            kind: RejectionKind::Unavailable,
            field: "",
            message: "Impersonation is unavailable; nothing was done.",
            ..test
        },
        test,
    ];
    for test in tests {
        let console = Console::new();
        match test.name {
            "barred meanwhile" => console.desk.cast.bar("ines"),
            "gone meanwhile" => drop(console.desk.cast.users.remove(&id("ines"))),
            "store" => console.desk.world.trouble("check", How::Fail),
            _ => {}
        }
        let typed = form(&[
            ("reason", test.reason),
            ("ticket", &test.ticket),
            ("access", "read_write"),
            ("duration", test.duration),
            ("next", "/orders/7"),
        ]);
        let page = console.post("ada", "/start?subject=ines", &typed).await;
        page.is(test.status, Some(test.kind));
        assert_eq!(page.textarea("reason"), test.reason, "{}", test.name);
        assert_eq!(
            page.field("ticket").get("value"),
            test.ticket,
            "{}",
            test.name
        );
        assert_eq!(
            page.field("next").get("value"),
            "/orders/7",
            "{}",
            test.name
        );
        let checked = page
            .all("input")
            .into_iter()
            .find(|input| input.has("checked"));
        assert_eq!(checked.unwrap().get("value"), "read_write", "{}", test.name);
        let chosen = page
            .all("option")
            .into_iter()
            .find(|option| option.has("selected"));
        let kept = if test.duration == "soon" {
            ""
        } else {
            test.duration
        };
        assert_eq!(chosen.unwrap().get("value"), kept, "{}", test.name);
        match test.field {
            "" => {
                page.says(test.message);
                let alert = page
                    .all("div")
                    .into_iter()
                    .find(|div| div.get("role") == "alert");
                assert!(alert.unwrap().has("autofocus"), "{}", test.name);
            }
            field => assert_eq!(page.problem_of(field), test.message),
        }
        let fields = ["reason", "ticket", "duration"];
        let wrong = fields
            .iter()
            .filter(|f| page.field(f).has("aria-invalid"))
            .count();
        assert_eq!(wrong, usize::from(!test.field.is_empty()), "{}", test.name);
        assert!(console.desk.active().await.is_empty());
    }
}

#[tokio::test]
async fn a3_a_refused_start_is_one_event() {
    let console = Console::new();
    console.desk.cast.bar("ines");
    let page = console.post("ada", "/start?subject=ines", "reason=+").await;
    page.is(400, Some(RejectionKind::InvalidRequest));
    let trail = console.desk.trail().await;
    assert_eq!(trail, ["denied ada ines invalid_request"]);
}

#[tokio::test]
async fn s2_nothing_is_started_while_acting() {
    let console = Console::new();
    console.start("ada", "ines").await;
    for (whom, why) in [
        ("otto", "already acting as someone"),
        ("ines", "already have a session for this very subject"),
    ] {
        let page = console.get("ada", &format!("/start?subject={whom}")).await;
        page.ok().says(why);
        assert!(page.all("fieldset")[0].has("disabled"));
        assert_eq!(page.link("Go to my session"), format!("{MOUNT}/session"));
        let page = console
            .post("ada", &format!("/start?subject={whom}"), "reason=why")
            .await;
        page.is(409, Some(RejectionKind::AlreadyActive))
            .says(why)
            .says("end the current session first");
        assert_eq!(page.textarea("reason"), "why");
    }
    let replacing = Console::with(Builder::replace_active);
    replacing.start("ada", "ines").await;
    let page = replacing.get("ada", "/start?subject=otto").await;
    page.ok().says("ends the one you have as ines@shop.example");
    assert!(!page.all("fieldset")[0].has("disabled"));
    replacing
        .post("ada", "/start?subject=otto", "reason=why")
        .await
        .to();
    assert_eq!(replacing.desk.active().await[0].subject, subject("otto"));
}

#[tokio::test]
async fn s3_too_many_starts_say_when_to_come_back() {
    let console = Console::with(|builder| builder.starts_per_hour(1));
    console.start("ada", "ines").await;
    console.post("ada", "/session/stop", "").await.to();
    console
        .desk
        .clock
        .advance(MINUTE * 20 + Duration::from_secs(30));
    let page = console
        .post("ada", "/start?subject=ines", "reason=why")
        .await;
    page.is(429, Some(RejectionKind::TooManyStarts))
        .says("You can start again at 20 Nov 2026 13:00");
    page.says("in about 40 min");
    assert_eq!(page.headers["retry-after"], "2370");
    assert_eq!(page.textarea("reason"), "why");
}

// === My session ===

#[tokio::test]
async fn s5_one_stops_what_one_has_started_also_when_demoted() {
    let console = Console::new();
    console
        .get("ada", "/session")
        .await
        .ok()
        .says("You are not acting as anyone.");
    console.start("ada", "ines").await;
    console.start("abe", "otto").await;
    console.desk.cast.dismiss("ada");
    let page = console.get("ada", "/session").await;
    page.ok()
        .says("no longer an admin")
        .says("ines")
        .says_not("otto");
    assert!(page.links("Open").is_empty() && page.links("People").is_empty());
    assert_eq!(page.all("form").len(), 1);
    assert_eq!(console.post("ada", "/session/stop", "").await.to(), "/bye");
    assert_eq!(console.post("ada", "/session/stop", "").await.to(), "/bye");
    console
        .get("ada", "/session")
        .await
        .is(403, Some(RejectionKind::NotAdmin));
    assert_eq!(console.desk.active().await[0].subject, subject("otto"));

    let stopped = console.post("abe", "/session/stop", "").await;
    console
        .get("abe", stopped.to())
        .await
        .says("The session has been stopped.");
    let stopped = console.post("abe", "/session/stop", "").await;
    console
        .get("abe", stopped.to())
        .await
        .says("There was nothing left to stop.");
}

#[tokio::test]
async fn s5_of_several_sessions_one_or_all_are_stopped() {
    let console = Console::with(|builder| builder.max_active(3));
    for whom in ["ines", "otto", "mia"] {
        console.start("ada", whom).await;
    }
    let foreign = console.start("abe", "ines").await.id;
    let page = console.get("ada", "/session").await;
    page.ok().says("My sessions").says("Stop all 3 sessions");
    let hidden: Vec<String> = page
        .all("input")
        .iter()
        .filter(|i| i.get("name") == "session")
        .map(|i| i.get("value").to_owned())
        .collect();
    assert_eq!(hidden.len(), 3);
    console
        .post("ada", "/session/stop", &form(&[("session", &hidden[1])]))
        .await
        .to();
    let left = console.get("ada", "/session").await;
    left.says("ines").says("mia").says_not("otto");
    // Others' are not one's own, whatever the form says.
    let other = console
        .post(
            "ada",
            "/session/stop",
            &form(&[("session", &foreign.to_string())]),
        )
        .await;
    assert_eq!(other.to(), format!("{MOUNT}/session?done=nothing"));
    assert_eq!(console.desk.active().await.len(), 3);
    console.post("ada", "/session/stop", "").await.to();
    assert_eq!(console.desk.active().await.len(), 1);
}

#[tokio::test]
async fn s6_a_change_takes_a_reason_of_its_own() {
    let console = Console::new();
    let start = StartRequest::new(subject("ines"), "look").with_duration(MINUTE * 10);
    console
        .desk
        .handle
        .start(&parts("ada"), start)
        .await
        .unwrap();
    let page = console.get("ada", "/session").await;
    let change = page.all("form")[1].get("action").to_owned();
    let options: Vec<String> = page
        .all("option")
        .iter()
        .map(|o| o.get("value").to_owned())
        .collect();
    assert_eq!(
        options,
        ["", "read_write", "", "900", "1800", "3600", "7200"]
    );

    let page = console
        .post("ada", &change, "reason=+&access=read_write&duration=1800")
        .await;
    page.is(400, Some(RejectionKind::InvalidRequest));
    assert_eq!(page.problem_of("reason"), "The reason must not be blank.");
    let chosen: Vec<String> = page
        .all("option")
        .iter()
        .filter(|o| o.has("selected"))
        .map(|o| o.get("value").to_owned())
        .collect();
    assert_eq!(chosen, ["read_write", "1800"]);
    assert!(page.all("details")[0].has("open"));
    // The script does not take away what was typed.
    assert!(!page.tags().iter().any(|tag| tag.has("data-live")));
    let page = console.post("ada", &change, "reason=why").await;
    page.is(400, Some(RejectionKind::InvalidRequest))
        .says("The access or duration must be given.");
    assert_eq!(page.textarea("reason-1"), "why");

    let changed = console
        .post(
            "ada",
            &change,
            "reason=has+to+write&access=read_write&duration=1800",
        )
        .await;
    console
        .get("ada", changed.to())
        .await
        .says("The session has been changed.")
        .says("Read and write");
    let session = console.desk.active().await.remove(0);
    assert_eq!(session.expires_at, NOON + MINUTE * 30);
    let trail = console.desk.trail().await;
    assert_eq!(
        trail
            .iter()
            .filter(|line| line.contains("access_raised") || line.contains("extended"))
            .count(),
        2
    );

    console.desk.cast.bar("ines");
    console
        .get("ada", "/session")
        .await
        .ok()
        .says("Nothing can be changed about it");
    let page = console
        .post("ada", &change, "reason=why&duration=3600")
        .await;
    page.is(403, Some(RejectionKind::Denied));
    let gone = console
        .post(
            "ada",
            "/session/change?subject=otto",
            "reason=why&duration=60",
        )
        .await;
    gone.is(404, Some(RejectionKind::NothingToEnd));

    // At what is granted there is nothing to raise.
    console.start("sam", "otto").await;
    console
        .get("sam", "/session")
        .await
        .ok()
        .says("at what you are granted");
}

// === Sessions ===

#[tokio::test]
async fn sessions_of_others_take_a_right() {
    let console = Console::new();
    let adas = console.start("ada", "ines").await.id;
    let abes = console.start("abe", "otto").await.id;

    let own = console.get("ada", "/sessions").await;
    own.ok()
        .says("1 of 1")
        .says("These are your own sessions")
        .says_not("otto");
    assert!(!own.html.contains("name=\"admin_user_id\""));
    let other = console.get("ada", "/sessions?admin_user_id=abe").await;
    other.is(403, Some(RejectionKind::MissingRight));
    assert_eq!(
        other.problem_of("admin_user_id"),
        "You do not have the right to do this."
    );
    for foreign in [
        abes.to_string(),
        uuid::Uuid::nil().to_string(),
        "x".to_owned(),
        "%ff".to_owned(),
    ] {
        console
            .get("ada", &format!("/sessions/{foreign}"))
            .await
            .is(403, Some(RejectionKind::MissingRight));
        console
            .post("ada", &format!("/sessions/{foreign}/end"), "")
            .await
            .is(403, Some(RejectionKind::MissingRight));
    }
    console
        .get("ada", &format!("/sessions/{adas}"))
        .await
        .ok()
        .says("You stop acting at once.");

    // Seeing is one right, ending another.
    let all = console.get("sam", "/sessions").await;
    all.ok().says("2 of 2");
    assert_eq!(all.links("Details and end"), [""; 0]);
    let detail = console.get("sam", &format!("/sessions/{abes}")).await;
    detail.ok().says_not("End this session");
    assert!(detail.all("form").is_empty());
    console
        .post("sam", &format!("/sessions/{abes}/end"), "")
        .await
        .is(403, Some(RejectionKind::MissingRight));

    console
        .get("root", &format!("/sessions/{abes}"))
        .await
        .says("the trail says that it was you");
    let ended = console
        .post("root", &format!("/sessions/{abes}/end"), "")
        .await;
    console
        .get("root", ended.to())
        .await
        .says("Ended by another admin");
    console
        .post("root", &format!("/sessions/{abes}/end"), "")
        .await
        .is(404, Some(RejectionKind::NothingToEnd));
    console
        .get("root", &format!("/sessions/{}", uuid::Uuid::nil()))
        .await
        .is(404, Some(RejectionKind::NotFound));
    assert!(
        console
            .desk
            .trail()
            .await
            .contains(&"end root otto session_revoked".to_owned())
    );
}

#[tokio::test]
async fn sessions_are_filtered_and_come_in_pages() {
    let console = Console::with(|builder| builder.starts_per_hour(1000));
    console
        .get("root", "/sessions")
        .await
        .ok()
        .says("Nobody has acted as anyone yet.");
    for number in 0..60 {
        let whom = if number % 3 == 0 { "otto" } else { "ines" };
        console.start("ada", whom).await;
        console.desk.handle.stop(&parts("ada")).await.unwrap();
        console.desk.clock.advance(Duration::from_secs(1));
    }
    console.start("abe", "ines").await;
    console.start("root", "~anon").await;

    let mut seen = BTreeSet::new();
    let mut path = "/sessions?target_user_id=ines&is_active=false&from=&cursor=".to_owned();
    let mut pages = 0;
    loop {
        let page = console.get("root", &path).await;
        page.ok().says("of 40").says_not("otto");
        assert_eq!(page.links("Newest").len(), usize::from(pages > 0));
        // New ones arrive on the first page only.
        assert_eq!(
            page.tags().iter().any(|tag| tag.has("data-live")),
            pages == 0
        );
        pages += 1;
        for link in page.links("Details") {
            assert!(seen.insert(link));
        }
        match page.links("Older").pop() {
            Some(older) => path = older,
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (40, 2));

    for (query, count) in [
        ("is_active=true", "2 of 2"),
        ("admin_user_id=abe", "1 of 1"),
        ("impersonation_type=anon", "1 of 1"),
        ("from=2026-11-20T12:01", "2 of 2"),
        ("to=2026-11-20T12:00:10", "10 of 10"),
        ("to=2026-11-20T12:00:10Z", "10 of 10"),
        ("target_user_id=nobody", "No session matches."),
    ] {
        console
            .get("root", &format!("/sessions?{query}"))
            .await
            .ok()
            .says(count);
    }
    for (query, message) in [
        (
            "impersonation_type=x",
            "The kind must be user, anon or service.",
        ),
        ("is_active=x", "The state must be true or false."),
        ("from=x", "The beginning must be a time"),
        ("cursor=x", "must be the next_cursor"),
        ("nonsense=x", "nonsense"),
        ("from=2026-11-20&from=2026-11-21", "is given twice"),
    ] {
        let page = console.get("root", &format!("/sessions?{query}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest))
            .says(message);
        assert!(page.all("table").is_empty(), "{query}");
    }
    let page = console
        .get(
            "root",
            "/sessions?from=2026-11-20T12:30&target_user_id=ines",
        )
        .await;
    assert_eq!(page.field("from").get("value"), "2026-11-20T12:30:00");
    assert_eq!(page.field("target_user_id").get("value"), "ines");
    assert!(page.link("Live now").contains("target_user_id=ines"));
}

#[tokio::test]
async fn s7_a_session_shows_all_that_it_keeps() {
    let console = Console::with(|builder| builder.client_address(|_| Some([192, 0, 2, 7].into())));
    let mut asking = parts("ada");
    asking
        .headers
        .insert("user-agent", http::HeaderValue::from_static("Browser/1"));
    let start = StartRequest::new(subject("ines"), "cannot pay").with_ticket("T-7");
    let session = console
        .desk
        .handle
        .start(&asking, start)
        .await
        .unwrap()
        .session;
    let page = console
        .get("root", &format!("/sessions/{}", session.id))
        .await;
    let texts = [
        "ada",
        "ines@shop.example",
        "cannot pay",
        "T-7",
        "customer",
        "192.0.2.7",
        "Browser/1",
        "Read only",
        "20 Nov 2026 12:00",
        "20 Nov 2026 14:00",
        "or after 30 min unused",
        "impersonation.start",
    ];
    for text in texts {
        page.ok().says(text);
    }
    page.says(&session.id.to_string());
    // Looking at its events is a reading of the trail (rule A7).
    let read = console.desk.events().await.pop().unwrap();
    assert_eq!(read.name, EventName::TrailRead);
    assert_eq!(read.reason, Some(format!("session={}", session.id)));
    assert_eq!(read.session, None, "A7: it is no event of the session");

    console.desk.clock.advance(MINUTE * 30);
    let page = console
        .get("root", &format!("/sessions/{}", session.id))
        .await;
    page.ok()
        .says("Unused for too long")
        .says_not("End this session");
}

#[tokio::test]
async fn r13_a_page_does_not_fail_for_a_name() {
    let console = Console::new();
    console.add(customer("ines").with_display_name("Ines Okafor"));
    console.start("ada", "ines").await;
    console
        .get("root", "/sessions")
        .await
        .ok()
        .says("Ines Okafor");
    for how in [How::Fail, How::Panic, How::Hang] {
        console.desk.world.trouble("find", how);
        for path in ["/sessions", "/session"] {
            // What the layer kept of them is forgotten with a new time.
            console.desk.handle.forget_user(&id("ines"));
            let asked = console
                .desk
                .while_time_passes(console.get("ada", path))
                .await;
            asked.ok().says("ines").says_not("Ines Okafor");
        }
        console.desk.world.calm();
    }
}

// === Trail and summary ===

#[tokio::test]
async fn a7_reading_the_trail_is_an_event_and_takes_a_right() {
    let console = Console::new();
    console.start("ada", "ines").await;
    console.desk.start("abe", "root").await.unwrap_err();
    console.desk.events().await;
    let own = console.get("ada", "/trail").await;
    own.ok()
        .says("These are your own events")
        .says("Start impersonation.start ada ines");
    own.says_not("abe");
    let other = console.get("ada", "/trail?admin_user_id=abe").await;
    other.is(403, Some(RejectionKind::MissingRight));
    console
        .get("ada", "/trail.csv?admin_user_id=abe")
        .await
        .is(403, Some(RejectionKind::MissingRight));
    let all = console
        .get(
            "root",
            "/trail?name=impersonation.denied&target_user_id=root",
        )
        .await;
    all.ok()
        .says("Refused impersonation.denied abe root")
        .says("1 of 1")
        .says_not("impersonation.start a");
    let trail = console.desk.trail().await;
    assert_eq!(
        trail
            .iter()
            .filter(|line| line.starts_with("trail.read"))
            .count(),
        2
    );

    let none = console
        .get("root", "/trail?name=impersonation.extended")
        .await;
    none.ok().says("No event matches.");
    for (query, message) in [
        ("name=x", "The event must be the name of an event."),
        ("session_id=x", "The session must be the id of a session."),
        ("to=x", "The end must be a time"),
        ("cursor=x", "must be the next_cursor"),
        ("x=y", "x"),
    ] {
        let page = console.get("root", &format!("/trail?{query}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest))
            .says(message);
        console
            .get("root", &format!("/trail.csv?{query}"))
            .await
            .is(400, Some(RejectionKind::InvalidRequest));
    }
}

#[tokio::test]
async fn a2_an_intent_alone_is_unknown_also_over_pages() {
    let console = Console::new();
    let mut events = Vec::new();
    for number in 0..120_u128 {
        let at = NOON + Duration::from_secs(number as u64);
        let id = uuid::Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + number);
        let mut intent = AuditEvent::new(id, at, EventName::Request);
        intent.method = Some("POST".to_owned());
        intent.path = Some(format!("/n{number}"));
        intent.outcome = Some(Outcome::Intent);
        events.push(intent.clone());
        // Every fifth was never heard of again.
        if number % 5 != 0 {
            intent.outcome = Some(Outcome::Completed);
            events.push(intent);
        }
    }
    console.desk.sink.write(&events).await.unwrap();
    let mut counts = BTreeMap::new();
    let mut path = "/trail?name=impersonation.request".to_owned();
    let mut pages = 0;
    loop {
        let page = console.get("root", &path).await;
        page.ok()
            .says("50 of 216".trim_start_matches(if pages == 4 { "50" } else { "" }));
        for part in page.html.split("class=\"outcome outcome-").skip(1) {
            let outcome = part.split('"').next().unwrap().to_owned();
            *counts.entry(outcome).or_insert(0) += 1;
        }
        pages += 1;
        match page.links("Older").pop() {
            Some(older) => path = older,
            None => break,
        }
    }
    let expected = [("completed", 96), ("intent", 96), ("unknown", 24)];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!((counts, pages), (BTreeMap::from(expected), 5));
}

#[tokio::test]
async fn the_csv_is_what_the_page_shows() {
    let console = Console::new();
    let start = StartRequest::new(subject("ines"), "=cmd()");
    console
        .desk
        .handle
        .start(&parts("ada"), start)
        .await
        .unwrap();
    console.start("abe", "otto").await;
    let page = console
        .get("root", "/trail?admin_user_id=ada&name=impersonation.start")
        .await;
    page.ok().says("1 of 1").says("=cmd()");
    let csv = page.link("Download all as CSV");
    assert_eq!(
        csv,
        format!("{MOUNT}/trail.csv?admin_user_id=ada&name=impersonation.start")
    );
    let csv = console.get("root", &csv).await;
    csv.ok();
    assert_eq!(
        csv.headers["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"audit.csv\""
    );
    let lines: Vec<&str> = csv.html.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].contains(",ada,ines,") && lines[1].contains(",'=cmd(),"),
        "{}",
        lines[1]
    );
}

#[tokio::test]
async fn the_summary_is_by_admin_and_week() {
    let console = Console::new();
    console.start("ada", "ines").await;
    console.desk.clock.advance(MINUTE * 15);
    console.desk.handle.stop(&parts("ada")).await.unwrap();
    console.desk.start("ada", "root").await.unwrap_err();
    console.start("abe", "otto").await;
    console.desk.clock.advance(MINUTE);
    console.desk.events().await;

    let page = console.get("root", "/summary").await;
    page.ok().says("Week 2026-W47").says("16 Nov 2026 00:00");
    page.says("abe 1 1 min 1 0 0").says("ada 1 15 min 1 0 1");
    assert!(page.links("Week after").is_empty());
    let before = console.get("root", &page.link("Week before")).await;
    before
        .ok()
        .says("Week 2026-W46")
        .says("Nothing happened in this week.");
    let after = console.get("root", &before.link("Week after")).await;
    after.ok().says("ada 1 15 min");
    let events = console.get("root", &after.links("Events of ada")[0]).await;
    events.ok().says("impersonation.denied");

    let own = console.get("ada", "/summary?week=2026-W47").await;
    own.ok()
        .says("what you did yourself")
        .says("ada 1 15 min")
        .says_not("abe");
    for week in ["x", "2026-W54", "2026-47"] {
        let page = console.get("root", &format!("/summary?week={week}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest));
        assert_eq!(
            page.problem_of("week"),
            "The week must be a week such as 2026-W47."
        );
        assert_eq!(page.field("week").get("value"), week);
    }
    let reads = console.desk.trail().await;
    assert!(reads.iter().any(|line| line.starts_with("trail.read ada")));
}

// === Names of all kinds ===

#[tokio::test]
async fn hostile_names_stay_names_in_every_field() {
    for hostile in HOSTILE {
        let console = Console::new();
        console.add(
            DirectoryUser::new(id(hostile), Rank(0))
                .with_display_name(hostile)
                .with_login(format!("{hostile}@"))
                .with_role(hostile),
        );
        let staff = Staff {
            rights: Rights::all(),
            ..ADMIN
        };
        console.desk.cast.hire("ada", staff);
        let mut asking = parts("ada");
        for name in ["user-agent", "x-request-id"] {
            asking.headers.insert(name, hostile.parse().unwrap());
        }
        let start = StartRequest::new(subject(hostile), hostile).with_ticket(hostile);
        let session = console
            .desk
            .handle
            .start(&asking, start)
            .await
            .unwrap()
            .session;
        let q = form(&[("q", hostile)]);
        let of = form(&[("subject", hostile)]);
        let filter = form(&[("target_user_id", hostile)]);
        let wrong = form(&[
            ("name", hostile),
            ("session_id", hostile),
            ("admin_user_id", hostile),
            ("from", hostile),
        ]);
        let typed = form(&[
            ("reason", hostile),
            ("ticket", hostile),
            ("duration", hostile),
            ("next", hostile),
            ("access", hostile),
        ]);
        let pages = [
            console.get("ada", &format!("/?{q}")).await,
            console.get("ada", &format!("/?{q}nobody")).await,
            console.get("ada", &format!("/start?{of}")).await,
            console.post("ada", &format!("/start?{of}"), &typed).await,
            console.get("ada", "/session").await,
            console
                .post("ada", &format!("/session/change?{of}"), &typed)
                .await,
            console.get("ada", "/sessions").await,
            console.get("ada", &format!("/sessions?{filter}")).await,
            console.get("ada", &format!("/sessions?{wrong}")).await,
            console
                .get("ada", &format!("/sessions/{}", session.id))
                .await,
            console.get("ada", "/trail").await,
            console.get("ada", &format!("/trail?{filter}")).await,
            console.get("ada", &format!("/trail?{wrong}")).await,
            console
                .get("ada", &format!("/summary?{}", form(&[("week", hostile)])))
                .await,
            console
                .get("ada", &format!("/summary?{}", form(&[("done", hostile)])))
                .await,
        ];
        for (at, page) in pages.iter().enumerate() {
            assert!(page.all("img").is_empty(), "{at}");
            assert!(!page.html.contains("<script>"), "{at}");
            if ![13, 14].contains(&at) {
                page.says(hostile);
            }
        }
        let csv = console.get("ada", "/trail.csv").await;
        let quoted = hostile.replace('"', "\"\"");
        assert!(csv.html.contains(&quoted));
        assert!(!csv.html.contains(",=cmd()"));
    }
}

#[tokio::test]
async fn names_of_either_direction_are_isolated() {
    let console = Console::new();
    console.add(customer("yusuf").with_display_name("يوسف بن عبد الله"));
    console.start("ada", "yusuf").await;
    for path in ["/", "/sessions", "/session", "/start?subject=ines"] {
        let page = console.get("ada", path).await;
        assert!(page.html.contains(">يوسف بن عبد الله</bdi>"), "{path}");
    }
}

// === Live ===

#[tokio::test]
async fn the_script_hears_of_sessions() {
    let console = Console::new();
    let response = console
        .app
        .clone()
        .oneshot(request("GET", "root", "/events", ""))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut heard = String::new();
    while !heard.contains("retry") {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        heard.push_str(std::str::from_utf8(&frame).unwrap());
    }
    console.start("ada", "ines").await;
    while !heard.contains("event: started") {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        heard.push_str(std::str::from_utf8(&frame).unwrap());
    }
    assert!(heard.contains("\"admin_user_id\":\"ada\""));
    let page = console.get("root", "/sessions").await;
    let body = page.all("body");
    assert_eq!(body[0].get("data-events"), format!("{MOUNT}/events"));
    assert_eq!(body[0].get("data-now"), "2026-11-20T12:00:00Z");
    let until: Vec<String> = page
        .tags()
        .iter()
        .filter(|tag| tag.has("data-until"))
        .map(|tag| tag.get("data-until").to_owned())
        .collect();
    assert_eq!(until, ["2026-11-20T14:00:00Z"]);
    // Without the script there is no status that stands still.
    let status = page
        .tags()
        .into_iter()
        .find(|tag| tag.has("data-live-status"));
    assert!(status.unwrap().has("hidden"));
}

#[tokio::test]
async fn s1_a_link_to_a_start_does_not_choose_the_wider_access() {
    let console = Console::new();
    // Such a link may stand on another site: what it says is there to be read, and no right is taken by a mere click.
    let page = console
        .get("root", "/start?subject=ines&reason=x&access=read_write")
        .await;
    assert!(page.html.contains(r#"value="read_only" checked"#));
    assert!(page.html.contains(r#"value="read_write">"#));
    // What was chosen in the form is still chosen when it comes back.
    let again = "reason=&access=read_write";
    let page = console.post("root", "/start?subject=ines", again).await;
    assert_eq!(page.kind, Some(RejectionKind::InvalidRequest));
    assert!(page.html.contains(r#"value="read_write" checked"#));
}

#[tokio::test]
async fn a_time_that_utc_has_no_date_for_is_refused_and_breaks_no_page() {
    let console = Console::new();
    // The last second there is, but west of Greenwich: in UTC it would be in the year 10000.
    let late = form(&[
        ("from", "9999-12-31T23:59:59-23:59"),
        ("to", "0000-01-01T00:00:00+23:59"),
    ]);
    for path in ["/sessions", "/trail", "/trail.csv"] {
        let page = console.raw(request("GET", "root", &format!("{path}?{late}"), ""));
        let page = page.await;
        assert_eq!(page.kind, Some(RejectionKind::InvalidRequest), "{path}");
        assert!(page.html.contains("must be a time"), "{path}");
    }
}
