//! Names that a marker cannot have.

pub(super) use crate::request::{RESERVED, RESERVED_PREFIXES};

/// What the queries of the control API and of the console are made of: a marker of such a name would be taken out of
/// them, as out of every request (rule R9).
pub(super) const OWN_PARAMETERS: &[&str] = &[
    "above",
    "admin_user_id",
    "cursor",
    "done",
    "from",
    "impersonation_type",
    "is_active",
    "limit",
    "name",
    "next",
    "offset",
    "q",
    "session",
    "session_id",
    "subject",
    "target_user_id",
    "to",
    "v",
    "week",
];
