//! [`SignedIn`]: the person who sent a request, and what needs no right.

use std::{fmt, sync::Arc};

use http::request::Parts;

use super::{Admin, Impersonation};
use crate::{
    engine::{Refusal, SessionWithUser, SignedInAs, Stopped},
    rejection::Rejection,
    words::{Actor, Session, SessionId, Subject, UserId},
};

/// The person who sent a request, whether an admin or no longer one: they may see and stop their own sessions (rule
/// [S5](crate::rules#s5)). From [`Impersonation::signed_in`].
#[derive(Clone)]
pub struct SignedIn<'r> {
    impersonation: Impersonation,
    parts: &'r Parts,
    id: UserId,
    actor: Option<Actor>,
    /// All that they may see and stop, where nothing but its acting token says who they are.
    only: Option<SessionId>,
}

impl<'r> SignedIn<'r> {
    pub(super) fn new(impersonation: Impersonation, parts: &'r Parts, caller: SignedInAs) -> Self {
        Self {
            impersonation,
            parts,
            id: caller.id,
            actor: caller.actor,
            only: caller.only,
        }
    }

    /// Who it is; on an acted request, the actor.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The same person as an admin, without asking again; `None` for someone who is no admin, and on an acted
    /// request (rule [R16](crate::rules#r16)). Nothing is recorded: for pages that show an admin more than others.
    ///
    /// ```
    /// # use http::request::Parts;
    /// # use tower_impersonation::{Impersonation, Rejection};
    /// # async fn page(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
    /// let signed_in = impersonation.signed_in(parts).await?;
    /// let own = signed_in.active(10).await?;
    /// let may_start = signed_in.admin().is_some();
    /// # let _ = (own, may_start);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn admin(&self) -> Option<Admin<'r>> {
        let actor = self.actor.clone()?;
        Some(Admin::new(self.impersonation.clone(), self.parts, actor))
    }

    /// Refuses this person's call with any rejection, and records the refusal (rule [A3](crate::rules#a3)).
    #[must_use]
    pub fn refuse(&self, subject: Option<&Subject>, rejection: Rejection) -> Rejection {
        let refusal = Refusal::new(rejection).by(&self.id);
        let engine = &self.impersonation.engine;
        engine.refused(self.parts, subject, refusal)
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

    /// Their active sessions, newest first, at most `limit`; empty if the host runs without sessions.
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
