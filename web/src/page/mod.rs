//! The banner on acted pages (feature `page`): who is acted as, by whom, how far, until when, and the way out.
//!
//! [`Impersonation::page`] makes a layer that stands directly inside of
//! [`ImpersonationLayer`](crate::ImpersonationLayer):
//!
//! ```
//! use axum::Router;
//! use tower_impersonation::Impersonation;
//!
//! fn app(impersonation: &Impersonation, pages: Router) -> Router {
//!     pages
//!         .nest("/impersonation", impersonation.control())
//!         .layer(impersonation.page())
//!         .layer(impersonation.layer())
//! }
//! ```
//!
//! 1. A request that is not acted passes untouched, and so does its response.
//! 2. Every acted HTML page gets the banner, whatever its status; XHTML as well. Responses that are no pages
//!    get nothing: `HEAD`, 204, 205, 304, downloads, images. Neither do bodies that are compressed by a layer inside of
//!    this one, or a part of a page (206): a warning says so. To make that rare, `Accept-Encoding` is taken off
//!    requests that a page may answer; layers outside of this one still compress.
//! 3. It stands at the start of `<body>`; without that tag, before the first element that belongs into the body, else at
//!    the end. A frameset has none, its frames have. What a script fetches (`Sec-Fetch-Dest: empty`) gets one
//!    only if it is a whole document.
//! 4. The bytes of the page stay as they are, in any charset that has ASCII in it and in UTF-16: ours are put between them.
//!    ISO-2022-JP is left alone, with a warning, and so is what follows a tag of more than 1 MiB in the head.
//! 5. Memory is constant and nothing waits: chunks go on as they come, but for the bytes of an incomplete tag. Trailers
//!    and errors arrive.
//! 6. `Content-Length`, `ETag`, `Accept-Ranges` and digests are taken off, as they speak of other bytes.
//! 7. There is no inline script and no inline style. Style and script are files of the control mount, and the tags
//!    carry the nonce of the response's `Content-Security-Policy`. Where both are blocked, the banner reads and works as
//!    plain HTML; only `form-action`, `sandbox` and a `<base>` on another host can keep its button from working.
//! 8. Style and script need [`Builder::control_path`](crate::Builder::control_path), and the button a session. Without them
//!    the way out is a link to the same page without the marker.
//!
//! A page whose charset is declared by nothing but a `<meta>` should have it early: the two tags come before it.

use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE},
};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

pub(crate) use self::assets::assets;
pub use self::{
    banner::{BannerText, BannerView, Position},
    body::PageBody,
    wording::Wording,
};
use self::{
    banner::{WayOut, ascii},
    insert::Insertion,
    response::{Html, Nonces, Not},
    scan::Which,
};
use crate::{acting_as::ActingAs, impersonation::Impersonation, rejection::escape};

mod assets;
mod banner;
mod body;
mod insert;
mod response;
mod scan;
mod wording;

/// Puts the banner into acted pages. Made by [`Impersonation::page`]; see [`page`](crate::page).
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

/// The service that [`PageLayer`] makes.
#[derive(Clone)]
pub struct Page<S> {
    inner: S,
    settings: Arc<Settings>,
}

pin_project! {
    /// The response future of [`Page`].
    pub struct PageFuture<F> {
        #[pin]
        future: F,
        visit: Option<Box<Visit>>,
    }
}

/// What the response's banner needs of an acted request.
struct Visit {
    settings: Arc<Settings>,
    acting_as: ActingAs,
    which: Which,
    method: Method,
    uri: Uri,
    language: Option<HeaderValue>,
}

// === impl Impersonation ===

impl Impersonation {
    /// The layer that puts the banner into acted pages. Directly inside of [`layer`](Self::layer); see
    /// [`page`](crate::page).
    ///
    /// ```
    /// use tower::Layer;
    /// use tower_impersonation::{Impersonation, page::Page, Impersonate};
    ///
    /// fn service<S>(impersonation: &Impersonation, inner: S) -> Impersonate<Page<S>> {
    ///     impersonation.layer().layer(impersonation.page().layer(inner))
    /// }
    /// ```
    pub fn page(&self) -> PageLayer {
        PageLayer {
            settings: Arc::new(Settings {
                impersonation: self.clone(),
                wording: Arc::new(|_| Wording::english()),
                template: None,
                position: Position::Top,
                banner: true,
                script: true,
            }),
        }
    }
}

