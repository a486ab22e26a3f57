//! One path in every way in which some router may read it (rules R10 to R12).
//!
//! Routers, and the proxies in front of them, change a path before they compare it, each in its own way:
//!
//! 1. They decode percent sequences: nowhere, within segments, in the whole path, or more than once.
//! 2. They take `\`, `%2F` and `%5C` for `/`, or for a part of a segment.
//! 3. They drop empty segments and `.`, and resolve `..`, or keep all of them.
//! 4. They cut off `;parameters`, and what follows an encoded NUL, line break, `?` or `#`.
//! 5. They drop blanks and dots at the end of a segment, or its extension (`password.json`).
//! 6. They ignore ASCII case.
//!
//! There is no one strictest reading: `//account/password/..` is `/account` for a router that resolves dots, and below
//! `/account/password` for one that only merges slashes. Nor can all combinations be tried one by one: there are
//! hundreds. So [`Pieces`] cuts the path once, and [`Stacks`] follows all readings of the pieces at the same time. It may
//! follow a combination that no router has. That closes a route more often, and never opens one.
//!
//! The cost is known before anyone has signed in: one step for each piece and pattern, and no more than [`MOST_PIECES`]
//! pieces. A longer odd path is [`Spelling::Unknown`].

use std::ops::Range;

/// The longest path that is not plain and is still read in every way, in bytes.
const LONGEST_ODD_PATH: usize = 2048;
/// The most pieces of such a path. A stack of as many segments is one bit of a [`Stacks`].
const MOST_PIECES: usize = u64::BITS as usize - 1;
/// The most segments of a pattern.
pub(super) const MOST_SEGMENTS: usize = 16;

/// How many ways there are to read a path.
#[derive(Debug)]
pub(super) enum Spelling {
    /// All routers read the same segments.
    Plain,
    /// It depends on the router.
    Odd(Pieces),
    /// Too many to follow. Such a path may be any path.
    Unknown,
}

/// A path, decoded as far as it goes and cut wherever a router may cut it.
#[derive(Debug)]
pub(super) struct Pieces {
    text: Vec<u8>,
    pieces: Vec<Piece>,
}

/// What stands between two separators.
#[derive(Debug)]
struct Piece {
    text: Range<usize>,
    /// It stands in the path as it is: nobody reads it otherwise.
    is_verbatim: bool,
    /// The separator before it may be a part of the segment.
    may_continue: bool,
    /// It may be no segment, for a router that drops empty ones and `.`.
    may_vanish: bool,
    /// It may take the segment before it away, as `..` does.
    may_go_up: bool,
    /// Its name ends before it does: what follows does not change the name.
    has_parameters: bool,
    /// The path may end in it.
    may_be_last: bool,
}

/// What all readings together make of a path, for one pattern. Bit `d` at index `k`: in some reading there are `d`
/// segments so far, and the first `k` of them fit the pattern's, but the next does not, or is not there yet.
#[derive(Clone, Copy)]
struct Stacks([u64; MOST_SEGMENTS + 1]);

// === impl Spelling ===

impl Spelling {
    pub(super) fn of(path: &str) -> Self {
        if is_plain(path.as_bytes()) {
            return Self::Plain;
        }
        match Pieces::of(path) {
            Some(pieces) => Self::Odd(pieces),
            None => Self::Unknown,
        }
    }
}

fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    for &byte in path {
        let is_odd = match byte {
            b'%' | b'\\' | b';' | b' ' => true,
            b'/' | b'.' => before == b'/',
            _ => byte.is_ascii_control(),
        };
        if is_odd {
            return false;
        }
        before = byte;
    }
    true
}

// === impl Pieces ===

impl Pieces {
    /// `None` for a path that would cost too much.
    fn of(path: &str) -> Option<Self> {
        if path.len() > LONGEST_ODD_PATH {
            return None;
        }
        let mut this = Self {
            text: Vec::with_capacity(path.len()),
            pieces: Vec::new(),
        };
        let path = path.strip_prefix('/').unwrap_or(path).as_bytes();
        for segment in path.split(|byte| *byte == b'/') {
            let start = this.text.len();
            decode(segment, &mut this.text);
            let is_verbatim = this.text.len() - start == segment.len();
            this.cut(start, is_verbatim)?;
        }
        Some(this)
    }

