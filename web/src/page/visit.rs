//! [`Visit`]: from an acted request to its page's banner.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, Uri,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE},
};
use http_body::Body;
use tower_impersonation::ActingAs;

use super::{
    Settings, assets,
    banner::{BannerView, WayOut, ascii},
    body::PageBody,
    escape::escape,
    insert::Insertion,
    response::{self, Html, Nonces, Not},
    scan::Which,
};

/// What the response's banner needs of an acted request.
pub(super) struct Visit {
    settings: Arc<Settings>,
    acting_as: ActingAs,
    which: Which,
    method: Method,
    uri: Uri,
    language: Option<HeaderValue>,
}

// === impl Visit ===

impl Visit {
    /// `None` where the answer is no page.
    #[cold]
    pub(super) fn new<B>(
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
    pub(super) fn show<B>(&self, response: Response<B>) -> Response<PageBody<B>>
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
        let impersonation = &self.settings.impersonation;
        let Some(path) = impersonation.places().control() else {
            return String::new();
        };
        let path = escape(path);
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
            let (parameter, header) = impersonation.marker_names();
            let is_sticky = impersonation.is_sticky();
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
        let impersonation = &settings.impersonation;
        let language = self.language.as_ref();
        let language = language.and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let wording = unbroken("wording", || (settings.wording)(language)).unwrap_or_default();
        let unmarked = impersonation.unmarked(&self.uri);
        let unmarked = unmarked.path_and_query().map_or("/", |path| path.as_str());
        let way_out = WayOut::new(impersonation.places().control(), &self.acting_as, unmarked);
        // Without the time there is no time left to show; the session does not depend on it.
        let now = impersonation.now().ok();
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
