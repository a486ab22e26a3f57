//! Requests without a marker, for hosts whose pages could lose it: the sticky marker, and rule R20.
//!
//! Without these settings nothing here runs. With them, in this order:
//!
//! 1. Acted already (rule R16), or on an excluded path (rule R12): passed on.
//! 2. The sticky marker: a page of this very origin that has the marker sent the request. A navigation is sent
//!    on to the same URL with the marker; everything else is acted, or refused (rule R4).
//! 3. A write by someone who acts in another tab, or in a page that lost the marker: refused.
//! 4. A URL that was typed without the marker: that ends the session.
//! 5. Everything else is passed on.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, LOCATION, REFERER, REFERRER_POLICY, TRANSFER_ENCODING,
    },
    request::Parts,
};

use crate::{
    acting_as::ActingAs,
    checker::Caller,
    impersonation::Inner,
    marker::{Fault, Marker, SEC_FETCH_SITE, authority_of, is_cross_site},
    policy::{Route, may_write},
    rejection::{RejectionKind, SEC_FETCH_MODE, is_navigation},
    session::EndedReason,
    vet::Refusal,
};

/// The longest path and query of a page that acts. Of a URL that is longer than 4096 characters browsers put nothing but
/// the origin into a `Referer`
/// ([Referrer Policy](https://w3c.github.io/webappsec-referrer-policy/#determine-requests-referrer)); the rest of the
/// 4096 is for the scheme and the longest host and port.
const LONGEST_PAGE: usize = 3_800;

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Where browsers say that nobody looks at the answer yet: the standard's name, and the one before it.
const PURPOSES: [HeaderName; 2] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
];

/// What to look for in requests without a marker. `None` in its place is the common case, and one comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Watch {
    pub(crate) sticky: bool,
    pub(crate) writes: bool,
    pub(crate) typed: bool,
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

/// Why it matters who sent a request without a marker (rule R20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Concern {
    /// It may change something.
    Write,
    /// Its URL was typed.
    Typed,
    /// Its URL is being typed, and the browser goes ahead.
    BeingTyped,
}

// === impl Watch ===