// === impl PageLayer ===

impl PageLayer {
    /// The banner's words, by the request's `Accept-Language`: the admin's language, whatever the page's is.
    /// Default: English for everyone.
    ///
    /// A panic in it is caught; the banner is English then.
    ///
    /// ```
    /// use tower_impersonation::{Impersonation, page::{PageLayer, Wording}};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     impersonation.page().with_wording(|language| {
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

    /// The banner as markup of your own. Default: [`BannerView::default_html`].
    ///
    /// It is HTML that is put at the start of the body. Use [`BannerView::html`] in it, not
    /// [`plain`](BannerView::plain), and keep [`root_attributes`](BannerView::root_attributes),
    /// [`left_html`](BannerView::left_html) and [`exit_html`](BannerView::exit_html), by which the script counts
    /// down and people get out. Characters that are not ASCII become references, so it fits any charset, but must
    /// hold no text in `<script>` or `<style>`. For pages in XHTML it must be well-formed.
    ///
    /// A panic in it is caught; the page gets the default banner then.
    ///
    /// ```
    /// use tower_impersonation::{Impersonation, page::PageLayer};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     impersonation.page().with_template(|view| {
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
    /// use tower_impersonation::{Impersonation, page::{PageLayer, Position}};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     impersonation.page().with_position(Position::Bottom)
    /// }
    /// ```
    pub fn with_position(self, position: Position) -> Self {
        self.with(|settings| settings.position = position)
    }

    /// No banner and no style, only the script: for hosts whose pages say themselves who is acted as, and have
    /// a way out. Default: with the banner.
    ///
    /// ```
    /// use tower_impersonation::{Impersonation, page::PageLayer};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     impersonation.page().without_banner()
    /// }
    /// ```
    pub fn without_banner(self) -> Self {
        self.with(|settings| settings.banner = false)
    }

    /// No script: the time left stands still, and pages that change their own address lose the marker. Default:
    /// with the script.
    ///
    /// ```
    /// use tower_impersonation::{Impersonation, page::PageLayer};
    ///
    /// fn layer(impersonation: &Impersonation) -> PageLayer {
    ///     impersonation.page().without_script()
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

// === impl Page ===

impl<S> Page<S> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Page<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
    ResBody::Data: From<Bytes>,
{
    type Response = Response<PageBody<ResBody>>;
    type Error = S::Error;
    type Future = PageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let visit = match request.extensions().get::<ActingAs>() {
            None => None,
            Some(acting_as) => Visit::new(&self.settings, acting_as.clone(), &mut request),
        };
        PageFuture {
            future: self.inner.call(request),
            visit,
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for Page<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

// === impl PageFuture ===

impl<F, B, E> Future for PageFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    B::Data: From<Bytes>,
{
    type Output = Result<Response<PageBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        Poll::Ready(Ok(match this.visit.take() {
            None => response.map(PageBody::passed),
            Some(visit) => visit.show(response),
        }))
    }
}

impl<F> fmt::Debug for PageFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageFuture").finish_non_exhaustive()
    }
}

// === impl Visit ===

impl Visit {
    /// `None` where the answer is no page.
    #[cold]
    fn new<B>(
        settings: &Arc<Settings>,
        acting_as: ActingAs,
        request: &mut Request<B>,
    ) -> Option<Box<Self>> {
        if !settings.banner && !settings.script {
            return None;
        }
        let which = response::which(request.headers())?;
        // A layer inside of ours would hide the page from us. Those outside have seen it already.
        request.headers_mut().remove(ACCEPT_ENCODING);
        Some(Box::new(Self {
            settings: settings.clone(),
            acting_as,
            which,
            method: request.method().clone(),
            uri: request.uri().clone(),
            language: request.headers().get(ACCEPT_LANGUAGE).cloned(),
        }))
    }

