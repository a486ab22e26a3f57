//! Store, consent and sink of the crate, which a test can watch and make fail.

use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;
use tower_impersonation::{
    BoxError, Consent, MemoryConsents, Subject, UserId,
    audit::{AuditEvent, AuditSink, MemorySink},
    session::{
        EndedReason, Limits, MemorySessions, Page, Session, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};

use super::world::World;

#[derive(Clone)]
pub(crate) struct Watched<T> {
    pub(crate) world: World,
    pub(crate) inner: T,
}

#[async_trait]
impl SessionStore for Watched<MemorySessions> {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        self.world
            .at("check", "")
            .await
            .map_err(StartError::Store)?;
        self.inner.check(session, limits, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.world
            .at("start", "")
            .await
            .map_err(StartError::Store)?;
        let started = self.inner.start(session, limits).await;
        // The step is done, but whoever asked does not hear of it.
        self.world
            .at("started", "")
            .await
            .map_err(StartError::Store)?;
        started
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("active", subject.as_str()).await?;
        let found = self.inner.active(actor, subject, now).await;
        // What was found may be outdated when it arrives.
        self.world.at("answer", "").await?;
        found
    }

    fn peek(&self, actor: &UserId, subject: &Subject, now: OffsetDateTime) -> Option<Arc<Session>> {
        self.world.heard("peek", "");
        assert!(!self.world.is_in_trouble("peek"), "peek panics");
        if self.world.is_in_trouble("active") || self.world.is_in_trouble("answer") {
            return None;
        }
        self.inner.peek(actor, subject, now)
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("get", "").await?;
        self.inner.get(id).await
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("end", reason.as_str()).await?;
        self.inner.end(id, reason, now).await
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        self.world.at("end_due", "").await?;
        self.inner.end_due(now, limit).await
    }

    async fn spend(&self, id: SessionId, token: uuid::Uuid) -> Result<bool, BoxError> {
        self.world.at("spend", "").await?;
        self.inner.spend(id, token).await
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.world.at("touch", "").await?;
        self.inner.touch(id, seen_at).await
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.world.at("update", "").await?;
        self.inner.update(id, update, now).await
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        self.world.at("list", "").await?;
        self.inner.list(filter, page, now).await
    }

    fn subscribe(&self, listener: SessionListener) {
        self.inner.subscribe(listener);
    }
}

#[async_trait]
impl Consent for Watched<MemoryConsents> {
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
        self.world.at("consent", subject.as_str()).await?;
        self.inner.allowed_until(subject).await
    }
}

#[async_trait]
impl AuditSink for Watched<MemorySink> {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        self.world.at("write", "").await?;
        self.inner.write(events).await
    }
}
