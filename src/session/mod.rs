//! Sessions: a started, bounded, reasoned permission to act, and where they are kept.
//!
//! | | |
//! | --- | --- |
//! | [`Session`] | who acts as whom, why, how far, from when to when, and how it ended |
//! | [`SessionStore`] | the boundary: a trait, each of whose methods is one atomic step |
//! | [`MemorySessions`] | a store for one process, gone when it ends |
//! | [`Cached`] | keeps the answers of a slower store |
//! | [`SessionFeed`] | what happens to sessions, as it happens |
//!
//! SQLite and PostgreSQL are in `tower-impersonation-sqlx`. To write your own store, implement the trait and run
//! the suite in `conformance` (the feature of that name), which every store here passes too:
//!
//! ```
//! # #[cfg(feature = "conformance")]
//! # async fn suite() {
//! use tower_impersonation::session::{MemorySessions, conformance};
//!
//! conformance::run(|| async { MemorySessions::new() }).await;
//! # }
//! ```

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
