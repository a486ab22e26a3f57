//! S1, S3: the calls that start a session and tell of it, with every field, every null and every refusal.

use http::StatusCode;
use serde_json::json;

use super::{Api, request};
use crate::support::{MINUTE, customer, with};

#[tokio::test]
async fn start_current_and_stop_have_every_field_and_null_of_the_contract() {
    let api = Api::new().await;
    assert_eq!(
        api.get("ada", "/").await.ok(),
        json!({"session": null, "target_user": null})
    );

    let body = json!({
        "target_user_id": "ines", "reason": " ticket 4711 ", "access": "read_write", "ticket": "T-1",
        "duration": 600, "next": "/orders?page=2",
    });
    let request = request("post", "ada", "/", Some(body));
    let started = api
        .send(with(request, &[("user-agent", "test/1")]))
        .await
        .ok();
    let session = json!({
        "id": started["session"]["id"], "admin_user_id": "ada", "target_user_id": "ines",
        "impersonation_type": "user", "target_role": "customer", "access": "read_write",
        "reason": "ticket 4711", "ticket": "T-1", "started_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-11-20T12:10:00Z", "ended_at": null, "ended_reason": null, "is_active": true,
        "ip_address": null, "user_agent": "test/1",
    });
    let target = json!({"id": "ines", "email": "ines@shop.example", "role": "customer"});
    assert_eq!(
        started,
        json!({
            "session": session, "target_user": target, "access_token": null, "refresh_token": null,
            "expires_in": 600, "redirect_to": "/orders?page=2&as=ines",
        })
    );
    let current = api.get("ada", "/").await.ok();
    assert_eq!(current, json!({"session": session, "target_user": target}));

    let ended = api.call("delete", "ada", "/", None).await.ok();
    assert_eq!(
        ended,
        json!({"success": true, "message": "Impersonation ended", "stored": true})
    );
    assert_eq!(
        api.get("ada", "/").await.ok(),
        json!({"session": null, "target_user": null})
    );
    let again = api.call("post", "ada", "/end", None).await;
    assert_eq!(
        again.refusal(),
        (404, "No active impersonation session found".to_owned())
    );
    let ended = api.get("ada", "/sessions").await.ok()["sessions"][0].clone();
    assert_eq!(ended["ended_at"], "2026-11-20T12:00:00Z");
    assert_eq!(
        (&ended["ended_reason"], &ended["is_active"]),
        (&json!("manual"), &json!(false))
    );
}

#[tokio::test]
async fn each_way_to_name_the_subject_starts() {
    let api = Api::new().await;
    for (path, body, kind, target) in [
        (
            "/start",
            json!({"email": "ines@shop.example", "reason": "r"}),
            "user",
            json!("ines"),
        ),
        (
            "/start",
            json!({"public_id": "otto@shop.example", "reason": "r"}),
            "user",
            json!("otto"),
        ),
        (
            "/",
            json!({"target_user_id": "mia", "reason": "r", "email": null}),
            "user",
            json!("mia"),
        ),
        ("/anon", json!({"reason": "r"}), "anon", json!(null)),
        ("/service", json!({"reason": "r"}), "service", json!(null)),
    ] {
        let started = api.call("post", "root", path, Some(body)).await.ok();
        assert_eq!(started["session"]["impersonation_type"], kind);
        assert_eq!(started["session"]["target_user_id"], target);
        assert_eq!(started["target_user"]["id"], target);
        api.call("delete", "root", "/", None).await.ok();
    }
    // Ids come as numbers as well.
    api.desk.cast.users.insert(customer("42"));
    let started = api.call(
        "post",
        "root",
        "/",
        Some(json!({"target_user_id": 42, "reason": "r"})),
    );
    assert_eq!(started.await.ok()["session"]["target_user_id"], "42");
}

#[tokio::test]
async fn a_start_is_refused_with_the_words_of_the_contract() {
    let api = Api::new().await;
    let body = |target: &str| json!({"target_user_id": target, "reason": "ticket 4711"});
    let cases = [
        ("", "/", body("ines"), 401, "Unauthorized"),
        ("mia", "/", body("ines"), 403, "Only an admin"),
        ("ada", "/", body("ada"), 400, "Cannot impersonate yourself"),
        ("ada", "/", body("nobody"), 404, "User not found"),
        (
            "ada",
            "/",
            body("root"),
            403,
            "You may not act as this user",
        ),
        ("ada", "/", body("abe"), 403, "You may not act as this user"),
        ("ada", "/", body("kim"), 403, "You may not act as this user"),
        (
            "ada",
            "/",
            json!({"email": "nobody@shop.example", "reason": "r"}),
            404,
            "not found",
        ),
        (
            "ada",
            "/service",
            json!({"reason": "r"}),
            403,
            "You may not act as this user",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines"}),
            400,
            "`reason` is missing",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": " \t"}),
            400,
            "`reason` must not be blank",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "x".repeat(501)}),
            400,
            "500 characters",
        ),
        (
            "ada",
            "/",
            json!({"reason": "r"}),
            400,
            "`target_user_id`, `email` or `public_id` is missing",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "email": "x", "reason": "r"}),
            400,
            "one target too many",
        ),
        ("ada", "/anon", body("ines"), 400, "`target_user_id`"),
        (
            "ada",
            "/",
            json!({"target_user_id": "~anon", "reason": "r"}),
            400,
            "`target_user_id`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "access": "root"}),
            400,
            "`access`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "duration": 0}),
            400,
            "`duration`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "duration": -1}),
            400,
            "`duration`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "admin_user_id": "root"}),
            400,
            "admin_user_id",
        ),
        ("ada", "/", json!(["ines"]), 400, ""),
    ];
    for (who, path, body, status, words) in cases {
        let answer = api.call("post", who, path, Some(body.clone())).await;
        let (found, error) = answer.refusal();
        assert_eq!(found, status, "{who} {path} {body}: {error}");
        assert!(error.contains(words), "{who} {path} {body}: {error}");
    }
    assert!(api.desk.active().await.is_empty());
    api.start("ada", "ines").await;
    let second = api.call("post", "ada", "/", Some(body("otto"))).await;
    let words = "Already impersonating; end the current session first.";
    assert_eq!(second.refusal(), (409, words.to_owned()));
}

#[tokio::test]
async fn s3_the_eleventh_start_within_the_hour_is_too_many() {
    let api = Api::new().await;
    for _ in 0..10 {
        api.start("ada", "ines").await;
        api.call("delete", "ada", "/", None).await.ok();
        api.desk.clock.advance(MINUTE);
    }
    let body = json!({"target_user_id": "ines", "reason": "ticket 4711"});
    let answer = api.call("post", "ada", "/", Some(body)).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "3000");
    api.desk.clock.advance(MINUTE * 50);
    api.start("ada", "ines").await;
}
