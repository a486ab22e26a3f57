//! S7: lists of sessions by each filter, with their totals, and pages that stay whole while sessions come and go.

use std::{collections::HashMap, time::Duration};

use http::StatusCode;
use serde_json::{Value, json};
use tower_impersonation::session::{
    EndedReason, Limits, MemorySessions, Session, SessionId, SessionStore,
};

use super::Api;
use crate::support::{MINUTE, NOON, id, subject};

#[tokio::test]
async fn sessions_are_listed_by_each_filter_with_their_total() {
    let api = Api::with(|builder| builder.max_active(3)).await;
    api.start("ada", "ines").await;
    api.desk.clock.advance(MINUTE);
    api.start("abe", "otto").await;
    api.desk.clock.advance(MINUTE);
    let anon = api
        .call("post", "abe", "/anon", Some(json!({"reason": "r"})))
        .await
        .ok();
    api.call("delete", "ada", "/", None).await.ok();
    let subjects = |page: &Value| -> Vec<String> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        let subject = |session: &Value| match session["target_user_id"].as_str() {
            Some(id) => id.to_owned(),
            None => session["impersonation_type"].as_str().unwrap().to_owned(),
        };
        sessions.map(subject).collect()
    };
    let last = anon["session"]["id"].as_str().unwrap();
    let older = format!("cursor={last}");
    for (query, found, total) in [
        ("", vec!["anon", "otto", "ines"], 3),
        ("limit=2", vec!["anon", "otto"], 3),
        ("limit=2&offset=2", vec!["ines"], 3),
        (&older, vec!["otto", "ines"], 3),
        ("admin_user_id=abe", vec!["anon", "otto"], 2),
        ("target_user_id=ines", vec!["ines"], 1),
        ("impersonation_type=anon", vec!["anon"], 1),
        ("impersonation_type=user&is_active=true", vec!["otto"], 1),
        ("is_active=false", vec!["ines"], 1),
        ("from=2026-11-20T12:01:00Z", vec!["anon", "otto"], 2),
        ("to=2026-11-20T12:01:00Z", vec!["ines"], 1),
        (
            "from=2026-11-20T13:01:00%2B01:00&to=2026-11-20T12:02:00Z",
            vec!["otto"],
            1,
        ),
        ("target_user_id=nobody", vec![], 0),
    ] {
        let page = api.get("root", &format!("/sessions?{query}")).await.ok();
        assert_eq!(subjects(&page), found, "{query}");
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(
            page["next_cursor"].is_null(),
            !query.ends_with("limit=2"),
            "{query}"
        );
    }
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "offset=-1",
        "cursor=x",
        "offset=1&cursor=019aa0f3-5c00-7000-8000-000000000001",
        "admin_user_id=",
        "impersonation_type=root",
        "is_active=1",
        "from=yesterday",
        "evil=1",
        "limit=1&limit=2",
    ] {
        let answer = api.get("root", &format!("/sessions?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    // Without the right: one's own.
    let own = api.get("abe", "/sessions").await.ok();
    assert_eq!(
        (subjects(&own), &own["total"]),
        (vec!["anon".to_owned(), "otto".to_owned()], &json!(2))
    );
    assert_eq!(
        api.get("abe", "/sessions?admin_user_id=ada").await.code(),
        "missing_right"
    );
    assert_eq!(api.get("mia", "/sessions").await.code(), "not_admin");
}

#[tokio::test]
async fn ten_thousand_sessions_are_each_listed_once_while_others_start_and_end() {
    const MANY: u32 = 10_000;
    let sessions = MemorySessions::new().with_history(30_000);
    let api = Api::on(&sessions, |builder| builder).await;
    let limits = Limits::default();
    let mut ids = Vec::new();
    for number in 0..MANY {
        // Each by an actor of its own, a second after the other.
        let at = NOON - Duration::from_secs(u64::from(MANY - number));
        let session = session_of(&format!("a{number}"), number, at);
        ids.push(session.id);
        sessions.start(session, &limits).await.unwrap();
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut path = "/sessions?limit=500".to_owned();
    for page in 0.. {
        let answer = api.get("root", &path).await.ok();
        for session in answer["sessions"].as_array().unwrap() {
            *seen
                .entry(session["id"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        // Others go on meanwhile: new ones at the front, ends anywhere.
        let number = MANY + page;
        let new = session_of(
            &format!("b{page}"),
            number,
            NOON + Duration::from_millis(u64::from(page)),
        );
        sessions.start(new, &limits).await.unwrap();
        for id in ids.iter().skip(page as usize).step_by(97) {
            sessions.end(*id, EndedReason::Manual, NOON).await.unwrap();
        }
        match answer["next_cursor"].as_str() {
            Some(cursor) => path = format!("/sessions?limit=500&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), MANY as usize);
    assert!(ids.iter().all(|id| seen.get(&id.to_string()) == Some(&1)));
}

/// A session that nobody started through the API. Its id sorts by its number.
fn session_of(actor: &str, number: u32, at: time::OffsetDateTime) -> Session {
    let id = SessionId(uuid::Uuid::from_u128(
        (0x7 << 76) | (0x2 << 62) | (u128::from(number) + 1) << 80,
    ));
    let end = NOON + MINUTE * 60;
    Session::new(id, self::id(actor), subject("ines"), "ticket", at, end)
}
