//! Two processes of the support desk on one PostgreSQL: what one of them decides holds for the other.

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    support::postgres::{Database, Server},
    support::process::{Answer, Caller, Running},
};

/// For what has to happen at once, but tells nobody when. Well below the time for which a cache would keep a
/// session of which it heard nothing.
const SOON: Duration = Duration::from_secs(10);

struct Desks {
    database: Database,
    one: Running,
    two: Running,
    _folder: TempDir,
}

/// Sessions as they start and end.
struct Live(Incoming);

// === impl Desks ===

impl Desks {
    async fn open() -> Self {
        let database = Database::new().await;
        let folder = tempfile::tempdir().unwrap();
        Self {
            one: open(&folder, "one", &database.url).await,
            two: open(&folder, "two", &database.url).await,
            database,
            _folder: folder,
        }
    }

    /// As many connections listen for news.
    async fn listeners(&self) -> i64 {
        let listeners = "select count(*) from pg_stat_activity \
                         where application_name = 'tower-impersonation listener' \
                           and datname = current_database()";
        let listeners = sqlx::query_scalar(listeners).fetch_one(&self.database.pool);
        listeners.await.unwrap()
    }

    /// Has Ada act as Ines in both, from what both have kept.
    async fn act(&self) {
        start(&self.one, "ada", "ines").await;
        self.listening().await;
        for desk in [&self.one, &self.two, &self.two] {
            assert_eq!(me(desk).await.status, StatusCode::OK);
        }
    }

    /// One connection each, for sessions and roles.
    async fn listening(&self) {
        let listening = async { while self.listeners().await < 2 {} };
        timeout(SOON, listening).await.expect("both listen");
    }

    /// Why the newest session of Ada ended, if it has.
    async fn why_ended(&self) -> Option<String> {
        let newest = "select ended_reason from impersonation.sessions where actor = 'ada' \
                      order by started_at desc limit 1";
        let newest = sqlx::query_scalar(newest).fetch_one(&self.database.pool);
        newest.await.unwrap()
    }

    /// Gives Ada another role, or by hand takes hers away.
    async fn change_ada(&self, way: &str, role: &str) {
        if way == "SQL" {
            let revoke = "update impersonation.admin_roles set revoked_at = now() \
                          where user_id = 'ada' and revoked_at is null";
            let revoked = sqlx::query(revoke).execute(&self.database.pool).await;
            assert_eq!(revoked.unwrap().rows_affected(), 1);
        } else {
            let body = json!({ "role": role });
            let changed = call(&self.one, "root", "PUT", "/demo/users/ada", body).await;
            assert_eq!(changed.json()["role"], role);
        }
    }

    /// What both tell live.
    async fn streams(&self, who: &str) -> [Live; 2] {
        let one = Live::open(&self.one, who).await;
        [one, Live::open(&self.two, who).await]
    }

    async fn close(self) {
        assert!(self.one.stop().await.success());
        assert!(self.two.stop().await.success());
        self.database.drop().await;
    }
}

// === impl Live ===

impl Live {
    async fn open(desk: &Running, who: &str) -> Self {
        let body = desk.caller().open(who, "/impersonation/events").await;
        let mut live = Self(body);
        assert_eq!(live.next().await, "retry: 3000\n\n");
        live
    }

    async fn next(&mut self) -> String {
        let frame = timeout(SOON, self.0.frame()).await.expect("it is told");
        let bytes = frame.expect("it goes on").unwrap().into_data().unwrap();
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    /// The name of the next event, and its session.
    async fn event(&mut self) -> (String, Value) {
        let text = self.next().await;
        let field = |name| text.lines().find_map(|line| line.strip_prefix(name));
        let data = field("data: ").expect("an event");
        let name = field("event: ").expect("an event").to_owned();
        (name, serde_json::from_str(data).unwrap())
    }
}

async fn open(folder: &TempDir, name: &str, database: &str) -> Running {
    let file = folder.path().join(format!("{name}.jsonl"));
    let env = [
        ("AUDIT_FILE", file.to_str().unwrap()),
        ("DATABASE_URL", database),
        ("STARTS_PER_HOUR", "1000"),
    ];
    Running::start("support_desk", &env).await
}

async fn call(desk: &Running, who: &str, method: &str, path: &str, body: Value) -> Answer {
    let answer = desk.caller().call(who, method, path, body).await;
    answer.expect("it answers")
}

async fn start(desk: &Running, who: &str, subject: &str) -> Value {
    let body = json!({"target_user_id": subject, "reason": "ticket 4711", "access": "read_write"});
    let started = call(desk, who, "POST", "/impersonation/start", body).await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text());
    started.json()["session"]["id"].clone()
}

