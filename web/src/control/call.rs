//! [`Call`]: what came, and how its fields are read.

use std::time::Duration;

use axum::{
    Json,
    body::{Body, Bytes, to_bytes},
    extract::{OriginalUri, Request},
};
use http::{
    HeaderMap,
    header::{ACCEPT, CONTENT_TYPE},
    request::Parts,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tower_impersonation::Rejection;

use super::wire::{ReadQuery, form_fields, named};

/// The most bytes in a body.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// How long a body may take. Whoever wants out does not wait for its rest (rule S5).
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// One call: what came, without the body.
pub(crate) struct Call {
    pub(crate) parts: Parts,
}

impl Call {
    pub(crate) fn of(request: Request) -> (Self, Body) {
        let (mut parts, body) = request.into_parts();
        // `Router::nest` takes its prefix off; the trail and the checker know the path as it was called.
        if let Some(OriginalUri(uri)) = parts.extensions.get() {
            parts.uri = uri.clone();
        }
        (Self { parts }, body)
    }

    pub(super) fn query<Q: ReadQuery>(&self) -> Result<Q, Rejection> {
        Q::of_uri(&self.parts.uri).map_err(Rejection::invalid)
    }

    /// The fields of the body, whichever form they come in.
    pub(super) async fn fields<T: DeserializeOwned + Default>(
        &self,
        body: Body,
    ) -> Result<T, String> {
        let body: Bytes = timeout(LONGEST_WAIT, to_bytes(body, MAX_BODY))
            .await
            .map_err(|_| format!("the body must arrive within {LONGEST_WAIT:?}"))?
            .map_err(|_| format!("the body must not be longer than {MAX_BODY} bytes"))?;
        if body.is_empty() {
            return Ok(T::default());
        }
        if self.is_form() {
            let fields = form_fields(&body)?;
            return serde_json::from_value(fields).map_err(|problem| named(&problem.to_string()));
        }
        if !self.content_type().is_some_and(is_json) {
            return Err(
                "`Content-Type` must be application/json or application/x-www-form-urlencoded"
                    .to_owned(),
            );
        }
        Json::from_bytes(&body)
            .map(|Json(fields)| fields)
            .map_err(|problem| named(&problem.body_text()))
    }

    fn content_type(&self) -> Option<&str> {
        let content_type = self.parts.headers.get(CONTENT_TYPE)?;
        std::str::from_utf8(content_type.as_bytes()).ok()
    }

    fn is_form(&self) -> bool {
        self.content_type().is_some_and(|content_type| {
            essence(content_type).eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
    }

    /// A person with a browser sent a form, and goes on from there.
    pub(super) fn wants_page(&self) -> bool {
        self.is_form() && !accepts_json(&self.parts.headers)
    }
}

fn essence(content_type: &str) -> &str {
    content_type.split(';').next().unwrap_or_default().trim()
}

fn is_json(content_type: &str) -> bool {
    let essence = essence(content_type).to_ascii_lowercase();
    essence == "application/json" || essence.ends_with("+json")
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT);
    let accept = accept.map(|accept| String::from_utf8_lossy(accept.as_bytes()));
    accept.is_some_and(|accept| accept.contains("json") && !accept.contains("text/html"))
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        pin::Pin,
        task::{Context, Poll},
    };

    use http_body::Frame;
    use serde_json::Value;

    use super::*;

    /// A body of which nothing ever comes.
    struct Endless;

    impl http_body::Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Pending
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s5_a_body_that_does_not_end_is_not_waited_for() {
        let (call, body) = Call::of(Request::new(Body::new(Endless)));
        // Time stands still but for timers: without one this would wait for an hour.
        let read = timeout(Duration::from_secs(3_600), call.fields::<Value>(body)).await;
        let problem = read.expect("an answer").unwrap_err();
        assert_eq!(problem, "the body must arrive within 5s");
    }
}
