//! Asking the host: who calls, may they, is the subject still someone to act as. Every entry point comes
//! through here (rules R7, R8, R13, S1, S8).

use std::borrow::Cow;

use http::request::Parts;
use time::OffsetDateTime;

use crate::{
    BoxError,
    audit::{EventName, TrailError},
    checker::{Caller, Grant},
    clock::ClockError,
    directory::DirectoryUser,
    guarded::{NoAnswer, guarded},
    identity::{Actor, Subject, UserId},
    impersonation::Inner,
    policy::{self, Denial},
    rejection::{Rejection, RejectionKind},
    session::SessionId,
};

/// A refusal with what the trail has to know about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) rejection: Rejection,
    /// The rule by name.
    pub(crate) rule: &'static str,
    /// Who tried, as far as it is known.
    pub(crate) actor: Option<UserId>,
    /// The session that it is about, where the trail has to tell.
    pub(crate) session: Option<SessionId>,
    /// It is in the trail already.
    pub(crate) noted: bool,
}

/// Whether an answer of the directory may be one that was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// For starts and raises.
    Asked,
    /// For acted requests (rule R8).
    MayBeKept,
}

// === impl Refusal ===

impl Refusal {
    /// A refusal whose kind says it all.
    pub(crate) fn of(kind: RejectionKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rejection: Rejection::new(kind, reason),
            rule: kind.code(),
            actor: None,
            session: None,
            noted: false,
        }
    }

    pub(crate) fn denied(kind: RejectionKind, denial: &Denial) -> Self {
        Self {
            rejection: Rejection::new(kind, denial.to_string()),
            rule: denial.rule(),
            actor: None,
            session: None,
            noted: false,
        }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            rejection: Rejection::invalid(detail),
            rule: RejectionKind::InvalidRequest.code(),
            actor: None,
            session: None,
            noted: false,
        }
    }

    /// Something of the host's gave no answer (rule R13).
    pub(crate) fn no_answer(what: &'static str, why: NoAnswer) -> Self {
        let why: BoxError = Box::new(why);
        tracing::error!(target: "tower_impersonation", what, error = &*why, "no answer");
        Self::of(RejectionKind::Unavailable, format!("{what}: {why}"))
    }

    pub(crate) fn by(mut self, actor: &UserId) -> Self {
        self.actor = Some(actor.clone());
        self
    }

    pub(crate) fn within(mut self, session: Option<SessionId>) -> Self {
        self.session = self.session.or(session);
        self
    }

    fn event_name(&self) -> EventName {
        match self.rejection.kind() {
            RejectionKind::NotAdmin => EventName::PrivilegeViolation,
            // The same behind a token.
            _ if self.rule == RejectionKind::NotAdmin.code() => EventName::PrivilegeViolation,
            _ => EventName::Denied,
        }
    }
}

impl From<ClockError> for Refusal {
    fn from(error: ClockError) -> Self {
        Self::of(RejectionKind::Unavailable, error.to_string())
    }
}

impl From<TrailError> for Refusal {
    fn from(error: TrailError) -> Self {
        Self::of(RejectionKind::TrailUnavailable, error.to_string())
    }
}

// === impl Inner ===

impl Inner {
    /// Calls something of the host's, within its time. The call itself belongs into `answer`: it may panic
    /// before there is a future.
    pub(crate) async fn ask<T>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, Refusal> {
        guarded(&*self.clock, self.settings.check_timeout, answer)
            .await
            .map_err(|why| Refusal::no_answer(what, why))
    }

    /// Who calls, or that it is nobody (rule R13).
    pub(crate) fn identify(
        &self,
        parts: &Parts,
    ) -> impl Future<Output = Result<Caller, Refusal>> + Send {
        // Not an async fn: a future around a future costs acted requests more than a hundred instructions.
        self.ask("checker", async { self.checker.identify(parts).await })
    }

    /// Who calls; nobody is a refusal (rule R6).
    pub(crate) async fn caller(&self, parts: &Parts) -> Result<Caller, Refusal> {
        match self.identify(parts).await? {
            Caller::Anonymous => Err(Refusal::of(
                RejectionKind::Unauthenticated,
                "nobody is signed in",
            )),
            caller => Ok(caller),
        }
    }

    /// The admin who calls; anyone else is a refusal (rule R6).
    pub(crate) async fn actor(&self, parts: &Parts) -> Result<Actor, Refusal> {
        match self.caller(parts).await? {
            Caller::Admin(actor) => Ok(actor),
            Caller::User(id) => Err(not_admin().by(&id)),
            Caller::Anonymous => Err(not_admin()),
        }
    }

    /// The first question, before any look-up.
    pub(crate) async fn may_ask(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Result<Grant, Denial>, Refusal> {
        let decision = async { self.checker.authorize(actor, subject, parts).await };
        let decision = self.ask("checker", decision).await?;
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
        if let Some(directory) = &self.directory {
            let kept = match freshness {
                Freshness::Asked => None,
                Freshness::MayBeKept => directory.recent(id, now),
            };
            let is_new = kept.is_none();
            user = match kept {
                Some(kept) => Some(kept),
                None => {
                    let found = async { directory.directory().find(id).await };
                    self.ask("directory", found).await?
                }
            };
            if let Err(denial) = policy::may_act(actor, id, user.as_ref()) {
                directory.forget(id);
                return Ok(Err(denial));
            }
            if let (true, Some(user)) = (is_new, &user) {
                directory.keep(user, now);
            }
        }
        if let Some(consent) = &self.consent {
            let until = async { consent.allowed_until(id).await };
            let until = self.ask("consent", until).await?;
            if until.is_none_or(|until| until <= now) {
                return Ok(Err(Denial::NoConsent));
            }
        }
        Ok(Ok(user))
    }

    /// Records a refusal, with the subject that was asked for (rule A3).
    pub(crate) fn note(&self, parts: &Parts, subject: Option<&Subject>, refusal: &Refusal) {
        if refusal.noted {
            return;
        }
        let Ok(mut event) = self.trail.event(refusal.event_name()) else {
            tracing::error!(
                target: "tower_impersonation",
                rule = refusal.rule, "a refusal cannot be recorded without the time"
            );
            return;
        };
        event.actor = refusal.actor.clone();
        event.subject = subject.cloned();
        event.session = refusal.session;
        event.rule = Some(refusal.rule);
        event.reason = Some(refusal.rejection.reason().to_owned());
        event.status = Some(refusal.rejection.kind().status().as_u16());
        self.client.describe(&mut event, parts);
        self.trail.record_refusal(event);
    }
}

pub(crate) fn not_admin() -> Refusal {
    Refusal::of(RejectionKind::NotAdmin, "the caller is no admin")
}