impl Watch {
    /// `None` when there is nothing to look for. Without sessions there is none that could be missed.
    pub(crate) fn in_effect(self, has_sessions: bool) -> Option<Self> {
        let watch = Self {
            sticky: self.sticky,
            writes: self.writes && has_sessions,
            typed: self.typed && has_sessions,
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

/// Whether the browser asks before the person does.
fn is_ahead(headers: &HeaderMap) -> bool {
    PURPOSES.iter().any(|purpose| headers.contains_key(purpose))
}

/// The header is there, and says this and nothing else.
fn is_only(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek().is_some() && values.all(|it| it == value)
}

/// The `Referer` values that name a page of the origin that the request is for.
///
/// Where the browser says that it comes from the same origin, that decides: it knows what a proxy in front may
/// have changed. Else scheme, host and port are compared as far as the request has them.
fn own_pages(parts: &Parts) -> impl Iterator<Item = &[u8]> {
    let says_so = parts.headers.contains_key(&SEC_FETCH_SITE);
    let is_own = if says_so {
        is_only(&parts.headers, &SEC_FETCH_SITE, "same-origin")
    } else {
        !is_cross_site(parts)
    };
    let pages = parts.headers.get_all(REFERER).iter();
    let pages = pages.filter_map(move |page| {
        let (scheme, authority, target) = split(page.as_bytes())?;
        let fits = says_so
            || (authority_of(parts).is_some_and(|ours| is_same_host(scheme, authority, ours))
                && (parts.uri.scheme_str())
                    .is_none_or(|ours| scheme.eq_ignore_ascii_case(ours.as_bytes())));
        fits.then_some(target)
    });
    pages.filter(move |_| is_own)
}

/// The URL as the browser has it.
fn called(parts: &Parts) -> &Uri {
    // A router that nests this layer has taken its prefix off.
    #[cfg(feature = "axum")]
    if let Some(axum::extract::OriginalUri(uri)) = parts.extensions.get() {
        return uri;
    }
    &parts.uri
}

/// Whether the browser can be told to send the same request once more. What it posts has to be short: it is sent before
/// anyone can answer, and a connection that is closed on much of it loses the answer.
fn can_be_sent_again(parts: &Parts) -> bool {
    const MOST_POSTED: u64 = 64 * 1024;

    match parts.method {
        Method::GET | Method::HEAD => true,
        Method::POST => {
            let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
            let length = lengths.next().and_then(|it| it.to_str().ok()?.parse().ok());
            length.is_some_and(|length: u64| length <= MOST_POSTED)
                && lengths.next().is_none()
                && !parts.headers.contains_key(TRANSFER_ENCODING)
        }
        _ => false,
    }
}

/// Whether a page's host and port are ours. Browsers leave out a port that goes without saying, and some proxies write it
/// into `Host`.
fn is_same_host(scheme: &[u8], page: &[u8], ours: &[u8]) -> bool {
    let port: &[u8] = if scheme.eq_ignore_ascii_case(b"https") {
        b":443"
    } else {
        b":80"
    };
    let [page, ours] = [page, ours].map(|host| host.strip_suffix(port).unwrap_or(host));
    page.eq_ignore_ascii_case(ours)
}

/// Scheme, authority and the rest of a page's URL.
fn split(url: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let at = memchr::memmem::find(url, b"://")?;
    let (scheme, rest) = (&url[..at], &url[at + 3..]);
    if !scheme.eq_ignore_ascii_case(b"http") && !scheme.eq_ignore_ascii_case(b"https") {
        return None;
    }
    let ends = |byte: &u8| matches!(byte, b'/' | b'\\' | b'?' | b'#');
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    Some((scheme, authority, target))
}

// === impl Inner ===

impl Inner {
    /// What becomes of a request without a marker. Asks nobody.
    pub(crate) fn look_at_unmarked(&self, watch: Watch, parts: &Parts) -> Step {
        if parts.extensions.get::<ActingAs>().is_some() {
            return Step::Pass;
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
        let path = parts.uri.path();
        let route = self.routes.classify(&parts.method, path, &parts.headers);
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

    /// Such a page is the actor's own, whatever its URL says (rule R12).
    fn is_excluded(&self, page: &[u8]) -> bool {
        let path = page.split(|byte| matches!(byte, b'?' | b'#')).next();
        let path = String::from_utf8_lossy(path.unwrap_or_default());
        self.routes.classify(&Method::GET, &path, &HeaderMap::new()) == Route::Excluded
    }

    /// For a navigation: its URL with the marker, as a path on this host.
    fn same_with(&self, marker: &Marker, parts: &Parts) -> Option<HeaderValue> {
        if !can_be_sent_again(parts) || !is_navigation(&parts.headers) {
            return None;
        }
        let target = called(parts).path_and_query()?.as_str();
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
    /// actor (rule R4). Whoever wrote a link to it may be the subject.
    pub(crate) fn is_too_long_a_page(&self, parts: &Parts) -> bool {
        let length = |parts| {
            called(parts)
                .path_and_query()
                .map_or(0, |it| it.as_str().len())
        };
        self.watch.is_some_and(|watch| watch.sticky)
            && length(parts) > LONGEST_PAGE
            && is_navigation(&parts.headers)
    }

    /// Whether the request may go on to the inner service, as the actor (rule R20).
    pub(crate) async fn settle_unmarked(
        self: &Arc<Self>,
        parts: &Parts,
        concern: Concern,
    ) -> Result<(), Refusal> {
        let caller = match self.identify(parts).await? {
            Caller::Admin(actor) => actor.id().clone(),
            // Maybe no longer an admin, and with a session all the same.
            Caller::User(id) => id,
            Caller::Anonymous => return Ok(()),
        };
        let settled = async {
            if concern == Concern::Typed {
                self.end_all(&caller, EndedReason::MarkerRemoved).await?;
                return Ok(());
            }
            // Or the store may take for idle who is not.
            self.tell_last_seen().await?;
            let active = self.list_active(&caller, 1).await?;
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

/// Sends a browser on. 307, so that nothing but the URL changes; and not kept, since it depends on the page that
/// the request came from.
pub(crate) fn redirect(to: HeaderValue) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    let headers = response.headers_mut();
    headers.insert(LOCATION, to);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let same_origin = HeaderValue::from_static("same-origin");
    headers.insert(REFERRER_POLICY, same_origin);
    response
}
