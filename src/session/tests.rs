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
use time::{OffsetDateTime, macros::datetime};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::{
    session::{
        Cached, EndedReason, Limits, Lives, MemorySessions, Page, Session, SessionChange,
        SessionFilter, SessionId, SessionList, SessionListener, SessionStore, SessionUpdate,
        StartError, Started,
    },
    words::{BoxError, Live, Subject, UserId},
};

mod cached;
#[cfg(feature = "conformance")]
mod conform;
mod handle;
mod life;
mod lives;
mod memory;
mod session;

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

/// The entry of a session of which nothing else is known.
fn live(lives: &Lives, session: &Session) -> Arc<Live> {
    let (live, is_sure) = lives.of(session, lives.before());
    assert!(is_sure);
    live
}
