//! Reading the trail: what to look for, and where the next page starts.

use std::{fmt, str::FromStr};

use time::OffsetDateTime;
use tower_impersonation::{
    Subject, UserId,
    audit::{AuditEvent, EventName},
    session::SessionId,
};

/// Which events to read. `None` does not filter.
///
/// Each field has an index of its own, in the order of the list, so that a page costs the same however long
/// the trail is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailFilter {
    /// Those of this name.
    pub name: Option<EventName>,
    /// Those of this actor.
    pub actor: Option<UserId>,
    /// Those about this subject.
    pub subject: Option<Subject>,
    /// Those of this session.
    pub session: Option<SessionId>,
    /// Then or later.
    pub from: Option<OffsetDateTime>,
    /// Before then.
    pub to: Option<OffsetDateTime>,
}

/// A part of the trail, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrailPage {
    /// At most this many. Default: 50.
    pub limit: usize,
    /// Without this many of the newest. Default: 0. Costs the more the bigger it is.
    pub offset: usize,
    /// Only what comes after this place. Default: from the newest on.
    pub after: Option<TrailCursor>,
}

/// A part of the trail that was read.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct TrailList {
    /// The events, newest first. An intent and its outcome are two of them, with the same id.
    pub events: Vec<AuditEvent>,
    /// How many the filter matches in all, exactly up to [`COUNTED`](crate::COUNTED); one more means "more".
    pub total: u64,
    /// Where the next page starts; `None` on the last one.
    pub next: Option<TrailCursor>,
}

/// A place in the trail. As text, it is one word for a URL.
///
/// ```
/// use tower_impersonation_sqlx::TrailCursor;
///
/// assert!("nonsense".parse::<TrailCursor>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailCursor {
    /// Microseconds since 1970.
    pub(crate) time: i64,
    /// The order in which events of the same time came.
    pub(crate) seq: i64,
}

/// A text that is no [`TrailCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place in the trail")]
pub struct InvalidCursor;

// === impl TrailPage ===

impl Default for TrailPage {
    fn default() -> Self {
        Self {
            limit: 50,
            offset: 0,
            after: None,
        }
    }
}

impl TrailPage {
    /// The first `limit` events.
    #[must_use]
    pub fn first(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// As many that come after this place.
    #[must_use]
    pub fn after(mut self, place: TrailCursor) -> Self {
        self.after = Some(place);
        self
    }
}

// === impl TrailList ===

impl TrailList {
    /// Makes the list of one row more than the page has.
    pub(crate) fn of(mut rows: Vec<(i64, AuditEvent)>, limit: usize, total: u64) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let last = rows.last().filter(|_| more);
        Self {
            next: last.map(|(seq, event)| TrailCursor {
                time: micros(event.time),
                seq: *seq,
            }),
            events: rows.into_iter().map(|(_, event)| event).collect(),
            total,
        }
    }
}

// === impl TrailCursor ===

impl fmt::Display for TrailCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time, self.seq)
    }
}

impl FromStr for TrailCursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (time, seq) = text.split_once('.').ok_or(InvalidCursor)?;
        Ok(Self {
            time: time.parse().map_err(|_| InvalidCursor)?,
            seq: seq.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

/// Microseconds since 1970, rounded down.
pub(crate) fn micros(at: OffsetDateTime) -> i64 {
    let micros = at.unix_timestamp_nanos().div_euclid(1_000);
    i64::try_from(micros).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a6_a_place_in_the_trail_survives_as_text() {
        let place = TrailCursor { time: -5, seq: 7 };
        assert_eq!(place.to_string(), "-5.7");
        assert_eq!("-5.7".parse(), Ok(place));
        for text in [
            "",
            "1",
            "1.",
            ".1",
            "x.y",
            "1.2.3",
            "99999999999999999999.1",
        ] {
            assert_eq!(text.parse::<TrailCursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
