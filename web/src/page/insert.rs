//! Puts the banner between the bytes of a page, which stay as they are.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::scan::{Outcome, Scan, What, Which};

/// Pieces of one chunk up to this size are put together again, so that a page that was there in one piece
/// still is.
const JOINED: usize = 1024 * 1024;

/// What to put into a page, and how it is read.
#[derive(Debug, Clone)]
pub(super) struct Insertion {
    /// ASCII.
    pub(super) head: String,
    /// ASCII.
    pub(super) banner: String,
    pub(super) which: Which,
    pub(super) is_xml: bool,
    /// As the response declares it; a byte order mark in the page is stronger.
    pub(super) declared: Unit,
}

/// How a character is made of bytes, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// ASCII is itself.
    Byte,
    Utf16Le,
    Utf16Be,
}

/// Takes the chunks of a page and gives them back with the insertions. Keeps what is inside of an
/// incomplete tag, and nothing once everything is in.
pub(super) struct Inserter {
    insertion: Insertion,
    unit: Option<Unit>,
    /// `None` once everything is in, or cannot be.
    scan: Option<Scan>,
    /// Not given back yet. The first byte is the one at `given`.
    held: VecDeque<Bytes>,
    held_len: usize,
    given: usize,
    /// How much of what was taken the scan has read, in bytes.
    read: usize,
    out: VecDeque<Bytes>,
    outcome: Option<Outcome>,
}

// === impl Inserter ===

impl Inserter {
    pub(super) fn new(insertion: Insertion) -> Self {
        let scan = if insertion.is_xml {
            Scan::xml()
        } else {
            Scan::html(insertion.which)
        };
        Self {
            insertion,
            unit: None,
            scan: Some(scan),
            held: VecDeque::new(),
            held_len: 0,
            given: 0,
            read: 0,
            out: VecDeque::new(),
            outcome: None,
        }
    }

    /// The next piece to send on.
    pub(super) fn next(&mut self) -> Option<Bytes> {
        let total: usize = self.out.iter().map(Bytes::len).sum();
        if self.out.len() < 2 || total > JOINED {
            return self.out.pop_front();
        }
        let mut joined = BytesMut::with_capacity(total);
        self.out.drain(..).for_each(|piece| joined.extend(piece));
        Some(joined.freeze())
    }

    /// Whether nothing is kept, and nothing will be put in any more.
    pub(super) fn is_done(&self) -> bool {
        self.scan.is_none() && self.out.is_empty()
    }

