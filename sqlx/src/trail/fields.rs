//! The columns of the trail, made of the core's own table of fields ([`AuditEvent::FIELDS`]): a field that is added
//! there is a column here, once the tables have it.

use std::{borrow::Cow, sync::LazyLock};

use tower_impersonation::audit::{AuditEvent, EventName, Field, FieldKind, FieldValue};

use crate::{
    columns::{Columns, there},
    statement::Value,
};

/// One column of the trail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// A field of the event.
    Field(&'static Field),
    /// Whether the event is an intent: with `id`, what tells it from every other.
    IsIntent,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Number,
    Id,
    Time,
    Flag,
}

/// All columns but `seq`, which the database gives, and `process`, which says who wrote it.
pub(crate) fn all() -> impl Iterator<Item = Column> {
    let fields = AuditEvent::FIELDS.iter().map(Column::Field);
    fields.chain([Column::IsIntent])
}

// === impl Column ===

impl Column {
    /// Its name, which is none of SQL's words only in quotes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Field(field) => field.name(),
            Self::IsIntent => "is_intent",
        }
    }

    /// PostgreSQL has to be told.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(dead_code, reason = "SQLite asks for none")
    )]
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::IsIntent => Kind::Flag,
            Self::Field(field) => match field.kind() {
                FieldKind::Integer => Kind::Number,
                FieldKind::Time => Kind::Time,
                FieldKind::Uuid => Kind::Id,
                // Text, and what a newer core may have that is none of these.
                _ => Kind::Text,
            },
        }
    }

    /// What an event has there.
    pub(crate) fn write(self, event: &AuditEvent) -> Value<'_> {
        let field = match self {
            Self::IsIntent => return Value::Flag(event.key().1),
            Self::Field(field) => field,
        };
        let value = field.get(event);
        match field.kind() {
            FieldKind::Integer => Value::Number(value.and_then(|value| match value {
                FieldValue::Integer(number) => Some(number),
                _ => None,
            })),
            FieldKind::Time => Value::Time(value.and_then(|value| match value {
                FieldValue::Time(time) => Some(time),
                _ => None,
            })),
            FieldKind::Uuid => Value::Id(value.and_then(|value| match value {
                FieldValue::Uuid(id) => Some(id),
                _ => None,
            })),
            _ => Value::Text(value.map(|value| match value {
                FieldValue::Text(text) => text,
                other => other.to_string().into(),
            })),
        }
    }
}

/// The names of all columns, as a query says them.
pub(crate) fn columns() -> &'static str {
    static COLUMNS: LazyLock<String> = LazyLock::new(|| each(|column| quoted(column.name())));
    &COLUMNS
}

/// A name as SQL takes it whatever it is.
pub(crate) fn quoted(name: &str) -> Cow<'static, str> {
    format!("\"{name}\"").into()
}

/// A list with something for each column.
pub(crate) fn each(what: impl FnMut(Column) -> Cow<'static, str>) -> String {
    let each: Vec<_> = all().map(what).collect();
    each.join(", ")
}

/// The event of a row. A value that its field cannot have, such as an access that a newer release knows, is left out:
/// one row must not hide all others (rule A6).
pub(crate) fn event(row: &dyn Columns) -> Result<AuditEvent, sqlx::Error> {
    let mut event = AuditEvent::new(
        there("id", row.id("id")?)?,
        there("time", row.time("time")?)?,
        EventName::read(there("name", row.text("name")?)?),
    );
    for field in AuditEvent::FIELDS {
        let name = field.name();
        let value = match field.kind() {
            FieldKind::Integer => row.number(name)?.map(FieldValue::Integer),
            FieldKind::Time => row.time(name)?.map(FieldValue::Time),
            FieldKind::Uuid => row.id(name)?.map(FieldValue::Uuid),
            _ => row.text(name)?.map(|text| FieldValue::Text(text.into())),
        };
        if let Some(value) = value
            && let Err(error) = field.set(&mut event, value)
        {
            tracing::warn!(
                target: "tower_impersonation",
                error = &error as &dyn std::error::Error,
                event = %event.id, "a value in the trail is not one of this release"
            );
        }
    }
    Ok(event)
}
