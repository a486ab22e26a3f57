//! A change of a session.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tower_impersonation::{ChangeRequest, session::Session};
use utoipa::ToSchema;

use super::{
    read::{parse_access, parse_duration, text_or_number},
    schema::{Access, duration_schema, reason_schema},
    session::SessionView,
};

/// The fields of a change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    title = "Change",
    examples(json!({"access": "read_write", "duration": 1800, "reason": "ticket 4711: has to correct the address"}))
)]
pub(in crate::control) struct ChangeFields {
    /// Why: with a letter or a digit, at most 500 characters.
    #[schema(required = true, schema_with = reason_schema)]
    reason: Option<String>,
    /// The new access.
    #[schema(value_type = Option<Access>)]
    access: Option<String>,
    /// How long from now, in seconds.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = duration_schema)]
    duration: Option<String>,
}

/// One session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Changed")]
pub(in crate::control) struct OneSession {
    session: SessionView,
}

// === impl ChangeFields ===

impl ChangeFields {
    pub(in crate::control) fn into_change(self) -> Result<ChangeRequest, String> {
        let mut change = ChangeRequest::new(self.reason.ok_or("`reason` is missing")?);
        if let Some(access) = self.access {
            change = change.with_access(parse_access(&access)?);
        }
        if let Some(duration) = self.duration {
            change = change.with_duration(parse_duration(&duration)?);
        }
        Ok(change)
    }
}

// === impl OneSession ===

impl OneSession {
    pub(in crate::control) fn new(session: &Session, now: OffsetDateTime) -> Self {
        Self {
            session: SessionView::new(session, now),
        }
    }
}
