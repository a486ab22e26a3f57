//! Who wants to hear of changes to sessions.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use tower_impersonation::session::{EndedReason, Session, SessionChange, SessionListener, Started};

/// The listeners of a store.
#[derive(Default)]
pub struct ChangeListeners(Mutex<Vec<SessionListener>>);

impl ChangeListeners {
    pub(crate) fn add(&self, listener: SessionListener) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.push(listener);
    }

    pub(crate) fn tell(&self, change: &SessionChange) {
        // Called without the lock: a listener may well ask the store something.
        let listeners = self.0.lock();
        let listeners = listeners.unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().for_each(|listener| listener(change));
    }

    pub(crate) fn tell_ended(&self, ended: &[Arc<Session>]) {
        for session in ended {
            let reason = session.ended_reason.unwrap_or(EndedReason::Timeout);
            self.tell(&SessionChange::Ended(session.id, reason));
        }
    }

    pub(crate) fn tell_started(&self, started: &Started) {
        self.tell_ended(&started.ended);
        self.tell(&SessionChange::Started(started.session.clone()));
    }
}

impl fmt::Debug for ChangeListeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangeListeners").finish_non_exhaustive()
    }
}
