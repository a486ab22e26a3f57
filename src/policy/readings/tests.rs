//! One path in every way in which some router may read it (rules R11, R12).
#![allow(clippy::unwrap_used)]

use http::{HeaderMap, Method};
use proptest::prelude::*;

use super::*;
use crate::policy::{PathPattern, Route, Routes};

fn patterns(paths: &[&str]) -> Vec<PathPattern> {
    let parsed = paths.iter().map(|path| PathPattern::parse(path));
    parsed.collect::<Option<_>>().expect("good patterns")
}

fn classify(routes: &Routes, method: &Method, path: &str) -> Route {
    routes.classify_path(method, path, &HeaderMap::new())
}

#[test]
fn r11_a_plain_path_is_read_once() {
    for path in [
        "/",
        "*",
        "",
        "/orders/7",
        "/orders/",
        "/a.b/c..d/e.",
        "/x:y=1,2:3@~",
    ] {
        assert!(matches!(Spelling::of(path), Spelling::Plain), "{path}");
    }
    for path in ["//a", "/.a", "/a/.", r"/a\b", "/%61", "/a;", "/a b", "/a\n"] {
        assert!(matches!(Spelling::of(path), Spelling::Odd(_)), "{path}");
    }
}

/// Counts what time is spent on instead of the time: comparisons with a segment of the pattern.
#[test]
fn r11_no_odd_path_costs_more_than_two_comparisons_for_each_of_63_pieces() {
    let pieces = [
        "/..", "//", "/.", "%2f", r"\", "%2f..", "/%2e%2e", "%25", "/;", "/a;", "/..;%2f", "%2525",
    ];
    for piece in pieces {
        for length in [1, 2, 10, 30, 62, 63, 64, 100, 1_000, 100_000] {
            let path = format!("/a{}", piece.repeat(length));
            let mut compared = 0;
            if let Spelling::Odd(pieces) = Spelling::of(&path) {
                let count = std::cell::Cell::new(0);
                let fits = |_, _: &Piece, _| {
                    count.set(count.get() + 1);
                    false
                };
                pieces.follow(1, fits, |_| {});
                compared = count.get();
            }
            assert!(compared <= 2 * MOST_PIECES, "{piece} {length}: {compared}");
        }
    }
}

#[test]
fn r11_an_odd_path_that_is_too_long_to_try_opens_nothing() {
    let routes = Routes {
        excluded: patterns(&["/admin"]),
        protected: patterns(&["/account/password"]),
        reads: vec![(Method::POST, patterns(&["/orders/*"]).remove(0))],
    };
    let plain = "x".repeat(64 * 1024);
    let odd = "%41".repeat(LONGEST_ODD_PATH / 3);
    let too_long = "%41".repeat(LONGEST_ODD_PATH / 3 + 1);
    let too_deep = "a/".repeat(MOST_PIECES) + "%41";
    let tests = [
        (Method::GET, format!("/admin/{plain}"), Route::Excluded),
        (Method::GET, format!("/orders/{plain}"), Route::Read),
        (Method::POST, format!("/orders/{plain}"), Route::Read),
        (Method::POST, format!("/orders/{}", &odd[30..]), Route::Read),
        (
            Method::GET,
            format!("/admin/{}", &odd[30..]),
            Route::Excluded,
        ),
        (Method::GET, format!("/admin/{too_long}"), Route::Protected),
        (
            Method::POST,
            format!("/orders/{too_long}"),
            Route::Protected,
        ),
        (Method::GET, format!("/admin/{too_deep}"), Route::Protected),
        (Method::GET, format!("/x/{too_deep}"), Route::Protected),
    ];
    for (method, path, route) in tests {
        assert_eq!(
            classify(&routes, &method, &path),
            route,
            "{method} {path:.30}"
        );
    }
    let unprotected = Routes {
        protected: Vec::new(),
        ..routes
    };
    let path = format!("/orders/{too_long}");
    assert_eq!(classify(&unprotected, &Method::GET, &path), Route::Read);
    assert_eq!(classify(&unprotected, &Method::POST, &path), Route::Write);
}

/// One router, and the layers in front of it: the readings one by one, written down without a thought of cost.
#[derive(Debug, Clone, Copy)]
struct Router {
    decoding: Decoding,
    /// Takes `\` for `/`.
    backslash: bool,
    /// Drops empty segments.
    merge: bool,
    /// Resolves `.` and `..`.
    dots: bool,
    tail: Tail,
    /// Ignores ASCII case.
    ignore_case: bool,
}

/// Where percent sequences are decoded.
#[derive(Debug, Clone, Copy)]
enum Decoding {
    Nowhere,
    /// Segment by segment, so that `%2F` separates nothing.
    Segments,
    Path,
    PathThenSegments,
    PathTwice,
}

/// What is cut off a segment before anything is made of it.
#[derive(Debug, Clone, Copy)]
enum Tail {
    Kept,
    /// `;x=1`.
    Parameters,
    /// Blanks and dots, but for a segment of dots alone.
    Blanks,
    /// `.json`, of the last segment.
    Extension,
    /// Nothing of it: a NUL ends the whole path.
    Nul,
}

fn every_router() -> impl Iterator<Item = Router> {
    use Decoding::{Nowhere, Path, PathThenSegments, PathTwice, Segments};

    let decodings = [Nowhere, Segments, Path, PathThenSegments, PathTwice];
    let tails = [
        Tail::Kept,
        Tail::Parameters,
        Tail::Blanks,
        Tail::Extension,
        Tail::Nul,
    ];
    decodings.into_iter().flat_map(move |decoding| {
        tails.into_iter().flat_map(move |tail| {
            (0..16_u8).map(move |bits| Router {
                decoding,
                backslash: bits & 1 != 0,
                merge: bits & 2 != 0,
                dots: bits & 4 != 0,
                tail,
                ignore_case: bits & 8 != 0,
            })
        })
    })
}

