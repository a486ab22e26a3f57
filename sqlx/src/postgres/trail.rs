//! [`PostgresTrail`].

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use sqlx::{PgExecutor, PgPool, Postgres, QueryBuilder, Row, postgres::PgRow, query, query_scalar};
use time::{OffsetDateTime, UtcOffset};
use tower_impersonation::{
    BoxError, Subject,
    audit::{AuditEvent, AuditSink, Outcome, TrailFilter, TrailList, TrailPage, TrailReader},
    session::{SessionId, SubjectKind},
};
use uuid::Uuid;

use super::clean;
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

/// One statement for a batch of any size, retry-safe. `synchronous_commit = off` of the host's is lifted for this
/// transaction: `Ok` means durable.
const INSERT: &str = concat!(
    "with durable as materialized ( \
       select set_config('synchronous_commit', 'on', true) \
       where current_setting('synchronous_commit') = 'off' \
     ) \
     insert into impersonation.trail (",
    event_columns!(),
    ", process) \
     select e.*, $20 from unnest($1::uuid[], $2::bool[], $3::timestamptz[], $4::text[], $5::text[], $6::text[], \
       $7::uuid[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::int[], $14::text[], \
       $15::text[], $16::bigint[], $17::text[], $18::text[], $19::text[]) as e \
     where (select count(*) from durable) >= 0 \
     on conflict (id, is_intent, time) do nothing"
);

/// The trail in PostgreSQL, one partition a month (in UTC), made when it is needed. Clones share it.
///
/// Append-only: UPDATE, DELETE and TRUNCATE raise, of the whole and of each partition (rule A8). A write is one
/// statement, whatever the size of the batch; what is written twice is kept once. A zero byte, which PostgreSQL
/// has not, becomes U+FFFD. Call [`migrate`](super::migrate) before.
///
/// The view `impersonation.requests` shows each acted request once, with `unknown` for an intent that has no
/// outcome (rule A2). Every [`PostgresTrail`] that writes also says every ten seconds that its process lives;
/// intents of one that was silent for a minute are given the outcome [`Outcome::Unknown`].
#[derive(Clone)]
pub struct PostgresTrail {
    shared: Arc<Shared>,
}

struct Shared {
    pool: PgPool,
    process: Uuid,
    heart: Heart,
    /// Months that have a partition, as far as this process knows.
    months: Mutex<HashSet<(i32, u8)>>,
}

// === impl PostgresTrail ===

