//! [`Sessions`]: the store, what is alive in this process, and the limits.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};

use super::{Engine, Refusal};
use crate::{
    host::Grant,
    rejection::RejectionKind,
    session::{Before, Feeds, Limits, Lives, SessionChange, SessionStore},
    words::{EndedReason, Live, Session, SessionId, Subject, UserId},
};

/// The sessions as this process knows them.
pub(crate) struct Sessions {
    store: Option<Arc<dyn SessionStore>>,
    pub(crate) lives: Arc<Lives>,
    pub(crate) feeds: Feeds,
    pub(crate) settings: SessionSettings,
    pub(super) starting: Starting,
    pub(super) sweeping: AtomicBool,
}

/// How many sessions, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionSettings {
    pub(crate) limits: Limits,
    pub(crate) max_lifetime: Duration,
    pub(crate) idle_timeout: Duration,
}

/// One start at a time per actor in this process, so that a start that will be refused is refused before
/// its event is written. The store decides all the same.
#[derive(Default)]
pub(super) struct Starting {
    hasher: RandomState,
    stripes: [Mutex<()>; 32],
}

// === impl Sessions ===

impl Sessions {
    pub(crate) fn new(store: Option<Arc<dyn SessionStore>>, settings: SessionSettings) -> Self {
        let lives = Arc::<Lives>::default();
        let feeds = Feeds::default();
        if let Some(store) = &store {
            let (lives, feeds) = (lives.clone(), feeds.clone());
            store.subscribe(Arc::new(move |change: &SessionChange| {
                lives.hear(change);
                feeds.tell(change);
            }));
        }
        Self {
            store,
            lives,
            feeds,
            settings,
            starting: Starting::default(),
            sweeping: AtomicBool::default(),
        }
    }

    /// The store, for hosts that run with sessions.
    pub(crate) fn store(&self) -> Option<&Arc<dyn SessionStore>> {
        self.store.as_ref()
    }

    /// The store, where there must be one.
    pub(crate) fn required(&self) -> Result<&Arc<dyn SessionStore>, Refusal> {
        self.store.as_ref().ok_or_else(|| {
            let reason = "no session store is set; see `Builder::sessions`";
            Refusal::of(RejectionKind::Unavailable, reason)
        })
    }

    /// The length of a session: what is asked for, within the grant and the ceiling.
    pub(super) fn lifetime(&self, asked: Option<Duration>, grant: &Grant) -> Duration {
        let ceiling = self.settings.max_lifetime;
        let ceiling = grant.max_lifetime().map_or(ceiling, |max| max.min(ceiling));
        asked.map_or(ceiling, |asked| asked.min(ceiling))
    }
}

// === impl Starting ===

impl Starting {
    pub(super) async fn lock(&self, actor: &UserId) -> MutexGuard<'_, ()> {
        let stripe = self.hasher.hash_one(actor) as usize % self.stripes.len();
        self.stripes[stripe].lock().await
    }
}

// === impl Engine ===

impl Engine {
    /// The open session of this actor for this subject.
    pub(super) async fn session_of(
        &self,
        sessions: &Arc<dyn SessionStore>,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        let found = async {
            match sessions.peek(actor, subject, now) {
                Some(session) => Ok(Some(session)),
                None => sessions.active(actor, subject, now).await,
            }
        };
        self.ask("session store", found).await
    }

    /// The life in this process of a session that was looked up, unless it has ended meanwhile. `before` is what had
    /// ended before the look-up, so that no end can slip between.
    pub(super) async fn live_session(
        self: &Arc<Self>,
        sessions: &Arc<dyn SessionStore>,
        session: &Arc<Session>,
        before: Before,
    ) -> Result<Arc<Live>, Refusal> {
        let (live, is_sure) = self.sessions.lives.of(session, before);
        if !is_sure {
            self.catch_up(sessions, session.id).await?;
        }
        match live.ended() {
            // The change was heard before the store's answer came.
            Some(reason) => Err(Refusal::of(RejectionKind::NoSession, reason.as_str())),
            None => Ok(live),
        }
    }

    /// Refuses a session that was idle for too long, and ends it (rule [S4](crate::rules#s4)).
    pub(super) async fn not_idle(
        self: &Arc<Self>,
        sessions: &Arc<dyn SessionStore>,
        session: Arc<Session>,
        live: &Live,
        now: OffsetDateTime,
    ) -> Result<Arc<Session>, Refusal> {
        let is_idle = |session: &Session| now - live.last_seen(session) >= session.idle_timeout;
        if !is_idle(&session) {
            return Ok(session);
        }
        // Another replica may have seen a request since this answer was kept.
        let found = async { sessions.get(session.id).await };
        let read_again = self.ask("session store", found).await?;
        match read_again.filter(|session| session.is_open(now)) {
            Some(session) if !is_idle(&session) => Ok(session),
            Some(session) => {
                let why = "the session was idle for too long";
                Err(self.end_now(session, EndedReason::Idle, why).await)
            }
            None => Err(Refusal::of(
                RejectionKind::NoSession,
                "the session has ended",
            )),
        }
    }

    /// Asks the store what became of a session, where a change may have been missed.
    pub(super) async fn catch_up(
        &self,
        sessions: &Arc<dyn SessionStore>,
        id: SessionId,
    ) -> Result<(), Refusal> {
        let found = async { sessions.get(id).await };
        let lives = &self.sessions.lives;
        match self.ask("session store", found).await? {
            Some(session) => match session.ended_reason {
                Some(reason) => lives.end(id, reason),
                None => lives.hear(&SessionChange::Updated(session)),
            },
            None => lives.end(id, EndedReason::Timeout),
        }
        Ok(())
    }

    /// Tells the store of acted requests that it has not heard of.
    pub(super) async fn tell_last_seen(&self) -> Result<(), Refusal> {
        let Some(sessions) = self.sessions.store() else {
            return Ok(());
        };
        let untold = self.sessions.lives.untold();
        if untold.is_empty() {
            return Ok(());
        }
        let seen: Vec<_> = untold.iter().map(|(live, at)| (live.id, *at)).collect();
        let told = async { sessions.touch_all(&seen).await };
        self.ask("session store", told).await?;
        untold.iter().for_each(|(live, at)| live.told(*at));
        Ok(())
    }
}
