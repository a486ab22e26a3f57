//! What handlers find on an acted request where they look for their user (rule [R14](crate::rules#r14)).
//!
//! 1. What is assumed has to be on the request already, or else the handlers look elsewhere and would show the actor's
//!    data: see [`Host::missing`](super::Host::missing).
//! 2. Everything is loaded before anything is changed.
//! 3. The changes are made at once, before the handler runs.

use std::{
    any::{TypeId, type_name},
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
};

use http::{Extensions, HeaderName, HeaderValue, request::Parts};

use crate::words::{ActingAs, BoxError, Subject};

/// What to do to a request. It cannot fail.
pub(crate) type Change = Box<dyn FnOnce(&mut Parts) + Send>;
type Loading = Pin<Box<dyn Future<Output = Result<Change, BoxError>> + Send>>;
type Load = dyn Fn(ActingAs, &Parts) -> Loading + Send + Sync;

/// One thing that is changed for the handlers.
pub(crate) struct Assume {
    /// The method of the builder that decided it.
    pub(crate) setting: &'static str,
    pub(crate) place: Place,
    /// No request has it before.
    is_new: bool,
    load: Box<Load>,
}

/// Where handlers look.
#[derive(Clone)]
pub(crate) enum Place {
    Type(TypePlace),
    Header(HeaderName),
}

/// A type in the extensions.
#[derive(Clone, Copy)]
pub(crate) struct TypePlace {
    id: TypeId,
    name: &'static str,
    find: fn(&Extensions) -> Found,
}

/// What of a type is in the extensions.
struct Found {
    itself: bool,
    /// The same in another type.
    beside: Option<Beside>,
}

/// A type like another one.
type Beside = (TypeId, &'static str);

/// Handlers would not see the subject.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Missing {
    /// They look for their user elsewhere, or nobody is signed in.
    #[error("`{setting}` would replace {what}, but the request has none")]
    Absent { setting: &'static str, what: String },
    /// They look for it in another type.
    #[error("`{setting}` would replace {what}, but the request has a `{beside}`: assume that type")]
    OtherType {
        setting: &'static str,
        what: String,
        beside: &'static str,
    },
    /// They may look for it in another type.
    #[error(
        "`{setting}` replaces {what}, and would leave the actor's `{beside}`: assume that type as well"
    )]
    LeftBehind {
        setting: &'static str,
        what: String,
        beside: &'static str,
    },
}

// === impl Assume ===

impl Assume {
    /// Puts what `load` returns into the extensions.
    pub(crate) fn value<T, F, Fut>(setting: &'static str, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        Self::value_from(setting, move |acting_as, _| load(acting_as))
    }

    /// The same for a type that no request has before.
    pub(crate) fn new_value<T, F, Fut>(setting: &'static str, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        Self {
            is_new: true,
            ..Self::value(setting, load)
        }
    }

    /// The same, made from the value that is there.
    pub(crate) fn value_from<T, F, Fut>(setting: &'static str, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs, Option<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        let load = move |acting_as, parts: &Parts| -> Loading {
            let loading = load(acting_as, parts.extensions.get::<T>().cloned());
            Box::pin(async move {
                let loaded = loading.await?;
                let change: Change = Box::new(move |parts| match loaded {
                    Some(value) => drop(parts.extensions.insert(value)),
                    None => drop(parts.extensions.remove::<T>()),
                });
                Ok(change)
            })
        };
        Self {
            setting,
            place: Place::Type(TypePlace::of::<T>()),
            is_new: false,
            load: Box::new(load),
        }
    }

    /// Puts the host's own record of the subject, as the directory gave it, into the extensions.
    pub(crate) fn data<T: Clone + Send + Sync + 'static>(setting: &'static str) -> Self {
        Self::value(setting, |acting_as| {
            std::future::ready(record_of::<T>(&acting_as))
        })
    }

    /// Replaces a header.
    pub(crate) fn header<F, Fut>(setting: &'static str, name: HeaderName, load: F) -> Self
    where
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<HeaderValue>, BoxError>> + Send + 'static,
    {
        let place = Place::Header(name.clone());
        let load = move |acting_as, _: &Parts| -> Loading {
            let (loading, name) = (load(acting_as), name.clone());
            Box::pin(async move {
                let loaded = loading.await?;
                let change: Change = Box::new(move |parts| match loaded {
                    // In place of all of that name.
                    Some(value) => drop(parts.headers.insert(name, value)),
                    None => drop(parts.headers.remove(name)),
                });
                Ok(change)
            })
        };
        Self {
            setting,
            place,
            is_new: false,
            load: Box::new(load),
        }
    }

    /// Loads the subject, and says what to do to the request with it.
    pub(super) fn load(&self, acting_as: ActingAs, parts: &Parts) -> Loading {
        (self.load)(acting_as, parts)
    }

    /// Why handlers would not see the subject. `others` are all that is assumed.
    pub(super) fn missing(&self, parts: &Parts, others: &[Self]) -> Option<Missing> {
        let found = match &self.place {
            Place::Type(place) => (place.find)(&parts.extensions),
            Place::Header(name) => Found {
                itself: parts.headers.contains_key(name),
                beside: None,
            },
        };
        let is_assumed = |id| {
            let mut places = others.iter().map(|other| &other.place);
            places.any(|place| matches!(place, Place::Type(place) if place.id == id))
        };
        let beside = found.beside.filter(|(id, _)| !is_assumed(*id));
        let (setting, what) = (self.setting, || self.place.to_string());
        match (found.itself, beside) {
            (true, None) => None,
            (false, None) if self.is_new => None,
            (false, None) => Some(Missing::Absent {
                setting,
                what: what(),
            }),
            (false, Some((_, beside))) => Some(Missing::OtherType {
                setting,
                what: what(),
                beside,
            }),
            (true, Some((_, beside))) => Some(Missing::LeftBehind {
                setting,
                what: what(),
                beside,
            }),
        }
    }
}

fn record_of<T: Clone + Send + Sync + 'static>(
    acting_as: &ActingAs,
) -> Result<Option<T>, BoxError> {
    let Subject::User(_) = acting_as.subject() else {
        return Ok(None);
    };
    let user = acting_as.user().and_then(|user| user.data::<T>());
    let no_data = || {
        let name = type_name::<T>();
        format!(
            "the directory's record of the subject has no `{name}`; see `DirectoryUser::with_data`"
        )
    };
    Ok(Some(user.ok_or_else(no_data)?.clone()))
}

impl fmt::Debug for Assume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.setting, self.place)
    }
}

// === impl Place ===

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Type(this), Self::Type(other)) => this.id == other.id,
            (Self::Header(this), Self::Header(other)) => this == other,
            _ => false,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Type(place) => write!(f, "the extension `{}`", place.name),
            Self::Header(name) => write!(f, "the header `{name}`"),
        }
    }
}

// === impl TypePlace ===

impl TypePlace {
    pub(crate) fn of<T: Clone + Send + Sync + 'static>() -> Self {
        Self {
            id: TypeId::of::<T>(),
            name: type_name::<T>(),
            find: |extensions| Found {
                itself: extensions.get::<T>().is_some(),
                beside: Found::beside::<Arc<T>>(extensions)
                    .or_else(|| Found::beside::<Option<T>>(extensions)),
            },
        }
    }
}

// === impl Found ===

impl Found {
    fn beside<T: Clone + Send + Sync + 'static>(extensions: &Extensions) -> Option<Beside> {
        let beside = (TypeId::of::<T>(), type_name::<T>());
        extensions.get::<T>().is_some().then_some(beside)
    }
}
