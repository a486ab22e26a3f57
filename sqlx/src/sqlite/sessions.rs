//! What is SQLite's own about sessions.

use std::sync::Arc;

use sqlx::{Sqlite, error::DatabaseError};
use time::OffsetDateTime;
use tower_impersonation::session::SessionId;

use crate::{
    reserve::Reserve,
    sessions::{
        ChangeListeners, News, SessionDialect, SessionWords, SqlSessions, row::session_columns,
        session_words,
    },
    statement::Statement,
};

/// Sessions in SQLite, beside one process: [`SqlSessions`] says the rest.
///
/// SQLite tells nobody of changes, so nothing is served from memory: a
/// [`Cached`](tower_impersonation::session::Cached) around it reads the file each time (rule S9). That takes some
/// microseconds.
pub type SqliteSessions = SqlSessions<Sqlite>;

/// Nothing comes in: changes of other processes are seen when the file is read.
#[derive(Debug)]
pub struct NoNews;

impl SessionDialect for Sqlite {
    const SESSIONS: SessionWords = session_words!(
        table: "impersonation_sessions",
        spent: "impersonation_spent_tokens",
        lock: None,
        share: "",
        patient: ("", ""),
        least: "min",
        microseconds: "",
        due: ("in (", ")")
    );

    type News = NoNews;

    fn is_second(error: &dyn DatabaseError) -> bool {
        error.is_unique_violation() && error.message().contains("impersonation_sessions.actor")
    }

    async fn touch_all(
        reserve: &Reserve<Self>,
        seen: &[(SessionId, OffsetDateTime)],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = reserve.begin().await?;
        for (id, seen_at) in seen {
            let touch = Statement::new(
                "update impersonation_sessions set last_seen_at = $2, \
                   due_at = min(expires_at, coalesce($2 + idle_us, expires_at)) \
                 where id = $1 and ended_at is null and last_seen_at < $2",
            );
            transaction.execute(touch.bind(*id).bind(*seen_at)).await?;
        }
        transaction.commit().await
    }
}

impl News<Sqlite> for NoNews {
    fn new(_: Arc<Reserve<Sqlite>>) -> Self {
        Self
    }

    fn tell(&self, _: &Arc<ChangeListeners>) {}

    fn keep_telling(&self, _: &Arc<ChangeListeners>) {}

    /// Another process may change the file at any time.
    fn is_complete(&self) -> bool {
        false
    }

    /// Everyone reads the file.
    async fn heard_by_all(&self, _: &Reserve<Sqlite>, _: &Arc<ChangeListeners>) {}
}
