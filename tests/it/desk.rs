//! The examples, run as anyone runs them: as programs, over HTTP.
//!
//! Each test has its own `support_desk` with its own trail. Events are read after the program was told to
//! stop, because then all of them are in the file.

use std::collections::HashMap;

use bytes::Bytes;
use http::{Method, Request, StatusCode, request};
use http_body_util::Full;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tempfile::TempDir;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tower_impersonation::audit::{TrailFilter, TrailPage, TrailReader};
use tower_impersonation_sqlx::SqliteTrail;

use crate::process::{self, Answer, Running};

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

// === impl Desk ===

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

// === impl Call ===

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

// === the story of the README ===

#[tokio::test]
async fn a_support_case_from_the_start_to_the_trail() {
    let desk = Desk::open().await;

    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let login = login.send().await;
    assert_eq!(login.status, StatusCode::SEE_OTHER);
    let cookie = cookie_of(&login);
    let as_ada = |method, path| desk.call("", method, path).header("cookie", &cookie);

    let start = json!({"target_user_id": "ines", "reason": "ticket 4711: cannot see the invoice"});
    let started = as_ada(Method::POST, "/impersonation/start").json(start);
    let started = started.send().await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text());
    let session = started.json()["session"]["id"].clone();

    let me = as_ada(Method::GET, "/api/me?as=ines").send().await.json();
    assert_eq!(me["id"], "ines");
    assert_eq!(me["acting_as"]["actor"], "ada");
    let me = as_ada(Method::GET, "/api/me").send().await.json();
    assert_eq!(me["id"], "ada");
    assert_eq!(me["acting_as"], Value::Null);

    let otto = as_ada(Method::GET, "/api/me?as=otto").send().await;
    assert_eq!(otto.refusal(), (403, "no_session".to_owned()));
    let item = json!({"item": "Bamboo whisk"});
    let order = as_ada(Method::POST, "/api/orders?as=ines").json(item.clone());
    assert_eq!(order.send().await.refusal(), (403, "read_only".to_owned()));
    let password = as_ada(Method::POST, "/account/password?as=ines").send();
    assert_eq!(password.await.refusal(), (403, "protected".to_owned()));

    let end = as_ada(Method::POST, "/impersonation/end").send().await;
    assert_eq!(end.status, StatusCode::OK);
    assert_eq!(end.json()["success"], true);
    let gone = as_ada(Method::GET, "/api/me?as=ines").send().await;
    assert_eq!(gone.refusal(), (403, "no_session".to_owned()));

    let start = json!({"target_user_id": "ines", "reason": "the same", "access": "read_write"});
    let started = as_ada(Method::POST, "/impersonation/start").json(start);
    assert_eq!(started.send().await.status, StatusCode::OK);
    let order = as_ada(Method::POST, "/api/orders?as=ines").json(item);
    let order = order.send().await;
    assert_eq!(order.status, StatusCode::CREATED);
    assert_eq!(order.json()["user"], "ines");
    let password = as_ada(Method::POST, "/account/password?as=ines").send();
    assert_eq!(password.await.refusal(), (403, "protected".to_owned()));

    let events = desk.close().await;
    let start = only(
        &events,
        &json!({"name": "impersonation.start", "session": session}),
    );
    assert_eq!(start["reason"], "ticket 4711: cannot see the invoice");
    assert_eq!(start["path"], "/impersonation/start");
    assert_eq!(start["address"], "127.0.0.1");
    let read = json!({"name": "impersonation.request", "session": session, "path": "/api/me"});
    let read = only(&events, &read);
    assert_eq!(
        (&read["outcome"], &read["status"]),
        (&json!("completed"), &json!(200))
    );
    for (subject, rule, path) in [
        ("otto", "no_session", "/api/me"),
        ("ines", "no_session", "/api/me"),
        ("ines", "read_only", "/api/orders"),
    ] {
        let denied = json!({
            "name": "impersonation.denied", "actor": "ada", "subject": subject, "rule": rule, "path": path,
        });
        only(&events, &denied);
    }
    let protected: Vec<_> = named(&events, "impersonation.denied")
        .into_iter()
        .filter(|event| event["rule"] == "protected" && event["subject"] == "ines")
        .collect();
    assert_eq!(protected.len(), 2, "refused in both accesses");
    let end = json!({"name": "impersonation.end", "session": session, "reason": "manual"});
    only(&events, &end);
    let written: Vec<_> = named(&events, "impersonation.request")
        .into_iter()
        .filter(|event| event["method"] == "POST")
        .collect();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0]["outcome"], "intent");
    assert_eq!(written[1]["outcome"], "completed");
    assert_eq!(written[1]["status"], 201);
    assert_eq!(written[0]["id"], written[1]["id"]);
    let whole = serde_json::to_string(&events).unwrap();
    assert!(!whole.contains("?as="), "no query strings");
    assert!(!whole.contains("demo-"), "no tokens");
    assert!(!whole.contains(cookie.split_once('=').unwrap().1));
}

#[tokio::test]
async fn a5_a_terminated_desk_has_recorded_all() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for _ in 0..20 {
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
    }
    let events = desk.close().await;
    let reads = named(&events, "impersonation.request");
    let counted: u64 = reads
        .iter()
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(counted, 20);
}

#[tokio::test]
async fn users_orders_sessions_and_trail_survive_a_restart() {
    let desk = Desk::open().await;
    let session = desk.started("ada", "ines", "read_write").await["session"]["id"].clone();
    let order = desk.order("ada", "/api/orders?as=ines").await.json();
    desk.started("abe", "mia", "read_only").await;
    for (id, role) in [("sam", "admin"), ("abe", "customer")] {
        let change = desk.call("root", Method::PUT, &format!("/demo/users/{id}"));
        let change = change.json(json!({"role": role})).send().await;
        assert_eq!(change.status, StatusCode::OK);
    }
    let deleted = desk.call("root", Method::DELETE, "/demo/users/otto").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);

    let desk = desk.reopened().await;
    let orders = desk.get("ada", "/api/orders?as=ines").await.json();
    assert_eq!(
        orders[0], order,
        "the session goes on, and the order is there"
    );
    assert_eq!(desk.get("sam", "/api/me").await.json()["role"], "admin");
    let gone = desk.get("otto", "/api/me").await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    // R8: demoted before.
    let demoted = desk.get("abe", "/api/me?as=mia").await;
    assert_eq!(demoted.status, StatusCode::FORBIDDEN);
    let ended = &desk.sessions("?admin_user_id=abe").await[0];
    assert_eq!(ended["ended_reason"], "actor_demoted");
    // S2: what is active from before counts.
    let second = desk.start("ada", "kim", "read_only").await;
    assert_eq!(second.status, StatusCode::FORBIDDEN, "opted out as before");
    let second = desk.start("ada", "mia", "read_only").await;
    assert_eq!(second.refusal(), (409, "already_active".to_owned()));
    // Sign-ins are in memory.
    let old = desk
        .call("", Method::GET, "/api/me")
        .header("cookie", &cookie);
    assert_eq!(old.send().await.status, StatusCode::UNAUTHORIZED);
    let next = desk.order("ines", "/api/orders").await.json();
    let number = |order: &Value| order["id"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&next), number(&order) + 1);
    desk.stopped("ada").await;

    let events = desk.close().await;
    let of_session = |name| {
        let wanted = json!({"name": name, "session": session});
        only(&events, &wanted).clone()
    };
    assert_eq!(of_session("impersonation.start")["actor"], "ada");
    assert_eq!(of_session("impersonation.end")["reason"], "manual");
}

/// The trail is in the database and in the file: each event once in both.
#[tokio::test]
async fn a5_the_file_and_the_database_have_the_same_trail() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    desk.order("ada", "/api/orders?as=ines").await;
    desk.start("ada", "otto", "read_only").await;
    desk.get("ines", "/api/me?as=mia").await;
    desk.stopped("ada").await;
    assert!(desk.running.stop().await.success());

    let file = std::fs::read_to_string(desk.folder.path().join("trail.jsonl")).unwrap();
    let mut lines: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let pool = SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let trail = SqliteTrail::new(pool);
    let page = TrailPage::first(1_000);
    let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
    let mut rows: Vec<Value> = list
        .events
        .iter()
        .map(|event| serde_json::from_str(&event.to_json_line()).unwrap())
        .collect();
    // Within the same microsecond the order is not told.
    let key = |event: &Value| (event["id"].to_string(), event["outcome"].to_string());
    lines.sort_by_key(key);
    rows.sort_by_key(key);
    assert_eq!(named(&rows, "impersonation.start").len(), 1);
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        for field in [
            "id", "name", "actor", "subject", "session", "outcome", "rule",
        ] {
            assert_eq!(row.get(field), line.get(field), "{line}");
        }
    }
}

/// A disk that is full from the start.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a1_without_a_trail_nothing_starts_and_the_shop_goes_on() {
    let desk = Desk::open_with(&[("AUDIT_FILE", "/dev/full")]).await;
    let start = desk.start("ada", "ines", "read_only").await;
    assert_eq!(start.refusal(), (503, "trail_unavailable".to_owned()));
    assert_eq!(desk.sessions("").await.len(), 0);
    let acted = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(acted.refusal(), (403, "no_session".to_owned()));
    assert_eq!(desk.order("ines", "/api/orders").await.status, 201);
    // What could not be written is not passed over in silence.
    let status = desk.running.stop().await;
    assert_eq!(status.code(), Some(1));
}

