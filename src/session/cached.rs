//! [`Cached`]: the active sessions of a slower store, kept in memory.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::OnceCell;
use uuid::Uuid;

use super::{
    Limits, Page, SessionChange, SessionFilter, SessionList, SessionListener, SessionStore,
    SessionUpdate, StartError, Started,
    memory::{Pair, PairRef},
};
use crate::words::{
    AuditEvent, BoxError, Call, EndedReason, Map, Session, SessionId, Subject, UserId,
};

/// Keeps the answers of a slower store to "is there an active session".
///
/// - Reads take no lock, and concurrent look-ups of the same session share one call of the store.
/// - "There is none" is never kept: a session that has just started is found at once.
/// - A session that ends through this store is forgotten at once, and so is one of which the store hears that another
///   replica ended it ([`SessionStore::subscribe`]).
/// - For changes that the store does not hear of, `keep` bounds how long an ended session can still pass for active.
/// - While the store does not hear of changes ([`SessionStore::hears_all`]), no kept answer is used and none is
///   kept (rule [S9](crate::rules#s9)).
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::session::{Cached, MemorySessions};
///
/// let sessions = Cached::new(MemorySessions::new(), Duration::from_secs(5));
/// ```
pub struct Cached<S> {
    store: S,
    keep: Duration,
    kept: Arc<Kept>,
}

struct Kept {
    by_pair: Map<Pair, Arc<Entry>>,
    pairs: Map<SessionId, Pair>,
    /// Changes with everything that is forgotten, so that an answer that was under way meanwhile is not kept.
    forgotten: AtomicU64,
}

#[derive(Default)]
struct Entry {
    /// The session, and until when it is kept.
    loaded: OnceCell<(Arc<Session>, OffsetDateTime)>,
}

/// Why a look-up filled nothing in.
enum Miss {
    None,
    /// Something ended while the store was asked: the answer may be older than that.
    Outdated,
    Failed(BoxError),
}

// === impl Cached ===

impl<S: SessionStore> Cached<S> {
    /// More entries than this are not kept: the cache starts over.
    const MOST: usize = 100_000;

    /// Keeps what `store` answers for at most `keep`.
    pub fn new(store: S, keep: Duration) -> Self {
        let kept = Arc::new(Kept::default());
        let listening = kept.clone();
        store.subscribe(Arc::new(move |change| listening.hear(change)));
        Self { store, keep, kept }
    }
}

impl Default for Kept {
    fn default() -> Self {
        // `update_or_insert` grows the map without moving what is in the smaller one, so that every look-up
        // would have to search both: let whoever makes it grow move everything at once.
        let by_pair = papaya::HashMap::builder().resize_mode(papaya::ResizeMode::Blocking);
        Self {
            by_pair: by_pair.hasher(Default::default()).build(),
            pairs: Map::default(),
            forgotten: AtomicU64::default(),
        }
    }
}

impl Kept {
    fn hear(&self, change: &SessionChange) {
        match change {
            // That there was none is never kept.
            SessionChange::Started(_) => {}
            SessionChange::Ended(id, _) => self.forget(*id),
            SessionChange::Updated(session) => self.forget(session.id),
            SessionChange::Unknown => self.clear(),
        }
    }

    fn forget(&self, id: SessionId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        if let Some(pair) = self.pairs.pin().remove(&id) {
            self.by_pair.pin().remove(pair);
        }
    }

    fn forget_all(&self, ended: &[Arc<Session>]) {
        ended.iter().for_each(|session| self.forget(session.id));
    }

    fn clear(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.by_pair.pin().clear();
        self.pairs.pin().clear();
    }

    fn entry(&self, pair: PairRef<'_>, usable: impl Fn(&Entry) -> bool, most: usize) -> Arc<Entry> {
        let by_pair = self.by_pair.pin();
        if let Some(entry) = by_pair.get(&pair).filter(|entry| usable(entry)) {
            return entry.clone();
        }
        // There are more ids than pairs where a store does not tell of every end.
        if by_pair.len().max(self.pairs.len()) >= most {
            self.clear();
        }
        let pair = Pair {
            actor: pair.0.clone(),
            subject: pair.1.clone(),
        };
        // Whoever comes first decides; the others find that entry, unless it is past use as well.
        let fresh = Arc::new(Entry::default());
        by_pair
            .update_or_insert(
                pair,
                |there| match usable(there) {
                    true => there.clone(),
                    false => fresh.clone(),
                },
                fresh.clone(),
            )
            .clone()
    }

    /// Takes an entry out, if it is still this one.
    fn discard(&self, pair: PairRef<'_>, entry: &Arc<Entry>) {
        let by_pair = self.by_pair.pin();
        let _ = by_pair.remove_if(&pair, |_, there| Arc::ptr_eq(there, entry));
    }
}

impl Entry {
    /// The session, if it is loaded, still kept and still active.
    fn fresh(&self, now: OffsetDateTime) -> Option<&Arc<Session>> {
        let (session, until) = self.loaded.get()?;
        (now < *until && session.is_open(now)).then_some(session)
    }
}

#[async_trait]
impl<S: SessionStore> SessionStore for Cached<S> {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        self.store.check(session, limits, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        let started = self.store.start(session, limits).await?;
        self.kept.forget_all(&started.ended);
        Ok(started)
    }