async fn me(desk: &Running) -> Answer {
    call(desk, "ada", "GET", "/api/me?as=ines", Value::Null).await
}

/// News are on their way while the answer is: a request or two may be faster. None that comes later.
async fn refused(desk: &Running) -> Answer {
    let refused = async {
        loop {
            let answer = me(desk).await;
            if answer.status != StatusCode::OK {
                return answer;
            }
        }
    };
    timeout(SOON, refused).await.expect("it is refused")
}

async fn end(desk: &Running, way: &str) {
    let ended = match way {
        "stop" => call(desk, "ada", "POST", "/impersonation/end", json!({})).await,
        _ => {
            let current = call(desk, "ada", "GET", "/impersonation", Value::Null).await;
            let id = current.json()["session"]["id"].as_str().unwrap().to_owned();
            let path = format!("/admin/sessions/{id}/end");
            call(desk, "root", "POST", &path, Value::Null).await
        }
    };
    assert!(!ended.status.is_client_error() && !ended.status.is_server_error());
}

// === what the other one hears ===

#[tokio::test]
async fn s9_what_ends_on_one_is_refused_by_the_other() {
    let desks = Desks::open().await;
    for way in ["stop", "forced end"] {
        desks.act().await;
        end(&desks.one, way).await;
        let refusal = refused(&desks.two).await.refusal();
        assert!(
            ["no_session", "session_ended"].contains(&&*refusal.1),
            "{way}: {refusal:?}"
        );
        assert_eq!(me(&desks.one).await.status, StatusCode::FORBIDDEN, "{way}");
    }
    desks.close().await;
}

#[tokio::test]
async fn r8_who_loses_a_role_is_refused_by_both_at_once() {
    let desks = Desks::open().await;
    for way in ["call", "SQL"] {
        desks.act().await;
        desks.change_ada(way, "customer").await;
        // Not by news: roles are read for each acted request, so it is the very next one.
        for desk in [&desks.two, &desks.one] {
            let (status, code) = me(desk).await.refusal();
            let codes = ["session_ended", "not_admin"];
            assert!(status == 403 && codes.contains(&&*code), "{way}: {code}");
        }
        assert_eq!(
            desks.why_ended().await.as_deref(),
            Some("actor_demoted"),
            "{way}"
        );
        desks.change_ada("call", "admin").await;
        assert_eq!(me(&desks.two).await.status, StatusCode::FORBIDDEN, "{way}");
    }
    desks.close().await;
}

#[tokio::test]
async fn r8_sessions_of_who_loses_a_role_end_without_any_request() {
    let desks = Desks::open().await;
    for (way, role) in [
        ("call", "customer"),
        ("SQL", "customer"),
        ("call", "support"),
    ] {
        desks.act().await;
        let mut streams = desks.streams("root").await;
        desks.change_ada(way, role).await;
        for stream in &mut streams {
            let (name, session) = stream.event().await;
            let why = session["ended_reason"].as_str();
            assert_eq!((&*name, why), ("ended", Some("actor_demoted")), "{way}");
        }
        desks.change_ada("call", "admin").await;
    }
    desks.close().await;
}

#[tokio::test]
async fn s9_streams_on_both_hear_of_each_start_and_end_once() {
    let desks = Desks::open().await;
    desks.listening().await;
    let mut streams = desks.streams("root").await;
    let mut wanted = Vec::new();
    for desk in [&desks.one, &desks.two, &desks.one] {
        let session = start(desk, "ada", "ines").await;
        end(desk, "stop").await;
        wanted.extend(["started", "ended"].map(|name| (name.to_owned(), session.clone())));
    }
    for stream in &mut streams {
        let mut heard = Vec::new();
        while heard.len() < wanted.len() {
            let (name, session) = stream.event().await;
            heard.push((name, session["id"].clone()));
        }
        assert_eq!(heard, wanted);
    }
    desks.close().await;
}

#[tokio::test]
async fn s9_without_news_the_other_refuses_all_the_same() {
    let desks = Desks::open().await;
    for way in ["stop", "forced end"] {
        desks.act().await;
        let cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                   where application_name = 'tower-impersonation listener' \
                     and datname = current_database()";
        let cut: i64 = sqlx::query_scalar(cut)
            .fetch_one(&desks.database.pool)
            .await
            .unwrap();
        assert_eq!(cut, 2);
        end(&desks.one, way).await;
        assert_eq!(refused(&desks.two).await.status, StatusCode::FORBIDDEN);
    }
    desks.close().await;
}

// === many at once ===

