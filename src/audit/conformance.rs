//! What every [`AuditSink`] has to pass, yours included.
//!
//! 1. Events are kept in the order they come in, within a write and across writes, whatever the size of a
//!    write.
//! 2. Every field survives, whatever text is in it, and words that this release does not know as well; one without a
//!    value is absent or null.
//! 3. An intent and its outcome, which share an id, are both kept.
//! 4. After a write that failed, or that was dropped half-way, the same events come again with more behind
//!    them. None gets lost, and a reader of the trail can tell which ones were kept twice ([`Repeated`]).
//! 5. No text makes a write fail: one event must not hold up the trail for all others.
//!
//! ```
//! use tower_impersonation::audit::{
//!     MemorySink,
//!     conformance::{self, Repeated},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let sink = MemorySink::default();
//! let kept = sink.clone();
//! conformance::run(sink, Repeated::KeptAgain, || async {
//!     let events = kept.events();
//!     events.iter().map(|event| serde_json::to_value(event).unwrap()).collect()
//! })
//! .await;
//! # }
//! ```

use std::{collections::HashSet, future::Future, pin::pin, task::Poll, time::Duration};

use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{AuditEvent, AuditSink, EventName, Outcome, trail::MAX_BATCH};
use crate::{
    session::SessionId,
    words::{Access, Ids, MAX_HEADER, MAX_PATH, Subject, UserId},
};

/// What a sink does with events that it already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Repeated {
    /// It keeps each event once, as a table with a unique key does.
    KeptOnce,
    /// It may keep them again, as a file does. [`AuditEvent::key`] tells.
    KeptAgain,
}

/// Text that some sink somewhere did not keep as it was.
const ODD_TEXTS: [&str; 12] = [
    "",
    " ends in a space ",
    "two\nlines\r\nand a tab\t",
    "\u{1}\u{1b}[31mred\u{7f}\u{85}",
    "\u{2028}\u{2029}\u{202e}desrever\u{2069}\u{200f}\u{feff}",
    "\"quoted\" 'quoted' `quoted` \\ \\n \\u0000",
    "'; DROP TABLE events; --",
    "=HYPERLINK(\"x\"), comma; %41 %zz ${x} {} $1 ?",
    "null",
    "\u{e4}\u{df}\u{4f60}\u{597d} \u{645}\u{631}\u{62d}\u{628}\u{627}",
    "\u{1f469}\u{200d}\u{1f680}\u{10ffff}\u{fffd}",
    "e\u{301} is not \u{e9}",
];

/// Runs the suite over `sink`, which has to be empty.
///
/// `read_back` gives everything that the sink holds, oldest first, each event as JSON with the keys that
/// [`AuditEvent`] lists.
///
/// # Panics
///
/// When the sink does not conform.
pub async fn run<S, R, F>(sink: S, repeated: Repeated, read_back: R)
where
    S: AuditSink,
    R: Fn() -> F,
    F: Future<Output = Vec<Value>>,
{
    let mut suite = Suite {
        sink,
        repeated,
        read_back,
        ids: Ids::default(),
        kept: Vec::new(),
    };
    suite.check("an empty sink").await;
    suite.order().await;
    suite.fields().await;
    suite.odd_texts().await;
    suite.pairs().await;
    suite.repeats().await;
    suite.dropped_writes().await;
    suite.large_batches().await;
    suite.any_text_is_taken().await;
}

struct Suite<S, R> {
    sink: S,
    repeated: Repeated,
    read_back: R,
    ids: Ids,
    /// What the sink has to hold.
    kept: Vec<AuditEvent>,
}

