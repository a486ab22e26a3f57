//! Ending sessions, and seeing to it that each end has its event (rule A1).

use std::{io::ErrorKind, sync::Arc, time::Duration};

use time::OffsetDateTime;
use tokio::time::timeout;
use tower_impersonation::{
    audit::{AuditEvent, Call},
    session::{EndedReason, Session, SessionId},
};

use super::{SessionDialect, SqlSessions, row};
use crate::{moment::to_micros, statement::Statement, trail::SqlTrail};

/// How long an end waits until there is room for its event. For a lock on the trail it waits as long:
/// `SessionWords::end` sees to that.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no end with its event.
enum Failed {
    /// The session is not ended, and would not be without its event either.
    Store(sqlx::Error),
    /// Only its event stood in the way.
    Trail(sqlx::Error),
}

// === impl SqlSessions ===

impl<D: SessionDialect> SqlSessions<D> {
    /// Ends an active session. Its event follows.
    pub(super) async fn try_end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, sqlx::Error> {
        let ended = row::one(&self.ask(end::<D>(id, reason, now, false)).await?)?;
        self.tell_ended(ended.as_slice()).await;
        Ok(ended)
    }

    /// The same, with its event in the same transaction. `None` when that cannot be: nothing was done.
    pub(super) async fn try_end_recorded(
        &self,
        id: SessionId,
        reason: EndedReason,
        call: &Call,
        now: OffsetDateTime,
    ) -> Option<Result<Option<Arc<Session>>, sqlx::Error>> {
        // An end must not depend on what else the trail goes to (rule S5).
        let alone = self.trail.as_ref().filter(|_| self.trail_also_in.is_none());
        let end = end::<D>(id, reason, now, true);
        match self.end_in(alone?, end, call, now).await {
            Ok(ended) => {
                self.tell_ended(ended.as_slice()).await;
                Some(Ok(ended))
            }
            Err(Failed::Store(error)) => Some(Err(error)),
            Err(Failed::Trail(error)) => {
                tracing::warn!(
                    target: "tower_impersonation",
                    error = &error as &dyn std::error::Error,
                    "the event of an end is not written with it; it follows"
                );
                None
            }
        }
    }

    /// Has everyone forget what has ended, here and on the other replicas (rule S9). Also where nothing is left to end:
    /// whoever has ended it may still be waiting for that.
    async fn tell_ended(&self, ended: &[Arc<Session>]) {
        self.listeners().tell_ended(ended);
        self.heard_by_all().await;
    }

    async fn end_in(
        &self,
        trail: &SqlTrail<D>,
        end: Statement<'_>,
        call: &Call,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, Failed> {
        let room = timeout(PATIENCE, trail.make_room(to_micros(now))).await;
        let room = room.unwrap_or_else(|_| Err(sqlx::Error::Io(ErrorKind::TimedOut.into())));
        room.map_err(Failed::Trail)?;
        let mut connection = self.reserve().connection().await?;
        D::make_durable(&mut connection).await?;
        let mut transaction = self.reserve().begin_on(connection).await?;
        let Some(session) = row::one(&D::rows(&mut transaction, end).await?)? else {
            transaction.rollback().await?;
            return Ok(None);
        };
        let event = [AuditEvent::end_of(&session, call)];
        let written = trail.insert(&mut transaction, &event).await;
        // With an error its connection goes, and takes the end back.
        written.map_err(Failed::Trail)?;
        transaction.commit().await?;
        Ok(Some(session))
    }

    /// Ends what is past its end.
    pub(super) async fn try_end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, sqlx::Error> {
        let end_due = Statement::new(D::SESSIONS.end_due);
        let end_due = end_due.bind(now).bind(at_most(limit));
        let ended = row::sessions(&self.ask(end_due).await?)?;
        self.listeners().tell_ended(&ended);
        Ok(ended)
    }

    /// Ends whose event may be missing.
    pub(super) async fn try_unconfirmed(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, sqlx::Error> {
        let unconfirmed = Statement::new(D::SESSIONS.unconfirmed);
        let unconfirmed = unconfirmed.bind(before).bind(at_most(limit));
        row::sessions(&self.ask(unconfirmed).await?)
    }

    /// The events of these ends are durable.
    pub(super) async fn try_confirm(&self, ids: &[SessionId]) -> Result<(), sqlx::Error> {
        let Some((first, others)) = ids.split_first() else {
            return Ok(());
        };
        let mut confirm = Statement::new(D::SESSIONS.confirm);
        confirm.push_value(*first);
        for id in others {
            confirm.push(", ").push_value(*id);
        }
        confirm.push(")");
        let mut connection = self.reserve().connection().await?;
        D::execute(&mut connection, confirm).await.map(drop)
    }
}

fn end<D: SessionDialect>(
    id: SessionId,
    reason: EndedReason,
    now: OffsetDateTime,
    is_confirmed: bool,
) -> Statement<'static> {
    let end = Statement::new(D::SESSIONS.end);
    let end = end.bind(id).bind(now).bind(reason.as_str());
    end.bind(is_confirmed)
}

fn at_most(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

// === impl Failed ===

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error)
    }
}
