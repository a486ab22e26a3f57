//! [`TrailFilter`]: which events to read, and [`Condition`], what that asks of each field.

use std::fmt;

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::words::{AuditEvent, EventName, FieldValue, SessionId, Subject, SubjectKind, UserId};

/// Which events to read. `None` does not filter.
///
/// Readers ask for its [`conditions`](Self::conditions), so that a filter that is added here is one that they have.
///
/// ```
/// use tower_impersonation::audit::{EventName, TrailFilter};
///
/// let mut filter = TrailFilter::default();
/// assert_eq!(filter.to_string(), "all");
/// filter.name = Some(EventName::Denied);
/// filter.actor = Some("ada".parse()?);
/// assert_eq!(filter.to_string(), "name=impersonation.denied actor=ada");
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailFilter {
    /// Events of this name.
    pub name: Option<EventName>,
    /// Events of this actor: for an end, the session's actor, and not who ended it.
    pub actor: Option<UserId>,
    /// Events about this subject. Readings of the trail are about nobody.
    pub subject: Option<Subject>,
    /// Events about this kind of subject.
    pub kind: Option<SubjectKind>,
    /// Events of this session.
    pub session: Option<SessionId>,
    /// Then or later.
    pub from: Option<OffsetDateTime>,
    /// Before then.
    pub to: Option<OffsetDateTime>,
}

/// What a [`TrailFilter`] asks of one field, by the name that it has in
/// [`AuditEvent::FIELDS`]. A field without a value meets none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition<'f> {
    /// The field has this value.
    Is(&'static str, FieldValue<'f>),
    /// The field has another value.
    IsNot(&'static str, FieldValue<'f>),
    /// The field has this time or a later one.
    NotBefore(&'static str, OffsetDateTime),
    /// The field has an earlier time.
    Before(&'static str, OffsetDateTime),
}

// === impl TrailFilter ===

impl TrailFilter {
    /// What the filter asks of events; an event that it lets through meets all of it.
    ///
    /// ```
    /// use tower_impersonation::audit::{Condition, FieldValue, TrailFilter};
    ///
    /// let mut filter = TrailFilter::default();
    /// filter.actor = Some("ada".parse()?);
    /// assert_eq!(filter.conditions(), [Condition::Is("actor", FieldValue::from("ada"))]);
    /// # Ok::<(), tower_impersonation::InvalidUserId>(())
    /// ```
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition<'_>> {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            name,
            actor,
            subject,
            kind,
            session,
            from,
            to,
        } = self;
        let text = |text: &'static str| FieldValue::Text(text.into());
        let kinds = match kind {
            None => Vec::new(),
            Some(SubjectKind::Anon) => vec![Condition::Is("subject", text("~anon"))],
            Some(SubjectKind::Service) => vec![Condition::Is("subject", text("~service"))],
            Some(SubjectKind::User) => vec![
                Condition::IsNot("subject", text("~anon")),
                Condition::IsNot("subject", text("~service")),
            ],
        };
        let is = [
            name.map(|name| ("name", text(name.as_str()))),
            actor.as_ref().map(|it| ("actor", as_text(it.as_str()))),
            subject.as_ref().map(|it| ("subject", as_text(it.as_str()))),
            session.map(|SessionId(id)| ("session", FieldValue::Uuid(id))),
        ];
        let is = is.into_iter().flatten();
        is.map(|(field, value)| Condition::Is(field, value))
            .chain(kinds)
            .chain(from.map(|from| Condition::NotBefore("time", from)))
            .chain(to.map(|to| Condition::Before("time", to)))
            .collect()
    }

    /// Whether this event is among those asked for.
    #[must_use]
    pub fn matches(&self, event: &AuditEvent) -> bool {
        let conditions = self.conditions();
        conditions
            .iter()
            .all(|condition| condition.is_met_by(event))
    }
}

fn as_text(text: &str) -> FieldValue<'_> {
    FieldValue::Text(text.into())
}

// === impl Condition ===

impl Condition<'_> {
    fn is_met_by(&self, event: &AuditEvent) -> bool {
        let value = |name: &str| {
            let field = AuditEvent::FIELDS.iter().find(|field| field.name() == name);
            field.and_then(|field| field.get(event))
        };
        match self {
            Self::Is(field, wanted) => value(field).as_ref() == Some(wanted),
            Self::IsNot(field, other) => value(field).is_some_and(|value| value != *other),
            Self::NotBefore(field, from) => {
                matches!(value(field), Some(FieldValue::Time(at)) if at >= *from)
            }
            Self::Before(field, to) => {
                matches!(value(field), Some(FieldValue::Time(at)) if at < *to)
            }
        }
    }
}

/// What is looked for, for those who read of it later (rule A7): `all`, or the fields that filter.
impl fmt::Display for TrailFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            name,
            actor,
            subject,
            kind,
            session,
            from,
            to,
        } = self;
        let moment = |at: &OffsetDateTime| at.format(&Rfc3339).unwrap_or_else(|_| at.to_string());
        let filters = [
            ("name", name.as_ref().map(ToString::to_string)),
            ("actor", actor.as_ref().map(ToString::to_string)),
            ("subject", subject.as_ref().map(ToString::to_string)),
            ("kind", kind.map(|kind| kind.as_str().to_owned())),
            ("session", session.map(|session| session.to_string())),
            ("from", from.as_ref().map(moment)),
            ("to", to.as_ref().map(moment)),
        ];
        let mut separator = "";
        for (name, value) in filters {
            if let Some(value) = value {
                write!(f, "{separator}{name}={value}")?;
                separator = " ";
            }
        }
        if separator.is_empty() {
            f.write_str("all")?;
        }
        Ok(())
    }
}
