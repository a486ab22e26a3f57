//! [`Alerts`]: rules over the trail that call host code.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::{AuditSink, summaries::is_refusal};
use crate::words::{AuditEvent, BoxError, EventName, Subject, UserId};

/// How many actors each rule watches at once; the one seen longest ago is forgotten.
const MOST_WATCHED: usize = 10_000;

/// A sink around another one, which calls your hook when a rule over the events matches.
///
/// Each rule counts by actor, in a window that slides with the events' own times, and calls the hook once per
/// window, no matter how often it matches within it. The hook is called after the events are durable. It must not
/// block: have it send into a channel or spawn a task.
///
/// Refusals that repeat are folded (rule [A4](crate::rules#a4)). They count in full, but only when their window is
/// over: the alert may come [`fold_reads`](crate::Builder::fold_reads) later than the refusal.
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::audit::{Alerts, MemorySink};
///
/// const MINUTE: Duration = Duration::from_secs(60);
/// let audit = Alerts::new(MemorySink::default(), |alert| eprintln!("{alert:?}"))
///     .refusals(5, 10 * MINUTE)
///     .starts(8, 60 * MINUTE)
///     .subjects(20, 24 * 60 * MINUTE)
///     .outside_hours(6, 22);
/// ```
pub struct Alerts<S> {
    sink: S,
    rules: Vec<(AlertRule, usize, Duration)>,
    hours: Option<(u8, u8)>,
    hook: Box<dyn Fn(Alert) + Send + Sync>,
    seen: Mutex<Seen>,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// Which rule.
    pub rule: AlertRule,
    /// Who caused it; `None` for attempts of callers who are not signed in.
    pub actor: Option<UserId>,
    /// How many there were in the window.
    pub count: usize,
    /// The time of the event that made it too many.
    pub at: OffsetDateTime,
}

/// The rules of [`Alerts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum AlertRule {
    /// Refused attempts.
    Refusals,
    /// Starts.
    Starts,
    /// Different subjects of starts.
    Subjects,
    /// A start at an unusual hour, in UTC.
    Hours,
}

type Key = (AlertRule, Option<UserId>);

#[derive(Default)]
struct Seen {
    windows: HashMap<Key, Window>,
}

#[derive(Default)]
struct Window {
    events: VecDeque<(OffsetDateTime, Option<Subject>)>,
    /// Until then the rule stays silent.
    silent_until: Option<OffsetDateTime>,
}

// === impl Alerts ===

impl<S: AuditSink> Alerts<S> {
    /// Writes to `sink`, and calls `hook` when a rule matches. Add rules with the methods below.
    ///
    /// A hook that panics is logged; the events stay written.
    pub fn new(sink: S, hook: impl Fn(Alert) + Send + Sync + 'static) -> Self {
        Self {
            sink,
            rules: Vec::new(),
            hours: None,
            hook: Box::new(hook),
            seen: Mutex::default(),
        }
    }

    /// Alerts on this many refused attempts of one actor within the window.
    #[must_use]
    pub fn refusals(self, count: usize, window: Duration) -> Self {
        self.rule(AlertRule::Refusals, count, window)
    }

    /// Alerts on this many starts of one actor within the window.
    #[must_use]
    pub fn starts(self, count: usize, window: Duration) -> Self {
        self.rule(AlertRule::Starts, count, window)
    }

    /// Alerts when one actor's starts within the window have this many different subjects.
    #[must_use]
    pub fn subjects(self, count: usize, window: Duration) -> Self {
        self.rule(AlertRule::Subjects, count, window)
    }

    /// Alerts on a start before the hour `from` or at the hour `to` or later, in UTC; `outside_hours(22, 6)` allows
    /// the night. Once per actor and hour.
    #[must_use]
    pub fn outside_hours(mut self, from: u8, to: u8) -> Self {
        self.hours = Some((from, to));
        self
    }

    fn rule(mut self, rule: AlertRule, count: usize, window: Duration) -> Self {
        self.rules.push((rule, count.max(1), window));
        self
    }

    fn look(&self, event: &AuditEvent) -> Vec<Alert> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut alerts = Vec::new();
        for (rule, most, window) in &self.rules {
            let concerns = match rule {
                AlertRule::Refusals => is_refusal(event),
                _ => event.name == EventName::Start,
            };
            if concerns {
                // A folded refusal stands for several.
                let times = usize::try_from(event.count.unwrap_or(1))
                    .unwrap_or(*most)
                    .min(*most);
                alerts.extend(seen.count(*rule, event, times, *most, *window));
            }
        }
        if let (Some((from, to)), EventName::Start) = (self.hours, &event.name) {
            let hour = event.time.hour();
            let is_usual = match from <= to {
                true => (from..to).contains(&hour),
                false => hour >= from || hour < to,
            };
            if !is_usual {
                let window = Duration::from_secs(60 * 60);
                alerts.extend(seen.count(AlertRule::Hours, event, 1, 1, window));
            }
        }
        alerts
    }
}

