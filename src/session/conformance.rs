//! What every [`SessionStore`] has to pass, as one function for a test to call.
//!
//! A store that is written for one application is part of what keeps two sessions from being active at
//! once, and a revoked one from being used. This is how to know that it does:
//!
//! ```
//! use tower_impersonation::session::{MemorySessions, conformance};
//!
//! # // In a test of yours this is `#[tokio::test]`.
//! #[tokio::main]
//! async fn main() {
//!     conformance::run(|| async { MemorySessions::new() }).await;
//! }
//! ```
//!
//! `run` asks for a store per check. They may all be the same database, and it need not be empty: each
//! check has actors of its own. But nothing else may use it meanwhile, because
//! [`end_due`](SessionStore::end_due) takes no heed of actors. What the checks leave behind is years in
//! the past.

use std::{
    collections::{HashMap, HashSet},
    future::Future,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::{Barrier, mpsc};
use uuid::{Timestamp, Uuid};

use super::{
    EndedReason, Limits, Page, Session, SessionChange, SessionFilter, SessionId, SessionList,
    SessionStore, SessionUpdate, StartError, Started, SubjectKind,
};
use crate::words::{Access, Rank, Subject, UserId};

/// The smallest step that databases keep.
const MICRO: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long sessions of these checks may last, and be idle.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);
const IDLE: Duration = Duration::from_secs(30 * 60);

/// How long a change may take to be heard of. Only a store that fails ever waits for it.
const NEWS: Duration = Duration::from_secs(10);

/// Runs every check, each with a store from `make`.
///
/// Needs a tokio runtime with its timer on; one with several threads finds more. Times are whole
/// microseconds, because databases keep no more.
///
/// # Panics
///
/// When the store breaks a rule, with a message that names it.
pub async fn run<S, F, Fut>(make: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = S>,
    S: SessionStore,
{
    let check = async || Check::new(make().await);

    s2_a_second_start_is_refused(check().await).await;
    s2_replacing_ends_the_first(check().await).await;
    s2_as_many_as_allowed_and_one_per_subject(check().await).await;
    s2_replacing_ends_no_more_than_it_has_to(check().await).await;
    s2_parallel_starts_leave_one(check().await).await;
    s2_parallel_replacements_leave_one(check().await).await;
    s2_actors_do_not_disturb_each_other(check().await).await;
    s2_an_id_is_used_once(check().await).await;

    s3_the_eleventh_start_of_an_hour_is_refused(check().await).await;
    s3_refused_starts_do_not_count_and_replaced_ones_do(check().await).await;
    s3_starts_are_counted_by_their_times(check().await).await;
    s3_parallel_starts_are_counted(check().await).await;

    s4_at_its_end_it_is_over(check().await).await;
    s4_idle_sessions_end(check().await).await;
    s4_due_sessions_end_when_they_were_due(check().await).await;
    s4_parallel_sweeps_share_the_due_sessions(check().await).await;
    s4_an_end_is_final(check().await).await;
    s4_parallel_ends_have_one_winner(check().await).await;
    s4_a_start_clears_away_what_is_overdue(check().await).await;
    s4_a_touch_prolongs_and_never_moves_back(check().await).await;

    s6_updates_change_active_sessions_only(check().await).await;
    s6_an_update_undoes_nothing(check().await).await;

    s7_every_field_comes_back(check().await).await;
    s7_sessions_are_found_by_id_and_by_pair(check().await).await;

    list_filters_alone_and_together(check().await).await;
    list_pages_newest_first(check().await).await;
    list_cursors_visit_each_once(check().await).await;

    s9_changes_are_heard_of(check().await).await;
}

/// A store, and names that no other check has.
struct Check<S> {
    store: Arc<S>,
    tag: Uuid,
}

/// A session in one line, for comparing.
type Ended = (SessionId, Option<EndedReason>, Option<OffsetDateTime>);

// === impl Check ===

impl<S: SessionStore> Check<S> {
    fn new(store: S) -> Self {
        Self {
            store: Arc::new(store),
            tag: id(at(Duration::ZERO)).0,
        }
    }

    fn actor(&self, name: &str) -> UserId {
        let id = format!("{} {name}", self.tag.simple());
        UserId::new(id).expect("the names of these checks are good ids")
    }

    /// A session that starts so long after the beginning.
    fn session(&self, actor: &UserId, subject: &str, after: Duration) -> Session {
        let started_at = at(after);
        let mut session = Session::new(
            id(started_at),
            actor.clone(),
            user(subject),
            "ticket 4711: cannot pay",
            started_at,
            started_at + LIFETIME,
        );
        session.idle_timeout = IDLE;
        session
    }

    /// What `start` did. What `check` said before has to be the same.
    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        let told = self.store.check(&session, limits, session.started_at).await;
        let done = self.store.start(session, limits).await;
        assert_eq!(
            told.as_ref().map_err(outcome).err(),
            done.as_ref().map_err(outcome).err(),
            "S2, S3: `check` has to say what `start` then does"
        );
        done
    }

    async fn started(&self, session: Session, limits: &Limits, rule: &str) -> Started {
        let wanted = session.clone();
        match self.start(session, limits).await {
            Ok(started) => {
                assert_eq!(
                    facts(&started.session),
                    facts(&wanted),
                    "{rule}: `start` has to return the session that was started"
                );
                started
            }
            Err(error) => panic!("{rule}: it has to be started, but: {error}"),
        }
    }

    /// Starts it without limits to speak of.
    async fn given(&self, session: Session) -> Arc<Session> {
        self.started(session, &no_limits(), "S2").await.session
    }

    async fn refused(&self, session: Session, limits: &Limits, rule: &str) -> StartError {
        let id = session.id;
        match self.start(session, limits).await {
            Ok(_) => panic!("{rule}: this start has to be refused"),
            Err(StartError::Store(error)) => panic!("{rule}: the store failed: {error}"),
            Err(error) => {
                let left = self.get(id).await;
                assert!(left.is_none(), "{rule}: a refused start leaves nothing");
                error
            }
        }
    }

    async fn active(&self, session: &Session, after: Duration) -> Option<Arc<Session>> {
        let (actor, subject) = (&session.actor, &session.subject);
        let active = self.store.active(actor, subject, at(after)).await;
        let active = active.expect("S7: `active` must not fail");
        if let Some(peeked) = self.store.peek(actor, subject, at(after)) {
            let asked = active.as_ref().map(|session| session.id);
            assert_eq!(
                Some(peeked.id),
                asked,
                "S4: `peek` has to say what `active` says, or nothing"
            );
        }
        active
    }

    async fn get(&self, id: SessionId) -> Option<Arc<Session>> {
        self.store.get(id).await.expect("S7: `get` must not fail")
    }

    /// A session that has to be there.
    async fn there(&self, id: SessionId) -> Arc<Session> {
        let there = self.get(id).await;
        there.expect("S7: a session has to be found by its id, ended or not")
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        after: Duration,
    ) -> Option<Arc<Session>> {
        let ended = self.store.end(id, reason, at(after)).await;
        ended.expect("S4: `end` must not fail")
    }

    async fn end_due(&self, after: Duration, limit: usize) -> Vec<Arc<Session>> {
        let ended = self.store.end_due(at(after), limit).await;
        let ended = ended.expect("S4: `end_due` must not fail");
        assert!(
            ended.len() <= limit,
            "S4: `end_due` ends at most `limit` sessions"
        );
        ended
    }

    /// Ends everything that is due, also of others, and returns what is `actor`'s.
    async fn end_all_due(&self, actor: &UserId, after: Duration) -> Vec<Arc<Session>> {
        let mut all = Vec::new();
        loop {
            let ended = self.end_due(after, 100).await;
            if ended.is_empty() {
                return all;
            }
            all.extend(ended.into_iter().filter(|ended| ended.actor == *actor));
        }
    }

    async fn touch(&self, id: SessionId, after: Duration) {
        let touched = self.store.touch(id, at(after)).await;
        touched.expect("S4: `touch` must not fail");
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        after: Duration,
    ) -> Option<Arc<Session>> {
        let updated = self.store.update(id, update, at(after)).await;
        updated.expect("S6: `update` must not fail")
    }

    async fn list(&self, filter: &SessionFilter, page: &Page, after: Duration) -> SessionList {
        let list = self.store.list(filter, page, at(after)).await;
        list.expect("S7: `list` must not fail")
    }

    /// The actor's sessions, newest first.
    async fn all_of(&self, actor: &UserId, is_active: Option<bool>, after: Duration) -> Vec<Ended> {
        let filter = SessionFilter {
            is_active,
            ..of(actor)
        };
        let list = self.list(&filter, &page(usize::MAX, 0, None), after).await;
        list.sessions.iter().map(|session| ended(session)).collect()
    }

    /// Runs `one` as `many` tasks at once.
    async fn at_once<T, Fut>(&self, many: usize, one: impl Fn(Arc<S>, usize) -> Fut) -> Vec<T>
    where
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let all_there = Arc::new(Barrier::new(many));
        let tasks: Vec<_> = (0..many)
            .map(|number| {
                let (all_there, one) = (all_there.clone(), one(self.store.clone(), number));
                tokio::spawn(async move {
                    all_there.wait().await;
                    one.await
                })
            })
            .collect();
        let mut results = Vec::new();
        for task in tasks {
            results.push(task.await.expect("a store must not panic"));
        }
        results
    }
}

