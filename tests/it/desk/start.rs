//! S1: starts as JSON and as forms: the whole answer, bad input, other sites, and the subjects that are no users.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Desk, cookie_of, only};

#[tokio::test]
async fn a_start_answers_with_the_whole_contract() {
    let desk = Desk::open().await;
    let body = json!({
        "email": "INES@shop.example", "reason": "  ticket 4711  ", "access": "read_write",
        "ticket": "T-4711", "duration": 600,
    });
    let call = desk.call("ada", Method::POST, "/impersonation").json(body);
    let answer = call.header("user-agent", "a test").send().await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    let session = &answer["session"];
    let expected = json!({
        "session": {
            "id": session["id"], "admin_user_id": "ada", "target_user_id": "ines",
            "impersonation_type": "user", "target_role": "customer", "access": "read_write",
            "reason": "ticket 4711", "ticket": "T-4711", "started_at": session["started_at"],
            "expires_at": session["expires_at"], "ended_at": null, "ended_reason": null,
            "is_active": true, "ip_address": "127.0.0.1", "user_agent": "a test",
        },
        "target_user": {"id": "ines", "email": "ines@shop.example", "role": "customer"},
        "access_token": answer["access_token"], "refresh_token": answer["refresh_token"], "expires_in": answer["expires_in"],
        "redirect_to": "/?as=ines",
    });
    assert_eq!(answer, expected);
    let left = answer["expires_in"].as_u64().unwrap();
    assert!(
        (590..=600).contains(&left),
        "no longer than the session: {left}"
    );
    assert!(answer["access_token"].is_string() && answer["refresh_token"].is_string());
    let current = desk.get("ada", "/impersonation").await.json();
    assert_eq!(current["session"], expected["session"]);
    assert_eq!(current["target_user"], expected["target_user"]);

    desk.stopped("ada").await;
    let current = desk.get("ada", "/impersonation").await.json();
    assert_eq!(current, json!({"session": null, "target_user": null}));
    let again = desk.post("ada", "/impersonation/end", json!({})).await;
    assert_eq!(again.refusal(), (404, "no_active_session".to_owned()));
    assert_eq!(
        again.json()["error"],
        "No active impersonation session found"
    );
}

