//! Telling users that someone acts as them: [`Notifier`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::{BoxError, impersonation::Inner, session::Session, vet::Refusal};

/// Tells a user that someone is about to act as them, and when that is over.
///
/// Best effort ([`Builder::notifier`](crate::Builder::notifier)): what fails is logged. Mandatory
/// ([`Builder::require_notifier`](crate::Builder::require_notifier)): without the news of a start there is no start. Of
/// an end there is no such thing, because nothing may keep a session from ending (rule S5).
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Passes the news on. `Ok` means that they are on their way, as far as the host wants to be sure of that.
    async fn notify(&self, notice: &Notice) -> Result<(), BoxError>;
}

/// What happened.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Notice {
    /// The session is about to start: every check was passed. Should it not start after all, `Ended` follows.
    Starting(Arc<Session>),
    /// The session is over.
    Ended(Arc<Session>),
}

/// A [`Notifier`] made of a plain function; see [`notifier_fn`].
#[derive(Clone, Copy)]
pub struct NotifierFn<F>(F);

/// Makes a [`Notifier`] of a function that does not wait.
///
/// ```
/// use tower_impersonation::{Notice, notifier_fn};
///
/// let notifier = notifier_fn(|notice| {
///     if let Notice::Starting(session) = notice {
///         println!("to {}: {} looks at your data because of: {}", session.subject, session.actor, session.reason);
///     }
///     Ok(())
/// });
/// ```
pub fn notifier_fn<F>(notify: F) -> NotifierFn<F>
where
    F: Fn(&Notice) -> Result<(), BoxError> + Send + Sync + 'static,
{
    NotifierFn(notify)
}

/// The notifier, and whether a start depends on it.
pub(crate) struct Notifying {
    pub(crate) notifier: Arc<dyn Notifier>,
    pub(crate) mandatory: bool,
}

#[async_trait]
impl<F> Notifier for NotifierFn<F>
where
    F: Fn(&Notice) -> Result<(), BoxError> + Send + Sync + 'static,
{
    async fn notify(&self, notice: &Notice) -> Result<(), BoxError> {
        (self.0)(notice)
    }
}

impl<F> fmt::Debug for NotifierFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotifierFn(<fn>)")
    }
}

impl Inner {
    /// Before a session exists. An error means that it must not.
    pub(crate) async fn notify_start(&self, session: &Session) -> Result<(), Refusal> {
        let Some(notifying) = &self.notifying else {
            return Ok(());
        };
        let notice = Notice::Starting(Arc::new(session.clone()));
        let told = async { notifying.notifier.notify(&notice).await };
        match self.ask("notifier", told).await {
            Err(refusal) if notifying.mandatory => Err(refusal),
            // The log has it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// After a session is over, without anyone waiting for it.
    pub(crate) fn notify_end(self: &Arc<Self>, session: &Session) {
        if self.notifying.is_none() {
            return;
        }
        let notice = Notice::Ended(Arc::new(session.clone()));
        let this = self.clone();
        let telling = async move {
            if let Some(notifying) = &this.notifying {
                let told = async { notifying.notifier.notify(&notice).await };
                // The log has what failed.
                let _ = this.ask("notifier", told).await;
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(telling);
        }
    }
}
