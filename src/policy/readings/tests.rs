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
    routes.classify(method, path, &HeaderMap::new())
}

#[test]
fn r11_a_plain_path_costs_no_second_reading() {
    for path in [
        "/",
        "*",
        "",
        "/orders/7",
        "/orders/",
        "/a.b/c..d/e.",
        "/x;y=1,2:3@",
    ] {
        assert_eq!(readings(path), Some(Vec::new()), "{path}");
    }
    for (path, number) in [
        ("//a", 1),
        ("/.a", 1),
        ("//a/.", 3),
        (r"/a\b", 7),
        ("/%61", 23),
        ("/%2561", 39),
    ] {
        assert_eq!(readings(path).unwrap().len(), number, "{path}");
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

/// All of them, whether or not a path makes them differ.
fn every_reading() -> impl Iterator<Item = Reading> {
    let decodings = [
        Decoding::Nowhere,
        Decoding::Segments,
        Decoding::Path,
        Decoding::PathThenSegments,
        Decoding::PathTwice,
    ];
    decodings.into_iter().flat_map(|decoding| {
        (0..8_u8).map(move |bits| Reading {
            decoding,
            backslash: bits & 1 != 0,
            merge: bits & 2 != 0,
            dots: bits & 4 != 0,
        })
    })
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
        Just(";x"),
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
        let is_inside = |path: &[u8]| path == b"/admin" || path.starts_with(b"/admin/");
        let inside_for_all = is_inside(path.as_bytes())
            && every_reading().all(|reading| is_inside(&reading.of(&path)));
        let route = classify(&routes, &Method::GET, &path);
        prop_assert_eq!(route == Route::Excluded, inside_for_all, "{}", path);
    }

    #[test]
    fn r11_what_may_be_read_as_inside_is_protected(path in odd_path()) {
        let routes = Routes { protected: patterns(&["/admin"]), ..Routes::default() };
        let is_inside = |path: &[u8]| path == b"/admin" || path.starts_with(b"/admin/");
        let inside_for_any = every_reading().any(|reading| is_inside(&reading.of(&path)));
        let route = classify(&routes, &Method::GET, &path);
        prop_assert_eq!(route == Route::Protected, inside_for_any, "{}", path);
    }

    #[test]
    fn r11_folding_never_panics_and_a_folded_path_stays_as_it_is(path in "[ -~]{0,40}|[/.%25efF\\\\]{0,40}") {
        for reading in every_reading() {
            let folded = reading.of(&path);
            prop_assert_eq!(folded.first(), Some(&b'/'));
            // Decoding is not idempotent by its nature (`%2541`); everything else is.
            if matches!(reading.decoding, Decoding::Nowhere) {
                let again = reading.of(std::str::from_utf8(&folded).unwrap());
                prop_assert_eq!(again, folded);
            }
        }
    }
}