// === GET /api/me ===

#[tokio::test]
async fn me_tells_who_it_is_and_who_is_really_there() {
    let desk = Desk::open().await;

    let nobody = desk.get("", "/api/me").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert!(nobody.json()["error"].is_string());

    let own = desk.get("sam", "/api/me").await.json();
    let expected = json!({
        "id": "sam", "login": "sam@shop.example", "role": "support", "acting_as": null,
    });
    assert_eq!(own, expected);

    let session = desk.started("ada", "mia", "read_write").await["session"].clone();
    let acted = desk.get("ada", "/api/me?as=mia").await.json();
    let expected = json!({
        "id": "mia", "login": "mia@shop.example", "role": "customer",
        "acting_as": {
            "actor": "ada", "subject": "mia", "access": "read_write",
            "session_id": session["id"], "expires_at": session["expires_at"],
        },
    });
    assert_eq!(acted, expected);
    desk.stopped("ada").await;

    let session = desk.post(
        "ada",
        "/impersonation/anon",
        json!({"reason": "as a visitor"}),
    );
    let session = session.await.json()["session"].clone();
    let visitor = desk.get("ada", "/api/me?as=~anon").await.json();
    let expected = json!({
        "id": null, "login": null, "role": "anonymous",
        "acting_as": {
            "actor": "ada", "subject": "~anon", "access": "read_only",
            "session_id": session["id"], "expires_at": session["expires_at"],
        },
    });
    assert_eq!(visitor, expected);
}

#[tokio::test]
async fn the_roles_of_the_seeded_users() {
    let desk = Desk::open().await;
    for (user, role) in [
        ("root", "superadmin"),
        ("ada", "admin"),
        ("abe", "admin"),
        ("sam", "support"),
        ("ines", "customer"),
        ("otto", "customer"),
        ("mia", "customer"),
        ("kim", "customer"),
        ("bot", "system"),
    ] {
        let me = desk.get(user, "/api/me").await.json();
        assert_eq!(me["role"], role);
        assert_eq!(me["login"], format!("{user}@shop.example"));
    }
}

// === acting ===

#[tokio::test]
async fn r15_acted_answers_say_whom_they_show() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let acted = desk.get("ada", "/api/orders?as=ines").await;
    assert_eq!(acted.header("acted-as"), Some("ines"));
    assert_eq!(acted.header("cache-control"), Some("no-store"));
    assert_eq!(acted.header("referrer-policy"), Some("same-origin"));
    assert_eq!(acted.json()[0]["user"], "ines");
    let own = desk.get("ada", "/api/orders").await;
    assert_eq!(own.header("acted-as"), None);
    assert_eq!(own.json(), json!([]));
    let by_header = desk
        .call("ada", Method::GET, "/api/me")
        .header("act-as", "ines");
    assert_eq!(by_header.send().await.json()["id"], "ines");
}

#[tokio::test]
async fn r10_a_read_write_session_writes_for_the_subject() {
    let desk = Desk::open().await;
    let before = desk.orders_of("ines").await;
    desk.started("ada", "ines", "read_only").await;
    let order = desk.order("ada", "/api/orders?as=ines").await;
    assert_eq!(order.refusal(), (403, "read_only".to_owned()));
    assert_eq!(desk.orders_of("ines").await, before);
    desk.stopped("ada").await;

    desk.started("ada", "ines", "read_write").await;
    let order = desk.order("ada", "/api/orders?as=ines").await;
    assert_eq!(order.status, StatusCode::CREATED);
    assert_eq!(desk.orders_of("ines").await, before + 1);
    assert_eq!(desk.orders_of("ada").await, 0);
}

#[tokio::test]
async fn r11_the_password_is_out_of_reach() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    for path in [
        "/account/password?as=ines",
        "/account//password?as=ines",
        "/account/%70assword?as=ines",
        "/account/password/?as=ines",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = desk.call("ada", method, path).send().await;
            assert_eq!(answer.refusal(), (403, "protected".to_owned()), "{path}");
        }
    }
    let page = desk.get("ines", "/account/password").await;
    assert!(page.text().contains("Never changed"));

    let own = desk.call("ines", Method::POST, "/account/password").send();
    assert_eq!(own.await.status, StatusCode::NO_CONTENT);
    let page = desk.get("ines", "/account/password").await;
    assert!(page.text().contains("Last changed"));
}

#[tokio::test]
async fn r12_excluded_paths_run_as_the_actor() {
    let desk = Desk::open().await;
    desk.started("root", "ines", "read_only").await;
    // As ines this would be 403; read-only, too.
    let answer = desk
        .call("root", Method::DELETE, "/demo/users/otto?as=ines")
        .send();
    assert_eq!(answer.await.status, StatusCode::OK);
    let admin = desk.get("root", "/admin?as=ines").await;
    assert!(admin.text().contains("<h1>People</h1>"));
    assert_eq!(admin.header("acted-as"), None);
    let current = desk.get("root", "/impersonation?as=ines").await.json();
    assert_eq!(current["target_user"]["id"], "ines");
}

#[tokio::test]
async fn r3_malformed_markers_are_refused_over_http() {
    struct Test {
        query: &'static str,
        headers: &'static [(&'static str, &'static str)],
        status: u16,
    }
    let test = |query, headers, status| Test {
        query,
        headers,
        status,
    };
    let tests = [
        test("?%61s=ines", &[], 200),
        test("?as=in%65s", &[], 200),
        test("?AS=ines", &[], 200),
        test("?as=ines", &[("act-as", "ines")], 200),
        test("?as=", &[], 400),
        test("?as", &[], 400),
        test("?as=ines&as=ines", &[], 400),
        test("?as=%zz", &[], 400),
        test("?as=%00", &[], 400),
        test("?as=ines", &[("act-as", "otto")], 400),
        test("", &[("act-as", "ines"), ("act-as", "ines")], 400),
        test("?as=ines", &[("connection", "close, Act-As")], 400),
        test("", &[("act-as-reason", "no marker")], 400),
    ];
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for Test {
        query,
        headers,
        status,
    } in tests
    {
        let mut call = desk.call("ada", Method::GET, &format!("/api/me{query}"));
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{query} {headers:?}");
        if status == 400 {
            assert_eq!(answer.refusal().1, "malformed_marker");
        } else {
            let seen = if query.contains("AS") { "ada" } else { "ines" };
            assert_eq!(answer.json()["id"], seen, "{query}");
        }
    }
}

#[tokio::test]
async fn r5_a_link_on_another_site_does_not_act() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let call = desk.call("ada", Method::GET, "/api/me?as=ines");
        let answer = call.header(name, value).send().await;
        assert_eq!(answer.refusal(), (403, "cross_site".to_owned()), "{value}");
    }
    let page = desk
        .call("ada", Method::GET, "/?as=ines")
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "cross-site");
    let page = page.send().await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text().contains("Continue acting as this user"));
}

// === who may act as whom ===

