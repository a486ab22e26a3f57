//! The words that everything else speaks in: who, as whom, how far, since when, what happened.
//!
//! Nothing here waits for a host, decides, or knows of HTTP beyond the types of the crate `http`.

mod acting_as;
mod call;
pub mod clock;
mod config;
mod event;
mod field;
mod identity;
mod ids;
mod live;
mod open;
mod places;
mod reason;
mod session;
mod user;
mod wait;

#[cfg(feature = "conformance")]
pub(crate) use self::event::{MAX_HEADER, MAX_PATH};
pub use self::{
    acting_as::ActingAs,
    call::Call,
    config::ConfigError,
    event::{AuditEvent, EventName, Outcome},
    field::{Field, FieldKind, FieldValue, InvalidValue},
    identity::{Access, Actor, InvalidUserId, Rank, Rights, Subject, UserId},
    open::UnknownWord,
    places::Places,
    session::{EndedReason, Session, SessionId, SubjectKind},
    user::DirectoryUser,
};
pub(crate) use self::{
    config::shown,
    event::{cut_header, cut_path},
    ids::Ids,
    live::{Live, acted_as},
    reason::{MAX_REASON, check_reason, has_controls},
    wait::join_all,
};

/// A map that is read without a lock. Its hash is seeded by the process and several times faster than the
/// standard one; only what an admin started or a directory knows ever gets in, so nobody can fill it with
/// keys that collide.
pub(crate) type Map<K, V> = papaya::HashMap<K, V, foldhash::fast::RandomState>;

/// Any error of a host's code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
