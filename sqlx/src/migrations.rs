//! What makes the tables, as both databases number and name it; and what can be wrong with that.

use std::borrow::Cow;

use sqlx::{
    SqlStr,
    migrate::{MigrateError, Migration, MigrationType, Migrator},
};

use crate::columns::{Columns, there};

const NAMES: [&str; 3] = ["sessions", "trail", "roles and consents"];

/// Why the tables of this crate are not as it needs them. Each names the table that lists what was done:
/// `impersonation.migrations` in PostgreSQL, `impersonation_migrations` in SQLite.
///
/// ```no_run
/// # #[cfg(feature = "postgres")]
/// # async fn start(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// use tower_impersonation_sqlx::{MigrationError, postgres};
///
/// match postgres::check(&pool).await {
///     Err(MigrationError::Pending { version, .. }) => {
///         eprintln!("run the deployment's migrations first: {version} is missing");
///     }
///     checked => checked?,
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// `migrate` has to run first.
    #[error(
        "the tables are not there yet or are of an older version: `{table}` has no row {version}; run `migrate` as \
         a role that may create them"
    )]
    Pending {
        /// The list of what was done.
        table: &'static str,
        /// The first that is missing.
        version: i64,
    },
    /// A newer version of this crate was here.
    #[error(
        "`{table}` has a row {version}, which a newer version of tower-impersonation-sqlx made"
    )]
    Newer {
        /// The list of what was done.
        table: &'static str,
        /// The first that this version does not know.
        version: i64,
    },
    /// Something else was done under this number.
    #[error("row {version} of `{table}` is not what this version of tower-impersonation-sqlx does")]
    Changed {
        /// The list of what was done.
        table: &'static str,
        /// Its number.
        version: i64,
    },
    /// The database failed or refused.
    #[error("`{table}` could not be read or brought up to date")]
    Database {
        /// The list of what was done.
        table: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
}

/// What this version of the crate does to a database.
#[derive(Debug)]
pub(crate) struct Migrations {
    pub(crate) table: &'static str,
    pub(crate) migrator: Migrator,
}

// === impl Migrations ===

impl Migrations {
    pub(crate) fn new(table: &'static str, texts: [&'static str; NAMES.len()]) -> Self {
        let migration = |((version, name), text)| {
            Migration::new(
                version,
                Cow::Borrowed(name),
                MigrationType::Simple,
                SqlStr::from_static(text),
                false,
            )
        };
        let all = (1..).zip(NAMES).zip(texts);
        let mut migrator = Migrator::with_migrations(all.map(migration).collect());
        migrator.dangerous_set_table_name(table);
        Self { table, migrator }
    }

    /// Compares what was done, by number and checksum, with what this version does.
    pub(crate) fn compare<R: Columns>(&self, done: &[R]) -> Result<(), MigrationError> {
        let table = self.table;
        let mut known = self.migrator.iter();
        for row in done {
            let (version, checksum) = done_of(row).map_err(|error| self.failed(error))?;
            match known.next() {
                None => return Err(MigrationError::Newer { table, version }),
                Some(ours) if ours.version != version || ours.checksum != checksum => {
                    return Err(MigrationError::Changed { table, version });
                }
                Some(_) => {}
            }
        }
        match known.next() {
            Some(missing) => Err(self.pending(missing.version)),
            None => Ok(()),
        }
    }

    pub(crate) fn pending(&self, version: i64) -> MigrationError {
        let table = self.table;
        MigrationError::Pending { table, version }
    }

    pub(crate) fn failed(&self, source: sqlx::Error) -> MigrationError {
        let table = self.table;
        MigrationError::Database { table, source }
    }

    /// What sqlx says, with the name of our table.
    pub(crate) fn named(&self, error: MigrateError) -> MigrationError {
        let table = self.table;
        match error {
            MigrateError::VersionMissing(version) => MigrationError::Newer { table, version },
            MigrateError::VersionMismatch(version) | MigrateError::Dirty(version) => {
                MigrationError::Changed { table, version }
            }
            MigrateError::Execute(source) | MigrateError::ExecuteMigration(source, _) => {
                self.failed(source)
            }
            other => self.failed(other.into()),
        }
    }
}

fn done_of(row: &dyn Columns) -> Result<(i64, &[u8]), sqlx::Error> {
    let version = there("version", row.number("version")?)?;
    Ok((version, there("checksum", row.bytes("checksum")?)?))
}
