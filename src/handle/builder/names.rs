//! Names that a marker cannot have.

/// Header names that mean something else, that a browser or a proxy sets by itself, or that a page may set
/// on requests to another site without being asked (`Accept-Language`, `Range`): a marker in a header is
/// trusted because no link and no form can send it (rule R5).
pub(super) const RESERVED: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "impersonation-token",
    "keep-alive",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "upgrade-insecure-requests",
    "via",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
];
/// Families of them.
pub(super) const RESERVED_PREFIXES: &[&str] = &[
    "accept-",
    "access-control-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-http-method",
];

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

/// What `assume_header` must not touch: it carries the request itself, or decides what the request may do (rule R10).
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
