//! The trail in both databases: what a sink has to do, append-only, months, dead processes, reading.

use std::time::Duration;

use serde_json::Value;
use sqlx::{AssertSqlSafe, Executor as _, PgPool, SqlitePool};
use time::{OffsetDateTime, macros::datetime};
use tower_impersonation::{
    Subject,
    audit::{
        AuditEvent, AuditSink, EventName, FanOut, InvalidCursor, MemorySink, Outcome, TrailCursor,
        TrailFilter, TrailList, TrailPage, TrailReader,
        conformance::{self, Repeated},
        sink_fn,
    },
    session::{Limits, SessionId, SessionStore, StartError, SubjectKind},
};
use tower_impersonation_sqlx::{
    COUNTED, PostgresSessions, PostgresTrail, SqliteSessions, SqliteTrail,
};
use uuid::Uuid;

use crate::host::{Lite, Pg, event, now, request, session, started, user};

/// Everything that is there, oldest first, as JSON.
fn as_json(list: TrailList) -> Vec<Value> {
    let oldest_first = list.events.into_iter().rev();
    oldest_first
        .map(|event| serde_json::to_value(event).unwrap())
        .collect()
}

async fn all(trail: &PostgresTrail) -> Vec<AuditEvent> {
    let page = TrailPage::first(1_000_000);
    let list = trail.read(&TrailFilter::default(), &page).await;
    list.unwrap().events
}

async fn all_lite(trail: &SqliteTrail) -> Vec<AuditEvent> {
    let page = TrailPage::first(1_000_000);
    let list = trail.read(&TrailFilter::default(), &page).await;
    list.unwrap().events
}