#[tokio::test]
async fn bad_input_names_the_field_and_starts_nothing() {
    struct Case {
        path: &'static str,
        body: String,
        names: &'static str,
    }
    let case = |path, body: Value, names| Case {
        path,
        body: body.to_string(),
        names,
    };
    let raw = |body: &str, names| Case {
        path: "/start",
        body: body.to_owned(),
        names,
    };
    let fine = || json!({"target_user_id": "ines", "reason": "ticket 4711"});
    let with = |field: &str, value: Value| {
        let mut body = fine();
        body[field] = value;
        body
    };
    let cases = [
        raw("{\"reason\": ", "EOF"),
        raw("[]", "Fields"),
        raw("", "`reason`"),
        case("/start", json!({}), "`reason`"),
        case("/start", json!({"target_user_id": "ines"}), "`reason`"),
        case("/start", with("reason", json!("")), "`reason`"),
        case("/start", with("reason", json!(" \t\n ")), "`reason`"),
        case("/start", with("reason", json!("x".repeat(501))), "`reason`"),
        case("/start", with("reason", json!(7)), "reason"),
        case("/start", with("acess", json!("read_only")), "`acess`"),
        case("/start", with("access", json!("admin")), "`access`"),
        case("/start", with("access", json!("READ_ONLY")), "`access`"),
        case("/start", with("duration", json!(0)), "`duration`"),
        case("/start", with("duration", json!(-5)), "`duration`"),
        case("/start", with("duration", json!(1.5)), "duration"),
        case("/start", with("duration", json!("soon")), "`duration`"),
        case("/start", with("ticket", json!("x".repeat(129))), "`ticket`"),
        case(
            "/start",
            with("email", json!("otto@shop.example")),
            "`email`",
        ),
        case("/start", with("public_id", json!("otto")), "`public_id`"),
        case(
            "/start",
            json!({"reason": "ticket 4711"}),
            "`target_user_id`",
        ),
        case(
            "/start",
            with("target_user_id", json!("")),
            "`target_user_id`",
        ),
        case(
            "/start",
            with("target_user_id", json!("~service")),
            "`target_user_id`",
        ),
        case(
            "/start",
            with("target_user_id", json!(["ines"])),
            "target_user_id",
        ),
        case("", json!({"target_user_id": "ines"}), "`reason`"),
        case("/anon", fine(), "`target_user_id`"),
        case("/anon", json!({}), "`reason`"),
        case("/service", json!({}), "`reason`"),
    ];
    let desk = Desk::open().await;
    for Case { path, body, names } in cases {
        let call = desk.call("root", Method::POST, &format!("/impersonation{path}"));
        let answer = call.body("application/json", body.clone()).send().await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid_request".to_owned()),
            "{body}"
        );
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert!(error.contains(names), "{body}: {error}");
    }
    for (form, names) in [
        ("target_user_id=ines", "`reason`"),
        ("target_user_id=ines&reason=", "`reason`"),
        ("target_user_id=ines&reason=a&reason=b", "`reason`"),
        ("target_user_id=ines&reason=a&other=b", "`other`"),
    ] {
        let call = desk.call("root", Method::POST, "/impersonation/start");
        let call = call.body("application/x-www-form-urlencoded", form);
        let answer = call.send().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{form}");
        assert!(answer.text().contains(names), "{form}: {}", answer.text());
    }
    let call = desk.call("root", Method::POST, "/impersonation/start");
    let text = call.body("text/plain", fine().to_string()).send().await;
    assert_eq!(text.refusal().0, 400);
    assert!(text.text().contains("Content-Type"));

    assert_eq!(desk.sessions("").await.len(), 0);
    let longest = with("reason", json!("x".repeat(500)));
    let fine = desk.post("root", "/impersonation/start", longest).await;
    assert_eq!(fine.status, StatusCode::OK);
}

#[tokio::test]
async fn get_starts_and_ends_nothing() {
    let desk = Desk::open().await;
    for path in ["start", "anon", "service", "end"] {
        let answer = desk.get("root", &format!("/impersonation/{path}")).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{path}");
    }
    let logout = desk.get("root", "/logout").await;
    assert_eq!(logout.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(desk.sessions("").await.len(), 0);
}

#[tokio::test]
async fn other_sites_change_nothing() {
    let desk = Desk::open().await;
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);
    desk.started("ada", "ines", "read_write").await;
    let before = desk.orders_of("ada").await;

    let start: &[_] = &[("target_user_id", "otto"), ("reason", "lured")];
    for (path, fields) in [
        ("/impersonation/start", start),
        ("/impersonation/anon", &[("reason", "lured")]),
        ("/impersonation/end", &[]),
        ("/api/orders", &[("item", "lured")]),
        ("/account/password", &[]),
        ("/login", &[("user", "otto")]),
        ("/logout", &[]),
    ] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let call = desk.call("", Method::POST, path).form(fields);
            let call = call.header("cookie", &cookie).header(name, value);
            let answer = call.send().await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {value}");
            assert_eq!(answer.header("set-cookie"), None);
        }
    }
    assert_eq!(desk.sessions("").await.len(), 1);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 1);
    assert_eq!(desk.orders_of("ada").await, before);

    // The same, from a page of ours.
    let own = format!("http://{}", desk.running.authority());
    let call = desk.call("", Method::POST, "/impersonation/end").form(&[]);
    let call = call.header("cookie", &cookie).header("origin", &own);
    assert_eq!(call.send().await.status, StatusCode::SEE_OTHER);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
}

