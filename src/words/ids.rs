//! [`Ids`]: UUIDs of version 7, in the order in which they were made.

use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use uuid::{ContextV7, Timestamp, Uuid};

/// Makes ids that sort by time.
#[derive(Debug)]
pub(crate) struct Ids(Mutex<Made>);

#[derive(Debug)]
struct Made {
    context: ContextV7,
    /// The latest time that an id was made of.
    latest: OffsetDateTime,
}

// === impl Ids ===

impl Default for Ids {
    fn default() -> Self {
        Self(Mutex::new(Made {
            context: ContextV7::new(),
            latest: OffsetDateTime::UNIX_EPOCH,
        }))
    }
}

impl Ids {
    /// A new id of this time; ids that are made later sort after it, also those of the same millisecond
    /// and of an earlier time.
    pub(crate) fn next(&self, at: OffsetDateTime) -> Uuid {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The context does not keep the order when it sees an earlier second with a later fraction.
        made.latest = made.latest.max(at);
        let seconds = u64::try_from(made.latest.unix_timestamp()).unwrap_or(0);
        let nanos = made.latest.nanosecond();
        Uuid::new_v7(Timestamp::from_unix(&made.context, seconds, nanos))
    }
}
