//! Ends and their events: one transaction where the trail is in the same database, found and written later where it
//! was not (rule A1).

use std::time::Duration;

use sqlx::{AssertSqlSafe, Executor as _};
use time::OffsetDateTime;
use tower_impersonation::{
    audit::{
        AuditEvent, AuditSink, Call, EventName, MemorySink, TrailFilter, TrailPage, TrailReader,
    },
    session::{EndedReason, Limits, Session, SessionId, SessionStore, Started},
};
use tower_impersonation_sqlx::{PostgresSessions, PostgresTrail, SqliteSessions, SqliteTrail};
use uuid::Uuid;

use crate::host::{Lite, Pg, event, now, session, session_at, started, user};

const MANY: usize = 1_000;

/// What a host has in one database, whichever it is.
struct Desk<S, T> {
    sessions: S,
    trail: T,
}

fn postgres(db: &Pg) -> Desk<PostgresSessions, PostgresTrail> {
    let trail = PostgresTrail::new(db.pool.clone());
    Desk {
        sessions: PostgresSessions::new(db.pool.clone()).with_trail(&trail),
        trail,
    }
}

fn lite(db: &Lite) -> Desk<SqliteSessions, SqliteTrail> {
    let trail = SqliteTrail::new(db.pool.clone());
    Desk {
        sessions: SqliteSessions::new(db.pool.clone()).with_trail(&trail),
        trail,
    }
}

impl<S: SessionStore, T: AuditSink + TrailReader> Desk<S, T> {
    async fn start(&self, session: Session, replace: bool) -> Started {
        let mut start = event(EventName::Start);
        start.session = Some(session.id);
        let mut limits = Limits::default();
        limits.replace = replace;
        let started = self.sessions.start_recorded(&session, &limits, &start);
        started.await.unwrap().unwrap()
    }

    /// The events of this session's end.
    async fn ends_of(&self, id: SessionId) -> Vec<AuditEvent> {
        let mut filter = TrailFilter::default();
        filter.name = Some(EventName::End);
        filter.session = Some(id);
        let list = self.trail.read(&filter, &TrailPage::first(MANY)).await;
        list.unwrap().events
    }

    async fn unconfirmed(&self) -> Vec<SessionId> {
        let later = now() + Duration::from_secs(60);
        let found = self.sessions.unconfirmed_ends(later, MANY).await.unwrap();
        found.iter().map(|session| session.id).collect()
    }
}

async fn is_one_transaction(desk: Desk<impl SessionStore, impl AuditSink + TrailReader>) {
    let id = desk.start(session("ada", "ines"), false).await.session.id;
    let call = Call::default().by(&user("zoe"));
    let (reason, at) = (EndedReason::SessionRevoked, now());
    let ended = desk.sessions.end_recorded(id, reason, &call, at).await;
    let ended = ended.expect("the trail is here").unwrap().unwrap();
    assert_eq!(
        (ended.ended_at, ended.ended_reason),
        (Some(at), Some(reason))
    );
    assert_eq!(desk.ends_of(id).await, [AuditEvent::end_of(&ended, &call)]);
    assert_eq!(desk.unconfirmed().await, []);

    let again = desk.sessions.end_recorded(id, reason, &call, at).await;
    assert!(again.unwrap().unwrap().is_none());
    assert_eq!(desk.ends_of(id).await.len(), 1);
}

#[tokio::test]
async fn a1_an_end_and_its_event_are_one_transaction() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    is_one_transaction(postgres(&pg)).await;
    is_one_transaction(lite(&file)).await;
}

async fn records_what_it_ends(desk: Desk<impl SessionStore, impl AuditSink + TrailReader>) {
    let first = desk.start(session("ada", "ines"), false).await.session;
    let second = desk.start(session("ada", "ines"), true).await;
    let [replaced] = &second.ended[..] else {
        panic!("one was in the way");
    };
    assert_eq!(replaced.id, first.id);
    let wanted = AuditEvent::end_of(replaced, &Call::default());
    assert_eq!(desk.ends_of(first.id).await, [wanted]);

    // What was overdue ends with a start as well.
    let mut long_ago = session_at("eve", "ines", now() - Duration::from_secs(3_600));
    long_ago.expires_at = now() - Duration::from_secs(60);
    let overdue = desk.start(long_ago, false).await.session;
    desk.start(session("eve", "ines"), false).await;
    let [end] = &desk.ends_of(overdue.id).await[..] else {
        panic!("it has one end");
    };
    assert_eq!(end.time, overdue.expires_at);
    assert_eq!(desk.unconfirmed().await, []);
}

