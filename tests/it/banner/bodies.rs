//! R19: bodies as they come, chunk by chunk, with trailers and errors, compressed or cut by the end of the session.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tower_impersonation_web::page as with_banner;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::{Layer, ServiceExt, service_fn};
use tower_http::{compression::CompressionLayer, decompression::DecompressionLayer};
use tower_impersonation::{SessionOver, session::EndedReason};

use super::{PAGE, acting_desk, answer, html, ours, text};
use crate::support::{Req, get, parts, poll_once};

// === what compresses ===

#[tokio::test]
async fn a_layer_that_compresses_may_stand_outside_and_inside() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    // Long enough to be worth it.
    let filling = "<p>x</p>".repeat(1_000);
    let page = format!("<head></head><body>{filling}");
    let expected = format!("<head>{head}</head><body>{banner}{filling}");
    let app = {
        let page = page.clone();
        service_fn(move |_: Req| {
            let page = html(page.clone());
            async { Ok::<_, Infallible>(page) }
        })
    };
    let compress = CompressionLayer::new;
    for inside in [false, true] {
        let was_gzip = Arc::new(Mutex::new(None));
        let seen = was_gzip.clone();
        let look = move |headers: &HeaderMap| {
            *seen.lock().unwrap() = headers.get(header::CONTENT_ENCODING).cloned();
        };
        let request = get("ada", "/orders?as=ines");
        let shown = if inside {
            let app = with_banner(&desk.handle).layer(compress().layer(app.clone()));
            let app = ServiceExt::<Req>::map_response(desk.handle.layer().layer(app), move |it| {
                look(Response::headers(&it));
                it
            });
            text(
                DecompressionLayer::new()
                    .layer(app)
                    .oneshot(request)
                    .await
                    .unwrap(),
            )
            .await
        } else {
            let app = desk
                .handle
                .layer()
                .layer(with_banner(&desk.handle).layer(app.clone()));
            let app = ServiceExt::<Req>::map_response(compress().layer(app), move |it| {
                look(Response::headers(&it));
                it
            });
            text(
                DecompressionLayer::new()
                    .layer(app)
                    .oneshot(request)
                    .await
                    .unwrap(),
            )
            .await
        };
        assert_eq!(shown, expected, "inside: {inside}");
        let encoding = was_gzip.lock().unwrap().take();
        assert_eq!(encoding.is_some(), !inside, "{encoding:?}");
    }
}

#[derive(Debug)]
enum Step {
    Data(&'static str),
    Trailers,
    Fail,
    Wait,
}

/// A body that does what it is told, when it is told.
#[derive(Clone, Default)]
struct Scripted(Arc<Mutex<VecDeque<Step>>>);

impl Scripted {
    fn of(steps: impl IntoIterator<Item = Step>) -> Self {
        Self(Arc::new(Mutex::new(steps.into_iter().collect())))
    }

    /// What was waited for has come.
    fn goes_on(&self, with: Step) {
        let mut steps = self.0.lock().unwrap();
        assert!(matches!(steps.pop_front(), Some(Step::Wait)));
        steps.push_front(with);
        steps.push_back(Step::Wait);
    }
}

impl Body for Scripted {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut steps = self.0.lock().unwrap();
        if let Some(Step::Wait) = steps.front() {
            return Poll::Pending;
        }
        Poll::Ready(steps.pop_front().map(|step| match step {
            Step::Data(text) => Ok(Frame::data(Bytes::from(text))),
            Step::Trailers => {
                let mut trailers = HeaderMap::new();
                trailers.insert("x-sum", HeaderValue::from_static("1"));
                Ok(Frame::trailers(trailers))
            }
            Step::Fail => Err(std::io::Error::other("the disk is gone")),
            Step::Wait => unreachable!("waits"),
        }))
    }
}

fn scripted(body: &Scripted) -> Response<Scripted> {
    html("").map(|_| body.clone())
}

// === bodies as they come ===

