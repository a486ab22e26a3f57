//! Starting a session: limits, insert and events in one transaction (rules S2, S3 and A1).

use std::sync::Arc;

use time::OffsetDateTime;
use tower_impersonation::{
    UserId,
    audit::{AuditEvent, Call},
    session::{EndedReason, Limits, Session, StartError, Started},
};

use super::{SessionDialect, SqlSessions, row};
use crate::{
    columns::{Columns as _, there},
    moment::to_micros,
    statement::Statement,
    trail::SqlTrail,
    transaction::Transaction,
};

/// What is recorded with a start, and where.
pub(super) type Record<'r, D> = (&'r AuditEvent, &'r SqlTrail<D>);

impl<D: SessionDialect> SqlSessions<D> {
    /// Whether the limits let this session start now.
    pub(super) async fn try_check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        let mut connection = self.reserve().host().acquire().await.map_err(failed)?;
        let mut active = open_of::<D>(&mut connection, &session.actor).await?;
        active.retain(|session| session.is_active(now));
        let starts = starts_of::<D>(&mut connection, &session.actor, limits, now).await?;
        limits
            .admit(&session.subject, &active, &starts, now)
            .map(drop)
    }

    pub(super) async fn try_start(
        &self,
        session: Session,
        limits: &Limits,
        record: Option<Record<'_, D>>,
    ) -> Result<Started, StartError> {
        let session = row::stored(session);
        if let Some((event, trail)) = record {
            trail.make_room(event.time).await.map_err(failed)?;
        }
        let mut connection = self.reserve().host().acquire().await.map_err(failed)?;
        if record.is_some() {
            D::make_durable(&mut connection).await.map_err(failed)?;
        }
        let begun = self.reserve().begin_on(connection).await;
        let mut transaction = begun.map_err(failed)?;
        // Elsewhere the event of an end comes later, and is confirmed by whoever sees to that.
        let confirmed_by = record.map(|(_, trail)| trail);
        let confirmed_by = confirmed_by.filter(|_| self.trail_also_in.is_none());
        let ended = match make_way(&mut transaction, &session, limits, confirmed_by).await {
            Ok(ended) => ended,
            Err(refused) => return Err(take_back(transaction, refused).await),
        };
        if let Err(refused) = insert(&mut transaction, &session).await {
            return Err(take_back(transaction, refused).await);
        }
        if let Some((event, trail)) = record {
            let mut events: Vec<_> = ended
                .iter()
                .filter_map(|ended| end_of(ended, trail))
                .collect();
            events.push(event.clone());
            let written = trail.insert(&mut transaction, &events).await;
            written.map_err(failed)?;
            if let Some(sink) = &self.trail_also_in {
                sink.write(&events).await.map_err(StartError::Trail)?;
            }
        }
        transaction.commit().await.map_err(failed)?;
        let started = Started {
            session: Arc::new(session),
            ended,
        };
        self.listeners().tell_started(&started);
        if !started.ended.is_empty() {
            self.heard_by_all().await;
        }
        Ok(started)
    }
}

/// The event of an end that a start has made. None where a month would have to be made for it: the sweep does that.
fn end_of<D: SessionDialect>(ended: &Session, trail: &SqlTrail<D>) -> Option<AuditEvent> {
    let event = AuditEvent::end_of(ended, &Call::default());
    trail.has_room(event.time).then_some(event)
}

/// Ends what is overdue or replaced, in the order in which that happened; refuses what the limits refuse.
async fn make_way<D: SessionDialect>(
    transaction: &mut Transaction<D>,
    session: &Session,
    limits: &Limits,
    confirmed_by: Option<&SqlTrail<D>>,
) -> Result<Vec<Arc<Session>>, StartError> {
    let now = session.started_at;
    if let Some(lock) = D::SESSIONS.lock {
        let lock = Statement::new(lock).bind(&session.actor);
        transaction.execute(lock).await.map_err(failed)?;
    }
    let open = open_of::<D>(transaction, &session.actor).await?;
    let (active, due): (Vec<_>, Vec<_>) =
        open.into_iter().partition(|session| session.is_active(now));
    let starts = starts_of::<D>(transaction, &session.actor, limits, now).await?;
    let replaced = limits.admit(&session.subject, &active, &starts, now)?;

    let overdue = due.iter().map(|session| {
        let (reason, at) = session.due(now).unwrap_or((EndedReason::Timeout, now));
        session.ended(reason, to_micros(at))
    });
    let replaced = replaced
        .into_iter()
        .map(|session| session.ended(EndedReason::Replaced, to_micros(now)));
    let mut ended = Vec::new();
    for session in overdue.chain(replaced) {
        let is_confirmed = confirmed_by.is_some_and(|trail| end_of(&session, trail).is_some());
        let close = Statement::new(D::SESSIONS.close)
            .bind(session.id)
            .bind(session.ended_at)
            .bind(session.ended_reason.map(EndedReason::as_str))
            .bind(is_confirmed);
        // Otherwise someone else has ended it meanwhile, and tells of it.
        if transaction.execute(close).await.map_err(failed)? > 0 {
            ended.push(Arc::new(session));
        }
    }
    Ok(ended)
}

async fn insert<D: SessionDialect>(
    transaction: &mut Transaction<D>,
    session: &Session,
) -> Result<(), StartError> {
    let insert = row::bound(D::SESSIONS.insert, session);
    match transaction.execute(insert).await {
        Ok(_) => Ok(()),
        // Someone wrote past the lock: the index behind it holds (rule S2).
        Err(sqlx::Error::Database(error)) if D::is_second(&*error) => {
            Err(StartError::AlreadyActive)
        }
        Err(error) => Err(failed(error)),
    }
}

/// A refusal leaves a sound connection, which a failure does not.
async fn take_back<D: SessionDialect>(
    transaction: Transaction<D>,
    refused: StartError,
) -> StartError {
    if !matches!(refused, StartError::Store(_))
        && let Err(error) = transaction.rollback().await
    {
        // Its connection is closed, and the database takes back what it did.
        tracing::debug!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "a refused start was not rolled back by its own connection"
        );
    }
    refused
}

/// Not ended yet, oldest first.
async fn open_of<D: SessionDialect>(
    connection: &mut D::Connection,
    actor: &UserId,
) -> Result<Vec<Arc<Session>>, StartError> {
    let open = Statement::new(D::SESSIONS.open).bind(actor);
    let rows = D::rows(connection, open).await.map_err(failed)?;
    row::sessions(&rows).map_err(failed)
}

/// The newest starts within the hour, as many as count, oldest first (rule S3).
async fn starts_of<D: SessionDialect>(
    connection: &mut D::Connection,
    actor: &UserId,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Vec<OffsetDateTime>, StartError> {
    let starts = Statement::new(D::SESSIONS.starts)
        .bind(actor)
        .bind(Limits::window_start(now))
        .bind(i64::from(limits.starts_per_hour));
    let rows = D::rows(connection, starts).await.map_err(failed)?;
    let started_at = |row: &D::Row| there("started_at", row.time("started_at")?);
    let starts: Result<_, _> = rows.iter().rev().map(started_at).collect();
    starts.map_err(failed)
}

fn failed(error: sqlx::Error) -> StartError {
    StartError::Store(Box::new(error))
}
