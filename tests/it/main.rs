//! The layer, the service, the body and the handle, end to end: every rule by its name.
#![allow(clippy::unwrap_used)]

mod rules_requests;
mod rules_sessions;
mod support;
mod threats;
//! End-to-end tests.
mod desk;
