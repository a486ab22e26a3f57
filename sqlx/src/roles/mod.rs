//! Admin roles as a table: [`SqlRoles`].

use std::{fmt, str::FromStr};

use http::request::Parts;
use tower_impersonation::{Actor, Impersonation, Rank, Rejection, Rights, UserId};

use crate::{
    columns::Columns as _,
    dialect::Dialect,
    pool::{Pool, sealed::Db},
    statement::Statement,
    words::parsed,
};

mod checker;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod watch;

pub use self::{checker::RoleChecker, watch::RoleWatch};

/// A role that is in the table.
///
/// ```
/// use tower_impersonation_sqlx::AdminRole;
///
/// let role: AdminRole = "support".parse()?;
/// assert!(role < AdminRole::Superadmin);
/// assert_eq!(role.rank().0, 10);
/// # Ok::<(), tower_impersonation_sqlx::InvalidRole>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AdminRole {
    /// Looks at users' data. Rank 10.
    Support,
    /// Acts as users and as the anonymous visitor, and sees all sessions. Rank 20.
    Admin,
    /// Everything, and gives roles to others. Rank 30.
    Superadmin,
}

/// A text that is no [`AdminRole`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is `support`, `admin` or `superadmin`")]
pub struct InvalidRole;

/// Why a role was not given or taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// Only a superadmin gives and takes roles; and the first one is given only once.
    #[error("not allowed to give or take roles")]
    NotAllowed,
    /// The database failed.
    #[error("the table of roles failed")]
    Database(#[from] sqlx::Error),
}

/// Admin roles in the database and not in a token: they hold from the moment they are given to the moment they are
/// taken away.
///
/// Every grant stays in the table (`impersonation.admin_roles`, or `impersonation_admin_roles`), with who gave it and
/// who took it when.
///
/// # The first admin
///
/// Roles are given by superadmins, and the first superadmin by nobody: [`grant_first`](Self::grant_first), which works
/// as long as nobody ever had a role. In PostgreSQL also by hand:
///
/// ```sql
/// select impersonation.grant_role('root', 'superadmin', null);
/// ```
///
/// # Example
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use tower_impersonation_sqlx::{AdminRole, SqlRoles, sqlite};
///
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// sqlite::migrate(&pool).await?;
/// let roles = SqlRoles::new(pool);
/// let (root, ada) = ("root".parse()?, "ada".parse()?);
/// roles.grant_first(&root).await?;
/// roles.grant(&ada, AdminRole::Support, &root).await?;
/// assert_eq!(roles.role_of(&ada).await?, Some(AdminRole::Support));
/// assert!(roles.revoke(&ada, &root).await?);
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
#[derive(Clone)]
pub struct SqlRoles {
    db: Db,
}

// === impl AdminRole ===

impl AdminRole {
    /// The role as it is in the table.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Superadmin => "superadmin",
        }
    }

    /// 10, 20 or 30: subjects that may be acted as have less.
    #[must_use]
    pub fn rank(self) -> Rank {
        Rank(match self {
            Self::Support => 10,
            Self::Admin => 20,
            Self::Superadmin => 30,
        })
    }

    /// What the role may do to the sessions of others.
    #[must_use]
    pub fn rights(self) -> Rights {
        match self {
            Self::Support => Rights::default(),
            Self::Admin => Rights::LIST_SESSIONS,
            Self::Superadmin => Rights::all(),
        }
    }

    fn actor(self, id: UserId) -> Actor {
        Actor::new(id, self.rank())
            .with_role(self.as_str())
            .with_rights(self.rights())
    }
}

impl FromStr for AdminRole {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        [Self::Support, Self::Admin, Self::Superadmin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or(InvalidRole)
    }
}

impl fmt::Display for AdminRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl SqlRoles ===

impl SqlRoles {
    /// The roles in the database of this pool, of PostgreSQL or of SQLite.
    #[must_use]
    pub fn new(pool: impl Pool) -> Self {
        Self { db: pool.into_db() }
    }

