//! [`Builder`]: every setting, its default, and what it may not be.

mod check;
mod handlers;
mod names;

use std::{any::TypeId, fmt, net::IpAddr, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Response, request::Parts};

use super::Impersonation;
use crate::{
    audit::{AuditSink, FanOut, Trail, TrailReader, TrailSettings},
    engine::{Engine, SessionSettings, Sessions, TokenSettings, Tokens, Watch},
    host::{
        AdminChecker, Assume, Calls, Consent, CredentialIssuer, DirectoryCache, Host, Notifier,
        Notifying, UserDirectory,
    },
    rejection::{Answers, Rejection},
    request::Client,
    session::{Limits, SessionStore},
    words::{
        ConfigError,
        clock::{Clock, SystemClock},
        shown,
    },
};

/// Sets up an [`Impersonation`]. Made by [`Impersonation::builder`].
///
/// Every setter says its default; [`build`](Self::build) refuses what cannot work.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    host: Given,
    sessions: Option<Arc<dyn SessionStore>>,
    session_settings: SessionSettings,
    tokens: TokenSettings,
    audit: Arc<dyn AuditSink>,
    trail: TrailSettings,
    reader: Option<Arc<dyn TrailReader>>,
    markers: Markers,
    paths: Paths,
    client: Client,
    watch: Watch,
    answers: Answers,
    /// What was called and does nothing without another part.
    needs: Vec<Need>,
    /// The sink is a [`FanOut`], which takes its time.
    fans_out: bool,
}

/// A setting that does nothing without a part.
struct Need {
    setting: &'static str,
    value: Option<String>,
    part: Part,
}

#[derive(Clone, Copy)]
enum Part {
    Directory,
    Sessions,
}

/// What a host gives.
struct Given {
    checker: Arc<dyn AdminChecker>,
    directory: Option<Arc<dyn UserDirectory>>,
    /// How long an answer of the directory is kept.
    keep: Duration,
    consent: Option<Arc<dyn Consent>>,
    notifying: Option<Notifying>,
    issuer: Option<Arc<dyn CredentialIssuer>>,
    assume: Vec<Assume>,
    /// Handlers look at `ActingAs` by themselves.
    handlers_read: bool,
    calls: Calls,
}

/// Where a marker may stand.
struct Markers {
    query: Option<String>,
    header: Option<String>,
}

/// Paths as they were written.
#[derive(Default)]
struct Paths {
    excluded: Vec<String>,
    protected: Vec<String>,
    reads: Vec<(Method, String)>,
    log_out: Option<String>,
}

impl Builder {
    pub(crate) fn new<A: AuditSink>(checker: impl AdminChecker, audit: A) -> Self {
        Self {
            host: Given {
                checker: Arc::new(checker),
                directory: None,
                keep: Duration::from_secs(30),
                consent: None,
                notifying: None,
                issuer: None,
                assume: Vec::new(),
                handlers_read: false,
                calls: Calls {
                    clock: Arc::new(SystemClock),
                    timeout: Duration::from_secs(5),
                },
            },
            sessions: None,
            session_settings: SessionSettings {
                limits: Limits::default(),
                max_lifetime: Duration::from_secs(2 * 60 * 60),
                idle_timeout: Duration::from_secs(30 * 60),
            },
            tokens: TokenSettings::default(),
            audit: Arc::new(audit),
            trail: TrailSettings {
                timeout: Duration::from_secs(2),
                queue: 10_000,
                fold: Duration::from_secs(60),
            },
            reader: None,
            markers: Markers {
                query: Some("as".to_owned()),
                header: Some("act-as".to_owned()),
            },
            paths: Paths::default(),
            client: Client::default(),
            watch: Watch::default(),
            answers: Answers::default(),
            needs: Vec::new(),
            fans_out: TypeId::of::<A>() == TypeId::of::<FanOut>(),
        }
    }

    fn needs(&mut self, part: Part, setting: &'static str, value: Option<String>) {
        self.needs.push(Need {
            setting,
            value,
            part,
        });
    }

    /// The users that can be acted as, with their ranks (rule [S1](crate::rules#s1)). Default: none; then the checker
    /// alone decides.
    pub fn directory(mut self, directory: impl UserDirectory) -> Self {
        self.host.directory = Some(Arc::new(directory));
        self
    }

    /// How long an answer of the directory that allowed is kept (rule [R8](crate::rules#r8)). Default: 30 seconds; zero
    /// asks on every acted request.
    pub fn directory_cache(mut self, keep: Duration) -> Self {
        self.needs(Part::Directory, "directory_cache", Some(shown(&keep)));
        self.host.keep = keep;
        self
    }