impl<S, R, F> Suite<S, R>
where
    S: AuditSink,
    R: Fn() -> F,
    F: Future<Output = Vec<Value>>,
{
    async fn order(&mut self) {
        let one = self.events(1);
        self.write("a write of one event", &one).await;
        let several = self.events(7);
        self.write("a write of several", &several).await;
        // The ids go up, but what counts is the order in which the events come in.
        let mut turned = self.events(3);
        turned.reverse();
        self.write("a write out of the ids' order", &turned).await;
    }

    async fn fields(&mut self) {
        let full = self.full();
        self.write("an event with every field", &[full]).await;

        let names = [
            EventName::Start,
            EventName::End,
            EventName::Request,
            EventName::Denied,
            EventName::AccessRaised,
            EventName::Extended,
            EventName::PrivilegeViolation,
            EventName::TrailRead,
        ];
        let bare: Vec<_> = names.map(|name| self.event(name)).into();
        self.write("every name, and no other field", &bare).await;

        let outcomes = [
            Outcome::Intent,
            Outcome::Completed,
            Outcome::Failed,
            Outcome::Cancelled,
            Outcome::Refused,
        ];
        let outcomes: Vec<_> = outcomes
            .map(|outcome| {
                let mut event = self.full();
                event.outcome = Some(outcome);
                event
            })
            .into();
        self.write("every outcome", &outcomes).await;

        let mut others = Vec::new();
        for subject in [Subject::Anonymous, Subject::Service] {
            let mut event = self.full();
            event.subject = Some(subject);
            event.access = Some(Access::ReadOnly);
            event.address = Some([127, 0, 0, 1].into());
            // As much as fits where there are no unsigned numbers.
            event.count = Some(i64::MAX as u64);
            event.status = Some(999);
            others.push(event);
        }
        self.write("other subjects, and large numbers", &others)
            .await;

        let mut newer = self.full();
        newer.name = EventName::read("impersonation.of_a_newer_release");
        newer.outcome = Some(Outcome::read("of_a_newer_release"));
        self.write("words of a newer release", &[newer]).await;
    }

    async fn odd_texts(&mut self) {
        let mut events = Vec::new();
        for text in ODD_TEXTS {
            events.push(self.with_text(text));
        }
        let long = "\u{4f60}".repeat(MAX_PATH / 3);
        let mut event = self.with_text(&long[..MAX_HEADER / 3 * 3]);
        event.path = Some(long.clone());
        event.route = Some(long);
        event.reason = Some("\u{1f680}".repeat(500));
        event.actor = UserId::new("\u{4f60}".repeat(UserId::MAX_LEN / 3)).ok();
        events.push(event);
        self.write("odd texts", &events).await;
    }

    async fn pairs(&mut self) {
        let mut intent = self.full();
        intent.outcome = Some(Outcome::Intent);
        intent.status = None;
        let mut outcome = intent.clone();
        outcome.outcome = Some(Outcome::Completed);
        outcome.status = Some(204);
        self.write("an intent with its outcome", &[intent, outcome])
            .await;

        let mut intent = self.full();
        intent.outcome = Some(Outcome::Intent);
        let mut outcome = intent.clone();
        outcome.outcome = Some(Outcome::Failed);
        self.write("an intent", &[intent]).await;
        self.write("its outcome", &[outcome]).await;
    }

    async fn repeats(&mut self) {
        let mut events = self.events(3);
        events[2].outcome = Some(Outcome::Intent);
        self.write("events that will come again", &events).await;
        self.again("the same events again", &events, 0).await;
        events.extend(self.events(2));
        self.again("the same events with more behind them", &events, 2)
            .await;
    }

    async fn dropped_writes(&mut self) {
        for polls in [1, 2] {
            let events = self.events(4);
            {
                let mut write = pin!(self.sink.write(&events));
                let mut left = polls;
                std::future::poll_fn(|cx| {
                    left -= 1;
                    match write.as_mut().poll(cx) {
                        Poll::Pending if left > 0 => Poll::Pending,
                        _ => Poll::Ready(()),
                    }
                })
                .await;
            }
            self.again("events of a write that was dropped", &events, 4)
                .await;
        }
    }

    async fn large_batches(&mut self) {
        let mut events = Vec::new();
        for _ in 0..MAX_BATCH {
            events.push(self.full());
        }
        self.write("the largest batch", &events).await;
        let one = self.events(1);
        self.write("a small one behind it", &one).await;
    }

    /// A zero byte is what some databases do not have in a text. It may be replaced, but the event is kept.
    async fn any_text_is_taken(&mut self) {
        let event = self.with_text("zero\0byte");
        let written = self.sink.write(std::slice::from_ref(&event)).await;
        assert!(
            written.is_ok(),
            "a zero byte makes a write fail: {written:?}"
        );
        let id = event.id.to_string();
        let kept = (self.read_back)().await;
        let is_there = kept.iter().any(|kept| kept["id"] == id.as_str());
        assert!(is_there, "an event with a zero byte is not kept");
    }

    /// Writes new events and reads them back.
    async fn write(&mut self, what: &str, events: &[AuditEvent]) {
        let written = self.sink.write(events).await;
        assert!(written.is_ok(), "{what}: {written:?}");
        self.kept.extend_from_slice(events);
        self.check(what).await;
    }

    /// Writes events of which the last `new` were not kept for sure, and reads them back.
    async fn again(&mut self, what: &str, events: &[AuditEvent], new: usize) {
        let written = self.sink.write(events).await;
        assert!(written.is_ok(), "{what}: {written:?}");
        self.kept.extend_from_slice(&events[events.len() - new..]);
        self.check(what).await;
    }

    async fn check(&self, what: &str) {
        let mut kept: Vec<Value> = (self.read_back)().await.iter().map(plain).collect();
        if self.repeated == Repeated::KeptAgain {
            let mut seen = HashSet::new();
            kept.retain(|event| seen.insert(key(event)));
        }
        let expected = self.kept.iter().map(|event| {
            let json = serde_json::to_value(event).expect("an event is plain data");
            plain(&json)
        });
        for (at, expected) in expected.enumerate() {
            let kept = kept.get(at);
            assert_eq!(kept, Some(&expected), "{what}: event {at} of the trail");
        }
        assert_eq!(kept.len(), self.kept.len(), "{what}: there are too many");
    }

    fn events(&self, count: usize) -> Vec<AuditEvent> {
        let event = |_| self.event(EventName::Request);
        (0..count).map(event).collect()
    }

    fn event(&self, name: EventName) -> AuditEvent {
        let time = now();
        AuditEvent::new(self.ids.next(time), time, name)
    }

    fn with_text(&self, text: &str) -> AuditEvent {
        let mut event = self.full();
        event.reason = Some(text.to_owned());
        event.method = Some(text.to_owned());
        event.path = Some(text.to_owned());
        event.route = Some(text.to_owned());
        event.user_agent = Some(text.to_owned());
        event.request_id = Some(text.to_owned());
        event
    }

    fn full(&self) -> AuditEvent {
        let mut event = self.event(EventName::Request);
        event.actor = "ada".parse().ok();
        event.subject = "ines".parse().ok();
        event.session = Some(SessionId(self.ids.next(event.time)));
        event.reason = Some("ticket 4711".to_owned());
        event.access = Some(Access::ReadWrite);
        event.method = Some("POST".to_owned());
        event.path = Some("/orders/7".to_owned());
        event.route = Some("/orders/{id}".to_owned());
        event.status = Some(201);
        event.outcome = Some(Outcome::Completed);
        event.rule = Some("read_only".into());
        event.count = Some(3);
        event.address = Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into());
        event.user_agent = Some("Mozilla/5.0".to_owned());
        event.request_id = Some("4f1c".to_owned());
        event.by = "zoe".parse().ok();
        for field in AuditEvent::FIELDS {
            let has_value = field.get(&event).is_some();
            assert!(has_value, "A6: this suite has to set `{}`", field.name());
        }
        event
    }
}

/// A time that every database can keep: to the microsecond.
fn now() -> OffsetDateTime {
    OffsetDateTime::UNIX_EPOCH + Duration::from_micros(1_795_262_400_123_456)
}

/// Without nulls, and the time in one way of writing it.
fn plain(event: &Value) -> Value {
    let mut event = event.clone();
    if let Some(fields) = event.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
        if let Some(time) = fields.get_mut("time") {
            let parsed = time
                .as_str()
                .and_then(|time| OffsetDateTime::parse(time, &Rfc3339).ok());
            if let Some(parsed) = parsed {
                *time = parsed.unix_timestamp_nanos().to_string().into();
            }
        }
    }
    event
}

/// [`AuditEvent::key`] of an event in JSON.
fn key(event: &Value) -> (Option<String>, bool) {
    let id = event["id"].as_str().map(str::to_owned);
    (id, event["outcome"] == "intent")
}
