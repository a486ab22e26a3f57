//! Where the web side meets the core and other routers.
#![cfg(feature = "full")]
#![allow(clippy::unwrap_used)]

use axum::{Router, body::Body};
use http::{Request, Response, StatusCode, request::Parts};
use tower::ServiceExt as _;
use tower_impersonation::{
    Actor, Caller, Decision, DirectoryUser, Grant, Impersonation, MemoryDirectory, Rank, Rejection,
    RejectionKind, StartRequest, Subject, UserId,
    audit::{EventName, MemorySink},
    checker_fn,
    session::MemorySessions,
};
use tower_impersonation_web::{console, control, page};

/// Ids that begin with `a` are admins.
fn handle(sink: MemorySink) -> Impersonation {
    let checker = checker_fn(
        |parts| match parts.extensions.get::<UserId>() {
            Some(id) if id.as_str().starts_with('a') => {
                Caller::Admin(Actor::new(id.clone(), Rank(20)))
            }
            Some(id) => Caller::User(id.clone()),
            None => Caller::Anonymous,
        },
        |_, subject, _| match subject.as_str() {
            "kim" => Decision::deny("not kim"),
            _ => Decision::Allow(Grant::read_only()),
        },
    );
    let users = ["ines", "kim"].map(|id| DirectoryUser::new(id.parse().unwrap(), Rank(0)));
    Impersonation::builder(checker, sink)
        .handlers_read_acting_as()
        .directory(users.into_iter().collect::<MemoryDirectory>())
        .sessions(MemorySessions::new())
        .control_path("/impersonation")
        .build()
        .unwrap()
}

fn by(id: &str, path: &str) -> Request<Body> {
    let request = Request::get(path).extension(id.parse::<UserId>().unwrap());
    request.body(Body::empty()).unwrap()
}

fn parts(id: &str) -> Parts {
    by(id, "/").into_parts().0
}

fn names(sink: &MemorySink) -> Vec<EventName> {
    sink.events().iter().map(|event| event.name).collect()
}

#[tokio::test]
async fn the_routers_fit_into_a_router_with_any_state() {
    let impersonation = handle(MemorySink::default());
    let app: Router<String> = Router::new()
        .nest("/impersonation", control(&impersonation))
        .nest("/admin", console(&impersonation))
        .nest("/assets", page::assets());
    let app: Router = app.with_state("a state".to_owned());
    for path in [
        "/impersonation",
        "/admin",
        "/assets/page.js",
        "/impersonation/page.css",
    ] {
        let response = app.clone().oneshot(by("ada", path)).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn a3_asking_what_could_be_started_is_no_attempt() {
    let sink = MemorySink::default();
    let impersonation = handle(sink.clone());
    let (parts, kim) = (parts("ada"), "kim".parse().unwrap());
    let admin = impersonation.admin(&parts).await.unwrap();
    let ines: Subject = "ines".parse().unwrap();
    let (grant, user) = admin.could_start(&ines).await.unwrap().unwrap();
    assert_eq!((grant, user.is_some()), (Grant::read_only(), true));
    assert!(admin.could_start(&kim).await.unwrap().is_none());
    impersonation.trail().flush().await.unwrap();
    assert_eq!(names(&sink), []);

    let refused = admin.may_start(&kim).await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Denied);
    impersonation.trail().flush().await.unwrap();
    assert_eq!(names(&sink), [EventName::Denied]);
}

#[tokio::test]
async fn s5_who_is_signed_in_may_be_an_admin_or_not_any_more() {
    let sink = MemorySink::default();
    let impersonation = handle(sink.clone());
    let (ada, mia) = (parts("ada"), parts("mia"));
    let signed_in = impersonation.signed_in(&ada).await.unwrap();
    let admin = signed_in.admin().unwrap();
    let start = StartRequest::new("ines".parse().unwrap(), "ticket 4711");
    admin.start(start).await.unwrap();
    assert_eq!(signed_in.active(10).await.unwrap().len(), 1);

    let signed_in = impersonation.signed_in(&mia).await.unwrap();
    assert!(signed_in.admin().is_none());
    let not_admin = Rejection::new(RejectionKind::NotAdmin, "no admin");
    let _ = signed_in.refuse(None, not_admin);
    impersonation.trail().flush().await.unwrap();
    let events = sink.events();
    let last = events.last().unwrap();
    assert_eq!(last.name, EventName::PrivilegeViolation);
    assert_eq!(last.actor, Some("mia".parse().unwrap()));
}

#[test]
fn r17_a_page_of_ones_own_carries_what_every_refusal_carries() {
    let impersonation = handle(MemorySink::default());
    let rejection = Rejection::new(RejectionKind::InvalidToken, "old");
    let sealed = impersonation.sealed(rejection, Response::new("a page".into()));
    assert_eq!(&**sealed.body(), b"a page");
    assert_eq!(sealed.headers()["cache-control"], "no-store");
    assert!(sealed.headers().contains_key("www-authenticate"));
    let kind = sealed.extensions().get().map(Rejection::kind);
    assert_eq!(kind, Some(RejectionKind::InvalidToken));
}
