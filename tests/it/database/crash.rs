//! The support desk is killed in the middle of its work, as by `kill -9`, again and again, and what it left behind
//! is looked at.
//!
//! `CRASH_ROUNDS` says how often for each database (default: 6), `CRASH_SEED` repeats a run.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use sqlx::{PgPool, SqlitePool};
use tokio::{sync::Notify, task::JoinSet};
use uuid::Uuid;

use crate::{
    support::postgres::Database,
    support::process::{Caller, Running},
};

/// Who acts as whom; each of them starts, orders and stops.
const PAIRS: [(&str, &str); 3] = [("root", "otto"), ("ada", "ines"), ("abe", "mia")];
/// At once, by each of them.
const ORDERING: usize = 3;

/// Numbers that come again with the same seed.
struct Numbers(u64);

/// What a round has done so far.
#[derive(Default)]
struct Progress {
    answers: AtomicUsize,
    moved: Notify,
}

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

impl Progress {
    fn answered(&self) {
        self.answers.fetch_add(1, Ordering::SeqCst);
        self.moved.notify_one();
    }

    async fn until(&self, answers: usize) {
        while self.answers.load(Ordering::SeqCst) < answers {
            self.moved.notified().await;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} must be a number")),
    )
}

/// Starts and stops until the process is gone.
async fn sessions(
    caller: Caller,
    (actor, subject): (&'static str, &'static str),
    progress: Arc<Progress>,
) {
    let start = json!({"target_user_id": subject, "reason": "ticket 4711", "access": "read_write"});
    loop {
        let path = "/impersonation/start";
        let Some(started) = caller.call(actor, "POST", path, start.clone()).await else {
            return;
        };
        assert!([200, 409].contains(&started.status.as_u16()), "{started:?}");
        progress.answered();
        for _ in 0..20 {
            tokio::task::yield_now().await;
            if !order(&caller, actor, subject, &progress).await {
                return;
            }
        }
        let ended = caller.call(actor, "POST", "/impersonation/end", json!({}));
        if ended.await.is_none() {
            return;
        }
        progress.answered();
    }
}

async fn orders(
    caller: Caller,
    (actor, subject): (&'static str, &'static str),
    progress: Arc<Progress>,
) {
    while order(&caller, actor, subject, &progress).await {}
}

/// The order's name is also its request's, and so in the trail. False when the process is gone.
async fn order(caller: &Caller, actor: &str, subject: &str, progress: &Progress) -> bool {
    let name = Uuid::new_v4().to_string();
    let request = http::Request::post(format!("/api/orders?as={subject}"))
        .header("authorization", format!("Bearer demo-{actor}"))
        .header("content-type", "application/json")
        .header("x-request-id", &name)
        .body(json!({ "item": name }).to_string().into_bytes().into());
    let Some(ordered) = caller.send(request.unwrap()).await else {
        return false;
    };
    // Between a stop and the next start there is no session.
    assert!([201, 403].contains(&ordered.status.as_u16()), "{ordered:?}");
    progress.answered();
    true
}

/// Has the desk work, and kills it at a random moment.
async fn work_and_be_killed(database: &str, file: &Path, numbers: &mut Numbers) {
    let env = [
        ("DATABASE_URL", database),
        ("AUDIT_FILE", file.to_str().unwrap()),
        ("ON_ACTIVE", "replace"),
        ("STARTS_PER_HOUR", "1000000"),
    ];
    let desk = Running::start("support_desk", &env).await;
    let progress = Arc::new(Progress::default());
    let mut load = JoinSet::new();
    for pair in PAIRS {
        load.spawn(sessions(desk.caller(), pair, progress.clone()));
        for _ in 0..ORDERING {
            load.spawn(orders(desk.caller(), pair, progress.clone()));
        }
    }
    progress.until(1 + numbers.below(150)).await;
    // Answers come at certain moments only; this is somewhere between two of them.
    for _ in 0..numbers.below(2_000) {
        std::hint::spin_loop();
        tokio::task::yield_now().await;
    }
    desk.kill().await;
    while let Some(worked) = load.join_next().await {
        worked.expect("every answer was one of those that can be");
    }
}

/// What the file has: no event twice, whatever line the crash has cut off.
fn file_keys(file: &Path) -> (HashSet<String>, HashSet<String>) {
    let text = std::fs::read(file).unwrap();
    let text = String::from_utf8_lossy(&text);
    let mut keys = HashSet::new();
    let (mut intents, mut starts) = (HashSet::new(), HashSet::new());
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let is_intent = event["outcome"] == "intent";
        assert!(
            keys.insert((event["id"].to_string(), is_intent)),
            "twice in the file: {line}"
        );
        if is_intent {
            intents.insert(event["request_id"].as_str().unwrap().to_owned());
        }
        if event["name"] == "impersonation.start" {
            starts.insert(event["session"].as_str().unwrap().to_owned());
        }
    }
    (intents, starts)
}