    /// Acting needs a started session, kept here. Default: none; then each marked request stands alone.
    pub fn sessions(mut self, sessions: impl SessionStore) -> Self {
        self.sessions = Some(Arc::new(sessions));
        self
    }

    /// Users must have allowed it, at the start and on every request (rule [S8](crate::rules#s8)). Default: not asked.
    pub fn require_consent(mut self, consent: impl Consent) -> Self {
        self.host.consent = Some(Arc::new(consent));
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
        self.needs(Part::Sessions, "notifier", None);
        self.host.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: false,
        });
        self
    }

    /// The same, and when it fails there is no start: 503.
    pub fn require_notifier(mut self, notifier: impl Notifier) -> Self {
        self.needs(Part::Sessions, "require_notifier", None);
        self.host.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: true,
        });
        self
    }

    /// Hands out the subject's own login with each session, in place of acting tokens. Default: none.
    pub fn credential_issuer(mut self, issuer: impl CredentialIssuer) -> Self {
        self.needs(Part::Sessions, "credential_issuer", None);
        self.host.issuer = Some(Arc::new(issuer));
        self
    }

    /// Reads what the sink writes, for [`Impersonation::read_trail`] and the HTTP API. Default: none.
    pub fn trail_reader(mut self, reader: impl TrailReader) -> Self {
        self.reader = Some(Arc::new(reader));
        self
    }

    /// The source of time. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.host.calls.clock = Arc::new(clock);
        self
    }

    /// The query parameter of the marker. Default: `as`. ASCII letters, digits and `-._~`; with a control API or a
    /// console none of theirs, such as `subject` or `q`.
    pub fn query_parameter(mut self, name: impl Into<String>) -> Self {
        self.markers.query = Some(name.into());
        self
    }

    /// No marker in the URL.
    pub fn without_query_parameter(mut self) -> Self {
        self.markers.query = None;
        self
    }

    /// The header of the marker. Default: `Act-As`. The reason's header is this with `-Reason` behind.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.markers.header = Some(name.into());
        self
    }

    /// No marker in a header.
    pub fn without_header(mut self) -> Self {
        self.markers.header = None;
        self
    }

    /// Requests to this path and below run as the actor, marked or not (rule [R12](crate::rules#r12)): the host's admin
    /// area. Whole segments; `*` stands for any one. Default: none.
    pub fn exclude(mut self, path: impl Into<String>) -> Self {
        self.paths.excluded.push(path.into());
        self
    }

    /// Requests to this path and below are never acted (rule [R11](crate::rules#r11)): passwords, second factors,
    /// payment. Whole segments, at most 16; `*` stands for any one. Default: none.
    ///
    /// Compared as any router may read the path, also one behind a proxy: percent-decoded once or more, with `//`, dots and
    /// backslashes folded or not, in any ASCII case, without `;parameters`, an extension, or dots and blanks at the end.
    /// `/Account//password.json;x` is closed as well. A path with anything of that in it is closed if it has more than 2,048
    /// bytes or 63 segments.
    pub fn protect(mut self, path: impl Into<String>) -> Self {
        self.paths.protected.push(path.into());
        self
    }

    /// This method on exactly this path changes nothing, whatever its name (rule [R10](crate::rules#r10)): a search by
    /// `POST`. Default: only `GET`, `HEAD` and `OPTIONS` are reads.
    pub fn read_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.paths.reads.push((method, path.into()));
        self
    }

    /// Where the control API is mounted. It is excluded then, and refusal pages offer to end the session
    /// there. Default: nowhere.
    pub fn control_path(mut self, path: impl Into<String>) -> Self {
        self.answers.places.control = Some(path.into());
        self
    }

    /// Where the console of `tower-impersonation-web` is mounted. It is excluded then, and its links lead there. One
    /// place, without `*`. Needs [`sessions`](Self::sessions). Default: nowhere; then its links lead to where its router
    /// was nested.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # use tower_impersonation::session::MemorySessions;
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .handlers_read_acting_as()
    ///     .sessions(MemorySessions::new())
    ///     .console_path("/admin/impersonation")
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn console_path(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.needs(Part::Sessions, "console_path", Some(shown(&path)));
        self.answers.places.console = Some(path);
        self
    }

    /// Where the host logs people out. A request to this path ends all sessions of whoever sent it
    /// ([`AdminLogout`](crate::session::EndedReason::AdminLogout), rule [S4](crate::rules#s4)) and goes on to the
    /// host's handler, so that the handler need not call [`Impersonation::log_out`]. It is excluded then. One place,
    /// without `*`; of any method but `HEAD`, `OPTIONS` and `TRACE`, and none that a browser sends ahead. Needs
    /// [`sessions`](Self::sessions). Default: nowhere.
    ///
    /// A session that cannot be ended keeps the person logged in: the request is refused with 503. Whoever can make a
    /// browser log out can end its sessions: let the handler take `POST` only, and from pages of its own.
    ///
    /// Costs: the path of each unmarked request is compared; on a log-out the checker and the store are asked.
    ///
    /// ```
    /// # use tower_impersonation::{Impersonation, audit::MemorySink, checker_fn, Caller, Decision};
    /// # use tower_impersonation::session::MemorySessions;
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .handlers_read_acting_as()
    ///     .sessions(MemorySessions::new())
    ///     .log_out_path("/logout")
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn log_out_path(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.needs(Part::Sessions, "log_out_path", Some(shown(&path)));
        self.watch.log_out = true;
        self.paths.log_out = Some(path);
        self
    }

    /// Where a browser goes after a start that names no `next`; the marker is added. Default: `/`.
    pub fn after_start(mut self, path: impl Into<String>) -> Self {
        self.answers.places.after_start = path.into();
        self
    }

    /// Where a browser goes after a stop. Default: `/`.
    pub fn after_stop(mut self, path: impl Into<String>) -> Self {
        self.answers.places.after_stop = path.into();
        self
    }

    /// Where a request came from, for the trail (rule [R18](crate::rules#r18)). Default: axum's `ConnectInfo` with the
    /// feature `axum`, else unknown.
    pub fn client_address<F>(mut self, address: F) -> Self
    where
        F: Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    {
        self.client.address = Some(Arc::new(address));
        self
    }

    /// Trusts `X-Forwarded-For` as written by this many proxies in front: the address is the one that
    /// the outermost of them saw. Default: the header is not trusted at all (rule [R18](crate::rules#r18)).
    pub fn trusted_proxies(mut self, proxies: NonZeroUsize) -> Self {
        self.client.proxies = Some(proxies);
        self
    }

    /// Which route a request belongs to, for the trail: `/orders/{id}` instead of `/orders/7`. Repeated reads are
    /// folded by it (rule [A4](crate::rules#a4)). Default: axum's `MatchedPath` with the feature `axum`, where it is
    /// known before the handler; else the path itself.
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: Fn(&Parts) -> Option<Arc<str>> + Send + Sync + 'static,
    {
        self.client.route = Some(Arc::new(route));
        self
    }

    /// Builds the responses of refusals, all or some of them: `None` is the default one, [`Rejection::response`].
    /// Whatever it builds, the [`Rejection`] is in its extensions and it is not cached.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Response;
    /// # use tower_impersonation::{Impersonation, RejectionKind, audit::MemorySink, checker_fn, Caller, Decision};
    ///
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let impersonation = Impersonation::builder(checker, MemorySink::default())
    ///     .handlers_read_acting_as()
    ///     .rejection_response(|rejection, _parts| {
    ///         if rejection.kind() != RejectionKind::Unauthenticated {
    ///             return None;
    ///         }
    ///         let mut response = Response::new(Bytes::from_static(b"Please sign in."));
    ///         *response.status_mut() = rejection.kind().status();
    ///         Some(response)
    ///     })
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn rejection_response<F, R>(mut self, respond: F) -> Self
    where
        F: Fn(&Rejection, &Parts) -> R + Send + Sync + 'static,
        R: Into<Option<Response<Bytes>>>,
    {
        let respond = move |rejection: &Rejection, parts: &Parts| respond(rejection, parts).into();
        self.answers.custom = Some(Box::new(respond));
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
    ///   (rule [R4](crate::rules#r4)). So is what comes from a page whose marker cannot be read.
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
    ///     .handlers_read_acting_as()
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

    /// Whoever has an active session changes nothing as themselves meanwhile, outside of [excluded](Self::exclude)
    /// paths: an unmarked request that may change something is refused with 409
    /// [`MarkerMissing`](crate::RejectionKind::MarkerMissing) (rule [R20](crate::rules#r20)). It could come from a page
    /// that lost its marker. Default: off. Needs [`sessions`](Self::sessions).
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
    ///     .handlers_read_acting_as()
    ///     .sessions(MemorySessions::new())
    ///     .control_path("/impersonation")
    ///     .exclude("/logout")
    ///     .refuse_unmarked_writes()
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn refuse_unmarked_writes(mut self) -> Self {
        self.needs(Part::Sessions, "refuse_unmarked_writes", None);
        self.watch.writes = true;
        self
    }

    /// Whoever types a URL without the marker, outside of [excluded](Self::exclude) paths, is done: that ends their
    /// sessions ([`MarkerRemoved`](crate::session::EndedReason::MarkerRemoved)), and the page is their own (rule
    /// [R20](crate::rules#r20)). Default: off; then it leaves only that tab. Needs [`sessions`](Self::sessions).
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
    ///     .handlers_read_acting_as()
    ///     .sessions(MemorySessions::new())
    ///     .exclude("/admin")
    ///     .end_when_marker_removed()
    ///     .build()?;
    /// # Ok::<(), tower_impersonation::ConfigError>(())
    /// ```
    pub fn end_when_marker_removed(mut self) -> Self {
        self.needs(Part::Sessions, "end_when_marker_removed", None);
        self.watch.typed = true;
        self
    }

    /// Active sessions per actor (rule [S2](crate::rules#s2)). Default: 1.
    pub fn max_active(mut self, sessions: usize) -> Self {
        self.needs(Part::Sessions, "max_active", Some(shown(&sessions)));
        self.session_settings.limits.active = sessions;
        self
    }

    /// A start ends the session that stands in its way. Default: it is refused with 409 (rule [S2](crate::rules#s2)).
    pub fn replace_active(mut self) -> Self {
        self.needs(Part::Sessions, "replace_active", None);
        self.session_settings.limits.replace = true;
        self
    }

    /// Starts per actor within any 60 minutes (rule [S3](crate::rules#s3)). Default: 10.
    pub fn starts_per_hour(mut self, starts: u32) -> Self {
        self.needs(Part::Sessions, "starts_per_hour", Some(shown(&starts)));
        self.session_settings.limits.starts_per_hour = starts;
        self
    }

    /// The longest session, and the length of one that asks for none (rule [S4](crate::rules#s4)). Default: 2 hours.
    /// [`Grant::with_max_lifetime`](crate::Grant::with_max_lifetime) narrows it per actor.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.needs(Part::Sessions, "max_lifetime", Some(shown(&lifetime)));
        self.session_settings.max_lifetime = lifetime;
        self
    }

    /// A session ends after this time without an acted request (rule [S4](crate::rules#s4)). Default: 30 minutes.
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.needs(Part::Sessions, "idle_timeout", Some(shown(&idle)));
        self.session_settings.idle_timeout = idle;
        self
    }

    /// How long one call of the checker, the directory, the store, or `assume` may take (rule [R13](crate::rules#r13)).
    /// Default: 5 seconds.
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.host.calls.timeout = timeout;
        self
    }

    /// How long one write of the sink may take, and how long anyone waits for one (rule [A5](crate::rules#a5)).
    /// Default: 2 seconds.
    pub fn audit_timeout(mut self, timeout: Duration) -> Self {
        self.trail.timeout = timeout;
        self
    }

    /// How many events may wait for the sink (rule [A4](crate::rules#a4)). Default: 10,000.
    pub fn audit_queue(mut self, events: usize) -> Self {
        self.trail.queue = events;
        self
    }

    /// How long repeated reads of one route are folded into one event (rule [A4](crate::rules#a4)). Default: 60
    /// seconds; zero writes each one.
    pub fn fold_reads(mut self, window: Duration) -> Self {
        self.trail.fold = window;
        self
    }

    /// The finished handle.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the setting and its value, and the one that it disagrees with.
    pub fn build(self) -> Result<Impersonation, ConfigError> {
        let sources = self.checked_sources()?;
        let routes = self.checked_routes()?;
        self.check_places()?;
        self.check_numbers()?;
        self.check_handlers()?;
        self.check_needs()?;
        self.check_paths()?;
        let has_sessions = self.sessions.is_some();
        let clock = self.host.calls.clock.clone();
        let tokens = Tokens::build(self.tokens, &sources, has_sessions, &*clock)?;
        Ok(Impersonation::new(Engine {
            sources,
            routes,
            client: self.client,
            watch: self.watch.in_effect(has_sessions),
            log_out: self
                .paths
                .log_out
                .map(|path| path.trim_end_matches('/').into()),
            tokens,
            host: Host {
                checker: self.host.checker,
                directory: self
                    .host
                    .directory
                    .map(|directory| DirectoryCache::new(directory, self.host.keep)),
                consent: self.host.consent,
                notifying: self.host.notifying,
                issuer: self.host.issuer,
                assume: self.host.assume,
                calls: self.host.calls,
            },
            sessions: Sessions::new(self.sessions, self.session_settings),
            trail: Trail::new(self.audit, clock, self.trail),
            reader: self.reader,
            answers: Answers {
                has_sessions,
                ..self.answers
            },
        }))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("query_parameter", &self.markers.query)
            .field("header", &self.markers.header)
            .field("sessions", &self.session_settings)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
