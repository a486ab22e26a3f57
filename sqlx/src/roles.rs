//! Admin roles as a table: [`SqlRoles`].

use std::{fmt, str::FromStr, time::Duration};

use async_trait::async_trait;
use http::request::Parts;
use sqlx::query_scalar;
use tower_impersonation::{
    Actor, AdminChecker, BoxError, Caller, Decision, Grant, Impersonation, Rank, Rights, Subject,
    UserId,
};

use crate::{
    columns::parsed,
    pool::{Pool, sealed::Db},
};

/// A role that is in the table.
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
#[derive(Clone)]
pub struct SqlRoles {
    db: Db,
    /// In SQLite, where nobody else tells.
    #[cfg(feature = "sqlite")]
    lowered: tokio::sync::broadcast::Sender<UserId>,
}

/// An [`AdminChecker`] that reads roles from the table, on every acted request; made by [`SqlRoles::checker`].
#[derive(Clone)]
pub struct RoleChecker<F> {
    roles: SqlRoles,
    who: F,
    policy: fn(&Actor, &Subject) -> Decision,
}

/// Ends sessions of those whose role is taken away; made by [`SqlRoles::watch`]. Stops when dropped.
#[must_use = "it stops when dropped"]
pub struct RoleWatch {
    task: tokio::task::JoinHandle<()>,
    listening: tokio::sync::watch::Receiver<bool>,
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
        Self {
            db: pool.into_db(),
            #[cfg(feature = "sqlite")]
            lowered: tokio::sync::broadcast::Sender::new(64),
        }
    }

    /// The role that this user has now.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn role_of(&self, user: &UserId) -> Result<Option<AdminRole>, sqlx::Error> {
        let role: Option<String> = match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(pool) => {
                query_scalar(
                    "select role from impersonation.admin_roles where user_id = $1 and revoked_at is null",
                )
                .bind(user.as_str())
                .fetch_optional(pool)
                .await?
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                query_scalar(
                    "select role from impersonation_admin_roles where user_id = ?1 and revoked_at is null",
                )
                .bind(user.as_str())
                .fetch_optional(pool)
                .await?
            }
        };
        role.map(|role| parsed("role", &role)).transpose()
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
            Db::Postgres(pool) => {
                let granted = sqlx::query("select impersonation.grant_role($1, $2, $3)")
                    .bind(user.as_str())
                    .bind(role.as_str())
                    .bind(by.map(UserId::as_str))
                    .execute(pool)
                    .await;
                granted.map(drop).map_err(not_allowed)
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                let before = sqlite::grant(pool, user, role, by).await?;
                if before.is_some_and(|before| before > role) {
                    // Nobody watches: then nobody has to hear.
                    let _ = self.lowered.send(user.clone());
                }
                Ok(())
            }
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
            Db::Postgres(pool) => {
                let revoked = query_scalar("select impersonation.revoke_role($1, $2)")
                    .bind(user.as_str())
                    .bind(by.as_str())
                    .fetch_one(pool)
                    .await;
                revoked.map_err(not_allowed)
            }
            #[cfg(feature = "sqlite")]
            Db::Sqlite(pool) => {
                let revoked = sqlite::revoke(pool, user, by).await?;
                if revoked {
                    // Nobody watches: then nobody has to hear.
                    let _ = self.lowered.send(user.clone());
                }
                Ok(revoked)
            }
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
        RoleChecker {
            roles: self.clone(),
            who,
            policy: by_role,
        }
    }

    /// Ends the sessions of everyone whose role is taken away or lowered, at once and on every replica (rule
    /// S9), for as long as the answer is kept. In PostgreSQL it listens with a connection of its own, also to what is done by
    /// hand, and looks up what was revoked while that was lost.
    ///
    /// Without it they end as well, with the next acted request (rule R8): but streams that are running go on.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn watch(&self, impersonation: &Impersonation) -> RoleWatch {
        let impersonation = impersonation.clone();
        let (open, listening) = tokio::sync::watch::channel(false);
        let task = match &self.db {
            #[cfg(feature = "postgres")]
            Db::Postgres(pool) => tokio::spawn(crate::postgres::listen::listen(
                pool.clone(),
                postgres::Ear::new(impersonation, open),
            )),
            #[cfg(feature = "sqlite")]
            Db::Sqlite(_) => {
                open.send_replace(true);
                tokio::spawn(sqlite::watch(self.lowered.subscribe(), impersonation))
            }
        };
        RoleWatch { task, listening }
    }
}

