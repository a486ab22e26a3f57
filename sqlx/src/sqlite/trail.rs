//! [`SqliteTrail`].

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use sqlx::{
    AssertSqlSafe, Connection as _, QueryBuilder, Row, Sqlite, SqliteConnection, SqlitePool, query,
    query_scalar, sqlite::SqliteRow,
};
use time::OffsetDateTime;
use tower_impersonation::{
    BoxError, Subject,
    audit::{AuditEvent, AuditSink, Outcome, TrailFilter, TrailList, TrailPage, TrailReader},
    session::{SessionId, SubjectKind},
};
use uuid::Uuid;

use super::{micros, time};
use crate::{
    COUNTED, columns,
    heart::{Alive, Heart, keep_beating},
    trail::{Place, list},
};

/// What is written, and with `process` left out, what is read.
macro_rules! event_columns {
    () => {
        "id, is_intent, time, name, actor, subject, session, reason, access, method, path, route, status, \
         outcome, rule, count, address, user_agent, request_id"
    };
}

const ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
/// Rows per statement: few sizes, so that each statement is prepared once.
const SIZES: [usize; 4] = [1_000, 100, 10, 1];

/// The trail in SQLite. Clones share it.
///
/// Append-only: UPDATE and DELETE raise (rule A8), and `INSERT OR REPLACE` replaces nothing. A write is one
/// transaction, on the disk before it is acknowledged whatever the pool's `synchronous` is. What is written twice is
/// kept once. Call [`migrate`](super::migrate) before.
///
/// The view `impersonation_requests` shows each acted request once, with `unknown` for an intent that has no
/// outcome (rule A2). Every [`SqliteTrail`] that writes also says every ten seconds that its process lives; intents
/// of one that was silent for a minute are given the outcome [`Outcome::Unknown`].
#[derive(Clone)]
pub struct SqliteTrail {
    shared: Arc<Shared>,
}

struct Shared {
    pool: SqlitePool,
    process: Uuid,
    heart: Heart,
}

// === impl SqliteTrail ===

impl SqliteTrail {
    /// The trail in the database of this pool.
    #[must_use]
    pub fn new(pool: SqlitePool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                process: Uuid::now_v7(),
                heart: Heart::default(),
            }),
        }
    }

    pub(crate) fn process(&self) -> Uuid {
        self.shared.process
    }

    /// Retention: drops the months (in UTC) that are wholly before `keep_from`, and says how many events that
    /// were. Never a part of a month, and never one that is not over.
    ///
    /// One transaction, in which nobody else can write, lifts the rule and restores it: no one ever sees a
    /// trail that can be changed.
    ///
    /// # Errors
    ///
    /// When `keep_from` is in the future, or the database fails.
    pub async fn drop_months_before(&self, keep_from: OffsetDateTime) -> Result<u64, sqlx::Error> {
        let keep_from = keep_from.to_offset(time::UtcOffset::UTC);
        if keep_from > OffsetDateTime::now_utc() {
            let why = "only months that are over can be dropped";
            return Err(sqlx::Error::Configuration(why.into()));
        }
        let month = keep_from.replace_day(1).unwrap_or(keep_from);
        let month = month.replace_time(time::Time::MIDNIGHT);
        let mut tx = self.shared.pool.begin_with("begin immediate").await?;
        let rule = query_scalar::<_, String>(
            "select sql from sqlite_schema where name = 'impersonation_trail_no_delete'",
        )
        .fetch_one(&mut *tx)
        .await?;
        query("drop trigger impersonation_trail_no_delete")
            .execute(&mut *tx)
            .await?;
        let dropped = query("delete from impersonation_trail where time < ?1")
            .bind(micros(month))
            .execute(&mut *tx)
            .await?;
        query(AssertSqlSafe(rule)).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(dropped.rows_affected())
    }

    /// Gives the intents of processes that were silent for that long the outcome [`Outcome::Unknown`], and says
    /// how many. Called by itself every ten seconds, with a minute.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn mark_unknown(&self, silent: Duration) -> Result<u64, sqlx::Error> {
        let now = micros(OffsetDateTime::now_utc());
        let since = now.saturating_sub(i64::try_from(silent.as_micros()).unwrap_or(i64::MAX));
        let dead = query_scalar::<_, Uuid>(
            "select id from impersonation_processes where seen_at <= ?1 and swept_at is null",
        )
        .bind(since)
        .fetch_all(&self.shared.pool)
        .await?;
        let mut marked = 0;
        for process in dead {
            let mut tx = self.shared.pool.begin_with("begin immediate").await?;
            let marks = query(concat!(
                "insert into impersonation_trail (", event_columns!(), ", process) \
                 select id, 0, max(time, ?2), name, actor, subject, session, reason, access, method, path, route, \
                   null, 'unknown', rule, count, address, user_agent, request_id, ?3 \
                 from impersonation_trail i \
                 where i.process = ?1 and i.is_intent and not exists ( \
                   select 1 from impersonation_trail o where o.id = i.id and o.is_intent = 0)"
            ))
            .bind(process)
            .bind(now)
            .bind(self.shared.process)
            .execute(&mut *tx)
            .await?;
            query("update impersonation_processes set swept_at = ?2 where id = ?1")
                .bind(process)
                .bind(now)
                .execute(&mut *tx)
                .await?;
            tx.commit().await?;
            marked += marks.rows_affected();
        }
        Ok(marked)
    }
}

