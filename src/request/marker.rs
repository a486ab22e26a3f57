//! The part of a request that says whom it acts as: find it, decode it, take it out.
//!
//! Pure functions over the URI and the headers; nothing here waits or decides. One reading of the query serves both the
//! look-up and the removal, so that what was read is what is taken out (rules [R3](crate::rules#r3),
//! [R9](crate::rules#r9)).
//!
//! 1. The query parameter (`as`), in the form encoding of the
//!    [WHATWG URL standard](https://url.spec.whatwg.org/#application/x-www-form-urlencoded): `%61s=7` is
//!    a marker, `AS=7` is not.
//! 2. The header (`Act-As`).
//! 3. Both, when they say the same.
//!
//! Stricter than WHATWG in the value: a broken percent sequence or bytes that are no UTF-8 are refused
//! instead of being replaced, because a marker that cannot be read must not become another one.

use std::{borrow::Cow, iter, mem};

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{CONNECTION, Entry, REFERER},
    request::Parts,
    uri::PathAndQuery,
};
use memchr::memmem;

use super::{TOKEN_HEADERS, framework::original_uri_mut, is_of_family};
use crate::words::{Subject, check_reason};

/// Where to look for markers.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    query: Option<QueryName>,
    header: Option<HeaderName>,
    reason: HeaderName,
    /// What the names of our headers begin with.
    family: String,
}

#[derive(Debug, Clone)]
struct QueryName {
    name: String,
    finder: memmem::Finder<'static>,
}

/// A marker that could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Marker {
    pub(crate) subject: Subject,
    /// It stood in the URL, where a link on another site could have put it (rule [R5](crate::rules#r5)).
    pub(crate) in_url: bool,
    /// The `Act-As-Reason` facet.
    pub(crate) reason: Option<String>,
}

/// Why a marker could not be read. Each is a 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("the marker is empty")]
    Empty,
    #[error("the marker is not a user id")]
    NotAnId,
    #[error("the marker is not form-encoded UTF-8")]
    Encoding,
    #[error("the marker is repeated")]
    Repeated,
    #[error("the header and the query name different subjects")]
    Disagree,
    #[error("the Connection header names the marker's header")]
    HopByHop,
    #[error("there is a reason but no marker")]
    FacetAlone,
    #[error("the URL is too long for the marker to stay on its page")]
    LongPage,
    #[error("the reason is repeated, blank, too long or not text")]
    Reason,
    #[cfg(feature = "jwt")]
    #[error("the token stands in a header that is not enabled here")]
    TokenHeader,
}

// === impl Sources ===

impl Sources {
    pub(crate) fn new(query: Option<&str>, header: Option<HeaderName>, reason: HeaderName) -> Self {
        let family = header.as_ref().map_or("act-as", HeaderName::as_str);
        Self {
            family: family.to_owned(),
            query: query.map(|name| QueryName {
                name: name.to_owned(),
                finder: memmem::Finder::new(name).into_owned(),
            }),
            header,
            reason,
        }
    }

    /// The query parameter and the header, as far as they are on.
    pub(crate) fn names(&self) -> (Option<&str>, Option<&str>) {
        let query = self.query.as_ref().map(|query| query.name.as_str());
        (query, self.header.as_ref().map(HeaderName::as_str))
    }

    /// Reads the request's marker (rules [R1](crate::rules#r1) to [R3](crate::rules#r3)).
    pub(crate) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<Marker>, Fault> {
        let in_query = match (&self.query, uri.query()) {
            (Some(name), Some(query)) if name.may_be_in(query) => name.read(query)?,
            _ => None,
        };
        if self.may_be_in(headers) {
            self.read(in_query, headers)
        } else {
            Ok(in_query.map(Marker::in_url))
        }
    }

