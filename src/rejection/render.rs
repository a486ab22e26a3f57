//! A refusal as a response: JSON, or a page that says what happened and leads out (rule [R17](crate::rules#r17)).

use std::fmt;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, Uri,
    header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, RETRY_AFTER,
        WWW_AUTHENTICATE,
    },
};
use serde::Serialize;

use super::{Rejection, RejectionKind};
use crate::request::{accepts, is_navigation};

/// The body of a refusal as JSON: RFC 9457, with two members of ours.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    code: &'static str,
    error: &'a str,
}

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

/// What the client can read.
enum Wanted {
    Page,
    Problem,
    Json,
}

impl Wanted {
    fn of(headers: &HeaderMap) -> Self {
        if is_navigation(headers) {
            Self::Page
        } else if accepts(headers, "application/problem+json") {
            Self::Problem
        } else {
            Self::Json
        }
    }
}

impl Rejection {
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

    fn problem(&self) -> Problem<'_> {
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

/// Path and query only: a link on our page never leaves the host.
fn local(uri: &Uri) -> String {
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    // `//host` in the path would be taken for another host.
    format!("/{}", target.trim_start_matches(['/', '\\']))
}

/// Escapes text for HTML content and quoted attributes.
fn escape(text: &str) -> String {
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
