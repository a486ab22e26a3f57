//! S7, R13: the sessions of others, which take a right, with all that a session keeps.

use std::{collections::BTreeSet, time::Duration};

use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_impersonation::{RejectionKind, StartRequest, audit::EventName};

use super::{Console, MOUNT, request};
use crate::support::{How, MINUTE, customer, id, parts, subject};

// === Sessions ===

#[tokio::test]
async fn sessions_of_others_take_a_right() {
    let console = Console::new();
    let adas = console.start("ada", "ines").await.id;
    let abes = console.start("abe", "otto").await.id;

    let own = console.get("ada", "/sessions").await;
    own.ok()
        .says("1 of 1")
        .says("These are your own sessions")
        .says_not("otto");
    assert!(!own.html.contains("name=\"admin_user_id\""));
    let other = console.get("ada", "/sessions?admin_user_id=abe").await;
    other.is(403, Some(RejectionKind::MissingRight));
    assert_eq!(
        other.problem_of("admin_user_id"),
        "You do not have the right to do this."
    );
    for foreign in [
        abes.to_string(),
        uuid::Uuid::nil().to_string(),
        "x".to_owned(),
        "%ff".to_owned(),
    ] {
        console
            .get("ada", &format!("/sessions/{foreign}"))
            .await
            .is(403, Some(RejectionKind::MissingRight));
        console
            .post("ada", &format!("/sessions/{foreign}/end"), "")
            .await
            .is(403, Some(RejectionKind::MissingRight));
    }
    console
        .get("ada", &format!("/sessions/{adas}"))
        .await
        .ok()
        .says("You stop acting at once.");

    // Seeing is one right, ending another.
    let all = console.get("sam", "/sessions").await;
    all.ok().says("2 of 2");
    assert_eq!(all.links("Details and end"), [""; 0]);
    let detail = console.get("sam", &format!("/sessions/{abes}")).await;
    detail.ok().says_not("End this session");
    assert!(detail.all("form").is_empty());
    console
        .post("sam", &format!("/sessions/{abes}/end"), "")
        .await
        .is(403, Some(RejectionKind::MissingRight));

    console
        .get("root", &format!("/sessions/{abes}"))
        .await
        .says("the trail says that it was you");
    let ended = console
        .post("root", &format!("/sessions/{abes}/end"), "")
        .await;
    console
        .get("root", ended.to())
        .await
        .says("Ended by another admin");
    console
        .post("root", &format!("/sessions/{abes}/end"), "")
        .await
        .is(404, Some(RejectionKind::NothingToEnd));
    console
        .get("root", &format!("/sessions/{}", uuid::Uuid::nil()))
        .await
        .is(404, Some(RejectionKind::NotFound));
    assert!(
        console
            .desk
            .trail()
            .await
            .contains(&"end abe otto session_revoked".to_owned())
    );
}

#[tokio::test]
async fn sessions_are_filtered_and_come_in_pages() {
    let console = Console::with(|builder| builder.starts_per_hour(1000));
    console
        .get("root", "/sessions")
        .await
        .ok()
        .says("Nobody has acted as anyone yet.");
    for number in 0..60 {
        let whom = if number % 3 == 0 { "otto" } else { "ines" };
        console.start("ada", whom).await;
        console.desk.handle.stop(&parts("ada")).await.unwrap();
        console.desk.clock.advance(Duration::from_secs(1));
    }
    console.start("abe", "ines").await;
    console.start("root", "~anon").await;

    let mut seen = BTreeSet::new();
    let mut path = "/sessions?target_user_id=ines&is_active=false&from=&cursor=".to_owned();
    let mut pages = 0;
    loop {
        let page = console.get("root", &path).await;
        page.ok().says("of 40").says_not("otto");
        assert_eq!(page.links("Newest").len(), usize::from(pages > 0));
        // New ones arrive on the first page only.
        assert_eq!(
            page.tags().iter().any(|tag| tag.has("data-live")),
            pages == 0
        );
        pages += 1;
        for link in page.links("Details") {
            assert!(seen.insert(link));
        }
        match page.links("Older").pop() {
            Some(older) => path = older,
            None => break,
        }
    }
    assert_eq!((seen.len(), pages), (40, 2));

    for (query, count) in [
        ("is_active=true", "2 of 2"),
        ("admin_user_id=abe", "1 of 1"),
        ("impersonation_type=anon", "1 of 1"),
        ("from=2026-11-20T12:01", "2 of 2"),
        ("to=2026-11-20T12:00:10", "10 of 10"),
        ("to=2026-11-20T12:00:10Z", "10 of 10"),
        ("target_user_id=nobody", "No session matches."),
    ] {
        console
            .get("root", &format!("/sessions?{query}"))
            .await
            .ok()
            .says(count);
    }
    for (query, message) in [
        (
            "impersonation_type=x",
            "The kind must be user, anon or service.",
        ),
        ("is_active=x", "The state must be true or false."),
        ("from=x", "The beginning must be a time"),
        ("cursor=x", "must be the next_cursor"),
        ("nonsense=x", "nonsense"),
        ("from=2026-11-20&from=2026-11-21", "is given twice"),
    ] {
        let page = console.get("root", &format!("/sessions?{query}")).await;
        page.is(400, Some(RejectionKind::InvalidRequest))
            .says(message);
        assert!(page.all("table").is_empty(), "{query}");
    }
    let page = console
        .get(
            "root",
            "/sessions?from=2026-11-20T12:30&target_user_id=ines",
        )
        .await;
    assert_eq!(page.field("from").get("value"), "2026-11-20T12:30:00");
    assert_eq!(page.field("target_user_id").get("value"), "ines");
    assert!(page.link("Live now").contains("target_user_id=ines"));
}

