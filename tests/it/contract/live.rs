//! S9: the stream of sessions as they start, change and end, on every replica, also when a client is too slow.

use std::{collections::BTreeSet, time::Duration};

use axum::body::Body;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;
use tower_impersonation::session::MemorySessions;

use super::{Api, request};
use crate::support::{poll_once, settle};

struct Live(Body);

impl Live {
    async fn open(api: &Api, who: &str) -> Self {
        let response = api
            .app
            .clone()
            .oneshot(request("get", who, "/events", None))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut live = Self(response.into_body());
        assert_eq!(live.next().await.unwrap(), "retry: 3000\n\n");
        live
    }

    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?;
        let bytes = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The event's name, and the session that it tells of.
    async fn event(&mut self) -> (String, Value) {
        let text = self.next().await.expect("an event");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        (
            field("event: "),
            serde_json::from_str(&field("data: ")).unwrap(),
        )
    }
}

#[tokio::test]
async fn sessions_are_told_live_as_they_start_change_and_end() {
    let api = Api::new().await;
    let mut all = Live::open(&api, "root").await;
    let mut own = Live::open(&api, "abe").await;
    let started = api.start("ada", "ines").await;
    let (name, session) = all.event().await;
    assert_eq!((name.as_str(), &session), ("started", &started["session"]));
    api.call(
        "patch",
        "ada",
        "/",
        Some(json!({"duration": 600, "reason": "r"})),
    )
    .await
    .ok();
    let (name, session) = all.event().await;
    assert_eq!(
        (name.as_str(), &session["expires_at"]),
        ("updated", &json!("2026-11-20T12:10:00Z"))
    );
    api.call("delete", "ada", "/", None).await.ok();
    let (name, session) = all.event().await;
    assert_eq!(
        (name.as_str(), &session["ended_reason"]),
        ("ended", &json!("manual"))
    );
    // Of all that, this one hears nothing, but of its own.
    api.start("abe", "otto").await;
    let (name, session) = own.event().await;
    assert_eq!(
        (name.as_str(), &session["admin_user_id"]),
        ("started", &json!("abe"))
    );

    // A quiet stream stays open; one whose reader is no admin any more does not.
    settle().await;
    api.desk.clock.advance(Duration::from_secs(15));
    assert_eq!(own.next().await.unwrap(), ":\n\n");
    api.desk.cast.dismiss("abe");
    api.desk.clock.advance(Duration::from_secs(15));
    settle().await;
    api.desk.clock.advance(Duration::from_secs(15));
    let end = poll_once(std::pin::pin!(own.next())).await;
    assert_eq!(end, std::task::Poll::Ready(None));

    for (who, code) in [("", "unauthenticated"), ("mia", "not_admin")] {
        assert_eq!(api.get(who, "/events").await.code(), code);
    }
}

/// Two handles on one store, as two replicas are on one database.
#[tokio::test]
async fn s9_a_stream_on_another_replica_hears_of_each_start_and_end_once() {
    let sessions = MemorySessions::new();
    let one = Api::on(&sessions, |builder| builder).await;
    let other = Api::on(&sessions, |builder| builder).await;
    let mut streams = [
        Live::open(&one, "root").await,
        Live::open(&other, "root").await,
    ];
    for subject in ["ines", "otto"] {
        let started = one.start("ada", subject).await;
        one.call("post", "ada", "/end", None).await.ok();
        for stream in &mut streams {
            for wanted in ["started", "ended"] {
                let (name, session) = stream.event().await;
                let id = &started["session"]["id"];
                assert_eq!((name.as_str(), &session["id"]), (wanted, id));
            }
        }
    }
}

#[tokio::test]
async fn a_live_stream_that_is_too_slow_is_told_that_it_missed_something() {
    let api = Api::with(|builder| builder.starts_per_hour(10_000)).await;
    let mut slow = Live::open(&api, "root").await;
    for _ in 0..200 {
        api.start("ada", "ines").await;
        api.call("delete", "ada", "/", None).await.ok();
    }
    let mut names = BTreeSet::new();
    while !names.contains("lost") {
        names.insert(slow.event().await.0);
    }
    assert!(names.contains("ended"), "{names:?}");
}
