//! Everything from outside: every rule by its name through the public API, and the examples as programs.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "page")]
mod banner;
#[cfg(all(feature = "full", unix))]
mod browser;
#[cfg(feature = "console")]
mod console;
#[cfg(feature = "control")]
mod contract;
#[cfg(all(feature = "full", unix))]
mod crash;
#[cfg(all(feature = "full", unix))]
mod desk;
#[cfg(all(feature = "full", unix))]
mod postgres;
#[cfg(all(feature = "full", unix))]
mod process;
#[cfg(all(feature = "full", unix))]
mod replicas;
mod rules_requests;
mod rules_sessions;
mod sticky;
mod support;
mod threats;
#[cfg(feature = "jwt")]
mod tokens;
