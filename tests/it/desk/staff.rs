//! R6, R8, S1: who may act as whom at the desk, and what happens when a role is taken or a person is gone.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Desk, database_in, only};

#[tokio::test]
async fn s1_nobody_acts_upwards_sideways_or_as_who_is_closed() {
    struct Case {
        actor: &'static str,
        subject: &'static str,
        refusal: (u16, &'static str),
        rule: &'static str,
    }
    let case = |actor, subject, status, code, rule| Case {
        actor,
        subject,
        refusal: (status, code),
        rule,
    };
    let cases = [
        case("sam", "ada", 403, "denied", "rank"),
        case("sam", "abe", 403, "denied", "rank"),
        case("sam", "root", 403, "denied", "rank"),
        case("sam", "bot", 403, "denied", "not_impersonable"),
        case("sam", "kim", 403, "denied", "not_impersonable"),
        case("sam", "sam", 400, "yourself", "self"),
        case("ada", "abe", 403, "denied", "rank"),
        case("ada", "root", 403, "denied", "rank"),
        case("ada", "ada", 400, "yourself", "self"),
        case("ada", "kim", 403, "denied", "not_impersonable"),
        case("root", "kim", 403, "denied", "not_impersonable"),
        case("root", "bot", 403, "denied", "not_impersonable"),
        case("root", "root", 400, "yourself", "self"),
        case("ada", "nobody", 404, "user_not_found", "unknown_subject"),
    ];
    let desk = Desk::open().await;
    for case in &cases {
        let answer = desk.start(case.actor, case.subject, "read_only").await;
        let (status, code) = case.refusal;
        assert_eq!(
            answer.refusal(),
            (status, code.to_owned()),
            "{} as {}",
            case.actor,
            case.subject
        );
        let marked = format!("/api/me?as={}", case.subject);
        let marked = desk.get(case.actor, &marked).await;
        assert_eq!(marked.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(desk.sessions("").await.len(), 0);

    let events = desk.close().await;
    for case in &cases {
        let denied = json!({
            "name": "impersonation.denied", "actor": case.actor, "subject": case.subject,
            "rule": case.rule, "path": "/impersonation/start",
        });
        only(&events, &denied);
    }
}

#[tokio::test]
async fn r6_a_customer_who_tries_is_a_privilege_violation() {
    let desk = Desk::open().await;
    let start = desk.start("ines", "otto", "read_only").await;
    assert_eq!(start.refusal(), (403, "not_admin".to_owned()));
    let marked = desk.get("ines", "/api/me?as=mia").await;
    assert_eq!(marked.refusal(), (403, "not_admin".to_owned()));
    let nobody = desk.get("", "/api/me?as=mia").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));
    let nobody = desk.start("", "mia", "read_only").await;
    assert_eq!(nobody.refusal(), (401, "unauthenticated".to_owned()));

    let events = desk.close().await;
    let violation = json!({"name": "privilege_violation", "actor": "ines", "subject": "mia"});
    only(&events, &violation);
    let violation = json!({
        "name": "privilege_violation", "actor": "ines", "path": "/impersonation/start",
    });
    only(&events, &violation);
}

/// How long a session may last.
fn minutes(session: &Value) -> i64 {
    let at = |field: &str| {
        let text = session[field].as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    };
    (at("expires_at") - at("started_at")).whole_minutes()
}

#[tokio::test]
async fn s1_the_grant_of_support_is_read_only_and_half_an_hour() {
    let desk = Desk::open().await;
    let started = desk.started("sam", "ines", "read_write").await;
    assert_eq!(started["session"]["access"], "read_only");
    assert_eq!(minutes(&started["session"]), 30);
    let order = desk.order("sam", "/api/orders?as=ines").await;
    assert_eq!(order.refusal(), (403, "read_only".to_owned()));

    let started = desk.started("ada", "ines", "read_write").await;
    assert_eq!(started["session"]["access"], "read_write");
    assert_eq!(minutes(&started["session"]), 120);
}

#[tokio::test]
async fn r8_a_demoted_admin_is_out_with_the_next_request() {
    for role in ["customer", "support"] {
        let desk = Desk::open().await;
        let session = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
        let demoted = desk.call("root", Method::PUT, "/demo/users/ada");
        let demoted = demoted.json(json!({"role": role})).send().await;
        assert_eq!(demoted.status, StatusCode::OK);
        assert_eq!(demoted.json()["role"], role);

        // Either it finds out, or the session has ended already.
        let refused = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        // The process refuses it at once; the store has it ended soon after.
        let ended = async {
            loop {
                let sessions = desk.sessions("?admin_user_id=ada").await;
                if sessions[0]["is_active"] == false {
                    return sessions[0]["ended_reason"].clone();
                }
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), ended)
            .await
            .expect("it ends");
        assert_eq!(ended, "actor_demoted");
        let again = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(again.status, StatusCode::FORBIDDEN);
        // She is still herself.
        assert_eq!(desk.get("ada", "/api/me").await.json()["role"], role);

        let events = desk.close().await;
        let end = json!({"name": "impersonation.end", "session": session});
        assert_eq!(only(&events, &end)["reason"], "actor_demoted");
    }
}

#[tokio::test]
async fn r8_a_subject_who_is_gone_or_promoted_ends_the_session() {
    for change in ["delete", "promote"] {
        let desk = Desk::open().await;
        let session = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
        assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
        let call = match change {
            "delete" => desk.call("root", Method::DELETE, "/demo/users/ines"),
            _ => desk
                .call("root", Method::PUT, "/demo/users/ines")
                .json(json!({"role": "admin"})),
        };
        assert_eq!(call.send().await.status, StatusCode::OK);

        let refused = desk.get("ada", "/api/me?as=ines").await;
        assert_eq!(refused.refusal(), (403, "session_ended".to_owned()));
        let sessions = desk.sessions("?target_user_id=ines").await;
        assert_eq!(sessions[0]["ended_reason"], "subject_gone", "{change}");
        let events = desk.close().await;
        let end = json!({"name": "impersonation.end", "session": session});
        assert_eq!(only(&events, &end)["reason"], "subject_gone");
    }
}

#[tokio::test]
async fn r8_an_admin_who_is_deleted_leaves_no_session() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let deleted = desk.call("root", Method::DELETE, "/demo/users/ada").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    assert_eq!(desk.sessions("?is_active=true").await.len(), 0);
    let refused = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn the_demonstration_calls_are_for_root_alone() {
    let desk = Desk::open().await;
    for (who, status) in [("", 401), ("ines", 403), ("sam", 403), ("ada", 403)] {
        let put = desk.call(who, Method::PUT, "/demo/users/otto");
        let put = put.json(json!({"role": "admin"})).send().await;
        assert_eq!(put.status, status, "{who}");
        let delete = desk.call(who, Method::DELETE, "/demo/users/otto").send();
        assert_eq!(delete.await.status, status, "{who}");
    }
    assert_eq!(desk.get("otto", "/api/me").await.json()["role"], "customer");
    for (id, body, status) in [
        ("nobody", r#"{"role":"admin"}"#, 404),
        ("otto", r#"{"role":"king"}"#, 400),
        ("otto", r#"{"role":"system"}"#, 400),
        ("otto", r#"{"role":"admin","more":1}"#, 400),
        ("otto", r#"{"role""#, 400),
        ("otto", "", 400),
    ] {
        let put = desk.call("root", Method::PUT, &format!("/demo/users/{id}"));
        let put = put.body("application/json", body).send().await;
        assert_eq!(put.status, status, "{id} {body}");
        assert!(put.json()["error"].is_string());
    }
    let delete = desk
        .call("root", Method::DELETE, "/demo/users/nobody")
        .send();
    assert_eq!(delete.await.status, StatusCode::NOT_FOUND);
}

/// In SQLite nobody tells what is written by hand: the next acted request finds out.
#[tokio::test]
async fn r8_a_role_that_is_taken_by_hand_is_gone_with_the_next_request() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    assert_eq!(desk.get("ada", "/api/me?as=ines").await.status, 200);
    let pool = sqlx::SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let revoke = "update impersonation_admin_roles set revoked_at = 1 where user_id = 'ada'";
    let revoked = sqlx::query(revoke).execute(&pool).await.unwrap();
    assert_eq!(revoked.rows_affected(), 1);
    pool.close().await;

    let refused = desk.get("ada", "/api/me?as=ines").await;
    assert_eq!(refused.refusal(), (403, "session_ended".to_owned()));
    let sessions = desk.sessions("?admin_user_id=ada").await;
    assert_eq!(sessions[0]["ended_reason"], "actor_demoted");
    assert_eq!(desk.get("ada", "/api/me").await.json()["role"], "customer");
}

/// The table says who gave a role and who took it.
#[tokio::test]
async fn a_staff_role_is_given_and_taken_in_the_table_of_roles() {
    type Row = (String, Option<String>, Option<String>);

    let desk = Desk::open().await;
    for role in ["support", "customer", "customer"] {
        let change = desk.call("root", Method::PUT, "/demo/users/ada");
        let change = change.json(json!({"role": role})).send().await;
        assert_eq!(change.json()["role"], role);
    }
    let deleted = desk.call("root", Method::DELETE, "/demo/users/sam").send();
    assert_eq!(deleted.await.status, StatusCode::OK);
    let pool = sqlx::SqlitePool::connect(&database_in(&desk.folder))
        .await
        .unwrap();
    let of = async |user: &str| -> Vec<Row> {
        let rows = "select role, granted_by, revoked_by from impersonation_admin_roles \
                    where user_id = ? order by id";
        sqlx::query_as(rows)
            .bind(user)
            .fetch_all(&pool)
            .await
            .unwrap()
    };
    let root = Some("root".to_owned());
    let row = |role: &str, by: &Option<String>, taken: &Option<String>| {
        (role.to_owned(), by.clone(), taken.clone())
    };
    let (admin, support) = (row("admin", &root, &root), row("support", &root, &root));
    assert_eq!(of("ada").await, [admin, support.clone()]);
    assert_eq!(of("sam").await, [support]);
    assert_eq!(of("root").await, [row("superadmin", &None, &None)]);
    let left: Vec<String> = sqlx::query_scalar("select distinct role from users order by role")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(left, ["customer", "system"]);
    pool.close().await;
}
