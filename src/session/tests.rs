//! The rules of sessions, of the stores in this crate, and of what a process knows of its sessions.
#![allow(clippy::unwrap_used)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response, request::Parts};
use time::{OffsetDateTime, macros::datetime};
use tokio::sync::Semaphore;
use tower::{Layer, ServiceExt, service_fn};
use uuid::Uuid;

use super::*;
use crate::{
    Actor, Caller, Decision, Grant, Impersonation, Rejection, RejectionKind, Rights,
    audit::{EventName, MemorySink},
    checker_fn,
    clock::ManualClock,
    words::{Access, BoxError, Live, Subject, UserId},
};

mod life;

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_nanos(1);

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

fn subject(id: &str) -> Subject {
    id.parse().unwrap()
}

/// A session of two hours, thirty minutes idle, that starts so long after noon.
fn session(actor: &str, subject_id: &str, after: Duration) -> Session {
    static COUNT: AtomicUsize = AtomicUsize::new(0);

    let number = COUNT.fetch_add(1, Ordering::Relaxed) as u128;
    let started_at = NOON + after;
    let millis = started_at.unix_timestamp_nanos() as u128 / 1_000_000;
    let id = SessionId(Uuid::from_u128(millis << 80 | 7 << 76 | 2 << 62 | number));
    let reason = "ticket 4711";
    let mut session = Session::new(
        id,
        user(actor),
        subject(subject_id),
        reason,
        started_at,
        started_at + 120 * MINUTE,
    );
    session.idle_timeout = 30 * MINUTE;
    session
}

async fn started(store: &impl SessionStore, session: Session) -> Arc<Session> {
    let limits = Limits {
        active: 1_000,
        starts_per_hour: 1_000,
        replace: false,
    };
    store.start(session, &limits).await.unwrap().session
}

// === Conformance ===

#[cfg(feature = "conformance")]
mod conform {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn memory_sessions_conform() {
        conformance::run(async || MemorySessions::new()).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn cached_sessions_conform() {
        conformance::run(async || Cached::new(MemorySessions::new(), 60 * MINUTE)).await;
    }

