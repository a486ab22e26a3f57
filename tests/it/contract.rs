//! The HTTP contract, call by call. Every answer that these tests get is held against `openapi.json`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tower::ServiceExt;
use tower_impersonation::{
    BoxError, Builder, CredentialIssuer, Credentials, Notice, Rights, StartRequest, UserId,
    audit::{
        AuditEvent, AuditSink, EventName, MemorySink, TrailFilter, TrailList, TrailPage,
        TrailReader,
    },
    notifier_fn,
    session::{Limits, MemorySessions, Session, SessionId, SessionStore},
};

use crate::support::*;

const MOUNT: &str = "/impersonation";

/// Every call there is.
const ROUTES: [(&str, &str); 16] = [
    ("get", "/"),
    ("post", "/"),
    ("patch", "/"),
    ("delete", "/"),
    ("post", "/start"),
    ("post", "/anon"),
    ("post", "/service"),
    ("post", "/end"),
    ("get", "/sessions"),
    ("delete", "/sessions/{id}"),
    ("get", "/users"),
    ("get", "/audit"),
    ("get", "/audit.csv"),
    ("get", "/events"),
    ("post", "/token"),
    ("get", "/openapi.json"),
];

struct Api {
    desk: Desk,
    app: Router,
    document: Value,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Api {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(set: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(&MemorySessions::new(), set).await
    }

    async fn on(sessions: &MemorySessions, set: impl FnOnce(Builder) -> Builder) -> Self {
        // The sink is made by the desk: what reads it comes afterwards, through the same handle.
        let reader = Arc::new(LateReader::default());
        let late = reader.clone();
        let desk = Desk::new(sessions, true, |builder| {
            set(builder.control_path(MOUNT).trail_reader(late))
        });
        *reader.0.lock().unwrap() = Some(desk.sink.clone());
        let app = Router::new()
            .nest(MOUNT, desk.handle.control())
            .layer(desk.handle.layer());
        let document = body(&app, request("get", "", "/openapi.json", None)).await;
        assert_eq!(document.status, StatusCode::OK);
        let document = document.json();
        Self {
            desk,
            app,
            document,
        }
    }

    async fn call(&self, method: &str, who: &str, path: &str, json: Option<Value>) -> Answer {
        self.send(request(method, who, path, json)).await
    }

    async fn get(&self, who: &str, path: &str) -> Answer {
        self.call("get", who, path, None).await
    }

    async fn start(&self, who: &str, whom: &str) -> Value {
        let body = json!({"target_user_id": whom, "reason": "ticket 4711"});
        self.call("post", who, "/start", Some(body)).await.ok()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let method = request.method().as_str().to_lowercase();
        let path = request.uri().path().to_owned();
        let answer = body(&self.app, request).await;
        self.fits(&method, &path, &answer);
        answer
    }

    /// The document and the server say the same of this body.
    async fn agrees(&self, method: &str, path: &str, content_type: &str, body: &Value, fits: bool) {
        let mount = format!("{MOUNT}{}", path.trim_end_matches('/'));
        let content = &self.document["paths"][mount][method]["requestBody"]["content"];
        let schema = &content[content_type]["schema"];
        assert!(schema.is_object(), "{method} {path} {content_type}");
        let said = self.is_valid(schema, body);
        assert_eq!(said, fits, "the document: {method} {path} {body}");

        let mut request = request(method, "root", path, Some(body.clone()));
        if content_type != "application/json" {
            let mut fields = form_urlencoded::Serializer::new(String::new());
            for (name, value) in body.as_object().unwrap() {
                fields.append_pair(name, value.as_str().unwrap());
            }
            *request.body_mut() = Body::from(fields.finish());
            let content_type = content_type.parse().unwrap();
            request.headers_mut().insert("content-type", content_type);
        }
        let answer = self.send(request).await;
        let is_invalid = answer.status == StatusCode::BAD_REQUEST;
        assert_eq!(
            !is_invalid, fits,
            "the server: {method} {path} {body}: {}",
            answer.text
        );
    }

    /// Whether the document told of such an answer.
    fn fits(&self, method: &str, path: &str, answer: &Answer) {
        let below = path.strip_prefix(MOUNT).unwrap();
        let path = match below.starts_with("/sessions/") {
            true => "/impersonation/sessions/{id}",
            false => path,
        };
        let operation = &self.document["paths"][path][method];
        if operation.is_null() {
            let not_there = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(
                not_there.contains(&answer.status),
                "{method} {path} is not in the document"
            );
            return;
        }
        let what = format!("{method} {path} {}: {}", answer.status, answer.text);
        let response = &operation["responses"][answer.status.as_str()];
        assert!(response.is_object(), "not in the document: {what}");
        if answer.status == StatusCode::SEE_OTHER {
            assert!(answer.headers.contains_key("location") && answer.text.is_empty());
            return;
        }
        let content_type = answer.headers["content-type"].to_str().unwrap();
        let content_type = content_type.split(';').next().unwrap();
        let content = &response["content"][content_type];
        assert!(
            content.is_object(),
            "{content_type} is not in the document: {what}"
        );
        if content_type.ends_with("json") {
            let value = answer.json();
            let fits = self.is_valid(&content["schema"], &value);
            assert!(fits, "not as in the document: {what}");
            if answer.status.as_u16() >= 400 {
                let code = value["code"].as_str().unwrap();
                assert!(
                    content["examples"][code].is_object(),
                    "{code} has no example: {what}"
                );
            }
        }
        assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
    }

    /// As much of JSON Schema as the document uses.
    fn is_valid(&self, schema: &Value, value: &Value) -> bool {
        if let Some(reference) = schema["$ref"].as_str() {
            let target = self.document.pointer(reference.strip_prefix('#').unwrap());
            return self.is_valid(target.expect("a schema"), value);
        }
        let matching = |of: &str| {
            let all = schema[of].as_array()?;
            Some(all.iter().filter(|one| self.is_valid(one, value)).count())
        };
        if matching("oneOf").is_some_and(|matching| matching != 1) || matching("anyOf") == Some(0) {
            return false;
        }
        if schema
            .get("not")
            .is_some_and(|not| self.is_valid(not, value))
        {
            return false;
        }
        let is = |name: &str| match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("type {other}"),
        };
        let fits_type = match &schema["type"] {
            Value::String(name) => is(name),
            Value::Array(names) => names.iter().any(|name| is(name.as_str().unwrap())),
            _ => true,
        };
        let fits_enum = schema["enum"]
            .as_array()
            .is_none_or(|all| all.contains(value))
            && schema.get("const").is_none_or(|only| only == value);
        let within = |least: &str, most: &str, number: i64| {
            schema[least].as_i64().is_none_or(|least| least <= number)
                && schema[most].as_i64().is_none_or(|most| number <= most)
        };
        let fits_bounds = match value {
            Value::String(text) => within("minLength", "maxLength", text.chars().count() as i64),
            Value::Number(number) => number
                .as_i64()
                .is_none_or(|number| within("minimum", "maximum", number)),
            _ => true,
        };
        let fits_format = match (schema["format"].as_str(), value.as_str()) {
            (Some("date-time"), Some(text)) => {
                time::OffsetDateTime::parse(text, &Rfc3339).is_ok() && text.ends_with('Z')
            }
            (Some("uuid"), Some(text)) => uuid::Uuid::parse_str(text).is_ok(),
            _ => true,
        };
        let required = schema["required"].as_array();
        let has_all = required.is_none_or(|keys| {
            keys.iter()
                .all(|key| value.get(key.as_str().unwrap()).is_some())
        });
        let fits_items = value.as_array().is_none_or(|items| {
            items
                .iter()
                .all(|item| self.is_valid(&schema["items"], item))
        });
        // What is not described is not told; a schema without a type is a part of one that has it.
        let fits_properties = value.as_object().is_none_or(|fields| {
            let described = schema["properties"].as_object();
            described.is_none_or(|described| {
                let others = &schema["additionalProperties"];
                let takes_any = schema["type"].is_null() || *others == true;
                let fits = |(key, value): (&String, &Value)| match described.get(key) {
                    Some(schema) => self.is_valid(schema, value),
                    None => takes_any || others.is_object() && self.is_valid(others, value),
                };
                fields.iter().all(fits)
            })
        });
        fits_type
            && fits_enum
            && fits_bounds
            && fits_format
            && has_all
            && fits_items
            && fits_properties
    }
}

