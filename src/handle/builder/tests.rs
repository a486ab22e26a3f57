#![allow(clippy::unwrap_used)]

use http::HeaderMap;

use super::*;
use crate::{
    ActingAs, Actor, Caller, Decision, Grant, MemoryConsents, MemoryDirectory, Rank, RejectionKind,
    StartRequest, UserId,
    audit::{FanOut, MemorySink},
    checker_async_fn, checker_fn, notifier_fn,
    session::{EndedReason, MemorySessions},
};

fn builder() -> Builder {
    let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    Impersonation::builder(checker, MemorySink::default()).handlers_read_acting_as()
}

fn with_sessions() -> Builder {
    builder().sessions(MemorySessions::new())
}

/// The setting that `build` complains about.
fn complaint(builder: Builder) -> Option<&'static str> {
    let error = builder.build().err()?;
    Some(error.setting().unwrap_or_else(|| panic!("{error}")))
}

#[test]
fn r2_the_parameters_name_is_plain_ascii() {
    for name in ["as", "AS", "acting-as", "acting_as~1.x", "7"] {
        assert_eq!(complaint(builder().query_parameter(name)), None, "{name}");
    }
    for name in [
        "", " ", "a s", "a+s", "a&s", "a=s", "a%73", "%61s", "as[]", "a;s", "é", "a\0", "a\n",
        "?as", "a/s",
    ] {
        assert_eq!(
            complaint(builder().query_parameter(name)),
            Some("query_parameter"),
            "{name:?}"
        );
    }
}

#[test]
fn r9_the_parameters_name_is_none_of_our_own_pages() {
    let named = |name: &str| with_sessions().query_parameter(name);
    for name in ["subject", "q", "cursor", "week", "v"] {
        assert_eq!(complaint(named(name)), None, "{name}");
        let with_control = named(name).control_path("/impersonation");
        assert_eq!(complaint(with_control), Some("query_parameter"), "{name}");
        assert_eq!(
            complaint(named(name).console_path("/admin")),
            Some("query_parameter"),
            "{name}"
        );
    }
    assert_eq!(complaint(builder().control_path("/impersonation")), None);
}

#[test]
fn r2_the_headers_name_is_one_that_nobody_else_uses() {
    for name in [
        "Act-As",
        "ACT-AS",
        "x-act-as",
        "impersonate-user",
        "as",
        "content",
        "secret",
    ] {
        assert_eq!(complaint(builder().header(name)), None, "{name}");
    }
    let bad = [
        "",
        " ",
        "Act As",
        "act-as:",
        "act\0as",
        "é",
        "act\r\nas",
        // Somebody's secrets.
        "authorization",
        "Authorization",
        "proxy-authorization",
        "Proxy-Authenticate",
        "cookie",
        "COOKIE",
        "set-cookie",
        // What a browser or a page on another site can set without asking.
        "accept",
        "Accept-Language",
        "accept-encoding",
        "content-language",
        "content-type",
        "range",
        "if-none-match",
        "cache-control",
        "pragma",
        "origin",
        "referer",
        "user-agent",
        "sec-fetch-site",
        "Sec-Anything",
        "upgrade-insecure-requests",
        "access-control-request-method",
        // What means something to the transport or to proxies.
        "connection",
        "keep-alive",
        "host",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "expect",
        "via",
        "forwarded",
        "x-forwarded-for",
        "X-Forwarded-User",
        "x-real-ip",
        "content-length",
        "date",
        "x-request-id",
        // What would make every marked request a write.
        "x-http-method",
        "X-HTTP-Method-Override",
        "x-method-override",
    ];
    for name in bad {
        assert_eq!(
            complaint(builder().header(name)),
            Some("header"),
            "{name:?}"
        );
    }
    let long = "x".repeat(70_000);
    assert_eq!(complaint(builder().header(long)), Some("header"));
    let barely = "x".repeat(u16::MAX as usize - 4);
    assert_eq!(
        complaint(builder().header(barely)),
        Some("header"),
        "no room for `-reason`"
    );
}

