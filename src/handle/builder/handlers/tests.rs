#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST},
    request::Parts,
};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    Actor, Caller, ConfigError, Decision, DirectoryUser, Grant, Impersonation, ImpersonationLayer,
    MemoryDirectory, Rank, UserId,
    audit::{MemorySink, TracingSink},
    checker_fn,
    clock::ManualClock,
};

/// What the host's authentication leaves in the extensions.
#[derive(Debug, Clone, PartialEq)]
struct User(&'static str);

/// What the directory knows of a user.
#[derive(Debug, Clone, PartialEq)]
struct Record(u32);

/// What a handler sees of a request.
#[derive(Debug, Default, Clone, PartialEq)]
struct Seen {
    user: Option<User>,
    shared: Option<Arc<User>>,
    record: Option<Record>,
    authorization: Vec<HeaderValue>,
    cookie: Option<HeaderValue>,
    acting_as: bool,
    uri: String,
}

/// A layer around a handler that keeps what it sees.
struct Site {
    impersonation: Impersonation,
    seen: Arc<Mutex<Vec<Seen>>>,
    trail: MemorySink,
}

fn undecided(trail: MemorySink) -> Builder {
    let checker = checker_fn(
        |parts: &Parts| match parts.extensions.get::<UserId>() {
            Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_write()),
    );
    let users = ["ines", "otto"].map(|id| DirectoryUser::new(id.parse().unwrap(), Rank(0)));
    let [ines, otto] = users;
    let users: MemoryDirectory = [ines.with_data(Record(7)), otto].into_iter().collect();
    Impersonation::builder(checker, trail).directory(users)
}

fn refused(builder: Builder) -> String {
    builder.build().unwrap_err().to_string()
}

impl Site {
    fn with(decide: impl FnOnce(Builder) -> Builder) -> Self {
        let trail = MemorySink::default();
        Self {
            impersonation: decide(undecided(trail.clone())).build().unwrap(),
            seen: Arc::default(),
            trail,
        }
    }

    /// What came of a request, and what the handler saw.
    async fn send(&self, request: Request<String>) -> (StatusCode, Option<Seen>) {
        self.seen.lock().unwrap().clear();
        let seen = self.seen.clone();
        let handler = service_fn(move |request: Request<String>| {
            let (parts, _) = request.into_parts();
            let all = |name| parts.headers.get_all(name).iter().cloned().collect();
            seen.lock().unwrap().push(Seen {
                user: parts.extensions.get().cloned(),
                shared: parts.extensions.get().cloned(),
                record: parts.extensions.get().cloned(),
                authorization: all(AUTHORIZATION),
                cookie: parts.headers.get(COOKIE).cloned(),
                acting_as: parts.extensions.get::<ActingAs>().is_some(),
                uri: parts.uri.to_string(),
            });
            async { Ok::<_, Infallible>(Response::new(String::new())) }
        });
        let response = self.impersonation.layer().layer(handler).oneshot(request);
        let status = response.await.unwrap().status();
        let mut seen = self.seen.lock().unwrap();
        assert!(seen.len() <= 1, "the handler ran twice");
        (status, seen.pop())
    }
}

/// A request of ada, who is an admin.
fn request(uri: &str) -> Request<String> {
    let mut request = Request::get(uri)
        .header(AUTHORIZATION, "Bearer ada")
        .header(AUTHORIZATION, "Basic ada")
        .header(COOKIE, "login=ada")
        .body(String::new())
        .unwrap();
    let ada: UserId = "ada".parse().unwrap();
    request.extensions_mut().insert(ada);
    request.extensions_mut().insert(User("ada"));
    request
}

/// What is logged meanwhile, on this thread.
async fn logged<T>(work: impl Future<Output = T>) -> (T, String) {
    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let done = work.await;
    drop(guard);
    let log = log.0.lock().unwrap().clone();
    (done, String::from_utf8(log).unwrap())
}

async fn subject_as_user(acting_as: ActingAs) -> Result<Option<User>, BoxError> {
    Ok(acting_as.subject().user_id().map(|_| User("ines")))
}

fn bearer(_: ActingAs) -> std::future::Ready<Result<Option<HeaderValue>, BoxError>> {
    std::future::ready(Ok(Some(HeaderValue::from_static("Bearer ines"))))
}

// === build ===

#[test]
fn r14_nothing_is_built_until_somebody_decides_what_handlers_see() {
    let trail = MemorySink::default;
    let error = undecided(trail()).build().unwrap_err();
    assert_eq!(error, ConfigError::HandlersUndecided);
    let text = error.to_string();
    for decision in [
        "`assume`",
        "`assume_data`",
        "`assume_from`",
        "`assume_header`",
        "`handlers_read_acting_as`",
    ] {
        assert!(text.contains(decision), "{decision}: {text}");
    }

    let decided: [Builder; 6] = [
        undecided(trail()).assume(subject_as_user),
        undecided(trail()).assume_data::<Record>(),
        undecided(trail()).assume_from(|_, old: Option<User>| async { Ok(old) }),
        undecided(trail()).assume_header(AUTHORIZATION, bearer),
        undecided(trail()).assume_new(subject_as_user),
        undecided(trail()).handlers_read_acting_as(),
    ];
    for builder in decided {
        assert!(builder.build().is_ok());
    }
    // The short way has decided, and its docs say how.
    let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let _layer = ImpersonationLayer::new(checker, TracingSink);
}

#[test]
fn r14_one_place_is_decided_on_once() {
    let builder = || undecided(MemorySink::default()).assume(subject_as_user);
    let user = "the extension `tower_impersonation::handle::builder::handlers::tests::User`";
    let tests = [
        (builder().assume(subject_as_user), "assume"),
        (builder().assume_data::<User>(), "assume_data"),
        (builder().assume_new(subject_as_user), "assume_new"),
        (
            builder().assume_from(|_, old: Option<User>| async { Ok(old) }),
            "assume_from",
        ),
    ];
    for (builder, setting) in tests {
        let expected = format!("`assume` and `{setting}` both replace {user}");
        assert_eq!(refused(builder), expected);
    }
    let twice = builder()
        .assume_header(AUTHORIZATION, bearer)
        .assume_header(AUTHORIZATION, bearer);
    let expected = "`assume_header` and `assume_header` both replace the header `authorization`";
    assert_eq!(refused(twice), expected);
    // Different types are different places.
    assert!(builder().assume_data::<Record>().build().is_ok());
}

#[test]
fn r14_a_record_needs_a_directory() {
    let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let builder = Impersonation::builder(checker, MemorySink::default()).assume_data::<User>();
    assert_eq!(refused(builder), "`assume_data` needs `directory`");
}

#[test]
fn r9_no_marker_is_assumed() {
    let builder = || undecided(MemorySink::default());
    for name in [
        "act-as",
        "act-as-reason",
        "act-as-else",
        "acted-as",
        "impersonation-token",
    ] {
        let name = HeaderName::from_static(name);
        let expected = format!(
            "`assume_header({:?})` must not be the header of a marker or of a token",
            name.as_str()
        );
        let builder = builder().header("x-as").assume_header(name, bearer);
        assert_eq!(refused(builder), expected);
    }
    for name in ["x-as", "x-as-reason"] {
        let name = HeaderName::from_static(name);
        let builder = builder().header("X-As").assume_header(name, bearer);
        assert!(refused(builder).contains("of a marker"));
    }
    // `ActingAs` itself would be someone else's word.
    let assumed = builder().assume(|acting_as| async move { Ok(Some(acting_as)) });
    assert_eq!(refused(assumed), "`assume` must not replace `ActingAs`");
}

#[test]
fn r10_no_header_is_assumed_that_makes_another_request() {
    for name in [
        CONTENT_LENGTH,
        HOST,
        HeaderName::from_static("transfer-encoding"),
        HeaderName::from_static("x-http-method-override"),
        HeaderName::from_static("upgrade"),
    ] {
        let builder = undecided(MemorySink::default()).assume_header(name, bearer);
        assert!(refused(builder).ends_with("must not be a header that carries the request itself"));
    }
}

// === what handlers see ===

#[tokio::test]
async fn r14_a_type_is_replaced_or_removed() {
    let site = Site::with(|builder| builder.assume(subject_as_user));
    let (status, seen) = site.send(request("/?as=ines")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen.unwrap().user, Some(User("ines")));
    // Removing is fine: the visitor is nobody.
    let (_, seen) = site.send(request("/?as=~anon")).await;
    assert_eq!(seen.unwrap().user, None);
    let (_, seen) = site.send(request("/")).await;
    assert_eq!(seen.unwrap().user, Some(User("ada")));
}

#[tokio::test]
async fn r14_the_record_of_the_directory_is_taken_as_it_is() {
    let site = Site::with(Builder::assume_data::<Record>);
    let with_record = |uri| {
        let mut request = request(uri);
        request.extensions_mut().insert(Record(1));
        request
    };
    let (_, seen) = site.send(with_record("/?as=ines")).await;
    assert_eq!(seen.unwrap().record, Some(Record(7)));
    let (_, seen) = site.send(with_record("/?as=~anon")).await;
    assert_eq!(seen.unwrap().record, None);

    // Otto's has none: that is nobody's data, and not ada's.
    let ((status, seen), log) = logged(site.send(with_record("/?as=otto"))).await;
    assert_eq!((status, seen), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert!(log.contains("Record") && log.contains("with_data"), "{log}");
}

#[tokio::test]
async fn r14_a_value_is_made_from_the_old_one() {
    let site = Site::with(|builder| {
        builder.assume_from(|acting_as, old: Option<User>| async move {
            assert_eq!(old, Some(User("ada")));
            Ok(acting_as.subject().user_id().map(|_| User("ines, by ada")))
        })
    });
    let (_, seen) = site.send(request("/?as=ines")).await;
    assert_eq!(seen.unwrap().user, Some(User("ines, by ada")));
    let (_, seen) = site.send(request("/?as=~anon")).await;
    assert_eq!(seen.unwrap().user, None);
}

#[tokio::test]
async fn r14_a_header_is_replaced_with_all_its_values_or_removed() {
    let site = Site::with(|builder| {
        builder
            .assume_header(AUTHORIZATION, bearer)
            .assume_header(COOKIE, |_| async { Ok(None) })
    });
    let (status, seen) = site.send(request("/?as=ines")).await;
    let seen = seen.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen.authorization, ["Bearer ines"]);
    assert_eq!(seen.cookie, None);
    let (_, seen) = site.send(request("/")).await;
    assert_eq!(seen.unwrap().authorization, ["Bearer ada", "Basic ada"]);
}

#[tokio::test]
async fn r14_what_was_not_there_is_refused_and_the_log_names_it() {
    struct Test {
        name: &'static str,
        site: Site,
        /// What else is on the request.
        and: fn(&mut Request<String>),
        logged: &'static str,
    }

    let tests = [
        Test {
            name: "no such type",
            site: Site::with(|builder| builder.assume(|_| async { Ok(Some(Record(7))) })),
            and: |_| {},
            logged: "`assume` would replace the extension `tower_impersonation::handle::builder::handlers::tests::\
                     Record`, but the request has none",
        },
        Test {
            name: "no such record",
            site: Site::with(Builder::assume_data::<Record>),
            and: |_| {},
            logged: "`assume_data` would replace the extension `tower_impersonation::handle::builder::handlers::tests::\
                     Record`, but the request has none",
        },
        Test {
            name: "nothing to change",
            site: Site::with(|b| b.assume_from(|_, old: Option<Record>| async { Ok(old) })),
            and: |_| {},
            logged: "`assume_from` would replace the extension",
        },
        Test {
            name: "no such header",
            site: Site::with(|b| b.assume_header(HeaderName::from_static("x-user"), bearer)),
            and: |_| {},
            logged: "`assume_header` would replace the header `x-user`, but the request has none",
        },
        Test {
            name: "an Arc of it",
            site: Site::with(|builder| builder.assume(|_| async { Ok(Some(Record(7))) })),
            and: |request| drop(request.extensions_mut().insert(Arc::new(Record(1)))),
            logged: "but the request has a `alloc::sync::Arc<tower_impersonation::handle::builder::handlers::tests::\
                     Record>`: assume that type",
        },
        Test {
            name: "an Option of it",
            site: Site::with(|builder| builder.assume(|_| async { Ok(Some(Record(7))) })),
            and: |request| {
                request.extensions_mut().insert(Some(Record(1)));
            },
            logged: "but the request has a `core::option::Option<",
        },
        Test {
            name: "an Arc beside it",
            site: Site::with(|builder| builder.assume(subject_as_user)),
            and: |request| drop(request.extensions_mut().insert(Arc::new(User("ada")))),
            logged: "would leave the actor's `alloc::sync::Arc<",
        },
        Test {
            name: "an Arc beside what is said to be new",
            site: Site::with(|builder| builder.assume_new(|_| async { Ok(Some(Record(7))) })),
            and: |request| drop(request.extensions_mut().insert(Arc::new(Record(1)))),
            logged: "but the request has a `alloc::sync::Arc<",
        },
    ];
    for test in tests {
        let name = test.name;
        let mut acted = request("/?as=ines");
        *acted.method_mut() = Method::POST;
        (test.and)(&mut acted);

        let ((status, seen), log) = logged(test.site.send(acted)).await;

        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{name}");
        assert_eq!(seen, None, "{name}");
        assert!(log.contains(test.logged), "{name}: {log}");
        // Nothing was going to happen, so no intent was written (rule A1).
        let _ = test.site.impersonation.trail().flush().await;
        let names = test.site.trail.events();
        let names: Vec<_> = names.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["impersonation.denied"], "{name}");
        // The actor's own requests are nobody's business.
        let (status, seen) = test.site.send(request("/")).await;
        assert_eq!(status, StatusCode::OK, "{name}");
        assert_eq!(seen.unwrap().user, Some(User("ada")), "{name}");
    }
}

