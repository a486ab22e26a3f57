//! Times as columns hold them: to the microsecond, in UTC.

use time::OffsetDateTime;

/// A time on its way into a column or out of one. PostgreSQL has a type for it; in SQLite it is a number of
/// microseconds since 1970.
#[derive(Debug, Clone, Copy)]
pub struct Moment(pub(crate) OffsetDateTime);

/// To the microsecond, which is what the columns hold: rounded down, so that what is over stays over.
pub(crate) fn to_micros(at: OffsetDateTime) -> OffsetDateTime {
    let nanos = at.nanosecond();
    at.replace_nanosecond(nanos - nanos % 1_000).unwrap_or(at)
}

/// The first microsecond that is not before `at`: what is kept to the microsecond compares with it as with `at`.
pub(crate) fn next_micros(at: OffsetDateTime) -> OffsetDateTime {
    match to_micros(at) {
        whole if whole == at => at,
        whole => whole.saturating_add(time::Duration::MICROSECOND),
    }
}

/// Microseconds since 1970, rounded down.
pub(crate) fn micros(at: OffsetDateTime) -> i64 {
    let micros = at.unix_timestamp_nanos().div_euclid(1_000);
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// The time that lies so many microseconds after 1970.
pub(crate) fn from_micros(micros: i64) -> Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1_000)
}
