//! [`Summary`]: what each admin did in a time.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use time::OffsetDateTime;

use crate::words::{AuditEvent, EventName, Outcome, SessionId, Subject, UserId};

/// What an admin did in a time, from the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Who.
    pub actor: UserId,
    /// Sessions started.
    pub starts: u64,
    /// Time in sessions, in whole seconds.
    pub seconds: u64,
    /// Different subjects of sessions.
    pub subjects: u64,
    /// Refused tries.
    pub refusals: u64,
    /// Acted requests that may have changed something.
    pub writes: u64,
}

/// Collects [`Summary`] from events in any order.
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

// === impl Summaries ===

impl Summaries {
    /// Nothing yet, of this time: `from` is in it, `to` is not.
    #[must_use]
    pub fn new(from: OffsetDateTime, to: OffsetDateTime) -> Self {
        Self {
            from,
            to,
            by_actor: BTreeMap::new(),
            sessions: HashMap::new(),
        }
    }

    /// Counts an event. Those outside of the time are left out, but for starts and ends, which tell how long a session
    /// was in it: add those of a day before as well.
    pub fn add(&mut self, event: &AuditEvent) {
        let is_in = self.from <= event.time && event.time < self.to;
        if let Some(session) = event.session {
            let span = self.sessions.entry(session).or_default();
            match event.name {
                EventName::Start => {
                    span.actor = event.actor.clone();
                    span.started = Some(event.time);
                }
                EventName::End => span.ended = Some(event.time),
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

    /// One for each actor of whom there was anything, in the order of their ids. A session that has not ended counts
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
