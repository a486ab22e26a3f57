//! Against files of SQLite and a real PostgreSQL, which `TEST_DATABASE_URL` names.
#![allow(clippy::unwrap_used)]

mod child;
mod consents;
mod crash;
mod ends;
mod faults;
mod handle;
mod host;
mod kills;
mod lists;
mod migrations;
mod months;
mod postgres;
mod processes;
mod replicas;
mod rls;
mod roles;
mod spent;
mod sqlite;
mod summaries;
mod trail;
