//! The marker that stays, in a browser: what the server does (`sticky_marker`), what `page.js` does, what is left to
//! rule R20, and the ways out.
//!
//! The application is small and knows nothing of impersonation: each page says who it was made for. Everyone who
//! comes is ada, so that whatever is not acted is hers.

use std::{fmt::Write as _, net::SocketAddr};
use tower_impersonation_web::control;

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

use crate::support::{
    browser::{Browser, PATIENCE},
    id, line, parts, subject, who,
};

mod exit;
mod script;
mod server;

const STRICT: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; img-src 'self'; \
                      frame-src 'self'; form-action 'self'; base-uri 'none'";

/// A script's tag, as acted pages have it.
const BOTH: &str = r#"<script src="/impersonation/page.js" data-parameter="as" data-header="act-as" data-subject="ines"></script>"#;

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
            .handlers_read_acting_as()
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
            .nest_service("/impersonation", control(&site.handle))
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
