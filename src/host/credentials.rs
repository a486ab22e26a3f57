//! What a session hands out: [`Credentials`], from a [`CredentialIssuer`] or as acting tokens.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::HeaderValue;

use crate::words::{BoxError, Session};

/// Issues the subject's own login for a session, and takes it back: for hosts whose users sign in elsewhere.
///
/// The other side then sees a login of the subject and nothing of the actor, so it has to keep what this crate
/// promises of acted requests. If it can verify tokens, the module `token` (feature `jwt`) is the better way.
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::{BoxError, CredentialIssuer, Credentials, async_trait, session::Session};
///
/// # struct AuthServer;
/// # impl AuthServer {
/// #     async fn login(&self, _: &str, _: &str) -> Result<String, BoxError> { Ok(String::new()) }
/// #     async fn log_out(&self, _: &str) -> Result<(), BoxError> { Ok(()) }
/// # }
/// #[async_trait]
/// impl CredentialIssuer for AuthServer {
///     async fn issue(&self, session: &Session) -> Result<Credentials, BoxError> {
///         let mut credentials = Credentials::default();
///         // The session's id names the login there, so that it can be revoked.
///         let token = self.login(session.subject.as_str(), &session.id.to_string()).await?;
///         credentials.access_token = Some(token);
///         credentials.expires_in = Some(Duration::from_secs(15 * 60));
///         Ok(credentials)
///     }
///
///     async fn revoke(&self, session: &Session) -> Result<(), BoxError> {
///         self.log_out(&session.id.to_string()).await
///     }
/// }
/// ```
#[async_trait]
pub trait CredentialIssuer: Send + Sync + 'static {
    /// The credentials of a session that was just started. On an error the session is ended.
    async fn issue(&self, session: &Session) -> Result<Credentials, BoxError>;

    /// Takes back what was issued for a session that is over. It is called again if it fails, and also for sessions
    /// for which nothing was issued.
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
    /// For `Authorization: Bearer`, or whatever you use it for.
    pub access_token: Option<String>,
    /// For another access token.
    pub refresh_token: Option<String>,
    /// How long the access token is good.
    pub expires_in: Option<Duration>,
    /// `Set-Cookie` values for the browser that started the session.
    pub cookies: Vec<HeaderValue>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("expires_in", &self.expires_in)
            .finish_non_exhaustive()
    }
}
