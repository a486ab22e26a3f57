//! [`ConfigError`]: a setting that cannot work.

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The setting of this name has a value that it may not have.
    #[error("`{setting}` {problem}")]
    #[non_exhaustive]
    Invalid {
        /// The method of [`Builder`] that set it.
        setting: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Neither a query parameter nor a header: no request could ever be acted.
    #[error("no marker source: `query_parameter` and `header` are both off")]
    NoMarkerSource,
}

impl ConfigError {
    pub(crate) fn invalid(setting: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            setting,
            problem: problem.into(),
        }
    }
}