#[tokio::test]
async fn postgres_trail_conforms() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    conformance::run(trail.clone(), Repeated::KeptOnce, || async {
        // Order is that of coming in: the suite's events are all of one time.
        let page = TrailPage::first(1_000_000);
        as_json(trail.read(&TrailFilter::default(), &page).await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn sqlite_trail_conforms() {
    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    conformance::run(trail.clone(), Repeated::KeptOnce, || async {
        let page = TrailPage::first(1_000_000);
        as_json(trail.read(&TrailFilter::default(), &page).await.unwrap())
    })
    .await;
}

#[tokio::test]
async fn a8_postgres_refuses_update_delete_and_truncate_of_the_trail() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let mut old = event(EventName::Start);
    old.time = datetime!(2026-03-05 12:00 UTC);
    trail.write(&[old]).await.unwrap();
    let before = all(&trail).await;
    assert_eq!(before.len(), 1);

    let statements = [
        "update impersonation.trail set actor = 'eve'",
        "update impersonation.trail_2026_03 set actor = 'eve'",
        "update impersonation.trail set actor = 'eve' where false",
        "delete from impersonation.trail",
        "delete from impersonation.trail_2026_03",
        "delete from only impersonation.trail_2026_03",
        "truncate impersonation.trail",
        "truncate impersonation.trail_2026_03",
        // A superuser who turns triggers off finds these on.
        "set session_replication_role = replica; delete from impersonation.trail_2026_03",
        "set session_replication_role = replica; truncate impersonation.trail",
        "with gone as (delete from impersonation.trail returning 1) select count(*) from gone",
        "insert into impersonation.trail select * from impersonation.trail \
         on conflict (id, is_intent, time) do update set actor = 'eve'",
        "merge into impersonation.trail t using (select 1) s on true when matched then delete",
    ];
    for statement in statements {
        let mut connection = db.pool.acquire().await.unwrap();
        let error = connection
            .execute(AssertSqlSafe(statement.to_owned()))
            .await;
        let error = error.expect_err(statement).to_string();
        assert!(error.contains("append-only"), "{statement}: {error}");
        connection
            .execute("set session_replication_role = default")
            .await
            .unwrap();
    }
    assert_eq!(all(&trail).await, before);
}

#[tokio::test]
async fn a8_sqlite_refuses_update_delete_and_replace_of_the_trail() {
    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    trail.write(&[event(EventName::Start)]).await.unwrap();
    let before = all_lite(&trail).await;
    assert_eq!(before.len(), 1);

    for statement in [
        "update impersonation_trail set actor = 'eve'",
        "delete from impersonation_trail",
        "insert into impersonation_trail select * from impersonation_trail where true \
         on conflict (id, is_intent) do update set actor = 'eve'",
    ] {
        let refused = db.pool.execute(statement).await;
        // The last one is not refused but does nothing.
        if let Err(error) = refused {
            assert!(
                error.to_string().contains("append-only"),
                "{statement}: {error}"
            );
        } else {
            assert!(statement.starts_with("insert"), "{statement}");
        }
    }
    let replace = "insert or replace into impersonation_trail (id, is_intent, time, name, actor) \
        select id, is_intent, time, name, 'eve' from impersonation_trail";
    db.pool.execute(replace).await.unwrap();
    assert_eq!(all_lite(&trail).await, before);
}

#[tokio::test]
async fn a8_what_happens_to_the_hosts_users_leaves_the_trail_alone() {
    let db = Pg::new().await;
    db.pool
        .execute(
            "create table users (id text primary key); insert into users values ('ada'), ('ines')",
        )
        .await
        .unwrap();
    let sessions = PostgresSessions::new(db.pool.clone());
    let trail = PostgresTrail::new(db.pool.clone());
    trail.write(&[event(EventName::Start)]).await.unwrap();
    let id = started(&sessions, session("ada", "ines")).await.id;
    db.pool.execute("delete from users").await.unwrap();
    db.pool.execute("drop table users cascade").await.unwrap();
    assert_eq!(all(&trail).await.len(), 1);
    assert!(sessions.get(id).await.unwrap().is_some());
}

#[tokio::test]
async fn a8_retention_drops_whole_months_that_are_over_and_nothing_else() {
    let times = [
        datetime!(2025-12-31 23:59:59.999999 UTC),
        datetime!(2026-01-01 00:00 UTC),
        datetime!(2026-01-31 23:59:59.999999 UTC),
        datetime!(2026-02-01 00:00 UTC),
        // In UTC this is January.
        datetime!(2026-02-01 00:30 +1),
        now(),
    ];
    let events: Vec<_> = times
        .into_iter()
        .map(|time| {
            let mut event = event(EventName::Request);
            event.time = time;
            event
        })
        .collect();
    let left = |events: Vec<AuditEvent>| -> Vec<OffsetDateTime> {
        events.iter().rev().map(|event| event.time).collect()
    };

    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    trail.write(&events).await.unwrap();
    let soon = now() + Duration::from_secs(3600);
    assert!(
        trail.drop_months_before(soon).await.is_err(),
        "not over yet"
    );
    let within = datetime!(2026-01-20 12:00 UTC);
    let dropped = trail.drop_months_before(within).await.unwrap();
    assert_eq!(dropped, ["trail_2025_12"]);
    let dropped = trail.drop_months_before(within).await.unwrap();
    assert_eq!(dropped, [""; 0]);
    let dropped = trail
        .drop_months_before(datetime!(2026-02-01 00:00 UTC))
        .await
        .unwrap();
    assert_eq!(dropped, ["trail_2026_01"]);
    assert_eq!(left(all(&trail).await), [times[3], times[5]]);
    // A late event of a month that is gone brings it back, append-only as ever.
    trail.write(&events[1..2]).await.unwrap();
    assert_eq!(left(all(&trail).await), [times[1], times[3], times[5]]);
    assert!(
        db.pool
            .execute("delete from impersonation.trail_2026_01")
            .await
            .is_err()
    );

    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    trail.write(&events).await.unwrap();
    assert!(
        trail.drop_months_before(soon).await.is_err(),
        "not over yet"
    );
    assert_eq!(trail.drop_months_before(within).await.unwrap(), 1);
    let february = datetime!(2026-02-01 00:00 UTC);
    assert_eq!(trail.drop_months_before(february).await.unwrap(), 3);
    assert_eq!(left(all_lite(&trail).await), [times[3], times[5]]);
    let refused = db.pool.execute("delete from impersonation_trail").await;
    assert!(refused.unwrap_err().to_string().contains("append-only"));
}

#[tokio::test]
async fn a5_many_processes_may_write_the_first_event_of_a_month_at_once() {
    let db = Pg::new().await;
    for month in [
        datetime!(2024-01-05 12:00 UTC),
        datetime!(2024-02-05 12:00 UTC),
    ] {
        let writes: Vec<_> = (0..8)
            .map(|_| {
                // Each of its own, that does not know what the others know.
                let trail = PostgresTrail::new(db.pool.clone());
                let mut event = event(EventName::Request);
                event.time = month;
                tokio::spawn(async move { trail.write(&[event]).await })
            })
            .collect();
        for write in writes {
            write.await.unwrap().unwrap();
        }
    }
    let trail = PostgresTrail::new(db.pool.clone());
    assert_eq!(all(&trail).await.len(), 16);
}

/// What the view says of each request, oldest first.
async fn outcomes(pool: &PgPool) -> Vec<(Uuid, String)> {
    let sql = "select id, outcome from impersonation.requests order by time, id";
    sqlx::query_as(sql).fetch_all(pool).await.unwrap()
}

async fn outcomes_lite(pool: &SqlitePool) -> Vec<(Uuid, String)> {
    let sql = "select id, outcome from impersonation_requests order by time, id";
    sqlx::query_as(sql).fetch_all(pool).await.unwrap()
}

/// An intent alone, an intent with its outcome, a read, and something that is no request.
fn some_requests() -> (Vec<AuditEvent>, Vec<(Uuid, String)>) {
    let alone = request(Outcome::Intent);
    let intent = request(Outcome::Intent);
    let mut outcome = request(Outcome::Failed);
    outcome.id = intent.id;
    let read = request(Outcome::Completed);
    let wanted = vec![
        (alone.id, "unknown".to_owned()),
        (intent.id, "failed".to_owned()),
        (read.id, "completed".to_owned()),
    ];
    let end = event(EventName::End);
    (vec![alone, intent, outcome, read, end], wanted)
}

#[tokio::test]
async fn a2_an_intent_without_an_outcome_reads_as_unknown() {
    let (events, wanted) = some_requests();
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    trail.write(&events).await.unwrap();
    assert_eq!(outcomes(&db.pool).await, wanted);

    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    trail.write(&events).await.unwrap();
    assert_eq!(outcomes_lite(&db.pool).await, wanted);
}

#[tokio::test]
async fn a2_an_outcome_of_another_month_belongs_to_its_intent() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let mut intent = request(Outcome::Intent);
    intent.time = datetime!(2026-01-31 23:59:59 UTC);
    let mut outcome = request(Outcome::Completed);
    outcome.id = intent.id;
    outcome.time = datetime!(2026-02-01 00:00:01 UTC);
    let wanted = [(intent.id, "completed".to_owned())];
    trail.write(&[intent, outcome]).await.unwrap();
    assert_eq!(outcomes(&db.pool).await, wanted);
}

#[tokio::test]
async fn a2_intents_of_dead_processes_are_marked_once_and_those_of_the_living_are_not() {
    let minute = Duration::from_secs(60);
    let (events, _) = some_requests();
    let alone = events[0].id;

    let db = Pg::new().await;
    let (dead, living) = (
        PostgresTrail::new(db.pool.clone()),
        PostgresTrail::new(db.other_pool().await),
    );
    dead.write(&events).await.unwrap();
    let under_way = request(Outcome::Intent);
    living
        .write(std::slice::from_ref(&under_way))
        .await
        .unwrap();
    assert_eq!(living.mark_unknown(minute).await.unwrap(), 0, "both live");
    // A minute passes in which only one of them says that it lives.
    db.pool
        .execute(
            "update impersonation.processes set seen_at = seen_at - interval '1 minute' \
             where id in (select process from impersonation.trail where name = 'impersonation.end')",
        )
        .await
        .unwrap();
    let (one, two) = tokio::join!(living.mark_unknown(minute), living.mark_unknown(minute));
    assert_eq!(one.unwrap() + two.unwrap(), 1, "the one that was alone");
    let marks: Vec<_> = all(&living).await;
    let marks: Vec<_> = marks
        .iter()
        .filter(|event| event.outcome == Some(Outcome::Unknown))
        .collect();
    assert_eq!(marks.len(), 1);
    assert_eq!(marks[0].id, alone);
    assert_eq!(marks[0].key(), (alone, false));
    let outcome_of = async |id: Uuid| {
        let outcomes = outcomes(&db.pool).await;
        outcomes.into_iter().find(|(of, _)| *of == id).unwrap().1
    };
    assert_eq!(outcome_of(alone).await, "unknown");
    assert_eq!(
        outcome_of(under_way.id).await,
        "unknown",
        "not yet, but not marked"
    );
    // It was not dead after all: what it says counts.
    let mut late = request(Outcome::Completed);
    late.id = alone;
    late.time += minute;
    dead.write(&[late]).await.unwrap();
    assert_eq!(outcome_of(alone).await, "completed");

    let db = Lite::new().await;
    let (dead, living) = (
        SqliteTrail::new(db.pool.clone()),
        SqliteTrail::new(db.other_pool().await),
    );
    dead.write(&events).await.unwrap();
    living.write(&[request(Outcome::Intent)]).await.unwrap();
    assert_eq!(living.mark_unknown(minute).await.unwrap(), 0, "both live");
    db.pool
        .execute(
            "update impersonation_processes set seen_at = seen_at - 60000000 \
             where id in (select process from impersonation_trail where name = 'impersonation.end')",
        )
        .await
        .unwrap();
    assert_eq!(living.mark_unknown(minute).await.unwrap(), 1);
    assert_eq!(living.mark_unknown(minute).await.unwrap(), 0, "only once");
    let marked = all_lite(&living).await;
    let marked = marked
        .iter()
        .find(|event| event.outcome == Some(Outcome::Unknown));
    assert_eq!(marked.unwrap().id, alone);
}

/// Events that each filter finds some of, oldest first.
fn varied() -> Vec<AuditEvent> {
    let start = datetime!(2026-01-31 23:00 UTC);
    (0..240)
        .map(|number: u32| {
            let mut event = event(match number % 4 {
                0 => EventName::Denied,
                _ => EventName::Request,
            });
            // Several have the same time.
            event.time = start + Duration::from_secs(60) * (number / 3);
            event.actor = Some(user(["ada", "eve", "ada'"][number as usize % 3]));
            event.subject = Some(match number % 5 {
                0 => Subject::Anonymous,
                1 => Subject::Service,
                _ => user("ines").into(),
            });
            event.session = Some(SessionId(Uuid::from_u128(u128::from(number % 7))));
            event
        })
        .collect()
}

fn filters() -> Vec<TrailFilter> {
    let with = |set: &dyn Fn(&mut TrailFilter)| {
        let mut filter = TrailFilter::default();
        set(&mut filter);
        filter
    };
    let at = datetime!(2026-02-01 00:00 UTC);
    vec![
        with(&|_| {}),
        with(&|f| f.name = Some(EventName::Denied)),
        with(&|f| f.actor = Some(user("ada"))),
        with(&|f| f.subject = Some(Subject::Anonymous)),
        with(&|f| f.kind = Some(SubjectKind::User)),
        with(&|f| f.kind = Some(SubjectKind::Anon)),
        with(&|f| f.kind = Some(SubjectKind::Service)),
        with(&|f| f.session = Some(SessionId(Uuid::from_u128(3)))),
        with(&|f| f.from = Some(at)),
        with(&|f| f.to = Some(at)),
        with(&|f| {
            f.actor = Some(user("ada'"));
            f.name = Some(EventName::Request);
            f.subject = Some(user("ines").into());
            f.from = Some(datetime!(2026-01-31 23:10 UTC));
            f.to = Some(at);
        }),
        with(&|f| f.actor = Some(user("nobody"))),
    ]
}

#[tokio::test]
async fn the_trail_is_read_newest_first_by_every_filter_page_by_page() {
    let events = varied();
    let db = Pg::new().await;
    let postgres = PostgresTrail::new(db.pool.clone());
    let lite = Lite::new().await;
    let sqlite = SqliteTrail::new(lite.pool.clone());
    postgres.write(&events).await.unwrap();
    sqlite.write(&events).await.unwrap();

    for filter in filters() {
        let newest_first = events.iter().rev().filter(|event| filter.matches(event));
        let wanted: Vec<_> = newest_first.cloned().collect();
        for limit in [1, 7, wanted.len().max(1), 1_000] {
            let (mut page, mut read) = (TrailPage::first(limit), Vec::new());
            loop {
                let one = postgres.read(&filter, &page).await.unwrap();
                let other = sqlite.read(&filter, &page).await.unwrap();
                assert_eq!(one.events, other.events, "{filter:?}");
                assert_eq!((one.total, other.total), (wanted.len() as u64, one.total));
                assert!(one.events.len() <= limit);
                read.extend(one.events);
                assert_eq!(one.next.is_some(), other.next.is_some());
                let Some(next) = one.next else { break };
                page = TrailPage::first(limit).after(next);
            }
            assert_eq!(read, wanted, "{filter:?} in pages of {limit}");
        }
    }
}

/// What the caller got wrong is told from what the database got wrong.
#[tokio::test]
async fn a_cursor_that_is_none_is_the_callers_fault() {
    let db = Pg::new().await;
    let postgres = PostgresTrail::new(db.pool.clone());
    let lite = Lite::new().await;
    let sqlite = SqliteTrail::new(lite.pool.clone());
    for text in [
        "",
        "nonsense",
        "1",
        "1.",
        "-5.1.1",
        "99999999999999999999.1",
    ] {
        let page = TrailPage::first(1).after(TrailCursor(text.to_owned()));
        let readers: [&dyn TrailReader; 2] = [&postgres, &sqlite];
        for reader in readers {
            let error = reader.read(&TrailFilter::default(), &page).await;
            assert!(error.unwrap_err().is::<InvalidCursor>(), "{text}");
        }
    }
    // Only a type that can hold it tells.
    for text in [
        "9223372036854775807.1",
        "-9223372036854775808.1",
        "-300000000000000000.1",
    ] {
        let page = TrailPage::first(1).after(TrailCursor(text.to_owned()));
        let error = postgres.read(&TrailFilter::default(), &page).await;
        assert!(error.unwrap_err().is::<InvalidCursor>(), "{text}");
    }
}

#[tokio::test]
async fn totals_are_exact_up_to_their_bound() {
    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    let mut events: Vec<_> = (0..COUNTED).map(|_| event(EventName::Request)).collect();
    trail.write(&events).await.unwrap();
    let page = TrailPage::first(10);
    let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
    assert_eq!(list.total, COUNTED);
    events = (0..5).map(|_| event(EventName::Request)).collect();
    trail.write(&events).await.unwrap();
    let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
    assert_eq!(list.total, COUNTED + 1, "more than can be told");
}

#[tokio::test]
async fn a1_a_recorded_start_writes_both_or_neither() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let sessions = PostgresSessions::new(db.pool.clone());
    both_or_neither(
        &sessions,
        &sessions.clone().with_trail(&trail),
        async || all(&trail).await,
        async || {
            let broken = "alter table impersonation.trail rename to elsewhere";
            db.pool.execute(broken).await.unwrap();
        },
    )
    .await;

    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    let sessions = SqliteSessions::new(db.pool.clone());
    both_or_neither(
        &sessions,
        &sessions.clone().with_trail(&trail),
        async || all_lite(&trail).await,
        async || {
            let broken = "alter table impersonation_trail rename to elsewhere";
            db.pool.execute(broken).await.unwrap();
        },
    )
    .await;
}

