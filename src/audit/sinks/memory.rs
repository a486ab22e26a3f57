//! [`MemorySink`]: the trail in memory, and its reader.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{
    audit::{
        AuditEvent, AuditSink, InvalidCursor, TrailCursor, TrailFilter, TrailList, TrailPage,
        TrailReader,
    },
    words::BoxError,
};

/// Keeps events in memory, all of them, for tests. Clones share them.
///
/// ```
/// use time::macros::datetime;
/// use tower_impersonation::audit::{AuditEvent, AuditSink, EventName, MemorySink};
/// use uuid::Uuid;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_impersonation::BoxError> {
/// let sink = MemorySink::default();
/// let kept = sink.clone();
/// let start = AuditEvent::new(Uuid::nil(), datetime!(2026-11-20 12:00 UTC), EventName::Start);
/// sink.write(&[start.clone()]).await?;
/// assert_eq!(kept.events(), [start]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemorySink {
    events: Arc<Mutex<Vec<AuditEvent>>>,
}

// === impl MemorySink ===

impl MemorySink {
    /// What was written so far. Call [`Trail::flush`](crate::audit::Trail::flush) first to see everything.
    #[must_use]
    pub fn events(&self) -> Vec<AuditEvent> {
        let events = self.events.lock();
        events.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl AuditSink for MemorySink {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let kept = self.events.lock();
        kept.unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(events);
        Ok(())
    }
}

/// Tells an event from all others, and sorts an intent before its outcome.
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
