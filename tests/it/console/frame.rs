//! R6, R12, R13, R16, R17: what all pages have in common: where they are mounted, whom they are for, their headers, and
//! what they say when something is missing or fails.

use axum::{Router, body::Body};
use http::Request;
use tower_impersonation::{
    Caller, ConfigError, Decision, Impersonation, RejectionKind, audit::MemorySink, checker_fn,
};
use tower_impersonation_web::console;

use super::{Console, MOUNT, form, request};
use crate::support::{How, MINUTE, NOON, desk};

// === Where it is ===

#[tokio::test]
async fn the_story_goes_by_links_and_forms_alone() {
    let console = Console::new();
    let people = console.get("root", "/?q=INES").await;
    people.ok().says("ines@shop.example").says_not("otto");

    let start = console.get("root", &people.link("Act as")).await;
    start
        .ok()
        .says("Role: customer")
        .says("None that you may see.");
    let action = start.all("form")[0].get("action").to_owned();
    let typed = form(&[
        ("reason", " ticket 4711: cannot pay "),
        ("ticket", "4711"),
        ("access", "read_write"),
        ("duration", "900"),
    ]);
    let started = console.post("root", &action, &typed).await;
    assert_eq!(started.to(), "/orders?as=ines");
    let session = console.desk.active().await.remove(0);
    assert_eq!(&*session.reason, "ticket 4711: cannot pay");
    assert_eq!(session.ticket.as_deref(), Some("4711"));
    assert_eq!(session.access.as_str(), "read_write");
    assert_eq!(session.expires_at, NOON + MINUTE * 15);

    // Everyone sees it, and its admin on every page.
    let people = console.get("root", "/").await;
    people.says("You have a session as ines@shop.example");
    let mine = console.get("root", &people.link("My session")).await;
    mine.says("15 min left").says("ticket 4711: cannot pay");
    assert_eq!(mine.link("Open"), "/orders?as=ines");
    assert_eq!(
        mine.all("form")[0].get("action"),
        format!("{MOUNT}/session/stop")
    );

    let history = console.get("root", &start.link("Who impersonated")).await;
    history.says("1 of 1").says("Active");
    let detail = console.get("root", &history.link("Details and end")).await;
    detail.says("End this session");
    let end = detail.all("form")[0].get("action").to_owned();
    let ended = console.post("root", &end, "").await;
    let detail = console.get("root", ended.to()).await;
    detail
        .says("The session has been ended.")
        .says("Stopped by the admin");
    assert!(detail.all("form").is_empty());
    assert!(console.desk.active().await.is_empty());

    let trail = console.get("root", &detail.link("In the trail")).await;
    trail.says("impersonation.start").says("impersonation.end");
    console
        .get("root", &trail.link("Summary"))
        .await
        .says("root 1 0 s 1 0 0");
}

#[tokio::test]
async fn links_lead_to_where_it_is_mounted() {
    let desk = desk();
    let nested = Router::new().nest("/a/b", console(&desk.handle));
    let service = Router::new().nest_service("/a/b", console(&desk.handle));
    let root = console(&desk.handle);
    let cases = [
        (&nested, "/a/b", "/a/b"),
        (&nested, "/a/b/sessions", "/a/b"),
        (&nested, "/a/b/sessions/x", "/a/b"),
        (&nested, "/a/b/nothing", "/a/b"),
        (&service, "/a/b", "/a/b"),
        (&service, "/a/b/", "/a/b"),
        (&service, "/a/b/trail", "/a/b"),
        (&root, "/", ""),
        (&root, "/sessions", ""),
    ];
    for (app, path, base) in cases {
        let console = Console {
            desk: desk.clone(),
            app: app.clone(),
        };
        let request = Request::get(path).header("x-user", "root");
        let page = console.send(request.body(Body::empty()).unwrap()).await;
        if page.kind.is_none() {
            let home = if base.is_empty() { "/" } else { base };
            assert_eq!(page.link("People"), home, "{path}");
            assert_eq!(page.link("Trail"), format!("{base}/trail"), "{path}");
        }
        assert!(
            page.all("script")[0]
                .get("src")
                .starts_with(&format!("{base}/console.js?v="))
        );
    }
}

