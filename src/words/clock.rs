//! The one source of time: [`Clock`], the system's and a manual one for tests.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;

/// Reads the time and waits for it to pass.
///
/// Everything in this crate that expires, waits or is stamped asks one `Clock`, so a test can move time by hand
/// with [`ManualClock`]. If the clock fails, whatever depends on it is refused (rule [R13](crate::rules#r13)); no
/// error is ever mapped to a default time.
///
/// ```
/// use tower_impersonation::clock::{Clock, SystemClock};
///
/// let now = SystemClock.now()?;
/// assert!(now.year() >= 2026);
/// # Ok::<(), tower_impersonation::clock::ClockError>(())
/// ```
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The time now, in UTC.
    ///
    /// # Errors
    ///
    /// [`ClockError`] if the time cannot be told. The operation that asked is refused.
    fn now(&self) -> Result<OffsetDateTime, ClockError>;

    /// Waits until `duration` has passed.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future only stops the waiting.
    async fn sleep(&self, duration: Duration);
}

/// The clock could not tell the time.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the clock cannot tell the time: {0}")]
pub struct ClockError(
    /// What is wrong with it, for the log.
    pub String,
);

/// The operating system's clock, with tokio's timer. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that stands still until a test moves it. Clones share the same time.
///
/// [`advance`](Self::advance) wakes every waiter whose time it passes.
///
/// ```
/// use std::time::Duration;
/// use time::macros::datetime;
/// use tower_impersonation::clock::{Clock, ManualClock};
///
/// let clock = ManualClock::new(datetime!(2026-11-20 12:00 UTC));
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now()?, datetime!(2026-11-20 12:01:30 UTC));
/// # Ok::<(), tower_impersonation::clock::ClockError>(())
/// ```
#[derive(Clone)]
pub struct ManualClock {
    now: watch::Sender<Result<OffsetDateTime, ClockError>>,
}

// === impl SystemClock ===

#[async_trait]
impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        clippy::disallowed_types,
        reason = "the one place that reads it"
    )]
    fn now(&self) -> Result<OffsetDateTime, ClockError> {
        use std::time::SystemTime;

        // As `OffsetDateTime::now_utc`, but cheaper: that one adds up dates.
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let since_1970 = since_1970.map_err(|error| ClockError(error.to_string()))?;
        i64::try_from(since_1970.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|now| now.replace_nanosecond(since_1970.subsec_nanos()).ok())
            .ok_or_else(|| ClockError("it is past the year 9999".to_owned()))
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that waits")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

// === impl ManualClock ===

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: OffsetDateTime) -> Self {
        Self {
            now: watch::Sender::new(Ok(now)),
        }
    }

    /// Moves the time forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.now.send_modify(|now| {
            if let Ok(now) = now {
                *now += duration;
            }
        });
    }

    /// Makes every later [`now`](Clock::now) fail, as a broken clock would.
    pub fn break_down(&self, why: &str) {
        self.now
            .send_modify(|now| *now = Err(ClockError(why.to_owned())));
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Result<OffsetDateTime, ClockError> {
        self.now.borrow().clone()
    }

    async fn sleep(&self, duration: Duration) {
        let Ok(start) = self.now() else {
            return std::future::pending().await;
        };
        let until = start + duration;
        let mut watch = self.now.subscribe();
        // The sender lives in `self`, so this cannot end by its being dropped.
        let _ = watch
            .wait_for(|now| now.as_ref().is_ok_and(|now| *now >= until))
            .await;
    }
}

impl fmt::Debug for ManualClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ManualClock").field(&self.now()).finish()
    }
}
