//! Looking at sessions: one's own, or with a right those of others.

use std::sync::Arc;

use super::{Engine, Refusal, end::missing_right, start::SessionWithUser};
use crate::{
    session::{Page, SessionFilter, SessionList},
    words::{Actor, Rights, Session, SessionId, UserId},
};

impl Engine {
    /// The session with this id, ended or not.
    pub(crate) async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, Refusal> {
        let sessions = self.sessions.required()?;
        let found = async { sessions.get(id).await };
        self.ask("session store", found).await
    }

    /// The newest active session of `caller`, with its user as the directory knows them now.
    pub(crate) async fn current(
        self: &Arc<Self>,
        caller: &UserId,
        only: Option<SessionId>,
    ) -> Result<Option<SessionWithUser>, Refusal> {
        let session = match only {
            None => self.active_of(caller, 1).await?.into_iter().next(),
            Some(id) => {
                let now = self.now()?;
                self.sweep().await?;
                let found = self.get(id).await?;
                found.filter(|session| session.is_active(now) && session.actor == *caller)
            }
        };
        let Some(session) = session else {
            return Ok(None);
        };
        let user = match session.subject.user_id() {
            Some(id) => self.host.find(id).await?,
            None => None,
        };
        Ok(Some(SessionWithUser { session, user }))
    }

    /// Sessions, newest first: one's own, or with [`Rights::LIST_SESSIONS`] any.
    pub(crate) async fn list(
        self: &Arc<Self>,
        actor: &Actor,
        mut filter: SessionFilter,
        page: &Page,
    ) -> Result<SessionList, Refusal> {
        if !actor.rights().contains(Rights::LIST_SESSIONS) {
            let own = filter.actor.get_or_insert_with(|| actor.id().clone());
            if own != actor.id() {
                return Err(missing_right("to list the sessions of others").by(actor.id()));
            }
        }
        let listed = async {
            self.sweep().await?;
            self.list_unswept(&filter, page).await
        };
        listed
            .await
            .map_err(|refusal: Refusal| refusal.by(actor.id()))
    }

    /// The active sessions of an actor, newest first.
    pub(crate) async fn active_of(
        self: &Arc<Self>,
        actor: &UserId,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        self.sweep().await?;
        self.active_unswept(actor, limit).await
    }

    /// The same without a sweep before it, for requests of which there are many.
    pub(super) async fn active_unswept(
        &self,
        actor: &UserId,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        let filter = SessionFilter {
            actor: Some(actor.clone()),
            is_active: Some(true),
            ..SessionFilter::default()
        };
        let page = Page {
            limit,
            ..Page::default()
        };
        Ok(self.list_unswept(&filter, &page).await?.sessions)
    }

    async fn list_unswept(
        &self,
        filter: &SessionFilter,
        page: &Page,
    ) -> Result<SessionList, Refusal> {
        let sessions = self.sessions.required()?;
        let now = self.now()?;
        let list = async { sessions.list(filter, page, now).await };
        self.ask("session store", list).await
    }
}
