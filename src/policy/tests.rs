#![allow(clippy::unwrap_used)]

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::identity::{Rank, UserId};

fn patterns(paths: &[&str]) -> Vec<PathPattern> {
    let parsed = paths.iter().map(|path| PathPattern::parse(path));
    parsed.collect::<Option<_>>().expect("good patterns")
}

fn classify(routes: &Routes, method: &Method, path: &str) -> Route {
    routes.classify(method, path, &HeaderMap::new())
}

#[test]
fn r10_only_get_head_and_options_are_reads() {
    let routes = Routes::default();
    let tests = [
        ("GET", Route::Read),
        ("HEAD", Route::Read),
        ("OPTIONS", Route::Read),
        ("POST", Route::Write),
        ("PUT", Route::Write),
        ("PATCH", Route::Write),
        ("DELETE", Route::Write),
        ("CONNECT", Route::Write),
        // Safe by its definition; but an echo of the credentials is nothing to look at.
        ("TRACE", Route::Write),
        ("PROPFIND", Route::Write),
        ("QUERY", Route::Write),
        // Methods have a case: this is no GET.
        ("get", Route::Write),
    ];
    for (method, route) in tests {
        let method: Method = method.parse().unwrap();
        assert_eq!(classify(&routes, &method, "/orders"), route, "{method}");
    }
}

#[test]
fn r10_a_header_that_changes_the_method_makes_any_request_a_write() {
    let mut routes = Routes::default();
    routes
        .reads
        .push((Method::POST, patterns(&["/search"]).remove(0)));
    for name in METHOD_OVERRIDES {
        for value in ["DELETE", "GET", ""] {
            let mut headers = HeaderMap::new();
            headers.insert(name.clone(), value.parse().unwrap());
            for (method, path) in [(Method::GET, "/orders"), (Method::POST, "/search")] {
                let route = routes.classify(&method, path, &headers);
                assert_eq!(route, Route::Write, "{name}: {value}");
            }
        }
    }
}

#[test]
fn r10_a_listed_read_is_this_method_on_exactly_this_path() {
    let mut routes = Routes::default();
    for path in ["/search", "/orders/*/search"] {
        routes
            .reads
            .push((Method::POST, patterns(&[path]).remove(0)));
    }
    let tests = [
        (Method::POST, "/search", Route::Read),
        (Method::POST, "/orders/7/search", Route::Read),
        (Method::POST, "/orders/a%20b/search", Route::Read),
        (Method::POST, "/orders/.7/search", Route::Read),
        (Method::PUT, "/search", Route::Write),
        (Method::POST, "/search/", Route::Write),
        (Method::POST, "/search/all", Route::Write),
        (Method::POST, "/Search", Route::Write),
        (Method::POST, "/searches", Route::Write),
        (Method::POST, "/s%65arch", Route::Write),
        (Method::POST, "//search", Route::Write),
        (Method::POST, "/search/../pay", Route::Write),
        (Method::POST, "/orders//search", Route::Write),
        // Some router may take these for another route.
        (Method::POST, "/orders/./search", Route::Write),
        (Method::POST, "/orders/../search", Route::Write),
        (Method::POST, "/orders/%2e%2e/search", Route::Write),
        (Method::POST, "/orders/7%2fpay/search", Route::Write),
        (Method::POST, r"/orders/7\pay/search", Route::Write),
        (Method::POST, "/orders/7%5cpay/search", Route::Write),
    ];
    for (method, path, route) in tests {
        assert_eq!(classify(&routes, &method, path), route, "{method} {path}");
    }
}

#[test]
fn r11_a_protected_route_is_one_in_every_spelling() {
    let routes = Routes {
        protected: patterns(&["/account/password", "/users/*/factors/"]),
        ..Routes::default()
    };
    let protected = [
        "/account/password",
        "/account/password/",
        "/account/password//",
        "/account/password/new",
        "/account/password/../orders",
        "/account/password%2fnew",
        "/account/password;x=1/../password",
        "//account/password",
        "///account//password",
        "/account//password",
        "/./account/./password",
        "/x/../account/password",
        "/../account/password",
        "/account/x/../password",
        "/account/password/.",
        "/account/password/x/..",
        "/%2e/account/password",
        "/account/%2E%2e/account/password",
        "/account/.%2e/account/password",
        "/account%2Fpassword",
        "/account%2fpassword%2F",
        "%2faccount/password",
        "/%61ccount/password",
        "/account/%70assword",
        "/%61%63%63%6f%75%6e%74/%70%61%73%73%77%6f%72%64",
        "/account/%2570assword",
        "/account%252fpassword",
        "/account/%252e%252e/account/password",
        r"/account\password",
        r"\account/password",
        r"/x\..\account\password",
        "/account%5cpassword",
        "/account%255cpassword",
        // Each of these is protected for a router that does one of these things and not the other.
        "//account/password/..",
        "//account/password/%2e%2e",
        "/account/x/../password//..",
        r"/%61ccount/password\..",
        "/users/7/factors",
        "/users/7/factors/totp",
        "/users/%2e/factors",
        "//users/7/factors",
        "/users/a%2fb/factors",
        "/users/a%2fb/%66actors",
        r"//users/a\b/factors",
    ];
    for path in protected {
        // In every access mode, and for reads as well as for writes.
        for method in [Method::GET, Method::POST, Method::TRACE] {
            assert_eq!(classify(&routes, &method, path), Route::Protected, "{path}");
        }
    }
    let open = [
        "/",
        "*",
        "",
        "/account",
        "/account/",
        "/password",
        "/account/passwords",
        "/account/password-hints",
        "/account/passwor",
        "/account/x/password",
        "/accounts/password",
        "/x/account/password",
        "/Account/Password",
        "/account/pass%20word",
        "/users/factors",
        "/users//factors",
        "/users/7/x/factors",
        "/users/7/factor",
    ];
    for path in open {
        assert_eq!(classify(&routes, &Method::GET, path), Route::Read, "{path}");
    }
}

