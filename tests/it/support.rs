//! A small cast and a desk to seat it at: checker, directory, store, consent and sink that can be watched
//! and put into trouble while they run.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    future::{Future, Ready, ready},
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, Uri, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use time::{OffsetDateTime, macros::datetime};
use tokio::{net::TcpListener, sync::Semaphore};
use tower::{Layer, Service, ServiceExt};
use tower_impersonation::{
    Access, ActingAs, Actor, AdminChecker, BoxError, Builder, Caller, Consent, Decision,
    DirectoryUser, Grant, Impersonation, MemoryConsents, MemoryDirectory, Rank, Rejection,
    RejectionKind, Rights, SessionWithUser, StartRequest, Subject, UserDirectory, UserId,
    audit::{AuditEvent, AuditSink, EventName, MemorySink},
    clock::ManualClock,
    session::{
        EndedReason, Limits, MemorySessions, Page, Session, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};

pub(crate) const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) type Req = Request<Full<Bytes>>;

pub(crate) fn id(id: &str) -> UserId {
    id.parse().expect("a user id")
}

pub(crate) fn subject(marker: &str) -> Subject {
    marker.parse().expect("a subject")
}

/// A request of whoever `who` is signed in as; nobody is signed in as `""`.
pub(crate) fn ask(method: &str, who: &str, target: &str) -> Req {
    let mut request = Request::builder().method(method).uri(target);
    if !who.is_empty() {
        request = request.header("x-user", who);
    }
    request.body(Full::default()).expect("a request")
}

pub(crate) fn get(who: &str, target: &str) -> Req {
    ask("GET", who, target)
}

pub(crate) fn post(who: &str, target: &str) -> Req {
    ask("POST", who, target)
}

pub(crate) fn parts(who: &str) -> Parts {
    get(who, "/").into_parts().0
}

// === The world: what was asked, and what goes wrong ===

/// What someone's code does instead of answering.
#[derive(Clone)]
pub(crate) enum How {
    Fail,
    Hang,
    Panic,
    /// Lets others run this many times, then answers.
    Slow(usize),
    /// Waits for a permit, then answers.
    Gate(Arc<Semaphore>),
}

impl How {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hang => "hang",
            Self::Panic => "panic",
            Self::Slow(_) => "slow",
            Self::Gate(_) => "gate",
        }
    }
}

/// Shared by everything of the host's.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    asked: Vec<String>,
    trouble: HashMap<&'static str, How>,
}

impl World {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was asked of the host, in its order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let state = self.state();
        let is_it = |line: &&String| line.split(' ').next() == Some(what);
        state.asked.iter().filter(is_it).count()
    }

    pub(crate) fn forget(&self) {
        self.state().asked.clear();
    }

    pub(crate) fn trouble(&self, at: &'static str, how: How) {
        self.state().trouble.insert(at, how);
    }

    /// Nothing goes on before the semaphore has a permit for it.
    pub(crate) fn gate(&self, at: &'static str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.trouble(at, How::Gate(gate.clone()));
        gate
    }

    pub(crate) fn calm(&self) {
        self.state().trouble.clear();
    }

    fn heard(&self, at: &'static str, what: &str) {
        self.state()
            .asked
            .push(format!("{at} {what}").trim_end().to_owned());
    }

    pub(crate) fn is_in_trouble(&self, at: &'static str) -> bool {
        self.state().trouble.contains_key(at)
    }

    pub(crate) async fn at(&self, at: &'static str, what: &str) -> Result<(), BoxError> {
        self.heard(at, what);
        let how = self.state().trouble.get(at).cloned();
        match how {
            None => Ok(()),
            Some(How::Fail) => Err(format!("{at} is broken").into()),
            Some(How::Hang) => std::future::pending().await,
            Some(How::Panic) => panic!("{at} panics"),
            Some(How::Slow(yields)) => {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Some(How::Gate(gate)) => {
                gate.acquire_owned().await?.forget();
                Ok(())
            }
        }
    }
}

// === The cast ===

/// One of the staff, as the host's own tables have them.
#[derive(Clone, Copy)]
pub(crate) struct Staff {
    pub(crate) rank: u32,
    pub(crate) access: Access,
    pub(crate) lifetime: Option<Duration>,
    pub(crate) rights: Rights,
}

/// Who may what, changeable at run time. It is checker and directory at once.
#[derive(Clone)]
pub(crate) struct Cast {
    world: World,
    staff: Arc<Mutex<BTreeMap<UserId, Staff>>>,
    /// Subjects and actors to whom the checker says no.
    barred: Arc<Mutex<BTreeSet<String>>>,
    pub(crate) users: MemoryDirectory,
}

