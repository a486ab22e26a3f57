//! A statement with its values, and running it: the one place that knows what sqlx asks of a database's types.

use std::{borrow::Cow, future::Future};

use sqlx::{
    Arguments, AssertSqlSafe, Encode, Executor, IntoArguments, SqlSafeStr as _, SqlStr, Type,
};
use time::OffsetDateTime;
use tower_impersonation::{Subject, UserId, audit::FieldValue, session::SessionId};
use uuid::Uuid;

use crate::moment::{Moment, to_micros};

/// A statement: its text, with values where that says `$1`, `$2` and so on.
#[derive(Debug)]
pub struct Statement<'v> {
    text: Cow<'static, str>,
    values: Vec<Value<'v>>,
}

/// What a statement can bind. `None` is NULL.
#[derive(Debug)]
pub enum Value<'v> {
    /// A text.
    Text(Option<Cow<'v, str>>),
    /// A number.
    Number(Option<i64>),
    /// A UUID.
    Id(Option<Uuid>),
    /// A time, which the columns hold to the microsecond.
    Time(Option<OffsetDateTime>),
    /// Yes or no.
    Flag(bool),
}

/// A text on its way into a column.
#[derive(Debug)]
pub struct Text<'t>(pub(crate) Cow<'t, str>);

/// Runs statements on a connection.
pub trait Run: sqlx::Database {
    /// The rows that the statement gives.
    fn rows(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, sqlx::Error>> + Send;

    /// How many rows the statement changed.
    fn execute(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> impl Future<Output = Result<u64, sqlx::Error>> + Send;
}

/// What a database says of a statement that is done.
pub trait Changed {
    /// How many rows it changed.
    fn changed(&self) -> u64;
}

/// The types whose values statements bind.
pub trait Binds: sqlx::Database {
    /// Adds one value.
    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), sqlx::Error>;
}

// === impl Statement ===

impl<'v> Statement<'v> {
    /// A statement of this text.
    pub(crate) fn new(text: &'static str) -> Self {
        Self {
            text: text.into(),
            values: Vec::new(),
        }
    }

    /// The next value.
    pub(crate) fn bind(mut self, value: impl Into<Value<'v>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// More text. Never what came from outside: that is a value.
    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.to_mut().push_str(text);
        self
    }

    /// The place of the next value, and the value.
    pub(crate) fn push_value(&mut self, value: impl Into<Value<'v>>) -> &mut Self {
        self.values.push(value.into());
        let place = self.values.len();
        self.push(&format!("${place}"))
    }

    /// A number in the text: a plan that does not know a limit might read the whole table.
    pub(crate) fn push_number(&mut self, number: usize) -> &mut Self {
        let number = i64::try_from(number).unwrap_or(i64::MAX);
        self.push(&number.to_string())
    }

    fn into_parts<D: Binds>(self) -> Result<(SqlStr, D::Arguments), sqlx::Error> {
        let mut arguments = D::Arguments::default();
        for value in self.values {
            D::bind(&mut arguments, value)?;
        }
        let text = match self.text {
            Cow::Borrowed(text) => text.into_sql_str(),
            Cow::Owned(text) => AssertSqlSafe(text).into_sql_str(),
        };
        Ok((text, arguments))
    }
}

// === impl Value ===

impl<'v> From<&'v str> for Value<'v> {
    fn from(text: &'v str) -> Self {
        Self::Text(Some(text.into()))
    }
}

impl<'v> From<Option<&'v str>> for Value<'v> {
    fn from(text: Option<&'v str>) -> Self {
        Self::Text(text.map(Cow::Borrowed))
    }
}

impl From<Option<String>> for Value<'_> {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.map(Cow::Owned))
    }
}

impl<'v> From<FieldValue<'v>> for Value<'v> {
    fn from(value: FieldValue<'v>) -> Self {
        match value {
            FieldValue::Text(text) => Self::Text(Some(text)),
            FieldValue::Integer(number) => Self::Number(Some(number)),
            FieldValue::Uuid(id) => Self::Id(Some(id)),
            FieldValue::Time(at) => Self::Time(Some(at)),
            other => Self::Text(Some(other.to_string().into())),
        }
    }
}

impl<'v> From<&'v UserId> for Value<'v> {
    fn from(id: &'v UserId) -> Self {
        id.as_str().into()
    }
}

impl<'v> From<&'v Subject> for Value<'v> {
    fn from(subject: &'v Subject) -> Self {
        subject.as_str().into()
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(Some(id))
    }
}

impl From<SessionId> for Value<'_> {
    fn from(id: SessionId) -> Self {
        id.0.into()
    }
}

impl From<OffsetDateTime> for Value<'_> {
    fn from(at: OffsetDateTime) -> Self {
        Self::Time(Some(at))
    }
}

impl From<Option<OffsetDateTime>> for Value<'_> {
    fn from(at: Option<OffsetDateTime>) -> Self {
        Self::Time(at)
    }
}

// === impl Binds ===

impl<D> Binds for D
where
    D: sqlx::Database,
    for<'t> Option<Text<'t>>: Encode<'t, D> + Type<D>,
    for<'t> Option<i64>: Encode<'t, D> + Type<D>,
    for<'t> Option<Uuid>: Encode<'t, D> + Type<D>,
    for<'t> Option<Moment>: Encode<'t, D> + Type<D>,
    for<'t> bool: Encode<'t, D> + Type<D>,
{
    fn bind(arguments: &mut Self::Arguments, value: Value<'_>) -> Result<(), sqlx::Error> {
        let added = match value {
            Value::Text(text) => arguments.add(text.map(Text)),
            Value::Number(number) => arguments.add(number),
            Value::Id(id) => arguments.add(id),
            Value::Time(at) => arguments.add(at.map(to_micros).map(Moment)),
            Value::Flag(flag) => arguments.add(flag),
        };
        added.map_err(sqlx::Error::Encode)
    }
}

// === impl Run ===

impl<D> Run for D
where
    D: Binds,
    D::QueryResult: Changed,
    D::Arguments: IntoArguments<D>,
    for<'c> &'c mut D::Connection: Executor<'c, Database = D>,
{
    async fn rows(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> Result<Vec<Self::Row>, sqlx::Error> {
        let (text, arguments) = statement.into_parts::<D>()?;
        sqlx::query_with(text, arguments)
            .fetch_all(connection)
            .await
    }

    async fn execute(
        connection: &mut Self::Connection,
        statement: Statement<'_>,
    ) -> Result<u64, sqlx::Error> {
        let (text, arguments) = statement.into_parts::<D>()?;
        let done = sqlx::query_with(text, arguments)
            .execute(connection)
            .await?;
        Ok(done.changed())
    }
}