// === S2 ===

async fn s2_a_second_start_is_refused<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    let started = check.started(first, &limits, "S2").await;
    assert!(
        started.ended.is_empty(),
        "S2: nothing stood in the way of the first"
    );
    let first = started.session;

    for subject in ["otto", "ines"] {
        let second = check.session(&ada, subject, SECOND);
        let error = check.refused(second, &limits, "S2").await;
        assert!(
            matches!(error, StartError::AlreadyActive),
            "S2: a second start is `AlreadyActive`, not {error:?}"
        );
    }
    assert_eq!(
        check.all_of(&ada, None, SECOND).await,
        [ended(&first)],
        "S2: a refused start changes nothing"
    );
    let active = check.active(&first, SECOND).await;
    assert!(
        active.is_some(),
        "S2: the first is active after a refused start"
    );

    check.end(first.id, EndedReason::Manual, MINUTE).await;
    let third = check.session(&ada, "ines", MINUTE);
    check
        .started(third, &limits, "S2: after the end of the first")
        .await;
}

async fn s2_replacing_ends_the_first<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        replace: true,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    let first = check.started(first, &limits, "S2").await.session;
    let second = check.session(&ada, "otto", MINUTE);
    let second = check.started(second, &limits, "S2: replacing").await;

    let replaced = (first.id, Some(EndedReason::Replaced), Some(at(MINUTE)));
    assert_eq!(
        endings(&second.ended),
        [replaced],
        "S2: a replacing start returns what it ended"
    );
    assert_eq!(
        ended(&*check.there(first.id).await),
        replaced,
        "S2: a replaced session has ended when the next one started"
    );
    assert!(
        check.active(&first, MINUTE).await.is_none(),
        "S2: a replaced session is not active"
    );
    let active = check.active(&second.session, MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(second.session.id),
        "S2: the replacing session is active"
    );

    // The same pair: what was kept of the first must not be taken for the second.
    let third = check.session(&ada, "otto", 2 * MINUTE);
    let third = check.started(third, &limits, "S2: replacing").await.session;
    let active = check.active(&third, 2 * MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(third.id),
        "S2: the newest session of a pair is the active one"
    );
}

async fn s2_as_many_as_allowed_and_one_per_subject<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 2,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    check.started(first, &limits, "S2: of two").await;
    let same = check.session(&ada, "ines", SECOND);
    let error = check.refused(same, &limits, "S2").await;
    assert!(
        matches!(error, StartError::AlreadyActive),
        "S2: two for the same subject are never active at once, not even when there is room"
    );
    let second = check.session(&ada, "otto", 2 * SECOND);
    check
        .started(second, &limits, "S2: the second of two")
        .await;
    let third = check.session(&ada, "vera", 3 * SECOND);
    let error = check.refused(third, &limits, "S2").await;
    assert!(
        matches!(error, StartError::AlreadyActive),
        "S2: with two allowed the third is `AlreadyActive`"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * SECOND).await.len(),
        2,
        "S2: with two allowed two are active"
    );
}

async fn s2_replacing_ends_no_more_than_it_has_to<S: SessionStore>(check: Check<S>) {
    let replacing = |active| Limits {
        active,
        replace: true,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let mut ids = Vec::new();
    for (number, subject) in (0..).zip(["ines", "otto", "vera"]) {
        let session = check.session(&ada, subject, number * SECOND);
        let started = check.started(session, &replacing(3), "S2").await;
        assert!(started.ended.is_empty(), "S2: three are allowed");
        ids.push(started.session.id);
    }

    let otto = check.session(&ada, "otto", MINUTE);
    let otto = check.started(otto, &replacing(3), "S2").await;
    assert_eq!(
        ids_of(&otto.ended),
        [ids[1]],
        "S2: a start for the same subject replaces that session alone"
    );
    let ina = check.session(&ada, "ina", 2 * MINUTE);
    let ina = check.started(ina, &replacing(3), "S2").await;
    assert_eq!(
        ids_of(&ina.ended),
        [ids[0]],
        "S2: where there are too many, the oldest is replaced"
    );
    let last = check.session(&ada, "ines", 3 * MINUTE);
    let last = check.started(last, &replacing(1), "S2").await;
    let replaced: HashSet<_> = ids_of(&last.ended).into_iter().collect();
    assert_eq!(
        replaced,
        HashSet::from([ids[2], otto.session.id, ina.session.id]),
        "S2: as many are replaced as are too many"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * MINUTE).await,
        [ended(&last.session)],
        "S2: only the last is active"
    );
}

