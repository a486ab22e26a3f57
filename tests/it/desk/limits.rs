//! R16, S2, S3, S5: many at once, one session for each actor, and stop for one's own alone.

use std::collections::HashMap;

use http::StatusCode;
use serde_json::json;

use super::{Desk, named, only};

// === many at once ===

#[tokio::test]
async fn s2_a_hundred_parallel_starts_leave_one_session() {
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "1000")]).await;
    let subjects = ["ines", "otto", "mia", "sam"];
    let starts = (0..100).map(|n| desk.start("ada", subjects[n % 4], "read_only"));
    let answers = join_all(starts).await;
    let mut statuses: HashMap<u16, usize> = HashMap::new();
    for answer in &answers {
        *statuses.entry(answer.status.as_u16()).or_default() += 1;
    }
    assert_eq!(statuses, HashMap::from([(200, 1), (409, 99)]));
    let won = answers.iter().find(|answer| answer.status == 200).unwrap();
    let active = desk.sessions("?is_active=true").await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["id"], won.json()["session"]["id"]);
    assert_eq!(desk.sessions("").await.len(), 1);

    let events = desk.close().await;
    assert_eq!(named(&events, "impersonation.start").len(), 1);
    // Repeated ones are folded (rule A4).
    let denied = named(&events, "impersonation.denied");
    let told: u64 = denied
        .iter()
        .map(|event| event["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(told, 99);
}

#[tokio::test]
async fn parallel_acted_requests_each_see_their_own_pair() {
    let desk = Desk::open().await;
    let pairs = [
        ("root", "ada"),
        ("ada", "ines"),
        ("abe", "otto"),
        ("sam", "mia"),
    ];
    for (actor, subject) in pairs {
        desk.started(actor, subject, "read_only").await;
    }
    let requests = (0..100).map(|n| {
        let desk = &desk;
        async move {
            let (actor, subject) = pairs[n % pairs.len()];
            let me = desk
                .get(actor, &format!("/api/me?as={subject}"))
                .await
                .json();
            assert_eq!(
                (&me["id"], &me["acting_as"]["actor"]),
                (&json!(subject), &json!(actor))
            );
        }
    });
    join_all(requests).await;
}

async fn join_all<T>(all: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut pending = false;
        for (one, done) in running.iter_mut().filter(|(_, done)| done.is_none()) {
            match one.as_mut().poll(cx) {
                std::task::Poll::Ready(value) => *done = Some(value),
                std::task::Poll::Pending => pending = true,
            }
        }
        if pending {
            std::task::Poll::Pending
        } else {
            std::task::Poll::Ready(())
        }
    })
    .await;
    running.into_iter().filter_map(|(_, done)| done).collect()
}

// === starting and stopping ===

#[tokio::test]
async fn s5_stop_ends_the_callers_own_session_whatever_it_names() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.started("sam", "ines", "read_only").await;
    let body = json!({"id": "ada", "admin_user_id": "ada", "target_user_id": "ines"});
    let ended = desk
        .post("sam", "/impersonation/end?admin_user_id=ada", body)
        .await;
    assert_eq!(ended.status, StatusCode::OK);
    let active = desk.sessions("?is_active=true").await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["admin_user_id"], "ada");
}

#[tokio::test]
async fn r16_an_acted_request_starts_nothing() {
    // The control API is excluded, so what is marked there runs as the actor: still one session.
    let desk = Desk::open().await;
    desk.started("root", "ada", "read_write").await;
    let body = json!({"target_user_id": "ines", "reason": "a chain"});
    let nested = desk.post("root", "/impersonation/start?as=ada", body).await;
    assert_eq!(nested.refusal(), (409, "already_active".to_owned()));
    assert_eq!(desk.sessions("?admin_user_id=ada").await.len(), 0);
}

#[tokio::test]
async fn s2_a_second_start_is_refused_or_replaces() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let second = desk.start("ada", "otto", "read_only").await;
    assert_eq!(second.refusal(), (409, "already_active".to_owned()));
    let sentence = "Already impersonating; end the current session first.";
    assert_eq!(second.json()["error"], sentence);
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);

    let desk = Desk::open_with(&[("ON_ACTIVE", "replace")]).await;
    let first = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
    desk.started("ada", "otto", "read_only").await;
    let sessions = desk.sessions("").await;
    assert_eq!(sessions[1]["id"], first);
    assert_eq!(sessions[1]["ended_reason"], "replaced");
    assert_eq!(sessions[0]["is_active"], true);
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 403);
    assert_eq!(desk.get("ada", "/api/me?as=otto").await.status, 200);
    let events = desk.close().await;
    let end = json!({"name": "impersonation.end", "session": first});
    assert_eq!(only(&events, &end)["reason"], "replaced");
}

#[tokio::test]
async fn s3_more_starts_than_allowed_have_to_wait() {
    let desk = Desk::open_with(&[("STARTS_PER_HOUR", "3")]).await;
    for _ in 0..3 {
        desk.started("ada", "ines", "read_only").await;
        desk.stopped("ada").await;
    }
    let fourth = desk.start("ada", "ines", "read_only").await;
    assert_eq!(fourth.refusal(), (429, "too_many_starts".to_owned()));
    let wait: u64 = fourth.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
    // Each admin has their own.
    desk.started("abe", "ines", "read_only").await;
}

/// The example's own limit, counted in the database and not in the process.
#[tokio::test]
async fn s3_the_count_of_starts_survives_a_restart() {
    let desk = Desk::open().await;
    for _ in 0..10 {
        desk.started("ada", "ines", "read_only").await;
        desk.stopped("ada").await;
    }
    let desk = desk.reopened().await;
    let eleventh = desk.start("ada", "ines", "read_only").await;
    assert_eq!(eleventh.refusal(), (429, "too_many_starts".to_owned()));
    let wait: u64 = eleventh.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
    desk.started("abe", "ines", "read_only").await;
}
