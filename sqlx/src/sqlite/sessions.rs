//! [`SqliteSessions`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sqlx::{
    QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, query, query_scalar, sqlite::SqliteRow,
};
use time::OffsetDateTime;
use tower_impersonation::{
    BoxError, Rank, Subject, UserId,
    audit::{AuditEvent, AuditSink},
    session::{
        EndedReason, Limits, Page, Session, SessionChange, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};
use uuid::Uuid;

use super::{SqliteTrail, micros, time, trail};
use crate::{
    COUNTED,
    columns::{self, session_columns, stored},
    listeners::Listeners,
};

/// Sessions in SQLite, for one process. Clones share their listeners.
///
/// Call [`migrate`](super::migrate) before. Times are kept to the microsecond, and an idle limit of more than a
/// thousand years is none. A list's `total` is exact up to [`COUNTED`].
///
/// Look-ups are fast enough to go without a cache.
#[derive(Clone)]
pub struct SqliteSessions {
    pool: SqlitePool,
    listeners: Arc<Listeners>,
    /// The trail is in the same database: a start writes its event itself.
    records_starts: Option<Uuid>,
    /// And to what else the trail goes to.
    starts_also_in: Option<Arc<dyn AuditSink>>,
}

// === impl SqliteSessions ===

impl SqliteSessions {
    /// Sessions in the database of this pool.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            pool,
            listeners: Arc::default(),
            records_starts: None,
            starts_also_in: None,
        }
    }

    /// Starts a session and writes its event in one transaction. `trail` has to be in the same
    /// file. Where a [`FanOut`](tower_impersonation::audit::FanOut) writes to other sinks as well,
    /// [`with_starts_also_in`](Self::with_starts_also_in) brings the starts there. Default: the event is written first, then
    /// the session.
    #[must_use]
    pub fn with_starts_in(mut self, trail: &SqliteTrail) -> Self {
        self.records_starts = Some(trail.process());
        self
    }

    /// What else has to have the event of a start: of a [`FanOut`](tower_impersonation::audit::FanOut), all but
    /// the trail of [`with_starts_in`](Self::with_starts_in), without which this does nothing.
    ///
    /// Written within the transaction, right before it is committed: where this fails, nothing starts. Unlike
    /// the trail's writer, starts of several actors write at the same time. Default: nothing.
    #[must_use]
    pub fn with_starts_also_in(mut self, sink: impl AuditSink) -> Self {
        self.starts_also_in = Some(Arc::new(sink));
        self
    }

    async fn try_start(
        &self,
        session: Session,
        limits: &Limits,
        event: Option<(&AuditEvent, Uuid)>,
    ) -> Result<Started, StartError> {
        let now = session.started_at;
        let session = stored(session);
        let started = {
            // IMMEDIATE: whoever else starts waits here, before anything was read (rule S2).
            let mut connection = self.pool.acquire().await.map_err(failed)?;
            if event.is_some() {
                trail::make_durable(&mut connection).await.map_err(failed)?;
            }
            let mut tx = sqlx::Connection::begin_with(&mut *connection, "begin immediate")
                .await
                .map_err(failed)?;
            let open = open_of(&mut tx, &session.actor).await.map_err(failed)?;
            let (active, due): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|session| session.is_active(now));
            let starts = starts_of(&mut tx, &session.actor, limits, now).await?;
            let replaced = limits.admit(&session.subject, &active, &starts, now)?;

            let mut ended = Vec::new();
            for session in &due {
                let (reason, at) = session.due(now).unwrap_or((EndedReason::Timeout, now));
                ended.push(Arc::new(session.ended(reason, columns::to_micros(at))));
            }
            for session in replaced {
                let now = columns::to_micros(now);
                ended.push(Arc::new(session.ended(EndedReason::Replaced, now)));
            }
            for session in &ended {
                query(
                    "update impersonation_sessions set ended_at = ?2, ended_reason = ?3 \
                     where id = ?1 and ended_at is null",
                )
                .bind(session.id.0)
                .bind(session.ended_at.map(micros))
                .bind(session.ended_reason.map(EndedReason::as_str))
                .execute(&mut *tx)
                .await
                .map_err(failed)?;
            }
            insert(&mut tx, &session).await?;
            if let Some((event, process)) = event {
                let event = std::slice::from_ref(event);
                trail::insert(&mut tx, event, process)
                    .await
                    .map_err(failed)?;
                if let Some(sink) = &self.starts_also_in {
                    sink.write(event).await.map_err(StartError::Trail)?;
                }
            }
            tx.commit().await.map_err(failed)?;
            Started {
                session: Arc::new(session),
                ended,
            }
        };
        self.listeners.tell_started(&started);
        Ok(started)
    }
}

