//! What a route allows: [`Routes::classify`] (rules [R10](crate::rules#r10) to [R12](crate::rules#r12)).
//!
//! In doubt the stricter answer wins. A path is *protected* if any router could read it as a protected one, but
//! *excluded* or a listed *read* only if every router reads it so.

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::UPGRADE, request::Parts};

use super::path::{PathPattern, RequestPath};
use crate::request::uri_as_called;

/// Headers by which some frameworks turn one method into another.
const METHOD_OVERRIDES: [HeaderName; 3] = [
    HeaderName::from_static("x-http-method-override"),
    HeaderName::from_static("x-http-method"),
    HeaderName::from_static("x-method-override"),
];

/// What the host said about its routes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Routes {
    pub(crate) excluded: Vec<PathPattern>,
    pub(crate) protected: Vec<PathPattern>,
    pub(crate) reads: Vec<(Method, PathPattern)>,
}

/// What kind of request this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Runs as the actor (rule [R12](crate::rules#r12)).
    Excluded,
    /// Never acted (rule [R11](crate::rules#r11)).
    Protected,
    /// Changes nothing.
    Read,
    /// May change something: needs read-write access (rule [R10](crate::rules#r10)) and a durable intent (rule
    /// [A1](crate::rules#a1)).
    Write,
}

// === impl Routes ===

impl Routes {
    /// What kind of request this is: by the URL as it was called, and *protected* by what a router that nests this
    /// layer has left of it, too.
    pub(crate) fn classify(&self, parts: &Parts) -> Route {
        let (method, headers) = (&parts.method, &parts.headers);
        let (called, left) = (uri_as_called(parts).path(), parts.uri.path());
        match self.classify_path(method, called, headers) {
            Route::Excluded => Route::Excluded,
            route if called == left => route,
            route => match self.classify_path(method, left, headers) {
                Route::Protected => Route::Protected,
                _ => route,
            },
        }
    }

    /// What kind of request one to this path is.
    pub(crate) fn classify_path(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route {
        let path = RequestPath::new(path);
        // A spelling that some router may read otherwise never opens anything, and always closes.
        if self.excluded.iter().any(|pattern| path.is_below(pattern)) {
            return Route::Excluded;
        }
        if self
            .protected
            .iter()
            .any(|pattern| path.may_be_below(pattern))
        {
            return Route::Protected;
        }
        let listed =
            |(listed, pattern): &(Method, PathPattern)| listed == method && path.is(pattern);
        if !may_write(method, headers)
            || (!is_more_than_it_says(headers) && self.reads.iter().any(listed))
        {
            return Route::Read;
        }
        Route::Write
    }
}

/// Whether a request may change something, as far as it shows by itself.
pub(crate) fn may_write(method: &Method, headers: &HeaderMap) -> bool {
    // Not `Method::is_safe`: that lets TRACE through, which some servers answer with the credentials.
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || is_more_than_it_says(headers)
}

/// Whether a request that reads by its method may write all the same: a framework takes it for another method,
/// or it leaves HTTP, for a WebSocket or any other protocol through which anything may come.
fn is_more_than_it_says(headers: &HeaderMap) -> bool {
    let leaves_http = |upgrade: &HeaderValue| {
        let mut protocols = upgrade.as_bytes().split(|byte| *byte == b',');
        // `h2c` is HTTP/2: each of its requests comes through here.
        !protocols.all(|protocol| protocol.trim_ascii().eq_ignore_ascii_case(b"h2c"))
    };
    // Going through the names costs less than looking up each, which would hash it.
    headers.keys().any(|name| METHOD_OVERRIDES.contains(name))
        || headers.get_all(UPGRADE).iter().any(leaves_http)
}

#[cfg(test)]
mod tests;
