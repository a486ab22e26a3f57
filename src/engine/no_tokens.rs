//! Tokens without feature `jwt`: there are none, and the compiler knows.

use std::{convert::Infallible, sync::Arc};

use http::{HeaderMap, HeaderValue, request::Parts};

use super::{Admitted, Engine, Refusal, SignedInAs};
use crate::{
    host::Credentials,
    policy::Route,
    rejection::{Rejection, RejectionKind},
    request::{Fault, Marker, Sources},
    words::{ConfigError, Session, Subject, clock::Clock},
};

/// There is nothing to set.
pub(crate) type TokenSettings = ();

#[derive(Default)]
pub(crate) struct Tokens;

pub(crate) struct Carried(Infallible);

impl Carried {
    pub(crate) fn is_cookie(&self) -> bool {
        match self.0 {}
    }
}

impl Tokens {
    pub(crate) fn build(
        (): TokenSettings,
        _: &Sources,
        _: bool,
        _: &dyn Clock,
    ) -> Result<Self, ConfigError> {
        Ok(Self)
    }

    #[inline]
    pub(crate) fn find(&self, _: &HeaderMap) -> Result<Option<Carried>, Fault> {
        Ok(None)
    }

    pub(crate) fn strip(&self, _: &mut HeaderMap) {}

    pub(crate) fn is_cookie_at_fault(&self, _: &HeaderMap) -> bool {
        false
    }

    pub(crate) fn cleared_cookie(&self) -> Option<HeaderValue> {
        None
    }
}

impl Engine {
    pub(super) async fn admit_token(
        self: &Arc<Self>,
        _: &mut Parts,
        carried: &Carried,
        _: Option<Marker>,
        _: Route,
    ) -> Result<Admitted, Rejection> {
        match carried.0 {}
    }

    pub(super) async fn signed_in_by_token(
        &self,
        _: &Parts,
    ) -> Result<Option<SignedInAs>, Refusal> {
        Ok(None)
    }

    pub(super) fn issue_tokens(&self, _: &Session) -> Result<Credentials, Refusal> {
        Ok(Credentials::default())
    }

    pub(crate) fn session_cookie(&self, _: &Session) -> Result<Option<HeaderValue>, Refusal> {
        Ok(None)
    }

    pub(super) async fn refresh_tokens(
        self: &Arc<Self>,
        _: &Parts,
        _: &str,
        _: &mut Option<Subject>,
    ) -> Result<Credentials, Refusal> {
        Err(Refusal::of(
            RejectionKind::NotFound,
            "the feature `jwt` is off",
        ))
    }
}
