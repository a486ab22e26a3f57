//! From a token to [`ActingAs`]: the same checks as for a marker, and one more: it must be the token's own session.

use std::sync::Arc;

use http::request::Parts;
use time::OffsetDateTime;

use super::{BadToken, Carried, CarriedBy, Purpose, Signer, claims::Claims};
use crate::{
    acting_as::ActingAs,
    admit::Admitted,
    checker::Caller,
    identity::{Access, Actor, Subject},
    impersonation::Inner,
    marker::{Fault, Marker, is_cross_site},
    policy::Route,
    rejection::{Rejection, RejectionKind},
    session::EndedReason,
    vet::Refusal,
};

impl Inner {
    /// Admits a request that carries a token, or says why not.
    pub(crate) async fn admit_token(
        self: &Arc<Self>,
        parts: &mut Parts,
        carried: &Carried,
        marker: Option<Marker>,
        route: Route,
    ) -> Result<Admitted, Rejection> {
        let mut subject = marker.as_ref().map(|marker| marker.subject.clone());
        let admitted = self
            .try_admit_token(parts, carried, marker, route, &mut subject)
            .await;
        admitted.map_err(|refusal| self.refused(parts, subject.as_ref(), refusal))
    }

    async fn try_admit_token(
        self: &Arc<Self>,
        parts: &mut Parts,
        carried: &Carried,
        marker: Option<Marker>,
        route: Route,
        subject: &mut Option<Subject>,
    ) -> Result<Admitted, Refusal> {
        if parts.extensions.get::<ActingAs>().is_some() {
            return Err(Refusal::of(RejectionKind::Nested, "it is acted already"));
        }
        if marker.as_ref().is_some_and(|marker| marker.in_url) && is_cross_site(parts) {
            return Err(Refusal::of(
                RejectionKind::CrossSite,
                "another site sent the marker",
            ));
        }
        let now = self.clock.now()?;
        let purpose = match carried.by {
            CarriedBy::Bearer | CarriedBy::Header => Purpose::Access,
            CarriedBy::Cookie => Purpose::Cookie,
        };
        let claims = self.signer()?.verify(&carried.text, purpose, now)?;
        if marker.is_some_and(|marker| marker.subject != claims.subject) {
            let fault = Fault::Disagree.to_string();
            return Err(Refusal::of(RejectionKind::MalformedMarker, fault).by(&claims.actor));
        }
        *subject = Some(claims.subject.clone());
        let admitted = async {
            let actor = match carried.by {
                CarriedBy::Bearer => self.actor_of_token(&claims, now).await?,
                CarriedBy::Header => self.actor_beside_token(parts, &claims, now).await?,
                CarriedBy::Cookie => self.actor_of_cookie(parts, &claims, now).await?,
            };
            // Raised after a token was made: whoever holds only the old one stays where they were. A cookie is the
            // browser's own, and there is one.
            let most = match carried.by {
                CarriedBy::Cookie => Access::ReadWrite,
                CarriedBy::Bearer | CarriedBy::Header => claims.access,
            };
            let acting_as = self.acting_by_token(parts, &actor, &claims, now).await?;
            let acting_as = acting_as.with_access_at_most(most);
            self.enter(parts, acting_as, route, now).await
        };
        admitted.await.map_err(|refusal| refusal.by(&claims.actor))
    }

    pub(crate) fn signer(&self) -> Result<&Arc<Signer>, Refusal> {
        let missing = || {
            let reason = "no tokens are set; see `Builder::tokens`";
            Refusal::of(RejectionKind::Unavailable, reason)
        };
        self.tokens.as_ref().ok_or_else(missing)
    }

    /// Who acts, where the token is all there is (rule R8).
    pub(super) async fn actor_of_token(
        self: &Arc<Self>,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        let found = async { self.checker.actor(&claims.actor).await };
        match self.ask("checker", found).await? {
            Some(actor) if *actor.id() == claims.actor => Ok(actor),
            _ => Err(self.demoted(claims, now).await),
        }
    }

    /// Who acts, where they also have their own login on the request: it has to be theirs.
    async fn actor_beside_token(
        self: &Arc<Self>,
        parts: &Parts,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        match self.caller(parts).await? {
            Caller::Admin(actor) if *actor.id() == claims.actor => Ok(actor),
            Caller::User(id) if id == claims.actor => Err(self.demoted(claims, now).await),
            _ => Err(invalid("the token is someone else's")),
        }
    }

    /// Who acts, where their own login may be on the request, but need not.
    async fn actor_of_cookie(
        self: &Arc<Self>,
        parts: &Parts,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        match self.identify(parts).await? {
            Caller::Anonymous => self.actor_of_token(claims, now).await,
            Caller::Admin(actor) if *actor.id() == claims.actor => Ok(actor),
            Caller::User(id) if id == claims.actor => Err(self.demoted(claims, now).await),
            _ => Err(invalid("the cookie is someone else's")),
        }
    }

    /// Ends the session of an actor who is no admin any more.
    async fn demoted(self: &Arc<Self>, claims: &Claims, now: OffsetDateTime) -> Refusal {
        let sessions = match self.store() {
            Ok(sessions) => sessions,
            Err(refusal) => return refusal,
        };
        let open = self
            .session_of(sessions, &claims.actor, &claims.subject, now)
            .await;
        match open {
            Ok(Some(session)) if session.id == claims.session => {
                let why = "the actor is no admin";
                as_token(self.end_now(session, EndedReason::ActorDemoted, why).await)
            }
            Ok(_) => invalid("the token's session has ended"),
            Err(refusal) => refusal,
        }
    }

    /// Everything that a marker has to pass, and the token's own session.
    pub(super) async fn acting_by_token(
        self: &Arc<Self>,
        parts: &Parts,
        actor: &Actor,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<ActingAs, Refusal> {
        let sessions = self.store()?;
        let open = self
            .session_of(sessions, actor.id(), &claims.subject, now)
            .await?;
        // Before anything is ended because of it: an old token says nothing about a newer session.
        if open.is_none_or(|session| session.id != claims.session) {
            return Err(invalid("the token's session has ended"));
        }
        let marker = Marker {
            subject: claims.subject.clone(),
            in_url: false,
            reason: None,
        };
        let acting_as = self
            .acting_as(parts, actor, marker, now)
            .await
            .map_err(as_token)?;
        if acting_as
            .session()
            .is_none_or(|session| session.id != claims.session)
        {
            return Err(invalid("the token's session has ended"));
        }
        Ok(acting_as)
    }
}

/// A token that is no good.
pub(super) fn invalid(reason: &'static str) -> Refusal {
    Refusal::of(RejectionKind::InvalidToken, reason)
}

/// What ends a token is 401, whatever it would be for a marker; the rule stays what it was.
pub(super) fn as_token(refusal: Refusal) -> Refusal {
    match refusal.rejection.kind() {
        RejectionKind::NoSession
        | RejectionKind::SessionEnded
        | RejectionKind::Denied
        | RejectionKind::NotAdmin => {
            let reason = refusal.rejection.reason().to_owned();
            Refusal {
                rejection: Rejection::new(RejectionKind::InvalidToken, reason),
                ..refusal
            }
        }
        _ => refusal,
    }
}

impl From<BadToken> for Refusal {
    fn from(bad: BadToken) -> Self {
        Self::of(RejectionKind::InvalidToken, bad.to_string())
    }
}
