//! Who is an admin, by the table of roles: [`RoleChecker`].

use std::{fmt, time::Duration};

use async_trait::async_trait;
use http::request::Parts;
use tower_impersonation::{
    Actor, AdminChecker, BoxError, Caller, Decision, Grant, Subject, UserId,
};

use super::{AdminRole, SqlRoles};

/// An [`AdminChecker`] that reads roles from the table, on every acted request; made by [`SqlRoles::checker`].
#[derive(Clone)]
pub struct RoleChecker<F> {
    roles: SqlRoles,
    who: F,
    policy: fn(&Actor, &Subject) -> Decision,
}

// === impl RoleChecker ===

impl<F> RoleChecker<F> {
    pub(super) fn new(roles: SqlRoles, who: F) -> Self {
        Self {
            roles,
            who,
            policy: by_role,
        }
    }

    /// Decides by this function, in place of the roles' own rules. The actor has its role by name.
    ///
    /// ```no_run
    /// # use tower_impersonation_sqlx::SqlRoles;
    /// use tower_impersonation::{Decision, Grant, Subject};
    ///
    /// # fn set_up(roles: SqlRoles) {
    /// let checker = roles
    ///     .checker(|parts| parts.extensions.get().cloned())
    ///     .with_policy(|_, subject| match subject {
    ///         Subject::User(_) => Decision::Allow(Grant::read_only()),
    ///         _ => Decision::deny("users only"),
    ///     });
    /// # drop(checker);
    /// # }
    /// ```
    #[must_use]
    pub fn with_policy(mut self, policy: fn(&Actor, &Subject) -> Decision) -> Self {
        self.policy = policy;
        self
    }
}

fn by_role(actor: &Actor, subject: &Subject) -> Decision {
    const HALF_AN_HOUR: Duration = Duration::from_secs(30 * 60);

    let role = actor.role().and_then(|role| role.parse().ok());
    match (role, subject) {
        (Some(AdminRole::Superadmin), _)
        | (Some(AdminRole::Admin), Subject::User(_) | Subject::Anonymous) => {
            Decision::Allow(Grant::read_write())
        }
        (Some(AdminRole::Support), Subject::User(_)) => {
            Decision::Allow(Grant::read_only().with_max_lifetime(HALF_AN_HOUR))
        }
        _ => Decision::deny("the role does not allow it"),
    }
}

#[async_trait]
impl<F> AdminChecker for RoleChecker<F>
where
    F: Fn(&Parts) -> Option<UserId> + Send + Sync + 'static,
{
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        let Some(id) = (self.who)(parts) else {
            return Ok(Caller::Anonymous);
        };
        Ok(match self.roles.role_of(&id).await? {
            Some(role) => Caller::Admin(role.actor(id)),
            None => Caller::User(id),
        })
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        _: &Parts,
    ) -> Result<Decision, BoxError> {
        Ok((self.policy)(actor, subject))
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        let role = self.roles.role_of(id).await?;
        Ok(role.map(|role| role.actor(id.clone())))
    }
}

impl<F> fmt::Debug for RoleChecker<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleChecker").finish_non_exhaustive()
    }
}
