//! What this process knows of the sessions that act through it: when they were last seen, and whether they have ended.
//!
//! Each session that acts here has one [`Live`], which its requests, its streams and its handlers share. It is made
//! by the first acted request, after a look-up in the store, and two races could lose an end:
//!
//! 1. The session ends *while it is looked up*. [`Lives::before`] is asked first, and counts ends; if the count has
//!    moved when the entry is made, the store is asked again.
//! 2. A change *gets lost* on its way here. The store says so ([`SessionChange::Unknown`]), and the next sweep asks
//!    it about every session that acts here ([`Lives::unsure`]).
//!
//! A session that was asked to end stays refused until the store has ended it ([`Lives::refuse`], rule
//! [S5](crate::rules#s5)), whatever a later look-up says.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use time::OffsetDateTime;
use tokio::sync::Notify;

use super::SessionChange;
use crate::words::{EndedReason, Live, Map, Session, SessionId, UserId};

/// All of them. Reads take no lock.
#[derive(Default)]
pub(crate) struct Lives {
    by_id: Map<SessionId, Arc<Live>>,
    /// Counts ends, so that a look-up that was under way meanwhile is not trusted.
    ends: AtomicU64,
    /// How often changes were lost, and up to which of these losses the store was asked what became of each session.
    losses: AtomicU64,
    made_up: AtomicU64,
    /// Sessions that were asked to end, until the store has them ended (rule [S5](crate::rules#s5)): whosever they
    /// are, or only if they are this actor's.
    ending: Map<(SessionId, Option<UserId>), EndedReason>,
    /// Actors whose sessions were all asked to end, and when: later ones are not meant.
    ending_all: Map<UserId, (OffsetDateTime, EndedReason)>,
    /// Tells that the store has one more of them.
    stored: Notify,
}

/// What had ended before a session was looked up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Before(u64);

// === impl Lives ===

impl Lives {
    /// To be asked before a session is looked up.
    pub(crate) fn before(&self) -> Before {
        Before(self.ends.load(Ordering::SeqCst))
    }

    /// The entry of a session that was looked up, and whether it is sure to hear of the session's end.
    ///
    /// It is not if the entry is new and something has ended since `before`: that may have been this session, and
    /// the report came before there was an entry. Then the store has to be asked again.
    pub(crate) fn of(&self, session: &Session, before: Before) -> (Arc<Live>, bool) {
        let by_id = self.by_id.pin();
        if let Some(live) = by_id.get(&session.id) {
            return (live.clone(), true);
        }
        let live = by_id
            .get_or_insert_with(session.id, || Arc::new(Live::new(session)))
            .clone();
        // Written to, not only read: so an end that moves it later also finds the entry.
        let is_sure = self.ends.fetch_add(0, Ordering::SeqCst) == before.0;
        if let Some(reason) = self.is_ending(session) {
            live.end(reason);
            by_id.remove(&session.id);
        }
        (live, is_sure)
    }

    /// From now on this process refuses the session, whatever its store answers (rule [S5](crate::rules#s5)). `false`
    /// when it was asked to already, and somebody sees to it. With `of`, a session of anyone else is not meant.
    pub(crate) fn refuse(&self, id: SessionId, of: Option<&UserId>, reason: EndedReason) -> bool {
        let asked = (id, of.cloned());
        let is_first = self.ending.pin().insert(asked, reason).is_none();
        self.ends.fetch_add(1, Ordering::SeqCst);
        // It stays: the store may have to hear of its last request before it can be ended.
        if let Some(live) = self.by_id.pin().get(&id)
            && of.is_none_or(|of| live.actor == *of)
        {
            live.end(reason);
        }
        is_first
    }

    /// The same for every session that this actor has started up to now.
    pub(crate) fn refuse_all(&self, actor: &UserId, now: OffsetDateTime, reason: EndedReason) {
        self.ending_all.pin().insert(actor.clone(), (now, reason));
        self.ends.fetch_add(1, Ordering::SeqCst);
        let by_id = self.by_id.pin();
        let is_meant = |live: &&Arc<Live>| live.actor == *actor && live.started_at <= now;
        let meant = by_id.values().filter(is_meant);
        meant.for_each(|live| live.end(reason));
    }