#[tokio::test]
async fn a1_a_start_records_the_ends_of_what_it_replaces() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    records_what_it_ends(postgres(&pg)).await;
    records_what_it_ends(lite(&file)).await;
}

async fn holds_without_its_event(
    desk: Desk<impl SessionStore, impl AuditSink + TrailReader>,
    mend: impl AsyncFn(),
    break_trail: impl AsyncFn(),
) {
    let id = desk.start(session("ada", "ines"), false).await.session.id;
    break_trail().await;
    let (reason, call) = (EndedReason::Manual, Call::default());
    let recorded = desk.sessions.end_recorded(id, reason, &call, now()).await;
    assert!(recorded.is_none(), "{recorded:?}");
    let still = desk.sessions.get(id).await.unwrap().unwrap();
    assert_eq!(still.ended_at, None, "nothing was done");

    let ended = desk.sessions.end(id, reason, now()).await.unwrap().unwrap();
    assert_eq!(desk.unconfirmed().await, [id]);
    mend().await;
    let event = AuditEvent::end_of(&ended, &call);
    desk.trail
        .write(std::slice::from_ref(&event))
        .await
        .unwrap();
    desk.sessions.confirm_ends(&[id]).await.unwrap();
    assert_eq!(desk.unconfirmed().await, []);
    assert_eq!(desk.ends_of(id).await, [event]);
}

#[tokio::test]
async fn s5_a_trail_that_cannot_be_written_holds_up_no_end() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    let run = async |statement: &str| {
        let statement = AssertSqlSafe(statement.to_owned());
        pg.pool.execute(statement).await.unwrap();
    };
    holds_without_its_event(
        postgres(&pg),
        async || run("alter table impersonation.trail drop constraint broken").await,
        async || {
            run("alter table impersonation.trail add constraint broken check (name <> 'impersonation.end')").await;
        },
    )
    .await;
    let run = async |statement: &str| {
        let statement = AssertSqlSafe(statement.to_owned());
        file.pool.execute(statement).await.unwrap();
    };
    holds_without_its_event(
        lite(&file),
        async || run("drop trigger broken").await,
        async || {
            run(
                "create trigger broken before insert on impersonation_trail \
                 begin select raise(abort, 'broken'); end",
            )
            .await;
        },
    )
    .await;
}

/// Somebody alters the table of the trail, and takes their time.
#[tokio::test]
async fn s5_a_trail_that_is_locked_holds_up_no_end() {
    let pg = Pg::new().await;
    let desk = postgres(&pg);
    let id = desk.start(session("ada", "ines"), false).await.session.id;
    let mut other = pg.pool.begin().await.unwrap();
    let lock = "lock table impersonation.trail in access exclusive mode";
    other.execute(lock).await.unwrap();
    let (reason, call) = (EndedReason::Manual, Call::default());
    let stopping = async {
        let recorded = desk.sessions.end_recorded(id, reason, &call, now()).await;
        assert!(recorded.is_none(), "{recorded:?}");
        desk.sessions.end(id, reason, now()).await.unwrap().unwrap();
    };
    let stopped = tokio::time::timeout(Duration::from_secs(4), stopping).await;
    stopped.expect("an end does not wait for the trail");
    other.rollback().await.unwrap();
    assert_eq!(desk.unconfirmed().await, [id]);
}

