//! [`Places`]: where the parts of this crate are mounted, and where browsers go.

/// Where the HTTP API and the console are mounted in this application, and where a browser goes after a start and a
/// stop. Paths on this host. Set by the [`Builder`](crate::Builder).
#[derive(Debug, Clone)]
pub struct Places {
    pub(crate) control: Option<String>,
    pub(crate) console: Option<String>,
    pub(crate) after_start: String,
    pub(crate) after_stop: String,
}

impl Places {
    /// The mount of the HTTP API, without a slash at its end ([`Builder::control_path`](crate::Builder::control_path)).
    #[must_use]
    pub fn control(&self) -> Option<&str> {
        self.control.as_deref().map(without_slash)
    }

    /// The mount of the console, without a slash at its end ([`Builder::console_path`](crate::Builder::console_path)).
    #[must_use]
    pub fn console(&self) -> Option<&str> {
        self.console.as_deref().map(without_slash)
    }

    /// Where a browser goes after a start that names nothing else. Default: `/`.
    #[must_use]
    pub fn after_start(&self) -> &str {
        &self.after_start
    }

    /// Where a browser goes after a stop. Default: `/`.
    #[must_use]
    pub fn after_stop(&self) -> &str {
        &self.after_stop
    }
}

impl Default for Places {
    fn default() -> Self {
        Self {
            control: None,
            console: None,
            after_start: "/".to_owned(),
            after_stop: "/".to_owned(),
        }
    }
}

fn without_slash(path: &str) -> &str {
    path.trim_end_matches('/')
}
