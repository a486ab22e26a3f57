//! [`Transaction`]: the one owner of every transaction of this crate.

use std::ops::{Deref, DerefMut};

use sqlx::pool::PoolConnection;

use crate::{dialect::Dialect, statement::Statement};

/// A transaction, and the connection that it is on.
///
/// A connection on which anything failed between BEGIN and COMMIT is closed and never goes back to its pool: SQLite
/// rolls back by itself when the disk is full, and a pool does not know. Only [`commit`](Self::commit) and
/// [`rollback`](Self::rollback) that went well give it back. An error, a panic and a cancelled future do not.
///
/// A database in memory would be gone with its connection: there it is rolled back first.
pub(crate) struct Transaction<D: Dialect> {
    connection: Option<PoolConnection<D>>,
    is_in_memory: bool,
}

// === impl Transaction ===

impl<D: Dialect> Transaction<D> {
    /// Begins on this connection.
    pub(crate) async fn begin(
        connection: PoolConnection<D>,
        is_in_memory: bool,
    ) -> Result<Self, sqlx::Error> {
        // In its place before the first step: what is dropped half-way is closed as well.
        let mut transaction = Self {
            connection: Some(connection),
            is_in_memory,
        };
        D::execute(&mut transaction, Statement::new(D::BEGIN)).await?;
        Ok(transaction)
    }

    /// Everything holds from now on.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.end("commit").await
    }

    /// Nothing happened. For what is refused and not failed; a transaction that is dropped closes its connection.
    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        self.end("rollback").await
    }

    /// How many rows the statement changed.
    pub(crate) async fn execute(&mut self, statement: Statement<'_>) -> Result<u64, sqlx::Error> {
        D::execute(self, statement).await
    }

    async fn end(mut self, how: &'static str) -> Result<(), sqlx::Error> {
        D::execute(&mut self, Statement::new(how)).await?;
        // Back to its pool.
        self.connection = None;
        Ok(())
    }
}

impl<D: Dialect> Deref for Transaction<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        self.connection.as_deref().expect(OPEN)
    }
}

impl<D: Dialect> DerefMut for Transaction<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        self.connection.as_deref_mut().expect(OPEN)
    }
}

const OPEN: &str = "a transaction has its connection until it ends";

impl<D: Dialect> Drop for Transaction<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        if !self.is_in_memory {
            connection.close_on_drop();
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // An error says that it is rolled back already.
                let _ = D::execute(&mut connection, Statement::new("rollback")).await;
            });
        }
    }
}
