//! R10, R11, R12: reading is allowed unless more was granted, protected routes never, and excluded paths run as the
//! actor. No spelling of a path changes that.

use http::Method;
use tower_impersonation::{Access, RejectionKind, StartRequest};

use crate::support::{ask, desk_with, get, parts, subject};

#[tokio::test]
async fn r10_unsafe_methods_need_read_write_access() {
    struct Test {
        method: &'static str,
        target: &'static str,
        r#override: bool,
        read: bool,
    }
    let test = |method, target, read| Test {
        method,
        target,
        r#override: false,
        read,
    };
    let tests = [
        test("GET", "/orders?as=ines", true),
        test("HEAD", "/orders?as=ines", true),
        test("OPTIONS", "/orders?as=ines", true),
        test("POST", "/orders?as=ines", false),
        test("PUT", "/orders?as=ines", false),
        test("PATCH", "/orders?as=ines", false),
        test("DELETE", "/orders?as=ines", false),
        test("TRACE", "/orders?as=ines", false),
        test("CONNECT", "/orders?as=ines", false),
        test("PURGE", "/orders?as=ines", false),
        test("get", "/orders?as=ines", false),
        test("POST", "/search?as=ines", true),
        test("PUT", "/search?as=ines", false),
        test("POST", "/search/save?as=ines", false),
        test("POST", "/search/?as=ines", false),
        Test {
            method: "GET",
            target: "/orders?as=ines",
            r#override: true,
            read: false,
        },
    ];
    for test in tests {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let desk = desk_with(|b| b.read_route(Method::POST, "/search"));
            let start = StartRequest::new(subject("ines"), "ticket 1").with_access(access);
            desk.handle.start(&parts("ada"), start).await.unwrap();
            let mut request = ask(test.method, "ada", test.target);
            if test.r#override {
                let method = "DELETE".parse().unwrap();
                request
                    .headers_mut()
                    .insert("x-http-method-override", method);
            }
            let reply = desk.send(request).await;

            let what = format!("{} {} {access}", test.method, test.target);
            if test.read || access == Access::ReadWrite {
                assert_eq!(reply.kind, None, "{what}");
                assert_eq!(desk.echo.calls(), 1, "{what}");
                let access_seen = desk.echo.last().acting_as.map(|a| a.access());
                assert_eq!(access_seen, Some(access), "{what}");
            } else {
                assert_eq!(reply.kind, Some(RejectionKind::ReadOnly), "{what}");
                assert_eq!(desk.echo.calls(), 0, "{what}");
                let denied = "denied ada ines read_only".to_owned();
                assert_eq!(desk.trail().await.last(), Some(&denied), "{what}");
            }
        }
    }
}

#[tokio::test]
async fn r11_protected_routes_are_refused_in_every_access_mode_and_spelling() {
    let paths = [
        "/account/password",
        "/account/password/",
        "/account/password/new",
        "//account//password",
        "/account/./password",
        "/account/x/../password",
        "/account/%70assword",
        "/account%2fpassword",
        "/account/%2e/password",
        "/orders/%2e%2e/account/password",
        "/account\\password",
    ];
    for path in paths {
        for method in ["GET", "POST"] {
            for who in ["ada", "sam"] {
                let desk = desk_with(|b| b.protect("/account/password"));
                desk.start(who, "ines").await.unwrap();
                let Ok(target) = format!("{path}?as=ines").parse::<http::Uri>() else {
                    // It never gets past the parser of the server either.
                    continue;
                };
                let reply = desk.send(ask(method, who, &target.to_string())).await;

                assert_eq!(
                    reply.kind,
                    Some(RejectionKind::Protected),
                    "{method} {path} {who}"
                );
                assert_eq!(desk.echo.calls(), 0, "{method} {path} {who}");
                // Unmarked it is the caller's own.
                assert_eq!(desk.send(ask(method, who, path)).await.body, "themselves");
            }
        }
    }
    // Whole segments.
    let desk = desk_with(|b| b.protect("/account/password"));
    desk.start("ada", "ines").await.unwrap();
    let reply = desk
        .send(get("ada", "/account/password-hints?as=ines"))
        .await;
    assert_eq!(reply.body, "ines by ada");
}

#[tokio::test]
async fn r12_excluded_paths_run_as_the_actor_and_no_spelling_widens_them() {
    struct Test {
        target: &'static str,
        excluded: bool,
    }
    let test = |target, excluded| Test { target, excluded };
    let tests = [
        test("/admin?as=ines", true),
        test("/admin/?as=ines", true),
        test("/admin/users/7?as=ines", true),
        test("/tenants/8/admin/x?as=ines", true),
        test("/administrators?as=ines", false),
        test("/orders/admin?as=ines", false),
        test("/admin/../orders?as=ines", false),
        test("/admin/%2e%2e/orders?as=ines", false),
        test("/admin%2f..%2forders?as=ines", false),
        test("/admin/..%2forders?as=ines", false),
        test("//admin?as=ines", false),
        test("/%61dmin?as=ines", false),
        test("/tenants//admin?as=ines", false),
    ];
    for test in tests {
        let desk = desk_with(|b| b.exclude("/admin").exclude("/tenants/*/admin"));
        desk.start("ada", "ines").await.unwrap();
        desk.world.forget();
        let reply = desk.send(get("ada", test.target)).await;

        let body = if test.excluded {
            "themselves"
        } else {
            "ines by ada"
        };
        assert_eq!(reply.body, body, "{}", test.target);
        assert_eq!(
            desk.world.count("identify") == 0,
            test.excluded,
            "{}",
            test.target
        );
        assert_eq!(desk.echo.last().uri.query(), None, "{}", test.target);
    }
}
