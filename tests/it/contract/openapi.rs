//! The document: every route is in it, every path of it is served, and its examples fit their schemas.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use serde_json::{Value, json};

use super::{Api, MOUNT, ROUTES};

#[tokio::test]
async fn every_route_is_in_the_document_and_every_path_of_the_document_is_there() {
    let api = Api::new().await;
    assert_eq!(api.document["openapi"], "3.1.0");
    assert_eq!(api.document["servers"][0]["url"], "/");
    let methods = |(path, item): (&String, &Value)| -> Vec<(String, String)> {
        let methods = item.as_object().unwrap().keys();
        methods
            .map(|method| (method.clone(), path.clone()))
            .collect()
    };
    let documented: BTreeSet<(String, String)> = api.document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(methods)
        .collect();
    let routes: BTreeSet<_> = ROUTES
        .iter()
        .map(|(method, path)| {
            (
                (*method).to_owned(),
                format!("{MOUNT}{}", path.trim_end_matches('/')),
            )
        })
        .collect();
    assert_eq!(documented, routes);
    for (method, path) in ROUTES {
        if path == "/events" {
            continue;
        }
        let path = path.replace("{id}", "019aa0f3-5c00-7000-8000-000000000001");
        // Nobody is signed in, so nothing happens; but somebody answers.
        let answer = api.call(method, "", &path, Some(json!({}))).await;
        assert_ne!(
            answer.status,
            StatusCode::METHOD_NOT_ALLOWED,
            "{method} {path}"
        );
        let is_there = answer.status != StatusCode::NOT_FOUND || path == "/token";
        assert!(is_there, "{method} {path}");
    }
    // No more than these: every other method on every path is refused as one that is not there.
    let mut paths: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (method, path) in ROUTES {
        paths.entry(path).or_default().push(method);
    }
    for (path, methods) in paths {
        for method in ["get", "post", "put", "patch", "delete"] {
            if !methods.contains(&method) {
                let answer = api.call(method, "ada", path, None).await;
                assert_eq!(answer.code(), "method_not_allowed", "{method} {path}");
                let allow = answer.headers["allow"].to_str().unwrap().to_lowercase();
                let allow: BTreeSet<_> = allow.split(',').map(str::trim).collect();
                assert!(
                    methods.iter().all(|method| allow.contains(method)),
                    "{path} {allow:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn examples_in_the_document_fit_their_schemas() {
    let api = Api::new().await;
    let schemas = api.document["components"]["schemas"].as_object().unwrap();
    let mut seen = 0;
    for (name, schema) in schemas {
        for example in schema["examples"].as_array().into_iter().flatten() {
            assert!(api.is_valid(schema, example), "{name}: {example}");
            seen += 1;
        }
    }
    assert!(seen >= 6, "{seen} examples");
    assert_eq!(
        schemas["SessionView"]["required"].as_array().unwrap().len(),
        15
    );
}
