//! Sessions as the contract shows them.

use serde::Serialize;
use time::OffsetDateTime;
use tower_impersonation::{
    Access, SessionWithUser, UserId,
    session::{EndedReason, Session, SessionId, SessionList},
};
use utoipa::ToSchema;

use super::{schema, user::UserView};

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    title = "Session",
    examples(json!({
        "id": "019aa0f3-5c00-7000-8000-000000000001", "admin_user_id": "ada", "target_user_id": "ines",
        "impersonation_type": "user", "target_role": "customer", "access": "read_only",
        "reason": "ticket 4711: cannot pay", "ticket": null, "started_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-11-20T14:00:00Z", "ended_at": null, "ended_reason": null, "is_active": true,
        "ip_address": "192.0.2.1", "user_agent": "curl/8.5.0"
    }))
)]
pub(in crate::control) struct SessionView {
    #[schema(value_type = Uuid)]
    id: SessionId,
    #[schema(value_type = String)]
    admin_user_id: UserId,
    #[schema(value_type = Option<String>, required)]
    target_user_id: Option<UserId>,
    #[schema(value_type = schema::SubjectKind)]
    impersonation_type: &'static str,
    #[schema(required)]
    target_role: Option<String>,
    #[schema(value_type = schema::Access)]
    access: Access,
    reason: String,
    #[schema(required)]
    ticket: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    ended_at: Option<OffsetDateTime>,
    #[schema(value_type = Option<schema::EndedReason>, required)]
    ended_reason: Option<EndedReason>,
    is_active: bool,
    #[schema(required)]
    ip_address: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
}

/// What is going on; both null when nothing is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Current")]
pub(in crate::control) struct Current {
    #[schema(required)]
    session: Option<SessionView>,
    #[schema(required)]
    target_user: Option<UserView>,
}

/// A page of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Sessions")]
pub(in crate::control) struct SessionsPage {
    sessions: Vec<SessionView>,
    /// How many there are in all.
    total: u64,
    /// Null on the last page.
    #[schema(value_type = Option<Uuid>, required)]
    next_cursor: Option<SessionId>,
}

// === impl SessionView ===

impl SessionView {
    pub(in crate::control) fn new(session: &Session, now: OffsetDateTime) -> Self {
        Self {
            id: session.id,
            admin_user_id: session.actor.clone(),
            target_user_id: session.subject.user_id().cloned(),
            impersonation_type: session.subject.kind(),
            target_role: session.role.as_deref().map(str::to_owned),
            access: session.access,
            reason: session.reason.to_string(),
            ticket: session.ticket.as_deref().map(str::to_owned),
            started_at: session.started_at,
            expires_at: session.expires_at,
            ended_at: session.ended_at,
            ended_reason: session.ended_reason,
            is_active: session.is_active(now),
            ip_address: session.address.map(|address| address.to_string()),
            user_agent: session.user_agent.as_deref().map(str::to_owned),
        }
    }
}

// === impl Current ===

impl Current {
    pub(in crate::control) fn new(current: Option<SessionWithUser>, now: OffsetDateTime) -> Self {
        Self {
            target_user: current.as_ref().and_then(UserView::of),
            session: current.map(|current| SessionView::new(&current.session, now)),
        }
    }
}

// === impl SessionsPage ===

impl SessionsPage {
    pub(in crate::control) fn new(list: &SessionList, now: OffsetDateTime) -> Self {
        let view = |session: &std::sync::Arc<Session>| SessionView::new(session, now);
        Self {
            sessions: list.sessions.iter().map(view).collect(),
            total: list.total,
            next_cursor: list.next,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tower_impersonation::Subject;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a6_a_reason_of_a_newer_release_is_shown_as_the_word_that_it_is() {
        let (id, actor) = (SessionId(Uuid::nil()), "ada".parse().unwrap());
        let at = OffsetDateTime::UNIX_EPOCH;
        let session = Session::new(id, actor, Subject::Anonymous, "r", at, at);
        let ended = session.ended(EndedReason::read("ticket_closed"), at);
        let json = serde_json::to_value(SessionView::new(&ended, at)).unwrap();
        assert_eq!(json["ended_reason"], "ticket_closed");
    }
}
