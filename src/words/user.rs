//! [`DirectoryUser`]: a user as your directory knows them.

use std::{any::Any, borrow::Cow, fmt, sync::Arc};

use super::identity::{Actor, Rank, UserId};

/// One user, as the directory knows them. Cheap to clone.
///
/// ```
/// use tower_impersonation::{DirectoryUser, Rank};
///
/// let ines = DirectoryUser::new("ines".parse()?, Rank(0))
///     .with_login("ines@shop.example")
///     .with_role("customer");
/// assert!(ines.not_impersonable().is_none());
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone)]
pub struct DirectoryUser {
    id: UserId,
    rank: Rank,
    login: Option<Arc<str>>,
    display_name: Option<Arc<str>>,
    role: Option<Arc<str>>,
    not_impersonable: Option<Cow<'static, str>>,
    data: Option<Arc<dyn Any + Send + Sync>>,
}

// === impl DirectoryUser ===

impl DirectoryUser {
    /// A user of this rank, as whom any actor of higher rank may act.
    #[must_use]
    pub fn new(id: UserId, rank: Rank) -> Self {
        Self {
            id,
            rank,
            login: None,
            display_name: None,
            role: None,
            not_impersonable: None,
            data: None,
        }
    }

    /// What the user signs in with, usually an e-mail address. Default: none.
    #[must_use]
    pub fn with_login(mut self, login: impl Into<Arc<str>>) -> Self {
        self.login = Some(login.into());
        self
    }

    /// The user's name, for people to read. Default: none.
    #[must_use]
    pub fn with_display_name(mut self, name: impl Into<Arc<str>>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// The user's role. Default: none.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<Arc<str>>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// Lets nobody act as this user, and says why: opted out, a system account, locked. The reason goes to the trail.
    /// Default: any actor of higher rank may.
    ///
    /// ```
    /// # use tower_impersonation::{DirectoryUser, Rank};
    /// let kim = DirectoryUser::new(7_u32.into(), Rank(0)).not_impersonable_because("opted out");
    /// assert_eq!(kim.not_impersonable(), Some("opted out"));
    /// ```
    #[must_use]
    pub fn not_impersonable_because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.not_impersonable = Some(reason.into());
        self
    }

    /// Your own record of the user, for [`assume_data`](crate::Builder::assume_data) and
    /// [`assume`](crate::Builder::assume) to pick up.
    ///
    /// ```
    /// # use tower_impersonation::{DirectoryUser, Rank};
    /// #[derive(Clone)]
    /// struct Customer { name: String }
    ///
    /// let customer = Customer { name: "Ines".to_owned() };
    /// let user = DirectoryUser::new(7_u32.into(), Rank(0)).with_data(customer);
    /// assert_eq!(user.data::<Customer>().map(|it| it.name.as_str()), Some("Ines"));
    /// ```
    #[must_use]
    pub fn with_data<T: Any + Send + Sync>(mut self, data: T) -> Self {
        self.data = Some(Arc::new(data));
        self
    }

    /// The user's id.
    #[must_use]
    pub fn id(&self) -> &UserId {
        &self.id
    }

    /// The user's rank.
    #[must_use]
    pub fn rank(&self) -> Rank {
        self.rank
    }

    /// What the user signs in with.
    #[must_use]
    pub fn login(&self) -> Option<&str> {
        self.login.as_deref()
    }

    /// The user's name.
    #[must_use]
    pub fn display_name(&self) -> Option<&str> {
        self.display_name.as_deref()
    }

    /// The user's role.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Why nobody may act as this user; `None` if they may.
    #[must_use]
    pub fn not_impersonable(&self) -> Option<&str> {
        self.not_impersonable.as_deref()
    }

    /// Your own record of the user, if there is one and it is a `T`.
    #[must_use]
    pub fn data<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.data.as_deref()?.downcast_ref()
    }

    pub(crate) fn shared_role(&self) -> Option<Arc<str>> {
        self.role.clone()
    }
}

// === impl Actor ===

impl Actor {
    /// The admin whom the directory knows by this record: id, rank, login and role; no
    /// [`Rights`](crate::Rights) over the sessions of others.
    ///
    /// Call it for those who are admins. It looks at nothing that says so.
    ///
    /// ```
    /// use tower_impersonation::{Actor, DirectoryUser, Rank};
    ///
    /// let ada = DirectoryUser::new("ada".parse()?, Rank(20)).with_login("ada@shop.example");
    /// let actor = Actor::from_directory(&ada);
    /// assert_eq!(actor.rank(), Rank(20));
    /// assert_eq!(actor.login(), Some("ada@shop.example"));
    /// # Ok::<(), tower_impersonation::InvalidUserId>(())
    /// ```
    #[must_use]
    pub fn from_directory(user: &DirectoryUser) -> Self {
        let mut actor = Self::new(user.id.clone(), user.rank);
        if let Some(login) = &user.login {
            actor = actor.with_login(login.clone());
        }
        if let Some(role) = &user.role {
            actor = actor.with_role(role.clone());
        }
        actor
    }
}

impl fmt::Debug for DirectoryUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DirectoryUser")
            .field("id", &self.id)
            .field("rank", &self.rank)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::words::Rights;

    #[test]
    fn an_actor_is_made_of_the_directorys_record_without_rights() {
        let ada: UserId = "ada".parse().unwrap();
        let bare = DirectoryUser::new(ada.clone(), Rank(20));
        assert_eq!(
            Actor::from_directory(&bare),
            Actor::new(ada.clone(), Rank(20))
        );
        let full = bare
            .with_login("ada@shop.example")
            .with_role("admin")
            .with_display_name("Ada")
            .with_data(7);
        let actor = Actor::from_directory(&full);
        let expected = Actor::new(ada, Rank(20)).with_login("ada@shop.example");
        assert_eq!(actor, expected.with_role("admin"));
        assert_eq!(actor.rights(), Rights::default());
    }
}
