//! What columns hold, as the types of the core.

use std::{collections::HashSet, net::IpAddr, str::FromStr, sync::Mutex, time::Duration};

use serde::{Deserialize, de::IntoDeserializer};
use time::OffsetDateTime;
use tower_impersonation::{
    Access,
    audit::{EventName, Outcome},
    session::{EndedReason, Session, SubjectKind},
};

/// The columns of a session, in the text of a query.
macro_rules! session_columns {
    () => {
        "id, actor, actor_rank, subject, role, access, reason, ticket, started_at, expires_at, idle_us, \
         last_seen_at, ended_at, ended_reason, address, user_agent"
    };
}

pub(crate) use session_columns;

/// A column holds what no version of this crate has written.
#[derive(Debug, thiserror::Error)]
#[error("the column `{column}` holds {value:?}")]
pub(crate) struct BadColumn {
    column: &'static str,
    value: String,
}

/// Idle limits above this are none: they could not be added to a time.
const MAX_IDLE: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);

const NAMES: [EventName; 8] = [
    EventName::Start,
    EventName::End,
    EventName::Request,
    EventName::Denied,
    EventName::AccessRaised,
    EventName::Extended,
    EventName::PrivilegeViolation,
    EventName::TrailRead,
];

const OUTCOMES: [Outcome; 6] = [
    Outcome::Intent,
    Outcome::Completed,
    Outcome::Failed,
    Outcome::Cancelled,
    Outcome::Refused,
    Outcome::Unknown,
];

impl BadColumn {
    fn new(column: &'static str, value: &str) -> Self {
        Self {
            column,
            value: value.to_owned(),
        }
    }

    pub(crate) fn decode(self) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(self))
    }
}

pub(crate) fn parsed<T: FromStr>(column: &'static str, text: &str) -> Result<T, sqlx::Error> {
    text.parse()
        .map_err(|_| BadColumn::new(column, text).decode())
}

pub(crate) fn access(text: &str) -> Result<Access, sqlx::Error> {
    named("access", text)
}

pub(crate) fn ended_reason(text: &str) -> Result<EndedReason, sqlx::Error> {
    Ok(EndedReason::read(text))
}

pub(crate) fn address(text: Option<String>) -> Result<Option<IpAddr>, sqlx::Error> {
    text.map(|text| parsed("address", &text)).transpose()
}

pub(crate) fn event_name(text: &str) -> Result<EventName, sqlx::Error> {
    Ok(EventName::read(text))
}

pub(crate) fn outcome(text: &str) -> Result<Outcome, sqlx::Error> {
    Ok(Outcome::read(text))
}

fn named<'de, T: Deserialize<'de>>(column: &'static str, text: &'de str) -> Result<T, sqlx::Error> {
    let name: serde::de::value::StrDeserializer<'de, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(name).map_err(|_| BadColumn::new(column, text).decode())
}

pub(crate) fn kind(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Anon => "anon",
        SubjectKind::Service => "service",
        _ => "user",
    }
}

/// To the microsecond, which is what the columns hold: rounded down, so that what is over stays over.
pub(crate) fn to_micros(at: OffsetDateTime) -> OffsetDateTime {
    let nanos = at.nanosecond();
    at.replace_nanosecond(nanos - nanos % 1_000).unwrap_or(at)
}

/// A session as it is stored.
pub(crate) fn stored(mut session: Session) -> Session {
    session.started_at = to_micros(session.started_at);
    session.expires_at = to_micros(session.expires_at);
    session.last_seen_at = to_micros(session.last_seen_at);
    session.ended_at = session.ended_at.map(to_micros);
    session
}

/// The idle limit in microseconds.
pub(crate) fn idle_us(session: &Session) -> Option<i64> {
    let idle = session.idle_timeout;
    (idle <= MAX_IDLE)
        .then(|| i64::try_from(idle.as_micros()).ok())
        .flatten()
}

pub(crate) fn idle_timeout(idle_us: Option<i64>) -> Duration {
    let idle = idle_us.and_then(|us| u64::try_from(us).ok());
    idle.map_or(Duration::MAX, Duration::from_micros)
}

/// When the session is over by itself.
pub(crate) fn due_at(session: &Session) -> OffsetDateTime {
    let idle = idle_us(session).map(time::Duration::microseconds);
    let idle_at = idle.and_then(|idle| session.last_seen_at.checked_add(idle));
    idle_at.map_or(session.expires_at, |at| at.min(session.expires_at))
}

/// A number of rows as a database counts.
pub(crate) fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a6_every_name_that_is_written_can_be_read() {
        for name in NAMES {
            assert_eq!(event_name(name.as_str()).unwrap(), name);
        }
        for name in OUTCOMES {
            assert_eq!(outcome(name.as_str()).unwrap(), name);
        }
        for reason in [
            EndedReason::Manual,
            EndedReason::Timeout,
            EndedReason::Idle,
            EndedReason::AdminLogout,
            EndedReason::SessionRevoked,
            EndedReason::ActorDemoted,
            EndedReason::SubjectGone,
            EndedReason::Replaced,
            EndedReason::MarkerRemoved,
        ] {
            assert_eq!(ended_reason(reason.as_str()).unwrap(), reason);
        }
        assert!(event_name("no such event").is_err());
        assert!(access("admin").is_err());
    }

    #[test]
    fn a3_a_rules_name_is_kept_once() {
        let read_again = String::from("some_rule");
        let (one, other) = (rule("some_rule"), rule(&read_again));
        assert!(std::ptr::eq(one, other));
    }
}