#[test]
fn r12_the_console_is_one_plain_place() {
    for path in [
        "/admin/*",
        "/admin/%41",
        "admin",
        "/",
        "/admin/../x",
        "/admin/{id}",
    ] {
        let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
        let built = Impersonation::builder(checker, MemorySink::default())
            .handlers_read_acting_as()
            .console_path(path)
            .build();
        let Err(ConfigError::Invalid { setting, .. }) = built else {
            panic!("{path} was taken");
        };
        assert_eq!(setting, "console_path", "{path}");
    }
}

#[tokio::test]
async fn r12_a_marker_does_nothing_in_the_console() {
    let console = Console::new();
    console.start("ada", "ines").await;
    let page = console.get("ada", "/session?as=ines").await;
    page.ok().says("Signed in as ada");
    assert!(!page.headers.contains_key("acted-as"));
}

#[tokio::test]
async fn r16_an_acted_request_gets_no_page_but_the_way_out() {
    // Nobody said where the console is, so that it is not excluded.
    let console = Console::of(desk());
    console.start("ada", "ines").await;
    for path in [
        "/?as=ines",
        "/start?subject=otto&as=ines",
        "/session?as=ines",
        "/sessions?as=ines",
    ] {
        let page = console.get("ada", path).await;
        page.is(403, Some(RejectionKind::Nested))
            .says_not("Signed in");
        assert_eq!(page.link("My session"), format!("{MOUNT}/session"));
    }
    let start = console
        .post("ada", "/start?subject=otto&as=ines", "reason=x")
        .await;
    start.is(403, Some(RejectionKind::Nested));
    assert_eq!(console.desk.active().await.len(), 1);
    // But it can be left (rule S5).
    assert_eq!(
        console.post("ada", "/session/stop?as=ines", "").await.to(),
        "/"
    );
    assert!(console.desk.active().await.is_empty());
}

// === Who may ===

#[tokio::test]
async fn r6_every_page_is_for_admins_who_are_signed_in() {
    let console = Console::new();
    let id = console.start("ada", "ines").await.id;
    let pages = [
        "/".to_owned(),
        "/start?subject=ines".to_owned(),
        "/start".to_owned(),
        "/session".to_owned(),
        "/sessions".to_owned(),
        "/sessions?from=x".to_owned(),
        format!("/sessions/{id}"),
        "/trail".to_owned(),
        "/trail?name=x".to_owned(),
        "/trail.csv".to_owned(),
        "/trail.csv?name=x".to_owned(),
        "/summary".to_owned(),
        "/summary?week=x".to_owned(),
        "/events".to_owned(),
    ];
    for path in &pages {
        let nobody = console.get("", path).await;
        nobody
            .is(401, Some(RejectionKind::Unauthenticated))
            .says("Sign in first");
        assert_eq!(nobody.link("Leave"), "/bye");
        assert!(nobody.links("My session").is_empty());
        let user = console.get("mia", path).await;
        user.is(403, Some(RejectionKind::NotAdmin))
            .says("Only an admin may impersonate.");
    }
    let violations = console.desk.trail().await;
    assert!(violations.contains(&"privilege_violation mia - not_admin".to_owned()));
    let posts = [
        "/start?subject=ines".to_owned(),
        "/start".to_owned(),
        "/session/change?subject=ines".to_owned(),
        "/session/change".to_owned(),
        format!("/sessions/{id}/end"),
    ];
    for path in &posts {
        let nobody = console.post("", path, "reason=x").await;
        nobody.is(401, Some(RejectionKind::Unauthenticated));
        let user = console.post("mia", path, "reason=x").await;
        user.is(403, Some(RejectionKind::NotAdmin));
    }
    console
        .post("", "/session/stop", "")
        .await
        .is(401, Some(RejectionKind::Unauthenticated));
    assert_eq!(console.desk.active().await.len(), 1);
}

