//! The channel by which replicas tell each other: one connection of this process that listens, and all who hear.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use sqlx::{
    PgPool, Postgres,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::reserve::Reserve;

/// Every notification of this crate comes here.
const CHANNEL: &str = "impersonation";
/// When nothing was heard for so long, the connection is asked whether it still is one.
const INTERVAL: Duration = Duration::from_secs(1);
/// And may take so long to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Without a sign of life for so long, changes may have been missed.
const LEASE: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Someone who hears.
#[async_trait]
pub(crate) trait Hear: Send {
    /// Whether anyone still wants to hear.
    fn goes_on(&self) -> bool;

    /// From now on everything comes in. What came before may have been missed.
    async fn opened(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error>;

    /// What a replica tells.
    async fn heard(&mut self, what: &str, connection: &mut PgListener) -> Result<(), sqlx::Error>;

    /// Nothing was missed until now.
    fn alive(&mut self) {}

    /// Changes are being missed. Said again with every attempt to connect that fails.
    fn lost(&mut self);
}

/// The connection that listens; at most one for a pool, and none while nobody wants to hear.
pub struct Channel {
    since: Instant,
    /// Milliseconds after `since` of the last sign of life; 0 while there is none.
    alive_at: AtomicU64,
    newcomers: Mutex<Newcomers>,
    joined: Notify,
}

/// Those who have not heard anything yet.
#[derive(Default)]
struct Newcomers {
    waiting: Vec<Box<dyn Hear>>,
    is_listening: bool,
}

// === impl Channel ===

impl Channel {
    /// Whether everything comes in now.
    pub(crate) fn is_open(&self) -> bool {
        let alive_at = self.alive_at.load(Ordering::SeqCst);
        alive_at > 0 && self.now().saturating_sub(alive_at) < LEASE.as_millis() as u64
    }

    fn alive(&self) {
        self.alive_at.store(self.now(), Ordering::SeqCst);
    }

    fn lost(&self) {
        self.alive_at.store(0, Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        // From 1 on, because 0 is "never".
        u64::try_from(self.since.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }

    fn newcomers(&self) -> MutexGuard<'_, Newcomers> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            alive_at: AtomicU64::new(0),
            newcomers: Mutex::default(),
            joined: Notify::new(),
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("is_open", &self.is_open())
            .finish_non_exhaustive()
    }
}

/// Has `ear` hear what comes in by the channel of this reserve. Where it cannot, it is dropped: without a runtime,
/// and when the task goes away with its runtime.
pub(crate) fn join(reserve: &Arc<Reserve<Postgres>>, ear: impl Hear + 'static) {
    let Ok(runtime) = Handle::try_current() else {
        return;
    };
    let channel = reserve.shared();
    let mut newcomers = channel.newcomers();
    newcomers.waiting.push(Box::new(ear));
    channel.joined.notify_one();
    if !newcomers.is_listening {
        newcomers.is_listening = true;
        runtime.spawn(listen(Listening(reserve.clone())));
    }
}

/// The task that listens.
struct Listening(Arc<Reserve<Postgres>>);

impl Listening {
    /// Whether nobody wants to hear any more; then the next one who joins starts another task.
    fn is_over(&self, ears: &mut Vec<Box<dyn Hear>>) -> bool {
        let mut newcomers = self.0.shared().newcomers();
        ears.append(&mut newcomers.waiting);
        ears.retain(|ear| ear.goes_on());
        newcomers.is_listening = !ears.is_empty();
        ears.is_empty()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let channel = self.0.shared();
        channel.lost();
        let mut newcomers = channel.newcomers();
        // It went away with its runtime, or by a panic.
        newcomers.is_listening = false;
        let waiting = std::mem::take(&mut newcomers.waiting);
        drop(newcomers);
        drop(waiting);
    }
}

async fn listen(task: Listening) {
    let channel = task.0.shared();
    let mut ears: Vec<Box<dyn Hear>> = Vec::new();
    let mut failures = 0;
    while !task.is_over(&mut ears) {
        let error = match timeout(LEASE, connect(task.0.host())).await {
            Ok(Ok(mut connection)) => {
                failures = 0;
                match until_lost(&task, &mut connection, &mut ears).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        tracing::warn!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "changes that other replicas make are missed; the database is read for each request until they come in"
        );
        channel.lost();
        ears.iter_mut().for_each(|ear| ear.lost());
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

/// A connection of our own: one of the host's pool would be missing there for good.
async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    // Named, so that who looks at the server's connections knows what it is for.
    let options = (*pool.connect_options()).clone();
    let options = options.application_name("tower-impersonation listener");
    let one = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options);
    let mut connection = PgListener::connect_with(&one).await?;
    // A new connection is made here, where it is known what was missed.
    connection.eager_reconnect(false);
    connection.ignore_pool_close_event(true);
    connection.listen(CHANNEL).await?;
    Ok(connection)
}

/// `Ok` when nobody wants to hear any more.
async fn until_lost(
    task: &Listening,
    connection: &mut PgListener,
    ears: &mut Vec<Box<dyn Hear>>,
) -> Result<(), sqlx::Error> {
    let gone = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
    let channel = task.0.shared();
    channel.alive();
    let mut known = 0;
    loop {
        for ear in ears.iter_mut().skip(known) {
            ear.opened(connection).await?;
        }
        match timeout(INTERVAL, next(channel, connection)).await {
            Ok(Ok(Next::Joined)) => {}
            Ok(Ok(Next::Heard(what))) => {
                for ear in ears.iter_mut() {
                    ear.heard(what.payload(), connection).await?;
                }
            }
            Ok(Ok(Next::Gone)) => return Err(gone()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let alive = sqlx::query("select 1").execute(&mut *connection);
                timeout(ANSWER, alive).await.map_err(|_| gone())??;
            }
        }
        // After a pause as long as that, more may be waiting to be heard.
        if !channel.is_open() {
            return Err(gone());
        }
        channel.alive();
        ears.iter_mut().for_each(|ear| ear.alive());
        ears.retain(|ear| ear.goes_on());
        known = ears.len();
        if task.is_over(ears) {
            return Ok(());
        }
    }
}

enum Next {
    Heard(PgNotification),
    Joined,
    Gone,
}

/// What comes first: a notification, or someone who wants to hear.
async fn next(channel: &Channel, connection: &mut PgListener) -> Result<Next, sqlx::Error> {
    let mut joined = pin!(channel.joined.notified());
    let mut heard = pin!(connection.try_recv());
    poll_fn(|cx| {
        if joined.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(Next::Joined));
        }
        heard.as_mut().poll(cx).map_ok(|heard| match heard {
            Some(heard) => Next::Heard(heard),
            None => Next::Gone,
        })
    })
    .await
}
