//! Reading the trail: [`TrailReader`], what to look for, and where the next page starts.

use std::fmt;

use async_trait::async_trait;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::words::{AuditEvent, BoxError, EventName, SessionId, Subject, SubjectKind, UserId};

/// Reads what a sink has written. For [`Builder::trail_reader`](crate::Builder::trail_reader).
///
/// Reading is itself an event, and is allowed by [`Rights::READ_TRAIL`](crate::Rights::READ_TRAIL):
/// [`Impersonation::read_trail`](crate::Impersonation::read_trail) sees to both before it comes here.
#[async_trait]
pub trait TrailReader: Send + Sync + 'static {
    /// Events that match, newest first. An intent and its outcome are two of them, with the same id.
    ///
    /// A cursor that is none of this reader's is an error that holds [`InvalidCursor`].
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError>;
}

/// Which events to read. `None` does not filter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailFilter {
    /// Those of this name.
    pub name: Option<EventName>,
    /// Those of this actor.
    pub actor: Option<UserId>,
    /// Those about this subject.
    pub subject: Option<Subject>,
    /// Those about this kind of subject.
    pub kind: Option<SubjectKind>,
    /// Those of this session.
    pub session: Option<SessionId>,
    /// Then or later.
    pub from: Option<OffsetDateTime>,
    /// Before then.
    pub to: Option<OffsetDateTime>,
}

/// A part of the trail, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailPage {
    /// At most this many. Default: 50.
    pub limit: usize,
    /// Without this many of the newest. Default: 0.
    pub offset: usize,
    /// Only what comes after this place. Default: from the newest on.
    pub after: Option<TrailCursor>,
}

/// A part of the trail that was read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrailList {
    /// The events, newest first.
    pub events: Vec<AuditEvent>,
    /// How many the filter matches in all. A reader may stop counting at a number that it documents.
    pub total: u64,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<TrailCursor>,
}

/// A place in the trail, in a word that its reader understands and that can stand in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailCursor(pub String);

/// A text that is no place in the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the trail")]
pub struct InvalidCursor;

// === impl TrailFilter ===

impl TrailFilter {
    /// Whether this event is among those asked for.
    #[must_use]
    pub fn matches(&self, event: &AuditEvent) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, it: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| it == Some(wanted))
        }
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
        let is_of = |kind: SubjectKind| event.subject.as_ref().is_some_and(|s| kind.is_of(s));
        is(name.as_ref(), Some(&event.name))
            && is(actor.as_ref(), event.actor.as_ref())
            && is(subject.as_ref(), event.subject.as_ref())
            && kind.is_none_or(is_of)
            && is(session.as_ref(), event.session.as_ref())
            && from.is_none_or(|from| event.time >= from)
            && to.is_none_or(|to| event.time < to)
    }
}

/// What is looked for, for whoever reads of it later (rule A7): `all`, or the fields that filter.
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

// === impl TrailPage ===

impl Default for TrailPage {
    fn default() -> Self {
        Self {
            limit: 50,
            offset: 0,
            after: None,
        }
    }
}

impl TrailPage {
    /// The first `limit` events.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// As many that come after this place.
    #[must_use]
    pub fn after(mut self, place: TrailCursor) -> Self {
        self.after = Some(place);
        self
    }
}

// === impl TrailList ===

impl TrailList {
    /// A part of the trail: these events, so many in all, the next page there.
    #[must_use]
    pub fn new(events: Vec<AuditEvent>, total: u64, next: Option<TrailCursor>) -> Self {
        Self {
            events,
            total,
            next,
        }
    }
}

impl fmt::Display for TrailCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl readers ===

#[async_trait]
impl<R: TrailReader + ?Sized> TrailReader for std::sync::Arc<R> {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        (**self).read(filter, page).await
    }
}
