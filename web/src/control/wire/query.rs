//! What can be asked of a list, the trail and the directory: one type for each, wherever the fields come from.

use axum::extract::Query;
use http::Uri;
use serde::{Deserialize, de::DeserializeOwned};
use tower_impersonation::{
    Subject,
    audit::{EventName, TrailCursor, TrailFilter, TrailPage},
    session::{Page, SessionFilter, SessionId},
};
use utoipa::IntoParams;
use uuid::Uuid;

use super::{
    read::{
        moment, named, parse, parse_kind, parse_limit, parse_offset, parse_session, parse_user,
    },
    schema::{self, event_name_schema},
};

/// A query that is read the same way, and refused with the same words, wherever its fields come from.
pub(crate) trait ReadQuery: DeserializeOwned {
    /// From the address of a call.
    fn of_uri(uri: &Uri) -> Result<Self, String> {
        let query = Query::try_from_uri(uri);
        query
            .map(|Query(query)| query)
            .map_err(|problem| named(&problem.body_text()))
    }

    /// From fields that someone filled in: each at most once, and none that was left empty.
    #[cfg(feature = "console")]
    fn of_fields<'f>(fields: impl IntoIterator<Item = (&'f str, String)>) -> Result<Self, String> {
        let query = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        serde_urlencoded::from_str(&query).map_err(|problem| named(&problem.to_string()))
    }
}

impl ReadQuery for SessionQuery {}
impl ReadQuery for TrailQuery {}
impl ReadQuery for UsersQuery {}

/// The query of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SessionQuery {
    /// At most this many. Default: 50.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// Without this many of the newest. Not together with `cursor`.
    #[param(value_type = Option<u32>, maximum = 2_147_483_647)]
    offset: Option<String>,
    /// The `next_cursor` of another page.
    #[param(value_type = Option<Uuid>)]
    cursor: Option<String>,
    /// Those of this admin. Others' need the right to list sessions.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    admin_user_id: Option<String>,
    /// Those for this user.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    target_user_id: Option<String>,
    /// Those of this type.
    #[param(value_type = Option<schema::SubjectKind>)]
    impersonation_type: Option<String>,
    /// Only active ones, or only ended ones.
    #[param(value_type = Option<bool>)]
    is_active: Option<String>,
    /// Started then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<String>,
    /// Started before then.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
}

/// The query of the trail.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TrailQuery {
    /// At most this many. Default: 50, as CSV all.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// Without this many of the newest. Not together with `cursor`.
    #[param(value_type = Option<u32>, maximum = 2_147_483_647)]
    offset: Option<String>,
    /// The `next_cursor` of another page.
    cursor: Option<String>,
    /// Those of this admin. Others' need the right to read the trail.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    admin_user_id: Option<String>,
    /// Those about this user.
    #[param(
        min_length = 1,
        max_length = 128,
        pattern = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$"
    )]
    target_user_id: Option<String>,
    /// Those about this type of subject.
    #[param(value_type = Option<schema::SubjectKind>)]
    impersonation_type: Option<String>,
    /// Those of this session.
    #[param(value_type = Option<Uuid>)]
    session_id: Option<String>,
    /// Those of this name, such as `impersonation.start`.
    #[param(schema_with = event_name_schema)]
    name: Option<String>,
    /// Then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<String>,
    /// Before then.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<String>,
}

/// The query of a search for users.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::control) struct UsersQuery {
    /// Part of an id, a login or a name. Default: everyone.
    q: Option<String>,
    /// At most this many. Default: 50.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The `next_offset` of another page.
    #[param(value_type = Option<u32>, maximum = 2_147_483_647)]
    offset: Option<String>,
}

// === impl SessionQuery ===