async fn s2_parallel_starts_leave_one<S: SessionStore>(check: Check<S>) {
    const STARTS: usize = 100;

    for subjects in [1, STARTS] {
        let ada = check.actor(&format!("ada of {subjects}"));
        let sessions: Vec<_> = (0..STARTS)
            .map(|number| {
                let subject = format!("subject {}", number % subjects);
                check.session(&ada, &subject, Duration::ZERO)
            })
            .collect();
        let results = check
            .at_once(STARTS, |store, number| {
                let session = sessions[number].clone();
                async move { store.start(session, &Limits::default()).await }
            })
            .await;
        let started: Vec<_> = results.iter().flatten().collect();
        assert_eq!(
            started.len(),
            1,
            "S2: of {STARTS} parallel starts one succeeds"
        );
        let already = |result: &&Result<_, _>| matches!(result, Err(StartError::AlreadyActive));
        assert_eq!(
            results.iter().filter(already).count(),
            STARTS - 1,
            "S2: the other parallel starts are `AlreadyActive`"
        );
        assert_eq!(
            check.all_of(&ada, None, SECOND).await,
            [ended(&started[0].session)],
            "S2: {STARTS} parallel starts leave one session"
        );
    }
}

async fn s2_parallel_replacements_leave_one<S: SessionStore>(check: Check<S>) {
    const STARTS: usize = 40;

    let limits = Limits {
        active: 1,
        replace: true,
        starts_per_hour: 1_000,
    };
    let ada = check.actor("ada");
    let sessions: Vec<_> = (0..STARTS)
        .map(|number| check.session(&ada, &format!("subject {}", number % 3), Duration::ZERO))
        .collect();
    let results = check
        .at_once(STARTS, |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &limits).await }
        })
        .await;
    let mut replaced = Vec::new();
    for result in results {
        let started = result.expect("S2: a replacing start is not refused");
        replaced.extend(endings(&started.ended));
    }
    let distinct: HashSet<_> = replaced.iter().map(|(id, ..)| *id).collect();
    assert_eq!(
        (replaced.len(), distinct.len()),
        (STARTS - 1, STARTS - 1),
        "S2: each replaced session is returned by one start"
    );
    assert!(
        replaced
            .iter()
            .all(|(_, why, _)| *why == Some(EndedReason::Replaced)),
        "S2: they ended because they were replaced"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), SECOND).await.len(),
        1,
        "S2: parallel replacing starts leave one active session"
    );
}

async fn s2_actors_do_not_disturb_each_other<S: SessionStore>(check: Check<S>) {
    // Names that a careless comparison takes for the same.
    let names = [
        "ada",
        "Ada",
        "ada ",
        "a%a",
        "a_a",
        "ad\u{e1}",
        "ada\u{301}",
        "ada\\",
        "ada'",
        "ad",
    ];
    let actors: Vec<_> = names.iter().map(|name| check.actor(name)).collect();
    let sessions: Vec<_> = actors
        .iter()
        .map(|actor| check.session(actor, "ines", Duration::ZERO))
        .collect();
    let results = check
        .at_once(actors.len(), |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &Limits::default()).await }
        })
        .await;
    for (name, result) in names.iter().zip(results) {
        let error = result.err();
        assert!(
            error.is_none(),
            "S2: the start of `{name}` has nothing to do with that of other actors: {error:?}"
        );
    }
    check
        .end(sessions[0].id, EndedReason::Manual, SECOND)
        .await
        .expect("S4: an active session can be ended");
    for session in &sessions[1..] {
        let found = check.active(session, SECOND).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S2: every actor has its own session"
        );
        let of_this_actor = check.all_of(&session.actor, None, SECOND).await;
        assert_eq!(
            of_this_actor,
            [ended(session)],
            "S2: actors with similar ids are not the same"
        );
    }

    // So are subjects, for the same actor.
    let eve = check.actor("eve");
    let mut subjects: Vec<_> = ["~anon", "~service", "anon", "service", "user", "42", "042"]
        .iter()
        .map(|subject| user(subject))
        .collect();
    subjects.extend(["Anon", "anon ", "ano_", "%"].map(user));
    for (subject, number) in subjects.iter().zip(0..) {
        let mut session = check.session(&eve, "nobody", number * SECOND);
        session.subject = subject.clone();
        let session = check.given(session).await;
        let found = check.active(&session, MINUTE).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S2: subjects with similar ids are not the same"
        );
    }
}

async fn s2_an_id_is_used_once<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let first = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    check.end(first.id, EndedReason::Manual, SECOND).await;
    let before = check.there(first.id).await;

    let mut second = check.session(&ada, "otto", MINUTE);
    second.id = first.id;
    let started = check.store.start(second.clone(), &no_limits()).await;
    assert!(
        matches!(started, Err(StartError::Store(_))),
        "S7: a start with an id that another session has must fail"
    );
    assert_eq!(
        facts(&*check.there(first.id).await),
        facts(&before),
        "S7: no start changes a session that is there"
    );
    assert!(
        check.active(&second, MINUTE).await.is_none(),
        "S7: a start that failed leaves nothing"
    );
}

// === S3 ===

async fn s3_the_eleventh_start_of_an_hour_is_refused<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    for minute in 0..10 {
        let session = check.session(&ada, "ines", minute * MINUTE);
        let session = check
            .started(session, &limits, "S3: one of the first ten")
            .await
            .session;
        let ended = check.end(
            session.id,
            EndedReason::Manual,
            minute * MINUTE + 30 * SECOND,
        );
        ended.await.expect("S4: an active session can be ended");
    }

    let too_many = [
        (10 * MINUTE, 50 * MINUTE),
        (HOUR - SECOND, SECOND),
        (HOUR - MICRO, MICRO),
    ];
    for (after, wait) in too_many {
        let session = check.session(&ada, "ines", after);
        let error = check.refused(session, &limits, "S3").await;
        assert_eq!(
            outcome(&error),
            Outcome::TooMany(wait),
            "S3: ended sessions count, and `retry_after` is when the oldest start is an hour old"
        );
    }
    let eve = check.actor("eve");
    let other = check.session(&eve, "ines", 10 * MINUTE);
    check
        .started(other, &limits, "S3: starts of other actors do not count")
        .await;

    let eleventh = check.session(&ada, "ines", HOUR);
    let eleventh = check
        .started(eleventh, &limits, "S3: a start that is an hour old is out")
        .await
        .session;
    check
        .end(eleventh.id, EndedReason::Manual, HOUR + 10 * SECOND)
        .await;
    let twelfth = check.session(&ada, "ines", HOUR + 30 * SECOND);
    let error = check.refused(twelfth, &limits, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(30 * SECOND),
        "S3: the window slides, it does not begin anew"
    );
}

async fn s3_refused_starts_do_not_count_and_replaced_ones_do<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        starts_per_hour: 3,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    check.started(first, &limits, "S3").await;
    for second in 1..6 {
        let refused = check.session(&ada, "otto", second * SECOND);
        check.refused(refused, &limits, "S2").await;
    }
    let replacing = Limits {
        replace: true,
        ..limits
    };
    for minute in 1..3 {
        let session = check.session(&ada, "otto", minute * MINUTE);
        check
            .started(session, &replacing, "S3: refused starts do not count")
            .await;
    }
    let last = check.session(&ada, "vera", 3 * MINUTE);
    let error = check.refused(last.clone(), &replacing, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(57 * MINUTE),
        "S3: replaced sessions count"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * MINUTE).await.len(),
        1,
        "S3: a start that is one too many replaces nothing"
    );
    let error = check.refused(last, &limits, "S2").await;
    assert_eq!(
        outcome(&error),
        Outcome::AlreadyActive,
        "S2: waiting does not help against an active session, so it is named first"
    );
}

