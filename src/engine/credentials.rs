//! What is handed out with a session, and taken back with it.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, request::Parts};

use super::{Engine, Refusal};
use crate::{
    host::Credentials,
    rejection::Rejection,
    words::{Call, EndedReason, Session, Subject},
};

impl Engine {
    /// The credentials of a session that was just started; it is ended when there are none to be had.
    pub(crate) async fn hand_out(
        self: &Arc<Self>,
        session: &Session,
    ) -> Result<Credentials, Rejection> {
        let refusal = match self.try_hand_out(session).await {
            Ok(credentials) => return Ok(credentials),
            Err(refusal) => refusal,
        };
        // It is ended until that holds, whatever the store says now.
        let ended = self.end(session.id, EndedReason::SessionRevoked, Call::default());
        let _ = ended.await;
        Err(refusal.rejection)
    }

    async fn try_hand_out(&self, session: &Session) -> Result<Credentials, Refusal> {
        if let Some(issuer) = &self.host.issuer {
            let issued = async { issuer.issue(session).await };
            return self.ask("credential issuer", issued).await;
        }
        let mut credentials = self.issue_tokens(session)?;
        credentials.cookies.extend(self.session_cookie(session)?);
        Ok(credentials)
    }

    /// New tokens for a refresh token whose session lives.
    pub(crate) async fn refresh(
        self: &Arc<Self>,
        parts: &Parts,
        refresh_token: &str,
    ) -> Result<Credentials, Rejection> {
        let mut subject: Option<Subject> = None;
        let refreshed = self.refresh_tokens(parts, refresh_token, &mut subject);
        refreshed
            .await
            .map_err(|refusal| self.refused(parts, subject.as_ref(), refusal))
    }

    /// What a browser forgets when its session is stopped.
    pub(crate) fn cleared_cookies(&self) -> Vec<HeaderValue> {
        let issuer = self.host.issuer.as_ref();
        let mut cleared = issuer.map_or_else(Vec::new, |issuer| issuer.cleared());
        cleared.extend(self.tokens.cleared_cookie());
        cleared
    }

    /// Takes back what a session had, without anyone waiting for it.
    pub(super) fn revoke_credentials(self: &Arc<Self>, session: &Session) {
        const TRIES: u32 = 4;

        if self.host.issuer.is_none() {
            return;
        }
        let (this, session) = (self.clone(), session.clone());
        let revoking = async move {
            let Some(issuer) = &this.host.issuer else {
                return;
            };
            for attempt in 0..TRIES {
                let revoked = async { issuer.revoke(&session).await };
                if this.ask("credential issuer", revoked).await.is_ok() {
                    return;
                }
                let pause = Duration::from_millis(250 << (2 * attempt));
                this.host.calls.clock.sleep(pause).await;
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