    #[tokio::test]
    async fn one_store_that_was_used_before_conforms() {
        let store = MemorySessions::new();
        for _ in 0..2 {
            conformance::run(async || store.clone()).await;
        }
    }
}

// === Limits ===

#[test]
fn s2_s3_a_start_is_admitted_replaces_or_is_refused() {
    enum Want {
        /// Ends these, by index.
        Ends(&'static [usize]),
        AlreadyActive,
        /// Seconds.
        TooMany(u64),
    }
    use Want::*;
    struct Test {
        active: usize,
        replace: bool,
        per_hour: u32,
        /// Subjects of active sessions, oldest first.
        sessions: &'static [&'static str],
        /// Seconds ago, oldest first.
        starts: &'static [i64],
        want: Want,
    }
    let test = |active, replace, sessions, want| Test {
        active,
        replace,
        per_hour: 10,
        sessions,
        starts: &[],
        want,
    };
    let rate = |per_hour, starts, want| Test {
        active: 1,
        replace: false,
        per_hour,
        sessions: &[],
        starts,
        want,
    };
    let tests = [
        test(1, false, &[], Ends(&[])),
        test(1, false, &["otto"], AlreadyActive),
        test(1, false, &["ines"], AlreadyActive),
        test(1, true, &["otto"], Ends(&[0])),
        test(1, true, &["ines"], Ends(&[0])),
        test(2, false, &["otto"], Ends(&[])),
        test(2, false, &["ines"], AlreadyActive),
        test(2, false, &["otto", "vera"], AlreadyActive),
        test(2, true, &["otto", "vera"], Ends(&[0])),
        test(2, true, &["otto", "ines"], Ends(&[1])),
        test(2, true, &["ines", "otto"], Ends(&[0])),
        test(1, true, &["otto", "vera", "ines"], Ends(&[2, 0, 1])),
        test(2, true, &["otto", "vera", "ines"], Ends(&[2, 0])),
        // None at all would be no limit but a lock-out: it counts as one.
        test(0, false, &[], Ends(&[])),
        test(0, false, &["otto"], AlreadyActive),
        rate(2, &[60], Ends(&[])),
        rate(2, &[60, 30], TooMany(3540)),
        rate(2, &[3599, 30], TooMany(1)),
        rate(2, &[3600, 30], Ends(&[])),
        rate(2, &[7200, 3600, 30], Ends(&[])),
        // More than there may be, after the setting was lowered: room comes when the second newest goes.
        rate(2, &[600, 500, 400, 300], TooMany(3200)),
        // Of a replica whose clock is ahead.
        rate(1, &[-10], TooMany(3610)),
        rate(0, &[], TooMany(3600)),
        Test {
            active: 1,
            replace: true,
            per_hour: 1,
            sessions: &["otto"],
            starts: &[600],
            want: TooMany(3000),
        },
        Test {
            active: 1,
            replace: false,
            per_hour: 1,
            sessions: &["otto"],
            starts: &[600],
            want: AlreadyActive,
        },
    ];
    for (number, test) in tests.iter().enumerate() {
        let limits = Limits {
            active: test.active,
            replace: test.replace,
            starts_per_hour: test.per_hour,
        };
        let sessions: Vec<_> = test
            .sessions
            .iter()
            .map(|subject| Arc::new(session("ada", subject, Duration::ZERO)))
            .collect();
        let ago = |ago: &i64| NOON - time::Duration::seconds(*ago);
        let starts: Vec<_> = test.starts.iter().map(ago).collect();
        let admitted = limits.admit(&subject("ines"), &sessions, &starts, NOON);
        match (&test.want, admitted) {
            (Ends(want), Ok(ends)) => {
                let want: Vec<_> = want.iter().map(|index| sessions[*index].id).collect();
                let ends: Vec<_> = ends.iter().map(|session| session.id).collect();
                assert_eq!(ends, want, "test {number}");
            }
            (AlreadyActive, Err(StartError::AlreadyActive)) => {}
            (TooMany(wait), Err(StartError::TooManyStarts { retry_after })) => {
                assert_eq!(retry_after, Duration::from_secs(*wait), "test {number}");
            }
            (_, other) => panic!("test {number}: {other:?}"),
        }
    }
}

// === Session ===

#[test]
fn s4_a_session_ends_at_the_earliest_of_its_ends() {
    use EndedReason::{Idle, Manual, Timeout};
    struct Test {
        /// In minutes after the start.
        lifetime: u32,
        idle: Option<u32>,
        seen: u32,
        ended: Option<u32>,
        now: Duration,
        due: Option<(EndedReason, u32)>,
        is_open: bool,
        is_active: bool,
    }
    let test = |lifetime, idle, seen, now, due, is_open| Test {
        lifetime,
        idle,
        seen,
        ended: None,
        now,
        due,
        is_open,
        is_active: due.is_none(),
    };
    let ended = |ended, now| Test {
        ended: Some(ended),
        ..test(60, Some(30), 0, now, None, false)
    };
    let tests = [
        test(60, None, 0, 60 * MINUTE - TICK, None, true),
        test(60, None, 0, 60 * MINUTE, Some((Timeout, 60)), false),
        test(60, None, 0, 600 * MINUTE, Some((Timeout, 60)), false),
        test(60, Some(30), 0, 30 * MINUTE - TICK, None, true),
        test(60, Some(30), 0, 30 * MINUTE, Some((Idle, 30)), true),
        test(60, Some(30), 0, 600 * MINUTE, Some((Idle, 30)), false),
        test(60, Some(30), 20, 50 * MINUTE - TICK, None, true),
        test(60, Some(30), 20, 50 * MINUTE, Some((Idle, 50)), true),
        // Both at once: the lifetime is over, whatever else.
        test(60, Some(30), 30, 60 * MINUTE, Some((Timeout, 60)), false),
        test(60, Some(30), 40, 60 * MINUTE, Some((Timeout, 60)), false),
        test(0, None, 0, Duration::ZERO, Some((Timeout, 0)), false),
        test(60, Some(0), 0, Duration::ZERO, Some((Idle, 0)), true),
        Test {
            is_active: false,
            ..ended(10, 10 * MINUTE)
        },
        Test {
            is_active: false,
            ..ended(10, 9 * MINUTE)
        },
        Test {
            is_active: false,
            ..ended(10, 600 * MINUTE)
        },
    ];
    for (number, test) in tests.iter().enumerate() {
        let mut session = session("ada", "ines", Duration::ZERO);
        session.expires_at = NOON + test.lifetime * MINUTE;
        session.idle_timeout = test.idle.map_or(Duration::MAX, |idle| idle * MINUTE);
        session.last_seen_at = NOON + test.seen * MINUTE;
        if let Some(ended) = test.ended {
            session = session.ended(Manual, NOON + ended * MINUTE);
        }
        let now = NOON + test.now;
        let due = test.due.map(|(reason, at)| (reason, NOON + at * MINUTE));
        assert_eq!(session.due(now), due, "due of test {number}");
        assert_eq!(session.is_open(now), test.is_open, "is_open of {number}");
        assert_eq!(
            session.is_active(now),
            test.is_active,
            "is_active of {number}"
        );
    }
}

#[test]
fn s4_an_end_changes_nothing_else() {
    let before = session("ada", "ines", Duration::ZERO);
    let after = before.ended(EndedReason::SubjectGone, NOON + MINUTE);
    assert_eq!(after.ended_at, Some(NOON + MINUTE));
    assert_eq!(after.ended_reason, Some(EndedReason::SubjectGone));
    let restored = Session {
        ended_at: None,
        ended_reason: None,
        ..after
    };
    assert_eq!(restored, before);
}

#[test]
fn s4_reasons_read_in_json_as_in_the_contract() {
    let reasons = [
        (EndedReason::Manual, "manual"),
        (EndedReason::Timeout, "timeout"),
        (EndedReason::Idle, "idle"),
        (EndedReason::AdminLogout, "admin_logout"),
        (EndedReason::SessionRevoked, "session_revoked"),
        (EndedReason::ActorDemoted, "actor_demoted"),
        (EndedReason::SubjectGone, "subject_gone"),
        (EndedReason::Replaced, "replaced"),
        (EndedReason::MarkerRemoved, "marker_removed"),
    ];
    for (reason, text) in reasons {
        assert_eq!(reason.to_string(), text);
        assert_eq!(serde_json::to_value(reason).unwrap(), text);
    }
}

#[test]
fn debug_shows_no_reason_ticket_or_address() {
    let mut session = session("ada", "ines", Duration::ZERO);
    session.reason = "SECRET".into();
    session.ticket = Some("SECRET".into());
    session.user_agent = Some("SECRET".into());
    session.address = Some("192.0.2.77".parse().unwrap());
    let shown = format!("{session:#?}");
    assert!(shown.contains("ada") && !shown.contains("SECRET") && !shown.contains("192.0.2"));
}

// === SessionFilter ===

#[test]
fn a_filter_matches_what_it_names() {
    let now = NOON + 10 * MINUTE;
    let ines = session("ada", "ines", MINUTE);
    let anon = session("ada", "~anon", MINUTE);
    let service = session("eve", "~service", MINUTE);
    let idle = Session {
        idle_timeout: 9 * MINUTE,
        ..ines.clone()
    };
    let ended = ines.ended(EndedReason::Manual, now);
    let any = SessionFilter::default();
    let kind = |kind| SessionFilter {
        kind: Some(kind),
        ..SessionFilter::default()
    };
    let active = |is_active| SessionFilter {
        is_active: Some(is_active),
        ..SessionFilter::default()
    };
    let between = |from, to| SessionFilter {
        from,
        to,
        ..SessionFilter::default()
    };
    let of = |actor: &str, of: &str| SessionFilter {
        actor: Some(user(actor)),
        subject: Some(subject(of)),
        ..SessionFilter::default()
    };
    let at = Some(NOON + MINUTE);
    let after = Some(NOON + MINUTE + TICK);
    // Which of ines, anon, service, idle, ended.
    let tests = [
        (any, [true; 5]),
        (kind(SubjectKind::User), [true, false, false, true, true]),
        (kind(SubjectKind::Anon), [false, true, false, false, false]),
        (
            kind(SubjectKind::Service),
            [false, false, true, false, false],
        ),
        (active(true), [true, true, true, false, false]),
        (active(false), [false, false, false, true, true]),
        (between(at, None), [true; 5]),
        (between(after, None), [false; 5]),
        (between(None, at), [false; 5]),
        (between(None, after), [true; 5]),
        (between(at, after), [true; 5]),
        (of("ada", "ines"), [true, false, false, true, true]),
        (of("eve", "ines"), [false; 5]),
        (of("eve", "~service"), [false, false, true, false, false]),
    ];
    for (filter, wanted) in tests {
        let sessions = [&ines, &anon, &service, &idle, &ended];
        let found = sessions.map(|session| filter.matches(session, now));
        assert_eq!(found, wanted, "{filter:?}");
    }
}

// === MemorySessions ===

#[tokio::test]
async fn memory_keeps_the_newest_ended_sessions_and_all_active_ones() {
    for history in [0, 1, 3] {
        let store = MemorySessions::new().with_history(history);
        let active = started(&store, session("ada", "otto", Duration::ZERO)).await;
        let mut ended = Vec::new();
        for number in 1..6 {
            let session = started(&store, session("ada", "ines", number * SECOND)).await;
            let reason = EndedReason::Manual;
            let by_end = store.end(session.id, reason, NOON + MINUTE).await.unwrap();
            assert!(by_end.is_some(), "the one who ends it gets it all the same");
            ended.push(session.id);
        }
        ended.reverse();
        ended.truncate(history);
        for id in &ended {
            assert!(store.get(*id).await.unwrap().is_some());
        }
        ended.push(active.id);
        let all = SessionFilter::default();
        let list = store.list(&all, &Page::default(), NOON + MINUTE).await;
        let list = list.unwrap();
        let listed: Vec<_> = list.sessions.iter().map(|session| session.id).collect();
        assert_eq!(listed, ended, "history of {history}");
        assert_eq!(list.total, ended.len() as u64);

        // What was forgotten still counts (rule S3).
        let limits = Limits {
            active: 9,
            starts_per_hour: 6,
            replace: false,
        };
        let seventh = session("ada", "vera", MINUTE);
        let refused = store.start(seventh, &limits).await;
        assert!(matches!(refused, Err(StartError::TooManyStarts { .. })));
    }
}

#[tokio::test]
async fn a_listener_may_use_the_store() {
    let store = MemorySessions::new();
    let (asked, answers) = std::sync::mpsc::channel();
    let listening = store.clone();
    store.subscribe(Arc::new(move |_| {
        let there = listening.peek(&user("ada"), &subject("ines"), NOON);
        // It would hang here if a lock were held.
        let due = tokio_test::task::spawn(listening.end_due(NOON, 9)).poll();
        asked.send((there.is_some(), due.is_ready())).unwrap();
    }));
    let session = started(&store, session("ada", "ines", Duration::ZERO)).await;
    let ended = store.end(session.id, EndedReason::Manual, NOON).await;
    assert!(ended.unwrap().is_some());
    assert_eq!(answers.try_recv(), Ok((true, true)), "of the start");
    assert_eq!(answers.try_recv(), Ok((false, true)), "of the end");
}

// === Cached ===

/// A store that counts, waits and fails as it is told.
struct Probe {
    store: MemorySessions,
    /// How often `active` was asked.
    asked: AtomicUsize,
    /// What becomes of the next answers.
    faults: Mutex<VecDeque<Fault>>,
    /// Answers of `active` and `end_due`, known already, are held back until there is a permit to `go`.
    is_gated: AtomicBool,
    waiting: Semaphore,
    go: Semaphore,
    /// Nobody hears of changes by themselves.
    is_deaf: bool,
    /// News are being lost, and the store knows.
    is_cut: AtomicBool,
    listeners: Mutex<Vec<SessionListener>>,
}

#[derive(Debug, PartialEq)]
enum Fault {
    None,
    Error,
    Panic,
}

#[derive(Clone)]
struct Probed(Arc<Probe>);

impl Probed {
    fn new() -> Self {
        Self::of(false)
    }

