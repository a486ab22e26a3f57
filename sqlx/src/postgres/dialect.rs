//! PostgreSQL's types and transactions.

use std::borrow::Cow;

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgQueryResult, PgTypeInfo, PgValueRef},
};
use time::OffsetDateTime;

use super::channel::Channel;
use crate::{
    dialect::Dialect,
    moment::Moment,
    statement::{Changed, Text},
};

impl Dialect for Postgres {
    // Whatever the host's default is: what is read has to be as of after the lock.
    const BEGIN: &'static str = "begin isolation level read committed read write";

    type Shared = Channel;
}

impl Changed for PgQueryResult {
    fn changed(&self) -> u64 {
        self.rows_affected()
    }
}

// === impl Text ===

impl Type<Postgres> for Text<'_> {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }
}

impl<'t> Encode<'t, Postgres> for Text<'t> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let text = clean(&self.0);
        <&str as Encode<Postgres>>::encode_by_ref(&&*text, buffer)
    }
}

/// Text as PostgreSQL takes it: a zero byte, which it has not, becomes the mark of what cannot be shown. Else one
/// such text would make every write fail that has it.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

// === impl Moment ===

impl Type<Postgres> for Moment {
    fn type_info() -> PgTypeInfo {
        <OffsetDateTime as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Moment {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <OffsetDateTime as Encode<Postgres>>::encode_by_ref(&self.0, buffer)
    }
}

impl Decode<'_, Postgres> for Moment {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        <OffsetDateTime as Decode<Postgres>>::decode(value).map(Self)
    }
}
