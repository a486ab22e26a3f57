//! Calling host code so that no failure can pass for a yes (rule [R13](crate::rules#r13)).
//!
//! An error, a panic and a time-out are the same here: no answer. The caller refuses, and the log says which it was.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use time::OffsetDateTime;

use crate::words::{
    BoxError,
    clock::{Clock, ClockError},
};

/// Why host code gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("it failed")]
    Failed(#[source] BoxError),
    #[error("it did not answer within {0:?}")]
    TimedOut(Duration),
    #[error("it panicked")]
    Panicked,
}

/// Host code gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {why}")]
pub(crate) struct Unanswered {
    /// What was asked.
    pub(crate) what: &'static str,
    #[source]
    pub(crate) why: NoAnswer,
}

/// How host code is called: by which clock, and for how long at most.
#[derive(Clone)]
pub(crate) struct Calls {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timeout: Duration,
}

impl Calls {
    pub(crate) fn now(&self) -> Result<OffsetDateTime, ClockError> {
        self.clock.now()
    }

    /// Calls host code with a time-out. Create its future inside `answer`: it may panic before there is a future.
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, BoxError>> + Send,
    ) -> Result<T, Unanswered> {
        let answer = guarded(&*self.clock, self.timeout, answer).await;
        answer.map_err(|why| Unanswered { what, why })
    }
}

/// Runs `work` for at most `limit` and catches its panics.
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
