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

use std::{future::Future, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::sync::Barrier;
use uuid::{Timestamp, Uuid};

use crate::{
    session::{
        EndedReason, Limits, Page, Session, SessionFilter, SessionId, SessionList, SessionStore,
        SessionUpdate, StartError, Started,
    },
    words::{Access, Subject, UserId},
};

mod change;
mod count;
mod end;
mod feed;
mod find;
mod list;
mod start;

/// The smallest step that databases keep.
const MICRO: Duration = Duration::from_micros(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// How long sessions of these checks may last, and be idle.
const LIFETIME: Duration = Duration::from_secs(2 * 60 * 60);
const IDLE: Duration = Duration::from_secs(30 * 60);

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

    start::s2_a_second_start_is_refused(check().await).await;
    start::s2_replacing_ends_the_first(check().await).await;
    start::s2_as_many_as_allowed_and_one_per_subject(check().await).await;
    start::s2_replacing_ends_no_more_than_it_has_to(check().await).await;
    start::s2_parallel_starts_leave_one(check().await).await;
    start::s2_parallel_replacements_leave_one(check().await).await;
    start::s2_actors_do_not_disturb_each_other(check().await).await;
    start::s2_an_id_is_used_once(check().await).await;

    count::s3_the_eleventh_start_of_an_hour_is_refused(check().await).await;
    count::s3_refused_starts_do_not_count_and_replaced_ones_do(check().await).await;
    count::s3_starts_are_counted_by_their_times(check().await).await;
    count::s3_parallel_starts_are_counted(check().await).await;

    end::s4_at_its_end_it_is_over(check().await).await;
    end::s4_idle_sessions_end(check().await).await;
    end::s4_due_sessions_end_when_they_were_due(check().await).await;
    end::s4_parallel_sweeps_share_the_due_sessions(check().await).await;
    end::s4_an_end_is_final(check().await).await;
    end::s4_parallel_ends_have_one_winner(check().await).await;
    end::s4_a_start_clears_away_what_is_overdue(check().await).await;
    change::s4_a_touch_prolongs_and_never_moves_back(check().await).await;

    change::s6_updates_change_active_sessions_only(check().await).await;
    change::s6_an_update_undoes_nothing(check().await).await;

    find::s7_every_field_comes_back(check().await).await;
    find::s7_sessions_are_found_by_id_and_by_pair(check().await).await;

    list::list_filters_alone_and_together(check().await).await;
    list::list_pages_newest_first(check().await).await;
    list::list_cursors_visit_each_once(check().await).await;

    feed::s9_changes_are_heard_of(check().await).await;
}

/// A store, and names that no other check has.
struct Check<S> {
    store: Arc<S>,
    tag: Uuid,
}

/// A session in one line, for comparing.
type Ended = (SessionId, Option<EndedReason>, Option<OffsetDateTime>);

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
