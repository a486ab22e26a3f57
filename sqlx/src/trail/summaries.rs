//! What each admin did in a time, grouped by the database. It comes out at what
//! [`Summaries`](tower_impersonation::audit::Summaries) counts.

use time::OffsetDateTime;
use tower_impersonation::audit::{EventName, Outcome, Summary, SummaryFilter};

use super::{SqlTrail, TrailDialect};
use crate::{
    columns::{Columns, there},
    moment::next_micros,
    statement::Statement,
};

impl<D: TrailDialect> SqlTrail<D> {
    pub(super) async fn try_summaries(
        &self,
        filter: &SummaryFilter,
    ) -> Result<Vec<Summary>, sqlx::Error> {
        let mut connection = self.reserve().host().acquire().await?;
        let rows = D::rows(&mut connection, grouped::<D>(filter)).await?;
        let mut summaries = Vec::with_capacity(rows.len());
        for row in &rows {
            // An actor that is no user id is not one of this release (rule A6).
            summaries.extend(summary(row)?);
        }
        // As ids compare, and not as the database sorts text.
        summaries.sort_by(|one, other| one.actor.cmp(&other.actor));
        Ok(summaries)
    }
}

fn grouped<D: TrailDialect>(filter: &SummaryFilter) -> Statement<'_> {
    let mut grouped = Statement::new("with starts as (");
    starts::<D>(&mut grouped, filter);
    grouped.push("), ends as (");
    ends::<D>(&mut grouped, filter);
    grouped.push("), spans as (");
    spans::<D>(&mut grouped, filter);
    grouped.push("), parts as (");
    parts::<D>(&mut grouped, filter);
    grouped.push(SUMS);
    grouped
}

const SUMS: &str = ") select actor, \
       cast(sum(starts) as bigint) as starts, cast(sum(subjects) as bigint) as subjects, \
       cast(sum(refusals) as bigint) as refusals, cast(sum(writes) as bigint) as writes, \
       cast(sum(seconds) as bigint) as seconds \
     from parts group by actor";

/// The first start of each session, also of those that started before the time.
fn starts<'f, D: TrailDialect>(statement: &mut Statement<'f>, filter: &'f SummaryFilter) {
    statement.push(
        "select session, actor, time, \
         row_number() over (partition by session order by time, seq) as nth from ",
    );
    let since = filter.sessions_from.min(filter.from);
    events::<D>(statement, filter, since);
    is(statement, EventName::Start).push(" and session is not null");
}

/// The first end of each.
fn ends<'f, D: TrailDialect>(statement: &mut Statement<'f>, filter: &'f SummaryFilter) {
    statement.push("select session, min(time) as time from ");
    let since = filter.sessions_from.min(filter.from);
    events::<D>(statement, filter, since);
    is(statement, EventName::End).push(" and session is not null group by session");
}

/// What of each session lies in the time.
fn spans<D: TrailDialect>(statement: &mut Statement<'_>, filter: &SummaryFilter) {
    let last = filter.to.min(filter.now);
    statement.push("select s.actor, ").push(D::TRAIL.greatest);
    statement
        .push("(s.time, ")
        .push_value(next_micros(filter.from));
    statement.push(") as started, ").push(D::TRAIL.least);
    statement.push("(coalesce(e.time, ").push_value(last);
    statement.push("), ").push_value(last).push(
        ") as ended from starts s left join ends e on e.session = s.session \
         where s.nth = 1 and s.actor is not null",
    );
}

/// Each actor up to four times: their starts, their refusals, what they wrote, and their time in sessions.
fn parts<'f, D: TrailDialect>(statement: &mut Statement<'f>, filter: &'f SummaryFilter) {
    statement.push(
        "select actor, count(*) as starts, count(distinct subject) as subjects, 0 as refusals, \
         0 as writes, 0 as seconds from ",
    );
    events::<D>(statement, filter, filter.from);
    is(statement, EventName::Start).push(" and actor is not null group by actor");

    statement
        .push(" union all select actor, 0, 0, ")
        .push(TIMES)
        .push(", 0, 0 from ");
    events::<D>(statement, filter, filter.from);
    statement.push(" and actor is not null and name in (");
    word(statement, EventName::Denied.as_str()).push(", ");
    word(statement, EventName::PrivilegeViolation.as_str()).push(") group by actor");

    statement
        .push(" union all select actor, 0, 0, 0, ")
        .push(TIMES)
        .push(", 0 from ");
    events::<D>(statement, filter, filter.from);
    // What is NULL may have changed something.
    is(statement, EventName::Request).push(
        " and actor is not null and coalesce(method, '') not in ('GET', 'HEAD', 'OPTIONS') \
         and coalesce(outcome, '') not in (",
    );
    word(statement, Outcome::Intent.as_str()).push(", ");
    word(statement, Outcome::Refused.as_str()).push(") group by actor");

    statement
        .push(" union all select actor, 0, 0, 0, 0, sum(")
        .push(D::TRAIL.seconds);
    statement.push(") from spans where started < ended group by actor");
}

/// An event that was folded counts as often as it came.
const TIMES: &str = "sum(coalesce(\"count\", 1))";

/// The events of the time, and of the actor where that is asked for.
fn events<'f, D: TrailDialect>(
    statement: &mut Statement<'f>,
    filter: &'f SummaryFilter,
    since: OffsetDateTime,
) {
    statement.push(D::TRAIL.trail).push(" where time >= ");
    statement
        .push_value(next_micros(since))
        .push(" and time < ");
    statement.push_value(next_micros(filter.to));
    if let Some(actor) = &filter.actor {
        statement.push(" and actor = ").push_value(actor);
    }
}

fn is<'s, 'v>(statement: &'s mut Statement<'v>, name: EventName) -> &'s mut Statement<'v> {
    statement.push(" and name = ");
    word(statement, name.as_str())
}

/// One of our own words, in the text: so the planner sees which index fits.
fn word<'s, 'v>(statement: &'s mut Statement<'v>, word: &str) -> &'s mut Statement<'v> {
    statement.push("'").push(word).push("'")
}

fn summary(row: &dyn Columns) -> Result<Option<Summary>, sqlx::Error> {
    let Ok(actor) = there("actor", row.text("actor")?)?.parse() else {
        return Ok(None);
    };
    let number = |column| there(column, row.number(column)?).map(i64::unsigned_abs);
    let mut summary = Summary::new(actor);
    summary.starts = number("starts")?;
    summary.subjects = number("subjects")?;
    summary.refusals = number("refusals")?;
    summary.writes = number("writes")?;
    summary.seconds = number("seconds")?;
    Ok(Some(summary))
}
