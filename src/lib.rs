//! Impersonation middleware for tower.
#![forbid(unsafe_code)]

pub mod audit;
#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
#[cfg(feature = "control")]
pub mod control;
pub mod session;

mod acting_as;
mod admit;
mod assume;
mod body;
mod builder;
mod checker;
mod client;
mod consent;
mod directory;
mod forbid;
mod future;
mod guarded;
mod identity;
mod impersonation;
mod layer;
mod marker;
mod policy;
mod rejection;
mod service;
mod vet;

pub use self::{
    acting_as::ActingAs,
    body::{ResponseBody, SessionOver},
    builder::{Builder, ConfigError},
    checker::{AdminChecker, Caller, CheckerFn, Decision, Grant, checker_fn},
    consent::{Consent, MemoryConsents},
    directory::{DirectoryUser, MemoryDirectory, UserDirectory},
    forbid::{Forbid, Forbidden},
    future::ResponseFuture,
    identity::{Access, Actor, InvalidUserId, Rank, Rights, Subject, UserId},
    impersonation::{ChangeRequest, Impersonation, SessionWithUser, StartRequest},
    layer::ImpersonationLayer,
    rejection::{Rejection, RejectionKind},
    service::Impersonate,
};

/// Any error of a host's code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