#[test]
fn r12_no_spelling_widens_an_excluded_prefix() {
    let routes = Routes {
        excluded: patterns(&["/admin", "/tenants/*/admin/"]),
        ..Routes::default()
    };
    let excluded = [
        "/admin",
        "/admin/",
        "/admin//",
        "/admin/users",
        "/admin/users/a%20b",
        "/admin/users/.hidden",
        "/admin/users/../users",
        "/tenants/7/admin",
        "/tenants/a%20b/admin/x",
    ];
    for path in excluded {
        for method in [Method::GET, Method::POST] {
            assert_eq!(classify(&routes, &method, path), Route::Excluded, "{path}");
        }
    }
    let acted = [
        "/",
        "/administrator",
        "/admin-x",
        "/Admin",
        "/x/admin",
        "//admin",
        "/./admin",
        "/x/../admin",
        "/%61dmin",
        "/admin%2f",
        "/admin%2f..",
        "/admin%2fx",
        r"/admin\x",
        "/admin;x",
        "/admin%00",
        "/admin/..",
        "/admin/../",
        "/admin/../orders",
        "/admin/x/../../orders",
        "/admin/%2e%2e/orders",
        "/admin/.%2E/orders",
        "/admin/..%2forders",
        "/admin/..%2f..%2fadmin/../orders",
        r"/admin/..\orders",
        "/admin/..%5corders",
        "/admin/%252e%252e/orders",
        "/admin/%252e%252e%252forders",
        "/admin//../../orders",
        "/admin//../orders",
        r"/admin/\../orders",
        "/admin/%2f../orders",
        "/tenants//admin",
        "/tenants/../admin",
        "/tenants/%2e%2e/admin",
        "/tenants/7%2fx/admin",
        r"/tenants/7\x/admin",
    ];
    for path in acted {
        assert_eq!(classify(&routes, &Method::GET, path), Route::Read, "{path}");
    }
}

#[test]
fn r12_the_hosts_admin_area_stays_the_actors_even_below_a_protected_name() {
    let routes = Routes {
        excluded: patterns(&["/admin"]),
        protected: patterns(&["/admin/password", "/password"]),
        ..Routes::default()
    };
    assert_eq!(
        classify(&routes, &Method::POST, "/admin/password"),
        Route::Excluded
    );
    assert_eq!(
        classify(&routes, &Method::GET, "/admin/../password"),
        Route::Protected
    );
    assert_eq!(
        classify(&routes, &Method::GET, "/admin/..%2fpassword"),
        Route::Protected
    );
}

