//! The rules, as functions without side effects: what a route allows, and who may act as whom.
//!
//! Every entry point asks the same two questions in the same order (the layer, the handle, the HTTP API):
//! [`may_ask`] before anything is looked up, [`may_act`] once the directory has answered.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header::UPGRADE};

use crate::{
    checker::{Decision, Grant},
    directory::DirectoryUser,
    identity::{Access, Actor, Rights, Subject, UserId},
};

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

/// A path by whole segments, and everything below it. `*` stands for any one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Vec<String>,
}

/// Why an actor may not act as a subject. For the trail and the log, never for the caller (rule R7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    #[error("the checker said no: {0}")]
    Checker(Cow<'static, str>),
    #[error("nobody acts as oneself")]
    Oneself,
    #[error("the actor has no right to the service role")]
    ServiceRight,
    #[error("the directory knows no such user")]
    UnknownSubject,
    #[error("the subject's rank is not below the actor's")]
    Rank,
    #[error("the subject may not be acted as: {0}")]
    NotImpersonable(String),
    #[error("the subject has not allowed it, or no longer does")]
    NoConsent,
}

/// The first question, asked before any look-up (rule R7): may this actor act as such a subject at all?
pub(crate) fn may_ask(
    actor: &Actor,
    subject: &Subject,
    decision: Decision,
) -> Result<Grant, Denial> {
    match (subject, decision) {
        (Subject::User(id), _) if id == actor.id() => Err(Denial::Oneself),
        (_, Decision::Deny(reason)) => Err(Denial::Checker(reason)),
        (Subject::Service, _) if !actor.rights().contains(Rights::SERVICE) => {
            Err(Denial::ServiceRight)
        }
        (_, Decision::Allow(grant)) => Ok(grant),
    }
}

/// The second question: is the subject someone whom this actor may act as (rule S1)?
///
/// A directory that is lenient about ids (case, spaces) may answer with another one than was asked for: that
/// is not the subject, or one user would be several subjects.
pub(crate) fn may_act(
    actor: &Actor,
    id: &UserId,
    user: Option<&DirectoryUser>,
) -> Result<(), Denial> {
    let Some(user) = user.filter(|user| user.id() == id) else {
        return Err(Denial::UnknownSubject);
    };
    if user.rank() >= actor.rank() {
        return Err(Denial::Rank);
    }
    match user.not_impersonable() {
        Some(reason) => Err(Denial::NotImpersonable(reason.to_owned())),
        None => Ok(()),
    }
}

// === impl Denial ===

impl Denial {
    /// The rule by name, for the trail.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Checker(_) => "checker",
            Self::Oneself => "self",
            Self::ServiceRight => "service_right",
            Self::UnknownSubject => "unknown_subject",
            Self::Rank => "rank",
            Self::NotImpersonable(_) => "not_impersonable",
            Self::NoConsent => "no_consent",
        }
    }
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

// === impl PathPattern ===

impl PathPattern {
    /// `None` unless it starts with `/`, names at least one segment and is written in its plain form.
    ///
    /// Another router's wildcards (`{id}`, `:id`, `<id>`, `*rest`) are refused: taken literally they would
    /// match nothing, and a route that is to be protected would stand open without a word.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let rest = pattern.strip_prefix('/')?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let plain = |segment: &String| {
            !matches!(segment.as_str(), "" | "." | "..")
                && !segment.contains(['%', '\\', '?', '#', '{', '}', '<', '>'])
                && !segment.starts_with(':')
                && (segment == "*" || !segment.contains('*'))
        };
        segments.iter().all(plain).then_some(Self { segments })
    }

    /// The path is this one or below it.
    fn covers(&self, path: &[u8]) -> bool {
        self.rest(path).is_some()
    }

    /// The path is this one.
    fn is(&self, path: &[u8]) -> bool {
        self.rest(path).is_some_and(|rest| rest.is_empty())
    }

    fn rest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let mut rest = path;
        for segment in &self.segments {
            let tail = rest.strip_prefix(b"/")?;
            let end = memchr::memchr(b'/', tail).unwrap_or(tail.len());
            let (head, after) = tail.split_at(end);
            let fits = if segment == "*" {
                !head.is_empty()
            } else {
                segment.as_bytes() == head
            };
            if !fits {
                return None;
            }
            rest = after;
        }
        Some(rest)
    }
}

/// What a router, or a layer in front of it, may do to a path before it compares it (rule R11).
#[derive(Debug, Clone, Copy)]
struct Reading {
    decoding: Decoding,
    /// Takes `\` for `/`.
    backslash: bool,
    /// Drops empty segments.
    merge: bool,
    /// Resolves `.` and `..`.
    dots: bool,
}

