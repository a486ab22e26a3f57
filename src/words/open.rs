//! Vocabularies that a newer release may extend: what is written in a row or a line today may be read by a process
//! that does not know the word yet (rule [A6](crate::rules#a6)).

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError},
};

/// A word that this release does not know, because a newer one wrote it.
///
/// It is shown and passed on as it is, and decides nothing. It stands in the `Other` variant of
/// [`EventName`](crate::audit::EventName), [`Outcome`](crate::audit::Outcome) and
/// [`EndedReason`](crate::session::EndedReason).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnknownWord(&'static str);

/// The unknown words met so far, each kept once, so that the enums stay `Copy`. Releases add few words. Someone who can
/// write into the rows could invent more, but the set is bounded, so they cannot fill the memory.
static MET: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);

/// More of them, or longer ones, all read as [`TOO_MANY`].
const MOST: usize = 256;
const LONGEST: usize = 64;
const TOO_MANY: &str = "?";

impl UnknownWord {
    pub(crate) fn new(word: &str) -> Self {
        if word.len() > LONGEST {
            return Self(TOO_MANY);
        }
        let mut met = MET.lock().unwrap_or_else(PoisonError::into_inner);
        let met = met.get_or_insert_default();
        match met.get(word) {
            Some(known) => Self(known),
            None if met.len() < MOST => {
                let word: &'static str = Box::leak(word.into());
                met.insert(word);
                Self(word)
            }
            None => Self(TOO_MANY),
        }
    }

    /// The word as it was written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for UnknownWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

/// An enum whose variants are words, with one more for the words of others.
macro_rules! open_words {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $($(#[$doc:meta])* $variant:ident = $word:literal,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$doc])* $variant,)*
            /// A word that a newer release has written.
            Other($crate::words::UnknownWord),
        }

        impl $name {
            /// Every word that this release knows.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word as it is written.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                    Self::Other(word) => word.as_str(),
                }
            }

            /// The word as it was written, whether this release knows it or not.
            #[must_use]
            pub fn read(word: &str) -> Self {
                match word {
                    $($word => Self::$variant,)*
                    word => Self::Other($crate::words::UnknownWord::new(word)),
                }
            }

            /// The word, if this release knows it: for what people type.
            #[must_use]
            pub fn known(word: &str) -> Option<Self> {
                match Self::read(word) {
                    Self::Other(_) => None,
                    known => Some(known),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Ok(Self::read(&word))
            }
        }
    };
}

pub(crate) use open_words;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::EndedReason;

    #[test]
    fn a6_a_word_that_is_not_known_is_kept_as_it_is() {
        let reason = EndedReason::read("ticket_closed");
        assert_eq!(reason.as_str(), "ticket_closed");
        assert_eq!(reason, EndedReason::read("ticket_closed"));
        assert_ne!(reason, EndedReason::read("ticket_lost"));
        assert_eq!(EndedReason::known("ticket_closed"), None);
        assert_eq!(EndedReason::read("manual"), EndedReason::Manual);
        for known in EndedReason::ALL {
            assert_eq!(EndedReason::known(known.as_str()), Some(*known));
        }
        assert_eq!(UnknownWord::new(&"x".repeat(65)).as_str(), TOO_MANY);
    }
}