#[async_trait]
impl SessionStore for SqliteSessions {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        let open = open_of(&mut connection, &session.actor).await;
        let mut active = open.map_err(failed)?;
        active.retain(|session| session.is_active(now));
        let starts = starts_of(&mut connection, &session.actor, limits, now).await?;
        limits
            .admit(&session.subject, &active, &starts, now)
            .map(drop)
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.try_start(session, limits, None).await
    }

    async fn start_recorded(
        &self,
        session: &Session,
        limits: &Limits,
        event: &AuditEvent,
    ) -> Option<Result<Started, StartError>> {
        let event = Some((event, self.records_starts?));
        Some(self.try_start(session.clone(), limits, event).await)
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "select ",
            session_columns!(),
            " from impersonation_sessions \
             where actor = ?1 and subject = ?2 and ended_at is null and expires_at > ?3"
        );
        let row = query(sql)
            .bind(actor.as_str())
            .bind(subject.as_str())
            .bind(micros(now))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|row| session(&row)).transpose()?)
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "select ",
            session_columns!(),
            " from impersonation_sessions where id = ?1"
        );
        let row = query(sql).bind(id.0).fetch_optional(&self.pool).await?;
        Ok(row.map(|row| session(&row)).transpose()?)
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "update impersonation_sessions set ended_at = ?2, ended_reason = ?3 \
             where id = ?1 and ended_at is null and due_at > ?2 returning ",
            session_columns!()
        );
        let row = query(sql)
            .bind(id.0)
            .bind(micros(now))
            .bind(reason.as_str())
            .fetch_optional(&self.pool)
            .await?;
        let ended = row.map(|row| session(&row)).transpose()?;
        self.listeners.tell_ended(ended.as_slice());
        Ok(ended)
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        let sql = concat!(
            "update impersonation_sessions set ended_at = due_at, \
               ended_reason = case when due_at < expires_at then 'idle' else 'timeout' end \
             where ended_at is null and id in ( \
               select id from impersonation_sessions \
               where ended_at is null and due_at <= ?1 order by due_at limit ?2) returning ",
            session_columns!()
        );
        let rows = query(sql)
            .bind(micros(now))
            .bind(columns::rows(limit))
            .fetch_all(&self.pool)
            .await?;
        let ended = sessions(&rows)?;
        self.listeners.tell_ended(&ended);
        Ok(ended)
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.touch_all(&[(id, seen_at)]).await
    }

    async fn touch_all(&self, seen: &[(SessionId, OffsetDateTime)]) -> Result<(), BoxError> {
        if seen.is_empty() {
            return Ok(());
        }
        let mut tx = self.pool.begin_with("begin immediate").await?;
        for (id, seen_at) in seen {
            query(
                "update impersonation_sessions set last_seen_at = ?2, \
                   due_at = min(expires_at, coalesce(?2 + idle_us, expires_at)) \
                 where id = ?1 and ended_at is null and last_seen_at < ?2",
            )
            .bind(id.0)
            .bind(micros(*seen_at))
            .execute(&mut *tx)
            .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "update impersonation_sessions set access = coalesce(?3, access), \
               expires_at = coalesce(?4, expires_at), \
               due_at = min(coalesce(?4, expires_at), \
                 coalesce(last_seen_at + idle_us, ?4, expires_at)) \
             where id = ?1 and ended_at is null and due_at > ?2 returning ",
            session_columns!()
        );
        let row = query(sql)
            .bind(id.0)
            .bind(micros(now))
            .bind(update.access.map(|access| access.as_str()))
            .bind(update.expires_at.map(micros))
            .fetch_optional(&self.pool)
            .await?;
        let updated = row.map(|row| session(&row)).transpose()?;
        if let Some(session) = &updated {
            self.listeners
                .tell(&SessionChange::Updated(session.clone()));
        }
        Ok(updated)
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        let mut connection = self.pool.acquire().await?;
        let mut list = QueryBuilder::<Sqlite>::new("select ");
        list.push(session_columns!())
            .push(" from impersonation_sessions where ");
        push_filter(&mut list, filter, now);
        if let Some(before) = page.before {
            // A place that is not in the table is found by the time in its id.
            let started = before.0.get_timestamp().map(|at| at.to_unix());
            let started = started.map(|(s, ns)| s as i64 * 1_000_000 + i64::from(ns) / 1_000);
            list.push(" and (started_at, id) < (coalesce((select started_at from impersonation_sessions where id = ")
                .push_bind(before.0)
                .push("), ")
                .push_bind(started)
                .push("), ")
                .push_bind(before.0)
                .push(")");
        }
        list.push(" order by started_at desc, id desc limit ")
            .push_bind(columns::rows(page.limit.saturating_add(1)))
            .push(" offset ")
            .push_bind(columns::rows(page.offset));
        let mut found = sessions(&list.build().fetch_all(&mut *connection).await?)?;
        let more = found.len() > page.limit;
        found.truncate(page.limit);

        let total = if more || page.offset > 0 || page.before.is_some() {
            let mut count = QueryBuilder::<Sqlite>::new(
                "select count(*) from (select 1 from impersonation_sessions where ",
            );
            push_filter(&mut count, filter, now);
            count
                .push(" limit ")
                .push_bind(COUNTED as i64 + 1)
                .push(")");
            let total = count.build_query_scalar::<i64>();
            total.fetch_one(&mut *connection).await?.unsigned_abs()
        } else {
            found.len() as u64
        };
        Ok(SessionList {
            next: found.last().filter(|_| more).map(|last| last.id),
            sessions: found,
            total,
        })
    }

    fn subscribe(&self, listener: SessionListener) {
        self.listeners.add(listener);
    }
}

