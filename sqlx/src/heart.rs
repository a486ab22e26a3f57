//! The sign of life of a process that writes a trail, and the look for those that have none any more.

use std::{
    future::Future,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How often a process says that it is there, and looks for those that are not.
const BEAT: Duration = Duration::from_secs(10);
/// A process that was silent for so long is dead.
const SILENT: Duration = Duration::from_secs(60);

/// Whether this process says that it lives.
#[derive(Debug, Default)]
pub(crate) struct Heart {
    beats: AtomicBool,
}

/// What a trail shares among its clones, and beats for.
pub(crate) trait Alive: Send + Sync + Sized + 'static {
    fn heart(&self) -> &Heart;

    /// Says that this process lives.
    fn beat(&self) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Gives the intents of processes that were silent for that long their outcome.
    fn bury(
        self: Arc<Self>,
        silent: Duration,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Says that this process lives, from now on and in a task of its own.
pub(crate) async fn keep_beating<S: Alive>(shared: &Arc<S>) -> Result<(), sqlx::Error> {
    let beats = &shared.heart().beats;
    if beats.load(Ordering::Relaxed) || beats.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let beating = Beating(Arc::downgrade(shared));
    // Before its first event, so that there is none of a process that nobody knows.
    shared.beat().await?;
    tokio::spawn(async move {
        let beating = beating;
        loop {
            tokio::time::sleep(BEAT).await;
            let Some(shared) = beating.0.upgrade() else {
                return;
            };
            let swept = async {
                shared.beat().await?;
                shared.bury(SILENT).await
            };
            if let Err(error) = swept.await {
                tracing::warn!(
                    target: "tower_impersonation",
                    error = &error as &dyn std::error::Error,
                    "intents of dead processes were not looked for"
                );
            }
        }
    });
    Ok(())
}

/// Lets the next write start again when this one failed, or went away with its runtime.
struct Beating<S: Alive>(Weak<S>);

impl<S: Alive> Drop for Beating<S> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.heart().beats.store(false, Ordering::Relaxed);
        }
    }
}