#[tokio::test]
async fn a1_a_recorded_start_is_in_every_sink_or_nowhere() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let sessions = PostgresSessions::new(db.pool.clone()).with_trail(&trail);
    let beside = |sink| sessions.clone().with_trail_also_in(sink);
    everywhere_or_nowhere(beside, async || all(&trail).await).await;

    let db = Lite::new().await;
    let trail = SqliteTrail::new(db.pool.clone());
    let sessions = SqliteSessions::new(db.pool.clone()).with_trail(&trail);
    let beside = |sink| sessions.clone().with_trail_also_in(sink);
    everywhere_or_nowhere(beside, async || all_lite(&trail).await).await;
}

async fn everywhere_or_nowhere<S: SessionStore>(
    beside: impl Fn(FanOut) -> S,
    trail: impl AsyncFn() -> Vec<AuditEvent>,
) {
    let limits = Limits::default();
    let about = |session: SessionId| {
        let mut start = event(EventName::Start);
        start.session = Some(session);
        start
    };

    // One of the others is full: nothing starts.
    let full = FanOut::all().and(sink_fn(|_| Err("the disk is full".into())));
    let (store, first) = (beside(full), session("ada", "ines"));
    let start = about(first.id);
    let refused = store.start_recorded(&first, &limits, &start).await;
    assert!(matches!(refused, Some(Err(StartError::Trail(_)))));
    assert!(store.get(first.id).await.unwrap().is_none());
    assert_eq!(trail().await, []);

    let memory = MemorySink::default();
    let store = beside(FanOut::all().and(memory.clone()));
    let start = about(first.id);
    let started = store.start_recorded(&first, &limits, &start).await;
    started.unwrap().unwrap();
    let second = session("ada", "otto");
    let refused = store
        .start_recorded(&second, &limits, &about(second.id))
        .await;
    assert!(matches!(refused, Some(Err(StartError::AlreadyActive))));
    assert_eq!(memory.events(), std::slice::from_ref(&start));
    assert_eq!(trail().await, [start]);
}

