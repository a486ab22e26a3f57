//! Row-level security: who a transaction is for.
//!
//! [`ApplyActingAs::apply`] tells a transaction whom it is for, in one query with bound parameters, and ends with it: the
//! same connection of the pool knows nobody after commit, rollback, a panic or a cancelled future.

use std::{borrow::Cow, fmt, sync::Arc};

use async_trait::async_trait;
use serde_json::json;
use sqlx::{AssertSqlSafe, Postgres, Transaction, query};
use tower_impersonation::{Access, ActingAs, Subject, UserId, session::SessionId};

/// Which settings a transaction gets, for the policies of the host's tables to read.
///
/// ```
/// use tower_impersonation_sqlx::Profile;
///
/// let plain = Profile::settings();
/// let supabase = Profile::supabase();
/// let own = Profile::custom(|identity| {
///     vec![("shop.customer".into(), identity.subject().to_string())]
/// });
/// ```
///
/// # Limits
///
/// What keeps the subject's rows apart are the policies and the settings. Who may type any SQL in such a transaction
/// can also type `set_config` or `RESET ROLE`, and who may end it (`COMMIT`) is out of it: then no settings are left, and
/// policies that compare with them match no row. So bind parameters, and let the application's role be neither
/// a superuser nor the owner of the tables, nor have `BYPASSRLS`.
///
/// READ ONLY cannot be taken back within the transaction: PostgreSQL refuses `SET TRANSACTION READ WRITE` after the
/// first query, and ours is one. It does not hold for temporary tables.
#[derive(Clone)]
pub struct Profile(Kind);

#[derive(Clone)]
enum Kind {
    Settings,
    Supabase,
    Custom(Arc<Settings>),
}

type Setting = (Cow<'static, str>, String);
type Settings = dyn Fn(&Identity) -> Vec<Setting> + Send + Sync;

/// Whom a transaction is for: of an acted request, or of one that is not.
///
/// ```
/// use tower_impersonation_sqlx::Identity;
///
/// // For requests that are not acted: the same policies apply.
/// let own = Identity::user("ines".parse()?).with_role("customer");
/// let visitor = Identity::anonymous();
/// # Ok::<(), tower_impersonation::InvalidUserId>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    subject: Subject,
    role: Option<String>,
    actor: Option<UserId>,
    session: Option<SessionId>,
    read_only: bool,
}

/// Binds a transaction to an acted request.
#[async_trait]
pub trait ApplyActingAs {
    /// From now on until its end the transaction is for the subject, and READ ONLY when the access is: the database
    /// then refuses every write with SQLSTATE 25006, that of hand-written SQL as well (rule R10).
    ///
    /// Call it first in the transaction, and not within a savepoint: a rollback to that would undo it.
    ///
    /// ```no_run
    /// # use sqlx::PgPool;
    /// use tower_impersonation::ActingAs;
    /// use tower_impersonation_sqlx::{ApplyActingAs, Profile};
    ///
    /// async fn orders(pool: &PgPool, acting_as: &ActingAs) -> Result<Vec<i64>, sqlx::Error> {
    ///     let mut tx = pool.begin().await?;
    ///     acting_as.apply(&mut tx, &Profile::settings()).await?;
    ///     let orders = sqlx::query_scalar("select id from orders").fetch_all(&mut *tx).await?;
    ///     tx.commit().await?;
    ///     Ok(orders)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// When the database fails or does not know a setting or a role. Nothing may be done in the transaction then.
    ///
    /// # Cancel safety
    ///
    /// The transaction rolls back when it is dropped, and knows nobody after.
    async fn apply(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        profile: &Profile,
    ) -> Result<(), sqlx::Error>;
}

// === impl Profile ===

impl Profile {
    /// `app.user_id`, `app.role`, `app.actor_id`, `app.session_id`; what is not there is the empty text.
    ///
    /// `app.user_id` is empty for the anonymous visitor and the service role, of which `app.role` is `anon` and
    /// `service`. `app.actor_id` is who is really there: of an acted request the actor, else the user.
    #[must_use]
    pub fn settings() -> Self {
        Self(Kind::Settings)
    }

    /// As Supabase and PostgREST do: the role `authenticated`, `anon` or `service_role`, and `request.jwt.claims`
    /// with `sub`, `role`, `session_id`, and the actor as `act.sub`.
    #[must_use]
    pub fn supabase() -> Self {
        Self(Kind::Supabase)
    }

    /// The host's own settings, by name. Names and values are bound as parameters; the name `role` sets the role.
    #[must_use]
    pub fn custom(settings: impl Fn(&Identity) -> Vec<Setting> + Send + Sync + 'static) -> Self {
        Self(Kind::Custom(Arc::new(settings)))
    }

