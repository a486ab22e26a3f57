//! Chromium, clicked: what people see and do.

mod desk;
mod marker;
