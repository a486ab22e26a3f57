//! Ends what nobody ends: sessions past their lifetime or idle for too long (rule [S4](crate::rules#s4)).
//!
//! One task sweeps for as long as the handle lives, and pauses for a tenth of the idle time-out in between, but no longer
//! than 30 seconds. Changes, lists and look-ups that find nothing sweep too, so that no answer depends on when the task
//! came by. The same task writes the event of an end that has none (rule [A1](crate::rules#a1)).

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use tokio::runtime::Handle;

use super::{Engine, Refusal, join};
use crate::words::Call;

/// Lets the next request start a new sweeper when this one goes away with its runtime.
struct Sweeper(Weak<Engine>);

impl Engine {
    /// Ends what is past its end, and records it.
    pub(super) async fn sweep(self: &Arc<Self>) -> Result<(), Refusal> {
        let Some(sessions) = self.sessions.store() else {
            return Ok(());
        };
        self.tell_last_seen().await?;
        let lives = &self.sessions.lives;
        if let Some((losses, ids)) = lives.unsure() {
            for id in ids {
                self.catch_up(sessions, id).await?;
            }
            lives.made_up(losses);
        }
        lives.prune(self.now()?);
        let this = self.clone();
        // In a task of its own: the store tells of each end once, so that it has to be recorded even if
        // whoever asked goes away.
        let ending = tokio::spawn(async move { this.end_due().await });
        join("session store", ending.await)
    }

    /// Writes the event of every end that has none: a process died between the two, or somebody ended a session by
    /// hand (rule [A1](crate::rules#a1)).
    async fn repair_ends(self: &Arc<Self>) -> Result<(), Refusal> {
        const AT_ONCE: usize = 100;
        /// Until then the process that ended it may still be writing.
        const PATIENCE: Duration = Duration::from_secs(30);

        let Some(sessions) = self.sessions.store() else {
            return Ok(());
        };
        let before = self.now()? - PATIENCE;
        let found = async { sessions.unconfirmed_ends(before, AT_ONCE).await };
        for session in self.ask("session store", found).await? {
            self.confirm_end(&session, &Call::default());
        }
        Ok(())
    }

    async fn end_due(self: &Arc<Self>) -> Result<(), Refusal> {
        const AT_ONCE: usize = 500;

        let sessions = self.sessions.required()?;
        loop {
            let now = self.now()?;
            let due = async { sessions.end_due(now, AT_ONCE).await };
            let ended = self.ask("session store", due).await?;
            ended
                .iter()
                .for_each(|session| self.record_end(session, &Call::default()));
            if ended.len() < AT_ONCE {
                return Ok(());
            }
        }
    }

    /// Has someone sweep from now on, for as long as the handle lives.
    ///
    /// Without sessions, or outside a runtime, nothing happens: the first request will do it.
    pub(crate) fn keep_swept(self: &Arc<Self>) {
        let sweeping = &self.sessions.sweeping;
        if sweeping.load(Ordering::Relaxed) || self.sessions.store().is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        if sweeping.swap(true, Ordering::Relaxed) {
            return;
        }
        let idle = self.sessions.settings.idle_timeout;
        let pause = (idle / 10).clamp(Duration::from_millis(100), Duration::from_secs(30));
        let clock = self.host.calls.clock.clone();
        let sweeper = Sweeper(Arc::downgrade(self));
        runtime.spawn(async move {
            let sweeper = sweeper;
            loop {
                clock.sleep(pause).await;
                let Some(engine) = sweeper.0.upgrade() else {
                    return;
                };
                let swept = async {
                    engine.sweep().await?;
                    engine.repair_ends().await
                };
                if let Err(refusal) = swept.await {
                    tracing::warn!(
                        target: "tower_impersonation",
                        reason = refusal.rejection.reason(), "overdue sessions were not ended"
                    );
                }
            }
        });
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        if let Some(engine) = self.0.upgrade() {
            engine.sessions.sweeping.store(false, Ordering::Relaxed);
        }
    }
}
