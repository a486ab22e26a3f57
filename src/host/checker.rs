//! Who may act as whom: [`AdminChecker`], the one trait that every host implements.

use std::{borrow::Cow, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use http::request::Parts;

use crate::words::{Access, Actor, BoxError, Subject, UserId};

/// Tells who calls, and whether that person may act as a subject.
///
/// Your authentication runs outside this layer and leaves what it found in the request's extensions; `identify`
/// reads it there. `authorize` is asked again on every acted request (rule [R8](crate::rules#r8)), and before any
/// directory or session is looked at (rule [R7](crate::rules#r7)).
///
/// An error, a panic or a time-out refuses the request with 503 (rule [R13](crate::rules#r13)).
///
/// [`checker_fn`] makes one from two plain functions, [`checker_async_fn`] from two async ones.
///
/// ```
/// use http::request::Parts;
/// use tower_impersonation::{
///     Actor, AdminChecker, BoxError, Caller, Decision, Grant, Rank, Subject, UserId, async_trait,
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
    /// The subject may not exist; an actor who is denied must not learn whether it does.
    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Decision, BoxError>;

    /// The admin with this id, for re-checks where the request carries an acting token or a cookie
    /// and not the admin's own login. `None`: no such admin (any more). Default: `None`.
    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        let _ = id;
        Ok(None)
    }
}

/// Who sent a request.
///
/// ```
/// use tower_impersonation::{Actor, Caller, DirectoryUser, Rank};
///
/// /// Everyone above customers is an admin.
/// fn caller(signed_in: Option<&DirectoryUser>) -> Caller {
///     match signed_in {
///         None => Caller::Anonymous,
///         Some(user) if user.rank() > Rank(0) => Caller::Admin(Actor::from_directory(user)),
///         Some(user) => Caller::User(user.id().clone()),
///     }
/// }
/// # assert_eq!(caller(None), Caller::Anonymous);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Caller {
    /// Nobody is signed in: 401 (rule [R6](crate::rules#r6)).
    Anonymous,
    /// A user who is no admin: 403 and a `privilege_violation` event (rule [R6](crate::rules#r6)).
    User(UserId),
    /// An admin.
    Admin(Actor),
}

/// The answer of [`AdminChecker::authorize`].
///
/// ```
/// use tower_impersonation::{Decision, Grant, Subject};
///
/// fn decide(subject: &Subject) -> Decision {
///     match subject {
///         Subject::User(_) => Decision::Allow(Grant::read_only()),
///         other => Decision::deny(format!("support does not act as {other}")),
///     }
/// }
/// # assert!(matches!(decide(&Subject::Service), Decision::Deny(_)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Yes, within this grant.
    Allow(Grant),
    /// No. The reason goes to the trail and the log, never to the caller (rule [R17](crate::rules#r17)).
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

/// An [`AdminChecker`] made of two functions that wait; see [`checker_async_fn`].
#[derive(Clone)]
pub struct CheckerAsyncFn<I, A> {
    identify: I,
    authorize: A,
    actor: Option<Arc<ActorById>>,
}

type ActorById = dyn Fn(UserId) -> Answer<Option<Actor>> + Send + Sync;
type Answer<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes an [`AdminChecker`] of two functions, where nothing has to be waited for.
///
/// Where something has to, see [`checker_async_fn`].
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