#[tokio::test]
async fn a_json_content_type_on_an_empty_body_is_ignored() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let call = desk.call("ada", Method::GET, "/impersonation");
    let current = call.body("application/json", "").send().await;
    assert_eq!(current.json()["target_user"]["id"], "ines");
    let call = desk.call("ada", Method::DELETE, "/impersonation");
    let ended = call.body("application/json", "").send().await;
    assert_eq!(ended.status, StatusCode::OK);
    assert_eq!(ended.json()["success"], true);
    assert!(ended.json()["message"].is_string());
    desk.started("ada", "ines", "read_only").await;
    let call = desk.call("ada", Method::POST, "/impersonation/end");
    let ended = call.body("application/json", "").send().await;
    assert_eq!(ended.json()["success"], true);
}

#[tokio::test]
async fn a_form_start_leads_to_the_subjects_page() {
    struct Case {
        next: &'static str,
        location: &'static str,
    }
    let case = |next, location| Case { next, location };
    let cases = [
        case("", "/?as=ines"),
        case("/api/orders", "/api/orders?as=ines"),
        case("/api/orders?page=2", "/api/orders?page=2&as=ines"),
        case("//evil.example", "/?as=ines"),
        case("/\\evil.example", "/?as=ines"),
        case("\\evil.example", "/?as=ines"),
        case("/%09/evil.example", "/?as=ines"),
        case("https://evil.example/", "/?as=ines"),
        case("javascript:alert(1)", "/?as=ines"),
    ];
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "100")]).await;
    for Case { next, location } in cases {
        let form = [
            ("target_user_id", "ines"),
            ("reason", "ticket"),
            ("next", next),
        ];
        let call = desk.call("ada", Method::POST, "/impersonation/start");
        let answer = call.form(&form).navigation().send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{next}");
        assert_eq!(answer.header("location"), Some(location), "{next}");
        let call = desk.call("ada", Method::POST, "/impersonation/end");
        let answer = call.form(&[]).navigation().send().await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER);
        assert_eq!(answer.header("location"), Some("/admin"));
    }
    let call = desk.call("ada", Method::POST, "/impersonation/start");
    let call = call.form(&[("target_user_id", "ines"), ("reason", "ticket")]);
    let answer = call.header("accept", "application/json").send().await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["redirect_to"], "/?as=ines");
}

#[tokio::test]
async fn acting_as_the_anonymous_visitor_and_as_the_service_role() {
    let desk = Desk::open().await;
    let started = desk.post(
        "ada",
        "/impersonation/anon",
        json!({"reason": "the shop window"}),
    );
    let started = started.await.json();
    assert_eq!(started["target_user"], Value::Null);
    assert_eq!(started["session"]["impersonation_type"], "anon");
    assert_eq!(started["session"]["target_user_id"], Value::Null);
    let page = desk.get("ada", "/?as=~anon").await;
    assert!(page.text().contains("made to last"), "the public page");
    assert!(page.text().contains("an anonymous visitor"), "the banner");
    assert!(!page.text().contains("Ada Lindqvist"));
    let orders = desk.get("ada", "/api/orders?as=~anon").await;
    assert_eq!(orders.status, StatusCode::UNAUTHORIZED);

    for who in ["ada", "sam"] {
        let refused = desk.post(who, "/impersonation/service", json!({"reason": "jobs"}));
        assert_eq!(refused.await.refusal(), (403, "denied".to_owned()));
    }
    let started = desk.post("root", "/impersonation/service", json!({"reason": "jobs"}));
    let started = started.await.json();
    assert_eq!(started["session"]["impersonation_type"], "service");
    let me = desk.get("root", "/api/me?as=~service").await.json();
    assert_eq!((&me["id"], &me["role"]), (&Value::Null, &json!("service")));
    let orders = desk.get("root", "/api/orders?as=~service").await.json();
    let users: Vec<_> = orders
        .as_array()
        .unwrap()
        .iter()
        .map(|o| &o["user"])
        .collect();
    assert!(users.contains(&&json!("ines")) && users.contains(&&json!("mia")));

    let events = desk.close().await;
    let denied = json!({"name": "impersonation.denied", "actor": "ada", "subject": "~service"});
    assert_eq!(only(&events, &denied)["rule"], "service_right");
}
