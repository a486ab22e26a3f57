//! [`RequestGuard`]: one outcome for every acted request, whatever becomes of it (rule A2).

use std::{net::IpAddr, sync::Arc};

use http::{HeaderValue, Method, StatusCode, Uri};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    AuditEvent, EventName, Outcome, Trail, TrailError, cut_header, cut_path, fold::Read,
    trail::Slot,
};
use crate::acting_as::ActingAs;

/// What the trail wants to know of an acted request. Shares the request's own buffers while it runs;
/// only an event that is kept has copies.
pub(crate) struct RequestFacts {
    pub(crate) acting_as: ActingAs,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    /// When it was admitted.
    pub(crate) at: OffsetDateTime,
}

/// Stands for an acted request that is under way, and records its one outcome: by
/// [`complete`](Self::complete), or when dropped.
pub(crate) struct RequestGuard {
    trail: Trail,
    facts: RequestFacts,
    /// The id that an intent and its outcome share.
    intent: Option<Uuid>,
    /// Room for the outcome; gone once it is recorded.
    slot: Option<Slot>,
}

// === impl RequestGuard ===

impl RequestGuard {
    /// Begins to guard a request that changes nothing: its outcome is recorded behind.
    pub(crate) async fn read(trail: &Trail, facts: RequestFacts) -> Result<Self, TrailError> {
        let [slot] = trail.slots().await?;
        Ok(Self {
            slot: Some(slot),
            trail: trail.clone(),
            facts,
            intent: None,
        })
    }

    /// Begins to guard a request that may change something: its intent is durable when this returns
    /// (rule A1). If it cannot be, the outcome says `refused`; if the future is dropped, `cancelled`.
    pub(crate) async fn write(trail: &Trail, facts: RequestFacts) -> Result<Self, TrailError> {
        let [slot, intent_slot] = trail.slots().await?;
        let mut intent = trail.event_at(EventName::Request, facts.at);
        facts.describe(&mut intent);
        intent.outcome = Some(Outcome::Intent);
        let mut guard = Self {
            slot: Some(slot),
            trail: trail.clone(),
            facts,
            intent: Some(intent.id),
        };
        if let Err(error) = trail.commit(intent, intent_slot).await {
            guard.record(Outcome::Refused, None);
            return Err(error);
        }
        Ok(guard)
    }

    /// The handler answered.
    pub(crate) fn complete(mut self, status: StatusCode) {
        self.record(Outcome::Completed, Some(status));
    }

    /// The service failed without an answer.
    pub(crate) fn fail(mut self) {
        self.record(Outcome::Failed, None);
    }

    /// The handler will not run after all. Without an intent there is nothing to take back.
    pub(crate) fn refuse(mut self) {
        match self.intent {
            Some(_) => self.record(Outcome::Refused, None),
            None => self.slot = None,
        }
    }

    fn record(&mut self, outcome: Outcome, status: Option<StatusCode>) {
        let Some(slot) = self.slot.take() else { return };
        let at = self.trail.clock().now().unwrap_or(self.facts.at);
        if let (None, Outcome::Completed, Some(status)) = (self.intent, outcome, status) {
            let read = Read {
                facts: &self.facts,
                status: status.as_u16(),
                at,
            };
            return self.trail.read(&read, slot);
        }
        let mut event = self.trail.event_at(EventName::Request, at);
        if let Some(id) = self.intent {
            event.id = id;
        }
        self.facts.describe(&mut event);
        event.outcome = Some(outcome);
        event.status = status.map(|status| status.as_u16());
        self.trail.queue(event, slot);
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        // A panic in the handler unwinds through the future that holds this guard.
        let outcome = if std::thread::panicking() {
            Outcome::Failed
        } else {
            Outcome::Cancelled
        };
        self.record(outcome, None);
    }
}

// === impl RequestFacts ===

impl RequestFacts {
    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn route_or_path(&self) -> &str {
        self.route.as_deref().unwrap_or_else(|| self.path())
    }

    pub(super) fn completed(&self, id: Uuid, at: OffsetDateTime, status: u16) -> AuditEvent {
        let mut event = AuditEvent::new(id, at, EventName::Request);
        self.describe(&mut event);
        event.outcome = Some(Outcome::Completed);
        event.status = Some(status);
        event
    }

    fn describe(&self, event: &mut AuditEvent) {
        let acting_as = &self.acting_as;
        event.actor = Some(acting_as.actor().id().clone());
        event.subject = Some(acting_as.subject().clone());
        event.session = acting_as.session().map(|session| session.id);
        event.reason = acting_as.reason().map(str::to_owned);
        event.access = Some(acting_as.access());
        event.method = Some(self.method.as_str().to_owned());
        event.path = Some(cut_path(self.path()).to_owned());
        event.route = self
            .route
            .as_deref()
            .map(|route| cut_path(route).to_owned());
        event.address = self.address;
        event.user_agent = self.user_agent.as_ref().map(cut_header);
        event.request_id = self.request_id.as_ref().map(cut_header);
    }
}
