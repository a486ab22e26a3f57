//! Requests without a marker, for hosts whose pages could lose it: the sticky marker, and rule [R20](crate::rules#r20).
//!
//! Without these settings nothing here runs. With them, in this order:
//!
//! 1. Acted already (rule [R16](crate::rules#r16)): passed on. A log-out: ends the sessions of its sender (rule
//!    [S4](crate::rules#s4)). On an excluded path (rule [R12](crate::rules#r12)): passed on.
//! 2. The sticky marker: a page of this very origin that has the marker sent the request. A navigation is sent
//!    on to the same URL with the marker; everything else is acted, or refused (rule [R4](crate::rules#r4)).
//! 3. A write by someone who acts in another tab, or in a page that lost the marker: refused.
//! 4. A URL that was typed without the marker: that ends the session.
//! 5. Everything else is passed on.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, request::Parts};

use super::{Engine, Refusal};
use crate::{
    host::Caller,
    policy::{Route, may_write},
    rejection::RejectionKind,
    request::{
        Fault, Marker, SEC_FETCH_DEST, SEC_FETCH_MODE, SEC_FETCH_SITE, can_be_sent_again, is_ahead,
        is_navigation, is_only, own_pages, uri_as_called,
    },
    words::{ActingAs, EndedReason},
};

/// The longest path and query of a page that acts. Of a URL that is longer than 4096 characters browsers put
/// nothing but the origin into a `Referer` ([Referrer
/// Policy](https://w3c.github.io/webappsec-referrer-policy/#determine-requests-referrer)); the rest of the 4096 is
/// for the scheme and the longest host and port.
const LONGEST_PAGE: usize = 3_800;

/// What to look for in requests without a marker. `None` in its place is the common case, and one comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) sticky: bool,
    pub(crate) writes: bool,
    pub(crate) typed: bool,
    pub(crate) log_out: bool,
}

/// What becomes of a request without a marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// To the inner service, untouched.
    Pass,
    /// To the same URL with the marker, which is here.
    Redirect(HeaderValue),
    /// As if it carried this marker.
    Act(Marker),
    /// The page that sent it has a marker that cannot be read: whatever was meant, it was not the actor.
    Refuse(Fault),
    /// It depends on who sent it.
    Ask(Concern),
}

/// Why it matters who sent a request without a marker (rule [R20](crate::rules#r20)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// It may change something.
    Write,
    /// Its URL was typed.
    Typed,
    /// Its URL is being typed, and the browser goes ahead.
    BeingTyped,
    /// It is the host's log-out (rule [S4](crate::rules#s4)).
    LogOut,
}

// === impl Watch ===

impl Watch {
    /// `None` when there is nothing to look for. Without sessions there is none that could be missed.
    pub(crate) fn in_effect(self, has_sessions: bool) -> Option<Self> {
        let watch = Self {
            sticky: self.sticky,
            writes: self.writes && has_sessions,
            typed: self.typed && has_sessions,
            log_out: self.log_out && has_sessions,
        };
        (watch != Self::default()).then_some(watch)
    }
}

// === impl Concern ===

impl Concern {
    /// As far as the request shows by itself: a route may be listed as one that only reads.
    fn of(watch: Watch, parts: &Parts) -> Option<Self> {
        if may_write(&parts.method, &parts.headers) {
            return watch.writes.then_some(Self::Write);
        }
        let is = |name: &HeaderName, value| is_only(&parts.headers, name, value);
        let is_typed = watch.typed
            && parts.method == Method::GET
            && is(&SEC_FETCH_SITE, "none")
            && is(&SEC_FETCH_MODE, "navigate")
            && is(&SEC_FETCH_DEST, "document");
        match (is_typed, is_ahead(&parts.headers)) {
            (false, _) => None,
            (true, false) => Some(Self::Typed),
            (true, true) => Some(Self::BeingTyped),
        }
    }
}

// === impl Engine ===

impl Engine {
    /// What becomes of a request without a marker. Asks nobody.
    pub(crate) fn look_at_unmarked(&self, watch: Watch, parts: &Parts) -> Step {
        if parts.extensions.get::<ActingAs>().is_some() {
            return Step::Pass;
        }
        if watch.log_out && self.is_log_out(parts) {
            return Step::Ask(Concern::LogOut);
        }
        let left_behind = if watch.sticky {
            self.left_behind(parts)
        } else {
            Ok(None)
        };
        let concern = Concern::of(watch, parts);
        if left_behind == Ok(None) && concern.is_none() {
            // Most requests, and their paths need not be read.
            return Step::Pass;
        }
        let route = self.routes.classify(parts);
        if route == Route::Excluded {
            return Step::Pass;
        }
        match left_behind {
            Ok(Some(marker)) => match self.same_with(&marker, parts) {
                Some(to) => Step::Redirect(to),
                None => Step::Act(marker),
            },
            Err(fault) => Step::Refuse(fault),
            Ok(None) => match concern {
                // The host says that it changes nothing.
                Some(Concern::Write) if route == Route::Read => Step::Pass,
                concern => concern.map_or(Step::Pass, Step::Ask),
            },
        }
    }

