//! Asking the replicas whether they have heard what was just told, and answering (rule S9).

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sqlx::{
    Postgres, Row as _,
    postgres::{PgListener, PgRow},
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use uuid::Uuid;

use super::lease::{LEASE, channel_of};
use crate::reserve::Reserve;

/// Who may serve from memory now, for how many milliseconds at most; and a question for all of them. One that is the
/// same for several rows is asked once.
const ASK: &str = "select id, \
       greatest(0, extract(epoch from seen_at + interval '3 seconds' - clock_timestamp()) * 1000)::bigint as lease, \
       pg_notify('impersonation', $1) \
     from impersonation.replicas where seen_at > clock_timestamp() - interval '3 seconds'";
/// When the question is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// The questions of one replica.
#[derive(Default)]
pub(super) struct Questions {
    last: AtomicU64,
    open: Mutex<HashMap<u64, watch::Sender<HashSet<Uuid>>>>,
}

/// One question; nobody waits for its answers once this is dropped.
struct Question<'q> {
    number: u64,
    questions: &'q Questions,
    heard: watch::Receiver<HashSet<Uuid>>,
}

/// A question as it comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    asker: Uuid,
    number: u64,
}

// === impl Questions ===

impl Questions {
    /// Waits until every replica has heard what was told before, or has to ask the database. At most one lease.
    ///
    /// `asker` is the replica that these questions are of, which hears the answers once `hearing` is over, if there
    /// is that to wait for.
    pub(super) async fn ask(
        &self,
        asker: Uuid,
        reserve: &Reserve<Postgres>,
        hearing: Option<impl Future<Output = ()>>,
    ) {
        // By then, whoever has not heard has no lease any more.
        let end = Instant::now() + LEASE;
        match timeout_at(end, self.try_ask(asker, reserve, hearing)).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    target: "tower_impersonation",
                    error = &error as &dyn std::error::Error,
                    "the other replicas could not be asked whether they have heard of a change"
                );
                sleep_until(end).await;
            }
        }
    }

    async fn try_ask(
        &self,
        asker: Uuid,
        reserve: &Reserve<Postgres>,
        hearing: Option<impl Future<Output = ()>>,
    ) -> Result<(), sqlx::Error> {
        let mut question = self.new_question();
        let text = format!("ask {} {}", asker.simple(), question.number);
        let mut leases = leases(reserve, &text).await?;
        if leases.is_empty() {
            return Ok(());
        }
        if let Some(hearing) = hearing {
            hearing.await;
            self::leases(reserve, &text).await?;
        }
        loop {
            if question.is_answered(&leases, Instant::now() + AGAIN).await {
                return Ok(());
            }
            // A replica that connects anew may have missed the question, and one that has left serves nothing. Who is
            // new has heard; a lease that is longer by now was renewed by somebody who has heard as well.
            let now = self::leases(reserve, &text).await?;
            leases.retain(|id, _| now.contains_key(id));
        }
    }

    fn new_question(&self) -> Question<'_> {
        let number = self.last.fetch_add(1, Ordering::Relaxed);
        let (sender, heard) = watch::channel(HashSet::new());
        self.open().insert(number, sender);
        Question {
            number,
            questions: self,
            heard,
        }
    }

    /// A replica has heard.
    pub(super) fn answered(&self, number: u64, by: Uuid) {
        if let Some(heard) = self.open().get(&number) {
            heard.send_modify(|heard| {
                heard.insert(by);
            });
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, watch::Sender<HashSet<Uuid>>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Question ===

impl Question<'_> {
    /// Whether all of these have heard, or have no lease any more. `false` when that is not known by then.
    async fn is_answered(&mut self, leases: &HashMap<Uuid, Instant>, by: Instant) -> bool {
        loop {
            let waiting_for = {
                let heard = self.heard.borrow_and_update();
                let silent = leases.iter().filter(|(id, _)| !heard.contains(*id));
                silent.map(|(_, until)| *until).max()
            };
            let Some(until) = waiting_for else {
                return true;
            };
            match timeout_at(until.min(by), self.heard.changed()).await {
                Ok(Ok(())) => {}
                // Nobody answers any more.
                Ok(Err(_)) => sleep_until(until).await,
                Err(_) => return until <= by,
            }
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.questions.open().remove(&self.number);
    }
}

// === impl Asked ===

impl Asked {
    /// Reads `ask <asker> <number>`.
    pub(super) fn read(what: &str) -> Option<Self> {
        let (asker, number) = what.strip_prefix("ask ")?.split_once(' ')?;
        Some(Self {
            asker: asker.parse().ok()?,
            number: number.parse().ok()?,
        })
    }

    /// Everything that was told before was heard by `replica`.
    pub(super) async fn answer(
        &self,
        replica: Uuid,
        questions: &Questions,
        connection: &mut PgListener,
    ) -> Result<(), sqlx::Error> {
        if self.asker == replica {
            questions.answered(self.number, replica);
            return Ok(());
        }
        let answer = sqlx::query("select pg_notify($1, $2)")
            .bind(channel_of(self.asker))
            .bind(format!("heard {} {}", self.number, replica.simple()))
            .execute(connection);
        answer.await.map(drop)
    }
}

/// Asks, and says which replicas may serve from memory until when.
async fn leases(
    reserve: &Reserve<Postgres>,
    question: &str,
) -> Result<HashMap<Uuid, Instant>, sqlx::Error> {
    let mut connection = reserve.connection().await?;
    let rows = sqlx::query(ASK).bind(question).fetch_all(&mut *connection);
    let rows = rows.await?;
    // After the answer: later than the database has reckoned.
    let now = Instant::now();
    let lease = |row: &PgRow| {
        let millis = row.try_get::<i64, _>("lease")?.unsigned_abs();
        Ok((
            row.try_get("id")?,
            now + Duration::from_millis(millis + 1).min(LEASE),
        ))
    };
    rows.iter().map(lease).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn s9_a_question_is_read_as_it_is_asked() {
        let asker = Uuid::from_u128(7);
        let asked = Asked { asker, number: 12 };
        let text = format!("ask {} 12", asker.simple());
        assert_eq!(Asked::read(&text), Some(asked));
        for text in ["", "ask", "ask x 1", "ask 7", "ended 7 manual", "asked 7 1"] {
            assert_eq!(Asked::read(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn s9_a_question_is_answered_when_each_has_heard_or_has_no_lease() {
        let questions = Questions::default();
        let [one, two] = [1, 2].map(Uuid::from_u128);
        let start = Instant::now();
        let until = |millis| start + Duration::from_millis(millis);
        let leases = HashMap::from([(one, until(900)), (two, until(2_000))]);
        let mut question = questions.new_question();

        assert!(!question.is_answered(&leases, until(100)).await);
        questions.answered(question.number, two);
        questions.answered(question.number + 1, one);
        assert!(
            !question.is_answered(&leases, until(200)).await,
            "one of two"
        );
        assert!(
            question.is_answered(&leases, until(1_000)).await,
            "its lease is over"
        );
        assert_eq!(start.elapsed(), Duration::from_millis(900));
        questions.answered(question.number, one);
        assert!(question.is_answered(&leases, until(2_000)).await);
        assert_eq!(start.elapsed(), Duration::from_millis(900));

        drop(question);
        assert!(questions.open().is_empty());
    }
}
