//! The parts of the page layer by themselves.
#![allow(clippy::unwrap_used)]

mod banner;
mod insert;
mod response;
