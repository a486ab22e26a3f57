//! The end of sessions: stopped by their actor, by an admin with the right to it, or because of what a request has
//! shown (rules S4, S5, R8).

use std::{borrow::Cow, sync::Arc};

use http::request::Parts;
use time::OffsetDateTime;

use super::{Engine, Refusal, join};
use crate::{
    rejection::{Rejection, RejectionKind},
    words::{
        ActingAs, Actor, AuditEvent, EndedReason, EventName, Rights, Session, SessionId, UserId,
    },
};

impl Engine {
    /// Ends the session of an acted request, else all active ones of `caller` (rule S5).
    pub(crate) async fn stop(
        self: &Arc<Self>,
        caller: &UserId,
        parts: &Parts,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        if let Some(acting_as) = parts.extensions.get::<ActingAs>() {
            let session = acting_as.session().ok_or_else(nothing_to_end)?;
            let ended = self.end(session.id, EndedReason::Manual, None).await?;
            return ended.map(|ended| vec![ended]).ok_or_else(nothing_to_end);
        }
        let ended = self.end_all(caller, EndedReason::Manual).await?;
        if ended.is_empty() {
            return Err(nothing_to_end());
        }
        Ok(ended)
    }

    /// Ends this session, if it is one of `caller`.
    pub(crate) async fn stop_one(
        self: &Arc<Self>,
        caller: &UserId,
        id: SessionId,
    ) -> Result<Arc<Session>, Refusal> {
        self.sweep().await?;
        let found = self.get(id).await?;
        if found.is_none_or(|session| session.actor != *caller) {
            return Err(nothing_to_end());
        }
        let ended = self.end(id, EndedReason::Manual, None).await?;
        ended.ok_or_else(nothing_to_end)
    }

    /// Ends someone's session: one's own needs no right.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        actor: &Actor,
        id: SessionId,
    ) -> Result<Arc<Session>, Refusal> {
        let found = self.get(id).await?;
        let is_own = found.is_some_and(|session| session.actor == *actor.id());
        let reason = match (is_own, actor.rights().contains(Rights::END_SESSIONS)) {
            (true, _) => EndedReason::Manual,
            (false, true) => EndedReason::SessionRevoked,
            // Callers without END_SESSIONS must not learn whether it exists.
            (false, false) => {
                return Err(missing_right("to end the sessions of others").by(actor.id()));
            }
        };
        let ended = self.end(id, reason, Some(actor.id().clone())).await?;
        let nothing = || Refusal::of(RejectionKind::NothingToEnd, "no such active session");
        ended.ok_or_else(|| nothing().by(actor.id()))
    }

    /// Ends all active sessions of an actor.
    pub(crate) async fn end_all(
        self: &Arc<Self>,
        actor: &UserId,
        reason: EndedReason,
    ) -> Result<Vec<Arc<Session>>, Refusal> {
        let mut ended = Vec::new();
        for session in self.active_of(actor, usize::MAX - 1).await? {
            ended.extend(self.end(session.id, reason, None).await?);
        }
        Ok(ended)
    }

    /// Ends one session, if it is active, and records it. `by` is who did it.
    ///
    /// The end is carried through even if the future is dropped, and even if the trail fails then (rule S5).
    pub(crate) async fn end(
        self: &Arc<Self>,
        id: SessionId,
        reason: EndedReason,
        by: Option<UserId>,
    ) -> Result<Option<Arc<Session>>, Refusal> {
        let sessions = self.sessions.required()?.clone();
        let this = self.clone();
        let ending = tokio::spawn(async move {
            let now = this.now()?;
            let ended = async { sessions.end(id, reason, now).await };
            let ended = this.ask("session store", ended).await?;
            if let Some(session) = &ended {
                this.record_end(session, by);
            }
            Ok(ended)
        });
        join("session store", ending.await)
    }

    /// Ends a session because of what this request has shown, and refuses the request.
    pub(super) async fn end_now(
        self: &Arc<Self>,
        session: Arc<Session>,
        reason: EndedReason,
        why: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        let id = session.id;
        let rule = reason.as_str().into();
        match self.end(id, reason, None).await {
            Ok(_) => Refusal {
                rule,
                session: Some(id),
                ..Refusal::new(Rejection::new(RejectionKind::SessionEnded, why))
            },
            Err(refusal) => refusal,
        }
    }

    /// Tells everyone that a session has ended, and the trail.
    pub(super) fn record_end(self: &Arc<Self>, session: &Session, by: Option<UserId>) {
        let reason = session.ended_reason;
        let reason = reason.unwrap_or(EndedReason::Timeout);
        self.trail.unfold_session(session.id);
        let at = session.ended_at.unwrap_or(session.expires_at);
        let mut event = self.session_event(EventName::End, session, at);
        event.reason = Some(reason.as_str().to_owned());
        event.by = by.filter(|by| *by != session.actor);
        self.sessions.lives.end(session.id, reason);
        self.trail.record(event);
        self.notify_end(session);
        self.revoke_credentials(session);
    }

    pub(super) fn session_event(
        &self,
        name: EventName,
        session: &Session,
        at: OffsetDateTime,
    ) -> AuditEvent {
        let mut event = self.trail.event_at(name, at);
        event.actor = Some(session.actor.clone());
        event.subject = Some(session.subject.clone());
        event.session = Some(session.id);
        event.reason = Some(session.reason.to_string());
        event.access = Some(session.access);
        event
    }
}

fn nothing_to_end() -> Refusal {
    Refusal::of(RejectionKind::NothingToEnd, "no active session")
}

pub(super) fn missing_right(what: &'static str) -> Refusal {
    Refusal::of(RejectionKind::MissingRight, what)
}
