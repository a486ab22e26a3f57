//! The layer as a citizen of tower: readiness, permits, bodies and errors of the inner service stay as they are, and
//! requests at the same time never mix.

use std::{
    convert::Infallible,
    future::{Ready, poll_fn, ready},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_impersonation::ActingAs;

use crate::support::{Req, desk, desk_with, each_sees_its_own, get, sessionless, who};

// === The tower part ===

#[tokio::test]
async fn the_layer_takes_bodies_that_are_not_sync() {
    struct NotSync(std::cell::Cell<Option<Bytes>>);

    impl Body for NotSync {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }

    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    for target in ["/", "/?as=ines", "/?as=otto"] {
        let inner = service_fn(|request: Request<NotSync>| {
            let body = request.into_body();
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
        let body = NotSync(std::cell::Cell::new(Some(Bytes::from_static(b"it"))));
        let (parts, _) = get("ada", target).into_parts();
        let sending = desk
            .handle
            .layer()
            .layer(inner)
            .oneshot(Request::from_parts(parts, body));
        // It can be sent to another thread.
        let response = tokio::spawn(sending).await.unwrap().unwrap();
        let whole = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(whole == "it", target != "/?as=otto");
    }
}

/// Ready only after it was asked, one permit per call, as `tower::limit` does it: a clone has to ask anew.
struct Limited {
    permits: Arc<AtomicUsize>,
    holds: bool,
    called: Arc<AtomicUsize>,
}

impl Clone for Limited {
    fn clone(&self) -> Self {
        Self {
            permits: self.permits.clone(),
            holds: false,
            called: self.called.clone(),
        }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        if self.holds {
            self.permits.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Service<Req> for Limited {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if !self.holds {
            if self.permits.load(Ordering::SeqCst) == 0 {
                return Poll::Pending;
            }
            self.permits.fetch_sub(1, Ordering::SeqCst);
            self.holds = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(self.holds, "called before it was ready");
        self.holds = false;
        self.permits.fetch_add(1, Ordering::SeqCst);
        self.called.fetch_add(1, Ordering::SeqCst);
        ready(Ok(Response::new(Full::default())))
    }
}

#[tokio::test]
async fn the_service_calls_only_what_was_ready_and_gives_every_permit_back() {
    let desk = desk_with(|b| b.exclude("/admin"));
    desk.start("ada", "ines").await.unwrap();
    let permits = Arc::new(AtomicUsize::new(1));
    let called = Arc::new(AtomicUsize::new(0));
    let limited = Limited {
        permits: permits.clone(),
        holds: false,
        called: called.clone(),
    };
    let mut service = desk.handle.layer().layer(limited);
    // One service for all, as a connection has it.
    for target in [
        "/?as=ines",
        "/",
        "/?as=otto",
        "/admin?as=ines",
        "/?as=",
        "/?as=ines",
        "/",
    ] {
        poll_fn(|cx| Service::<Req>::poll_ready(&mut service, cx))
            .await
            .unwrap();
        assert_eq!(permits.load(Ordering::SeqCst), 0, "{target}");
        service.call(get("ada", target)).await.unwrap();
    }
    assert_eq!(called.load(Ordering::SeqCst), 5);
    drop(service);
    assert_eq!(permits.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_service_waits_for_its_inner_one() {
    let desk = sessionless(|b| b);
    let (mut service, mut inner) =
        tower_test::mock::spawn_layer::<Req, Response<Full<Bytes>>, _>(desk.handle.layer());
    inner.allow(0);
    assert!(service.poll_ready().is_pending());
    inner.allow(1);
    assert!(service.poll_ready().is_ready());
    let sending = service.call(get("ada", "/?as=ines"));
    let answering = async {
        let (request, send) = inner.next_request().await.unwrap();
        assert!(request.extensions().get::<ActingAs>().is_some());
        send.send_response(Response::new(Full::default()));
    };
    let (response, ()) = tokio::join!(sending, answering);
    assert_eq!(response.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn an_axum_router_serves_the_subject_inside_and_around() {
    use axum::{Extension, Router, routing::get as route};

    let desk = desk();
    desk.start("ada", "ines").await.unwrap();
    let router = || {
        Router::new().route(
            "/orders/{id}",
            route(|acting_as: Option<Extension<ActingAs>>| async move {
                who(acting_as.map(|Extension(acting_as)| acting_as).as_ref())
            }),
        )
    };
    let around = desk.handle.layer().layer(router());
    let inside = router().layer(desk.handle.layer());
    for (target, body) in [
        ("/orders/7?as=ines", "ines by ada"),
        ("/orders/7", "themselves"),
    ] {
        let request = get("ada", target).map(axum::body::Body::new);
        let response = around.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            body
        );

        let request = get("ada", target).map(axum::body::Body::new);
        let response = inside.clone().oneshot(request).await.unwrap();
        assert_eq!(
            response.into_body().collect().await.unwrap().to_bytes(),
            body
        );
    }
}

#[tokio::test]
async fn an_error_of_the_inner_service_stays_its_error() {
    let desk = sessionless(|b| b);
    let inner = service_fn(|_: Req| ready(Err::<Response<Full<Bytes>>, _>("inner")));
    let sent = desk
        .handle
        .layer()
        .layer(inner)
        .oneshot(get("ada", "/?as=ines"))
        .await;
    assert_eq!(sent.err(), Some("inner"));
    assert_eq!(desk.trail().await, ["request ada ines GET / failed"]);
}

// === Nobody sees another's ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_requests_at_once_each_see_their_own_pair() {
    each_sees_its_own().await;
}
