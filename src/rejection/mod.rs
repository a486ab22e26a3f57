//! What a refused caller gets: [`Rejection`], one sentence per [`RejectionKind`].
//!
//! The caller never learns more than the kind (rule [R17](crate::rules#r17)). Why exactly is in the trail and in
//! `tracing` (target `tower_impersonation`). The one exception are the fields of a call, where a clear message
//! helps the person who filled them in.

mod answers;
mod render;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use http::StatusCode;

pub(crate) use self::{answers::Answers, render::WayOut};

/// A request or a call that was refused.
///
/// It is in the extensions of every response that refuses, whoever built that response.
///
/// ```
/// use tower_impersonation::{Rejection, RejectionKind};
///
/// fn count(response: &http::Response<()>) -> Option<RejectionKind> {
///     response.extensions().get::<Rejection>().map(Rejection::kind)
/// }
/// ```
#[derive(Clone)]
pub struct Rejection(Arc<Inner>);

struct Inner {
    kind: RejectionKind,
    /// For the caller, where the kind's sentence does not say enough.
    detail: Option<Cow<'static, str>>,
    /// For the log and the trail.
    reason: Cow<'static, str>,
    retry_after: Option<Duration>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $code:literal, $sentence:literal;)*) => {
        /// What was wrong, as far as the caller may know.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum RejectionKind {
            $($(#[$doc])* $kind,)*
        }

        impl RejectionKind {
            /// Every kind there is.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The status of the response.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The kind in one stable word: `code` in the body.
            #[must_use]
            pub fn code(self) -> &'static str {
                match self { $(Self::$kind => $code,)* }
            }

            /// The kind in one constant sentence: `error` in the body.
            #[must_use]
            pub fn sentence(self) -> &'static str {
                match self { $(Self::$kind => $sentence,)* }
            }
        }
    };
}

kinds! {
    /// The marker is empty, malformed, repeated, contradicts itself, or is named in `Connection` (rule
    /// [R3](crate::rules#r3)).
    MalformedMarker = BAD_REQUEST, "malformed_marker",
        "The impersonation marker of this request is malformed, repeated or contradicts itself.";
    /// Another site made the browser send the marker (rule [R5](crate::rules#r5)).
    CrossSite = FORBIDDEN, "cross_site",
        "A link or form on another site asked to act as a user. Continue only if you meant it.";
    /// Nobody is signed in (rule [R6](crate::rules#r6)).
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "Unauthorized";
    /// Signed in, but not an admin (rule [R6](crate::rules#r6)).
    NotAdmin = FORBIDDEN, "not_admin", "Only an admin may impersonate.";
    /// Not allowed, or no such subject: the caller cannot tell which (rule [R7](crate::rules#r7)).
    Denied = FORBIDDEN, "denied", "You may not act as this user.";
    /// The marker points at no active session.
    NoSession = FORBIDDEN, "no_session", "No active impersonation session covers this request.";
    /// The session ended with this very request: the actor or the subject changed (rule [R8](crate::rules#r8)).
    SessionEnded = FORBIDDEN, "session_ended", "The impersonation session has ended.";
    /// An unsafe method under read-only access (rule [R10](crate::rules#r10)).
    ReadOnly = FORBIDDEN, "read_only", "This impersonation is read-only.";
    /// A protected route (rule [R11](crate::rules#r11)).
    Protected = FORBIDDEN, "protected", "This page is closed while impersonating.";
    /// An acted request cannot start, raise or list anything (rule [R16](crate::rules#r16)).
    Nested = FORBIDDEN, "nested", "Impersonation cannot be nested.";
    /// The caller has an active session, but the request has no marker (rule [R20](crate::rules#r20)).
    MarkerMissing = CONFLICT, "marker_missing",
        "You are impersonating someone, but this request does not say so. Nothing was done.";
    /// The trail did not take the event (rule [A1](crate::rules#a1)).
    TrailUnavailable = SERVICE_UNAVAILABLE, "trail_unavailable",
        "The audit trail is unavailable; nothing was done.";
    /// The checker, the store, the directory or the clock failed (rule [R13](crate::rules#r13)).
    Unavailable = SERVICE_UNAVAILABLE, "unavailable",
        "Impersonation is unavailable; nothing was done.";
    /// A field of the call is missing, unknown or wrong. The detail names it.
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is invalid.";
    /// The subject is the actor.
    Yourself = BAD_REQUEST, "yourself", "Cannot impersonate yourself";
    /// The directory does not know such a user.
    SubjectNotFound = NOT_FOUND, "user_not_found", "User not found";
    /// There is an active session already (rule [S2](crate::rules#s2)).
    AlreadyActive = CONFLICT, "already_active",
        "Already impersonating; end the current session first.";
    /// Too many starts in the last hour (rule [S3](crate::rules#s3)).
    TooManyStarts = TOO_MANY_REQUESTS, "too_many_starts",
        "Too many impersonations started; try again later.";
    /// There is nothing to end.
    NothingToEnd = NOT_FOUND, "no_active_session", "No active impersonation session found";
    /// The call needs a right that the actor does not have.
    MissingRight = FORBIDDEN, "missing_right", "You do not have the right to do this.";
    /// The acting token is not good, or its session has ended.
    InvalidToken = UNAUTHORIZED, "invalid_token",
        "Unauthorized: the token is invalid or its session has ended.";
    /// The API has nothing at this path.
    NotFound = NOT_FOUND, "not_found", "Not found";
    /// The API has something at this path, but not for this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed";
}

// === impl Rejection ===

impl Rejection {
    /// A refusal of this kind. The caller learns the kind alone; `reason` is for the log and the trail.
    pub fn new(kind: RejectionKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            detail: None,
            reason: reason.into(),
            retry_after: None,
        }))
    }

    /// A field of the call that is missing or wrong: [`RejectionKind::InvalidRequest`]. `detail` names it, and the
    /// caller reads it.
    pub fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Arc::new(Inner {
            kind: RejectionKind::InvalidRequest,
            reason: detail.clone(),
            detail: Some(detail),
            retry_after: None,
        }))
    }

    pub(crate) fn too_many(retry_after: Duration) -> Self {
        Self(Arc::new(Inner {
            kind: RejectionKind::TooManyStarts,
            detail: None,
            reason: "starts per hour".into(),
            retry_after: Some(retry_after),
        }))
    }

    /// What was wrong, as far as the caller may know.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.0.kind
    }

    /// The exact reason, for the log. It may name what the caller must not learn.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// How long to wait before trying again, if waiting helps.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The sentence for the caller, with the field's name where there is one.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.0
            .detail
            .as_deref()
            .unwrap_or_else(|| self.kind().sentence())
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("kind", &self.kind())
            .field("reason", &self.reason())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Rejection {}
