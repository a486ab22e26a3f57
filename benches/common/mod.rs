//! What the benches share: one small application, requests as browsers send them, and the layers around it.

// Each bench uses its own part of this.
#![allow(dead_code)]

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header::CONTENT_TYPE, request::Parts};
use http_body::Body;
use http_body_util::Full;
use tower::{Layer, Service};
use tower_http::csrf::CsrfLayer;
use tower_impersonation::{
    Actor, BoxError, Caller, Decision, Grant, Impersonation, Rank, StartRequest, Subject, UserId,
    audit::{AuditEvent, AuditSink},
    checker_fn,
    session::{Cached, MemorySessions, SessionStore},
};

pub(crate) type Request = http::Request<()>;

/// What is measured: answers one request, with everything around it, and reads the whole body.
pub(crate) type Answer = Box<dyn FnMut(Request)>;

/// Eight headers as a browser sends them.
const EIGHT: [(&str, &str); 8] = [
    ("host", "shop.example"),
    ("connection", "keep-alive"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    ("cookie", "sid=b1946ac92492d2347c6235b4d2611184; theme=dark"),
    ("sec-fetch-site", "same-origin"),
];

/// Twelve more, as behind a proxy.
const TWELVE: [(&str, &str); 12] = [
    (
        "sec-ch-ua",
        "\"Chromium\";v=\"156\", \"Not)A;Brand\";v=\"24\"",
    ),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-user", "?1"),
    ("sec-fetch-dest", "document"),
    ("upgrade-insecure-requests", "1"),
    ("referer", "https://shop.example/orders"),
    ("if-none-match", "W/\"5f3-18c2a4b7e10\""),
    ("cache-control", "max-age=0"),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-request-id", "01990f3c-7a80-7c11-8d5e-0242ac120002"),
];

pub(crate) const PLAIN: &str = "/orders/4711";
/// 62 bytes of query without the marker's name anywhere.
pub(crate) const QUERY: &str =
    "/orders/4711?page=2&sort=newest&status=open&owner=me&limit=50&view=full&n=1";
/// 62 bytes with `as` inside of other words.
pub(crate) const QUERY_WITH_AS: &str =
    "/orders/4711?page=2&sort=price&status=last&assigned=me&n=50&basket=7&fast=1";
/// 62 bytes with percent-encoding in a value.
pub(crate) const QUERY_WITH_PERCENT: &str =
    "/orders/4711?page=2&q=red%20shoes&status=open&owner=me&limit=5000&view=full";
pub(crate) const MARKED: &str = "/orders/4711?as=u-1001";

/// A request for this path, with eight headers, from an admin who is signed in.
pub(crate) fn request(path: &'static str) -> Request {
    let mut request = http::Request::new(());
    *request.uri_mut() = http::Uri::from_static(path);
    for (name, value) in EIGHT {
        let value = HeaderValue::from_static(value);
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    request.extensions_mut().insert(ada());
    request
}

/// The same with twenty headers.
pub(crate) fn request_with_twenty_headers(path: &'static str) -> Request {
    let mut request = request(path);
    for (name, value) in TWELVE {
        let value = HeaderValue::from_static(value);
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value);
    }
    request
}

/// The application.
async fn app(request: Request) -> Result<Response<Full<Bytes>>, Infallible> {
    std::hint::black_box(&request);
    let mut response = Response::new(Full::new(Bytes::from_static(b"{\"order\":4711}")));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

pub(crate) fn bare() -> Answer {
    answer(tower::service_fn(app))
}

/// tower-http's check, for scale.
pub(crate) fn csrf() -> Answer {
    answer(CsrfLayer::new().layer(tower::service_fn(app)))
}

/// Our layer, with an active session of `ada` for `u-1001` in `sessions`. The first read of the window has
/// been written: acted reads that follow are folded.
pub(crate) fn impersonate(sessions: impl SessionStore) -> Answer {
    acting(&impersonation(sessions).build().expect("valid settings"))
}

pub(crate) fn in_memory() -> Answer {
    impersonate(MemorySessions::new())
}

pub(crate) fn in_cache() -> Answer {
    impersonate(Cached::new(MemorySessions::new(), Duration::from_secs(60)))
}

/// The marker stays, writes without one are refused, and typing an address ends the session.
pub(crate) fn watching() -> Answer {
    let builder = impersonation(MemorySessions::new()).sticky_marker();
    let watching = builder.refuse_unmarked_writes().end_when_marker_removed();
    acting(&watching.build().expect("valid settings"))
}

/// Every acted read is queued as an event of its own.
pub(crate) fn unfolded() -> Answer {
    let builder = impersonation(MemorySessions::new()).audit_queue(10_000_000);
    let unfolded = builder.fold_reads(Duration::ZERO).build();
    acting(&unfolded.expect("valid settings"))
}

/// The layer as the examples set it up.
pub(crate) fn impersonation(sessions: impl SessionStore) -> tower_impersonation::Builder {
    let checker = checker_fn(
        |parts: &Parts| match parts.extensions.get::<Actor>() {
            Some(actor) => Caller::Admin(actor.clone()),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_only()),
    );
    Impersonation::builder(checker, Nowhere)
        .handlers_read_acting_as()
        .sessions(sessions)
}

pub(crate) fn acting(impersonation: &Impersonation) -> Answer {
    let runtime = runtime();
    let (parts, ()) = request(PLAIN).into_parts();
    let start = StartRequest::new(subject(), "ticket 4711: cannot see the order");
    runtime
        .block_on(impersonation.start(&parts, start))
        .expect("the start is allowed");
    let mut answer = answer(impersonation.layer().layer(tower::service_fn(app)));
    runtime.block_on(async {
        answer(request(MARKED));
        // Lets the writer finish: after that, nothing of the runtime is running.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    });
    answer
}

/// Lives as long as the process, because the layer's tasks do.
pub(crate) fn runtime() -> &'static tokio::runtime::Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    Box::leak(Box::new(runtime.expect("a runtime")))
}

/// Drives the service by hand, so that no runtime is measured.
fn answer<S, B>(mut service: S) -> Answer
where
    S: Service<Request, Response = Response<B>> + 'static,
    S::Error: std::fmt::Debug,
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    Box::new(move |request| {
        block_on(std::future::poll_fn(|cx| service.poll_ready(cx))).expect("it is ready");
        let mut response = block_on(service.call(request)).expect("it answers");
        assert!(response.status().is_success());
        // As hyper does: who says that it is at its end is not asked for more.
        while !response.body().is_end_stream() {
            let body = Pin::new(response.body_mut());
            let mut cx = Context::from_waker(Waker::noop());
            assert!(matches!(body.poll_frame(&mut cx), Poll::Ready(Some(Ok(_)))));
        }
    })
}

pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}

pub(crate) fn ada() -> Actor {
    // Authentication keeps its users; what it puts into the extensions is a cheap clone.
    static ADA: std::sync::LazyLock<Actor> =
        std::sync::LazyLock::new(|| Actor::new("ada".parse().expect("a valid id"), Rank(20)));
    ADA.clone()
}

pub(crate) fn subject() -> Subject {
    Subject::User(UserId::new("u-1001").expect("a valid id"))
}

/// A sink that takes no time.
struct Nowhere;

#[async_trait]
impl AuditSink for Nowhere {
    async fn write(&self, _: &[AuditEvent]) -> Result<(), BoxError> {
        Ok(())
    }
}

// The length that the budget is for.
const _: () = {
    let queries = [QUERY, QUERY_WITH_AS, QUERY_WITH_PERCENT];
    let mut at = 0;
    while at < queries.len() {
        assert!(queries[at].len() - PLAIN.len() - 1 == 62);
        at += 1;
    }
};
