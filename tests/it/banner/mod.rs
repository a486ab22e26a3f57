//! B10: the banner on acted pages, through the page layer: what people see, what is never touched, and what a page's bytes
//! cannot do to it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};
use tower_impersonation_web::page as with_banner;

use bytes::Bytes;
use http::{HeaderValue, Response, header};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{BoxError, Builder, ResponseBody};
use tower_impersonation_web::{PageLayer, page::PageBody};

use crate::support::{Desk, Req, desk_with, get};

mod any_page;
mod bodies;
mod content;
mod files;
mod settings;
mod untouched;

const HTML: &str = "text/html; charset=utf-8";
const PAGE: &str = "<!doctype html><html><head><title>x</title></head><body><p>x</p></body></html>";

fn at_path(builder: Builder) -> Builder {
    builder.control_path("/impersonation")
}

/// With a session of ada's for ines, and a control API.
async fn acting_desk() -> Desk {
    let desk = desk_with(at_path);
    desk.start("ada", "ines").await.unwrap();
    desk
}

fn html(body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(HTML));
    response
}

/// The answer to `request` of an application that answers `response`.
async fn answer<B>(
    desk: &Desk,
    page: PageLayer,
    request: Req,
    response: Response<B>,
) -> Response<ResponseBody<PageBody<B>>>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    let response = Arc::new(Mutex::new(Some(response)));
    let app = service_fn(move |_: Req| {
        let response = response.lock().unwrap().take().unwrap();
        async { Ok::<_, Infallible>(response) }
    });
    let app = desk.handle.layer().layer(page.layer(app));
    app.oneshot(request).await.unwrap()
}

async fn text<B>(response: Response<B>) -> String
where
    B: Body,
    B::Error: std::fmt::Debug,
{
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

/// The page as ada sees it, acting as ines.
async fn shown(desk: &Desk, page: PageLayer, body: &str) -> String {
    let request = get("ada", "/orders?as=ines");
    text(answer(desk, page, request, html(body.to_owned())).await).await
}

/// What is put into every page of this desk: into the head, and into the body.
async fn ours(desk: &Desk) -> (String, String) {
    let page = shown(desk, with_banner(&desk.handle), "<head>|</head><body>|").await;
    let (head, rest) = page
        .strip_prefix("<head>")
        .unwrap()
        .split_once('|')
        .unwrap();
    let banner = rest.strip_prefix("</head><body>").unwrap();
    (
        head.to_owned(),
        banner.strip_suffix('|').unwrap().to_owned(),
    )
}
