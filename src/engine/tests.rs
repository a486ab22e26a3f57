//! Sessions whose store fails: what was asked to end does not act any more (rules S4, S5, A1).
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use async_trait::async_trait;
use http::{Request, Response, StatusCode};
use time::{OffsetDateTime, macros::datetime};
use tower::{Layer, ServiceExt, service_fn};

use super::*;
use crate::{
    Actor, Builder, Caller, Decision, DirectoryUser, Grant, Impersonation, MemoryDirectory, Rank,
    Rights, UserId,
    audit::{AuditEvent, EventName, MemorySink},
    checker_fn,
    clock::ManualClock,
    session::{
        EndedReason, Limits, MemorySessions, Page, Session, SessionFilter, SessionId, SessionList,
        SessionListener, SessionStore, SessionUpdate, StartError, Started,
    },
};

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

/// A store that can be made to fail, or to hang, for everything but what acted requests ask.
#[derive(Clone, Default)]
struct Broken {
    store: MemorySessions,
    fails: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    /// Carries ends out, and does not say so.
    forgets: Arc<AtomicBool>,
    unconfirmed: Arc<Mutex<Vec<Arc<Session>>>>,
    confirmed: Arc<Mutex<Vec<SessionId>>>,
}

impl Broken {
    async fn answer<T>(
        &self,
        work: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, BoxError> {
        if self.hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        if self.fails.load(SeqCst) {
            return Err("the disk is full".into());
        }
        work.await
    }
}

#[async_trait]
impl SessionStore for Broken {
    async fn check(&self, s: &Session, l: &Limits, now: OffsetDateTime) -> Result<(), StartError> {
        self.store.check(s, l, now).await
    }

    async fn start(&self, session: Session, limits: &Limits) -> Result<Started, StartError> {
        self.store.start(session, limits).await
    }

    async fn active(
        &self,
        actor: &UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.store.active(actor, subject, now).await
    }

    async fn get(&self, id: SessionId) -> Result<Option<Arc<Session>>, BoxError> {
        self.answer(self.store.get(id)).await
    }

    async fn end(
        &self,
        id: SessionId,
        reason: EndedReason,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        let ended = self.answer(self.store.end(id, reason, now)).await;
        match self.forgets.load(SeqCst) {
            true => Err("the connection is gone".into()),
            false => ended,
        }
    }

    async fn end_due(
        &self,
        now: OffsetDateTime,
        most: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        self.answer(self.store.end_due(now, most)).await
    }

    async fn unconfirmed_ends(
        &self,
        _: OffsetDateTime,
        _: usize,
    ) -> Result<Vec<Arc<Session>>, BoxError> {
        Ok(std::mem::take(&mut *self.unconfirmed.lock().unwrap()))
    }

    async fn confirm_ends(&self, ids: &[SessionId]) -> Result<(), BoxError> {
        self.confirmed.lock().unwrap().extend(ids);
        Ok(())
    }

    async fn touch(&self, id: SessionId, at: OffsetDateTime) -> Result<(), BoxError> {
        self.answer(self.store.touch(id, at)).await
    }

    async fn update(
        &self,
        id: SessionId,
        update: SessionUpdate,
        now: OffsetDateTime,
    ) -> Result<Option<Arc<Session>>, BoxError> {
        self.answer(self.store.update(id, update, now)).await
    }

    async fn list(
        &self,
        filter: &SessionFilter,
        page: &Page,
        now: OffsetDateTime,
    ) -> Result<SessionList, BoxError> {
        self.answer(self.store.list(filter, page, now)).await
    }

    fn subscribe(&self, listener: SessionListener) {
        self.store.subscribe(listener);
    }
}

struct Desk {
    impersonation: Impersonation,
    store: Broken,
    sink: MemorySink,
    clock: ManualClock,
}

impl Desk {
    fn new() -> Self {
        Self::with(|builder| builder)
    }

    fn with(set: impl FnOnce(Builder) -> Builder) -> Self {
        let (store, sink) = (Broken::default(), MemorySink::default());
        let clock = ManualClock::new(NOON);
        let checker = checker_fn(
            |parts| match parts.extensions.get::<UserId>() {
                Some(id) if id.as_str() == "zoe" => {
                    Caller::Admin(Actor::new(id.clone(), Rank(30)).with_rights(Rights::all()))
                }
                Some(id) => Caller::Admin(Actor::new(id.clone(), Rank(20))),
                None => Caller::Anonymous,
            },
            |actor, _, _| match actor.id().as_str() {
                "sam" => Decision::deny("sam may act as nobody"),
                _ => Decision::Allow(Grant::read_write()),
            },
        );
        let builder = Impersonation::builder(checker, sink.clone())
            .sessions(store.clone())
            .clock(clock.clone())
            .handlers_read_acting_as();
        let impersonation = set(builder).build().unwrap();
        Self {
            impersonation,
            store,
            sink,
            clock,
        }
    }