    /// Binds a transaction to whoever the request is for; see [`ApplyActingAs::apply`].
    ///
    /// # Errors
    ///
    /// When the database fails or does not know a setting or a role. Nothing may be done in the transaction then.
    pub async fn apply(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        identity: &Identity,
    ) -> Result<(), sqlx::Error> {
        let mut settings = self.of(identity);
        if identity.read_only {
            settings.insert(0, ("transaction_read_only".into(), "on".to_owned()));
        }
        if settings.is_empty() {
            return Ok(());
        }
        // Numbers of parameters, and nothing else, are in the text.
        let mut sql = "select ".to_owned();
        for at in 0..settings.len() {
            let comma = if at == 0 { "" } else { ", " };
            sql += &format!("{comma}set_config(${}, ${}, true)", 2 * at + 1, 2 * at + 2);
        }
        let mut set = query(AssertSqlSafe(sql));
        for (name, value) in &settings {
            set = set.bind(&**name).bind(value);
        }
        set.execute(&mut **tx).await?;
        Ok(())
    }

    fn of(&self, identity: &Identity) -> Vec<Setting> {
        let user = identity.subject.user_id().map(UserId::as_str);
        let actor = identity.actor.as_ref().map(UserId::as_str);
        let session = identity.session.map(|session| session.to_string());
        match &self.0 {
            Kind::Settings => {
                let role = match identity.subject {
                    Subject::Anonymous => "anon",
                    Subject::Service => "service",
                    _ => identity.role.as_deref().unwrap_or_default(),
                };
                let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
                vec![
                    ("app.user_id".into(), text(user)),
                    ("app.role".into(), role.to_owned()),
                    ("app.actor_id".into(), text(actor.or(user))),
                    ("app.session_id".into(), session.unwrap_or_default()),
                ]
            }
            Kind::Supabase => {
                let role = match identity.subject {
                    Subject::Anonymous => "anon",
                    Subject::Service => "service_role",
                    _ => "authenticated",
                };
                let mut claims = json!({ "role": role });
                if let Some(user) = user {
                    claims["sub"] = user.into();
                }
                if let Some(actor) = actor {
                    claims["act"] = json!({ "sub": actor });
                }
                if let Some(session) = session {
                    claims["session_id"] = session.into();
                }
                vec![
                    ("request.jwt.claims".into(), claims.to_string()),
                    ("role".into(), role.to_owned()),
                ]
            }
            Kind::Custom(settings) => settings(identity),
        }
    }
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Kind::Settings => "Profile::settings()",
            Kind::Supabase => "Profile::supabase()",
            Kind::Custom(_) => "Profile::custom(<fn>)",
        })
    }
}

// === impl Identity ===

impl Identity {
    /// Of an acted request: the subject, with its role and its access.
    #[must_use]
    pub fn of(acting_as: &ActingAs) -> Self {
        let session = acting_as.session();
        let role = acting_as.user().and_then(|user| user.role());
        let role = role.or_else(|| session?.role.as_deref());
        Self {
            subject: acting_as.subject().clone(),
            role: role.map(str::to_owned),
            actor: Some(acting_as.actor().id().clone()),
            session: session.map(|session| session.id),
            read_only: acting_as.access() != Access::ReadWrite,
        }
    }

    /// Of a user's own request.
    #[must_use]
    pub fn user(id: UserId) -> Self {
        Self::own(Subject::User(id))
    }

    /// Of a visitor's own request.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::own(Subject::Anonymous)
    }

    fn own(subject: Subject) -> Self {
        Self {
            subject,
            role: None,
            actor: None,
            session: None,
            read_only: false,
        }
    }

    /// With this role. Default: none.
    #[must_use]
    pub fn with_role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// READ ONLY. Default: as the access of the acted request, else not.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Whose rows.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The role of the subject.
    #[must_use]
    pub fn role(&self) -> Option<&str> {
        self.role.as_deref()
    }

    /// Who is really there, of an acted request.
    #[must_use]
    pub fn actor(&self) -> Option<&UserId> {
        self.actor.as_ref()
    }

    /// In which session.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        self.session
    }

    /// Whether the transaction may change nothing.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("subject", &self.subject)
            .field("actor", &self.actor)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}

// === impl ApplyActingAs ===

#[async_trait]
impl ApplyActingAs for ActingAs {
    async fn apply(
        &self,
        tx: &mut Transaction<'_, Postgres>,
        profile: &Profile,
    ) -> Result<(), sqlx::Error> {
        profile.apply(tx, &Identity::of(self)).await
    }
}