    fn deaf() -> Self {
        Self::of(true)
    }

    fn of(is_deaf: bool) -> Self {
        Self(Arc::new(Probe {
            store: MemorySessions::new(),
            asked: AtomicUsize::new(0),
            faults: Mutex::default(),
            is_gated: AtomicBool::new(false),
            waiting: Semaphore::new(0),
            go: Semaphore::new(0),
            is_deaf,
            is_cut: AtomicBool::new(false),
            listeners: Mutex::default(),
        }))
    }

    fn cached(&self, keep: Duration) -> Arc<Cached<Self>> {
        Arc::new(Cached::new(self.clone(), keep))
    }

    fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.0.faults.lock().unwrap().extend(faults);
    }

    fn gate(&self, is_gated: bool) {
        self.0.is_gated.store(is_gated, Ordering::SeqCst);
    }

    /// Waits until an answer is held back.
    async fn answer_waits(&self) {
        self.0.waiting.acquire().await.unwrap().forget();
    }

    fn let_go(&self, answers: usize) {
        self.0.go.add_permits(answers);
    }

    /// As news of another replica.
    fn say(&self, change: &SessionChange) {
        let listeners = self.0.listeners.lock().unwrap().clone();
        listeners.iter().for_each(|listener| listener(change));
    }

    async fn pass(&self) -> Result<(), BoxError> {
        let fault = self.0.faults.lock().unwrap().pop_front();
        if self.0.is_gated.load(Ordering::SeqCst) {
            self.0.waiting.add_permits(1);
            self.0.go.acquire().await.unwrap().forget();
        }
        match fault {
            Some(Fault::Error) => Err("the connection was lost".into()),
            Some(Fault::Panic) => panic!("a store that panics"),
            Some(Fault::None) | None => Ok(()),
        }
    }
}

