//! SQLite's types and transactions.

use sqlx::{
    Decode, Encode, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    sqlite::{
        SqliteArgumentsBuffer, SqliteConnectOptions, SqliteQueryResult, SqliteTypeInfo,
        SqliteValueRef,
    },
};
use tokio::sync::broadcast;
use tower_impersonation::UserId;

use crate::{
    dialect::Dialect,
    moment::{Moment, from_micros, micros},
    statement::{Changed, Text},
};

/// Whose role was taken away or lowered by this process. Nobody else tells.
#[derive(Debug)]
pub struct Demotions(broadcast::Sender<UserId>);

impl Dialect for Sqlite {
    // IMMEDIATE: whoever else writes waits here, before anything was read.
    const BEGIN: &'static str = "begin immediate";

    type Shared = Demotions;

    fn is_in_memory(options: &SqliteConnectOptions) -> bool {
        let file = options.get_filename().to_string_lossy();
        // The last is what sqlx makes of `sqlite::memory:`.
        file.is_empty()
            || file.contains(":memory:")
            || file.contains("mode=memory")
            || file.starts_with("file:sqlx-in-memory-")
    }
}

// === impl Demotions ===

impl Demotions {
    pub(crate) fn tell(&self, user: &UserId) {
        // Nobody watches: then nobody has to hear.
        let _ = self.0.send(user.clone());
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<UserId> {
        self.0.subscribe()
    }
}

impl Default for Demotions {
    fn default() -> Self {
        Self(broadcast::Sender::new(64))
    }
}

impl Changed for SqliteQueryResult {
    fn changed(&self) -> u64 {
        self.rows_affected()
    }
}

// === impl Text ===

impl Type<Sqlite> for Text<'_> {
    fn type_info() -> SqliteTypeInfo {
        <str as Type<Sqlite>>::type_info()
    }
}

impl<'t> Encode<'t, Sqlite> for Text<'t> {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <&str as Encode<Sqlite>>::encode_by_ref(&&*self.0, buffer)
    }
}

// === impl Moment ===

impl Type<Sqlite> for Moment {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(type_info: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(type_info)
    }
}

impl Encode<'_, Sqlite> for Moment {
    fn encode_by_ref(&self, buffer: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        <i64 as Encode<Sqlite>>::encode_by_ref(&micros(self.0), buffer)
    }
}

impl Decode<'_, Sqlite> for Moment {
    fn decode(value: SqliteValueRef<'_>) -> Result<Self, BoxDynError> {
        let micros = <i64 as Decode<Sqlite>>::decode(value)?;
        Ok(Self(from_micros(micros)?))
    }
}
