//! R17: refusals have one form, which the client chooses; bodies of another type or size, other sites and unknown paths
//! are refused in it.

use axum::body::Body;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::{Api, ROUTES, form, request};
use crate::support::with;

#[tokio::test]
async fn a_form_is_answered_with_303_and_a_refusal_in_the_form_that_the_client_reads() {
    let api = Api::new().await;
    let fields = "target_user_id=ines&reason=ticket+4711&access=&next=%2Forders";
    let started = api.send(form("ada", "/", fields)).await;
    assert_eq!(started.status, StatusCode::SEE_OTHER);
    assert_eq!(started.headers["location"], "/orders?as=ines");
    let stopped = api.send(form("ada", "/end", "")).await;
    assert_eq!(
        (stopped.status, &stopped.headers["location"]),
        (StatusCode::SEE_OTHER, &HeaderValue::from_static("/"))
    );
    let json = api
        .send(with(
            form("ada", "/", fields),
            &[("accept", "application/json")],
        ))
        .await;
    assert_eq!(json.ok()["session"]["target_user_id"], "ines");
    // `next` off this host is ignored.
    api.call("delete", "ada", "/", None).await.ok();
    let elsewhere = api
        .send(form(
            "ada",
            "/",
            "target_user_id=ines&reason=r&next=//evil.example",
        ))
        .await;
    assert_eq!(elsewhere.headers["location"], "/?as=ines");

    for (fields, words) in [
        (
            "target_user_id=otto&target_user_id=ines&reason=r",
            "given twice",
        ),
        ("target_user_id=otto&reason=r&evil=1", "evil"),
        ("target_user_id=otto&reason=", "`reason` is missing"),
    ] {
        let refused = api.send(form("ada", "/", fields)).await;
        let (status, error) = refused.refusal();
        assert!(status == 400 && error.contains(words), "{error}");
    }
    for (accept, content_type) in [
        ("application/problem+json", "application/problem+json"),
        ("text/html", "text/html; charset=utf-8"),
        ("*/*", "application/json"),
    ] {
        for (method, path) in [
            ("post", "/"),
            ("patch", "/"),
            ("delete", "/"),
            ("get", "/users"),
        ] {
            let refused = api
                .send(with(request(method, "", path, None), &[("accept", accept)]))
                .await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method} {path}");
            assert_eq!(
                refused.headers["content-type"], content_type,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn a_body_of_another_type_or_size_is_refused_and_an_empty_one_has_no_type() {
    let api = Api::new().await;
    let start = json!({"target_user_id": "ines", "reason": "r"}).to_string();
    for content_type in ["text/plain", "multipart/form-data", ""] {
        let headers = [("content-type", content_type)];
        let request = with(request("post", "ada", "/", None), &headers);
        let request = request.map(|_| Body::from(start.clone()));
        let (status, error) = api.send(request).await.refusal();
        assert!(
            status == 400 && error.contains("`Content-Type`"),
            "{content_type}: {error}"
        );
    }
    let long = json!({"target_user_id": "ines", "reason": "r".repeat(70_000)});
    let (status, error) = api.call("post", "ada", "/", Some(long)).await.refusal();
    assert!(status == 400 && error.contains("65536 bytes"), "{error}");

    // `request` says JSON with everything, also where nothing is sent.
    api.start("ada", "ines").await;
    for (method, path) in [("get", "/"), ("get", "/sessions"), ("delete", "/")] {
        api.call(method, "ada", path, None).await.ok();
    }
    for content_type in ["application/json", "text/plain", "nonsense"] {
        api.start("ada", "ines").await;
        let headers = [("content-type", content_type)];
        let end = with(request("post", "ada", "/end", None), &headers);
        api.send(end).await.ok();
    }
}

#[tokio::test]
async fn nothing_changes_because_another_site_asks() {
    let api = Api::new().await;
    let session = api.start("ada", "ines").await["session"]["id"].clone();
    let session = session.as_str().unwrap();
    let before = api.get("root", "/sessions").await.ok();
    let unsafe_routes = ROUTES.into_iter().filter(|(method, _)| *method != "get");
    for (method, path) in unsafe_routes {
        let path = path.replace("{id}", session);
        let body = json!({"target_user_id": "otto", "reason": "r"});
        let evil = |headers: &[(&'static str, &str)]| {
            with(request(method, "ada", &path, Some(body.clone())), headers)
        };
        let from_elsewhere: [&[(&str, &str)]; 3] = [
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            // As an old browser says it.
            &[("origin", "https://evil.example"), ("host", "shop.example")],
        ];
        for headers in from_elsewhere {
            let answer = api.send(evil(headers)).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (403, "cross_site".to_owned()),
                "{method} {path}"
            );
        }
        for (name, value, content_type) in [
            ("sec-fetch-mode", "navigate", "text/html; charset=utf-8"),
            (
                "accept",
                "application/problem+json",
                "application/problem+json",
            ),
        ] {
            let headers = [("sec-fetch-site", "cross-site"), (name, value)];
            let answer = api.send(evil(&headers)).await;
            let found = &answer.headers["content-type"];
            assert_eq!(found, content_type, "{method} {path}");
        }
    }
    assert_eq!(api.get("root", "/sessions").await.ok(), before);
    let trail = api.desk.trail().await;
    // The first by itself, the others folded (rule A4).
    let rest = format!("denied ada - cross_site x{}", 5 * 9 - 1);
    assert!(
        trail.contains(&"denied ada - cross_site".to_owned()),
        "{trail:?}"
    );
    assert!(trail.contains(&rest), "{trail:?}");
}

#[tokio::test]
async fn what_is_not_there_is_refused_in_the_same_form() {
    let api = Api::new().await;
    for path in [
        "/nowhere",
        "/sessions/",
        "/sessions/x/y",
        "/start/",
        "/console",
    ] {
        let answer = api.get("ada", path).await;
        assert_eq!(answer.refusal(), (404, "Not found".to_owned()), "{path}");
        let navigation = with(
            request("get", "ada", path, None),
            &[("accept", "text/html")],
        );
        let page = api.send(navigation).await;
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    }
}