#[test]
fn r11_patterns_are_plain_paths() {
    let good = [
        "/a",
        "/a/",
        "/a/b",
        "/*",
        "/a/*/b",
        "/.well-known",
        "/a.b",
        "/a..b",
        "/x:y",
        "/über",
    ];
    for path in good {
        assert!(PathPattern::parse(path).is_some(), "{path}");
    }
    let bad = [
        "",
        "/",
        "//",
        "a",
        "a/b",
        "*",
        "//a",
        "/a//",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a/..",
        "/a%20b",
        "/%61",
        r"/a\b",
        "/a?b",
        "/a#b",
        // Wildcards of routers, which would match nothing.
        "/users/{id}/password",
        "/{*rest}",
        "/users/:id",
        "/users/<id>",
        "/files/*rest",
        "/files/**",
    ];
    for path in bad {
        assert!(PathPattern::parse(path).is_none(), "{path}");
    }
    assert_eq!(PathPattern::parse("/a/"), PathPattern::parse("/a"));
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

fn id(id: &str) -> UserId {
    id.parse().unwrap()
}

fn ada() -> Actor {
    Actor::new(id("ada"), Rank(20))
}

#[test]
fn s1_the_first_question_is_asked_of_actor_subject_and_checker() {
    struct Test {
        actor: Actor,
        subject: Subject,
        decision: Decision,
        expected: Result<Grant, Denial>,
    }
    let grant = Grant::read_write().with_max_lifetime(Duration::from_secs(60));
    let allow = || Decision::Allow(grant);
    let deny = || Decision::deny("not on call");
    let denied = || Err(Denial::Checker("not on call".into()));
    let with_right = || ada().with_rights(Rights::SERVICE);
    let other_rights = Rights::LIST_SESSIONS | Rights::END_SESSIONS | Rights::READ_TRAIL;
    let ines = || Subject::User(id("ines"));
    let herself = || Subject::User(id("ada"));
    let tests = [
        Test {
            actor: ada(),
            subject: ines(),
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: ines(),
            decision: deny(),
            expected: denied(),
        },
        Test {
            actor: ada(),
            subject: herself(),
            decision: allow(),
            expected: Err(Denial::Oneself),
        },
        Test {
            actor: ada(),
            subject: herself(),
            decision: deny(),
            expected: Err(Denial::Oneself),
        },
        Test {
            actor: ada(),
            subject: Subject::User(id("ADA")),
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: Subject::Anonymous,
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: Subject::Anonymous,
            decision: deny(),
            expected: denied(),
        },
        Test {
            actor: ada(),
            subject: Subject::Service,
            decision: allow(),
            expected: Err(Denial::ServiceRight),
        },
        Test {
            actor: ada().with_rights(other_rights),
            subject: Subject::Service,
            decision: allow(),
            expected: Err(Denial::ServiceRight),
        },
        Test {
            actor: with_right(),
            subject: Subject::Service,
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: with_right(),
            subject: Subject::Service,
            decision: deny(),
            expected: denied(),
        },
    ];
    for test in tests {
        let answer = may_ask(&test.actor, &test.subject, test.decision.clone());
        assert_eq!(
            answer, test.expected,
            "{:?} {:?}",
            test.subject, test.decision
        );
    }
}

#[test]
fn s1_a_subject_is_known_of_strictly_lower_rank_and_impersonable() {
    let user = |rank| DirectoryUser::new(id("ines"), Rank(rank));
    let locked = |rank| user(rank).not_impersonable_because("opted out");
    let tests = [
        (20, Some(user(0)), Ok(())),
        (20, Some(user(19)), Ok(())),
        (20, Some(user(20)), Err(Denial::Rank)),
        (20, Some(user(21)), Err(Denial::Rank)),
        (20, Some(user(u32::MAX)), Err(Denial::Rank)),
        (0, Some(user(0)), Err(Denial::Rank)),
        (u32::MAX, Some(user(u32::MAX - 1)), Ok(())),
        (
            20,
            Some(locked(0)),
            Err(Denial::NotImpersonable("opted out".to_owned())),
        ),
        (20, Some(locked(20)), Err(Denial::Rank)),
        (20, None, Err(Denial::UnknownSubject)),
    ];
    let ines = id("ines");
    for (rank, user, expected) in tests {
        let actor = Actor::new(id("ada"), Rank(rank)).with_rights(Rights::all());
        let decided = may_act(&actor, &ines, user.as_ref());
        assert_eq!(decided, expected, "{rank} {user:?}");
    }
}

/// Else one user would be several subjects, each with a session of its own.
#[test]
fn s1_an_answer_about_another_id_is_about_an_unknown_subject() {
    let ada = Actor::new(id("ada"), Rank(20));
    for asked in ["INES", "ines ", "7"] {
        let ines = DirectoryUser::new(id("ines"), Rank(0));
        let decided = may_act(&ada, &id(asked), Some(&ines));
        assert_eq!(decided, Err(Denial::UnknownSubject), "{asked}");
    }
}

#[test]
fn s1_a_grant_narrows_and_never_widens() {
    use Access::{ReadOnly, ReadWrite};

    assert_eq!(narrow(ReadOnly, &Grant::read_only()), ReadOnly);
    assert_eq!(narrow(ReadWrite, &Grant::read_only()), ReadOnly);
    assert_eq!(narrow(ReadOnly, &Grant::read_write()), ReadOnly);
    assert_eq!(narrow(ReadWrite, &Grant::read_write()), ReadWrite);
}

#[test]
fn a6_every_denial_has_a_rule_of_its_own() {
    let rules = [
        Denial::Checker("x".into()),
        Denial::Oneself,
        Denial::ServiceRight,
        Denial::UnknownSubject,
        Denial::Rank,
        Denial::NotImpersonable("x".to_owned()),
        Denial::NoConsent,
    ]
    .map(|denial| denial.rule());
    let expected = [
        "checker",
        "self",
        "service_right",
        "unknown_subject",
        "rank",
        "not_impersonable",
        "no_consent",
    ];
    assert_eq!(rules, expected);
}

#[test]
fn r10_opening_a_web_socket_is_a_write() {
    let routes = Routes::default();
    let tests = [
        ("websocket", Route::Write),
        ("WebSocket", Route::Write),
        ("h2c, websocket", Route::Write),
        ("h2c", Route::Read),
    ];
    for (upgrade, expected) in tests {
        let mut headers = HeaderMap::new();
        headers.insert("upgrade", HeaderValue::from_static(upgrade));
        let route = routes.classify(&Method::GET, "/chat", &headers);
        assert_eq!(route, expected, "{upgrade}");
    }
}
