//! Reading the trail: [`TrailReader`], what to look for, and where the next page starts.

use std::fmt;

use async_trait::async_trait;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Summaries, Summary, SummaryFilter};
use crate::words::{AuditEvent, BoxError, EventName, SessionId, Subject, SubjectKind, UserId};

/// Reads what a sink has written. For [`Builder::trail_reader`](crate::Builder::trail_reader).
///
/// Reading is an event itself, and needs [`Rights::READ_TRAIL`](crate::Rights::READ_TRAIL) for the events of others.
/// [`Impersonation::read_trail`](crate::Impersonation::read_trail) sees to both before it calls the reader (rule
/// [A7](crate::rules#a7)).
///
/// # Writing a reader
///
/// A sink that keeps the newest events in memory, and reads them back. A database filters, pages and counts in SQL
/// instead, and groups there what [`summaries`](Self::summaries) asks for.
///
/// ```
/// use std::{collections::VecDeque, sync::Mutex};
///
/// use async_trait::async_trait;
/// use tower_impersonation::{
///     BoxError,
///     audit::{
///         AuditEvent, AuditSink, EventName, InvalidCursor, TrailCursor, TrailFilter, TrailList,
///         TrailPage, TrailReader,
///     },
/// };
///
/// /// The newest events, newest first, each with its number.
/// #[derive(Default)]
/// struct Newest(Mutex<VecDeque<(u64, AuditEvent)>>);
///
/// const MOST: usize = 10_000;
///
/// #[async_trait]
/// impl AuditSink for Newest {
///     async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
///         let mut kept = self.0.lock().map_err(|_| "poisoned")?;
///         for event in events {
///             let number = kept.front().map_or(1, |(last, _)| last + 1);
///             kept.push_front((number, event.clone()));
///         }
///         kept.truncate(MOST);
///         Ok(())
///     }
/// }
///
/// #[async_trait]
/// impl TrailReader for Newest {
///     async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
///         let before = match &page.after {
///             Some(TrailCursor(number)) => number.parse().map_err(|_| InvalidCursor)?,
///             None => u64::MAX,
///         };
///         let kept = self.0.lock().map_err(|_| "poisoned")?;
///         let matching = || kept.iter().filter(|(_, event)| filter.matches(event));
///         let mut rest = matching().filter(|(number, _)| *number < before).skip(page.offset);
///         let events: Vec<_> = rest.by_ref().take(page.limit).collect();
///         // There is a next page only if anything is left for it.
///         let next = rest.next().and(events.last());
///         let next = next.map(|(number, _)| TrailCursor(number.to_string()));
///         let events = events.iter().map(|(_, event)| event.clone()).collect();
///         Ok(TrailList::new(events, matching().count() as u64, next))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// # use time::macros::datetime;
/// # use uuid::Uuid;
/// let newest = Newest::default();
/// for number in 0..5 {
///     let noon = datetime!(2026-11-20 12:00 UTC);
///     newest.write(&[AuditEvent::new(Uuid::from_u128(number), noon, EventName::Start)]).await?;
/// }
/// let first = newest.read(&TrailFilter::default(), &TrailPage::first(3)).await?;
/// assert_eq!((first.events.len(), first.total), (3, 5));
/// let next = TrailPage::first(3).after(first.next.ok_or("two are left")?);
/// let second = newest.read(&TrailFilter::default(), &next).await?;
/// assert_eq!((second.events.len(), second.next), (2, None));
/// # Ok(())
/// # }
/// ```
#[async_trait]
pub trait TrailReader: Send + Sync + 'static {
    /// Events that match, newest first. An intent and its outcome are two of them, with the same id.
    ///
    /// # Errors
    ///
    /// [`InvalidCursor`] for a cursor that this reader has not made; anything else is a failure of the reader.
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError>;

    /// What each admin did in a time, in the order of their ids. An actor who did nothing in it is left out.
    ///
    /// By default this reads every event of that time, 500 at once, and counts with [`Summaries`]. A database that can
    /// group should: the result has to be the same.
    ///
    /// # Errors
    ///
    /// A failure of the reader.
    async fn summaries(&self, filter: &SummaryFilter) -> Result<Vec<Summary>, BoxError> {
        const AT_ONCE: usize = 500;

        let events = filter.events();
        let mut summaries = Summaries::new(filter.from, filter.to);
        let mut page = Some(TrailPage::first(AT_ONCE));
        while let Some(next) = page {
            let list = self.read(&events, &next).await?;
            list.events.iter().for_each(|event| summaries.add(event));
            page = list.next.map(|next| TrailPage::first(AT_ONCE).after(next));
        }
        Ok(summaries.finish(filter.now))
    }
}

/// Which events to read. `None` does not filter.
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

/// Which part of the trail to read, newest first.
///
/// ```
/// use tower_impersonation::audit::{TrailCursor, TrailPage};
///
/// // The `next` of the list before.
/// let place = TrailCursor("01a1f8d3.1".to_owned());
/// let page = TrailPage::first(100).after(place);
/// assert_eq!((page.limit, page.offset), (100, 0));
/// ```
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

/// What is looked for, as the event of the reading says it (rule A7): `all`, or the fields that filter.
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
    /// These events, this many that match in all, and where the next page starts.
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

    async fn summaries(&self, filter: &SummaryFilter) -> Result<Vec<Summary>, BoxError> {
        (**self).summaries(filter).await
    }
}
