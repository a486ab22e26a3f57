//! Against a file of SQLite, and a real PostgreSQL.
#![allow(clippy::unwrap_used)]

mod sqlite;