#[tokio::test]
async fn s7_a_session_shows_all_that_it_keeps() {
    let console = Console::with(|builder| builder.client_address(|_| Some([192, 0, 2, 7].into())));
    let mut asking = parts("ada");
    asking
        .headers
        .insert("user-agent", http::HeaderValue::from_static("Browser/1"));
    let start = StartRequest::new(subject("ines"), "cannot pay").with_ticket("T-7");
    let session = console.desk.started(&asking, start).await;
    let page = console
        .get("root", &format!("/sessions/{}", session.id))
        .await;
    let texts = [
        "ada",
        "ines@shop.example",
        "cannot pay",
        "T-7",
        "customer",
        "192.0.2.7",
        "Browser/1",
        "Read only",
        "20 Nov 2026 12:00",
        "20 Nov 2026 14:00",
        "or after 30 min unused",
        "impersonation.start",
    ];
    for text in texts {
        page.ok().says(text);
    }
    page.says(&session.id.to_string());
    // Looking at its events is a reading of the trail (rule A7).
    let read = console.desk.events().await.pop().unwrap();
    assert_eq!(read.name, EventName::TrailRead);
    assert_eq!(read.reason, Some(format!("session={}", session.id)));
    assert_eq!(read.session, None, "A7: it is no event of the session");

    console.desk.clock.advance(MINUTE * 30);
    let page = console
        .get("root", &format!("/sessions/{}", session.id))
        .await;
    page.ok()
        .says("Unused for too long")
        .says_not("End this session");
}

#[tokio::test]
async fn r13_a_page_does_not_fail_for_a_name() {
    let console = Console::new();
    console.add(customer("ines").with_display_name("Ines Okafor"));
    console.start("ada", "ines").await;
    console
        .get("root", "/sessions")
        .await
        .ok()
        .says("Ines Okafor");
    for how in [How::Fail, How::Panic, How::Hang] {
        console.desk.world.trouble("find", how);
        for path in ["/sessions", "/session"] {
            // What the layer kept of them is forgotten with a new time.
            console.desk.handle.forget_user(&id("ines"));
            let asked = console
                .desk
                .while_time_passes(console.get("ada", path))
                .await;
            asked.ok().says("ines").says_not("Ines Okafor");
        }
        console.desk.world.calm();
    }
}

// === Live ===

#[tokio::test]
async fn the_script_hears_of_sessions() {
    let console = Console::new();
    let response = console
        .app
        .clone()
        .oneshot(request("GET", "root", "/events", ""))
        .await
        .unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    let mut heard = String::new();
    while !heard.contains("retry") {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        heard.push_str(std::str::from_utf8(&frame).unwrap());
    }
    console.start("ada", "ines").await;
    while !heard.contains("event: started") {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        heard.push_str(std::str::from_utf8(&frame).unwrap());
    }
    assert!(heard.contains("\"admin_user_id\":\"ada\""));
    let page = console.get("root", "/sessions").await;
    let body = page.all("body");
    assert_eq!(body[0].get("data-events"), format!("{MOUNT}/events"));
    assert_eq!(body[0].get("data-now"), "2026-11-20T12:00:00Z");
    let until: Vec<String> = page
        .tags()
        .iter()
        .filter(|tag| tag.has("data-until"))
        .map(|tag| tag.get("data-until").to_owned())
        .collect();
    assert_eq!(until, ["2026-11-20T14:00:00Z"]);
    // Without the script there is no status that stands still.
    let status = page
        .tags()
        .into_iter()
        .find(|tag| tag.has("data-live-status"));
    assert!(status.unwrap().has("hidden"));
}
