//! The channel by which replicas tell each other: one connection of this process that listens, and all who hear.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use sqlx::{Postgres, postgres::PgListener};
use tokio::{runtime::Handle, sync::Notify};
use uuid::Uuid;

use super::{
    asking::Questions,
    lease::Lease,
    listener::{Listening, listen},
};
use crate::reserve::Reserve;

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
    /// What the other replicas know this process by.
    pub(super) replica: Uuid,
    pub(super) lease: Lease,
    pub(super) questions: Questions,
    newcomers: Mutex<Newcomers>,
    pub(super) joined: Notify,
}

/// Those who have not heard anything yet.
#[derive(Default)]
pub(super) struct Newcomers {
    pub(super) waiting: Vec<Box<dyn Hear>>,
    pub(super) is_listening: bool,
}

// === impl Channel ===

impl Channel {
    /// Whether everything comes in now.
    pub(crate) fn is_open(&self) -> bool {
        self.lease.is_held()
    }

    /// Waits until every replica has heard what was told before, or has to ask the database: at most one lease. Asks
    /// by a connection of this reserve. `open` has this channel open, by which the answers come.
    pub(super) async fn heard_by_all(
        &self,
        reserve: &Reserve<Postgres>,
        open: impl Future<Output = ()>,
    ) {
        let hearing = (!self.is_open()).then_some(open);
        self.questions.ask(self.replica, reserve, hearing).await;
    }

    pub(super) fn newcomers(&self) -> MutexGuard<'_, Newcomers> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Channel {
    fn default() -> Self {
        Self {
            replica: Uuid::now_v7(),
            lease: Lease::default(),
            questions: Questions::default(),
            newcomers: Mutex::default(),
            joined: Notify::new(),
        }
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("replica", &self.replica)
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
        runtime.spawn(listen(Listening::of(reserve.clone())));
    }
}
