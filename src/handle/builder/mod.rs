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
/// Every setter states its default, and [`build`](Self::build) refuses what cannot work: two settings that
/// contradict each other, one that would do nothing, a path that no request could match. One decision has no
/// default: how handlers see the subject ([below](#how-handlers-see-the-subject)).
///
/// ```
/// # use tower_impersonation::{Caller, Decision, Impersonation, audit::MemorySink, checker_fn};
/// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
/// let builder = Impersonation::builder(checker, MemorySink::default()).protect("/account/password");
/// let error = builder.build().unwrap_err();
/// assert!(error.to_string().contains("handlers"), "{error}");
/// ```
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

    /// The users one can act as, with their ranks (rule [S1](crate::rules#s1)). Default: none; then the checker
    /// alone decides.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use tower_impersonation::{DirectoryUser, MemoryDirectory, Rank, UserId};
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.directory(MemoryDirectory::from_iter([
    ///     DirectoryUser::new(UserId::from(7), Rank(0)).with_display_name("Ines"),
    /// ]))
    /// # }
    /// ```
    pub fn directory(mut self, directory: impl UserDirectory) -> Self {
        self.host.directory = Some(Arc::new(directory));
        self
    }

    /// How long an answer of the directory may be reused, if it allowed acting (rule [R8](crate::rules#r8)).
    /// Default: 30 seconds. Zero asks on every acted request.
    ///
    /// [`Impersonation::forget_user`] drops the answer about one user at once.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.directory_cache(Duration::from_secs(5))
    /// # }
    /// ```
    pub fn directory_cache(mut self, keep: Duration) -> Self {
        self.needs(Part::Directory, "directory_cache", Some(shown(&keep)));
        self.host.keep = keep;
        self
    }

    /// Acting needs a started session, and this store keeps them. Default: none; then each marked request stands
    /// alone.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use tower_impersonation::session::MemorySessions;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.sessions(MemorySessions::new())
    /// # }
    /// ```
    pub fn sessions(mut self, sessions: impl SessionStore) -> Self {
        self.sessions = Some(Arc::new(sessions));
        self
    }

    /// Acts only as users who have consented, checked at the start and on every request (rule
    /// [S8](crate::rules#s8)). Default: consent is not asked for.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use tower_impersonation::MemoryConsents;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.require_consent(MemoryConsents::default())
    /// # }
    /// ```
    pub fn require_consent(mut self, consent: impl Consent) -> Self {
        self.host.consent = Some(Arc::new(consent));
        self
    }

    /// Issues acting tokens and accepts them; see [`token`](crate::token). Needs [`sessions`](Self::sessions).
    /// Default: no tokens.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use tower_impersonation::token::Tokens;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.tokens(Tokens::hs256("https://shop.example", "shop", "2026-11", &[7; 32]))
    /// # }
    /// ```
    #[cfg(feature = "jwt")]
    pub fn tokens(mut self, tokens: crate::token::Tokens) -> Self {
        self.tokens = Some(tokens);
        self
    }

    /// Tells users when someone starts and stops acting as them. A notifier that fails is logged and stops nothing.
    /// Default: nobody is told. Needs [`sessions`](Self::sessions).
    ///
    /// See [`Notifier`] for an example, and [`require_notifier`](Self::require_notifier) for one that must succeed.
    pub fn notifier(mut self, notifier: impl Notifier) -> Self {
        self.needs(Part::Sessions, "notifier", None);
        self.host.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: false,
        });
        self
    }

    /// Like [`notifier`](Self::notifier), but no session starts unless it succeeds: otherwise the start is refused
    /// with 503. The end of a session never waits for it.
    pub fn require_notifier(mut self, notifier: impl Notifier) -> Self {
        self.needs(Part::Sessions, "require_notifier", None);
        self.host.notifying = Some(Notifying {
            notifier: Arc::new(notifier),
            mandatory: true,
        });
        self
    }

    /// Hands out the subject's own login with each session, in place of acting tokens: for hosts whose users sign
    /// in elsewhere. Default: none. Needs [`sessions`](Self::sessions). See [`CredentialIssuer`] for an example.
    pub fn credential_issuer(mut self, issuer: impl CredentialIssuer) -> Self {
        self.needs(Part::Sessions, "credential_issuer", None);
        self.host.issuer = Some(Arc::new(issuer));
        self
    }

    /// Reads what the sink writes, for [`Impersonation::read_trail`], the HTTP API and the console. Default: none;
    /// then the trail cannot be read through this crate.
    ///
    /// Often the sink is its own reader:
    ///
    /// ```
    /// # use tower_impersonation::{Builder, Caller, Decision, Impersonation, audit::MemorySink, checker_fn};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let trail = MemorySink::default();
    /// let builder = Impersonation::builder(checker, trail.clone()).trail_reader(trail);
    /// ```
    pub fn trail_reader(mut self, reader: impl TrailReader) -> Self {
        self.reader = Some(Arc::new(reader));
        self
    }

    /// The source of time for everything that expires, waits or is stamped. Default: [`SystemClock`].
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use tower_impersonation::clock::ManualClock;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.clock(ManualClock::new(time::OffsetDateTime::UNIX_EPOCH)) // in a test
    /// # }
    /// ```
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.host.calls.clock = Arc::new(clock);
        self
    }

    /// The query parameter that carries the marker (rule [R2](crate::rules#r2)). Default: `as`.
    ///
    /// ASCII letters, digits and `-._~`. With a control API or a console it must not be a parameter of theirs, such
    /// as `subject` or `q`.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.query_parameter("acting-as") // /orders?acting-as=42
    /// # }
    /// ```
    pub fn query_parameter(mut self, name: impl Into<String>) -> Self {
        self.markers.query = Some(name.into());
        self
    }

    /// Ignores markers in the URL. Default: they are read.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.without_query_parameter() // the header alone
    /// # }
    /// ```
    pub fn without_query_parameter(mut self) -> Self {
        self.markers.query = None;
        self
    }

    /// The header that carries the marker (rule [R2](crate::rules#r2)). Default: `Act-As`. The reason's header has
    /// the same name followed by `-Reason`.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.header("X-Act-As") // and X-Act-As-Reason
    /// # }
    /// ```
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.markers.header = Some(name.into());
        self
    }

    /// Ignores the marker's header. Default: it is read.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.without_header() // the URL alone
    /// # }
    /// ```
    pub fn without_header(mut self) -> Self {
        self.markers.header = None;
        self
    }

    /// Runs requests to this path and below as the actor, marked or not (rule [R12](crate::rules#r12)): for your
    /// admin area. Default: none.
    ///
    /// Whole segments are compared, as they came; `*` stands for any one segment.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.exclude("/admin").exclude("/*/assets")
    /// # }
    /// ```
    pub fn exclude(mut self, path: impl Into<String>) -> Self {
        self.paths.excluded.push(path.into());
        self
    }

    /// Never acts on requests to this path and below (rule [R11](crate::rules#r11)): passwords, second factors,
    /// payment. Default: none.
    ///
    /// Whole segments, at most 16; `*` stands for any one segment. The path is compared in every way in which a
    /// router or a proxy may read it: percent-decoded once or more, with `//`, dots and backslashes folded or not,
    /// in any ASCII case, without `;parameters`, an extension, or trailing dots and blanks. So
    /// `/Account//password.json;x` is closed too. A path with any of these oddities is closed if it has more than
    /// 2,048 bytes or 63 segments.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.protect("/account/password").protect("/api/*/keys")
    /// # }
    /// ```
    pub fn protect(mut self, path: impl Into<String>) -> Self {
        self.paths.protected.push(path.into());
        self
    }

    /// Treats this method on exactly this path as a read, whatever its name (rule [R10](crate::rules#r10)): a
    /// search by `POST`. Default: only `GET`, `HEAD` and `OPTIONS` are reads.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use http::Method;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.read_route(Method::POST, "/orders/search")
    /// # }
    /// ```
    pub fn read_route(mut self, method: Method, path: impl Into<String>) -> Self {
        self.paths.reads.push((method, path.into()));
        self
    }

    /// Where the control API of `tower-impersonation-web` is mounted. The path is then excluded, and refusal pages
    /// offer to end the session there. Default: nowhere.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.control_path("/impersonation")
    /// # }
    /// ```
    pub fn control_path(mut self, path: impl Into<String>) -> Self {
        self.answers.places.control = Some(path.into());
        self
    }

    /// Where the console of `tower-impersonation-web` is mounted. The path is then excluded, and links to the
    /// console lead there. Default: nowhere; then its links lead to where its router is nested.
    ///
    /// One path, without `*`. Needs [`sessions`](Self::sessions).
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.console_path("/admin/impersonation")
    /// # }
    /// ```
    pub fn console_path(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.needs(Part::Sessions, "console_path", Some(shown(&path)));
        self.answers.places.console = Some(path);
        self
    }

    /// Where your application logs people out. A request to this path first ends all sessions of its sender
    /// ([`AdminLogout`](crate::session::EndedReason::AdminLogout), rule [S4](crate::rules#s4)) and then goes on to
    /// your handler, which does not have to call [`Impersonation::log_out`]. The path is then excluded. Default:
    /// nowhere.
    ///
    /// One path, without `*`. Any method counts except `HEAD`, `OPTIONS` and `TRACE`, and prefetches do not. Needs
    /// [`sessions`](Self::sessions).
    ///
    /// Anyone who can make a browser request this path can end its sessions: have your handler accept only `POST`
    /// from your own pages.
    ///
    /// Costs: one comparison of the path of each unmarked request; a log-out asks the checker and the store. If the
    /// checker fails, the log-out is refused with 503. If the store fails, the log-out goes on: this process
    /// refuses the sessions and retries.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.log_out_path("/logout")
    /// # }
    /// ```
    pub fn log_out_path(mut self, path: impl Into<String>) -> Self {
        let path = path.into();
        self.needs(Part::Sessions, "log_out_path", Some(shown(&path)));
        self.watch.log_out = true;
        self.paths.log_out = Some(path);
        self
    }

    /// Where a browser goes after a start that names no `next`; the marker is added. Default: `/`.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.after_start("/orders") // /orders?as=42
    /// # }
    /// ```
    pub fn after_start(mut self, path: impl Into<String>) -> Self {
        self.answers.places.after_start = path.into();
        self
    }

    /// Where a browser goes after a stop. Default: `/`.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.after_stop("/admin/customers")
    /// # }
    /// ```
    pub fn after_stop(mut self, path: impl Into<String>) -> Self {
        self.answers.places.after_stop = path.into();
        self
    }

    /// Where a request came from, for the trail (rule [R18](crate::rules#r18)). Default: axum's `ConnectInfo` with
    /// the feature `axum`, else unknown.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::net::SocketAddr;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.client_address(|parts| parts.extensions.get::<SocketAddr>().map(SocketAddr::ip))
    /// # }
    /// ```
    pub fn client_address<F>(mut self, address: F) -> Self
    where
        F: Fn(&Parts) -> Option<IpAddr> + Send + Sync + 'static,
    {
        self.client.address = Some(Arc::new(address));
        self
    }

    /// Trusts `X-Forwarded-For` as far as your own proxies wrote it (rule [R18](crate::rules#r18)). Default: the
    /// header is not trusted at all.
    ///
    /// `proxies` is how many of them stand in front of you. The address is the one that the outermost of them saw;
    /// entries to the left of it are the client's own claims.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::num::NonZeroUsize;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.trusted_proxies(NonZeroUsize::MIN) // one proxy
    /// # }
    /// ```
    pub fn trusted_proxies(mut self, proxies: NonZeroUsize) -> Self {
        self.client.proxies = Some(proxies);
        self
    }

    /// Names the route of a request for the trail: `/orders/{id}` instead of `/orders/7`. Repeated reads of one
    /// route are folded (rule [A4](crate::rules#a4)). Default: axum's `MatchedPath` with the feature `axum`, where
    /// it is known before the handler; else the path itself.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::sync::Arc;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.route(|parts| parts.uri.path().starts_with("/orders/").then(|| Arc::from("/orders/{id}")))
    /// # }
    /// ```
    pub fn route<F>(mut self, route: F) -> Self
    where
        F: Fn(&Parts) -> Option<Arc<str>> + Send + Sync + 'static,
    {
        self.client.route = Some(Arc::new(route));
        self
    }

    /// Builds the responses of refusals. `None` leaves a refusal to the default, [`Rejection::response`].
    ///
    /// Whatever you build, the [`Rejection`] is put into its extensions, and caches may not keep it.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Response;
    /// # use tower_impersonation::{Builder, RejectionKind};
    ///
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.rejection_response(|rejection, _parts| {
    ///     if rejection.kind() != RejectionKind::Unauthenticated {
    ///         return None;
    ///     }
    ///     let mut response = Response::new(Bytes::from_static(b"Please sign in."));
    ///     *response.status_mut() = rejection.kind().status();
    ///     Some(response)
    /// })
    /// # }
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

    /// Keeps the marker on the pages that have it: whatever such a page sends to its own origin without a marker
    /// counts as marked like the page itself, which the browser names in the `Referer`. Default: off; every request
    /// says for itself whom it acts as.
    ///
    /// - A navigation is redirected, with 307, to the same URL with the marker. That covers links, and forms of up
    ///   to 64 KiB, which the browser sends again. So links and forms stay as they are, and the address bar says
    ///   whom one acts as.
    /// - Everything else (images, calls of scripts, longer forms) is acted as if it had the marker. If there is no
    ///   session behind that marker, the request is refused; it never runs as the actor (rule
    ///   [R4](crate::rules#r4)). The same goes for requests of a page whose marker cannot be read.
    /// - A page that answers a longer form has a URL without the marker. `page.js` puts it back. Without that
    ///   script, what such a page sends is the actor's own, unless you set
    ///   [`refuse_unmarked_writes`](Self::refuse_unmarked_writes). Forms whose `action` has the marker, or that
    ///   have no `action`, keep it.
    /// - A page whose path and query exceed 3,800 characters is refused: browsers would not name it in the
    ///   `Referer`.
    /// - Requests that were typed, that come from elsewhere, or that hide where they come from are left alone. That
    ///   is the way out: an address without the marker, a link with `rel="noreferrer"`, an answer with
    ///   `Referrer-Policy: no-referrer`.
    ///
    /// A script that changes the URL (`pushState`) can still lose the marker, and a page with a `Referrer-Policy`
    /// stricter than `same-origin` always does: see `page.js` of `tower-impersonation-web`, and
    /// [`refuse_unmarked_writes`](Self::refuse_unmarked_writes). A page that the browser may cache (`max-age`) is
    /// shown from the cache, no matter as whom it was loaded.
    ///
    /// Costs: two more headers are read on unmarked requests, and nobody is asked. Style sheets and images of acted
    /// pages are acted too, so browsers do not cache them: [`exclude`](Self::exclude) their folder, and the pages
    /// where one signs in and out.
    ///
    /// [`build`](Self::build) refuses this together with
    /// [`without_query_parameter`](Self::without_query_parameter).
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.sticky_marker().exclude("/assets").exclude("/login")
    /// # }
    /// ```
    pub fn sticky_marker(mut self) -> Self {
        self.watch.sticky = true;
        self
    }

    /// While an actor has an active session, refuses their unmarked requests that may change something, outside
    /// [excluded](Self::exclude) paths: 409 [`MarkerMissing`](crate::RejectionKind::MarkerMissing) (rule
    /// [R20](crate::rules#r20)). Such a request could come from a page that lost its marker. Default: off. Needs
    /// [`sessions`](Self::sessions).
    ///
    /// What counts as a change is decided as for acted requests: [routes listed as reads](Self::read_route) do not,
    /// WebSockets and overridden methods do. Set [`control_path`](Self::control_path), and exclude what must keep
    /// working, such as your log-out.
    ///
    /// Costs: each unmarked write asks the checker who calls and, if someone is signed in, admin or not, the store
    /// for one of their sessions. If either fails: 503.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.control_path("/impersonation").exclude("/logout").refuse_unmarked_writes()
    /// # }
    /// ```
    pub fn refuse_unmarked_writes(mut self) -> Self {
        self.needs(Part::Sessions, "refuse_unmarked_writes", None);
        self.watch.writes = true;
        self
    }

    /// Ends an actor's sessions when they type a URL without the marker, outside [excluded](Self::exclude) paths
    /// ([`MarkerRemoved`](crate::session::EndedReason::MarkerRemoved), rule [R20](crate::rules#r20)). The page is
    /// then their own. Default: off; typing such a URL leaves the session alone and leads out in that tab only.
    /// Needs [`sessions`](Self::sessions).
    ///
    /// Bookmarks and links from other programs count as typed; links on pages do not. Only browsers that send
    /// `Sec-Fetch-Site` can tell, which all current ones do over HTTPS. A browser that prefetches while the address
    /// is being typed ends nothing: that request is refused, so that the browser asks again.
    ///
    /// Costs: each unmarked request for a typed URL asks the checker who calls and, if someone is signed in, the
    /// store for their sessions. If either fails: 503.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.exclude("/admin").end_when_marker_removed()
    /// # }
    /// ```
    pub fn end_when_marker_removed(mut self) -> Self {
        self.needs(Part::Sessions, "end_when_marker_removed", None);
        self.watch.typed = true;
        self
    }

    /// How many active sessions an actor may have (rule [S2](crate::rules#s2)). Default: 1. Two for the same
    /// subject are never active at once.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.max_active(3)
    /// # }
    /// ```
    pub fn max_active(mut self, sessions: usize) -> Self {
        self.needs(Part::Sessions, "max_active", Some(shown(&sessions)));
        self.session_settings.limits.active = sessions;
        self
    }

    /// Makes a start end the session that stands in its way. Default: the start is refused with 409 (rule
    /// [S2](crate::rules#s2)).
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.replace_active()
    /// # }
    /// ```
    pub fn replace_active(mut self) -> Self {
        self.needs(Part::Sessions, "replace_active", None);
        self.session_settings.limits.replace = true;
        self
    }

    /// How many sessions an actor may start within any 60 minutes (rule [S3](crate::rules#s3)). Default: 10.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.starts_per_hour(30)
    /// # }
    /// ```
    pub fn starts_per_hour(mut self, starts: u32) -> Self {
        self.needs(Part::Sessions, "starts_per_hour", Some(shown(&starts)));
        self.session_settings.limits.starts_per_hour = starts;
        self
    }

    /// The longest session, and the length of one that asks for none (rule [S4](crate::rules#s4)). Default: 2
    /// hours. No extension gets past it. [`Grant::with_max_lifetime`](crate::Grant::with_max_lifetime) shortens it
    /// for one actor.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.max_lifetime(Duration::from_secs(30 * 60))
    /// # }
    /// ```
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.needs(Part::Sessions, "max_lifetime", Some(shown(&lifetime)));
        self.session_settings.max_lifetime = lifetime;
        self
    }

    /// How long a session lives without an acted request (rule [S4](crate::rules#s4)). Default: 30 minutes.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.idle_timeout(Duration::from_secs(10 * 60))
    /// # }
    /// ```
    pub fn idle_timeout(mut self, idle: Duration) -> Self {
        self.needs(Part::Sessions, "idle_timeout", Some(shown(&idle)));
        self.session_settings.idle_timeout = idle;
        self
    }

    /// How long one call of the checker, the directory, the store, or `assume*` may take; then the request is
    /// refused with 503 (rule [R13](crate::rules#r13)). Default: 5 seconds.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.check_timeout(Duration::from_secs(1))
    /// # }
    /// ```
    pub fn check_timeout(mut self, timeout: Duration) -> Self {
        self.host.calls.timeout = timeout;
        self
    }

    /// How long one write of the sink may take, and how long a request waits for one (rule [A5](crate::rules#a5)).
    /// Default: 2 seconds.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.audit_timeout(Duration::from_millis(500))
    /// # }
    /// ```
    pub fn audit_timeout(mut self, timeout: Duration) -> Self {
        self.trail.timeout = timeout;
        self
    }

    /// How many events may wait for the sink (rule [A4](crate::rules#a4)). Default: 10,000. When the queue is full,
    /// acted requests first slow down and are then refused.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.audit_queue(50_000)
    /// # }
    /// ```
    pub fn audit_queue(mut self, events: usize) -> Self {
        self.trail.queue = events;
        self
    }

    /// How long repeated reads of one route, and repeated refusals, are folded into one event with a count (rule
    /// [A4](crate::rules#a4)). Default: 60 seconds; zero writes each one.
    ///
    /// ```
    /// # use tower_impersonation::Builder;
    /// # use std::time::Duration;
    /// # fn set_up(builder: Builder) -> Builder {
    /// builder.fold_reads(Duration::from_secs(300))
    /// # }
    /// ```
    pub fn fold_reads(mut self, window: Duration) -> Self {
        self.trail.fold = window;
        self
    }

    /// Checks the settings and builds the handle.
    ///
    /// # Errors
    ///
    /// A [`ConfigError`] that names the setting and its value, and the setting that it disagrees with.
    ///
    /// ```
    /// # use tower_impersonation::{Caller, Decision, Impersonation, audit::MemorySink, checker_fn};
    /// # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    /// let builder = Impersonation::builder(checker, MemorySink::default()).handlers_read_acting_as();
    /// let error = builder.max_active(3).build().unwrap_err();
    /// assert!(error.to_string().contains("sessions"), "there are none to count: {error}");
    /// ```
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
