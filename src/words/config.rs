//! [`ConfigError`]: settings that cannot work.

use std::fmt;

/// Settings that cannot work, found by [`Builder::build`](crate::Builder::build).
///
/// The message names the setting with its value as it was called and, where two settings disagree, both.
///
/// ```
/// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
/// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
/// let error = Impersonation::builder(checker, MemorySink::default())
///     .handlers_read_acting_as()
///     .exclude("/account")
///     .protect("/account/password")
///     .build()
///     .unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     r#"`protect("/account/password")` has no effect: `exclude("/account")` covers it"#,
/// );
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A setting has a value that it may not have.
    #[error("{} {problem}", call(.setting, .value))]
    #[non_exhaustive]
    Invalid {
        /// The method of [`Builder`](crate::Builder) that set it.
        setting: &'static str,
        /// The value, where it may be shown. Secrets never are.
        value: Option<String>,
        /// What is wrong.
        problem: String,
    },
    /// Two settings disagree.
    #[error("{problem}")]
    #[non_exhaustive]
    Conflict {
        /// The method of [`Builder`](crate::Builder) that cannot work.
        setting: &'static str,
        /// The method of [`Builder`](crate::Builder) that stands against it.
        other: &'static str,
        /// What is wrong, with both values.
        problem: String,
    },
    /// A setting does nothing without another one, which is missing.
    #[error("{} needs `{needs}`", call(.setting, .value))]
    #[non_exhaustive]
    Needs {
        /// The method of [`Builder`](crate::Builder) that was called.
        setting: &'static str,
        /// The value, where it may be shown.
        value: Option<String>,
        /// The method of [`Builder`](crate::Builder) that was not called.
        needs: &'static str,
    },
    /// Neither a query parameter nor a header: no request could ever be acted.
    #[error("no marker source: `query_parameter` and `header` are both off")]
    NoMarkerSource,
    /// Nobody has decided how handlers see the subject (rule [R14](crate::rules#r14)).
    #[error(
        "how handlers see the subject is undecided, and they would show the actor's data: call `assume`, \
         `assume_data`, `assume_from` or `assume_header` so that handlers find the subject where they look for their \
         user, or `handlers_read_acting_as` if all of them look at `ActingAs`"
    )]
    HandlersUndecided,
}

// === impl ConfigError ===

impl ConfigError {
    /// The method of [`Builder`](crate::Builder) whose call cannot work; `None` where one is missing altogether.
    #[must_use]
    pub fn setting(&self) -> Option<&'static str> {
        match self {
            Self::Invalid { setting, .. }
            | Self::Conflict { setting, .. }
            | Self::Needs { setting, .. } => Some(setting),
            Self::NoMarkerSource | Self::HandlersUndecided => None,
        }
    }

    /// A setting whose value cannot be shown.
    pub(crate) fn invalid(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            setting,
            value: None,
            problem: problem.into(),
        }
    }

    /// A setting and its value.
    pub(crate) fn invalid_value(
        setting: &'static str,
        value: impl fmt::Debug,
        problem: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            setting,
            value: Some(shown(&value)),
            problem: problem.into(),
        }
    }
}

/// A setting as the host wrote it: `protect("/account")`.
fn call(setting: &str, value: &Option<String>) -> String {
    match value {
        Some(value) => format!("`{setting}({value})`"),
        None => format!("`{setting}`"),
    }
}

/// A value as it was written; of a very long one its beginning.
pub(crate) fn shown(value: &impl fmt::Debug) -> String {
    const LONGEST: usize = 80;

    let mut text = format!("{value:?}");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_it_was_written_and_not_at_any_length() {
        assert_eq!(shown(&"/a\n"), r#""/a\n""#);
        assert_eq!(shown(&7), "7");
        let long = shown(&"é".repeat(100));
        assert_eq!(long.chars().count(), 81, "{long}");
        assert!(long.ends_with('…'), "{long}");
    }
}
