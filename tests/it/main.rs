//! Everything from outside: every rule by its name through the public API, and the examples as programs.
//!
//! A folder for each group of rules. What they share stands in `support`.
#![allow(clippy::unwrap_used)]
// Headers of our own answers.
#![allow(clippy::disallowed_methods)]

mod banner;
#[cfg(all(feature = "full", unix))]
mod browser;
mod console;
mod contract;
#[cfg(all(feature = "full", unix))]
mod database;
#[cfg(all(feature = "full", unix))]
mod desk;
mod request;
mod session;
mod support;
mod threats;
#[cfg(feature = "jwt")]
mod token;
mod trail;
mod unmarked;