#[tokio::test]
async fn s2_a_hundred_parallel_starts_on_two_processes_leave_one_session() {
    let desks = Desks::open().await;
    let mut starts = JoinSet::new();
    for n in 0..100 {
        let desk = if n % 2 == 0 { &desks.one } else { &desks.two };
        let caller = desk.caller();
        let subject = ["ines", "otto", "mia", "sam"][n / 2 % 4];
        starts.spawn(async move {
            let body = json!({"target_user_id": subject, "reason": "ticket 4711"});
            let started = caller.call("ada", "POST", "/impersonation/start", body);
            started.await.expect("it answers").status.as_u16()
        });
    }
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    for status in starts.join_all().await {
        *statuses.entry(status).or_default() += 1;
    }
    assert_eq!(statuses, HashMap::from([(200, 1), (409, 99)]));
    for what in [
        "impersonation.sessions",
        "impersonation.sessions where ended_at is null",
        "impersonation.trail where name = 'impersonation.start'",
    ] {
        let count = sqlx::AssertSqlSafe(format!("select count(*) from {what}"));
        let count: i64 = sqlx::query_scalar(count)
            .fetch_one(&desks.database.pool)
            .await
            .unwrap();
        assert_eq!(count, 1, "{what}");
    }
    desks.close().await;
}

// === the database is gone ===

/// Places orders as Ines until told to stop; the orders' names, and how often each status came.
async fn load(caller: Caller, mut over: tokio::sync::watch::Receiver<bool>) -> Load {
    let mut load = Load::default();
    while !*over.borrow_and_update() {
        let item = format!("tea {}", uuid::Uuid::new_v4());
        let body = json!({"item": item});
        let answer = caller
            .call("ada", "POST", "/api/orders?as=ines", body)
            .await;
        let answer = answer.expect("it answers");
        *load.statuses.entry(answer.status.as_u16()).or_default() += 1;
        if answer.status == StatusCode::CREATED {
            load.ordered.push(item);
        }
    }
    load
}

#[derive(Default)]
struct Load {
    ordered: Vec<String>,
    statuses: HashMap<u16, usize>,
}

#[tokio::test]
async fn r13_without_the_database_acted_requests_are_refused_until_it_is_back() {
    let mut server = Server::new().await;
    let folder = tempfile::tempdir().unwrap();
    let mut desk = open(&folder, "one", &server.url()).await;
    start(&desk, "ada", "ines").await;
    for who in ["ada", "ines"] {
        let own = call(&desk, who, "GET", "/api/me", Value::Null).await;
        assert_eq!(own.status, StatusCode::OK);
    }
    let (tell, over) = tokio::sync::watch::channel(false);
    let mut loads = JoinSet::new();
    for _ in 0..4 {
        loads.spawn(load(desk.caller(), over.clone()));
    }
    let order = || {
        call(
            &desk,
            "ada",
            "POST",
            "/api/orders?as=ines",
            json!({"item": "cup"}),
        )
    };
    assert_eq!(order().await.status, StatusCode::CREATED);

    server.stop_at_once().await;
    for path in ["/api/me?as=ines", "/api/orders?as=ines"] {
        let refused = call(&desk, "ada", "GET", path, Value::Null).await;
        assert_eq!(refused.refusal(), (503, "unavailable".to_owned()), "{path}");
    }
    assert_eq!(order().await.status, StatusCode::SERVICE_UNAVAILABLE);
    // Unmarked, and nothing of the shop's is needed, or what it remembers is enough.
    for (who, path) in [
        ("", "/"),
        ("", "/desk.css"),
        ("ada", "/api/me"),
        ("ines", "/api/me"),
    ] {
        let own = call(&desk, who, "GET", path, Value::Null).await;
        assert_eq!(own.status, StatusCode::OK, "{who} {path}");
    }
    // Unmarked, and refused by the shop itself: its orders are not there.
    let own = call(&desk, "ines", "GET", "/api/orders", Value::Null).await;
    assert_eq!(own.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(own.json()["error"].is_string());

    server.start().await;
    let again = async { while order().await.status != StatusCode::CREATED {} };
    timeout(6 * SOON, again).await.expect("it recovers");
    tell.send_replace(true);
    let loads = loads.join_all().await;
    assert!(desk.is_running(), "it was never restarted");
    let pool = sqlx::PgPool::connect(&server.url()).await.unwrap();
    for load in loads {
        assert!(load.statuses.contains_key(&503), "{:?}", load.statuses);
        let others = load
            .statuses
            .keys()
            .filter(|status| ![201, 503].contains(*status));
        assert_eq!(others.count(), 0, "{:?}", load.statuses);
        let there: i64 = sqlx::query_scalar("select count(*) from orders where item = any($1)")
            .bind(&load.ordered)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(there, load.ordered.len() as i64);
    }
    pool.close().await;
    assert!(desk.stop().await.success());
    server.stop_at_once().await;
}
