//! The OpenAPI 3.1 document, from the types and calls themselves. What can be refused is added for all calls in one
//! place, from the kinds of refusals there are.

use axum::body::Bytes;
use serde_json::{Map, Value, json};
use tower_impersonation::RejectionKind::{self, *};
use utoipa::OpenApi;

use super::{bodies, calls, wire::Problem};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Impersonation",
        description = "Start, stop, watch and account for acting as someone else."
    ),
    paths(
        calls::start,
        calls::start_user,
        calls::start_anonymous,
        calls::start_service,
        calls::stop,
        calls::end,
        calls::current,
        calls::change,
        calls::sessions,
        calls::revoke,
        calls::users,
        calls::audit,
        calls::audit_csv,
        calls::events,
        calls::token,
        openapi_json,
    ),
    components(schemas(Problem))
)]
struct Document;

/// This document.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
#[expect(dead_code, reason = "it has a description and no code of its own")]
fn openapi_json() {}

/// What any call may be refused for.
const ANY: &[RejectionKind] = &[Unavailable, TrailUnavailable];
/// What any call of an admin may be refused for.
const ADMIN: &[RejectionKind] = &[Unauthenticated, NotAdmin, Nested];
const START: &[RejectionKind] = &[
    InvalidRequest,
    Yourself,
    Denied,
    SubjectNotFound,
    AlreadyActive,
    TooManyStarts,
    CrossSite,
];

/// What one call may be refused for, besides [`ANY`].
fn refusals(method: &str, path: &str) -> Vec<RejectionKind> {
    let own: (&[RejectionKind], &[RejectionKind]) = match (method, path) {
        ("post", "/" | "/start" | "/anon" | "/service") => (ADMIN, START),
        ("delete", "/") | ("post", "/end") => (
            &[Unauthenticated],
            &[InvalidRequest, NothingToEnd, CrossSite],
        ),
        ("get", "/") => (&[Unauthenticated], &[]),
        ("patch", "/") => (
            ADMIN,
            &[
                InvalidRequest,
                Yourself,
                Denied,
                SubjectNotFound,
                NothingToEnd,
                CrossSite,
            ],
        ),
        ("get", "/sessions") => (ADMIN, &[InvalidRequest, MissingRight]),
        ("delete", "/sessions/{id}") => (ADMIN, &[MissingRight, NothingToEnd, CrossSite]),
        ("get", "/users") => (ADMIN, &[InvalidRequest]),
        ("get", "/audit" | "/audit.csv") => (ADMIN, &[InvalidRequest, MissingRight, NotFound]),
        ("post", "/token") => (&[InvalidToken], &[InvalidRequest, NotFound, CrossSite]),
        ("get", "/openapi.json") => return Vec::new(),
        _ => (ADMIN, &[]),
    };
    [own.0, own.1, ANY].concat()
}

/// The word that the calls are grouped by. Generators name clients after it, so it stays what it was.
const TAG: &str = "super";

/// The document for an API that is mounted there.
pub(super) fn document(mount: Option<&str>) -> Bytes {
    // Types of ours and of the library, which all can be written as JSON.
    let mut document = serde_json::to_value(Document::openapi()).unwrap_or_default();
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    document["info"]["license"] = json!({ "name": "MIT OR Apache-2.0" });
    for (path, item) in document["paths"].as_object_mut().into_iter().flatten() {
        for (method, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(responses) = operation["responses"].as_object_mut() {
                refuse(responses, refusals(method, path));
            }
            for tag in operation["tags"].as_array_mut().into_iter().flatten() {
                *tag = TAG.into();
            }
            let parameters = operation
                .get_mut("parameters")
                .and_then(Value::as_array_mut);
            for parameter in parameters.into_iter().flatten() {
                bodies::not_null(&mut parameter["schema"]);
            }
        }
    }
    bodies::describe(&mut document);
    // The paths as they are called: a reader would make `/impersonation/` of a server `/impersonation` and a path `/`,
    // which is another one. Without a path of our own they are relative to where the document is.
    document["servers"] = json!([{ "url": if mount.is_some() { "/" } else { "." } }]);
    if let (Some(mount), Some(paths)) = (mount, document["paths"].as_object_mut()) {
        let mounted = |(path, item): (String, Value)| match &*path {
            "/" => (mount.to_owned(), item),
            path => (format!("{mount}{path}"), item),
        };
        *paths = std::mem::take(paths).into_iter().map(mounted).collect();
    }
    serde_json::to_vec(&document).unwrap_or_default().into()
}

fn refuse(responses: &mut Map<String, Value>, kinds: Vec<RejectionKind>) {
    for kind in kinds {
        let status = kind.status();
        let response = responses.entry(status.as_str()).or_insert_with(|| {
            let title = status.canonical_reason().unwrap_or("Refused");
            let content =
                || json!({ "schema": { "$ref": "#/components/schemas/Problem" }, "examples": {} });
            json!({
                "description": title,
                "content": {
                    "application/json": content(),
                    "application/problem+json": content(),
                    "text/html": { "schema": { "type": "string" } },
                },
            })
        });
        let example = Problem::example(kind);
        for content in ["application/json", "application/problem+json"] {
            let examples = &mut response["content"][content]["examples"];
            examples[kind.code()] = json!({ "value": example });
        }
    }
}
