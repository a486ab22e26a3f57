//! Names that a marker cannot have.

pub(super) use crate::request::{RESERVED, RESERVED_PREFIXES};

/// What the queries of the control API and of the console are made of: a marker of such a name would be taken out of
/// them, as out of every request (rule [R9](crate::rules#r9)).
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

/// What `assume_header` must not touch: it carries the request itself, or decides what the request may do (rule
/// [R10](crate::rules#r10)).
pub(super) const CARRIES_THE_REQUEST: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// Families of markers and tokens, whatever their names are set to.
pub(super) const OWN_PREFIXES: &[&str] = &["act-as", "acted-as", "impersonation-token"];
