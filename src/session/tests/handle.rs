//! A4, R4, R19, S4, S9: the same behind the handle: ends, extensions and touches of which no word came.

use std::{sync::Arc, time::Duration};

use http::{Request, Response, request::Parts};
use tower::{Layer, ServiceExt, service_fn};

use super::{Fault, MINUTE, NOON, Probed, live, session, started, user};
use crate::{
    Actor, Caller, Decision, Grant, Impersonation, Rejection, RejectionKind, Rights,
    audit::{EventName, MemorySink},
    checker_fn,
    clock::ManualClock,
    session::{
        EndedReason, Page, SessionChange, SessionFilter, SessionList, SessionStore, SessionUpdate,
    },
    words::{Live, Subject, UserId},
};

/// What a host has: everyone who says who they are is an admin who may do everything.
struct Desk {
    impersonation: Impersonation,
    probe: Probed,
    clock: ManualClock,
    trail: MemorySink,
}

impl Desk {
    fn new() -> Self {
        let checker = checker_fn(
            |parts: &Parts| match parts.extensions.get::<UserId>() {
                Some(id) => {
                    let actor = Actor::new(id.clone(), crate::Rank(9));
                    Caller::Admin(actor.with_rights(Rights::all()))
                }
                None => Caller::Anonymous,
            },
            |_: &Actor, _: &Subject, _: &Parts| Decision::Allow(Grant::read_write()),
        );
        let (probe, clock) = (Probed::deaf(), ManualClock::new(NOON));
        let trail = MemorySink::default();
        let impersonation = Impersonation::builder(checker, trail.clone())
            .sessions(probe.clone())
            .clock(clock.clone())
            .handlers_read_acting_as()
            .build()
            .unwrap();
        Self {
            impersonation,
            probe,
            clock,
            trail,
        }
    }

    /// Lists as ada does, which also sweeps.
    async fn list(&self) -> Result<SessionList, Rejection> {
        let mut request = Request::new(());
        request.extensions_mut().insert(user("ada"));
        let (parts, ()) = request.into_parts();
        let all = SessionFilter::default();
        self.impersonation.list(&parts, all, Page::default()).await
    }

    /// A request of ada as ines: what the handler saw of the session, or the refusal.
    async fn act(&self) -> Result<Arc<Live>, RejectionKind> {
        let service = service_fn(|request: Request<String>| async move {
            assert!(request.extensions().get::<crate::ActingAs>().is_some());
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let service = self.impersonation.layer().layer(service);
        let mut request = Request::new(String::new());
        *request.uri_mut() = "/orders?as=ines".parse().unwrap();
        request.extensions_mut().insert(user("ada"));
        let response = service.oneshot(request).await.unwrap();
        if let Some(rejection) = response.extensions().get::<Rejection>() {
            return Err(rejection.kind());
        }
        let acting_as = response.extensions().get::<crate::ActingAs>().unwrap();
        let lives = &self.impersonation.engine.sessions.lives;
        Ok(live(lives, acting_as.session().unwrap()))
    }
}

#[tokio::test]
async fn r4_a_session_that_ends_while_it_is_looked_up_does_not_act() {
    for lost in [false, true] {
        let desk = Desk::new();
        let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
        desk.probe.gate(true);
        let ending = async {
            desk.probe.answer_waits().await;
            let (id, reason) = (session.id, EndedReason::SessionRevoked);
            let ended = desk.probe.end(id, reason, NOON).await.unwrap();
            assert!(ended.is_some());
            desk.probe.say(&match lost {
                true => SessionChange::Unknown,
                false => SessionChange::Ended(id, reason),
            });
            desk.probe.let_go(1);
        };
        let (acted, ()) = tokio::join!(desk.act(), ending);
        assert_eq!(acted.err(), Some(RejectionKind::NoSession));
    }
}

#[tokio::test]
async fn r19_the_end_of_another_session_while_one_is_looked_up_refuses_nothing() {
    let desk = Desk::new();
    let ines = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let other = session("eve", "ines", Duration::ZERO);
    desk.probe.gate(true);
    let ending = async {
        desk.probe.answer_waits().await;
        let reason = EndedReason::Manual;
        desk.probe.say(&SessionChange::Ended(other.id, reason));
        desk.probe.let_go(1);
    };
    let (acted, ()) = tokio::join!(desk.act(), ending);
    let live = acted.unwrap();
    let reason = EndedReason::SessionRevoked;
    desk.probe.say(&SessionChange::Ended(ines.id, reason));
    assert_eq!(live.ended(), Some(reason), "it hears of its own end");
}

#[tokio::test]
async fn s9_a_store_that_fails_while_news_are_made_up_is_asked_again() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let live = desk.act().await.unwrap();
    desk.list().await.unwrap();
    let reason = EndedReason::SessionRevoked;
    let ended = desk.probe.end(session.id, reason, NOON).await.unwrap();
    assert!(ended.is_some());

    desk.probe.say(&SessionChange::Unknown);
    desk.probe.next([Fault::Error]);
    let refused = desk.list().await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unavailable);
    assert_eq!(live.ended(), None);
    desk.list().await.unwrap();
    assert_eq!(live.ended(), Some(reason));
}

#[tokio::test]
async fn s9_a_lost_extension_is_made_up_for() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    let live = desk.act().await.unwrap();
    let mut waits = tokio_test::task::spawn(live.until_ended(&desk.clock));
    assert!(waits.poll().is_pending());

    let update = SessionUpdate {
        expires_at: Some(NOON + 180 * MINUTE),
        ..SessionUpdate::default()
    };
    let updated = desk.probe.update(session.id, update, NOON).await.unwrap();
    assert!(updated.is_some());
    desk.probe.say(&SessionChange::Unknown);
    desk.list().await.unwrap();
    desk.clock.advance(120 * MINUTE);
    assert!(waits.poll().is_pending());
    desk.clock.advance(60 * MINUTE);
    assert_eq!(waits.poll(), std::task::Poll::Ready(EndedReason::Timeout));
}

#[tokio::test]
async fn s4_a_request_that_the_store_could_not_be_told_of_is_told_later() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    desk.clock.advance(20 * MINUTE);
    desk.act().await.unwrap();
    desk.probe.next([Fault::Error]);
    let refused = desk.list().await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Unavailable);

    desk.clock.advance(20 * MINUTE);
    desk.list().await.unwrap();
    let there = desk.probe.get(session.id).await.unwrap().unwrap();
    assert_eq!(there.last_seen_at, NOON + 20 * MINUTE);
    assert_eq!(there.ended_reason, None, "it is not idle");
}

#[tokio::test]
async fn a4_an_end_is_recorded_even_if_nobody_waits_for_the_sweep() {
    let desk = Desk::new();
    let session = started(&desk.probe, session("ada", "ines", Duration::ZERO)).await;
    desk.clock.advance(120 * MINUTE);
    desk.probe.gate(true);
    let mut listing = tokio_test::task::spawn(desk.list());
    assert!(listing.poll().is_pending());
    desk.probe.answer_waits().await;
    drop(listing);
    desk.probe.gate(false);
    desk.probe.let_go(1);
    // What the store had ended for the one who went away gets into the trail.
    for _ in 0..1_000 {
        desk.impersonation.trail().flush().await.unwrap();
        let events = desk.trail.events();
        if let Some(end) = events.iter().find(|event| event.name == EventName::End) {
            assert_eq!(end.session, Some(session.id));
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the end was lost");
}
