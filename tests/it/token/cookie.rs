//! B11, R1: the cookie for a whole browser acts everywhere until stop, and is just a cookie where the host did not ask
//! for it.

use http::{HeaderValue, StatusCode};
use tower_impersonation::RejectionKind;

use super::{assert_unauthorized, bearer, desk_with_tokens, issue, settings};
use crate::support::{Desk, Req, ask, desk_with, parts, with};

fn desk_with_cookie() -> Desk {
    desk_with(|builder| builder.tokens(settings().cookie()).exclude("/admin"))
}

/// The cookie as a browser would send it, and its attributes.
fn taken(set_cookie: &HeaderValue) -> (String, String) {
    let (pair, attributes) = set_cookie.to_str().unwrap().split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

fn browser(who: &str, method: &str, target: &str, cookies: &str) -> Req {
    with(ask(method, who, target), &[("cookie", cookies)])
}

#[tokio::test]
async fn with_the_cookie_a_browser_is_acted_everywhere_until_stop() {
    let desk = desk_with_cookie();
    let session = desk.start("ada", "ines").await.unwrap();
    let handed_out = desk.handle.hand_out(&session).await.unwrap();
    let (cookie, attributes) = taken(&handed_out.cookies[0]);
    assert!(cookie.starts_with("__Host-impersonation=ey"), "{cookie}");
    assert_eq!(
        attributes,
        "HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=2599200"
    );

    let all = format!("sid=1; {cookie};theme=dark");
    for (who, method, target) in [
        ("ada", "GET", "/orders"),
        ("ada", "POST", "/orders"),
        ("", "GET", "/"),
        ("ada", "GET", "/?as=ines"),
    ] {
        let reply = desk.send(browser(who, method, target, &all)).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, "ines by ada"),
            "{who} {method} {target}"
        );
        assert_eq!(desk.echo.last().headers["cookie"], "sid=1; theme=dark");
    }
    desk.send(browser("ada", "GET", "/", &cookie)).await;
    assert!(!desk.echo.last().headers.contains_key("cookie"));
    // Excluded prefixes run as the actor, without it.
    let own = desk.send(browser("ada", "GET", "/admin/users", &all)).await;
    assert_eq!(own.body, "themselves");
    assert_eq!(desk.echo.last().headers["cookie"], "sid=1; theme=dark");

    // Someone else's browser, another subject, twice, beside another token.
    for who in ["abe", "mia"] {
        assert_unauthorized(&desk.send(browser(who, "GET", "/", &all)).await, who);
    }
    let token = issue(&desk, &session).access_token;
    let both = [("impersonation-token", token.as_str())];
    let beside_token = with(browser("ada", "GET", "/", &cookie), &both);
    for request in [
        browser("ada", "GET", "/?as=otto", &all),
        browser("ada", "GET", "/", &format!("{cookie}; {cookie}")),
        beside_token,
    ] {
        assert_eq!(
            desk.send(request).await.kind,
            Some(RejectionKind::MalformedMarker)
        );
    }
    // A cookie is no bearer, and a bearer no cookie.
    let (_, value) = cookie.split_once('=').unwrap();
    assert_unauthorized(
        &desk.send(bearer("GET", "/", value)).await,
        "cookie as bearer",
    );
    let as_cookie = format!("__Host-impersonation={token}");
    assert_unauthorized(
        &desk.send(browser("ada", "GET", "/", &as_cookie)).await,
        "bearer as cookie",
    );

    // Stopped: refused once, and taken away with that.
    desk.handle.stop(&parts("ada")).await.unwrap();
    let calls = desk.echo.calls();
    let refused = desk.send(browser("ada", "GET", "/", &all)).await;
    assert_unauthorized(&refused, "stopped");
    let (cookie, attributes) = taken(&refused.headers["set-cookie"]);
    assert_eq!(cookie, "__Host-impersonation=");
    assert_eq!(
        attributes,
        "HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=0"
    );
    for cut in ["__Host-impersonation=", "__Host-impersonation=x"] {
        assert_unauthorized(&desk.send(browser("ada", "GET", "/", cut)).await, cut);
    }
    assert_eq!(desk.echo.calls(), calls);
}

#[tokio::test]
async fn r1_without_the_cookie_source_a_cookie_is_a_cookie() {
    let desk = desk_with_tokens();
    let with_cookie = desk_with_cookie();
    let session = with_cookie.start("ada", "ines").await.unwrap();
    let handed_out = with_cookie.handle.hand_out(&session).await.unwrap();
    let (cookie, _) = taken(&handed_out.cookies[0]);
    assert_eq!(
        desk.send(browser("ada", "GET", "/", &cookie)).await.body,
        "themselves"
    );
    assert_eq!(desk.echo.last().headers["cookie"], cookie);
    let session = desk.start("ada", "ines").await.unwrap();
    assert!(
        desk.handle
            .hand_out(&session)
            .await
            .unwrap()
            .cookies
            .is_empty()
    );
    // Other names are others' cookies.
    for other in [
        "impersonation=x",
        "__host-impersonation=x",
        "X__Host-impersonation=x",
        "a=__Host-impersonation",
    ] {
        assert_eq!(
            with_cookie
                .send(browser("ada", "GET", "/", other))
                .await
                .body,
            "themselves"
        );
        assert_eq!(with_cookie.echo.last().headers["cookie"], other);
    }
}
