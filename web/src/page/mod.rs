//! The banner on acted pages (feature `page`): who acts as whom, how far, until when, and the way out.
//!
//! [`page()`] makes a layer that goes directly inside [`ImpersonationLayer`](tower_impersonation::ImpersonationLayer):
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::Impersonation;
//! use tower_impersonation_web::page;
//!
//! fn app(impersonation: &Impersonation, pages: Router) -> Router {
//!     pages
//!         .nest("/impersonation", page::assets())
//!         .layer(page(impersonation))
//!         .layer(impersonation.layer())
//! }
//! ```
//!
//! 1. A request that is not acted passes untouched, and so does its response.
//! 2. Every acted HTML or XHTML page gets the banner, whatever its status. Other responses get nothing: `HEAD`,
//!    204, 205, 304, downloads, images. Nor do bodies that a layer inside this one has compressed, or parts of a
//!    page (206); the log warns of these. To make that rare, `Accept-Encoding` is removed from requests that a page
//!    may answer; layers outside this one still compress.
//! 3. It goes at the start of `<body>`; without that tag, before the first element that belongs in a body, else at
//!    the end. A frameset gets none, its frames do. What a script fetches (`Sec-Fetch-Dest: empty`) gets one only
//!    if it is a whole document.
//! 4. The bytes of the page stay as they are, and ours go between them, in any charset that contains ASCII and in
//!    UTF-16. ISO-2022-JP is left alone, with a warning, and so is what follows a tag of more than 1 MiB in the
//!    head.
//! 5. Memory is constant and nothing waits: chunks go on as they come, except the bytes of an incomplete tag.
//!    Trailers and errors arrive.
//! 6. `Content-Length`, `ETag`, `Accept-Ranges` and digests are removed, because they describe other bytes.
//! 7. There is no inline script and no inline style. Style and script are files of the control mount, and the tags
//!    carry the nonce of the response's `Content-Security-Policy`. Where both are blocked, the banner reads and
//!    works as plain HTML; only `form-action`, `sandbox` and a `<base>` on another host can keep its button from
//!    working.
//! 8. Style and script need [`Builder::control_path`], and the button needs a session. Without them the way out is
//!    a link to the same page without the marker. `control()` (the feature of that name) serves the two files
//!    there, or [`assets`] if you do not want the HTTP API.
//!
//! A page that declares its charset only in a `<meta>` should do so early: our two tags come before it.
//!
//! [`Builder::control_path`]: tower_impersonation::Builder::control_path

mod assets;
mod banner;
mod body;
mod escape;
mod insert;
mod response;
mod scan;
mod service;
mod visit;
mod wording;

use std::{fmt, sync::Arc};

use tower_impersonation::Impersonation;
use tower_layer::Layer;

pub use self::{
    assets::assets,
    banner::{BannerText, BannerView, Position},
    body::PageBody,
    service::{Page, PageFuture},
    wording::Wording,
};

/// Puts the banner into acted pages. Made by [`page()`]; see [the module](mod@crate::page).
#[derive(Clone)]
#[must_use = "a layer does nothing until it is put around a service"]
pub struct PageLayer {
    settings: Arc<Settings>,
}

#[derive(Clone)]
struct Settings {
    impersonation: Impersonation,
    wording: Arc<Words>,
    template: Option<Arc<Template>>,
    position: Position,
    banner: bool,
    script: bool,
}