async fn s3_starts_are_counted_by_their_times<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 1_000,
        starts_per_hour: 2,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    // The second comes from a replica whose clock is late.
    for (subject, after) in [("ines", 10 * MINUTE), ("otto", 5 * MINUTE)] {
        let session = check.session(&ada, subject, after);
        check.started(session, &limits, "S3").await;
    }
    let third = check.session(&ada, "vera", 11 * MINUTE);
    let error = check.refused(third, &limits, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(54 * MINUTE),
        "S3: the oldest start is that of the earliest time, in whatever order they came"
    );
    let later = check.session(&ada, "vera", 65 * MINUTE);
    check
        .started(later, &limits, "S3: a start that is an hour old is out")
        .await;
}

async fn s3_parallel_starts_are_counted<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 1_000,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let sessions: Vec<_> = (0..40)
        .map(|number| check.session(&ada, &format!("subject {number}"), Duration::ZERO))
        .collect();
    let results = check
        .at_once(sessions.len(), |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &limits).await }
        })
        .await;
    let started = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(started, 10, "S3: of parallel starts ten succeed");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(
            outcome(error),
            Outcome::TooMany(HOUR),
            "S3: the other parallel starts are too many"
        );
    }
}

// === S4 ===

async fn s4_at_its_end_it_is_over<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut session = check.session(&ada, "ines", Duration::ZERO);
    session.idle_timeout = Duration::MAX;
    let session = check.given(session).await;
    let before = LIFETIME - MICRO;

    assert!(
        check.active(&session, before).await.is_some(),
        "S4: it is active until `expires_at`"
    );
    let again = check.session(&ada, "otto", before);
    check.refused(again, &Limits::default(), "S4").await;
    let due = check.end_all_due(&ada, before).await;
    assert!(due.is_empty(), "S4: nothing is due before `expires_at`");

    assert!(
        check.active(&session, LIFETIME).await.is_none(),
        "S4: at `expires_at` it is over, whether or not anyone has ended it"
    );
    let raise = update(Some(Access::ReadWrite), Some(at(2 * LIFETIME)));
    assert!(
        check.update(session.id, raise, LIFETIME).await.is_none(),
        "S4: a session that is over cannot be extended"
    );
    let ended_late = check.end(session.id, EndedReason::Manual, LIFETIME).await;
    assert!(
        ended_late.is_none(),
        "S4: a session that is over cannot be ended for another reason"
    );
    assert_eq!(
        facts(&*check.there(session.id).await),
        facts(&session),
        "S4: what is refused changes nothing"
    );
    let timeout = (session.id, Some(EndedReason::Timeout), Some(at(LIFETIME)));
    assert_eq!(
        endings(&check.end_all_due(&ada, LIFETIME).await),
        [timeout],
        "S4: at `expires_at` it is due"
    );
    assert_eq!(
        ended(&*check.there(session.id).await),
        timeout,
        "S4: `end_due` writes down what it returns"
    );
}

async fn s4_idle_sessions_end<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;

    let before = IDLE - MICRO;
    let due = check.end_all_due(&ada, before).await;
    assert!(due.is_empty(), "S4: nothing is due before it is idle");
    assert_eq!(
        check.all_of(&ada, Some(true), before).await,
        [ended(&session)],
        "S4: it is listed as active until it is idle"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), IDLE).await,
        [],
        "S4: an idle session is not listed as active"
    );
    assert_eq!(
        check.all_of(&ada, Some(false), IDLE).await,
        [ended(&session)],
        "S4: what is not listed as active is listed as ended"
    );
    assert!(
        check.active(&session, IDLE).await.is_some(),
        "S4: `active` leaves it to the caller whether it is idle"
    );
    let raise = update(Some(Access::ReadWrite), None);
    assert!(
        check.update(session.id, raise, IDLE).await.is_none(),
        "S4: an idle session cannot be changed"
    );
    let ended_late = check.end(session.id, EndedReason::Manual, IDLE).await;
    assert!(
        ended_late.is_none(),
        "S4: an idle session cannot be ended for another reason"
    );
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, Some(EndedReason::Idle), Some(at(IDLE)))],
        "S4: an idle session ended when it was idle for too long, not when someone looked"
    );
    assert!(
        check.active(&session, IDLE).await.is_none(),
        "S4: what ended is not active"
    );
}

async fn s4_due_sessions_end_when_they_were_due<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    // What others left behind is not part of the counts below.
    check.end_all_due(&ada, LIFETIME).await;

    let mut sessions = Vec::new();
    for (number, subject) in (0..).zip(["idle", "timeout", "same time", "later", "stopped"]) {
        let mut session = check.session(&ada, subject, number * SECOND);
        match subject {
            "timeout" => session.idle_timeout = Duration::MAX,
            "same time" => session.idle_timeout = LIFETIME,
            "later" => session.expires_at = at(2 * LIFETIME),
            _ => {}
        }
        sessions.push(check.given(session).await);
    }
    check.touch(sessions[3].id, LIFETIME).await;
    check
        .end(sessions[4].id, EndedReason::Manual, MINUTE)
        .await
        .expect("S4: an active session can be ended");

    let none = check.end_due(LIFETIME + MINUTE, 0).await;
    assert!(none.is_empty(), "S4: `end_due` of none ends none");
    let mut due = HashMap::new();
    for _ in 0..3 {
        for session in check.end_due(LIFETIME + MINUTE, 1).await {
            assert_eq!(
                ended(&*check.there(session.id).await),
                ended(&session),
                "S4: `end_due` writes down what it returns"
            );
            due.insert(session.id, (session.ended_reason, session.ended_at));
        }
    }
    let timeout = |second| Some(at(LIFETIME + second * SECOND));
    let wanted = HashMap::from([
        (sessions[0].id, (Some(EndedReason::Idle), Some(at(IDLE)))),
        (sessions[1].id, (Some(EndedReason::Timeout), timeout(1))),
        (sessions[2].id, (Some(EndedReason::Timeout), timeout(2))),
    ]);
    assert_eq!(due, wanted, "S4: `end_due` ends what is due, each once");
    assert!(
        check
            .end_due(LIFETIME + MINUTE, usize::MAX)
            .await
            .is_empty(),
        "S4: what was ended is not due again"
    );
    assert!(
        check
            .active(&sessions[3], LIFETIME + MINUTE)
            .await
            .is_some(),
        "S4: what is not due goes on"
    );
}

async fn s4_parallel_sweeps_share_the_due_sessions<S: SessionStore>(check: Check<S>) {
    const DUE: u32 = 60;

    let ada = check.actor("ada");
    check.end_all_due(&ada, HOUR).await;
    let mut wanted = HashSet::new();
    for number in 0..DUE {
        let session = check.session(&ada, &format!("subject {number}"), number * MICRO);
        wanted.insert(check.given(session).await.id);
    }
    let swept = check
        .at_once(8, |store, _| async move {
            let mut all = Vec::new();
            loop {
                let ended = store.end_due(at(HOUR), 7).await;
                let ended = ended.expect("S4: `end_due` must not fail");
                if ended.is_empty() {
                    return all;
                }
                all.extend(ids_of(&ended));
            }
        })
        .await;
    let swept: Vec<_> = swept
        .into_iter()
        .flatten()
        .filter(|id| wanted.contains(id))
        .collect();
    assert_eq!(
        swept.len(),
        wanted.len(),
        "S4: parallel sweeps return each session once"
    );
    assert_eq!(
        HashSet::from_iter(swept),
        wanted,
        "S4: parallel sweeps leave nothing behind"
    );
}