/// Makes an [`AdminChecker`] of two functions that wait, for a database as a rule.
///
/// Take from the request's parts what the future needs before it begins: they are borrowed. The actor and the
/// subject are owned.
///
/// ```
/// use tower_impersonation::{
///     Actor, BoxError, Caller, Decision, DirectoryUser, Grant, Rank, UserId, checker_async_fn,
/// };
///
/// # #[derive(Clone)]
/// # struct Staff;
/// # impl Staff { async fn member(&self, _: &UserId) -> Result<Option<DirectoryUser>, BoxError> { Ok(None) } }
/// # let staff = Staff;
/// let (who, may) = (staff.clone(), staff.clone());
/// let checker = checker_async_fn(
///     move |parts| {
///         let (staff, id) = (who.clone(), parts.extensions.get::<UserId>().cloned());
///         async move {
///             let Some(id) = id else { return Ok(Caller::Anonymous) };
///             Ok(match staff.member(&id).await? {
///                 Some(member) => Caller::Admin(Actor::from_directory(&member)),
///                 None => Caller::User(id),
///             })
///         }
///     },
///     |_actor, _subject, _parts| async { Ok(Decision::Allow(Grant::read_only())) },
/// )
/// // For acting tokens.
/// .actor_by_id(move |id| {
///     let staff = may.clone();
///     async move { Ok(staff.member(&id).await?.as_ref().map(Actor::from_directory)) }
/// });
/// ```
pub fn checker_async_fn<I, IFut, A, AFut>(identify: I, authorize: A) -> CheckerAsyncFn<I, A>
where
    I: Fn(&Parts) -> IFut + Send + Sync + 'static,
    IFut: Future<Output = Result<Caller, BoxError>> + Send + 'static,
    A: Fn(Actor, Subject, &Parts) -> AFut + Send + Sync + 'static,
    AFut: Future<Output = Result<Decision, BoxError>> + Send + 'static,
{
    CheckerAsyncFn {
        identify,
        authorize,
        actor: None,
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

// === impl CheckerAsyncFn ===

impl<I, A> CheckerAsyncFn<I, A> {
    /// Also finds admins by id, see [`AdminChecker::actor`]: needed for acting tokens and cookies. Default: nobody.
    #[must_use]
    pub fn actor_by_id<F, Fut>(mut self, find: F) -> Self
    where
        F: Fn(UserId) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<Actor>, BoxError>> + Send + 'static,
    {
        self.actor = Some(Arc::new(move |id| Box::pin(find(id))));
        self
    }
}

#[async_trait]
impl<I, IFut, A, AFut> AdminChecker for CheckerAsyncFn<I, A>
where
    I: Fn(&Parts) -> IFut + Send + Sync + 'static,
    IFut: Future<Output = Result<Caller, BoxError>> + Send + 'static,
    A: Fn(Actor, Subject, &Parts) -> AFut + Send + Sync + 'static,
    AFut: Future<Output = Result<Decision, BoxError>> + Send + 'static,
{
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        (self.identify)(parts).await
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Decision, BoxError> {
        (self.authorize)(actor.clone(), subject.clone(), parts).await
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        match &self.actor {
            Some(find) => find(id.clone()).await,
            None => Ok(None),
        }
    }
}

impl<I, A> fmt::Debug for CheckerAsyncFn<I, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckerAsyncFn(<fn>)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::Request;

    use super::*;
    use crate::words::Rank;

    #[tokio::test]
    async fn functions_that_wait_are_a_checker() {
        let checker = checker_async_fn(
            |parts| {
                let id = parts.extensions.get::<UserId>().cloned();
                async move {
                    tokio::task::yield_now().await;
                    match id {
                        Some(id) if id.as_str() == "down" => Err("no connection".into()),
                        Some(id) => Ok(Caller::Admin(Actor::new(id, Rank(20)))),
                        None => Ok(Caller::Anonymous),
                    }
                }
            },
            |actor, subject, parts| {
                let reads = parts.method.is_safe();
                async move {
                    Ok(match actor.id().as_str() == subject.as_str() {
                        false if reads => Decision::Allow(Grant::read_only()),
                        _ => Decision::deny("no"),
                    })
                }
            },
        );
        let (mut parts, ()) = Request::new(()).into_parts();
        assert_eq!(checker.identify(&parts).await.unwrap(), Caller::Anonymous);
        let ada: UserId = "ada".parse().unwrap();
        parts.extensions.insert(ada.clone());
        let actor = Actor::new(ada.clone(), Rank(20));
        let caller = checker.identify(&parts).await.unwrap();
        assert_eq!(caller, Caller::Admin(actor.clone()));
        for (subject, allowed) in [("ines", true), ("ada", false)] {
            let subject: Subject = subject.parse().unwrap();
            let decision = checker.authorize(&actor, &subject, &parts).await;
            let is_allowed = matches!(decision.unwrap(), Decision::Allow(_));
            assert_eq!(is_allowed, allowed, "{subject}");
        }
        parts.extensions.insert("down".parse::<UserId>().unwrap());
        assert!(checker.identify(&parts).await.is_err());

        assert_eq!(checker.actor(&ada).await.unwrap(), None);
        let checker = checker.actor_by_id(|id| async move { Ok(Some(Actor::new(id, Rank(20)))) });
        assert_eq!(checker.actor(&ada).await.unwrap(), Some(actor));
        assert_eq!(format!("{checker:?}"), "CheckerAsyncFn(<fn>)");
    }
}
