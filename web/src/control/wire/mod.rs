//! The words of the HTTP contract, and how they map to ours. Clients in other languages rely on every name,
//! null and status here.
//!
//! `admin_user_id` is our actor, `target_user_id` our subject, `impersonation_type` the subject's kind.

mod change;
mod event;
mod problem;
mod query;
mod read;
mod schema;
mod session;
mod start;
mod stop;
mod token;
mod user;

pub(crate) use self::query::{ReadQuery, SessionQuery, TrailQuery};
pub(super) use self::{
    change::{ChangeFields, OneSession},
    event::EventsPage,
    problem::Problem,
    query::UsersQuery,
    read::{form_fields, named},
    session::{Current, SessionView, SessionsPage},
    start::{Fields, NoUserFields, StartAnswer},
    stop::{Ended, StopFields},
    token::{TokenAnswer, TokenFields},
    user::UsersPage,
};
