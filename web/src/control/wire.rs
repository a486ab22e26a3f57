//! The words of the HTTP contract, and how they map to ours. Clients in other languages rely on every name,
//! null and status here.
//!
//! `admin_user_id` is our actor, `target_user_id` our subject, `impersonation_type` the subject's kind.

use std::{ops::RangeInclusive, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use time::{OffsetDateTime, UtcOffset};
use utoipa::{
    IntoParams, ToSchema,
    openapi::schema::{ObjectBuilder, Schema, SchemaType, Type},
};
use uuid::Uuid;

use crate::{
    audit::{AuditEvent, EventName, TrailCursor, TrailFilter, TrailList, TrailPage},
    credentials::Credentials,
    directory::DirectoryUser,
    identity::{Access, Subject, UserId},
    impersonation::{ChangeRequest, SessionWithUser, StartRequest},
    marker::MAX_REASON,
    people::People,
    rejection::Rejection,
    session::{EndedReason, Page, Session, SessionFilter, SessionId, SessionList, SubjectKind},
};

/// The most sessions, events or users in one page.
const MAX_LIMIT: u32 = 500;

/// The largest `offset`.
const MAX_OFFSET: u32 = 2_147_483_647;
/// The longest `duration`, in seconds: more than thirty years.
const MAX_DURATION: u32 = 999_999_999;
/// What a [`UserId`] is made of.
const USER_ID: &str = r"^(?!~(anon|service)$)[^\u0000-\u001f\u007f-\u009f]+$";
/// What a person may write: something that is no space, and nothing that a keyboard does not write.
const WRITTEN: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f][^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";
const NO_CONTROLS: &str = r"^[^\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f]*$";

/// The fields of a start. All optional here, so that what is missing can be named.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    title = "Start",
    description = "A start as a user, whom exactly one of `target_user_id`, `email` and `public_id` names.",
    examples(
        json!({"target_user_id": "ines", "reason": "ticket 4711: cannot pay"}),
        json!({
            "email": "ines@shop.example", "reason": "ticket 4711: cannot pay", "access": "read_write",
            "ticket": "4711", "duration": 600, "next": "/orders"
        }),
    )
)]
pub(super) struct Fields {
    /// The user's id.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = target_schema)]
    target_user_id: Option<String>,
    /// The user's e-mail address instead.
    email: Option<String>,
    /// The user's public id instead.
    public_id: Option<String>,
    /// Why: not blank, at most 500 characters.
    #[schema(required = true, schema_with = reason_schema)]
    reason: Option<String>,
    /// Default: `read_only`.
    #[schema(value_type = Option<Access>)]
    access: Option<String>,
    /// The case that this belongs to, at most 128 characters.
    #[schema(schema_with = ticket_schema)]
    ticket: Option<String>,
    /// In seconds. Default: as long as is allowed.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = duration_schema)]
    duration: Option<String>,
    /// Where a browser goes then: a path on this host.
    pub(super) next: Option<String>,
}

/// The fields of a start as someone who is no user.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    title = "StartWithoutUser",
    description = "A start as the anonymous visitor or the service role.",
    examples(json!({"reason": "ticket 4711: what do visitors see?"}))
)]
pub(super) struct NoUserFields {
    /// Why: not blank, at most 500 characters.
    #[schema(required = true, schema_with = reason_schema)]
    reason: Option<String>,
    /// Default: `read_only`.
    #[schema(value_type = Option<Access>)]
    access: Option<String>,
    /// The case that this belongs to, at most 128 characters.
    #[schema(schema_with = ticket_schema)]
    ticket: Option<String>,
    /// In seconds. Default: as long as is allowed.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = duration_schema)]
    duration: Option<String>,
    /// Where a browser goes then: a path on this host.
    next: Option<String>,
}

/// The fields of a change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    title = "Change",
    examples(json!({"access": "read_write", "duration": 1800, "reason": "ticket 4711: has to correct the address"}))
)]
pub(super) struct ChangeFields {
    /// Why: not blank, at most 500 characters.
    #[schema(required = true, schema_with = reason_schema)]
    reason: Option<String>,
    /// The new access.
    #[schema(value_type = Option<Access>)]
    access: Option<String>,
    /// How long from now, in seconds.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = duration_schema)]
    duration: Option<String>,
}