    fn parts(user: &str) -> Parts {
        let mut request = Request::post("/impersonation/end").body(()).unwrap();
        let user: UserId = user.parse().unwrap();
        request.extensions_mut().insert(user);
        request.into_parts().0
    }

    async fn start(&self, subject: &str) -> Arc<Session> {
        let start = StartRequest::new(subject.parse().unwrap(), "ticket 4711");
        let start = start.with_access(crate::Access::ReadWrite);
        let started = self.impersonation.start(&Self::parts("ada"), start).await;
        started.unwrap().session
    }

    /// A request of ada's as this subject.
    async fn act(&self, subject: &str) -> StatusCode {
        let service = service_fn(|_: Request<String>| async {
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let service = self.impersonation.layer().layer(service);
        let mut request = Request::new(String::new());
        *request.uri_mut() = format!("/orders?as={subject}").parse().unwrap();
        let ada: UserId = "ada".parse().unwrap();
        request.extensions_mut().insert(ada);
        service.oneshot(request).await.unwrap().status()
    }

    async fn events(&self, name: EventName) -> Vec<AuditEvent> {
        self.impersonation.trail().flush().await.unwrap();
        let mut events = self.sink.events();
        events.retain(|event| event.name == name);
        events
    }

    /// Lets what waits in the background go on.
    async fn settle(&self, pause: Duration) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.clock.advance(pause);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn s5_what_is_stopped_does_not_act_even_if_the_store_fails() {
    for acted_before in [true, false] {
        let desk = Desk::new();
        desk.start("ines").await;
        if acted_before {
            assert_eq!(desk.act("ines").await, 200);
        }
        desk.store.fails.store(true, SeqCst);
        let stopped = desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
        assert!(!stopped.is_stored);
        assert_eq!(desk.act("ines").await, 403, "acted before: {acted_before}");

        // The store comes back, and has it ended without being asked again.
        desk.store.fails.store(false, SeqCst);
        desk.settle(Duration::from_secs(60)).await;
        let now = NOON + Duration::from_secs(60);
        let ada = "ada".parse().unwrap();
        let active = desk.store.active(&ada, &"ines".parse().unwrap(), now).await;
        assert!(active.unwrap().is_none());
        assert_eq!(desk.act("ines").await, 403);
        let ends = desk.events(EventName::End).await;
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].path.as_deref(), Some("/impersonation/end"));
        assert_eq!((&ends[0].actor, &ends[0].by), (&Some(ada), &None));

        // A later session is not meant.
        desk.start("ines").await;
        assert_eq!(desk.act("ines").await, 200);
    }
}

#[tokio::test]
async fn s5_what_is_stopped_does_not_act_while_the_store_hangs() {
    let desk = Desk::new();
    desk.start("ines").await;
    desk.store.hangs.store(true, SeqCst);
    let parts = Desk::parts("ada");
    let stopping = desk.impersonation.stop(&parts);
    let meanwhile = async {
        tokio::task::yield_now().await;
        let refused = desk.act("ines").await;
        desk.settle(Duration::from_secs(6)).await;
        refused
    };
    let (stopped, refused) = tokio::join!(stopping, meanwhile);
    assert_eq!(refused, 403, "before the store has answered");
    assert!(!stopped.unwrap().is_stored);
    assert_eq!(desk.act("ines").await, 403);
}

#[tokio::test]
async fn s5_forced_ends_log_out_and_demotion_hold_while_the_store_fails() {
    type Ending = for<'d> fn(&'d Desk, SessionId) -> futures_util::future::BoxFuture<'d, Stopped>;
    let endings: [(&str, Ending, EndedReason); 3] = [
        (
            "forced end",
            |desk, id| {
                Box::pin(async move {
                    let parts = Desk::parts("zoe");
                    desk.impersonation.revoke(&parts, id).await.unwrap()
                })
            },
            EndedReason::SessionRevoked,
        ),
        (
            "log-out",
            |desk, _| {
                Box::pin(async {
                    let ada = "ada".parse().unwrap();
                    desk.impersonation.log_out(&ada).await.unwrap()
                })
            },
            EndedReason::AdminLogout,
        ),
        (
            "demotion",
            |desk, _| {
                Box::pin(async {
                    let ada = "ada".parse().unwrap();
                    desk.impersonation.demote(&ada).await.unwrap()
                })
            },
            EndedReason::ActorDemoted,
        ),
    ];
    for (what, end, reason) in endings {
        let desk = Desk::new();
        let session = desk.start("ines").await;
        desk.store.fails.store(true, SeqCst);
        let stopped = end(&desk, session.id).await;
        assert!(!stopped.is_stored, "{what}");
        assert_eq!(desk.act("ines").await, 403, "{what}");
        desk.store.fails.store(false, SeqCst);
        desk.settle(Duration::from_secs(60)).await;
        let ended = desk.store.get(session.id).await.unwrap().unwrap();
        assert_eq!(ended.ended_reason, Some(reason), "{what}");
        let by_zoe = (what == "forced end").then(|| "zoe".parse().unwrap());
        let ends = desk.events(EventName::End).await;
        assert_eq!((ends.len(), &ends[0].by), (1, &by_zoe), "{what}");
    }
}

#[tokio::test]
async fn s5_one_session_stops_even_if_it_never_acted_here_and_the_store_fails() {
    let tests = [(false, false), (false, true), (true, false), (true, true)];
    for (forced, acts_meanwhile) in tests {
        let desk = Desk::new();
        let id = desk.start("ines").await.id;
        desk.store.fails.store(true, SeqCst);
        let impersonation = &desk.impersonation;
        let end = async |parts: Parts| match forced {
            true => impersonation.revoke(&parts, id).await,
            false => impersonation.stop_one(&parts, id).await,
        };
        // Someone else's attempt refuses nothing, and keeps nobody from ending it.
        assert!(!end(Desk::parts("sam")).await.unwrap().is_stored);
        if acts_meanwhile {
            assert_eq!(desk.act("ines").await, 200, "forced: {forced}");
        }
        assert!(!end(Desk::parts("ada")).await.unwrap().is_stored);
        assert_eq!(desk.act("ines").await, 403, "forced: {forced}");

        desk.store.fails.store(false, SeqCst);
        desk.settle(Duration::from_secs(60)).await;
        let ended = desk.store.get(id).await.unwrap().unwrap();
        assert_eq!(ended.ended_reason, Some(EndedReason::Manual));
        let ends = desk.events(EventName::End).await;
        let ada = Some("ada".parse().unwrap());
        assert_eq!((ends.len(), &ends[0].actor), (1, &ada));
    }
}

#[tokio::test]
async fn s5_a_shutdown_waits_for_the_ends_that_are_not_stored() {
    let desk = Desk::new();
    let session = desk.start("ines").await;
    desk.store.fails.store(true, SeqCst);
    desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
    let impersonation = desk.impersonation.clone();
    let flushing = tokio::spawn(async move { impersonation.flush().await });
    desk.settle(Duration::from_secs(1)).await;
    assert!(!flushing.is_finished());
    desk.store.fails.store(false, SeqCst);
    desk.settle(Duration::from_secs(60)).await;
    flushing.await.unwrap().unwrap();
    let ended = desk.store.get(session.id).await.unwrap().unwrap();
    assert_eq!(ended.ended_reason, Some(EndedReason::Manual));
    assert_eq!(desk.sink.events().last().unwrap().name, EventName::End);
}

#[tokio::test]
async fn a1_an_end_that_the_store_carried_out_and_never_answered_is_recorded() {
    let desk = Desk::new();
    let session = desk.start("ines").await;
    desk.store.forgets.store(true, SeqCst);
    let stopped = desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
    assert!(!stopped.is_stored);
    desk.store.forgets.store(false, SeqCst);
    desk.settle(Duration::from_secs(60)).await;
    let ends = desk.events(EventName::End).await;
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].session, Some(session.id));
    assert_eq!(ends[0].path.as_deref(), Some("/impersonation/end"));
}

