//! Where the next page of the trail starts.

use std::{fmt, str::FromStr};

use time::OffsetDateTime;
use tower_impersonation::audit::{InvalidCursor, TrailCursor};

use crate::moment::from_micros;

/// A place in the trail. As text, it is one word for a URL: that of a [`TrailCursor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Microseconds since 1970.
    pub(crate) time: i64,
    /// The order in which events of the same time came.
    pub(crate) seq: i64,
}

impl Place {
    pub(crate) fn of(cursor: &TrailCursor) -> Result<Self, InvalidCursor> {
        cursor.0.parse()
    }

    pub(crate) fn cursor(self) -> TrailCursor {
        TrailCursor(self.to_string())
    }

    /// The same time, as the type that holds it.
    pub(crate) fn moment(self) -> Result<OffsetDateTime, InvalidCursor> {
        let moment = from_micros(self.time).map_err(|_| InvalidCursor)?;
        // No event is as old, and no database could compare with it.
        Some(moment)
            .filter(|at| at.year() >= 0)
            .ok_or(InvalidCursor)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.time, self.seq)
    }
}

impl FromStr for Place {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (time, seq) = text.split_once('.').ok_or(InvalidCursor)?;
        Ok(Self {
            time: time.parse().map_err(|_| InvalidCursor)?,
            seq: seq.parse().map_err(|_| InvalidCursor)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a6_a_place_in_the_trail_survives_as_text() {
        let place = Place { time: -5, seq: 7 };
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
            assert_eq!(text.parse::<Place>(), Err(InvalidCursor), "{text}");
        }
    }
}