/// The desk's sink, once there is one.
#[derive(Default)]
pub(crate) struct LateReader(pub(crate) std::sync::Mutex<Option<MemorySink>>);

#[async_trait::async_trait]
impl TrailReader for LateReader {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let sink = self.0.lock().unwrap().clone().ok_or("no sink yet")?;
        sink.read(filter, page).await
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    /// The status and the sentence that clients search.
    fn refusal(&self) -> (u16, String) {
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        (
            self.status.as_u16(),
            body["error"].as_str().unwrap().to_owned(),
        )
    }

    fn code(&self) -> String {
        self.json()["code"]
            .as_str()
            .unwrap_or_else(|| panic!("{}", self.text))
            .to_owned()
    }
}

fn request(method: &str, who: &str, path: &str, json: Option<Value>) -> Request<Body> {
    let path = match path.strip_prefix('/') {
        Some("") => MOUNT.to_owned(),
        _ => format!("{MOUNT}{path}"),
    };
    let mut request = Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(path)
        // Some clients send it with everything.
        .header("content-type", "application/json");
    if !who.is_empty() {
        request = request.header("x-user", who);
    }
    let body = json.map_or_else(Body::empty, |json| Body::from(json.to_string()));
    request.body(body).unwrap()
}

fn form(who: &str, path: &str, fields: &str) -> Request<Body> {
    let mut request = request("post", who, path, None);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    request.headers_mut().insert("content-type", form);
    *request.body_mut() = Body::from(fields.to_owned());
    request
}

fn with(mut request: Request<Body>, name: &'static str, value: &'static str) -> Request<Body> {
    request
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    request
}

async fn body(app: &Router, request: Request<Body>) -> Answer {
    let response = app.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        text: String::from_utf8(bytes.to_vec()).unwrap(),
    }
}

// === The document ===

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

#[cfg(feature = "jwt")]
#[tokio::test]
async fn what_the_document_says_of_a_body_is_what_the_server_takes() {
    use tower_impersonation::token::{Tokens, jsonwebtoken};

    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let api = Api::with(|builder| {
        let tokens = Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]);
        let builder = builder.tokens(tokens).replace_active();
        builder.starts_per_hour(1_000)
    })
    .await;
    let start = |fields: Value| -> Value {
        let mut start = json!({"reason": "ticket 4711"});
        let fields = fields.as_object().unwrap().clone();
        start.as_object_mut().unwrap().extend(fields);
        start
    };
    let id = "019aa0f3-5c00-7000-8000-000000000001";
    let of_user = |fields: Value| {
        let mut fields = start(fields);
        fields["target_user_id"] = "ines".into();
        fields
    };
    let long = "x".repeat(129);
    #[rustfmt::skip]
    let bodies = [
        ("post", "/", start(json!({"target_user_id": "ines"})), true),
        ("post", "/", start(json!({"target_user_id": 7})), true),
        ("post", "/", start(json!({"target_user_id": 7.5})), false),
        ("post", "/", start(json!({"target_user_id": true})), false),
        ("post", "/", start(json!({"target_user_id": ""})), false),
        ("post", "/", start(json!({"target_user_id": long})), false),
        ("post", "/", start(json!({"email": "ines@shop.example"})), true),
        ("post", "/", start(json!({"email": "x", "public_id": null, "target_user_id": null})), true),
        ("post", "/", start(json!({})), false),
        ("post", "/", start(json!({"email": null})), false),
        ("post", "/start", start(json!({"email": "x", "public_id": "x"})), false),
        ("post", "/start", start(json!({"email": "x", "target_user_id": "x"})), false),
        ("post", "/start", json!({"target_user_id": "ines"}), false),
        ("post", "/start", json!({"target_user_id": "ines", "reason": null}), false),
        ("post", "/start", json!({"target_user_id": "ines", "reason": ""}), false),
        ("post", "/start", of_user(json!({"access": "read_write", "ticket": null})), true),
        ("post", "/start", of_user(json!({"access": null, "duration": null})), true),
        ("post", "/start", of_user(json!({"access": ""})), false),
        ("post", "/start", of_user(json!({"ticket": long})), false),
        ("post", "/start", of_user(json!({"duration": 600})), true),
        ("post", "/start", of_user(json!({"duration": "600"})), true),
        ("post", "/start", of_user(json!({"duration": 0})), false),
        ("post", "/start", of_user(json!({"duration": 1_000_000_000})), false),
        ("post", "/start", of_user(json!({"admin_user_id": "root"})), false),
        ("post", "/anon", start(json!({})), true),
        ("post", "/anon", start(json!({"target_user_id": "ines"})), false),
        ("post", "/anon", start(json!({"target_user_id": null})), false),
        ("post", "/service", start(json!({"email": "x"})), false),
        ("patch", "/", start(json!({"duration": 600})), true),
        ("patch", "/", start(json!({"access": "read_only", "duration": null})), true),
        ("patch", "/", start(json!({})), false),
        ("patch", "/", start(json!({"access": null, "duration": null})), false),
        ("patch", "/", json!({"duration": 600}), false),
        ("post", "/end", json!({}), true),
        ("post", "/end", json!({"session_id": null, "admin_user_id": "root"}), true),
        ("post", "/end", json!({"session_id": id}), true),
        ("delete", "/", json!({"session_id": "x"}), false),
        ("delete", "/", json!({"session_id": 7}), false),
        ("delete", "/", json!([]), false),
        ("post", "/token", json!({"refresh_token": "x", "grant_type": "refresh_token"}), true),
        ("post", "/token", json!({"refresh_token": "x", "grant_type": null}), true),
        ("post", "/token", json!({"refresh_token": "x", "grant_type": ""}), false),
        ("post", "/token", json!({"grant_type": "refresh_token"}), false),
    ];
    for (method, path, body, fits) in bodies {
        api.agrees(method, path, "application/json", &body, fits)
            .await;
    }
    // Forms have text only, no null, and what is left empty is not given.
    let schemas = api.document["components"]["schemas"].as_object().unwrap();
    let of_forms = schemas.iter().filter(|(name, _)| name.ends_with("Form"));
    let with_null = of_forms.filter(|(_, schema)| schema.to_string().contains("null"));
    assert_eq!(with_null.count(), 0);
    #[rustfmt::skip]
    let forms = [
        ("post", "/", start(json!({"target_user_id": "ines", "email": "", "public_id": ""})), true),
        ("post", "/", of_user(json!({"access": "", "duration": "", "ticket": "", "next": ""})), true),
        ("post", "/", start(json!({"target_user_id": "", "email": ""})), false),
        ("post", "/", start(json!({"target_user_id": "ines", "email": "x"})), false),
        ("post", "/", of_user(json!({"access": "null"})), false),
        ("post", "/", json!({"target_user_id": "ines", "reason": ""}), false),
        ("post", "/anon", start(json!({"duration": "600"})), true),
        ("post", "/anon", start(json!({"email": ""})), true),
        ("post", "/anon", start(json!({"email": "x"})), false),
        ("patch", "/", start(json!({"duration": "600", "access": ""})), true),
        ("patch", "/", start(json!({"duration": "", "access": ""})), false),
        ("post", "/end", json!({"session_id": ""}), true),
        ("post", "/end", json!({"session_id": "x"}), false),
        ("post", "/token", json!({"refresh_token": "x", "grant_type": ""}), true),
        ("post", "/token", json!({"refresh_token": "x", "grant_type": "refresh_token"}), true),
        ("post", "/token", json!({"refresh_token": ""}), false),
    ];
    for (method, path, body, fits) in forms {
        let form = "application/x-www-form-urlencoded";
        api.agrees(method, path, form, &body, fits).await;
    }
}