#[tokio::test]
async fn s1_nobody_acts_upwards_sideways_or_as_who_is_closed() {
    struct Test {
        actor: &'static str,
        subject: &'static str,
        refusal: (u16, &'static str),
        rule: &'static str,
    }
    let test = |actor, subject, status, code, rule| Test {
        actor,
        subject,
        refusal: (status, code),
        rule,
    };
    let tests = [
        test("sam", "ada", 403, "denied", "rank"),
        test("sam", "abe", 403, "denied", "rank"),
        test("sam", "root", 403, "denied", "rank"),
        test("sam", "bot", 403, "denied", "not_impersonable"),
        test("sam", "kim", 403, "denied", "not_impersonable"),
        test("sam", "sam", 400, "yourself", "self"),
        test("ada", "abe", 403, "denied", "rank"),
        test("ada", "root", 403, "denied", "rank"),
        test("ada", "ada", 400, "yourself", "self"),
        test("ada", "kim", 403, "denied", "not_impersonable"),
        test("root", "kim", 403, "denied", "not_impersonable"),
        test("root", "bot", 403, "denied", "not_impersonable"),
        test("root", "root", 400, "yourself", "self"),
        test("ada", "nobody", 404, "user_not_found", "unknown_subject"),
    ];
    let desk = Desk::open().await;
    for test in &tests {
        let answer = desk.start(test.actor, test.subject, "read_only").await;
        let (status, code) = test.refusal;
        assert_eq!(
            answer.refusal(),
            (status, code.to_owned()),
            "{} as {}",
            test.actor,
            test.subject
        );
        let marked = format!("/api/me?as={}", test.subject);
        let marked = desk.get(test.actor, &marked).await;
        assert_eq!(marked.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(desk.sessions("").await.len(), 0);

    let events = desk.close().await;
    for test in &tests {
        let denied = json!({
            "name": "impersonation.denied", "actor": test.actor, "subject": test.subject,
            "rule": test.rule, "path": "/impersonation/start",
        });
        only(&events, &denied);
    }
}

#[tokio::test]
async fn r6_a_customer_who_tries_is_a_privilege_violation() {
    let desk = Desk::open().await;
    let start = desk.start("ines", "otto", "read_only").await;
    assert_eq!(start.refusal(), (403, "not_admin".to_owned()));
    let marked = desk.get("ines", "/api/me?as=mia").await;
    assert_eq!(marked.refusal(), (403, "not_admin".to_owned()));
    let nobody = desk.get("", "/api/me?as=mia").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
    let nobody = desk.start("", "mia", "read_only").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));

    let events = desk.close().await;
    let violation = json!({"name": "privilege_violation", "actor": "ines", "subject": "mia"});
    only(&events, &violation);
    let violation = json!({
        "name": "privilege_violation", "actor": "ines", "path": "/impersonation/start",
    });
    only(&events, &violation);
}

/// How long a session may last.
fn minutes(session: &Value) -> i64 {
    let at = |field: &str| {
        let text = session[field].as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    };
    (at("expires_at") - at("started_at")).whole_minutes()
}

#[tokio::test]
async fn s1_the_grant_of_support_is_read_only_and_half_an_hour() {
    let desk = Desk::open().await;
    let started = desk.started("sam", "ines", "read_write").await;
    assert_eq!(started["session"]["access"], "read_only");
    assert_eq!(minutes(&started["session"]), 30);
    let order = desk.order("sam", "/api/orders?as=ines").await;
    assert_eq!(order.refusal(), (403, "read_only".to_owned()));

    let started = desk.started("ada", "ines", "read_write").await;
    assert_eq!(started["session"]["access"], "read_write");
    assert_eq!(minutes(&started["session"]), 120);
}

#[tokio::test]
async fn r8_a_demoted_admin_is_out_with_the_next_request() {
    for role in ["customer", "support"] {
        let desk = Desk::open().await;
        let session = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
        let demoted = desk.call("root", Method::PUT, "/demo/users/ada");
        let demoted = demoted.json(json!({"role": role})).send().await;
        assert_eq!(demoted.status, StatusCode::OK);
        assert_eq!(demoted.json()["role"], role);

        // Either it finds out, or the session has ended already.
        let refused = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        let sessions = desk.sessions("?admin_user_id=ada").await;
        assert_eq!(sessions[0]["ended_reason"], "actor_demoted");
        assert_eq!(sessions[0]["is_active"], false);
        let again = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(again.status, StatusCode::FORBIDDEN);
        // She is still herself.
        assert_eq!(desk.get("ada", "/api/me").await.json()["role"], role);

        let events = desk.close().await;
        let end = json!({"name": "impersonation.end", "session": session});
        assert_eq!(only(&events, &end)["reason"], "actor_demoted");
    }
}

#[tokio::test]
async fn r8_a_subject_who_is_gone_or_promoted_ends_the_session() {
    for change in ["delete", "promote"] {
        let desk = Desk::open().await;
        let session = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
        let call = match change {
            "delete" => desk.call("root", Method::DELETE, "/demo/users/ines"),
            _ => desk
                .call("root", Method::PUT, "/demo/users/ines")
                .json(json!({"role": "admin"})),
        };
        assert_eq!(call.send().await.status, StatusCode::OK);

        let refused = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(refused.refusal(), (403, "session_ended".to_owned()));
        let sessions = desk.sessions("?target_user_id=ines").await;
        assert_eq!(sessions[0]["ended_reason"], "subject_gone", "{change}");
        let events = desk.close().await;
        let end = json!({"name": "impersonation.end", "session": session});
        assert_eq!(only(&events, &end)["reason"], "subject_gone");
    }
}

#[tokio::test]
async fn r8_an_admin_who_is_deleted_leaves_no_session() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let deleted = desk.call("root", Method::DELETE, "/demo/users/ada").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
    let refused = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_demonstration_calls_are_for_root_alone() {
    let desk = Desk::open().await;
    for (who, status) in [("", 401), ("ines", 403), ("sam", 403), ("ada", 403)] {
        let put = desk.call(who, Method::PUT, "/demo/users/otto");
        let put = put.json(json!({"role": "admin"})).send().await;
        assert_eq!(put.status, status, "{who}");
        let delete = desk.call(who, Method::DELETE, "/demo/users/otto").send();
        assert_eq!(delete.await.status, status, "{who}");
    }
    assert_eq!(desk.get("otto", "/api/me").await.json()["role"], "customer");
    for (id, body, status) in [
        ("nobody", r#"{"role":"admin"}"#, 404),
        ("otto", r#"{"role":"king"}"#, 400),
        ("otto", r#"{"role":"system"}"#, 400),
        ("otto", r#"{"role":"admin","more":1}"#, 400),
        ("otto", r#"{"role""#, 400),
        ("otto", "", 400),
    ] {
        let put = desk.call("root", Method::PUT, &format!("/demo/users/{id}"));
        let put = put.body("application/json", body).send().await;
        assert_eq!(put.status, status, "{id} {body}");
        assert!(put.json()["error"].is_string());
    }
    let delete = desk
        .call("root", Method::DELETE, "/demo/users/nobody")
        .send();
    assert_eq!(delete.await.status, StatusCode::NOT_FOUND);
}

/// In SQLite nobody tells what is written by hand: the next acted request finds out.
#[tokio::test]
async fn r8_a_role_that_is_taken_by_hand_is_gone_with_the_next_request() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
    let pool = sqlx::SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let revoke = "update impersonation_admin_roles set revoked_at = 1 where user_id = 'ada'";
    let revoked = sqlx::query(revoke).execute(&pool).await.unwrap();
    assert_eq!(revoked.rows_affected(), 1);
    pool.close().await;

    let refused = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(refused.refusal(), (403, "session_ended".to_owned()));
    let sessions = desk.sessions("?admin_user_id=ada").await;
    assert_eq!(sessions[0]["ended_reason"], "actor_demoted");
    assert_eq!(desk.get("ada", "/api/me").await.json()["role"], "customer");
}

/// The table says who gave a role and who took it.
#[tokio::test]
async fn a_staff_role_is_given_and_taken_in_the_table_of_roles() {
    type Row = (String, Option<String>, Option<String>);

    let desk = Desk::open().await;
    for role in ["support", "customer", "customer"] {
        let change = desk.call("root", Method::PUT, "/demo/users/ada");
        let change = change.json(json!({"role": role})).send().await;
        assert_eq!(change.json()["role"], role);
    }
    let deleted = desk.call("root", Method::DELETE, "/demo/users/sam").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    let pool = sqlx::SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let of = async |user: &str| -> Vec<Row> {
        let rows = "select role, granted_by, revoked_by from impersonation_admin_roles \
                    where user_id = ? order by id";
        sqlx::query_as(rows)
            .bind(user)
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    let root = Some("root".to_owned());
    let row = |role: &str, by: &Option<String>, taken: &Option<String>| {
        (role.to_owned(), by.clone(), taken.clone())
    };
    let (admin, support) = (row("admin", &root, &root), row("support", &root, &root));
    assert_eq!(of("ada").await, [admin, support.clone()]);
    assert_eq!(of("sam").await, [support]);
    assert_eq!(of("root").await, [row("superadmin", &None, &None)]);
    let left: Vec<String> = sqlx::query_scalar("select distinct role from users order by role")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, ["customer", "system"]);
    pool.close().await;
}

// === many at once ===

#[tokio::test]
async fn s2_a_hundred_parallel_starts_leave_one_session() {
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "1000")]).await;
    let subjects = ["ines", "otto", "mia", "sam"];
    let starts = (0..100).map(|n| desk.start("ada", subjects[n % 4], "read_only"));
    let answers = join_all(starts).await;
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    for answer in &answers {
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses, HashMap::from([(200, 1), (409, 99)]));
    let won = answers.iter().find(|answer| answer.status == 200).unwrap();
    let active = desk.sessions("?is_active=true").await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["id"], won.json()["session"]["id"]);
    assert_eq!(desk.sessions("").await.len(), 1);

    let events = desk.close().await;
    assert_eq!(named(&events, "impersonation.start").len(), 1);
    assert_eq!(named(&events, "impersonation.denied").len(), 99);
}

#[tokio::test]
async fn parallel_acted_requests_each_see_their_own_pair() {
    let desk = Desk::open().await;
    let pairs = [
        ("root", "ada"),
        ("ada", "ines"),
        ("abe", "otto"),
        ("sam", "mia"),
    ];
    for (actor, subject) in pairs {
        desk.started(actor, subject, "read_only").await;
    }
    let requests = (0..100).map(|n| {
        let desk = &desk;
        async move {
            let (actor, subject) = pairs[n % pairs.len()];
            let me = desk
                .get(actor, &format!("/api/me?as={subject}"))
                .await
                .json();
            assert_eq!(
                (&me["id"], &me["acting_as"]["actor"]),
                (&json!(subject), &json!(actor))
            );
        }
    });
    join_all(requests).await;
}

async fn join_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (one, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            match one.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *done = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

// === starting and stopping ===

#[tokio::test]
async fn a_start_answers_with_the_whole_contract() {
    let desk = Desk::open().await;
    let body = json!({
        "email": "INES@shop.example", "reason": "  ticket 4711  ", "access": "read_write",
        "ticket": "T-4711", "duration": 600,
    });
    let call = desk.call("ada", Method::POST, "/impersonation").json(body);
    let answer = call.header("user-agent", "a test").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    let session = &answer["session"];
    let expected = json!({
        "session": {
            "id": session["id"], "admin_user_id": "ada", "target_user_id": "ines",
            "impersonation_type": "user", "target_role": "customer", "access": "read_write",
            "reason": "ticket 4711", "ticket": "T-4711", "started_at": session["started_at"],
            "expires_at": session["expires_at"], "ended_at": null, "ended_reason": null,
            "is_active": true, "ip_address": "127.0.0.1", "user_agent": "a test",
        },
        "target_user": {"id": "ines", "email": "ines@shop.example", "role": "customer"},
        "access_token": answer["access_token"], "refresh_token": answer["refresh_token"], "expires_in": answer["expires_in"],
        "redirect_to": "/?as=ines",
    });
    assert_eq!(answer, expected);
    let left = answer["expires_in"].as_u64().unwrap();
    assert!(
        (590..=600).contains(&left),
        "no longer than the session: {left}"
    );
    assert!(answer["access_token"].is_string() && answer["refresh_token"].is_string());
    let current = desk.get("ada", "/impersonation").await.json();
    assert_eq!(current["session"], expected["session"]);
    assert_eq!(current["target_user"], expected["target_user"]);

    desk.stopped("ada").await;
    let current = desk.get("ada", "/impersonation").await.json();
    assert_eq!(current, json!({"session": null, "target_user": null}));
    let again = desk.post("ada", "/impersonation/end", json!({})).await;
    assert_eq!(again.refusal(), (404, "no_active_session".to_owned()));
    assert_eq!(
        again.json()["error"],
        "No active impersonation session found"
    );
}

#[tokio::test]
async fn bad_input_names_the_field_and_starts_nothing() {
    struct Test {
        path: &'static str,
        body: String,
        names: &'static str,
    }
    let test = |path, body: Value, names| Test {
        path,
        body: body.to_string(),
        names,
    };
    let raw = |body: &str, names| Test {
        path: "/start",
        body: body.to_owned(),
        names,
    };
    let fine = || json!({"target_user_id": "ines", "reason": "ticket 4711"});
    let with = |field: &str, value: Value| {
        let mut body = fine();
        body[field] = value;
        body
    };
    let tests = [
        raw("{\"reason\": ", "EOF"),
        raw("[]", "Fields"),
        raw("", "`reason`"),
        test("/start", json!({}), "`reason`"),
        test("/start", json!({"target_user_id": "ines"}), "`reason`"),
        test("/start", with("reason", json!("")), "`reason`"),
        test("/start", with("reason", json!(" \t\n ")), "`reason`"),
        test("/start", with("reason", json!("x".repeat(501))), "`reason`"),
        test("/start", with("reason", json!(7)), "reason"),
        test("/start", with("acess", json!("read_only")), "`acess`"),
        test("/start", with("access", json!("admin")), "`access`"),
        test("/start", with("access", json!("READ_ONLY")), "`access`"),
        test("/start", with("duration", json!(0)), "`duration`"),
        test("/start", with("duration", json!(-5)), "`duration`"),
        test("/start", with("duration", json!(1.5)), "duration"),
        test("/start", with("duration", json!("soon")), "`duration`"),
        test("/start", with("ticket", json!("x".repeat(129))), "`ticket`"),
        test(
            "/start",
            with("email", json!("otto@shop.example")),
            "`email`",
        ),
        test("/start", with("public_id", json!("otto")), "`public_id`"),
        test(
            "/start",
            json!({"reason": "ticket 4711"}),
            "`target_user_id`",
        ),
        test(
            "/start",
            with("target_user_id", json!("")),
            "`target_user_id`",
        ),
        test(
            "/start",
            with("target_user_id", json!("~service")),
            "`target_user_id`",
        ),
        test(
            "/start",
            with("target_user_id", json!(["ines"])),
            "target_user_id",
        ),
        test("", json!({"target_user_id": "ines"}), "`reason`"),
        test("/anon", fine(), "`target_user_id`"),
        test("/anon", json!({}), "`reason`"),
        test("/service", json!({}), "`reason`"),
    ];
    let desk = Desk::open().await;
    for Test { path, body, names } in tests {
        let call = desk.call("root", Method::POST, &format!("/impersonation{path}"));
        let answer = call.body("application/json", body.clone()).send().await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid_request".to_owned()),
            "{body}"
        );
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(names), "{body}: {error}");
    }
    for (form, names) in [
        ("target_user_id=ines", "`reason`"),
        ("target_user_id=ines&reason=", "`reason`"),
        ("target_user_id=ines&reason=a&reason=b", "`reason`"),
        ("target_user_id=ines&reason=a&other=b", "`other`"),
    ] {
        let call = desk.call("root", Method::POST, "/impersonation/start");
        let call = call.body("application/x-www-form-urlencoded", form);
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
        assert!(answer.text().contains(names), "{form}: {}", answer.text());
    }
    let call = desk.call("root", Method::POST, "/impersonation/start");
    let text = call.body("text/plain", fine().to_string()).send().await;
    assert_eq!(text.refusal().0, 400);
    assert!(text.text().contains("Content-Type"));

    assert_eq!(desk.sessions("").await.len(), 0);
    let longest = with("reason", json!("x".repeat(500)));
    let fine = desk.post("root", "/impersonation/start", longest).await;
    assert_eq!(fine.status, StatusCode::OK);
}

