//! What a refused caller gets: [`Rejection`], one sentence per [`RejectionKind`].
//!
//! The caller never learns more than the kind (rule R17). Why exactly is in the trail and in `tracing`
//! (target `tower_impersonation`). The one exception are the fields of a start request, where a clear
//! message helps who filled them in.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
    request::Parts,
};
use serde::Serialize;

pub(crate) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

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
    /// The marker is empty, malformed, repeated, contradicts itself, or is named in `Connection` (rule R3).
    MalformedMarker = BAD_REQUEST, "malformed_marker",
        "The impersonation marker of this request is malformed, repeated or contradicts itself.";
    /// Another site made the browser send the marker (rule R5).
    CrossSite = FORBIDDEN, "cross_site",
        "A link or form on another site asked to act as a user. Continue only if you meant it.";
    /// Nobody is signed in (rule R6).
    Unauthenticated = UNAUTHORIZED, "unauthenticated", "Unauthorized";
    /// Signed in, but no admin (rule R6).
    NotAdmin = FORBIDDEN, "not_admin", "Only an admin may impersonate.";
    /// Not allowed, or no such subject: the caller cannot tell which (rule R7).
    Denied = FORBIDDEN, "denied", "You may not act as this user.";
    /// The marker points at no active session.
    NoSession = FORBIDDEN, "no_session", "No active impersonation session covers this request.";
    /// The session ended with this very request: the actor or the subject changed (rule R8).
    SessionEnded = FORBIDDEN, "session_ended", "The impersonation session has ended.";
    /// An unsafe method under read-only access (rule R10).
    ReadOnly = FORBIDDEN, "read_only", "This impersonation is read-only.";
    /// A protected route (rule R11).
    Protected = FORBIDDEN, "protected", "This page is closed while impersonating.";
    /// An acted request cannot start, raise or list anything (rule R16).
    Nested = FORBIDDEN, "nested", "Impersonation cannot be nested.";
    /// The caller has an active session, and the request does not say whom it acts as (rule R20).
    MarkerMissing = CONFLICT, "marker_missing",
        "You are impersonating someone, but this request does not say so. Nothing was done.";
    /// The trail did not take the event (rule A1).
    TrailUnavailable = SERVICE_UNAVAILABLE, "trail_unavailable",
        "The audit trail is unavailable; nothing was done.";
    /// The checker, the store, the directory or the clock failed (rule R13).
    Unavailable = SERVICE_UNAVAILABLE, "unavailable",
        "Impersonation is unavailable; nothing was done.";
    /// A field of the call is missing, unknown or wrong. The detail names it.
    InvalidRequest = BAD_REQUEST, "invalid_request", "The request is invalid.";
    /// The subject is the actor.
    Yourself = BAD_REQUEST, "yourself", "Cannot impersonate yourself";
    /// The directory knows no such user.
    SubjectNotFound = NOT_FOUND, "user_not_found", "User not found";
    /// There is an active session already (rule S2).
    AlreadyActive = CONFLICT, "already_active",
        "Already impersonating; end the current session first.";
    /// Too many starts in the last hour (rule S3).
    TooManyStarts = TOO_MANY_REQUESTS, "too_many_starts",
        "Too many impersonations started; try again later.";
    /// There is nothing to end.
    NothingToEnd = NOT_FOUND, "no_active_session", "No active impersonation session found";
    /// The call needs a right that the actor does not have.
    MissingRight = FORBIDDEN, "missing_right", "You do not have the right to do this.";
    /// The acting token is not good, or its session has ended.
    InvalidToken = UNAUTHORIZED, "invalid_token",
        "Unauthorized: the token is invalid or its session has ended.";
    /// The API has nothing there.
    NotFound = NOT_FOUND, "not_found", "Not found";
    /// The API has something there, but not for this method.
    MethodNotAllowed = METHOD_NOT_ALLOWED, "method_not_allowed", "Method not allowed";
}

/// The body of a refusal as JSON: RFC 9457, with two members of ours.
#[derive(Serialize)]
#[cfg_attr(feature = "control", derive(utoipa::ToSchema))]
pub(crate) struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    error: &'a str,
}

/// Builds the response of a refusal. The default is [`Rejection::response`].
pub(crate) type RejectionResponse = dyn Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync;

/// Where a refused person can go from here.
#[derive(Debug, Clone, Default)]
pub(crate) struct WayOut {
    /// The same page without the marker.
    pub(crate) unmarked: Option<Uri>,
    /// Where a `POST` ends the session.
    pub(crate) end: Option<String>,
    /// The same page again, for whoever came from another site and means it.
    pub(crate) again: Option<Uri>,
}

