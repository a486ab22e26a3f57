//! Impersonation middleware for any [tower](https://docs.rs/tower)-based server: support staff see what a customer
//! sees, on the record, for as long as there is a reason.
//!
//! A request is acted if and only if it says so (`/orders?as=42`, or the header `Act-As: 42`), the admin may act as
//! that user, **and** the trail has recorded it. The admin's own login is never touched: there is no session to
//! swap and nothing to restore.
//!
//! ```
//! use tower_impersonation::{
//!     Actor, Caller, Decision, Grant, Impersonation, Rank, UserId, audit::JsonLines, checker_fn, session::MemorySessions,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let file = folder.path().join("audit.jsonl");
//! let checker = checker_fn(
//!     // Who calls? Your authentication ran before and left its answer in the request's extensions.
//!     |parts| match parts.extensions.get::<UserId>() {
//!         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
//!         None => Caller::Anonymous,
//!     },
//!     // May they act as this subject?
//!     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
//! );
//! let impersonation = Impersonation::builder(checker, JsonLines::open(file)?)
//!     .sessions(MemorySessions::new())      // acting needs a started session
//!     .protect("/account/password")         // never while acting
//!     .exclude("/admin")                    // always as oneself
//!     .handlers_read_acting_as()            // or `assume*`: how handlers see the subject
//!     .build()?;
//! let layer = impersonation.layer();        // goes around your application, inside your authentication
//! # let _ = layer;
//! # Ok(())
//! # }
//! ```
//!
//! # Two ways to run
//!
//! - **Without sessions**, each marked request stands alone and [`AdminChecker::authorize`] decides.
//!   [`ImpersonationLayer::new`] needs only the two traits [`AdminChecker`] and [`AuditSink`](audit::AuditSink).
//! - **With sessions** ([`Builder::sessions`]), a marker only points at an active session, which this actor started for
//!   this subject, with a reason and an end. Without one the request is refused.
//!
//! Both put the same [`ActingAs`] into the extensions of the request and of the response.
//!
//! # What is promised
//!
//! 1. A request without a marker is passed on: nothing is asked, awaited or allocated ([R1](rules#r1)).
//! 2. A marker that cannot be honoured refuses the request. The request never runs as the actor ([R4](rules#r4)).
//! 3. The inner service gets the request without its marker ([R9](rules#r9)).
//! 4. Acting is read-only unless granted, and never reaches protected routes ([R10](rules#r10), [R11](rules#r11)).
//! 5. Actor and subject are checked again on every acted request; a demotion ends the session there ([R8](rules#r8)).
//! 6. Nothing changes before its record is durable: no trail, no act ([A1](rules#a1)).
//! 7. Host code that fails, hangs or panics refuses the request ([R13](rules#r13)).
//!
//! The module [`rules`] has all of them, and says of each what is not kept yet.
//!
//! # Order of the layers
//!
//! ```text
//! trace, compression, ...   see every request as it came
//!   your authentication     puts the admin into the extensions
//!     ImpersonationLayer    puts `ActingAs` there, and the subject where `Builder::assume*` says
//!       PageLayer           adds the banner to pages (crate `tower-impersonation-web`, feature `page`)
//!         your application  serves the subject, and does not have to know
//! ```
//!
//! With axum, the module `extract` (feature `axum`) shows how to put the layer around a router or into it.
//!
//! # How handlers see the subject
//!
//! You must decide this, or [`Builder::build`] fails: handlers that find the actor would show the actor's data.
//!
//! | your handlers know their user by | call |
//! | --- | --- |
//! | a type in the extensions | [`assume`](Builder::assume), or [`assume_data`](Builder::assume_data) if the directory has it |
//! | a session or an `AuthSession` in the extensions | [`assume_from`](Builder::assume_from) |
//! | a header or a cookie that they read themselves | [`assume_header`](Builder::assume_header) |
//! | [`ActingAs`], all of them | [`handlers_read_acting_as`](Builder::handlers_read_acting_as) |
//!
//! What you replace must be on the request. If it is not, your handlers look elsewhere for their user, so the
//! request is refused with 503. Authentication that runs *inside* this layer reads a credential: replace that
//! credential.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `axum` | the module `extract`: extractors and guards for handlers; client address and route as axum knows them |
//! | `conformance` | test suites for your own stores and sinks: `session::conformance`, `audit::conformance` |
//! | `jwt` | the module `token`: acting tokens for the services behind you, a cookie for whole browsers, and `JwtChecker` |
//! | `jwt-aws-lc-rs` | the cryptography for `jwt`, by aws-lc-rs |
//! | `jwt-rust-crypto` | the same, in pure Rust; turn on one of the two, or install a provider of your own |
//! | `full` | `axum`, `conformance`, `jwt` and `jwt-aws-lc-rs` |
//!
//! # Other crates
//!
//! This crate has no router, no HTML and no SQL.
//!
//! | crate | has |
//! | --- | --- |
//! | [`tower-impersonation-web`](https://docs.rs/tower-impersonation-web) | the HTTP API (`control`), the admin pages (`console`), the banner on acted pages (`page`), with axum |
//! | [`tower-impersonation-sqlx`](https://docs.rs/tower-impersonation-sqlx) | sessions, trail, admin roles and consents in SQLite and PostgreSQL; row-level security |
//!
//! Both use only what is public here, so you can write your own in their place.
//!
//! # Runtime
//!
//! tokio. Requests without a marker work without one; everything else records, which takes a task.
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

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;

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
