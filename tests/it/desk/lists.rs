//! A7: the lists of sessions and events, who may read them, and the document of the API.

use http::Method;
use serde_json::{Value, json};

use super::{Desk, named};

// === the trail and the document ===

#[tokio::test]
async fn a7_the_trail_is_read_by_those_who_may_and_that_is_in_it() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    desk.order("ada", "/api/orders?as=ines").await;
    desk.start("abe", "root", "read_only").await;

    let read = "/impersonation/audit?name=impersonation.request";
    for who in ["root", "ada"] {
        let page = desk.get(who, read).await.json();
        assert_eq!(page["total"], 2, "an intent and its outcome: {page}");
        assert_eq!(page["events"][0]["outcome"], "completed");
        assert_eq!(page["events"][1]["outcome"], "intent");
    }
    assert_eq!(desk.get("abe", read).await.json()["total"], 0, "one's own");
    let others = desk.get("abe", "/impersonation/audit?admin_user_id=ada");
    assert_eq!(others.await.refusal(), (403, "missing_right".to_owned()));
    let first = desk.get("ada", "/impersonation/audit?limit=1").await.json();
    let next = first["next_cursor"].as_str().expect("there is more");
    let second = format!("/impersonation/audit?limit=1&cursor={next}");
    let second = desk.get("ada", &second).await.json();
    assert_ne!(first["events"][0]["id"], second["events"][0]["id"]);
    for cursor in ["nonsense", "1.2.3", ""] {
        let none = format!("/impersonation/audit?cursor={cursor}");
        let none = desk.get("ada", &none).await;
        assert_eq!(
            none.refusal(),
            (400, "invalid_request".to_owned()),
            "{cursor}"
        );
    }

    let csv = desk
        .get("root", "/impersonation/audit.csv?impersonation_type=user")
        .await;
    let is_csv = |kind: &str| kind.starts_with("text/csv");
    assert!(csv.header("content-type").is_some_and(is_csv));
    let lines: Vec<&str> = csv.text().lines().collect();
    assert!(lines[0].contains("name") && lines[0].contains("actor"));
    let requests = lines
        .iter()
        .filter(|line| line.contains("impersonation.request"));
    assert_eq!(requests.count(), 2);

    let events = desk.close().await;
    assert!(named(&events, "trail.read").len() >= 5);
}

#[tokio::test]
async fn the_document_of_the_api_is_served_and_linked() {
    let desk = Desk::open_with(&[("CONTROL_PATH", "/as")]).await;
    let document = desk.get("", "/as/openapi.json").await;
    assert_eq!(document.header("content-type"), Some("application/json"));
    let document = document.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/as/start"]["post"].is_object());
    let page = desk.call("ada", Method::GET, "/admin").navigation();
    assert!(
        page.send()
            .await
            .text()
            .contains("href=\"/as/openapi.json\"")
    );
}

// === the list ===

#[tokio::test]
async fn the_list_filters_counts_and_pages() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.stopped("ada").await;
    desk.started("ada", "otto", "read_only").await;
    desk.started("abe", "ines", "read_only").await;
    desk.post(
        "sam",
        "/impersonation/anon",
        json!({"reason": "shop window"}),
    )
    .await;
    desk.post("root", "/impersonation/service", json!({"reason": "jobs"}))
        .await;

    let all = desk.get("root", "/impersonation/sessions").await.json();
    assert_eq!(all["total"], 5);
    assert_eq!(all["next_cursor"], Value::Null);
    let all = all["sessions"].as_array().unwrap();
    let actors: Vec<_> = all
        .iter()
        .map(|it| it["admin_user_id"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["root", "sam", "abe", "ada", "ada"], "newest first");

    let third = all[2]["started_at"].as_str().unwrap().replace('+', "%2B");
    for (query, total) in [
        ("admin_user_id=ada".to_owned(), 2),
        ("target_user_id=ines".to_owned(), 2),
        ("admin_user_id=ada&target_user_id=ines".to_owned(), 1),
        ("impersonation_type=user".to_owned(), 3),
        ("impersonation_type=anon".to_owned(), 1),
        ("impersonation_type=service".to_owned(), 1),
        ("is_active=true".to_owned(), 4),
        ("is_active=false".to_owned(), 1),
        ("is_active=false&admin_user_id=abe".to_owned(), 0),
        (format!("from={third}"), 3),
        (format!("to={third}"), 2),
        (
            "from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z".to_owned(),
            0,
        ),
    ] {
        let list = desk
            .get("root", &format!("/impersonation/sessions?{query}"))
            .await;
        let list = list.json();
        assert_eq!(list["total"], total, "{query}");
        assert_eq!(list["sessions"].as_array().unwrap().len(), total, "{query}");
    }

    let page = desk
        .get("root", "/impersonation/sessions?limit=2")
        .await
        .json();
    assert_eq!(
        (&page["total"], page["sessions"].as_array().unwrap()),
        (&json!(5), &all[..2].to_vec())
    );
    let cursor = page["next_cursor"].as_str().unwrap();
    let next = desk.sessions(&format!("?limit=2&cursor={cursor}")).await;
    assert_eq!(next, &all[2..4]);
    assert_eq!(desk.sessions("?limit=2&offset=3").await, &all[3..]);
    assert_eq!(desk.sessions("?limit=500").await.len(), 5);

    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "offset=-1",
        "cursor=x",
        "offset=1&cursor=01a1fb68-da18-72c7-bec5-82f348bf7bb5",
        "impersonation_type=robot",
        "is_active=maybe",
        "from=yesterday",
        "to=tomorrow",
        "admin_user_id=",
        "sort=asc",
    ] {
        let answer = desk
            .get("root", &format!("/impersonation/sessions?{query}"))
            .await;
        assert_eq!(
            answer.refusal(),
            (400, "invalid_request".to_owned()),
            "{query}"
        );
        let field = query.split('=').next().unwrap();
        assert!(answer.text().contains(field), "{query}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_list_of_others_needs_the_right() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    desk.started("abe", "otto", "read_only").await;
    for (who, seen) in [("root", 2), ("ada", 2), ("abe", 1), ("sam", 0)] {
        let list = desk.get(who, "/impersonation/sessions").await.json();
        assert_eq!(list["total"], seen, "{who}");
    }
    let others = desk
        .get("abe", "/impersonation/sessions?admin_user_id=ada")
        .await;
    assert_eq!(others.refusal(), (403, "missing_right".to_owned()));
    let customer = desk.get("ines", "/impersonation/sessions").await;
    assert_eq!(customer.refusal(), (403, "not_admin".to_owned()));
    let nobody = desk.get("", "/impersonation/sessions").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
}
