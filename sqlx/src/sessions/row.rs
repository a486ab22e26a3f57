//! A session as a row.

use std::{sync::Arc, time::Duration};

use time::OffsetDateTime;
use tower_impersonation::{
    Rank,
    session::{EndedReason, Session, SessionId},
};

use crate::{
    columns::{Columns, there},
    moment::to_micros,
    statement::Statement,
    words,
};

/// The columns of a session, in the text of a query.
macro_rules! session_columns {
    () => {
        "id, actor, actor_rank, subject, role, access, reason, ticket, started_at, expires_at, idle_us, \
         last_seen_at, ended_at, ended_reason, address, user_agent"
    };
}

pub(crate) use session_columns;

/// Idle limits above this are none: they could not be added to a time.
const MAX_IDLE: Duration = Duration::from_secs(1000 * 365 * 24 * 60 * 60);

/// A session as it is stored.
pub(super) fn stored(mut session: Session) -> Session {
    session.started_at = to_micros(session.started_at);
    session.expires_at = to_micros(session.expires_at);
    session.last_seen_at = to_micros(session.last_seen_at);
    session.ended_at = session.ended_at.map(to_micros);
    session
}

/// The values that `SessionWords::insert` binds.
pub(super) fn bound<'s>(insert: &'static str, session: &'s Session) -> Statement<'s> {
    Statement::new(insert)
        .bind(session.id)
        .bind(&session.actor)
        .bind(i64::from(session.actor_rank.0))
        .bind(&session.subject)
        .bind(session.subject.kind())
        .bind(session.role.as_deref())
        .bind(session.access.as_str())
        .bind(&*session.reason)
        .bind(session.ticket.as_deref())
        .bind(session.started_at)
        .bind(session.expires_at)
        .bind(idle_us(session))
        .bind(session.last_seen_at)
        .bind(due_at(session))
        .bind(session.address.map(|address| address.to_string()))
        .bind(session.user_agent.as_deref())
}

/// The sessions of these rows.
pub(crate) fn sessions<R: Columns>(rows: &[R]) -> Result<Vec<Arc<Session>>, sqlx::Error> {
    rows.iter().map(|row| session(row)).collect()
}

/// The session of the only row there may be.
pub(crate) fn one<R: Columns>(rows: &[R]) -> Result<Option<Arc<Session>>, sqlx::Error> {
    rows.first().map(|row| session(row)).transpose()
}

fn session(row: &dyn Columns) -> Result<Arc<Session>, sqlx::Error> {
    let word = |column| there(column, row.text(column)?);
    let time = |column| there(column, row.time(column)?);
    let text = |column| Ok::<_, sqlx::Error>(row.text(column)?.map(Arc::from));
    let mut session = Session::new(
        SessionId(there("id", row.id("id")?)?),
        words::parsed("actor", word("actor")?)?,
        words::parsed("subject", word("subject")?)?,
        word("reason")?,
        time("started_at")?,
        time("expires_at")?,
    );
    let rank = there("actor_rank", row.number("actor_rank")?)?;
    session.actor_rank = Rank(u32::try_from(rank).unwrap_or(u32::MAX));
    session.role = text("role")?;
    session.access = words::access(word("access")?);
    session.ticket = text("ticket")?;
    session.idle_timeout = idle_timeout(row.number("idle_us")?);
    session.last_seen_at = time("last_seen_at")?;
    session.ended_at = row.time("ended_at")?;
    let reason = row.text("ended_reason")?;
    session.ended_reason = reason.map(EndedReason::read);
    session.address = row.text("address")?.map(words::address).transpose()?;
    session.user_agent = text("user_agent")?;
    Ok(Arc::new(session))
}

/// The idle limit in microseconds.
fn idle_us(session: &Session) -> Option<i64> {
    let idle = session.idle_timeout;
    (idle <= MAX_IDLE)
        .then(|| i64::try_from(idle.as_micros()).ok())
        .flatten()
}

fn idle_timeout(idle_us: Option<i64>) -> Duration {
    let idle = idle_us.and_then(|us| u64::try_from(us).ok());
    idle.map_or(Duration::MAX, Duration::from_micros)
}

/// When the session is over by itself.
fn due_at(session: &Session) -> OffsetDateTime {
    let idle = idle_us(session).map(time::Duration::microseconds);
    let idle_at = idle.and_then(|idle| session.last_seen_at.checked_add(idle));
    idle_at.map_or(session.expires_at, |at| at.min(session.expires_at))
}
