//! R14, R15, R16: handlers find the subject, responses say whom they show, and an acted request neither acts again nor
//! starts anything.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use tower::{Layer, service_fn};
use tower_impersonation::{
    Access, ActingAs, ChangeRequest, DirectoryUser, RejectionKind, StartRequest,
    session::MemorySessions,
};

use super::Login;
use crate::support::{
    Desk, MINUTE, NOON, Req, customer, desk, desk_with, get, id, parts, sessionless, subject,
};

// === R14, R15 ===

#[tokio::test]
async fn r14_the_host_finds_the_subject_where_its_own_user_was() {
    #[derive(Debug, Clone, PartialEq)]
    struct Roles(Vec<String>);

    let desk = sessionless(|b| {
        b.assume(|acting_as: ActingAs| async move {
            Ok(acting_as
                .subject()
                .user_id()
                .map(|id| Login(id.to_string())))
        })
        .assume(|acting_as: ActingAs| async move {
            let role = acting_as
                .user()
                .and_then(DirectoryUser::role)
                .map(str::to_owned);
            Ok(role.map(|role| Roles(vec![role])))
        })
    });
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = seen.clone();
    let inner = service_fn(move |request: Req| {
        let extensions = request.extensions();
        seeing.lock().unwrap().push((
            extensions.get::<Login>().cloned(),
            extensions.get::<Roles>().cloned(),
            extensions.get::<ActingAs>().is_some(),
        ));
        ready(Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())))
    });
    for target in ["/?as=ines", "/?as=~anon", "/"] {
        let mut request = get("ada", target);
        request.extensions_mut().insert(Login("ada".to_owned()));
        request
            .extensions_mut()
            .insert(Roles(vec!["admin".to_owned()]));
        let reply = desk.send_to(inner.clone(), request).await;
        assert_eq!(reply.acting_as.is_some(), target != "/");
    }
    assert_eq!(
        *seen.lock().unwrap(),
        [
            (
                Some(Login("ines".to_owned())),
                Some(Roles(vec!["customer".to_owned()])),
                true
            ),
            (None, None, true),
            (
                Some(Login("ada".to_owned())),
                Some(Roles(vec!["admin".to_owned()])),
                false
            ),
        ]
    );
}

#[tokio::test]
async fn r14_acting_as_is_in_the_request_and_in_the_response() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    let reply = desk.send(get("ada", "/?as=ines")).await;

    for acting_as in [
        reply.acting_as.unwrap(),
        desk.echo.last().acting_as.unwrap(),
    ] {
        assert_eq!(acting_as.actor().id(), &id("ada"));
        assert_eq!(acting_as.subject(), &subject("ines"));
        assert_eq!(acting_as.access(), Access::ReadWrite);
        assert_eq!(acting_as.session(), Some(&*session));
        assert_eq!(acting_as.reason(), Some("ticket 4711"));
        assert_eq!(
            acting_as.user().and_then(DirectoryUser::login),
            Some("ines@shop.example")
        );
        assert_eq!(acting_as.expires_at(), Some(NOON + MINUTE * 120));
    }
}

#[tokio::test]
async fn r15_acted_responses_say_so_and_are_not_stored() {
    struct Case {
        marker: &'static str,
        subject: &'static str,
        acted_as: &'static str,
    }
    let cases = [
        Case {
            marker: "ines",
            subject: "ines",
            acted_as: "ines",
        },
        Case {
            marker: "~anon",
            subject: "~anon",
            acted_as: "~anon",
        },
        Case {
            marker: "J%C3%BCrgen+%25",
            subject: "Jürgen %",
            acted_as: "J%C3%BCrgen %25",
        },
    ];
    for case in cases {
        for keep in [true, false] {
            let desk = Desk::new(&MemorySessions::new(), keep, |b| b);
            desk.cast.users.insert(customer("Jürgen %"));
            if keep {
                desk.start("ada", case.subject).await.unwrap();
            }
            let inner = service_fn(|_: Req| {
                let response = Response::builder()
                    .status(404)
                    .header(header::CACHE_CONTROL, "public, max-age=60")
                    .header(header::CACHE_CONTROL, "immutable")
                    .header(header::REFERRER_POLICY, "unsafe-url")
                    .header("acted-as", "nobody");
                ready(Ok::<_, Infallible>(
                    response.body(Full::<Bytes>::default()).unwrap(),
                ))
            });
            let reply = desk
                .send_to(inner, get("ada", &format!("/?as={}", case.marker)))
                .await;

            assert_eq!(reply.status, StatusCode::NOT_FOUND, "{}", case.marker);
            let all = |name| reply.headers.get_all(name).iter().collect::<Vec<_>>();
            assert_eq!(all("acted-as"), [case.acted_as], "{}", case.marker);
            assert_eq!(all("cache-control"), ["no-store"], "{}", case.marker);
            assert_eq!(all("referrer-policy"), ["same-origin"], "{}", case.marker);
        }
    }
}

// === R16 ===

#[tokio::test]
async fn r16_an_acted_request_is_not_acted_again() {
    // Two layers around one service: the outer one acts, the inner one finds no marker any more.
    let outer = sessionless(|b| b);
    let inner = sessionless(|b| b);
    let reply = outer
        .send_to(
            inner.handle.layer().layer(inner.echo.clone()),
            get("ada", "/?as=ines"),
        )
        .await;
    assert_eq!(reply.body, "ines by ada");
    assert_eq!(inner.world.count("identify"), 0);

    // With a marker of its own for the inner one, there would be a chain.
    let inner = sessionless(|b| b.query_parameter("then"));
    let reply = outer
        .send_to(
            inner.handle.layer().layer(inner.echo.clone()),
            get("ada", "/?as=ines&then=otto"),
        )
        .await;
    assert_eq!(reply.status, StatusCode::FORBIDDEN);
    assert!(reply.body.contains("\"nested\""), "{}", reply.body);
    assert_eq!(inner.echo.calls(), 0);
    assert_eq!(inner.trail().await, ["denied - otto nested"]);
}

#[tokio::test]
async fn r16_an_acted_request_starts_changes_lists_and_revokes_nothing() {
    let desk = desk_with(|b| b.max_active(5));
    let session = desk.start("root", "ada").await.unwrap().session;
    desk.send(get("root", "/?as=ada")).await;
    let mut acted = parts("root");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());

    let start = StartRequest::new(subject("ines"), "ticket 1");
    let change = ChangeRequest::new("ticket 2").with_access(Access::ReadWrite);
    let kinds = [
        desk.handle.start(&acted, start).await.unwrap_err().kind(),
        desk.handle
            .change(&acted, &subject("ada"), change)
            .await
            .unwrap_err()
            .kind(),
        desk.handle
            .revoke(&acted, session.id)
            .await
            .unwrap_err()
            .kind(),
        desk.handle
            .list(&acted, Default::default(), Default::default())
            .await
            .unwrap_err()
            .kind(),
    ];

    assert_eq!(kinds, [RejectionKind::Nested; 4]);
    assert_eq!(desk.active().await.len(), 1);
    let trail = desk.trail().await;
    assert!(
        trail.contains(&"denied root ines nested".to_owned()),
        "{trail:?}"
    );
}
