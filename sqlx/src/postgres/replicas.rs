//! Changes to sessions that other replicas make, as they come in by the channel (rule S9).

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use sqlx::{Postgres, postgres::PgListener};
use tokio::sync::watch;
use tower_impersonation::session::{EndedReason, Session, SessionChange, SessionId};

use super::channel::{Hear, join};
use crate::{
    reserve::Reserve,
    sessions::{ChangeListeners, News, SessionDialect as _, row},
};

/// What a store hears of other replicas.
pub struct Replicas {
    reserve: Arc<Reserve<Postgres>>,
    hearing: Arc<Hearing>,
}

struct Hearing {
    /// Anybody wants to hear.
    is_wanted: AtomicBool,
    /// An ear is with the channel.
    has_joined: AtomicBool,
    /// And it hears everything, as long as the channel is open.
    is_complete: watch::Sender<bool>,
}

/// Hears for the listeners of a store.
struct SessionEar {
    listeners: Weak<ChangeListeners>,
    hearing: Arc<Hearing>,
}

// === impl Replicas ===

impl Replicas {
    /// As the channel of this reserve tells.
    pub(super) fn of(reserve: Arc<Reserve<Postgres>>) -> Self {
        Self {
            reserve,
            hearing: Arc::new(Hearing {
                is_wanted: AtomicBool::new(false),
                has_joined: AtomicBool::new(false),
                is_complete: watch::Sender::new(false),
            }),
        }
    }

    /// Waits until everything comes in.
    pub(super) async fn listening(&self, listeners: &Arc<ChangeListeners>) {
        self.tell(listeners);
        let mut complete = self.hearing.is_complete.subscribe();
        // The sender is in `self`.
        let _ = complete.wait_for(|complete| *complete).await;
    }
}

impl News<Postgres> for Replicas {
    fn new(reserve: Arc<Reserve<Postgres>>) -> Self {
        Self::of(reserve)
    }

    fn tell(&self, listeners: &Arc<ChangeListeners>) {
        self.hearing.is_wanted.store(true, Ordering::Relaxed);
        self.keep_telling(listeners);
    }

    fn keep_telling(&self, listeners: &Arc<ChangeListeners>) {
        let hearing = &self.hearing;
        if !hearing.is_wanted.load(Ordering::Relaxed)
            || hearing.has_joined.load(Ordering::Relaxed)
            || hearing.has_joined.swap(true, Ordering::SeqCst)
        {
            return;
        }
        let ear = SessionEar {
            listeners: Arc::downgrade(listeners),
            hearing: hearing.clone(),
        };
        join(&self.reserve, ear);
    }

    fn is_complete(&self) -> bool {
        *self.hearing.is_complete.borrow() && self.reserve.shared().is_open()
    }

    async fn heard_by_all(&self, reserve: &Reserve<Postgres>, listeners: &Arc<ChangeListeners>) {
        let channel = self.reserve.shared();
        channel
            .heard_by_all(reserve, self.listening(listeners))
            .await;
    }
}

// === impl SessionEar ===

impl SessionEar {
    fn tell(&self, change: &SessionChange) {
        if let Some(listeners) = self.listeners.upgrade() {
            listeners.tell(change);
        }
    }
}

#[async_trait]
impl Hear for SessionEar {
    fn goes_on(&self) -> bool {
        self.listeners.strong_count() > 0
    }

    async fn opened(&mut self, _: &mut PgListener) -> Result<(), sqlx::Error> {
        // In this order: nothing that was kept before may be used once everything comes in.
        self.tell(&SessionChange::Unknown);
        self.hearing.is_complete.send_replace(true);
        Ok(())
    }

    async fn heard(&mut self, what: &str, connection: &mut PgListener) -> Result<(), sqlx::Error> {
        let mut words = what.split(' ');
        let kind = words.next();
        let id = words.next().and_then(|id| id.parse().ok()).map(SessionId);
        let change = match (kind, id) {
            (Some("ended"), Some(id)) => {
                let reason = words.next().map(EndedReason::read);
                SessionChange::Ended(id, reason.unwrap_or(EndedReason::SessionRevoked))
            }
            (Some("updated"), Some(id)) => match get(connection, id).await? {
                Some(session) => match session.ended_reason {
                    Some(reason) => SessionChange::Ended(id, reason),
                    None => SessionChange::Updated(session),
                },
                None => SessionChange::Ended(id, EndedReason::SessionRevoked),
            },
            (Some("started"), Some(id)) => match get(connection, id).await? {
                Some(session) => SessionChange::Started(session),
                None => SessionChange::Ended(id, EndedReason::SessionRevoked),
            },
            // A role, a consent, or what a later version tells.
            _ => return Ok(()),
        };
        self.tell(&change);
        Ok(())
    }

    fn lost(&mut self) {
        self.hearing.is_complete.send_replace(false);
        // Every time: who keeps streams open has to look what became of their sessions.
        self.tell(&SessionChange::Unknown);
    }
}

impl Drop for SessionEar {
    fn drop(&mut self) {
        // The next call has another one join.
        self.hearing.is_complete.send_replace(false);
        self.hearing.has_joined.store(false, Ordering::SeqCst);
    }
}

async fn get(
    connection: &mut PgListener,
    id: SessionId,
) -> Result<Option<Arc<Session>>, sqlx::Error> {
    let get = sqlx::query(Postgres::SESSIONS.get).bind(id.0);
    row::one(&get.fetch_all(connection).await?)
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replicas").finish_non_exhaustive()
    }
}
