//! Reading the trail, and summing it up: rule A7.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use uuid::Uuid;

use super::{
    super::{
        Summaries, Summary, SummaryFilter, TrailCursor, TrailFilter, TrailList, TrailPage,
        TrailReader,
    },
    *,
};

fn numbered(number: u128, name: EventName) -> AuditEvent {
    AuditEvent::new(Uuid::from_u128(number), NOON, name)
}

fn filter(set: impl FnOnce(&mut TrailFilter)) -> TrailFilter {
    let mut filter = TrailFilter::default();
    set(&mut filter);
    filter
}

#[test]
fn a7_the_filter_by_actor_finds_whose_session_it_was_and_not_who_ended_it() {
    let mut end = numbered(1, EventName::End);
    end.actor = "ada".parse().ok();
    end.by = "root".parse().ok();
    let of = |actor: &str| filter(|filter| filter.actor = actor.parse().ok());
    assert!(of("ada").matches(&end));
    assert!(!of("root").matches(&end));
}

/// Counts what it is asked, and pages through a memory.
#[derive(Clone, Default)]
struct Counting {
    sink: MemorySink,
    reads: Arc<AtomicUsize>,
}

#[async_trait]
impl TrailReader for Counting {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        self.reads.fetch_add(1, SeqCst);
        self.sink.read(filter, page).await
    }
}

/// Groups by itself.
struct Grouping;

#[async_trait]
impl TrailReader for Grouping {
    async fn read(&self, _: &TrailFilter, _: &TrailPage) -> Result<TrailList, BoxError> {
        Err("it is not asked for events".into())
    }

    async fn summaries(&self, filter: &SummaryFilter) -> Result<Vec<Summary>, BoxError> {
        let actor = filter.actor.clone().ok_or("no actor")?;
        let mut summary = Summary::new(actor);
        summary.starts = 7;
        Ok(vec![summary])
    }
}

#[tokio::test]
async fn a7_a_reader_that_does_not_group_is_read_page_by_page() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let reader = Counting::default();
    let mut events = Vec::new();
    for number in 0..1_200 {
        let mut denied = numbered(number, EventName::Denied);
        denied.actor = ["ada", "abe"][number as usize % 2].parse().ok();
        events.push(denied);
    }
    // It began before that time, and lasts on.
    let mut start = numbered(1_200, EventName::Start);
    start.time = NOON - HOUR;
    start.actor = "ada".parse().ok();
    start.session = Some(session(1).id);
    events.push(start);
    reader.sink.write(&events).await.unwrap();

    let now = NOON + HOUR;
    let mut all = SummaryFilter::new(NOON, NOON + HOUR * 24, now).longest_session(HOUR * 2);
    let summaries = reader.summaries(&all).await.unwrap();
    let numbers = |summary: &Summary| {
        let actor = summary.actor.as_str().to_owned();
        (actor, summary.refusals, summary.starts, summary.seconds)
    };
    let numbers: Vec<_> = summaries.iter().map(numbers).collect();
    let expected = [("abe".into(), 600, 0, 0), ("ada".into(), 600, 0, 3_600)];
    assert_eq!(numbers, expected);
    assert_eq!(reader.reads.load(SeqCst), 3);

    all.actor = "abe".parse().ok();
    let own = reader.summaries(&all).await.unwrap();
    assert_eq!(own, summaries[..1]);
}

#[tokio::test]
async fn a7_a_reader_that_groups_is_not_asked_for_events_also_behind_an_arc() {
    let reader: Arc<dyn TrailReader> = Arc::new(Arc::new(Grouping));
    let filter = SummaryFilter::new(NOON, NOON + WINDOW, NOON).of("ada".parse().unwrap());
    let summaries = reader.summaries(&filter).await.unwrap();
    assert_eq!((summaries.len(), summaries[0].starts), (1, 7));
}

#[tokio::test]
async fn a7_a_summary_of_a_reader_that_fails_half_way_is_an_error() {
    struct Failing;

    #[async_trait]
    impl TrailReader for Failing {
        async fn read(&self, _: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
            match page.after {
                None => Ok(TrailList::new(
                    vec![],
                    0,
                    Some(TrailCursor("next".to_owned())),
                )),
                Some(_) => Err("the database is gone".into()),
            }
        }
    }

    let filter = SummaryFilter::new(NOON, NOON + WINDOW, NOON);
    assert!(Failing.summaries(&filter).await.is_err());
}

#[test]
fn a_summary_of_the_first_moment_of_time_does_not_overflow() {
    let first = time::PrimitiveDateTime::MIN.assume_utc();
    let filter = SummaryFilter::new(first, NOON, NOON).longest_session(Duration::MAX);
    assert_eq!(filter.sessions_from, first);
    assert!(Summaries::new(first, NOON).finish(NOON).is_empty());
}
