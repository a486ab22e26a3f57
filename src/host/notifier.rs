//! [`Notifier`]: tells users that someone acts as them.

use std::{fmt, sync::Arc};

use async_trait::async_trait;

use crate::words::{BoxError, Session};

/// Tells a user that someone is about to act as them, and when that is over.
///
/// With [`Builder::notifier`](crate::Builder::notifier) it is best effort: failures are logged. With
/// [`Builder::require_notifier`](crate::Builder::require_notifier) it is mandatory: no session starts unless its
/// user could be told. The end of a session never depends on it, because nothing may keep a session from ending
/// (rule [S5](crate::rules#s5)).
///
/// ```
/// use tower_impersonation::{BoxError, Notice, Notifier, async_trait};
///
/// # struct Mail;
/// # impl Mail { async fn send(&self, _: &str, _: &str) -> Result<(), BoxError> { Ok(()) } }
/// #[async_trait]
/// impl Notifier for Mail {
///     async fn notify(&self, notice: &Notice) -> Result<(), BoxError> {
///         let (session, text) = match notice {
///             Notice::Starting(session) => (session, "Support is about to look at your account."),
///             Notice::Ended(session) => (session, "Support has left your account."),
///             _ => return Ok(()),
///         };
///         self.send(session.subject.as_str(), text).await
///     }
/// }
/// ```
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Tells the user. `Ok` means that the message is on its way, as far as you want to be sure of that.
    ///
    /// # Errors
    ///
    /// Anything that keeps the message from going out.
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

/// Makes a [`Notifier`] from a function that does not wait.
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
