//! Impersonation middleware for any [tower](https://docs.rs/tower)-based server: support staff see what a
//! customer sees, on the record, for as long as there is a reason.
//!
//! A request is acted if and only if it says so (`/orders?as=42`, or the header `Act-As: 42`) **and** the
//! admin has a right to it **and** the trail has it. The admin's own login is never touched: there is no
//! session to swap and nothing to restore.
//!
//! ```
//! use tower_impersonation::{
//!     Actor, Caller, Decision, DirectoryUser, Grant, Impersonation, MemoryDirectory, Rank, UserId,
//!     audit::JsonLines, checker_fn, session::MemorySessions,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("audit.jsonl");
//! // Who is an admin? Your authentication has left that in the request's extensions.
//! let checker = checker_fn(
//!     |parts| match parts.extensions.get::<UserId>() {
//!         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
//!         None => Caller::Anonymous,
//!     },
//!     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
//! );
//! let users: MemoryDirectory = [DirectoryUser::new("ines".parse()?, Rank(0))].into_iter().collect();
//!
//! let impersonation = Impersonation::builder(checker, JsonLines::open(file)?)
//!     .directory(users)                     // optional: whom one can act as, by rank
//!     .sessions(MemorySessions::new())      // optional: acting needs a started session
//!     .protect("/account/password")         // never while acting
//!     .exclude("/admin")                    // always as oneself
//!     .build()?;
//!
//! let layer = impersonation.layer();        // around your application, inside of your authentication
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! # Two ways to run
//!
//! - **Without sessions**: each marked request stands alone and [`AdminChecker::authorize`] decides.
//!   [`ImpersonationLayer::new`] needs nothing but the two traits [`AdminChecker`] and
//!   [`AuditSink`](audit::AuditSink).
//! - **With sessions** ([`Builder::sessions`]): a marker only points at an active session that this actor has
//!   started for this subject, with a reason and an end. Without one the request is refused.
//!
//! Both end in the same [`ActingAs`] in the extensions of request and response.
//!
//! # What is promised
//!
//! 1. A request without a marker is passed on: nothing is asked, awaited or allocated.
//! 2. A marker that cannot be honoured refuses the request, always: never does it run as the actor.
//! 3. The inner service never sees a marker.
//! 4. Read-only unless granted; protected routes never.
//! 5. Actor and subject are checked again on every acted request. A demotion ends the session there.
//! 6. Nothing changes without its record being durable before: no trail, no act.
//! 7. Whatever fails, hangs or panics in a host's code refuses the request.
//!
//! # Order of the layers
//!
//! ```text
//! trace, compression, ...   see every request as it came
//!   your authentication     puts the admin into the extensions
//!     ImpersonationLayer    puts `ActingAs` there, and by `Builder::assume` the subject as your own type
//!       PageLayer           where pages are to have the banner (feature `page`)
//!         your application  serves the subject, and needs not know
//! ```
//!
//! Authentication that runs *inside* of this layer, or handlers that read a cookie or token by themselves,
//! still find the actor's: the credentials on the request are not touched.
//!
//! With axum, see [`ImpersonationLayer`] for where to put it.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum` | extractors and guards for handlers; client address and route from axum |
//! | `control` | the HTTP API with its OpenAPI document, as an `axum::Router` |
//! | `console` | the admin pages: people, sessions, trail, summary, as an `axum::Router` |
//! | `conformance` | the test suites for your own stores and sinks |
//! | `jwt` | acting tokens for the services behind; an `AdminChecker` for JWT bearers |
//! | `jwt-aws-lc-rs`, `jwt-rust-crypto` | the cryptography for `jwt`: exactly one of them, see `token` |
//! | `page` | the banner on acted pages with the way out, and the script that keeps the marker |
//! | `full` | all of them, with `jwt-aws-lc-rs` |
//!
//! # Runtime
//!
//! tokio. Requests without a marker work without one; everything else records, and that takes a task.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod audit;
#[cfg(feature = "axum")]
pub mod axum;
pub mod clock;
#[cfg(feature = "console")]
pub mod console;
#[cfg(feature = "control")]
pub mod control;
#[cfg(feature = "page")]
pub mod page;
#[doc = include_str!("rules.md")]
pub mod rules {}
pub mod session;
#[cfg(feature = "jwt")]
pub mod token;

mod acting_as;
mod admit;
#[cfg(any(feature = "console", feature = "page"))]
mod asset;
mod assume;
mod body;
mod builder;
mod checker;
mod client;
mod consent;
mod credentials;
mod directory;
mod event;
mod forbid;
mod future;
mod guarded;
mod identity;
mod impersonation;
mod layer;
mod marker;
mod notifier;
mod people;
mod policy;
mod reading;
mod rejection;
mod service;
mod unmarked;
mod vet;

pub use self::{
    acting_as::ActingAs,
    body::{ResponseBody, SessionOver},
    builder::{Builder, ConfigError},
    checker::{AdminChecker, Caller, CheckerFn, Decision, Grant, checker_fn},
    consent::{Consent, MemoryConsents},
    credentials::{CredentialIssuer, Credentials},
    directory::{DirectoryUser, MemoryDirectory, UserDirectory},
    forbid::{Forbid, Forbidden},
    future::ResponseFuture,
    identity::{Access, Actor, InvalidUserId, Rank, Rights, Subject, UserId},
    impersonation::{ChangeRequest, Impersonation, SessionWithUser, StartRequest},
    layer::ImpersonationLayer,
    notifier::{Notice, Notifier, NotifierFn, notifier_fn},
    people::People,
    rejection::{Rejection, RejectionKind},
    service::Impersonate,
};

#[cfg(feature = "page")]
pub use self::page::PageLayer;

/// A map that is read without a lock. Its hash is seeded by the process and several times faster than the
/// standard one; only what an admin started or a directory knows ever gets in, so nobody can fill it with
/// keys that collide.
type Map<K, V> = papaya::HashMap<K, V, foldhash::fast::RandomState>;

/// Any error of a host's code.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
