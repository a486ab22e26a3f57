//! One field of an [`AuditEvent`], as sinks and readers see it: a name, a kind, a value.

use std::{borrow::Cow, fmt, net::IpAddr};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{
    event::{AuditEvent, EventName, Outcome},
    identity::{Access, Subject, UserId},
    session::SessionId,
};

/// A field of every [`AuditEvent`]: its key in JSON, its column in CSV and SQL.
#[derive(Clone, Copy)]
pub struct Field {
    pub(super) name: &'static str,
    pub(super) kind: FieldKind,
    pub(super) get: for<'e> fn(&'e AuditEvent) -> Option<FieldValue<'e>>,
    pub(super) set: fn(&mut AuditEvent, FieldValue<'_>) -> Option<()>,
}

/// What kind of value a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldKind {
    /// UTF-8 text.
    Text,
    /// A number that is not negative.
    Integer,
    /// A time in UTC.
    Time,
    /// A UUID.
    Uuid,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FieldValue<'e> {
    /// UTF-8 text.
    Text(Cow<'e, str>),
    /// A number that is not negative.
    Integer(i64),
    /// A time in UTC.
    Time(OffsetDateTime),
    /// A UUID.
    Uuid(Uuid),
}

/// A value that a field of an event cannot have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no value for {}", self.field.unwrap_or("any field of an event"))]
pub struct InvalidValue {
    pub(super) field: Option<&'static str>,
}

/// What can stand in a field.
pub(super) trait Stored: Sized {
    const KIND: FieldKind;

    fn to_value(&self) -> FieldValue<'_>;

    fn from_value(value: FieldValue<'_>) -> Option<Self>;
}

// === impl Field ===

impl Field {
    /// Its name: lower case ASCII with `_`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What kind of value it has.
    #[must_use]
    pub const fn kind(&self) -> FieldKind {
        self.kind
    }

    /// The field's value in `event`, if it has one there.
    #[must_use]
    pub fn get<'e>(&self, event: &'e AuditEvent) -> Option<FieldValue<'e>> {
        (self.get)(event)
    }

    /// Sets the field in `event`.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] when the field cannot have this value. The event is unchanged then.
    pub fn set(&self, event: &mut AuditEvent, value: FieldValue<'_>) -> Result<(), InvalidValue> {
        let field = Some(self.name);
        (self.set)(event, value).ok_or(InvalidValue { field })
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

// === impl FieldValue ===

impl From<&'static str> for FieldValue<'_> {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl fmt::Display for FieldValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Integer(number) => number.fmt(f),
            Self::Uuid(id) => id.fmt(f),
            Self::Time(time) => f.write_str(&super::event::rfc3339(time)),
        }
    }
}

// === impl Stored ===

impl Stored for Uuid {
    const KIND: FieldKind = FieldKind::Uuid;

    fn to_value(&self) -> FieldValue<'_> {
        FieldValue::Uuid(*self)
    }

    fn from_value(value: FieldValue<'_>) -> Option<Self> {
        match value {
            FieldValue::Uuid(id) => Some(id),
            FieldValue::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

impl Stored for SessionId {
    const KIND: FieldKind = FieldKind::Uuid;

    fn to_value(&self) -> FieldValue<'_> {
        self.0.to_value()
    }

    fn from_value(value: FieldValue<'_>) -> Option<Self> {
        Uuid::from_value(value).map(Self)
    }
}

impl Stored for OffsetDateTime {
    const KIND: FieldKind = FieldKind::Time;

    fn to_value(&self) -> FieldValue<'_> {
        FieldValue::Time(*self)
    }

    fn from_value(value: FieldValue<'_>) -> Option<Self> {
        match value {
            FieldValue::Time(time) => Some(time),
            _ => None,
        }
    }
}

/// What is written as text, and read by `$read` from a `&str`.
macro_rules! stored_as_text {
    ($($type:ty: $write:expr, $read:expr;)*) => {
        $(impl Stored for $type {
            const KIND: FieldKind = FieldKind::Text;

            fn to_value(&self) -> FieldValue<'_> {
                let write: for<'v> fn(&'v $type) -> Cow<'v, str> = $write;
                FieldValue::Text(write(self))
            }

            fn from_value(value: FieldValue<'_>) -> Option<Self> {
                let read: fn(&str) -> Option<Self> = $read;
                match value {
                    FieldValue::Text(text) => read(&text),
                    _ => None,
                }
            }
        })*
    };
}

