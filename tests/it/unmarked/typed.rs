//! R20: a URL that was typed without the marker ends the session, and nothing else does.

use http::{StatusCode, header};
use tower_impersonation::{RejectionKind, session::EndedReason};

use super::{DOCUMENT, HTML, Headers, NAVIGATE, SAME_ORIGIN, TYPED, all_settings, sent};
use crate::support::{desk_with, get};

#[tokio::test]
async fn r20_a_url_typed_without_the_marker_ends_the_session() {
    let desk = desk_with(|b| all_settings(b).max_active(2));
    let ines = desk.start("ada", "ines").await.unwrap();
    let otto = desk.start("ada", "otto").await.unwrap();
    let other = desk.start("abe", "ines").await.unwrap();
    let typed = sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT, HTML]);
    assert_eq!(desk.send(typed).await.body, "themselves");
    for session in [&ines, &otto] {
        let reason = desk.row(session).await.ended_reason;
        assert_eq!(reason, Some(EndedReason::MarkerRemoved));
    }
    assert_eq!(desk.row(&other).await.ended_reason, None);
    let old_tab = desk.send(get("ada", "/orders?as=ines")).await;
    assert_eq!(old_tab.kind, Some(RejectionKind::NoSession));
    let mut trail = desk.trail().await;
    trail[3..5].sort();
    assert_eq!(
        trail[3..],
        [
            "end ada ines marker_removed",
            "end ada otto marker_removed",
            "denied ada ines no_session"
        ]
    );
}

#[tokio::test]
async fn r20_nothing_but_a_typed_page_ends_the_session() {
    const SISTER: (&str, &str) = ("sec-fetch-site", "same-site");
    const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
    const NO_CORS: (&str, &str) = ("sec-fetch-mode", "no-cors");
    const FRAME: (&str, &str) = ("sec-fetch-dest", "iframe");
    const IMAGE: (&str, &str) = ("sec-fetch-dest", "image");
    const ALL: Headers = &[TYPED, NAVIGATE, DOCUMENT];
    let cases: [(&str, &str, &str, Headers); 14] = [
        ("our link", "GET", "/", &[SAME_ORIGIN, NAVIGATE, DOCUMENT]),
        ("a sister's", "GET", "/", &[SISTER, NAVIGATE, DOCUMENT]),
        ("another's", "GET", "/", &[CROSS, NAVIGATE, DOCUMENT]),
        ("both", "GET", "/", &[TYPED, CROSS, NAVIGATE, DOCUMENT]),
        ("no word", "GET", "/", &[NAVIGATE, DOCUMENT]),
        ("an old browser", "GET", "/", &[HTML]),
        ("no mode", "GET", "/", &[TYPED, DOCUMENT]),
        ("no navigation", "GET", "/", &[TYPED, NO_CORS, DOCUMENT]),
        ("a frame", "GET", "/", &[TYPED, NAVIGATE, FRAME]),
        ("an image", "GET", "/", &[TYPED, NAVIGATE, IMAGE]),
        ("no destination", "GET", "/", &[TYPED, NAVIGATE]),
        ("only the headers", "HEAD", "/", ALL),
        ("an excluded page", "GET", "/admin", ALL),
        ("a marked page", "GET", "/?as=ines", ALL),
    ];
    let desk = desk_with(all_settings);
    desk.start("ada", "ines").await.unwrap();
    for (name, method, target, headers) in cases {
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(reply.status, StatusCode::OK, "{name}");
        assert_eq!(desk.active().await.len(), 1, "{name}");
    }
    // Of others nothing is ended.
    for who in ["", "ines", "abe"] {
        let mut typed = sent("GET", "/", &[TYPED, NAVIGATE, DOCUMENT]);
        typed.headers_mut().remove("x-user");
        if !who.is_empty() {
            typed.headers_mut().insert("x-user", who.parse().unwrap());
        }
        assert_eq!(desk.send(typed).await.body, "themselves", "{who:?}");
    }
    assert_eq!(desk.active().await.len(), 1);
}

#[tokio::test]
async fn r20_a_browser_that_asks_ahead_ends_nothing_and_has_to_ask_again() {
    let desk = desk_with(all_settings);
    let ahead = |purpose: (&'static str, &'static str)| {
        desk.send(sent("GET", "/", &[TYPED, NAVIGATE, DOCUMENT, purpose]))
    };
    let purposes = [
        ("sec-purpose", "prefetch"),
        ("sec-purpose", "prefetch;prerender"),
        ("sec-purpose", "prefetch;anonymous-client-ip"),
        ("purpose", "prefetch"),
    ];
    for purpose in purposes {
        assert_eq!(ahead(purpose).await.body, "themselves", "{purpose:?}");
    }
    desk.start("ada", "ines").await.unwrap();
    for purpose in purposes {
        let reply = ahead(purpose).await;
        assert_eq!(
            reply.kind,
            Some(RejectionKind::MarkerMissing),
            "{purpose:?}"
        );
        assert_eq!(reply.headers[header::CACHE_CONTROL], "no-store");
        assert_eq!(desk.active().await.len(), 1, "{purpose:?}");
    }
    assert_eq!(
        desk.trail().await,
        ["start ada ines"],
        "nobody has done anything"
    );
}