    /// Whether the host logs its caller out with this request. One that a browser sends ahead says nothing yet.
    pub(crate) fn is_log_out(&self, parts: &Parts) -> bool {
        let Some(path) = &self.log_out else {
            return false;
        };
        let rest = uri_as_called(parts).path().strip_prefix(&**path);
        matches!(rest, Some("" | "/"))
            && !matches!(parts.method, Method::HEAD | Method::OPTIONS | Method::TRACE)
            && !is_ahead(&parts.headers)
    }

    /// The marker of the page that sent the request.
    fn left_behind(&self, parts: &Parts) -> Result<Option<Marker>, Fault> {
        let mut found = None;
        for page in own_pages(parts) {
            if self.is_excluded(page) {
                continue;
            }
            let Some(subject) = self.sources.read_page(page)? else {
                continue;
            };
            // A browser sends one `Referer`. Whoever sends two has to say what is meant.
            if found.replace(subject).is_some() {
                return Err(Fault::Repeated);
            }
        }
        Ok(found.map(|subject| Marker {
            subject,
            // It does, but not where another site could have put it.
            in_url: false,
            reason: None,
        }))
    }

    /// Such a page is the actor's own, whatever its URL says (rule [R12](crate::rules#r12)).
    fn is_excluded(&self, page: &[u8]) -> bool {
        let path = page.split(|byte| matches!(byte, b'?' | b'#')).next();
        let path = String::from_utf8_lossy(path.unwrap_or_default());
        self.routes
            .classify_path(&Method::GET, &path, &HeaderMap::new())
            == Route::Excluded
    }

    /// For a navigation: its URL with the marker, as a path on this host.
    fn same_with(&self, marker: &Marker, parts: &Parts) -> Option<HeaderValue> {
        if !can_be_sent_again(parts) || !is_navigation(&parts.headers) {
            return None;
        }
        let target = uri_as_called(parts).path_and_query()?.as_str();
        let to = self.sources.with_marker(target, &marker.subject);
        let to = match to.as_bytes() {
            // For a browser that would be another host. It drops a dot that is a segment, and keeps the rest.
            [b'/', b'/' | b'\\', ..] => format!("/.{to}"),
            [b'/', ..] => to,
            _ => return None,
        };
        HeaderValue::try_from(to).ok()
    }

    /// Whether it is for a page that the sticky marker would not be known by: what that page sends would run as the
    /// actor (rule [R4](crate::rules#r4)). The subject may have written a link to it.
    pub(crate) fn is_too_long_a_page(&self, parts: &Parts) -> bool {
        let length = |parts| {
            uri_as_called(parts)
                .path_and_query()
                .map_or(0, |it| it.as_str().len())
        };
        self.watch.is_some_and(|watch| watch.sticky)
            && length(parts) > LONGEST_PAGE
            && is_navigation(&parts.headers)
    }

    /// Whether the request may go on to the inner service, as the actor (rules [R20](crate::rules#r20),
    /// [S4](crate::rules#s4)).
    pub(crate) async fn settle_unmarked(
        self: &Arc<Self>,
        parts: &Parts,
        concern: Concern,
    ) -> Result<(), Refusal> {
        let caller = match self.host.identify(parts).await? {
            Caller::Admin(actor) => actor.id().clone(),
            // Maybe no longer an admin, and with a session all the same.
            Caller::User(id) => id,
            Caller::Anonymous => return Ok(()),
        };
        let settled = async {
            let ends = match concern {
                Concern::Typed => Some(EndedReason::MarkerRemoved),
                Concern::LogOut => Some(EndedReason::AdminLogout),
                Concern::Write | Concern::BeingTyped => None,
            };
            if let Some(reason) = ends {
                let call = self.call(parts, &caller);
                let stopped = self.end_all(&caller, reason, call).await?;
                // Nobody is kept from signing out. A page of one's own waits until the end holds everywhere.
                return match stopped.is_stored || concern == Concern::LogOut {
                    true => Ok(()),
                    false => {
                        let reason = "the end is not stored yet";
                        Err(Refusal::of(RejectionKind::Unavailable, reason))
                    }
                };
            }
            // Or the store may take for idle who is not.
            self.tell_last_seen().await?;
            let active = self.active_unswept(&caller, 1).await?;
            let Some(session) = active.first().map(|session| session.id) else {
                return Ok(());
            };
            let refusal = match concern {
                Concern::Write => {
                    let reason = "the actor has an active session, and the request has no marker";
                    Refusal::of(RejectionKind::MarkerMissing, reason).within(Some(session))
                }
                // Nobody has asked for anything yet. When they do, the browser asks again, and is heard: a page
                // that it already had would be shown without a word to us.
                _ => Refusal {
                    noted: true,
                    ..Refusal::of(RejectionKind::MarkerMissing, "nobody looks at it yet")
                },
            };
            Err(refusal)
        };
        settled
            .await
            .map_err(|refusal: Refusal| refusal.by(&caller))
    }
}
