//! Sessions in a database: [`SqlSessions`].

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use sqlx::Pool;
use time::OffsetDateTime;
use tower_impersonation::{
    BoxError, Subject, UserId,
    audit::{AuditEvent, AuditSink, Call},
    session::{
        EndedReason, Limits, Page, Session, SessionChange, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};
use uuid::Uuid;

use crate::{reserve::Reserve, statement::Statement, trail::SqlTrail};

mod change_listeners;
mod dialect;
mod end;
mod list;
pub(crate) mod row;
mod start;

pub(crate) use self::{
    change_listeners::ChangeListeners,
    dialect::{News, SessionDialect, SessionWords, session_words},
};

/// Sessions in a database: [`PostgresSessions`](crate::PostgresSessions) or
/// [`SqliteSessions`](crate::SqliteSessions). Clones share their listeners.
///
/// Call `migrate` before. Times are kept to the microsecond, and an idle limit of more than a thousand years is none.
/// A list's `total` is exact up to [`COUNTED`](crate::COUNTED).
///
/// Starts and lists go through the host's pool. Everything else, and the list of what is active, has connections
/// beside it, so that a host that has used up its own can still stop.
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use tower_impersonation::session::{EndedReason, Limits, SessionStore};
/// use tower_impersonation_sqlx::{SqliteSessions, sqlite};
///
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// sqlite::migrate(&pool).await?;
/// let sessions = SqliteSessions::new(pool);
/// # let now = time::OffsetDateTime::now_utc();
/// # let id = tower_impersonation::session::SessionId(uuid::Uuid::now_v7());
/// # let until = now + std::time::Duration::from_secs(3600);
/// # let session = tower_impersonation::session::Session::new(
/// #     id, "ada".parse()?, "ines".parse()?, "ticket 4711", now, until);
/// let started = sessions.start(session, &Limits::default()).await?;
/// let ended = sessions.end(started.session.id, EndedReason::Manual, now).await?;
/// assert_eq!(ended.unwrap().ended_reason, Some(EndedReason::Manual));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
pub struct SqlSessions<D: SessionDialect> {
    shared: Arc<Shared<D>>,
    /// The trail is in the same database: starts and ends write their events themselves.
    trail: Option<SqlTrail<D>>,
    /// And to what else the trail goes to.
    trail_also_in: Option<Arc<dyn AuditSink>>,
}

struct Shared<D: SessionDialect> {
    reserve: Arc<Reserve<D>>,
    listeners: Arc<ChangeListeners>,
    news: D::News,
}

// === impl SqlSessions ===

impl<D: SessionDialect> SqlSessions<D> {
    /// Sessions in the database of this pool.
    #[must_use]
    pub fn new(pool: Pool<D>) -> Self {
        let reserve = Reserve::of(pool);
        let news = D::News::new(reserve.clone());
        Self::of(reserve, news)
    }

    /// Starts and ends sessions and writes the events of that in one transaction (rule A1). `trail` has to be in the
    /// same database. Where a [`FanOut`](tower_impersonation::audit::FanOut) writes to other sinks as well,
    /// [`with_trail_also_in`](Self::with_trail_also_in) names them. Default: the event of a start is written before
    /// the session, that of an end after it.
    ///
    /// An end whose event cannot be written within a second ends all the same; the event follows (rule S5).
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # fn set_up(pool: sqlx::SqlitePool) {
    /// use tower_impersonation_sqlx::{SqliteSessions, SqliteTrail};
    ///
    /// let trail = SqliteTrail::new(pool.clone());
    /// let sessions = SqliteSessions::new(pool).with_trail(&trail);
    /// # drop(sessions);
    /// # }
    /// ```
    #[must_use]
    pub fn with_trail(mut self, trail: &SqlTrail<D>) -> Self {
        self.trail = Some(trail.clone());
        self
    }

    /// What else has to have the event of a start: of a [`FanOut`](tower_impersonation::audit::FanOut), all but
    /// the trail of [`with_trail`](Self::with_trail), without which this does nothing.
    ///
    /// Written within the transaction, right before it is committed: where this fails, nothing starts. Unlike
    /// the trail's writer, starts of several actors write at the same time. The event of an end follows the end then:
    /// no other sink holds up a stop. Default: nothing.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlite")]
    /// # fn set_up(pool: sqlx::SqlitePool, file: impl tower_impersonation::audit::AuditSink + Clone) {
    /// use tower_impersonation::audit::FanOut;
    /// use tower_impersonation_sqlx::{SqliteSessions, SqliteTrail};
    ///
    /// let trail = SqliteTrail::new(pool.clone());
    /// let sessions = SqliteSessions::new(pool).with_trail(&trail).with_trail_also_in(file.clone());
    /// let everywhere = FanOut::all().and(trail).and(file);
    /// # drop((sessions, everywhere));
    /// # }
    /// ```
    #[must_use]
    pub fn with_trail_also_in(mut self, sink: impl AuditSink) -> Self {
        self.trail_also_in = Some(Arc::new(sink));
        self
    }

    fn of(reserve: Arc<Reserve<D>>, news: D::News) -> Self {
        Self {
            shared: Arc::new(Shared {
                reserve,
                listeners: Arc::default(),
                news,
            }),
            trail: None,
            trail_also_in: None,
        }
    }

    /// The same store with other news.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn with_news(self, news: D::News) -> Self {
        Self {
            shared: Self::of(self.shared.reserve.clone(), news).shared,
            trail: self.trail,
            trail_also_in: self.trail_also_in,
        }
    }

    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn news(&self) -> &D::News {
        &self.shared.news
    }

    pub(crate) fn listeners(&self) -> &Arc<ChangeListeners> {
        &self.shared.listeners
    }

    fn reserve(&self) -> &Reserve<D> {
        &self.shared.reserve
    }

    fn keep_telling(&self) {
        self.shared.news.keep_telling(&self.shared.listeners);
    }

    /// Waits until no replica serves from memory what has just changed (rule S9).
    async fn heard_by_all(&self) {
        let news = &self.shared.news;
        news.heard_by_all(self.reserve(), self.listeners()).await;
    }

    /// The sessions that a statement gives, by a connection of our own.
    async fn ask(&self, statement: Statement<'_>) -> Result<Vec<D::Row>, sqlx::Error> {
        let mut connection = self.reserve().connection().await?;
        D::rows(&mut connection, statement).await
    }
}

