//! R18, S4: signing in and out, and what ends with it.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Desk, cookie_of};

#[tokio::test]
async fn a_sign_in_is_a_cookie_that_cannot_be_read_or_guessed() {
    let desk = Desk::open().await;
    let mut cookies = Vec::new();
    for user in ["ines", "ines", "otto@shop.example"] {
        let call = desk
            .call("", Method::POST, "/login")
            .form(&[("user", user)]);
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), Some("/"));
        let cookie = answer.header("set-cookie").unwrap();
        for attribute in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(cookie.contains(attribute), "{cookie}");
        }
        let (_, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
        assert!(value.len() >= 32 && !value.contains("ines"), "{value}");
        cookies.push(cookie_of(&answer));
    }
    assert_ne!(cookies[0], cookies[1]);
    for (cookie, id) in [
        (&cookies[0], "ines"),
        (&cookies[1], "ines"),
        (&cookies[2], "otto"),
    ] {
        let me = desk
            .call("", Method::GET, "/api/me")
            .header("cookie", cookie);
        assert_eq!(me.send().await.json()["id"], id);
    }
    let made_up = desk.call("", Method::GET, "/api/me");
    let made_up = made_up.header("cookie", "desk_session=ines").send().await;
    assert_eq!(made_up.status, StatusCode::UNAUTHORIZED);

    let json = desk.post("", "/login", json!({"user": "mia"})).await;
    assert_eq!(json.status, StatusCode::OK);
    assert_eq!(json.json()["id"], "mia");
    assert!(json.header("set-cookie").is_some());

    let unknown = desk.post("", "/login", json!({"user": "nobody"})).await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert_eq!(unknown.header("set-cookie"), None);
    let unknown = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "<b>")]);
    let unknown = unknown.send().await;
    assert_eq!(unknown.status, StatusCode::UNAUTHORIZED);
    assert!(unknown.text().contains("no such user"));
    let missing = desk.post("", "/login", json!({})).await;
    assert_eq!(missing.status, StatusCode::BAD_REQUEST);
    assert!(missing.text().contains("user"));
}

#[tokio::test]
async fn a_sign_in_leads_back_but_never_away() {
    let desk = Desk::open().await;
    let asked = desk
        .call("", Method::GET, "/admin")
        .navigation()
        .send()
        .await;
    assert_eq!(asked.status, StatusCode::SEE_OTHER);
    assert_eq!(asked.header("location"), Some("/login?next=/admin"));
    let page = desk.get("", "/login?next=/account/password").await;
    assert!(
        page.text()
            .contains(r#"name="next" value="/account/password""#)
    );
    for (next, location) in [
        ("/account/password", "/account/password"),
        ("/?x=1&y=2", "/?x=1&y=2"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("/%09/evil.example", "/"),
        ("https://evil.example", "/"),
        ("", "/"),
    ] {
        let call = desk.call("", Method::POST, "/login");
        let answer = call.form(&[("user", "ines"), ("next", next)]).send().await;
        assert_eq!(answer.header("location"), Some(location), "{next}");
        let page = desk.call("", Method::GET, "/login").send().await;
        assert!(!page.text().contains("evil"));
    }
    let staff = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "sam")]);
    assert_eq!(staff.send().await.header("location"), Some("/admin"));
}

#[tokio::test]
async fn s4_signing_out_ends_what_was_started() {
    for way in ["/logout", "/login"] {
        let desk = Desk::open().await;
        let login = desk
            .call("", Method::POST, "/login")
            .form(&[("user", "ada")]);
        let cookie = cookie_of(&login.send().await);
        desk.started("ada", "ines", "read_only").await;
        // By the cookie, and even from an acted page.
        let call = desk.call("", Method::POST, &format!("{way}?as=ines"));
        let call = call.header("cookie", &cookie).form(&[("user", "otto")]);
        let out = call.send().await;
        assert_eq!(out.status, StatusCode::SEE_OTHER, "{}", out.text());
        let old = desk
            .call("", Method::GET, "/api/me")
            .header("cookie", &cookie);
        assert_eq!(old.send().await.status, StatusCode::UNAUTHORIZED);
        let sessions = desk.sessions("").await;
        assert_eq!(sessions[0]["ended_reason"], "admin_logout", "{way}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_not_the_same_as_none() {
    let desk = Desk::open().await;
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);
    for token in [
        "Bearer demo-nobody",
        "Bearer ada",
        "demo-ada",
        "Basic demo-ada",
        "Bearer",
    ] {
        for path in ["/", "/api/me", "/api/me?as=ines"] {
            let call = desk.call("", Method::GET, path).header("cookie", &cookie);
            let answer = call.header("authorization", token).send().await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{token} {path}");
            assert!(answer.header("www-authenticate").is_some());
        }
    }
    let lower = desk.call("", Method::GET, "/api/me");
    let lower = lower
        .header("authorization", "bearer demo-ada")
        .send()
        .await;
    assert_eq!(lower.json()["id"], "ada");
}

#[tokio::test]
async fn r18_forwarded_headers_are_not_believed() {
    let desk = Desk::open().await;
    let call = desk.call("ada", Method::POST, "/impersonation/start");
    let call = call.json(json!({"target_user_id": "ines", "reason": "ticket"}));
    let call = call.header("x-forwarded-for", "6.6.6.6");
    let started = call.header("forwarded", "for=6.6.6.6").send().await;
    assert_eq!(started.json()["session"]["ip_address"], "127.0.0.1");
}