    /// How it went, once it is over.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// How many bytes are kept here.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held_len + self.out.iter().map(Bytes::len).sum::<usize>()
    }

    pub(super) fn write(&mut self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        if self.scan.is_none() {
            self.out.push_back(chunk);
            return;
        }
        self.held_len += chunk.len();
        self.held.push_back(chunk);
        if self.unit.is_none() {
            self.unit = self.find_unit();
        }
        if let Some(unit) = self.unit {
            self.scan_on(unit);
        }
    }

    /// There is no more of the page.
    pub(super) fn end(&mut self) {
        let unit = *self.unit.get_or_insert(self.insertion.declared);
        self.scan_on(unit);
        if let Some(scan) = &mut self.scan {
            let outcome = scan.end();
            self.finish(unit, outcome);
        }
    }

    /// It was cut off: what is kept goes out, and nothing is put in behind it.
    pub(super) fn give_up(&mut self) {
        self.scan = None;
        self.give_all();
    }

    /// By the byte order mark, as browsers do. `None` where too little is there to tell.
    fn find_unit(&self) -> Option<Unit> {
        let mut first = self.held.iter().flatten();
        match (first.next()?, first.next()) {
            (0xfe, Some(0xff)) => Some(Unit::Utf16Be),
            (0xff, Some(0xfe)) => Some(Unit::Utf16Le),
            (0xef, Some(0xbb)) => Some(Unit::Byte),
            (0xfe | 0xff | 0xef, None) => None,
            _ => Some(self.insertion.declared),
        }
    }

    /// Shows the scan what is new.
    fn scan_on(&mut self, unit: Unit) {
        let Some(scan) = &mut self.scan else { return };
        let new = last_of(&self.held, self.given + self.held_len - self.read);
        let (passed, outcome) = if unit == Unit::Byte {
            self.read = self.given + self.held_len;
            // The last answer says all of it.
            let answers = new.map(|part| scan.write(part));
            match answers.last() {
                Some(answer) => answer,
                None => return,
            }
        } else {
            let units = narrowed(new, unit);
            self.read += units.len() * unit.width();
            scan.write(&units)
        };
        self.place(unit);
        match outcome {
            Some(outcome) => self.finish(unit, outcome),
            None => self.give(passed * unit.width()),
        }
    }

    /// Gives everything up to the places that were found, and what belongs there.
    fn place(&mut self, unit: Unit) {
        let places = self.scan.as_mut().map(Scan::places).unwrap_or_default();
        for (at, what) in places {
            let at = at * unit.width();
            self.give(at);
            debug_assert_eq!(self.given, at, "nothing behind it was given yet");
            let ours = match what {
                What::Head => &self.insertion.head,
                What::Banner => &self.insertion.banner,
            };
            if !ours.is_empty() {
                self.out.push_back(unit.encode(ours));
            }
        }
    }

    fn finish(&mut self, unit: Unit, outcome: Outcome) {
        self.place(unit);
        self.outcome = Some(outcome);
        self.scan = None;
        self.give_all();
    }

    fn give_all(&mut self) {
        self.given += self.held_len;
        self.held_len = 0;
        self.out.append(&mut self.held);
    }

    /// Gives what is before `to`.
    fn give(&mut self, to: usize) {
        while self.given < to
            && let Some(mut chunk) = self.held.pop_front()
        {
            let wanted = to - self.given;
            if chunk.len() > wanted {
                self.held.push_front(chunk.split_off(wanted));
            }
            self.given += chunk.len();
            self.held_len -= chunk.len();
            self.out.push_back(chunk);
        }
    }
}

// === impl Unit ===

impl Unit {
    fn width(self) -> usize {
        match self {
            Self::Byte => 1,
            Self::Utf16Le | Self::Utf16Be => 2,
        }
    }

    fn encode(self, ascii: &str) -> Bytes {
        match self {
            Self::Byte => Bytes::copy_from_slice(ascii.as_bytes()),
            Self::Utf16Le => ascii.bytes().flat_map(|byte| [byte, 0]).collect(),
            Self::Utf16Be => ascii.bytes().flat_map(|byte| [0, byte]).collect(),
        }
    }
}

/// The last bytes of what is held. Looked for from behind: mostly they are the last chunk.
fn last_of(held: &VecDeque<Bytes>, bytes: usize) -> impl Iterator<Item = &[u8]> {
    let (mut from, mut covered) = (held.len(), 0);
    while covered < bytes {
        from -= 1;
        covered += held[from].len();
    }
    let mut to_skip = covered - bytes;
    held.range(from..)
        .map(move |chunk| &chunk[std::mem::take(&mut to_skip)..])
}

/// Each whole code unit as one byte: ASCII as itself, anything else as something that is no ASCII.
fn narrowed<'a>(parts: impl Iterator<Item = &'a [u8]>, unit: Unit) -> Vec<u8> {
    let bytes: Vec<u8> = parts.flatten().copied().collect();
    let narrow = |pair: &[u8; 2]| {
        let code = match unit {
            Unit::Utf16Be => u16::from_be_bytes(*pair),
            Unit::Utf16Le | Unit::Byte => u16::from_le_bytes(*pair),
        };
        u8::try_from(code).ok().filter(u8::is_ascii).unwrap_or(0x80)
    };
    bytes.as_chunks::<2>().0.iter().map(narrow).collect()
}
