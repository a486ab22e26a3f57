//! R4, R20: the pages of the shop: what people wrote is text, nothing is inline, an acted page says so and leads out.

use http::{Method, StatusCode};
use serde_json::json;

use super::{Desk, only};

#[tokio::test]
async fn orders_are_taken_as_json_and_as_a_form() {
    let desk = Desk::open().await;
    let order = desk
        .post("mia", "/api/orders", json!({"item": " Bamboo whisk "}))
        .await;
    assert_eq!(order.status, StatusCode::CREATED);
    let first = order.json();
    assert_eq!(
        (&first["item"], &first["user"]),
        (&json!("Bamboo whisk"), &json!("mia"))
    );
    assert!(first["id"].is_string());
    let order = desk
        .call("mia", Method::POST, "/api/orders")
        .form(&[("item", "Cup")]);
    let order = order.send().await;
    assert_eq!(order.status, StatusCode::CREATED);
    let orders = desk.get("mia", "/api/orders").await.json();
    assert_eq!(orders[0]["item"], "Cup");
    assert_eq!(orders[1], first);
    assert_eq!(orders.as_array().unwrap().len(), 3);

    let before = desk.orders_of("mia").await;
    let too_long = json!({"item": "x".repeat(201)}).to_string();
    for body in [
        "",
        "{",
        "{}",
        r#"{"item":""}"#,
        r#"{"item":"  "}"#,
        r#"{"item":7}"#,
        r#"{"item":"x","user":"otto"}"#,
        &too_long,
    ] {
        let call = desk.call("mia", Method::POST, "/api/orders");
        let answer = call.body("application/json", body.to_owned()).send().await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(desk.orders_of("mia").await, before);
    assert_eq!(
        desk.get("", "/api/orders").await.status,
        StatusCode::UNAUTHORIZED
    );
    assert_eq!(
        desk.order("", "/api/orders").await.status,
        StatusCode::UNAUTHORIZED
    );
    let nowhere = desk.get("mia", "/api/nowhere").await;
    assert_eq!(nowhere.status, StatusCode::NOT_FOUND);
    assert!(nowhere.json()["error"].is_string());
}

#[tokio::test]
async fn the_pages_escape_what_people_wrote() {
    let desk = Desk::open().await;
    let nasty = r#"</li><script>alert("1")</script>'&"#;
    desk.post("ines", "/api/orders", json!({"item": nasty}))
        .await;
    let body = json!({"target_user_id": "ines", "reason": nasty, "ticket": nasty});
    let started = desk.post("ada", "/impersonation/start", body).await.json();
    let id = started["session"]["id"].as_str().unwrap();
    // Which of the harmless forms is up to whoever escapes.
    let raw = [r#"<script>alert("#, "</li><script", r#"alert("1")"#];
    for (who, path) in [
        ("ada", "/?as=ines"),
        ("ada", "/orders/1006?as=ines"),
        ("ines", "/"),
        (
            "ines",
            "/?q=%3C/li%3E%3Cscript%3Ealert(%221%22)%3C/script%3E",
        ),
        ("ada", "/admin/session"),
        ("root", "/admin/sessions"),
        ("root", &format!("/admin/sessions/{id}")),
        ("root", "/admin/trail"),
    ] {
        let page = desk.call(who, Method::GET, path).navigation().send().await;
        assert_eq!(page.status, StatusCode::OK, "{who} {path}");
        assert!(page.text().contains("script&#"), "{who} {path}");
        for raw in raw {
            assert!(!page.text().contains(raw), "{who} {path}");
        }
    }
}

#[tokio::test]
async fn the_pages_have_nothing_inline_and_allow_nothing_from_elsewhere() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    for (who, path, status) in [
        ("", "/", 200),
        ("", "/shop", 200),
        ("", "/login", 200),
        ("ines", "/", 200),
        ("ines", "/orders/1001", 200),
        ("otto", "/orders/1001", 404),
        ("", "/orders/1001", 404),
        ("ines", "/account/password", 200),
        ("ines", "/admin", 403),
        ("ada", "/admin", 200),
        ("ada", "/?as=ines", 200),
        ("ada", "/shop?as=ines", 200),
        ("ada", "/orders/1001?as=ines", 200),
        ("ada", "/orders/1001", 404),
        ("ada", "/?as=otto", 403),
        ("ada", "/account/password?as=ines", 403),
        ("ada", "/nowhere", 404),
        ("ada", "/nowhere?as=ines", 404),
    ] {
        let page = desk.call(who, Method::GET, path).navigation().send().await;
        assert_eq!(page.status, status, "{who} {path}");
        let content_type = page.header("content-type").unwrap();
        assert!(content_type.starts_with("text/html"), "{who} {path}");
        let policy = page.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        let text = page.text();
        assert!(text.contains(r#"<html lang="en">"#), "{who} {path}");
        for inline in ["<script>", "<style", " style=", " onclick=", "javascript:"] {
            assert!(!text.contains(inline), "{who} {path}: {inline}");
        }
        assert_eq!(text.matches("<h1").count(), 1, "{who} {path}");
        let is_acted = path.contains("as=ines") && page.header("acted-as").is_some();
        let has_banner = text.contains("data-impersonation-banner");
        assert_eq!(has_banner, is_acted, "{who} {path}");
    }
    for (path, content_type) in [
        ("/desk.css", "text/css; charset=utf-8"),
        ("/desk.js", "text/javascript; charset=utf-8"),
        ("/impersonation/page.css", "text/css; charset=utf-8"),
        ("/impersonation/page.js", "text/javascript; charset=utf-8"),
        ("/admin/console.css", "text/css; charset=utf-8"),
        ("/admin/console.js", "text/javascript; charset=utf-8"),
    ] {
        let file = desk.get("ada", path).await;
        assert_eq!(file.header("content-type"), Some(content_type), "{path}");
        if path.ends_with("css") {
            assert!(file.text().contains("prefers-color-scheme: dark"), "{path}");
        }
    }
}

#[tokio::test]
async fn orders_are_found_by_item_and_number() {
    let desk = Desk::open().await;
    let list = async |path: &str| {
        let page = desk.call("ines", Method::GET, path).navigation().send();
        let page = page.await;
        (1001..=1005)
            .filter(|id| page.text().contains(&format!(r#"href="/orders/{id}""#)))
            .collect::<Vec<_>>()
    };
    assert_eq!(list("/").await, [1001, 1004]);
    assert_eq!(list("/?q=TEAPOT").await, [1001]);
    assert_eq!(list("/?q=1004").await, [1004]);
    assert_eq!(list("/?q=%00").await, [0; 0]);
    assert_eq!(list("/?q=whisk").await, [0; 0], "another customer's");
}

#[tokio::test]
async fn the_acted_page_says_so_and_leads_out() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_write").await;
    let page = desk
        .call("ada", Method::GET, "/?as=ines")
        .navigation()
        .send()
        .await;
    let text = page.text();
    for part in [
        "Ines Ortega",
        "ines@shop.example",
        "ada",
        "read and write",
        r#"action="/impersonation/end""#,
        r#"data-subject="ines""#,
    ] {
        assert!(text.contains(part), "{part}");
    }
    let own = desk.call("ada", Method::GET, "/").navigation().send().await;
    assert!(!own.text().contains("data-impersonation-banner"));

    // The form leads to a page without the marker, and the browser that comes from a marked one is sent on.
    let order = desk.call("ada", Method::POST, "/?as=ines").navigation();
    let order = order.form(&[("item", "Bamboo whisk")]).send().await;
    assert_eq!(order.status, StatusCode::SEE_OTHER);
    assert_eq!(order.header("location"), Some("/"));
    assert_eq!(desk.orders_of("ines").await, 3);
    let from = format!("http://{}/?as=ines", desk.running.authority());
    let next = desk.call("ada", Method::GET, "/").navigation();
    let next = next.header("referer", &from).send().await;
    assert_eq!(next.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(next.header("location"), Some("/?as=ines"));

    let exit = desk
        .call("ada", Method::POST, "/impersonation/end")
        .navigation();
    let exit = exit.form(&[]).send().await;
    assert_eq!(exit.header("location"), Some("/admin"));
    assert_eq!(exit.header("referrer-policy"), Some("no-referrer"));
    let gone = desk
        .call("ada", Method::GET, "/?as=ines")
        .navigation()
        .send()
        .await;
    assert_eq!(gone.status, StatusCode::FORBIDDEN);
    assert!(gone.text().contains(r#"href="/admin""#));
}

#[tokio::test]
async fn r4_a_refused_form_leads_back_only_to_where_one_still_acts() {
    let desk = Desk::open().await;
    desk.started("ada", "ines", "read_only").await;
    let from = format!("http://{}/?as=ines", desk.running.authority());
    let order = async |path: &str| {
        let order = desk.call("ada", Method::POST, path).navigation();
        let order = order.header("referer", &from);
        order.form(&[("item", "Bamboo whisk")]).send().await
    };
    for path in ["/?as=ines", "/?%61s=ines"] {
        let page = order(path).await;
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{path}");
        assert!(page.text().contains("Read-only"), "{path}");
        assert!(page.text().contains("Back to the page"), "{path}");
    }
    // "Order again" has an address of its own: to read that one would be to read one's own page. So it is not refused
    // there, but where the marker is.
    let again = order("/").await;
    assert_eq!(again.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(again.header("location"), Some("/?as=ines"));
}

#[tokio::test]
async fn r20_unmarked_writes_and_typed_addresses_are_what_the_settings_say() {
    let desk = Desk::open_with(&[("UNMARKED_WRITES", "refuse"), ("MARKER_REMOVED", "end")]).await;
    assert_eq!(
        desk.order("ada", "/api/orders").await.status,
        StatusCode::CREATED
    );
    desk.started("ada", "ines", "read_write").await;
    let refused = desk.order("ada", "/api/orders").await;
    assert_eq!(refused.refusal(), (409, "marker_missing".to_owned()));
    let typed = desk
        .call("ada", Method::GET, "/")
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-site", "none")
        .header("sec-fetch-dest", "document");
    assert_eq!(typed.send().await.status, StatusCode::OK);
    assert_eq!(desk.sessions("").await[0]["ended_reason"], "marker_removed");
    assert_eq!(
        desk.order("ada", "/api/orders").await.status,
        StatusCode::CREATED
    );
}

#[tokio::test]
async fn the_desk_offers_whom_one_may_act_as() {
    let desk = Desk::open().await;
    let offers = |text: &str, id: &str| text.contains(&format!("/admin/start?subject={id}\""));
    for (who, offered, not) in [
        (
            "sam",
            &["ines", "otto", "mia"][..],
            &["sam", "ada", "abe", "root", "kim", "bot"][..],
        ),
        (
            "ada",
            &["ines", "otto", "mia", "sam"],
            &["ada", "abe", "root", "kim", "bot"],
        ),
        (
            "root",
            &["ines", "sam", "ada", "abe"],
            &["root", "kim", "bot"],
        ),
    ] {
        let page = desk.get(who, "/admin").await;
        for id in offered {
            assert!(offers(page.text(), id), "{who}: {id}");
        }
        for id in not {
            assert!(!offers(page.text(), id), "{who}: {id}");
        }
        let service = page.text().contains("Service role");
        assert_eq!(service, who == "root", "{who}");
        let form = desk.get(who, "/admin/start?subject=ines").await;
        let may_write = form.text().contains(r#"value="read_write""#);
        assert_eq!(may_write, who != "sam", "{who}");
    }

    let id = desk.started("ada", "ines", "read_only").await["session"]["id"].clone();
    let detail = format!("/admin/sessions/{}", id.as_str().unwrap());
    let end = format!("{detail}/end");
    for (who, sees, ends) in [
        ("ada", true, true),
        ("root", true, true),
        ("abe", false, false),
    ] {
        let page = desk.get(who, "/admin/sessions").await;
        assert_eq!(page.text().contains("ticket 4711"), sees, "{who}");
        let page = desk.get(who, &detail).await;
        assert_eq!(page.text().contains(&end), ends, "{who}");
    }
    let refused = desk.call("abe", Method::POST, &end).form(&[]).send().await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let ended = desk.call("root", Method::POST, &end).form(&[]).send().await;
    assert_eq!(ended.status, StatusCode::SEE_OTHER);
    assert_eq!(
        desk.sessions("").await[0]["ended_reason"],
        "session_revoked"
    );
    let events = desk.close().await;
    let end = json!({"name": "impersonation.end", "session": id, "reason": "session_revoked"});
    let end = only(&events, &end);
    assert_eq!((&end["actor"], &end["by"]), (&json!("ada"), &json!("root")));
}