async fn s4_an_end_is_final<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let reasons = [
        EndedReason::Manual,
        EndedReason::Timeout,
        EndedReason::Idle,
        EndedReason::AdminLogout,
        EndedReason::SessionRevoked,
        EndedReason::ActorDemoted,
        EndedReason::SubjectGone,
        EndedReason::Replaced,
        EndedReason::MarkerRemoved,
    ];
    for (number, reason) in (0..).zip(reasons) {
        let start = number * MINUTE;
        let session = check.given(check.session(&ada, "ines", start)).await;
        let by_end = check.end(session.id, reason, start + SECOND).await;
        let by_end = by_end.expect("S4: an active session can be ended");
        assert_eq!(
            facts(&by_end),
            facts(&session.ended(reason, at(start + SECOND))),
            "S4: an end changes nothing but that it ended, and why"
        );
        for other in [reason, EndedReason::SessionRevoked] {
            let again = check.end(session.id, other, start + 2 * SECOND).await;
            assert!(again.is_none(), "S4: there is nothing to end twice");
        }
        let raise = update(Some(Access::ReadWrite), None);
        let raised = check.update(session.id, raise, start + SECOND).await;
        assert!(raised.is_none(), "S6: an ended session cannot be changed");
        check.touch(session.id, start + 3 * SECOND).await;
        assert_eq!(
            facts(&*check.there(session.id).await),
            facts(&by_end),
            "S4: nothing changes an ended session"
        );
        assert!(
            check.active(&session, start + SECOND).await.is_none(),
            "S4: an ended session is not active"
        );
    }
    let due = check.end_all_due(&ada, 2 * LIFETIME).await;
    assert!(due.is_empty(), "S4: what ended is never due");

    let unknown = id(at(Duration::ZERO));
    let ended = check.end(unknown, EndedReason::Manual, SECOND).await;
    assert!(ended.is_none(), "S4: a session that is unknown cannot end");
    check.touch(unknown, SECOND).await;
    assert!(
        check.get(unknown).await.is_none(),
        "S4: touching an unknown session makes none"
    );
}

async fn s4_parallel_ends_have_one_winner<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let id = session.id;
    let ends = check
        .at_once(20, |store, number| async move {
            let reason = match number % 2 {
                0 => EndedReason::Manual,
                _ => EndedReason::SessionRevoked,
            };
            store.end(id, reason, at(MINUTE)).await
        })
        .await;
    let ends: Vec<_> = ends
        .into_iter()
        .filter_map(|end| end.expect("S4: `end` must not fail"))
        .collect();
    assert_eq!(ends.len(), 1, "S4: of parallel ends one ends the session");
    assert_eq!(
        ended(&*check.there(id).await),
        ended(&ends[0]),
        "S4: the reason is that of the end that did it"
    );
}

async fn s4_a_start_clears_away_what_is_overdue<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    let idle = check.session(&ada, "ines", Duration::ZERO);
    let idle = check.started(idle, &limits, "S4").await.session;
    let early = check.session(&ada, "otto", IDLE - MICRO);
    let error = check.refused(early, &limits, "S2").await;
    assert_eq!(outcome(&error), Outcome::AlreadyActive, "S2: still active");

    let second = check.session(&ada, "ines", IDLE);
    let second = check
        .started(second, &limits, "S4: what is idle is not in the way")
        .await;
    assert_eq!(
        endings(&second.ended),
        [(idle.id, Some(EndedReason::Idle), Some(at(IDLE)))],
        "S4: a start returns the overdue sessions that it ended, with their own reason"
    );
    let due = check.end_all_due(&ada, IDLE + MINUTE).await;
    assert!(due.is_empty(), "S4: each overdue session is returned once");
    let active = check.active(&second.session, IDLE + MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(second.session.id),
        "S4: the new session of the same pair is active"
    );
}

async fn s4_a_touch_prolongs_and_never_moves_back<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let steps = [
        (20 * MINUTE + MICRO, 20 * MINUTE + MICRO),
        (10 * MINUTE, 20 * MINUTE + MICRO),
        (20 * MINUTE, 20 * MINUTE + MICRO),
        (25 * MINUTE, 25 * MINUTE),
    ];
    for (seen, wanted) in steps {
        check.touch(session.id, seen).await;
        assert_eq!(
            check.there(session.id).await.last_seen_at,
            at(wanted),
            "S4: `last_seen_at` is the latest request, in whatever order they come in"
        );
    }
    let touches = check
        .at_once(16, |store, number| {
            let id = session.id;
            let seen = MINUTE * 26 + SECOND * (number as u32 * 7 % 16);
            async move { store.touch(id, at(seen)).await }
        })
        .await;
    touches
        .into_iter()
        .for_each(|touched| touched.expect("S4: `touch` must not fail"));
    let last = 26 * MINUTE + 15 * SECOND;
    let touched = check.there(session.id).await;
    assert_eq!(
        touched.last_seen_at,
        at(last),
        "S4: of parallel touches the latest counts"
    );
    let mut wanted = (*session).clone();
    wanted.last_seen_at = at(last);
    assert_eq!(
        facts(&touched),
        facts(&wanted),
        "S4: a touch changes nothing else"
    );

    let due = check.end_all_due(&ada, last + IDLE - MICRO).await;
    assert!(due.is_empty(), "S4: a touch prolongs the idle time");
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, Some(EndedReason::Idle), Some(at(last + IDLE)))],
        "S4: the idle time is counted from the last request"
    );
}

// === S6 ===

async fn s6_updates_change_active_sessions_only<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let mut wanted = (*session).clone();
    let rw = Some(Access::ReadWrite);
    let updates = [
        (None, None),
        (rw, None),
        (None, Some(at(LIFETIME + MICRO))),
        (Some(Access::ReadOnly), Some(at(HOUR))),
        (rw, Some(at(20 * MINUTE))),
    ];
    for (access, expires_at) in updates {
        // What was looked up before must not be what is found after.
        check.active(&session, MINUTE).await;
        let updated = check.update(session.id, update(access, expires_at), MINUTE);
        let updated = updated.await.expect("S6: an active session can be changed");
        wanted.access = access.unwrap_or(wanted.access);
        wanted.expires_at = expires_at.unwrap_or(wanted.expires_at);
        assert_eq!(
            facts(&updated),
            facts(&wanted),
            "S6: `update` returns the session as it is now, with what was not named as it was"
        );
        assert_eq!(
            facts(&*check.there(session.id).await),
            facts(&wanted),
            "S6: `update` writes down what it returns"
        );
        let active = check.active(&session, MINUTE).await;
        assert_eq!(
            active.map(|active| (active.access, active.expires_at)),
            Some((wanted.access, wanted.expires_at)),
            "S6: an update is seen by the next look-up"
        );
    }
    assert!(
        check.active(&session, 20 * MINUTE).await.is_none(),
        "S6: the new end counts"
    );
    let timeout = Some(EndedReason::Timeout);
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, timeout, Some(at(20 * MINUTE)))],
        "S6: the new end counts"
    );
    let unknown = id(at(Duration::ZERO));
    let updated = check.update(unknown, update(rw, None), MINUTE).await;
    assert!(
        updated.is_none(),
        "S6: a session that is unknown cannot be changed"
    );
}