#[tokio::test]
async fn what_the_document_says_of_a_query_is_what_the_server_takes() {
    let api = Api::new().await;
    let long = "x".repeat(129);
    for path in ["/sessions", "/audit", "/audit.csv", "/users"] {
        let mount = format!("{MOUNT}{path}");
        let parameters = api.document["paths"][&mount]["get"]["parameters"].clone();
        for parameter in parameters.as_array().unwrap() {
            assert_ne!(parameter["schema"]["type"], "null", "{parameter}");
            assert!(
                !parameter["schema"].to_string().contains("null"),
                "{parameter}"
            );
        }
        #[rustfmt::skip]
        let values = [
            ("limit", json!(1)), ("limit", json!(500)), ("limit", json!(0)), ("limit", json!(501)),
            ("offset", json!(0)), ("offset", json!(2_147_483_647)), ("offset", json!(2_147_483_648_i64)),
            ("offset", json!(-1)), ("admin_user_id", json!("ada")), ("admin_user_id", json!("")),
            ("admin_user_id", json!(long)), ("target_user_id", json!("")), ("target_user_id", json!("ines")),
            ("impersonation_type", json!("anon")), ("impersonation_type", json!("")), ("is_active", json!("")),
            ("session_id", json!("")), ("name", json!("trail.read")), ("name", json!("read")),
            ("from", json!("2026-11-20T12:00:00Z")), ("to", json!("yesterday")),
        ];
        for (name, value) in values {
            let of_name = |parameter: &&Value| parameter["name"] == name;
            let Some(parameter) = parameters.as_array().unwrap().iter().find(of_name) else {
                continue;
            };
            let text = value.as_str().map_or(value.to_string(), str::to_owned);
            let answer = api.get("root", &format!("{path}?{name}={text}")).await;
            let (fits, taken) = (
                api.is_valid(&parameter["schema"], &value),
                answer.status == StatusCode::OK,
            );
            assert_eq!(fits, taken, "{path} {name}={text}: {}", answer.text);
        }
    }
}

// === Start, current, stop ===

#[tokio::test]
async fn start_current_and_stop_have_every_field_and_null_of_the_contract() {
    let api = Api::new().await;
    assert_eq!(
        api.get("ada", "/").await.ok(),
        json!({"session": null, "target_user": null})
    );

    let body = json!({
        "target_user_id": "ines", "reason": " ticket 4711 ", "access": "read_write", "ticket": "T-1",
        "duration": 600, "next": "/orders?page=2",
    });
    let mut request = request("post", "ada", "/", Some(body));
    request
        .headers_mut()
        .insert("user-agent", HeaderValue::from_static("test/1"));
    let started = api.send(request).await.ok();
    let session = json!({
        "id": started["session"]["id"], "admin_user_id": "ada", "target_user_id": "ines",
        "impersonation_type": "user", "target_role": "customer", "access": "read_write",
        "reason": "ticket 4711", "ticket": "T-1", "started_at": "2026-11-20T12:00:00Z",
        "expires_at": "2026-11-20T12:10:00Z", "ended_at": null, "ended_reason": null, "is_active": true,
        "ip_address": null, "user_agent": "test/1",
    });
    let target = json!({"id": "ines", "email": "ines@shop.example", "role": "customer"});
    assert_eq!(
        started,
        json!({
            "session": session, "target_user": target, "access_token": null, "refresh_token": null,
            "expires_in": 600, "redirect_to": "/orders?page=2&as=ines",
        })
    );
    let current = api.get("ada", "/").await.ok();
    assert_eq!(current, json!({"session": session, "target_user": target}));

    let ended = api.call("delete", "ada", "/", None).await.ok();
    assert_eq!(
        ended,
        json!({"success": true, "message": "Impersonation ended"})
    );
    assert_eq!(
        api.get("ada", "/").await.ok(),
        json!({"session": null, "target_user": null})
    );
    let again = api.call("post", "ada", "/end", None).await;
    assert_eq!(
        again.refusal(),
        (404, "No active impersonation session found".to_owned())
    );
    let ended = api.get("ada", "/sessions").await.ok()["sessions"][0].clone();
    assert_eq!(ended["ended_at"], "2026-11-20T12:00:00Z");
    assert_eq!(
        (&ended["ended_reason"], &ended["is_active"]),
        (&json!("manual"), &json!(false))
    );
}

#[tokio::test]
async fn s5_a_stop_may_name_one_of_ones_own_sessions_and_nobody_elses() {
    let api = Api::with(|builder| builder.max_active(2)).await;
    let mut ids = HashMap::new();
    for (who, whom) in [("ada", "ines"), ("ada", "otto"), ("abe", "mia")] {
        let id = api.start(who, whom).await["session"]["id"].clone();
        ids.insert(whom, id);
    }
    let active = async || {
        let active = api.desk.active().await;
        let subject = |session: &Arc<Session>| session.subject.to_string();
        let mut active: Vec<_> = active.iter().map(subject).collect();
        active.sort();
        active
    };
    let nothing = (404, "No active impersonation session found".to_owned());
    for (method, path) in [("delete", "/"), ("post", "/end")] {
        for id in [&ids["mia"], &json!("019aa0f3-5c00-7000-8000-000000000001")] {
            let body = json!({"session_id": id, "admin_user_id": "abe"});
            let refused = api.call(method, "ada", path, Some(body)).await;
            assert_eq!(refused.refusal(), nothing, "{method}");
        }
        let body = json!({"session_id": "the other one"});
        let (status, error) = api.call(method, "ada", path, Some(body)).await.refusal();
        assert!(status == 400 && error.contains("`session_id`"), "{error}");
    }
    assert_eq!(active().await, ["ines", "mia", "otto"]);

    let body = || Some(json!({"session_id": ids["ines"]}));
    let ended = api.call("post", "ada", "/end", body()).await.ok();
    assert_eq!(ended["success"], true);
    assert_eq!(active().await, ["mia", "otto"]);
    let again = api.call("delete", "ada", "/", body()).await;
    assert_eq!(again.refusal(), nothing, "it has ended");

    // Needs no right but to be its actor; a form does as well.
    api.desk.cast.dismiss("ada");
    let fields = format!("session_id={}", ids["otto"].as_str().unwrap());
    let ended = api.send(form("ada", "/end", &fields)).await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(active().await, ["mia"]);
    let trail = api.desk.trail().await;
    let ends: Vec<_> = trail
        .iter()
        .filter(|line| line.starts_with("end"))
        .collect();
    assert_eq!(ends, ["end ada ines manual", "end ada otto manual"]);
}

