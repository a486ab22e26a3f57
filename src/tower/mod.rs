//! The middleware itself: [`ImpersonationLayer`], its service, future and body, and [`Forbid`].

mod body;
mod forbid;
mod future;
mod layer;
mod service;

#[cfg(feature = "axum")]
pub(crate) use self::forbid::protected;
pub use self::{
    body::{ResponseBody, SessionOver},
    forbid::{Forbid, Forbidden},
    future::ResponseFuture,
    layer::ImpersonationLayer,
    service::Impersonate,
};