impl fmt::Debug for SqlRoles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlRoles").finish_non_exhaustive()
    }
}

/// A refusal of ours, or a failure.
#[cfg(feature = "postgres")]
fn not_allowed(error: sqlx::Error) -> RoleError {
    const INSUFFICIENT_PRIVILEGE: &str = "42501";

    let code = error.as_database_error().and_then(|error| error.code());
    match code.as_deref() {
        Some(INSUFFICIENT_PRIVILEGE) => RoleError::NotAllowed,
        _ => RoleError::Database(error),
    }
}

// === impl RoleWatch ===

impl RoleWatch {
    /// Waits until it hears.
    ///
    /// Nothing needs it: what was taken away with [`SqlRoles`] before that is looked up then.
    pub async fn listening(&self) {
        // An error is the end of its task, and of what there is to wait for.
        let _ = self.listening.clone().wait_for(|open| *open).await;
    }
}

impl Drop for RoleWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RoleWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleWatch").finish_non_exhaustive()
    }
}

// === impl RoleChecker ===

impl<F> RoleChecker<F> {
    /// Decides by this function, in place of the roles' own rules. The actor has its role by name.
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

#[cfg(feature = "postgres")]
mod postgres {
    use std::collections::HashSet;

    use async_trait::async_trait;
    use sqlx::{PgExecutor, postgres::PgListener, query_scalar};
    use tokio::sync::watch;
    use tower_impersonation::{Impersonation, UserId};

    use crate::postgres::listen::Hear;

    /// Those whose role was taken away or lowered lately, and who have not got it back.
    const LOWERED: &str = "select distinct r.user_id from impersonation.admin_roles r \
         where r.revoked_at > now() - $1 * interval '1 second' and not exists ( \
           select from impersonation.admin_roles h where h.user_id = r.user_id and h.revoked_at is null \
             and impersonation.role_rank(h.role) >= impersonation.role_rank(r.role))";
    /// How far to look back when nothing was heard before: longer than any session should last.
    const AT_FIRST: i64 = 7 * 24 * 60 * 60;
    /// And when the connection was lost for a while.
    const MARGIN: i64 = 60;

    /// Demotes whoever lost a role.
    pub(super) struct Ear {
        impersonation: Impersonation,
        /// Since when news may be missing.
        heard_at: Option<std::time::Instant>,
        /// Whose sessions could not be ended yet.
        pending: HashSet<UserId>,
        open: watch::Sender<bool>,
    }

    impl Ear {
        pub(super) fn new(impersonation: Impersonation, open: watch::Sender<bool>) -> Self {
            Self {
                impersonation,
                heard_at: None,
                pending: HashSet::new(),
                open,
            }
        }

        async fn demote(&mut self) {
            for user in std::mem::take(&mut self.pending) {
                if let Err(rejection) = self.impersonation.demote(&user).await {
                    tracing::warn!(
                        target: "tower_impersonation",
                        reason = rejection.reason(),
                        "sessions of a demoted admin are not ended yet"
                    );
                    self.pending.insert(user);
                }
            }
        }

        async fn look_back(
            &mut self,
            connection: impl PgExecutor<'_>,
            seconds: i64,
        ) -> Result<(), sqlx::Error> {
            let lowered = query_scalar::<_, String>(LOWERED).bind(seconds);
            let lowered = lowered.fetch_all(connection).await?;
            // What is no user id never started a session.
            self.pending
                .extend(lowered.iter().filter_map(|user| user.parse().ok()));
            self.heard_at = Some(std::time::Instant::now());
            Ok(())
        }
    }

    #[async_trait]
    impl Hear for Ear {
        fn goes_on(&self) -> bool {
            true
        }