#[tokio::test]
async fn s5_a_stop_without_a_name_ends_all_of_ones_own() {
    for body in [None, Some(json!({})), Some(json!({"session_id": null}))] {
        let api = Api::with(|builder| builder.max_active(2)).await;
        for (who, whom) in [("ada", "ines"), ("ada", "otto"), ("abe", "mia")] {
            api.start(who, whom).await;
        }
        api.call("post", "ada", "/end", body).await.ok();
        let active = api.desk.active().await;
        assert_eq!(active.len(), 1);
        assert_eq!(active[0].actor.as_str(), "abe");
    }
}

#[tokio::test]
async fn a_form_that_finds_nothing_left_to_end_leads_out_all_the_same() {
    let api = Api::with(|builder| builder.after_stop("/desk")).await;
    let id = api.start("ada", "ines").await["session"]["id"].clone();
    let id = id.as_str().unwrap();
    let path = format!("/sessions/{id}");
    api.call("delete", "root", &path, None).await.ok();
    let fields = format!("session_id={id}");
    let leads_out = async || {
        for fields in ["", &fields] {
            let out = api.send(form("ada", "/end", fields)).await;
            assert_eq!(out.status, StatusCode::SEE_OTHER, "{fields}: {}", out.text);
            assert_eq!(out.headers["location"], "/desk");
        }
    };
    leads_out().await;
    api.desk.cast.dismiss("ada");
    leads_out().await;

    // Programs are told; and what is wrong is wrong in a form, too.
    let told = api.call("post", "ada", "/end", None).await;
    assert_eq!(told.code(), "no_active_session");
    let accepting = with(form("ada", "/end", ""), "accept", "application/json");
    assert_eq!(api.send(accepting).await.code(), "no_active_session");
    let wrong = api.send(form("ada", "/end", "session_id=x")).await;
    assert_eq!(wrong.code(), "invalid_request");
    let nobody = api.send(form("", "/end", "")).await;
    assert_eq!(nobody.code(), "unauthenticated");
}

#[tokio::test]
async fn each_way_to_name_the_subject_starts() {
    let api = Api::new().await;
    for (path, body, kind, target) in [
        (
            "/start",
            json!({"email": "ines@shop.example", "reason": "r"}),
            "user",
            json!("ines"),
        ),
        (
            "/start",
            json!({"public_id": "otto@shop.example", "reason": "r"}),
            "user",
            json!("otto"),
        ),
        (
            "/",
            json!({"target_user_id": "mia", "reason": "r", "email": null}),
            "user",
            json!("mia"),
        ),
        ("/anon", json!({"reason": "r"}), "anon", json!(null)),
        ("/service", json!({"reason": "r"}), "service", json!(null)),
    ] {
        let started = api.call("post", "root", path, Some(body)).await.ok();
        assert_eq!(started["session"]["impersonation_type"], kind);
        assert_eq!(started["session"]["target_user_id"], target);
        assert_eq!(started["target_user"]["id"], target);
        api.call("delete", "root", "/", None).await.ok();
    }
    // Ids come as numbers as well.
    api.desk.cast.users.insert(customer("42"));
    let started = api.call(
        "post",
        "root",
        "/",
        Some(json!({"target_user_id": 42, "reason": "r"})),
    );
    assert_eq!(started.await.ok()["session"]["target_user_id"], "42");
}

#[tokio::test]
async fn a_start_is_refused_with_the_words_of_the_contract() {
    let api = Api::new().await;
    let body = |target: &str| json!({"target_user_id": target, "reason": "ticket 4711"});
    let tests = [
        ("", "/", body("ines"), 401, "Unauthorized"),
        ("mia", "/", body("ines"), 403, "Only an admin"),
        ("ada", "/", body("ada"), 400, "Cannot impersonate yourself"),
        ("ada", "/", body("nobody"), 404, "User not found"),
        (
            "ada",
            "/",
            body("root"),
            403,
            "You may not act as this user",
        ),
        ("ada", "/", body("abe"), 403, "You may not act as this user"),
        ("ada", "/", body("kim"), 403, "You may not act as this user"),
        (
            "ada",
            "/",
            json!({"email": "nobody@shop.example", "reason": "r"}),
            404,
            "not found",
        ),
        (
            "ada",
            "/service",
            json!({"reason": "r"}),
            403,
            "You may not act as this user",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines"}),
            400,
            "`reason` is missing",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": " \t"}),
            400,
            "`reason` must not be blank",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "x".repeat(501)}),
            400,
            "500 characters",
        ),
        (
            "ada",
            "/",
            json!({"reason": "r"}),
            400,
            "`target_user_id`, `email` or `public_id` is missing",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "email": "x", "reason": "r"}),
            400,
            "one target too many",
        ),
        ("ada", "/anon", body("ines"), 400, "`target_user_id`"),
        (
            "ada",
            "/",
            json!({"target_user_id": "~anon", "reason": "r"}),
            400,
            "`target_user_id`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "access": "root"}),
            400,
            "`access`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "duration": 0}),
            400,
            "`duration`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "duration": -1}),
            400,
            "`duration`",
        ),
        (
            "ada",
            "/",
            json!({"target_user_id": "ines", "reason": "r", "admin_user_id": "root"}),
            400,
            "admin_user_id",
        ),
        ("ada", "/", json!(["ines"]), 400, ""),
    ];
    for (who, path, body, status, words) in tests {
        let answer = api.call("post", who, path, Some(body.clone())).await;
        let (found, error) = answer.refusal();
        assert_eq!(found, status, "{who} {path} {body}: {error}");
        assert!(error.contains(words), "{who} {path} {body}: {error}");
    }
    assert!(api.desk.active().await.is_empty());
    api.start("ada", "ines").await;
    let second = api.call("post", "ada", "/", Some(body("otto"))).await;
    let words = "Already impersonating; end the current session first.";
    assert_eq!(second.refusal(), (409, words.to_owned()));
}

