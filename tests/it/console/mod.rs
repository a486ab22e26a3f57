//! The console, page by page. Every page that these tests get is held against what makes a page sound: one heading,
//! labels on fields, nothing inline, nothing from elsewhere.

use std::sync::Arc;
use tower_impersonation_web::console;

use axum::{Router, body::Body};
use http::Request;
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_impersonation::{
    Builder, DirectoryUser, Rejection,
    session::{MemorySessions, Session},
};

use self::page::Page;
use crate::support::{Desk, LateReader};

mod frame;
mod mine;
mod page;
mod people;
mod sessions;
mod start;
mod summary;
mod trail;

const MOUNT: &str = "/admin/impersonation";

struct Console {
    desk: Desk,
    app: Router,
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
            .nest(MOUNT, console(&desk.handle))
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
