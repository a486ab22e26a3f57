//! A6, A7: the trail is read page by page, exported and summed up, and reading it is an event.

use axum::Router;
use http::StatusCode;
use serde_json::{Value, json};
use tower_impersonation::{
    UserId,
    audit::{AuditEvent, AuditSink, EventName},
};
use tower_impersonation_web::control;

use super::{Api, MOUNT, body, request};
use crate::support::{How, MINUTE, NOON, ask, desk, parts};

// === The trail ===

#[tokio::test]
async fn a7_reading_the_trail_is_an_event_that_is_durable_before_the_answer() {
    let api = Api::new().await;
    api.start("ada", "ines").await;
    api.start("abe", "otto").await;
    let page = api.get("root", "/audit").await.ok();
    let names = |page: &Value| -> Vec<String> {
        let events = page["events"].as_array().unwrap().iter();
        let words = |event: &Value| {
            format!(
                "{} {}",
                event["name"].as_str().unwrap(),
                event["actor"].as_str().unwrap()
            )
        };
        events.map(words).collect()
    };
    assert_eq!(
        names(&page),
        [
            "trail.read root",
            "impersonation.start abe",
            "impersonation.start ada"
        ]
    );
    assert_eq!(page["total"], 3);
    // The very JSON that a sink gets.
    let sink: Vec<Value> = api
        .desk
        .sink
        .events()
        .iter()
        .map(|event| serde_json::to_value(event).unwrap())
        .collect();
    assert_eq!(page["events"][1], sink[1]);

    for (query, found) in [
        (
            "name=impersonation.start&limit=1",
            vec!["impersonation.start abe"],
        ),
        ("admin_user_id=ada", vec!["impersonation.start ada"]),
        (
            "target_user_id=otto&name=impersonation.start",
            vec!["impersonation.start abe"],
        ),
        ("impersonation_type=anon", vec![]),
        ("to=2026-11-20T12:00:00Z", vec![]),
    ] {
        assert_eq!(
            names(&api.get("root", &format!("/audit?{query}")).await.ok()),
            found,
            "{query}"
        );
    }
    let reads = api
        .desk
        .events()
        .await
        .into_iter()
        .filter(|event| event.name == EventName::TrailRead);
    let reasons: Vec<_> = reads.map(|event| event.reason.unwrap()).collect();
    assert_eq!(
        reasons[..3],
        ["all", "name=impersonation.start", "actor=ada"]
    );

    // Without the right: one's own, and nobody else's.
    let own = api.get("ada", "/audit").await.ok();
    assert_eq!(names(&own), ["trail.read ada", "impersonation.start ada"]);
    assert_eq!(
        api.get("ada", "/audit?admin_user_id=abe").await.code(),
        "missing_right"
    );
    assert_eq!(api.get("mia", "/audit").await.code(), "not_admin");
    assert_eq!(api.get("", "/audit").await.code(), "unauthenticated");
    for query in [
        "name=evil",
        "cursor=x",
        "cursor=x.1",
        "session_id=x",
        "limit=0",
        "is_active=true",
    ] {
        assert_eq!(
            api.get("root", &format!("/audit?{query}")).await.status,
            StatusCode::BAD_REQUEST,
            "{query}"
        );
    }

    // No record, no reading.
    api.desk.world.trouble("write", How::Fail);
    for path in ["/audit", "/audit.csv"] {
        let reading = api.get("root", path);
        let answer = api.desk.while_time_passes(reading).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (503, "trail_unavailable".to_owned())
        );
        assert!(!answer.text.contains("ines"));
    }
}