#[tokio::test]
async fn s3_the_eleventh_start_within_the_hour_is_too_many() {
    let api = Api::new().await;
    for _ in 0..10 {
        api.start("ada", "ines").await;
        api.call("delete", "ada", "/", None).await.ok();
        api.desk.clock.advance(MINUTE);
    }
    let body = json!({"target_user_id": "ines", "reason": "ticket 4711"});
    let answer = api.call("post", "ada", "/", Some(body)).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["retry-after"], "3000");
    api.desk.clock.advance(MINUTE * 50);
    api.start("ada", "ines").await;
}

// === Forms, types, other sites ===

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

// === Change ===

#[tokio::test]
async fn s6_a_change_raises_or_extends_with_a_fresh_reason() {
    let api = Api::new().await;
    let patch = |who: &'static str, body: Value| api.call("patch", who, "/", Some(body));
    assert_eq!(
        patch("ada", json!({"reason": "r", "duration": 60}))
            .await
            .code(),
        "no_active_session"
    );
    api.start("ada", "ines").await;
    let raised = patch(
        "ada",
        json!({"access": "read_write", "reason": "has to correct it"}),
    )
    .await
    .ok();
    assert_eq!(raised["session"]["access"], "read_write");
    assert_eq!(raised["session"]["reason"], "ticket 4711");
    let shortened = patch("ada", json!({"duration": 600, "reason": "soon done"}))
        .await
        .ok();
    assert_eq!(shortened["session"]["expires_at"], "2026-11-20T12:10:00Z");
    let extended = patch("ada", json!({"duration": "90000", "reason": "more to do"}))
        .await
        .ok();
    assert_eq!(
        extended["session"]["expires_at"], "2026-11-20T14:00:00Z",
        "within the ceiling"
    );

    for (body, words) in [
        (json!({"access": "read_write"}), "`reason` is missing"),
        (json!({"access": "read_write", "reason": " "}), "`reason`"),
        (json!({"reason": "r"}), "`access` or `duration`"),
        (json!({"reason": "r", "access": "all"}), "`access`"),
        (
            json!({"reason": "r", "duration": 60, "target_user_id": "otto"}),
            "target_user_id",
        ),
    ] {
        let (status, error) = patch("ada", body).await.refusal();
        assert!(status == 400 && error.contains(words), "{error}");
    }
    assert_eq!(
        patch("", json!({"reason": "r", "duration": 60}))
            .await
            .code(),
        "unauthenticated"
    );
    api.start("sam", "otto").await;
    let beyond = patch("sam", json!({"reason": "r", "access": "read_write"})).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.code()),
        (403, "denied".to_owned())
    );

    let trail = api.desk.trail().await;
    let changes: Vec<_> = trail
        .iter()
        .filter(|line| line.contains("raised") || line.contains("extended"))
        .collect();
    assert_eq!(changes, ["access_raised ada ines", "extended ada ines"]);
}

// === Lists ===

#[tokio::test]
async fn sessions_are_listed_by_each_filter_with_their_total() {
    let api = Api::with(|builder| builder.max_active(3)).await;
    api.start("ada", "ines").await;
    api.desk.clock.advance(MINUTE);
    api.start("abe", "otto").await;
    api.desk.clock.advance(MINUTE);
    let anon = api
        .call("post", "abe", "/anon", Some(json!({"reason": "r"})))
        .await
        .ok();
    api.call("delete", "ada", "/", None).await.ok();
    let subjects = |page: &Value| -> Vec<String> {
        let sessions = page["sessions"].as_array().unwrap().iter();
        let subject = |session: &Value| match session["target_user_id"].as_str() {
            Some(id) => id.to_owned(),
            None => session["impersonation_type"].as_str().unwrap().to_owned(),
        };
        sessions.map(subject).collect()
    };
    let last = anon["session"]["id"].as_str().unwrap();
    let older = format!("cursor={last}");
    for (query, found, total) in [
        ("", vec!["anon", "otto", "ines"], 3),
        ("limit=2", vec!["anon", "otto"], 3),
        ("limit=2&offset=2", vec!["ines"], 3),
        (&older, vec!["otto", "ines"], 3),
        ("admin_user_id=abe", vec!["anon", "otto"], 2),
        ("target_user_id=ines", vec!["ines"], 1),
        ("impersonation_type=anon", vec!["anon"], 1),
        ("impersonation_type=user&is_active=true", vec!["otto"], 1),
        ("is_active=false", vec!["ines"], 1),
        ("from=2026-11-20T12:01:00Z", vec!["anon", "otto"], 2),
        ("to=2026-11-20T12:01:00Z", vec!["ines"], 1),
        (
            "from=2026-11-20T13:01:00%2B01:00&to=2026-11-20T12:02:00Z",
            vec!["otto"],
            1,
        ),
        ("target_user_id=nobody", vec![], 0),
    ] {
        let page = api.get("root", &format!("/sessions?{query}")).await.ok();
        assert_eq!(subjects(&page), found, "{query}");
        assert_eq!(page["total"], total, "{query}");
        assert_eq!(
            page["next_cursor"].is_null(),
            !query.ends_with("limit=2"),
            "{query}"
        );
    }
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "offset=-1",
        "cursor=x",
        "offset=1&cursor=019aa0f3-5c00-7000-8000-000000000001",
        "admin_user_id=",
        "impersonation_type=root",
        "is_active=1",
        "from=yesterday",
        "evil=1",
        "limit=1&limit=2",
    ] {
        let answer = api.get("root", &format!("/sessions?{query}")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{query}");
    }
    // Without the right: one's own.
    let own = api.get("abe", "/sessions").await.ok();
    assert_eq!(
        (subjects(&own), &own["total"]),
        (vec!["anon".to_owned(), "otto".to_owned()], &json!(2))
    );
    assert_eq!(
        api.get("abe", "/sessions?admin_user_id=ada").await.code(),
        "missing_right"
    );
    assert_eq!(api.get("mia", "/sessions").await.code(), "not_admin");
}

