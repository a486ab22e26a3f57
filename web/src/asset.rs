//! A style sheet or a script of ours, served as it was compiled in.

use axum::response::IntoResponse;
use http::{
    HeaderName,
    header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};

/// The file, and a number that is another one for another text: links carry it, so that nobody sees an old one for
/// longer than it may be kept.
#[derive(Debug)]
pub(crate) struct Asset {
    content_type: &'static str,
    text: &'static str,
    version: u64,
}

// === impl Asset ===

impl Asset {
    pub(crate) const fn style(text: &'static str) -> Self {
        Self::new("text/css; charset=utf-8", text)
    }

    pub(crate) const fn script(text: &'static str) -> Self {
        Self::new("text/javascript; charset=utf-8", text)
    }

    const fn new(content_type: &'static str, text: &'static str) -> Self {
        Self {
            content_type,
            text,
            version: digest(text.as_bytes()),
        }
    }

    pub(crate) fn version(&self) -> String {
        format!("{:016x}", self.version)
    }

    /// The answer to a `GET`. The same for everyone: nothing in it is about a person, so that it may be kept.
    pub(crate) async fn answer(&self) -> impl IntoResponse + use<> {
        const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName =
            HeaderName::from_static("cross-origin-resource-policy");

        let headers = [
            (CONTENT_TYPE, self.content_type),
            (X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (CROSS_ORIGIN_RESOURCE_POLICY, "same-origin"),
            (CACHE_CONTROL, "public, max-age=3600"),
        ];
        (headers, self.text)
    }
}

/// FNV-1a, which can run in a `const`.
const fn digest(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    hash
}
