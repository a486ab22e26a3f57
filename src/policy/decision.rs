//! Who may act as whom. Every entry point (the layer, the handle, the HTTP API) asks the same two questions in the same
//! order: [`may_ask`] before anything is looked up, [`may_act`] once the directory has answered.
//!
//! Nothing here asks anyone: answers come in as arguments, so that a table of cases can test every combination.

use std::borrow::Cow;

use crate::{
    host::{Decision, Grant},
    words::{Access, Actor, DirectoryUser, Rights, Subject, UserId},
};

/// Why an actor may not act as a subject. For the trail and the log, never for the caller (rule [R7](crate::rules#r7)).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denial {
    #[error("the checker said no: {0}")]
    Checker(Cow<'static, str>),
    #[error("nobody acts as oneself")]
    Oneself,
    #[error("the actor has no right to the service role")]
    ServiceRight,
    #[error("the directory knows no such user")]
    UnknownSubject,
    #[error("the subject's rank is not below the actor's")]
    Rank,
    #[error("the subject may not be acted as: {0}")]
    NotImpersonable(String),
    #[error("the subject has not allowed it, or no longer does")]
    NoConsent,
}

/// The first question, asked before any look-up (rule [R7](crate::rules#r7)): may this actor act as such a subject at
/// all?
pub(crate) fn may_ask(
    actor: &Actor,
    subject: &Subject,
    decision: Decision,
) -> Result<Grant, Denial> {
    match (subject, decision) {
        (Subject::User(id), _) if id == actor.id() => Err(Denial::Oneself),
        (_, Decision::Deny(reason)) => Err(Denial::Checker(reason)),
        (Subject::Service, _) if !actor.rights().contains(Rights::SERVICE) => {
            Err(Denial::ServiceRight)
        }
        (_, Decision::Allow(grant)) => Ok(grant),
    }
}

/// The second question: may this actor act as this user (rule [S1](crate::rules#s1))?
///
/// A directory that is lenient about ids (case, spaces) may answer with another one than was asked for: that
/// is not the subject, or one user would be several subjects.
pub(crate) fn may_act(
    actor: &Actor,
    id: &UserId,
    user: Option<&DirectoryUser>,
) -> Result<(), Denial> {
    let Some(user) = user.filter(|user| user.id() == id) else {
        return Err(Denial::UnknownSubject);
    };
    if user.rank() >= actor.rank() {
        return Err(Denial::Rank);
    }
    match user.not_impersonable() {
        Some(reason) => Err(Denial::NotImpersonable(reason.to_owned())),
        None => Ok(()),
    }
}

// === impl Denial ===

impl Denial {
    /// The rule by name, for the trail.
    pub(crate) fn rule(&self) -> &'static str {
        match self {
            Self::Checker(_) => "checker",
            Self::Oneself => "self",
            Self::ServiceRight => "service_right",
            Self::UnknownSubject => "unknown_subject",
            Self::Rank => "rank",
            Self::NotImpersonable(_) => "not_impersonable",
            Self::NoConsent => "no_consent",
        }
    }
}

/// The lesser of what was asked for and what is granted (rule [S1](crate::rules#s1)).
pub(crate) fn narrow(asked: Access, grant: &Grant) -> Access {
    asked.min(grant.access())
}

#[cfg(test)]
mod tests;
