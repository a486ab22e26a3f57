//! R10, R11, R12: reading is allowed unless more was granted, protected routes never, and excluded paths run as the
//! actor. No spelling of a path changes that.

use http::Method;
use tower_impersonation::{Access, RejectionKind, StartRequest};

use crate::support::{ask, desk_with, get, parts, subject, with};

#[tokio::test]
async fn r10_unsafe_methods_need_read_write_access() {
    struct Case {
        method: &'static str,
        target: &'static str,
        r#override: bool,
        read: bool,
    }
    let case = |method, target, read| Case {
        method,
        target,
        r#override: false,
        read,
    };
    let cases = [
        case("GET", "/orders?as=ines", true),
        case("HEAD", "/orders?as=ines", true),
        case("OPTIONS", "/orders?as=ines", true),
        case("POST", "/orders?as=ines", false),
        case("PUT", "/orders?as=ines", false),
        case("PATCH", "/orders?as=ines", false),
        case("DELETE", "/orders?as=ines", false),
        case("TRACE", "/orders?as=ines", false),
        case("CONNECT", "/orders?as=ines", false),
        case("PURGE", "/orders?as=ines", false),
        case("get", "/orders?as=ines", false),
        case("POST", "/search?as=ines", true),
        case("PUT", "/search?as=ines", false),
        case("POST", "/search/save?as=ines", false),
        case("POST", "/search/?as=ines", false),
        Case {
            method: "GET",
            target: "/orders?as=ines",
            r#override: true,
            read: false,
        },
    ];
    for case in cases {
        for access in [Access::ReadOnly, Access::ReadWrite] {
            let desk = desk_with(|b| b.read_route(Method::POST, "/search"));
            let start = StartRequest::new(subject("ines"), "ticket 1").with_access(access);
            desk.started(&parts("ada"), start).await;
            let mut request = ask(case.method, "ada", case.target);
            if case.r#override {
                request = with(request, &[("x-http-method-override", "DELETE")]);
            }
            let reply = desk.send(request).await;

            let what = format!("{} {} {access}", case.method, case.target);
            if case.read || access == Access::ReadWrite {
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
    struct Case {
        target: &'static str,
        excluded: bool,
    }
    let case = |target, excluded| Case { target, excluded };
    let cases = [
        case("/admin?as=ines", true),
        case("/admin/?as=ines", true),
        case("/admin/users/7?as=ines", true),
        case("/tenants/8/admin/x?as=ines", true),
        case("/administrators?as=ines", false),
        case("/orders/admin?as=ines", false),
        case("/admin/../orders?as=ines", false),
        case("/admin/%2e%2e/orders?as=ines", false),
        case("/admin%2f..%2forders?as=ines", false),
        case("/admin/..%2forders?as=ines", false),
        case("//admin?as=ines", false),
        case("/%61dmin?as=ines", false),
        case("/tenants//admin?as=ines", false),
    ];
    for case in cases {
        let desk = desk_with(|b| b.exclude("/admin").exclude("/tenants/*/admin"));
        desk.start("ada", "ines").await.unwrap();
        desk.world.forget();
        let reply = desk.send(get("ada", case.target)).await;

        let body = if case.excluded {
            "themselves"
        } else {
            "ines by ada"
        };
        assert_eq!(reply.body, body, "{}", case.target);
        assert_eq!(
            desk.world.count("identify") == 0,
            case.excluded,
            "{}",
            case.target
        );
        assert_eq!(desk.echo.last().uri.query(), None, "{}", case.target);
    }
}
