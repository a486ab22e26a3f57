//! Putting the subject's own user type where handlers look for it (rule R14).

use std::{fmt, future::Future, pin::Pin};

use http::Extensions;

use crate::words::{ActingAs, BoxError};

/// What to do to the extensions.
pub(crate) type Change = Box<dyn FnOnce(&mut Extensions) + Send>;
type Loading = Pin<Box<dyn Future<Output = Result<Change, BoxError>> + Send>>;

/// Loads the subject as one type of the host's.
pub(crate) struct Assume(Box<dyn Fn(ActingAs) -> Loading + Send + Sync>);

impl Assume {
    pub(crate) fn new<T, F, Fut>(load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        Self(Box::new(move |acting_as| {
            let loading = load(acting_as);
            Box::pin(async move {
                let loaded = loading.await?;
                let change: Change = Box::new(move |extensions| match loaded {
                    Some(user) => drop(extensions.insert(user)),
                    None => drop(extensions.remove::<T>()),
                });
                Ok(change)
            })
        }))
    }

    /// Loads the subject, and says what to do to the extensions with it.
    pub(crate) fn load(&self, acting_as: ActingAs) -> Loading {
        (self.0)(acting_as)
    }
}

impl fmt::Debug for Assume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<fn>")
    }
}
