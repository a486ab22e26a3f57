//! [`Summary`]: what each admin did within a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use serde::Serialize;
use time::OffsetDateTime;

use super::TrailFilter;
use crate::words::{AuditEvent, EventName, Outcome, SessionId, Subject, UserId};

/// What one admin did within a time, counted from the trail.
///
/// A reader that groups in its database makes them with [`new`](Self::new) and sets the numbers:
///
/// ```
/// use tower_impersonation::audit::Summary;
///
/// let mut summary = Summary::new("ada".parse()?);
/// summary.starts = 3;
/// summary.seconds = 5_400;
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Who.
    pub actor: UserId,
    /// Sessions started.
    pub starts: u64,
    /// Time spent in sessions, in whole seconds.
    pub seconds: u64,
    /// Different subjects of sessions.
    pub subjects: u64,
    /// Refused attempts.
    pub refusals: u64,
    /// Acted requests that may have changed something.
    pub writes: u64,
}

/// Which time to sum up, and for which actor.
///
/// ```
/// use std::time::Duration;
///
/// use time::macros::datetime;
/// use tower_impersonation::audit::SummaryFilter;
///
/// const HOUR: Duration = Duration::from_secs(60 * 60);
/// let now = datetime!(2026-11-20 12:00 UTC);
/// let week = SummaryFilter::new(now - HOUR * 24 * 7, now, now).longest_session(HOUR * 8);
/// assert_eq!(week.sessions_from, datetime!(2026-11-13 4:00 UTC));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryFilter {
    /// Only this actor. Default: all.
    pub actor: Option<UserId>,
    /// Then or later.
    pub from: OffsetDateTime,
    /// Before then.
    pub to: OffsetDateTime,
    /// Sessions that started then or later are counted with the part of their time that lies in between, so this may be
    /// earlier than `from`. Default: the same.
    pub sessions_from: OffsetDateTime,
    /// A session that has not ended counts until now.
    pub now: OffsetDateTime,
}

/// Makes [`Summary`] from events in any order. It is what [`TrailReader::summaries`](super::TrailReader::summaries)
/// uses by default; a reader that groups in its database must come to the same numbers.
///
/// ```
/// use time::{Duration, macros::datetime};
/// use tower_impersonation::audit::{AuditEvent, EventName, Summaries};
/// use uuid::Uuid;
///
/// let noon = datetime!(2026-11-20 12:00 UTC);
/// let mut refused = AuditEvent::new(Uuid::nil(), noon, EventName::Denied);
/// refused.actor = Some("ada".parse()?);
/// refused.count = Some(3);
///
/// let mut summaries = Summaries::new(noon, noon + Duration::WEEK);
/// summaries.add(&refused);
/// let [ada] = &summaries.finish(noon + Duration::HOUR)[..] else { panic!("one actor") };
/// assert_eq!((ada.refusals, ada.starts), (3, 0));
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug)]
pub struct Summaries {
    from: OffsetDateTime,
    to: OffsetDateTime,
    by_actor: BTreeMap<UserId, Counts>,
    sessions: HashMap<SessionId, Span>,
}

#[derive(Debug, Default)]
struct Counts {
    starts: u64,
    seconds: u64,
    subjects: BTreeSet<Subject>,
    refusals: u64,
    writes: u64,
}

#[derive(Debug, Default)]
struct Span {
    actor: Option<UserId>,
    started: Option<OffsetDateTime>,
    ended: Option<OffsetDateTime>,
}

// === impl Summary ===

impl Summary {
    /// A summary of this actor with all numbers at zero.
    #[must_use]
    pub fn new(actor: UserId) -> Self {
        Self {
            actor,
            starts: 0,
            seconds: 0,
            subjects: 0,
            refusals: 0,
            writes: 0,
        }
    }
}

// === impl SummaryFilter ===

impl SummaryFilter {
    /// What everyone did from `from` up to, but not including, `to`. `now` bounds the time of sessions that have
    /// not ended.
    #[must_use]
    pub fn new(from: OffsetDateTime, to: OffsetDateTime, now: OffsetDateTime) -> Self {
        Self {
            actor: None,
            from,
            to,
            sessions_from: from,
            now,
        }
    }