    /// Whether it was asked to end, and the store does not have that yet.
    pub(crate) fn waits(&self, id: SessionId, of: Option<&UserId>) -> bool {
        self.ending.pin().contains_key(&(id, of.cloned()))
    }

    /// The store has it ended, or has no such session of this actor.
    pub(crate) fn has_ended(&self, id: SessionId, of: Option<&UserId>) {
        self.ending.pin().remove(&(id, of.cloned()));
        let by_id = self.by_id.pin();
        let _ = by_id.remove_if(&id, |_, live| of.is_none_or(|of| live.actor == *of));
        self.stored.notify_waiters();
    }

    /// Returns once the store has every end that it was asked for.
    pub(crate) async fn all_stored(&self) {
        loop {
            let stored = self.stored.notified();
            if self.ending.pin().is_empty() && self.ending_all.pin().is_empty() {
                return;
            }
            stored.await;
        }
    }

    /// The store has all of this actor's ended that were started up to `now`.
    pub(crate) fn have_ended(&self, actor: &UserId, now: OffsetDateTime) {
        let all = self.ending_all.pin();
        let _ = all.remove_if(actor, |_, (since, _)| *since <= now);
        self.stored.notify_waiters();
    }

    fn is_ending(&self, session: &Session) -> Option<EndedReason> {
        let ending = self.ending.pin();
        for of in [None, Some(session.actor.clone())] {
            if let Some(reason) = ending.get(&(session.id, of)) {
                return Some(*reason);
            }
        }
        let all = self.ending_all.pin();
        let (since, reason) = all.get(&session.actor)?;
        (session.started_at <= *since).then_some(*reason)
    }

    pub(crate) fn hear(&self, change: &SessionChange) {
        match change {
            // Its first acted request makes the entry.
            SessionChange::Started(_) => {}
            SessionChange::Ended(id, reason) => self.end(*id, *reason),
            SessionChange::Updated(session) => {
                if let Some(live) = self.by_id.pin().get(&session.id) {
                    live.expire_at(session.expires_at);
                }
            }
            SessionChange::Unknown => {
                self.ends.fetch_add(1, Ordering::SeqCst);
                self.losses.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    /// Wakes everyone who waits for the end of this session, and forgets it.
    pub(crate) fn end(&self, id: SessionId, reason: EndedReason) {
        self.ends.fetch_add(1, Ordering::SeqCst);
        if let Some(live) = self.by_id.pin().remove(&id) {
            live.end(reason);
        }
    }

    /// Whose session it is, where it acts through this process.
    pub(crate) fn actor_of(&self, id: SessionId) -> Option<UserId> {
        let by_id = self.by_id.pin();
        by_id.get(&id).map(|live| live.actor.clone())
    }

    /// The last requests that the store was not told of, until [`Live::told`].
    pub(crate) fn untold(&self) -> Vec<(Arc<Live>, OffsetDateTime)> {
        let by_id = self.by_id.pin();
        let untold = |live: &Arc<Live>| Some((live.clone(), live.untold()?));
        by_id.values().filter_map(untold).collect()
    }

    /// Sessions that have to be looked up again, because a change of them may have been lost, and the loss to
    /// report to [`made_up`](Self::made_up) when that is done.
    pub(crate) fn unsure(&self) -> Option<(u64, Vec<SessionId>)> {
        let losses = self.losses.load(Ordering::SeqCst);
        (self.made_up.load(Ordering::SeqCst) < losses)
            .then(|| (losses, self.by_id.pin().keys().copied().collect()))
    }

    /// The store was asked about all that was lost up to then.
    pub(crate) fn made_up(&self, losses: u64) {
        self.made_up.fetch_max(losses, Ordering::SeqCst);
    }

    /// Forgets sessions that are past their lifetime.
    pub(crate) fn prune(&self, now: OffsetDateTime) {
        let by_id = self.by_id.pin();
        by_id.retain(|_, live| now < live.expires_at());
    }
}
