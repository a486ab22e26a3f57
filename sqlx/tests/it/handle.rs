//! The whole of it over a database: handle, layer, sessions and trail.

use std::{collections::HashMap, convert::Infallible, time::Duration};

use http::{Method, Request, Response, StatusCode};
use sqlx::{AssertSqlSafe, Executor as _, postgres::PgPoolOptions, sqlite::SqlitePoolOptions};
use time::OffsetDateTime;
use tower::{Layer as _, ServiceExt as _, service_fn};
use tower_impersonation::{
    Access, Actor, Caller, Decision, Grant, Impersonation, Rank, RejectionKind, StartRequest,
    UserId,
    audit::{AuditEvent, AuditSink, EventName, Outcome, TrailFilter, TrailPage, TrailReader},
    checker_fn,
    session::SessionStore,
};
use tower_impersonation_sqlx::{
    PostgresSessions, PostgresTrail, SqlConsents, SqlRoles, SqliteSessions, SqliteTrail, sqlite,
};

use crate::host::{Lite, Pg, user};

const ADMINS: usize = 20;

pub(crate) fn request_of<B>(by: &str, body: B) -> Request<B> {
    let mut request = Request::new(body);
    request.extensions_mut().insert(user(by));
    request
}

pub(crate) fn build(trail: impl AuditSink, sessions: impl SessionStore) -> Impersonation {
    let checker = checker_fn(
        |parts| match parts.extensions.get::<UserId>() {
            Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let builder = Impersonation::builder(checker, trail).handlers_read_acting_as();
    builder.sessions(sessions).build().unwrap()
}

/// One admin's work: start, start again in vain, three writes, stop.
async fn work(impersonation: Impersonation, by: String) {
    let (parts, ()) = request_of(&by, ()).into_parts();
    let start = StartRequest::new(user("ines").into(), "ticket 4711");
    let start = start.with_access(Access::ReadWrite);
    impersonation.start(&parts, start.clone()).await.unwrap();
    let again = impersonation.start(&parts, start).await.unwrap_err();
    assert_eq!(again.kind(), RejectionKind::AlreadyActive);
    for _ in 0..3 {
        assert_eq!(act(&impersonation, &by, Method::POST).await, StatusCode::OK);
    }
    assert_eq!(impersonation.stop(&parts).await.unwrap().sessions.len(), 1);
}

/// One request as ines.
pub(crate) async fn act(impersonation: &Impersonation, by: &str, method: Method) -> StatusCode {
    let handler =
        service_fn(async |_: Request<String>| Ok::<_, Infallible>(Response::new(String::new())));
    let mut request = request_of(by, String::new());
    *request.method_mut() = method;
    let headers = request.headers_mut();
    headers.insert("act-as", "ines".parse().unwrap());
    let service = impersonation.layer().layer(handler);
    service.oneshot(request).await.unwrap().status()
}

async fn all_at_once(impersonation: &Impersonation) {
    let admins: Vec<_> = (0..ADMINS)
        .map(|number| tokio::spawn(work(impersonation.clone(), format!("admin {number}"))))
        .collect();
    for admin in admins {
        admin.await.unwrap();
    }
    impersonation.trail().flush().await.unwrap();
}

/// How often there is what, for each admin the same.
fn assert_complete(events: &[AuditEvent]) {
    let mut counts: HashMap<(EventName, Option<Outcome>), usize> = HashMap::new();
    for event in events {
        *counts.entry((event.name, event.outcome)).or_default() += 1;
    }
    let wanted = HashMap::from([
        ((EventName::Start, None), ADMINS),
        ((EventName::Denied, None), ADMINS),
        ((EventName::Request, Some(Outcome::Intent)), 3 * ADMINS),
        ((EventName::Request, Some(Outcome::Completed)), 3 * ADMINS),
        ((EventName::End, None), ADMINS),
    ]);
    assert_eq!(counts, wanted);
}

/// Sessions and trail share a pool of one connection: whoever held it while waiting for the other would wait
/// forever.
#[tokio::test]
async fn a1_sessions_and_trail_never_wait_for_each_others_connection() {
    let page = TrailPage::first(10_000);
    for at_once in [false, true] {
        let db = Pg::new().await;
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = pool.connect_with(db.options.clone()).await.unwrap();
        let trail = PostgresTrail::new(pool.clone());
        let mut sessions = PostgresSessions::new(pool);
        if at_once {
            sessions = sessions.with_trail(&trail);
        }
        all_at_once(&build(trail.clone(), sessions)).await;
        let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
        assert_complete(&list.events);

        let db = Lite::new().await;
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect_with(sqlite::options(db.file())).await.unwrap();
        let trail = SqliteTrail::new(pool.clone());
        let mut sessions = SqliteSessions::new(pool);
        if at_once {
            sessions = sessions.with_trail(&trail);
        }
        all_at_once(&build(trail.clone(), sessions)).await;
        let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
        assert_complete(&list.events);
    }
}

/// The rights that the documentation of the module `postgres` lists are enough, and not too many.
#[tokio::test]
async fn a8_an_application_with_the_rights_it_needs_cannot_touch_the_trail() {
    let db = Pg::new().await;
    let app: String = sqlx::query_scalar("select current_database()::text")
        .fetch_one(&db.pool)
        .await
        .unwrap();
    let documented: String = include_str!("../../src/postgres/mod.rs")
        .lines()
        .skip_while(|line| *line != "//! ```sql")
        .skip(1)
        .take_while(|line| *line != "//! ```")
        .map(|line| {
            line.trim_start_matches("//!")
                .replace(" app;", &format!(" {app};"))
        })
        .collect();
    assert!(documented.contains("grant"), "{documented}");
    let grants = format!("create role {app} login; {documented}");
    db.pool.execute(AssertSqlSafe(grants)).await.unwrap();

    let pool = PgPoolOptions::new().max_connections(4);
    let pool = pool
        .connect_with(db.options.clone().username(&app))
        .await
        .unwrap();
    let trail = PostgresTrail::new(pool.clone());
    let sessions = PostgresSessions::new(pool.clone()).with_trail(&trail);
    all_at_once(&build(trail.clone(), sessions.clone())).await;
    let list = trail
        .read(&TrailFilter::default(), &TrailPage::first(10_000))
        .await;
    assert_complete(&list.unwrap().events);
    sessions.listening().await;
    trail.mark_unknown(Duration::from_secs(60)).await.unwrap();
    let roles = SqlRoles::new(pool.clone());
    roles.grant_first(&user("root")).await.unwrap();
    roles.revoke(&user("root"), &user("root")).await.unwrap();
    let consents = SqlConsents::new(pool.clone());
    consents
        .allow(&user("ines"), OffsetDateTime::now_utc())
        .await
        .unwrap();
    consents.withdraw(&user("ines")).await.unwrap();
    sqlx::query("select * from impersonation.requests")
        .execute(&pool)
        .await
        .unwrap();

    let march = "select impersonation.add_month('2026-03-05')";
    db.pool.execute(march).await.unwrap();
    for statement in [
        "update impersonation.trail set actor = 'eve'",
        "delete from impersonation.trail",
        "truncate impersonation.trail",
        "drop table impersonation.trail",
        "alter table impersonation.trail disable trigger append_only",
        "set session_replication_role = replica",
        "alter table impersonation.trail detach partition impersonation.trail_2026_03",
        "delete from impersonation.sessions",
    ] {
        let refused = pool.execute(statement).await.expect_err(statement);
        let code = refused.as_database_error().and_then(|error| error.code());
        assert_eq!(code.as_deref(), Some("42501"), "{statement}");
    }
}
