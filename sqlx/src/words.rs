//! The words that stand in rows, as the types of the core. Each word is read in one place.

use std::{net::IpAddr, str::FromStr};

use tower_impersonation::{Access, session::SubjectKind};

/// A column holds what no version of this crate has written.
#[derive(Debug, thiserror::Error)]
#[error("the column `{column}` holds {value:?}")]
pub(crate) struct BadColumn {
    column: &'static str,
    value: String,
}

// === impl BadColumn ===

impl BadColumn {
    fn new(column: &'static str, value: &str) -> Self {
        Self {
            column,
            value: value.to_owned(),
        }
    }

    fn decode(self) -> sqlx::Error {
        sqlx::Error::Decode(Box::new(self))
    }
}

/// A column whose text its type reads.
pub(crate) fn parsed<T: FromStr>(column: &'static str, text: &str) -> Result<T, sqlx::Error> {
    text.parse()
        .map_err(|_| BadColumn::new(column, text).decode())
}

/// What a session may do. A word of a newer release allows no more than looking.
pub(crate) fn access(text: &str) -> Access {
    Access::known(text).unwrap_or(Access::ReadOnly)
}

pub(crate) fn address(text: &str) -> Result<IpAddr, sqlx::Error> {
    parsed("address", text)
}

/// The kind of a subject, as its column holds it.
pub(crate) fn kind(kind: SubjectKind) -> &'static str {
    match kind {
        SubjectKind::Anon => "anon",
        SubjectKind::Service => "service",
        _ => "user",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a6_an_access_of_a_newer_release_is_read_only() {
        assert_eq!(access("read_write"), Access::ReadWrite);
        assert_eq!(access("read_write_and_delete"), Access::ReadOnly);
    }
}
