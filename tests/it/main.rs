//! End-to-end tests.
mod desk;
