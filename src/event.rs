//! What the trail holds: [`AuditEvent`]. Above the sessions, because a store may write the event of a start with it.

use std::{
    fmt,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use uuid::{ContextV7, Timestamp, Uuid};

use crate::identity::{Access, SessionId, Subject, UserId};

/// The longest path or route that is stored, in bytes.
pub(crate) const MAX_PATH: usize = 512;
/// The longest user agent or request id that is stored, in bytes.
pub(crate) const MAX_HEADER: usize = 256;

/// One thing that happened (rule A6).
///
/// Two events of the same request share an `id`: an unsafe request is written as an *intent* before the
/// handler runs and as an outcome afterwards. A sink that is called again with events it already has can
/// tell them by `id` and by whether `outcome` is [`Outcome::Intent`].
///
/// As JSON it has the keys `id time name actor subject session reason access method path route status
/// outcome rule count address user_agent request_id`, those without a value left out. Query strings,
/// tokens and cookies are never in it.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AuditEvent {
    /// A UUID v7.
    pub id: Uuid,
    /// When, in UTC.
    #[serde(serialize_with = "utc")]
    pub time: OffsetDateTime,
    /// What.
    pub name: EventName,
    /// Who was really there; absent when nobody was signed in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// As whom, or whom a refused attempt asked for (rule A3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// In which session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Why: the actor's words; for an end, the reason of the end; for a refusal, what was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// With which access.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The request's method.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The request's path, cut at 512 bytes, without the query. Absent when a folded event stands for
    /// several paths of one route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The route that the path belongs to, where the host tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The response's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// How the request went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The rule that refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<&'static str>,
    /// How many requests this event stands for, when it is a folded one (rule A4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Where the request came from (rule R18).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// The `User-Agent`, cut at 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// The `X-Request-Id`, cut at 256 bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The name of an event. Names are stable (rule A7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventName {
    /// `impersonation.start`: a session is about to exist.
    Start,
    /// `impersonation.end`: it is over.
    End,
    /// `impersonation.request`: an acted request, or several folded ones.
    Request,
    /// `impersonation.denied`: an attempt that was refused.
    Denied,
    /// `impersonation.access_raised`: from read-only to read-write.
    AccessRaised,
    /// `impersonation.extended`: the end was moved.
    Extended,
    /// `privilege_violation`: someone who is no admin tried.
    PrivilegeViolation,
    /// `trail.read`: someone read or exported the trail.
    TrailRead,
}

/// How an acted request went (rule A2). One without an outcome, an intent alone, is unknown and never a
/// success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// The handler is about to run.
    Intent,
    /// The handler answered; `status` says what.
    Completed,
    /// The handler panicked or its service failed.
    Failed,
    /// The client went away before the answer.
    Cancelled,
    /// The handler did not run: the intent could not be written in time, or the session ended meanwhile.
    Refused,
    /// Nobody knows: the process that wrote the intent is gone. Written by a trail that looks for such.
    Unknown,
}

/// Makes ids that sort by time.
#[derive(Debug)]
pub(crate) struct Ids(Mutex<Made>);

#[derive(Debug)]
struct Made {
    context: ContextV7,
    /// The latest time that an id was made of.
    latest: OffsetDateTime,
}

// === impl AuditEvent ===

impl AuditEvent {
    /// An event with nothing but its id, time and name.
    #[must_use]
    pub fn new(id: Uuid, time: OffsetDateTime, name: EventName) -> Self {
        Self {
            id,
            time,
            name,
            actor: None,
            subject: None,
            session: None,
            reason: None,
            access: None,
            method: None,
            path: None,
            route: None,
            status: None,
            outcome: None,
            rule: None,
            count: None,
            address: None,
            user_agent: None,
            request_id: None,
        }
    }

    /// What tells this event from every other: its id, and whether it is an intent.
    #[must_use]
    pub fn key(&self) -> (Uuid, bool) {
        (self.id, self.outcome == Some(Outcome::Intent))
    }

    /// The event as one line of JSON, without a line break (rule A6).
    ///
    /// Control characters of every kind are escaped, those that JSON itself would let through as well.
    #[must_use]
    pub fn to_json_line(&self) -> String {
        let mut line = Vec::with_capacity(512);
        let mut serializer = serde_json::Serializer::with_formatter(&mut line, OneLine);
        // Writing text and numbers into memory cannot fail.
        if self.serialize(&mut serializer).is_err() {
            line.clear();
        }
        String::from_utf8(line).unwrap_or_default()
    }
}

impl fmt::Debug for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json_line())
    }
}

/// In UTC whatever the clock's offset is. RFC 3339 knows the years 0 to 9999; others are written all the same.
fn utc<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    let time = time.checked_to_offset(UtcOffset::UTC).unwrap_or(*time);
    match time.format(&Rfc3339) {
        Ok(text) => serializer.serialize_str(&text),
        Err(_) => serializer.collect_str(&time),
    }
}

/// Escapes what a viewer might take for a line break or a control: DEL, C1, U+2028, U+2029 and the marks
/// that turn the direction of text.
struct OneLine;

impl serde_json::ser::Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + std::io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> std::io::Result<()> {
        let mut written = 0;
        for (at, c) in fragment.char_indices() {
            if c.is_control()
                || matches!(
                    c,
                    '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
                )
            {
                writer.write_all(&fragment.as_bytes()[written..at])?;
                write!(writer, "\\u{:04x}", u32::from(c))?;
                written = at + c.len_utf8();
            }
        }
        writer.write_all(&fragment.as_bytes()[written..])
    }
}

// === impl EventName ===

impl EventName {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "impersonation.start",
            Self::End => "impersonation.end",
            Self::Request => "impersonation.request",
            Self::Denied => "impersonation.denied",
            Self::AccessRaised => "impersonation.access_raised",
            Self::Extended => "impersonation.extended",
            Self::PrivilegeViolation => "privilege_violation",
            Self::TrailRead => "trail.read",
        }
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for EventName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

// === impl Outcome ===

impl Outcome {
    /// The outcome as it is written in the trail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Ids ===

impl Default for Ids {
    fn default() -> Self {
        Self(Mutex::new(Made {
            context: ContextV7::new(),
            latest: OffsetDateTime::UNIX_EPOCH,
        }))
    }
}

impl Ids {
    /// A new id of this time; ids that are made later sort after it, also those of the same millisecond
    /// and of an earlier time.
    pub(crate) fn next(&self, at: OffsetDateTime) -> Uuid {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The context does not keep the order when it sees an earlier second with a later fraction.
        made.latest = made.latest.max(at);
        let seconds = u64::try_from(made.latest.unix_timestamp()).unwrap_or(0);
        let nanos = made.latest.nanosecond();
        Uuid::new_v7(Timestamp::from_unix(&made.context, seconds, nanos))
    }
}

/// A path, as much of it as is stored.
pub(crate) fn cut_path(path: &str) -> &str {
    cut(path, MAX_PATH)
}

/// A header's value, as much of it as is stored.
pub(crate) fn cut_header(value: &http::HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    cut(&text, MAX_HEADER).to_owned()
}

fn cut(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