#[tokio::test]
async fn get_starts_and_ends_nothing() {
    let desk = Desk::open().await;
    for path in ["start", "anon", "service", "end"] {
        let answer = desk.get("root", &format!("/impersonation/{path}")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let logout = desk.get("root", "/logout").await;
    assert_eq!(logout.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(desk.sessions("").await.len(), 0);
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let desk = Desk::open().await;
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);
    desk.started("ada", "ines", "read_write").await;
    let before = desk.orders_of("ada").await;

    let start: &[_] = &[("target_user_id", "otto"), ("reason", "lured")];
    for (path, fields) in [
        ("/impersonation/start", start),
        ("/impersonation/anon", &[("reason", "lured")]),
        ("/impersonation/end", &[]),
        ("/api/orders", &[("item", "lured")]),
        ("/account/password", &[]),
        ("/login", &[("user", "otto")]),
        ("/logout", &[]),
    ] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let call = desk.call("", Method::POST, path).form(fields);
            let call = call.header("cookie", &cookie).header(name, value);
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {value}");
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    assert_eq!(desk.sessions("").await.len(), 1);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 1);
    assert_eq!(desk.orders_of("ada").await, before);

    // The same, from a page of ours.
    let own = format!("http://{}", desk.running.authority());
    let call = desk.call("", Method::POST, "/impersonation/end").form(&[]);
    let call = call.header("cookie", &cookie).header("origin", &own);
    assert_eq!(call.send().await.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
}

#[tokio::test]
async fn a_json_content_type_on_an_empty_body_is_ignored() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let call = desk.call("ada", Method::GET, "/impersonation");
    let current = call.body("application/json", "").send().await;
    assert_eq!(current.json()["target_user"]["id"], "ines");
    let call = desk.call("ada", Method::DELETE, "/impersonation");
    let ended = call.body("application/json", "").send().await;
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(ended.json()["success"], true);
    assert!(ended.json()["message"].is_string());
    desk.started("ada", "ines", "read_only").await;
    let call = desk.call("ada", Method::POST, "/impersonation/end");
    let ended = call.body("application/json", "").send().await;
    assert_eq!(ended.json()["success"], true);
}

#[tokio::test]
async fn s5_stop_ends_the_callers_own_session_whatever_it_names() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.started("sam", "ines", "read_only").await;
    let body = json!({"id": "ada", "admin_user_id": "ada", "target_user_id": "ines"});
    let ended = desk
        .post("sam", "/impersonation/end?admin_user_id=ada", body)
        .await;
    assert_eq!(ended.status, StatusCode::OK);
    let active = desk.sessions("?is_active=true").await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["admin_user_id"], "ada");
}

#[tokio::test]
async fn a_form_start_leads_to_the_subjects_page() {
    struct Test {
        next: &'static str,
        location: &'static str,
    }
    let test = |next, location| Test { next, location };
    let tests = [
        test("", "/?as=ines"),
        test("/api/orders", "/api/orders?as=ines"),
        test("/api/orders?page=2", "/api/orders?page=2&as=ines"),
        test("//evil.example", "/?as=ines"),
        test("/\\evil.example", "/?as=ines"),
        test("\\evil.example", "/?as=ines"),
        test("/%09/evil.example", "/?as=ines"),
        test("https://evil.example/", "/?as=ines"),
        test("javascript:alert(1)", "/?as=ines"),
    ];
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "100")]).await;
    for Test { next, location } in tests {
        let form = [
            ("target_user_id", "ines"),
            ("reason", "ticket"),
            ("next", next),
        ];
        let call = desk.call("ada", Method::POST, "/impersonation/start");
        let answer = call.form(&form).navigation().send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{next}");
        assert_eq!(answer.header("location"), Some(location), "{next}");
        let call = desk.call("ada", Method::POST, "/impersonation/end");
        let answer = call.form(&[]).navigation().send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), Some("/admin"));
    }
    let call = desk.call("ada", Method::POST, "/impersonation/start");
    let call = call.form(&[("target_user_id", "ines"), ("reason", "ticket")]);
    let answer = call.header("accept", "application/json").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["redirect_to"], "/?as=ines");
}

