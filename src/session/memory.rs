//! [`MemorySessions`]: sessions of one process, gone when it ends.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use papaya::Equivalent;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    Limits, Page, SessionChange, SessionFilter, SessionList, SessionListener, SessionStore,
    SessionUpdate, StartError, Started,
};
use crate::words::{BoxError, EndedReason, Map, Session, SessionId, Subject, UserId};

/// Sessions in memory, for one process, gone when it ends. Clones share them.
///
/// Looking up an active session takes no lock. The newest 10,000 ended sessions are kept for lists; change the
/// number with [`with_history`](Self::with_history).
///
/// ```
/// use tower_impersonation::session::MemorySessions;
///
/// let sessions = MemorySessions::new().with_history(500);
/// ```
#[derive(Clone, Default)]
pub struct MemorySessions {
    shared: Arc<Shared>,
    history: History,
}

#[derive(Debug, Clone, Copy)]
struct History(usize);

#[derive(Default)]
struct Shared {
    active: Map<Pair, Arc<Session>>,
    state: Mutex<State>,
    listeners: Mutex<Vec<SessionListener>>,
}

#[derive(Default)]
struct State {
    /// Everything that is listed, in the order of starts.
    all: BTreeMap<SessionId, Arc<Session>>,
    ended: VecDeque<SessionId>,
    actors: HashMap<UserId, Box<PerActor>>,
    /// Refresh tokens of active sessions that have been spent.
    spent: HashMap<SessionId, HashSet<Uuid>>,
}

struct PerActor {
    /// Active ones, oldest first.
    active: Vec<SessionId>,
    /// Times of the starts within the last hour, oldest first.
    starts: Vec<OffsetDateTime>,
}

/// One actor as one subject: the key of what can be active.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pair {
    pub(super) actor: UserId,
    pub(super) subject: Subject,
}

/// A [`Pair`] to look up with, without copying.
#[derive(Clone, Copy)]
pub(super) struct PairRef<'a>(pub(super) &'a UserId, pub(super) &'a Subject);

// === impl MemorySessions ===

impl MemorySessions {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps this many ended sessions for lists. Default: 10,000.
    #[must_use]
    pub fn with_history(mut self, sessions: usize) -> Self {
        self.history = History(sessions);
        self
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, changes: &[SessionChange]) {
        if changes.is_empty() {
            return;
        }
        let listeners = self.shared.listeners.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner).clone();
        for change in changes {
            listeners.iter().for_each(|listener| listener(change));
        }
    }

    /// Ends a session that is in the list and not ended yet.
    fn end_in(
        &self,
        state: &mut State,
        session: &Session,
        reason: EndedReason,
        at: OffsetDateTime,
    ) -> Arc<Session> {
        let ended = Arc::new(session.ended(reason, at));
        state.all.insert(ended.id, ended.clone());
        state.ended.push_back(ended.id);
        state.spent.remove(&ended.id);
        if let Some(actor) = state.actors.get_mut(&ended.actor) {
            actor.active.retain(|id| *id != ended.id);
        }
        let active = self.shared.active.pin();
        active.remove(&PairRef(&ended.actor, &ended.subject));
        while state.ended.len() > self.history.0 {
            if let Some(oldest) = state.ended.pop_front() {
                state.all.remove(&oldest);
            }
        }
        ended
    }

    fn replace_in(&self, state: &mut State, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        state.all.insert(session.id, session.clone());
        let pair = Pair {
            actor: session.actor.clone(),
            subject: session.subject.clone(),
        };
        self.shared.active.pin().insert(pair, session.clone());
        session
    }
}

impl Default for PerActor {
    /// Most have one session at a time, and few start another within the hour.
    fn default() -> Self {
        Self {
            active: Vec::with_capacity(1),
            starts: Vec::with_capacity(1),
        }
    }
}

impl State {
    fn active_of(&self, actor: &UserId) -> Vec<Arc<Session>> {
        let ids = self.actors.get(actor).map(|actor| actor.active.as_slice());
        let ids = ids.unwrap_or_default().iter();
        ids.filter_map(|id| self.all.get(id).cloned()).collect()
    }

    fn starts_of(&mut self, actor: &UserId, now: OffsetDateTime) -> Vec<OffsetDateTime> {
        let Some(actor) = self.actors.get_mut(actor) else {
            return Vec::new();
        };
        let window = Limits::window_start(now);
        let recent = actor.starts.partition_point(|start| *start <= window);
        actor.starts.drain(..recent);
        actor.starts.clone()
    }
}

