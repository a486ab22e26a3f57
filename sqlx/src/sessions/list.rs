//! Lists of sessions, newest first, page by page.

use time::OffsetDateTime;
use tower_impersonation::session::{Page, SessionFilter, SessionId, SessionList};

use super::{SessionDialect, SqlSessions, row};
use crate::{columns::Columns as _, count::up_to_bound, statement::Statement, words};

impl<D: SessionDialect> SqlSessions<D> {
    pub(super) async fn try_list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, sqlx::Error> {
        // What is open is asked for on the way to an end, and found by an index; the rest may wait for the host.
        let mut connection = match filter.is_active {
            Some(true) => self.reserve().connection().await?,
            _ => self.reserve().host().acquire().await?,
        };
        let mut list = Statement::new(D::SESSIONS.select);
        push_filter(&mut list, filter, now);
        if let Some(before) = page.before {
            let place = place_of::<D>(&mut connection, before).await?;
            list.push(" and (started_at, id) < (").push_value(place);
            list.push(", ").push_value(before).push(")");
        }
        list.push(" order by started_at desc, id desc limit ");
        list.push_number(page.limit.saturating_add(1));
        list.push(" offset ").push_number(page.offset);
        let mut found = row::sessions(&D::rows(&mut connection, list).await?)?;
        let more = found.len() > page.limit;
        found.truncate(page.limit);

        let total = if more || page.offset > 0 || page.before.is_some() {
            let mut count = Statement::new(D::SESSIONS.count);
            push_filter(&mut count, filter, now);
            up_to_bound::<D>(&mut connection, count).await?
        } else {
            found.len() as u64
        };
        Ok(SessionList {
            next: found.last().filter(|_| more).map(|last| last.id),
            sessions: found,
            total,
        })
    }
}

/// When the session started that a page comes after. One that is not in the table is found by the time in its id.
async fn place_of<D: SessionDialect>(
    connection: &mut D::Connection,
    before: SessionId,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    let started_at = Statement::new(D::SESSIONS.started_at).bind(before);
    let rows = D::rows(connection, started_at).await?;
    if let Some(row) = rows.first() {
        return row.time("started_at");
    }
    let (seconds, nanos) = match before.0.get_timestamp() {
        Some(at) => at.to_unix(),
        None => return Ok(None),
    };
    let at = i64::try_from(seconds).ok();
    let at = at.and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    Ok(at.and_then(|at| at.replace_nanosecond(nanos).ok()))
}

fn push_filter<'f>(statement: &mut Statement<'f>, filter: &'f SessionFilter, now: OffsetDateTime) {
    statement.push("true");
    if let Some(actor) = &filter.actor {
        statement.push(" and actor = ").push_value(actor);
    }
    if let Some(subject) = &filter.subject {
        statement.push(" and subject = ").push_value(subject);
    }
    if let Some(kind) = filter.kind {
        statement.push(" and kind = ").push_value(words::kind(kind));
    }
    match filter.is_active {
        Some(true) => {
            statement.push(" and ended_at is null and due_at > ");
            statement.push_value(now);
        }
        Some(false) => {
            statement.push(" and (ended_at is not null or due_at <= ");
            statement.push_value(now).push(")");
        }
        None => {}
    }
    if let Some(from) = filter.from {
        statement.push(" and started_at >= ").push_value(from);
    }
    if let Some(to) = filter.to {
        statement.push(" and started_at < ").push_value(to);
    }
}
