//! R7, R16, S2: who is found, what an acted request reaches, and which right each call takes.

use axum::Router;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tower_impersonation::{Access, Rights, StartRequest};
use tower_impersonation_web::control;

use super::{Api, MOUNT, ROUTES, body, request};
use crate::support::{ADMIN, Staff, customer, desk, get, parts, subject};

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

// === One actor, two browsers ===

#[tokio::test]
async fn s2_with_two_sessions_each_browser_acts_for_its_own_subject() {
    let api = Api::with(|builder| builder.max_active(2)).await;
    api.start("ada", "ines").await;
    api.start("ada", "otto").await;
    assert_eq!(
        api.desk.send(get("ada", "/?as=ines")).await.body,
        "ines by ada"
    );
    assert_eq!(
        api.desk.send(get("ada", "/?as=otto")).await.body,
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
        .nest(MOUNT, control(&desk.handle))
        .layer(desk.handle.layer());
    let request_of = StartRequest::new(subject("ines"), "r").with_access(Access::ReadWrite);
    desk.started(&parts("root"), request_of).await;
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
