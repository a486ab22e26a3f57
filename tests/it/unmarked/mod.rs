//! Requests without a marker, where the host has them looked at: the marker that stays (B6) and R20.

use axum::{Router, body::Body};
use tower::ServiceExt as _;
use tower_impersonation::Builder;
use tower_impersonation_web::control;

use crate::support::{Desk, Req, ask, desk_with, with};

mod exit;
mod from_pages;
mod navigation;
mod off;
mod origin;
#[cfg(feature = "jwt")]
mod tokens;
mod typed;
mod writes;

const HOST: (&str, &str) = ("host", "shop.example");
const SAME_ORIGIN: (&str, &str) = ("sec-fetch-site", "same-origin");
const NAVIGATE: (&str, &str) = ("sec-fetch-mode", "navigate");
const DOCUMENT: (&str, &str) = ("sec-fetch-dest", "document");
const TYPED: (&str, &str) = ("sec-fetch-site", "none");
const HTML: (&str, &str) = ("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const FROM_INES: (&str, &str) = ("referer", "https://shop.example/orders?page=2&as=ines");

type Headers<'h> = &'h [(&'static str, &'h str)];

/// A request of ada's to shop.example.
fn sent(method: &str, target: &str, headers: Headers) -> Req {
    let headers = [&[HOST], headers].concat();
    with(ask(method, "ada", target), &headers)
}

fn sticky() -> Desk {
    desk_with(|b| b.sticky_marker().exclude("/admin").protect("/password"))
}

fn all_settings(builder: Builder) -> Builder {
    builder
        .sticky_marker()
        .refuse_unmarked_writes()
        .end_when_marker_removed()
        .exclude("/admin")
        .protect("/password")
        .read_route(http::Method::POST, "/search")
}

fn app(desk: &Desk) -> Router {
    Router::new()
        .nest("/impersonation", control(&desk.handle))
        .layer(desk.handle.layer())
}

async fn call(app: &Router, method: &str, path: &str, form: bool) -> http::Response<Body> {
    let mut request = sent(method, path, &[SAME_ORIGIN, FROM_INES]).map(Body::new);
    if form {
        request = with(
            request,
            &[("content-type", "application/x-www-form-urlencoded")],
        );
    }
    app.clone().oneshot(request).await.unwrap()
}
