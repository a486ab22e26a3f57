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
//!     .handlers_read_acting_as()            // or `assume*`: how handlers see the subject
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
//! # How handlers see the subject
//!
//! A required decision ([`Builder::build`] fails without it), because handlers that find the actor show the actor's data:
//!
//! | your handlers know their user by | call |
//! | --- | --- |
//! | a type in the extensions | [`assume`](Builder::assume), or [`assume_data`](Builder::assume_data) where the directory has it |
//! | a session or an `AuthSession` in the extensions | [`assume_from`](Builder::assume_from) |
//! | a header or a cookie that they read themselves | [`assume_header`](Builder::assume_header) |
//! | [`ActingAs`], all of them | [`handlers_read_acting_as`](Builder::handlers_read_acting_as) |
//!
//! What is replaced has to be on the request, or else it is refused: then your handlers look elsewhere. Authentication
//! that runs *inside* of this layer reads a credential, so that credential is what to replace.
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

mod words;

mod request;

mod rejection;

mod host;

mod policy;

pub mod session;

pub mod audit;

#[cfg(feature = "jwt")]
pub mod token;

mod engine;

mod tower;

mod handle;

#[cfg(feature = "axum")]
pub mod extract;

/// The numbered rules that the code, its tests and these pages cite.
#[doc = include_str!("rules.md")]
pub mod rules {}

/// The macro that the traits of this crate are written with: `#[async_trait] impl AdminChecker for ..`.
pub use async_trait::async_trait;

#[cfg(feature = "jwt")]
pub use self::handle::LiveTokens;
pub use self::{
    engine::{ChangeRequest, People, SessionWithUser, StartRequest, Stopped},
    handle::{Admin, Builder, Impersonation, SignedIn, TrailReading},
    host::{
        AdminChecker, Caller, CheckerAsyncFn, CheckerFn, Consent, CredentialIssuer, Credentials,
        Decision, DirectoryFn, Grant, MemoryConsents, MemoryDirectory, Notice, Notifier,
        NotifierFn, UserDirectory, checker_async_fn, checker_fn, directory_fn, notifier_fn,
    },
    rejection::{Rejection, RejectionKind},
    tower::{
        Forbid, Forbidden, Impersonate, ImpersonationLayer, ResponseBody, ResponseFuture,
        SessionOver,
    },
    words::{
        Access, ActingAs, Actor, BoxError, ConfigError, DirectoryUser, InvalidUserId, Places, Rank,
        Rights, Subject, UserId, clock,
    },
};
