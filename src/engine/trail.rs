//! Reading the trail: who may, and the event that says so (rule [A7](crate::rules#a7)).

use std::sync::Arc;

use http::request::Parts;

use super::{Engine, Refusal, end::missing_right};
use crate::{
    audit::{
        InvalidCursor, Summary, SummaryFilter, TrailFilter, TrailList, TrailPage, TrailReader,
        describe_call,
    },
    host::{NoAnswer, Unanswered, guarded},
    rejection::{Rejection, RejectionKind},
    words::{Actor, AuditEvent, BoxError, EventName, Rights},
};

/// A reading of the trail that was allowed and is in the trail itself.
pub(crate) struct Reading {
    engine: Arc<Engine>,
    reader: Arc<dyn TrailReader>,
    filter: TrailFilter,
    /// It is one's own trail, read without the right to anyone's.
    is_own: bool,
}

impl Engine {
    /// Opens the trail for `actor`: their own events, or with [`Rights::READ_TRAIL`] anyone's. That it is read is
    /// durable when this returns.
    pub(crate) async fn open_trail(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        filter: TrailFilter,
    ) -> Result<Reading, Refusal> {
        let opened = self.try_open_trail(actor, parts, filter).await;
        opened.map_err(|refusal| refusal.by(actor.id()))
    }

    async fn try_open_trail(
        self: &Arc<Self>,
        actor: &Actor,
        parts: &Parts,
        mut filter: TrailFilter,
    ) -> Result<Reading, Refusal> {
        let reader = self.reader.clone().ok_or_else(|| {
            let reason = "no reader is set; see `Builder::trail_reader`";
            Refusal::of(RejectionKind::NotFound, reason)
        })?;
        let is_own = !actor.rights().contains(Rights::READ_TRAIL);
        if is_own {
            let own = filter.actor.get_or_insert_with(|| actor.id().clone());
            if own != actor.id() {
                return Err(missing_right("to read the trail of others"));
            }
        }
        let mut event = self.trail.event(EventName::TrailRead)?;
        event.actor = Some(actor.id().clone());
        // Not in `subject` or `session`: a look-up is no part of the history that it looks for.
        event.reason = Some(filter.to_string());
        describe_call(&mut event, &self.client, parts);
        self.trail.record_durable(event).await?;
        Ok(Reading {
            engine: self.clone(),
            reader,
            filter,
            is_own,
        })
    }
}

impl Reading {
    /// How many times as long as one page a summary may take: it reads a week or so of everyone's events.
    const PAGES: u32 = 12;

    /// One page of it.
    pub(crate) async fn page(&self, page: &TrailPage) -> Result<TrailList, Rejection> {
        let read = async { self.reader.read(&self.filter, page).await };
        let read = self.engine.host.calls.ask(READER, read).await;
        let read = read.map(|mut list| {
            if self.is_own {
                list.events.iter_mut().for_each(conceal_why);
            }
            list
        });
        read.map_err(|error| match error.why {
            NoAnswer::Failed(error) if is_cursor(&error) => {
                Rejection::invalid("`cursor` must be the `next_cursor` of another page")
            }
            why => {
                let what = error.what;
                Refusal::from(Unanswered { what, why }).rejection
            }
        })
    }

    /// What each admin did in a time, or this one alone.
    pub(crate) async fn summaries(
        &self,
        mut filter: SummaryFilter,
    ) -> Result<Vec<Summary>, Rejection> {
        filter.actor = self.filter.actor.clone();
        let calls = &self.engine.host.calls;
        let sum_up = async { self.reader.summaries(&filter).await };
        let summaries = guarded(&*calls.clock, calls.timeout * Self::PAGES, sum_up).await;
        summaries.map_err(|why| Refusal::from(Unanswered { what: READER, why }).rejection)
    }
}

/// What is asked, for the log.
const READER: &str = "trail reader";

/// Actors must not learn from their own trail why they were refused (rule [R7](crate::rules#r7)).
fn conceal_why(event: &mut AuditEvent) {
    if matches!(
        event.name,
        EventName::Denied | EventName::PrivilegeViolation
    ) {
        event.rule = None;
        event.reason = None;
    }
}

fn is_cursor(error: &BoxError) -> bool {
    error.is::<InvalidCursor>()
}
