//! What goes wrong with a database: no room, no connection, a future that is dropped, a commit that fails.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use http::{Method, StatusCode};
use sqlx::{
    AssertSqlSafe, Executor as _, PgPool, SqlitePool,
    pool::PoolConnection,
    postgres::PgPoolOptions,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions},
};
use tower_impersonation::{
    Consent, StartRequest,
    audit::{AuditEvent, AuditSink, EventName, Outcome, TrailFilter, TrailPage, TrailReader},
    session::{EndedReason, Limits, SessionId, SessionStore},
};
use tower_impersonation_sqlx::{
    AdminRole, PostgresSessions, PostgresTrail, SqlConsents, SqlRoles, SqliteSessions, SqliteTrail,
    sqlite,
};
use uuid::Uuid;

use crate::{
    handle::{act, build, request_of},
    host::{Lite, Pg, event, now, request, session, started, user},
};

/// How often something is tried where each connection of a pool should be reached.
const OFTEN: usize = 24;

/// Sessions, trail, roles and consents in one database.
struct Tables<S, T> {
    sessions: S,
    trail: T,
    roles: SqlRoles,
    consents: SqlConsents,
}

impl Tables<SqliteSessions, SqliteTrail> {
    fn of(pool: &SqlitePool) -> Self {
        let trail = SqliteTrail::new(pool.clone());
        Self {
            sessions: SqliteSessions::new(pool.clone()).with_trail(&trail),
            trail,
            roles: SqlRoles::new(pool.clone()),
            consents: SqlConsents::new(pool.clone()),
        }
    }
}

impl Tables<PostgresSessions, PostgresTrail> {
    fn of_postgres(pool: &PgPool) -> Self {
        let trail = PostgresTrail::new(pool.clone());
        Self {
            sessions: PostgresSessions::new(pool.clone()).with_trail(&trail),
            trail,
            roles: SqlRoles::new(pool.clone()),
            consents: SqlConsents::new(pool.clone()),
        }
    }
}

impl<S: SessionStore, T: AuditSink> Tables<S, T> {
    /// Starts a session, with its event.
    async fn start(&self) -> Result<SessionId, String> {
        let session = session(&format!("admin {}", Uuid::now_v7()), "ines");
        let mut start = event(EventName::Start);
        start.session = Some(session.id);
        let limits = Limits::default();
        let started = self.sessions.start_recorded(&session, &limits, &start);
        let started = started.await.unwrap();
        started.map(|started| started.session.id).map_err(|error| {
            use std::error::Error as _;
            format!("{error}: {:?}", error.source().map(ToString::to_string))
        })
    }

    /// Everything that writes, once.
    async fn write_all(&self, number: usize) -> Result<(), String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let intent = request(Outcome::Intent);
        self.trail.write(&[intent]).await.map_err(|e| text(&e))?;
        let id = self.start().await?;
        let seen = [(id, now())];
        self.sessions.touch_all(&seen).await.map_err(|e| text(&e))?;
        let ended = self.sessions.end(id, EndedReason::Manual, now()).await;
        assert!(ended.map_err(|e| text(&e))?.is_some());
        let role = [AdminRole::Admin, AdminRole::Support][number % 2];
        let granted = self.roles.grant(&user("ada"), role, &user("root")).await;
        granted.map_err(|e| text(&e))?;
        let until = now() + Duration::from_secs(60);
        let allowed = self.consents.allow(&user("ines"), until).await;
        allowed.map_err(|e| text(&e))
    }
}

/// Tries everything that writes where there is no room, by each connection.
async fn write_in_vain(tables: &Tables<SqliteSessions, SqliteTrail>, id: SessionId) -> usize {
    let mut failures = 0;
    for number in 0..6 * OFTEN {
        let intent = request(Outcome::Intent);
        failures += usize::from(tables.trail.write(&[intent]).await.is_err());
        failures += usize::from(tables.start().await.is_err());
        let seen = [(id, now() + Duration::from_secs(number as u64))];
        failures += usize::from(tables.sessions.touch_all(&seen).await.is_err());
        let (ada, root) = (user("ada"), user("root"));
        let role = [AdminRole::Admin, AdminRole::Support][number % 2];
        failures += usize::from(tables.roles.grant(&ada, role, &root).await.is_err());
        let until = now() + Duration::from_secs(60);
        failures += usize::from(tables.consents.allow(&user("ines"), until).await.is_err());
    }
    failures
}

