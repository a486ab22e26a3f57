//! Summaries that the databases group come out at what the core counts event by event.

use std::time::Duration;

use async_trait::async_trait;
use time::{OffsetDateTime, macros::datetime};
use tower_impersonation::{
    BoxError, Subject,
    audit::{
        AuditEvent, AuditSink, EventName, Outcome, Summary, SummaryFilter, TrailFilter, TrailList,
        TrailPage, TrailReader,
    },
    session::SessionId,
};
use tower_impersonation_sqlx::{PostgresTrail, SqliteTrail};
use uuid::Uuid;

use crate::host::{Lite, Pg, user};

const FROM: OffsetDateTime = datetime!(2026-11-02 0:00 UTC);
const DAY: Duration = Duration::from_secs(86_400);

/// Numbers in an order that is the same each time (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn maybe(&mut self) -> bool {
        self.below(4) > 0
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }

    /// Around the time that is summed up, often right at its ends.
    fn time(&mut self) -> OffsetDateTime {
        match self.below(10) {
            0 => FROM,
            1 => FROM + 7 * DAY,
            _ => FROM - DAY + Duration::from_micros(self.below(9 * 86_400_000_000)),
        }
    }

    fn event(&mut self) -> AuditEvent {
        let names = [
            EventName::Start,
            EventName::End,
            EventName::Request,
            EventName::Request,
            EventName::Denied,
            EventName::PrivilegeViolation,
            EventName::TrailRead,
            EventName::AccessRaised,
        ];
        let id = Uuid::from_u64_pair(self.below(u64::MAX), self.below(u64::MAX));
        let mut event = AuditEvent::new(id, self.time(), self.one(&names));
        let actors = ["ada", "Ada", "eve", "Zoë", "~x"].map(user);
        let subjects: [Subject; 4] =
            ["ines", "otto", "~anon", "~service"].map(|id| id.parse().unwrap());
        event.actor = self.maybe().then(|| self.one(&actors));
        event.subject = self.maybe().then(|| self.one(&subjects));
        // Few sessions, so that some have several starts and ends.
        let session = SessionId(Uuid::from_u128(self.below(300).into()));
        event.session = self.maybe().then_some(session);
        let methods = ["GET", "HEAD", "OPTIONS", "POST", "DELETE", "get"];
        event.method = self.maybe().then(|| self.one(&methods).to_owned());
        let outcomes = [
            Outcome::Intent,
            Outcome::Completed,
            Outcome::Failed,
            Outcome::Refused,
            Outcome::Unknown,
        ];
        event.outcome = self.maybe().then(|| self.one(&outcomes));
        event.count = self.maybe().then(|| self.below(100) + 1);
        event
    }
}

/// A reader as it would be without grouping.
struct Plain<T>(T);

#[async_trait]
impl<T: TrailReader> TrailReader for Plain<T> {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        self.0.read(filter, page).await
    }
}

async fn same(trail: impl AuditSink + TrailReader + Clone) {
    let mut random = Random(4711);
    let events: Vec<_> = (0..5_000).map(|_| random.event()).collect();
    trail.write(&events).await.unwrap();
    let plain = Plain(trail.clone());
    let nanos = Duration::from_nanos(300);
    let week = FROM + 7 * DAY;
    let mut all = 0;
    for filter in [
        SummaryFilter::new(FROM, week, week),
        SummaryFilter::new(FROM, week, FROM + 3 * DAY).longest_session(DAY),
        SummaryFilter::new(FROM + DAY + nanos, week - nanos, week + DAY).longest_session(DAY),
        SummaryFilter::new(FROM, week, week).of(user("Zoë")),
        SummaryFilter::new(FROM, week, week).of(user("nobody")),
        SummaryFilter::new(FROM, week, FROM - DAY),
        SummaryFilter::new(week, FROM, week),
    ] {
        let grouped: Vec<Summary> = trail.summaries(&filter).await.unwrap();
        let counted = plain.summaries(&filter).await.unwrap();
        assert_eq!(grouped, counted, "{filter:?}");
        all += grouped.len();
    }
    assert!(all > 15, "there is something to compare: {all}");
}

#[tokio::test]
async fn summaries_that_a_database_groups_are_those_that_the_core_counts() {
    same(PostgresTrail::new(Pg::new().await.pool)).await;
    let file = Lite::new().await;
    same(SqliteTrail::new(file.pool.clone())).await;
}
