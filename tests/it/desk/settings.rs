//! The settings of the desk, and the smaller examples.

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};

use super::{Desk, database_in};
use crate::support::process::{self, Running};

// === settings ===

#[tokio::test]
async fn the_control_api_is_where_it_was_asked_for() {
    let desk = Desk::open_with(&[("CONTROL_PATH", "/support/acting")]).await;
    let body = json!({"target_user_id": "ines", "reason": "ticket"});
    let moved = desk
        .post("ada", "/support/acting/start", body.clone())
        .await;
    assert_eq!(moved.status, StatusCode::OK);
    let old = desk.post("ada", "/impersonation/start", body).await;
    assert_eq!(old.status, StatusCode::NOT_FOUND);
    let page = desk.get("ada", "/?as=ines").await;
    assert!(page.text().contains(r#"action="/support/acting/end""#));
    assert!(page.text().contains(r#"src="/support/acting/page.js?"#));
    let page = desk.get("ada", "/admin").await;
    assert!(page.text().contains("/support/acting/openapi.json"));
    let current = desk.get("ada", "/support/acting?as=ines").await.json();
    assert_eq!(current["target_user"]["id"], "ines");
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let database = database_in(&folder);
    let file = folder.path().join("trail.jsonl");
    let file = file.to_str().unwrap();
    for (name, value) in [
        ("ADDR", "here"),
        ("ADDR", "127.0.0.1"),
        ("ADDR", "127.0.0.1:99999"),
        ("ADDR", ""),
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "mysql://shop"),
        ("DATABASE_URL", "support_desk.sqlite"),
        ("DATABASE_URL", "sqlite:///no/such/folder/desk.sqlite"),
        ("DATABASE_URL", "postgres://desk:secret@127.0.0.1:1/desk"),
        ("AUDIT_FILE", ""),
        ("AUDIT_FILE", folder.path().to_str().unwrap()),
        ("CONTROL_PATH", ""),
        ("CONTROL_PATH", "/"),
        ("CONTROL_PATH", "impersonation"),
        ("CONTROL_PATH", "/a//b"),
        ("CONTROL_PATH", "/a/"),
        ("CONTROL_PATH", "/../a"),
        ("CONTROL_PATH", "/{a}"),
        ("CONTROL_PATH", "/*"),
        ("CONTROL_PATH", "/a?b"),
        ("CONTROL_PATH", "/admin"),
        ("CONTROL_PATH", "/api/impersonation"),
        ("ON_ACTIVE", "ask"),
        ("UNMARKED_WRITES", "ask"),
        ("MARKER_REMOVED", "yes"),
        ("ON_ACTIVE", ""),
        ("STARTS_PER_HOUR", "0"),
        ("STARTS_PER_HOUR", "-1"),
        ("STARTS_PER_HOUR", "many"),
        ("STARTS_PER_HOUR", "99999999999"),
        ("TOKEN_SECRET", ""),
        ("TOKEN_SECRET", "secret of thirty-one characters"),
    ] {
        let mut env = vec![
            ("ADDR", "127.0.0.1:0"),
            ("AUDIT_FILE", file),
            ("DATABASE_URL", &database),
        ];
        env.push((name, value));
        let output = process::output("support_desk", &env).await;
        assert_eq!(output.status.code(), Some(2), "{name}={value}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(name), "{name}={value}: {said}");
        assert!(!said.contains("secret"), "{said}");
        assert!(output.stdout.is_empty(), "it never listened");
    }
    let taken = Desk::open().await;
    let env = [
        ("ADDR", taken.running.authority()),
        ("AUDIT_FILE", file),
        ("DATABASE_URL", &database),
    ];
    let output = process::output("support_desk", &env).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("ADDR"));
}

// === the small ones ===

#[tokio::test]
async fn the_minimal_example_acts_without_sessions() {
    let mut running = Running::start("minimal", &[]).await;
    small_example_acts(&mut running, "/").await;
}

#[tokio::test]
async fn the_hyper_example_acts_without_a_framework() {
    let mut running = Running::start("hyper", &[]).await;
    small_example_acts(&mut running, "/any/path").await;
}

/// What both promise: the subject's page for the admin, and each acted request on the trail.
async fn small_example_acts(running: &mut Running, path: &str) {
    let ask = |method: Method, query: &str, token: Option<&str>| {
        let mut request = Request::builder().method(method);
        request = request.uri(format!("{path}{query}"));
        if let Some(token) = token {
            request = request.header("authorization", token);
        }
        request.body(Full::<Bytes>::default()).unwrap()
    };
    let ada = Some("Bearer demo-ada");
    let own = running.send(ask(Method::GET, "", ada)).await;
    assert_eq!(own.text(), "your own page\n");
    assert_eq!(own.header("acted-as"), None);

    let acted = running.send(ask(Method::GET, "?as=ines", ada)).await;
    assert_eq!(acted.text(), "the page of ines, seen by ada\n");
    assert_eq!(acted.header("acted-as"), Some("ines"));
    let event: Value = serde_json::from_str(&running.line().await).unwrap();
    assert_eq!(event["name"], "impersonation.request");
    assert_eq!(
        (&event["actor"], &event["subject"]),
        (&json!("ada"), &json!("ines"))
    );
    assert_eq!(event["path"], path);

    let written = running.send(ask(Method::POST, "?as=ines", ada)).await;
    assert_eq!(written.refusal(), (403, "read_only".to_owned()));
    let event: Value = serde_json::from_str(&running.line().await).unwrap();
    assert_eq!(
        (&event["name"], &event["rule"]),
        (&json!("impersonation.denied"), &json!("read_only"))
    );

    let nobody = running.send(ask(Method::GET, "?as=ines", None)).await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
    let twice = running
        .send(ask(Method::GET, "?as=ines&as=ines", ada))
        .await;
    assert_eq!(twice.refusal(), (400, "malformed_marker".to_owned()));
}
