//! `page.js`: keeps the marker on what a page's own scripts send, and counts the banner's time down.
//!
//! It is a file of its own, so that it works under `script-src 'self'`, and reads all that it has to know from
//! its own tag:
//!
//! ```html
//! <script src="/impersonation/page.js" data-parameter="as" data-header="act-as" data-subject="ines"></script>
//! ```

use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};

const SCRIPT: &str = include_str!("page.js");

/// The script. The same for everyone, so it may be kept.
pub(crate) async fn script() -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, "text/javascript; charset=utf-8"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "public, max-age=3600"),
    ];
    (headers, SCRIPT)
}