pub(crate) const ADMIN: Staff = Staff {
    rank: 20,
    access: Access::ReadWrite,
    lifetime: None,
    rights: Rights::LIST_SESSIONS,
};
pub(crate) const SUPPORT: Staff = Staff {
    rank: 10,
    access: Access::ReadOnly,
    lifetime: Some(Duration::from_secs(30 * 60)),
    rights: Rights::LIST_SESSIONS,
};

pub(crate) fn customer(name: &str) -> DirectoryUser {
    DirectoryUser::new(id(name), Rank(0))
        .with_login(format!("{name}@shop.example"))
        .with_role("customer")
}

impl Cast {
    fn new(world: World) -> Self {
        let root = Staff {
            rank: 30,
            rights: Rights::all(),
            ..ADMIN
        };
        let admin = Staff {
            rights: Rights::default(),
            ..ADMIN
        };
        let staff = [
            ("root", root),
            ("ada", admin),
            ("abe", admin),
            ("sam", SUPPORT),
        ];
        let users = MemoryDirectory::default();
        for (name, staff) in &staff {
            users.insert(DirectoryUser::new(id(name), Rank(staff.rank)).with_role("staff"));
        }
        for name in ["ines", "otto", "mia"] {
            users.insert(customer(name));
        }
        users.insert(customer("kim").not_impersonable_because("opted out"));
        users.insert(customer("bot").not_impersonable_because("a system account"));
        Self {
            world,
            staff: Arc::new(Mutex::new(
                staff
                    .into_iter()
                    .map(|(name, staff)| (id(name), staff))
                    .collect(),
            )),
            barred: Arc::default(),
            users,
        }
    }

    pub(crate) fn hire(&self, who: &str, staff: Staff) {
        self.staff.lock().unwrap().insert(id(who), staff);
    }

    pub(crate) fn dismiss(&self, who: &str) {
        self.staff.lock().unwrap().remove(&id(who));
    }

    /// From now on the checker denies whatever this one asks, or whoever asks for this one.
    pub(crate) fn bar(&self, who: &str) {
        self.barred.lock().unwrap().insert(who.to_owned());
    }

    fn find_staff(&self, who: &UserId) -> Option<Staff> {
        self.staff.lock().unwrap().get(who).copied()
    }
}

#[async_trait]
impl AdminChecker for Cast {
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        self.world.at("identify", "").await?;
        let Some(user) = parts.headers.get("x-user") else {
            return Ok(Caller::Anonymous);
        };
        let user: UserId = user.to_str()?.parse()?;
        Ok(match self.find_staff(&user) {
            None => Caller::User(user),
            Some(staff) => {
                Caller::Admin(Actor::new(user, Rank(staff.rank)).with_rights(staff.rights))
            }
        })
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        _: &Parts,
    ) -> Result<Decision, BoxError> {
        self.world.at("authorize", subject.as_str()).await?;
        let barred = self.barred.lock().unwrap().clone();
        if barred.contains(actor.id().as_str()) || barred.contains(subject.as_str()) {
            return Ok(Decision::deny("barred by name"));
        }
        let Some(staff) = self.find_staff(actor.id()) else {
            return Ok(Decision::deny("no staff"));
        };
        let mut grant = match staff.access {
            Access::ReadWrite => Grant::read_write(),
            _ => Grant::read_only(),
        };
        if let Some(lifetime) = staff.lifetime {
            grant = grant.with_max_lifetime(lifetime);
        }
        Ok(Decision::Allow(grant))
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        self.world.at("actor", id.as_str()).await?;
        let staff = self.find_staff(id);
        Ok(staff.map(|staff| Actor::new(id.clone(), Rank(staff.rank)).with_rights(staff.rights)))
    }
}

#[async_trait]
impl UserDirectory for Cast {
    async fn find(&self, id: &UserId) -> Result<Option<DirectoryUser>, BoxError> {
        self.world.at("find", id.as_str()).await?;
        self.users.find(id).await
    }

    async fn find_by_login(&self, login: &str) -> Result<Option<DirectoryUser>, BoxError> {
        self.world.at("find_by_login", login).await?;
        self.users.find_by_login(login).await
    }