#[async_trait]
impl SessionStore for Probed {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        self.0.store.check(session, limits, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.0.store.start(session, limits).await
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let answer = self.0.store.active(actor, subject, now).await;
        self.pass().await?;
        answer
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        let answer = self.0.store.get(id).await;
        let fault = self.0.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Error) => Err("the connection was lost".into()),
            _ => answer,
        }
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.0.store.end(id, reason, now).await
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        let answer = self.0.store.end_due(now, limit).await;
        self.pass().await?;
        answer
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        let fault = self.0.faults.lock().unwrap().pop_front();
        match fault {
            Some(Fault::Error) => Err("the connection was lost".into()),
            _ => self.0.store.touch(id, seen_at).await,
        }
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.0.store.update(id, update, now).await
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        self.0.store.list(filter, page, now).await
    }

    fn subscribe(&self, listener: SessionListener) {
        if !self.0.is_deaf {
            self.0.store.subscribe(listener.clone());
        }
        self.0.listeners.lock().unwrap().push(listener);
    }

    fn hears_all(&self) -> bool {
        !self.0.is_cut.load(Ordering::SeqCst)
    }
}

/// What is found for ada as ines.
async fn find(
    store: &impl SessionStore,
    after: Duration,
) -> Result<Option<Arc<Session>>, BoxError> {
    let (ada, ines) = (user("ada"), subject("ines"));
    store.active(&ada, &ines, NOON + after).await
}

fn peek(store: &impl SessionStore, after: Duration) -> Option<Arc<Session>> {
    store.peek(&user("ada"), &subject("ines"), NOON + after)
}

/// A task that looks ada's session as ines up; it has run until it had to wait.
async fn look_up(
    store: &Arc<Cached<Probed>>,
    after: Duration,
) -> tokio::task::JoinHandle<Result<Option<Arc<Session>>, BoxError>> {
    let store = store.clone();
    let task = tokio::spawn(async move { find(&*store, after).await });
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn s9_while_the_store_does_not_hear_nothing_kept_is_used_and_nothing_is_kept() {
    let probe = Probed::new();
    let cached = probe.cached(10 * SECOND);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    find(&*cached, Duration::ZERO).await.unwrap().unwrap();
    assert!(peek(&*cached, Duration::ZERO).is_some());

    probe.0.is_cut.store(true, Ordering::SeqCst);
    assert!(
        !cached.hears_all(),
        "who caches this cache has to know as well"
    );
    let asked = probe.asked();
    for again in 1..4 {
        assert!(peek(&*cached, Duration::ZERO).is_none());
        find(&*cached, Duration::ZERO).await.unwrap().unwrap();
        assert_eq!(probe.asked(), asked + again);
    }
}

#[tokio::test]
async fn a_hit_asks_the_store_once_and_for_its_time() {
    let probe = Probed::new();
    let cached = probe.cached(10 * SECOND);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(peek(&*cached, Duration::ZERO).is_none());

    // When, whether it is kept already, and how often the store was asked then.
    let tests = [
        (Duration::ZERO, false, 1),
        (Duration::ZERO, true, 1),
        (10 * SECOND - TICK, true, 1),
        (10 * SECOND, false, 2),
        (20 * SECOND - TICK, true, 2),
        (25 * SECOND, false, 3),
    ];
    for (after, peeked, asked) in tests {
        let found = peek(&*cached, after).map(|found| found.id);
        assert_eq!(found, peeked.then_some(session.id), "peek at {after:?}");
        let found = find(&*cached, after).await.unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
        assert_eq!(probe.asked(), asked, "at {after:?}");
    }
}

#[tokio::test]
async fn s4_nothing_is_kept_past_the_end() {
    let probe = Probed::new();
    let cached = probe.cached(Duration::from_secs(1_000_000));
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(find(&*cached, MINUTE).await.unwrap().is_some());
    assert!(peek(&*cached, 120 * MINUTE - TICK).is_some());
    assert!(peek(&*cached, 120 * MINUTE).is_none());
    assert!(find(&*cached, 120 * MINUTE).await.unwrap().is_none());
}

#[tokio::test]
async fn no_time_keeps_nothing() {
    let probe = Probed::new();
    let cached = probe.cached(Duration::ZERO);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    for asked in 1..4 {
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
        assert!(peek(&*cached, Duration::ZERO).is_none());
        assert_eq!(probe.asked(), asked);
    }
}

#[tokio::test]
async fn concurrent_misses_share_one_question() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let mut tasks = Vec::new();
    for _ in 0..20 {
        tasks.push(look_up(&cached, SECOND).await);
    }
    probe.answer_waits().await;
    assert!(peek(&*cached, SECOND).is_none());
    probe.let_go(20);
    for task in tasks {
        let found = task.await.unwrap().unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
    }
    assert_eq!(probe.asked(), 1);
}

