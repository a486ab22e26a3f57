//! Two processes of the support desk on one PostgreSQL: what one of them decides holds for the other.

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    postgres::{Database, Server},
    process::{Answer, Caller, Running},
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

    /// As many processes as these listen for news.
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
        let listening = async { while self.listeners().await < 2 {} };
        timeout(SOON, listening).await.expect("both listen");
        for desk in [&self.one, &self.two, &self.two] {
            assert_eq!(me(desk).await.status, StatusCode::OK);
        }
    }

    async fn close(self) {
        assert!(self.one.stop().await.success());
        assert!(self.two.stop().await.success());
        self.database.drop().await;
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
async fn r8_who_is_demoted_on_one_is_refused_by_the_other() {
    let desks = Desks::open().await;
    desks.act().await;
    let demoted = call(
        &desks.one,
        "root",
        "PUT",
        "/demo/users/ada",
        json!({"role": "customer"}),
    );
    assert_eq!(demoted.await.status, StatusCode::OK);
    // Not by news: roles are read for each acted request, so it is the very next one.
    let refusal = me(&desks.two).await.refusal();
    assert_eq!(refusal, (403, "session_ended".to_owned()));
    refused(&desks.one).await;
    let reason: String =
        sqlx::query_scalar("select ended_reason from impersonation.sessions where actor = 'ada'")
            .fetch_one(&desks.database.pool)
            .await
            .unwrap();
    assert_eq!(reason, "actor_demoted");
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
