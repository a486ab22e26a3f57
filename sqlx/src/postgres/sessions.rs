//! [`PostgresSessions`].

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use async_trait::async_trait;
use sqlx::{
    PgConnection, PgPool, Postgres, QueryBuilder, Row,
    postgres::{PgListener, PgRow},
    query, query_scalar,
};
use time::OffsetDateTime;
use tokio::sync::watch;
use tower_impersonation::{
    BoxError, Rank, Subject, UserId,
    audit::{AuditEvent, AuditSink},
    session::{
        EndedReason, Limits, Page, Session, SessionChange, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};
use uuid::Uuid;

use super::{
    PostgresTrail, clean,
    listen::{self, Hear, LEASE},
};
use crate::{
    COUNTED,
    columns::{self, session_columns, stored},
    listeners::Listeners,
};

/// Sessions in PostgreSQL, for many replicas. Clones share the connection that listens.
///
/// Call [`migrate`](super::migrate) before. Times are kept to the microsecond, an idle limit of more than a
/// thousand years is none, and a zero byte in a text becomes U+FFFD. A list's `total` is exact up to [`COUNTED`].
///
/// # Revocation (rule S9)
///
/// Every change is told to every replica by NOTIFY, from a trigger, so also what is done by hand in `psql`. Once
/// anybody subscribes ([`Cached`](tower_impersonation::session::Cached) and the handle do), a task
/// listens, with a connection of its own that is not one of the pool's. While that connection is down,
/// [`hears_all`](SessionStore::hears_all) says so and a cache asks the database each time; when it is back, all
/// that was kept is forgotten. A connection that is cut without a sign is found out within three seconds.
///
/// A pooler in transaction mode passes no notifications on: [`with_listener`](Self::with_listener) takes a pool
/// that goes past it.
///
/// # Idle time
///
/// Requests are told to the database from time to time (every tenth of the idle limit, at most every 30 seconds),
/// all of a process in one statement. So another replica may take a session for idle by as much too early.
#[derive(Clone)]
pub struct PostgresSessions {
    shared: Arc<Shared>,
    /// The trail is in the same database: a start writes its event itself.
    records_starts: Option<PostgresTrail>,
    /// And to what else the trail goes to.
    starts_also_in: Option<Arc<dyn AuditSink>>,
}

struct Shared {
    pool: PgPool,
    listener: PgPool,
    listeners: Listeners,
    /// Anybody wants to hear.
    wanted: AtomicBool,
    listening: AtomicBool,
    channel: Channel,
}

/// Whether news come in.
struct Channel {
    since: Instant,
    /// Milliseconds after `since` of the last sign of life; 0 while there is none.
    alive_at: AtomicU64,
    open: watch::Sender<bool>,
}

/// Hears for the listeners of a store.
struct Ear(Weak<Shared>);

// === impl PostgresSessions ===

impl PostgresSessions {
    /// Sessions in the database of this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let listener = pool.clone();
        Self::of(pool, listener)
    }

    /// Listens where this pool connects to, with a connection that is not one of the pool's and has to be allowed
    /// to read `impersonation.sessions`. Default: where the other one connects to.
    #[must_use]
    pub fn with_listener(self, listener: PgPool) -> Self {
        let (records_starts, starts_also_in) =
            (self.records_starts.clone(), self.starts_also_in.clone());
        Self {
            records_starts,
            starts_also_in,
            ..Self::of(self.shared.pool.clone(), listener)
        }
    }

    /// Starts a session and writes its event in one transaction. `trail` has to be in the same
    /// database. Where a [`FanOut`](tower_impersonation::audit::FanOut) writes to other sinks as well,
    /// [`with_starts_also_in`](Self::with_starts_also_in) brings the starts there. Default: the event is written first, then
    /// the session.
    #[must_use]
    pub fn with_starts_in(mut self, trail: &PostgresTrail) -> Self {
        self.records_starts = Some(trail.clone());
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

    /// Waits until news of other replicas come in.
    ///
    /// Nothing needs it: before that, the database is asked each time.
    pub async fn listening(&self) {
        self.shared.wanted.store(true, Ordering::Relaxed);
        self.keep_listening();
        let mut open = self.shared.channel.open.subscribe();
        // The sender is in `self`.
        let _ = open.wait_for(|open| *open).await;
    }

    fn of(pool: PgPool, listener: PgPool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                listener,
                listeners: Listeners::default(),
                wanted: AtomicBool::new(false),
                listening: AtomicBool::new(false),
                channel: Channel {
                    since: Instant::now(),
                    alive_at: AtomicU64::new(0),
                    open: watch::Sender::new(false),
                },
            }),
            records_starts: None,
            starts_also_in: None,
        }
    }

    /// Has a task listen from now on, for as long as the store lives. Without a runtime the next call will.
    fn keep_listening(&self) {
        let shared = &self.shared;
        if !shared.wanted.load(Ordering::Relaxed) || shared.listening.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if shared.listening.swap(true, Ordering::Relaxed) {
            return;
        }
        runtime.spawn(listen::listen(
            shared.listener.clone(),
            Ear(Arc::downgrade(shared)),
        ));
    }

    async fn try_start(
        &self,
        session: Session,
        limits: &Limits,
        event: Option<(&AuditEvent, &PostgresTrail)>,
    ) -> Result<Started, StartError> {
        let now = session.started_at;
        let session = stored(session);
        if let Some((event, trail)) = event {
            // In a transaction of its own, before this one: it may have to wait for another process.
            let event = std::slice::from_ref(event);
            trail.make_months(event).await.map_err(failed)?;
        }
        // READ COMMITTED whatever the host's default is: what is read has to be as of after the lock.
        let begin = "begin isolation level read committed read write";
        let pool = &self.shared.pool;
        let mut tx = pool.begin_with(begin).await.map_err(failed)?;
        query("select pg_advisory_xact_lock(hashtextextended($1, 4711))")
            .bind(session.actor.as_str())
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
        let open = open_of(&mut tx, &session.actor).await.map_err(failed)?;
        let (active, due): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|session| session.is_active(now));
        let starts = starts_of(&mut tx, &session.actor, limits, now);
        let starts = starts.await.map_err(failed)?;
        let replaced = limits.admit(&session.subject, &active, &starts, now)?;

        let overdue = due.iter().map(|session| {
            let (reason, at) = session.due(now).unwrap_or((EndedReason::Timeout, now));
            session.ended(reason, columns::to_micros(at))
        });
        let replaced = replaced
            .into_iter()
            .map(|session| session.ended(EndedReason::Replaced, columns::to_micros(now)));
        let mut ended = Vec::new();
        for session in overdue.chain(replaced) {
            let done = query(
                "update impersonation.sessions set ended_at = $2, ended_reason = $3 \
                 where id = $1 and ended_at is null",
            )
            .bind(session.id.0)
            .bind(session.ended_at)
            .bind(session.ended_reason.map(EndedReason::as_str))
            .execute(&mut *tx)
            .await
            .map_err(failed)?;
            // Otherwise someone else has ended it meanwhile, and tells of it.
            if done.rows_affected() > 0 {
                ended.push(Arc::new(session));
            }
        }
        insert(&mut tx, &session).await?;
        if let Some((event, trail)) = event {
            let event = std::slice::from_ref(event);
            trail.insert(&mut *tx, event).await.map_err(failed)?;
            if let Some(sink) = &self.starts_also_in {
                sink.write(event).await.map_err(StartError::Trail)?;
            }
        }
        tx.commit().await.map_err(failed)?;
        let started = Started {
            session: Arc::new(session),
            ended,
        };
        self.shared.listeners.tell_started(&started);
        Ok(started)
    }
}