#[test]
fn r2_one_source_may_be_off_but_not_both() {
    assert_eq!(complaint(builder().without_header()), None);
    assert_eq!(complaint(builder().without_query_parameter()), None);
    let none = builder().without_header().without_query_parameter().build();
    let error = none.unwrap_err();
    assert_eq!(error, ConfigError::NoMarkerSource);
    let message = "no marker source: `query_parameter` and `header` are both off";
    assert_eq!(error.to_string(), message);
    // The last word counts.
    assert_eq!(
        complaint(
            builder()
                .without_header()
                .header("x-as")
                .without_query_parameter()
        ),
        None
    );
}

#[test]
fn r11_a_path_that_no_request_could_match_is_refused() {
    type Set = fn(Builder, &str) -> Builder;
    let settings: [(&str, Set); 5] = [
        ("log_out_path", |builder, path| {
            builder.sessions(MemorySessions::new()).log_out_path(path)
        }),
        ("exclude", |builder, path| builder.exclude(path)),
        ("protect", |builder, path| builder.protect(path)),
        ("read_route", |builder, path| {
            builder.read_route(Method::POST, path)
        }),
        ("control_path", |builder, path| builder.control_path(path)),
    ];
    let bad = [
        "",
        "/",
        "//",
        "admin",
        "admin/x",
        "/a//b",
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a%2fb",
        "/a%20b",
        r"/a\b",
        "/a?b",
        "/a#b",
        "/{id}",
        "/users/{id}/password",
        "/users/:id",
        "/*rest",
        "/**",
        "https://shop.example/admin",
    ];
    for (setting, set) in settings {
        for path in bad {
            let error = set(builder().exclude("/fine"), path).build().unwrap_err();
            let ConfigError::Invalid { setting: named, .. } = &error else {
                panic!("{error}")
            };
            assert_eq!(*named, setting, "{path:?}");
            let expected = format!("`{setting}({path:?})` must be a plain path");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
        for path in ["/admin", "/admin/", "/a/b", "/a.b"] {
            assert_eq!(complaint(set(builder(), path)), None, "{setting} {path}");
        }
        // The API is mounted in one place, and pages link to it.
        let any = complaint(set(builder(), "/a/*/b"));
        let one_place = matches!(setting, "control_path" | "log_out_path");
        assert_eq!(any, one_place.then_some(setting), "{setting}");
    }
}

#[test]
fn r13_times_and_counts_are_neither_zero_nor_endless() {
    type Set = fn(Builder, Duration) -> Builder;
    let times: [(&str, Set); 4] = [
        ("max_lifetime", Builder::max_lifetime),
        ("idle_timeout", Builder::idle_timeout),
        ("check_timeout", Builder::check_timeout),
        ("audit_timeout", Builder::audit_timeout),
    ];
    let year = Duration::from_secs(365 * 24 * 60 * 60);
    for (setting, set) in times {
        for time in [Duration::from_nanos(1), Duration::from_secs(1), year] {
            assert_eq!(
                complaint(set(with_sessions(), time)),
                None,
                "{setting} {time:?}"
            );
        }
        for time in [
            Duration::ZERO,
            year + Duration::from_nanos(1),
            Duration::MAX,
        ] {
            assert_eq!(
                complaint(set(with_sessions(), time)),
                Some(setting),
                "{time:?}"
            );
        }
    }
    assert_eq!(complaint(with_sessions().max_active(0)), Some("max_active"));
    assert_eq!(complaint(with_sessions().max_active(1)), None);
    assert_eq!(
        complaint(with_sessions().starts_per_hour(0)),
        Some("starts_per_hour")
    );
    assert_eq!(complaint(with_sessions().starts_per_hour(1)), None);
    assert_eq!(
        complaint(with_sessions().audit_queue(0)),
        Some("audit_queue")
    );
    assert_eq!(
        complaint(with_sessions().audit_queue(15)),
        Some("audit_queue")
    );
    assert_eq!(complaint(with_sessions().audit_queue(16)), None);
    assert_eq!(
        complaint(with_sessions().audit_queue(usize::MAX)),
        Some("audit_queue")
    );
    // Zero means never, not nothing.
    assert_eq!(
        complaint(
            builder()
                .directory(MemoryDirectory::default())
                .directory_cache(Duration::ZERO)
        ),
        None
    );
    assert_eq!(complaint(with_sessions().fold_reads(Duration::ZERO)), None);
}

/// What each mistake is told. The second half is what people read who have just made it.
#[test]
fn an_error_names_the_value_and_both_settings_that_disagree() {
    let (second, year) = (
        Duration::from_secs(1),
        Duration::from_secs(365 * 24 * 60 * 60),
    );
    let checker = || checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let fan_out = || FanOut::all().and(MemorySink::default());
    let fanning_out = || Impersonation::builder(checker(), fan_out()).handlers_read_acting_as();
    let mistakes = [
        // A value that cannot be.
        builder().query_parameter(""),
        builder().query_parameter("a b"),
        builder().header("cookie"),
        builder().header("a b"),
        builder().header("x".repeat(100).repeat(1000)),
        builder().exclude("admin"),
        builder().protect("/users/{id}"),
        builder().read_route(Method::POST, "/search?q"),
        with_sessions().control_path("/tenants/*/impersonation"),
        with_sessions().console_path("/"),
        builder().after_start("orders"),
        builder().after_stop("//elsewhere.example"),
        builder().after_stop(r"/\elsewhere.example"),
        with_sessions().idle_timeout(Duration::ZERO),
        with_sessions().max_lifetime(year + second),
        builder().check_timeout(Duration::ZERO),
        fanning_out().audit_timeout(second),
        with_sessions().max_active(0),
        with_sessions().starts_per_hour(0),
        builder().audit_queue(1),
        // What is missing.
        Impersonation::builder(checker(), MemorySink::default()),
        builder().without_header().without_query_parameter(),
        builder().assume_data::<u32>(),
        builder().directory_cache(second),
        builder().console_path("/admin/impersonation"),
        builder().max_active(3),
        builder().replace_active(),
        builder().starts_per_hour(5),
        builder().max_lifetime(second),
        builder().idle_timeout(second),
        builder().refuse_unmarked_writes(),
        builder().end_when_marker_removed(),
        builder().log_out_path("/logout"),
        builder().notifier(notifier_fn(|_| Ok(()))),
        builder().require_notifier(notifier_fn(|_| Ok(()))),
        // What disagrees.
        builder().sticky_marker().without_query_parameter(),
        builder()
            .query_parameter("session")
            .control_path("/impersonation"),
        with_sessions().query_parameter("q").console_path("/admin"),
        with_sessions()
            .control_path("/admin")
            .console_path("/admin/"),
        builder().exclude("/account").protect("/account/"),
        builder()
            .exclude("/tenants/*")
            .protect("/tenants/7/billing"),
        builder()
            .control_path("/impersonation")
            .protect("/impersonation/start"),
        builder()
            .protect("/account")
            .read_route(Method::POST, "/account/search"),
        builder()
            .exclude("/admin")
            .read_route(Method::POST, "/admin/search"),
        with_sessions().refuse_unmarked_writes(),
    ];
    let errors = mistakes.map(|builder| builder.build().unwrap_err().to_string());
    insta::assert_snapshot!(errors.join("\n"), @r#"
    `query_parameter("")` must be one or more ASCII letters, digits or -._~
    `query_parameter("a b")` must be one or more ASCII letters, digits or -._~
    `header("cookie")` is reserved for something else
    `header("a b")` is not a header name
    `header("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…)` is not a header name
    `exclude("admin")` must be a plain path such as `/account/password`, with `*` for any one segment and without `%`, `\`, dots or `{}`
    `protect("/users/{id}")` must be a plain path such as `/account/password`, with `*` for any one segment and without `%`, `\`, dots or `{}`
    `read_route("/search?q")` must be a plain path such as `/account/password`, with `*` for any one segment and without `%`, `\`, dots or `{}`
    `control_path("/tenants/*/impersonation")` is one place and cannot hold `*`
    `console_path("/")` must be a plain path such as `/account/password`, with `*` for any one segment and without `%`, `\`, dots or `{}`
    `after_start("orders")` must be a path on this host, such as `/orders`
    `after_stop("//elsewhere.example")` must be a path on this host, such as `/orders`
    `after_stop("/\\elsewhere.example")` must be a path on this host, such as `/orders`
    `idle_timeout(0ns)` must not be zero
    `max_lifetime(31536001s)` must not be longer than a year
    `check_timeout(0ns)` must not be zero
    `audit_timeout(1s)` must be longer than the second that a `FanOut` gives each sink
    `max_active(0)` must be at least 1
    `starts_per_hour(0)` must be at least 1
    `audit_queue(1)` must be at least 16
    how handlers see the subject is undecided, and they would show the actor's data: call `assume`, `assume_data`, `assume_from` or `assume_header` so that handlers find the subject where they look for their user, or `handlers_read_acting_as` if all of them look at `ActingAs`
    no marker source: `query_parameter` and `header` are both off
    `assume_data` needs `directory`
    `directory_cache(1s)` needs `directory`
    `console_path("/admin/impersonation")` needs `sessions`
    `max_active(3)` needs `sessions`
    `replace_active` needs `sessions`
    `starts_per_hour(5)` needs `sessions`
    `max_lifetime(1s)` needs `sessions`
    `idle_timeout(1s)` needs `sessions`
    `refuse_unmarked_writes` needs `sessions`
    `end_when_marker_removed` needs `sessions`
    `log_out_path("/logout")` needs `sessions`
    `notifier` needs `sessions`
    `require_notifier` needs `sessions`
    `sticky_marker` needs a marker in the URL: `without_query_parameter` takes it out
    `query_parameter("session")` is a parameter of the pages below `control_path("/impersonation")`
    `query_parameter("q")` is a parameter of the pages below `console_path("/admin")`
    `console_path("/admin/")` is the same path as `control_path("/admin")`
    `protect("/account/")` has no effect: `exclude("/account")` covers it
    `protect("/tenants/7/billing")` has no effect: `exclude("/tenants/*")` covers it
    `protect("/impersonation/start")` has no effect: `control_path("/impersonation")` covers it
    `read_route("/account/search")` has no effect: `protect("/account")` covers it
    `read_route("/admin/search")` has no effect: `exclude("/admin")` covers it
    `refuse_unmarked_writes` would also refuse the request that ends a session: set `control_path`, or `exclude` the path where sessions are ended
    "#);
}

#[test]
fn settings_that_only_look_as_if_they_disagree_are_taken() {
    let builders = [
        // A part of a protected place is the actor's own.
        builder().protect("/account").exclude("/account/public"),
        builder()
            .protect("/a")
            .exclude("/b")
            .read_route(Method::POST, "/c"),
        builder()
            .protect("/tenants/*/billing")
            .exclude("/tenants/7"),
        builder()
            .read_route(Method::POST, "/account")
            .protect("/account/password"),
        with_sessions()
            .control_path("/admin/api")
            .console_path("/admin"),
        with_sessions().refuse_unmarked_writes().exclude("/stop"),
        with_sessions()
            .refuse_unmarked_writes()
            .control_path("/impersonation"),
        builder().require_consent(MemoryConsents::default()),
        builder().control_path("/impersonation"),
        builder().sticky_marker(),
        builder().without_query_parameter(),
    ];
    for (number, builder) in builders.into_iter().enumerate() {
        assert_eq!(complaint(builder), None, "{number}");
    }
}

#[test]
fn a5_a_fan_out_needs_more_time_than_its_sinks() {
    let checker = || checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let with = |timeout| {
        let sinks = FanOut::any().and(MemorySink::default());
        let builder = Impersonation::builder(checker(), sinks).handlers_read_acting_as();
        complaint(builder.audit_timeout(timeout))
    };
    let second = Duration::from_secs(1);
    assert_eq!(with(second), Some("audit_timeout"));
    assert_eq!(with(second + Duration::from_millis(1)), None);
    // One sink alone takes the time that it gets.
    assert_eq!(complaint(builder().audit_timeout(second)), None);
}

#[test]
fn a_builder_with_everything_set_builds() {
    let impersonation = builder()
        .directory(MemoryDirectory::default())
        .directory_cache(Duration::from_secs(10))
        .sessions(MemorySessions::new())
        .require_consent(MemoryConsents::default())
        .clock(SystemClock)
        .query_parameter("on-behalf")
        .header("X-On-Behalf")
        .exclude("/admin")
        .protect("/account/password/")
        .read_route(Method::POST, "/search")
        .control_path("/impersonation")
        .assume(|_| async { Ok(Some(7_u64)) })
        .client_address(|_| None)
        .trusted_proxies(NonZeroUsize::MIN)
        .route(|_| None)
        .rejection_response(|rejection, _| {
            let mut response = Response::new(Bytes::new());
            *response.status_mut() = rejection.kind().status();
            response
        })
        .max_active(3)
        .replace_active()
        .starts_per_hour(5)
        .max_lifetime(Duration::from_secs(60 * 60))
        .idle_timeout(Duration::from_secs(60))
        .check_timeout(Duration::from_secs(1))
        .audit_timeout(Duration::from_secs(1))
        .audit_queue(100)
        .fold_reads(Duration::from_secs(10))
        .build()
        .unwrap();

    let engine = &impersonation.engine;
    let find = |uri: &str| {
        engine
            .sources
            .find(&uri.parse().unwrap(), &HeaderMap::new())
    };
    assert!(find("/?on-behalf=7").unwrap().is_some());
    assert!(find("/?as=7").unwrap().is_none());
    // The control API runs as the actor, whoever forgets to say so.
    assert_eq!(engine.routes.excluded.len(), 2);
    assert_eq!(engine.routes.protected.len(), 1);
    assert_eq!(engine.routes.reads.len(), 1);
    let limits = engine.sessions.settings.limits;
    assert_eq!(
        (limits.active, limits.replace, limits.starts_per_hour),
        (3, true, 5)
    );
    assert_eq!(
        engine.sessions.settings.max_lifetime,
        Duration::from_secs(60 * 60)
    );
    assert_eq!(
        engine.sessions.settings.idle_timeout,
        Duration::from_secs(60)
    );
    let host = &engine.host;
    assert!(host.directory.is_some() && host.consent.is_some() && impersonation.has_sessions());
    assert_eq!(host.assume.len(), 1);
    assert_eq!(host.calls.timeout, Duration::from_secs(1));
    let (parts, ()) = http::Request::new(()).into_parts();
    let reject = engine.answers.custom.as_ref().unwrap();
    let response = reject(&Rejection::new(RejectionKind::Denied, ""), &parts);
    assert_eq!(response.unwrap().status(), 403);
}

#[test]
fn r17_a_host_answers_some_refusals_and_leaves_the_others_to_us() {
    let impersonation = builder()
        .rejection_response(|rejection, _| {
            (rejection.kind() == RejectionKind::Denied).then(|| Response::new(Bytes::from("no")))
        })
        .build()
        .unwrap();
    let (parts, ()) = http::Request::new(()).into_parts();
    let answer = |kind| impersonation.response_of(Rejection::new(kind, ""), &parts);
    assert_eq!(answer(RejectionKind::Denied).body(), "no");
    let ours = answer(RejectionKind::ReadOnly);
    assert_eq!(ours.status(), 403);
    assert_ne!(ours.body(), "no");
    // Whoever has answered.
    for kind in [RejectionKind::Denied, RejectionKind::ReadOnly] {
        let answer = answer(kind);
        assert!(answer.extensions().get::<Rejection>().is_some());
        assert_eq!(answer.headers()["cache-control"], "no-store");
    }
}

#[test]
fn the_defaults_are_what_the_setters_say() {
    let impersonation = builder().build().unwrap();
    let engine = &impersonation.engine;
    let SessionSettings {
        limits,
        max_lifetime,
        idle_timeout,
    } = engine.sessions.settings;
    assert_eq!(
        (limits.active, limits.replace, limits.starts_per_hour),
        (1, false, 10)
    );
    assert_eq!(max_lifetime, Duration::from_secs(7200));
    assert_eq!(idle_timeout, Duration::from_secs(1800));
    assert_eq!(engine.host.calls.timeout, Duration::from_secs(5));
    assert_eq!(engine.trail.timeout(), Duration::from_secs(2));
    assert!(engine.routes.excluded.is_empty() && engine.routes.protected.is_empty());
    assert!(engine.routes.reads.is_empty() && impersonation.places().control().is_none());
    let host = &engine.host;
    assert!(host.directory.is_none() && host.consent.is_none() && !impersonation.has_sessions());
    let mut headers = HeaderMap::new();
    headers.insert("act-as", "7".parse().unwrap());
    headers.insert("act-as-reason", "why".parse().unwrap());
    let marker = engine
        .sources
        .find(&"/?as=7".parse().unwrap(), &headers)
        .unwrap()
        .unwrap();
    assert_eq!(marker.reason.as_deref(), Some("why"));
}

#[test]
fn debug_shows_settings_and_nothing_of_the_hosts() {
    insta::assert_snapshot!(format!("{:?}", builder()), @r#"Builder { query_parameter: Some("as"), header: Some("act-as"), sessions: SessionSettings { limits: Limits { active: 1, replace: false, starts_per_hour: 10 }, max_lifetime: 7200s, idle_timeout: 1800s }, .. }"#);
}

// === log_out_path ===

/// Ada, who has a session for ines, sends this to a site whose log-out is `/logout`. Whether her session lives on, and what
/// the handler was asked.
async fn after(method: Method, uri: &str, headers: &[(&'static str, &str)]) -> (bool, Vec<String>) {
    use std::{convert::Infallible, sync::Mutex};

    use tower::{Layer, ServiceExt, service_fn};

    let checker = checker_fn(
        |parts: &Parts| match parts.extensions.get::<UserId>() {
            Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(9))),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let impersonation = Impersonation::builder(checker, MemorySink::default())
        .handlers_read_acting_as()
        .sessions(MemorySessions::new())
        .log_out_path("/logout/")
        .build()
        .unwrap();
    let mut request = http::Request::new(String::new());
    request.extensions_mut().insert(user("ada"));
    let (parts, body) = request.into_parts();
    let start = StartRequest::new("ines".parse().unwrap(), "ticket 1");
    let session = impersonation.start(&parts, start).await.unwrap().session.id;

    let mut request = http::Request::from_parts(parts, body);
    *request.method_mut() = method;
    *request.uri_mut() = uri.parse().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let handler = service_fn(move |request: http::Request<String>| {
        let is_acted = request.extensions().get::<ActingAs>().is_some();
        let who = if is_acted { "ines" } else { "ada" };
        seeing
            .lock()
            .unwrap()
            .push(format!("{who} {}", request.uri()));
        async { Ok::<_, Infallible>(Response::new(String::new())) }
    });
    let response = impersonation.layer().layer(handler).oneshot(request);
    assert_eq!(response.await.unwrap().status(), 200, "{uri}");
    let session = impersonation.session(session).await.unwrap().unwrap();
    let reason = session.ended_reason;
    assert!(reason.is_none_or(|reason| reason == EndedReason::AdminLogout));
    let seen = seen.lock().unwrap().clone();
    (reason.is_none(), seen)
}

#[tokio::test]
async fn s4_a_log_out_ends_the_sessions_of_who_sends_it() {
    let none: &[(&str, &str)] = &[];
    let ahead: &[(&str, &str)] = &[("sec-purpose", "prefetch")];
    let tests = [
        // (method, uri, headers, lives on, seen)
        (Method::POST, "/logout", none, false, "ada /logout"),
        (Method::GET, "/logout?to=/", none, false, "ada /logout?to=/"),
        (Method::POST, "/logout/", none, false, "ada /logout/"),
        // From an acted page: the actor's own log-out all the same.
        (Method::POST, "/logout?as=ines", none, false, "ada /logout"),
        // Nobody logs out by these.
        (Method::HEAD, "/logout", none, true, "ada /logout"),
        (Method::OPTIONS, "/logout", none, true, "ada /logout"),
        (Method::GET, "/logout", ahead, true, "ada /logout"),
        (Method::POST, "/logouts", none, true, "ada /logouts"),
        (Method::POST, "/logout/help", none, true, "ada /logout/help"),
        (Method::POST, "/", none, true, "ada /"),
        (Method::GET, "/?as=ines", none, true, "ines /"),
    ];
    for (method, uri, headers, lives_on, seen) in tests {
        let what = format!("{method} {uri}");
        let after = after(method, uri, headers).await;
        assert_eq!(after, (lives_on, vec![seen.to_owned()]), "{what}");
    }
}

/// A store that cannot end anything.
#[tokio::test]
async fn s4_a_log_out_that_ends_nothing_is_no_log_out() {
    use tower::{Layer, ServiceExt, service_fn};

    let checker = checker_async_fn(
        |_| async { Err("the database is down".into()) },
        |_, _, _| async { Ok(Decision::deny("nobody")) },
    );
    let impersonation = Impersonation::builder(checker, MemorySink::default())
        .handlers_read_acting_as()
        .sessions(MemorySessions::new())
        .log_out_path("/logout")
        .build()
        .unwrap();
    let handler = service_fn(|_: http::Request<String>| async {
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let site = impersonation.layer().layer(handler);
    for (uri, status) in [("/logout", 503), ("/", 200)] {
        let request = http::Request::post(uri).body(String::new()).unwrap();
        let response = site.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{uri}");
    }
}

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}