#[tokio::test]
async fn the_trail_is_read_page_by_page_and_exported_whole() {
    let api = Api::new().await;
    let mut expected = Vec::new();
    for number in 0..1_234_u128 {
        let id = uuid::Uuid::from_u128(number << 64);
        let mut event = AuditEvent::new(id, NOON - MINUTE, EventName::Denied);
        event.actor = Some(UserId::from(7_u64));
        event.reason = Some(format!("=cmd({number})"));
        expected.push(id.to_string());
        api.desk.sink.write(&[event]).await.unwrap();
    }
    expected.reverse();
    let (mut all, mut path) = (Vec::new(), "/audit?admin_user_id=7&limit=100".to_owned());
    loop {
        let page = api.get("root", &path).await.ok();
        assert_eq!(page["total"], 1_234);
        let ids = page["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["id"].as_str().unwrap().to_owned());
        all.extend(ids);
        match page["next_cursor"].as_str() {
            Some(cursor) => path = format!("/audit?admin_user_id=7&limit=100&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(all, expected);

    let export = api.get("root", "/audit.csv?admin_user_id=7").await;
    assert_eq!(
        export.headers["content-disposition"],
        "attachment; filename=\"audit.csv\""
    );
    let mut rows = csv::Reader::from_reader(export.text.as_bytes());
    let columns = "id time name actor subject session reason access method path route status outcome rule count \
                   address user_agent request_id by";
    assert_eq!(
        rows.headers().unwrap(),
        columns.split_whitespace().collect::<Vec<_>>()
    );
    let rows: Vec<_> = rows.records().map(Result::unwrap).collect();
    assert_eq!(
        rows.iter().map(|row| row[0].to_owned()).collect::<Vec<_>>(),
        expected
    );
    assert_eq!(&rows[0][6], "'=cmd(1233)");
    let some = api.get("root", "/audit.csv?admin_user_id=7&limit=3").await;
    assert_eq!(some.text.lines().count(), 4);
    // One export is one reading.
    let trail = api.desk.trail().await;
    assert_eq!(
        trail
            .iter()
            .filter(|line| line.starts_with("trail.read"))
            .count(),
        13 + 2
    );
}

#[tokio::test]
async fn without_a_reader_there_is_no_trail_to_read() {
    let desk = desk();
    let app = Router::new().nest(MOUNT, control(&desk.handle));
    for path in ["/audit", "/audit.csv"] {
        let answer = body(&app, request("get", "root", path, None)).await;
        assert_eq!(answer.code(), "not_found");
    }
    assert_eq!(
        body(&app, request("get", "", "/audit", None)).await.code(),
        "unauthenticated"
    );
}

// === What is handed out, and who is told ===

#[tokio::test]
async fn a_weeks_summary_counts_what_the_trail_has() {
    let api = Api::new().await;
    api.start("ada", "ines").await;
    api.desk.clock.advance(MINUTE * 20);
    api.call("delete", "ada", "/", None).await.ok();
    let refused = json!({"target_user_id": "kim", "reason": "r"});
    api.call("post", "ada", "/", Some(refused)).await;
    let session = api.desk.start("ada", "otto").await.unwrap();
    for method in ["GET", "POST", "DELETE"] {
        api.desk.send(ask(method, "ada", "/?as=otto")).await;
    }
    api.desk.clock.advance(MINUTE * 10);
    api.desk.events().await;
    let week = |who: &'static str, from| {
        let handle = api.desk.handle.clone();
        async move {
            handle
                .summaries(&parts(who), from, NOON + MINUTE * 60 * 24 * 7)
                .await
        }
    };
    let summary = week("root", NOON - MINUTE).await.unwrap();
    assert_eq!(
        serde_json::to_value(&summary).unwrap(),
        json!([
            {"actor": "ada", "starts": 2, "seconds": 1800, "subjects": 2, "refusals": 1, "writes": 2},
        ])
    );
    // Without the right: one's own.
    assert_eq!(week("ada", NOON - MINUTE).await.unwrap(), summary);
    assert_eq!(week("abe", NOON - MINUTE).await.unwrap(), []);
    // Of a session that began before only the time that is in it.
    let later = week("root", NOON + MINUTE * 25).await.unwrap();
    assert_eq!((later[0].starts, later[0].seconds), (0, 300));
    assert!(api.desk.row(&session).await.ended_at.is_none());
}
