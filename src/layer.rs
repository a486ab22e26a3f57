//! [`ImpersonationLayer`]: puts [`Impersonate`] around a service.

use std::sync::Arc;

use tower_layer::Layer;

use crate::{
    audit::AuditSink, builder::Builder, checker::AdminChecker, impersonation::Impersonation,
    service::Impersonate,
};

/// Makes marked requests act. Made by [`Impersonation::layer`], or by [`new`](Self::new) where the two
/// traits are enough.
///
/// # Order
///
/// Outside of the application and inside of its authentication: the checker finds the admin in the
/// extensions that authentication left there, and the handlers find the subject. Layers that log or
/// trace belong outside of it, those that decide by user inside.
///
/// With axum, `Router::layer` works, and costs about a thousand instructions and three allocations per request
/// whatever the layer does. Around the finished router, `layer.layer(router)`, it costs none of that; the
/// module `axum` shows how that is served.
#[derive(Debug, Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct ImpersonationLayer {
    impersonation: Impersonation,
}

impl ImpersonationLayer {
    /// The layer with every setting at its default, no directory and no sessions: each marked request
    /// stands alone, and `checker` decides.
    ///
    /// ```
    /// use tower_impersonation::{
    ///     Actor, Caller, Decision, Grant, ImpersonationLayer, Rank, UserId, audit::TracingSink, checker_fn,
    /// };
    ///
    /// let checker = checker_fn(
    ///     |parts| match parts.extensions.get::<UserId>() {
    ///         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(1))),
    ///         None => Caller::Anonymous,
    ///     },
    ///     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
    /// );
    /// let layer = ImpersonationLayer::new(checker, TracingSink);
    /// ```
    ///
    /// # Panics
    ///
    /// Never: the defaults are valid.
    pub fn new(checker: impl AdminChecker, audit: impl AuditSink) -> Self {
        let built = Builder::new(Arc::new(checker), Arc::new(audit)).build();
        Self::of(built.expect("the defaults are valid"))
    }

    pub(crate) fn of(impersonation: Impersonation) -> Self {
        Self { impersonation }
    }

    /// The handle behind the layer.
    #[must_use]
    pub fn impersonation(&self) -> &Impersonation {
        &self.impersonation
    }
}

impl<S> Layer<S> for ImpersonationLayer {
    type Service = Impersonate<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Impersonate::new(inner, self.impersonation.clone())
    }
}
