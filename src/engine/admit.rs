//! From a marker to [`ActingAs`]: the checks of an acted request, in their order.
//!
//! marker → caller → checker → session → directory → route → trail. Every way out but the last is a
//! refusal (rule [R4](crate::rules#r4)), and every refusal is recorded (rule [A3](crate::rules#a3)).

use std::sync::Arc;

use http::request::Parts;
use time::OffsetDateTime;

use super::{Ask, Engine, Freshness, Refusal, ask::not_admin};
use crate::{
    audit::{RequestFacts, RequestGuard},
    host::{Caller, Missing},
    policy::{Denial, Route},
    rejection::{Rejection, RejectionKind},
    request::{Fault, Marker, is_cross_site},
    words::{Access, ActingAs, Actor, EndedReason, Subject, UserId},
};

/// A request that may reach its handler.
pub(crate) struct Admitted {
    pub(crate) acting_as: ActingAs,
    pub(crate) guard: RequestGuard,
}

impl Engine {
    /// Admits a marked request, or says why not.
    ///
    /// When it is admitted, `parts` carries [`ActingAs`] and no marker, and its intent is durable if it
    /// may change something.
    pub(crate) async fn admit(
        self: &Arc<Self>,
        parts: &mut Parts,
        ask: Ask,
        route: Route,
    ) -> Result<Admitted, Rejection> {
        let marker = match ask {
            Ask::Marker(marker) => marker,
            Ask::Token(carried, marker) => {
                return self.admit_token(parts, &carried, marker, route).await;
            }
        };
        let subject = marker.subject.clone();
        match self.try_admit(parts, marker, route).await {
            Ok(admitted) => Ok(admitted),
            Err(refusal) => {
                self.note(parts, Some(&subject), &refusal);
                Err(refusal.rejection)
            }
        }
    }

    async fn try_admit(
        self: &Arc<Self>,
        parts: &mut Parts,
        marker: Marker,
        route: Route,
    ) -> Result<Admitted, Refusal> {
        if let Err(refusal) = may_be_acted(parts, marker.in_url) {
            return Err(self.name_caller(parts, refusal).await);
        }
        if self.is_too_long_a_page(parts) {
            let fault = Fault::LongPage.to_string();
            return Err(Refusal::of(RejectionKind::MalformedMarker, fault));
        }
        let now = self.now()?;
        let actor = match self.caller(parts).await? {
            Caller::Admin(actor) => actor,
            Caller::User(id) => return Err(self.demoted_user(id, &marker.subject, now).await),
            Caller::Anonymous => return Err(not_admin()),
        };
        let acting_as = self.acting_as(parts, &actor, marker, now).await;
        let acting_as = acting_as.map_err(|refusal| refusal.by(actor.id()))?;
        let session = acting_as.session().map(|session| session.id);
        let admitted = self.enter(parts, acting_as, route, now).await;
        admitted.map_err(|refusal| refusal.by(actor.id()).within(session))
    }

    /// Adds who was lured, for the trail: asked when the refusal is decided, whatever the answer is.
    pub(crate) async fn name_caller(&self, parts: &Parts, refusal: Refusal) -> Refusal {
        if refusal.rejection.kind() != RejectionKind::CrossSite {
            return refusal;
        }
        match self.host.identify(parts).await {
            Ok(Caller::Admin(actor)) => refusal.by(actor.id()),
            Ok(Caller::User(id)) => refusal.by(&id),
            Ok(Caller::Anonymous) | Err(_) => refusal,
        }
    }

    /// Someone who is no admin, or no longer one (rules [R6](crate::rules#r6), [R8](crate::rules#r8)).
    async fn demoted_user(
        self: &Arc<Self>,
        id: UserId,
        subject: &Subject,
        now: OffsetDateTime,
    ) -> Refusal {
        let Some(sessions) = self.sessions.store() else {
            return not_admin().by(&id);
        };
        match self.session_of(sessions, &id, subject, now).await {
            Ok(Some(session)) => self
                .end_now(session, EndedReason::ActorDemoted, "the actor is no admin")
                .await
                .by(&id),
            Ok(None) => not_admin().by(&id),
            Err(refusal) => refusal.by(&id),
        }
    }

