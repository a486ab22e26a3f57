//! Asking the host: who calls, may they, is the subject still someone to act as. Every entry point comes through here
//! (rules [R7](crate::rules#r7), [R8](crate::rules#r8), [R13](crate::rules#r13), [S1](crate::rules#s1),
//! [S8](crate::rules#s8)).

use http::request::Parts;
use time::OffsetDateTime;

use super::{Engine, Refusal};
use crate::{
    host::{Caller, Grant},
    policy::{self, Denial},
    rejection::RejectionKind,
    words::{ActingAs, Actor, DirectoryUser, SessionId, Subject, UserId},
};

/// Whether an answer of the directory may be one that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// For starts and raises.
    Asked,
    /// For acted requests (rule [R8](crate::rules#r8)).
    MayBeKept,
}

/// The person who sent a request, as far as their own sessions go.
pub(crate) struct SignedInAs {
    pub(crate) id: UserId,
    /// As the admin that they are, if they are one.
    pub(crate) actor: Option<Actor>,
    /// The one session that they may see and stop, where its acting token is all there is.
    pub(crate) only: Option<SessionId>,
}

impl SignedInAs {
    fn user(id: UserId) -> Self {
        Self {
            id,
            actor: None,
            only: None,
        }
    }
}

impl Engine {
    /// Who calls; if nobody is signed in, that is a refusal (rule [R6](crate::rules#r6)).
    pub(crate) async fn caller(&self, parts: &Parts) -> Result<Caller, Refusal> {
        match self.host.identify(parts).await? {
            Caller::Anonymous => Err(nobody()),
            caller => Ok(caller),
        }
    }

    /// The admin who calls, on a request that is not acted itself (rules [R6](crate::rules#r6),
    /// [R16](crate::rules#r16)).
    pub(crate) async fn admin(&self, parts: &Parts) -> Result<Actor, Refusal> {
        not_acted(parts)?;
        match self.caller(parts).await? {
            Caller::Admin(actor) => Ok(actor),
            Caller::User(id) => Err(not_admin().by(&id)),
            Caller::Anonymous => Err(not_admin()),
        }
    }

    /// Who is really there, admin or not any more; of an acted request its actor. Where nobody is signed in, the acting
    /// token of a session is enough to see and stop that one (rule [S5](crate::rules#s5)).
    pub(crate) async fn signed_in(&self, parts: &Parts) -> Result<SignedInAs, Refusal> {
        if let Some(acting_as) = parts.extensions.get::<ActingAs>() {
            // Who is nobody's admin there (rule R16).
            return Ok(SignedInAs::user(acting_as.actor().id().clone()));
        }
        match self.host.identify(parts).await? {
            Caller::Admin(actor) => Ok(SignedInAs {
                actor: Some(actor.clone()),
                ..SignedInAs::user(actor.id().clone())
            }),
            Caller::User(id) => Ok(SignedInAs::user(id)),
            Caller::Anonymous => self.signed_in_by_token(parts).await?.ok_or_else(nobody),
        }
    }

    /// The first question, before any look-up.
    pub(crate) async fn may_ask(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Result<Grant, Denial>, Refusal> {
        let decision = self.host.authorize(actor, subject, parts).await?;
        Ok(policy::may_ask(actor, subject, decision))
    }

    /// The second question. The user, when the subject is one and there is a directory.
    pub(crate) async fn may_act(
        &self,
        actor: &Actor,
        subject: &Subject,
        freshness: Freshness,
        now: OffsetDateTime,
    ) -> Result<Result<Option<DirectoryUser>, Denial>, Refusal> {
        let Some(id) = subject.user_id() else {
            return Ok(Ok(None));
        };
        let mut user = None;
        if let Some(directory) = &self.host.directory {
            let kept = match freshness {
                Freshness::Asked => None,
                Freshness::MayBeKept => directory.recent(id, now),
            };
            let is_new = kept.is_none();
            user = match kept {
                Some(kept) => Some(kept),
                None => self.host.find(id).await?,
            };
            if let Err(denial) = policy::may_act(actor, id, user.as_ref()) {
                directory.forget(id);
                return Ok(Err(denial));
            }
            if let (true, Some(user)) = (is_new, &user) {
                directory.keep(user, now);
            }
        }
        match self.host.has_consent(id, now).await? {
            true => Ok(Ok(user)),
            false => Ok(Err(Denial::NoConsent)),
        }
    }

    /// Both questions, for a start or a change. The directory is asked afresh.
    pub(crate) async fn may_start(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
        now: OffsetDateTime,
    ) -> Result<(Grant, Option<DirectoryUser>), Refusal> {
        let told = |denial: Denial| {
            let kind = match denial {
                Denial::Oneself => RejectionKind::Yourself,
                Denial::UnknownSubject => RejectionKind::SubjectNotFound,
                _ => RejectionKind::Denied,
            };
            Refusal::denied(kind, &denial)
        };
        let grant = self.may_ask(actor, subject, parts).await?.map_err(told)?;
        let user = self.may_act(actor, subject, Freshness::Asked, now).await?;
        Ok((grant, user.map_err(told)?))
    }
}

/// An acted request starts and changes nothing (rule [R16](crate::rules#r16)).
pub(crate) fn not_acted(parts: &Parts) -> Result<(), Refusal> {
    match parts.extensions.get::<ActingAs>() {
        Some(acting_as) => {
            let reason = "the request is acted itself";
            Err(Refusal::of(RejectionKind::Nested, reason).by(acting_as.actor().id()))
        }
        None => Ok(()),
    }
}

fn nobody() -> Refusal {
    Refusal::of(RejectionKind::Unauthenticated, "nobody is signed in")
}

pub(crate) fn not_admin() -> Refusal {
    Refusal::of(RejectionKind::NotAdmin, "the caller is no admin")
}