    /// The role that this user has now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn role_of(&self, user: &UserId) -> Result<Option<AdminRole>, sqlx::Error> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(reserve) => {
                let mut connection = reserve.connection().await?;
                role_of::<sqlx::Postgres>(&mut connection, postgres::ROLE_OF, user).await
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => {
                let mut connection = reserve.connection().await?;
                role_of::<sqlx::Sqlite>(&mut connection, sqlite::ROLE_OF, user).await
            }
        }
    }

    /// Gives `user` this role, in place of the one that they may have. `by` has to be a superadmin.
    ///
    /// # Errors
    ///
    /// [`RoleError::NotAllowed`], or the database fails.
    pub async fn grant(
        &self,
        user: &UserId,
        role: AdminRole,
        by: &UserId,
    ) -> Result<(), RoleError> {
        self.try_grant(user, role, Some(by)).await
    }

    /// Gives the first superadmin its role, as long as nobody ever had one.
    ///
    /// # Errors
    ///
    /// [`RoleError::NotAllowed`], or the database fails.
    pub async fn grant_first(&self, user: &UserId) -> Result<(), RoleError> {
        self.try_grant(user, AdminRole::Superadmin, None).await
    }

    async fn try_grant(
        &self,
        user: &UserId,
        role: AdminRole,
        by: Option<&UserId>,
    ) -> Result<(), RoleError> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(reserve) => postgres::grant(reserve, user, role, by).await,
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => sqlite::grant(reserve, user, role, by).await,
        }
    }

    /// Takes the role of `user` away; `false` when there was none. `by` has to be a superadmin.
    ///
    /// # Errors
    ///
    /// [`RoleError::NotAllowed`], or the database fails.
    pub async fn revoke(&self, user: &UserId, by: &UserId) -> Result<bool, RoleError> {
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(reserve) => postgres::revoke(reserve, user, by).await,
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => sqlite::revoke(reserve, user, by).await,
        }
    }

    /// A checker that asks `who` is signed in and reads their role from the table.
    ///
    /// Support acts as users, read-only and for half an hour; an admin also changes things, and acts as the
    /// anonymous visitor; a superadmin also as the service role. [`RoleChecker::with_policy`] decides otherwise.
    ///
    /// ```no_run
    /// # use tower_impersonation::UserId;
    /// # use tower_impersonation_sqlx::SqlRoles;
    /// #[derive(Clone)]
    /// struct SignedIn(UserId);
    ///
    /// # fn set_up(roles: SqlRoles) {
    /// let checker = roles.checker(|parts| parts.extensions.get().map(|SignedIn(id)| id.clone()));
    /// # drop(checker);
    /// # }
    /// ```
    pub fn checker<F>(&self, who: F) -> RoleChecker<F>
    where
        F: Fn(&Parts) -> Option<UserId> + Send + Sync + 'static,
    {
        RoleChecker::new(self.clone(), who)
    }

    /// Ends the sessions of everyone whose role is taken away or lowered, at once and on every replica (rule
    /// S9), for as long as the answer is kept. In PostgreSQL it hears, by the one connection of this process that
    /// listens, also of what is done by hand, and looks up what was revoked while that was lost.
    ///
    /// Without it they end as well, with the next acted request (rule R8): but streams that are running go on.
    ///
    /// ```no_run
    /// # use tower_impersonation::Impersonation;
    /// # use tower_impersonation_sqlx::SqlRoles;
    /// # async fn run(roles: SqlRoles, impersonation: Impersonation) {
    /// let watch = roles.watch(&impersonation);
    /// // Serve; dropping `watch` ends it.
    /// # drop(watch);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn watch(&self, impersonation: &Impersonation) -> RoleWatch {
        let impersonation = impersonation.clone();
        match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(reserve) => {
                RoleWatch::spawn(|open| postgres::watch(reserve.clone(), impersonation, open))
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(reserve) => {
                let lowered = reserve.shared().subscribe();
                RoleWatch::spawn(|open| sqlite::watch(lowered, impersonation, open))
            }
        }
    }
}

impl fmt::Debug for SqlRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRoles").finish_non_exhaustive()
    }
}

/// The role that this user has now, by the statement of a database.
async fn role_of<D: Dialect>(
    connection: &mut D::Connection,
    statement: &'static str,
    user: &UserId,
) -> Result<Option<AdminRole>, sqlx::Error> {
    let rows = D::rows(connection, Statement::new(statement).bind(user)).await?;
    let role = match rows.first() {
        Some(row) => row.text("role")?,
        None => None,
    };
    role.map(|role| parsed("role", role)).transpose()
}

fn warn_not_ended(rejection: &Rejection) {
    tracing::warn!(
        target: "tower_impersonation",
        reason = rejection.reason(),
        "sessions of a demoted admin are not ended yet"
    );
}
