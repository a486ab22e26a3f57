//! A2, A3: every acted request has exactly one outcome, and a refused attempt is an event that names the subject.

use std::{
    future::{Future, pending, ready},
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    RejectionKind,
    audit::{EventName, Outcome},
};

use crate::support::{Req, ask, desk, desk_with, get, line, post, still_waits};

// === A2 ===

#[tokio::test]
async fn a2_every_acted_request_has_one_outcome_whatever_becomes_of_it() {
    type Inner = tower::util::BoxCloneService<Req, Response<Full<Bytes>>, &'static str>;

    struct Case {
        name: &'static str,
        inner: fn() -> Inner,
        outcome: &'static str,
    }
    let cases = [
        Case {
            name: "an answer",
            inner: || Inner::new(service_fn(|_| ready(Ok(Response::new(Full::default()))))),
            outcome: "completed 200",
        },
        Case {
            name: "an answer that says no",
            inner: || {
                Inner::new(service_fn(|_| {
                    let response = Response::builder().status(500).body(Full::default());
                    ready(Ok(response.unwrap()))
                }))
            },
            outcome: "completed 500",
        },
        Case {
            name: "a panic",
            inner: || Inner::new(service_fn(|_| async { panic!("handler") })),
            outcome: "failed",
        },
        Case {
            name: "a panic before there is a future",
            inner: || {
                Inner::new(service_fn(|_| -> std::future::Ready<_> {
                    panic!("handler")
                }))
            },
            outcome: "failed",
        },
        Case {
            name: "an error",
            inner: || Inner::new(service_fn(|_| ready(Err("inner")))),
            outcome: "failed",
        },
        Case {
            name: "the client goes away",
            inner: || Inner::new(service_fn(|_| pending())),
            outcome: "cancelled",
        },
    ];
    for case in cases {
        let name = case.name;
        for method in ["GET", "POST"] {
            let desk = desk();
            desk.start("ada", "ines").await.unwrap();
            let layer = desk.handle.layer();
            let sending = layer
                .layer((case.inner)())
                .oneshot(ask(method, "ada", "/?as=ines"));
            let mut sending: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(sending);
            // Whoever has no answer after a while goes away.
            let sending = tokio::spawn(async move {
                for _ in 0..100 {
                    let polled = std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx)));
                    if polled.await.is_ready() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
            let panicked = sending.await.is_err();

            // A panic goes on to whoever runs the service.
            assert_eq!(panicked, name.starts_with("a panic"), "{name}");
            let events = desk.events().await;
            let requests: Vec<_> = events
                .iter()
                .filter(|event| event.name == EventName::Request)
                .collect();
            let (outcome, intents) = requests.split_last().unwrap();
            let expected = format!("request ada ines {method} / {}", case.outcome);
            assert_eq!(line(outcome), expected, "{name}");
            assert_eq!(intents.len(), usize::from(method == "POST"), "{name}");
            for intent in intents {
                assert_eq!(intent.outcome, Some(Outcome::Intent), "{name}");
                assert_eq!(intent.id, outcome.id, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a2_a_client_that_goes_away_before_the_handler_leaves_its_outcome_too() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let gate = desk.world.gate("write");
    {
        let mut sending = pin!(desk.send(post("ada", "/?as=ines")));
        still_waits(sending.as_mut()).await;
    }
    gate.add_permits(100);

    assert_eq!(
        desk.trail().await,
        [
            "start ada ines",
            "request ada ines POST / intent",
            "request ada ines POST / cancelled",
        ]
    );
    assert_eq!(desk.echo.calls(), 0);
}

// === A3 ===

#[tokio::test]
async fn a3_refused_attempts_are_events_with_the_subject_that_was_asked_for() {
    let desk = desk_with(|b| b.protect("/password"));
    desk.start("sam", "ines").await.unwrap();
    for (request, expected) in [
        (get("", "/?as=ines"), "denied - ines unauthenticated"),
        (
            get("mia", "/?as=root"),
            "privilege_violation mia root not_admin",
        ),
        (get("ada", "/?as=root"), "denied ada root no_session"),
        (
            get("sam", "/?as=~service"),
            "denied sam ~service service_right",
        ),
        (post("sam", "/?as=ines"), "denied sam ines read_only"),
        (get("sam", "/password?as=ines"), "denied sam ines protected"),
        (get("ada", "/?as="), "denied - - malformed_marker"),
    ] {
        let reply = desk.send(request).await;
        let events = desk.events().await;
        let event = events.last().unwrap();
        assert_eq!(line(event), expected);
        assert_eq!(event.status, Some(reply.status.as_u16()));
        assert!(event.path.is_some() && event.method.is_some(), "{event:?}");
    }
    let refused = desk.start("ada", "root").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Denied);
    assert_eq!(desk.trail().await.last().unwrap(), "denied ada root rank");
}
