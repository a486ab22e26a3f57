//! The style and the script as files, and handlers below the page layer.

use std::convert::Infallible;
use tower_impersonation_web::{control, page as with_banner};

use axum::Router;
use http::{Request, header};
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::ActingAs;

use super::{PAGE, acting_desk, html, text};
use crate::support::{Req, get, post, who};

#[tokio::test]
async fn style_and_script_are_files_that_may_be_kept_and_nothing_else_is() {
    let desk = acting_desk().await;
    let app = Router::new()
        .nest("/impersonation", control(&desk.handle))
        .route(
            "/orders",
            axum::routing::get(async || axum::response::Html(PAGE)),
        )
        .layer(with_banner(&desk.handle))
        .layer(desk.handle.layer());
    let send = async |request: Req| {
        let request: Request<axum::body::Body> = request.map(axum::body::Body::new);
        app.clone().oneshot(request).await.unwrap()
    };
    let page = text(send(get("ada", "/orders?as=ines")).await).await;
    assert!(
        page.contains("<aside class=\"impersonation-banner\""),
        "{page}"
    );
    let files = [
        ("page.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
    ];
    for (name, content_type) in files {
        let start = page.find(&format!("/impersonation/{name}?v=")).unwrap();
        let target = page[start..].split('"').next().unwrap();
        // Also for who is not signed in any more: the page that one looks at still needs it.
        for who in ["ada", ""] {
            let response = send(get(who, target)).await;
            assert_eq!(response.status(), 200, "{target}");
            let headers = response.headers();
            assert_eq!(headers[header::CONTENT_TYPE], content_type);
            assert_eq!(headers[header::CACHE_CONTROL], "public, max-age=3600");
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(!text(response).await.is_empty());
        }
    }
    let elsewhere = [
        get("ada", "/impersonation"),
        get("ada", "/impersonation/page.png"),
        post("ada", "/impersonation/page.css"),
    ];
    for request in elsewhere {
        let target = request.uri().to_string();
        let response = send(request).await;
        assert_eq!(
            response.headers()[header::CACHE_CONTROL],
            "no-store",
            "{target}"
        );
    }
}

#[tokio::test]
async fn handlers_still_find_who_is_acted_as() {
    let desk = acting_desk().await;
    let app = service_fn(|request: Req| {
        let who = who(request.extensions().get::<ActingAs>());
        async move { Ok::<_, Infallible>(html(format!("<body>{who}"))) }
    });
    let app = desk
        .handle
        .layer()
        .layer(with_banner(&desk.handle).layer(app));
    let response = app.oneshot(get("ada", "/?as=ines")).await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert!(text(response).await.ends_with("ines by ada"));
}