    /// The checks that do not depend on the route.
    pub(crate) async fn acting_as(
        self: &Arc<Self>,
        parts: &Parts,
        actor: &Actor,
        marker: Marker,
        now: OffsetDateTime,
    ) -> Result<ActingAs, Refusal> {
        let Marker {
            subject, reason, ..
        } = marker;
        let grant = self.may_ask(actor, &subject, parts).await?;
        let Some(sessions) = self.sessions.store() else {
            let denied = |denial: Denial| Refusal::denied(RejectionKind::Denied, &denial);
            let grant = grant.map_err(denied)?;
            let user = self
                .may_act(actor, &subject, Freshness::MayBeKept, now)
                .await?
                .map_err(denied)?;
            return Ok(ActingAs::by_request(
                actor.clone(),
                subject,
                user,
                grant.access(),
                reason,
                self.host.calls.clock.clone(),
            ));
        };

        let before = self.sessions.lives.before();
        let session = self.session_of(sessions, actor.id(), &subject, now).await?;
        let (grant, session) = match (grant, session) {
            (Ok(grant), Some(session)) => (grant, session),
            (Ok(_), None) => {
                // It may be over for being overdue: then it stays over, whatever a clock does (rule S4).
                self.sweep().await?;
                let reason = "the actor has no active session for this subject";
                return Err(Refusal::of(RejectionKind::NoSession, reason));
            }
            (Err(denial), None) => return Err(Refusal::denied(RejectionKind::Denied, &denial)),
            (Err(denial), Some(session)) => {
                let ended = self.end_now(session, EndedReason::ActorDemoted, denial.to_string());
                return Err(ended.await);
            }
        };
        let live = self.live_session(sessions, &session, before).await?;
        let session = self.not_idle(sessions, session, &live, now).await?;
        if actor.rank() < session.actor_rank || grant.access() < session.access {
            let why = "the actor's rank or grant is less than at the start";
            return Err(self.end_now(session, EndedReason::ActorDemoted, why).await);
        }
        let user = self.may_act(actor, &session.subject, Freshness::MayBeKept, now);
        let user = match user.await? {
            Ok(user) => user,
            Err(denial) => {
                let ended = self.end_now(session, EndedReason::SubjectGone, denial.to_string());
                return Err(ended.await);
            }
        };
        Ok(ActingAs::by_session(
            actor.clone(),
            user,
            session,
            live,
            self.host.calls.clock.clone(),
        ))
    }

    /// The checks of the route, then the step into the handler: extensions, marker, trail.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        parts: &mut Parts,
        acting_as: ActingAs,
        route: Route,
        now: OffsetDateTime,
    ) -> Result<Admitted, Refusal> {
        let writes = match (route, acting_as.access()) {
            (Route::Protected, _) => {
                let reason = "the route is protected";
                return Err(Refusal::of(RejectionKind::Protected, reason));
            }
            (Route::Write, Access::ReadOnly) => {
                let reason = "the access is read-only";
                return Err(Refusal::of(RejectionKind::ReadOnly, reason));
            }
            (Route::Write, Access::ReadWrite) => true,
            (Route::Read | Route::Excluded, _) => false,
        };
        self.can_be_assumed(parts).await?;
        let changes = self.host.assumed(&acting_as, parts).await?;
        if let Some(live) = acting_as.live() {
            live.see(now);
            self.keep_swept();
        }
        let facts = RequestFacts::new(&self.client, parts, acting_as.clone(), now);
        let guard = if writes {
            RequestGuard::write(&self.trail, facts).await?
        } else {
            RequestGuard::read(&self.trail, facts).await?
        };
        if let Some(reason) = acting_as.has_ended() {
            // It ended while the host's code or the trail was waited for.
            guard.refuse();
            return Err(Refusal::of(RejectionKind::NoSession, reason.as_str()));
        }
        self.strip(parts);
        changes.into_iter().for_each(|change| change(parts));
        parts.extensions.insert(acting_as.clone());
        Ok(Admitted { acting_as, guard })
    }

    /// Refuses a request whose handlers look for their user elsewhere than where the subject would be (rule
    /// [R14](crate::rules#r14)).
    ///
    /// Beside an acting token there need not be a login. Then nothing of the actor's is on the request, and nothing has
    /// to be replaced.
    async fn can_be_assumed(&self, parts: &Parts) -> Result<(), Refusal> {
        let Some(missing) = self.host.missing(parts) else {
            return Ok(());
        };
        if matches!(missing, Missing::Absent { .. }) {
            let mut own = parts.clone();
            self.strip(&mut own);
            if self.host.identify(&own).await? == Caller::Anonymous {
                return Ok(());
            }
        }
        tracing::error!(target: "tower_impersonation", "{missing}");
        Err(Refusal::of(RejectionKind::Unavailable, missing.to_string()))
    }
}

/// What no request with a marker may be: acted already (rule [R16](crate::rules#r16)), or sent by another site (rule
/// [R5](crate::rules#r5)).
pub(super) fn may_be_acted(parts: &Parts, has_marker_in_url: bool) -> Result<(), Refusal> {
    if parts.extensions.get::<ActingAs>().is_some() {
        return Err(Refusal::of(RejectionKind::Nested, "it is acted already"));
    }
    if has_marker_in_url && is_cross_site(parts) {
        return Err(Refusal::of(
            RejectionKind::CrossSite,
            "another site sent the marker",
        ));
    }
    Ok(())
}
