//! R2, S4: tokens of the desk, which live and die with their session, also over a restart.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Desk, cookie_of};
use crate::support::process::Answer;

/// The access token of a new session of ada's as ines.
async fn token_of_ada(desk: &Desk) -> (String, String) {
    let started = desk.started("ada", "ines", "read_write").await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (
        text(&started["session"]["id"]),
        text(&started["access_token"]),
    )
}

/// Who the shop takes the bearer of this token for.
async fn bearer(desk: &Desk, token: &str) -> Answer {
    let call = desk.call("", Method::GET, "/api/me");
    call.header("authorization", &format!("Bearer {token}"))
        .send()
        .await
}

#[tokio::test]
async fn r2_a_token_acts_as_bearer_until_stop_and_no_longer() {
    let desk = Desk::open().await;
    let (session, token) = token_of_ada(&desk).await;
    let me = bearer(&desk, &token).await;
    assert_eq!(me.header("acted-as"), Some("ines"));
    let me = me.json();
    assert_eq!(me["id"], "ines");
    assert_eq!(me["acting_as"]["actor"], "ada");
    assert_eq!(me["acting_as"]["session_id"], session);

    // Beside a sign-in it is the token that counts. What is excluded is not acted; there the token says whose session
    // it is, and no more.
    let login = desk
        .call("", Method::POST, "/login")
        .form(&[("user", "root")]);
    let cookie = cookie_of(&login.send().await);
    let authorization = format!("bearer {token}");
    let beside = |path| {
        let call = desk.call("", Method::GET, path).header("cookie", &cookie);
        call.header("authorization", &authorization).send()
    };
    assert_eq!(beside("/api/me").await.json()["id"], "ines");
    let current = beside("/impersonation").await;
    assert_eq!(current.json()["session"]["id"], session);
    assert_eq!(beside("/impersonation/sessions").await.status, 401);
    let order = desk.call("", Method::POST, "/api/orders");
    let order = order.header("authorization", &authorization);
    let order = order.json(json!({"item": "Bamboo whisk"})).send().await;
    assert_eq!(order.json()["user"], "ines");

    desk.stopped("ada").await;
    for path in ["/api/me", "/impersonation"] {
        let gone = beside(path).await;
        assert_eq!(gone.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(
        bearer(&desk, &token).await.refusal(),
        (401, "invalid_token".to_owned())
    );
    let events = desk.close().await;
    let whole = serde_json::to_string(&events).unwrap();
    assert!(!whole.contains(&token), "no tokens");
}

#[tokio::test]
async fn s4_a_token_dies_with_its_session_however_that_ends() {
    let invalid = (401, "invalid_token".to_owned());

    let desk = Desk::open_with(&[("ON_ACTIVE", "replace")]).await;
    let (_, token) = token_of_ada(&desk).await;
    let (session, next) = token_of_ada(&desk).await;
    assert_eq!(bearer(&desk, &token).await.refusal(), invalid, "replaced");
    assert_eq!(bearer(&desk, &next).await.status, StatusCode::OK);

    let path = format!("/impersonation/sessions/{session}");
    let others = desk.call("abe", Method::DELETE, &path).send().await;
    assert_eq!(others.refusal(), (403, "missing_right".to_owned()));
    let ended = desk.call("root", Method::DELETE, &path).send().await;
    assert_eq!(ended.status, StatusCode::OK, "{}", ended.text());
    assert_eq!(bearer(&desk, &next).await.refusal(), invalid, "forced end");
    let list = desk.get("ada", "/impersonation/sessions?is_active=false");
    let ended = list.await.json()["sessions"][0].clone();
    assert_eq!(
        (&ended["id"], &ended["ended_reason"]),
        (&json!(session), &json!("session_revoked"))
    );

    let (_, token) = token_of_ada(&desk).await;
    let change = desk.call("root", Method::PUT, "/demo/users/ada");
    let change = change.json(json!({"role": "customer"})).send().await;
    assert_eq!(change.status, StatusCode::OK);
    assert_eq!(bearer(&desk, &token).await.refusal(), invalid, "demoted");
    let ended = desk.sessions("?admin_user_id=ada&limit=1").await;
    assert_eq!(ended[0]["ended_reason"], "actor_demoted");
}

/// Without `TOKEN_SECRET` no token outlives its process; with it they do, and other processes take them.
#[tokio::test]
async fn tokens_survive_a_restart_with_the_same_secret_only() {
    let desk = Desk::open().await;
    let (_, token) = token_of_ada(&desk).await;
    let secret = [("TOKEN_SECRET", "a secret for tests, of more than 32 bytes")];
    let desk = desk.reopened().await;
    assert_eq!(
        bearer(&desk, &token).await.refusal(),
        (401, "invalid_token".to_owned())
    );
    let marked = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(marked.status, StatusCode::OK, "the session goes on");

    let desk = Desk::open_with(&secret).await;
    let (_, token) = token_of_ada(&desk).await;
    assert!(desk.running.stop().await.success());
    let desk = Desk::open_in(desk.folder, &secret).await;
    assert_eq!(bearer(&desk, &token).await.json()["id"], "ines");
}