#[async_trait]
impl SessionStore for PostgresSessions {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        let mut connection = self.shared.pool.acquire().await.map_err(failed)?;
        let open = open_of(&mut connection, &session.actor).await;
        let mut active = open.map_err(failed)?;
        active.retain(|session| session.is_active(now));
        let starts = starts_of(&mut connection, &session.actor, limits, now);
        let starts = starts.await.map_err(failed)?;
        limits
            .admit(&session.subject, &active, &starts, now)
            .map(drop)
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.keep_listening();
        self.try_start(session, limits, None).await
    }

    async fn start_recorded(
        &self,
        session: &Session,
        limits: &Limits,
        event: &AuditEvent,
    ) -> Option<Result<Started, StartError>> {
        let event = Some((event, self.records_starts.as_ref()?));
        self.keep_listening();
        Some(self.try_start(session.clone(), limits, event).await)
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.keep_listening();
        let sql = concat!(
            "select ",
            session_columns!(),
            " from impersonation.sessions \
             where actor = $1 and subject = $2 and ended_at is null and expires_at > $3"
        );
        let row = query(sql)
            .bind(actor.as_str())
            .bind(subject.as_str())
            .bind(columns::to_micros(now))
            .fetch_optional(&self.shared.pool)
            .await?;
        Ok(row.map(|row| session(&row)).transpose()?)
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        Ok(get(&self.shared.pool, id).await?)
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "update impersonation.sessions set ended_at = $2, ended_reason = $3 \
             where id = $1 and ended_at is null and due_at > $2 returning ",
            session_columns!()
        );
        let row = query(sql)
            .bind(id.0)
            .bind(columns::to_micros(now))
            .bind(reason.as_str())
            .fetch_optional(&self.shared.pool)
            .await?;
        let ended = row.map(|row| session(&row)).transpose()?;
        self.shared.listeners.tell_ended(ended.as_slice());
        Ok(ended)
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        // What another replica is just ending is left to it.
        let sql = concat!(
            "update impersonation.sessions set ended_at = due_at, \
               ended_reason = case when due_at < expires_at then 'idle' else 'timeout' end \
             where ended_at is null and id = any(array( \
               select id from impersonation.sessions where ended_at is null and due_at <= $1 \
               order by due_at limit $2 for update skip locked)) returning ",
            session_columns!()
        );
        let rows = query(sql)
            .bind(columns::to_micros(now))
            .bind(columns::rows(limit))
            .fetch_all(&self.shared.pool)
            .await?;
        let ended = sessions(&rows)?;
        self.shared.listeners.tell_ended(&ended);
        Ok(ended)
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.touch_all(&[(id, seen_at)]).await
    }

    async fn touch_all(&self, seen: &[(SessionId, OffsetDateTime)]) -> Result<(), BoxError> {
        if seen.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = seen.iter().map(|(id, _)| id.0).collect();
        let times: Vec<_> = seen.iter().map(|(_, at)| columns::to_micros(*at)).collect();
        // Locked in the order of their ids, so that two replicas never wait for each other.
        query(
            "with seen as ( \
               select id, max(at) as at from unnest($1::uuid[], $2::timestamptz[]) as s (id, at) group by id \
             ), locked as ( \
               select s.id from impersonation.sessions s \
               where s.id = any($1) and s.ended_at is null order by s.id for update \
             ) \
             update impersonation.sessions s set last_seen_at = seen.at, \
               due_at = least(s.expires_at, seen.at + s.idle_us * interval '1 microsecond') \
             from locked join seen using (id) \
             where s.id = locked.id and s.ended_at is null and s.last_seen_at < seen.at",
        )
        .bind(ids)
        .bind(times)
        .execute(&self.shared.pool)
        .await?;
        Ok(())
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let sql = concat!(
            "update impersonation.sessions set access = coalesce($3, access), \
               expires_at = coalesce($4, expires_at), \
               due_at = least(coalesce($4, expires_at), \
                 last_seen_at + idle_us * interval '1 microsecond') \
             where id = $1 and ended_at is null and due_at > $2 returning ",
            session_columns!()
        );
        let row = query(sql)
            .bind(id.0)
            .bind(columns::to_micros(now))
            .bind(update.access.map(|access| access.as_str()))
            .bind(update.expires_at.map(columns::to_micros))
            .fetch_optional(&self.shared.pool)
            .await?;
        let updated = row.map(|row| session(&row)).transpose()?;
        if let Some(session) = &updated {
            let change = SessionChange::Updated(session.clone());
            self.shared.listeners.tell(&change);
        }
        Ok(updated)
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        let mut connection = self.shared.pool.acquire().await?;
        let mut list = QueryBuilder::<Postgres>::new(concat!(
            "select ",
            session_columns!(),
            " from impersonation.sessions where "
        ));
        push_filter(&mut list, filter, now);
        if let Some(before) = page.before {
            let place = query_scalar("select started_at from impersonation.sessions where id = $1")
                .bind(before.0)
                .fetch_optional(&mut *connection)
                .await?;
            // A place that is not in the table is found by the time in its id.
            let place: Option<OffsetDateTime> = place.or_else(|| {
                let (seconds, nanos) = before.0.get_timestamp()?.to_unix();
                let at = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
                at.replace_nanosecond(nanos).ok()
            });
            list.push(" and (started_at, id) < (")
                .push_bind(place)
                .push(", ")
                .push_bind(before.0)
                .push(")");
        }
        // Limits stand in the text: a plan that does not know them might read the whole table.
        list.push(" order by started_at desc, id desc limit ")
            .push(columns::rows(page.limit.saturating_add(1)))
            .push(" offset ")
            .push_bind(columns::rows(page.offset));
        let mut found = sessions(&list.build().fetch_all(&mut *connection).await?)?;
        let more = found.len() > page.limit;
        found.truncate(page.limit);

        let total = if more || page.offset > 0 || page.before.is_some() {
            let mut count = QueryBuilder::<Postgres>::new(
                "select count(*) from (select 1 from impersonation.sessions where ",
            );
            push_filter(&mut count, filter, now);
            count.push(" limit ").push(COUNTED + 1).push(") as counted");
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
        self.shared.listeners.add(listener);
        self.shared.wanted.store(true, Ordering::Relaxed);
        self.keep_listening();
    }

    fn hears_all(&self) -> bool {
        self.shared.channel.is_open()
    }
}

