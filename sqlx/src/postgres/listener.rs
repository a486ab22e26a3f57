//! The task that listens, for all who hear by one [`Channel`](super::channel::Channel).

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use sqlx::{
    PgPool, Postgres,
    postgres::{PgListener, PgNotification, PgPoolOptions},
};
use tokio::time::{sleep, timeout, timeout_at};

use super::{
    asking::Asked,
    channel::{Channel, Hear},
    lease::{ANSWER, LEASE, Pings, channel_of, lost},
};
use crate::reserve::Reserve;

/// What every replica hears comes here.
const CHANNEL: &str = "impersonation";
/// Between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// The task.
pub(super) struct Listening {
    reserve: Arc<Reserve<Postgres>>,
    /// It has said so: there may be another one by now.
    is_over: AtomicBool,
}

/// Someone who hears, and whether everything.
struct Ear {
    hear: Box<dyn Hear>,
    is_open: bool,
}

/// What comes by one connection.
struct Connection<'c> {
    channel: &'c Channel,
    listener: PgListener,
    pings: Pings,
}

enum Next {
    Heard(PgNotification),
    Joined,
    Gone,
}

// === impl Listening ===

impl Listening {
    pub(super) fn of(reserve: Arc<Reserve<Postgres>>) -> Self {
        Self {
            reserve,
            is_over: AtomicBool::new(false),
        }
    }

    /// Whether nobody wants to hear any more; then the next one who joins starts another task.
    fn is_over(&self, ears: &mut Vec<Ear>) -> bool {
        let channel = self.reserve.shared();
        let mut newcomers = channel.newcomers();
        ears.extend(newcomers.waiting.drain(..).map(Ear::new));
        ears.retain(|ear| ear.hear.goes_on());
        if ears.is_empty() {
            channel.lease.lose();
            newcomers.is_listening = false;
            self.is_over.store(true, Ordering::SeqCst);
        }
        ears.is_empty()
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if *self.is_over.get_mut() {
            return;
        }
        // It went away with its runtime, or by a panic.
        let channel = self.reserve.shared();
        channel.lease.lose();
        let mut newcomers = channel.newcomers();
        newcomers.is_listening = false;
        let waiting = std::mem::take(&mut newcomers.waiting);
        drop(newcomers);
        drop(waiting);
    }
}

// === impl Ear ===

impl Ear {
    fn new(hear: Box<dyn Hear>) -> Self {
        Self {
            hear,
            is_open: false,
        }
    }

    fn lost(&mut self) {
        self.is_open = false;
        self.hear.lost();
    }
}

pub(super) async fn listen(task: Listening) {
    let channel = task.reserve.shared();
    let mut ears = Vec::new();
    let mut failures = 0;
    while !task.is_over(&mut ears) {
        let error = match timeout(LEASE, Connection::open(channel, task.reserve.host())).await {
            Ok(Ok(mut connection)) => {
                let Err(error) = connection.until_lost(&task, &mut ears).await else {
                    return;
                };
                if ears.iter().any(|ear| ear.is_open) {
                    failures = 0;
                }
                error
            }
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        tracing::warn!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "changes that other replicas make are missed; the database is read for each request until they come in"
        );
        channel.lease.lose();
        ears.iter_mut().for_each(Ear::lost);
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

// === impl Connection ===

impl<'c> Connection<'c> {
    /// A connection of our own: one of the host's pool would be missing there for good.
    async fn open(channel: &'c Channel, pool: &PgPool) -> Result<Self, sqlx::Error> {
        // Named, so that who looks at the server's connections knows what it is for.
        let options = (*pool.connect_options()).clone();
        let options = options.application_name("tower-impersonation listener");
        let one = PgPoolOptions::new()
            .max_connections(1)
            .max_lifetime(None)
            .idle_timeout(None)
            .connect_lazy_with(options);
        let mut listener = PgListener::connect_with(&one).await?;
        // A new connection is made here, where it is known what was missed.
        listener.eager_reconnect(false);
        listener.ignore_pool_close_event(true);
        let own = channel_of(channel.replica);
        listener.listen_all([CHANNEL, &own]).await?;
        let pings = Pings::start(channel.replica, &mut listener).await?;
        Ok(Self {
            channel,
            listener,
            pings,
        })
    }

    /// `Ok` when nobody wants to hear any more.
    async fn until_lost(
        &mut self,
        task: &Listening,
        ears: &mut Vec<Ear>,
    ) -> Result<(), sqlx::Error> {
        while !task.is_over(ears) {
            // Only what is seen to come in can be relied on.
            if self.channel.is_open() {
                self.open_to(ears).await?;
            }
            let due = self.pings.due_at().into();
            match timeout_at(due, self.next()).await {
                Ok(Ok(Next::Joined)) => {}
                Ok(Ok(Next::Heard(what))) => {
                    let hearing = timeout(ANSWER, self.hear(&what, ears));
                    hearing.await.map_err(|_| lost())??;
                }
                Ok(Ok(Next::Gone)) => return Err(lost()),
                Ok(Err(error)) => return Err(error),
                Err(_) => self.pings.go_on(&mut self.listener).await?,
            }
        }
        Ok(())
    }

    async fn open_to(&mut self, ears: &mut [Ear]) -> Result<(), sqlx::Error> {
        for ear in ears.iter_mut().filter(|ear| !ear.is_open) {
            ear.hear.opened(&mut self.listener).await?;
            ear.is_open = true;
        }
        Ok(())
    }

    /// In the order in which it was told.
    async fn hear(&mut self, what: &PgNotification, ears: &mut [Ear]) -> Result<(), sqlx::Error> {
        let text = what.payload();
        if what.channel() != CHANNEL {
            self.hear_own(text, ears);
            return Ok(());
        }
        if let Some(asked) = Asked::read(text) {
            let (replica, questions) = (self.channel.replica, &self.channel.questions);
            return asked.answer(replica, questions, &mut self.listener).await;
        }
        for ear in ears {
            ear.hear.heard(text, &mut self.listener).await?;
        }
        Ok(())
    }

    /// What is told to this replica alone: its pings, and answers to its questions.
    fn hear_own(&mut self, text: &str, ears: &mut [Ear]) {
        let mut words = text.split(' ');
        let kind = words.next();
        let number = words.next().and_then(|number| number.parse().ok());
        match (kind, number) {
            (Some("ping"), Some(number)) if self.pings.is_back(number, &self.channel.lease) => {
                let open = ears.iter_mut().filter(|ear| ear.is_open);
                open.for_each(|ear| ear.hear.alive());
            }
            (Some("heard"), Some(number)) => {
                if let Some(by) = words.next().and_then(|by| by.parse().ok()) {
                    self.channel.questions.answered(number, by);
                }
            }
            _ => {}
        }
    }

    /// What comes first: a notification, or someone who wants to hear.
    async fn next(&mut self) -> Result<Next, sqlx::Error> {
        let mut joined = pin!(self.channel.joined.notified());
        let mut heard = pin!(self.listener.try_recv());
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
}
