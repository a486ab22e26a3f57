//! The style and the script, as files of the control mount: a policy of `'self'` allows them.

use axum::{Router, routing::get};

use crate::{asset::Asset, impersonation::Impersonation};

pub(super) static STYLE: Asset = Asset::style(include_str!("page.css"));
pub(super) static SCRIPT: Asset = Asset::script(include_str!("page.js"));

/// `page.css` and `page.js`, for the control router.
pub(crate) fn assets() -> Router<Impersonation> {
    Router::new()
        .route("/page.css", get(|| STYLE.answer()))
        .route("/page.js", get(|| SCRIPT.answer()))
}
