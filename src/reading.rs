//! Reading the trail through the handle: who may, and the event that says so.

use std::sync::Arc;

use http::request::Parts;

use crate::{
    BoxError,
    audit::{EventName, InvalidCursor, TrailFilter, TrailList, TrailPage, TrailReader},
    guarded::{NoAnswer, guarded},
    identity::Rights,
    impersonation::{Impersonation, Inner},
    rejection::{Rejection, RejectionKind},
    vet::Refusal,
};

/// A reading that was allowed and is in the trail itself.
pub(crate) struct Reading {
    inner: Arc<Inner>,
    reader: Arc<dyn TrailReader>,
    filter: TrailFilter,
}

impl Impersonation {
    /// Reads the trail: one's own events, or with [`Rights::READ_TRAIL`] anyone's. The reading is an event as well,
    /// which is durable before anything is read (rule A7).
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unauthenticated`, `NotAdmin`, `Nested`, `MissingRight`, `InvalidRequest` for a cursor
    /// that is none, `NotFound` where no [`trail_reader`](crate::Builder::trail_reader) is set, `TrailUnavailable` or
    /// `Unavailable`.
    pub async fn read_trail(
        &self,
        parts: &Parts,
        filter: TrailFilter,
        page: TrailPage,
    ) -> Result<TrailList, Rejection> {
        let reading = self.open_trail(parts, filter).await?;
        reading.page(&page).await
    }

    pub(crate) async fn open_trail(
        &self,
        parts: &Parts,
        filter: TrailFilter,
    ) -> Result<Reading, Rejection> {
        let subject = filter.subject.clone();
        let opened = self.inner.try_open_trail(parts, filter).await;
        opened.map_err(|refusal| self.inner.refused(parts, subject.as_ref(), refusal))
    }
}

impl Inner {
    async fn try_open_trail(
        self: &Arc<Self>,
        parts: &Parts,
        mut filter: TrailFilter,
    ) -> Result<Reading, Refusal> {
        let actor = self.unacted_actor(parts).await?;
        let opened = async {
            let reader = self.reader.clone().ok_or_else(|| {
                let reason = "no reader is set; see `Builder::trail_reader`";
                Refusal::of(RejectionKind::NotFound, reason)
            })?;
            if !actor.rights().contains(Rights::READ_TRAIL) {
                let own = filter.actor.get_or_insert_with(|| actor.id().clone());
                if own != actor.id() {
                    let reason = "to read the trail of others";
                    return Err(Refusal::of(RejectionKind::MissingRight, reason));
                }
            }
            let mut event = self.trail.event(EventName::TrailRead)?;
            event.actor = Some(actor.id().clone());
            event.subject = filter.subject.clone();
            event.session = filter.session;
            event.reason = Some(described(&filter));
            self.client.describe(&mut event, parts);
            self.trail.record_durable(event).await?;
            Ok(Reading {
                inner: self.clone(),
                reader,
                filter,
            })
        };
        opened
            .await
            .map_err(|refusal: Refusal| refusal.by(actor.id()))
    }
}

impl Reading {
    pub(crate) async fn page(&self, page: &TrailPage) -> Result<TrailList, Rejection> {
        let inner = &self.inner;
        let read = async { self.reader.read(&self.filter, page).await };
        let read = guarded(&*inner.clock, inner.settings.check_timeout, read).await;
        read.map_err(|why| match why {
            NoAnswer::Failed(error) if is_cursor(&error) => {
                Rejection::invalid("`cursor` must be the `next_cursor` of another page")
            }
            why => Refusal::no_answer("trail reader", why).rejection,
        })
    }
}

fn is_cursor(error: &BoxError) -> bool {
    error.is::<InvalidCursor>()
}

/// What was looked for, for whoever reads of it later.
fn described(filter: &TrailFilter) -> String {
    let moment = |at: time::OffsetDateTime| {
        let format = &time::format_description::well_known::Rfc3339;
        at.format(format).unwrap_or_default()
    };
    let parts = [
        filter.name.map(|name| format!("name={name}")),
        filter.actor.as_ref().map(|actor| format!("actor={actor}")),
        filter
            .subject
            .as_ref()
            .map(|subject| format!("subject={subject}")),
        filter.kind.map(|kind| format!("kind={}", kind.as_str())),
        filter.from.map(|from| format!("from={}", moment(from))),
        filter.to.map(|to| format!("to={}", moment(to))),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    match parts.is_empty() {
        true => "all".to_owned(),
        false => parts.join(" "),
    }
}