#[tokio::test]
async fn r14_two_types_for_one_user_are_both_assumed() {
    let site = Site::with(|builder| {
        let shared = |acting_as| async { Ok(subject_as_user(acting_as).await?.map(Arc::new)) };
        builder.assume(subject_as_user).assume(shared)
    });
    let mut acted = request("/?as=ines");
    acted.extensions_mut().insert(Arc::new(User("ada")));
    let (status, seen) = site.send(acted).await;
    let seen = seen.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen.user, Some(User("ines")));
    assert_eq!(seen.shared.as_deref(), Some(&User("ines")));
}

#[tokio::test]
async fn r14_what_is_new_need_not_have_been_there() {
    let site = Site::with(|builder| {
        builder
            .assume(subject_as_user)
            .assume_new(|_| async { Ok(Some(Record(7))) })
    });
    let (status, seen) = site.send(request("/?as=ines")).await;
    let seen = seen.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(
        (seen.user, seen.record),
        (Some(User("ines")), Some(Record(7)))
    );
}

#[tokio::test]
async fn r14_all_of_it_is_changed_or_nothing() {
    type Fails = fn() -> Result<Option<Record>, BoxError>;
    let fails: [Fails; 2] = [|| Err("no such table".into()), || panic!("host code")];
    for fail in fails {
        let site = Site::with(move |builder| {
            builder
                .assume(subject_as_user)
                .assume_header(AUTHORIZATION, bearer)
                .assume_new(move |_| async move { fail() })
        });
        let (status, seen) = site.send(request("/?as=ines")).await;
        assert_eq!((status, seen), (StatusCode::SERVICE_UNAVAILABLE, None));
    }
}

