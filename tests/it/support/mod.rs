//! A small cast and a desk to seat it at: everything of a host, which a test can watch and put into trouble.

#[cfg(feature = "jwt")]
use tower_impersonation::token::jsonwebtoken;
use tower_impersonation::{Subject, UserId};

#[cfg(all(feature = "full", unix))]
pub(crate) mod browser;
mod crowd;
mod desk;
mod host;
mod http;
#[cfg(all(feature = "full", unix))]
pub(crate) mod postgres;
#[cfg(all(feature = "full", unix))]
pub(crate) mod process;
mod time;
mod trail;
mod watched;
mod world;

pub(crate) use self::{
    crowd::each_sees_its_own,
    desk::{Desk, Reply, desk, desk_with, desk_with_consent, sessionless, who},
    host::{ADMIN, Staff, customer},
    http::{Req, ask, fetch, get, parts, post, serve, with},
    time::{MINUTE, NOON, poll_once, settle, still_waits},
    trail::{LateReader, is_taken_back, line, told},
    watched::Watched,
    world::{How, World},
};

pub(crate) fn id(id: &str) -> UserId {
    id.parse().expect("a user id")
}

pub(crate) fn subject(marker: &str) -> Subject {
    marker.parse().expect("a subject")
}

/// Signs and verifies with the one provider of this process.
#[cfg(feature = "jwt")]
pub(crate) fn provider() {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}
