//! A2, A7: the trail as pages and as CSV; reading it takes a right and is an event.

use std::{collections::BTreeMap, time::Duration};

use tower_impersonation::{
    RejectionKind, StartRequest,
    audit::{AuditEvent, AuditSink, EventName, Outcome},
};

use super::{Console, MOUNT, form, request};
use crate::support::{NOON, parts, subject};

// === Trail and summary ===

#[tokio::test]
async fn a7_reading_the_trail_is_an_event_and_takes_a_right() {
    let console = Console::new();
    console.start("ada", "ines").await;
    console.desk.start("abe", "root").await.unwrap_err();
    console.desk.events().await;
    let own = console.get("ada", "/trail").await;
    own.ok()
        .says("These are your own events")
        .says("Start impersonation.start ada ines");
    own.says_not("abe");
    let other = console.get("ada", "/trail?admin_user_id=abe").await;
    other.is(403, Some(RejectionKind::MissingRight));
    console
        .get("ada", "/trail.csv?admin_user_id=abe")
        .await
        .is(403, Some(RejectionKind::MissingRight));
    let all = console
        .get(
            "root",
            "/trail?name=impersonation.denied&target_user_id=root",
        )
        .await;
    all.ok()
        .says("Refused impersonation.denied abe root")
        .says("1 of 1")
        .says_not("impersonation.start a");
    let trail = console.desk.trail().await;
    assert_eq!(
        trail
            .iter()
            .filter(|line| line.starts_with("trail.read"))
            .count(),
        2
    );

    let none = console
        .get("root", "/trail?name=impersonation.extended")
        .await;
    none.ok().says("No event matches.");
    for (query, message) in [
        ("name=x", "The event must be the name of an event."),
        ("session_id=x", "The session must be the id of a session."),
        ("to=x", "The end must be a time"),
        ("cursor=x", "must be the next_cursor"),
        ("x=y", "x"),
    ] {
        let page = console.get("root", &format!("/trail?{query}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest))
            .says(message);
        console
            .get("root", &format!("/trail.csv?{query}"))
            .await
            .is(400, Some(RejectionKind::InvalidRequest));
    }
}

#[tokio::test]
async fn a2_an_intent_alone_is_unknown_also_over_pages() {
    let console = Console::new();
    let mut events = Vec::new();
    for number in 0..120_u128 {
        let at = NOON + Duration::from_secs(number as u64);
        let id = uuid::Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 + number);
        let mut intent = AuditEvent::new(id, at, EventName::Request);
        intent.method = Some("POST".to_owned());
        intent.path = Some(format!("/n{number}"));
        intent.outcome = Some(Outcome::Intent);
        events.push(intent.clone());
        // Every fifth was never heard of again.
        if number % 5 != 0 {
            intent.outcome = Some(Outcome::Completed);
            events.push(intent);
        }
    }
    console.desk.sink.write(&events).await.unwrap();
    let mut counts = BTreeMap::new();
    let mut path = "/trail?name=impersonation.request".to_owned();
    let mut pages = 0;
    loop {
        let page = console.get("root", &path).await;
        page.ok()
            .says("50 of 216".trim_start_matches(if pages == 4 { "50" } else { "" }));
        for part in page.html.split("class=\"outcome outcome-").skip(1) {
            let outcome = part.split('"').next().unwrap().to_owned();
            *counts.entry(outcome).or_insert(0) += 1;
        }
        pages += 1;
        match page.links("Older").pop() {
            Some(older) => path = older,
            None => break,
        }
    }
    let expected = [("completed", 96), ("intent", 96), ("unknown", 24)];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!((counts, pages), (BTreeMap::from(expected), 5));
}

#[tokio::test]
async fn the_csv_is_what_the_page_shows() {
    let console = Console::new();
    let start = StartRequest::new(subject("ines"), "=cmd()");
    console.desk.started(&parts("ada"), start).await;
    console.start("abe", "otto").await;
    let page = console
        .get("root", "/trail?admin_user_id=ada&name=impersonation.start")
        .await;
    page.ok().says("1 of 1").says("=cmd()");
    let csv = page.link("Download all as CSV");
    assert_eq!(
        csv,
        format!("{MOUNT}/trail.csv?admin_user_id=ada&name=impersonation.start")
    );
    let csv = console.get("root", &csv).await;
    csv.ok();
    assert_eq!(
        csv.headers["content-type"],
        "text/csv; charset=utf-8; header=present"
    );
    assert_eq!(
        csv.headers["content-disposition"],
        "attachment; filename=\"audit.csv\""
    );
    let lines: Vec<&str> = csv.html.lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(
        lines[1].contains(",\"ada\",\"ines\",") && lines[1].contains(",\"'=cmd()\","),
        "{}",
        lines[1]
    );
}

// === Live ===

#[tokio::test]
async fn a_time_that_utc_has_no_date_for_is_refused_and_breaks_no_page() {
    let console = Console::new();
    // The last second there is, but west of Greenwich: in UTC it would be in the year 10000.
    let late = form(&[
        ("from", "9999-12-31T23:59:59-23:59"),
        ("to", "0000-01-01T00:00:00+23:59"),
    ]);
    for path in ["/sessions", "/trail", "/trail.csv"] {
        let page = console.raw(request("GET", "root", &format!("{path}?{late}"), ""));
        let page = page.await;
        assert_eq!(page.kind, Some(RejectionKind::InvalidRequest), "{path}");
        assert!(page.html.contains("must be a time"), "{path}");
    }
}