#[tokio::test]
async fn r13_a_decision_that_hangs_is_refused() {
    let clock = ManualClock::new(time::macros::datetime!(2026-11-20 12:00 UTC));
    let site = Site::with(|builder| {
        let hanging = |_| std::future::pending::<Result<Option<User>, BoxError>>();
        builder.clock(clock.clone()).assume(hanging)
    });
    let advance = async {
        for _ in 0..20 {
            tokio::task::yield_now().await;
            clock.advance(Duration::from_secs(1));
        }
    };
    let ((status, seen), ()) = tokio::join!(site.send(request("/?as=ines")), advance);
    assert_eq!((status, seen), (StatusCode::SERVICE_UNAVAILABLE, None));
}

#[tokio::test]
async fn r9_handlers_that_look_see_no_marker_and_no_change() {
    let site = Site::with(Builder::handlers_read_acting_as);
    let (status, seen) = site.send(request("/orders?as=ines&page=2")).await;
    let expected = Seen {
        user: Some(User("ada")),
        authorization: ["Bearer ada", "Basic ada"]
            .map(HeaderValue::from_static)
            .into(),
        cookie: Some(HeaderValue::from_static("login=ada")),
        acting_as: true,
        uri: "/orders?page=2".to_owned(),
        ..Seen::default()
    };
    assert_eq!((status, seen), (StatusCode::OK, Some(expected)));
}