#[tokio::test]
async fn a1_an_end_that_a_second_call_has_stored_is_recorded_once() {
    let desk = Desk::new();
    let id = desk.start("ines").await.id;
    let ada = Desk::parts("ada");
    desk.store.fails.store(true, SeqCst);
    let first = desk.impersonation.stop_one(&ada, id).await.unwrap();
    assert!(!first.is_stored);
    desk.settle(Duration::ZERO).await;
    desk.store.fails.store(false, SeqCst);
    let second = desk.impersonation.stop_one(&ada, id).await.unwrap();
    assert!(second.is_stored);
    desk.settle(Duration::from_secs(60)).await;
    assert_eq!(desk.events(EventName::End).await.len(), 1);
}

#[tokio::test]
async fn a1_an_end_that_was_never_answered_is_recorded_even_if_a_second_call_finds_nothing() {
    let desk = Desk::new();
    let id = desk.start("ines").await.id;
    let ada = Desk::parts("ada");
    desk.store.forgets.store(true, SeqCst);
    let first = desk.impersonation.stop_one(&ada, id).await.unwrap();
    assert!(!first.is_stored);
    desk.store.forgets.store(false, SeqCst);
    let second = desk.impersonation.stop_one(&ada, id).await.unwrap_err();
    assert_eq!(second.kind(), RejectionKind::NothingToEnd);
    desk.settle(Duration::from_secs(60)).await;
    assert_eq!(desk.events(EventName::End).await.len(), 1);
}

