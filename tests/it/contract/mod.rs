//! The HTTP contract, call by call. Every answer that these tests get is held against `openapi.json`.

use std::sync::Arc;
use tower_impersonation_web::control;

use axum::{Router, body::Body};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use tower::ServiceExt;
use tower_impersonation::{Builder, session::MemorySessions, token::Tokens};

use crate::support::{Desk, LateReader, provider, with};

mod audit;
mod change;
mod errors;
mod hooks;
mod lists;
mod live;
mod openapi;
mod start;
mod stop;
#[cfg(feature = "jwt")]
mod tokens;
mod users;
#[cfg(feature = "jwt")]
mod values;

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
            .nest(MOUNT, control(&desk.handle))
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
    let form = [("content-type", "application/x-www-form-urlencoded")];
    with(request("post", who, path, None), &form).map(|_| Body::from(fields.to_owned()))
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

async fn api() -> Api {
    provider();
    let tokens = Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]);
    Api::with(|builder| builder.tokens(tokens)).await
}
