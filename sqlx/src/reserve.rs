//! [`Reserve`]: the few connections that this crate has for itself beside the host's pool.

use std::{
    any::Any,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, Weak},
};

use sqlx::{Pool, pool::PoolConnection};

use crate::{
    dialect::{Dialect, Options},
    transaction::Transaction,
};

/// At most this many connections.
const MOST: u32 = 4;

/// The host's pool, and a small one beside it, so that a host that has used up its own can still stop sessions,
/// take roles away and write the trail.
///
/// The small one is made when it is first needed, with the settings of the host's: its hooks, its patience, its
/// options, also where the host changes them later. A database in memory has none: there, everything goes through
/// the host's.
///
/// Whatever is made from one pool shares one reserve, so a process has one for each pool, and one connection that
/// listens.
pub struct Reserve<D: Dialect> {
    host: Pool<D>,
    own: OnceLock<Own<D>>,
    shared: D::Shared,
}

struct Own<D: Dialect> {
    pool: Pool<D>,
    /// The host's, as this pool has them.
    options: RwLock<Arc<Options<D>>>,
    /// Closes this pool with the host's.
    closing: tokio::task::AbortHandle,
}

/// Every reserve of this process.
static RESERVES: Mutex<Vec<Weak<dyn Any + Send + Sync>>> = Mutex::new(Vec::new());

// === impl Reserve ===

impl<D: Dialect> Reserve<D> {
    /// That of this pool.
    pub(crate) fn of(host: Pool<D>) -> Arc<Self> {
        let mut reserves = RESERVES.lock().unwrap_or_else(PoisonError::into_inner);
        reserves.retain(|reserve| reserve.strong_count() > 0);
        let there = reserves
            .iter()
            .filter_map(|reserve| reserve.upgrade()?.downcast::<Self>().ok());
        // Clones of a pool have the very same options.
        let same = |reserve: &Arc<Self>| {
            Arc::ptr_eq(&reserve.host.connect_options(), &host.connect_options())
        };
        if let Some(reserve) = there.into_iter().find(same) {
            return reserve;
        }
        let reserve = Arc::new(Self {
            host,
            own: OnceLock::new(),
            shared: D::Shared::default(),
        });
        let weak: Weak<Self> = Arc::downgrade(&reserve);
        reserves.push(weak);
        reserve
    }

    /// The host's pool.
    pub(crate) fn host(&self) -> &Pool<D> {
        &self.host
    }

    /// What the stores of this pool share.
    pub(crate) fn shared(&self) -> &D::Shared {
        &self.shared
    }

    /// A connection that the host's requests cannot have used up: for ends, revocation, the trail and the short
    /// questions on the way to them.
    pub(crate) async fn connection(&self) -> Result<PoolConnection<D>, sqlx::Error> {
        if self.is_in_memory() {
            return self.host.acquire().await;
        }
        let own = self.own.get_or_init(|| Own::beside(&self.host));
        own.follow(&self.host);
        own.pool.acquire().await
    }

    /// Begins a transaction on such a connection.
    pub(crate) async fn begin(&self) -> Result<Transaction<D>, sqlx::Error> {
        self.begin_on(self.connection().await?).await
    }

    /// Begins a transaction on this connection.
    pub(crate) async fn begin_on(
        &self,
        connection: PoolConnection<D>,
    ) -> Result<Transaction<D>, sqlx::Error> {
        Transaction::begin(connection, self.is_in_memory()).await
    }

    fn is_in_memory(&self) -> bool {
        D::is_in_memory(&self.host.connect_options())
    }
}

impl<D: Dialect> fmt::Debug for Reserve<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reserve").finish_non_exhaustive()
    }
}

// === impl Own ===

impl<D: Dialect> Own<D> {
    fn beside(host: &Pool<D>) -> Self {
        let options = host.connect_options();
        let settings = host.options().clone();
        let pool = settings
            .min_connections(0)
            .max_connections(MOST)
            .connect_lazy_with((*options).clone());
        let (closed, own) = (host.close_event(), pool.clone());
        let closing = tokio::spawn(async move {
            closed.await;
            own.close().await;
        });
        Self {
            pool,
            options: RwLock::new(options),
            closing: closing.abort_handle(),
        }
    }

    /// New connections are made as the host's are now: a password may have changed.
    fn follow(&self, host: &Pool<D>) {
        let options = host.connect_options();
        let known = self.options.read().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&known, &options) {
            return;
        }
        drop(known);
        self.pool.set_connect_options((*options).clone());
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = options;
    }
}

impl<D: Dialect> Drop for Own<D> {
    fn drop(&mut self) {
        self.closing.abort();
    }
}