impl SessionQuery {
    pub(crate) fn into_filter(self) -> Result<(SessionFilter, Page), String> {
        let mut filter = SessionFilter::default();
        filter.actor = parse_user("admin_user_id", self.admin_user_id)?;
        filter.subject = parse_user("target_user_id", self.target_user_id)?.map(Subject::User);
        filter.kind = parse_kind(self.impersonation_type.as_deref())?;
        filter.is_active = self
            .is_active
            .map(|text| parse("is_active", &text, "true or false"))
            .transpose()?;
        filter.from = self.from.map(|text| moment("from", &text)).transpose()?;
        filter.to = self.to.map(|text| moment("to", &text)).transpose()?;

        let mut page = Page::default();
        if let Some(limit) = self.limit {
            page.limit = parse_limit(&limit)?;
        }
        if self.offset.is_some() && self.cursor.is_some() {
            return Err("`offset` and `cursor` exclude each other".to_owned());
        }
        if let Some(offset) = self.offset {
            page.offset = parse_offset(&offset)?;
        }
        page.before = self
            .cursor
            .map(|text| parse::<Uuid>("cursor", &text, "the `next_cursor` of another page"))
            .transpose()?
            .map(SessionId);
        Ok((filter, page))
    }
}

// === impl TrailQuery ===

impl TrailQuery {
    /// The limit is for whoever wants one.
    pub(crate) fn into_filter(self) -> Result<(TrailFilter, TrailPage, Option<usize>), String> {
        let mut filter = TrailFilter::default();
        filter.actor = parse_user("admin_user_id", self.admin_user_id)?;
        filter.subject = parse_user("target_user_id", self.target_user_id)?.map(Subject::User);
        filter.kind = parse_kind(self.impersonation_type.as_deref())?;
        filter.session = parse_session(self.session_id)?;
        filter.name = self
            .name
            .map(|name| EventName::known(&name).ok_or("`name` must be the name of an event"))
            .transpose()?;
        filter.from = self.from.map(|text| moment("from", &text)).transpose()?;
        filter.to = self.to.map(|text| moment("to", &text)).transpose()?;

        let limit = self.limit.as_deref().map(parse_limit).transpose()?;
        let mut page = TrailPage::default();
        page.limit = limit.unwrap_or(page.limit);
        if self.offset.is_some() && self.cursor.is_some() {
            return Err("`offset` and `cursor` exclude each other".to_owned());
        }
        if let Some(offset) = self.offset {
            page.offset = parse_offset(&offset)?;
        }
        page.after = self.cursor.map(TrailCursor);
        Ok((filter, page, limit))
    }
}

// === impl UsersQuery ===

impl UsersQuery {
    /// Text, limit, offset.
    pub(in crate::control) fn into_search(self) -> Result<(String, usize, usize), String> {
        let limit = self.limit.as_deref().map(parse_limit).transpose()?;
        let offset = self.offset.as_deref().map(parse_offset).transpose()?;
        Ok((
            self.q.unwrap_or_default(),
            limit.unwrap_or(50),
            offset.unwrap_or(0),
        ))
    }
}

#[cfg(all(test, feature = "console"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_query_is_the_same_wherever_its_fields_come_from() {
        let fields = [
            ("admin_user_id", "a&b=ü"),
            ("impersonation_type", "anon"),
            ("is_active", "true"),
            ("from", "2026-11-20T12:00:00Z"),
            ("limit", "7"),
        ];
        let uri = "/sessions?admin_user_id=a%26b%3D%C3%BC&impersonation_type=anon&is_active=true\
                   &from=2026-11-20T12%3A00%3A00Z&limit=7";
        let of_fields =
            SessionQuery::of_fields(fields.map(|(name, value)| (name, value.to_owned())));
        let of_uri = SessionQuery::of_uri(&Uri::from_static(uri));
        let (of_fields, of_uri) = (of_fields.unwrap(), of_uri.unwrap());
        assert_eq!(of_fields.into_filter(), of_uri.into_filter());
    }

    #[test]
    fn a_field_that_is_none_of_a_query_is_named() {
        let fields = [("no_such", "1".to_owned())];
        let said = TrailQuery::of_fields(fields).unwrap_err();
        assert!(said.starts_with("unknown field `no_such`"), "{said}");
        let said = TrailQuery::of_uri(&Uri::from_static("/audit?no_such=1")).unwrap_err();
        assert!(said.contains("unknown field `no_such`"), "{said}");
    }
}
