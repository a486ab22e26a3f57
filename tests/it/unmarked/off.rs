//! R1: without these settings no unmarked request is looked at, with them none that they are not about, and each works
//! without the others.

use http::{StatusCode, header};
use tower_impersonation::{Builder, session::MemorySessions};

use super::{DOCUMENT, FROM_INES, NAVIGATE, SAME_ORIGIN, TYPED, all_settings, sent};
use crate::support::{Desk, desk, desk_with};

// === All off ===

#[tokio::test]
async fn r1_by_default_no_unmarked_request_is_looked_at() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    for (method, headers) in [
        ("GET", &[SAME_ORIGIN, NAVIGATE, FROM_INES][..]),
        ("POST", &[SAME_ORIGIN, FROM_INES]),
        ("POST", &[]),
        ("GET", &[TYPED, NAVIGATE, DOCUMENT]),
    ] {
        let reply = desk.send(sent(method, "/orders", headers)).await;
        assert_eq!(reply.body, "themselves", "{method} {headers:?}");
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn r1_what_none_of_the_settings_is_about_asks_nobody() {
    let desk = desk_with(all_settings);
    desk.start("ada", "ines").await.unwrap();
    desk.world.forget();
    let unmarked_page = ("referer", "https://shop.example/orders?page=2&has=ines");
    for (method, target, headers) in [
        ("GET", "/orders", &[][..]),
        (
            "GET",
            "/orders?page=2",
            &[SAME_ORIGIN, NAVIGATE, DOCUMENT, unmarked_page],
        ),
        ("HEAD", "/orders", &[TYPED, NAVIGATE, DOCUMENT]),
        ("OPTIONS", "/orders", &[]),
        ("POST", "/search", &[]),
    ] {
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(reply.body, "themselves", "{method} {target}");
        assert!(!reply.headers.contains_key(header::CACHE_CONTROL));
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.active().await.len(), 1);
}

// === The way out over HTTP ===

#[tokio::test]
async fn r1_the_settings_do_not_need_each_other() {
    let post = || sent("POST", "/orders", &[]);
    let typed = || sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT]);
    let click = || sent("GET", "/orders", &[SAME_ORIGIN, NAVIGATE, FROM_INES]);
    type Set = fn(Builder) -> Builder;
    let cases: [(Set, [bool; 3]); 3] = [
        (Builder::sticky_marker, [true, false, false]),
        (
            // A session has to be ended somewhere.
            |builder| {
                builder
                    .control_path("/impersonation")
                    .refuse_unmarked_writes()
            },
            [false, true, false],
        ),
        (Builder::end_when_marker_removed, [false, false, true]),
    ];
    for (set, [redirected, refused, ended]) in cases {
        let desk = Desk::new(&MemorySessions::new(), true, set);
        desk.start("ada", "ines").await.unwrap();
        let is_redirect = desk.send(click()).await.status == StatusCode::TEMPORARY_REDIRECT;
        assert_eq!(is_redirect, redirected);
        let is_refused = desk.send(post()).await.kind.is_some();
        assert_eq!(is_refused, refused);
        desk.send(typed()).await;
        assert_eq!(desk.active().await.is_empty(), ended);
    }
}