/// Changes of one session that meet must not undo each other.
async fn s6_an_update_undoes_nothing<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    for round in 0..9 {
        let session = check.session(&ada, &format!("subject {round}"), Duration::ZERO);
        let id = check.given(session).await.id;
        let results = check
            .at_once(3, |store, number| async move {
                // Who comes first is different in every round.
                match (number + round) % 3 {
                    0 => {
                        let raise = update(Some(Access::ReadWrite), None);
                        store.update(id, raise, at(MINUTE)).await
                    }
                    1 => {
                        let extend = update(None, Some(at(2 * LIFETIME)));
                        store.update(id, extend, at(MINUTE)).await
                    }
                    _ => {
                        store.touch(id, at(5 * MINUTE)).await?;
                        store.end(id, EndedReason::Manual, at(5 * MINUTE)).await
                    }
                }
            })
            .await;
        let there = check.there(id).await;
        assert_eq!(
            ended(&there),
            (id, Some(EndedReason::Manual), Some(at(5 * MINUTE))),
            "S6: an update does not undo an end"
        );
        assert_eq!(
            there.last_seen_at,
            at(5 * MINUTE),
            "S6: an update does not undo a touch"
        );
        let took = |which: usize| {
            let result = results[(which + 2 * round) % 3].as_ref();
            result.expect("S6: the store must not fail").is_some()
        };
        let lifetime = match took(1) {
            true => at(2 * LIFETIME) - there.started_at,
            false => at(LIFETIME) - at(Duration::ZERO),
        };
        assert_eq!(
            (
                there.access == Access::ReadWrite,
                there.expires_at - there.started_at
            ),
            (took(0), lifetime),
            "S6: updates that meet do not undo each other, and one that is too late changes nothing"
        );
    }
}

// === S7 ===

async fn s7_every_field_comes_back<S: SessionStore>(check: Check<S>) {
    let long_id = |start: &str| {
        let id = format!("{start}{}", "x".repeat(UserId::MAX_LEN - start.len()));
        UserId::new(id).expect("it is just short enough")
    };
    let address = |address: &str| address.parse::<IpAddr>().ok();
    let hostile = "'; RESET ROLE; --";
    let strange = "\u{202e}\u{1f468}\u{200d}\u{1f469} \"\\' $1 ?1 {} %s\r\n\t</script> e\u{301}";

    let mut sessions = vec![check.session(&check.actor("plain"), "ines", Duration::ZERO)];
    {
        let mut full = check.session(&check.actor(hostile), hostile, SECOND);
        full.actor_rank = Rank(u32::MAX);
        full.role = Some(hostile.into());
        full.access = Access::ReadWrite;
        full.reason = strange.into();
        full.ticket = Some(strange.into());
        full.idle_timeout = 1_800_000_001 * MICRO;
        full.last_seen_at = full.started_at + 7 * MICRO;
        full.address = address("2001:db8::ff00:42:8329");
        full.user_agent = Some(strange.into());
        sessions.push(full);
    }
    {
        let mut longest = check.session(&check.actor("longest"), "ines", 2 * SECOND);
        longest.actor = long_id(&check.tag.simple().to_string());
        longest.subject = Subject::User(long_id("\u{1f468}"));
        longest.actor_rank = Rank(1);
        longest.role = Some("r".repeat(128).into());
        longest.reason = "\u{1f468}".repeat(500).into();
        longest.ticket = Some("\u{1f468}".repeat(128).into());
        longest.user_agent = Some("u".repeat(256).into());
        longest.address = address("::ffff:192.0.2.1");
        longest.idle_timeout = Duration::MAX;
        sessions.push(longest);
    }
    {
        let mut anon = check.session(&check.actor("anon"), "~anon", 3 * SECOND);
        anon.role = Some("".into());
        anon.address = address("192.0.2.1");
        sessions.push(anon);
        let mut service = check.session(&check.actor("service"), "~service", 4 * SECOND);
        service.address = address("::");
        sessions.push(service);
    }

    for wanted in sessions {
        let started = check.given(wanted.clone()).await;
        assert_eq!(*started, wanted, "S7: `start` keeps every field");
        let (actor, after) = (&wanted.actor, MINUTE);
        let found = check.there(wanted.id).await;
        assert_eq!(facts(&found), facts(&wanted), "S7: `get` has every field");
        let found = check.active(&wanted, after).await;
        let found = found.expect("S7: `active` finds it, whatever its ids are");
        assert_eq!(
            facts(&found),
            facts(&wanted),
            "S7: `active` has every field"
        );
        let listed = check.list(&of(actor), &Page::default(), after).await;
        assert_eq!(listed.total, 1, "S7: `list` finds it, whatever its ids are");
        assert_eq!(
            facts(&listed.sessions[0]),
            facts(&wanted),
            "S7: `list` has every field"
        );

        let reason = EndedReason::SessionRevoked;
        let ended = check.end(wanted.id, reason, after).await;
        let ended = ended.expect("S4: an active session can be ended");
        let wanted = wanted.ended(reason, at(after));
        assert_eq!(facts(&ended), facts(&wanted), "S7: `end` has every field");
        let found = check.there(wanted.id).await;
        assert_eq!(
            facts(&found),
            facts(&wanted),
            "S7: an ended session keeps every field"
        );
    }
}

async fn s7_sessions_are_found_by_id_and_by_pair<S: SessionStore>(check: Check<S>) {
    let (ada, eve) = (check.actor("ada"), check.actor("eve"));
    let by_ada = check
        .given(check.session(&ada, eve.as_str(), Duration::ZERO))
        .await;
    let by_eve = check.given(check.session(&eve, ada.as_str(), SECOND)).await;
    for session in [&by_ada, &by_eve] {
        let found = check.active(session, MINUTE).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S7: actor and subject are not mixed up"
        );
    }
    let never = check.session(&ada, "ines", MINUTE);
    assert!(
        check.active(&never, MINUTE).await.is_none(),
        "S7: another subject has no session"
    );
    assert!(
        check.get(never.id).await.is_none(),
        "S7: an unknown id finds nothing"
    );
}

// === Lists ===

