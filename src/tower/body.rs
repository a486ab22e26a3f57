//! The body of [`Impersonate`](crate::Impersonate)'s responses, which ends with the session
//! (rule [R19](crate::rules#r19)).

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::words::{ActingAs, BoxError, EndedReason};

pin_project! {
    /// A response body: the inner service's own, the same bound to a session, or a refusal.
    ///
    /// When the session of an acted response ends, the body fails with [`SessionOver`], so that the client sees a
    /// response that was cut and not one that looks complete. A body that is available in one piece is not cut: the
    /// answer to a stop arrives.
    pub struct ResponseBody<B> {
        #[pin]
        kind: Kind<B>,
    }
}

pin_project! {
    #[project = KindProj]
    enum Kind<B> {
        Passed { #[pin] body: B },
        Acted { #[pin] body: B, end: End },
        Refusal { bytes: Option<Bytes> },
    }
}

/// Watches for the end of the session. It begins to wait only when the body itself has to wait.
struct End {
    acting_as: ActingAs,
    /// Nothing of the body was asked for yet.
    untouched: bool,
    waiting: Option<Pin<Box<dyn Future<Output = EndedReason> + Send>>>,
}

/// The response was cut because its session ended.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the impersonation session has ended: {0}")]
pub struct SessionOver(
    /// Why it ended.
    pub EndedReason,
);

impl<B> ResponseBody<B> {
    pub(crate) fn passed(body: B) -> Self {
        Self {
            kind: Kind::Passed { body },
        }
    }

    pub(crate) fn acted(body: B, acting_as: ActingAs) -> Self {
        if acting_as.session().is_none() {
            return Self::passed(body);
        }
        Self {
            kind: Kind::Acted {
                body,
                end: End {
                    acting_as,
                    untouched: true,
                    waiting: None,
                },
            },
        }
    }

    pub(crate) fn refusal(bytes: Bytes) -> Self {
        Self {
            kind: Kind::Refusal {
                bytes: Some(bytes).filter(|bytes| !bytes.is_empty()),
            },
        }
    }
}

impl End {
    /// Why the session ended, if it has. With `wait`, the task is woken when it does.
    fn check(&mut self, wait: Option<&mut Context<'_>>) -> Option<EndedReason> {
        if let Some(reason) = self.acting_as.has_ended() {
            return Some(reason);
        }
        let cx = wait?;
        let waiting = self.waiting.get_or_insert_with(|| {
            let acting_as = self.acting_as.clone();
            Box::pin(async move { acting_as.ended().await })
        });
        match waiting.as_mut().poll(cx) {
            Poll::Ready(reason) => Some(reason),
            Poll::Pending => None,
        }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match self.project().kind.project() {
            KindProj::Passed { body } => {
                let frame = ready!(body.poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            KindProj::Acted { mut body, end } => {
                let untouched = std::mem::replace(&mut end.untouched, false);
                if let Some(reason) = end.check(None) {
                    if body.is_end_stream() {
                        // All of it has arrived: there is nothing to cut.
                        return Poll::Ready(None);
                    }
                    if untouched
                        && let Poll::Ready(whole) = body.as_mut().poll_frame(cx)
                        && (whole.is_none() || body.is_end_stream())
                    {
                        return Poll::Ready(whole.map(|frame| frame.map_err(Into::into)));
                    }
                    return Poll::Ready(Some(Err(SessionOver(reason).into())));
                }
                match body.poll_frame(cx) {
                    Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
                    Poll::Pending => match end.check(Some(cx)) {
                        Some(reason) => Poll::Ready(Some(Err(SessionOver(reason).into()))),
                        None => Poll::Pending,
                    },
                }
            }
            KindProj::Refusal { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes.into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Passed { body } | Kind::Acted { body, .. } => body.is_end_stream(),
            Kind::Refusal { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Passed { body } | Kind::Acted { body, .. } => body.size_hint(),
            Kind::Refusal { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}

impl<B> std::fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseBody").finish_non_exhaustive()
    }
}
