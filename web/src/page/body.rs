//! The body of [`Page`](super::Page)'s responses.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::{
    insert::{Inserter, Insertion},
    scan::Outcome,
};

pin_project! {
    /// A response body: the inner service's as it is, or a page with the banner between its bytes.
    ///
    /// Chunks, trailers and errors come as they come from the inner body, one asked for when one is asked for.
    /// Bytes are held back only while they are inside of an incomplete tag, and not at all once the banner is in.
    pub struct PageBody<B: Body> {
        #[pin]
        body: B,
        page: Option<Box<Page<B>>>,
    }
}

struct Page<B: Body> {
    inserter: Inserter,
    /// What ended the data: trailers, or an error. It waits for the bytes before it.
    after: Option<Result<Frame<B::Data>, B::Error>>,
    ended: bool,
}

impl<B: Body> PageBody<B> {
    pub(super) fn passed(body: B) -> Self {
        Self { body, page: None }
    }

    pub(super) fn with(body: B, insertion: Insertion) -> Self {
        Self {
            body,
            page: Some(Box::new(Page {
                inserter: Inserter::new(insertion),
                after: None,
                ended: false,
            })),
        }
    }
}

impl<B: Body> Page<B> {
    /// There is no more of the page.
    fn end(&mut self) {
        if !self.ended {
            self.ended = true;
            self.inserter.end();
            log(self.inserter.outcome());
        }
    }
}

impl<B> Body for PageBody<B>
where
    B: Body,
    B::Data: From<Bytes>,
{
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(page) = this.page else {
            return this.body.poll_frame(cx);
        };
        loop {
            if let Some(bytes) = page.inserter.next() {
                return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
            }
            if let Some(after) = page.after.take() {
                return Poll::Ready(Some(after));
            }
            if page.ended && this.body.is_end_stream() {
                return Poll::Ready(None);
            }
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    // Nothing is looked for any more.
                    Ok(data) if page.inserter.is_done() => {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                    Ok(mut data) => {
                        page.inserter.write(data.copy_to_bytes(data.remaining()));
                        // So that what was there in one piece is one piece again.
                        if this.body.is_end_stream() {
                            page.end();
                        }
                    }
                    Err(trailers) => {
                        page.end();
                        page.after = Some(Ok(trailers));
                    }
                },
                Some(Err(error)) => {
                    page.ended = true;
                    page.inserter.give_up();
                    page.after = Some(Err(error));
                }
                None if page.ended => return Poll::Ready(None),
                None => page.end(),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let is_done =
            |page: &Page<B>| page.ended && page.inserter.is_done() && page.after.is_none();
        self.body.is_end_stream() && self.page.as_deref().is_none_or(is_done)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.page {
            None => self.body.size_hint(),
            // Nothing is taken away; how much comes in is not known before the end.
            Some(_) => {
                let mut hint = SizeHint::default();
                hint.set_lower(self.body.size_hint().lower());
                hint
            }
        }
    }
}

impl<B: Body> fmt::Debug for PageBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBody").finish_non_exhaustive()
    }
}

fn log(outcome: Option<Outcome>) {
    let reason = match outcome {
        Some(Outcome::Placed) | None => return,
        Some(Outcome::NotAPage) => {
            tracing::debug!(target: "tower_impersonation", "no banner: a part of a page, or a frameset");
            return;
        }
        Some(Outcome::NoPlace) => "there is no place in it that a browser would show",
        Some(Outcome::TooLong) => "a tag before its body is too long",
        Some(Outcome::Charset) => "`<` may be a part of a letter in its charset",
    };
    tracing::warn!(target: "tower_impersonation", reason, "an acted page has no banner");
}