#[tokio::test]
async fn a1_an_idle_process_writes_the_event_that_another_one_could_not() {
    let desk = Desk::new();
    let session = Session::new(
        SessionId(uuid::Uuid::max()),
        "ada".parse().unwrap(),
        "ines".parse().unwrap(),
        "ticket 4711",
        NOON,
        NOON + Duration::from_secs(7_200),
    );
    let ended = Arc::new(session.ended(EndedReason::Manual, NOON));
    desk.store.unconfirmed.lock().unwrap().push(ended);
    // It only serves, and nobody asks for anything.
    let _layer = desk.impersonation.layer();
    desk.settle(Duration::from_secs(181)).await;
    assert_eq!(desk.events(EventName::End).await.len(), 1);
}

#[tokio::test]
async fn s5_a_log_that_panics_does_not_end_the_attempts() {
    struct Full;
    impl tracing::Subscriber for Full {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            // Only ours, and only this one: the rest of the test goes on.
            if event
                .metadata()
                .file()
                .is_some_and(|file| file.ends_with("end.rs"))
            {
                panic!("the log's disk is full");
            }
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }
    let _full = tracing::subscriber::set_default(Full);
    let desk = Desk::new();
    let session = desk.start("ines").await;
    desk.store.fails.store(true, SeqCst);
    let stopped = desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
    assert!(!stopped.is_stored);
    desk.settle(Duration::from_secs(1)).await;
    desk.store.fails.store(false, SeqCst);
    desk.settle(Duration::from_secs(60)).await;
    let ended = desk.store.get(session.id).await.unwrap().unwrap();
    assert_eq!(ended.ended_reason, Some(EndedReason::Manual));
}

#[tokio::test]
async fn s5_a_stop_that_is_stored_says_so_and_ends_nothing_twice() {
    let desk = Desk::new();
    let session = desk.start("ines").await;
    let stopped = desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
    assert!(stopped.is_stored);
    assert_eq!(stopped.sessions[0].id, session.id);
    let again = desk.impersonation.stop(&Desk::parts("ada")).await;
    assert_eq!(again.unwrap_err().kind(), RejectionKind::NothingToEnd);
    assert_eq!(desk.events(EventName::End).await.len(), 1);
}

#[tokio::test]
async fn a1_an_end_is_confirmed_once_its_event_is_durable_and_written_where_it_is_missing() {
    let desk = Desk::new();
    let session = desk.start("ines").await;
    desk.impersonation.stop(&Desk::parts("ada")).await.unwrap();
    desk.settle(Duration::ZERO).await;
    assert_eq!(*desk.store.confirmed.lock().unwrap(), [session.id]);

    // Another process has ended one and died, or somebody has by hand: the sweep finds it.
    let other = desk.start("otto").await;
    let ended = Arc::new(other.ended(EndedReason::read("by_hand"), NOON));
    desk.store.unconfirmed.lock().unwrap().push(ended.clone());
    desk.settle(Duration::from_secs(181)).await;
    let ends = desk.events(EventName::End).await;
    let repaired: Vec<_> = ends
        .iter()
        .filter(|end| end.session == Some(other.id))
        .collect();
    assert_eq!(repaired.len(), 1);
    assert_eq!(
        repaired[0].key(),
        AuditEvent::end_of(&ended, &Default::default()).key()
    );
    assert_eq!(repaired[0].reason.as_deref(), Some("by_hand"));
    assert!(desk.store.confirmed.lock().unwrap().contains(&other.id));
}