impl fmt::Debug for PostgresSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresSessions")
            .field("hears_all", &self.hears_all())
            .finish_non_exhaustive()
    }
}

// === impl Channel ===

impl Channel {
    fn is_open(&self) -> bool {
        let alive_at = self.alive_at.load(Ordering::SeqCst);
        alive_at > 0 && self.now().saturating_sub(alive_at) < LEASE.as_millis() as u64
    }

    fn alive(&self) {
        self.alive_at.store(self.now(), Ordering::SeqCst);
    }

    fn now(&self) -> u64 {
        // From 1 on, because 0 is "never".
        u64::try_from(self.since.elapsed().as_millis()).map_or(u64::MAX, |millis| millis + 1)
    }
}

// === impl Ear ===

#[async_trait]
impl Hear for Ear {
    fn goes_on(&self) -> bool {
        self.0.strong_count() > 0
    }

    async fn opened(&mut self, _: &mut PgListener) -> Result<(), sqlx::Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        // In this order: nothing that was kept before may be used once the channel counts as open.
        shared.listeners.tell(&SessionChange::Unknown);
        shared.channel.alive();
        shared.channel.open.send_replace(true);
        Ok(())
    }

    async fn heard(&mut self, news: &str, connection: &mut PgListener) -> Result<(), sqlx::Error> {
        let Some(shared) = self.0.upgrade() else {
            return Ok(());
        };
        let mut words = news.split(' ');
        let what = words.next();
        let id = words.next().and_then(|id| id.parse().ok()).map(SessionId);
        let change = match (what, id) {
            (Some("ended"), Some(id)) => {
                let reason = words
                    .next()
                    .and_then(|text| columns::ended_reason(text).ok());
                SessionChange::Ended(id, reason.unwrap_or(EndedReason::SessionRevoked))
            }
            (Some("updated"), Some(id)) => match get(&mut *connection, id).await? {
                Some(session) => match session.ended_reason {
                    Some(reason) => SessionChange::Ended(id, reason),
                    None => SessionChange::Updated(session),
                },
                None => SessionChange::Ended(id, EndedReason::SessionRevoked),
            },
            (Some("started"), Some(id)) => match get(&mut *connection, id).await? {
                Some(session) => SessionChange::Started(session),
                None => SessionChange::Ended(id, EndedReason::SessionRevoked),
            },
            // A role, a consent, or what a later version tells.
            _ => {
                shared.channel.alive();
                return Ok(());
            }
        };
        shared.listeners.tell(&change);
        shared.channel.alive();
        Ok(())
    }

    async fn beat(&mut self, _: &mut PgListener) -> Result<(), sqlx::Error> {
        if let Some(shared) = self.0.upgrade() {
            shared.channel.alive();
        }
        Ok(())
    }

    fn lost(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.channel.alive_at.store(0, Ordering::SeqCst);
            shared.channel.open.send_replace(false);
            // Every time: who keeps streams open has to look what became of their sessions.
            shared.listeners.tell(&SessionChange::Unknown);
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // It went away with its runtime, or by a panic: the next call starts another one.
        if let Some(shared) = self.0.upgrade() {
            shared.channel.alive_at.store(0, Ordering::SeqCst);
            shared.channel.open.send_replace(false);
            shared.listening.store(false, Ordering::SeqCst);
        }
    }
}