#[tokio::test]
async fn r17_what_is_not_there_is_a_page_too() {
    let console = Console::new();
    for who in ["", "ada"] {
        let page = console.get(who, "/nothing").await;
        page.is(404, Some(RejectionKind::NotFound))
            .says("Page not found");
        assert_eq!(page.link("To the console"), MOUNT);
        let page = console.post(who, "/sessions", "").await;
        page.is(405, Some(RejectionKind::MethodNotAllowed));
        assert_eq!(page.headers["allow"], "GET,HEAD");
    }
}

#[tokio::test]
async fn r13_what_fails_is_a_page_that_leads_on() {
    let console = Console::new();
    for (trouble, path) in [
        ("identify", "/"),
        ("authorize", "/"),
        ("search", "/"),
        ("list", "/sessions"),
        ("list", "/session"),
    ] {
        console.desk.world.trouble(trouble, How::Fail);
        let page = console.get("ada", path).await;
        page.is(503, Some(RejectionKind::Unavailable))
            .says_not("is broken");
        assert_eq!(
            page.link("Try again"),
            format!("{MOUNT}{}", path.trim_end_matches('/'))
        );
        console.desk.world.calm();
        console.get("ada", path).await.ok();
    }
}

#[tokio::test]
async fn every_answer_carries_the_headers_of_a_page_that_is_kept_by_nobody() {
    let console = Console::new();
    let cross_site = {
        let mut request = request("POST", "ada", "/session/stop", "");
        request.headers_mut().insert(
            "sec-fetch-site",
            http::HeaderValue::from_static("cross-site"),
        );
        console.send(request).await
    };
    let pages = [
        console.get("ada", "/").await,
        console.get("", "/").await,
        console.get("ada", "/nothing").await,
        console.post("ada", "/", "").await,
        console.post("ada", "/session/stop", "").await,
        console.get("ada", "/trail.csv").await,
        cross_site,
    ];
    for page in pages {
        let what = page.status;
        assert_eq!(page.headers["cache-control"], "no-store", "{what}");
        assert_eq!(page.headers["referrer-policy"], "same-origin", "{what}");
        assert_eq!(page.headers["x-content-type-options"], "nosniff", "{what}");
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert_eq!(
            policy,
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
             img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
        );
    }
    // Nobody has to be signed in to see the page of a refusal as it should be.
    for (path, content_type) in [
        ("/console.css", "text/css; charset=utf-8"),
        ("/console.js", "text/javascript; charset=utf-8"),
    ] {
        let asset = console.get("", path).await;
        asset.ok();
        assert_eq!(asset.headers["content-type"], content_type);
        assert_eq!(asset.headers["cache-control"], "public, max-age=3600");
        assert!(!asset.html.contains("http:") && !asset.html.contains("https:"));
    }
}

#[tokio::test]
async fn another_site_changes_nothing() {
    let console = Console::new();
    let id = console.start("ada", "ines").await.id;
    let posts = [
        ("root", "/start?subject=otto".to_owned(), "reason=x"),
        ("ada", "/session/stop".to_owned(), ""),
        (
            "ada",
            "/session/change?subject=ines".to_owned(),
            "reason=x&duration=60",
        ),
        ("root", format!("/sessions/{id}/end"), ""),
    ];
    for (who, path, fields) in posts {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
            ("origin", "https://evil.example"),
        ] {
            let mut request = request("POST", who, &path, fields);
            request
                .headers_mut()
                .insert(name, http::HeaderValue::from_static(value));
            let page = console.send(request).await;
            page.is(403, Some(RejectionKind::CrossSite))
                .says("Nothing was done.");
        }
    }
    let active = console.desk.active().await;
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].expires_at, NOON + MINUTE * 120);
    let trail = console.desk.trail().await;
    assert!(trail.iter().any(|line| line.contains(" cross_site")));
}
