//! Reading the trail, newest first, page by page.

use async_trait::async_trait;
use tower_impersonation::{
    BoxError,
    audit::{AuditEvent, Summary, SummaryFilter, TrailFilter, TrailList, TrailPage, TrailReader},
};

use super::{SqlTrail, TrailDialect, fields, filter, place::Place};
use crate::{
    columns::{Columns, there},
    count::up_to_bound,
    moment::micros,
    statement::Statement,
};

#[async_trait]
impl<D: TrailDialect> TrailReader for SqlTrail<D> {
    /// Counts up to [`COUNTED`](crate::COUNTED); a `total` of one more means "more than that".
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let after = page.after.as_ref().map(Place::of).transpose()?;
        let after = after.map(|place| place.moment().map(|time| (time, place.seq)));
        let after = after.transpose()?;
        let mut connection = self.reserve().host().acquire().await?;

        let mut select = Statement::new("select seq, ");
        select
            .push(fields::columns())
            .push(" from ")
            .push(D::TRAIL.trail)
            .push(" where ");
        filter::push(&mut select, filter);
        if let Some((time, seq)) = after {
            // The first condition says nothing new, but spares the partitions of later months.
            select.push(" and time <= ").push_value(time);
            select.push(" and (time, seq) < (").push_value(time);
            select.push(", ").push_value(seq).push(")");
        }
        select.push(" order by time desc, seq desc limit ");
        select.push_number(page.limit.saturating_add(1));
        select.push(" offset ").push_number(page.offset);
        let rows = D::rows(&mut connection, select).await?;
        let events = rows
            .iter()
            .map(|row| placed(row))
            .collect::<Result<Vec<_>, _>>()?;

        let is_all = events.len() <= page.limit && page.offset == 0 && page.after.is_none();
        let total = if is_all {
            events.len() as u64
        } else {
            let mut count = Statement::new("select count(*) as total from (select 1 from ");
            count.push(D::TRAIL.trail).push(" where ");
            filter::push(&mut count, filter);
            up_to_bound::<D>(&mut connection, count).await?
        };
        Ok(list(events, page.limit, total))
    }

    /// Grouped by the database.
    async fn summaries(&self, filter: &SummaryFilter) -> Result<Vec<Summary>, BoxError> {
        Ok(self.try_summaries(filter).await?)
    }
}

/// An event, and its place among those of the same time.
fn placed(row: &dyn Columns) -> Result<(i64, AuditEvent), sqlx::Error> {
    Ok((there("seq", row.number("seq")?)?, fields::event(row)?))
}

/// Makes the list of one row more than the page has.
fn list(mut rows: Vec<(i64, AuditEvent)>, limit: usize, total: u64) -> TrailList {
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|(seq, event)| {
        let time = micros(event.time);
        Place { time, seq: *seq }.cursor()
    });
    let events = rows.into_iter().map(|(_, event)| event).collect();
    TrailList::new(events, total, next)
}