impl PostgresTrail {
    /// The trail in the database of this pool.
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        Self {
            shared: Arc::new(Shared {
                pool,
                process: Uuid::now_v7(),
                heart: Heart::default(),
                months: Mutex::default(),
            }),
        }
    }

    /// Retention: drops the partitions of the months (in UTC) that are wholly before `keep_from`, and says which.
    /// Never a row, and never a month that is not over. Needs the rights of the tables' owner.
    ///
    /// # Errors
    ///
    /// When `keep_from` is in the future, or the database fails.
    pub async fn drop_months_before(
        &self,
        keep_from: OffsetDateTime,
    ) -> Result<Vec<String>, sqlx::Error> {
        let dropped = query_scalar("select impersonation.drop_months_before($1)")
            .bind(keep_from)
            .fetch_all(&self.shared.pool)
            .await?;
        self.months().clear();
        Ok(dropped)
    }

    /// Gives the intents of processes that were silent for that long the outcome [`Outcome::Unknown`], and says
    /// how many. Called by itself every ten seconds, with a minute.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn mark_unknown(&self, silent: Duration) -> Result<u64, sqlx::Error> {
        let silent = i64::try_from(silent.as_micros()).unwrap_or(i64::MAX);
        let any = query_scalar::<_, bool>(
            "select exists (select from impersonation.processes \
             where swept_at is null and seen_at <= now() - $1 * interval '1 microsecond')",
        )
        .bind(silent);
        if !any.fetch_one(&self.shared.pool).await? {
            return Ok(0);
        }
        query("select impersonation.add_month(now())")
            .execute(&self.shared.pool)
            .await?;
        // Two that do this at once: the second one waits for the first, and finds nothing left.
        let marked = query_scalar::<_, i64>(concat!(
            "with dead as ( \
               update impersonation.processes set swept_at = now() \
               where swept_at is null and seen_at <= now() - $1 * interval '1 microsecond' returning id \
             ), marks as ( \
               insert into impersonation.trail (",
            event_columns!(),
            ", process) \
               select i.id, false, greatest(i.time, now()), i.name, i.actor, i.subject, i.session, i.reason, \
                 i.access, i.method, i.path, i.route, null, 'unknown', i.rule, i.count, i.address, i.user_agent, \
                 i.request_id, $2 \
               from dead join impersonation.trail i on i.process = dead.id and i.is_intent \
               where not exists ( \
                 select from impersonation.trail o where o.id = i.id and not o.is_intent) \
               returning 1 \
             ) select count(*) from marks"
        ))
        .bind(silent)
        .bind(self.shared.process)
        .fetch_one(&self.shared.pool)
        .await?;
        Ok(marked.unsigned_abs())
    }

    /// Writes events that are not there yet. Their months have to be.
    pub(super) async fn insert(
        &self,
        connection: impl PgExecutor<'_>,
        events: &[AuditEvent],
    ) -> Result<(), sqlx::Error> {
        fn all<'e, T>(events: &'e [AuditEvent], field: impl Fn(&'e AuditEvent) -> T) -> Vec<T> {
            events.iter().map(field).collect()
        }
        type Text<'e> = Option<Cow<'e, str>>;
        fn text(text: &Option<String>) -> Text<'_> {
            text.as_deref().map(clean)
        }

        query(INSERT)
            .bind(all(events, |event| event.id))
            .bind(all(events, |event| event.key().1))
            .bind(all(events, |event| columns::to_micros(event.time)))
            .bind(all(events, |event| event.name.as_str()))
            .bind(all(events, |event| {
                event.actor.as_ref().map(|id| id.as_str())
            }))
            .bind(all(events, |event| {
                event.subject.as_ref().map(|subject| subject.as_str())
            }))
            .bind(all(events, |event| event.session.map(|SessionId(id)| id)))
            .bind(all(events, |event| text(&event.reason)))
            .bind(all(events, |event| {
                event.access.map(|access| access.as_str())
            }))
            .bind(all(events, |event| text(&event.method)))
            .bind(all(events, |event| text(&event.path)))
            .bind(all(events, |event| text(&event.route)))
            .bind(all(events, |event| event.status.map(i32::from)))
            .bind(all(events, |event| event.outcome.map(Outcome::as_str)))
            .bind(all(events, |event| event.rule.as_deref().map(clean)))
            .bind(all(events, |event| {
                event
                    .count
                    .map(|count| i64::try_from(count).unwrap_or(i64::MAX))
            }))
            .bind(all(events, |event| {
                event.address.map(|address| address.to_string())
            }))
            .bind(all(events, |event| text(&event.user_agent)))
            .bind(all(events, |event| text(&event.request_id)))
            .bind(self.shared.process)
            .execute(connection)
            .await?;
        Ok(())
    }

    /// Makes the partitions that these events go into, where this process does not know that they are there.
    pub(super) async fn make_months(&self, events: &[AuditEvent]) -> Result<(), sqlx::Error> {
        for event in events {
            let time = event.time.to_offset(UtcOffset::UTC);
            let month = (time.year(), u8::from(time.month()));
            if self.months().contains(&month) {
                continue;
            }
            query("select impersonation.add_month($1)")
                .bind(columns::to_micros(time))
                .execute(&self.shared.pool)
                .await?;
            self.months().insert(month);
        }
        Ok(())
    }

    fn months(&self) -> MutexGuard<'_, HashSet<(i32, u8)>> {
        let months = self.shared.months.lock();
        months.unwrap_or_else(PoisonError::into_inner)
    }

    async fn try_write(&self, events: &[AuditEvent]) -> Result<(), sqlx::Error> {
        keep_beating(&self.shared).await?;
        self.make_months(events).await?;
        self.insert(&self.shared.pool, events).await
    }
}

impl Alive for Shared {
    fn heart(&self) -> &Heart {
        &self.heart
    }

