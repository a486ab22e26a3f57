//! [`SignedIn`]: whoever sent a request, and what needs no right.

use std::{fmt, sync::Arc};

use http::request::Parts;

use super::Impersonation;
use crate::{
    engine::{SessionWithUser, SignedInAs, Stopped},
    rejection::Rejection,
    words::{Session, SessionId, UserId},
};

/// Whoever sent a request, admin or not any more: they may see and stop their own sessions (rule S5). From
/// [`Impersonation::signed_in`].
#[derive(Clone)]
pub struct SignedIn<'r> {
    impersonation: Impersonation,
    parts: &'r Parts,
    id: UserId,
    /// All that they may see and stop, where nothing but its acting token says who they are.
    only: Option<SessionId>,
}

impl<'r> SignedIn<'r> {
    pub(super) fn new(impersonation: Impersonation, parts: &'r Parts, caller: SignedInAs) -> Self {
        Self {
            impersonation,
            parts,
            id: caller.id,
            only: caller.only,
        }
    }

    /// Who it is. Of an acted request the actor.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// Ends their sessions; see [`Impersonation::stop`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `NothingToEnd` or `Unavailable`.
    pub async fn stop(&self) -> Result<Stopped, Rejection> {
        let engine = &self.impersonation.engine;
        let stopped = engine.stop(&self.id, self.only, self.parts).await;
        stopped.map_err(|refusal| refusal.rejection)
    }

    /// Ends one of their sessions; see [`Impersonation::stop_one`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `NothingToEnd` or `Unavailable`.
    pub async fn stop_one(&self, id: SessionId) -> Result<Stopped, Rejection> {
        let engine = &self.impersonation.engine;
        let stopped = engine.stop_one(&self.id, id, self.parts).await;
        stopped.map_err(|refusal| refusal.rejection)
    }

    /// Their newest active session.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`.
    pub async fn current(&self) -> Result<Option<SessionWithUser>, Rejection> {
        let current = self.impersonation.engine.current(&self.id, self.only).await;
        current.map_err(|refusal| refusal.rejection)
    }

    /// Their active sessions, newest first, at most `limit`; none where no sessions are kept.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`.
    pub async fn active(&self, limit: usize) -> Result<Vec<Arc<Session>>, Rejection> {
        if !self.impersonation.has_sessions() {
            return Ok(Vec::new());
        }
        let engine = &self.impersonation.engine;
        let active = match self.only {
            None => engine.active_of(&self.id, limit).await,
            Some(_) => {
                let current = engine.current(&self.id, self.only).await;
                current.map(|it| it.into_iter().map(|it| it.session).collect())
            }
        };
        active.map_err(|refusal| refusal.rejection)
    }
}

impl fmt::Debug for SignedIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedIn")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
