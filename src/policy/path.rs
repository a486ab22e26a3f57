//! [`PathPattern`]: a path as a host writes it down; [`RequestPath`]: one as a client does.

use std::cell::OnceCell;

use super::readings::{MOST_SEGMENTS, Spelling, fits_loosely};

/// A path by whole segments, and everything below it. `*` stands for any one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PathPattern {
    segments: Vec<String>,
}

/// A request's path. How it may be read is found out once, and only when somebody asks.
#[derive(Debug)]
pub(super) struct RequestPath<'p> {
    raw: &'p str,
    spelling: OnceCell<Spelling>,
}

// === impl PathPattern ===

impl PathPattern {
    /// `None` unless it starts with `/`, names 1 to 16 segments and is written in its plain form.
    ///
    /// Another router's wildcards (`{id}`, `:id`, `<id>`, `*rest`) are refused: taken literally they would
    /// match nothing, and a route that is to be protected would stand open without a word.
    pub(crate) fn parse(pattern: &str) -> Option<Self> {
        let rest = pattern.strip_prefix('/')?;
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let segments: Vec<String> = rest.split('/').map(str::to_owned).collect();
        let plain = |segment: &String| {
            !matches!(segment.as_str(), "" | "." | "..")
                && !segment.contains(['%', '\\', '?', '#', ';', '{', '}', '<', '>'])
                && !segment.contains(|c: char| c.is_control())
                && segment.trim() == segment
                && !segment.starts_with(':')
                && (segment == "*" || !segment.contains('*'))
        };
        (segments.len() <= MOST_SEGMENTS && segments.iter().all(plain)).then_some(Self { segments })
    }

    /// The path is this one or below it, as it is written.
    fn covers(&self, path: &[u8]) -> bool {
        self.rest(path).is_some()
    }

    /// The path is this one, as it is written.
    fn is(&self, path: &[u8]) -> bool {
        self.rest(path).is_some_and(|rest| rest.is_empty())
    }

    /// The same for a router that compares loosely: in any case, without parameters or an extension.
    fn covers_loosely(&self, path: &str) -> bool {
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut given = path.as_bytes().split(|byte| *byte == b'/');
        let mut names = self.segments.iter();
        names.all(|name| given.next().is_some_and(|it| fits_loosely(name, it)))
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

// === impl RequestPath ===

impl<'p> RequestPath<'p> {
    pub(super) fn new(raw: &'p str) -> Self {
        Self {
            raw,
            spelling: OnceCell::new(),
        }
    }

    /// Some router may take the path for the pattern's, or for one below it.
    pub(super) fn may_be_below(&self, pattern: &PathPattern) -> bool {
        match self.spelling() {
            Spelling::Plain => pattern.covers_loosely(self.raw),
            Spelling::Odd(pieces) => pieces.may_be_below(&pattern.segments),
            Spelling::Unknown => true,
        }
    }

    /// The path is the pattern's or below it as it is written, and no router takes it for anything else.
    pub(super) fn is_below(&self, pattern: &PathPattern) -> bool {
        pattern.covers(self.raw.as_bytes())
            && match self.spelling() {
                Spelling::Plain => true,
                Spelling::Odd(pieces) => pieces.has_to_be_below(&pattern.segments),
                Spelling::Unknown => false,
            }
    }

    /// The path is the pattern's as it is written, and no router takes it for anything else.
    pub(super) fn is(&self, pattern: &PathPattern) -> bool {
        pattern.is(self.raw.as_bytes())
            && match self.spelling() {
                Spelling::Plain => true,
                Spelling::Odd(pieces) => pieces.has_to_be(&pattern.segments),
                Spelling::Unknown => false,
            }
    }

    fn spelling(&self) -> &Spelling {
        self.spelling.get_or_init(|| Spelling::of(self.raw))
    }
}
