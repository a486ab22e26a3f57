//! [`Admin`]: an identified admin, and what they may ask.

use std::{fmt, sync::Arc};

use http::request::Parts;
use time::OffsetDateTime;

use super::Impersonation;
use crate::{
    audit::{Summary, SummaryFilter, TrailFilter, TrailList, TrailPage},
    engine::{ChangeRequest, People, Reading, Refusal, SessionWithUser, StartRequest, Stopped},
    host::Grant,
    rejection::{Rejection, RejectionKind},
    session::{Page, SessionFilter, SessionList},
    words::{Actor, DirectoryUser, Session, SessionId, Subject},
};

/// The admin who sent a request. From [`Impersonation::admin`].
///
/// Being an admin is not enough: each call checks for itself what it needs, and records a refusal in the trail (rule
/// [A3](crate::rules#a3)).
///
/// ```
/// # use http::request::Parts;
/// # use tower_impersonation::{Impersonation, Rejection, session::{Page, SessionFilter}};
/// # async fn page(impersonation: &Impersonation, parts: &Parts) -> Result<(), Rejection> {
/// let admin = impersonation.admin(parts).await?;                               // asks the checker
/// let own = admin.active(10).await?;                                           // these do not ask it again
/// let all = admin.list(SessionFilter::default(), Page::default()).await?;
/// # let _ = (own, all);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Admin<'r> {
    impersonation: Impersonation,
    parts: &'r Parts,
    actor: Actor,
}

/// A reading of the trail that was allowed and recorded (rule [A7](crate::rules#a7)). From [`Admin::open_trail`].
///
/// One reading may have many pages; it is one event.
pub struct TrailReading(Reading);

impl<'r> Admin<'r> {
    pub(super) fn new(impersonation: Impersonation, parts: &'r Parts, actor: Actor) -> Self {
        Self {
            impersonation,
            parts,
            actor,
        }
    }