impl Seen {
    fn count(
        &mut self,
        rule: AlertRule,
        event: &AuditEvent,
        times: usize,
        most: usize,
        window: Duration,
    ) -> Option<Alert> {
        let now = event.time;
        let key = (rule, event.actor.clone());
        if self.windows.len() >= MOST_WATCHED && !self.windows.contains_key(&key) {
            let last = |window: &Window| window.events.back().map(|(at, _)| *at);
            let oldest = self.windows.iter().min_by_key(|(_, window)| last(window));
            let oldest = oldest.map(|(key, _)| key.clone());
            oldest.and_then(|key| self.windows.remove(&key));
        }
        let seen = self.windows.entry(key).or_default();
        seen.events
            .extend(std::iter::repeat_n((now, event.subject.clone()), times));
        while seen
            .events
            .front()
            .is_some_and(|(at, _)| now - *at >= window)
        {
            seen.events.pop_front();
        }
        let count = match rule {
            AlertRule::Subjects => {
                let subjects = seen.events.iter().map(|(_, subject)| subject);
                subjects.collect::<BTreeSet<_>>().len()
            }
            _ => seen.events.len(),
        };
        // What is more than enough need not be kept.
        if rule != AlertRule::Subjects {
            let surplus = seen.events.len().saturating_sub(most);
            seen.events.drain(..surplus);
        }
        if count < most || seen.silent_until.is_some_and(|until| now < until) {
            return None;
        }
        seen.silent_until = Some(now + window);
        Some(Alert {
            rule,
            actor: event.actor.clone(),
            count,
            at: now,
        })
    }
}

#[async_trait]
impl<S: AuditSink> AuditSink for Alerts<S> {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        self.sink.write(events).await?;
        for alert in events.iter().flat_map(|event| self.look(event)) {
            // The events are durable: a panic here would have them written again, and count them twice.
            if catch_unwind(AssertUnwindSafe(|| (self.hook)(alert))).is_err() {
                tracing::error!(target: "tower_impersonation", "the hook of the alerts panicked");
            }
        }
        Ok(())
    }
}