#[tokio::test]
async fn ten_thousand_sessions_are_each_listed_once_while_others_start_and_end() {
    const MANY: u32 = 10_000;
    let sessions = MemorySessions::new().with_history(30_000);
    let api = Api::on(&sessions, |builder| builder).await;
    let limits = Limits::default();
    let mut ids = Vec::new();
    for number in 0..MANY {
        // Each by an actor of its own, a second after the other.
        let at = NOON - Duration::from_secs(u64::from(MANY - number));
        let session = session_of(&format!("a{number}"), number, at);
        ids.push(session.id);
        sessions.start(session, &limits).await.unwrap();
    }
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut path = "/sessions?limit=500".to_owned();
    for page in 0.. {
        let answer = api.get("root", &path).await.ok();
        for session in answer["sessions"].as_array().unwrap() {
            *seen
                .entry(session["id"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        // Others go on meanwhile: new ones at the front, ends anywhere.
        let number = MANY + page;
        let new = session_of(
            &format!("b{page}"),
            number,
            NOON + Duration::from_millis(u64::from(page)),
        );
        sessions.start(new, &limits).await.unwrap();
        for id in ids.iter().skip(page as usize).step_by(97) {
            sessions
                .end(*id, tower_impersonation::session::EndedReason::Manual, NOON)
                .await
                .unwrap();
        }
        match answer["next_cursor"].as_str() {
            Some(cursor) => path = format!("/sessions?limit=500&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), MANY as usize);
    assert!(ids.iter().all(|id| seen.get(&id.to_string()) == Some(&1)));
}

/// A session that nobody started through the API. Its id sorts by its number.
fn session_of(actor: &str, number: u32, at: time::OffsetDateTime) -> Session {
    let id = SessionId(uuid::Uuid::from_u128(
        (0x7 << 76) | (0x2 << 62) | (u128::from(number) + 1) << 80,
    ));
    let end = NOON + MINUTE * 60;
    Session::new(id, self::id(actor), subject("ines"), "ticket", at, end)
}

// === Forced ends ===

#[tokio::test]
async fn a_session_is_ended_by_its_actor_or_by_right() {
    let api = Api::new().await;
    let started = api.start("ada", "ines").await;
    let id = started["session"]["id"].as_str().unwrap();
    let path = format!("/sessions/{id}");
    for (who, status) in [("", 401), ("mia", 403), ("abe", 403), ("sam", 403)] {
        assert_eq!(
            api.call("delete", who, &path, None).await.status.as_u16(),
            status,
            "{who}"
        );
    }
    assert_eq!(api.desk.active().await.len(), 1);
    let ended = api.call("delete", "root", &path, None).await.ok();
    assert_eq!(ended["success"], true);
    let row = api.get("root", "/sessions").await.ok()["sessions"][0].clone();
    assert_eq!(row["ended_reason"], "session_revoked");
    for unknown in [
        &path,
        "/sessions/019aa0f3-5c00-7000-8000-000000000001",
        "/sessions/x",
        "/sessions/%00",
    ] {
        let answer = api.call("delete", "root", unknown, None).await;
        assert_eq!(
            (answer.status.as_u16(), answer.code()),
            (404, "no_active_session".to_owned()),
            "{unknown}"
        );
        // Whoever may not, learns nothing of whether there is one.
        assert_eq!(
            api.call("delete", "abe", unknown, None).await.code(),
            "missing_right"
        );
    }
    let own = api.start("ada", "ines").await;
    let path = format!("/sessions/{}", own["session"]["id"].as_str().unwrap());
    api.call("delete", "ada", &path, None).await.ok();
    let trail = api.desk.trail().await;
    assert!(
        trail.contains(&"end root ines session_revoked".to_owned()),
        "{trail:?}"
    );
    assert!(
        trail.contains(&"end ada ines manual".to_owned()),
        "{trail:?}"
    );
}

// === Users ===

#[tokio::test]
async fn a_search_finds_those_whom_one_may_act_as_and_nobody_else() {
    let api = Api::new().await;
    api.desk.cast.bar("otto");
    let ids = |page: &Value| -> Vec<String> {
        let users = page["users"].as_array().unwrap().iter();
        users
            .map(|user| user["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let found = api.get("ada", "/users?q=").await.ok();
    assert_eq!(
        ids(&found),
        ["ines", "mia", "sam"],
        "not equals, not oneself, not opted out, not barred"
    );
    assert_eq!(
        found["users"][0],
        json!({
            "id": "ines", "email": "ines@shop.example", "role": "customer", "display_name": null,
        })
    );
    assert_eq!(found["next_offset"], Value::Null);
    assert_eq!(ids(&api.get("sam", "/users").await.ok()), ["ines", "mia"]);
    assert_eq!(
        ids(&api.get("root", "/users?q=A").await.ok()),
        ["abe", "ada", "ines", "mia", "sam"]
    );
    assert_eq!(ids(&api.get("ada", "/users?q=ines@").await.ok()), ["ines"]);
    assert_eq!(ids(&api.get("ada", "/users?q=kim").await.ok()), [""; 0]);
    for (who, code) in [("", "unauthenticated"), ("mia", "not_admin")] {
        assert_eq!(api.get(who, "/users?q=i").await.code(), code);
    }
    assert_eq!(
        api.get("ada", "/users?limit=501").await.status,
        StatusCode::BAD_REQUEST
    );

    // Page by page each is there once, however many in between may not be.
    for number in 0..250 {
        let user = customer(&format!("u{number:03}"));
        api.desk.cast.users.insert(match number % 2 {
            0 => user,
            _ => user.not_impersonable_because("a system account"),
        });
    }
    let (mut all, mut path) = (Vec::new(), "/users?q=u&limit=7".to_owned());
    loop {
        let page = api.get("ada", &path).await.ok();
        all.extend(ids(&page));
        match page["next_offset"].as_u64() {
            Some(offset) => path = format!("/users?q=u&limit=7&offset={offset}"),
            None => break,
        }
    }
    let expected: Vec<_> = (0..250)
        .step_by(2)
        .map(|number| format!("u{number:03}"))
        .collect();
    assert_eq!(all, expected);
}

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
                   address user_agent request_id";
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
    let app = Router::new().nest(MOUNT, desk.handle.control());
    for path in ["/audit", "/audit.csv"] {
        let answer = body(&app, request("get", "root", path, None)).await;
        assert_eq!(answer.code(), "not_found");
    }
    assert_eq!(
        body(&app, request("get", "", "/audit", None)).await.code(),
        "unauthenticated"
    );
}

// === Live ===

struct Live(Body);

impl Live {
    async fn open(api: &Api, who: &str) -> Self {
        let response = api
            .app
            .clone()
            .oneshot(request("get", who, "/events", None))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut live = Self(response.into_body());
        assert_eq!(live.next().await.unwrap(), "retry: 3000\n\n");
        live
    }

    async fn next(&mut self) -> Option<String> {
        let frame = self.0.frame().await?;
        let bytes = frame.unwrap().into_data().unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    /// The event's name, and the session that it tells of.
    async fn event(&mut self) -> (String, Value) {
        let text = self.next().await.expect("an event");
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_else(|| panic!("{text}")).to_owned()
        };
        (
            field("event: "),
            serde_json::from_str(&field("data: ")).unwrap(),
        )
    }
}

#[tokio::test]
async fn sessions_are_told_live_as_they_start_change_and_end() {
    let api = Api::new().await;
    let mut all = Live::open(&api, "root").await;
    let mut own = Live::open(&api, "abe").await;
    let started = api.start("ada", "ines").await;
    let (name, session) = all.event().await;
    assert_eq!((name.as_str(), &session), ("started", &started["session"]));
    api.call(
        "patch",
        "ada",
        "/",
        Some(json!({"duration": 600, "reason": "r"})),
    )
    .await
    .ok();
    let (name, session) = all.event().await;
    assert_eq!(
        (name.as_str(), &session["expires_at"]),
        ("updated", &json!("2026-11-20T12:10:00Z"))
    );
    api.call("delete", "ada", "/", None).await.ok();
    let (name, session) = all.event().await;
    assert_eq!(
        (name.as_str(), &session["ended_reason"]),
        ("ended", &json!("manual"))
    );
    // Of all that, this one hears nothing, but of its own.
    api.start("abe", "otto").await;
    let (name, session) = own.event().await;
    assert_eq!(
        (name.as_str(), &session["admin_user_id"]),
        ("started", &json!("abe"))
    );

    // A quiet stream stays open; one whose reader is no admin any more does not.
    settle().await;
    api.desk.clock.advance(Duration::from_secs(15));
    assert_eq!(own.next().await.unwrap(), ":\n\n");
    api.desk.cast.dismiss("abe");
    api.desk.clock.advance(Duration::from_secs(15));
    settle().await;
    api.desk.clock.advance(Duration::from_secs(15));
    let end = poll_once(std::pin::pin!(own.next())).await;
    assert_eq!(end, std::task::Poll::Ready(None));

    for (who, code) in [("", "unauthenticated"), ("mia", "not_admin")] {
        assert_eq!(api.get(who, "/events").await.code(), code);
    }
}

/// Two handles on one store, as two replicas are on one database.
#[tokio::test]
async fn s9_a_stream_on_another_replica_hears_of_each_start_and_end_once() {
    let sessions = MemorySessions::new();
    let one = Api::on(&sessions, |builder| builder).await;
    let other = Api::on(&sessions, |builder| builder).await;
    let mut streams = [
        Live::open(&one, "root").await,
        Live::open(&other, "root").await,
    ];
    for subject in ["ines", "otto"] {
        let started = one.start("ada", subject).await;
        one.call("post", "ada", "/end", None).await.ok();
        for stream in &mut streams {
            for wanted in ["started", "ended"] {
                let (name, session) = stream.event().await;
                let id = &started["session"]["id"];
                assert_eq!((name.as_str(), &session["id"]), (wanted, id));
            }
        }
    }
}

#[tokio::test]
async fn a_live_stream_that_is_too_slow_is_told_that_it_missed_something() {
    let api = Api::with(|builder| builder.starts_per_hour(10_000)).await;
    let mut slow = Live::open(&api, "root").await;
    for _ in 0..200 {
        api.start("ada", "ines").await;
        api.call("delete", "ada", "/", None).await.ok();
    }
    let mut names = BTreeSet::new();
    while !names.contains("lost") {
        names.insert(slow.event().await.0);
    }
    assert!(names.contains("ended"), "{names:?}");
}

// === Tokens ===

#[cfg(feature = "jwt")]
mod tokens {
    use tower_impersonation::token::{Tokens, jsonwebtoken};

    use super::*;

    async fn api() -> Api {
        let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        let tokens = Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]);
        Api::with(|builder| builder.tokens(tokens)).await
    }

    #[tokio::test]
    async fn a_start_hands_out_tokens_and_a_refresh_more_of_them() {
        let api = api().await;
        let started = api.start("ada", "ines").await;
        assert_eq!(started["expires_in"], 900);
        let token = started["access_token"].as_str().unwrap();
        let acted = api.desk.send(bearer(token)).await;
        assert_eq!(acted.body, "ines by ada");
        let refresh = json!({"refresh_token": started["refresh_token"]});
        api.desk.clock.advance(MINUTE);
        for body in [
            refresh.clone(),
            json!({"refresh_token": started["refresh_token"], "grant_type": "refresh_token"}),
        ] {
            let fresh = api.call("post", "", "/token", Some(body)).await.ok();
            assert_eq!(
                (&fresh["token_type"], &fresh["expires_in"]),
                (&json!("Bearer"), &json!(900))
            );
            let acted = api
                .desk
                .send(bearer(fresh["access_token"].as_str().unwrap()))
                .await;
            assert_eq!(acted.body, "ines by ada");
        }
        let fields = format!(
            "refresh_token={}",
            started["refresh_token"].as_str().unwrap()
        );
        api.send(form("", "/token", &fields)).await.ok();

        for (body, status, words) in [
            (json!({"refresh_token": token}), 401, "Unauthorized"),
            (json!({"refresh_token": "x"}), 401, "Unauthorized"),
            (json!({}), 400, "`refresh_token` is missing"),
            (
                json!({"refresh_token": "x", "grant_type": "password"}),
                400,
                "`grant_type`",
            ),
            (json!({"token": "x"}), 400, "token"),
        ] {
            let (found, error) = api.call("post", "", "/token", Some(body)).await.refusal();
            assert!(found == status && error.contains(words), "{error}");
        }
        api.call("delete", "ada", "/", None).await.ok();
        let over = api.call("post", "", "/token", Some(refresh)).await;
        assert_eq!(
            (over.status.as_u16(), over.code()),
            (401, "invalid_token".to_owned())
        );
        assert_eq!(
            api.desk.send(bearer(token)).await.status,
            StatusCode::UNAUTHORIZED
        );
    }

    #[tokio::test]
    async fn without_tokens_set_there_is_nothing_to_refresh() {
        let api = Api::new().await;
        let answer = api
            .call("post", "", "/token", Some(json!({"refresh_token": "x"})))
            .await;
        assert_eq!(answer.code(), "not_found");
        let started = api.start("ada", "ines").await;
        assert_eq!(
            (&started["access_token"], &started["expires_in"]),
            (&Value::Null, &json!(7200))
        );
    }

    fn bearer(token: &str) -> Req {
        let mut request = crate::support::get("", "/orders");
        let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
        request.headers_mut().insert("authorization", value);
        request
    }
}

// === One actor, two browsers ===

#[tokio::test]
async fn s2_with_two_sessions_each_browser_acts_for_its_own_subject() {
    let api = Api::with(|builder| builder.max_active(2)).await;
    api.start("ada", "ines").await;
    api.start("ada", "otto").await;
    assert_eq!(
        api.desk
            .send(crate::support::get("ada", "/?as=ines"))
            .await
            .body,
        "ines by ada"
    );
    assert_eq!(
        api.desk
            .send(crate::support::get("ada", "/?as=otto"))
            .await
            .body,
        "otto by ada"
    );
    let third = json!({"target_user_id": "mia", "reason": "r"});
    assert_eq!(
        api.call("post", "ada", "/", Some(third)).await.code(),
        "already_active"
    );
}

#[tokio::test]
async fn r16_an_acted_request_reaches_nothing_of_the_api() {
    // Mounted where the layer acts, because nobody said where it is.
    let desk = desk();
    let app = Router::new()
        .nest(MOUNT, desk.handle.control())
        .layer(desk.handle.layer());
    let request_of =
        StartRequest::new(subject("ines"), "r").with_access(tower_impersonation::Access::ReadWrite);
    desk.handle.start(&parts("root"), request_of).await.unwrap();
    for (method, path) in ROUTES {
        if matches!(path, "/openapi.json" | "/token" | "/end")
            || (path == "/" && matches!(method, "get" | "delete"))
        {
            continue;
        }
        let path = format!(
            "{}?as=ines",
            path.replace("{id}", "019aa0f3-5c00-7000-8000-000000000001")
        );
        let path = path.replace("/?", "?");
        let mut acted = request(
            method,
            "root",
            &format!("/{path}"),
            Some(json!({"reason": "r", "target_user_id": "otto"})),
        );
        *acted.uri_mut() = format!("{MOUNT}{path}").parse().unwrap();
        *acted.method_mut() = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
        assert_eq!(body(&app, acted).await.code(), "nested", "{method} {path}");
    }
    // But it can stop itself.
    let mut stop = request("post", "root", "/end", None);
    *stop.uri_mut() = format!("{MOUNT}/end?as=ines").parse().unwrap();
    body(&app, stop).await.ok();
}

#[tokio::test]
async fn rights_are_asked_for_each_by_its_own_call() {
    let api = Api::new().await;
    let id = api.start("ada", "ines").await["session"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let calls = [
        (
            "get",
            "/sessions?admin_user_id=ada".to_owned(),
            Rights::LIST_SESSIONS,
        ),
        (
            "get",
            "/audit?admin_user_id=ada".to_owned(),
            Rights::READ_TRAIL,
        ),
        (
            "get",
            "/audit.csv?admin_user_id=ada".to_owned(),
            Rights::READ_TRAIL,
        ),
        ("delete", format!("/sessions/{id}"), Rights::END_SESSIONS),
    ];
    let all = [
        Rights::LIST_SESSIONS,
        Rights::READ_TRAIL,
        Rights::END_SESSIONS,
        Rights::SERVICE,
    ];
    for (method, path, right) in calls {
        let others = all.into_iter().filter(|other| *other != right);
        let others = others.fold(Rights::default(), |rights, other| rights | other);
        api.desk.cast.hire(
            "abe",
            Staff {
                rights: others,
                ..ADMIN
            },
        );
        assert_eq!(
            api.call(method, "abe", &path, None).await.code(),
            "missing_right",
            "{path}"
        );
        api.desk.cast.hire(
            "abe",
            Staff {
                rights: right,
                ..ADMIN
            },
        );
        let answer = api.call(method, "abe", &path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
}

// === What is handed out, and who is told ===

/// Mints logins, and remembers which are good.
#[derive(Clone, Default)]
struct Mint {
    good: Arc<std::sync::Mutex<BTreeSet<String>>>,
    world: World,
}

#[async_trait::async_trait]
impl CredentialIssuer for Mint {
    async fn issue(&self, session: &Session) -> Result<Credentials, BoxError> {
        self.world.at("issue", "").await?;
        let token = format!("login of {}", session.subject);
        self.good.lock().unwrap().insert(session.id.to_string());
        let mut credentials = Credentials::default();
        credentials.access_token = Some(token);
        credentials.cookies = vec![HeaderValue::from_static("login=ines; HttpOnly")];
        Ok(credentials)
    }

    async fn revoke(&self, session: &Session) -> Result<(), BoxError> {
        self.world.at("revoke", "").await?;
        self.good.lock().unwrap().remove(&session.id.to_string());
        Ok(())
    }

    fn cleared(&self) -> Vec<HeaderValue> {
        vec![HeaderValue::from_static("login=; Max-Age=0")]
    }
}

#[tokio::test]
async fn a_hosts_own_credentials_come_with_the_session_and_go_with_it() {
    let mint = Mint::default();
    let issuer = mint.clone();
    let api = Api::with(|builder| builder.credential_issuer(issuer)).await;
    let body = json!({"target_user_id": "ines", "reason": "r"});
    let started = api.call("post", "ada", "/", Some(body.clone())).await;
    assert_eq!(started.headers["set-cookie"], "login=ines; HttpOnly");
    let started = started.ok();
    assert_eq!(started["access_token"], "login of ines");
    assert_eq!(started["expires_in"], 7200);
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    let as_form = api
        .send(form("abe", "/", "target_user_id=otto&reason=r"))
        .await;
    assert_eq!(as_form.headers["set-cookie"], "login=ines; HttpOnly");

    let stopped = api.call("delete", "ada", "/", None).await;
    assert_eq!(stopped.headers["set-cookie"], "login=; Max-Age=0");
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    // However it ends, and again when the other side is down for a moment.
    mint.world.trouble("revoke", How::Fail);
    api.desk.handle.log_out(&id("abe")).await.unwrap();
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 1);
    mint.world.calm();
    api.desk.clock.advance(Duration::from_secs(1));
    settle().await;
    assert_eq!(mint.good.lock().unwrap().len(), 0);

    // Nothing is handed out: nothing stays.
    mint.world.trouble("issue", How::Fail);
    let refused = api.call("post", "ada", "/", Some(body)).await;
    assert_eq!(refused.code(), "unavailable");
    assert!(api.desk.active().await.is_empty());
}

#[tokio::test]
async fn a_mandatory_notifier_that_fails_leaves_no_session_and_no_half_state() {
    let told = Arc::new(std::sync::Mutex::new(Vec::new()));
    let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
    for mandatory in [true, false] {
        told.lock().unwrap().clear();
        broken.store(true, std::sync::atomic::Ordering::SeqCst);
        let (hear, fails) = (told.clone(), broken.clone());
        let notifier = notifier_fn(move |notice| {
            if fails.load(std::sync::atomic::Ordering::SeqCst) {
                return Err("the mail server is down".into());
            }
            hear.lock().unwrap().push(match notice {
                Notice::Starting(session) => format!("starting {}", session.subject),
                Notice::Ended(session) => format!("ended {}", session.ended_reason.unwrap()),
                other => panic!("{other:?}"),
            });
            Ok(())
        });
        let api = Api::with(|builder| match mandatory {
            true => builder.require_notifier(notifier),
            false => builder.notifier(notifier),
        })
        .await;
        let body = json!({"target_user_id": "ines", "reason": "r"});
        let first = api.call("post", "ada", "/", Some(body.clone())).await;
        if mandatory {
            assert_eq!(
                (first.status.as_u16(), first.code()),
                (503, "unavailable".to_owned())
            );
            assert!(api.desk.active().await.is_empty());
            assert_eq!(api.get("root", "/sessions").await.ok()["total"], 0);
            assert_eq!(api.desk.trail().await, ["denied ada ines unavailable"]);
            broken.store(false, std::sync::atomic::Ordering::SeqCst);
            api.start("ada", "ines").await;
        } else {
            first.ok();
            broken.store(false, std::sync::atomic::Ordering::SeqCst);
        }
        // A start that is refused tells nobody.
        let second = api.call("post", "ada", "/", Some(body)).await;
        assert_eq!(second.code(), "already_active");
        api.call("delete", "ada", "/", None).await.ok();
        settle().await;
        let expected: &[&str] = match mandatory {
            true => &["starting ines", "ended manual"],
            false => &["ended manual"],
        };
        assert_eq!(*told.lock().unwrap(), expected);
        // One that fails after the news is told as over.
        told.lock().unwrap().clear();
        api.desk.world.trouble("start", How::Fail);
        let body = json!({"target_user_id": "otto", "reason": "r"});
        assert_eq!(
            api.call("post", "ada", "/", Some(body)).await.code(),
            "unavailable"
        );
        settle().await;
        assert_eq!(
            *told.lock().unwrap(),
            ["starting otto", "ended session_revoked"]
        );
    }
}

#[tokio::test]
async fn s8_a_subject_who_withdraws_consent_ends_the_session_with_the_next_request() {
    let desk = desk_with_consent();
    desk.consents.grant(id("ines"), NOON + MINUTE * 60);
    let session = desk.start("ada", "ines").await.unwrap();
    assert_eq!(
        desk.send(crate::support::get("ada", "/?as=ines"))
            .await
            .body,
        "ines by ada"
    );
    desk.consents.withdraw(&id("ines"));
    let refused = desk.send(crate::support::get("ada", "/?as=ines")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert_eq!(
        desk.row(&session).await.ended_reason.unwrap().as_str(),
        "subject_gone"
    );
}

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
