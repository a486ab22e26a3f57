//! Against files of SQLite and a real PostgreSQL, which `TEST_DATABASE_URL` names.
#![allow(clippy::unwrap_used)]

mod consents;
mod crash;
mod ends;
mod faults;
mod handle;
mod host;
mod lists;
mod migrations;
mod months;
mod postgres;
mod replicas;
mod rls;
mod roles;
mod sqlite;
mod trail;