    /// The admin as an actor.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The request that they sent.
    #[must_use]
    pub fn parts(&self) -> &'r Parts {
        self.parts
    }

    /// Starts a session; see [`Impersonation::start`].
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidRequest`, `Yourself`, `Denied`, `SubjectNotFound`, `AlreadyActive`,
    /// `TooManyStarts`, `TrailUnavailable` or `Unavailable`.
    ///
    /// # Cancel safety
    ///
    /// Once the checks are done the start is carried through, even if the future is dropped.
    pub async fn start(&self, request: StartRequest) -> Result<SessionWithUser, Rejection> {
        let subject = request.subject();
        let engine = &self.impersonation.engine;
        let started = engine.start(&self.actor, self.parts, request).await;
        started.map_err(|refusal| self.refused(subject.as_ref(), refusal))
    }

    /// Runs the checks of a start without starting: what this admin would be granted as `subject`, and who that is.
    /// A refusal is recorded.
    ///
    /// ```
    /// # use tower_impersonation::{Admin, Rejection, Subject};
    /// # async fn handler(admin: &Admin<'_>, subject: &Subject) -> Result<(), Rejection> {
    /// let (grant, user) = admin.may_start(subject).await?;
    /// println!("up to {}, as {:?}", grant.access(), user.and_then(|user| user.display_name().map(str::to_owned)));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Yourself`, `Denied`, `SubjectNotFound` or `Unavailable`.
    pub async fn may_start(
        &self,
        subject: &Subject,
    ) -> Result<(Grant, Option<DirectoryUser>), Rejection> {
        let engine = &self.impersonation.engine;
        let may = async {
            let now = engine.now()?;
            engine
                .may_start(&self.actor, subject, self.parts, now)
                .await
        };
        let may = may.await;
        may.map_err(|refusal: Refusal| self.refused(Some(subject), refusal.by(self.actor.id())))
    }

    /// Like [`may_start`](Self::may_start), for a page that only shows what is possible: `None` where a start would
    /// be refused. Nothing is recorded, because nothing was tried.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`. Pass it to [`refuse`](Self::refuse) if it ends the page.
    pub async fn could_start(
        &self,
        subject: &Subject,
    ) -> Result<Option<(Grant, Option<DirectoryUser>)>, Rejection> {
        let engine = &self.impersonation.engine;
        let may = async {
            let now = engine.now()?;
            engine
                .may_start(&self.actor, subject, self.parts, now)
                .await
        };
        match may.await {
            Ok(granted) => Ok(Some(granted)),
            Err(Refusal { rejection, .. }) => match rejection.kind() {
                RejectionKind::Unavailable => Err(rejection),
                _ => Ok(None),
            },
        }
    }

    /// Changes this admin's active session for `subject`; see [`Impersonation::change`].
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start), and `NothingToEnd` when there is no such session.
    pub async fn change(
        &self,
        subject: &Subject,
        request: ChangeRequest,
    ) -> Result<Arc<Session>, Rejection> {
        let engine = &self.impersonation.engine;
        let changed = engine.change(&self.actor, self.parts, subject, request);
        let changed = changed.await;
        changed.map_err(|refusal| self.refused(Some(subject), refusal))
    }

    /// This admin's active sessions, newest first, at most `limit`.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`.
    pub async fn active(&self, limit: usize) -> Result<Vec<Arc<Session>>, Rejection> {
        let engine = &self.impersonation.engine;
        let active = engine.active_of(self.actor.id(), limit).await;
        active.map_err(|refusal| refusal.rejection)
    }

    /// Lists sessions, newest first: this admin's own, or with
    /// [`Rights::LIST_SESSIONS`](crate::Rights::LIST_SESSIONS) everyone's.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `MissingRight` or `Unavailable`.
    pub async fn list(&self, filter: SessionFilter, page: Page) -> Result<SessionList, Rejection> {
        let engine = &self.impersonation.engine;
        let list = engine.list(&self.actor, filter, &page).await;
        list.map_err(|refusal| self.refused(None, refusal))
    }

    /// Ends anyone's session. Ending one's own needs no right; ending others' needs
    /// [`Rights::END_SESSIONS`](crate::Rights::END_SESSIONS).
    ///
    /// ```
    /// # use tower_impersonation::{Admin, Rejection, session::SessionId};
    /// # async fn handler(admin: &Admin<'_>, id: SessionId) -> Result<(), Rejection> {
    /// let stopped = admin.revoke(id).await?;
    /// assert!(stopped.sessions.len() <= 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `MissingRight`, `NothingToEnd` or `Unavailable`.
    pub async fn revoke(&self, id: SessionId) -> Result<Stopped, Rejection> {
        let engine = &self.impersonation.engine;
        let revoked = engine.revoke(&self.actor, id, self.parts).await;
        revoked.map_err(|refusal| self.refused(None, refusal))
    }

    /// Searches for users as whom this admin may act: of lower rank, impersonable, consenting where that is
    /// required, and allowed by [`AdminChecker::authorize`](crate::AdminChecker::authorize) (rule
    /// [S1](crate::rules#s1)). Nobody else is in the answer. Without a directory the answer is empty.
    ///
    /// `offset` counts the users of the directory and not those of the answer: for the next page, pass
    /// [`People::next`].
    ///
    /// ```
    /// # use tower_impersonation::{Admin, Rejection};
    /// # async fn handler(admin: &Admin<'_>) -> Result<(), Rejection> {
    /// let mut offset = Some(0);
    /// while let Some(from) = offset {
    ///     let people = admin.people("ines", 20, from).await?;
    ///     for user in &people.users {
    ///         println!("{}", user.display_name().unwrap_or(user.id().as_str()));
    ///     }
    ///     offset = people.next;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `Unavailable`.
    pub async fn people(
        &self,
        text: &str,
        limit: usize,
        offset: usize,
    ) -> Result<People, Rejection> {
        let engine = &self.impersonation.engine;
        let people = engine.people(&self.actor, self.parts, text, limit, offset);
        let people = people.await;
        people.map_err(|refusal| self.refused(None, refusal))
    }

    /// Opens the trail: this admin's own events, or with [`Rights::READ_TRAIL`](crate::Rights::READ_TRAIL)
    /// everyone's. The event of this reading is durable when this returns (rule [A7](crate::rules#a7)).
    ///
    /// ```
    /// # use tower_impersonation::{Admin, Rejection, audit::{TrailFilter, TrailPage}};
    /// # async fn handler(admin: &Admin<'_>) -> Result<(), Rejection> {
    /// let reading = admin.open_trail(TrailFilter::default()).await?;
    /// let mut page = TrailPage::first(100);
    /// loop {
    ///     let part = reading.page(&page).await?;
    ///     part.events.iter().for_each(|event| println!("{}", event.to_json_line()));
    ///     let Some(next) = part.next else { break };
    ///     page = TrailPage::first(100).after(next);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `MissingRight`, `NotFound` if no [`trail_reader`](crate::Builder::trail_reader) is
    /// set, `TrailUnavailable` or `Unavailable`.
    pub async fn open_trail(&self, filter: TrailFilter) -> Result<TrailReading, Rejection> {
        let subject = filter.subject.clone();
        let engine = &self.impersonation.engine;
        let opened = engine.open_trail(&self.actor, self.parts, filter).await;
        let opened = opened.map_err(|refusal| self.refused(subject.as_ref(), refusal))?;
        Ok(TrailReading(opened))
    }

    /// What each admin did from `from` up to, but not including, `to`: usually one week. This reads the trail and
    /// needs the same rights: without [`Rights::READ_TRAIL`](crate::Rights::READ_TRAIL) it covers this admin alone.
    /// A session that started more than its longest lifetime before `from` is not counted.
    ///
    /// # Errors
    ///
    /// As [`open_trail`](Self::open_trail).
    pub async fn summaries(
        &self,
        from: OffsetDateTime,
        to: OffsetDateTime,
    ) -> Result<Vec<Summary>, Rejection> {
        let filter = SummaryFilter::new(from, to, self.impersonation.now()?)
            .longest_session(self.impersonation.max_lifetime());
        let reading = self.open_trail(filter.events()).await?;
        reading.0.summaries(filter).await
    }

    /// Refuses this admin's call because of what is in it, and records the refusal (rule [A3](crate::rules#a3)).
    /// `problem` says what is wrong, and the caller reads it.
    #[must_use]
    pub fn invalid(&self, subject: Option<&Subject>, problem: impl Into<String>) -> Rejection {
        let refusal = Refusal::invalid(problem.into()).by(self.actor.id());
        self.refused(subject, refusal)
    }

    /// Refuses this admin's call with any rejection, and records the refusal (rule [A3](crate::rules#a3)).
    #[must_use]
    pub fn refuse(&self, subject: Option<&Subject>, rejection: Rejection) -> Rejection {
        let refusal = Refusal::new(rejection).by(self.actor.id());
        self.refused(subject, refusal)
    }

    fn refused(&self, subject: Option<&Subject>, refusal: Refusal) -> Rejection {
        let engine = &self.impersonation.engine;
        engine.refused(self.parts, subject, refusal)
    }
}

