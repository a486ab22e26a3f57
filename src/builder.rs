//! [`Builder`]: every setting, its default, and what it may not be.

use std::{fmt, future::Future, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Response, request::Parts};

use crate::{
    BoxError,
    acting_as::ActingAs,
    assume::Assume,
    audit::{AuditSink, Ids, Trail, TrailReader, TrailSettings},
    checker::AdminChecker,
    client::Client,
    clock::{Clock, SystemClock},
    consent::Consent,
    credentials::CredentialIssuer,
    directory::{DirectoryCache, UserDirectory},
    impersonation::{Impersonation, Inner},
    marker::Sources,
    notifier::{Notifier, Notifying},
    policy::{PathPattern, Routes},
    rejection::{Rejection, RejectionResponse},
    session::{Limits, SessionStore},
    unmarked::Watch,
};

/// Header names that mean something else, that a browser or a proxy sets by itself, or that a page may set
/// on requests to another site without being asked (`Accept-Language`, `Range`): a marker in a header is
/// trusted because no link and no form can send it (rule R5).
const RESERVED: &[&str] = &[
    "accept",
    "authorization",
    "cache-control",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "impersonation-token",
    "keep-alive",
    "origin",
    "pragma",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "upgrade-insecure-requests",
    "via",
    "x-method-override",
    "x-real-ip",
    "x-request-id",
];
/// Families of them.
const RESERVED_PREFIXES: &[&str] = &[
    "accept-",
    "access-control-",
    "content-",
    "if-",
    "proxy-",
    "sec-",
    "x-forwarded-",
    "x-http-method",
];

/// What the queries of the control API and of the console are made of: a marker of such a name would be taken out of
/// them, as out of every request (rule R9).
const OWN_PARAMETERS: &[&str] = &[
    "above",
    "admin_user_id",
    "cursor",
    "done",
    "from",
    "impersonation_type",
    "is_active",
    "limit",
    "name",
    "next",
    "offset",
    "q",
    "session",
    "session_id",
    "subject",
    "target_user_id",
    "to",
    "v",
    "week",
];

/// Sets up an [`Impersonation`]. Made by [`Impersonation::builder`].
///
/// Every setter says its default; [`build`](Self::build) refuses what cannot work.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    checker: Arc<dyn AdminChecker>,
    audit: Arc<dyn AuditSink>,
    directory: Option<Arc<dyn UserDirectory>>,
    sessions: Option<Arc<dyn SessionStore>>,
    consent: Option<Arc<dyn Consent>>,
    #[cfg(feature = "jwt")]
    tokens: Option<crate::token::Tokens>,
    reader: Option<Arc<dyn TrailReader>>,
    notifying: Option<Notifying>,
    issuer: Option<Arc<dyn CredentialIssuer>>,
    clock: Arc<dyn Clock>,
    query: Option<String>,
    header: Option<String>,
    excluded: Vec<String>,
    protected: Vec<String>,
    reads: Vec<(Method, String)>,
    control_path: Option<String>,
    #[cfg(feature = "console")]
    console_path: Option<String>,
    after_start: String,
    after_stop: String,
    assume: Vec<Assume>,
    client: Client,
    reject: Option<Box<RejectionResponse>>,
    watch: Watch,
    settings: Settings,
    directory_cache: Duration,
    audit_queue: usize,
    fold_reads: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    pub(crate) max_lifetime: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) check_timeout: Duration,
    pub(crate) audit_timeout: Duration,
}

/// A setting that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The setting of this name has a value that it may not have.
    #[error("`{setting}` {problem}")]
    #[non_exhaustive]
    Invalid {
        /// The method of [`Builder`] that set it.
        setting: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Neither a query parameter nor a header: no request could ever be acted.
    #[error("no marker source: `query_parameter` and `header` are both off")]
    NoMarkerSource,
}

