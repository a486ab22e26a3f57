//! One path in every way in which some router may read it (rules [R10](crate::rules#r10) to [R12](crate::rules#r12)).
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
//! There is no one strictest reading: `//account/password/..` is `/account` for a router that resolves dots, and
//! below `/account/password` for one that only merges slashes. Nor can all combinations be tried one by one: there
//! are hundreds. So [`Pieces`] cuts the path once, and [`Stacks`] follows all readings of the pieces at the same
//! time. It may follow a combination that no router has. That closes a route more often, and never opens one.
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
    moves: Moves,
    /// Its name ends before it does: what follows does not change the name.
    has_parameters: bool,
    /// The path may end in it.
    may_be_last: bool,
}

/// What a piece may do instead of adding a segment.
#[derive(Debug, Clone, Copy, Default)]
struct Moves {
    /// Nothing, for a router that drops empty segments and `.`.
    may_vanish: bool,
    /// Take the segment before it away, as `..` does.
    may_go_up: bool,
}

/// What all readings together make of a path, for one pattern. Bit `d` at index `k`: in some reading there are `d`
/// segments so far, and the first `k` of them fit the pattern's, but the next does not, or is not there yet.
#[derive(Clone, Copy)]
struct Stacks {
    /// The segments of the pattern.
    length: usize,
    /// Those behind the length stay empty, and nobody looks at them.
    matched: [u64; MOST_SEGMENTS + 1],
}

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
            covered |= stacks.any_covered();
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

    fn has_to(&self, pattern: &[String], holds: fn(&Stacks) -> bool) -> bool {
        let fits = |at: usize, piece: &Piece, goes_on: bool| match &*pattern[at] {
            "*" => goes_on || !self.text_of(piece).is_empty(),
            name => !goes_on && piece.is_verbatim && name.as_bytes() == self.text_of(piece),
        };
        let mut all = true;
        self.follow(pattern.len(), fits, |stacks| {
            all &= holds(stacks);
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
        let (mut before, mut unfinished) = (Stacks::root(length), Stacks::none(length));
        let mut stacks = Stacks::none(length);
        for (at, piece) in self.pieces.iter().enumerate() {
            stacks.clear();
            before.step(piece.moves, |at| fits(at, piece, false), &mut stacks);
            if piece.may_continue {
                stacks.add(&unfinished);
            } else {
                unfinished.clear();
            }
            let next = self.pieces.get(at + 1);
            if next.is_some_and(|next| next.may_continue) {
                // Where only the parameters get longer, the name may be dots all the same.
                let moves = if piece.has_parameters {
                    piece.moves
                } else {
                    Moves::default()
                };
                before.step(moves, |at| fits(at, piece, true), &mut unfinished);
            }
            if piece.may_be_last || at + 1 == self.pieces.len() {
                ends(&stacks);
            }
            std::mem::swap(&mut before, &mut stacks);
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
            moves: Moves {
                // Some drop dots at the end, and with them all of `...`.
                may_vanish: dots.iter().flatten().any(|dots| *dots != 2),
                may_go_up: dots.iter().flatten().any(|dots| *dots >= 2),
            },
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
    /// No reading.
    fn none(length: usize) -> Self {
        Self {
            length,
            matched: [0; MOST_SEGMENTS + 1],
        }
    }

    /// No segment yet.
    fn root(length: usize) -> Self {
        let mut root = Self::none(length);
        root.matched[0] = 1;
        root
    }

    fn clear(&mut self) {
        self.matched[..=self.length].fill(0);
    }

    fn add(&mut self, other: &Self) {
        let those = &other.matched[..=self.length];
        for (these, those) in self.matched[..=self.length].iter_mut().zip(those) {
            *these |= those;
        }
    }

    /// Adds what one piece makes of these stacks: a segment more, and as many or one less where its moves say so.
    /// `fits` tells whether it fits the pattern's segment at an index.
    fn step(&self, moves: Moves, fits: impl Fn(usize) -> bool, into: &mut Self) {
        let mut one_more_fits = 0;
        for matched in 0..=self.length {
            let stacks = self.matched[matched];
            // Of as many segments as fit: the next one may fit as well, and the last one is one that fits.
            let all_fit = 1 << matched;
            let has_next = matched < self.length;
            let next_fits = has_next && stacks & all_fit != 0 && fits(matched);
            let rest = if next_fits { stacks & !all_fit } else { stacks };
            let mut after = rest << 1 | one_more_fits;
            one_more_fits = if next_fits { all_fit << 1 } else { 0 };
            if moves.may_vanish {
                after |= stacks;
            }
            if moves.may_go_up {
                after |= (stacks & !all_fit) >> 1;
                if matched == 0 {
                    // There is nothing above the root.
                    after |= stacks & 1;
                }
                if has_next {
                    after |= (self.matched[matched + 1] & (all_fit << 1)) >> 1;
                }
            }
            into.matched[matched] |= after;
        }
    }

    fn any_covered(&self) -> bool {
        self.matched[self.length] != 0
    }

    fn all_covered(&self) -> bool {
        self.matched[..self.length]
            .iter()
            .all(|stacks| *stacks == 0)
    }

    fn all_equal(&self) -> bool {
        self.all_covered() && self.matched[self.length] == 1 << self.length
    }
}

#[cfg(test)]
mod tests;