    /// Reads the marker of a page, from its URL or the part of it behind the host.
    pub(crate) fn read_page(&self, url: &[u8]) -> Result<Option<Subject>, Fault> {
        let Some(name) = &self.query else {
            return Ok(None);
        };
        let url = url.split(|byte| *byte == b'#').next().unwrap_or_default();
        let Some(start) = memchr::memchr(b'?', url) else {
            return Ok(None);
        };
        let query = &url[start + 1..];
        match std::str::from_utf8(query) {
            Ok(query) => name.read(query),
            // No browser writes such a URL. That it has a marker is all that can be said of it.
            Err(_) if name.read(&String::from_utf8_lossy(query)) == Ok(None) => Ok(None),
            Err(_) => Err(Fault::Encoding),
        }
    }

    /// Whether the headers have to be read. Cheap, and never wrong when it says no: most requests end
    /// here. Going through the names costs less than looking up ours, which would hash them.
    fn may_be_in(&self, headers: &HeaderMap) -> bool {
        // By far the most common value; every other one is looked at.
        let is_harmless =
            |value: &HeaderValue| value == "keep-alive" && headers.len() == headers.keys_len();
        self.has_ours(headers) || !headers.get(CONNECTION).is_none_or(is_harmless)
    }

    fn has_ours(&self, headers: &HeaderMap) -> bool {
        let has = |name: &HeaderName| headers.keys().any(|key| key == name);
        has(&self.reason) || self.header.as_ref().is_some_and(has)
    }

    fn read(
        &self,
        in_query: Option<Subject>,
        headers: &HeaderMap,
    ) -> Result<Option<Marker>, Fault> {
        self.refuse_hop_by_hop(headers)?;
        let in_header = match &self.header {
            Some(name) => read_header(name, headers)?,
            None => None,
        };
        let marker = match (in_query, in_header) {
            (Some(query), Some(header)) if query != header => return Err(Fault::Disagree),
            (Some(subject), _) => Some(Marker::in_url(subject)),
            (None, Some(subject)) => Some(Marker {
                subject,
                in_url: false,
                reason: None,
            }),
            (None, None) => None,
        };
        match (marker, headers.get(&self.reason)) {
            (marker, None) => Ok(marker),
            (None, Some(_)) => Err(Fault::FacetAlone),
            (Some(mut marker), Some(reason)) => {
                if headers.get_all(&self.reason).iter().nth(1).is_some() {
                    return Err(Fault::Reason);
                }
                marker.reason = Some(read_reason(reason)?);
                Ok(Some(marker))
            }
        }
    }

    /// Takes every marker out: all parameters, and every header of the family (rule [R9](crate::rules#r9)). Everything
    /// else in the query stays as it was, byte for byte.
    pub(crate) fn strip(&self, parts: &mut Parts) {
        let is_ours = |name: &&HeaderName| self.is_of_family(name);
        while let Some(name) = parts.headers.keys().find(is_ours).cloned() {
            parts.headers.remove(name);
        }
        self.strip_query(&mut parts.uri);
        // A router keeps a copy of the URI for routes that are nested.
        if let Some(uri) = original_uri_mut(&mut parts.extensions) {
            self.strip_query(uri);
        }
        self.strip_referers(&mut parts.headers);
    }

    /// The page that sent the request may have a marker of its own. One whose marker cannot be taken out is not named
    /// at all.
    fn strip_referers(&self, headers: &mut HeaderMap) {
        let Some(name) = &self.query else { return };
        let marked = |value: &HeaderValue| {
            let (_, query) = split_query(value.as_bytes());
            query.is_some_and(|query| name.may_be_in(&String::from_utf8_lossy(query)))
        };
        if !headers.get_all(REFERER).iter().any(marked) {
            return;
        }
        let Entry::Occupied(entry) = headers.entry(REFERER) else {
            return;
        };
        let referers: Vec<HeaderValue> = entry.remove_entry_mult().1.collect();
        for referer in referers {
            if !marked(&referer) {
                headers.append(REFERER, referer);
                continue;
            }
            let (page, query) = split_query(referer.as_bytes());
            let page = std::str::from_utf8(page);
            let query = std::str::from_utf8(query.unwrap_or_default());
            if let (Ok(page), Ok(query)) = (page, query) {
                let kept: Vec<&str> = pairs(query).filter(|pair| !name.is_key_of(pair)).collect();
                let separator = if kept.is_empty() { "" } else { "?" };
                let page = format!("{page}{separator}{}", kept.join("&"));
                headers.extend(HeaderValue::try_from(page).map(|page| (REFERER, page)));
            }
        }
    }

