//! What a route allows: [`Routes::classify`] (rules R10 to R12).

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::UPGRADE};

use super::{path::PathPattern, readings::readings};

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
    /// Runs as the actor (rule R12).
    Excluded,
    /// Never acted (rule R11).
    Protected,
    /// Changes nothing.
    Read,
    /// May change something: needs read-write access (rule R10) and a durable intent (rule A1).
    Write,
}

// === impl Routes ===

impl Routes {
    /// What kind of request this is.
    pub(crate) fn classify(&self, method: &Method, path: &str, headers: &HeaderMap) -> Route {
        let raw = path.as_bytes();
        // One that is too long to try may be anything: it opens nothing and closes what can be closed.
        let (readings, too_long) = match readings(path) {
            Some(readings) => (readings, false),
            None => (Vec::new(), true),
        };
        let readings = || readings.iter().map(Vec::as_slice);
        // A spelling that some router may read otherwise never opens anything, and always closes.
        let in_every_reading =
            |fits: &dyn Fn(&[u8]) -> bool| !too_long && fits(raw) && readings().all(fits);
        let in_any_reading =
            |fits: &dyn Fn(&[u8]) -> bool| too_long || fits(raw) || readings().any(fits);
        if self
            .excluded
            .iter()
            .any(|pattern| in_every_reading(&|path| pattern.covers(path)))
        {
            return Route::Excluded;
        }
        if self
            .protected
            .iter()
            .any(|pattern| in_any_reading(&|path| pattern.covers(path)))
        {
            return Route::Protected;
        }
        let listed = |(listed, pattern): &(Method, PathPattern)| {
            listed == method && in_every_reading(&|path| pattern.is(path))
        };
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
/// or it opens a WebSocket, through which anything may come.
fn is_more_than_it_says(headers: &HeaderMap) -> bool {
    let opens_a_socket = |upgrade: &HeaderValue| {
        let upgrade = upgrade.as_bytes().to_ascii_lowercase();
        memchr::memmem::find(&upgrade, b"websocket").is_some()
    };
    // Going through the names costs less than looking up each, which would hash it.
    headers.keys().any(|name| METHOD_OVERRIDES.contains(name))
        || headers.get_all(UPGRADE).iter().any(opens_a_socket)
}

#[cfg(test)]
mod tests;
