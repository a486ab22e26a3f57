//! The rules, as functions without side effects: what a route allows, and who may act as whom.
//!
//! Every entry point asks the same two questions in the same order (the layer, the handle, the HTTP API):
//! [`may_ask`] before anything is looked up, [`may_act`] once the directory has answered.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method};

use crate::{
    checker::{Decision, Grant},
    directory::DirectoryUser,
    identity::{Access, Actor, Rights, Subject},
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
pub(crate) fn may_act(actor: &Actor, user: Option<&DirectoryUser>) -> Result<(), Denial> {
    let Some(user) = user else {
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
        let folded = fold(path);
        let both =
            |pattern: &PathPattern| pattern.covers(path.as_bytes()) && pattern.covers(&folded);
        let either =
            |pattern: &PathPattern| pattern.covers(path.as_bytes()) || pattern.covers(&folded);
        if self.excluded.iter().any(both) {
            return Route::Excluded;
        }
        if self.protected.iter().any(either) {
            return Route::Protected;
        }
        if METHOD_OVERRIDES
            .iter()
            .any(|name| headers.contains_key(name))
        {
            return Route::Write;
        }
        let listed = |(listed, pattern): &(Method, PathPattern)| {
            listed == method && pattern.is(path.as_bytes())
        };
        // Not `Method::is_safe`: that lets TRACE through, which some servers answer with the credentials.
        if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
            || self.reads.iter().any(listed)
        {
            return Route::Read;
        }
        Route::Write
    }
}

// === impl PathPattern ===

impl PathPattern {
    /// `None` unless it starts with `/`, names at least one segment and is written in its plain form.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let rest = pattern.strip_prefix('/')?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let plain = |segment: &String| {
            !matches!(segment.as_str(), "" | "." | "..") && !segment.contains(['%', '\\', '?', '#'])
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

/// The path as a lenient router may read it: percent-decoded, `\` taken for `/`, empty and dot segments
/// folded, no slash at the end (rule R11).
fn fold(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    let plain = bytes
        .windows(2)
        .all(|pair| !matches!(pair, [b'/', b'/' | b'.'] | [b'%' | b'\\', _] | [_, b'\\']))
        && (bytes.len() < 2 || !bytes.ends_with(b"/"));
    if plain {
        return Cow::Borrowed(bytes);
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(bytes).collect();
    let mut segments: Vec<&[u8]> = Vec::new();
    for segment in decoded.split(|byte| matches!(byte, b'/' | b'\\')) {
        match segment {
            b"" | b"." => {}
            b".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut folded = Vec::with_capacity(decoded.len());
    for segment in segments {
        folded.push(b'/');
        folded.extend_from_slice(segment);
    }
    if folded.is_empty() {
        folded.push(b'/');
    }
    Cow::Owned(folded)
}

/// The lesser of what was asked for and what is granted (rule S1).
pub(crate) fn narrow(asked: Access, grant: &Grant) -> Access {
    asked.min(grant.access())
}

#[cfg(test)]
mod tests;
