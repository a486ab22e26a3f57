//! [`ImpersonationLayer`]: puts [`Impersonate`] around a service.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::service::Impersonate;
use crate::engine::Engine;

/// Makes marked requests act. Made by [`Impersonation::layer`](crate::Impersonation::layer), or by
/// [`new`](Self::new) where the two traits are enough.
///
/// # Order
///
/// Put it outside the application and inside its authentication: the checker finds the admin in the extensions that
/// authentication left, and the handlers find the subject. Layers that log or trace go outside it, layers that
/// decide by user go inside.
///
/// With axum, `Router::layer` works, and costs about a thousand instructions and three allocations per request
/// whatever the layer does. Around the finished router, `layer.layer(router)`, it costs none of that; the module
/// `extract` (feature `axum`) shows how to serve it.
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct ImpersonationLayer {
    pub(crate) engine: Arc<Engine>,
}

impl ImpersonationLayer {
    pub(crate) fn of(engine: Arc<Engine>) -> Self {
        // What another process has left behind does not wait for the first request.
        engine.keep_swept();
        Self { engine }
    }
}

impl<S> Layer<S> for ImpersonationLayer {
    type Service = Impersonate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Impersonate::new(inner, self.engine.clone())
    }
}

impl fmt::Debug for ImpersonationLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImpersonationLayer").finish_non_exhaustive()
    }
}
