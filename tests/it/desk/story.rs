//! A1, A5: the story that the README tells, and what is left of it after a restart, a termination and without a trail.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tower_impersonation::audit::{TrailFilter, TrailPage, TrailReader};
use tower_impersonation_sqlx::SqliteTrail;

use super::{Desk, cookie_of, database_in, named, only};

#[tokio::test]
async fn a_support_case_from_the_start_to_the_trail() {
    let desk = Desk::open().await;

    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let login = login.send().await;
    assert_eq!(login.status, StatusCode::SEE_OTHER);
    let cookie = cookie_of(&login);
    let as_ada = |method, path| desk.call("", method, path).header("cookie", &cookie);

    let start = json!({"target_user_id": "ines", "reason": "ticket 4711: cannot see the invoice"});
    let started = as_ada(Method::POST, "/impersonation/start").json(start);
    let started = started.send().await;
    assert_eq!(started.status, StatusCode::OK, "{}", started.text());
    let session = started.json()["session"]["id"].clone();

    let me = as_ada(Method::GET, "/api/me?as=ines").send().await.json();
    assert_eq!(me["id"], "ines");
    assert_eq!(me["acting_as"]["actor"], "ada");
    let me = as_ada(Method::GET, "/api/me").send().await.json();
    assert_eq!(me["id"], "ada");
    assert_eq!(me["acting_as"], Value::Null);

    let otto = as_ada(Method::GET, "/api/me?as=otto").send().await;
    assert_eq!(otto.refusal(), (403, "no_session".to_owned()));
    let item = json!({"item": "Bamboo whisk"});
    let order = as_ada(Method::POST, "/api/orders?as=ines").json(item.clone());
    assert_eq!(order.send().await.refusal(), (403, "read_only".to_owned()));
    let password = as_ada(Method::POST, "/account/password?as=ines").send();
    assert_eq!(password.await.refusal(), (403, "protected".to_owned()));

    let end = as_ada(Method::POST, "/impersonation/end").send().await;
    assert_eq!(end.status, StatusCode::OK);
    assert_eq!(end.json()["success"], true);
    let gone = as_ada(Method::GET, "/api/me?as=ines").send().await;
    assert_eq!(gone.refusal(), (403, "no_session".to_owned()));

    let start = json!({"target_user_id": "ines", "reason": "the same", "access": "read_write"});
    let started = as_ada(Method::POST, "/impersonation/start").json(start);
    assert_eq!(started.send().await.status, StatusCode::OK);
    let order = as_ada(Method::POST, "/api/orders?as=ines").json(item);
    let order = order.send().await;
    assert_eq!(order.status, StatusCode::CREATED);
    assert_eq!(order.json()["user"], "ines");
    let password = as_ada(Method::POST, "/account/password?as=ines").send();
    assert_eq!(password.await.refusal(), (403, "protected".to_owned()));

    let events = desk.close().await;
    let start = only(
        &events,
        &json!({"name": "impersonation.start", "session": session}),
    );
    assert_eq!(start["reason"], "ticket 4711: cannot see the invoice");
    assert_eq!(start["path"], "/impersonation/start");
    assert_eq!(start["address"], "127.0.0.1");
    let read = json!({"name": "impersonation.request", "session": session, "path": "/api/me"});
    let read = only(&events, &read);
    assert_eq!(
        (&read["outcome"], &read["status"]),
        (&json!("completed"), &json!(200))
    );
    for (subject, rule, path) in [
        ("otto", "no_session", "/api/me"),
        ("ines", "no_session", "/api/me"),
        ("ines", "read_only", "/api/orders"),
    ] {
        let denied = json!({
            "name": "impersonation.denied", "actor": "ada", "subject": subject, "rule": rule, "path": path,
        });
        only(&events, &denied);
    }
    let protected: Vec<_> = named(&events, "impersonation.denied")
        .into_iter()
        .filter(|event| event["rule"] == "protected" && event["subject"] == "ines")
        .collect();
    assert_eq!(protected.len(), 2, "refused in both accesses");
    let end = json!({"name": "impersonation.end", "session": session, "reason": "manual"});
    only(&events, &end);
    let written: Vec<_> = named(&events, "impersonation.request")
        .into_iter()
        .filter(|event| event["method"] == "POST")
        .collect();
    assert_eq!(written.len(), 2);
    assert_eq!(written[0]["outcome"], "intent");
    assert_eq!(written[1]["outcome"], "completed");
    assert_eq!(written[1]["status"], 201);
    assert_eq!(written[0]["id"], written[1]["id"]);
    let whole = serde_json::to_string(&events).unwrap();
    assert!(!whole.contains("?as="), "no query strings");
    assert!(!whole.contains("demo-"), "no tokens");
    assert!(!whole.contains(cookie.split_once('=').unwrap().1));
}

#[tokio::test]
async fn a5_a_terminated_desk_has_recorded_all() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for _ in 0..20 {
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
    }
    let events = desk.close().await;
    let reads = named(&events, "impersonation.request");
    let counted: u64 = reads
        .iter()
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(counted, 20);
}

