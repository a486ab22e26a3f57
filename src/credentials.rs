//! What is handed out with a session: [`Credentials`], by a [`CredentialIssuer`] of the host's or as our own tokens.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::HeaderValue;

use crate::{
    BoxError,
    impersonation::{Impersonation, Inner, SessionWithUser},
    rejection::Rejection,
    session::{EndedReason, Session},
    vet::Refusal,
};

/// Mints the subject's own login for a session, and takes it back: for hosts whose users sign in elsewhere.
///
/// Everything that this crate promises of an acted request is then the other side's to keep: it sees a login of the
/// subject and nothing of the actor. Where that side can verify a token, [`token`](crate) is the better way.
#[async_trait]
pub trait CredentialIssuer: Send + Sync + 'static {
    /// The credentials of a session that was just started. On an error the session is ended.
    async fn issue(&self, session: &Session) -> Result<Credentials, BoxError>;

    /// Takes back what was issued for a session that is over. Called again when it fails, and also for sessions that
    /// nothing was issued for.
    async fn revoke(&self, session: &Session) -> Result<(), BoxError>;

    /// `Set-Cookie` values that a browser gets when its session is stopped. Default: none.
    fn cleared(&self) -> Vec<HeaderValue> {
        Vec::new()
    }
}

/// What is handed out with a session.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Credentials {
    /// For `Authorization: Bearer`, or whatever the host uses it for.
    pub access_token: Option<String>,
    /// For another access token.
    pub refresh_token: Option<String>,
    /// How long the access token is good.
    pub expires_in: Option<Duration>,
    /// `Set-Cookie` values for the browser that started the session.
    pub cookies: Vec<HeaderValue>,
}

impl Impersonation {
    /// Hands out the credentials of a session that was just started by the host's own code; the HTTP API does this by
    /// itself. Without an issuer or tokens there are none.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`; the session is ended then.
    pub async fn hand_out(&self, started: &SessionWithUser) -> Result<Credentials, Rejection> {
        let handed_out = self.inner.try_hand_out(&started.session).await;
        match handed_out {
            Ok(credentials) => Ok(credentials),
            Err(refusal) => {
                let id = started.session.id;
                if self
                    .inner
                    .end(id, EndedReason::SessionRevoked, None)
                    .await
                    .is_err()
                {
                    tracing::error!(
                        target: "tower_impersonation",
                        session = %id, "a session without credentials could not be ended"
                    );
                }
                Err(refusal.rejection)
            }
        }
    }
}

impl Inner {
    async fn try_hand_out(&self, session: &Session) -> Result<Credentials, Refusal> {
        if let Some(issuer) = &self.issuer {
            let issued = async { issuer.issue(session).await };
            return self.ask("credential issuer", issued).await;
        }
        #[cfg(feature = "jwt")]
        if self.tokens.is_some() {
            let issued = self.issue_tokens(session)?;
            return Ok(Credentials {
                access_token: Some(issued.access_token),
                refresh_token: Some(issued.refresh_token),
                expires_in: Some(issued.expires_in),
                cookies: self.session_cookie(session)?.into_iter().collect(),
            });
        }
        Ok(Credentials::default())
    }

    /// What a browser forgets when its session is stopped.
    #[cfg_attr(
        not(feature = "control"),
        expect(dead_code, reason = "for the HTTP API")
    )]
    pub(crate) fn cleared_cookies(&self) -> Vec<HeaderValue> {
        let mut cleared = Vec::new();
        if let Some(issuer) = &self.issuer {
            cleared.extend(issuer.cleared());
        }
        #[cfg(feature = "jwt")]
        cleared.extend(self.cleared_cookie());
        cleared
    }

    /// Takes back what a session had, without anyone waiting for it.
    pub(crate) fn revoke_credentials(self: &Arc<Self>, session: &Session) {
        const TRIES: u32 = 4;

        if self.issuer.is_none() {
            return;
        }
        let (this, session) = (self.clone(), session.clone());
        let revoking = async move {
            let Some(issuer) = &this.issuer else { return };
            for attempt in 0..TRIES {
                let revoked = async { issuer.revoke(&session).await };
                if this.ask("credential issuer", revoked).await.is_ok() {
                    return;
                }
                this.clock
                    .sleep(Duration::from_millis(250 << (2 * attempt)))
                    .await;
            }
            tracing::error!(
                target: "tower_impersonation",
                session = %session.id, "the credentials of this session could not be revoked"
            );
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(revoking);
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}
