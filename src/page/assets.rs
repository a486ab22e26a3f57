//! The style and the script, as files of the control mount: a policy of `'self'` allows them.

use std::time::Duration;

use axum::{Router, response::IntoResponse, routing::get};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};

use crate::impersonation::Impersonation;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// Their names carry a version, so that nobody sees an old one for longer.
const MAX_AGE: Duration = Duration::from_secs(60 * 60);

/// `page.css` and `page.js`, for the control router.
pub(crate) fn assets() -> Router<Impersonation> {
    Router::new()
        .route(
            "/page.css",
            get(async || asset("text/css; charset=utf-8", STYLE)),
        )
        .route(
            "/page.js",
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
        HeaderName::from_static("cross-origin-resource-policy");

    let mut headers = HeaderMap::new();
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(CONTENT_TYPE, content_type);
    set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
    // The same for everyone: nothing in it is about a person.
    let kept = format!("public, max-age={}", MAX_AGE.as_secs());
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::try_from(kept).expect("words and a number"),
    );
    (headers, text)
}

pub(super) fn style_version() -> String {
    version(STYLE)
}

pub(super) fn script_version() -> String {
    version(SCRIPT)
}

/// Another one for another text: FNV-1a.
fn version(text: &str) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}