#[tokio::test]
async fn acting_as_the_anonymous_visitor_and_as_the_service_role() {
    let desk = Desk::open().await;
    let started = desk.post(
        "ada",
        "/impersonation/anon",
        json!({"reason": "the shop window"}),
    );
    let started = started.await.json();
    assert_eq!(started["target_user"], Value::Null);
    assert_eq!(started["session"]["impersonation_type"], "anon");
    assert_eq!(started["session"]["target_user_id"], Value::Null);
    let page = desk.get("ada", "/?as=~anon").await;
    assert!(page.text().contains("made to last"), "the public page");
    assert!(page.text().contains("an anonymous visitor"), "the banner");
    assert!(!page.text().contains("Ada Lindqvist"));
    let orders = desk.get("ada", "/api/orders?as=~anon").await;
    assert_eq!(orders.status, StatusCode::UNAUTHORIZED);

    for who in ["ada", "sam"] {
        let refused = desk.post(who, "/impersonation/service", json!({"reason": "jobs"}));
        assert_eq!(refused.await.refusal(), (403, "denied".to_owned()));
    }
    let started = desk.post("root", "/impersonation/service", json!({"reason": "jobs"}));
    let started = started.await.json();
    assert_eq!(started["session"]["impersonation_type"], "service");
    let me = desk.get("root", "/api/me?as=~service").await.json();
    assert_eq!((&me["id"], &me["role"]), (&Value::Null, &json!("service")));
    let orders = desk.get("root", "/api/orders?as=~service").await.json();
    let users: Vec<_> = orders
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["user"])
        .collect();
    assert!(users.contains(&&json!("ines")) && users.contains(&&json!("mia")));

    let events = desk.close().await;
    let denied = json!({"name": "impersonation.denied", "actor": "ada", "subject": "~service"});
    assert_eq!(only(&events, &denied)["rule"], "service_right");
}

#[tokio::test]
async fn r16_an_acted_request_starts_nothing() {
    // The control API is excluded, so what is marked there runs as the actor: still one session.
    let desk = Desk::open().await;
    desk.started("root", "ada", "read_write").await;
    let body = json!({"target_user_id": "ines", "reason": "a chain"});
    let nested = desk.post("root", "/impersonation/start?as=ada", body).await;
    assert_eq!(nested.refusal(), (409, "already_active".to_owned()));
    assert_eq!(desk.sessions("?admin_user_id=ada").await.len(), 0);
}

#[tokio::test]
async fn s2_a_second_start_is_refused_or_replaces() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let second = desk.start("ada", "otto", "read_only").await;
    assert_eq!(second.refusal(), (409, "already_active".to_owned()));
    let sentence = "Already impersonating; end the current session first.";
    assert_eq!(second.json()["error"], sentence);
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);

    let desk = Desk::open_with(&[("ON_ACTIVE", "replace")]).await;
    let first = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
    desk.started("ada", "otto", "read_only").await;
    let sessions = desk.sessions("").await;
    assert_eq!(sessions[1]["id"], first);
    assert_eq!(sessions[1]["ended_reason"], "replaced");
    assert_eq!(sessions[0]["is_active"], true);
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 403);
    assert_eq!(desk.get("ada", "/api/me?as=otto").await.status, 200);
    let events = desk.close().await;
    let end = json!({"name": "impersonation.end", "session": first});
    assert_eq!(only(&events, &end)["reason"], "replaced");
}

#[tokio::test]
async fn s3_more_starts_than_allowed_have_to_wait() {
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "3")]).await;
    for _ in 0..3 {
        desk.started("ada", "ines", "read_only").await;
        desk.stopped("ada").await;
    }
    let fourth = desk.start("ada", "ines", "read_only").await;
    assert_eq!(fourth.refusal(), (429, "too_many_starts".to_owned()));
    let wait: u64 = fourth.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
    // Each admin has their own.
    desk.started("abe", "ines", "read_only").await;
}

/// The example's own limit, counted in the database and not in the process.
#[tokio::test]
async fn s3_the_count_of_starts_survives_a_restart() {
    let desk = Desk::open().await;
    for _ in 0..10 {
        desk.started("ada", "ines", "read_only").await;
        desk.stopped("ada").await;
    }
    let desk = desk.reopened().await;
    let eleventh = desk.start("ada", "ines", "read_only").await;
    assert_eq!(eleventh.refusal(), (429, "too_many_starts".to_owned()));
    let wait: u64 = eleventh.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    desk.started("abe", "ines", "read_only").await;
}

// === tokens ===

/// The access token of a new session of ada's as ines.
async fn token_of_ada(desk: &Desk) -> (String, String) {
    let started = desk.started("ada", "ines", "read_write").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&started["session"]["id"]),
        text(&started["access_token"]),
    )
}

/// Who the shop takes the bearer of this token for.
async fn bearer(desk: &Desk, token: &str) -> Answer {
    let call = desk.call("", Method::GET, "/api/me");
    call.header("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

#[tokio::test]
async fn r2_a_token_acts_as_bearer_until_stop_and_no_longer() {
    let desk = Desk::open().await;
    let (session, token) = token_of_ada(&desk).await;
    let me = bearer(&desk, &token).await;
    assert_eq!(me.header("acted-as"), Some("ines"));
    let me = me.json();
    assert_eq!(me["id"], "ines");
    assert_eq!(me["acting_as"]["actor"], "ada");
    assert_eq!(me["acting_as"]["session_id"], session);

    // Beside a sign-in it is the token that counts, and the excluded pages see neither.
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "root")]);
    let cookie = cookie_of(&login.send().await);
    let authorization = format!("bearer {token}");
    let beside = |path| {
        let call = desk.call("", Method::GET, path).header("cookie", &cookie);
        call.header("authorization", &authorization).send()
    };
    assert_eq!(beside("/api/me").await.json()["id"], "ines");
    assert_eq!(beside("/impersonation").await.status, 401);
    let order = desk.call("", Method::POST, "/api/orders");
    let order = order.header("authorization", &authorization);
    let order = order.json(json!({"item": "Bamboo whisk"})).send().await;
    assert_eq!(order.json()["user"], "ines");

    desk.stopped("ada").await;
    for path in ["/api/me", "/impersonation"] {
        let gone = beside(path).await;
        assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        bearer(&desk, &token).await.refusal(),
        (401, "invalid_token".to_owned())
    );
    let events = desk.close().await;
    let whole = serde_json::to_string(&events).unwrap();
    assert!(!whole.contains(&token), "no tokens");
}

#[tokio::test]
async fn s4_a_token_dies_with_its_session_however_that_ends() {
    let invalid = (401, "invalid_token".to_owned());

    let desk = Desk::open_with(&[("ON_ACTIVE", "replace")]).await;
    let (_, token) = token_of_ada(&desk).await;
    let (session, next) = token_of_ada(&desk).await;
    assert_eq!(bearer(&desk, &token).await.refusal(), invalid, "replaced");
    assert_eq!(bearer(&desk, &next).await.status, StatusCode::OK);

    let path = format!("/impersonation/sessions/{session}");
    let others = desk.call("abe", Method::DELETE, &path).send().await;
    assert_eq!(others.refusal(), (403, "missing_right".to_owned()));
    let ended = desk.call("root", Method::DELETE, &path).send().await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    assert_eq!(bearer(&desk, &next).await.refusal(), invalid, "forced end");
    let list = desk.get("ada", "/impersonation/sessions?is_active=false");
    let ended = list.await.json()["sessions"][0].clone();
    assert_eq!(
        (&ended["id"], &ended["ended_reason"]),
        (&json!(session), &json!("session_revoked"))
    );

    let (_, token) = token_of_ada(&desk).await;
    let change = desk.call("root", Method::PUT, "/demo/users/ada");
    let change = change.json(json!({"role": "customer"})).send().await;
    assert_eq!(change.status, StatusCode::OK);
    assert_eq!(bearer(&desk, &token).await.refusal(), invalid, "demoted");
    let ended = desk.sessions("?admin_user_id=ada&limit=1").await;
    assert_eq!(ended[0]["ended_reason"], "actor_demoted");
}

/// Without `TOKEN_SECRET` no token outlives its process; with it they do, and other processes take them.
#[tokio::test]
async fn tokens_survive_a_restart_with_the_same_secret_only() {
    let desk = Desk::open().await;
    let (_, token) = token_of_ada(&desk).await;
    let secret = [("TOKEN_SECRET", "a secret for tests, of more than 32 bytes")];
    let desk = desk.reopened().await;
    assert_eq!(
        bearer(&desk, &token).await.refusal(),
        (401, "invalid_token".to_owned())
    );
    let marked = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(marked.status, StatusCode::OK, "the session goes on");

    let desk = Desk::open_with(&secret).await;
    let (_, token) = token_of_ada(&desk).await;
    assert!(desk.running.stop().await.success());
    let desk = Desk::open_in(desk.folder, &secret).await;
    assert_eq!(bearer(&desk, &token).await.json()["id"], "ines");
}

// === the trail and the document ===