/// Never in UTF-8.
const NO_BYTE_OF_A_PATTERN: u8 = 0xff;

impl Router {
    fn read(self, path: &str) -> Vec<u8> {
        let decode =
            |bytes: &[u8]| -> Vec<u8> { percent_encoding::percent_decode(bytes).collect() };
        let path = path.strip_prefix('/').unwrap_or(path).as_bytes();
        let mut path = match self.decoding {
            Decoding::Nowhere | Decoding::Segments => path.to_vec(),
            Decoding::Path | Decoding::PathThenSegments => decode(path),
            Decoding::PathTwice => decode(&decode(path)),
        };
        if let (Tail::Nul, Some(end)) = (self.tail, path.iter().position(|byte| *byte == 0)) {
            path.truncate(end);
        }
        let separates = |byte: &u8| *byte == b'/' || (self.backslash && *byte == b'\\');
        let mut segments: Vec<Vec<u8>> = Vec::new();
        for segment in path.split(separates) {
            let mut segment = match self.decoding {
                Decoding::Segments | Decoding::PathThenSegments => decode(segment),
                _ => segment.to_vec(),
            };
            match self.tail {
                Tail::Parameters => {
                    segment.truncate(
                        segment
                            .iter()
                            .position(|b| *b == b';')
                            .unwrap_or(segment.len()),
                    );
                }
                Tail::Blanks => {
                    let is_dots = segment.iter().all(|byte| *byte == b'.');
                    while !is_dots && matches!(segment.last(), Some(b' ' | b'.')) {
                        segment.pop();
                    }
                }
                Tail::Kept | Tail::Extension | Tail::Nul => {}
            }
            match &*segment {
                b"" if self.merge => {}
                b"." if self.dots => {}
                b".." if self.dots => {
                    segments.pop();
                }
                _ => segments.push(segment),
            }
        }
        if let (Tail::Extension, Some(last)) = (self.tail, segments.last_mut())
            && let Some(dot) = last.iter().rposition(|byte| *byte == b'.')
            && dot > 0
        {
            last.truncate(dot);
        }
        let mut read = Vec::with_capacity(path.len() + 1);
        for segment in segments {
            read.push(b'/');
            // A slash that was decoded within its segment separates nothing, so it must not look like one.
            read.extend(segment.iter().map(|byte| match byte {
                b'/' => NO_BYTE_OF_A_PATTERN,
                byte if self.ignore_case => byte.to_ascii_lowercase(),
                byte => *byte,
            }));
        }
        if read.is_empty() {
            read.push(b'/');
        }
        read
    }
}

/// The pattern `/admin`, or below it.
fn is_inside(path: &[u8]) -> bool {
    path == b"/admin" || path.starts_with(b"/admin/")
}

/// Paths that are made of what normalisers look at.
fn odd_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("//"),
        Just("/."),
        Just("/.."),
        Just(r"\"),
        Just("%2f"),
        Just("%2F"),
        Just("%5c"),
        Just("%2e"),
        Just("%252e"),
        Just("%25"),
        Just("%"),
        Just("%zz"),
        Just("%c0%af"),
        Just("/admin"),
        Just("/%61dmin"),
        Just("admin"),
        Just("/orders"),
        Just("/Admin"),
        Just(";x"),
        Just(";"),
        Just("."),
        Just(".json"),
        Just("%20"),
        Just("%00"),
        Just("%3b"),
        Just("%2541"),
        Just("a"),
        Just("é"),
    ];
    prop::collection::vec(piece, 0..10).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn r12_what_may_be_read_as_outside_is_not_excluded(rest in odd_path(), inside in any::<bool>()) {
        let path = if inside { format!("/admin{rest}") } else { rest };
        let routes = Routes { excluded: patterns(&["/admin"]), ..Routes::default() };
        if classify(&routes, &Method::GET, &path) == Route::Excluded {
            prop_assert!(is_inside(path.as_bytes()), "{}", path);
            for router in every_router() {
                prop_assert!(is_inside(&router.read(&path)), "{} by {:?}", path, router);
            }
        }
    }

    #[test]
    fn r10_what_may_be_read_as_another_route_is_no_listed_read(rest in odd_path(), inside in any::<bool>()) {
        let path = if inside { format!("/admin{rest}") } else { rest };
        let reads = vec![(Method::POST, patterns(&["/admin/*"]).remove(0))];
        let routes = Routes { reads, ..Routes::default() };
        if classify(&routes, &Method::POST, &path) == Route::Read {
            for router in every_router() {
                let read = router.read(&path);
                let is_it = read.strip_prefix(b"/admin/").is_some_and(|rest| !rest.is_empty() && !rest.contains(&b'/'));
                prop_assert!(is_it, "{} by {:?}", path, router);
            }
        }
    }

    #[test]
    fn r11_what_may_be_read_as_inside_is_protected(path in odd_path()) {
        let routes = Routes { protected: patterns(&["/admin"]), ..Routes::default() };
        let route = classify(&routes, &Method::GET, &path);
        for router in every_router() {
            if is_inside(&router.read(&path)) {
                prop_assert_eq!(route, Route::Protected, "{} by {:?}", path, router);
            }
        }
    }

    #[test]
    fn r11_no_path_makes_a_reading_panic(path in "[ -~]{0,40}|[/.;%25efF\\\\]{0,200}|.{0,40}") {
        let routes = Routes {
            excluded: patterns(&["/admin", "/*/x"]),
            protected: patterns(&["/account/*/password"]),
            reads: vec![(Method::POST, patterns(&["/*"]).remove(0))],
        };
        let _ = classify(&routes, &Method::POST, &path);
    }
}
