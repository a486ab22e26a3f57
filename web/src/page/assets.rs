//! The style and the script, as files of the control mount: a policy of `'self'` allows them.

use axum::{Router, routing::get};

use crate::asset::Asset;

pub(super) static STYLE: Asset = Asset::style(include_str!("page.css"));
pub(super) static SCRIPT: Asset = Asset::script(include_str!("page.js"));

/// `page.css` and `page.js`, which acted pages load from [`Builder::control_path`]: for hosts that do not mount the
/// HTTP API there, which has them too.
///
/// ```
/// use axum::Router;
/// use tower_impersonation_web::page;
///
/// // Beside `Builder::control_path("/impersonation")`.
/// let app: Router = Router::new().nest("/impersonation", page::assets());
/// ```
///
/// [`Builder::control_path`]: tower_impersonation::Builder::control_path
pub fn assets<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    Router::new()
        .route("/page.css", get(|| STYLE.answer()))
        .route("/page.js", get(|| SCRIPT.answer()))
}