#[tokio::test]
async fn s4_what_was_refused_as_over_stays_over_when_a_clock_is_set_back() {
    let desk = Desk::new();
    desk.start("ines").await;
    desk.clock.advance(Duration::from_secs(7_200));
    assert_eq!(desk.act("ines").await, 403);
    // No `ManualClock` goes back; another handle over the same store stands where it was.
    let earlier = Desk::with(|builder| builder.sessions(desk.store.clone()));
    assert_eq!(earlier.act("ines").await, 403);
}

#[tokio::test]
async fn s6_no_number_of_extensions_gets_past_the_ceiling_and_less_is_recorded_too() {
    let desk = Desk::new();
    let session = desk.start("ines").await;
    let change = |desk: &Desk, request| {
        let impersonation = desk.impersonation.clone();
        async move {
            let ines = "ines".parse().unwrap();
            impersonation
                .change(&Desk::parts("ada"), &ines, request)
                .await
        }
    };
    let minutes =
        |n: u64| ChangeRequest::new("ticket 4711").with_duration(Duration::from_secs(60 * n));
    let ceiling = session.started_at + Duration::from_secs(7_200);
    for _ in 0..8 {
        desk.clock.advance(Duration::from_secs(14 * 60));
        assert_eq!(desk.act("ines").await, 200);
        let changed = change(&desk, minutes(90)).await.unwrap();
        assert!(changed.expires_at <= ceiling);
    }
    let lower = ChangeRequest::new("enough").with_access(crate::Access::ReadOnly);
    change(&desk, lower).await.unwrap();
    change(&desk, minutes(1)).await.unwrap();
    assert_eq!(desk.events(EventName::AccessLowered).await.len(), 1);
    assert!(!desk.events(EventName::Shortened).await.is_empty());
}

#[tokio::test]
async fn r7_whoever_may_act_as_nobody_cannot_tell_which_logins_exist() {
    let users: MemoryDirectory =
        [DirectoryUser::new("ines".parse().unwrap(), Rank(0)).with_login("ines@shop.example")]
            .into_iter()
            .collect();
    let desk = Desk::with(|builder| builder.directory(users));
    let ask = |user: &'static str, login: &'static str| {
        let impersonation = desk.impersonation.clone();
        async move {
            let start = StartRequest::for_login(login, "ticket 4711");
            impersonation.start(&Desk::parts(user), start).await
        }
    };
    for login in ["ines@shop.example", "nobody@shop.example"] {
        let refused = ask("sam", login).await.unwrap_err();
        assert_eq!(refused.kind(), RejectionKind::Denied, "{login}");
    }
    let unknown = ask("ada", "nobody@shop.example").await.unwrap_err();
    assert_eq!(unknown.kind(), RejectionKind::SubjectNotFound);
    // The trail names whom the login means, where it means anyone (rule A3).
    let denied = desk.events(EventName::Denied).await;
    assert_eq!(denied[0].subject, Some("ines".parse().unwrap()));
}

#[tokio::test]
async fn r7_ones_own_trail_does_not_tell_why_one_may_not() {
    let sink = MemorySink::default();
    let desk = Desk::with(|builder| builder.trail_reader(sink.clone()));
    let mut denied = AuditEvent::new(uuid::Uuid::max(), NOON, EventName::Denied);
    denied.actor = Some("sam".parse().unwrap());
    denied.reason = Some("sam may act as nobody".to_owned());
    denied.rule = Some("checker".into());
    crate::audit::AuditSink::write(&sink, &[denied])
        .await
        .unwrap();
    for (reader, told) in [("sam", None), ("zoe", Some("checker"))] {
        let parts = Desk::parts(reader);
        let list = desk
            .impersonation
            .read_trail(&parts, Default::default(), Default::default());
        let list = list.await.unwrap();
        assert_eq!(list.events[0].rule.as_deref(), told, "{reader}");
        assert_eq!(list.events[0].reason.is_some(), told.is_some(), "{reader}");
    }
}

#[tokio::test]
async fn r5_a_refusal_of_another_sites_request_names_whom_it_lured() {
    let desk = Desk::new();
    let service = service_fn(|_: Request<String>| async {
        Ok::<_, std::convert::Infallible>(Response::new(String::new()))
    });
    let service = desk.impersonation.layer().layer(service);
    let mut request = Request::get("/orders?as=ines")
        .header("sec-fetch-site", "cross-site")
        .body(String::new())
        .unwrap();
    let ada: UserId = "ada".parse().unwrap();
    request.extensions_mut().insert(ada.clone());
    assert_eq!(service.oneshot(request).await.unwrap().status(), 403);
    let denied = desk.events(EventName::Denied).await;
    assert_eq!((denied.len(), &denied[0].actor), (1, &Some(ada)));
}