type Words = dyn Fn(Option<&str>) -> Wording + Send + Sync;
type Template = dyn Fn(&BannerView<'_>) -> String + Send + Sync;

/// The layer that puts the banner into acted pages. Put it directly inside [`Impersonation::layer`]; see
/// [the module](mod@crate::page).
///
/// ```
/// use tower::Layer;
/// use tower_impersonation::{Impersonate, Impersonation};
/// use tower_impersonation_web::page::{Page, page};
///
/// fn service<S>(impersonation: &Impersonation, inner: S) -> Impersonate<Page<S>> {
///     impersonation.layer().layer(page(impersonation).layer(inner))
/// }
/// ```
pub fn page(impersonation: &Impersonation) -> PageLayer {
    PageLayer {
        settings: Arc::new(Settings {
            impersonation: impersonation.clone(),
            wording: Arc::new(|_| Wording::english()),
            template: None,
            position: Position::Top,
            banner: true,
            script: true,
        }),
    }
}

// === impl PageLayer ===

impl PageLayer {
    /// The banner's words, by the request's `Accept-Language`: the admin's language, whatever the page's is.
    /// Default: English for everyone.
    ///
    /// A panic in it is caught; the banner is then in English.
    ///
    /// ```
    /// use tower_impersonation::Impersonation;
    /// use tower_impersonation_web::page::{PageLayer, Wording, page};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     page(impersonation).with_wording(|language| {
    ///         let mut words = Wording::english();
    ///         if language.is_some_and(|language| language.starts_with("de")) {
    ///             words.language = "de".into();
    ///             words.exit = "Beenden".into();
    ///         }
    ///         words
    ///     })
    /// }
    /// ```
    pub fn with_wording(
        self,
        wording: impl Fn(Option<&str>) -> Wording + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.wording = Arc::new(wording))
    }

    /// Your own markup for the banner. Default: [`BannerView::default_html`].
    ///
    /// It is HTML that is put at the start of the body. Use [`BannerView::html`] in it, not
    /// [`plain`](BannerView::plain), and keep [`root_attributes`](BannerView::root_attributes),
    /// [`left_html`](BannerView::left_html) and [`exit_html`](BannerView::exit_html), by which the script counts
    /// down and people get out. Characters that are not ASCII become references, so it fits any charset, but must
    /// hold no text in `<script>` or `<style>`. For pages in XHTML it must be well-formed.
    ///
    /// A panic in it is caught; the page then gets the default banner.
    ///
    /// ```
    /// use tower_impersonation::Impersonation;
    /// use tower_impersonation_web::page::{PageLayer, page};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     page(impersonation).with_template(|view| {
    ///         format!(
    ///             "<section class=\"my-banner\" {}>Seen as {} {} {}</section>",
    ///             view.root_attributes(),
    ///             view.html.subject,
    ///             view.left_html().unwrap_or_default(),
    ///             view.exit_html(),
    ///         )
    ///     })
    /// }
    /// ```
    pub fn with_template(
        self,
        template: impl Fn(&BannerView<'_>) -> String + Send + Sync + 'static,
    ) -> Self {
        self.with(|settings| settings.template = Some(Arc::new(template)))
    }

    /// Where the banner stays while the page scrolls. Default: [`Position::Top`].
    ///
    /// ```
    /// use tower_impersonation::Impersonation;
    /// use tower_impersonation_web::page::{PageLayer, Position, page};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     page(impersonation).with_position(Position::Bottom)
    /// }
    /// ```
    pub fn with_position(self, position: Position) -> Self {
        self.with(|settings| settings.position = position)
    }

    /// No banner and no style, only the script: for pages that say themselves who acts as whom, and have a way out.
    /// Default: with the banner.
    ///
    /// ```
    /// use tower_impersonation::Impersonation;
    /// use tower_impersonation_web::page::{PageLayer, page};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     page(impersonation).without_banner()
    /// }
    /// ```
    pub fn without_banner(self) -> Self {
        self.with(|settings| settings.banner = false)
    }

    /// No script: the time left stands still, and pages that change their own address lose the marker. Default:
    /// with the script.
    ///
    /// ```
    /// use tower_impersonation::Impersonation;
    /// use tower_impersonation_web::page::{PageLayer, page};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     page(impersonation).without_script()
    /// }
    /// ```
    pub fn without_script(self) -> Self {
        self.with(|settings| settings.script = false)
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }
}

impl<S> Layer<S> for PageLayer {
    type Service = Page<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Page {
            inner,
            settings: self.settings.clone(),
        }
    }
}

impl fmt::Debug for PageLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageLayer")
            .field("position", &self.settings.position)
            .field("banner", &self.settings.banner)
            .field("script", &self.settings.script)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