#[async_trait]
impl SessionStore for MemorySessions {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        let mut state = self.lock();
        let mut active = state.active_of(&session.actor);
        active.retain(|session| session.is_active(now));
        let starts = state.starts_of(&session.actor, now);
        limits
            .admit(&session.subject, &active, &starts, now)
            .map(drop)
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        let now = session.started_at;
        let started = {
            let mut state = self.lock();
            let (active, due): (Vec<_>, Vec<_>) = state
                .active_of(&session.actor)
                .into_iter()
                .partition(|session| session.is_active(now));
            let starts = state.starts_of(&session.actor, now);
            let replaced = limits.admit(&session.subject, &active, &starts, now)?;
            if state.all.contains_key(&session.id) {
                // It would take the place of the other one, active or not.
                return Err(StartError::Store("there is a session with this id".into()));
            }

            let mut ended = Vec::new();
            for session in &due {
                let (reason, at) = session.due(now).unwrap_or((EndedReason::Timeout, now));
                ended.push(self.end_in(&mut state, session, reason, at));
            }
            for session in replaced {
                ended.push(self.end_in(&mut state, session, EndedReason::Replaced, now));
            }
            let actor = state.actors.entry(session.actor.clone()).or_default();
            actor.active.push(session.id);
            // Clocks of two callers may disagree: the order is that of the times.
            let later = actor.starts.partition_point(|start| *start <= now);
            actor.starts.insert(later, now);
            Started {
                session: self.replace_in(&mut state, session),
                ended,
            }
        };
        let mut changes = ends(&started.ended);
        changes.push(SessionChange::Started(started.session.clone()));
        self.publish(&changes);
        Ok(started)
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        Ok(self.peek(actor, subject, now))
    }

    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        let active = self.shared.active.pin();
        let session = active.get(&PairRef(actor, subject))?;
        session.is_open(now).then(|| session.clone())
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        Ok(self.lock().all.get(&id).cloned())
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let ended = {
            let mut state = self.lock();
            match state.all.get(&id).cloned() {
                Some(session) if session.is_active(now) => {
                    Some(self.end_in(&mut state, &session, reason, now))
                }
                _ => None,
            }
        };
        self.publish(&ends(ended.as_slice()));
        Ok(ended)
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        let ended: Vec<_> = {
            let mut state = self.lock();
            let active = state.actors.values().flat_map(|actor| &actor.active);
            let due: Vec<_> = active
                .filter_map(|id| state.all.get(id))
                .filter_map(|session| Some((session.clone(), session.due(now)?)))
                .take(limit)
                .collect();
            let ended = due
                .into_iter()
                .map(|(session, (reason, at))| self.end_in(&mut state, &session, reason, at))
                .collect();
            let window = Limits::window_start(now);
            state.actors.retain(|_, actor| {
                !actor.active.is_empty() || actor.starts.last().is_some_and(|last| *last > window)
            });
            ended
        };
        self.publish(&ends(&ended));
        Ok(ended)
    }

    async fn spend(&self, id: SessionId, token: Uuid) -> Result<bool, BoxError> {
        Ok(self.lock().spent.entry(id).or_default().insert(token))
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        let mut state = self.lock();
        if let Some(session) = state.all.get(&id).cloned()
            && session.ended_at.is_none()
            && session.last_seen_at < seen_at
        {
            self.replace_in(
                &mut state,
                Session {
                    last_seen_at: seen_at,
                    ..(*session).clone()
                },
            );
        }
        Ok(())
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let updated = {
            let mut state = self.lock();
            match state.all.get(&id).cloned() {
                Some(session) if session.is_active(now) => {
                    let updated = Session {
                        access: update.access.unwrap_or(session.access),
                        expires_at: update.expires_at.unwrap_or(session.expires_at),
                        ..(*session).clone()
                    };
                    self.replace_in(&mut state, updated)
                }
                _ => return Ok(None),
            }
        };
        self.publish(&[SessionChange::Updated(updated.clone())]);
        Ok(Some(updated))
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        let state = self.lock();
        let matching = || {
            let newest_first = state.all.values().rev();
            newest_first.filter(|session| filter.matches(session, now))
        };
        let older = |session: &&Arc<Session>| page.before.is_none_or(|id| session.id < id);
        let mut sessions: Vec<_> = matching()
            .filter(older)
            .skip(page.offset)
            .take(page.limit.saturating_add(1))
            .cloned()
            .collect();
        let more = sessions.len() > page.limit;
        sessions.truncate(page.limit);
        Ok(SessionList {
            next: sessions.last().filter(|_| more).map(|last| last.id),
            total: matching().count() as u64,
            sessions,
        })
    }

    fn subscribe(&self, listener: SessionListener) {
        let listeners = self.shared.listeners.lock();
        listeners
            .unwrap_or_else(PoisonError::into_inner)
            .push(listener);
    }
}

impl fmt::Debug for MemorySessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemorySessions")
            .field("sessions", &self.lock().all.len())
            .finish_non_exhaustive()
    }
}

impl Default for History {
    fn default() -> Self {
        Self(10_000)
    }
}

// === impl PairRef ===

impl Hash for PairRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<Pair> for PairRef<'_> {
    fn equivalent(&self, pair: &Pair) -> bool {
        *self.0 == pair.actor && *self.1 == pair.subject
    }
}

fn ends(ended: &[Arc<Session>]) -> Vec<SessionChange> {
    let change = |session: &Arc<Session>| {
        let reason = session.ended_reason.unwrap_or(EndedReason::Timeout);
        SessionChange::Ended(session.id, reason)
    };
    ended.iter().map(change).collect()
}