/// An acting token is a login of its own: beside it nobody need be signed in, and then nothing of the actor's is there to
/// be replaced.
#[cfg(feature = "jwt")]
#[tokio::test]
async fn r14_beside_an_acting_token_alone_there_is_nothing_to_replace() {
    use crate::{StartRequest, checker_async_fn, session::MemorySessions, token::Tokens};

    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let checker = checker_async_fn(
        |parts| {
            let id = parts.extensions.get::<UserId>().cloned();
            async move {
                Ok(id.map_or(Caller::Anonymous, |id| {
                    Caller::Admin(Actor::new(id, Rank(20)))
                }))
            }
        },
        |_, _, _| async { Ok(Decision::Allow(Grant::read_only())) },
    )
    .actor_by_id(|id| async move { Ok(Some(Actor::new(id, Rank(20)))) });
    let trail = MemorySink::default();
    let impersonation = Impersonation::builder(checker, trail.clone())
        .sessions(MemorySessions::new())
        .tokens(Tokens::hs256("shop", "shop", "1", &[7; 32]))
        .assume(subject_as_user)
        .build()
        .unwrap();
    let site = Site {
        impersonation,
        seen: Arc::default(),
        trail,
    };
    let (parts, _) = request("/").into_parts();
    let start = StartRequest::new("ines".parse().unwrap(), "ticket 1");
    let started = site.impersonation.start(&parts, start).await.unwrap();
    let credentials = site.impersonation.hand_out(&started).await.unwrap();
    let token = credentials.access_token.unwrap();
    let with_token = || {
        Request::get("/")
            .header(AUTHORIZATION, format!("Bearer {token}"))
            .body(String::new())
            .unwrap()
    };

    let (status, seen) = site.send(with_token()).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(seen.unwrap().user, Some(User("ines")));

    // With a login of the actor's beside it, the same is a mistake.
    let mut both = with_token();
    let ada: UserId = "ada".parse().unwrap();
    both.extensions_mut().insert(ada);
    let ((status, seen), log) = logged(site.send(both)).await;
    assert_eq!((status, seen), (StatusCode::SERVICE_UNAVAILABLE, None));
    assert!(log.contains("but the request has none"), "{log}");
    // And with their user in another type it is one in any case.
    let mut shared = with_token();
    shared.extensions_mut().insert(Arc::new(User("ada")));
    let (status, seen) = site.send(shared).await;
    assert_eq!((status, seen), (StatusCode::SERVICE_UNAVAILABLE, None));
}