#[tokio::test]
async fn that_there_is_none_is_never_kept() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    for asked in 1..4 {
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_none());
        assert_eq!(probe.asked(), asked);
        assert!(format!("{cached:?}").contains("kept: 0"), "not even room");
    }

    // Nor is it shared: who asks after a start finds it, even while an older question is open.
    probe.gate(true);
    let early = look_up(&cached, Duration::ZERO).await;
    probe.answer_waits().await;
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    let late = look_up(&cached, Duration::ZERO).await;
    probe.gate(false);
    probe.let_go(1);
    assert!(early.await.unwrap().unwrap().is_none());
    let found = late.await.unwrap().unwrap();
    assert_eq!(found.map(|found| found.id), Some(session.id));
}

#[tokio::test]
async fn s9_what_changes_is_forgotten_at_once() {
    type Change = fn(&Probed, Arc<Cached<Probed>>, SessionId) -> BoxFuture;
    type BoxFuture = std::pin::Pin<Box<dyn Future<Output = ()>>>;

    const BY_ITSELF: [(&str, Change); 4] = [
        ("end", |_, cached, id| {
            Box::pin(async move {
                let ended = cached.end(id, EndedReason::Manual, NOON + SECOND);
                assert!(ended.await.unwrap().is_some());
            })
        }),
        ("end_due", |_, cached, _| {
            Box::pin(async move {
                let ended = cached.end_due(NOON + 30 * MINUTE, 9).await;
                assert_eq!(ended.unwrap().len(), 1);
            })
        }),
        ("update", |_, cached, id| {
            Box::pin(async move {
                let update = SessionUpdate {
                    expires_at: Some(NOON + SECOND),
                    ..SessionUpdate::default()
                };
                let updated = cached.update(id, update, NOON);
                assert!(updated.await.unwrap().is_some());
            })
        }),
        ("start", |_, cached, _| {
            Box::pin(async move {
                let limits = Limits {
                    replace: true,
                    ..Limits::default()
                };
                let other = session("ada", "otto", SECOND);
                let started = cached.start(other, &limits).await.unwrap();
                assert_eq!(started.ended.len(), 1);
            })
        }),
    ];
    const ELSEWHERE: [(&str, Change); 2] = [
        ("end elsewhere", |probe, _, id| {
            let store = probe.0.store.clone();
            Box::pin(async move {
                let ended = store.end(id, EndedReason::SessionRevoked, NOON + SECOND);
                assert!(ended.await.unwrap().is_some());
            })
        }),
        ("update elsewhere", |probe, _, id| {
            let store = probe.0.store.clone();
            Box::pin(async move {
                let update = SessionUpdate {
                    expires_at: Some(NOON + SECOND),
                    ..SessionUpdate::default()
                };
                let updated = store.update(id, update, NOON);
                assert!(updated.await.unwrap().is_some());
            })
        }),
    ];
    // What goes through the cache needs no news; what does not is heard of.
    let tests = BY_ITSELF.iter().map(|test| (Probed::deaf(), test));
    let tests = tests.chain(BY_ITSELF.iter().map(|test| (Probed::new(), test)));
    let tests = tests.chain(ELSEWHERE.iter().map(|test| (Probed::new(), test)));
    for (probe, (name, change)) in tests {
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
        assert!(peek(&*cached, SECOND).is_some(), "{name}");
        change(&probe, cached.clone(), session.id).await;
        assert!(peek(&*cached, SECOND).is_none(), "{name}: peek");
        let found = find(&*cached, SECOND).await.unwrap();
        assert!(found.is_none(), "{name}: active");
    }
}

#[tokio::test]
async fn s9_lost_news_empty_the_cache() {
    let probe = Probed::deaf();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    assert!(find(&*cached, Duration::ZERO).await.unwrap().is_some());
    let reason = EndedReason::SessionRevoked;
    let ended = probe.0.store.end(session.id, reason, NOON + SECOND).await;
    assert!(ended.unwrap().is_some());
    assert!(peek(&*cached, SECOND).is_some(), "it has not heard of it");
    probe.say(&SessionChange::Unknown);
    assert!(peek(&*cached, SECOND).is_none());
    assert!(find(&*cached, SECOND).await.unwrap().is_none());
}