async fn is_found_until_confirmed(
    desk: Desk<impl SessionStore, impl AuditSink + TrailReader>,
    by_hand: impl AsyncFn(),
) {
    let open = started(&desk.sessions, session("eve", "ines")).await.id;
    let id = started(&desk.sessions, session("ada", "ines")).await.id;
    by_hand().await;
    assert_eq!(desk.unconfirmed().await, [id]);
    let early = desk
        .sessions
        .get(id)
        .await
        .unwrap()
        .unwrap()
        .ended_at
        .unwrap();
    let found = desk.sessions.unconfirmed_ends(early, MANY).await.unwrap();
    assert!(found.is_empty(), "whoever has just ended it is at it");
    // A session that goes on is none.
    desk.sessions
        .confirm_ends(&[open, SessionId(Uuid::now_v7())])
        .await
        .unwrap();
    assert_eq!(desk.unconfirmed().await, [id]);
    desk.sessions
        .end(open, EndedReason::Manual, now())
        .await
        .unwrap();
    assert_eq!(desk.unconfirmed().await, [id, open], "oldest first");
    let later = now() + Duration::from_secs(60);
    let found = desk.sessions.unconfirmed_ends(later, 1).await.unwrap();
    assert_eq!(found.len(), 1);
    desk.sessions.confirm_ends(&[id, open]).await.unwrap();
    desk.sessions.confirm_ends(&[]).await.unwrap();
    assert_eq!(desk.unconfirmed().await, []);
}

#[tokio::test]
async fn a1_ends_made_by_hand_are_found_until_they_are_confirmed() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    is_found_until_confirmed(postgres(&pg), async || {
        let by_hand = "update impersonation.sessions set ended_at = now(), ended_reason = 'manual' \
            where actor = 'ada'";
        pg.pool.execute(by_hand).await.unwrap();
    })
    .await;
    is_found_until_confirmed(lite(&file), async || {
        let by_hand = "update impersonation_sessions set ended_reason = 'manual', \
            ended_at = unixepoch('subsec') * 1000000 where actor = 'ada'";
        file.pool.execute(by_hand).await.unwrap();
    })
    .await;
}

/// What else the trail goes to has to have the event, too: the database cannot see to that.
#[tokio::test]
async fn a1_where_the_trail_goes_elsewhere_too_no_end_is_confirmed_before() {
    let file = Lite::new().await;
    let trail = SqliteTrail::new(file.pool.clone());
    let elsewhere = MemorySink::default();
    let desk = Desk {
        sessions: SqliteSessions::new(file.pool.clone())
            .with_trail(&trail)
            .with_trail_also_in(elsewhere.clone()),
        trail,
    };
    let first = desk.start(session("ada", "ines"), false).await.session;
    let (reason, call) = (EndedReason::Manual, Call::default());
    let recorded = desk.sessions.end_recorded(first.id, reason, &call, now());
    assert!(recorded.await.is_none());
    desk.start(session("ada", "ines"), true).await;
    assert_eq!(desk.unconfirmed().await, [first.id]);
    assert_eq!(elsewhere.events().len(), 3, "two starts and an end");
}

async fn stays_gone<Desks: SessionStore, T: AuditSink + TrailReader>(
    desk: &Desk<Desks, T>,
    at: OffsetDateTime,
) -> SessionId {
    let mut old = session_at("ada", "ines", at);
    old.expires_at = at + Duration::from_secs(60);
    let id = started(&desk.sessions, old).await.id;
    let ended = desk.sessions.end_due(now(), MANY).await.unwrap();
    assert_eq!(ended.len(), 1);
    assert_eq!(desk.unconfirmed().await, [id]);
    id
}

#[tokio::test]
async fn a1_retention_brings_no_end_back() {
    let (pg, file) = (Pg::new().await, Lite::new().await);
    let at = now() - Duration::from_secs(200 * 24 * 60 * 60);
    let keep_from = now() - Duration::from_secs(100 * 24 * 60 * 60);

    let desk = postgres(&pg);
    stays_gone(&desk, at).await;
    desk.trail.drop_months_before(keep_from).await.unwrap();
    assert_eq!(desk.unconfirmed().await, []);

    let desk = lite(&file);
    stays_gone(&desk, at).await;
    desk.trail.drop_months_before(keep_from).await.unwrap();
    assert_eq!(desk.unconfirmed().await, []);
}
