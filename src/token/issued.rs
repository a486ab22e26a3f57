//! What is handed out, and what a verified token says.

use std::{fmt, time::Duration};

use crate::words::{Access, SessionId, Subject, UserId};

/// What a start hands out. [`Debug`](std::fmt::Debug) shows neither token.
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

/// A valid token, whose session is active.
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