#[async_trait]
impl<D: SessionDialect> SessionStore for SqlSessions<D> {
    async fn check(
        &self,
        session: &Session,
        limits: &Limits,
        now: OffsetDateTime,
    ) -> Result<(), StartError> {
        self.try_check(session, limits, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.keep_telling();
        self.try_start(session, limits, None).await
    }

    async fn start_recorded(
        &self,
        session: &Session,
        limits: &Limits,
        event: &AuditEvent,
    ) -> Option<Result<Started, StartError>> {
        let record = Some((event, self.trail.as_ref()?));
        self.keep_telling();
        Some(self.try_start(session.clone(), limits, record).await)
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.keep_telling();
        let active = Statement::new(D::SESSIONS.active);
        let active = active.bind(actor).bind(subject).bind(now);
        Ok(row::one(&self.ask(active).await?)?)
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        let get = Statement::new(D::SESSIONS.get).bind(id);
        Ok(row::one(&self.ask(get).await?)?)
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        Ok(self.try_end(id, reason, now).await?)
    }

    async fn end_recorded(
        &self,
        id: SessionId,
        reason: EndedReason,
        call: &Call,
        now: OffsetDateTime,
    ) -> Option<Result<Option<Arc<Session>>, BoxError>> {
        let ended = self.try_end_recorded(id, reason, call, now).await?;
        Some(ended.map_err(Into::into))
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        Ok(self.try_end_due(now, limit).await?)
    }

    async fn unconfirmed_ends(
        &self,
        before: OffsetDateTime,
        limit: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        Ok(self.try_unconfirmed(before, limit).await?)
    }

    async fn confirm_ends(&self, ids: &[SessionId]) -> Result<(), BoxError> {
        Ok(self.try_confirm(ids).await?)
    }

    async fn spend(&self, id: SessionId, token: Uuid) -> Result<bool, BoxError> {
        let spend = Statement::new(D::SESSIONS.spend).bind(id).bind(token);
        let mut connection = self.reserve().connection().await?;
        Ok(D::execute(&mut connection, spend).await? > 0)
    }

    async fn touch(&self, id: SessionId, seen_at: OffsetDateTime) -> Result<(), BoxError> {
        self.touch_all(&[(id, seen_at)]).await
    }

    async fn touch_all(&self, seen: &[(SessionId, OffsetDateTime)]) -> Result<(), BoxError> {
        if seen.is_empty() {
            return Ok(());
        }
        Ok(D::touch_all(self.reserve(), seen).await?)
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let statement = Statement::new(D::SESSIONS.update)
            .bind(id)
            .bind(now)
            .bind(update.access.map(|access| access.as_str()))
            .bind(update.expires_at);
        let updated = row::one(&self.ask(statement).await?)?;
        if let Some(session) = &updated {
            let change = SessionChange::Updated(session.clone());
            self.listeners().tell(&change);
            self.heard_by_all().await;
        }
        Ok(updated)
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        Ok(self.try_list(filter, page, now).await?)
    }

    fn subscribe(&self, listener: SessionListener) {
        self.listeners().add(listener);
        self.shared.news.tell(self.listeners());
    }

    fn hears_all(&self) -> bool {
        self.shared.news.is_complete()
    }
}

impl<D: SessionDialect> Clone for SqlSessions<D> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            trail: self.trail.clone(),
            trail_also_in: self.trail_also_in.clone(),
        }
    }
}

impl<D: SessionDialect> fmt::Debug for SqlSessions<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlSessions")
            .field("hears_all", &self.hears_all())
            .finish_non_exhaustive()
    }
}
