//! The fields of an event as columns: one table from which every statement about events is made.

use std::{borrow::Cow, sync::LazyLock};

use tower_impersonation::{
    audit::{AuditEvent, Outcome},
    session::SessionId,
};

use crate::{
    columns::{Columns, there},
    statement::Value,
    words,
};

/// One column of the trail.
pub(crate) struct Field {
    pub(crate) name: &'static str,
    /// PostgreSQL has to be told.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) kind: Kind,
    /// What an event has there.
    pub(crate) write: for<'e> fn(&'e AuditEvent) -> Value<'e>,
    /// Gives an event what the row has there.
    read: fn(&dyn Columns, &mut AuditEvent) -> Result<(), sqlx::Error>,
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

/// A field that is a text and nothing more.
macro_rules! text {
    ($field:ident) => {
        Field {
            name: stringify!($field),
            kind: Kind::Text,
            write: |event| event.$field.as_deref().into(),
            read: |row, event| {
                event.$field = row.text(stringify!($field))?.map(str::to_owned);
                Ok(())
            },
        }
    };
}

/// All columns but `seq`, which the database gives, and `process`, which says who wrote it.
pub(crate) const FIELDS: [Field; 19] = [
    Field {
        name: "id",
        kind: Kind::Id,
        write: |event| event.id.into(),
        // An event is made with these.
        read: |_, _| Ok(()),
    },
    Field {
        name: "is_intent",
        kind: Kind::Flag,
        write: |event| Value::Flag(event.key().1),
        // The outcome says so.
        read: |_, _| Ok(()),
    },
    Field {
        name: "time",
        kind: Kind::Time,
        write: |event| event.time.into(),
        read: |_, _| Ok(()),
    },
    Field {
        name: "name",
        kind: Kind::Text,
        write: |event| event.name.as_str().into(),
        read: |_, _| Ok(()),
    },
    Field {
        name: "actor",
        kind: Kind::Text,
        write: |event| event.actor.as_ref().map(|actor| actor.as_str()).into(),
        read: |row, event| {
            let actor = row.text("actor")?;
            event.actor = actor.map(|id| words::parsed("actor", id)).transpose()?;
            Ok(())
        },
    },
    Field {
        name: "subject",
        kind: Kind::Text,
        write: |event| {
            event
                .subject
                .as_ref()
                .map(|subject| subject.as_str())
                .into()
        },
        read: |row, event| {
            let subject = row.text("subject")?;
            event.subject = subject.map(|id| words::parsed("subject", id)).transpose()?;
            Ok(())
        },
    },
    Field {
        name: "session",
        kind: Kind::Id,
        write: |event| Value::Id(event.session.map(|SessionId(id)| id)),
        read: |row, event| {
            event.session = row.id("session")?.map(SessionId);
            Ok(())
        },
    },
    text!(reason),
    Field {
        name: "access",
        kind: Kind::Text,
        write: |event| event.access.map(|access| access.as_str()).into(),
        read: |row, event| {
            event.access = row.text("access")?.map(words::access).transpose()?;
            Ok(())
        },
    },
    text!(method),
    text!(path),
    text!(route),
    Field {
        name: "status",
        kind: Kind::Number,
        write: |event| event.status.map(i64::from).into(),
        read: |row, event| {
            let status = row.number("status")?;
            event.status = status.and_then(|status| u16::try_from(status).ok());
            Ok(())
        },
    },
    Field {
        name: "outcome",
        kind: Kind::Text,
        write: |event| event.outcome.map(Outcome::as_str).into(),
        read: |row, event| {
            event.outcome = row.text("outcome")?.map(words::outcome).transpose()?;
            Ok(())
        },
    },
    Field {
        name: "rule",
        kind: Kind::Text,
        write: |event| event.rule.into(),
        read: |row, event| {
            event.rule = row.text("rule")?.map(words::rule);
            Ok(())
        },
    },
    Field {
        name: "count",
        kind: Kind::Number,
        write: |event| {
            let count = event.count.map(i64::try_from);
            count.map(|count| count.unwrap_or(i64::MAX)).into()
        },
        read: |row, event| {
            event.count = row.number("count")?.map(i64::unsigned_abs);
            Ok(())
        },
    },
    Field {
        name: "address",
        kind: Kind::Text,
        write: |event| Value::from(event.address.map(|address| address.to_string())),
        read: |row, event| {
            event.address = row.text("address")?.map(words::address).transpose()?;
            Ok(())
        },
    },
    text!(user_agent),
    text!(request_id),
];

/// The names of all columns, as a query says them.
pub(crate) fn columns() -> &'static str {
    static COLUMNS: LazyLock<String> = LazyLock::new(|| each(|field| field.name.into()));
    &COLUMNS
}

/// A list with something for each column.
pub(crate) fn each(mut what: impl FnMut(&Field) -> Cow<'static, str>) -> String {
    let all: Vec<_> = FIELDS.iter().map(&mut what).collect();
    all.join(", ")
}

/// The event of a row.
pub(crate) fn event(row: &dyn Columns) -> Result<AuditEvent, sqlx::Error> {
    let name = there("name", row.text("name")?)?;
    let mut event = AuditEvent::new(
        there("id", row.id("id")?)?,
        there("time", row.time("time")?)?,
        words::event_name(name)?,
    );
    for field in &FIELDS {
        (field.read)(row, &mut event)?;
    }
    Ok(event)
}