    /// Only what this actor did.
    #[must_use]
    pub fn of(mut self, actor: UserId) -> Self {
        self.actor = Some(actor);
        self
    }

    /// Sessions last no longer than this: those that started so long before `from` are counted too.
    #[must_use]
    pub fn longest_session(mut self, lifetime: Duration) -> Self {
        let lifetime = lifetime.try_into().unwrap_or(time::Duration::MAX);
        self.sessions_from = self.from.saturating_sub(lifetime);
        self
    }

    /// The events that have to be counted for it.
    #[must_use]
    pub fn events(&self) -> TrailFilter {
        TrailFilter {
            actor: self.actor.clone(),
            from: Some(self.sessions_from.min(self.from)),
            to: Some(self.to),
            ..TrailFilter::default()
        }
    }
}

// === impl Summaries ===

impl Summaries {
    /// No events yet. The time is from `from` up to, but not including, `to`.
    #[must_use]
    pub fn new(from: OffsetDateTime, to: OffsetDateTime) -> Self {
        Self {
            from,
            to,
            by_actor: BTreeMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// Counts an event. Events outside the time are ignored, except starts and ends, which say how long a session
    /// lasted within it: add those since [`SummaryFilter::sessions_from`] as well.
    pub fn add(&mut self, event: &AuditEvent) {
        let is_in = self.from <= event.time && event.time < self.to;
        if let Some(session) = event.session {
            match event.name {
                EventName::Start => {
                    let span = self.sessions.entry(session).or_default();
                    span.actor = event.actor.clone();
                    span.started = Some(event.time);
                }
                EventName::End => {
                    self.sessions.entry(session).or_default().ended = Some(event.time);
                }
                _ => {}
            }
        }
        let (Some(actor), true) = (&event.actor, is_in) else {
            return;
        };
        let times = event.count.unwrap_or(1);
        let is_start = event.name == EventName::Start;
        let is_write = event.name == EventName::Request && is_write(event);
        let is_refusal = is_refusal(event);
        if !(is_start || is_write || is_refusal) {
            return;
        }
        let counts = self.by_actor.entry(actor.clone()).or_default();
        if is_start {
            counts.starts += 1;
            counts.subjects.extend(event.subject.clone());
        } else if is_write {
            counts.writes += times;
        } else {
            counts.refusals += times;
        }
    }

    /// One for each actor who did anything, in the order of their ids. A session that has not ended counts
    /// until `now`.
    #[must_use]
    pub fn finish(mut self, now: OffsetDateTime) -> Vec<Summary> {
        let last = self.to.min(now);
        for span in self.sessions.into_values() {
            let (Some(actor), Some(started)) = (span.actor, span.started) else {
                continue;
            };
            let (start, end) = (started.max(self.from), span.ended.unwrap_or(last).min(last));
            if start < end {
                let seconds = u64::try_from((end - start).whole_seconds()).unwrap_or_default();
                self.by_actor.entry(actor).or_default().seconds += seconds;
            }
        }
        let summary = |(actor, counts): (UserId, Counts)| Summary {
            actor,
            starts: counts.starts,
            seconds: counts.seconds,
            subjects: counts.subjects.len() as u64,
            refusals: counts.refusals,
            writes: counts.writes,
        };
        self.by_actor.into_iter().map(summary).collect()
    }
}

pub(super) fn is_refusal(event: &AuditEvent) -> bool {
    matches!(
        event.name,
        EventName::Denied | EventName::PrivilegeViolation
    )
}

/// An acted request that reached its handler and may have changed something. Its intent is counted by its outcome.
fn is_write(event: &AuditEvent) -> bool {
    let is_read = matches!(event.method.as_deref(), Some("GET" | "HEAD" | "OPTIONS"));
    !is_read && !matches!(event.outcome, Some(Outcome::Intent | Outcome::Refused))
}
