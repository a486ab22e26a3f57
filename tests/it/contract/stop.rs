//! S4, S5: the calls that end a session, one's own or, with the right, someone else's.

use std::{collections::HashMap, sync::Arc};

use http::StatusCode;
use serde_json::json;
use tower_impersonation::session::Session;

use super::{Api, form};
use crate::support::with;

// === Start, current, stop ===

#[tokio::test]
async fn s5_a_stop_may_name_one_of_ones_own_sessions_and_nobody_elses() {
    let api = Api::with(|builder| builder.max_active(2)).await;
    let mut ids = HashMap::new();
    for (who, whom) in [("ada", "ines"), ("ada", "otto"), ("abe", "mia")] {
        let id = api.start(who, whom).await["session"]["id"].clone();
        ids.insert(whom, id);
    }
    let active = async || {
        let active = api.desk.active().await;
        let subject = |session: &Arc<Session>| session.subject.to_string();
        let mut active: Vec<_> = active.iter().map(subject).collect();
        active.sort();
        active
    };
    let nothing = (404, "No active impersonation session found".to_owned());
    for (method, path) in [("delete", "/"), ("post", "/end")] {
        for id in [&ids["mia"], &json!("019aa0f3-5c00-7000-8000-000000000001")] {
            let body = json!({"session_id": id, "admin_user_id": "abe"});
            let refused = api.call(method, "ada", path, Some(body)).await;
            assert_eq!(refused.refusal(), nothing, "{method}");
        }
    }
    assert_eq!(active().await, ["ines", "mia", "otto"]);

    let body = || Some(json!({"session_id": ids["ines"]}));
    let ended = api.call("post", "ada", "/end", body()).await.ok();
    assert_eq!(ended["success"], true);
    assert_eq!(active().await, ["mia", "otto"]);
    let again = api.call("delete", "ada", "/", body()).await;
    assert_eq!(again.refusal(), nothing, "it has ended");

    // Needs no right but to be its actor; a form does as well.
    api.desk.cast.dismiss("ada");
    let fields = format!("session_id={}", ids["otto"].as_str().unwrap());
    let ended = api.send(form("ada", "/end", &fields)).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(active().await, ["mia"]);
    let trail = api.desk.trail().await;
    let ends: Vec<_> = trail
        .iter()
        .filter(|line| line.starts_with("end"))
        .collect();
    assert_eq!(ends, ["end ada ines manual", "end ada otto manual"]);
}

#[tokio::test]
async fn s5_a_stop_without_a_name_ends_all_of_ones_own() {
    // Nor does it matter whether the body can be read: stop stops.
    let bodies = [
        None,
        Some(json!({})),
        Some(json!({"session_id": null})),
        Some(json!({"session_id": "x"})),
        Some(json!({"session_id": 7})),
        Some(json!([])),
    ];
    for body in bodies {
        let api = Api::with(|builder| builder.max_active(2)).await;
        for (who, whom) in [("ada", "ines"), ("ada", "otto"), ("abe", "mia")] {
            api.start(who, whom).await;
        }
        api.call("post", "ada", "/end", body).await.ok();
        let active = api.desk.active().await;
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].actor.as_str(), "abe");
    }
}

#[tokio::test]
async fn a_form_that_finds_nothing_left_to_end_leads_out_all_the_same() {
    let api = Api::with(|builder| builder.after_stop("/desk")).await;
    let id = api.start("ada", "ines").await["session"]["id"].clone();
    let id = id.as_str().unwrap();
    let path = format!("/sessions/{id}");
    api.call("delete", "root", &path, None).await.ok();
    let fields = format!("session_id={id}");
    let leads_out = async || {
        for fields in ["", &fields] {
            let out = api.send(form("ada", "/end", fields)).await;
            assert_eq!(out.status, StatusCode::SEE_OTHER, "{fields}: {}", out.text);
            assert_eq!(out.headers["location"], "/desk");
        }
    };
    leads_out().await;
    api.desk.cast.dismiss("ada");
    leads_out().await;

    // Programs are told.
    let told = api.call("post", "ada", "/end", None).await;
    assert_eq!(told.code(), "no_active_session");
    let accepting = with(form("ada", "/end", ""), &[("accept", "application/json")]);
    assert_eq!(api.send(accepting).await.code(), "no_active_session");
    let nobody = api.send(form("", "/end", "")).await;
    assert_eq!(nobody.code(), "unauthenticated");
}

// === Forced ends ===

#[tokio::test]
async fn a_session_is_ended_by_its_actor_or_by_right() {
    let api = Api::new().await;
    let started = api.start("ada", "ines").await;
    let id = started["session"]["id"].as_str().unwrap();
    let path = format!("/sessions/{id}");
    for (who, status) in [("", 401), ("mia", 403), ("abe", 403), ("sam", 403)] {
        assert_eq!(
            api.call("delete", who, &path, None).await.status.as_u16(),
            status,
            "{who}"
        );
    }
    assert_eq!(api.desk.active().await.len(), 1);
    let ended = api.call("delete", "root", &path, None).await.ok();
    assert_eq!(ended["success"], true);
    let row = api.get("root", "/sessions").await.ok()["sessions"][0].clone();
    assert_eq!(row["ended_reason"], "session_revoked");
    for unknown in [
        &path,
        "/sessions/019aa0f3-5c00-7000-8000-000000000001",
        "/sessions/x",
        "/sessions/%00",
    ] {
        let answer = api.call("delete", "root", unknown, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (404, "no_active_session".to_owned()),
            "{unknown}"
        );
        // Whoever may not, learns nothing of whether there is one.
        assert_eq!(
            api.call("delete", "abe", unknown, None).await.code(),
            "missing_right"
        );
    }
    let own = api.start("ada", "ines").await;
    let path = format!("/sessions/{}", own["session"]["id"].as_str().unwrap());
    api.call("delete", "ada", &path, None).await.ok();
    let trail = api.desk.trail().await;
    assert!(
        trail.contains(&"end ada ines session_revoked".to_owned()),
        "{trail:?}"
    );
    assert!(
        trail.contains(&"end ada ines manual".to_owned()),
        "{trail:?}"
    );
}
