//! The words that stand in rows, as the types of the core. Each word is read in one place.

use std::{collections::HashSet, net::IpAddr, str::FromStr, sync::Mutex};

use serde::{Deserialize, de::IntoDeserializer};
use tower_impersonation::{
    Access,
    audit::{EventName, Outcome},
    session::{EndedReason, SubjectKind},
};

/// A column holds what no version of this crate has written.
#[derive(Debug, thiserror::Error)]
#[error("the column `{column}` holds {value:?}")]
pub(crate) struct BadColumn {
    column: &'static str,
    value: String,
}

/// The names of events that this version knows.
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

// === impl BadColumn ===

impl BadColumn {
    fn new(column: &'static str, value: &str) -> Self {
        Self {
            column,
            value: value.to_owned(),
        }
    }

    fn decode(self) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(self))
    }
}

/// A column whose text its type reads.
pub(crate) fn parsed<T: FromStr>(column: &'static str, text: &str) -> Result<T, sqlx::Error> {
    text.parse()
        .map_err(|_| BadColumn::new(column, text).decode())
}

pub(crate) fn access(text: &str) -> Result<Access, sqlx::Error> {
    named("access", text)
}

pub(crate) fn ended_reason(text: &str) -> Result<EndedReason, sqlx::Error> {
    named("ended_reason", text)
}

pub(crate) fn event_name(text: &str) -> Result<EventName, sqlx::Error> {
    let known = NAMES.into_iter().find(|name| name.as_str() == text);
    known.ok_or_else(|| BadColumn::new("name", text).decode())
}

/// A name that may stand in the text of a query, because it is one of ours.
pub(crate) fn own_name(name: EventName) -> Option<&'static str> {
    let known = NAMES.into_iter().find(|known| *known == name);
    known.map(EventName::as_str)
}

pub(crate) fn outcome(text: &str) -> Result<Outcome, sqlx::Error> {
    let known = OUTCOMES.into_iter().find(|name| name.as_str() == text);
    known.ok_or_else(|| BadColumn::new("outcome", text).decode())
}

pub(crate) fn address(text: &str) -> Result<IpAddr, sqlx::Error> {
    parsed("address", text)
}

/// A rule's name, of which there are few, as the static text that an event has. Kept forever, so no more
/// of them than any version of this crate could have.
pub(crate) fn rule(text: &str) -> &'static str {
    const MOST: usize = 1_000;
    static RULES: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

    let mut rules = RULES
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let rules = rules.get_or_insert_default();
    match rules.get(text) {
        Some(rule) => rule,
        None if rules.len() >= MOST => "other",
        None => {
            let rule: &'static str = Box::leak(text.into());
            rules.insert(rule);
            rule
        }
    }
}

/// The kind of a subject, as its column holds it.
pub(crate) fn kind(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Anon => "anon",
        SubjectKind::Service => "service",
        _ => "user",
    }
}

fn named<'de, T: Deserialize<'de>>(column: &'static str, text: &'de str) -> Result<T, sqlx::Error> {
    let name: serde::de::value::StrDeserializer<'de, serde::de::value::Error> =
        text.into_deserializer();
    T::deserialize(name).map_err(|_| BadColumn::new(column, text).decode())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a6_every_name_that_is_written_can_be_read() {
        for name in NAMES {
            assert_eq!(event_name(name.as_str()).unwrap(), name);
            assert_eq!(own_name(name), Some(name.as_str()));
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
