//! New tokens for a refresh token.

use serde::{Deserialize, Serialize};
use tower_impersonation::Credentials;
use utoipa::ToSchema;

use super::schema::grant_type_schema;

/// The fields of a refresh.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(title = "Refresh", examples(json!({"refresh_token": "eyJ0eXAiOiJydCtqd3Qi..."})))]
pub(in crate::control) struct TokenFields {
    /// From the answer of a start, or of another refresh.
    #[schema(required = true, nullable = false, min_length = 1)]
    refresh_token: Option<String>,
    /// `refresh_token`, for clients of OAuth 2.0.
    #[schema(schema_with = grant_type_schema)]
    grant_type: Option<String>,
}

/// The answer of a refresh.
#[derive(Serialize, ToSchema)]
#[schema(title = "Tokens")]
pub(in crate::control) struct TokenAnswer {
    access_token: String,
    refresh_token: String,
    /// `Bearer`.
    token_type: &'static str,
    /// In seconds.
    expires_in: u64,
}

// === impl TokenFields ===

impl TokenFields {
    pub(in crate::control) fn into_token(self) -> Result<String, String> {
        if self
            .grant_type
            .is_some_and(|grant| grant != "refresh_token")
        {
            return Err("`grant_type` must be refresh_token".to_owned());
        }
        self.refresh_token
            .ok_or_else(|| "`refresh_token` is missing".to_owned())
    }
}

// === impl TokenAnswer ===

impl TokenAnswer {
    /// `None` where there are no tokens among the credentials.
    pub(in crate::control) fn new(credentials: Credentials) -> Option<Self> {
        Some(Self {
            access_token: credentials.access_token?,
            refresh_token: credentials.refresh_token?,
            token_type: "Bearer",
            expires_in: credentials.expires_in?.as_secs(),
        })
    }
}
