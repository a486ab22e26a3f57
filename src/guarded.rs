//! Calling a host's code so that nothing it does can be taken for a yes (rule R13).

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use crate::{BoxError, clock::Clock};

/// Why a host's code gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("it failed")]
    Failed(#[source] BoxError),
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("it panicked")]
    Panicked,
}

/// Runs `work` for at most `limit` and catches what it throws.
///
/// The timer is made only if `work` has to wait at all.
pub(crate) async fn guarded<T>(
    clock: &dyn Clock,
    limit: Duration,
    work: impl Future<Output = Result<T, BoxError>>,
) -> Result<T, NoAnswer> {
    let mut work = pin!(work);
    let mut timer: Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = None;
    std::future::poll_fn(|cx| {
        // After a panic the future is not polled again, so that no broken state can be seen.
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(Poll::Ready(answer)) => return Poll::Ready(answer.map_err(NoAnswer::Failed)),
            Ok(Poll::Pending) => {}
            Err(_) => return Poll::Ready(Err(NoAnswer::Panicked)),
        }
        let timer = timer.get_or_insert_with(|| clock.sleep(limit));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Err(NoAnswer::TimedOut(limit)))
    })
    .await
}

/// Whichever is ready first; `first` when both are.
pub(crate) async fn race<T>(first: impl Future<Output = T>, second: impl Future<Output = T>) -> T {
    let mut first = pin!(first);
    let mut second = pin!(second);
    std::future::poll_fn(|cx| match first.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => second.as_mut().poll(cx),
    })
    .await
}

/// All of them, in their order, side by side.
pub(crate) async fn join_all<T>(all: impl IntoIterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = all.into_iter().map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(|cx| {
        let mut all_ready = Poll::Ready(());
        for (one, result) in &mut running {
            if result.is_none() {
                match one.as_mut().poll(cx) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => all_ready = Poll::Pending,
                }
            }
        }
        all_ready
    })
    .await;
    running
        .into_iter()
        .filter_map(|(_, result)| result)
        .collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn r13_errors_panics_and_time_outs_give_no_answer() {
        let clock = ManualClock::new(datetime!(2026-11-20 12:00 UTC));
        let limit = Duration::from_secs(2);

        let failed = guarded::<()>(&clock, limit, async { Err("no".into()) }).await;
        assert!(matches!(failed, Err(NoAnswer::Failed(_))));

        let panicked = guarded::<()>(&clock, limit, async { panic!("host code") }).await;
        assert!(matches!(panicked, Err(NoAnswer::Panicked)));

        let moving = clock.clone();
        let hanging = guarded::<()>(&clock, limit, std::future::pending());
        let (hanging, ()) = tokio::join!(hanging, async move { moving.advance(limit) });
        assert!(matches!(hanging, Err(NoAnswer::TimedOut(_))));

        let fine = guarded(&clock, limit, async { Ok(7) }).await;
        assert!(matches!(fine, Ok(7)));
    }
}
