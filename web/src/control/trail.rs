//! What calls read of the trail, and of what happens now.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tower_impersonation::{
    Admin, Impersonation, Rejection,
    audit::{TrailFilter, TrailPage},
};

use super::{
    call::Call,
    export, live, stream,
    wire::{EventsPage, TrailQuery},
};

impl Call {
    pub(super) async fn audit(
        &self,
        impersonation: &Impersonation,
    ) -> Result<EventsPage, Rejection> {
        let asked = self.query::<TrailQuery>()?.into_filter();
        let (filter, page, _) = asked.map_err(Rejection::invalid)?;
        let list = impersonation.read_trail(&self.parts, filter, page).await?;
        Ok(EventsPage::new(list))
    }

    pub(super) async fn audit_csv(
        &self,
        impersonation: &Impersonation,
    ) -> Result<Response, Rejection> {
        let asked = self.query::<TrailQuery>()?.into_filter();
        let (filter, page, most) = asked.map_err(Rejection::invalid)?;
        let admin = impersonation.admin_for(&self.parts, filter.subject.as_ref());
        csv(&admin.await?, filter, page, most).await
    }

    /// What happens to sessions, for as long as someone listens.
    pub(crate) async fn live(&self, impersonation: &Impersonation) -> Result<Response, Rejection> {
        // Before anyone is asked anything, so that nothing is missed meanwhile.
        let feed = impersonation.feed();
        impersonation.admin(&self.parts).await?;
        let (writer, body) = stream::streamed();
        let parts = self.parts.clone();
        tokio::spawn(live::stream(impersonation.clone(), parts, feed, writer));
        Ok(([(CONTENT_TYPE, "text/event-stream")], body).into_response())
    }
}

/// The trail as CSV: `most` events, or all that match.
pub(crate) async fn csv(
    admin: &Admin<'_>,
    filter: TrailFilter,
    page: TrailPage,
    most: Option<usize>,
) -> Result<Response, Rejection> {
    let headers = [
        (CONTENT_TYPE, "text/csv; charset=utf-8; header=present"),
        (CONTENT_DISPOSITION, "attachment; filename=\"audit.csv\""),
    ];
    let reading = admin.open_trail(filter).await?;
    // The first part before the answer begins, so that what fails at once is refused and not cut off.
    let (first, rest) = export::first(&reading, page, most).await?;
    if rest.is_none() {
        return Ok((headers, Body::from(first)).into_response());
    }
    let (writer, body) = stream::streamed();
    tokio::spawn(async move {
        if writer.send(Ok(first.into())).await.is_ok() {
            export::rest(reading, rest, writer).await;
        }
    });
    Ok((headers, body).into_response())
}