#[tokio::test]
async fn a7_the_trail_is_read_by_those_who_may_and_that_is_in_it() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    desk.order("ada", "/api/orders?as=ines").await;
    desk.start("abe", "root", "read_only").await;

    let read = "/impersonation/audit?name=impersonation.request";
    for who in ["root", "ada"] {
        let page = desk.get(who, read).await.json();
        assert_eq!(page["total"], 2, "an intent and its outcome: {page}");
        assert_eq!(page["events"][0]["outcome"], "completed");
        assert_eq!(page["events"][1]["outcome"], "intent");
    }
    assert_eq!(desk.get("abe", read).await.json()["total"], 0, "one's own");
    let others = desk.get("abe", "/impersonation/audit?admin_user_id=ada");
    assert_eq!(others.await.refusal(), (403, "missing_right".to_owned()));
    let first = desk.get("ada", "/impersonation/audit?limit=1").await.json();
    let next = first["next_cursor"].as_str().expect("there is more");
    let second = format!("/impersonation/audit?limit=1&cursor={next}");
    let second = desk.get("ada", &second).await.json();
    assert_ne!(first["events"][0]["id"], second["events"][0]["id"]);
    for cursor in ["nonsense", "1.2.3", ""] {
        let none = format!("/impersonation/audit?cursor={cursor}");
        let none = desk.get("ada", &none).await;
        assert_eq!(
            none.refusal(),
            (400, "invalid_request".to_owned()),
            "{cursor}"
        );
    }

    let csv = desk
        .get("root", "/impersonation/audit.csv?impersonation_type=user")
        .await;
    let is_csv = |kind: &str| kind.starts_with("text/csv");
    assert!(csv.header("content-type").is_some_and(is_csv));
    let lines: Vec<&str> = csv.text().lines().collect();
    assert!(lines[0].contains("name") && lines[0].contains("actor"));
    let requests = lines
        .iter()
        .filter(|line| line.contains("impersonation.request"));
    assert_eq!(requests.count(), 2);

    let events = desk.close().await;
    assert!(named(&events, "trail.read").len() >= 5);
}

#[tokio::test]
async fn the_document_of_the_api_is_served_and_linked() {
    let desk = Desk::open_with(&[("CONTROL_PATH", "/as")]).await;
    let document = desk.get("", "/as/openapi.json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/as/start"]["post"].is_object());
    let page = desk.call("ada", Method::GET, "/admin").navigation();
    assert!(
        page.send()
            .await
            .text()
            .contains("href=\"/as/openapi.json\"")
    );
}

// === the list ===

#[tokio::test]
async fn the_list_filters_counts_and_pages() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.stopped("ada").await;
    desk.started("ada", "otto", "read_only").await;
    desk.started("abe", "ines", "read_only").await;
    desk.post(
        "sam",
        "/impersonation/anon",
        json!({"reason": "shop window"}),
    )
    .await;
    desk.post("root", "/impersonation/service", json!({"reason": "jobs"}))
        .await;

    let all = desk.get("root", "/impersonation/sessions").await.json();
    assert_eq!(all["total"], 5);
    assert_eq!(all["next_cursor"], Value::Null);
    let all = all["sessions"].as_array().unwrap();
    let actors: Vec<_> = all
        .iter()
        .map(|it| it["admin_user_id"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["root", "sam", "abe", "ada", "ada"], "newest first");

    let third = all[2]["started_at"].as_str().unwrap().replace('+', "%2B");
    for (query, total) in [
        ("admin_user_id=ada".to_owned(), 2),
        ("target_user_id=ines".to_owned(), 2),
        ("admin_user_id=ada&target_user_id=ines".to_owned(), 1),
        ("impersonation_type=user".to_owned(), 3),
        ("impersonation_type=anon".to_owned(), 1),
        ("impersonation_type=service".to_owned(), 1),
        ("is_active=true".to_owned(), 4),
        ("is_active=false".to_owned(), 1),
        ("is_active=false&admin_user_id=abe".to_owned(), 0),
        (format!("from={third}"), 3),
        (format!("to={third}"), 2),
        (
            "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z".to_owned(),
            0,
        ),
    ] {
        let list = desk
            .get("root", &format!("/impersonation/sessions?{query}"))
            .await;
        let list = list.json();
        assert_eq!(list["total"], total, "{query}");
        assert_eq!(list["sessions"].as_array().unwrap().len(), total, "{query}");
    }

    let page = desk
        .get("root", "/impersonation/sessions?limit=2")
        .await
        .json();
    assert_eq!(
        (&page["total"], page["sessions"].as_array().unwrap()),
        (&json!(5), &all[..2].to_vec())
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = desk.sessions(&format!("?limit=2&cursor={cursor}")).await;
    assert_eq!(next, &all[2..4]);
    assert_eq!(desk.sessions("?limit=2&offset=3").await, &all[3..]);
    assert_eq!(desk.sessions("?limit=500").await.len(), 5);

    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "offset=-1",
        "cursor=x",
        "offset=1&cursor=01a1fb68-da18-72c7-bec5-82f348bf7bb5",
        "impersonation_type=robot",
        "is_active=maybe",
        "from=yesterday",
        "to=tomorrow",
        "admin_user_id=",
        "sort=asc",
    ] {
        let answer = desk
            .get("root", &format!("/impersonation/sessions?{query}"))
            .await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid_request".to_owned()),
            "{query}"
        );
        let field = query.split('=').next().unwrap();
        assert!(answer.text().contains(field), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_list_of_others_needs_the_right() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.started("abe", "otto", "read_only").await;
    for (who, seen) in [("root", 2), ("ada", 2), ("abe", 1), ("sam", 0)] {
        let list = desk.get(who, "/impersonation/sessions").await.json();
        assert_eq!(list["total"], seen, "{who}");
    }
    let others = desk
        .get("abe", "/impersonation/sessions?admin_user_id=ada")
        .await;
    assert_eq!(others.refusal(), (403, "missing_right".to_owned()));
    let customer = desk.get("ines", "/impersonation/sessions").await;
    assert_eq!(customer.refusal(), (403, "not_admin".to_owned()));
    let nobody = desk.get("", "/impersonation/sessions").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
}

// === signing in and out ===

#[tokio::test]
async fn a_sign_in_is_a_cookie_that_cannot_be_read_or_guessed() {
    let desk = Desk::open().await;
    let mut cookies = Vec::new();
    for user in ["ines", "ines", "otto@shop.example"] {
        let call = desk
            .call("", Method::POST, "/login")
            .form(&[("user", user)]);
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), Some("/"));
        let cookie = answer.header("set-cookie").unwrap();
        for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let (_, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        assert!(value.len() >= 32 && !value.contains("ines"), "{value}");
        cookies.push(cookie_of(&answer));
    }
    assert_ne!(cookies[0], cookies[1]);
    for (cookie, id) in [
        (&cookies[0], "ines"),
        (&cookies[1], "ines"),
        (&cookies[2], "otto"),
    ] {
        let me = desk
            .call("", Method::GET, "/api/me")
            .header("cookie", cookie);
        assert_eq!(me.send().await.json()["id"], id);
    }
    let made_up = desk.call("", Method::GET, "/api/me");
    let made_up = made_up.header("cookie", "desk_session=ines").send().await;
    assert_eq!(made_up.status, StatusCode::UNAUTHORIZED);

    let json = desk.post("", "/login", json!({"user": "mia"})).await;
    assert_eq!(json.status, StatusCode::OK);
    assert_eq!(json.json()["id"], "mia");
    assert!(json.header("set-cookie").is_some());

    let unknown = desk.post("", "/login", json!({"user": "nobody"})).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.header("set-cookie"), None);
    let unknown = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "<b>")]);
    let unknown = unknown.send().await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert!(unknown.text().contains("no such user"));
    let missing = desk.post("", "/login", json!({})).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    assert!(missing.text().contains("user"));
}

#[tokio::test]
async fn a_sign_in_leads_back_but_never_away() {
    let desk = Desk::open().await;
    let asked = desk
        .call("", Method::GET, "/admin")
        .navigation()
        .send()
        .await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    assert_eq!(asked.header("location"), Some("/login?next=/admin"));
    let page = desk.get("", "/login?next=/account/password").await;
    assert!(
        page.text()
            .contains(r#"name="next" value="/account/password""#)
    );
    for (next, location) in [
        ("/account/password", "/account/password"),
        ("/?x=1&y=2", "/?x=1&y=2"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%09/evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
    ] {
        let call = desk.call("", Method::POST, "/login");
        let answer = call.form(&[("user", "ines"), ("next", next)]).send().await;
        assert_eq!(answer.header("location"), Some(location), "{next}");
        let page = desk.call("", Method::GET, "/login").send().await;
        assert!(!page.text().contains("evil"));
    }
    let staff = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "sam")]);
    assert_eq!(staff.send().await.header("location"), Some("/admin"));
}

