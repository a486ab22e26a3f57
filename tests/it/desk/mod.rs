//! The examples, run as anyone runs them: as programs, over HTTP.
//!
//! Each test has its own `support_desk` with its own trail. Events are read after the program was told to
//! stop, because then all of them are in the file.

use bytes::Bytes;
use http::{Method, Request, StatusCode, request};
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::process::{Answer, Running};

mod acting;
mod limits;
mod lists;
mod settings;
mod shop;
mod sign_in;
mod staff;
mod start;
mod story;
mod tokens;

struct Desk {
    running: Running,
    folder: TempDir,
}

/// A request under construction.
struct Call<'d> {
    desk: &'d Desk,
    request: request::Builder,
    body: Bytes,
}

impl Desk {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(env: &[(&str, &str)]) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), env).await
    }

    /// With the trail and the database of this folder.
    async fn open_in(folder: TempDir, env: &[(&str, &str)]) -> Self {
        let file = folder.path().join("trail.jsonl");
        let database = database_in(&folder);
        let mut all = vec![
            ("AUDIT_FILE", file.to_str().unwrap()),
            ("DATABASE_URL", &database),
        ];
        all.extend(env);
        let running = Running::start("support_desk", &all).await;
        Self { running, folder }
    }

    /// Stops it and starts it again with what it has kept.
    async fn reopened(self) -> Self {
        let status = self.running.stop().await;
        assert!(status.success(), "{status}");
        Self::open_in(self.folder, &[]).await
    }

    /// Tells it to stop, and gives what the trail has.
    async fn close(self) -> Vec<Value> {
        let status = self.running.stop().await;
        assert!(status.success(), "{status}");
        let trail = std::fs::read_to_string(self.folder.path().join("trail.jsonl")).unwrap();
        assert!(trail.is_empty() || trail.ends_with('\n'));
        let lines = trail.lines();
        lines
            .map(|line| serde_json::from_str(line).expect("one JSON object a line"))
            .collect()
    }

    /// A request by `who`, or by nobody for "".
    fn call(&self, who: &str, method: Method, path: &str) -> Call<'_> {
        let mut request = Request::builder().method(method).uri(path);
        if !who.is_empty() {
            request = request.header("authorization", format!("Bearer demo-{who}"));
        }
        Call {
            desk: self,
            request,
            body: Bytes::new(),
        }
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.call(who, Method::GET, path).send().await
    }

    async fn post(&self, who: &str, path: &str, body: Value) -> Answer {
        self.call(who, Method::POST, path).json(body).send().await
    }

    async fn start(&self, who: &str, subject: &str, access: &str) -> Answer {
        let body = json!({"target_user_id": subject, "reason": "ticket 4711", "access": access});
        self.post(who, "/impersonation/start", body).await
    }

    async fn started(&self, who: &str, subject: &str, access: &str) -> Value {
        let answer = self.start(who, subject, access).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        answer.json()
    }

    async fn stopped(&self, who: &str) {
        let answer = self.post(who, "/impersonation/end", json!({})).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    }

    async fn order(&self, who: &str, path: &str) -> Answer {
        self.post(who, path, json!({"item": "Bamboo whisk"})).await
    }

    async fn orders_of(&self, who: &str) -> usize {
        let orders = self.get(who, "/api/orders").await.json();
        orders.as_array().unwrap().len()
    }

    /// The sessions that root sees with this query.
    async fn sessions(&self, query: &str) -> Vec<Value> {
        let path = format!("/impersonation/sessions{query}");
        let answer = self.get("root", &path).await;
        answer.json()["sessions"].as_array().unwrap().clone()
    }
}

impl Call<'_> {
    fn header(mut self, name: &str, value: &str) -> Self {
        self.request = self.request.header(name, value);
        self
    }

    fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self.header("content-type", content_type)
    }

    fn json(self, body: impl Into<Value>) -> Self {
        self.body("application/json", body.into().to_string())
    }

    fn form(self, fields: &[(&str, &str)]) -> Self {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        self.body("application/x-www-form-urlencoded", body.finish())
    }

    /// As a browser does when someone clicks.
    fn navigation(self) -> Self {
        self.header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-site", "same-origin")
    }

    async fn send(self) -> Answer {
        let request = self.request.body(Full::from(self.body)).unwrap();
        self.desk.running.send(request).await
    }
}

/// The database that a desk has there.
fn database_in(folder: &TempDir) -> String {
    format!("sqlite://{}/desk.sqlite", folder.path().display())
}

/// Events with this name.
fn named<'e>(events: &'e [Value], name: &str) -> Vec<&'e Value> {
    events
        .iter()
        .filter(|event| event["name"] == name)
        .collect()
}

/// The only event that has all of these values.
fn only<'e>(events: &'e [Value], wanted: &Value) -> &'e Value {
    let has = |event: &&Value| {
        let wanted = wanted.as_object().unwrap();
        wanted.iter().all(|(key, value)| event[key] == *value)
    };
    let found: Vec<_> = events.iter().filter(has).collect();
    assert_eq!(found.len(), 1, "{wanted} in {events:#?}");
    found[0]
}

/// `name=value` of the cookie that an answer sets.
fn cookie_of(answer: &Answer) -> String {
    let cookie = answer.header("set-cookie").expect("a cookie is set");
    cookie.split(';').next().unwrap().to_owned()
}