/// The fields of a stop. Whatever else there is names nobody, and is not looked at (rule S5).
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(title = "Stop", examples(json!({"session_id": "019aa0f3-5c00-7000-8000-000000000001"})))]
pub(super) struct StopFields {
    /// Only this one of one's own sessions. Default: all of them.
    #[schema(value_type = Option<Uuid>)]
    session_id: Option<String>,
}

/// The fields of a refresh.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "Refresh", examples(json!({"refresh_token": "eyJ0eXAiOiJydCtqd3Qi..."})))]
#[cfg_attr(
    not(feature = "jwt"),
    expect(dead_code, reason = "described all the same")
)]
pub(super) struct TokenFields {
    /// From the answer of a start, or of another refresh.
    #[schema(required = true, nullable = false, min_length = 1)]
    refresh_token: Option<String>,
    /// `refresh_token`, for clients of OAuth 2.0.
    #[schema(schema_with = grant_type_schema)]
    grant_type: Option<String>,
}

/// The query of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
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
    #[param(value_type = Option<SubjectKind>)]
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
pub(super) struct TrailQuery {
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
    #[param(value_type = Option<SubjectKind>)]
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
pub(super) struct UsersQuery {
    /// Part of an id, a login or a name. Default: everyone.
    q: Option<String>,
    /// At most this many. Default: 50.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 500)]
    limit: Option<String>,
    /// The `next_offset` of another page.
    #[param(value_type = Option<u32>, maximum = 2_147_483_647)]
    offset: Option<String>,
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    title = "Session",
    examples(json!({
        "id": "019aa0f3-5c00-7000-8000-000000000001", "admin_user_id": "ada", "target_user_id": "ines",
        "impersonation_type": "user", "target_role": "customer", "access": "read_only",
        "reason": "ticket 4711: cannot pay", "ticket": null, "started_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-11-20T14:00:00Z", "ended_at": null, "ended_reason": null, "is_active": true,
        "ip_address": "192.0.2.1", "user_agent": "curl/8.5.0"
    }))
)]
pub(super) struct SessionView {
    #[schema(value_type = Uuid)]
    id: SessionId,
    #[schema(value_type = String)]
    admin_user_id: UserId,
    #[schema(value_type = Option<String>, required)]
    target_user_id: Option<UserId>,
    #[schema(value_type = SubjectKind)]
    impersonation_type: &'static str,
    #[schema(required)]
    target_role: Option<String>,
    access: Access,
    reason: String,
    #[schema(required)]
    ticket: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    #[schema(required)]
    ended_at: Option<OffsetDateTime>,
    #[schema(required)]
    ended_reason: Option<EndedReason>,
    is_active: bool,
    #[schema(required)]
    ip_address: Option<String>,
    #[schema(required)]
    user_agent: Option<String>,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "User", examples(json!({"id": "ines", "email": "ines@shop.example", "role": "customer"})))]
pub(super) struct UserView {
    #[schema(value_type = String)]
    id: UserId,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    role: Option<String>,
}

/// A user in a search.
#[derive(Debug, Serialize, ToSchema)]
#[schema(
    title = "Person",
    examples(json!({"id": "ines", "email": "ines@shop.example", "role": "customer", "display_name": "Ines"}))
)]
pub(super) struct PersonView {
    #[schema(value_type = String)]
    id: UserId,
    #[schema(required)]
    email: Option<String>,
    #[schema(required)]
    role: Option<String>,
    #[schema(required)]
    display_name: Option<String>,
}

/// The answer of a search for users.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Users")]
pub(super) struct UsersPage {
    users: Vec<PersonView>,
    /// The `offset` of the next page; null on the last one.
    #[schema(required)]
    next_offset: Option<usize>,
}