        async fn opened(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error> {
            let missed = self.heard_at.map(|at| at.elapsed().as_secs());
            let missed = missed.and_then(|seconds| i64::try_from(seconds).ok());
            let back = missed.map_or(AT_FIRST, |seconds| seconds.saturating_add(MARGIN));
            self.look_back(&mut *connection, back).await?;
            self.open.send_replace(true);
            self.demote().await;
            Ok(())
        }

        async fn heard(
            &mut self,
            news: &str,
            connection: &mut PgListener,
        ) -> Result<(), sqlx::Error> {
            self.heard_at = Some(std::time::Instant::now());
            let mut words = news.splitn(3, ' ');
            let (Some("role"), Some(role), Some(user)) = (words.next(), words.next(), words.next())
            else {
                return Ok(());
            };
            let kept = query_scalar::<_, bool>(
                "select exists (select from impersonation.admin_roles \
                 where user_id = $1 and revoked_at is null \
                   and impersonation.role_rank(role) >= impersonation.role_rank($2))",
            )
            .bind(user)
            .bind(role)
            .fetch_one(&mut *connection)
            .await?;
            if let (false, Ok(user)) = (kept, user.parse()) {
                self.pending.insert(user);
                self.demote().await;
            }
            Ok(())
        }

        async fn beat(&mut self, _: &mut PgListener) -> Result<(), sqlx::Error> {
            self.heard_at = Some(std::time::Instant::now());
            self.demote().await;
            Ok(())
        }

        fn lost(&mut self) {
            self.open.send_replace(false);
        }
    }
}

#[cfg(feature = "sqlite")]
mod sqlite {
    use sqlx::{SqliteConnection, SqlitePool, query, query_scalar};
    use time::OffsetDateTime;
    use tokio::sync::broadcast::{self, error::RecvError};
    use tower_impersonation::{Impersonation, UserId};

    use super::{AdminRole, RoleError, parsed};
    use crate::trail::micros;

    /// Gives a role; the one there was before.
    pub(super) async fn grant(
        pool: &SqlitePool,
        user: &UserId,
        role: AdminRole,
        by: Option<&UserId>,
    ) -> Result<Option<AdminRole>, RoleError> {
        let mut tx = pool.begin_with("begin immediate").await?;
        check_granter(&mut tx, by).await?;
        let before = role_of(&mut tx, user).await?;
        if before == Some(role) {
            return Ok(before);
        }
        let now = micros(OffsetDateTime::now_utc());
        take(&mut tx, user, by, now).await?;
        query(
            "insert into impersonation_admin_roles (user_id, role, granted_by, granted_at) values (?, ?, ?, ?)",
        )
        .bind(user.as_str())
        .bind(role.as_str())
        .bind(by.map(UserId::as_str))
        .bind(now)
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(before)
    }

    pub(super) async fn revoke(
        pool: &SqlitePool,
        user: &UserId,
        by: &UserId,
    ) -> Result<bool, RoleError> {
        let mut tx = pool.begin_with("begin immediate").await?;
        check_granter(&mut tx, Some(by)).await?;
        let now = micros(OffsetDateTime::now_utc());
        let revoked = take(&mut tx, user, Some(by), now).await?;
        tx.commit().await?;
        Ok(revoked)
    }

    pub(super) async fn watch(
        mut lowered: broadcast::Receiver<UserId>,
        impersonation: Impersonation,
    ) {
        loop {
            match lowered.recv().await {
                Ok(user) => {
                    if let Err(rejection) = impersonation.demote(&user).await {
                        tracing::warn!(
                            target: "tower_impersonation",
                            reason = rejection.reason(),
                            "sessions of a demoted admin end with their next request"
                        );
                    }
                }
                // They end with their next request.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }

    async fn check_granter(
        connection: &mut SqliteConnection,
        by: Option<&UserId>,
    ) -> Result<(), RoleError> {
        let allowed = match by {
            Some(by) => role_of(connection, by).await? == Some(AdminRole::Superadmin),
            None => {
                let any = query_scalar::<_, bool>(
                    "select exists (select 1 from impersonation_admin_roles)",
                );
                !any.fetch_one(connection).await?
            }
        };
        allowed.then_some(()).ok_or(RoleError::NotAllowed)
    }

    async fn role_of(
        connection: &mut SqliteConnection,
        user: &UserId,
    ) -> Result<Option<AdminRole>, sqlx::Error> {
        let role = query_scalar::<_, String>(
            "select role from impersonation_admin_roles where user_id = ?1 and revoked_at is null",
        )
        .bind(user.as_str())
        .fetch_optional(connection)
        .await?;
        role.map(|role| parsed("role", &role)).transpose()
    }

    async fn take(
        connection: &mut SqliteConnection,
        user: &UserId,
        by: Option<&UserId>,
        now: i64,
    ) -> Result<bool, sqlx::Error> {
        let taken = query(
            "update impersonation_admin_roles set revoked_at = ?2, revoked_by = ?3 \
             where user_id = ?1 and revoked_at is null",
        )
        .bind(user.as_str())
        .bind(now)
        .bind(by.map(UserId::as_str))
        .execute(connection)
        .await?;
        Ok(taken.rows_affected() > 0)
    }
}