    /// Cuts what was decoded last.
    fn cut(&mut self, start: usize, is_verbatim: bool) -> Option<()> {
        let mut from = start;
        loop {
            let separator = memchr::memchr2(b'/', b'\\', &self.text[from..]);
            let to = separator.map_or(self.text.len(), |at| from + at);
            if self.pieces.len() == MOST_PIECES {
                return None;
            }
            let is_whole = from == start && separator.is_none();
            let piece = Piece::of(&self.text, from..to, is_verbatim && is_whole, from > start);
            self.pieces.push(piece);
            match separator {
                Some(_) => from = to + 1,
                None => return Some(()),
            }
        }
    }

    /// In some reading the path is the pattern's or below it.
    pub(super) fn may_be_below(&self, pattern: &[String]) -> bool {
        let fits = |at: usize, piece: &Piece, _| fits_loosely(&pattern[at], self.text_of(piece));
        let mut covered = false;
        self.follow(pattern.len(), fits, |stacks| {
            covered |= stacks.any_covered(pattern.len());
        });
        covered
    }

    /// In every reading the path is the pattern's or below it.
    pub(super) fn has_to_be_below(&self, pattern: &[String]) -> bool {
        self.has_to(pattern, Stacks::all_covered)
    }

    /// In every reading the path is the pattern's.
    pub(super) fn has_to_be(&self, pattern: &[String]) -> bool {
        self.has_to(pattern, Stacks::all_equal)
    }

    fn has_to(&self, pattern: &[String], holds: fn(&Stacks, usize) -> bool) -> bool {
        let fits = |at: usize, piece: &Piece, goes_on: bool| match &*pattern[at] {
            "*" => goes_on || !self.text_of(piece).is_empty(),
            name => !goes_on && piece.is_verbatim && name.as_bytes() == self.text_of(piece),
        };
        let mut all = true;
        self.follow(pattern.len(), fits, |stacks| {
            all &= holds(stacks, pattern.len());
        });
        all
    }

    /// Follows all readings at the same time, and shows what there is wherever the path may end.
    fn follow(
        &self,
        length: usize,
        fits: impl Fn(usize, &Piece, bool) -> bool,
        mut ends: impl FnMut(&Stacks),
    ) {
        // Before the piece, where it begins a segment; and where it continues one.
        let (mut stacks, mut unfinished) = (Stacks::ROOT, Stacks::NONE);
        for (at, piece) in self.pieces.iter().enumerate() {
            let before = stacks;
            let or_less = |pushed: Stacks| {
                let kept = if piece.may_vanish {
                    before
                } else {
                    Stacks::NONE
                };
                let up = if piece.may_go_up {
                    before.pop()
                } else {
                    Stacks::NONE
                };
                pushed.or(kept).or(up)
            };
            stacks = or_less(before.push(length, |at| fits(at, piece, false)));
            if piece.may_continue {
                stacks = stacks.or(unfinished);
            }
            if self
                .pieces
                .get(at + 1)
                .is_some_and(|next| next.may_continue)
            {
                let mut longer = before.push(length, |at| fits(at, piece, true));
                if piece.has_parameters {
                    // Only they get longer.
                    longer = or_less(longer);
                }
                unfinished = if piece.may_continue {
                    unfinished.or(longer)
                } else {
                    longer
                };
            }
            if piece.may_be_last || at + 1 == self.pieces.len() {
                ends(&stacks);
            }
        }
    }

    fn text_of(&self, piece: &Piece) -> &[u8] {
        &self.text[piece.text.clone()]
    }
}

impl Piece {
    fn of(text: &[u8], range: Range<usize>, is_verbatim: bool, may_continue: bool) -> Self {
        let whole = &text[range.clone()];
        // A line break at the start is a blank for one, and the end of all for another.
        let names = [whole, trim_blanks(whole)].map(name_of);
        let dots = names.map(|name| {
            let only = name.iter().all(|byte| matches!(byte, b'.' | b' '));
            only.then(|| name.iter().filter(|byte| **byte == b'.').count())
        });
        Self {
            is_verbatim,
            may_continue,
            // Some drop dots at the end, and with them all of `...`.
            may_vanish: dots.iter().flatten().any(|dots| *dots != 2),
            may_go_up: dots.iter().flatten().any(|dots| *dots >= 2),
            has_parameters: names.iter().any(|name| name.len() < whole.len()),
            may_be_last: whole.iter().any(|byte| ends_path(*byte)),
            text: range,
        }
    }
}

