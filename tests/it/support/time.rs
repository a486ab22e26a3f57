//! The manual clock's noon, and how a test lets tasks run or sees them wait.

use std::{future::Future, task::Poll, time::Duration};

use time::{OffsetDateTime, macros::datetime};

pub(crate) const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) async fn poll_once<F: Future>(mut future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// Lets everything else run until nothing more is to be expected of it.
pub(crate) async fn settle() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

/// Polls `future` while everything else runs; it must not be done.
pub(crate) async fn still_waits<F: Future>(mut future: std::pin::Pin<&mut F>) {
    for _ in 0..200 {
        assert!(
            poll_once(future.as_mut()).await.is_pending(),
            "it does not wait"
        );
        tokio::task::yield_now().await;
    }
}
