//! The words of the HTTP contract, and how they map to ours. Clients in other languages rely on every name,
//! null and status here.
//!
//! `admin_user_id` is our actor, `target_user_id` our subject, `impersonation_type` the subject's kind.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    directory::DirectoryUser,
    identity::{Access, Subject, UserId},
    impersonation::{SessionWithUser, StartRequest},
    rejection::Rejection,
    session::{EndedReason, Page, Session, SessionFilter, SessionId, SessionList, SubjectKind},
};

/// The most sessions in one page.
const MAX_LIMIT: usize = 500;

/// The fields of a start. All optional here, so that what is missing can be named.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fields {
    #[serde(default, deserialize_with = "text_or_number")]
    target_user_id: Option<String>,
    email: Option<String>,
    public_id: Option<String>,
    reason: Option<String>,
    access: Option<String>,
    ticket: Option<String>,
    #[serde(default, deserialize_with = "text_or_number")]
    duration: Option<String>,
    pub(super) next: Option<String>,
}

/// The query of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<String>,
    offset: Option<String>,
    cursor: Option<String>,
    admin_user_id: Option<String>,
    target_user_id: Option<String>,
    impersonation_type: Option<String>,
    is_active: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionView {
    id: SessionId,
    admin_user_id: UserId,
    target_user_id: Option<UserId>,
    impersonation_type: &'static str,
    target_role: Option<String>,
    access: Access,
    reason: String,
    ticket: Option<String>,
    #[serde(with = "time::serde::rfc3339")]
    started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    ended_at: Option<OffsetDateTime>,
    ended_reason: Option<EndedReason>,
    is_active: bool,
    ip_address: Option<String>,
    user_agent: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct UserView {
    id: UserId,
    email: Option<String>,
    role: Option<String>,
}

/// The answer of a start. The tokens are for hosts that issue some.
#[derive(Debug, Serialize)]
pub(super) struct StartAnswer {
    session: SessionView,
    target_user: Option<UserView>,
    access_token: Option<String>,
    refresh_token: Option<String>,
    expires_in: u64,
    redirect_to: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Current {
    session: Option<SessionView>,
    target_user: Option<UserView>,
}

#[derive(Debug, Serialize)]
pub(super) struct SessionsPage {
    sessions: Vec<SessionView>,
    total: u64,
    next_cursor: Option<SessionId>,
}

#[derive(Debug, Serialize)]
pub(super) struct Ended {
    success: bool,
    message: &'static str,
}

// === impl Fields ===

impl Fields {
    /// Reads a form. What is left empty in a form was not filled in.
    pub(super) fn from_form(body: &[u8]) -> Result<Self, String> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(body) {
            let field = match &*name {
                "target_user_id" => &mut fields.target_user_id,
                "email" => &mut fields.email,
                "public_id" => &mut fields.public_id,
                "reason" => &mut fields.reason,
                "access" => &mut fields.access,
                "ticket" => &mut fields.ticket,
                "duration" => &mut fields.duration,
                "next" => &mut fields.next,
                unknown => return Err(format!("unknown field `{}`", printable(unknown))),
            };
            if value.is_empty() {
                continue;
            }
            if field.replace(value.into_owned()).is_some() {
                return Err(format!("`{name}` is given twice"));
            }
        }
        Ok(fields)
    }

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
            (Some(subject), None) => StartRequest::new(subject, reason),
            (Some(_), Some((name, _))) => return Err(format!("`{name}` has no place here")),
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
            let seconds = parse("duration", &duration, "a whole number of seconds")?;
            start = start.with_duration(Duration::from_secs(seconds));
        }
        Ok(start)
    }
}

// === impl ListQuery ===

impl ListQuery {
    pub(super) fn into_filter(self) -> Result<(SessionFilter, Page), String> {
        let user = |name, id: Option<String>| {
            id.map(|id| id.parse::<UserId>().map_err(|p| format!("`{name}`: {p}")))
                .transpose()
        };
        let mut filter = SessionFilter {
            actor: user("admin_user_id", self.admin_user_id)?,
            ..SessionFilter::default()
        };
        filter.subject = user("target_user_id", self.target_user_id)?.map(Subject::User);
        filter.kind = self
            .impersonation_type
            .map(|kind| match kind.as_str() {
                "user" => Ok(SubjectKind::User),
                "anon" => Ok(SubjectKind::Anon),
                "service" => Ok(SubjectKind::Service),
                _ => Err("`impersonation_type` must be user, anon or service"),
            })
            .transpose()?;
        filter.is_active = self
            .is_active
            .map(|text| parse("is_active", &text, "true or false"))
            .transpose()?;
        filter.from = self.from.map(|text| moment("from", &text)).transpose()?;
        filter.to = self.to.map(|text| moment("to", &text)).transpose()?;

        let mut page = Page::default();
        if let Some(limit) = self.limit {
            page.limit = parse("limit", &limit, "a number from 1 to 500")?;
            if !(1..=MAX_LIMIT).contains(&page.limit) {
                return Err("`limit` must be a number from 1 to 500".to_owned());
            }
        }
        if self.offset.is_some() && self.cursor.is_some() {
            return Err("`offset` and `cursor` exclude each other".to_owned());
        }
        if let Some(offset) = self.offset {
            page.offset = parse("offset", &offset, "a number from 0")?;
        }
        page.before = self
            .cursor
            .map(|text| parse::<Uuid>("cursor", &text, "the `next_cursor` of another page"))
            .transpose()?
            .map(SessionId);
        Ok((filter, page))
    }
}

// === impl SessionView ===

impl SessionView {
    fn new(session: &Session, now: OffsetDateTime) -> Self {
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
    pub(super) fn new(started: &SessionWithUser, now: OffsetDateTime, redirect_to: String) -> Self {
        let left = Duration::try_from(started.session.expires_at - now).unwrap_or_default();
        Self {
            session: SessionView::new(&started.session, now),
            target_user: UserView::of(started),
            access_token: None,
            refresh_token: None,
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

impl Default for Ended {
    fn default() -> Self {
        Self {
            success: true,
            message: "Impersonation ended",
        }
    }
}

// === reading values ===

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
    OffsetDateTime::parse(text, format)
        .map_err(|_| format!("`{name}` must be a time such as 2026-11-20T12:00:00Z"))
}

/// What a stranger sent, short and in one line, for a message.
fn printable(text: &str) -> String {
    text.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}

/// Ids and numbers come as text or as numbers, as the client's language has it.
fn text_or_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(serde_json::Value::Number(number)) => Ok(Some(number.to_string())),
        Some(_) => Err(D::Error::custom("expected text or a number")),
    }
}