    /// Whether the inner service could take it for a word of ours. A client may send what only we say, and what another
    /// layer of this kind, further in, would honour.
    fn is_of_family(&self, name: &HeaderName) -> bool {
        self.is_marker(name)
            || is_of_family(name, "acted-as")
            || TOKEN_HEADERS
                .iter()
                .any(|family| is_of_family(name, family.as_str()))
    }

    /// Whether it is the marker's header or one of its facets.
    pub(crate) fn is_marker(&self, name: &HeaderName) -> bool {
        is_of_family(name, &self.family)
    }

    fn strip_query(&self, uri: &mut Uri) {
        if let (Some(name), Some(query)) = (&self.query, uri.query())
            && name.may_be_in(query)
        {
            *uri = self.taken_out_of(mem::take(uri));
        }
    }

    /// The same URI without the marker, for links that lead out.
    pub(crate) fn without_marker(&self, uri: &Uri) -> Uri {
        self.taken_out_of(uri.clone())
    }

    fn taken_out_of(&self, uri: Uri) -> Uri {
        let (Some(name), Some(query)) = (&self.query, uri.query()) else {
            return uri;
        };
        let path = uri.path();
        let kept = || pairs(query).filter(|pair| !name.is_key_of(pair));
        // Exactly as long as it gets: one that has to grow or shrink costs another allocation.
        let length = path.len() + kept().map(|pair| 1 + pair.len()).sum::<usize>();
        let mut rest = String::with_capacity(length);
        rest.push_str(path);
        let mut separator = '?';
        for pair in kept() {
            rest.push(separator);
            rest.push_str(pair);
            separator = '&';
        }
        let mut parts = uri.into_parts();
        parts.path_and_query = PathAndQuery::from_maybe_shared(bytes::Bytes::from(rest)).ok();
        // A part of a valid query is a valid query; should that ever fail, no query is the safe answer.
        Uri::from_parts(parts).unwrap_or_default()
    }

    /// A path with the marker of `subject` behind, for links that lead in; as it is where URLs carry none.
    pub(crate) fn with_marker(&self, path: &str, subject: &Subject) -> String {
        let Some(name) = &self.query else {
            return path.to_owned();
        };
        let (path, fragment) = path.split_once('#').unwrap_or((path, ""));
        let separator = if path.contains('?') { '&' } else { '?' };
        let marker: String = form_urlencoded::byte_serialize(subject.as_str().as_bytes()).collect();
        let fragment_mark = if fragment.is_empty() { "" } else { "#" };
        format!(
            "{path}{separator}{}={marker}{fragment_mark}{fragment}",
            name.name
        )
    }

    fn refuse_hop_by_hop(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let names_it = |token: &[u8]| {
            let token = token.trim_ascii();
            let is = |name: &HeaderName| token.eq_ignore_ascii_case(name.as_str().as_bytes());
            is(&self.reason) || self.header.as_ref().is_some_and(is)
        };
        let named = headers
            .get_all(CONNECTION)
            .iter()
            .any(|value| value.as_bytes().split(|byte| *byte == b',').any(names_it));
        if named {
            return Err(Fault::HopByHop);
        }
        Ok(())
    }
}

// === impl QueryName ===

impl QueryName {
    /// Cheap, and never wrong when it says no.
    fn may_be_in(&self, query: &str) -> bool {
        let query = query.as_bytes();
        // The name may well stand inside of other words: then look where keys begin.
        (self.finder.find(query).is_some() && self.is_key_in(query)) || has_encoded_key(query)
    }

    fn is_key_in(&self, query: &[u8]) -> bool {
        let mut ends = memchr::memchr_iter(b'&', query);
        self.is_first_of(query) || ends.any(|end| self.is_first_of(&query[end + 1..]))
    }

