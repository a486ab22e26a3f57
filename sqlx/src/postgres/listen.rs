//! The channel by which replicas tell each other: one connection that listens, and whoever hears.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::{
    PgPool,
    postgres::{PgListener, PgPoolOptions},
};
use tokio::time::{sleep, timeout};

/// Every notification of this crate comes here.
const CHANNEL: &str = "impersonation";
/// When nothing was heard for so long, the connection is asked whether it still is one.
const BEAT: Duration = Duration::from_secs(1);
/// And may take so long to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Without a sign of life for so long, news may be missing.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// Between two attempts to connect.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Who hears.
#[async_trait]
pub(crate) trait Hear: Send {
    /// Whether anyone still wants to hear.
    fn goes_on(&self) -> bool;

    /// From now on all news come in. What came before may have been missed.
    async fn opened(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error>;

    /// News.
    async fn heard(&mut self, news: &str, connection: &mut PgListener) -> Result<(), sqlx::Error>;

    /// There were no news, and the connection is one.
    async fn beat(&mut self, connection: &mut PgListener) -> Result<(), sqlx::Error>;

    /// News are being missed. Said again with every attempt that fails.
    fn lost(&mut self);
}

/// Listens until nobody wants to hear any more, with a connection of its own: one of the host's pool would
/// be missing there for good.
pub(crate) async fn listen(pool: PgPool, mut ear: impl Hear) {
    let mut failures = 0;
    while ear.goes_on() {
        let error = match timeout(LEASE, connect(&pool)).await {
            Ok(Ok(mut connection)) => {
                failures = 0;
                match until_lost(&mut connection, &mut ear).await {
                    Ok(()) => return,
                    Err(error) => error,
                }
            }
            Ok(Err(error)) => error,
            Err(_) => sqlx::Error::PoolTimedOut,
        };
        tracing::warn!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "news of other replicas are lost; the database is read for each request until they are back"
        );
        ear.lost();
        sleep(PAUSES[failures.min(PAUSES.len() - 1)]).await;
        failures += 1;
    }
}

async fn connect(pool: &PgPool) -> Result<PgListener, sqlx::Error> {
    // Named, so that who looks at the server's connections knows what it is for.
    let options = (*pool.connect_options()).clone();
    let options = options.application_name("tower-impersonation listener");
    let one = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options);
    let mut connection = PgListener::connect_with(&one).await?;
    // A new connection is made here, where it is known what was missed.
    connection.eager_reconnect(false);
    connection.ignore_pool_close_event(true);
    connection.listen(CHANNEL).await?;
    Ok(connection)
}

/// `Ok` when nobody wants to hear any more.
async fn until_lost(connection: &mut PgListener, ear: &mut impl Hear) -> Result<(), sqlx::Error> {
    let gone = || sqlx::Error::Io(std::io::ErrorKind::ConnectionAborted.into());
    ear.opened(connection).await?;
    while ear.goes_on() {
        match timeout(BEAT, connection.try_recv()).await {
            Ok(Ok(Some(news))) => ear.heard(news.payload(), connection).await?,
            Ok(Ok(None)) => return Err(gone()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let alive = sqlx::query("select 1").execute(&mut *connection);
                timeout(ANSWER, alive).await.map_err(|_| gone())??;
                ear.beat(connection).await?;
            }
        }
    }
    Ok(())
}