async fn rounds(
    name: &str,
    numbers: &mut Numbers,
    mut round: impl AsyncFnMut(&mut Numbers) -> usize,
) {
    let rounds = number("CRASH_ROUNDS").unwrap_or(6);
    let mut orders = 0;
    for n in 1..=rounds {
        let so_far = round(numbers).await;
        assert!(so_far >= orders, "{name}: no order gets lost");
        orders = so_far;
        println!("{name}, round {n} of {rounds}: {orders} orders so far");
    }
    assert!(orders > 0, "{name}: the load has to get somewhere");
}

fn numbers() -> Numbers {
    let seed = number("CRASH_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    println!("CRASH_SEED={seed}");
    Numbers(seed | 1)
}

struct Left {
    /// Names of orders, and ids of sessions.
    orders: Vec<String>,
    sessions: Vec<String>,
}

/// What the database has is in the file as well.
fn check_file(left: &Left, file: &Path) {
    let (intents, starts) = file_keys(file);
    for order in &left.orders {
        assert!(
            intents.contains(order),
            "order {order} without its intent in the file"
        );
    }
    for session in &left.sessions {
        assert!(
            starts.contains(session),
            "session {session} without its start in the file"
        );
    }
}

fn trail_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("trail.jsonl")
}

#[tokio::test]
async fn a1_after_a_crash_on_sqlite_every_order_has_its_intent() {
    let mut numbers = numbers();
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/desk.sqlite", folder.path().display());
    rounds("SQLite", &mut numbers, async |numbers| {
        work_and_be_killed(&url, &trail_file(&folder), numbers).await;
        let pool = SqlitePool::connect(&url).await.unwrap();
        let wrong: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "select \
               (select count(*) from orders where id > 1005 and item not in ( \
                 select request_id from impersonation_trail where is_intent and request_id is not null)), \
               (select count(*) from (select 1 from impersonation_trail group by id, is_intent having count(*) > 1)), \
               (select count(*) from impersonation_sessions s where 1 <> ( \
                 select count(*) from impersonation_trail t \
                 where t.session = s.id and t.name = 'impersonation.start')), \
               (select count(*) from impersonation_trail t where t.name = 'impersonation.start' and not exists ( \
                 select 1 from impersonation_sessions s where s.id = t.session)), \
               (select count(*) from (select 1 from impersonation_sessions where ended_at is null \
                 group by actor having count(*) > 1))",
        )
        .fetch_one(&pool)
        .await
        .unwrap();
        assert_eq!(wrong, (0, 0, 0, 0, 0));
        let sound: String = sqlx::query_scalar("pragma integrity_check")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(sound, "ok");
        let orders = sqlx::query_scalar("select item from orders where id > 1005");
        let sessions = sqlx::query_scalar("select id from impersonation_sessions");
        let left = Left {
            orders: orders.fetch_all(&pool).await.unwrap(),
            sessions: {
                let ids: Vec<Vec<u8>> = sessions.fetch_all(&pool).await.unwrap();
                let id = |id: &Vec<u8>| Uuid::from_slice(id).unwrap().to_string();
                ids.iter().map(id).collect()
            },
        };
        pool.close().await;
        check_file(&left, &trail_file(&folder));
        left.orders.len()
    })
    .await;
}

#[tokio::test]
async fn a1_after_a_crash_on_postgres_every_order_has_its_intent() {
    let mut numbers = numbers();
    let folder = tempfile::tempdir().unwrap();
    let database = Database::new().await;
    let pool: &PgPool = &database.pool;
    rounds("PostgreSQL", &mut numbers, async |numbers| {
        work_and_be_killed(&database.url, &trail_file(&folder), numbers).await;
        // What the killed process was about to do may still go on in the server.
        let others = "select count(*) from pg_stat_activity \
                      where datname = current_database() and pid <> pg_backend_pid() \
                        and backend_type = 'client backend' and state <> 'idle'";
        while sqlx::query_scalar::<_, i64>(others).fetch_one(pool).await.unwrap() > 0 {}
        let wrong: (i64, i64, i64, i64, i64) = sqlx::query_as(
            "select \
               (select count(*) from orders o where o.id > 1005 and not exists ( \
                 select from impersonation.trail t where t.request_id = o.item and t.is_intent)), \
               (select count(*) from (select from impersonation.trail group by id, is_intent having count(*) > 1) d), \
               (select count(*) from impersonation.sessions s where 1 <> ( \
                 select count(*) from impersonation.trail t \
                 where t.session = s.id and t.name = 'impersonation.start')), \
               (select count(*) from impersonation.trail t where t.name = 'impersonation.start' and not exists ( \
                 select from impersonation.sessions s where s.id = t.session)), \
               (select count(*) from (select from impersonation.sessions where ended_at is null \
                 group by actor having count(*) > 1) d)",
        )
        .fetch_one(pool)
        .await
        .unwrap();
        assert_eq!(wrong, (0, 0, 0, 0, 0));
        let orders = sqlx::query_scalar("select item from orders where id > 1005");
        let sessions = sqlx::query_scalar("select id::text from impersonation.sessions");
        let left = Left {
            orders: orders.fetch_all(pool).await.unwrap(),
            sessions: sessions.fetch_all(pool).await.unwrap(),
        };
        check_file(&left, &trail_file(&folder));
        left.orders.len()
    })
    .await;
    database.drop().await;
}
