//! Sessions: a started, bounded, reasoned permission to act, and where they are kept.
//!
//! [`SessionStore`] is the boundary. This crate ships [`MemorySessions`] for one process and [`Cached`],
//! which keeps answers of a slower store; `conformance` (feature of that name) is what every
//! store has to pass, yours included.

mod cached;
#[cfg(feature = "conformance")]
pub mod conformance;
mod feed;
mod list;
mod lives;
mod memory;
mod store;

pub use self::{
    cached::Cached,
    feed::SessionFeed,
    list::{Page, SessionFilter, SessionList},
    memory::MemorySessions,
    store::{
        Limits, SessionChange, SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};
pub(crate) use self::{
    feed::Feeds,
    lives::{Before, Lives},
};
pub use crate::words::{EndedReason, Session, SessionId, SubjectKind};

#[cfg(test)]
mod tests;