/// Where percent sequences are decoded.
#[derive(Debug, Clone, Copy)]
enum Decoding {
    Nowhere,
    /// Segment by segment, so that `%2F` separates nothing.
    Segments,
    Path,
    /// By two parties, each in its way. Nobody decodes three times.
    PathThenSegments,
    PathTwice,
}

/// The longest path that is not plain and is still read in every way, in bytes. It is read before anyone
/// has signed in, so it must not cost much.
const LONGEST_ODD_PATH: usize = 2048;

/// The path in every way it may be read but the raw one: no other for a plain path, `None` for one that is
/// too long to try.
///
/// There is no one strictest reading: `//account/password/..` is `/account` for a router that resolves
/// dots, and below `/account/password` for one that only merges slashes.
fn readings(path: &str) -> Option<Vec<Vec<u8>>> {
    use Decoding::{Nowhere, Path, PathThenSegments, PathTwice, Segments};

    let bytes = path.as_bytes();
    let is_odd = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    let is_plain = memchr::memchr2(b'%', b'\\', bytes).is_none() && !bytes.windows(2).any(is_odd);
    if is_plain {
        return Some(Vec::new());
    }
    if bytes.len() > LONGEST_ODD_PATH {
        return None;
    }

    let (mut percent, mut again, mut backslash, mut empty, mut dot) = Default::default();
    for (at, byte) in bytes.iter().enumerate() {
        let rest = &bytes[at + 1..];
        match byte {
            b'%' => {
                percent = true;
                again |= rest.starts_with(b"25");
            }
            b'\\' => backslash = true,
            b'/' => {
                empty |= rest.starts_with(b"/");
                dot |= rest.starts_with(b".");
            }
            _ => {}
        }
    }
    // What is encoded, or stands behind a backslash, may be anything.
    backslash |= percent;
    empty |= backslash;
    dot |= backslash;
    let decodings: &[Decoding] = match (percent, again) {
        (false, _) => &[Nowhere],
        (true, false) => &[Nowhere, Segments, Path],
        (true, true) => &[Nowhere, Segments, Path, PathThenSegments, PathTwice],
    };
    let may = |it: bool| if it { &[false, true][..] } else { &[false] };
    let mut readings = Vec::new();
    for &decoding in decodings {
        for &backslash in may(backslash) {
            for &merge in may(empty) {
                for &dots in may(dot) {
                    let reading = Reading {
                        decoding,
                        backslash,
                        merge,
                        dots,
                    };
                    readings.push(reading.of(path));
                }
            }
        }
    }
    // The first changes nothing.
    readings.remove(0);
    Some(readings)
}

/// Never in UTF-8.
const NO_BYTE_OF_A_PATTERN: u8 = 0xff;

impl Reading {
    fn of(self, path: &str) -> Vec<u8> {
        let decode =
            |bytes: &[u8]| -> Vec<u8> { percent_encoding::percent_decode(bytes).collect() };
        let path = path.strip_prefix('/').unwrap_or(path).as_bytes();
        let path: Cow<'_, [u8]> = match self.decoding {
            Decoding::Nowhere | Decoding::Segments => path.into(),
            Decoding::Path | Decoding::PathThenSegments => decode(path).into(),
            Decoding::PathTwice => decode(&decode(path)).into(),
        };
        let decode_segments = matches!(
            self.decoding,
            Decoding::Segments | Decoding::PathThenSegments
        );
        let separates = |byte: &u8| *byte == b'/' || (self.backslash && *byte == b'\\');
        let mut segments: Vec<Cow<'_, [u8]>> = Vec::new();
        for segment in path.split(separates) {
            let segment: Cow<'_, [u8]> = if decode_segments {
                decode(segment).into()
            } else {
                segment.into()
            };
            match &*segment {
                b"" if self.merge => {}
                b"." if self.dots => {}
                b".." if self.dots => {
                    segments.pop();
                }
                _ => segments.push(segment),
            }
        }
        let mut read = Vec::with_capacity(path.len() + 1);
        for segment in segments {
            read.push(b'/');
            // A slash that was decoded within its segment separates nothing, so it must not look like one.
            let byte = |byte: &u8| {
                if *byte == b'/' {
                    NO_BYTE_OF_A_PATTERN
                } else {
                    *byte
                }
            };
            read.extend(segment.iter().map(byte));
        }
        if read.is_empty() {
            read.push(b'/');
        }
        read
    }
}

/// The lesser of what was asked for and what is granted (rule S1).
pub(crate) fn narrow(asked: Access, grant: &Grant) -> Access {
    asked.min(grant.access())
}

#[cfg(test)]
mod tests;