#[tokio::test]
async fn s9_a_session_that_ends_while_it_is_looked_up_is_not_kept() {
    enum News {
        ByEnd,
        Heard,
        Lost,
    }
    for news in [News::ByEnd, News::Heard, News::Lost] {
        let probe = Probed::deaf();
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        probe.gate(true);
        let early = look_up(&cached, SECOND).await;
        probe.answer_waits().await;

        // The store has said yes. Now it ends, and only then the answer arrives.
        let reason = EndedReason::SessionRevoked;
        if let News::ByEnd = news {
            let ended = cached.end(session.id, reason, NOON + SECOND).await;
            assert!(ended.unwrap().is_some());
        } else {
            let ended = probe.0.store.end(session.id, reason, NOON + SECOND).await;
            assert!(ended.unwrap().is_some());
            probe.say(&match news {
                News::Lost => SessionChange::Unknown,
                _ => SessionChange::Ended(session.id, reason),
            });
        }
        // It waits for the open question, or has one of its own.
        let late = look_up(&cached, SECOND).await;
        probe.gate(false);
        probe.let_go(2);
        assert!(early.await.unwrap().unwrap().is_none());
        assert!(late.await.unwrap().unwrap().is_none());
        assert!(peek(&*cached, SECOND).is_none());
        assert!(find(&*cached, SECOND).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn s4_who_waits_past_the_end_gets_nothing() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let before = look_up(&cached, 120 * MINUTE - TICK).await;
    probe.answer_waits().await;
    let at_the_end = look_up(&cached, 120 * MINUTE).await;
    probe.gate(false);
    probe.let_go(1);
    assert!(before.await.unwrap().unwrap().is_some());
    assert!(at_the_end.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn r13_a_look_up_that_fails_is_not_kept_and_wedges_nobody() {
    for fault in [Fault::Error, Fault::Panic] {
        let probe = Probed::new();
        let cached = probe.cached(MINUTE);
        let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
        probe.gate(true);
        probe.next([fault, Fault::None]);
        let first = look_up(&cached, SECOND).await;
        probe.answer_waits().await;
        let second = look_up(&cached, SECOND).await;
        probe.let_go(2);
        let failed = match first.await {
            Ok(answer) => answer.is_err(),
            Err(error) => error.is_panic(),
        };
        assert!(failed, "a failure of the store is no answer");
        let found = second.await.unwrap().unwrap();
        assert_eq!(found.map(|found| found.id), Some(session.id));
        assert_eq!(probe.asked(), 2);

        probe.gate(false);
        assert!(find(&*cached, SECOND).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_look_up_that_is_dropped_wedges_nobody() {
    let probe = Probed::new();
    let cached = probe.cached(MINUTE);
    let session = started(&*cached, session("ada", "ines", Duration::ZERO)).await;
    probe.gate(true);
    let dropped = look_up(&cached, SECOND).await;
    probe.answer_waits().await;
    let waiting = look_up(&cached, SECOND).await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    probe.answer_waits().await;
    probe.let_go(1);
    let found = waiting.await.unwrap().unwrap();
    assert_eq!(found.map(|found| found.id), Some(session.id));
    assert_eq!(probe.asked(), 2);

    // The same with nobody there to take over.
    let lonely = probe.cached(MINUTE);
    let dropped = look_up(&lonely, SECOND).await;
    probe.answer_waits().await;
    dropped.abort();
    assert!(dropped.await.unwrap_err().is_cancelled());
    probe.gate(false);
    assert!(find(&*lonely, SECOND).await.unwrap().is_some());
}

// === Lives ===

/// The entry of a session of which nothing else is known.
fn live(lives: &Lives, session: &Session) -> Arc<Live> {
    let (live, is_sure) = lives.of(session, lives.before());
    assert!(is_sure);
    live
}

#[tokio::test]
async fn r19_a_stop_wakes_everyone_who_waits() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let (one, two) = (
        session("ada", "ines", Duration::ZERO),
        session("eve", "ines", Duration::ZERO),
    );
    let (ada, eve) = (live(&lives, &one), live(&lives, &two));
    let mut waiting = [
        tokio_test::task::spawn(ada.until_ended(&clock)),
        tokio_test::task::spawn(ada.until_ended(&clock)),
    ];
    let mut other = tokio_test::task::spawn(eve.until_ended(&clock));
    assert!(waiting.iter_mut().all(|waits| waits.poll().is_pending()));
    assert!(other.poll().is_pending());

    lives.hear(&SessionChange::Ended(one.id, EndedReason::SessionRevoked));
    lives.end(one.id, EndedReason::Manual);
    for waits in &mut waiting {
        assert!(waits.is_woken());
        assert_eq!(
            waits.poll(),
            std::task::Poll::Ready(EndedReason::SessionRevoked)
        );
    }
    assert_eq!(ada.ended(), Some(EndedReason::SessionRevoked));
    assert!(other.poll().is_pending());
    assert_eq!(eve.ended(), None);
    let late = ada.until_ended(&clock).await;
    assert_eq!(
        late,
        EndedReason::SessionRevoked,
        "who asks later is told as well"
    );
}

#[tokio::test]
async fn r19_the_end_moves_with_the_session_and_comes_by_the_clock() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let session = session("ada", "ines", Duration::ZERO);
    let ada = live(&lives, &session);
    let mut waits = tokio_test::task::spawn(ada.until_ended(&clock));
    assert!(waits.poll().is_pending());

    let moved = |minutes: u32| {
        let mut session = session.clone();
        session.expires_at = NOON + minutes * MINUTE;
        SessionChange::Updated(Arc::new(session))
    };
    lives.hear(&moved(180));
    clock.advance(180 * MINUTE - TICK);
    assert!(waits.poll().is_pending(), "it was extended");
    clock.advance(TICK);
    assert_eq!(waits.poll(), std::task::Poll::Ready(EndedReason::Timeout));

    let clock = ManualClock::new(NOON);
    let mut waits = tokio_test::task::spawn(ada.until_ended(&clock));
    assert!(waits.poll().is_pending());
    lives.hear(&moved(10));
    assert!(waits.poll().is_pending());
    clock.advance(10 * MINUTE);
    assert_eq!(
        waits.poll(),
        std::task::Poll::Ready(EndedReason::Timeout),
        "it was shortened"
    );
}

#[tokio::test]
async fn r13_without_the_time_nothing_goes_on() {
    let lives = Lives::default();
    let clock = ManualClock::new(NOON);
    let ada = live(&lives, &session("ada", "ines", Duration::ZERO));
    clock.break_down("no battery");
    assert_eq!(ada.until_ended(&clock).await, EndedReason::Timeout);
}

#[test]
fn lives_that_are_past_their_end_are_let_go() {
    let lives = Lives::default();
    let short = session("ada", "ines", Duration::ZERO);
    let mut long = session("ada", "otto", Duration::ZERO);
    long.expires_at = short.expires_at + TICK;
    let before = (live(&lives, &short), live(&lives, &long));
    lives.prune(short.expires_at - TICK);
    assert!(Arc::ptr_eq(&live(&lives, &short), &before.0));
    lives.prune(short.expires_at);
    assert!(!Arc::ptr_eq(&live(&lives, &short), &before.0));
    assert!(Arc::ptr_eq(&live(&lives, &long), &before.1));
}

#[test]
fn s4_the_latest_request_counts_here_or_elsewhere() {
    let lives = Lives::default();
    let mut session = session("ada", "ines", Duration::ZERO);
    let ada = live(&lives, &session);
    assert_eq!(ada.last_seen(&session), NOON);
    assert!(lives.untold().is_empty(), "the store knows of the start");

    ada.see(NOON + 2 * MINUTE);
    ada.see(NOON + MINUTE);
    assert_eq!(ada.last_seen(&session), NOON + 2 * MINUTE);
    session.last_seen_at = NOON + 3 * MINUTE;
    assert_eq!(ada.last_seen(&session), NOON + 3 * MINUTE);

    let untold = |lives: &Lives| -> Vec<_> {
        let untold = lives.untold().into_iter();
        untold.map(|(live, seen)| (live.id, seen)).collect()
    };
    let want = [(session.id, NOON + 2 * MINUTE)];
    assert_eq!(untold(&lives), want);
    assert_eq!(untold(&lives), want, "until the store has been told");
    ada.told(NOON + 2 * MINUTE);
    assert_eq!(untold(&lives), []);
    ada.see(NOON + 4 * MINUTE);
    assert_eq!(untold(&lives), [(session.id, NOON + 4 * MINUTE)]);
}

#[test]
fn s9_lost_news_are_made_up_for_once() {
    let lives = Lives::default();
    let (one, two) = (
        session("ada", "ines", Duration::ZERO),
        session("eve", "ines", Duration::ZERO),
    );
    live(&lives, &one);
    live(&lives, &two);
    assert!(lives.unsure().is_none());
    lives.hear(&SessionChange::Unknown);
    let (losses, mut ids) = lives.unsure().unwrap();
    ids.sort();
    assert_eq!(ids, [one.id, two.id]);
    assert!(lives.unsure().is_some(), "until each was asked about");
    lives.hear(&SessionChange::Unknown);
    lives.made_up(losses);
    let (losses, _) = lives.unsure().expect("more were lost meanwhile");
    lives.made_up(losses);
    assert!(lives.unsure().is_none());
}

#[test]
fn s9_a_look_up_that_the_end_overtook_is_not_trusted() {
    let lives = Lives::default();
    let session = session("ada", "ines", Duration::ZERO);

    let before = lives.before();
    lives.hear(&SessionChange::Ended(session.id, EndedReason::Manual));
    assert!(!lives.of(&session, before).1);

    let other = self::session("eve", "ines", Duration::ZERO);
    let before = lives.before();
    lives.hear(&SessionChange::Unknown);
    assert!(!lives.of(&other, before).1);
    assert!(
        lives.of(&other, before).1,
        "an entry that is there hears of its end"
    );
    assert!(
        lives
            .of(&self::session("eve", "otto", MINUTE), lives.before())
            .1
    );
}

// === With the handle ===

/// What a host has: everyone who says who they are is an admin who may do everything.
struct Desk {
    impersonation: Impersonation,
    probe: Probed,
    clock: ManualClock,
    trail: MemorySink,
}

impl Desk {
    fn new() -> Self {
        let checker = checker_fn(
            |parts: &Parts| match parts.extensions.get::<UserId>() {
                Some(id) => {
                    let actor = Actor::new(id.clone(), crate::Rank(9));
                    Caller::Admin(actor.with_rights(Rights::all()))
                }
                None => Caller::Anonymous,
            },
            |_: &Actor, _: &Subject, _: &Parts| Decision::Allow(Grant::read_write()),
        );
        let (probe, clock) = (Probed::deaf(), ManualClock::new(NOON));
        let trail = MemorySink::default();
        let impersonation = Impersonation::builder(checker, trail.clone())
            .sessions(probe.clone())
            .clock(clock.clone())
            .handlers_read_acting_as()
            .build()
            .unwrap();
        Self {
            impersonation,
            probe,
            clock,
            trail,
        }
    }

    /// Lists as ada does, which also sweeps.
    async fn list(&self) -> Result<SessionList, Rejection> {
        let mut request = Request::new(());
        request.extensions_mut().insert(user("ada"));
        let (parts, ()) = request.into_parts();
        let all = SessionFilter::default();
        self.impersonation.list(&parts, all, Page::default()).await
    }

    /// A request of ada as ines: what the handler saw of the session, or the refusal.
    async fn act(&self) -> Result<Arc<Live>, RejectionKind> {
        let service = service_fn(|request: Request<String>| async move {
            assert!(request.extensions().get::<crate::ActingAs>().is_some());
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let service = self.impersonation.layer().layer(service);
        let mut request = Request::new(String::new());
        *request.uri_mut() = "/orders?as=ines".parse().unwrap();
        request.extensions_mut().insert(user("ada"));
        let response = service.oneshot(request).await.unwrap();
        if let Some(rejection) = response.extensions().get::<Rejection>() {
            return Err(rejection.kind());
        }
        let acting_as = response.extensions().get::<crate::ActingAs>().unwrap();
        let lives = &self.impersonation.engine.sessions.lives;
        Ok(live(lives, acting_as.session().unwrap()))
    }
}

#[tokio::test]
async fn r4_a_session_that_ends_while_it_is_looked_up_does_not_act() {
    for lost in [false, true] {
        let desk = Desk::new();
        let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
        desk.probe.gate(true);
        let ending = async {
            desk.probe.answer_waits().await;
            let (id, reason) = (session.id, EndedReason::SessionRevoked);
            let ended = desk.probe.end(id, reason, NOON).await.unwrap();
            assert!(ended.is_some());
            desk.probe.say(&match lost {
                true => SessionChange::Unknown,
                false => SessionChange::Ended(id, reason),
            });
            desk.probe.let_go(1);
        };
        let (acted, ()) = tokio::join!(desk.act(), ending);
        assert_eq!(acted.err(), Some(RejectionKind::NoSession));
    }
}

#[tokio::test]
async fn r19_the_end_of_another_session_while_one_is_looked_up_refuses_nothing() {
    let desk = Desk::new();
    let ines = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let other = session("eve", "ines", Duration::ZERO);
    desk.probe.gate(true);
    let ending = async {
        desk.probe.answer_waits().await;
        let reason = EndedReason::Manual;
        desk.probe.say(&SessionChange::Ended(other.id, reason));
        desk.probe.let_go(1);
    };
    let (acted, ()) = tokio::join!(desk.act(), ending);
    let live = acted.unwrap();
    let reason = EndedReason::SessionRevoked;
    desk.probe.say(&SessionChange::Ended(ines.id, reason));
    assert_eq!(live.ended(), Some(reason), "it hears of its own end");
}

#[tokio::test]
async fn s9_a_store_that_fails_while_news_are_made_up_is_asked_again() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let live = desk.act().await.unwrap();
    desk.list().await.unwrap();
    let reason = EndedReason::SessionRevoked;
    let ended = desk.probe.end(session.id, reason, NOON).await.unwrap();
    assert!(ended.is_some());

    desk.probe.say(&SessionChange::Unknown);
    desk.probe.next([Fault::Error]);
    let refused = desk.list().await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unavailable);
    assert_eq!(live.ended(), None);
    desk.list().await.unwrap();
    assert_eq!(live.ended(), Some(reason));
}

#[tokio::test]
async fn s9_a_lost_extension_is_made_up_for() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let live = desk.act().await.unwrap();
    let mut waits = tokio_test::task::spawn(live.until_ended(&desk.clock));
    assert!(waits.poll().is_pending());

    let update = SessionUpdate {
        expires_at: Some(NOON + 180 * MINUTE),
        ..SessionUpdate::default()
    };
    let updated = desk.probe.update(session.id, update, NOON).await.unwrap();
    assert!(updated.is_some());
    desk.probe.say(&SessionChange::Unknown);
    desk.list().await.unwrap();
    desk.clock.advance(120 * MINUTE);
    assert!(waits.poll().is_pending());
    desk.clock.advance(60 * MINUTE);
    assert_eq!(waits.poll(), std::task::Poll::Ready(EndedReason::Timeout));
}

#[tokio::test]
async fn s4_a_request_that_the_store_could_not_be_told_of_is_told_later() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    desk.clock.advance(20 * MINUTE);
    desk.act().await.unwrap();
    desk.probe.next([Fault::Error]);
    let refused = desk.list().await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unavailable);

    desk.clock.advance(20 * MINUTE);
    desk.list().await.unwrap();
    let there = desk.probe.get(session.id).await.unwrap().unwrap();
    assert_eq!(there.last_seen_at, NOON + 20 * MINUTE);
    assert_eq!(there.ended_reason, None, "it is not idle");
}

#[tokio::test]
async fn a4_an_end_is_recorded_even_if_nobody_waits_for_the_sweep() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    desk.clock.advance(120 * MINUTE);
    desk.probe.gate(true);
    let mut listing = tokio_test::task::spawn(desk.list());
    assert!(listing.poll().is_pending());
    desk.probe.answer_waits().await;
    drop(listing);
    desk.probe.gate(false);
    desk.probe.let_go(1);
    // What the store had ended for the one who went away gets into the trail.
    for _ in 0..1_000 {
        desk.impersonation.trail().flush().await.unwrap();
        let events = desk.trail.events();
        if let Some(end) = events.iter().find(|event| event.name == EventName::End) {
            assert_eq!(end.session, Some(session.id));
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the end was lost");
}