/// As logrotate does it: the file is renamed, and the process hears of it, or not.
#[tokio::test]
async fn a5_a_file_that_is_rotated_is_opened_again() {
    for is_told in [true, false] {
        let desk = Desk::open().await;
        let file = desk.folder.path().join("trail.jsonl");
        let rotated = desk.folder.path().join("trail.jsonl.1");
        desk.started("ada", "ines", "read_only").await;
        std::fs::rename(&file, &rotated).unwrap();
        if is_told {
            desk.running.signal("HUP").await;
            while !file.exists() {
                tokio::task::yield_now().await;
            }
        }
        desk.stopped("ada").await;
        let rotated = std::fs::File::open(&rotated).unwrap();
        let later = desk.close().await;
        assert_eq!(named(&later, "impersonation.end").len(), 1, "{is_told}");
        assert_eq!(named(&later, "impersonation.start").len(), 0, "{is_told}");
        let earlier = std::io::read_to_string(rotated).unwrap();
        assert!(earlier.contains("impersonation.start"), "{is_told}");
        assert!(!earlier.contains("impersonation.end"), "{is_told}");
    }
}

#[tokio::test]
async fn users_orders_sessions_and_trail_survive_a_restart() {
    let desk = Desk::open().await;
    let session = desk.started("ada", "ines", "read_write").await["session"]["id"].clone();
    let order = desk.order("ada", "/api/orders?as=ines").await.json();
    desk.started("abe", "mia", "read_only").await;
    for (id, role) in [("sam", "admin"), ("abe", "customer")] {
        let change = desk.call("root", Method::PUT, &format!("/demo/users/{id}"));
        let change = change.json(json!({"role": role})).send().await;
        assert_eq!(change.status, StatusCode::OK);
    }
    let deleted = desk.call("root", Method::DELETE, "/demo/users/otto").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "ada")]);
    let cookie = cookie_of(&login.send().await);

    let desk = desk.reopened().await;
    let orders = desk.get("ada", "/api/orders?as=ines").await.json();
    assert_eq!(
        orders[0], order,
        "the session goes on, and the order is there"
    );
    assert_eq!(desk.get("sam", "/api/me").await.json()["role"], "admin");
    let gone = desk.get("otto", "/api/me").await;
    assert_eq!(gone.status, StatusCode::UNAUTHORIZED);
    // R8: demoted before.
    let demoted = desk.get("abe", "/api/me?as=mia").await;
    assert_eq!(demoted.status, StatusCode::FORBIDDEN);
    let ended = &desk.sessions("?admin_user_id=abe").await[0];
    assert_eq!(ended["ended_reason"], "actor_demoted");
    // S2: what is active from before counts.
    let second = desk.start("ada", "kim", "read_only").await;
    assert_eq!(second.status, StatusCode::FORBIDDEN, "opted out as before");
    let second = desk.start("ada", "mia", "read_only").await;
    assert_eq!(second.refusal(), (409, "already_active".to_owned()));
    // Sign-ins are in memory.
    let old = desk
        .call("", Method::GET, "/api/me")
        .header("cookie", &cookie);
    assert_eq!(old.send().await.status, StatusCode::UNAUTHORIZED);
    let next = desk.order("ines", "/api/orders").await.json();
    let number = |order: &Value| order["id"].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(number(&next), number(&order) + 1);
    desk.stopped("ada").await;

    let events = desk.close().await;
    let of_session = |name| {
        let wanted = json!({"name": name, "session": session});
        only(&events, &wanted).clone()
    };
    assert_eq!(of_session("impersonation.start")["actor"], "ada");
    assert_eq!(of_session("impersonation.end")["reason"], "manual");
}

/// The trail is in the database and in the file: each event once in both.
#[tokio::test]
async fn a5_the_file_and_the_database_have_the_same_trail() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    desk.order("ada", "/api/orders?as=ines").await;
    desk.start("ada", "otto", "read_only").await;
    desk.get("ines", "/api/me?as=mia").await;
    desk.stopped("ada").await;
    assert!(desk.running.stop().await.success());

    let file = std::fs::read_to_string(desk.folder.path().join("trail.jsonl")).unwrap();
    let mut lines: Vec<Value> = file
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let pool = SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let trail = SqliteTrail::new(pool);
    let page = TrailPage::first(1_000);
    let list = trail.read(&TrailFilter::default(), &page).await.unwrap();
    let mut rows: Vec<Value> = list
        .events
        .iter()
        .map(|event| serde_json::from_str(&event.to_json_line()).unwrap())
        .collect();
    // Within the same microsecond the order is not told.
    let key = |event: &Value| (event["id"].to_string(), event["outcome"].to_string());
    lines.sort_by_key(key);
    rows.sort_by_key(key);
    assert_eq!(named(&rows, "impersonation.start").len(), 1);
    assert_eq!(rows.len(), lines.len());
    for (row, line) in rows.iter().zip(&lines) {
        for field in [
            "id", "name", "actor", "subject", "session", "outcome", "rule",
        ] {
            assert_eq!(row.get(field), line.get(field), "{line}");
        }
    }
}

/// A disk that is full from the start.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a1_without_a_trail_nothing_starts_and_the_shop_goes_on() {
    let desk = Desk::open_with(&[("AUDIT_FILE", "/dev/full")]).await;
    let start = desk.start("ada", "ines", "read_only").await;
    assert_eq!(start.refusal(), (503, "trail_unavailable".to_owned()));
    assert_eq!(desk.sessions("").await.len(), 0);
    let acted = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(acted.refusal(), (403, "no_session".to_owned()));
    assert_eq!(desk.order("ines", "/api/orders").await.status, 201);
    // What could not be written is not passed over in silence.
    let status = desk.running.stop().await;
    assert_eq!(status.code(), Some(1));
}