#[tokio::test]
async fn each_chunk_goes_on_before_the_next_one_exists() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let body = Scripted::of([Step::Data("<html><head><title>x"), Step::Wait]);
    let response = answer(
        &desk,
        with_banner(&desk.handle),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let mut shown = response.into_body();
    let mut more = async || {
        let mut text = String::new();
        while let Poll::Ready(frame) = poll_once(std::pin::pin!(shown.frame())).await {
            let data = frame.unwrap().unwrap().into_data().unwrap();
            text += std::str::from_utf8(&data).unwrap();
        }
        text
    };
    assert_eq!(more().await, format!("<html><head>{head}<title>x"));
    body.goes_on(Step::Data("</title></head><body clas"));
    assert_eq!(
        more().await,
        "</title></head>",
        "only the incomplete tag waits"
    );
    body.goes_on(Step::Data("s='>'>a"));
    assert_eq!(more().await, format!("<body class='>'>{banner}a"));
    body.goes_on(Step::Data("<b"));
    assert_eq!(more().await, "<b", "nothing waits any more");
}

#[tokio::test]
async fn nothing_is_read_ahead_and_trailers_and_errors_arrive() {
    let desk = acting_desk().await;
    let (head, banner) = ours(&desk).await;
    let start = "<body>";
    let steps = || [Step::Data(start), Step::Data("a"), Step::Data("b<i")];
    for last in [Step::Trailers, Step::Fail] {
        let fails = matches!(last, Step::Fail);
        let body = Scripted::of(steps().into_iter().chain([last]));
        let response = answer(
            &desk,
            with_banner(&desk.handle),
            get("ada", "/?as=ines"),
            scripted(&body),
        )
        .await;
        let mut shown = response.into_body();
        assert_eq!(body.0.lock().unwrap().len(), 4);
        for (left, expected) in [
            (3, &*format!("{start}{head}{banner}")),
            (2, "a"),
            (1, "b<i"),
        ] {
            let data = shown.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(data, expected.as_bytes());
            assert_eq!(
                body.0.lock().unwrap().len(),
                left,
                "one chunk for one chunk"
            );
        }
        match shown.frame().await.unwrap() {
            Ok(frame) => assert!(!fails && frame.into_trailers().unwrap().contains_key("x-sum")),
            Err(error) => assert!(fails && error.to_string() == "the disk is gone"),
        }
    }
    // An error in the middle of a tag: what was kept of it goes out first, and no banner behind it.
    let body = Scripted::of([Step::Data("<title>x</title><bod"), Step::Fail]);
    let response = answer(
        &desk,
        with_banner(&desk.handle),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let mut shown = response.into_body();
    let mut text = String::new();
    let error = loop {
        match shown.frame().await.unwrap() {
            Ok(frame) => text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap(),
            Err(error) => break error,
        }
    };
    assert_eq!(
        (&*text, &*error.to_string()),
        ("<title>x</title><bod", "the disk is gone")
    );
    // Trailers wait for a banner that comes last.
    let body = Scripted::of([Step::Data("text"), Step::Trailers]);
    let response = answer(
        &desk,
        with_banner(&desk.handle),
        get("ada", "/?as=ines"),
        scripted(&body),
    )
    .await;
    let whole = response.into_body().collect().await.unwrap();
    assert!(whole.trailers().unwrap().contains_key("x-sum"));
    assert_eq!(whole.to_bytes(), format!("text{head}{banner}"));
}

#[tokio::test]
async fn r19_the_end_of_the_session_cuts_a_page_but_not_one_that_is_there() {
    let desk = acting_desk().await;
    let body = Scripted::of([Step::Data("<body>"), Step::Wait]);
    let request = || get("ada", "/?as=ines");
    let response = answer(&desk, with_banner(&desk.handle), request(), scripted(&body)).await;
    let mut streamed = response.into_body();
    assert!(streamed.frame().await.unwrap().is_ok());

    let whole = answer(&desk, with_banner(&desk.handle), request(), html(PAGE)).await;
    desk.handle.stop(&parts("ada")).await.unwrap();

    let error = streamed.frame().await.unwrap().unwrap_err();
    let SessionOver(reason) = error.downcast_ref().unwrap();
    assert_eq!(*reason, EndedReason::Manual);
    // It was there in one piece, and is with the banner in it.
    assert!(text(whole).await.contains("impersonation-banner"));
}