/// Fills the rest of a database.
async fn fill(pool: &SqlitePool) {
    let create = "create table filler (what blob)";
    pool.execute(create).await.unwrap();
    for size in [100_000, 4_000, 500, 50] {
        let more = format!("insert into filler values (zeroblob({size}))");
        while pool.execute(AssertSqlSafe(more.clone())).await.is_ok() {}
    }
}

#[tokio::test]
async fn a5_after_sqlite_was_full_the_first_write_of_each_kind_works() {
    let folder = tempfile::tempdir().unwrap();
    let options = sqlite::options(folder.path().join("shop.sqlite"));
    let options = options.pragma("max_page_count", "300");
    let pool = SqlitePoolOptions::new().max_connections(4);
    let pool = pool.connect_with(options).await.unwrap();
    sqlite::migrate(&pool).await.unwrap();
    let tables = Tables::of(&pool);
    tables.roles.grant_first(&user("root")).await.unwrap();
    let id = tables.start().await.unwrap();

    fill(&pool).await;
    let failures = write_in_vain(&tables, id).await;
    assert!(failures > OFTEN, "it has to be full: {failures}");
    pool.execute("drop table filler").await.unwrap();
    for number in 0..OFTEN {
        tables.write_all(number).await.unwrap();
    }
    let ended = tables.sessions.end(id, EndedReason::Manual, now()).await;
    assert!(ended.unwrap().is_some());
}

/// A file system of 3 MiB; only root can have one.
struct SmallDisk(PathBuf, #[allow(dead_code)] tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=3m", "tmpfs"])
            .arg(folder.path())
            .output();
        let mounted = mount.is_ok_and(|mount| mount.status.success());
        mounted.then(|| Self(folder.path().to_owned(), folder))
    }

    fn path(&self) -> &Path {
        &self.0
    }

    /// Takes all room that is left.
    fn fill(&self) {
        use std::io::Write as _;

        let mut filler = fs::File::create(self.0.join("filler")).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
    }

    fn enlarge(&self) {
        let larger = Command::new("mount")
            .args(["-o", "remount,size=64m"])
            .arg(&self.0)
            .status();
        assert!(larger.is_ok_and(|larger| larger.success()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: connections may still be open.
        let unmount = Command::new("umount").arg("-l").arg(&self.0).status();
        assert!(unmount.is_ok_and(|unmount| unmount.success()));
    }
}

#[tokio::test]
async fn a5_after_the_disk_was_full_an_acted_write_and_a_stop_work_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::new() else {
        eprintln!("not root: no small disk; the limit of pages has to do");
        return;
    };
    let options = sqlite::options(disk.path().join("shop.sqlite"));
    let pool = SqlitePoolOptions::new().max_connections(4);
    let pool = pool.connect_with(options).await.unwrap();
    sqlite::migrate(&pool).await.unwrap();
    let tables = Tables::of(&pool);
    tables.roles.grant_first(&user("root")).await.unwrap();
    let id = tables.start().await.unwrap();
    let impersonation = build(tables.trail.clone(), tables.sessions.clone());
    let (parts, ()) = request_of("ada", ()).into_parts();
    let start = StartRequest::new(user("ines").into(), "ticket 4711");
    let start = start.with_access(tower_impersonation::Access::ReadWrite);
    impersonation.start(&parts, start).await.unwrap();
    assert_eq!(
        act(&impersonation, "ada", Method::POST).await,
        StatusCode::OK
    );

    disk.fill();
    let failures = write_in_vain(&tables, id).await;
    assert!(failures > OFTEN, "it has to be full: {failures}");
    // Reads are recorded behind; each waits for its turn.
    let mut reads = 0;
    for _ in 0..10 {
        reads += usize::from(act(&impersonation, "ada", Method::GET).await == StatusCode::OK);
    }
    assert_ne!(
        act(&impersonation, "ada", Method::POST).await,
        StatusCode::OK
    );

    disk.enlarge();
    assert_eq!(
        act(&impersonation, "ada", Method::POST).await,
        StatusCode::OK
    );
    assert_eq!(impersonation.stop(&parts).await.unwrap().sessions.len(), 1);
    for number in 0..OFTEN {
        tables.write_all(number).await.unwrap();
    }
    impersonation.trail().flush().await.unwrap();
    let all = all(&tables.trail).await;
    let folded: u64 = all
        .iter()
        .filter(|event| event.name == EventName::Request)
        .filter(|event| event.method.as_deref() == Some("GET"))
        .map(|event| event.count.unwrap_or(1))
        .sum();
    assert_eq!(folded, reads as u64, "every read that was served is there");
    let ends = all.iter().filter(|event| event.name == EventName::End);
    assert_eq!(ends.count(), 1);
}

