//! A body that is written bit by bit, by a task of its own.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use http_body::Frame;
use tokio::sync::mpsc;
use tower_impersonation::BoxError;

/// Where the task writes. `Err` cuts the body, so that the client sees that something is missing.
pub(super) type Writer = mpsc::Sender<Result<Bytes, BoxError>>;

struct Streamed(mpsc::Receiver<Result<Bytes, BoxError>>);

/// The two ends. Two bits wait at most: the task goes as fast as the client reads.
pub(super) fn streamed() -> (Writer, Body) {
    let (writer, reader) = mpsc::channel(2);
    (writer, Body::new(Streamed(reader)))
}

impl http_body::Body for Streamed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.0
            .poll_recv(cx)
            .map(|bit| bit.map(|bit| bit.map(Frame::data)))
    }
}
