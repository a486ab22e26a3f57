//! Telling the subject (`Notifier`).

use std::sync::Arc;

use super::{Engine, Refusal};
use crate::{host::Notice, words::Session};

impl Engine {
    /// Before a session exists. An error means that it must not.
    pub(super) async fn notify_start(&self, session: &Session) -> Result<(), Refusal> {
        let Some(notifying) = &self.host.notifying else {
            return Ok(());
        };
        let notice = Notice::Starting(Arc::new(session.clone()));
        let told = async { notifying.notifier.notify(&notice).await };
        match self.ask("notifier", told).await {
            Err(refusal) if notifying.mandatory => Err(refusal),
            // The log has it.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// After a session is over, without anyone waiting for it.
    pub(super) fn notify_end(self: &Arc<Self>, session: &Session) {
        if self.host.notifying.is_none() {
            return;
        }
        let notice = Notice::Ended(Arc::new(session.clone()));
        let this = self.clone();
        let telling = async move {
            if let Some(notifying) = &this.host.notifying {
                let told = async { notifying.notifier.notify(&notice).await };
                // The log has what failed.
                let _ = this.ask("notifier", told).await;
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(telling);
        }
    }
}