    /// By the clock of the database, which all processes share.
    async fn beat(&self) -> Result<(), sqlx::Error> {
        query(
            "insert into impersonation.processes (id) values ($1) \
             on conflict (id) do update set seen_at = now(), swept_at = null",
        )
        .bind(self.process)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn bury(self: Arc<Self>, silent: Duration) -> Result<(), sqlx::Error> {
        let trail = PostgresTrail { shared: self };
        trail.mark_unknown(silent).await.map(drop)
    }
}

#[async_trait]
impl AuditSink for PostgresTrail {
    async fn write(&self, events: &[AuditEvent]) -> Result<(), BoxError> {
        let written = self.try_write(events).await;
        if written.is_err() {
            // Someone may have dropped a month that this process took to be there.
            self.months().clear();
        }
        Ok(written?)
    }
}

#[async_trait]
impl TrailReader for PostgresTrail {
    /// Counts up to [`COUNTED`]; a `total` of one more means "more than that".
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let after = page.after.as_ref().map(Place::of).transpose()?;
        let mut connection = self.shared.pool.acquire().await?;
        let mut select = QueryBuilder::<Postgres>::new(concat!(
            "select seq, ",
            event_columns!(),
            " from impersonation.trail where "
        ));
        push_filter(&mut select, filter);
        if let Some(after) = after {
            let time = after.moment()?;
            // The first condition says nothing new, but spares the partitions of later months.
            select
                .push(" and time <= ")
                .push_bind(time)
                .push(" and (time, seq) < (")
                .push_bind(time)
                .push(", ")
                .push_bind(after.seq)
                .push(")");
        }
        // Limits stand in the text: a plan that does not know them might read the whole table.
        select
            .push(" order by time desc, seq desc limit ")
            .push(columns::rows(page.limit.saturating_add(1)))
            .push(" offset ")
            .push_bind(columns::rows(page.offset));
        let rows = select.build().fetch_all(&mut *connection).await?;
        let event = |row| Ok::<_, sqlx::Error>((PgRow::try_get(row, "seq")?, event(row)?));
        let events: Vec<_> = rows.iter().map(event).collect::<Result<_, _>>()?;

        let is_all = events.len() <= page.limit && page.offset == 0 && page.after.is_none();
        let total = if is_all {
            events.len() as u64
        } else {
            let mut count = QueryBuilder::<Postgres>::new(
                "select count(*) from (select 1 from impersonation.trail where ",
            );
            push_filter(&mut count, filter);
            count.push(" limit ").push(COUNTED + 1).push(") as counted");
            let total = count.build_query_scalar::<i64>();
            total.fetch_one(&mut *connection).await?.unsigned_abs()
        };
        Ok(list(events, page.limit, total))
    }
}

impl fmt::Debug for PostgresTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTrail")
            .field("process", &self.shared.process)
            .finish_non_exhaustive()
    }
}

fn push_filter(list: &mut QueryBuilder<Postgres>, filter: &TrailFilter) {
    list.push("true");
    if let Some(name) = filter.name {
        // In the text, so that the planner sees whether the index of the rarer names fits. It is one of ours.
        list.push(" and name = '").push(name.as_str()).push("'");
    }
    if let Some(actor) = &filter.actor {
        list.push(" and actor = ").push_bind(actor.as_str());
    }
    if let Some(subject) = &filter.subject {
        list.push(" and subject = ").push_bind(subject.as_str());
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
        list.push(" and time >= ")
            .push_bind(columns::to_micros(from));
    }
    if let Some(to) = filter.to {
        list.push(" and time < ").push_bind(columns::to_micros(to));
    }
}

fn event(row: &PgRow) -> Result<AuditEvent, sqlx::Error> {
    let text = |column| row.try_get::<Option<String>, _>(column);
    let short = |column| row.try_get::<Option<&str>, _>(column);
    let mut event = AuditEvent::new(
        row.try_get("id")?,
        row.try_get("time")?,
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
    let status: Option<i32> = row.try_get("status")?;
    event.status = status.and_then(|status| u16::try_from(status).ok());
    event.outcome = short("outcome")?.map(columns::outcome).transpose()?;
    event.rule = short("rule")?.map(|rule| rule.to_owned().into());
    let count: Option<i64> = row.try_get("count")?;
    event.count = count.map(i64::unsigned_abs);
    event.address = columns::address(text("address")?)?;
    event.user_agent = text("user_agent")?;
    event.request_id = text("request_id")?;
    Ok(event)
}