impl Alive for Shared {
    fn heart(&self) -> &Heart {
        &self.heart
    }

    async fn beat(&self) -> Result<(), sqlx::Error> {
        query(
            "insert into impersonation_processes (id, seen_at) values (?1, ?2) \
             on conflict (id) do update set seen_at = excluded.seen_at, swept_at = null",
        )
        .bind(self.process)
        .bind(micros(OffsetDateTime::now_utc()))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn bury(self: Arc<Self>, silent: Duration) -> Result<(), sqlx::Error> {
        let trail = SqliteTrail { shared: self };
        trail.mark_unknown(silent).await.map(drop)
    }
}

#[async_trait]
impl AuditSink for SqliteTrail {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        keep_beating(&self.shared).await?;
        let mut connection = self.shared.pool.acquire().await?;
        make_durable(&mut connection).await?;
        let mut tx = connection.begin_with("begin immediate").await?;
        insert(&mut tx, events, self.shared.process).await?;
        tx.commit().await?;
        Ok(())
    }
}

#[async_trait]
impl TrailReader for SqliteTrail {
    /// Counts up to [`COUNTED`]; a `total` of one more means "more than that".
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let after = page.after.as_ref().map(Place::of).transpose()?;
        let mut connection = self.shared.pool.acquire().await?;
        let mut select = QueryBuilder::<Sqlite>::new(concat!(
            "select seq, ",
            event_columns!(),
            " from impersonation_trail where "
        ));
        push_filter(&mut select, filter);
        if let Some(after) = after {
            select
                .push(" and (time, seq) < (")
                .push_bind(after.time)
                .push(", ")
                .push_bind(after.seq)
                .push(")");
        }
        select
            .push(" order by time desc, seq desc limit ")
            .push_bind(columns::rows(page.limit.saturating_add(1)))
            .push(" offset ")
            .push_bind(columns::rows(page.offset));
        let rows = select.build().fetch_all(&mut *connection).await?;
        let event = |row| Ok::<_, sqlx::Error>((SqliteRow::try_get(row, "seq")?, event(row)?));
        let events: Vec<_> = rows.iter().map(event).collect::<Result<_, _>>()?;

        let is_all = events.len() <= page.limit && page.offset == 0 && page.after.is_none();
        let total = if is_all {
            events.len() as u64
        } else {
            let mut count = QueryBuilder::<Sqlite>::new(
                "select count(*) from (select 1 from impersonation_trail where ",
            );
            push_filter(&mut count, filter);
            count
                .push(" limit ")
                .push_bind(COUNTED as i64 + 1)
                .push(")");
            let total = count.build_query_scalar::<i64>();
            total.fetch_one(&mut *connection).await?.unsigned_abs()
        };
        Ok(list(events, page.limit, total))
    }
}

impl fmt::Debug for SqliteTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTrail")
            .field("process", &self.shared.process)
            .finish_non_exhaustive()
    }
}

/// Sees to it that what this connection commits is on the disk. It stays so: that only makes it safer.
pub(super) async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    const FULL: i64 = 2;
    let synchronous = query_scalar::<_, i64>("pragma synchronous");
    if synchronous.fetch_one(&mut *connection).await? < FULL {
        query("pragma synchronous = full")
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Writes events that are not there yet.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    mut events: &[AuditEvent],
    process: Uuid,
) -> Result<(), sqlx::Error> {
    for size in SIZES {
        while events.len() >= size {
            let (now, later) = events.split_at(size);
            insert_batch(connection, now, process).await?;
            events = later;
        }
    }
    Ok(())
}

