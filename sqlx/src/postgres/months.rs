//! The partitions of the trail, one a month.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use sqlx::Postgres;
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::{
    reserve::Reserve,
    statement::{Run as _, Statement},
};

/// Months (in UTC) that have a partition, as far as this process knows.
#[derive(Debug, Default)]
pub struct Months(Mutex<HashSet<(i32, u8)>>);

impl Months {
    /// Makes the partition of the month that `at` lies in, where this process does not know that it is there.
    pub(super) async fn make(
        &self,
        reserve: &Reserve<Postgres>,
        at: OffsetDateTime,
    ) -> Result<(), sqlx::Error> {
        if self.has(at) {
            return Ok(());
        }
        let mut connection = reserve.connection().await?;
        let make = Statement::new("select impersonation.add_month($1)").bind(at);
        Postgres::execute(&mut connection, make).await?;
        self.known().insert(month(at));
        Ok(())
    }

    /// Makes this month's partition and the next one's, so that no writer has to wait for one.
    pub(super) async fn make_ahead(&self, reserve: &Reserve<Postgres>) -> Result<(), sqlx::Error> {
        let now = OffsetDateTime::now_utc();
        self.make(reserve, now).await?;
        // From any day of a month, this is in the next one.
        let next = now.replace_day(1).unwrap_or(now) + Duration::days(31);
        self.make(reserve, next).await
    }

    /// Whether this process knows the month that `at` lies in to be there.
    pub(super) fn has(&self, at: OffsetDateTime) -> bool {
        self.known().contains(&month(at))
    }

    pub(super) fn forget(&self) {
        self.known().clear();
    }

    fn known(&self) -> MutexGuard<'_, HashSet<(i32, u8)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn month(at: OffsetDateTime) -> (i32, u8) {
    let at = at.to_offset(UtcOffset::UTC);
    (at.year(), u8::from(at.month()))
}
