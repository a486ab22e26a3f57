//! Who may act as whom: [`AdminChecker`], the one trait that every host implements.

use std::{borrow::Cow, fmt, time::Duration};

use async_trait::async_trait;
use http::request::Parts;

use crate::words::{Access, Actor, BoxError, Subject, UserId};

/// Tells who calls, and whether that person may act as a subject.
///
/// The host's own authentication runs outside of our layer and leaves what it found in the request's
/// extensions; `identify` reads it there. `authorize` is asked again on every acted request (rule R8), and
/// before any directory or session is looked at (rule R7).
///
/// An error, a panic or a time-out refuses the request with 503 (rule R13).
///
/// ```
/// use async_trait::async_trait;
/// use http::request::Parts;
/// use tower_impersonation::{
///     Actor, AdminChecker, BoxError, Caller, Decision, Grant, Rank, Subject, UserId,
/// };
///
/// /// What the host's login middleware leaves in the extensions.
/// #[derive(Clone)]
/// struct CurrentUser { id: UserId, is_admin: bool }
///
/// struct Staff;
///
/// #[async_trait]
/// impl AdminChecker for Staff {
///     async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
///         Ok(match parts.extensions.get::<CurrentUser>() {
///             None => Caller::Anonymous,
///             Some(user) if user.is_admin => Caller::Admin(Actor::new(user.id.clone(), Rank(20))),
///             Some(user) => Caller::User(user.id.clone()),
///         })
///     }
///
///     async fn authorize(&self, _: &Actor, subject: &Subject, _: &Parts) -> Result<Decision, BoxError> {
///         Ok(match subject {
///             Subject::User(_) => Decision::Allow(Grant::read_only()),
///             _ => Decision::deny("staff act as users only"),
///         })
///     }
/// }
/// ```
#[async_trait]
pub trait AdminChecker: Send + Sync + 'static {
    /// Who sent this request.
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError>;

    /// Whether `actor` may act as `subject`, and how far.
    ///
    /// The subject may not exist: whoever is denied must not learn it.
    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Decision, BoxError>;

    /// The admin with this id, for re-checks where the request carries an acting token or a cookie
    /// and not the admin's own login. `None`: no such admin (any more). The default knows nobody.
    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        let _ = id;
        Ok(None)
    }
}

/// Who sent a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Nobody is signed in: 401 (rule R6).
    Anonymous,
    /// A user who is no admin: 403 and a `privilege_violation` event (rule R6).
    User(UserId),
    /// An admin.
    Admin(Actor),
}

/// The answer of [`AdminChecker::authorize`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Yes, within this grant.
    Allow(Grant),
    /// No. The reason goes to the trail and the log, never to the caller (rule R17).
    Deny(Cow<'static, str>),
}

/// How far an allowed actor may go.
///
/// ```
/// use std::time::Duration;
/// use tower_impersonation::{Access, Grant};
///
/// let grant = Grant::read_only().with_max_lifetime(Duration::from_secs(30 * 60));
/// assert_eq!(grant.access(), Access::ReadOnly);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    access: Access,
    max_lifetime: Option<Duration>,
}

/// An [`AdminChecker`] made of two plain functions; see [`checker_fn`].
#[derive(Clone, Copy)]
pub struct CheckerFn<I, A> {
    identify: I,
    authorize: A,
}

/// Makes an [`AdminChecker`] of two functions, where nothing has to be waited for.
///
/// ```
/// use tower_impersonation::{Actor, Caller, Decision, Grant, Rank, UserId, checker_fn};
///
/// let checker = checker_fn(
///     |parts| match parts.extensions.get::<UserId>() {
///         Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(1))),
///         None => Caller::Anonymous,
///     },
///     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
/// );
/// ```
pub fn checker_fn<I, A>(identify: I, authorize: A) -> CheckerFn<I, A>
where
    I: Fn(&Parts) -> Caller + Send + Sync + 'static,
    A: Fn(&Actor, &Subject, &Parts) -> Decision + Send + Sync + 'static,
{
    CheckerFn {
        identify,
        authorize,
    }
}

// === impl Decision ===

impl Decision {
    /// No, for this reason.
    pub fn deny(reason: impl Into<Cow<'static, str>>) -> Self {
        Self::Deny(reason.into())
    }
}

// === impl Grant ===

impl Grant {
    /// Look only.
    #[must_use]
    pub fn read_only() -> Self {
        Self {
            access: Access::ReadOnly,
            max_lifetime: None,
        }
    }

    /// Look and change.
    #[must_use]
    pub fn read_write() -> Self {
        Self {
            access: Access::ReadWrite,
            max_lifetime: None,
        }
    }

    /// Sessions end after this time at the latest. Default: the crate-wide ceiling.
    #[must_use]
    pub fn with_max_lifetime(mut self, lifetime: Duration) -> Self {
        self.max_lifetime = Some(lifetime);
        self
    }

    /// The most access that is granted.
    #[must_use]
    pub fn access(&self) -> Access {
        self.access
    }

    /// The longest session that is granted, when it is narrowed.
    #[must_use]
    pub fn max_lifetime(&self) -> Option<Duration> {
        self.max_lifetime
    }
}

// === impl CheckerFn ===

#[async_trait]
impl<I, A> AdminChecker for CheckerFn<I, A>
where
    I: Fn(&Parts) -> Caller + Send + Sync + 'static,
    A: Fn(&Actor, &Subject, &Parts) -> Decision + Send + Sync + 'static,
{
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        Ok((self.identify)(parts))
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Decision, BoxError> {
        Ok((self.authorize)(actor, subject, parts))
    }
}

impl<I, A> fmt::Debug for CheckerFn<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckerFn(<fn>)")
    }
}