/// The answer of a start. The tokens are null where the host issues none.
#[derive(Serialize, ToSchema)]
#[schema(title = "Started")]
pub(super) struct StartAnswer {
    session: SessionView,
    #[schema(required)]
    target_user: Option<UserView>,
    #[schema(required)]
    access_token: Option<String>,
    #[schema(required)]
    refresh_token: Option<String>,
    /// Of the access token, or else of the session, in seconds.
    expires_in: u64,
    /// Where a browser goes then, with the marker.
    redirect_to: String,
}

/// The answer of a refresh.
#[derive(Serialize, ToSchema)]
#[schema(title = "Tokens")]
pub(super) struct TokenAnswer {
    access_token: String,
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
}

/// What is going on; both null when nothing is.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Current")]
pub(super) struct Current {
    #[schema(required)]
    session: Option<SessionView>,
    #[schema(required)]
    target_user: Option<UserView>,
}

/// One session.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Changed")]
pub(super) struct OneSession {
    session: SessionView,
}

/// A page of sessions, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Sessions")]
pub(super) struct SessionsPage {
    sessions: Vec<SessionView>,
    /// How many there are in all.
    total: u64,
    /// Null on the last page.
    #[schema(value_type = Option<Uuid>, required)]
    next_cursor: Option<SessionId>,
}

/// An event of the trail. What has no value is left out.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Event")]
pub(super) struct EventView {
    id: Uuid,
    #[serde(with = "time::serde::rfc3339")]
    time: OffsetDateTime,
    #[schema(schema_with = event_name_schema)]
    name: EventName,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    actor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    session: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    access: Option<Access>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    route: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    rule: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    user_agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    request_id: Option<String>,
}

/// A page of the trail, newest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Events")]
pub(super) struct EventsPage {
    events: Vec<EventView>,
    /// How many there are in all.
    total: u64,
    /// Null on the last page.
    #[schema(required)]
    next_cursor: Option<String>,
}

/// The answer of a stop.
#[derive(Debug, Serialize, ToSchema)]
#[schema(title = "Ended", examples(json!({"success": true, "message": "Impersonation ended"})))]
pub(super) struct Ended {
    success: bool,
    message: &'static str,
}

// === impl Fields ===

impl Fields {
    /// The subject as it is asked for, before anyone looks it up.
    pub(super) fn subject(&self) -> Option<Subject> {
        let named = [&self.target_user_id, &self.email, &self.public_id];
        let id = named.into_iter().flatten().next()?;
        id.parse().ok().map(Subject::User)
    }

    /// The start that is asked for: for `subject`, or for the user that the fields name.
    pub(super) fn into_start(self, subject: Option<Subject>) -> Result<StartRequest, String> {
        let reason = self.reason.ok_or("`reason` is missing")?;
        let targets = [
            ("target_user_id", self.target_user_id),
            ("email", self.email),
            ("public_id", self.public_id),
        ];
        let mut given = targets
            .into_iter()
            .filter_map(|(name, target)| Some((name, target?)));
        let mut start = match (subject, given.next()) {
            (Some(subject), _) => StartRequest::new(subject, reason),
            (None, None) => {
                return Err("`target_user_id`, `email` or `public_id` is missing".to_owned());
            }
            (None, Some(("target_user_id", id))) => {
                let id: UserId = id
                    .parse()
                    .map_err(|problem| format!("`target_user_id`: {problem}"))?;
                StartRequest::new(Subject::User(id), reason)
            }
            (None, Some((_, login))) => StartRequest::for_login(login, reason),
        };
        if let Some((name, _)) = given.next() {
            return Err(format!("`{name}` is one target too many"));
        }
        if let Some(access) = self.access {
            start = start.with_access(parse_access(&access)?);
        }
        if let Some(ticket) = self.ticket {
            start = start.with_ticket(ticket);
        }
        if let Some(duration) = self.duration {
            start = start.with_duration(parse_duration(&duration)?);
        }
        Ok(start)
    }
}

impl From<NoUserFields> for Fields {
    fn from(fields: NoUserFields) -> Self {
        Self {
            reason: fields.reason,
            access: fields.access,
            ticket: fields.ticket,
            duration: fields.duration,
            next: fields.next,
            ..Self::default()
        }
    }
}

