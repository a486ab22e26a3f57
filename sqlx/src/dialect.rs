//! [`Dialect`]: what everything in this crate has to know of a database, and which the two do differently.

use sqlx::{Connection, Database};

use crate::{columns::Columns, statement::Run};

/// PostgreSQL or SQLite. Sessions and trail add what they need to know: `SessionDialect` and `TrailDialect`.
pub trait Dialect: Run + Database<Row: Columns> {
    /// Begins a transaction that changes something. What it reads, nobody else changes before it is over, or it
    /// is read after a lock that it takes first.
    const BEGIN: &'static str;

    /// What the stores of one process share beside connections.
    type Shared: Default + Send + Sync + 'static;

    /// The database is in the memory of its connections: another one could come to another database.
    fn is_in_memory(_: &Options<Self>) -> bool {
        false
    }
}

/// How a connection is made.
pub(crate) type Options<D> = <<D as Database>::Connection as Connection>::Options;
