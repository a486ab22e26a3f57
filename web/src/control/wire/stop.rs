//! A stop, and any other end.

use serde::{Deserialize, Serialize};
use tower_impersonation::session::SessionId;
use utoipa::ToSchema;

use super::read::parse_session;

/// The fields of a stop. Whatever else there is names nobody, and is not looked at (rule S5).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(title = "Stop", examples(json!({"session_id": "019aa0f3-5c00-7000-8000-000000000001"})))]
pub(in crate::control) struct StopFields {
    /// Only this one of one's own sessions. Default, and for whatever is no id: all of them.
    #[schema(value_type = Option<Value>)]
    session_id: Option<String>,
}

/// The answer of a stop.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Ended", examples(json!({"success": true, "message": "Impersonation ended", "stored": true})))]
pub(in crate::control) struct Ended {
    success: bool,
    message: &'static str,
    /// The end is stored. If not, the server that was asked refuses the session already, and tries until it is.
    stored: bool,
}

// === impl StopFields ===

impl StopFields {
    /// The one session that is meant.
    pub(in crate::control) fn session(self) -> Result<Option<SessionId>, String> {
        parse_session(self.session_id)
    }
}

// === impl Ended ===

impl Ended {
    /// The answer of an end that holds everywhere, or for now in the process that was asked (rule S5).
    pub(in crate::control) fn new(stored: bool) -> Self {
        Self {
            success: true,
            message: match stored {
                true => "Impersonation ended",
                false => "Impersonation ended here; storing it is being retried",
            },
            stored,
        }
    }
}
