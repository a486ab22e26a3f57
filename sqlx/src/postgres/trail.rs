//! What is PostgreSQL's own about the trail: one statement for a batch of any size.

use std::{borrow::Cow, sync::LazyLock};

use sqlx::{Arguments as _, PgConnection, Postgres, postgres::PgArguments};
use time::OffsetDateTime;
use tower_impersonation::audit::AuditEvent;
use uuid::Uuid;

use super::{dialect::clean, months::Months};
use crate::{
    moment::to_micros,
    reserve::Reserve,
    statement::Value,
    trail::{
        SqlTrail, TrailDialect, TrailWords,
        fields::{self, Kind},
        trail_words,
    },
};

/// The trail in PostgreSQL, one partition a month (in UTC): [`SqlTrail`] says the rest.
///
/// UPDATE, DELETE and TRUNCATE raise, of the whole and of each partition (rule A8). A zero byte, which PostgreSQL has
/// not, becomes U+FFFD. The view is `impersonation.requests`.
pub type PostgresTrail = SqlTrail<Postgres>;

impl TrailDialect for Postgres {
    const TRAIL: TrailWords = trail_words!(
        prefix: "impersonation.",
        now: "now()",
        ago: " * interval '1 microsecond'",
        greatest: "greatest",
        least: "least",
        seconds: "floor(extract(epoch from ended - started))"
    );

    type Months = Months;

    async fn make_room(
        reserve: &Reserve<Self>,
        months: &Months,
        at: OffsetDateTime,
    ) -> Result<(), sqlx::Error> {
        months.make(reserve, at).await
    }

    fn has_room(months: &Months, at: OffsetDateTime) -> bool {
        months.has(at)
    }

    async fn make_room_ahead(reserve: &Reserve<Self>, months: &Months) -> Result<(), sqlx::Error> {
        months.make_ahead(reserve).await
    }

    fn forget_room(months: &Months) {
        // Someone may have dropped a month that this process took to be there.
        months.forget();
    }

    /// The statement that inserts sees to it.
    async fn make_durable(_: &mut PgConnection) -> Result<(), sqlx::Error> {
        Ok(())
    }

    /// One statement is a transaction of its own.
    async fn write(
        reserve: &Reserve<Self>,
        events: &[AuditEvent],
        process: Uuid,
    ) -> Result<(), sqlx::Error> {
        let mut connection = reserve.connection().await?;
        Self::insert(&mut connection, events, process).await
    }

    async fn insert(
        connection: &mut PgConnection,
        events: &[AuditEvent],
        process: Uuid,
    ) -> Result<(), sqlx::Error> {
        let values = columns(events, process).map_err(sqlx::Error::Encode)?;
        sqlx::query_with(&**INSERT, values)
            .execute(connection)
            .await?;
        Ok(())
    }
}

/// One statement for a batch of any size, retry-safe. `synchronous_commit = off` of the host's is lifted for this
/// transaction: `Ok` means durable.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let mut place = 0;
    let arrays = fields::each(|column| {
        place += 1;
        let array = match column.kind() {
            Kind::Text => "text[]",
            Kind::Number => "bigint[]",
            Kind::Id => "uuid[]",
            Kind::Time => "timestamptz[]",
            Kind::Flag => "bool[]",
        };
        format!("${place}::{array}").into()
    });
    let (columns, process) = (fields::columns(), place + 1);
    format!(
        "with durable as materialized ( \
           select set_config('synchronous_commit', 'on', true) \
           where current_setting('synchronous_commit') = 'off' \
         ) \
         insert into impersonation.trail ({columns}, process) \
         select e.*, ${process} from unnest({arrays}) as e \
         where (select count(*) from durable) >= 0 \
         on conflict (id, is_intent, time) do nothing"
    )
});

/// Each column of all events, as an array.
fn columns(events: &[AuditEvent], process: Uuid) -> Result<PgArguments, sqlx::error::BoxDynError> {
    let mut columns = PgArguments::default();
    for column in fields::all() {
        let values = events.iter().map(|event| column.write(event));
        match column.kind() {
            Kind::Text => columns.add(values.map(text).collect::<Vec<_>>())?,
            Kind::Number => columns.add(values.map(|value| number(&value)).collect::<Vec<_>>())?,
            Kind::Id => columns.add(values.map(|value| id(&value)).collect::<Vec<_>>())?,
            Kind::Time => columns.add(values.map(|value| time(&value)).collect::<Vec<_>>())?,
            Kind::Flag => columns.add(values.map(|value| flag(&value)).collect::<Vec<_>>())?,
        }
    }
    columns.add(process)?;
    Ok(columns)
}

fn text(value: Value<'_>) -> Option<Cow<'_, str>> {
    match value {
        Value::Text(text) => text.map(|text| match clean(&text) {
            Cow::Borrowed(_) => text,
            Cow::Owned(clean) => clean.into(),
        }),
        _ => None,
    }
}

fn number(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Number(number) => *number,
        _ => None,
    }
}

fn id(value: &Value<'_>) -> Option<Uuid> {
    match value {
        Value::Id(id) => *id,
        _ => None,
    }
}

fn time(value: &Value<'_>) -> Option<OffsetDateTime> {
    match value {
        Value::Time(at) => at.map(to_micros),
        _ => None,
    }
}

fn flag(value: &Value<'_>) -> bool {
    matches!(value, Value::Flag(true))
}
