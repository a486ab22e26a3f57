//! Reading a row by the names of its columns, the same in both databases.

use sqlx::{ColumnIndex, Decode, Row, Type};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::moment::Moment;

/// A row of either database. `None` is NULL.
pub trait Columns {
    /// The column's text.
    fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error>;
    /// The column's number.
    fn number(&self, column: &str) -> Result<Option<i64>, sqlx::Error>;
    /// The column's UUID.
    fn id(&self, column: &str) -> Result<Option<Uuid>, sqlx::Error>;
    /// The column's time.
    fn time(&self, column: &str) -> Result<Option<OffsetDateTime>, sqlx::Error>;
    /// The column's bytes.
    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, sqlx::Error>;
}

impl<R> Columns for R
where
    R: Row,
    for<'n> &'n str: ColumnIndex<R>,
    for<'r> &'r str: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> &'r [u8]: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> i64: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Uuid: Decode<'r, R::Database> + Type<R::Database>,
    for<'r> Moment: Decode<'r, R::Database> + Type<R::Database>,
{
    fn text(&self, column: &str) -> Result<Option<&str>, sqlx::Error> {
        self.try_get(column)
    }

    fn number(&self, column: &str) -> Result<Option<i64>, sqlx::Error> {
        self.try_get(column)
    }

    fn id(&self, column: &str) -> Result<Option<Uuid>, sqlx::Error> {
        self.try_get(column)
    }

    fn time(&self, column: &str) -> Result<Option<OffsetDateTime>, sqlx::Error> {
        let moment: Option<Moment> = self.try_get(column)?;
        Ok(moment.map(|Moment(at)| at))
    }

    fn bytes(&self, column: &str) -> Result<Option<&[u8]>, sqlx::Error> {
        self.try_get(column)
    }
}

/// What a column that is never NULL holds.
pub(crate) fn there<T>(column: &str, value: Option<T>) -> Result<T, sqlx::Error> {
    value.ok_or_else(|| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "this column is never NULL".into(),
    })
}
