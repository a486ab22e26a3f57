//! S5, B8: the way out over HTTP leads out, also from a page that is older than the end.

use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use tower_impersonation::{Rejection, RejectionKind};

use super::{all_settings, app, call};
use crate::support::desk_with;

#[tokio::test]
async fn s5_the_answer_that_leads_out_takes_the_marked_page_with_it() {
    let desk = desk_with(|b| {
        all_settings(b)
            .control_path("/impersonation")
            .after_stop("/home")
    });
    let app = app(&desk);
    for (method, path, form, status) in [
        ("POST", "/impersonation/end", true, StatusCode::SEE_OTHER),
        ("POST", "/impersonation/end", false, StatusCode::OK),
        ("DELETE", "/impersonation", true, StatusCode::SEE_OTHER),
        ("DELETE", "/impersonation", false, StatusCode::OK),
    ] {
        desk.start("ada", "ines").await.unwrap();
        let answer = call(&app, method, path, form).await;
        assert_eq!(answer.status(), status, "{method} {path} {form}");
        assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
        if form {
            assert_eq!(answer.headers()[header::LOCATION], "/home");
        }
        assert_eq!(desk.active().await.len(), 0);
    }
}

#[tokio::test]
async fn s5_exit_on_a_page_that_is_older_than_the_end_leads_out_too() {
    let desk = desk_with(|b| {
        all_settings(b)
            .control_path("/impersonation")
            .after_stop("/home")
    });
    let app = app(&desk);
    let answer = call(&app, "POST", "/impersonation/end", true).await;
    assert_eq!(answer.status(), StatusCode::SEE_OTHER);
    assert_eq!(answer.headers()[header::LOCATION], "/home");
    assert_eq!(answer.headers()[header::REFERRER_POLICY], "no-referrer");
    // A client that reads the answer is told.
    let answer = call(&app, "POST", "/impersonation/end", false).await;
    assert_eq!(answer.status(), StatusCode::NOT_FOUND);
    let kind = answer.extensions().get::<Rejection>().unwrap().kind();
    assert_eq!(kind, RejectionKind::NothingToEnd);
}

#[tokio::test]
async fn the_script_is_served_as_one_and_may_be_kept() {
    let desk = desk_with(|b| all_settings(b).control_path("/impersonation"));
    let answer = call(&app(&desk), "GET", "/impersonation/page.js?v=1", false).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let expected = [
        (header::CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
    ];
    for (name, value) in expected {
        assert_eq!(answer.headers()[&name], value);
    }
    let script = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(script.starts_with(b"//") && script.ends_with(b"})();\n"));
    assert_eq!(desk.world.asked(), Vec::<String>::new());
}