#[tokio::test]
async fn s4_signing_out_ends_what_was_started() {
    for way in ["/logout", "/login"] {
        let desk = Desk::open().await;
        let login = desk
            .call("", Method::POST, "/login")
            .form(&[("user", "ada")]);
        let cookie = cookie_of(&login.send().await);
        desk.started("ada", "ines", "read_only").await;
        // By the cookie, and even from an acted page.
        let call = desk.call("", Method::POST, &format!("{way}?as=ines"));
        let call = call.header("cookie", &cookie).form(&[("user", "otto")]);
        let out = call.send().await;
        assert_eq!(out.status, StatusCode::SEE_OTHER, "{}", out.text());
        let old = desk
            .call("", Method::GET, "/api/me")
            .header("cookie", &cookie);
        assert_eq!(old.send().await.status, StatusCode::UNAUTHORIZED);
        let sessions = desk.sessions("").await;
        assert_eq!(sessions[0]["ended_reason"], "admin_logout", "{way}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_not_the_same_as_none() {
    let desk = Desk::open().await;
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);
    for token in [
        "Bearer demo-nobody",
        "Bearer ada",
        "demo-ada",
        "Basic demo-ada",
        "Bearer",
    ] {
        for path in ["/", "/api/me", "/api/me?as=ines"] {
            let call = desk.call("", Method::GET, path).header("cookie", &cookie);
            let answer = call.header("authorization", token).send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token} {path}");
            assert!(answer.header("www-authenticate").is_some());
        }
    }
    let lower = desk.call("", Method::GET, "/api/me");
    let lower = lower
        .header("authorization", "bearer demo-ada")
        .send()
        .await;
    assert_eq!(lower.json()["id"], "ada");
}

#[tokio::test]
async fn r18_forwarded_headers_are_not_believed() {
    let desk = Desk::open().await;
    let call = desk.call("ada", Method::POST, "/impersonation/start");
    let call = call.json(json!({"target_user_id": "ines", "reason": "ticket"}));
    let call = call.header("x-forwarded-for", "6.6.6.6");
    let started = call.header("forwarded", "for=6.6.6.6").send().await;
    assert_eq!(started.json()["session"]["ip_address"], "127.0.0.1");
}

// === the shop ===

#[tokio::test]
async fn orders_are_taken_as_json_and_as_a_form() {
    let desk = Desk::open().await;
    let order = desk
        .post("mia", "/api/orders", json!({"item": " Bamboo whisk "}))
        .await;
    assert_eq!(order.status, StatusCode::CREATED);
    let first = order.json();
    assert_eq!(
        (&first["item"], &first["user"]),
        (&json!("Bamboo whisk"), &json!("mia"))
    );
    assert!(first["id"].is_string());
    let order = desk
        .call("mia", Method::POST, "/api/orders")
        .form(&[("item", "Cup")]);
    let order = order.send().await;
    assert_eq!(order.status, StatusCode::CREATED);
    let orders = desk.get("mia", "/api/orders").await.json();
    assert_eq!(orders[0]["item"], "Cup");
    assert_eq!(orders[1], first);
    assert_eq!(orders.as_array().unwrap().len(), 3);

    let before = desk.orders_of("mia").await;
    let too_long = json!({"item": "x".repeat(201)}).to_string();
    for body in [
        "",
        "{",
        "{}",
        r#"{"item":""}"#,
        r#"{"item":"  "}"#,
        r#"{"item":7}"#,
        r#"{"item":"x","user":"otto"}"#,
        &too_long,
    ] {
        let call = desk.call("mia", Method::POST, "/api/orders");
        let answer = call.body("application/json", body.to_owned()).send().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(desk.orders_of("mia").await, before);
    assert_eq!(
        desk.get("", "/api/orders").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        desk.order("", "/api/orders").await.status,
        StatusCode::UNAUTHORIZED
    );
    let nowhere = desk.get("mia", "/api/nowhere").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.json()["error"].is_string());
}