async fn get(
    connection: impl sqlx::PgExecutor<'_>,
    id: SessionId,
) -> Result<Option<Arc<Session>>, sqlx::Error> {
    let sql = concat!(
        "select ",
        session_columns!(),
        " from impersonation.sessions where id = $1"
    );
    let row = query(sql).bind(id.0).fetch_optional(connection).await?;
    row.map(|row| session(&row)).transpose()
}

/// Not ended yet, oldest first.
async fn open_of(
    connection: &mut PgConnection,
    actor: &UserId,
) -> Result<Vec<Arc<Session>>, sqlx::Error> {
    let sql = concat!(
        "select ",
        session_columns!(),
        " from impersonation.sessions where actor = $1 and ended_at is null order by started_at, id"
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
    connection: &mut PgConnection,
    actor: &UserId,
    limits: &Limits,
    now: OffsetDateTime,
) -> Result<Vec<OffsetDateTime>, sqlx::Error> {
    let mut starts = query_scalar::<_, OffsetDateTime>(
        "select started_at from impersonation.sessions where actor = $1 and started_at > $2 \
         order by started_at desc limit $3",
    )
    .bind(actor.as_str())
    .bind(columns::to_micros(Limits::window_start(now)))
    .bind(i64::from(limits.starts_per_hour))
    .fetch_all(connection)
    .await?;
    starts.reverse();
    Ok(starts)
}

async fn insert(connection: &mut PgConnection, session: &Session) -> Result<(), StartError> {
    let inserted = query(
        "insert into impersonation.sessions (id, actor, actor_rank, subject, kind, role, access, reason, \
           ticket, started_at, expires_at, idle_us, last_seen_at, due_at, address, user_agent) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)",
    )
    .bind(session.id.0)
    .bind(session.actor.as_str())
    .bind(i64::from(session.actor_rank.0))
    .bind(session.subject.as_str())
    .bind(session.subject.kind())
    .bind(session.role.as_deref().map(clean))
    .bind(session.access.as_str())
    .bind(clean(&session.reason))
    .bind(session.ticket.as_deref().map(clean))
    .bind(session.started_at)
    .bind(session.expires_at)
    .bind(columns::idle_us(session))
    .bind(session.last_seen_at)
    .bind(columns::due_at(session))
    .bind(session.address.map(|address| address.to_string()))
    .bind(session.user_agent.as_deref().map(clean))
    .execute(connection)
    .await;
    match inserted {
        Ok(_) => Ok(()),
        // Someone wrote past the lock: the index behind it holds (rule S2).
        Err(sqlx::Error::Database(error)) if error.constraint() == Some("sessions_open") => {
            Err(StartError::AlreadyActive)
        }
        Err(error) => Err(failed(error)),
    }
}

fn push_filter(list: &mut QueryBuilder<Postgres>, filter: &SessionFilter, now: OffsetDateTime) {
    list.push("true");
    if let Some(actor) = &filter.actor {
        list.push(" and actor = ").push_bind(actor.as_str());
    }
    if let Some(subject) = &filter.subject {
        list.push(" and subject = ").push_bind(subject.as_str());
    }
    if let Some(kind) = filter.kind {
        list.push(" and kind = ").push_bind(columns::kind(kind));
    }
    match filter.is_active {
        Some(true) => {
            list.push(" and ended_at is null and due_at > ")
                .push_bind(columns::to_micros(now));
        }
        Some(false) => {
            list.push(" and (ended_at is not null or due_at <= ")
                .push_bind(columns::to_micros(now))
                .push(")");
        }
        None => {}
    }
    if let Some(from) = filter.from {
        list.push(" and started_at >= ")
            .push_bind(columns::to_micros(from));
    }
    if let Some(to) = filter.to {
        list.push(" and started_at < ")
            .push_bind(columns::to_micros(to));
    }
}

fn sessions(rows: &[PgRow]) -> Result<Vec<Arc<Session>>, sqlx::Error> {
    rows.iter().map(session).collect()
}

fn session(row: &PgRow) -> Result<Arc<Session>, sqlx::Error> {
    let mut session = Session::new(
        SessionId(row.try_get("id")?),
        columns::parsed("actor", row.try_get("actor")?)?,
        columns::parsed("subject", row.try_get("subject")?)?,
        row.try_get::<&str, _>("reason")?,
        row.try_get("started_at")?,
        row.try_get("expires_at")?,
    );
    let text =
        |column| Ok::<_, sqlx::Error>(row.try_get::<Option<&str>, _>(column)?.map(Arc::from));
    let rank: i64 = row.try_get("actor_rank")?;
    session.actor_rank = Rank(u32::try_from(rank).unwrap_or(u32::MAX));
    session.role = text("role")?;
    session.access = columns::access(row.try_get("access")?)?;
    session.ticket = text("ticket")?;
    session.idle_timeout = columns::idle_timeout(row.try_get("idle_us")?);
    session.last_seen_at = row.try_get("last_seen_at")?;
    session.ended_at = row.try_get("ended_at")?;
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
