//! [`PathPattern`]: a path as a host writes it down.

/// A path by whole segments, and everything below it. `*` stands for any one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Vec<String>,
}

// === impl PathPattern ===

impl PathPattern {
    /// `None` unless it starts with `/`, names at least one segment and is written in its plain form.
    ///
    /// Another router's wildcards (`{id}`, `:id`, `<id>`, `*rest`) are refused: taken literally they would
    /// match nothing, and a route that is to be protected would stand open without a word.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let rest = pattern.strip_prefix('/')?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let plain = |segment: &String| {
            !matches!(segment.as_str(), "" | "." | "..")
                && !segment.contains(['%', '\\', '?', '#', '{', '}', '<', '>'])
                && !segment.starts_with(':')
                && (segment == "*" || !segment.contains('*'))
        };
        segments.iter().all(plain).then_some(Self { segments })
    }

    /// The path is this one or below it.
    pub(super) fn covers(&self, path: &[u8]) -> bool {
        self.rest(path).is_some()
    }

    /// The path is this one.
    pub(super) fn is(&self, path: &[u8]) -> bool {
        self.rest(path).is_some_and(|rest| rest.is_empty())
    }

    fn rest<'p>(&self, path: &'p [u8]) -> Option<&'p [u8]> {
        let mut rest = path;
        for segment in &self.segments {
            let tail = rest.strip_prefix(b"/")?;
            let end = memchr::memchr(b'/', tail).unwrap_or(tail.len());
            let (head, after) = tail.split_at(end);
            let fits = if segment == "*" {
                !head.is_empty()
            } else {
                segment.as_bytes() == head
            };
            if !fits {
                return None;
            }
            rest = after;
        }
        Some(rest)
    }
}