#[tokio::test]
async fn a1_a_recorded_start_that_fails_at_its_very_end_writes_nothing() {
    let db = Pg::new().await;
    let trail = PostgresTrail::new(db.pool.clone());
    let sessions = PostgresSessions::new(db.pool.clone()).with_trail(&trail);
    db.pool
        .execute(
            "create function no() returns trigger language plpgsql as $$ begin raise 'no'; end $$; \
             create constraint trigger no after insert on impersonation.sessions \
             deferrable initially deferred for each row execute function no()",
        )
        .await
        .unwrap();
    let session = session("ada", "ines");
    let (limits, event) = (Limits::default(), event(EventName::Start));
    let failed = sessions.start_recorded(&session, &limits, &event).await;
    assert!(matches!(failed, Some(Err(StartError::Store(_)))));
    assert_eq!(all(&trail).await, []);
    assert!(sessions.get(session.id).await.unwrap().is_none());
}

async fn both_or_neither(
    plain: &impl SessionStore,
    recording: &impl SessionStore,
    trail: impl AsyncFn() -> Vec<AuditEvent>,
    break_trail: impl AsyncFn(),
) {
    let limits = Limits::default();
    let about = |session: SessionId| {
        let mut event = event(EventName::Start);
        event.session = Some(session);
        event
    };
    let first = session("ada", "ines");
    let event = about(first.id);
    let done = plain.start_recorded(&first, &limits, &event).await;
    assert!(done.is_none(), "it was not told that the trail is here");
    assert!(plain.get(first.id).await.unwrap().is_none());

    let done = recording.start_recorded(&first, &limits, &event).await;
    assert_eq!(done.unwrap().unwrap().session.id, first.id);
    assert_eq!(trail().await, [event]);
    assert!(plain.get(first.id).await.unwrap().is_some());

    let second = session("ada", "otto");
    let event = about(second.id);
    let refused = recording.start_recorded(&second, &limits, &event).await;
    assert!(matches!(refused, Some(Err(StartError::AlreadyActive))));
    assert_eq!(trail().await.len(), 1, "a refused start writes nothing");

    break_trail().await;
    let third = session("eve", "ines");
    let event = about(third.id);
    let failed = recording.start_recorded(&third, &limits, &event).await;
    assert!(matches!(failed, Some(Err(StartError::Store(_)))));
    let left = plain.get(third.id).await.unwrap();
    assert!(left.is_none(), "no session without its event");
}
