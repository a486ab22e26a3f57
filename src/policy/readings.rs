//! One path in every way in which some router may read it (rule R11).

use std::borrow::Cow;

/// What a router, or a layer in front of it, may do to a path before it compares it (rule R11).
#[derive(Debug, Clone, Copy)]
struct Reading {
    decoding: Decoding,
    /// Takes `\` for `/`.
    backslash: bool,
    /// Drops empty segments.
    merge: bool,
    /// Resolves `.` and `..`.
    dots: bool,
}

/// Where percent sequences are decoded.
#[derive(Debug, Clone, Copy)]
enum Decoding {
    Nowhere,
    /// Segment by segment, so that `%2F` separates nothing.
    Segments,
    Path,
    /// By two parties, each in its way. Nobody decodes three times.
    PathThenSegments,
    PathTwice,
}

/// The longest path that is not plain and is still read in every way, in bytes. It is read before anyone
/// has signed in, so it must not cost much.
const LONGEST_ODD_PATH: usize = 2048;

/// The path in every way it may be read but the raw one: no other for a plain path, `None` for one that is
/// too long to try.
///
/// There is no one strictest reading: `//account/password/..` is `/account` for a router that resolves
/// dots, and below `/account/password` for one that only merges slashes.
pub(super) fn readings(path: &str) -> Option<Vec<Vec<u8>>> {
    use Decoding::{Nowhere, Path, PathThenSegments, PathTwice, Segments};

    let bytes = path.as_bytes();
    let is_odd = |pair: &[u8]| matches!(pair, [b'/', b'/' | b'.']);
    let is_plain = memchr::memchr2(b'%', b'\\', bytes).is_none() && !bytes.windows(2).any(is_odd);
    if is_plain {
        return Some(Vec::new());
    }
    if bytes.len() > LONGEST_ODD_PATH {
        return None;
    }

    let (mut percent, mut again, mut backslash, mut empty, mut dot) = Default::default();
    for (at, byte) in bytes.iter().enumerate() {
        let rest = &bytes[at + 1..];
        match byte {
            b'%' => {
                percent = true;
                again |= rest.starts_with(b"25");
            }
            b'\\' => backslash = true,
            b'/' => {
                empty |= rest.starts_with(b"/");
                dot |= rest.starts_with(b".");
            }
            _ => {}
        }
    }
    // What is encoded, or stands behind a backslash, may be anything.
    backslash |= percent;
    empty |= backslash;
    dot |= backslash;
    let decodings: &[Decoding] = match (percent, again) {
        (false, _) => &[Nowhere],
        (true, false) => &[Nowhere, Segments, Path],
        (true, true) => &[Nowhere, Segments, Path, PathThenSegments, PathTwice],
    };
    let may = |it: bool| if it { &[false, true][..] } else { &[false] };
    let mut readings = Vec::new();
    for &decoding in decodings {
        for &backslash in may(backslash) {
            for &merge in may(empty) {
                for &dots in may(dot) {
                    let reading = Reading {
                        decoding,
                        backslash,
                        merge,
                        dots,
                    };
                    readings.push(reading.of(path));
                }
            }
        }
    }
    // The first changes nothing.
    readings.remove(0);
    Some(readings)
}

/// Never in UTF-8.
const NO_BYTE_OF_A_PATTERN: u8 = 0xff;

impl Reading {
    fn of(self, path: &str) -> Vec<u8> {
        let decode =
            |bytes: &[u8]| -> Vec<u8> { percent_encoding::percent_decode(bytes).collect() };
        let path = path.strip_prefix('/').unwrap_or(path).as_bytes();
        let path: Cow<'_, [u8]> = match self.decoding {
            Decoding::Nowhere | Decoding::Segments => path.into(),
            Decoding::Path | Decoding::PathThenSegments => decode(path).into(),
            Decoding::PathTwice => decode(&decode(path)).into(),
        };
        let decode_segments = matches!(
            self.decoding,
            Decoding::Segments | Decoding::PathThenSegments
        );
        let separates = |byte: &u8| *byte == b'/' || (self.backslash && *byte == b'\\');
        let mut segments: Vec<Cow<'_, [u8]>> = Vec::new();
        for segment in path.split(separates) {
            let segment: Cow<'_, [u8]> = if decode_segments {
                decode(segment).into()
            } else {
                segment.into()
            };
            match &*segment {
                b"" if self.merge => {}
                b"." if self.dots => {}
                b".." if self.dots => {
                    segments.pop();
                }
                _ => segments.push(segment),
            }
        }
        let mut read = Vec::with_capacity(path.len() + 1);
        for segment in segments {
            read.push(b'/');
            // A slash that was decoded within its segment separates nothing, so it must not look like one.
            let byte = |byte: &u8| {
                if *byte == b'/' {
                    NO_BYTE_OF_A_PATTERN
                } else {
                    *byte
                }
            };
            read.extend(segment.iter().map(byte));
        }
        if read.is_empty() {
            read.push(b'/');
        }
        read
    }
}

#[cfg(test)]
mod tests;
