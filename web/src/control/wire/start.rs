//! A start: what it asks for, and what it gets.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tower_impersonation::{Credentials, SessionWithUser, StartRequest, Subject, UserId};
use utoipa::ToSchema;

use super::{
    read::{parse_access, parse_duration, text_or_number},
    schema::{Access, duration_schema, reason_schema, target_schema, ticket_schema},
    session::SessionView,
    user::UserView,
};

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
pub(in crate::control) struct Fields {
    /// The user's id.
    #[serde(default, deserialize_with = "text_or_number")]
    #[schema(schema_with = target_schema)]
    target_user_id: Option<String>,
    /// The user's e-mail address instead.
    email: Option<String>,
    /// The user's public id instead.
    public_id: Option<String>,
    /// Why: with a letter or a digit, at most 500 characters.
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
    pub(in crate::control) next: Option<String>,
}

/// The fields of a start as someone who is no user.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(
    title = "StartWithoutUser",
    description = "A start as the anonymous visitor or the service role.",
    examples(json!({"reason": "ticket 4711: what do visitors see?"}))
)]
pub(in crate::control) struct NoUserFields {
    /// Why: with a letter or a digit, at most 500 characters.
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

/// The answer of a start. The tokens are null where the host issues none.
#[derive(Serialize, ToSchema)]
#[schema(title = "Started")]
pub(in crate::control) struct StartAnswer {
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

// === impl Fields ===

impl Fields {
    /// The subject as it is asked for, before anyone looks it up.
    pub(in crate::control) fn subject(&self) -> Option<Subject> {
        let named = [&self.target_user_id, &self.email, &self.public_id];
        let id = named.into_iter().flatten().next()?;
        id.parse().ok().map(Subject::User)
    }

    /// The start that is asked for: for `subject`, or for the user that the fields name.
    pub(in crate::control) fn into_start(
        self,
        subject: Option<Subject>,
    ) -> Result<StartRequest, String> {
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

// === impl StartAnswer ===

impl StartAnswer {
    pub(in crate::control) fn new(
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
