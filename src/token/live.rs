//! [`LiveTokens`]: tokens for the host's own code.

use std::{fmt, sync::Arc, time::Duration};

use http::request::Parts;
use time::OffsetDateTime;

use super::{
    Purpose,
    admit::{as_token, invalid},
    claims::Claims,
};
use crate::{
    identity::{Access, Subject, UserId},
    impersonation::{Impersonation, Inner},
    rejection::{Rejection, RejectionKind},
    session::{Session, SessionId},
    vet::Refusal,
};

/// Issues, verifies and refreshes tokens. From [`Impersonation::tokens`].
#[derive(Debug, Clone)]
pub struct LiveTokens {
    impersonation: Impersonation,
}

/// What a start hands out.
#[derive(Clone)]
#[non_exhaustive]
pub struct IssuedTokens {
    /// For `Authorization: Bearer` or `Impersonation-Token`.
    pub access_token: String,
    /// For `POST /token`, and nothing else.
    pub refresh_token: String,
    /// How long the access token is good.
    pub expires_in: Duration,
}

/// A token that is good, and whose session lives.
#[derive(Clone)]
#[non_exhaustive]
pub struct VerifiedToken {
    /// The person really there.
    pub actor: UserId,
    /// As whom.
    pub subject: Subject,
    /// The subject's role at the start.
    pub role: Option<String>,
    /// In which session.
    pub session: SessionId,
    /// What the token may do: what its session may do, at most what the token says.
    pub access: Access,
}

impl Impersonation {
    /// Tokens for the host's own code; `None` where none are set.
    #[must_use]
    pub fn tokens(&self) -> Option<LiveTokens> {
        self.inner.tokens.as_ref()?;
        let impersonation = self.clone();
        Some(LiveTokens { impersonation })
    }
}

impl LiveTokens {
    /// Whether a bearer token says of itself that it is an acting token of ours: then the host's authentication steps
    /// aside. It is not verified yet.
    #[must_use]
    pub fn is_ours(&self, token: &str) -> bool {
        let signer = self.impersonation.inner.tokens.as_ref();
        signer.is_some_and(|signer| signer.is_ours(token))
    }

    /// Checks an access token: its signature and claims, that its session lives, and that its actor is still an admin.
    ///
    /// What the subject is now, and what the host's [`authorize`](crate::AdminChecker::authorize) says, the layer asks
    /// for each request.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidToken` or `Unavailable`.
    pub async fn verify(&self, token: &str) -> Result<VerifiedToken, Rejection> {
        let verified = self.impersonation.inner.verify_token(token).await;
        verified.map_err(|refusal| refusal.rejection)
    }

    /// Tokens for a session that was started by the host's own code. They are good for as long as it is active.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable` when the key cannot sign or the clock cannot tell the time.
    pub fn issue(&self, session: &Session) -> Result<IssuedTokens, Rejection> {
        let issued = self.impersonation.inner.issue_tokens(session);
        issued.map_err(|refusal| refusal.rejection)
    }

    /// New tokens for a refresh token whose session lives. Everything that an acted request has to pass is checked.
    /// `parts` are those of the request that asks; they need no login.
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
        let inner = &self.impersonation.inner;
        let refreshed = inner
            .refresh_tokens(parts, refresh_token, &mut subject)
            .await;
        refreshed.map_err(|refusal| inner.refused(parts, subject.as_ref(), refusal))
    }
}

impl Inner {
    pub(crate) fn issue_tokens(&self, session: &Session) -> Result<IssuedTokens, Refusal> {
        let signer = self.signer()?;
        let now = self.clock.now()?;
        let sign = |purpose| {
            let signed = signer.sign(purpose, session, self.ids.next(now), now);
            signed.map_err(|problem| {
                Refusal::of(RejectionKind::Unavailable, format!("signing: {problem}"))
            })
        };
        let end = signer.end_of(Purpose::Access, session, now);
        // Rounded as the end is: never more than there is left.
        let now = now.unix_timestamp() + i64::from(now.nanosecond() > 0);
        Ok(IssuedTokens {
            access_token: sign(Purpose::Access)?,
            refresh_token: sign(Purpose::Refresh)?,
            expires_in: Duration::from_secs(u64::try_from(end - now).unwrap_or_default()),
        })
    }

    async fn verify_token(self: &Arc<Self>, token: &str) -> Result<VerifiedToken, Refusal> {
        let now = self.clock.now()?;
        let claims = self.signer()?.verify(token, Purpose::Access, now)?;
        let session = self.session_of_token(&claims, now).await?;
        self.actor_of_token(&claims, now).await?;
        Ok(VerifiedToken {
            actor: claims.actor.clone(),
            subject: claims.subject.clone(),
            role: claims.role.clone(),
            session: claims.session,
            access: claims.access.min(session.access),
        })
    }

    async fn session_of_token(
        self: &Arc<Self>,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Arc<Session>, Refusal> {
        let sessions = self.store()?;
        let before = self.lives.before();
        let open = self
            .session_of(sessions, &claims.actor, &claims.subject, now)
            .await?;
        let session = open
            .filter(|session| session.id == claims.session)
            .ok_or_else(|| invalid("the token's session has ended"))?;
        let (live, is_sure) = self.lives.of(&session, before);
        if !is_sure {
            self.catch_up(sessions, session.id).await?;
        }
        if live.ended().is_some() {
            return Err(invalid("the token's session has ended"));
        }
        self.not_idle(sessions, session, &live, now)
            .await
            .map_err(as_token)
    }

    async fn refresh_tokens(
        self: &Arc<Self>,
        parts: &Parts,
        token: &str,
        subject: &mut Option<Subject>,
    ) -> Result<IssuedTokens, Refusal> {
        let now = self.clock.now()?;
        let claims = self.signer()?.verify(token, Purpose::Refresh, now)?;
        *subject = Some(claims.subject.clone());
        let refreshed = async {
            let actor = self.actor_of_token(&claims, now).await?;
            // What the session may do now, whatever it was then: a raise was granted to the same actor.
            let acting_as = self.acting_by_token(parts, &actor, &claims, now).await?;
            let session = acting_as
                .session()
                .ok_or_else(|| invalid("there is no session"))?;
            self.issue_tokens(session)
        };
        refreshed.await.map_err(|refusal| refusal.by(&claims.actor))
    }
}

impl fmt::Debug for IssuedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedTokens")
            .field("access_token", &"REDACTED")
            .field("refresh_token", &"REDACTED")
            .field("expires_in", &self.expires_in)
            .finish()
    }
}

impl fmt::Debug for VerifiedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedToken")
            .field("actor", &self.actor)
            .field("subject", &self.subject)
            .field("session", &self.session)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