async fn all(trail: &impl TrailReader) -> Vec<AuditEvent> {
    let page = TrailPage::first(1_000_000);
    let list = trail.read(&TrailFilter::default(), &page).await;
    list.unwrap().events
}

/// A COMMIT that fails leaves SQLite's transaction open.
#[tokio::test]
async fn a1_a_commit_that_fails_leaves_no_transaction_behind() {
    let db = Lite::new().await;
    let tables = Tables::of(&db.pool);
    db.pool
        .execute(
            "create table known (id integer primary key); \
             create table owed (id integer references known (id) deferrable initially deferred); \
             create trigger owe after insert on impersonation_trail begin insert into owed values (7); end",
        )
        .await
        .unwrap();
    for _ in 0..OFTEN {
        assert!(tables.start().await.is_err());
        assert!(
            tables
                .trail
                .write(&[event(EventName::Denied)])
                .await
                .is_err()
        );
    }
    db.pool.execute("drop trigger owe").await.unwrap();
    for _ in 0..OFTEN {
        tables.start().await.unwrap();
        tables
            .trail
            .write(&[event(EventName::Denied)])
            .await
            .unwrap();
    }
    assert_eq!(all(&tables.trail).await.len(), 2 * OFTEN);
}

#[tokio::test]
async fn a1_what_is_dropped_half_way_leaves_no_transaction_behind() {
    let db = Lite::new().await;
    let tables = Tables::of(&db.pool);
    tables
        .trail
        .write(&[event(EventName::Denied)])
        .await
        .unwrap();
    for polls in 1..40 {
        {
            let events = [event(EventName::Denied)];
            let mut write = std::pin::pin!(tables.trail.write(&events));
            let mut left = polls;
            std::future::poll_fn(|cx| {
                left -= 1;
                match write.as_mut().poll(cx) {
                    std::task::Poll::Pending if left > 0 => std::task::Poll::Pending,
                    _ => std::task::Poll::Ready(()),
                }
            })
            .await;
        }
        let after = [event(EventName::Denied)];
        let next = tables.trail.write(&after);
        let next = tokio::time::timeout(Duration::from_secs(4), next).await;
        next.expect("nobody holds the lock any more").unwrap();
    }
}

/// Every connection of the host's pool, held as by handlers that hang.
async fn use_up<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Vec<PoolConnection<D>> {
    let mut held = Vec::new();
    while held.len() < pool.options().get_max_connections() as usize {
        held.push(pool.acquire().await.unwrap());
    }
    held
}