impl<S> fmt::Debug for Alerts<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Alerts")
            .field("rules", &self.rules)
            .field("hours", &self.hours)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use time::macros::datetime;
    use uuid::Uuid;

    use super::*;
    use crate::{
        audit::{MemorySink, Outcome, Summaries},
        words::SessionId,
    };

    const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
    const MINUTE: Duration = Duration::from_secs(60);

    fn event(name: EventName, actor: &str, minutes: u32) -> AuditEvent {
        let mut event = AuditEvent::new(Uuid::nil(), NOON + MINUTE * minutes, name);
        event.actor = Some(actor.parse().unwrap());
        event
    }

    fn about(mut event: AuditEvent, subject: &str, session: u128) -> AuditEvent {
        event.subject = Some(subject.parse().unwrap());
        event.session = Some(SessionId(Uuid::from_u128(session)));
        event
    }

    type Heard = Arc<Mutex<Vec<Alert>>>;

    fn heard() -> (Heard, impl Fn(Alert) + Send + Sync + 'static) {
        let heard = Heard::default();
        let hook = heard.clone();
        (heard, move |alert| hook.lock().unwrap().push(alert))
    }

    async fn tell(alerts: &Alerts<MemorySink>, events: impl IntoIterator<Item = AuditEvent>) {
        for event in events {
            alerts.write(&[event]).await.unwrap();
        }
    }

    #[tokio::test]
    async fn five_refusals_in_ten_minutes_call_once_and_not_five_times() {
        let (heard, hook) = heard();
        let alerts = Alerts::new(MemorySink::default(), hook).refusals(5, MINUTE * 10);
        let denied = |actor, minutes: &[u32]| -> Vec<AuditEvent> {
            minutes
                .iter()
                .map(|at| event(EventName::Denied, actor, *at))
                .collect()
        };
        // Others', reads and starts do not count; nor does what is longer ago.
        tell(&alerts, denied("abe", &[0, 0, 0, 0])).await;
        tell(
            &alerts,
            [
                event(EventName::Start, "ada", 0),
                event(EventName::Request, "ada", 0),
            ],
        )
        .await;
        tell(&alerts, denied("ada", &[0, 1, 2, 3, 10])).await;
        assert_eq!(*heard.lock().unwrap(), []);
        tell(&alerts, denied("ada", &[10, 11, 12, 13, 14, 15])).await;
        let first: Vec<_> = heard.lock().unwrap().drain(..).collect();
        assert_eq!(first.len(), 1, "{first:?}");
        assert_eq!((first[0].rule, first[0].count), (AlertRule::Refusals, 5));
        assert_eq!(first[0].actor.as_ref().unwrap().as_str(), "ada");
        // The next window calls again.
        tell(&alerts, denied("ada", &[30, 30, 30, 30, 30])).await;
        assert_eq!(heard.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_sink_that_fails_calls_nobody() {
        let (heard, hook) = heard();
        let failing = crate::audit::sink_fn(|_| Err("no".into()));
        let alerts = Alerts::new(failing, hook).refusals(1, MINUTE);
        assert!(
            alerts
                .write(&[event(EventName::Denied, "ada", 0)])
                .await
                .is_err()
        );
        assert_eq!(*heard.lock().unwrap(), []);
    }

    #[tokio::test]
    async fn a5_a_hook_that_panics_does_not_have_the_events_written_again() {
        let sink = MemorySink::default();
        let hook = |_| panic!("the hook panics, as the test wants it to");
        let alerts = Alerts::new(sink.clone(), hook).refusals(1, MINUTE);
        alerts
            .write(&[event(EventName::Denied, "ada", 0)])
            .await
            .unwrap();
        assert_eq!(sink.events().len(), 1);
    }

    #[tokio::test]
    async fn an_actor_who_is_watched_already_drives_nobody_out() {
        let (heard, hook) = heard();
        let alerts = Alerts::new(MemorySink::default(), hook).refusals(2, MINUTE * 60);
        let denied = |actor: &str, minutes| event(EventName::Denied, actor, minutes);
        tell(&alerts, [denied("ada", 0)]).await;
        let others: Vec<_> = (1..MOST_WATCHED)
            .map(|n| denied(&format!("u{n}"), 1))
            .collect();
        alerts.write(&others).await.unwrap();
        tell(&alerts, [denied("u1", 2), denied("ada", 3)]).await;
        let actors: Vec<_> = heard
            .lock()
            .unwrap()
            .drain(..)
            .map(|alert| alert.actor)
            .collect();
        assert_eq!(actors, ["u1", "ada"].map(|actor| actor.parse().ok()));
    }

    #[tokio::test]
    async fn more_starts_other_subjects_and_unusual_hours_call_by_their_own_rules() {
        let (heard, hook) = heard();
        let alerts = Alerts::new(MemorySink::default(), hook)
            .starts(3, MINUTE * 60)
            .subjects(2, MINUTE * 60)
            .outside_hours(6, 13);
        let start = |subject, minutes| about(event(EventName::Start, "ada", minutes), subject, 1);
        tell(&alerts, [start("ines", 0), start("ines", 1)]).await;
        assert_eq!(*heard.lock().unwrap(), []);
        tell(
            &alerts,
            [
                start("otto", 2),
                start("otto", 3),
                start("mia", 60),
                start("mia", 61),
            ],
        )
        .await;
        let rules: Vec<_> = heard
            .lock()
            .unwrap()
            .iter()
            .map(|alert| alert.rule)
            .collect();
        assert_eq!(
            rules,
            [AlertRule::Starts, AlertRule::Subjects, AlertRule::Hours]
        );
        let (heard, hook) = super::tests::heard();
        let night = Alerts::new(MemorySink::default(), hook).outside_hours(22, 13);
        tell(&night, [start("ines", 0), start("ines", 60)]).await;
        assert_eq!(heard.lock().unwrap().len(), 1);
    }

    #[test]
    fn a_summary_is_what_one_counts_by_hand() {
        let write = |outcome, actor, minutes| {
            let mut event = about(event(EventName::Request, actor, minutes), "ines", 1);
            event.method = Some("POST".to_owned());
            event.outcome = Some(outcome);
            event
        };
        let read = |minutes| {
            let mut event = write(Outcome::Completed, "ada", minutes);
            event.method = Some("GET".to_owned());
            event
        };
        let mut folded = event(EventName::Denied, "ada", 7);
        folded.count = Some(3);
        let day = 24 * 60;
        let events = [
            about(event(EventName::Start, "ada", 10), "ines", 1),
            // Ended by someone else: the time is still its actor's.
            about(event(EventName::End, "root", 30), "ines", 1),
            about(event(EventName::Start, "ada", 40), "otto", 2),
            about(event(EventName::End, "ada", 45), "otto", 2),
            about(event(EventName::Start, "ada", 50), "otto", 3),
            about(event(EventName::Start, "abe", 55), "mia", 4),
            write(Outcome::Intent, "ada", 11),
            write(Outcome::Completed, "ada", 11),
            write(Outcome::Failed, "ada", 12),
            write(Outcome::Refused, "ada", 13),
            read(14),
            folded,
            event(EventName::Denied, "ada", 8),
            event(EventName::PrivilegeViolation, "mia", 9),
            // Not of this time.
            about(event(EventName::Start, "ada", day), "kim", 5),
            event(EventName::Denied, "ada", day),
        ];
        let mut summaries = Summaries::new(NOON, NOON + MINUTE * day);
        events.iter().rev().for_each(|event| summaries.add(event));
        let summary = summaries.finish(NOON + MINUTE * 60);
        let numbers = |actor: &str| {
            let s = summary
                .iter()
                .find(|summary| summary.actor.as_str() == actor)
                .unwrap();
            (s.starts, s.seconds / 60, s.subjects, s.refusals, s.writes)
        };
        assert_eq!(numbers("ada"), (3, 20 + 5 + 10, 2, 4, 2));
        assert_eq!(numbers("abe"), (1, 5, 1, 0, 0));
        assert_eq!(numbers("mia"), (0, 0, 0, 1, 0));
        assert_eq!(summary.len(), 3);
    }
}