impl fmt::Debug for Admin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin")
            .field("actor", &self.actor)
            .finish_non_exhaustive()
    }
}

// === impl TrailReading ===

impl TrailReading {
    /// One page of the events, newest first.
    ///
    /// # Errors
    ///
    /// A [`Rejection`] of kind `InvalidRequest` for a malformed cursor, or `Unavailable`.
    pub async fn page(&self, page: &TrailPage) -> Result<TrailList, Rejection> {
        self.0.page(page).await
    }
}

impl fmt::Debug for TrailReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrailReading").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use async_trait::async_trait;
    use time::macros::datetime;

    use super::*;
    use crate::{
        Caller, Decision, Impersonation, Rank,
        audit::{EventName, MemorySink, TrailReader},
        checker_fn,
        clock::ManualClock,
        words::{BoxError, Rights},
    };

    const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

    /// An application whose every caller is an auditor.
    fn audited(sink: &MemorySink, reader: impl TrailReader, clock: &ManualClock) -> Impersonation {
        let checker = checker_fn(
            |_| {
                let auditor = Actor::new("root".parse().unwrap(), Rank(30));
                Caller::Admin(auditor.with_rights(Rights::all()))
            },
            |_, _, _| Decision::deny("nobody acts here"),
        );
        Impersonation::builder(checker, sink.clone())
            .trail_reader(reader)
            .clock(clock.clone())
            .handlers_read_acting_as()
            .build()
            .unwrap()
    }

    fn parts() -> Parts {
        let (parts, ()) = http::Request::new(()).into_parts();
        parts
    }

    #[tokio::test]
    async fn a7_a_look_up_is_no_part_of_the_history_that_it_looks_for() {
        let sink = MemorySink::default();
        let impersonation = audited(&sink, sink.clone(), &ManualClock::new(NOON));
        let session = SessionId(uuid::Uuid::from_u128(7));
        let filters = [
            TrailFilter {
                subject: "inse".parse().ok(),
                ..TrailFilter::default()
            },
            TrailFilter {
                session: Some(session),
                ..TrailFilter::default()
            },
        ];
        for filter in &filters {
            for _ in 0..2 {
                let page = TrailPage::default();
                let parts = parts();
                let read = impersonation.read_trail(&parts, filter.clone(), page);
                assert_eq!(read.await.unwrap().events, [], "{filter}");
            }
        }
        let reads = sink.events();
        let reasons: Vec<_> = reads.iter().map(|event| event.reason.as_deref()).collect();
        let session = format!("session={session}");
        let (subject, session) = (Some("subject=inse"), Some(&*session));
        assert_eq!(reasons, [subject, subject, session, session]);
        for read in reads {
            assert_eq!(read.name, EventName::TrailRead);
            assert_eq!(read.actor.unwrap().as_str(), "root");
        }
    }

    /// A reader whose summaries are slower than any page may be.
    struct SlowSummaries(ManualClock);

    #[async_trait]
    impl TrailReader for SlowSummaries {
        async fn read(&self, _: &TrailFilter, _: &TrailPage) -> Result<TrailList, BoxError> {
            Err("it groups by itself".into())
        }

        async fn summaries(&self, filter: &SummaryFilter) -> Result<Vec<Summary>, BoxError> {
            use crate::clock::Clock as _;

            self.0.sleep(std::time::Duration::from_secs(20)).await;
            assert!(filter.sessions_from < filter.from);
            Ok(vec![Summary::new("ada".parse()?)])
        }
    }

    #[tokio::test]
    async fn a7_summaries_come_from_the_reader_and_may_take_longer_than_a_page() {
        let sink = MemorySink::default();
        let clock = ManualClock::new(NOON);
        let impersonation = audited(&sink, SlowSummaries(clock.clone()), &clock);
        let parts = parts();
        let summaries = impersonation.summaries(&parts, NOON, NOON + time::Duration::WEEK);
        let pass = async {
            // First the reading is recorded, then the reader waits.
            for _ in 0..2 {
                for _ in 0..200 {
                    tokio::task::yield_now().await;
                }
                clock.advance(std::time::Duration::from_secs(10));
            }
        };
        let (summaries, ()) = tokio::join!(summaries, pass);
        assert_eq!(summaries.unwrap(), [Summary::new("ada".parse().unwrap())]);
        assert_eq!(sink.events().len(), 1, "it is a reading as well");
    }
}
