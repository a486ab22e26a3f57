//! What is SQLite's own about the trail.

use sqlx::{
    Arguments as _, AssertSqlSafe, Sqlite, SqliteConnection, query_scalar, sqlite::SqliteArguments,
};
use time::OffsetDateTime;
use tower_impersonation::audit::AuditEvent;
use uuid::Uuid;

use crate::{
    reserve::Reserve,
    statement::Binds as _,
    trail::{SqlTrail, TrailDialect, TrailWords, fields, trail_words},
};

/// The trail in SQLite: [`SqlTrail`] says the rest.
///
/// UPDATE and DELETE raise (rule A8), and `INSERT OR REPLACE` replaces nothing. The view is
/// `impersonation_requests`.
pub type SqliteTrail = SqlTrail<Sqlite>;

/// Rows per statement: few sizes, so that each statement is prepared once.
const SIZES: [usize; 4] = [1_000, 100, 10, 1];

impl TrailDialect for Sqlite {
    const TRAIL: TrailWords = trail_words!(
        prefix: "impersonation_",
        now: "cast(unixepoch('subsec') * 1000000 as integer)",
        ago: "",
        greatest: "max",
        least: "min",
        seconds: "(ended - started) / 1000000"
    );

    /// There is always room.
    type Months = ();

    async fn make_room(_: &Reserve<Self>, (): &(), _: OffsetDateTime) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn has_room((): &(), _: OffsetDateTime) -> bool {
        true
    }

    async fn make_room_ahead(_: &Reserve<Self>, (): &()) -> Result<(), sqlx::Error> {
        Ok(())
    }

    fn forget_room((): &()) {}

    /// It stays so: that only makes it safer.
    async fn make_durable(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        const FULL: i64 = 2;
        let synchronous = query_scalar::<_, i64>("pragma synchronous");
        if synchronous.fetch_one(&mut *connection).await? < FULL {
            sqlx::query("pragma synchronous = full")
                .execute(connection)
                .await?;
        }
        Ok(())
    }

    async fn write(
        reserve: &Reserve<Self>,
        events: &[AuditEvent],
        process: Uuid,
    ) -> Result<(), sqlx::Error> {
        let mut connection = reserve.connection().await?;
        Self::make_durable(&mut connection).await?;
        let mut transaction = reserve.begin_on(connection).await?;
        Self::insert(&mut transaction, events, process).await?;
        transaction.commit().await
    }

    async fn insert(
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
}

async fn insert_batch(
    connection: &mut SqliteConnection,
    events: &[AuditEvent],
    process: Uuid,
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    for event in events {
        for column in fields::all() {
            Sqlite::bind(&mut arguments, column.write(event))?;
        }
        arguments.add(process).map_err(sqlx::Error::Encode)?;
    }
    let insert = sqlx::query_with(AssertSqlSafe(insert_of(events.len())), arguments);
    insert.execute(connection).await.map(drop)
}

/// The statement that inserts so many rows.
fn insert_of(rows: usize) -> String {
    let places = fields::each(|_| "?".into());
    let row = format!("({places}, ?)");
    let mut sql = String::with_capacity(400 + rows * (row.len() + 1));
    sql.push_str("insert into impersonation_trail (");
    sql.push_str(fields::columns());
    sql.push_str(", process) values ");
    for at in 0..rows {
        if at > 0 {
            sql.push(',');
        }
        sql.push_str(&row);
    }
    sql.push_str(" on conflict do nothing");
    sql
}