    /// Whether the first key is the name, as it is.
    fn is_first_of(&self, query: &[u8]) -> bool {
        let after = query.strip_prefix(self.name.as_bytes());
        after.is_some_and(|after| matches!(after.first(), None | Some(b'=' | b'&')))
    }

    fn read(&self, query: &str) -> Result<Option<Subject>, Fault> {
        let mut found = pairs(query).filter(|pair| self.is_key_of(pair));
        let Some(pair) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err(Fault::Repeated);
        }
        let value = memchr::memchr(b'=', pair.as_bytes()).map_or("", |at| &pair[at + 1..]);
        parse_subject(&decode(value)?).map(Some)
    }

    fn is_key_of(&self, pair: &str) -> bool {
        let bytes = pair.as_bytes();
        self.is_first_of(bytes) || (has_encoded_key(bytes) && self.is_encoded_key_of(pair))
    }

    #[cold]
    fn is_encoded_key_of(&self, pair: &str) -> bool {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        // Names are compared as WHATWG decodes them; `+` cannot occur in ours.
        form_urlencoded::parse(key.as_bytes())
            .next()
            .is_some_and(|(key, _)| key == self.name)
    }
}

/// A URL before its query, and the query.
fn split_query(url: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', url) {
        Some(at) => (&url[..at], Some(&url[at + 1..])),
        None => (url, None),
    }
}

/// The pairs of a query, in their order.
fn pairs(query: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(query);
    iter::from_fn(move || {
        let pairs = rest?;
        let Some(end) = memchr::memchr(b'&', pairs.as_bytes()) else {
            return rest.take();
        };
        rest = Some(&pairs[end + 1..]);
        Some(&pairs[..end])
    })
}

/// Whether a `%` stands in a key. One in a value, by far the most common, cannot make a marker.
fn has_encoded_key(query: &[u8]) -> bool {
    let mut rest = query;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let before = &rest[..at];
        if memchr::memrchr2(b'=', b'&', before).is_none_or(|at| before[at] == b'&') {
            return true;
        }
        let value = &rest[at..];
        let Some(end) = memchr::memchr(b'&', value) else {
            return false;
        };
        rest = &value[end + 1..];
    }
    false
}

// === impl Marker ===

impl Marker {
    fn in_url(subject: Subject) -> Self {
        Self {
            subject,
            in_url: true,
            reason: None,
        }
    }
}

fn read_header(name: &HeaderName, headers: &HeaderMap) -> Result<Option<Subject>, Fault> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(Fault::Repeated);
    }
    let value = std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::Encoding)?;
    parse_subject(value).map(Some)
}

fn parse_subject(value: &str) -> Result<Subject, Fault> {
    if value.is_empty() {
        return Err(Fault::Empty);
    }
    value.parse().map_err(|_| Fault::NotAnId)
}

fn read_reason(value: &HeaderValue) -> Result<String, Fault> {
    let reason = std::str::from_utf8(value.as_bytes()).map_err(|_| Fault::Reason)?;
    check_reason(reason).map_err(|_| Fault::Reason)
}

/// Form-decodes a value, refusing what WHATWG would replace.
fn decode(value: &str) -> Result<Cow<'_, str>, Fault> {
    let bytes = value.as_bytes();
    if memchr::memchr2(b'%', b'+', bytes).is_none() {
        return Ok(Cow::Borrowed(value));
    }
    let is_hex = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let broken = memchr::memchr_iter(b'%', bytes)
        .any(|at| !(is_hex(bytes.get(at + 1)) && is_hex(bytes.get(at + 2))));
    if broken {
        return Err(Fault::Encoding);
    }
    let spaced = if value.contains('+') {
        Cow::Owned(value.replace('+', " "))
    } else {
        Cow::Borrowed(value)
    };
    match spaced {
        Cow::Borrowed(value) => percent_encoding::percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| Fault::Encoding),
        Cow::Owned(value) => percent_encoding::percent_decode_str(&value)
            .decode_utf8()
            .map(|value| Cow::Owned(value.into_owned()))
            .map_err(|_| Fault::Encoding),
    }
}

#[cfg(test)]
mod tests;
