//! S6: the call that raises, lowers, extends or shortens a session.

use serde_json::{Value, json};

use super::Api;

#[tokio::test]
async fn s6_a_change_raises_or_extends_with_a_fresh_reason() {
    let api = Api::new().await;
    let patch = |who: &'static str, body: Value| api.call("patch", who, "/", Some(body));
    assert_eq!(
        patch("ada", json!({"reason": "r", "duration": 60}))
            .await
            .code(),
        "no_active_session"
    );
    api.start("ada", "ines").await;
    let raised = patch(
        "ada",
        json!({"access": "read_write", "reason": "has to correct it"}),
    )
    .await
    .ok();
    assert_eq!(raised["session"]["access"], "read_write");
    assert_eq!(raised["session"]["reason"], "ticket 4711");
    let shortened = patch("ada", json!({"duration": 600, "reason": "soon done"}))
        .await
        .ok();
    assert_eq!(shortened["session"]["expires_at"], "2026-11-20T12:10:00Z");
    let extended = patch("ada", json!({"duration": "90000", "reason": "more to do"}))
        .await
        .ok();
    assert_eq!(
        extended["session"]["expires_at"], "2026-11-20T14:00:00Z",
        "within the ceiling"
    );

    for (body, words) in [
        (json!({"access": "read_write"}), "`reason` is missing"),
        (json!({"access": "read_write", "reason": " "}), "`reason`"),
        (json!({"reason": "r"}), "`access` or `duration`"),
        (json!({"reason": "r", "access": "all"}), "`access`"),
        (
            json!({"reason": "r", "duration": 60, "target_user_id": "otto"}),
            "target_user_id",
        ),
    ] {
        let (status, error) = patch("ada", body).await.refusal();
        assert!(status == 400 && error.contains(words), "{error}");
    }
    assert_eq!(
        patch("", json!({"reason": "r", "duration": 60}))
            .await
            .code(),
        "unauthenticated"
    );
    api.start("sam", "otto").await;
    let beyond = patch("sam", json!({"reason": "r", "access": "read_write"})).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.code()),
        (403, "denied".to_owned())
    );

    let trail = api.desk.trail().await;
    let changes: Vec<_> = trail
        .iter()
        .filter(|line| line.contains("raised") || line.contains("extended"))
        .collect();
    assert_eq!(changes, ["access_raised ada ines", "extended ada ines"]);
}