impl Builder {
    pub(crate) fn new(checker: Arc<dyn AdminChecker>, audit: Arc<dyn AuditSink>) -> Self {
        Self {
            checker,
            audit,
            directory: None,
            sessions: None,
            consent: None,
            #[cfg(feature = "jwt")]
            tokens: None,
            reader: None,
            notifying: None,
            issuer: None,
            clock: Arc::new(SystemClock),
            query: Some("as".to_owned()),
            header: Some("act-as".to_owned()),
            excluded: Vec::new(),
            protected: Vec::new(),
            reads: Vec::new(),
            control_path: None,
            #[cfg(feature = "console")]
            console_path: None,
            after_start: "/".to_owned(),
            after_stop: "/".to_owned(),
            assume: Vec::new(),
            client: Client::default(),
            reject: None,
            watch: Watch::default(),
            settings: Settings {
                limits: Limits::default(),
                max_lifetime: Duration::from_secs(2 * 60 * 60),
                idle_timeout: Duration::from_secs(30 * 60),
                check_timeout: Duration::from_secs(5),
                audit_timeout: Duration::from_secs(2),
            },
            directory_cache: Duration::from_secs(30),
            audit_queue: 10_000,
            fold_reads: Duration::from_secs(60),
        }
    }

    /// The users that can be acted as, with their ranks (rule S1). Default: none; then the checker alone
    /// decides.
    pub fn directory(mut self, directory: impl UserDirectory) -> Self {
        self.directory = Some(Arc::new(directory));
        self
    }

    /// How long an answer of the directory that allowed is kept (rule R8). Default: 30 seconds; zero asks
    /// on every acted request.
    pub fn directory_cache(mut self, keep: Duration) -> Self {
        self.directory_cache = keep;
        self
    }

    /// Acting needs a started session, kept here. Default: none; then each marked request stands alone.
    pub fn sessions(mut self, sessions: impl SessionStore) -> Self {
        self.sessions = Some(Arc::new(sessions));
        self
    }

    /// Users must have allowed it, at the start and on every request (rule S8). Default: not asked.
    pub fn require_consent(mut self, consent: impl Consent) -> Self {
        self.consent = Some(Arc::new(consent));
        self
    }

