//! What values are like, for the OpenAPI document. The core knows nothing of it: its words are described here.

use tower_impersonation::{
    Access as Scope, StartRequest, UserId,
    audit::EventName,
    session::{EndedReason as Ended, SubjectKind as Kind},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaType, Type},
    },
};

use super::read::MAX_DURATION;

/// What a [`UserId`] is made of.
const USER_ID: &str = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$";
/// What a person may write: something that is no space, and nothing that a keyboard does not write.
const WRITTEN: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
const NO_CONTROLS: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";

/// A word of the core's by the name that it has in the document.
macro_rules! words {
    ($($name:ident: $says:literal, $words:expr;)*) => {
        $(
            pub(super) struct $name;

            impl PartialSchema for $name {
                fn schema() -> RefOr<Schema> {
                    let object = one_of($words).description(Some($says));
                    RefOr::T(object.into())
                }
            }

            impl ToSchema for $name {}
        )*
    };
}

words! {
    Access: "What an acted request may do.",
        [Scope::ReadOnly, Scope::ReadWrite].map(Scope::as_str);
    EndedReason: "Why a session ended (rule S4).",
        Ended::ALL.iter().map(|reason| reason.as_str());
    SubjectKind: "The kind of a subject: the `impersonation_type` of the HTTP contract.",
        [Kind::User, Kind::Anon, Kind::Service].map(Kind::as_str);
}

fn one_of(words: impl IntoIterator<Item = &'static str>) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
}

fn of_types(types: impl IntoIterator<Item = Type>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Array(types.into_iter().collect()))
}

pub(super) fn target_schema() -> Schema {
    let object = of_types([Type::String, Type::Integer, Type::Null])
        .minimum(Some(i64::MIN))
        .maximum(Some(i64::MAX));
    object
        .min_length(Some(1))
        .max_length(Some(UserId::MAX_LEN))
        .pattern(Some(USER_ID))
        .description(Some("The user's id."))
        .into()
}

pub(super) fn reason_schema() -> Schema {
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(StartRequest::MAX_REASON))
        .pattern(Some(WRITTEN))
        .description(Some(
            "Why: with a letter or a digit, at most 500 characters.",
        ));
    object.into()
}

pub(super) fn ticket_schema() -> Schema {
    of_types([Type::String, Type::Null])
        .max_length(Some(StartRequest::MAX_TICKET))
        .pattern(Some(NO_CONTROLS))
        .description(Some(
            "The case that this belongs to, at most 128 characters.",
        ))
        .into()
}

pub(super) fn duration_schema() -> Schema {
    of_types([Type::String, Type::Integer, Type::Null])
        .minimum(Some(1))
        .maximum(Some(MAX_DURATION))
        .pattern(Some(r"^\+?0*[1-9][0-9]{0,8}$"))
        .description(Some(
            "In seconds, from now. Default: as long as is allowed.",
        ))
        .into()
}

pub(super) fn grant_type_schema() -> Schema {
    of_types([Type::String, Type::Null])
        .enum_values(Some([Some("refresh_token"), None]))
        .description(Some("`refresh_token`, for clients of OAuth 2.0."))
        .into()
}

pub(super) fn event_name_schema() -> Schema {
    one_of(EventName::ALL.iter().map(|name| name.as_str())).into()
}