stored_as_text! {
    String: |text| text.as_str().into(), |text| Some(text.to_owned());
    Cow<'static, str>: |text| Cow::Borrowed(&**text), |text| Some(text.to_owned().into());
    UserId: |id| id.as_str().into(), |text| text.parse().ok();
    Subject: |subject| subject.as_str().into(), |text| text.parse().ok();
    EventName: |name| name.as_str().into(), |text| Some(EventName::read(text));
    Outcome: |outcome| outcome.as_str().into(), |text| Some(Outcome::read(text));
    Access: |access| access.as_str().into(), Access::known;
    IpAddr: |address| address.to_string().into(), |text| text.parse().ok();
}

macro_rules! stored_as_integer {
    ($($type:ty)*) => {
        $(impl Stored for $type {
            const KIND: FieldKind = FieldKind::Integer;

            fn to_value(&self) -> FieldValue<'_> {
                FieldValue::Integer(i64::try_from(*self).unwrap_or(i64::MAX))
            }

            fn from_value(value: FieldValue<'_>) -> Option<Self> {
                match value {
                    FieldValue::Integer(number) => Self::try_from(number).ok(),
                    _ => None,
                }
            }
        })*
    };
}

stored_as_integer! { u16 u64 }

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;

    /// An event in which every field has a value.
    fn full() -> AuditEvent {
        let mut event = AuditEvent::new(
            Uuid::nil(),
            datetime!(2026-11-20 12:00 UTC),
            EventName::Start,
        );
        for (number, field) in AuditEvent::FIELDS.iter().enumerate() {
            let value = match (field.name(), field.kind()) {
                ("address", _) => "10.0.0.7".into(),
                ("access", _) => "read_write".into(),
                (_, FieldKind::Text) => FieldValue::Text(format!("text {number}").into()),
                (_, FieldKind::Integer) => FieldValue::Integer(number as i64),
                (_, FieldKind::Time) => FieldValue::Time(datetime!(2026-11-20 12:01 UTC)),
                (_, FieldKind::Uuid) => FieldValue::Uuid(Uuid::from_u128(number as u128)),
            };
            field.set(&mut event, value).unwrap();
        }
        event
    }

    #[test]
    fn a6_what_is_got_from_a_field_can_be_set_again_and_is_in_the_json() {
        let event = full();
        let mut copy = AuditEvent::new(Uuid::max(), datetime!(2020-01-01 0:00 UTC), EventName::End);
        let json: serde_json::Value = serde_json::from_str(&event.to_json_line()).unwrap();
        for field in AuditEvent::FIELDS {
            let value = field.get(&event).unwrap();
            assert!(!json[field.name()].is_null(), "{}", field.name());
            copy.set(field.name(), value).unwrap();
        }
        assert_eq!(copy, event);
        let keys = json.as_object().unwrap().len();
        assert_eq!(keys, AuditEvent::FIELDS.len());
    }

    #[test]
    fn a6_words_of_a_newer_release_are_read_and_written_as_they_are() {
        let event = full();
        assert!(matches!(event.name, EventName::Other(_)));
        assert!(matches!(event.outcome, Some(Outcome::Other(_))));
        let json = event.to_json_line();
        assert!(json.contains("\"name\":\"text 2\""), "{json}");
    }

    #[test]
    fn a_value_of_another_kind_is_refused_and_changes_nothing() {
        let event = full();
        let mut copy = event.clone();
        for (field, value) in [
            ("id", FieldValue::Integer(1)),
            ("time", "now".into()),
            ("status", FieldValue::Integer(-1)),
            ("status", FieldValue::Integer(70_000)),
            ("access", "everything".into()),
            ("address", "here".into()),
            ("actor", "".into()),
            ("no_such_field", "x".into()),
        ] {
            assert!(copy.set(field, value).is_err(), "{field}");
        }
        assert_eq!(copy, event);
    }
}
