//! [`Refusal`]: what a caller is told, and what the trail has to know besides.

use std::borrow::Cow;

use http::request::Parts;

use super::Engine;
use crate::{
    audit::{TrailError, describe_call},
    host::Unanswered,
    policy::Denial,
    rejection::{Rejection, RejectionKind},
    words::{EventName, SessionId, Subject, UserId, clock::ClockError},
};

/// A refusal with what the trail has to know about it.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) rejection: Rejection,
    /// The rule by name.
    pub(crate) rule: Cow<'static, str>,
    /// Who tried, as far as it is known.
    pub(crate) actor: Option<UserId>,
    /// The subject, where it came out only later whom the request means.
    pub(crate) subject: Option<Subject>,
    /// The session that it is about, where the trail has to tell.
    pub(crate) session: Option<SessionId>,
    /// It is in the trail already.
    pub(crate) noted: bool,
}

impl Refusal {
    /// A refusal whose kind says it all.
    pub(crate) fn of(kind: RejectionKind, reason: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejection::new(kind, reason))
    }

    /// A refusal by the rule that its rejection's kind names.
    pub(crate) fn new(rejection: Rejection) -> Self {
        let rule = rejection.kind().code().into();
        Self {
            rejection,
            rule,
            actor: None,
            subject: None,
            session: None,
            noted: false,
        }
    }

    pub(crate) fn denied(kind: RejectionKind, denial: &Denial) -> Self {
        Self {
            rule: denial.rule().into(),
            ..Self::of(kind, denial.to_string())
        }
    }

    pub(crate) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Rejection::invalid(detail))
    }

    pub(crate) fn by(mut self, actor: &UserId) -> Self {
        self.actor = Some(actor.clone());
        self
    }

    pub(crate) fn about(mut self, subject: &Subject) -> Self {
        self.subject = Some(subject.clone());
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

impl From<Unanswered> for Refusal {
    /// Host code gave no answer (rule [R13](crate::rules#r13)).
    fn from(error: Unanswered) -> Self {
        let text = error.to_string();
        tracing::error!(
            target: "tower_impersonation",
            what = error.what, error = &error.why as &dyn std::error::Error, "no answer"
        );
        Self::of(RejectionKind::Unavailable, text)
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

impl Engine {
    /// Records a refusal, with the subject that was asked for (rule [A3](crate::rules#a3)).
    pub(crate) fn note(&self, parts: &Parts, subject: Option<&Subject>, refusal: &Refusal) {
        if refusal.noted {
            return;
        }
        let Ok(mut event) = self.trail.event(refusal.event_name()) else {
            tracing::error!(
                target: "tower_impersonation",
                rule = &*refusal.rule, "a refusal cannot be recorded without the time"
            );
            return;
        };
        event.actor = refusal.actor.clone();
        event.subject = refusal.subject.as_ref().or(subject).cloned();
        event.session = refusal.session;
        event.rule = Some(refusal.rule.clone());
        event.reason = Some(refusal.rejection.reason().to_owned());
        event.status = Some(refusal.rejection.kind().status().as_u16());
        describe_call(&mut event, &self.client, parts);
        self.trail.record_refusal(event);
    }
}
