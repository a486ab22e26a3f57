//! [`Pool`]: what roles and consents can be in.

use self::sealed::{Db, IntoDb};
use crate::reserve::Reserve;

/// A pool of PostgreSQL or of SQLite, whichever features are on. No other type is one.
///
/// ```no_run
/// # #[cfg(feature = "sqlite")]
/// # fn set_up(pool: sqlx::SqlitePool) {
/// use tower_impersonation_sqlx::{Pool, SqlConsents, SqlRoles};
///
/// fn tables(pool: impl Pool + Clone) -> (SqlRoles, SqlConsents) {
///     (SqlRoles::new(pool.clone()), SqlConsents::new(pool))
/// }
/// # tables(pool);
/// # }
/// ```
pub trait Pool: IntoDb {}

/// Public, so that [`Pool`] can say it, and named by nobody.
pub(crate) mod sealed {
    use std::sync::Arc;

    use crate::reserve::Reserve;

    /// A pool of either kind, and what this crate has beside it.
    #[derive(Clone, Debug)]
    pub enum Db {
        #[cfg(feature = "postgres")]
        Postgres(Arc<Reserve<sqlx::Postgres>>),
        #[cfg(feature = "sqlite")]
        Sqlite(Arc<Reserve<sqlx::Sqlite>>),
    }

    pub trait IntoDb {
        #[doc(hidden)]
        fn into_db(self) -> Db;
    }
}

#[cfg(feature = "postgres")]
impl IntoDb for sqlx::PgPool {
    fn into_db(self) -> Db {
        Db::Postgres(Reserve::of(self))
    }
}

#[cfg(feature = "postgres")]
impl Pool for sqlx::PgPool {}

#[cfg(feature = "sqlite")]
impl IntoDb for sqlx::SqlitePool {
    fn into_db(self) -> Db {
        Db::Sqlite(Reserve::of(self))
    }
}

#[cfg(feature = "sqlite")]
impl Pool for sqlx::SqlitePool {}
