//! [`LiveTokens`]: tokens for host code (feature `jwt`).

use http::request::Parts;

use super::Impersonation;
use crate::{
    rejection::Rejection,
    token::{IssuedTokens, VerifiedToken},
    words::Session,
};

/// Issues, verifies and refreshes acting tokens. From [`Impersonation::tokens`].
///
/// Authentication that reads bearer tokens steps aside for ours:
///
/// ```
/// use tower_impersonation::{Caller, LiveTokens};
///
/// fn identify(tokens: &LiveTokens, bearer: &str) -> Caller {
///     if tokens.is_ours(bearer) {
///         return Caller::Anonymous; // the layer, further in, verifies it
///     }
///     // ... your own tokens ...
///     # Caller::Anonymous
/// }
/// ```
#[derive(Debug, Clone)]
pub struct LiveTokens {
    impersonation: Impersonation,
}

impl Impersonation {
    /// Tokens for host code; `None` if no tokens are set.
    #[must_use]
    pub fn tokens(&self) -> Option<LiveTokens> {
        self.engine.tokens.0.as_ref()?;
        let impersonation = self.clone();
        Some(LiveTokens { impersonation })
    }
}

impl LiveTokens {
    /// Whether a bearer token claims to be an acting token of ours; then the host's authentication steps aside.
    /// Nothing is verified here.
    #[must_use]
    pub fn is_ours(&self, token: &str) -> bool {
        let signer = self.impersonation.engine.tokens.0.as_ref();
        signer.is_some_and(|signer| signer.is_ours(token.as_bytes()))
    }

    /// Verifies an access token: its signature and claims, that its session is active, and that its actor is still
    /// an admin.
    ///
    /// What the subject is by now, and what [`authorize`](crate::AdminChecker::authorize) says, the layer asks on
    /// each request.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidToken` or `Unavailable`.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, Rejection> {
        let verified = self.impersonation.engine.verify_token(token).await;
        verified.map_err(|refusal| refusal.rejection)
    }

    /// Tokens for a session that host code has started. They are good for as long as it is active.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` if the key cannot sign or the clock fails.
    pub fn issue(&self, session: &Session) -> Result<IssuedTokens, Rejection> {
        let issued = self.impersonation.engine.sign_tokens(session);
        issued.map_err(|refusal| refusal.rejection)
    }

    /// New tokens for a refresh token, if its session is active. Everything that an acted request has to pass is
    /// checked, and the old refresh token is spent. `parts` are those of the request that asks; they need no login.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidToken` or `Unavailable`.
    pub async fn refresh(
        &self,
        parts: &Parts,
        refresh_token: &str,
    ) -> Result<IssuedTokens, Rejection> {
        let mut subject = None;
        let engine = &self.impersonation.engine;
        let refreshed = engine.exchange(parts, refresh_token, &mut subject).await;
        refreshed.map_err(|refusal| engine.refused(parts, subject.as_ref(), refusal))
    }
}
