//! Tests of the trail, one file per part; here is what they share.
#![allow(clippy::unwrap_used)]

mod event;
mod fold;
mod guard;
mod reader;
mod sinks;
mod trail;

use std::{
    collections::VecDeque,
    future::Future,
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderValue, Method};
use time::{OffsetDateTime, macros::datetime};
use tokio::sync::{Semaphore, watch};

use super::{
    AuditEvent, AuditSink, EventName, MemorySink, Outcome, RequestFacts, RequestGuard, Trail,
    TrailError, TrailSettings, sink_fn,
};
use crate::{
    ActingAs, BoxError,
    clock::{Clock, ManualClock},
    session::{Lives, Session, SessionId},
    words::{Access, Actor, Rank, Subject},
};

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const TIMEOUT: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(60);
/// Slots of the trails of these tests.
const QUEUE: usize = 64;

/// A trail with a clock that stands still.
fn trail(sink: impl AuditSink) -> (Trail, ManualClock) {
    trail_of(sink, QUEUE, WINDOW)
}

fn trail_of(sink: impl AuditSink, queue: usize, fold: Duration) -> (Trail, ManualClock) {
    let clock = ManualClock::new(NOON);
    (
        trail_with(sink, Arc::new(clock.clone()), queue, fold),
        clock,
    )
}

fn trail_with(sink: impl AuditSink, clock: Arc<dyn Clock>, queue: usize, fold: Duration) -> Trail {
    let settings = TrailSettings {
        timeout: TIMEOUT,
        queue,
        fold,
    };
    Trail::new(Arc::new(sink), clock, settings)
}

/// What a sink does when it is called.
#[derive(Debug, Clone, Copy)]
enum Act {
    Take,
    Fail,
    Hang,
    Panic,
    /// Takes the events once the test opens the gate.
    Wait,
}

/// A sink that does what the test says, call by call, and then one thing for ever.
#[derive(Clone)]
struct Scripted(Arc<Script>);

struct Script {
    acts: Mutex<VecDeque<Act>>,
    then: Mutex<Act>,
    calls: watch::Sender<Vec<Vec<AuditEvent>>>,
    kept: Mutex<Vec<AuditEvent>>,
    gate: Semaphore,
}

impl Scripted {
    fn new(acts: impl IntoIterator<Item = Act>, then: Act) -> Self {
        Self(Arc::new(Script {
            acts: Mutex::new(acts.into_iter().collect()),
            then: Mutex::new(then),
            calls: watch::Sender::default(),
            kept: Mutex::default(),
            gate: Semaphore::new(0),
        }))
    }

    fn always(act: Act) -> Self {
        Self::new([], act)
    }

    fn go_on_with(&self, act: Act) {
        self.0.acts.lock().unwrap().clear();
        *self.0.then.lock().unwrap() = act;
    }

    /// Lets this many waiting writes through.
    fn open(&self, writes: usize) {
        self.0.gate.add_permits(writes);
    }

    /// What was kept.
    fn kept(&self) -> Vec<AuditEvent> {
        self.0.kept.lock().unwrap().clone()
    }

    /// What it was called with.
    fn calls(&self) -> Vec<Vec<AuditEvent>> {
        self.0.calls.borrow().clone()
    }

    /// Waits until it was called this often.
    async fn called(&self, times: usize) {
        let mut calls = self.0.calls.subscribe();
        calls.wait_for(|calls| calls.len() >= times).await.unwrap();
    }
}

#[async_trait]
impl AuditSink for Scripted {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        self.0
            .calls
            .send_modify(|calls| calls.push(events.to_vec()));
        let act = self.0.acts.lock().unwrap().pop_front();
        let act = act.unwrap_or(*self.0.then.lock().unwrap());
        match act {
            Act::Take => {}
            Act::Fail => return Err("the disk is full".into()),
            Act::Hang => std::future::pending().await,
            Act::Panic => panic!("the sink panics, as the test wants it to"),
            Act::Wait => self.0.gate.acquire().await.unwrap().forget(),
        }
        self.0.kept.lock().unwrap().extend_from_slice(events);
        Ok(())
    }
}

/// Lets every other task of this thread's runtime do what it can do without time.
async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Moves the clock on until `work` is done.
async fn while_time_passes<T>(clock: &ManualClock, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    for _ in 0..2_000 {
        if let Poll::Ready(done) = poll(work.as_mut()).await {
            return done;
        }
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(100));
    }
    panic!("it is never done");
}

/// Polls once.
async fn poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Whether no slot is taken.
async fn all_slots_are_free(trail: &Trail) -> bool {
    poll(pin!(trail.slots::<QUEUE>())).await.is_ready()
}

fn actor() -> Actor {
    Actor::new("ada".parse().unwrap(), Rank(20))
}

fn ines() -> Subject {
    "ines".parse().unwrap()
}

fn session(id: u128) -> Session {
    let id = SessionId(uuid::Uuid::from_u128(id));
    let end = NOON + Duration::from_secs(7_200);
    Session::new(id, actor().id().clone(), ines(), "ticket 4711", NOON, end)
}

fn acting_in(session: &Session) -> ActingAs {
    let lives = Lives::default();
    let (live, _) = lives.of(session, lives.before());
    let clock = Arc::new(ManualClock::new(NOON));
    ActingAs::by_session(actor(), None, Arc::new(session.clone()), live, clock)
}

fn acting_alone(subject: Subject, access: Access, reason: Option<&str>) -> ActingAs {
    let clock = Arc::new(ManualClock::new(NOON));
    let reason = reason.map(str::to_owned);
    ActingAs::by_request(actor(), subject, None, access, reason, clock)
}

/// An acted request, in session 1.
fn request(method: Method, uri: &str) -> RequestFacts {
    RequestFacts {
        acting_as: acting_in(&session(1)),
        method,
        uri: uri.parse().unwrap(),
        route: None,
        address: Some([192, 0, 2, 7].into()),
        user_agent: Some(HeaderValue::from_static("Mozilla/5.0")),
        request_id: Some(HeaderValue::from_static("4f1c")),
        at: NOON,
    }
}

fn get(uri: &str) -> RequestFacts {
    request(Method::GET, uri)
}

fn post(uri: &str) -> RequestFacts {
    request(Method::POST, uri)
}

/// The same request once more.
fn again(facts: &RequestFacts) -> RequestFacts {
    RequestFacts {
        acting_as: facts.acting_as.clone(),
        method: facts.method.clone(),
        uri: facts.uri.clone(),
        route: facts.route.clone(),
        address: facts.address,
        user_agent: facts.user_agent.clone(),
        request_id: facts.request_id.clone(),
        at: facts.at,
    }
}

/// A read that went well.
async fn read(trail: &Trail, facts: RequestFacts, status: u16) {
    let guard = RequestGuard::read(trail, facts).await.unwrap();
    guard.complete(status.try_into().unwrap());
}

/// An event to tell by its path.
fn event(trail: &Trail, path: &str) -> AuditEvent {
    let mut event = trail.event(EventName::Request).unwrap();
    event.path = Some(path.to_owned());
    event
}

fn paths(events: &[AuditEvent]) -> Vec<String> {
    let path = |event: &AuditEvent| event.path.as_deref().unwrap_or("").to_owned();
    events.iter().map(path).collect()
}

fn outcomes(events: &[AuditEvent]) -> Vec<Option<Outcome>> {
    events.iter().map(|event| event.outcome).collect()
}

/// What `work` logs.
fn logged(work: impl FnOnce()) -> String {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let log = log.0.lock().unwrap().clone();
    String::from_utf8(log).unwrap()
}
