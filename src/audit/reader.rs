//! Reading the trail: [`TrailReader`], what to look for, and where the next page starts.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{AuditEvent, EventName, MemorySink};
use crate::{
    BoxError,
    identity::{Subject, UserId},
    session::{SessionId, SubjectKind},
};

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
        let kind = |kind: SubjectKind| event.subject.as_ref().is_some_and(|s| kind.is_of(s));
        self.name.is_none_or(|name| name == event.name)
            && is(self.actor.as_ref(), event.actor.as_ref())
            && is(self.subject.as_ref(), event.subject.as_ref())
            && self.kind.is_none_or(kind)
            && is(self.session.as_ref(), event.session.as_ref())
            && self.from.is_none_or(|from| event.time >= from)
            && self.to.is_none_or(|to| event.time < to)
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

// === impl EventName ===

impl EventName {
    /// Every name there is.
    pub const ALL: &'static [Self] = &[
        Self::Start,
        Self::End,
        Self::Request,
        Self::Denied,
        Self::AccessRaised,
        Self::Extended,
        Self::PrivilegeViolation,
        Self::TrailRead,
    ];

    /// The event of this name, as it is written in the trail.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|event| event.as_str() == name)
    }
}

// === impl readers ===

#[async_trait]
impl<R: TrailReader + ?Sized> TrailReader for std::sync::Arc<R> {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        (**self).read(filter, page).await
    }
}

/// What an event is told from others by, an intent before its outcome.
type Place = (Uuid, bool);

fn place_of(event: &AuditEvent) -> Place {
    let (id, is_intent) = event.key();
    (id, !is_intent)
}

fn read_place(cursor: &TrailCursor) -> Result<Place, InvalidCursor> {
    let (id, later) = cursor.0.split_once('.').ok_or(InvalidCursor)?;
    let id = id.parse().map_err(|_| InvalidCursor)?;
    match later {
        "0" => Ok((id, false)),
        "1" => Ok((id, true)),
        _ => Err(InvalidCursor),
    }
}

#[async_trait]
impl TrailReader for MemorySink {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let before = page.after.as_ref().map(read_place).transpose()?;
        let all = self.events();
        // By their ids, which sort by time; what was written twice is there once.
        let matching: BTreeMap<Place, &AuditEvent> = all
            .iter()
            .filter(|event| filter.matches(event))
            .map(|event| (place_of(event), event))
            .collect();
        let newest_first = matching.iter().rev();
        let mut events: Vec<AuditEvent> = newest_first
            .filter(|(place, _)| before.is_none_or(|before| **place < before))
            .skip(page.offset)
            .take(page.limit.saturating_add(1))
            .map(|(_, event)| (*event).clone())
            .collect();
        let more = events.len() > page.limit;
        events.truncate(page.limit);
        let next = events.last().filter(|_| more).map(|last| {
            let (id, later) = place_of(last);
            TrailCursor(format!("{id}.{}", u8::from(later)))
        });
        Ok(TrailList::new(events, matching.len() as u64, next))
    }
}
