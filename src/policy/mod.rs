//! The rules, as functions without side effects: what a route allows, and who may act as whom.

mod decision;
mod path;
mod readings;
mod routes;

pub(crate) use self::{
    decision::{Denial, may_act, may_ask, narrow},
    path::PathPattern,
    routes::{Route, Routes, may_write},
};