#[tokio::test]
async fn the_pages_escape_what_people_wrote() {
    let desk = Desk::open().await;
    let nasty = r#"</li><script>alert("1")</script>'&"#;
    desk.post("ines", "/api/orders", json!({"item": nasty}))
        .await;
    let body = json!({"target_user_id": "ines", "reason": nasty, "ticket": nasty});
    let started = desk.post("ada", "/impersonation/start", body).await.json();
    let id = started["session"]["id"].as_str().unwrap();
    // Which of the harmless forms is up to whoever escapes.
    let raw = [r#"<script>alert("#, "</li><script", r#"alert("1")"#];
    for (who, path) in [
        ("ada", "/?as=ines"),
        ("ada", "/orders/1006?as=ines"),
        ("ines", "/"),
        (
            "ines",
            "/?q=%3C/li%3E%3Cscript%3Ealert(%221%22)%3C/script%3E",
        ),
        ("ada", "/admin/session"),
        ("root", "/admin/sessions"),
        ("root", &format!("/admin/sessions/{id}")),
        ("root", "/admin/trail"),
    ] {
        let page = desk.call(who, Method::GET, path).navigation().send().await;
        assert_eq!(page.status, StatusCode::OK, "{who} {path}");
        assert!(page.text().contains("script&#"), "{who} {path}");
        for raw in raw {
            assert!(!page.text().contains(raw), "{who} {path}");
        }
    }
}

#[tokio::test]
async fn the_pages_have_nothing_inline_and_allow_nothing_from_elsewhere() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for (who, path, status) in [
        ("", "/", 200),
        ("", "/shop", 200),
        ("", "/login", 200),
        ("ines", "/", 200),
        ("ines", "/orders/1001", 200),
        ("otto", "/orders/1001", 404),
        ("", "/orders/1001", 404),
        ("ines", "/account/password", 200),
        ("ines", "/admin", 403),
        ("ada", "/admin", 200),
        ("ada", "/?as=ines", 200),
        ("ada", "/shop?as=ines", 200),
        ("ada", "/orders/1001?as=ines", 200),
        ("ada", "/orders/1001", 404),
        ("ada", "/?as=otto", 403),
        ("ada", "/account/password?as=ines", 403),
        ("ada", "/nowhere", 404),
        ("ada", "/nowhere?as=ines", 404),
    ] {
        let page = desk.call(who, Method::GET, path).navigation().send().await;
        assert_eq!(page.status, status, "{who} {path}");
        let content_type = page.header("content-type").unwrap();
        assert!(content_type.starts_with("text/html"), "{who} {path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        let text = page.text();
        assert!(text.contains(r#"<html lang="en">"#), "{who} {path}");
        for inline in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
            assert!(!text.contains(inline), "{who} {path}: {inline}");
        }
        assert_eq!(text.matches("<h1").count(), 1, "{who} {path}");
        let is_acted = path.contains("as=ines") && page.header("acted-as").is_some();
        let has_banner = text.contains("data-impersonation-banner");
        assert_eq!(has_banner, is_acted, "{who} {path}");
    }
    for (path, content_type) in [
        ("/desk.css", "text/css; charset=utf-8"),
        ("/desk.js", "text/javascript; charset=utf-8"),
        ("/impersonation/page.css", "text/css; charset=utf-8"),
        ("/impersonation/page.js", "text/javascript; charset=utf-8"),
        ("/admin/console.css", "text/css; charset=utf-8"),
        ("/admin/console.js", "text/javascript; charset=utf-8"),
    ] {
        let file = desk.get("ada", path).await;
        assert_eq!(file.header("content-type"), Some(content_type), "{path}");
        if path.ends_with("css") {
            assert!(file.text().contains("prefers-color-scheme: dark"), "{path}");
        }
    }
}

#[tokio::test]
async fn orders_are_found_by_item_and_number() {
    let desk = Desk::open().await;
    let list = async |path: &str| {
        let page = desk.call("ines", Method::GET, path).navigation().send();
        let page = page.await;
        (1001..=1005)
            .filter(|id| page.text().contains(&format!(r#"href="/orders/{id}""#)))
            .collect::<Vec<_>>()
    };
    assert_eq!(list("/").await, [1001, 1004]);
    assert_eq!(list("/?q=TEAPOT").await, [1001]);
    assert_eq!(list("/?q=1004").await, [1004]);
    assert_eq!(list("/?q=%00").await, [0; 0]);
    assert_eq!(list("/?q=whisk").await, [0; 0], "another customer's");
}

#[tokio::test]
async fn the_acted_page_says_so_and_leads_out() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    let page = desk
        .call("ada", Method::GET, "/?as=ines")
        .navigation()
        .send()
        .await;
    let text = page.text();
    for part in [
        "Ines Ortega",
        "ines@shop.example",
        "ada",
        "read and write",
        r#"action="/impersonation/end""#,
        r#"data-subject="ines""#,
    ] {
        assert!(text.contains(part), "{part}");
    }
    let own = desk.call("ada", Method::GET, "/").navigation().send().await;
    assert!(!own.text().contains("data-impersonation-banner"));

    // The form leads to a page without the marker, and the browser that comes from a marked one is sent on.
    let order = desk.call("ada", Method::POST, "/?as=ines").navigation();
    let order = order.form(&[("item", "Bamboo whisk")]).send().await;
    assert_eq!(order.status, StatusCode::SEE_OTHER);
    assert_eq!(order.header("location"), Some("/"));
    assert_eq!(desk.orders_of("ines").await, 3);
    let from = format!("http://{}/?as=ines", desk.running.authority());
    let next = desk.call("ada", Method::GET, "/").navigation();
    let next = next.header("referer", &from).send().await;
    assert_eq!(next.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(next.header("location"), Some("/?as=ines"));

    let exit = desk
        .call("ada", Method::POST, "/impersonation/end")
        .navigation();
    let exit = exit.form(&[]).send().await;
    assert_eq!(exit.header("location"), Some("/admin"));
    assert_eq!(exit.header("referrer-policy"), Some("no-referrer"));
    let gone = desk
        .call("ada", Method::GET, "/?as=ines")
        .navigation()
        .send()
        .await;
    assert_eq!(gone.status, StatusCode::FORBIDDEN);
    assert!(gone.text().contains(r#"href="/admin""#));
}

#[tokio::test]
async fn r4_a_refused_form_leads_back_only_to_where_one_still_acts() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let from = format!("http://{}/?as=ines", desk.running.authority());
    let order = async |path: &str| {
        let order = desk.call("ada", Method::POST, path).navigation();
        let order = order.header("referer", &from);
        order.form(&[("item", "Bamboo whisk")]).send().await
    };
    for path in ["/?as=ines", "/?%61s=ines"] {
        let page = order(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.text().contains("Read-only"), "{path}");
        assert!(page.text().contains("Back to the page"), "{path}");
    }
    // "Order again" has an address of its own: to read that one would be to read one's own page. So it is not refused
    // there, but where the marker is.
    let again = order("/").await;
    assert_eq!(again.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(again.header("location"), Some("/?as=ines"));
}

#[tokio::test]
async fn r20_unmarked_writes_and_typed_addresses_are_what_the_settings_say() {
    let desk = Desk::open_with(&[("UNMARKED_WRITES", "refuse"), ("MARKER_REMOVED", "end")]).await;
    assert_eq!(
        desk.order("ada", "/api/orders").await.status,
        StatusCode::CREATED
    );
    desk.started("ada", "ines", "read_write").await;
    let refused = desk.order("ada", "/api/orders").await;
    assert_eq!(refused.refusal(), (409, "marker_missing".to_owned()));
    let typed = desk
        .call("ada", Method::GET, "/")
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "none")
        .header("sec-fetch-dest", "document");
    assert_eq!(typed.send().await.status, StatusCode::OK);
    assert_eq!(desk.sessions("").await[0]["ended_reason"], "marker_removed");
    assert_eq!(
        desk.order("ada", "/api/orders").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_desk_offers_whom_one_may_act_as() {
    let desk = Desk::open().await;
    let offers = |text: &str, id: &str| text.contains(&format!("/admin/start?subject={id}\""));
    for (who, offered, not) in [
        (
            "sam",
            &["ines", "otto", "mia"][..],
            &["sam", "ada", "abe", "root", "kim", "bot"][..],
        ),
        (
            "ada",
            &["ines", "otto", "mia", "sam"],
            &["ada", "abe", "root", "kim", "bot"],
        ),
        (
            "root",
            &["ines", "sam", "ada", "abe"],
            &["root", "kim", "bot"],
        ),
    ] {
        let page = desk.get(who, "/admin").await;
        for id in offered {
            assert!(offers(page.text(), id), "{who}: {id}");
        }
        for id in not {
            assert!(!offers(page.text(), id), "{who}: {id}");
        }
        let service = page.text().contains("Service role");
        assert_eq!(service, who == "root", "{who}");
        let form = desk.get(who, "/admin/start?subject=ines").await;
        let may_write = form.text().contains(r#"value="read_write""#);
        assert_eq!(may_write, who != "sam", "{who}");
    }

    let id = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
    let detail = format!("/admin/sessions/{}", id.as_str().unwrap());
    let end = format!("{detail}/end");
    for (who, sees, ends) in [
        ("ada", true, true),
        ("root", true, true),
        ("abe", false, false),
    ] {
        let page = desk.get(who, "/admin/sessions").await;
        assert_eq!(page.text().contains("ticket 4711"), sees, "{who}");
        let page = desk.get(who, &detail).await;
        assert_eq!(page.text().contains(&end), ends, "{who}");
    }
    let refused = desk.call("abe", Method::POST, &end).form(&[]).send().await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let ended = desk.call("root", Method::POST, &end).form(&[]).send().await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(
        desk.sessions("").await[0]["ended_reason"],
        "session_revoked"
    );
    let events = desk.close().await;
    let end = json!({"name": "impersonation.end", "session": id, "reason": "session_revoked"});
    assert_eq!(only(&events, &end)["actor"], "root");
}

// === settings ===

#[tokio::test]
async fn the_control_api_is_where_it_was_asked_for() {
    let desk = Desk::open_with(&[("CONTROL_PATH", "/support/acting")]).await;
    let body = json!({"target_user_id": "ines", "reason": "ticket"});
    let moved = desk
        .post("ada", "/support/acting/start", body.clone())
        .await;
    assert_eq!(moved.status, StatusCode::OK);
    let old = desk.post("ada", "/impersonation/start", body).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
    let page = desk.get("ada", "/?as=ines").await;
    assert!(page.text().contains(r#"action="/support/acting/end""#));
    assert!(page.text().contains(r#"src="/support/acting/page.js?"#));
    let page = desk.get("ada", "/admin").await;
    assert!(page.text().contains("/support/acting/openapi.json"));
    let current = desk.get("ada", "/support/acting?as=ines").await.json();
    assert_eq!(current["target_user"]["id"], "ines");
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(&folder);
    let file = folder.path().join("trail.jsonl");
    let file = file.to_str().unwrap();
    for (name, value) in [
        ("ADDR", "here"),
        ("ADDR", "127.0.0.1"),
        ("ADDR", "127.0.0.1:99999"),
        ("ADDR", ""),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://shop"),
        ("DATABASE_URL", "support_desk.sqlite"),
        ("DATABASE_URL", "sqlite:///no/such/folder/desk.sqlite"),
        ("DATABASE_URL", "postgres://desk:secret@127.0.0.1:1/desk"),
        ("AUDIT_FILE", ""),
        ("AUDIT_FILE", folder.path().to_str().unwrap()),
        ("CONTROL_PATH", ""),
        ("CONTROL_PATH", "/"),
        ("CONTROL_PATH", "impersonation"),
        ("CONTROL_PATH", "/a//b"),
        ("CONTROL_PATH", "/a/"),
        ("CONTROL_PATH", "/../a"),
        ("CONTROL_PATH", "/{a}"),
        ("CONTROL_PATH", "/*"),
        ("CONTROL_PATH", "/a?b"),
        ("CONTROL_PATH", "/admin"),
        ("CONTROL_PATH", "/api/impersonation"),
        ("ON_ACTIVE", "ask"),
        ("UNMARKED_WRITES", "ask"),
        ("MARKER_REMOVED", "yes"),
        ("ON_ACTIVE", ""),
        ("STARTS_PER_HOUR", "0"),
        ("STARTS_PER_HOUR", "-1"),
        ("STARTS_PER_HOUR", "many"),
        ("STARTS_PER_HOUR", "99999999999"),
        ("TOKEN_SECRET", ""),
        ("TOKEN_SECRET", "secret of thirty-one characters"),
    ] {
        let mut env = vec![
            ("ADDR", "127.0.0.1:0"),
            ("AUDIT_FILE", file),
            ("DATABASE_URL", &database),
        ];
        env.push((name, value));
        let output = process::output("support_desk", &env).await;
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(name), "{name}={value}: {said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(output.stdout.is_empty(), "it never listened");
    }
    let taken = Desk::open().await;
    let env = [
        ("ADDR", taken.running.authority()),
        ("AUDIT_FILE", file),
        ("DATABASE_URL", &database),
    ];
    let output = process::output("support_desk", &env).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ADDR"));
}

// === the small ones ===

#[tokio::test]
async fn the_minimal_example_acts_without_sessions() {
    let mut running = Running::start("minimal", &[]).await;
    small_example_acts(&mut running, "/").await;
}

#[tokio::test]
async fn the_hyper_example_acts_without_a_framework() {
    let mut running = Running::start("hyper", &[]).await;
    small_example_acts(&mut running, "/any/path").await;
}

/// What both promise: the subject's page for the admin, and each acted request on the trail.
async fn small_example_acts(running: &mut Running, path: &str) {
    let ask = |method: Method, query: &str, token: Option<&str>| {
        let mut request = Request::builder().method(method);
        request = request.uri(format!("{path}{query}"));
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let ada = Some("Bearer demo-ada");
    let own = running.send(ask(Method::GET, "", ada)).await;
    assert_eq!(own.text(), "your own page\n");
    assert_eq!(own.header("acted-as"), None);

    let acted = running.send(ask(Method::GET, "?as=ines", ada)).await;
    assert_eq!(acted.text(), "the page of ines, seen by ada\n");
    assert_eq!(acted.header("acted-as"), Some("ines"));
    let event: Value = serde_json::from_str(&running.line().await).unwrap();
    assert_eq!(event["name"], "impersonation.request");
    assert_eq!(
        (&event["actor"], &event["subject"]),
        (&json!("ada"), &json!("ines"))
    );
    assert_eq!(event["path"], path);

    let written = running.send(ask(Method::POST, "?as=ines", ada)).await;
    assert_eq!(written.refusal(), (403, "read_only".to_owned()));
    let event: Value = serde_json::from_str(&running.line().await).unwrap();
    assert_eq!(
        (&event["name"], &event["rule"]),
        (&json!("impersonation.denied"), &json!("read_only"))
    );

    let nobody = running.send(ask(Method::GET, "?as=ines", None)).await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
    let twice = running
        .send(ask(Method::GET, "?as=ines&as=ines", ada))
        .await;
    assert_eq!(twice.refusal(), (400, "malformed_marker".to_owned()));
}
