//! R19: the end of a session cuts its streaming bodies and wakes the handlers that wait for it; nothing else is cut.

use std::{
    convert::Infallible,
    future::ready,
    pin::{Pin, pin},
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};
use tower_impersonation::{
    Impersonation, Rejection, RejectionKind, SessionOver, StartRequest,
    session::{EndedReason, Session},
};

use crate::support::{
    Desk, MINUTE, Req, desk, fetch, get, id, parts, post, serve, sessionless, still_waits, subject,
};

/// A body of whatever is sent to it.
struct Channel(mpsc::UnboundedReceiver<&'static str>);

impl Body for Channel {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let text = self.0.poll_recv(cx);
        text.map(|text| text.map(|text| Ok(Frame::data(Bytes::from_static(text.as_bytes())))))
    }
}

/// A body that always has more.
struct Endless;

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"more")))))
    }
}

type Ending = fn(&Desk, &Session) -> Pin<Box<dyn Future<Output = ()>>>;

/// Every way for a session to end while a response is under way.
fn endings() -> [(&'static str, Ending); 5] {
    [
        ("stopped", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move { drop(desk.handle.stop(&parts("ada")).await.unwrap()) })
        }),
        ("revoked", |desk, session| {
            let (desk, id) = (desk.clone(), session.id);
            Box::pin(async move { drop(desk.handle.revoke(&parts("root"), id).await.unwrap()) })
        }),
        ("over", |desk, _| {
            desk.clock.advance(MINUTE * 10);
            Box::pin(async {})
        }),
        ("logged out", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move { drop(desk.handle.log_out(&id("ada")).await.unwrap()) })
        }),
        ("demoted", |desk, _| {
            let desk = desk.clone();
            Box::pin(async move {
                desk.cast.dismiss("ada");
                desk.send(get("ada", "/?as=ines")).await;
            })
        }),
    ]
}

async fn ten_minutes(desk: &Desk) -> Arc<Session> {
    let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 10);
    desk.started(&parts("ada"), start).await
}

#[tokio::test]
async fn r19_a_streaming_body_is_cut_when_its_session_ends() {
    for (name, ending) in endings() {
        let desk = desk();
        let session = ten_minutes(&desk).await;
        let (sender, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        let inner = service_fn(move |_: Request<hyper::body::Incoming>| {
            let body = Channel(receiver.lock().unwrap().take().unwrap());
            ready(Ok::<_, Infallible>(Response::new(body)))
        });
        let address = serve(desk.handle.layer().layer(inner)).await;

        let mut body = fetch(address, get("ada", "/?as=ines")).await.into_body();
        sender.send("one").unwrap();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one", "{name}");
        ending(&desk, &session).await;
        let _ = sender.send("two");
        let cut = body.frame().await;

        // An error, and neither more data nor a clean end.
        assert!(matches!(cut, Some(Err(_))), "{name}: {cut:?}");
    }
}

#[tokio::test]
async fn r19_a_body_that_never_has_to_wait_is_cut_as_well() {
    for (name, ending) in endings() {
        let desk = desk();
        let session = ten_minutes(&desk).await;
        let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
        let response = desk
            .handle
            .layer()
            .layer(inner)
            .oneshot(get("ada", "/?as=ines"));
        let mut body = response.await.unwrap().into_body();
        assert!(body.frame().await.unwrap().is_ok(), "{name}");

        ending(&desk, &session).await;

        let cut = body.frame().await.unwrap();
        let error = cut.expect_err(name);
        assert!(error.is::<SessionOver>(), "{name}: {error}");
    }
}

#[tokio::test]
async fn r19_a_handler_can_wait_for_the_end() {
    for (name, ending) in endings() {
        let desk = desk();
        let session = ten_minutes(&desk).await;
        desk.send(get("ada", "/?as=ines")).await;
        let acting_as = desk.echo.last().acting_as.unwrap();
        let mut ended = pin!(acting_as.ended());
        still_waits(ended.as_mut()).await;

        ending(&desk, &session).await;

        let reason = ended.await;
        let expected = match name {
            "stopped" => EndedReason::Manual,
            "revoked" => EndedReason::SessionRevoked,
            "over" => EndedReason::Timeout,
            "logged out" => EndedReason::AdminLogout,
            _ => EndedReason::ActorDemoted,
        };
        assert_eq!(reason, expected, "{name}");
    }
}

#[tokio::test]
async fn r19_an_end_that_overtakes_the_first_look_at_the_session_still_cuts() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    // The store has answered, and the session ends before the answer is there.
    let gate = desk.world.gate("answer");
    let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
    let mut sending = pin!(
        desk.handle
            .layer()
            .layer(inner)
            .oneshot(get("ada", "/?as=ines"))
    );
    still_waits(sending.as_mut()).await;
    desk.handle
        .revoke(&parts("root"), session.id)
        .await
        .unwrap();
    gate.add_permits(1);

    let response = sending.await.unwrap();

    let kind = response
        .extensions()
        .get::<Rejection>()
        .map(Rejection::kind);
    assert_eq!(kind, Some(RejectionKind::NoSession));
}

#[tokio::test]
async fn r19_the_answer_to_a_stop_arrives_whole() {
    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let handle: Impersonation = desk.handle.clone();
    let inner = service_fn(move |request: Request<hyper::body::Incoming>| {
        let handle = handle.clone();
        async move {
            let (parts, _) = request.into_parts();
            let ended = handle.stop(&parts).await.unwrap();
            Ok::<_, Infallible>(Response::new(Full::from(format!(
                "ended {}",
                ended.sessions.len()
            ))))
        }
    });
    let address = serve(desk.handle.layer().layer(inner)).await;

    let response = fetch(address, post("ada", "/exit?as=ines")).await;

    assert_eq!(response.status(), StatusCode::OK);
    let body = response
        .into_body()
        .collect()
        .await
        .expect("whole")
        .to_bytes();
    assert_eq!(body, "ended 1");
    assert_eq!(desk.active().await.len(), 0);
}

#[tokio::test]
async fn r19_without_a_session_nothing_is_cut() {
    let desk = sessionless(|b| b);
    let inner = service_fn(|_: Req| ready(Ok::<_, Infallible>(Response::new(Endless))));
    let response = desk
        .handle
        .layer()
        .layer(inner)
        .oneshot(get("ada", "/?as=ines"));
    let mut body = response.await.unwrap().into_body();
    desk.clock.advance(MINUTE * 600);

    assert!(body.frame().await.unwrap().is_ok());
}
