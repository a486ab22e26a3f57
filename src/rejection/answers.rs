//! [`Answers`]: how refusals are answered in one application.

use bytes::Bytes;
use http::{Response, request::Parts};

use super::{Rejection, WayOut};
use crate::{request::Sources, words::Places};

/// Builds the response of a refusal. `None`: ours will do.
type RejectionResponse = dyn Fn(&Rejection, &Parts) -> Option<Response<Bytes>> + Send + Sync;

/// The host's own response, if it has one, and where people can go from ours.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) custom: Option<Box<RejectionResponse>>,
    pub(crate) places: Places,
    /// There are sessions that a person could want to end.
    pub(crate) has_sessions: bool,
}

impl Answers {
    /// The response of a refusal, as the host wants it. `by_cookie`: the browser will send what was refused with
    /// the next request as well.
    pub(crate) fn respond(
        &self,
        rejection: Rejection,
        parts: &Parts,
        sources: &Sources,
        by_cookie: bool,
    ) -> Response<Bytes> {
        let custom = self.custom.as_ref();
        let response = custom.and_then(|respond| respond(&rejection, parts));
        let response = response.unwrap_or_else(|| {
            let way_out = self.way_out(parts, sources, by_cookie);
            rejection.render(&parts.method, &parts.headers, &way_out)
        });
        rejection.seal(response)
    }

    fn way_out(&self, parts: &Parts, sources: &Sources, by_cookie: bool) -> WayOut {
        let end = self.places.control().filter(|_| self.has_sessions);
        // A link is a GET: there may be nothing to get where something was posted.
        let linkable = parts.method.is_safe();
        WayOut {
            unmarked: (linkable && !by_cookie).then(|| sources.without_marker(&parts.uri)),
            end: end.map(|path| format!("{path}/end")),
            again: linkable.then(|| parts.uri.clone()),
        }
    }
}