async fn insert_batch(
    connection: &mut SqliteConnection,
    events: &[AuditEvent],
    process: Uuid,
) -> Result<(), sqlx::Error> {
    const HEAD: &str = concat!(
        "insert into impersonation_trail (",
        event_columns!(),
        ", process) values "
    );
    let mut sql = String::with_capacity(HEAD.len() + events.len() * (ROW.len() + 1) + 24);
    sql.push_str(HEAD);
    for at in 0..events.len() {
        if at > 0 {
            sql.push(',');
        }
        sql.push_str(ROW);
    }
    sql.push_str(" on conflict do nothing");
    let mut insert = query(AssertSqlSafe(sql));
    for event in events {
        let (id, is_intent) = event.key();
        insert = insert
            .bind(id)
            .bind(is_intent)
            .bind(micros(event.time))
            .bind(event.name.as_str())
            .bind(event.actor.as_ref().map(|actor| actor.as_str().to_owned()))
            .bind(
                event
                    .subject
                    .as_ref()
                    .map(|subject| subject.as_str().to_owned()),
            )
            .bind(event.session.map(|SessionId(id)| id))
            .bind(event.reason.clone())
            .bind(event.access.map(|access| access.as_str()))
            .bind(event.method.clone())
            .bind(event.path.clone())
            .bind(event.route.clone())
            .bind(event.status)
            .bind(event.outcome.map(Outcome::as_str))
            .bind(event.rule.as_deref())
            .bind(
                event
                    .count
                    .map(|count| i64::try_from(count).unwrap_or(i64::MAX)),
            )
            .bind(event.address.map(|address| address.to_string()))
            .bind(event.user_agent.clone())
            .bind(event.request_id.clone())
            .bind(process);
    }
    insert.execute(connection).await?;
    Ok(())
}

fn push_filter(list: &mut QueryBuilder<Sqlite>, filter: &TrailFilter) {
    list.push("1");
    if let Some(name) = filter.name {
        list.push(" and name = ").push_bind(name.as_str());
    }
    if let Some(actor) = &filter.actor {
        list.push(" and actor = ")
            .push_bind(actor.as_str().to_owned());
    }
    if let Some(subject) = &filter.subject {
        list.push(" and subject = ")
            .push_bind(subject.as_str().to_owned());
    }
    match filter.kind {
        None => {}
        Some(SubjectKind::Anon) => {
            list.push(" and subject = ")
                .push_bind(Subject::Anonymous.as_str().to_owned());
        }
        Some(SubjectKind::Service) => {
            list.push(" and subject = ")
                .push_bind(Subject::Service.as_str().to_owned());
        }
        Some(_) => {
            list.push(" and subject not in (")
                .push_bind(Subject::Anonymous.as_str().to_owned())
                .push(", ")
                .push_bind(Subject::Service.as_str().to_owned())
                .push(")");
        }
    }
    if let Some(SessionId(session)) = filter.session {
        list.push(" and session = ").push_bind(session);
    }
    if let Some(from) = filter.from {
        list.push(" and time >= ").push_bind(micros(from));
    }
    if let Some(to) = filter.to {
        list.push(" and time < ").push_bind(micros(to));
    }
}

fn event(row: &SqliteRow) -> Result<AuditEvent, sqlx::Error> {
    let text = |column| row.try_get::<Option<String>, _>(column);
    let short = |column| row.try_get::<Option<&str>, _>(column);
    let mut event = AuditEvent::new(
        row.try_get("id")?,
        time(row.try_get("time")?)?,
        columns::event_name(row.try_get("name")?)?,
    );
    event.actor = short("actor")?
        .map(|text| columns::parsed("actor", text))
        .transpose()?;
    event.subject = short("subject")?
        .map(|text| columns::parsed("subject", text))
        .transpose()?;
    event.session = row.try_get::<Option<Uuid>, _>("session")?.map(SessionId);
    event.reason = text("reason")?;
    event.access = short("access")?.map(columns::access).transpose()?;
    event.method = text("method")?;
    event.path = text("path")?;
    event.route = text("route")?;
    event.status = row.try_get("status")?;
    event.outcome = short("outcome")?.map(columns::outcome).transpose()?;
    event.rule = short("rule")?.map(|rule| rule.to_owned().into());
    let count: Option<i64> = row.try_get("count")?;
    event.count = count.map(i64::unsigned_abs);
    event.address = columns::address(text("address")?)?;
    event.user_agent = text("user_agent")?;
    event.request_id = text("request_id")?;
    Ok(event)
}