async fn list_filters_alone_and_together<S: SessionStore>(check: Check<S>) {
    let (ada, eve) = (check.actor("ada"), check.actor("eve"));
    let ines = format!("ines {}", check.tag.simple());
    let mut sessions = Vec::new();
    // 0: ended, 1: idle, 2 and later: active when it is listed.
    let all = [
        (&ada, &*ines, 0),
        (&ada, "otto", 1),
        (&ada, "~anon", 25),
        (&ada, "~service", 26),
        (&ada, &*ines, 27),
        (&eve, &*ines, 28),
        (&eve, "~anon", 29),
    ];
    for (actor, subject, minute) in all {
        let session = check.session(actor, subject, minute * MINUTE);
        let session = check.given(session).await;
        if minute == 0 {
            check.end(session.id, EndedReason::Manual, MINUTE).await;
        }
        sessions.push(session);
    }
    let now = 31 * MINUTE;
    type Set<'a> = &'a dyn Fn(&mut SessionFilter);
    let tests: [(Set<'_>, &[usize]); 17] = [
        (&|_| {}, &[0, 1, 2, 3, 4, 5, 6]),
        (&|f| f.subject = Some(user(&ines)), &[0, 4, 5]),
        (&|f| f.subject = Some(Subject::Anonymous), &[2, 6]),
        (&|f| f.subject = Some(Subject::Service), &[3]),
        (&|f| f.kind = Some(SubjectKind::User), &[0, 1, 4, 5]),
        (&|f| f.kind = Some(SubjectKind::Anon), &[2, 6]),
        (&|f| f.kind = Some(SubjectKind::Service), &[3]),
        (&|f| f.is_active = Some(true), &[2, 3, 4, 5, 6]),
        (&|f| f.is_active = Some(false), &[0, 1]),
        (&|f| f.from = Some(at(25 * MINUTE)), &[2, 3, 4, 5, 6]),
        (&|f| f.from = Some(at(25 * MINUTE + MICRO)), &[3, 4, 5, 6]),
        (&|f| f.to = Some(at(25 * MINUTE)), &[0, 1]),
        (&|f| f.to = Some(at(25 * MINUTE + MICRO)), &[0, 1, 2]),
        (
            &|f| {
                f.kind = Some(SubjectKind::User);
                f.from = Some(at(MINUTE));
                f.to = Some(at(28 * MINUTE));
            },
            &[1, 4],
        ),
        (
            &|f| {
                f.subject = Some(user(&ines));
                f.kind = Some(SubjectKind::User);
                f.is_active = Some(true);
                f.from = Some(at(Duration::ZERO));
                f.to = Some(at(28 * MINUTE));
            },
            &[4],
        ),
        (
            &|f| {
                f.subject = Some(user(&ines));
                f.kind = Some(SubjectKind::Anon);
            },
            &[],
        ),
        (
            &|f| {
                f.from = Some(at(28 * MINUTE));
                f.to = Some(at(27 * MINUTE));
            },
            &[],
        ),
    ];
    for (set, wanted) in tests {
        let mut filter = SessionFilter::default();
        set(&mut filter);
        let newest_first = |of: Option<&UserId>| -> Vec<SessionId> {
            let wanted = wanted.iter().rev().map(|index| &sessions[*index]);
            let wanted = wanted.filter(|session| of.is_none_or(|of| session.actor == *of));
            wanted.map(|session| session.id).collect()
        };
        for actor in [&ada, &eve] {
            let filter = SessionFilter {
                actor: Some(actor.clone()),
                ..filter.clone()
            };
            let list = check.list(&filter, &Page::default(), now).await;
            let wanted = newest_first(Some(actor));
            assert_eq!(
                ids_of(&list.sessions),
                wanted,
                "list: newest first, what this filter matches: {filter:?}"
            );
            assert_eq!(
                list.total,
                wanted.len() as u64,
                "list: `total` is how many the filter matches: {filter:?}"
            );
            assert_eq!(list.next, None, "list: this was the last page: {filter:?}");
        }
        // Without an actor there may be sessions of others in between.
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let list = check.list(&filter, &page(100, 0, cursor), now).await;
            assert!(
                list.sessions
                    .iter()
                    .all(|session| filter.matches(session, at(now))),
                "list: nothing but what this filter matches: {filter:?}"
            );
            found.extend(list.sessions);
            cursor = list.next;
            if cursor.is_none() {
                break;
            }
        }
        found.retain(|session| session.actor == ada || session.actor == eve);
        assert_eq!(
            ids_of(&found),
            newest_first(None),
            "list: newest first, what this filter matches, of all actors: {filter:?}"
        );
    }
}

async fn list_pages_newest_first<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut ids = Vec::new();
    // Two of them at the same time: the id decides.
    let mut times = vec![Duration::ZERO, SECOND, SECOND, 2 * SECOND, 3 * SECOND];
    times.push(3 * SECOND + 1_000 * MICRO);
    for (number, after) in times.into_iter().enumerate() {
        let session = check.session(&ada, &format!("subject {number}"), after);
        ids.push(check.given(session).await.id);
    }
    ids.sort();
    ids.reverse();

    struct Test {
        limit: usize,
        offset: usize,
        before: Option<usize>,
        wanted: std::ops::Range<usize>,
        more: bool,
    }
    let test = |limit, offset, before, wanted, more| Test {
        limit,
        offset,
        before,
        wanted,
        more,
    };
    let tests = [
        test(0, 0, None, 0..0, false),
        test(0, 3, None, 0..0, false),
        test(1, 0, None, 0..1, true),
        test(1, 5, None, 5..6, false),
        test(5, 0, None, 0..5, true),
        test(6, 0, None, 0..6, false),
        test(7, 0, None, 0..6, false),
        test(usize::MAX, 0, None, 0..6, false),
        test(usize::MAX - 1, 4, None, 4..6, false),
        test(2, 3, None, 3..5, true),
        test(2, 4, None, 4..6, false),
        test(2, 6, None, 0..0, false),
        test(2, 1_000_000, None, 0..0, false),
        test(2, 0, Some(0), 1..3, true),
        test(2, 0, Some(3), 4..6, false),
        test(2, 0, Some(5), 0..0, false),
        test(2, 1, Some(1), 3..5, true),
        test(usize::MAX, 1, Some(1), 3..6, false),
    ];
    for test in tests {
        let Test { limit, offset, .. } = test;
        let shape = (limit, offset, test.before);
        let page = page(limit, offset, test.before.map(|index| ids[index]));
        let list = check.list(&of(&ada), &page, MINUTE).await;
        let wanted = &ids[test.wanted];
        assert_eq!(
            ids_of(&list.sessions),
            wanted,
            "list: newest first, limit, offset and cursor {shape:?}"
        );
        assert_eq!(
            list.total, 6,
            "list: `total` does not depend on the page {shape:?}"
        );
        let next = wanted.last().copied().filter(|_| test.more);
        assert_eq!(
            list.next, next,
            "list: `next` is the last of the page, if there are more {shape:?}"
        );
    }
}

async fn list_cursors_visit_each_once<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut wanted = Vec::new();
    for number in 0..20 {
        let session = check.session(&ada, &format!("subject {number}"), number * SECOND);
        wanted.push(check.given(session).await.id);
    }
    wanted.reverse();

    let (mut visited, mut cursor, mut round) = (Vec::new(), None, 0);
    loop {
        let page = page(3, 0, cursor);
        let list = check.list(&of(&ada), &page, MINUTE).await;
        visited.extend(ids_of(&list.sessions));
        cursor = list.next;
        if cursor.is_none() {
            break;
        }
        // Meanwhile others start, and some that were visited and some that were not end.
        round += 1;
        let session = check.session(&ada, &format!("later {round}"), round * MINUTE);
        check.given(session).await;
        for index in [round as usize, 20 - round as usize] {
            check
                .end(wanted[index], EndedReason::Manual, round * MINUTE)
                .await;
        }
    }
    assert_eq!(
        visited, wanted,
        "list: a cursor visits each session once, whatever starts and ends meanwhile"
    );
}

// === S9 ===

