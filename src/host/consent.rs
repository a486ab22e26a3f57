//! Whether a user has allowed support to look at their data: [`Consent`] (rule [S8](crate::rules#s8)).

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::words::{BoxError, UserId};

/// Tells until when a user allows support access.
///
/// Asked at the start and on every acted request; never cached by this crate.
///
/// ```
/// use time::OffsetDateTime;
/// use tower_impersonation::{BoxError, Consent, UserId, async_trait};
///
/// # struct Settings;
/// # impl Settings { async fn support_until(&self, _: &str) -> Result<Option<OffsetDateTime>, BoxError> { Ok(None) } }
/// struct SupportAccess(Settings);
///
/// #[async_trait]
/// impl Consent for SupportAccess {
///     async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
///         self.0.support_until(subject.as_str()).await
///     }
/// }
/// ```
#[async_trait]
pub trait Consent: Send + Sync + 'static {
    /// Until when `subject` may be acted as. `None`: not at all. At that very time it is over.
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError>;
}

/// Consents in memory, for tests and small programs. Clones share them.
///
/// ```
/// use time::OffsetDateTime;
/// use tower_impersonation::MemoryConsents;
///
/// let consents = MemoryConsents::default();
/// consents.grant("ines".parse()?, OffsetDateTime::now_utc() + time::Duration::days(1));
/// consents.withdraw(&"ines".parse()?);
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct MemoryConsents {
    until: Arc<RwLock<HashMap<UserId, OffsetDateTime>>>,
}

// === impl MemoryConsents ===

impl MemoryConsents {
    /// `subject` may be acted as until then.
    pub fn grant(&self, subject: UserId, until: OffsetDateTime) {
        let mut all = self.until.write().unwrap_or_else(PoisonError::into_inner);
        all.insert(subject, until);
    }

    /// From now on `subject` may not be acted as.
    pub fn withdraw(&self, subject: &UserId) {
        let mut all = self.until.write().unwrap_or_else(PoisonError::into_inner);
        all.remove(subject);
    }
}

#[async_trait]
impl Consent for MemoryConsents {
    async fn allowed_until(&self, subject: &UserId) -> Result<Option<OffsetDateTime>, BoxError> {
        let all = self.until.read().unwrap_or_else(PoisonError::into_inner);
        Ok(all.get(subject).copied())
    }
}
