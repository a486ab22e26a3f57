//! R17: refusals have one form, which the client chooses; bodies of another type or size, other sites and unknown paths
//! are refused in it.

use axum::body::Body;
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::{Api, ROUTES, form, request, with};

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
        .send(with(form("ada", "/", fields), "accept", "application/json"))
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
                .send(with(request(method, "", path, None), "accept", accept))
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
        let mut request = request("post", "ada", "/", None);
        request
            .headers_mut()
            .insert("content-type", HeaderValue::from_static(content_type));
        *request.body_mut() = Body::from(start.clone());
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
        api.send(with(
            request("post", "ada", "/end", None),
            "content-type",
            content_type,
        ))
        .await
        .ok();
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
        let evil = || request(method, "ada", &path, Some(body.clone()));
        let old_browser = with(
            with(evil(), "origin", "https://evil.example"),
            "host",
            "shop.example",
        );
        for request in [
            with(evil(), "sec-fetch-site", "cross-site"),
            with(evil(), "sec-fetch-site", "same-site"),
            old_browser,
        ] {
            let answer = api.send(request).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code()),
                (403, "cross_site".to_owned()),
                "{method} {path}"
            );
        }
        let page = with(
            with(evil(), "sec-fetch-site", "cross-site"),
            "sec-fetch-mode",
            "navigate",
        );
        let page = api.send(page).await;
        assert_eq!(
            page.headers["content-type"], "text/html; charset=utf-8",
            "{method} {path}"
        );
        let problem = with(
            with(evil(), "sec-fetch-site", "cross-site"),
            "accept",
            "application/problem+json",
        );
        let problem = api.send(problem).await;
        assert_eq!(
            problem.headers["content-type"], "application/problem+json",
            "{method} {path}"
        );
    }
    assert_eq!(api.get("root", "/sessions").await.ok(), before);
    let trail = api.desk.trail().await;
    let denied = trail
        .iter()
        .filter(|line| *line == "denied - - cross_site")
        .count();
    assert_eq!(denied, 5 * 9, "{trail:?}");
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
        let page = api
            .send(with(
                request("get", "ada", path, None),
                "accept",
                "text/html",
            ))
            .await;
        assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    }
}