async fn s9_changes_are_heard_of<S: SessionStore>(check: Check<S>) {
    let (heard, mut news) = mpsc::unbounded_channel();
    let (also_heard, mut other_news) = mpsc::unbounded_channel();
    for listener in [heard, also_heard] {
        check.store.subscribe(Arc::new(move |change| {
            // Who no longer listens has panicked already.
            let _ = listener.send(change.clone());
        }));
    }
    let ada = check.actor("ada");
    let replacing = Limits {
        replace: true,
        ..no_limits()
    };

    let first = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let heard = heard_start(&mut news, "S9: `start`", first.id).await;
    assert_eq!(
        facts(&heard),
        facts(&first),
        "S9: the news of a start has the session"
    );
    let refused = check.session(&ada, "ines", MICRO);
    let refused_id = refused.id;
    check.refused(refused, &no_limits(), "S2").await;

    let raise = update(Some(Access::ReadWrite), Some(at(HOUR)));
    let raised = check.update(first.id, raise, SECOND).await;
    let raised = raised.expect("S6: an active session can be changed");
    let heard = wait_for(&mut news, "S9: `update`", |change| match change {
        SessionChange::Updated(session) if session.id == first.id => Some(session.clone()),
        _ => None,
    });
    assert_eq!(
        facts(&*heard.await),
        facts(&raised),
        "S9: the news of an update has the session as it is now"
    );

    let second = check.session(&ada, "ines", MINUTE);
    let second = check.started(second, &replacing, "S2").await.session;
    heard_end(&mut news, "S9: a replacing `start`", first.id, "replaced").await;
    heard_start(&mut news, "S9: a replacing `start`", second.id).await;

    check
        .end(second.id, EndedReason::AdminLogout, 2 * MINUTE)
        .await;
    check.end(second.id, EndedReason::Manual, 2 * MINUTE).await;
    heard_end(&mut news, "S9: `end`", second.id, "admin_logout").await;

    let third = check.given(check.session(&ada, "ines", 3 * MINUTE)).await;
    check.end_all_due(&ada, 3 * MINUTE + IDLE).await;
    heard_end(&mut news, "S9: `end_due`", third.id, "idle").await;

    let fourth = check.given(check.session(&ada, "ines", HOUR)).await;
    let fifth = check.given(check.session(&ada, "otto", HOUR + IDLE)).await;
    heard_end(
        &mut news,
        "S9: a `start` that clears away",
        fourth.id,
        "idle",
    )
    .await;
    check
        .end(fifth.id, EndedReason::SubjectGone, 2 * HOUR - MICRO)
        .await;

    // All of it, in order, by the other listener: and nothing that did not happen.
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let ours = [&first, &second, &third, &fourth, &fifth].map(|session| session.id);
    while ends.last() != Some(&(fifth.id, "subject_gone")) {
        let change = wait_for(&mut other_news, "S9: a second listener", |change| {
            Some(change.clone())
        });
        match change.await {
            SessionChange::Started(session) => {
                assert_ne!(session.id, refused_id, "S9: what is refused is no news");
                if ours.contains(&session.id) && !starts.contains(&session.id) {
                    starts.push(session.id);
                }
            }
            SessionChange::Ended(id, reason) => {
                let end = (id, reason.as_str());
                if ours.contains(&id) && !ends.contains(&end) {
                    ends.push(end);
                }
            }
            _ => {}
        }
    }
    assert_eq!(starts, ours, "S9: every listener hears of every start");
    let wanted = [
        (first.id, "replaced"),
        (second.id, "admin_logout"),
        (third.id, "idle"),
        (fourth.id, "idle"),
        (fifth.id, "subject_gone"),
    ];
    assert_eq!(
        ends, wanted,
        "S9: every listener hears of every end, once it happened"
    );
}

async fn heard_start(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    started: SessionId,
) -> Arc<Session> {
    let heard = wait_for(news, rule, |change| match change {
        SessionChange::Started(session) if session.id == started => Some(session.clone()),
        _ => None,
    });
    heard.await
}

async fn heard_end(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    ended: SessionId,
    why: &str,
) {
    let heard = wait_for(news, rule, |change| match change {
        SessionChange::Ended(id, reason) if *id == ended => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(
        heard.await,
        why,
        "{rule} has to be heard of with its reason"
    );
}

async fn wait_for<T>(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    wanted: impl Fn(&SessionChange) -> Option<T>,
) -> T {
    let heard = tokio::time::timeout(NEWS, async {
        loop {
            let change = news.recv().await;
            let change = change.unwrap_or_else(|| panic!("{rule}: the listener was dropped"));
            if let Some(found) = wanted(&change) {
                return found;
            }
        }
    });
    let heard = heard.await;
    heard.unwrap_or_else(|_| panic!("{rule} has to be heard of by those who subscribed"))
}

// === Words of the checks ===

/// What became of a start that was refused, to compare.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    AlreadyActive,
    TooMany(Duration),
    Failed,
}

fn outcome(error: &StartError) -> Outcome {
    match error {
        StartError::AlreadyActive => Outcome::AlreadyActive,
        StartError::TooManyStarts { retry_after } => Outcome::TooMany(*retry_after),
        StartError::Store(_) | StartError::Trail(_) => Outcome::Failed,
    }
}

/// So long after the beginning: a moment that is far from now, so that a store which reads a clock of its
/// own is found out, and that has microseconds.
fn at(after: Duration) -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_micros(1_582_977_600_123_456) + after
}

fn id(at: OffsetDateTime) -> SessionId {
    let seconds = at.unix_timestamp().unsigned_abs();
    let time = Timestamp::from_unix_time(seconds, at.nanosecond(), 0, 0);
    SessionId(Uuid::new_v7(time))
}

fn user(subject: &str) -> Subject {
    subject
        .parse()
        .expect("the names of these checks are good ids")
}

fn no_limits() -> Limits {
    Limits {
        active: 1_000,
        replace: false,
        starts_per_hour: 1_000,
    }
}

fn update(access: Option<Access>, expires_at: Option<OffsetDateTime>) -> SessionUpdate {
    SessionUpdate { access, expires_at }
}

fn of(actor: &UserId) -> SessionFilter {
    SessionFilter {
        actor: Some(actor.clone()),
        ..SessionFilter::default()
    }
}

fn page(limit: usize, offset: usize, before: Option<SessionId>) -> Page {
    Page {
        limit,
        offset,
        before,
    }
}

fn ended(session: &Session) -> Ended {
    (session.id, session.ended_reason, session.ended_at)
}

fn endings(sessions: &[Arc<Session>]) -> Vec<Ended> {
    sessions.iter().map(|session| ended(session)).collect()
}

fn ids_of(sessions: &[Arc<Session>]) -> Vec<SessionId> {
    sessions.iter().map(|session| session.id).collect()
}

/// Every field as text, so that a message shows what differs.
fn facts(session: &Session) -> String {
    let Session {
        id,
        actor,
        actor_rank,
        subject,
        role,
        access,
        reason,
        ticket,
        started_at,
        expires_at,
        idle_timeout,
        last_seen_at,
        ended_at,
        ended_reason,
        address,
        user_agent,
    } = session;
    let who = (id, actor, actor_rank, subject, role);
    let what = (access, reason, ticket, address, user_agent);
    let when = (started_at, expires_at, idle_timeout, last_seen_at);
    format!("{who:?} {what:?} {when:?} {ended_at:?} {ended_reason:?}")
}
