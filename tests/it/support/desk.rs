//! One application under test: the layer, everything behind it, and a service inside that says who it saw.

use std::{
    convert::Infallible,
    future::{Future, Ready, ready},
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt};
use tower_impersonation::{
    Access, ActingAs, BoxError, Builder, Impersonation, MemoryConsents, Rejection, RejectionKind,
    SessionWithUser, StartRequest,
    audit::{AuditEvent, MemorySink},
    clock::{Clock as _, ManualClock},
    session::{MemorySessions, Page, Session, SessionFilter, SessionStore},
};

use super::{
    host::Cast,
    http::{Req, parts},
    subject,
    time::{NOON, poll_once},
    trail::line,
    watched::Watched,
    world::World,
};

/// What the inner service was given.
#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) acting_as: Option<ActingAs>,
    /// How many events were durable when the handler ran.
    pub(crate) durable: usize,
}

/// Says who it saw, and counts.
#[derive(Clone)]
pub(crate) struct Echo {
    calls: Arc<AtomicUsize>,
    seen: Arc<Mutex<Vec<Seen>>>,
    sink: MemorySink,
}

impl Echo {
    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().expect("a call").clone()
    }
}

/// `ines by ada`, or `themselves`.
pub(crate) fn who(acting_as: Option<&ActingAs>) -> String {
    match acting_as {
        Some(acting_as) => format!("{} by {}", acting_as.subject(), acting_as.actor().id()),
        None => "themselves".to_owned(),
    }
}

impl<B> Service<Request<B>> for Echo {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let acting_as = request.extensions().get::<ActingAs>().cloned();
        let body = who(acting_as.as_ref());
        self.seen.lock().unwrap().push(Seen {
            uri: request.uri().clone(),
            headers: request.headers().clone(),
            acting_as,
            durable: self.sink.events().len(),
        });
        ready(Ok(Response::new(Full::from(body))))
    }
}

/// One application under test.
#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) handle: Impersonation,
    pub(crate) world: World,
    pub(crate) cast: Cast,
    pub(crate) sessions: MemorySessions,
    pub(crate) consents: MemoryConsents,
    pub(crate) sink: MemorySink,
    pub(crate) clock: ManualClock,
    pub(crate) echo: Echo,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) kind: Option<RejectionKind>,
    pub(crate) acting_as: Option<ActingAs>,
    pub(crate) body: String,
}

/// With a directory and started sessions.
pub(crate) fn desk() -> Desk {
    desk_with(|builder| builder)
}

/// The same with more settings.
pub(crate) fn desk_with(set: impl FnOnce(Builder) -> Builder) -> Desk {
    Desk::new(&MemorySessions::new(), true, set)
}

/// Each marked request stands alone.
pub(crate) fn sessionless(set: impl FnOnce(Builder) -> Builder) -> Desk {
    Desk::new(&MemorySessions::new(), false, set)
}

/// Users have to allow it first.
pub(crate) fn desk_with_consent() -> Desk {
    let consents = MemoryConsents::default();
    let world = World::default();
    let watched = Watched {
        world: world.clone(),
        inner: consents.clone(),
    };
    let set = |builder: Builder| builder.require_consent(watched);
    let mut desk = Desk::within(world, &MemorySessions::new(), true, set);
    desk.consents = consents;
    desk
}

impl Desk {
    pub(crate) fn new(
        sessions: &MemorySessions,
        keep: bool,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        Self::within(World::default(), sessions, keep, set)
    }

    pub(crate) fn within(
        world: World,
        sessions: &MemorySessions,
        keep: bool,
        set: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let cast = Cast::new(world.clone());
        let clock = ManualClock::new(NOON);
        let sink = MemorySink::default();
        let watched_sink = Watched {
            world: world.clone(),
            inner: sink.clone(),
        };
        let mut builder = Impersonation::builder(cast.clone(), watched_sink)
            .directory(cast.clone())
            .handlers_read_acting_as()
            .clock(clock.clone());
        if keep {
            builder = builder.sessions(Watched {
                world: world.clone(),
                inner: sessions.clone(),
            });
        }
        Self {
            handle: set(builder).build().expect("a valid set-up"),
            world,
            cast,
            sessions: sessions.clone(),
            consents: MemoryConsents::default(),
            echo: Echo {
                calls: Arc::default(),
                seen: Arc::default(),
                sink: sink.clone(),
            },
            sink,
            clock,
        }
    }

    /// The request through the layer to the echo.
    pub(crate) async fn send(&self, request: Req) -> Reply {
        self.send_to(self.echo.clone(), request).await
    }

    /// The request through the layer to `inner`.
    pub(crate) async fn send_to<S, B>(&self, inner: S, request: Req) -> Reply
    where
        S: Service<Req, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: std::fmt::Debug + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let response = self.handle.layer().layer(inner).oneshot(request).await;
        let (parts, body) = response.expect("an answer").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Reply {
            status: parts.status,
            kind: parts.extensions.get::<Rejection>().map(Rejection::kind),
            acting_as: parts.extensions.get::<ActingAs>().cloned(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).expect("text"),
        }
    }

    /// The same while time goes by, a bit at a time.
    pub(crate) async fn send_slowly(&self, request: Req) -> Reply {
        self.while_time_passes(self.send(request)).await
    }

    pub(crate) async fn while_time_passes<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        for _ in 0..2_000 {
            for _ in 0..20 {
                if let Poll::Ready(value) = poll_once(future.as_mut()).await {
                    return value;
                }
                tokio::task::yield_now().await;
            }
            self.clock.advance(Duration::from_millis(100));
        }
        panic!("it takes for ever");
    }

    /// A read-write session, as far as the grant allows.
    pub(crate) async fn start(&self, who: &str, whom: &str) -> Result<SessionWithUser, Rejection> {
        let request =
            StartRequest::new(subject(whom), "ticket 4711").with_access(Access::ReadWrite);
        self.handle.start(&parts(who), request).await
    }

    /// The session of a start that succeeds.
    pub(crate) async fn started(&self, from: &Parts, request: StartRequest) -> Arc<Session> {
        let started = self.handle.start(from, request).await;
        started.expect("a session").session
    }

    /// The session's row, ended or not.
    pub(crate) async fn row(&self, session: &SessionWithUser) -> Arc<Session> {
        let row = self.sessions.get(session.session.id).await;
        row.expect("memory").expect("a row")
    }

    pub(crate) async fn active(&self) -> Vec<Arc<Session>> {
        let mut filter = SessionFilter::default();
        filter.is_active = Some(true);
        let now = self.clock.now().expect("a running clock");
        let list = self.sessions.list(&filter, &Page::default(), now).await;
        list.expect("memory").sessions
    }

    pub(crate) async fn events(&self) -> Vec<AuditEvent> {
        let flushed = async {
            // A sink that has just come back is still taken for a failing one.
            while self.handle.trail().flush().await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        self.while_time_passes(flushed).await;
        self.sink.events()
    }

    /// The trail, one short line per event.
    pub(crate) async fn trail(&self) -> Vec<String> {
        self.events().await.iter().map(line).collect()
    }
}
