//! What a browser says about a request: where it comes from, what it is for, and from which page.
//!
//! Pages cannot set these headers, so their scripts cannot forge them. Clients that are not browsers can send
//! anything, but no page can lure them into it.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri,
    header::{ACCEPT, CONTENT_LENGTH, HOST, ORIGIN, REFERER, TRANSFER_ENCODING},
    request::Parts,
};

use super::framework::original_uri;

pub(crate) const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
pub(crate) const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
pub(crate) const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
/// Where browsers say that nobody looks at the answer yet: the standard's name, and the one before it.
const PURPOSES: [HeaderName; 2] = [
    HeaderName::from_static("sec-purpose"),
    HeaderName::from_static("purpose"),
];

/// Whether a page of another origin made the browser send this (rule [R5](crate::rules#r5)).
///
/// `Sec-Fetch-Site` decides if it is present; else `Origin` must name the host that the request is for. With
/// neither, the client is not a browser that could be lured.
pub(crate) fn is_cross_site(parts: &Parts) -> bool {
    let mut sites = parts.headers.get_all(SEC_FETCH_SITE).iter().peekable();
    if sites.peek().is_some() {
        return !sites.all(|site| site == "same-origin" || site == "none");
    }
    let host = authority_of(parts);
    let is_ours = |origin: &HeaderValue| {
        let origin = origin.as_bytes();
        let authority = origin
            .strip_prefix(b"https://")
            .or_else(|| origin.strip_prefix(b"http://"));
        authority.is_some() && authority == host
    };
    !parts.headers.get_all(ORIGIN).iter().all(is_ours)
}

/// The host and port that the request is for.
fn authority_of(parts: &Parts) -> Option<&[u8]> {
    match parts.uri.authority() {
        Some(authority) => Some(authority.as_str().as_bytes()),
        None => parts.headers.get(HOST).map(HeaderValue::as_bytes),
    }
}

/// Whether a person is to look at the answer: the browser says so, or an old one asks for a page.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate",
        None => accepts(headers, "text/html"),
    }
}

/// Whether the client says that it can read this.
pub(crate) fn accepts(headers: &HeaderMap, what: &str) -> bool {
    let accept = headers.get(ACCEPT).map_or(&b""[..], HeaderValue::as_bytes);
    memchr::memmem::find(accept, what.as_bytes()).is_some()
}

/// Whether a person may look at the answer: not when a browser asks for a part of a page, or ahead of the person.
pub(crate) fn may_be_seen(headers: &HeaderMap) -> bool {
    let is_whole = |dest: &HeaderValue| dest == "document";
    let asks_for_page = match headers.get(SEC_FETCH_MODE) {
        Some(mode) => mode == "navigate" && headers.get(SEC_FETCH_DEST).is_none_or(is_whole),
        None => !headers.contains_key(ACCEPT) || accepts(headers, "text/html"),
    };
    asks_for_page && !is_ahead(headers)
}

/// Whether the browser asks before the person does.
pub(crate) fn is_ahead(headers: &HeaderMap) -> bool {
    PURPOSES.iter().any(|purpose| headers.contains_key(purpose))
}

/// The header is there, and says this and nothing else.
pub(crate) fn is_only(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek().is_some() && values.all(|it| it == value)
}

/// The `Referer` values that name a page of the origin that the request is for.
///
/// Where the browser says that it comes from the same origin, that decides: it knows what a proxy in front may
/// have changed. Else scheme, host and port are compared as far as the request has them.
pub(crate) fn own_pages(parts: &Parts) -> impl Iterator<Item = &[u8]> {
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

/// Whether the browser can be told to send the same request once more. What it posts has to be short: it is sent before
/// anyone can answer, and a connection that is closed on much of it loses the answer.
pub(crate) fn can_be_sent_again(parts: &Parts) -> bool {
    const MOST_POSTED: u64 = 64 * 1024;

    match parts.method {
        Method::GET | Method::HEAD => true,
        Method::POST => {
            let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
            let length = lengths
                .next()
                .map(|length| std::str::from_utf8(length.as_bytes()));
            let length = length.and_then(|length| length.ok()?.parse().ok());
            length.is_some_and(|length: u64| length <= MOST_POSTED)
                && lengths.next().is_none()
                && !parts.headers.contains_key(TRANSFER_ENCODING)
        }
        _ => false,
    }
}

/// Whether a page's host and port are ours. Browsers leave out a port that goes without saying, and some proxies
/// write it into `Host`.
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

/// The URL as the browser has it.
pub(crate) fn uri_as_called(parts: &Parts) -> &Uri {
    // A router that nests this layer has taken its prefix off.
    original_uri(&parts.extensions).unwrap_or(&parts.uri)
}

#[cfg(test)]
mod tests;