    /// The response with the banner, if it is a page.
    fn show<B>(&self, response: Response<B>) -> Response<PageBody<B>>
    where
        B: Body,
        B::Data: From<Bytes>,
    {
        let (mut parts, body) = response.into_parts();
        let html = match response::html(&self.method, &parts) {
            Ok(html) => html,
            Err(not) => {
                if let (Not::Able(reason), Which::Any) = (not, self.which) {
                    tracing::warn!(
                        target: "tower_impersonation",
                        path = self.uri.path(),
                        reason,
                        "an acted page has no banner"
                    );
                }
                return Response::from_parts(parts, PageBody::passed(body));
            }
        };
        response::forget_bytes(&mut parts.headers);
        if self.method == Method::HEAD {
            return Response::from_parts(parts, PageBody::passed(body));
        }
        let insertion = self.insertion(html, &Nonces::of(&parts.headers));
        Response::from_parts(parts, PageBody::with(body, insertion))
    }

    fn insertion(&self, html: Html, nonces: &Nonces) -> Insertion {
        let namespace = if html.is_xml {
            " xmlns=\"http://www.w3.org/1999/xhtml\""
        } else {
            ""
        };
        let banner = if self.settings.banner {
            // In a document that gives its own elements a prefix, ours would be none of HTML's.
            let banner = self.banner();
            banner.replacen("<aside ", &format!("<aside{namespace} "), 1)
        } else {
            String::new()
        };
        Insertion {
            head: ascii(&self.head(namespace, nonces)),
            banner: ascii(&banner),
            which: self.which,
            is_xml: html.is_xml,
            declared: html.declared,
        }
    }

    /// Style and script.
    fn head(&self, namespace: &str, nonces: &Nonces) -> String {
        let inner = &self.settings.impersonation.inner;
        let Some(path) = inner.control_path.as_deref() else {
            return String::new();
        };
        let path = escape(path.trim_end_matches('/'));
        let attribute = |name: &str, value: Option<&str>| match value {
            Some(value) => format!(" {name}=\"{}\"", escape(value)),
            None => String::new(),
        };
        let mut head = String::new();
        if self.settings.banner {
            head += &format!(
                "<link{namespace} rel=\"stylesheet\" href=\"{path}/page.css?v={}\"{}/>",
                assets::STYLE.version(),
                attribute("nonce", nonces.style.as_deref()),
            );
        }
        if self.settings.script {
            let (parameter, header) = inner.sources.names();
            let is_sticky = inner.watch.is_some_and(|watch| watch.sticky);
            head += &format!(
                "<script{namespace} src=\"{path}/page.js?v={}\"{}{}{}{}{}></script>",
                assets::SCRIPT.version(),
                attribute("data-parameter", parameter),
                attribute("data-header", header),
                attribute("data-subject", Some(self.acting_as.subject().as_str())),
                attribute("data-sticky", is_sticky.then_some("")),
                attribute("nonce", nonces.script.as_deref()),
            );
        }
        head
    }

    fn banner(&self) -> String {
        let settings = &self.settings;
        let inner = &settings.impersonation.inner;
        let language = self.language.as_ref().and_then(|value| value.to_str().ok());
        let wording = unbroken("wording", || (settings.wording)(language)).unwrap_or_default();
        let unmarked = inner.sources.without_marker(&self.uri);
        let unmarked = unmarked.path_and_query().map_or("/", |path| path.as_str());
        let way_out = WayOut::new(inner.control_path.as_deref(), &self.acting_as, unmarked);
        // Without the time there is no time left to show; the session does not depend on it.
        let now = inner.clock.now().ok();
        let view = BannerView::new(
            &self.acting_as,
            now,
            settings.position,
            language,
            &wording,
            &way_out,
        );
        let template = settings.template.as_deref();
        let own = template.and_then(|template| unbroken("template", || template(&view)));
        own.unwrap_or_else(|| view.default_html())
    }
}

/// Calls the host's code; whoever acts has to know it all the same when that panics.
fn unbroken<T>(what: &'static str, call: impl FnOnce() -> T) -> Option<T> {
    let answer = catch_unwind(AssertUnwindSafe(call)).ok();
    if answer.is_none() {
        tracing::error!(target: "tower_impersonation", what, "the banner's is the default: it panicked");
    }
    answer
}

#[cfg(test)]
mod tests;