// === impl StopFields ===

impl StopFields {
    /// The one session that is meant.
    pub(super) fn session(self) -> Result<Option<SessionId>, String> {
        parse_session(self.session_id)
    }
}

// === impl ChangeFields ===

impl ChangeFields {
    pub(super) fn into_change(self) -> Result<ChangeRequest, String> {
        let mut change = ChangeRequest::new(self.reason.ok_or("`reason` is missing")?);
        if let Some(access) = self.access {
            change = change.with_access(parse_access(&access)?);
        }
        if let Some(duration) = self.duration {
            change = change.with_duration(parse_duration(&duration)?);
        }
        Ok(change)
    }
}

// === impl TokenFields ===

#[cfg(feature = "jwt")]
impl TokenFields {
    pub(super) fn into_token(self) -> Result<String, String> {
        if self
            .grant_type
            .is_some_and(|grant| grant != "refresh_token")
        {
            return Err("`grant_type` must be refresh_token".to_owned());
        }
        self.refresh_token
            .ok_or_else(|| "`refresh_token` is missing".to_owned())
    }
}

// === impl ListQuery ===

impl ListQuery {
    pub(super) fn into_filter(self) -> Result<(SessionFilter, Page), String> {
        let mut filter = SessionFilter {
            actor: parse_user("admin_user_id", self.admin_user_id)?,
            ..SessionFilter::default()
        };
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
    pub(super) fn into_filter(self) -> Result<(TrailFilter, TrailPage, Option<usize>), String> {
        let mut filter = TrailFilter {
            actor: parse_user("admin_user_id", self.admin_user_id)?,
            ..TrailFilter::default()
        };
        filter.subject = parse_user("target_user_id", self.target_user_id)?.map(Subject::User);
        filter.kind = parse_kind(self.impersonation_type.as_deref())?;
        filter.session = parse_session(self.session_id)?;
        filter.name = self
            .name
            .map(|name| EventName::named(&name).ok_or("`name` must be the name of an event"))
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
    pub(super) fn into_search(self) -> Result<(String, usize, usize), String> {
        let limit = self.limit.as_deref().map(parse_limit).transpose()?;
        let offset = self.offset.as_deref().map(parse_offset).transpose()?;
        Ok((
            self.q.unwrap_or_default(),
            limit.unwrap_or(50),
            offset.unwrap_or(0),
        ))
    }
}

// === impl SessionView ===

impl SessionView {
    pub(super) fn new(session: &Session, now: OffsetDateTime) -> Self {
        Self {
            id: session.id,
            admin_user_id: session.actor.clone(),
            target_user_id: session.subject.user_id().cloned(),
            impersonation_type: session.subject.kind(),
            target_role: session.role.as_deref().map(str::to_owned),
            access: session.access,
            reason: session.reason.to_string(),
            ticket: session.ticket.as_deref().map(str::to_owned),
            started_at: session.started_at,
            expires_at: session.expires_at,
            ended_at: session.ended_at,
            ended_reason: session.ended_reason,
            is_active: session.is_active(now),
            ip_address: session.address.map(|address| address.to_string()),
            user_agent: session.user_agent.as_deref().map(str::to_owned),
        }
    }
}

// === impl UserView ===

impl UserView {
    fn new(user: &DirectoryUser) -> Self {
        Self {
            id: user.id().clone(),
            email: user.login().map(str::to_owned),
            role: user.role().map(str::to_owned),
        }
    }

    /// The target of a session; without a directory all that is known is the id.
    fn of(session: &SessionWithUser) -> Option<Self> {
        match &session.user {
            Some(user) => Some(Self::new(user)),
            None => session.session.subject.user_id().map(|id| Self {
                id: id.clone(),
                email: None,
                role: None,
            }),
        }
    }
}

// === impl answers ===

impl StartAnswer {
    pub(super) fn new(
        started: &SessionWithUser,
        credentials: &Credentials,
        now: OffsetDateTime,
        redirect_to: String,
    ) -> Self {
        let left = Duration::try_from(started.session.expires_at - now).unwrap_or_default();
        let left = credentials.expires_in.unwrap_or(left);
        Self {
            session: SessionView::new(&started.session, now),
            target_user: UserView::of(started),
            access_token: credentials.access_token.clone(),
            refresh_token: credentials.refresh_token.clone(),
            // Rounded up: a session of two hours says 7200 also some microseconds after its start.
            expires_in: left.as_secs() + u64::from(left.subsec_nanos() > 0),
            redirect_to,
        }
    }
}

impl Current {
    pub(super) fn new(
        current: Option<SessionWithUser>,
        now: OffsetDateTime,
    ) -> Result<Self, Rejection> {
        Ok(Self {
            target_user: current.as_ref().and_then(UserView::of),
            session: current.map(|current| SessionView::new(&current.session, now)),
        })
    }
}

impl SessionsPage {
    pub(super) fn new(list: &SessionList, now: OffsetDateTime) -> Self {
        let view = |session: &std::sync::Arc<Session>| SessionView::new(session, now);
        Self {
            sessions: list.sessions.iter().map(view).collect(),
            total: list.total,
            next_cursor: list.next,
        }
    }
}

impl OneSession {
    pub(super) fn new(session: &Session, now: OffsetDateTime) -> Self {
        Self {
            session: SessionView::new(session, now),
        }
    }
}

impl TokenAnswer {
    #[cfg(feature = "jwt")]
    pub(super) fn new(issued: crate::token::IssuedTokens) -> Self {
        Self {
            access_token: issued.access_token,
            refresh_token: issued.refresh_token,
            token_type: "Bearer",
            expires_in: issued.expires_in.as_secs(),
        }
    }
}

impl UsersPage {
    pub(super) fn new(people: &People) -> Self {
        let view = |user: &DirectoryUser| PersonView {
            id: user.id().clone(),
            email: user.login().map(str::to_owned),
            role: user.role().map(str::to_owned),
            display_name: user.display_name().map(str::to_owned),
        };
        Self {
            users: people.users.iter().map(view).collect(),
            next_offset: people.next,
        }
    }
}

impl EventsPage {
    pub(super) fn new(list: TrailList) -> Self {
        Self {
            events: list.events.into_iter().map(EventView::new).collect(),
            total: list.total,
            next_cursor: list.next.map(|next| next.0),
        }
    }
}

impl EventView {
    fn new(event: AuditEvent) -> Self {
        Self {
            id: event.id,
            time: event.time,
            name: event.name,
            actor: event.actor.map(|actor| actor.to_string()),
            subject: event.subject.map(|subject| subject.to_string()),
            session: event.session.map(|session| session.0),
            reason: event.reason,
            access: event.access,
            method: event.method,
            path: event.path,
            route: event.route,
            status: event.status,
            outcome: event.outcome.map(|outcome| outcome.as_str()),
            rule: event.rule,
            count: event.count,
            address: event.address.map(|address| address.to_string()),
            user_agent: event.user_agent,
            request_id: event.request_id,
        }
    }
}

impl Default for Ended {
    fn default() -> Self {
        Self {
            success: true,
            message: "Impersonation ended",
        }
    }
}

// === reading values ===

/// A form's fields as JSON. What is left empty in a form was not filled in.
pub(super) fn form_fields(body: &[u8]) -> Result<serde_json::Value, String> {
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        if value.is_empty() {
            continue;
        }
        let value = value.into_owned().into();
        if fields.insert(name.clone().into_owned(), value).is_some() {
            return Err(format!("`{}` is given twice", printable(&name)));
        }
    }
    Ok(fields.into())
}

fn parse_session(id: Option<String>) -> Result<Option<SessionId>, String> {
    let parsed = id.map(|id| parse("session_id", &id, "the `id` of a session"));
    parsed.transpose()
}

fn parse_duration(seconds: &str) -> Result<Duration, String> {
    let seconds = parse_within("duration", seconds, 1..=MAX_DURATION)?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

fn parse_limit(limit: &str) -> Result<usize, String> {
    Ok(parse_within("limit", limit, 1..=MAX_LIMIT)? as usize)
}

fn parse_offset(offset: &str) -> Result<usize, String> {
    Ok(parse_within("offset", offset, 0..=MAX_OFFSET)? as usize)
}

fn parse_within(name: &str, text: &str, within: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| within.contains(number));
    let (least, most) = within.into_inner();
    number.ok_or_else(|| format!("`{name}` must be a whole number from {least} to {most}"))
}

fn parse_user(name: &str, id: Option<String>) -> Result<Option<UserId>, String> {
    let parsed = id.map(|id| id.parse::<UserId>().map_err(|p| format!("`{name}`: {p}")));
    parsed.transpose()
}

fn parse_kind(kind: Option<&str>) -> Result<Option<SubjectKind>, String> {
    match kind {
        None => Ok(None),
        Some("user") => Ok(Some(SubjectKind::User)),
        Some("anon") => Ok(Some(SubjectKind::Anon)),
        Some("service") => Ok(Some(SubjectKind::Service)),
        Some(_) => Err("`impersonation_type` must be user, anon or service".to_owned()),
    }
}

fn parse_access(access: &str) -> Result<Access, String> {
    match access {
        "read_only" => Ok(Access::ReadOnly),
        "read_write" => Ok(Access::ReadWrite),
        _ => Err("`access` must be read_only or read_write".to_owned()),
    }
}

fn parse<T: std::str::FromStr>(name: &str, text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{name}` must be {what}"))
}

fn moment(name: &str, text: &str) -> Result<OffsetDateTime, String> {
    let format = &time::format_description::well_known::Rfc3339;
    let parsed = OffsetDateTime::parse(text, format).ok();
    // At the edges of time there are moments that UTC has no date for, and whoever converts one panics.
    parsed
        .and_then(|at| at.checked_to_offset(UtcOffset::UTC))
        .ok_or_else(|| format!("`{name}` must be a time such as 2026-11-20T12:00:00Z"))
}

/// What a stranger sent, short and in one line, for a message.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_default)
        .collect()
}

/// Ids and numbers come as text or as numbers, as the client's language has it.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(serde_json::Value::Number(number)) if whole(&number).is_some() => {
            Ok(whole(&number).map(|whole| whole.to_string()))
        }
        Some(_) => Err(D::Error::custom("expected text or a whole number")),
    }
}

/// In JSON 5.0 is a whole number, too.
fn whole(number: &serde_json::Number) -> Option<i64> {
    const END: f64 = i64::MAX as f64;

    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        let is_whole = number.fract() == 0.0 && (-END..END).contains(&number);
        is_whole.then_some(number as i64)
    })
}

// === what values are like ===

fn of_types(types: impl IntoIterator<Item = Type>) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Array(types.into_iter().collect()))
}

fn target_schema() -> Schema {
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

fn reason_schema() -> Schema {
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(MAX_REASON))
        .pattern(Some(WRITTEN))
        .description(Some("Why: not blank, at most 500 characters."));
    object.into()
}

fn ticket_schema() -> Schema {
    of_types([Type::String, Type::Null])
        .max_length(Some(StartRequest::MAX_TICKET))
        .pattern(Some(NO_CONTROLS))
        .description(Some(
            "The case that this belongs to, at most 128 characters.",
        ))
        .into()
}

fn duration_schema() -> Schema {
    of_types([Type::String, Type::Integer, Type::Null])
        .minimum(Some(1))
        .maximum(Some(MAX_DURATION))
        .pattern(Some(r"^\+?0*[1-9][0-9]{0,8}$"))
        .description(Some(
            "In seconds, from now. Default: as long as is allowed.",
        ))
        .into()
}

fn grant_type_schema() -> Schema {
    of_types([Type::String, Type::Null])
        .enum_values(Some([Some("refresh_token"), None]))
        .description(Some("`refresh_token`, for clients of OAuth 2.0."))
        .into()
}

fn event_name_schema() -> Schema {
    let names = EventName::ALL.iter().map(|name| name.as_str());
    let object = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(names));
    object.into()
}
