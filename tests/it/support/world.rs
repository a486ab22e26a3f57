//! What was asked of the host, and what goes wrong there.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Semaphore;
use tower_impersonation::BoxError;

/// What someone's code does instead of answering.
#[derive(Clone)]
pub(crate) enum How {
    Fail,
    Hang,
    Panic,
    /// Lets others run this many times, then answers.
    Slow(usize),
    /// Waits for a permit, then answers.
    Gate(Arc<Semaphore>),
}

impl How {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Hang => "hang",
            Self::Panic => "panic",
            Self::Slow(_) => "slow",
            Self::Gate(_) => "gate",
        }
    }
}

/// Shared by everything of the host's.
#[derive(Clone, Default)]
pub(crate) struct World(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    asked: Vec<String>,
    trouble: HashMap<&'static str, How>,
}

impl World {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that was asked of the host, in its order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        let state = self.state();
        let is_it = |line: &&String| line.split(' ').next() == Some(what);
        state.asked.iter().filter(is_it).count()
    }

    pub(crate) fn forget(&self) {
        self.state().asked.clear();
    }

    pub(crate) fn trouble(&self, at: &'static str, how: How) {
        self.state().trouble.insert(at, how);
    }

    /// Nothing goes on before the semaphore has a permit for it.
    pub(crate) fn gate(&self, at: &'static str) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.trouble(at, How::Gate(gate.clone()));
        gate
    }

    pub(crate) fn calm(&self) {
        self.state().trouble.clear();
    }

    pub(super) fn heard(&self, at: &'static str, what: &str) {
        self.state()
            .asked
            .push(format!("{at} {what}").trim_end().to_owned());
    }

    pub(crate) fn is_in_trouble(&self, at: &'static str) -> bool {
        self.state().trouble.contains_key(at)
    }

    pub(crate) async fn at(&self, at: &'static str, what: &str) -> Result<(), BoxError> {
        self.heard(at, what);
        let how = self.state().trouble.get(at).cloned();
        match how {
            None => Ok(()),
            Some(How::Fail) => Err(format!("{at} is broken").into()),
            Some(How::Hang) => std::future::pending().await,
            Some(How::Panic) => panic!("{at} panics"),
            Some(How::Slow(yields)) => {
                for _ in 0..yields {
                    tokio::task::yield_now().await;
                }
                Ok(())
            }
            Some(How::Gate(gate)) => {
                gate.acquire_owned().await?.forget();
                Ok(())
            }
        }
    }
}
