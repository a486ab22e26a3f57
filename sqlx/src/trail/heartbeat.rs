//! The heartbeat of a process that writes a trail, and the look for processes that have none any more.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{Shared, SqlTrail, TrailDialect};
use crate::statement::Statement;

/// How often a process says that it lives, and looks for those that do not.
const INTERVAL: Duration = Duration::from_secs(10);
/// A process that was silent for so long is dead.
const SILENT: Duration = Duration::from_secs(60);

/// Whether this process says that it lives.
#[derive(Debug, Default)]
pub(super) struct Heartbeat {
    is_running: AtomicBool,
}

impl Heartbeat {
    /// Says that this process lives, from now on and in a task of its own.
    pub(super) async fn keep_running<D: TrailDialect>(
        shared: &Arc<Shared<D>>,
    ) -> Result<(), sqlx::Error> {
        let is_running = &shared.heartbeat.is_running;
        if is_running.load(Ordering::Relaxed) || is_running.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let running = Running(Arc::downgrade(shared));
        // Before its first event, so that there is none of a process that nobody knows.
        say_alive(shared).await?;
        tokio::spawn(run(running));
        Ok(())
    }
}

async fn run<D: TrailDialect>(running: Running<D>) {
    loop {
        {
            let Some(shared) = running.0.upgrade() else {
                return;
            };
            // Ahead of time, so that no writer waits for it.
            let ahead = D::make_room_ahead(&shared.reserve, &shared.months);
            warn(ahead.await, "the room for events to come is not made yet");
        }
        tokio::time::sleep(INTERVAL).await;
        let Some(shared) = running.0.upgrade() else {
            return;
        };
        warn(
            say_alive(&shared).await,
            "this process could not say that it lives",
        );
        let trail = SqlTrail { shared };
        let marked = trail.mark_unknown(SILENT).await.map(drop);
        warn(marked, "intents of dead processes were not looked for");
    }
}

/// By the clock of the database, which all processes share.
async fn say_alive<D: TrailDialect>(shared: &Shared<D>) -> Result<(), sqlx::Error> {
    let mut connection = shared.reserve.connection().await?;
    let live = Statement::new(D::TRAIL.live).bind(shared.process);
    D::execute(&mut connection, live).await.map(drop)
}

fn warn(done: Result<(), sqlx::Error>, what: &'static str) {
    if let Err(error) = done {
        tracing::warn!(
            target: "tower_impersonation",
            error = &error as &dyn std::error::Error,
            "{what}"
        );
    }
}

/// Lets the next write start again when this one failed, or went away with its runtime.
struct Running<D: TrailDialect>(Weak<Shared<D>>);

impl<D: TrailDialect> Drop for Running<D> {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.heartbeat.is_running.store(false, Ordering::Relaxed);
        }
    }
}
