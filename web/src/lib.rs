//! The web side of [tower-impersonation](tower_impersonation), with axum: an HTTP API, admin pages, and the banner
//! on acted pages.
//!
//! Everything here uses only the public API of the core, above all [`Impersonation::admin`] and
//! [`Impersonation::signed_in`], so you can write the same for another framework.
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::{
//!     Actor, Caller, Decision, Grant, Impersonation, Rank, UserId, audit::MemorySink, checker_fn,
//!     session::MemorySessions,
//! };
//!
//! # fn main() -> Result<(), tower_impersonation::ConfigError> {
//! let checker = checker_fn(
//!     |parts| match parts.extensions.get::<UserId>() {
//!         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
//!         None => Caller::Anonymous,
//!     },
//!     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
//! );
//! let impersonation = Impersonation::builder(checker, MemorySink::default())
//!     .handlers_read_acting_as()
//!     .sessions(MemorySessions::new())
//!     .control_path("/impersonation")
//!     .console_path("/admin/impersonation")
//!     .build()?;
//!
//! let app: Router = Router::new();                                // your own pages
//! # #[cfg(all(feature = "console", feature = "page"))]
//! # let app: Router = {
//! # use tower_impersonation_web::{console, control, page};
//! let app: Router = app
//!     .nest("/impersonation", control(&impersonation))            // start, stop, current, list
//!     .nest("/admin/impersonation", console(&impersonation))      // the same for people
//!     .layer(page(&impersonation))                                // the banner, directly inside the next one
//!     .layer(impersonation.layer());
//! # app
//! # };
//! # Ok(())
//! # }
//! ```
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! | --- | --- |
//! | `control` | the HTTP API with its OpenAPI document: [`control()`] |
//! | `console` | the admin pages, people, sessions, trail and summary: [`console()`] |
//! | `page` | the banner on acted pages, and the script that keeps the marker: [`page()`] |
//! | `full` | all of them |
//!
//! [`Impersonation::admin`]: tower_impersonation::Impersonation::admin
//! [`Impersonation::signed_in`]: tower_impersonation::Impersonation::signed_in
#![cfg_attr(
    not(feature = "control"),
    doc = "[`control()`]: https://docs.rs/tower-impersonation-web"
)]
#![cfg_attr(
    not(feature = "console"),
    doc = "[`console()`]: https://docs.rs/tower-impersonation-web"
)]
#![cfg_attr(
    not(feature = "page"),
    doc = "[`page()`]: https://docs.rs/tower-impersonation-web"
)]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(any(feature = "console", feature = "page"))]
mod asset;

#[cfg(feature = "control")]
pub mod control;

#[cfg(feature = "console")]
pub mod console;

#[cfg(feature = "page")]
pub mod page;

#[cfg(feature = "console")]
pub use self::console::console;
#[cfg(feature = "control")]
pub use self::control::control;
#[cfg(feature = "page")]
pub use self::page::{PageLayer, page};

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "full"))]
#[doc = include_str!("../README.md")]
struct Readme;
