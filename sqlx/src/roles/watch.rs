//! Ending the sessions of those whose role is taken away: [`RoleWatch`].

use std::fmt;

use tokio::{sync::watch, task::JoinHandle};

/// Ends sessions of those whose role is taken away; made by [`SqlRoles::watch`](super::SqlRoles::watch). Stops when dropped.
#[must_use = "it stops when dropped"]
pub struct RoleWatch {
    task: JoinHandle<()>,
    listening: watch::Receiver<bool>,
}

// === impl RoleWatch ===

impl RoleWatch {
    /// Has a task watch, which says when it hears.
    pub(super) fn spawn<W>(watch: impl FnOnce(watch::Sender<bool>) -> W) -> Self
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let (open, listening) = watch::channel(false);
        let task = tokio::spawn(watch(open));
        Self { task, listening }
    }

    /// Waits until it hears.
    ///
    /// Nothing needs it: what was taken away with [`SqlRoles`](super::SqlRoles) before that is looked up then.
    pub async fn listening(&self) {
        // An error is the end of its task, and of what there is to wait for.
        let _ = self.listening.clone().wait_for(|open| *open).await;
    }
}

impl Drop for RoleWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for RoleWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoleWatch").finish_non_exhaustive()
    }
}