    async fn search(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<Vec<DirectoryUser>, BoxError> {
        self.world.at("search", text).await?;
        self.users.search(text, limit, offset).await
    }
}

// === Store, consent and sink that can be watched ===

#[derive(Clone)]
pub(crate) struct Watched<T> {
    pub(crate) world: World,
    pub(crate) inner: T,
}

#[async_trait]
impl SessionStore for Watched<MemorySessions> {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        self.world
            .at("check", "")
            .await
            .map_err(StartError::Store)?;
        self.inner.check(session, limits, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.world
            .at("start", "")
            .await
            .map_err(StartError::Store)?;
        let started = self.inner.start(session, limits).await;
        // The step is done, but whoever asked does not hear of it.
        self.world
            .at("started", "")
            .await
            .map_err(StartError::Store)?;
        started
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("active", subject.as_str()).await?;
        let found = self.inner.active(actor, subject, now).await;
        // What was found may be outdated when it arrives.
        self.world.at("answer", "").await?;
        found
    }

    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        self.world.heard("peek", "");
        assert!(!self.world.is_in_trouble("peek"), "peek panics");
        if self.world.is_in_trouble("active") || self.world.is_in_trouble("answer") {
            return None;
        }
        self.inner.peek(actor, subject, now)
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("get", "").await?;
        self.inner.get(id).await
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("end", reason.as_str()).await?;
        self.inner.end(id, reason, now).await
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        self.world.at("end_due", "").await?;
        self.inner.end_due(now, limit).await
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.world.at("touch", "").await?;
        self.inner.touch(id, seen_at).await
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("update", "").await?;
        self.inner.update(id, update, now).await
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        self.world.at("list", "").await?;
        self.inner.list(filter, page, now).await
    }

    fn subscribe(&self, listener: SessionListener) {
        self.inner.subscribe(listener);
    }
}

#[async_trait]
impl Consent for Watched<MemoryConsents> {
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
        self.world.at("consent", subject.as_str()).await?;
        self.inner.allowed_until(subject).await
    }
}

#[async_trait]
impl AuditSink for Watched<MemorySink> {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        self.world.at("write", "").await?;
        self.inner.write(events).await
    }
}

// === The service inside ===

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

// === The desk ===

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

    /// The session's row, ended or not.
    pub(crate) async fn row(&self, session: &SessionWithUser) -> Arc<Session> {
        let row = self.sessions.get(session.session.id).await;
        row.expect("memory").expect("a row")
    }

    pub(crate) async fn active(&self) -> Vec<Arc<Session>> {
        use tower_impersonation::clock::Clock as _;

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

/// `start ada ines`, `end ada ines manual`, `request ada ines GET /orders completed 200`,
/// `denied ada ines read_only`.
pub(crate) fn line(event: &AuditEvent) -> String {
    let name = event.name.as_str();
    let name = name.strip_prefix("impersonation.").unwrap_or(name);
    let mut line = vec![
        name.to_owned(),
        event
            .actor
            .as_ref()
            .map_or("-".to_owned(), UserId::to_string),
        event
            .subject
            .as_ref()
            .map_or("-".to_owned(), Subject::to_string),
    ];
    match event.name {
        EventName::End => line.extend(event.reason.clone()),
        EventName::Request => {
            line.extend(event.method.clone());
            line.extend(event.path.clone());
            line.extend(event.outcome.map(|outcome| outcome.as_str().to_owned()));
            line.extend(event.status.map(|status| status.to_string()));
            line.extend(event.count.map(|count| format!("x{count}")));
        }
        EventName::Denied | EventName::PrivilegeViolation => {
            line.extend(event.rule.map(str::to_owned));
            line.extend(event.count.map(|count| format!("x{count}")));
        }
        _ => {}
    }
    line.join(" ")
}

pub(crate) async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Lets everything else run until nothing more is to be expected of it.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Polls `future` while everything else runs; it must not be done.
pub(crate) async fn still_waits<F: Future>(mut future: std::pin::Pin<&mut F>) {
    for _ in 0..200 {
        assert!(
            poll_once(future.as_mut()).await.is_pending(),
            "it does not wait"
        );
        tokio::task::yield_now().await;
    }
}

// === A real server ===

/// Serves on a free port of this machine.
pub(crate) async fn serve<S, B>(service: S) -> SocketAddr
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Into<BoxError> + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                // A response that was cut ends the connection with an error; the client tells.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// One request on a connection of its own.
pub(crate) async fn fetch(address: SocketAddr, request: Req) -> Response<hyper::body::Incoming> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("the server");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .expect("http");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    let mut request = request;
    let host = http::HeaderValue::try_from(address.to_string()).expect("an address");
    request.headers_mut().insert("host", host);
    sender.send_request(request).await.expect("an answer")
}
