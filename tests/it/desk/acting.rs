//! R3, R5, R10, R11, R12, R15: what an acted request sees and may do at the desk.

use http::{Method, StatusCode};
use serde_json::json;

use super::Desk;

// === GET /api/me ===

#[tokio::test]
async fn me_tells_who_it_is_and_who_is_really_there() {
    let desk = Desk::open().await;

    let nobody = desk.get("", "/api/me").await;
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    assert!(nobody.json()["error"].is_string());

    let own = desk.get("sam", "/api/me").await.json();
    let expected = json!({
        "id": "sam", "login": "sam@shop.example", "role": "support", "acting_as": null,
    });
    assert_eq!(own, expected);

    let session = desk.started("ada", "mia", "read_write").await["session"].clone();
    let acted = desk.get("ada", "/api/me?as=mia").await.json();
    let expected = json!({
        "id": "mia", "login": "mia@shop.example", "role": "customer",
        "acting_as": {
            "actor": "ada", "subject": "mia", "access": "read_write",
            "session_id": session["id"], "expires_at": session["expires_at"],
        },
    });
    assert_eq!(acted, expected);
    desk.stopped("ada").await;

    let session = desk.post(
        "ada",
        "/impersonation/anon",
        json!({"reason": "as a visitor"}),
    );
    let session = session.await.json()["session"].clone();
    let visitor = desk.get("ada", "/api/me?as=~anon").await.json();
    let expected = json!({
        "id": null, "login": null, "role": "anonymous",
        "acting_as": {
            "actor": "ada", "subject": "~anon", "access": "read_only",
            "session_id": session["id"], "expires_at": session["expires_at"],
        },
    });
    assert_eq!(visitor, expected);
}

#[tokio::test]
async fn the_roles_of_the_seeded_users() {
    let desk = Desk::open().await;
    for (user, role) in [
        ("root", "superadmin"),
        ("ada", "admin"),
        ("abe", "admin"),
        ("sam", "support"),
        ("ines", "customer"),
        ("otto", "customer"),
        ("mia", "customer"),
        ("kim", "customer"),
        ("bot", "system"),
    ] {
        let me = desk.get(user, "/api/me").await.json();
        assert_eq!(me["role"], role);
        assert_eq!(me["login"], format!("{user}@shop.example"));
    }
}

// === acting ===

#[tokio::test]
async fn r15_acted_answers_say_whom_they_show() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let acted = desk.get("ada", "/api/orders?as=ines").await;
    assert_eq!(acted.header("acted-as"), Some("ines"));
    assert_eq!(acted.header("cache-control"), Some("no-store"));
    assert_eq!(acted.header("referrer-policy"), Some("same-origin"));
    assert_eq!(acted.json()[0]["user"], "ines");
    let own = desk.get("ada", "/api/orders").await;
    assert_eq!(own.header("acted-as"), None);
    assert_eq!(own.json(), json!([]));
    let by_header = desk
        .call("ada", Method::GET, "/api/me")
        .header("act-as", "ines");
    assert_eq!(by_header.send().await.json()["id"], "ines");
}

#[tokio::test]
async fn r10_a_read_write_session_writes_for_the_subject() {
    let desk = Desk::open().await;
    let before = desk.orders_of("ines").await;
    desk.started("ada", "ines", "read_only").await;
    let order = desk.order("ada", "/api/orders?as=ines").await;
    assert_eq!(order.refusal(), (403, "read_only".to_owned()));
    assert_eq!(desk.orders_of("ines").await, before);
    desk.stopped("ada").await;

    desk.started("ada", "ines", "read_write").await;
    let order = desk.order("ada", "/api/orders?as=ines").await;
    assert_eq!(order.status, StatusCode::CREATED);
    assert_eq!(desk.orders_of("ines").await, before + 1);
    assert_eq!(desk.orders_of("ada").await, 0);
}

#[tokio::test]
async fn r11_the_password_is_out_of_reach() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    for path in [
        "/account/password?as=ines",
        "/account//password?as=ines",
        "/account/%70assword?as=ines",
        "/account/password/?as=ines",
    ] {
        for method in [Method::GET, Method::POST] {
            let answer = desk.call("ada", method, path).send().await;
            assert_eq!(answer.refusal(), (403, "protected".to_owned()), "{path}");
        }
    }
    let page = desk.get("ines", "/account/password").await;
    assert!(page.text().contains("Never changed"));

    let own = desk.call("ines", Method::POST, "/account/password").send();
    assert_eq!(own.await.status, StatusCode::NO_CONTENT);
    let page = desk.get("ines", "/account/password").await;
    assert!(page.text().contains("Last changed"));
}

#[tokio::test]
async fn r12_excluded_paths_run_as_the_actor() {
    let desk = Desk::open().await;
    desk.started("root", "ines", "read_only").await;
    // As ines this would be 403; read-only, too.
    let answer = desk
        .call("root", Method::DELETE, "/demo/users/otto?as=ines")
        .send();
    assert_eq!(answer.await.status, StatusCode::OK);
    let admin = desk.get("root", "/admin?as=ines").await;
    assert!(admin.text().contains("<h1>People</h1>"));
    assert_eq!(admin.header("acted-as"), None);
    let current = desk.get("root", "/impersonation?as=ines").await.json();
    assert_eq!(current["target_user"]["id"], "ines");
}

#[tokio::test]
async fn r3_malformed_markers_are_refused_over_http() {
    struct Case {
        query: &'static str,
        headers: &'static [(&'static str, &'static str)],
        status: u16,
    }
    let case = |query, headers, status| Case {
        query,
        headers,
        status,
    };
    let cases = [
        case("?%61s=ines", &[], 200),
        case("?as=in%65s", &[], 200),
        case("?AS=ines", &[], 200),
        case("?as=ines", &[("act-as", "ines")], 200),
        case("?as=", &[], 400),
        case("?as", &[], 400),
        case("?as=ines&as=ines", &[], 400),
        case("?as=%zz", &[], 400),
        case("?as=%00", &[], 400),
        case("?as=ines", &[("act-as", "otto")], 400),
        case("", &[("act-as", "ines"), ("act-as", "ines")], 400),
        case("?as=ines", &[("connection", "close, Act-As")], 400),
        case("", &[("act-as-reason", "no marker")], 400),
    ];
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for Case {
        query,
        headers,
        status,
    } in cases
    {
        let mut call = desk.call("ada", Method::GET, &format!("/api/me{query}"));
        for (name, value) in headers {
            call = call.header(name, value);
        }
        let answer = call.send().await;
        assert_eq!(answer.status, status, "{query} {headers:?}");
        if status == 400 {
            assert_eq!(answer.refusal().1, "malformed_marker");
        } else {
            let seen = if query.contains("AS") { "ada" } else { "ines" };
            assert_eq!(answer.json()["id"], seen, "{query}");
        }
    }
}

#[tokio::test]
async fn r5_a_link_on_another_site_does_not_act() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
    ] {
        let call = desk.call("ada", Method::GET, "/api/me?as=ines");
        let answer = call.header(name, value).send().await;
        assert_eq!(answer.refusal(), (403, "cross_site".to_owned()), "{value}");
    }
    let page = desk
        .call("ada", Method::GET, "/?as=ines")
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "cross-site");
    let page = page.send().await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    assert!(page.text().contains("Continue acting as this user"));
}