    /// Hands out acting tokens and takes them, see [`token`](crate::token). Needs [`sessions`](Self::sessions).
    /// Default: no tokens.
    #[cfg(feature = "jwt")]
    pub fn tokens(mut self, tokens: crate::token::Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Tells users that someone acts as them, as well as it can. Default: nobody is told.
    pub fn notifier(mut self, notifier: impl Notifier) -> Self {
        self.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: false,
        });
        self
    }

    /// The same, and when it fails there is no start: 503.
    pub fn require_notifier(mut self, notifier: impl Notifier) -> Self {
        self.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: true,
        });
        self
    }

    /// Hands out the subject's own login with each session, in place of acting tokens. Default: none.
    pub fn credential_issuer(mut self, issuer: impl CredentialIssuer) -> Self {
        self.issuer = Some(Arc::new(issuer));
        self
    }

    /// Reads what the sink writes, for [`Impersonation::read_trail`] and the HTTP API. Default: none.
    pub fn trail_reader(mut self, reader: impl TrailReader) -> Self {
        self.reader = Some(Arc::new(reader));
        self
    }

    /// The source of time. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The query parameter of the marker. Default: `as`. ASCII letters, digits and `-._~`; with a control API or a
    /// console none of theirs, such as `subject` or `q`.
    pub fn query_parameter(mut self, name: impl Into<String>) -> Self {
        self.query = Some(name.into());
        self
    }

    /// No marker in the URL.
    pub fn without_query_parameter(mut self) -> Self {
        self.query = None;
        self
    }

    /// The header of the marker. Default: `Act-As`. The reason's header is this with `-Reason` behind.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.header = Some(name.into());
        self
    }

    /// No marker in a header.
    pub fn without_header(mut self) -> Self {
        self.header = None;
        self
    }

    /// Requests to this path and below run as the actor, marked or not (rule R12): the host's admin area.
    /// Whole segments; `*` stands for any one. Default: none.
    pub fn exclude(mut self, path: impl Into<String>) -> Self {
        self.excluded.push(path.into());
        self
    }

    /// Requests to this path and below are never acted (rule R11): passwords, second factors, payment.
    /// Whole segments; `*` stands for any one. Default: none.
    pub fn protect(mut self, path: impl Into<String>) -> Self {
        self.protected.push(path.into());
        self
    }

    /// This method on exactly this path changes nothing, whatever its name (rule R10): a search by `POST`.
    /// Default: only `GET`, `HEAD` and `OPTIONS` are reads.
    pub fn read_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.reads.push((method, path.into()));
        self
    }

    /// Where the control API is mounted. It is excluded then, and refusal pages offer to end the session
    /// there. Default: nowhere.
    pub fn control_path(mut self, path: impl Into<String>) -> Self {
        self.control_path = Some(path.into());
        self
    }

    /// Where the [`console`](crate::console) is mounted. It is excluded then, and its links lead there. One place,
    /// without `*`. Default: nowhere; then it is as [`Impersonation::console`] says.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .console_path("/admin/impersonation")
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    #[cfg(feature = "console")]
    pub fn console_path(mut self, path: impl Into<String>) -> Self {
        self.console_path = Some(path.into());
        self
    }

    /// Where a browser goes after a start that names no `next`; the marker is added. Default: `/`.
    pub fn after_start(mut self, path: impl Into<String>) -> Self {
        self.after_start = path.into();
        self
    }

    /// Where a browser goes after a stop. Default: `/`.
    pub fn after_stop(mut self, path: impl Into<String>) -> Self {
        self.after_stop = path.into();
        self
    }

    /// Lets handlers that know nothing of impersonation serve the subject (rule R14).
    ///
    /// On an acted request `T` in the extensions is replaced by what `load` returns, or removed for `None`:
    /// give the type by which the handlers know their user, and load the *subject's*. May be called for
    /// several types. An error refuses the request with 503.
    ///
    /// Without this, what the authentication left in the extensions is still the actor's.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// #[derive(Clone)]
    /// struct CurrentUser(String);
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .assume(|acting_as| async move {
    ///         Ok(acting_as.subject().user_id().map(|id| CurrentUser(id.to_string())))
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn assume<T, F, Fut>(mut self, load: F) -> Self
    where
        T: Clone + Send + Sync + 'static,
        F: Fn(ActingAs) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Option<T>, BoxError>> + Send + 'static,
    {
        self.assume.push(Assume::new(load));
        self
    }

    /// Where a request came from, for the trail (rule R18). Default: axum's `ConnectInfo` with the feature
    /// `axum`, else unknown.
    pub fn client_address<F>(mut self, address: F) -> Self
    where
        F: Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    {
        self.client.address = Some(Arc::new(address));
        self
    }

    /// Trusts `X-Forwarded-For` as written by this many proxies in front: the address is the one that
    /// the outermost of them saw. Default: the header is not trusted at all (rule R18).
    pub fn trusted_proxies(mut self, proxies: NonZeroUsize) -> Self {
        self.client.proxies = Some(proxies);
        self
    }

    /// Which route a request belongs to, for the trail: `/orders/{id}` instead of `/orders/7`. Repeated reads
    /// are folded by it (rule A4). Default: axum's `MatchedPath` with the feature `axum`, where it is known
    /// before the handler; else the path itself.
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: Fn(&Parts) -> Option<Arc<str>> + Send + Sync + 'static,
    {
        self.client.route = Some(Arc::new(route));
        self
    }

    /// Builds the responses of refusals. Default: [`Rejection::response`]. Whatever it builds, the
    /// [`Rejection`] is in its extensions and it is not cached.
    pub fn rejection_response<F>(mut self, respond: F) -> Self
    where
        F: Fn(&Rejection, &Parts) -> Response<Bytes> + Send + Sync + 'static,
    {
        self.reject = Some(Box::new(respond));
        self
    }

    /// The marker stays on the pages that have it: what a page of this very origin sends without a marker is
    /// taken to have the page's own, which is in the `Referer`. Default: off, and each request says itself whom
    /// it acts as.
    ///
    /// - A navigation is sent on, with 307, to the same URL with the marker: links, and forms, also those that post up to
    ///   64 KiB, which come a second time then. So links and forms need not be changed, and the address bar says whom one
    ///   acts as.
    /// - Everything else (images, scripts' calls, forms that post more) is acted as if it had the marker. What
    ///   stands behind that marker decides; where that is no session, it is refused and not run as the actor
    ///   (rule R4). So is what comes from a page whose marker cannot be read.
    /// - A page that answers a form of more than that has a URL without the marker. `page.js` puts it back there; without
    ///   the script what such a page sends is the actor's own, unless
    ///   [`refuse_unmarked_writes`](Self::refuse_unmarked_writes) is set. Forms whose `action` has the marker,
    ///   or none, keep it by themselves.
    /// - A page whose path and query are longer than 3,800 characters is refused: browsers would not say that what it
    ///   sends comes from there.
    /// - What was typed, or comes from elsewhere, or says not where from, is not touched. That leads out: an
    ///   address without the marker, a link with `rel="noreferrer"`, an answer with
    ///   `Referrer-Policy: no-referrer`.
    ///
    /// A script that changes the URL (`pushState`) can still lose the marker, and a page that sets a stricter
    /// policy than `same-origin` for its `Referer` always does: see `page.js` of the feature `page`, and
    /// [`refuse_unmarked_writes`](Self::refuse_unmarked_writes). Pages that a browser may keep (`max-age`) are
    /// shown from its cache, by whoever they are.
    ///
    /// Costs: two more headers are looked at on unmarked requests, and nobody is asked. Style sheets and
    /// images of acted pages are acted too, so they are not kept by browsers; [`exclude`](Self::exclude) the
    /// place where they are, and where one signs in and out.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .sticky_marker()
    ///     .exclude("/assets")
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    ///
    /// [`build`](Self::build) refuses it together with [`without_query_parameter`](Self::without_query_parameter).
    pub fn sticky_marker(mut self) -> Self {
        self.watch.sticky = true;
        self
    }

    /// Whoever has an active session changes nothing as themselves meanwhile, outside of
    /// [excluded](Self::exclude) paths: an unmarked request that may change something is refused with 409
    /// [`MarkerMissing`](crate::RejectionKind::MarkerMissing) (rule R20). It could come from a page that lost
    /// its marker. Default: off. Without [`sessions`](Self::sessions) it does nothing.
    ///
    /// What may change something is decided as for acted requests: not the
    /// [routes listed as reads](Self::read_route), but WebSockets and overridden methods. Set
    /// [`control_path`](Self::control_path), and exclude what must work all the same, such as the log-out.
    ///
    /// Costs: on each unmarked write the checker is asked who calls, and for whoever is signed in, admin or
    /// not, the store is asked for one of their sessions. When one of them fails: 503.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # use tower_impersonation::session::MemorySessions;
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .sessions(MemorySessions::new())
    ///     .control_path("/impersonation")
    ///     .exclude("/logout")
    ///     .refuse_unmarked_writes()
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn refuse_unmarked_writes(mut self) -> Self {
        self.watch.writes = true;
        self
    }

    /// Whoever types a URL without the marker, outside of [excluded](Self::exclude) paths, is done: that ends
    /// their sessions ([`MarkerRemoved`](crate::session::EndedReason::MarkerRemoved)), and the page is their
    /// own (rule R20). Default: off; then it leaves only that tab. Without [`sessions`](Self::sessions) it does
    /// nothing.
    ///
    /// A bookmark, and a link from another program, count as typed; links on pages do not. Only browsers that
    /// send `Sec-Fetch-Site` can tell, which all do over HTTPS. One that asks ahead while an address is being
    /// typed ends nothing: it is refused, so that it asks again.
    ///
    /// Costs: on each unmarked request for a typed URL the checker is asked who calls, and for whoever is
    /// signed in the store is asked for their sessions. When one of them fails: 503.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # use tower_impersonation::session::MemorySessions;
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .sessions(MemorySessions::new())
    ///     .exclude("/admin")
    ///     .end_when_marker_removed()
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn end_when_marker_removed(mut self) -> Self {
        self.watch.typed = true;
        self
    }

    /// Active sessions per actor (rule S2). Default: 1.
    pub fn max_active(mut self, sessions: usize) -> Self {
        self.settings.limits.active = sessions;
        self
    }

    /// A start ends the session that stands in its way. Default: it is refused with 409 (rule S2).
    pub fn replace_active(mut self) -> Self {
        self.settings.limits.replace = true;
        self
    }

    /// Starts per actor within any 60 minutes (rule S3). Default: 10.
    pub fn starts_per_hour(mut self, starts: u32) -> Self {
        self.settings.limits.starts_per_hour = starts;
        self
    }

    /// The longest session, and the length of one that asks for none (rule S4). Default: 2 hours.
    /// [`Grant::with_max_lifetime`](crate::Grant::with_max_lifetime) narrows it per actor.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.max_lifetime = lifetime;
        self
    }

    /// A session ends after this time without an acted request (rule S4). Default: 30 minutes.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.settings.idle_timeout = idle;
        self
    }

    /// How long one call of the checker, the directory, the store, or `assume` may take (rule R13).
    /// Default: 5 seconds.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.settings.check_timeout = timeout;
        self
    }

    /// How long one write of the sink may take, and how long anyone waits for one (rule A5). Default: 2
    /// seconds.
    pub fn audit_timeout(mut self, timeout: Duration) -> Self {
        self.settings.audit_timeout = timeout;
        self
    }

    /// How many events may wait for the sink (rule A4). Default: 10,000.
    pub fn audit_queue(mut self, events: usize) -> Self {
        self.audit_queue = events;
        self
    }

    /// How long repeated reads of one route are folded into one event (rule A4). Default: 60 seconds; zero
    /// writes each one.
    pub fn fold_reads(mut self, window: Duration) -> Self {
        self.fold_reads = window;
        self
    }

    /// The finished handle.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the setting.
    pub fn build(self) -> Result<Impersonation, ConfigError> {
        let sources = self.sources()?;
        let routes = self.routes()?;
        for (setting, path) in [
            ("after_start", &self.after_start),
            ("after_stop", &self.after_stop),
        ] {
            if !path.starts_with('/') || HeaderValue::try_from(path).is_err() {
                return Err(invalid(
                    setting,
                    "must be a path on this host, such as `/orders`",
                ));
            }
        }
        self.check_numbers()?;
        #[cfg(feature = "jwt")]
        let tokens = self.signer()?;
        let ids = Arc::new(Ids::default());
        let trail = TrailSettings {
            timeout: self.settings.audit_timeout,
            queue: self.audit_queue,
            fold: self.fold_reads,
        };
        let trail = Trail::new(self.audit, self.clock.clone(), ids.clone(), trail);
        let keep = self.directory_cache;
        Ok(Impersonation::new(Inner {
            sources,
            routes,
            watch: self.watch.in_effect(self.sessions.is_some()),
            checker: self.checker,
            directory: self.directory.map(|d| DirectoryCache::new(d, keep)),
            sessions: self.sessions,
            consent: self.consent,
            #[cfg(feature = "jwt")]
            tokens,
            reader: self.reader,
            notifying: self.notifying,
            issuer: self.issuer,
            #[cfg(feature = "control")]
            news: crate::control::News::default(),
            clock: self.clock,
            trail,
            ids,
            assume: self.assume,
            client: self.client,
            reject: self.reject,
            control_path: self.control_path,
            #[cfg(feature = "console")]
            console_path: self.console_path,
            #[cfg(feature = "control")]
            after_start: self.after_start,
            #[cfg(feature = "control")]
            after_stop: self.after_stop,
            settings: self.settings,
            lives: Arc::default(),
            starting: Default::default(),
            sweeping: Default::default(),
        }))
    }

    #[cfg(feature = "jwt")]
    fn signer(&self) -> Result<Option<Arc<crate::token::Signer>>, ConfigError> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        if self.sessions.is_none() {
            return Err(invalid(
                "tokens",
                "need `sessions`, which they live and die with",
            ));
        }
        let now = self
            .clock
            .now()
            .map_err(|error| invalid("clock", &error.to_string()))?;
        Ok(Some(Arc::new(tokens.clone().build(now)?)))
    }

    fn has_console(&self) -> bool {
        #[cfg(feature = "console")]
        return self.console_path.is_some();
        #[cfg(not(feature = "console"))]
        false
    }

    fn sources(&self) -> Result<Sources, ConfigError> {
        if self.query.is_none() && self.header.is_none() {
            return Err(ConfigError::NoMarkerSource);
        }
        if self.watch.sticky && self.query.is_none() {
            return Err(invalid(
                "sticky_marker",
                "needs a marker in the URL, see `query_parameter`",
            ));
        }
        if let Some(name) = &self.query {
            let fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
            if name.is_empty() || !name.bytes().all(fine) {
                return Err(invalid(
                    "query_parameter",
                    "must be one or more ASCII letters, digits or -._~",
                ));
            }
            let has_pages = self.control_path.is_some() || self.has_console();
            if has_pages && OWN_PARAMETERS.contains(&name.as_str()) {
                return Err(invalid(
                    "query_parameter",
                    "is a parameter of the control API or of the console",
                ));
            }
        }
        let header = self.header.as_deref().map(|name| {
            let name = name.to_ascii_lowercase();
            let reserved = RESERVED.contains(&&*name)
                || RESERVED_PREFIXES
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
            if reserved {
                return Err(invalid("header", "is reserved for something else"));
            }
            HeaderName::try_from(name).map_err(|_| invalid("header", "is no header name"))
        });
        let header = header.transpose()?;
        let base = header.as_ref().map_or("act-as", HeaderName::as_str);
        let reason = HeaderName::try_from(format!("{base}-reason"))
            .map_err(|_| invalid("header", "is too long"))?;
        Ok(Sources::new(self.query.as_deref(), header, reason))
    }

    fn routes(&self) -> Result<Routes, ConfigError> {
        let pattern = |setting, path: &String| {
            PathPattern::parse(path).ok_or_else(|| {
                invalid(
                    setting,
                    "must be a plain path such as `/account/password`, with `*` for any one segment and \
                     without `%`, `\\`, dots or `{}`",
                )
            })
        };
        let all = |setting, paths: &[String]| {
            let parsed = paths.iter().map(|path| pattern(setting, path));
            parsed.collect::<Result<Vec<_>, _>>()
        };
        let mut excluded = all("exclude", &self.excluded)?;
        if let Some(path) = &self.control_path {
            excluded.push(pattern("control_path", path)?);
            if path.contains('*') {
                return Err(invalid("control_path", "is one place and cannot hold `*`"));
            }
        }
        #[cfg(feature = "console")]
        if let Some(path) = &self.console_path {
            excluded.push(pattern("console_path", path)?);
            if path.contains('*') {
                return Err(invalid("console_path", "is one place and cannot hold `*`"));
            }
        }
        let reads = self.reads.iter().map(|(method, path)| {
            let pattern = pattern("read_route", path)?;
            Ok((method.clone(), pattern))
        });
        Ok(Routes {
            excluded,
            protected: all("protect", &self.protected)?,
            reads: reads.collect::<Result<_, _>>()?,
        })
    }

    fn check_numbers(&self) -> Result<(), ConfigError> {
        let Settings {
            limits,
            max_lifetime,
            idle_timeout,
            check_timeout,
            audit_timeout,
        } = self.settings;
        let times = [
            ("max_lifetime", max_lifetime),
            ("idle_timeout", idle_timeout),
            ("check_timeout", check_timeout),
            ("audit_timeout", audit_timeout),
        ];
        /// A year: more than anyone means, and no sum of times overflows.
        const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
        for (setting, time) in times {
            if time.is_zero() {
                return Err(invalid(setting, "must not be zero"));
            }
            if time > LONGEST {
                return Err(invalid(setting, "must not be longer than a year"));
            }
        }
        let counts = [
            ("max_active", limits.active, 1),
            ("starts_per_hour", limits.starts_per_hour as usize, 1),
            ("audit_queue", self.audit_queue, 16),
        ];
        for (setting, count, least) in counts {
            if count < least {
                return Err(invalid(setting, &format!("must be at least {least}")));
            }
        }
        if self.audit_queue > tokio::sync::Semaphore::MAX_PERMITS {
            return Err(invalid("audit_queue", "is too large"));
        }
        Ok(())
    }
}

fn invalid(setting: &'static str, problem: &str) -> ConfigError {
    ConfigError::Invalid {
        setting,
        problem: problem.to_owned(),
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("query_parameter", &self.query)
            .field("header", &self.header)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