/// What stands before the parameters.
fn name_of(segment: &[u8]) -> &[u8] {
    let end = segment.iter().position(|byte| ends_name(*byte));
    trim_blanks(&segment[..end.unwrap_or(segment.len())])
}

/// Whether some router takes the segment for the pattern's.
pub(super) fn fits_loosely(pattern: &str, segment: &[u8]) -> bool {
    if pattern == "*" {
        return !segment.is_empty();
    }
    let start = segment.iter().take_while(|byte| is_blank(**byte)).count();
    let Some((name, rest)) = segment[start..].split_at_checked(pattern.len()) else {
        return false;
    };
    let follows = rest.iter().find(|byte| **byte != b' ');
    name.eq_ignore_ascii_case(pattern.as_bytes())
        && follows.is_none_or(|byte| *byte == b'.' || ends_name(*byte))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_control()
}

fn trim_blanks(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_blank(*first)
    {
        text = rest;
    }
    while let [rest @ .., last] = text
        && is_blank(*last)
    {
        text = rest;
    }
    text
}

fn ends_name(byte: u8) -> bool {
    byte == b';' || ends_path(byte)
}

/// C stops at a NUL, some patterns at a line break, and a proxy that decodes before it sends on makes a query.
fn ends_path(byte: u8) -> bool {
    byte.is_ascii_control() || matches!(byte, b'?' | b'#')
}

/// Decodes until nothing is left to decode, in one pass. What is decoded only once is another text, which fits no
/// literal, because patterns hold no `%`: [`Pieces::compare`] does not need to know it.
fn decode(segment: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    for &byte in segment {
        text.push(byte);
        // A byte that was decoded may be the end of another sequence.
        while let [.., b'%', high, low] = text[start..]
            && let (Some(high), Some(low)) = (hex(high), hex(low))
        {
            text.truncate(text.len() - 3);
            text.push(high << 4 | low);
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

// === impl Stacks ===

impl Stacks {
    const NONE: Self = Self([0; MOST_SEGMENTS + 1]);

    /// No segment yet.
    const ROOT: Self = {
        let mut root = Self::NONE;
        root.0[0] = 1;
        root
    };

    fn or(mut self, other: Self) -> Self {
        for (these, those) in self.0.iter_mut().zip(other.0) {
            *these |= those;
        }
        self
    }

    /// One more segment. `fits` tells whether it fits the pattern's at an index below `length`.
    fn push(&self, length: usize, fits: impl Fn(usize) -> bool) -> Self {
        let mut pushed = Self::NONE;
        for matched in 0..=length {
            let mut stacks = self.0[matched];
            let next = 1 << matched;
            if matched < length && stacks & next != 0 && fits(matched) {
                stacks &= !next;
                pushed.0[matched + 1] |= next << 1;
            }
            pushed.0[matched] |= stacks << 1;
        }
        pushed
    }

    /// One segment less; there is nothing above the root.
    fn pop(&self) -> Self {
        let mut popped = Self::NONE;
        popped.0[0] = self.0[0] & 1;
        for (matched, stacks) in self.0.into_iter().enumerate() {
            let last_fits = 1 << matched;
            popped.0[matched] |= (stacks & !last_fits) >> 1;
            if matched > 0 && stacks & last_fits != 0 {
                popped.0[matched - 1] |= last_fits >> 1;
            }
        }
        popped
    }

    fn any_covered(&self, length: usize) -> bool {
        self.0[length] != 0
    }

    fn all_covered(&self, length: usize) -> bool {
        self.0[..length].iter().all(|stacks| *stacks == 0)
    }

    fn all_equal(&self, length: usize) -> bool {
        self.all_covered(length) && self.0[length] == 1 << length
    }
}

#[cfg(test)]
mod tests;