    async fn start_recorded(
        &self,
        session: &Session,
        limits: &Limits,
        event: &AuditEvent,
    ) -> Option<Result<Started, StartError>> {
        let started = self.store.start_recorded(session, limits, event).await?;
        if let Ok(started) = &started {
            self.kept.forget_all(&started.ended);
        }
        Some(started)
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        if !self.store.hears_all() {
            return self.store.active(actor, subject, now).await;
        }
        let usable = |entry: &Entry| !entry.loaded.initialized() || entry.fresh(now).is_some();
        let entry = self.kept.entry(PairRef(actor, subject), usable, Self::MOST);
        // Reckoned here and not at every look: dates are costly to subtract.
        let keep = time::Duration::try_from(self.keep).unwrap_or(time::Duration::MAX);
        let loaded = entry.loaded.get_or_try_init(|| async {
            let before = self.kept.forgotten.load(Ordering::SeqCst);
            match self.store.active(actor, subject, now).await {
                Ok(Some(session)) => {
                    let pair = Pair {
                        actor: actor.clone(),
                        subject: subject.clone(),
                    };
                    // From here on `forget` finds the entry; what it forgot before shows in the number.
                    // Written to, not only read: so whoever moves it later also sees the insert.
                    self.kept.pairs.pin().insert(session.id, pair);
                    if self.kept.forgotten.fetch_add(0, Ordering::SeqCst) == before {
                        Ok((session, now.saturating_add(keep)))
                    } else {
                        Err(Miss::Outdated)
                    }
                }
                Ok(None) => Err(Miss::None),
                Err(error) => Err(Miss::Failed(error)),
            }
        });
        match loaded.await {
            Ok((session, _)) if session.is_open(now) => Ok(Some(session.clone())),
            // Whoever asked did so when it was not over yet.
            Ok(_) => self.store.active(actor, subject, now).await,
            Err(miss) => {
                self.kept.discard(PairRef(actor, subject), &entry);
                match miss {
                    Miss::None => Ok(None),
                    Miss::Outdated => self.store.active(actor, subject, now).await,
                    Miss::Failed(error) => Err(error),
                }
            }
        }
    }

    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        if !self.store.hears_all() {
            return None;
        }
        let by_pair = self.kept.by_pair.pin();
        let entry = by_pair.get(&PairRef(actor, subject))?;
        entry.fresh(now).cloned()
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        self.store.get(id).await
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let ended = self.store.end(id, reason, now).await;
        self.kept.forget(id);
        ended
    }

    async fn end_recorded(
        &self,
        id: SessionId,
        reason: EndedReason,
        call: &Call,
        now: OffsetDateTime,
    ) -> Option<Result<Option<Arc<Session>>, BoxError>> {
        let ended = self.store.end_recorded(id, reason, call, now).await?;
        self.kept.forget(id);
        Some(ended)
    }

    async fn spend(&self, id: SessionId, token: Uuid) -> Result<bool, BoxError> {
        self.store.spend(id, token).await
    }

    async fn unconfirmed_ends(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        self.store.unconfirmed_ends(before, limit).await
    }

    async fn confirm_ends(&self, ids: &[SessionId]) -> Result<(), BoxError> {
        self.store.confirm_ends(ids).await
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        let ended = self.store.end_due(now, limit).await?;
        self.kept.forget_all(&ended);
        Ok(ended)
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.store.touch(id, seen_at).await
    }

    async fn touch_all(&self, seen: &[(SessionId, OffsetDateTime)]) -> Result<(), BoxError> {
        self.store.touch_all(seen).await
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let updated = self.store.update(id, update, now).await;
        self.kept.forget(id);
        updated
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        self.store.list(filter, page, now).await
    }

    fn subscribe(&self, listener: SessionListener) {
        self.store.subscribe(listener);
    }

    fn hears_all(&self) -> bool {
        self.store.hears_all()
    }
}

impl<S> fmt::Debug for Cached<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("keep", &self.keep)
            .field("kept", &self.kept.by_pair.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_has_an_end() {
        let kept = Kept::default();
        let user = |number: u64| UserId::from(number);
        let entry = |number| {
            let (actor, subject) = (user(number), Subject::Anonymous);
            kept.entry(PairRef(&actor, &subject), |_| true, 3);
            kept.by_pair.len()
        };
        assert_eq!((0..7).map(entry).collect::<Vec<_>>(), [1, 2, 3, 1, 2, 3, 1]);

        // A store that tells of no end leaves ids behind, ever new ones of the same pairs.
        let forgotten = kept.forgotten.load(Ordering::SeqCst);
        for id in 0..3 {
            let pair = Pair {
                actor: user(6),
                subject: Subject::Anonymous,
            };
            let id = SessionId(uuid::Uuid::from_u128(id));
            kept.pairs.pin().insert(id, pair);
        }
        assert_eq!((entry(6), kept.pairs.len()), (1, 3), "it is there already");
        assert_eq!((entry(7), kept.pairs.len()), (1, 0));
        assert!(kept.forgotten.load(Ordering::SeqCst) > forgotten);
    }
}
