//! The document against the server: a body or query that fits its schema is taken, and one that does not is refused.

use http::StatusCode;
use serde_json::{Value, json};
use tower_impersonation::token::Tokens;

use super::{Api, MOUNT};
use crate::support::provider;

#[tokio::test]
async fn what_the_document_says_of_a_body_is_what_the_server_takes() {
    provider();
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
        ("delete", "/", json!({"session_id": "x"}), true),
        ("delete", "/", json!({"session_id": 7}), true),
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
        ("post", "/end", json!({"session_id": "x"}), true),
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