// === impl Rejection ===

impl Rejection {
    pub(crate) fn new(kind: RejectionKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            detail: None,
            reason: reason.into(),
            retry_after: None,
        }))
    }

    /// A field of the call that is missing or wrong; `detail` names it and goes to the caller.
    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
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

    /// Why exactly. For the log; it may name what the caller must not learn.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.0.reason
    }

    /// How long to wait before another try, when waiting helps.
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

    /// The default response: an HTML page for a navigation, else `application/problem+json` where it is
    /// asked for ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)), else the same body as
    /// `application/json`.
    #[must_use]
    pub fn response(&self, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        self.render(method, headers, &WayOut::default())
    }

    pub(crate) fn render(
        &self,
        method: &Method,
        headers: &HeaderMap,
        way_out: &WayOut,
    ) -> Response<Bytes> {
        let (content_type, body) = match Wanted::of(headers) {
            Wanted::Page => ("text/html; charset=utf-8", self.page(method, way_out)),
            Wanted::Problem => ("application/problem+json", self.json()),
            Wanted::Json => ("application/json", self.json()),
        };
        let mut response = Response::new(Bytes::from(body));
        *response.status_mut() = self.kind().status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if content_type.starts_with("text/html") {
            headers.insert(
                CONTENT_SECURITY_POLICY,
                HeaderValue::from_static(
                    "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
                ),
            );
        }
        response
    }

    /// Adds what every refusal carries, whoever built the response.
    pub(crate) fn seal(self, mut response: Response<Bytes>) -> Response<Bytes> {
        tracing::debug!(
            target: "tower_impersonation",
            code = self.kind().code(),
            reason = self.reason(),
            "refused"
        );
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        if self.kind() == RejectionKind::InvalidToken {
            // RFC 6750, section 3.
            let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(wait) = self.retry_after() {
            // Rounded up: who comes back right then must not be too early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        response.extensions_mut().insert(self);
        response
    }

    fn json(&self) -> String {
        // Text and a number: nothing that could fail.
        serde_json::to_string(&self.problem()).unwrap_or_default()
    }

    pub(crate) fn problem(&self) -> Problem<'_> {
        let status = self.kind().status();
        Problem {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status: status.as_u16(),
            detail: self.detail(),
            code: self.kind().code(),
            error: self.detail(),
        }
    }

    /// A page that says what happened and leads out. It needs no style and no script, so it works under
    /// any policy.
    fn page(&self, method: &Method, way_out: &WayOut) -> String {
        use fmt::Write as _;

        let status = self.kind().status();
        let title = status.canonical_reason().unwrap_or("Refused");
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title></head>\n\
             <body><main><h1>{title}</h1>\n<p>{}</p>\n",
            escape(self.detail()),
        );
        // Writing into a String cannot fail.
        if let (Some(again), RejectionKind::CrossSite, true) =
            (&way_out.again, self.kind(), method.is_safe())
        {
            let _ = writeln!(
                page,
                "<p><a href=\"{}\">Continue acting as this user</a></p>",
                escape(&local(again))
            );
        }
        if let Some(unmarked) = &way_out.unmarked {
            let _ = writeln!(
                page,
                // Without it the sticky marker would lead back here.
                "<p><a href=\"{}\" rel=\"noreferrer\">Continue as yourself</a></p>",
                escape(&local(unmarked))
            );
        }
        if let Some(end) = &way_out.end {
            let _ = writeln!(
                page,
                "<form method=\"post\" action=\"{}\"><button>End impersonation</button></form>",
                escape(end)
            );
        }
        page.push_str("</main></body></html>\n");
        page
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

/// What the client can read.
enum Wanted {
    Page,
    Problem,
    Json,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
        let accepts = |what: &str| accept.is_some_and(|accept| accept.contains(what));
        if is_navigation(headers) {
            Self::Page
        } else if accepts("application/problem+json") {
            Self::Problem
        } else {
            Self::Json
        }
    }
}

/// Whether a person is to look at the answer: the browser says so, or an old one asks for a page.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => accept.is_some_and(|accept| accept.contains("text/html")),
    }
}

/// Path and query only: a link on our page never leaves the host.
fn local(uri: &Uri) -> String {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    // `//host` in the path would be taken for another host.
    format!("/{}", target.trim_start_matches(['/', '\\']))
}

/// Escapes text for HTML content and quoted attributes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