impl fmt::Debug for SqliteSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSessions").finish_non_exhaustive()
    }
}

/// Not ended yet, oldest first.
async fn open_of(
    connection: &mut SqliteConnection,
    actor: &UserId,
) -> Result<Vec<Arc<Session>>, sqlx::Error> {
    let sql = concat!(
        "select ",
        session_columns!(),
        " from impersonation_sessions where actor = ?1 and ended_at is null order by started_at, id"
    );
    sessions(
        &query(sql)
            .bind(actor.as_str())
            .fetch_all(connection)
            .await?,
    )
}

/// The newest starts within the hour, as many as count, oldest first (rule S3).
async fn starts_of(
    connection: &mut SqliteConnection,
    actor: &UserId,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Vec<OffsetDateTime>, StartError> {
    let starts = query_scalar::<_, i64>(
        "select started_at from impersonation_sessions where actor = ?1 and started_at > ?2 \
         order by started_at desc limit ?3",
    )
    .bind(actor.as_str())
    .bind(micros(Limits::window_start(now)))
    .bind(i64::from(limits.starts_per_hour))
    .fetch_all(connection)
    .await
    .map_err(failed)?;
    let starts = starts.into_iter().rev().map(time).collect();
    Result::<_, sqlx::Error>::map_err(starts, failed)
}

async fn insert(connection: &mut SqliteConnection, session: &Session) -> Result<(), StartError> {
    let inserted = query(
        "insert into impersonation_sessions (id, actor, actor_rank, subject, kind, role, access, reason, \
           ticket, started_at, expires_at, idle_us, last_seen_at, due_at, address, user_agent) \
         values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(session.id.0)
    .bind(session.actor.as_str())
    .bind(i64::from(session.actor_rank.0))
    .bind(session.subject.as_str())
    .bind(session.subject.kind())
    .bind(session.role.as_deref())
    .bind(session.access.as_str())
    .bind(&*session.reason)
    .bind(session.ticket.as_deref())
    .bind(micros(session.started_at))
    .bind(micros(session.expires_at))
    .bind(columns::idle_us(session))
    .bind(micros(session.last_seen_at))
    .bind(micros(columns::due_at(session)))
    .bind(session.address.map(|address| address.to_string()))
    .bind(session.user_agent.as_deref())
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        // Someone wrote past the lock: the index behind it holds (rule S2).
        Err(sqlx::Error::Database(error)) if is_second(&*error) => Err(StartError::AlreadyActive),
        Err(error) => Err(failed(error)),
    }
}

fn is_second(error: &dyn sqlx::error::DatabaseError) -> bool {
    error.is_unique_violation() && error.message().contains("impersonation_sessions.actor")
}

fn push_filter(list: &mut QueryBuilder<Sqlite>, filter: &SessionFilter, now: OffsetDateTime) {
    list.push("1");
    if let Some(actor) = &filter.actor {
        list.push(" and actor = ")
            .push_bind(actor.as_str().to_owned());
    }
    if let Some(subject) = &filter.subject {
        list.push(" and subject = ")
            .push_bind(subject.as_str().to_owned());
    }
    if let Some(kind) = filter.kind {
        list.push(" and kind = ").push_bind(columns::kind(kind));
    }
    match filter.is_active {
        Some(true) => {
            list.push(" and ended_at is null and due_at > ")
                .push_bind(micros(now));
        }
        Some(false) => {
            list.push(" and (ended_at is not null or due_at <= ")
                .push_bind(micros(now))
                .push(")");
        }
        None => {}
    }
    if let Some(from) = filter.from {
        list.push(" and started_at >= ").push_bind(micros(from));
    }
    if let Some(to) = filter.to {
        list.push(" and started_at < ").push_bind(micros(to));
    }
}

fn sessions(rows: &[SqliteRow]) -> Result<Vec<Arc<Session>>, sqlx::Error> {
    rows.iter().map(session).collect()
}

fn session(row: &SqliteRow) -> Result<Arc<Session>, sqlx::Error> {
    let mut session = Session::new(
        SessionId(row.try_get("id")?),
        columns::parsed("actor", row.try_get("actor")?)?,
        columns::parsed("subject", row.try_get("subject")?)?,
        row.try_get::<&str, _>("reason")?,
        time(row.try_get("started_at")?)?,
        time(row.try_get("expires_at")?)?,
    );
    let text =
        |column| Ok::<_, sqlx::Error>(row.try_get::<Option<&str>, _>(column)?.map(Arc::from));
    let rank: i64 = row.try_get("actor_rank")?;
    session.actor_rank = Rank(u32::try_from(rank).unwrap_or(u32::MAX));
    session.role = text("role")?;
    session.access = columns::access(row.try_get("access")?)?;
    session.ticket = text("ticket")?;
    session.idle_timeout = columns::idle_timeout(row.try_get("idle_us")?);
    session.last_seen_at = time(row.try_get("last_seen_at")?)?;
    session.ended_at = row
        .try_get::<Option<i64>, _>("ended_at")?
        .map(time)
        .transpose()?;
    session.ended_reason = row
        .try_get::<Option<&str>, _>("ended_reason")?
        .map(columns::ended_reason)
        .transpose()?;
    session.address = columns::address(row.try_get("address")?)?;
    session.user_agent = text("user_agent")?;
    Ok(Arc::new(session))
}

fn failed(error: sqlx::Error) -> StartError {
    StartError::Store(Box::new(error))
}
