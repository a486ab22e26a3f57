//! What a route allows, in every spelling (rules R10 to R12).
#![allow(clippy::unwrap_used)]

use super::*;

fn patterns(paths: &[&str]) -> Vec<PathPattern> {
    let parsed = paths.iter().map(|path| PathPattern::parse(path));
    parsed.collect::<Option<_>>().expect("good patterns")
}

fn classify(routes: &Routes, method: &Method, path: &str) -> Route {
    routes.classify_path(method, path, &HeaderMap::new())
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
                let route = routes.classify_path(&method, path, &headers);
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
        (Method::POST, "/orders/7%252fpay/search", Route::Write),
        (Method::POST, "/orders/..;x/search", Route::Write),
        (Method::POST, "/orders/;x/search", Route::Write),
        (Method::POST, "/orders/7%00/search", Route::Write),
        (Method::POST, "/orders/7%3fpay/search", Route::Write),
        (Method::POST, "/search.json", Route::Write),
        (Method::POST, "/search;x", Route::Write),
        // All routers agree on these.
        (Method::POST, "/orders/7;x/search", Route::Read),
        (Method::POST, "/orders/7.json/search", Route::Read),
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
        // In any case, with parameters, an extension, dots and blanks at the end.
        "/Account/Password",
        "/ACCOUNT/PASSWORD/NEW",
        "/account/passwor%44",
        "/account/password;",
        "/account/password;jsessionid=1",
        "/account;x=1/password",
        "/;x/account/password",
        "/account/.;x/password",
        "/account/x/..;/password",
        "/account/x/..;y=%2f/password",
        "/x;%2f/..;/account/password",
        "/account/password%3bx",
        "/account/password.",
        "/account/password...",
        "/account/password%20",
        "/account/password%20.",
        "/account/%20password",
        "/account./password",
        "/account%2e/password",
        "/account/x/..%20/password",
        "/account/x/...%2f../password/",
        "/account/password.json",
        "/account/password.json;x",
        "/account/password%2ejson",
        "/account.php/password",
        "/account/password%00",
        "/account/password%00.html",
        "/account/password%0a",
        "/account/password%0d%0aX: 1",
        "/account/password%3fx",
        "/account/password%23x/y",
        "/account/password%2500",
        // However often it was encoded.
        "/account/%25252570assword",
        "/account%2525252fpassword",
        "/account/%%37%30assword",
        "/account/pass%77%6Frd%2ejson",
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
        "/account/pass%20word",
        "/account/password%20hint",
        "/account/password%2dhint",
        "/account/.password",
        "/account/my.password",
        "/account/x;/password",
        "/account/x;y=/account/password",
        "/account/x%2fpassword",
        "/account;password",
        "/account;/x/password",
        "/orders/%61ccount",
        "/orders?/account/password",
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
        "/admin/users/a.json",
        "/admin/users;x=1/7",
        "/admin/users/a%00b",
        "/tenants/7;x/admin",
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
        "/ADMIN/users",
        "/admin.",
        "/admin./users",
        "/admin.json",
        "/admin%20/users",
        "/admin;x/users",
        "/admin/..;/orders",
        "/admin/..;x=1/orders",
        "/admin/..%20/orders",
        "/admin/..%00/orders",
        "/admin/.../orders",
        "/admin/%25252e%2525252e/orders",
        "/admin/;x/../../orders",
        "/tenants/;x/admin",
        "/tenants/%20/admin",
        "/tenants/7%00/admin",
        "/tenants/7%3f/admin",
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
        // Nobody could tell which part of them is the name.
        "/a;b",
        "/a\0",
        "/a ",
        "/ a",
        // More than anyone means.
        "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a",
    ];
    for path in bad {
        assert!(PathPattern::parse(path).is_none(), "{path}");
    }
    assert_eq!(PathPattern::parse("/a/"), PathPattern::parse("/a"));
}

#[test]
fn r10_any_upgrade_but_h2c_is_a_write() {
    let routes = Routes::default();
    let tests: [(&[&[u8]], Route); 11] = [
        (&[b"websocket"], Route::Write),
        (&[b"WebSocket"], Route::Write),
        (&[b"h2c, websocket"], Route::Write),
        (&[b"h2c", b"websocket"], Route::Write),
        (&[b"TLS/1.0"], Route::Write),
        (&[b"connect-udp"], Route::Write),
        (&[b"web\xffsocket"], Route::Write),
        (&[b""], Route::Write),
        (&[b"h2c"], Route::Read),
        (&[b"H2C "], Route::Read),
        (&[], Route::Read),
    ];
    for (upgrades, expected) in tests {
        let mut headers = HeaderMap::new();
        for upgrade in upgrades {
            headers.append("upgrade", HeaderValue::from_bytes(upgrade).unwrap());
        }
        let route = routes.classify_path(&Method::GET, "/chat", &headers);
        assert_eq!(route, expected, "{upgrades:?}");
    }
}

/// A router that nests the layer takes its prefix off; patterns are written as URLs are called.
#[cfg(feature = "axum")]
#[test]
fn r11_r12_patterns_are_of_the_url_as_called_and_of_what_a_nesting_router_leaves_for_what_is_protected()
 {
    use http::Request;

    let routes = Routes {
        excluded: patterns(&["/shop/own", "/own"]),
        protected: patterns(&["/shop/keys", "/bare"]),
        reads: vec![(Method::POST, PathPattern::parse("/find").unwrap())],
    };
    let tests = [
        (Method::GET, "/shop/keys/1", "/keys/1", Route::Protected),
        (Method::GET, "/shop/bare", "/bare", Route::Protected),
        (
            Method::GET,
            "/shop/own/trail",
            "/own/trail",
            Route::Excluded,
        ),
        // The same by its rest only: that is another page, and it would run as the actor.
        (Method::GET, "/api/own", "/own", Route::Read),
        (Method::POST, "/api/find", "/find", Route::Write),
        (Method::GET, "/own", "/own", Route::Excluded),
    ];
    for (method, called, left, route) in tests {
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = left.parse().unwrap();
        let called_uri = axum::extract::OriginalUri(called.parse().unwrap());
        request.extensions_mut().insert(called_uri);
        assert_eq!(routes.classify(&request.into_parts().0), route, "{called}");
    }
}
