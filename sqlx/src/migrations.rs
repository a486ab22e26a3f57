//! What makes the tables, as both databases number and name it.

use std::borrow::Cow;

use sqlx::{
    SqlStr,
    migrate::{Migration, MigrationType, Migrator},
};

const NAMES: [&str; 3] = ["sessions", "trail", "roles and consents"];

pub(crate) fn migrations(texts: [&'static str; NAMES.len()]) -> Migrator {
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
    Migrator::with_migrations(all.map(migration).collect())
}
