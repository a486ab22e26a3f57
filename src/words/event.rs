//! [`AuditEvent`], what the trail holds, and the one table of its fields (rule [A6](crate::rules#a6)).

use std::{borrow::Cow, fmt, net::IpAddr};

use serde::{Serialize, Serializer};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use uuid::Uuid;

use super::{
    field::{Field, FieldValue, InvalidValue, Stored},
    identity::{Access, Subject, UserId},
    open::open_words,
    reason::MAX_REASON,
    session::SessionId,
};

/// The longest path or route that is stored, in bytes.
pub(crate) const MAX_PATH: usize = 512;
/// The longest user agent or request id that is stored, in bytes.
pub(crate) const MAX_HEADER: usize = 256;
/// The longest method and the longest name of a rule that are stored, in bytes.
const MAX_WORD: usize = 64;

/// Writes down each field once. Everything else that knows fields (the struct, JSON, CSV, SQL, the readers) is made of
/// this table; its order is theirs.
macro_rules! event_fields {
    (
        $(#[$struct_doc:meta])*
        always { $($(#[$always_doc:meta])* $always:ident: $always_type:ty,)* }
        maybe { $($(#[$doc:meta])* $field:ident: $type:ty,)* }
    ) => {
        $(#[$struct_doc])*
        #[derive(Clone, PartialEq, Eq, Serialize)]
        #[non_exhaustive]
        pub struct AuditEvent {
            $($(#[$always_doc])* pub $always: $always_type,)*
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }

        impl AuditEvent {
            /// Every field, in the order of JSON, CSV and SQL.
            ///
            /// ```
            /// use tower_impersonation::audit::AuditEvent;
            ///
            /// let columns: Vec<&str> = AuditEvent::FIELDS.iter().map(|field| field.name()).collect();
            /// assert_eq!(columns[..4], ["id", "time", "name", "actor"]);
            /// ```
            pub const FIELDS: &'static [Field] = &[
                $(Field {
                    name: stringify!($always),
                    kind: <$always_type as Stored>::KIND,
                    get: |event| Some(event.$always.to_value()),
                    set: |event, value| {
                        event.$always = <$always_type>::from_value(value)?;
                        Some(())
                    },
                },)*
                $(Field {
                    name: stringify!($field),
                    kind: <$type as Stored>::KIND,
                    get: |event| event.$field.as_ref().map(Stored::to_value),
                    set: |event, value| {
                        event.$field = Some(<$type>::from_value(value)?);
                        Some(())
                    },
                },)*
            ];

            /// An event with nothing but its id, time and name.
            #[must_use]
            pub fn new(id: Uuid, time: OffsetDateTime, name: EventName) -> Self {
                Self { id, time, name, $($field: None,)* }
            }

            /// Clears every optional field in which `other` differs: what is left is true of both.
            pub(crate) fn keep_common(&mut self, other: &Self) {
                $(if self.$field != other.$field {
                    self.$field = None;
                })*
            }
        }
    };
}

event_fields! {
    /// One thing that happened (rule [A6](crate::rules#a6)).
    ///
    /// Two events of the same request share an `id`: an unsafe request is written as an *intent* before the
    /// handler runs and as an outcome afterwards. A sink that is called again with events it already has can
    /// tell them by [`key`](Self::key).
    ///
    /// As JSON it has the keys `id time name actor subject session reason access method path route status
    /// outcome rule count address user_agent request_id by`; those without a value are left out. It never holds a
    /// query string, a token or a cookie. [`FIELDS`](Self::FIELDS) is the table that sinks and readers are made of.
    always {
        /// A UUID v7.
        id: Uuid,
        /// When, in UTC.
        #[serde(serialize_with = "utc")]
        time: OffsetDateTime,
        /// What.
        name: EventName,
    }
    maybe {
        /// Who was really there; absent when nobody was signed in. For an end, the session's actor, whoever ended it.
        actor: UserId,
        /// As whom, or whom a refused attempt asked for (rule [A3](crate::rules#a3)).
        subject: Subject,
        /// In which session.
        session: SessionId,
        /// Why: the actor's words; for an end, the reason of the end; for a refusal, what was wrong.
        reason: String,
        /// With which access.
        access: Access,
        /// The request's method.
        method: String,
        /// The request's path, cut at 512 bytes, without the query. Absent when a folded event stands for
        /// several paths of one route.
        path: String,
        /// The route that the path belongs to, where the host tells.
        route: String,
        /// The response's status.
        status: u16,
        /// How the request went.
        outcome: Outcome,
        /// The rule that refused.
        rule: Cow<'static, str>,
        /// How many requests this event stands for, when it is a folded one (rule [A4](crate::rules#a4)).
        count: u64,
        /// Where the request came from (rule [R18](crate::rules#r18)).
        address: IpAddr,
        /// The `User-Agent`, cut at 256 bytes.
        user_agent: String,
        /// The `X-Request-Id`, cut at 256 bytes.
        request_id: String,
        /// Who ended or changed the session, when that is not its actor.
        by: UserId,
    }
}

open_words! {
    /// The name of an event. Names are stable (rule [A7](crate::rules#a7)).
    pub enum EventName {
        /// A session is about to exist.
        Start = "impersonation.start",
        /// A session is over.
        End = "impersonation.end",
        /// An acted request, or several folded ones.
        Request = "impersonation.request",
        /// An attempt that was refused.
        Denied = "impersonation.denied",
        /// From read-only to read-write.
        AccessRaised = "impersonation.access_raised",
        /// From read-write to read-only.
        AccessLowered = "impersonation.access_lowered",
        /// The end was moved to a later time.
        Extended = "impersonation.extended",
        /// The end was moved to an earlier time.
        Shortened = "impersonation.shortened",
        /// Someone who is no admin tried.
        PrivilegeViolation = "privilege_violation",
        /// Someone read or exported the trail.
        TrailRead = "trail.read",
    }
}

open_words! {
    /// How an acted request went (rule [A2](crate::rules#a2)). One without an outcome, an intent alone, is unknown and
    /// never a success.
    pub enum Outcome {
        /// The handler is about to run.
        Intent = "intent",
        /// The handler answered; `status` says what.
        Completed = "completed",
        /// The handler panicked or its service failed.
        Failed = "failed",
        /// The client went away before the answer.
        Cancelled = "cancelled",
        /// The handler did not run: the intent could not be written in time, or the session ended meanwhile.
        Refused = "refused",
        /// Nobody knows: the process that wrote the intent is gone. Written by a trail that looks for such.
        Unknown = "unknown",
    }
}

// === impl AuditEvent ===

impl AuditEvent {
    /// What tells this event from every other: its id, and whether it is an intent.
    #[must_use]
    pub fn key(&self) -> (Uuid, bool) {
        (self.id, self.outcome == Some(Outcome::Intent))
    }

    /// Sets a field by its name, for readers of rows and lines.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] when there is no such field, or the value is none of its kind.
    pub fn set(&mut self, field: &str, value: FieldValue<'_>) -> Result<(), InvalidValue> {
        let found = Self::FIELDS.iter().find(|known| known.name == field);
        let found = found.ok_or(InvalidValue { field: None })?;
        found.set(self, value)
    }

    /// Cuts every text to its bound, so that no caller decides how large an event is (rule [A4](crate::rules#a4)).
    pub(crate) fn cut(&mut self) {
        // Every field is named, so that a new text cannot be forgotten. Ids have bounds of their own.
        let Self {
            id: _,
            time: _,
            name: _,
            actor: _,
            subject: _,
            session: _,
            reason,
            access: _,
            method,
            path,
            route,
            status: _,
            outcome: _,
            rule,
            count: _,
            address: _,
            user_agent,
            request_id,
            by: _,
        } = self;
        let texts = [
            (method, MAX_WORD),
            (path, MAX_PATH),
            (route, MAX_PATH),
            (user_agent, MAX_HEADER),
            (request_id, MAX_HEADER),
        ];
        for (text, most) in texts {
            if let Some(text) = text.as_mut().filter(|text| text.len() > most) {
                *text = cut(text, most).to_owned();
            }
        }
        if let Some(rule) = rule.as_mut().filter(|rule| rule.len() > MAX_WORD) {
            *rule = cut(rule, MAX_WORD).to_owned().into();
        }
        // A reason is measured in characters (rule S1), which are never more than its bytes.
        if let Some(reason) = reason.as_mut().filter(|reason| reason.len() > MAX_REASON)
            && let Some((end, _)) = reason.char_indices().nth(MAX_REASON)
        {
            *reason = reason[..end].to_owned();
        }
    }

    /// The event as one line of JSON, without a line break (rule [A6](crate::rules#a6)).
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
pub(super) fn rfc3339(time: &OffsetDateTime) -> String {
    let time = time.checked_to_offset(UtcOffset::UTC).unwrap_or(*time);
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

fn utc<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(time))
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
