//! A change of an active session: its access raised or lowered, its end moved (rule [S6](crate::rules#s6)).

use std::{cmp::Ordering, sync::Arc, time::Duration};

use http::request::Parts;

use super::{Engine, Refusal, join, start::check_duration};
use crate::{
    audit::describe_call,
    rejection::RejectionKind,
    session::SessionUpdate,
    words::{Access, Actor, EventName, Session, Subject, check_reason},
};

/// What to change in an active session, and why (rule [S6](crate::rules#s6)).
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::{Access, ChangeRequest};
///
/// let change = ChangeRequest::new("ticket 4711: has to correct the address")
///     .with_access(Access::ReadWrite)
///     .with_duration(Duration::from_secs(600));
/// ```
#[derive(Debug, Clone)]
pub struct ChangeRequest {
    reason: String,
    access: Option<Access>,
    duration: Option<Duration>,
}

// === impl ChangeRequest ===

impl ChangeRequest {
    /// A change that has a reason and changes nothing yet. The reason must not be blank and has at most 500 characters.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            access: None,
            duration: None,
        }
    }

    /// The new access. It cannot exceed the grant. Default: as it is.
    #[must_use]
    pub fn with_access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// How long the session lasts from now. It cannot get past the longest lifetime, counted from the start.
    /// Default: as it is.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Self {
        self.duration = Some(duration);
        self
    }
}

// === impl Engine ===

impl Engine {
    /// Changes the active session of `actor` for `subject`. Everything that a start has to pass is checked again.
    pub(crate) async fn change(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Refusal> {
        let changed = self.try_change(actor, parts, subject, request).await;
        changed.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn try_change(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Refusal> {
        let now = self.now()?;
        let reason = check_reason(&request.reason)
            .map_err(|problem| Refusal::invalid(problem.to_string()))?;
        check_duration(request.duration)?;
        if request.access.is_none() && request.duration.is_none() {
            return Err(Refusal::invalid("`access` or `duration` must be given"));
        }
        let sessions = self.sessions.required()?.clone();
        self.sweep().await?;
        let open = async { sessions.active(actor.id(), subject, now).await };
        let open = self.ask("session store", open);
        let session = open
            .await?
            .filter(|session| session.is_active(now))
            .ok_or_else(|| Refusal::of(RejectionKind::NothingToEnd, "no active session"))?;
        let (grant, _) = self.may_start(actor, subject, parts, now).await?;
        if request.access.is_some_and(|asked| asked > grant.access()) {
            let reason = "the grant does not allow this access";
            return Err(Refusal::of(RejectionKind::Denied, reason));
        }
        // The ceiling counts from the start: no number of extensions gets past it.
        let latest = session.started_at + self.sessions.lifetime(None, &grant);
        let expires_at = match request.duration {
            Some(_) if latest <= now => {
                let reason = "the session has reached its longest lifetime";
                return Err(Refusal::of(RejectionKind::Denied, reason));
            }
            Some(asked) => Some((now + asked).min(latest)),
            None => None,
        };

        let mut events = Vec::new();
        let mut describe = |name| {
            let mut event = self.session_event(name, &session, now);
            event.reason = Some(reason.clone());
            event.access = Some(request.access.unwrap_or(session.access));
            describe_call(&mut event, &self.client, parts);
            events.push(event);
        };
        match request.access.map(|asked| asked.cmp(&session.access)) {
            Some(Ordering::Greater) => describe(EventName::AccessRaised),
            Some(Ordering::Less) => describe(EventName::AccessLowered),
            Some(Ordering::Equal) | None => {}
        }
        match expires_at.map(|at| at.cmp(&session.expires_at)) {
            Some(Ordering::Greater) => describe(EventName::Extended),
            Some(Ordering::Less) => describe(EventName::Shortened),
            Some(Ordering::Equal) | None => {}
        }
        let id = session.id;
        let this = self.clone();
        let update = SessionUpdate {
            access: request.access,
            expires_at,
        };
        let changing = tokio::spawn(async move {
            let mut announced = Vec::new();
            let changed = async {
                for event in events {
                    announced.push(event.clone());
                    this.trail.record_durable(event).await?;
                }
                let updated = async { sessions.update(id, update, now).await };
                let gone = || Refusal::of(RejectionKind::NothingToEnd, "it has ended meanwhile");
                this.ask("session store", updated).await?.ok_or_else(gone)
            };
            match changed.await {
                Ok(session) => Ok(session),
                Err(refusal) => {
                    this.end_unanswered(id, &refusal).await;
                    Err(this.take_back(announced, refusal))
                }
            }
        });
        join("session store", changing.await)
    }
}