async fn stops_with_the_pool_used_up<S, T, D>(tables: Tables<S, T>, pool: sqlx::Pool<D>)
where
    S: SessionStore + Clone,
    T: AuditSink + Clone,
    D: sqlx::Database,
{
    tables.roles.grant_first(&user("root")).await.unwrap();
    let (root, ada) = (user("root"), user("ada"));
    let granted = tables.roles.grant(&ada, AdminRole::Admin, &root);
    granted.await.unwrap();
    let session = started(&tables.sessions, session("ada", "ines")).await;
    let impersonation = build(tables.trail.clone(), tables.sessions.clone());
    let (parts, ()) = request_of("eve", ()).into_parts();
    let start = StartRequest::new(user("ines").into(), "ticket 4711");
    impersonation.start(&parts, start).await.unwrap();

    let held = use_up(&pool).await;
    let seconds = Duration::from_secs(2);
    let work = async {
        assert_eq!(
            act(&impersonation, "eve", Method::GET).await,
            StatusCode::OK
        );
        assert_eq!(impersonation.stop(&parts).await.unwrap().sessions.len(), 1);
        let ended = tables
            .sessions
            .end(session.id, EndedReason::SessionRevoked, now());
        assert!(ended.await.unwrap().is_some());
        let intent = request(Outcome::Intent);
        tables.trail.write(&[intent]).await.unwrap();
        let role = tables.roles.role_of(&user("ada")).await.unwrap();
        assert_eq!(role, Some(AdminRole::Admin));
        assert!(
            tables
                .roles
                .revoke(&user("ada"), &user("root"))
                .await
                .unwrap()
        );
        tables.consents.withdraw(&user("ines")).await.unwrap();
        tables.consents.allowed_until(&user("ines")).await.unwrap();
    };
    let done = tokio::time::timeout(seconds, work).await;
    done.expect("nothing of this waits for the host's connections");
    drop(held);
}

#[tokio::test]
async fn s5_a_host_that_has_used_up_its_pool_can_still_stop() {
    let db = Lite::new().await;
    stops_with_the_pool_used_up(Tables::of(&db.pool), db.pool.clone()).await;

    let db = Pg::new().await;
    let pool = PgPoolOptions::new()
        .max_connections(3)
        .acquire_timeout(Duration::from_secs(1));
    let pool = pool.connect_with(db.options.clone()).await.unwrap();
    stops_with_the_pool_used_up(Tables::of_postgres(&pool), pool).await;
}

/// Another connection would be another database.
#[tokio::test]
async fn s5_a_database_in_memory_has_no_pool_beside_it() {
    let pool = SqlitePoolOptions::new().max_connections(1);
    in_memory(pool.connect("sqlite::memory:").await.unwrap()).await;
    let pool = SqlitePoolOptions::new().max_connections(1);
    let options = SqliteConnectOptions::new().filename(":memory:");
    in_memory(pool.connect_with(options).await.unwrap()).await;
}

async fn in_memory(pool: SqlitePool) {
    sqlite::migrate(&pool).await.unwrap();
    let tables = Tables::of(&pool);
    tables.roles.grant_first(&user("root")).await.unwrap();
    tables.write_all(0).await.unwrap();
    // What fails is rolled back, and the database is still there.
    let broken = "create trigger no before insert on impersonation_trail begin select raise(abort, 'no'); end";
    pool.execute(broken).await.unwrap();
    assert!(tables.start().await.is_err());
    pool.execute("drop trigger no").await.unwrap();
    tables.write_all(1).await.unwrap();
    assert_eq!(all(&tables.trail).await.len(), 4);
}

/// As many as the server knows of that listen for this database.
async fn listeners(pool: &PgPool) -> i64 {
    let count = "select count(*) from pg_stat_activity \
        where datname = current_database() and application_name like '%listener'";
    sqlx::query_scalar(count).fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn s9_a_process_listens_by_one_connection() {
    let db = Pg::new().await;
    let tables = Tables::of_postgres(&db.pool);
    let impersonation = build(tables.trail.clone(), tables.sessions.clone());
    let watch = tables.roles.watch(&impersonation);
    watch.listening().await;
    tables.sessions.listening().await;
    let other = PostgresSessions::new(db.pool.clone());
    other.listening().await;
    assert_eq!(listeners(&db.pool).await, 1);
    assert!(tables.sessions.hears_all() && other.hears_all());
}
