//! S4: a start hands out tokens, a refresh gives new ones, and the end of the session ends both.

use http::StatusCode;
use serde_json::{Value, json};

use super::{Api, api, form};
use crate::support::{MINUTE, Req, get, with};

#[tokio::test]
async fn a_start_hands_out_tokens_and_a_refresh_more_of_them() {
    let api = api().await;
    let started = api.start("ada", "ines").await;
    assert_eq!(started["expires_in"], 900);
    let token = started["access_token"].as_str().unwrap();
    let acted = api.desk.send(bearer(token)).await;
    assert_eq!(acted.body, "ines by ada");
    let mut refresh = json!({"refresh_token": started["refresh_token"]});
    api.desk.clock.advance(MINUTE);
    for _ in 0..2 {
        let fresh = api.call("post", "", "/token", Some(refresh)).await.ok();
        // Each is good once; the answer has the next.
        let next = fresh["refresh_token"].clone();
        refresh = json!({"refresh_token": next, "grant_type": "refresh_token"});
        assert_eq!(
            (&fresh["token_type"], &fresh["expires_in"]),
            (&json!("Bearer"), &json!(900))
        );
        let acted = api
            .desk
            .send(bearer(fresh["access_token"].as_str().unwrap()))
            .await;
        assert_eq!(acted.body, "ines by ada");
    }
    let fields = format!(
        "refresh_token={}",
        refresh["refresh_token"].as_str().unwrap()
    );
    api.send(form("", "/token", &fields)).await.ok();

    for (body, status, words) in [
        (json!({"refresh_token": token}), 401, "Unauthorized"),
        (json!({"refresh_token": "x"}), 401, "Unauthorized"),
        (json!({}), 400, "`refresh_token` is missing"),
        (
            json!({"refresh_token": "x", "grant_type": "password"}),
            400,
            "`grant_type`",
        ),
        (json!({"token": "x"}), 400, "token"),
    ] {
        let (found, error) = api.call("post", "", "/token", Some(body)).await.refusal();
        assert!(found == status && error.contains(words), "{error}");
    }
    api.call("delete", "ada", "/", None).await.ok();
    let over = api.call("post", "", "/token", Some(refresh)).await;
    assert_eq!(
        (over.status.as_u16(), over.code()),
        (401, "invalid_token".to_owned())
    );
    assert_eq!(
        api.desk.send(bearer(token)).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn without_tokens_set_there_is_nothing_to_refresh() {
    let api = Api::new().await;
    let answer = api
        .call("post", "", "/token", Some(json!({"refresh_token": "x"})))
        .await;
    assert_eq!(answer.code(), "not_found");
    let started = api.start("ada", "ines").await;
    assert_eq!(
        (&started["access_token"], &started["expires_in"]),
        (&Value::Null, &json!(7200))
    );
}

fn bearer(token: &str) -> Req {
    let bearer = format!("Bearer {token}");
    with(get("", "/orders"), &[("authorization", &bearer)])
}
