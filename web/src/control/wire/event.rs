//! The trail as the contract shows it: each field of [`AuditEvent::FIELDS`] by its own name.

use serde::Serialize;
use tower_impersonation::audit::{AuditEvent, FieldKind, TrailList};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type},
    },
};

use super::schema::event_name_schema;

/// An event of the trail. What has no value is left out.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(in crate::control) struct EventView(AuditEvent);

/// A page of the trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Events")]
pub(in crate::control) struct EventsPage {
    events: Vec<EventView>,
    /// How many there are in all.
    total: u64,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

// === impl EventView ===

impl PartialSchema for EventView {
    fn schema() -> RefOr<Schema> {
        let mut event = ObjectBuilder::new()
            .schema_type(Type::Object)
            .title(Some("Event"))
            .description(Some(
                "An event of the trail. What has no value is left out.",
            ));
        for field in AuditEvent::FIELDS {
            let schema = match (field.name(), field.kind()) {
                ("name", _) => event_name_schema(),
                ("status", _) => number(KnownFormat::Int32),
                (_, FieldKind::Integer) => number(KnownFormat::Int64),
                (_, FieldKind::Time) => text(Some(KnownFormat::DateTime)),
                (_, FieldKind::Uuid) => text(Some(KnownFormat::Uuid)),
                (_, _) => text(None),
            };
            event = event.property(field.name(), schema);
        }
        for always in ["id", "time", "name"] {
            event = event.required(always);
        }
        RefOr::T(event.into())
    }
}

impl ToSchema for EventView {}

fn text(format: Option<KnownFormat>) -> Schema {
    let format = format.map(SchemaFormat::KnownFormat);
    let object = ObjectBuilder::new().schema_type(Type::String);
    object.format(format).into()
}

fn number(format: KnownFormat) -> Schema {
    let object = ObjectBuilder::new().schema_type(Type::Integer);
    let object = object.format(Some(SchemaFormat::KnownFormat(format)));
    object.minimum(Some(0)).into()
}

// === impl EventsPage ===

impl EventsPage {
    pub(in crate::control) fn new(list: TrailList) -> Self {
        Self {
            events: list.events.into_iter().map(EventView).collect(),
            total: list.total,
            next_cursor: list.next.map(|next| next.0),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a6_the_document_has_each_field_of_an_event() {
        let schema = serde_json::to_value(EventView::schema()).unwrap();
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), AuditEvent::FIELDS.len());
        for field in AuditEvent::FIELDS {
            assert!(properties.contains_key(field.name()), "{}", field.name());
        }
    }
}
