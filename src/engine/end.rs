//! The end of sessions: stopped by their actor, by an admin with the right to it, or because of what a request has
//! shown (rules [S4](crate::rules#s4), [S5](crate::rules#s5), [R8](crate::rules#r8)).
//!
//! 1. This process refuses the session from the moment it is asked to end it, before the store has answered.
//! 2. A separate task asks the store, again and again until it has the end. The caller gets the first answer.
//! 3. The event is written in the store's own transaction where possible, else after it, and then confirmed. The
//!    sweep writes what is not confirmed: the event of an end stays the same one, no matter how often it is written
//!    (rule [A1](crate::rules#a1)).

use std::{
    borrow::Cow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use http::request::Parts;
use time::OffsetDateTime;
use tokio::sync::oneshot;

use super::{Engine, Refusal};
use crate::{
    audit::call_of,
    rejection::{Rejection, RejectionKind},
    words::{
        ActingAs, Actor, AuditEvent, Call, EndedReason, EventName, Rights, Session, SessionId,
        UserId,
    },
};

/// What became of a request to end a session.
#[derive(Debug, Clone)]
pub(crate) enum Ended {
    /// The store has it ended.
    Stored(Arc<Session>),
    /// There was nothing to end.
    Nothing,
    /// This process refuses the session from now on; the store has not answered yet, and will be asked until it does.
    NotYet,
}

/// An end that was asked for, until the store has it.
struct Asked {
    id: SessionId,
    /// Only if it is this actor's. It is refused before the store was asked whose it is.
    of: Option<UserId>,
    reason: EndedReason,
    call: Call,
    /// The store has failed before.
    is_again: bool,
}

/// The sessions that a stop, a forced end, a log-out or a demotion has ended.
///
/// ```
/// use tower_impersonation::Stopped;
///
/// fn message(stopped: &Stopped) -> String {
///     match (stopped.sessions.len(), stopped.is_stored) {
///         (_, false) => "ended here; the store will follow".to_owned(),
///         (ended, true) => format!("{ended} ended"),
///     }
/// }
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stopped {
    /// The sessions that the store has ended by now.
    pub sessions: Vec<Arc<Session>>,
    /// Whether the store has every end. If not, this process already refuses the sessions, and retries until the
    /// store has them (rule [S5](crate::rules#s5)).
    pub is_stored: bool,
}

impl Engine {
    /// The call that a request makes, by its caller.
    pub(super) fn call(&self, parts: &Parts, by: &UserId) -> Call {
        call_of(&self.client, parts).by(by)
    }

    /// Ends the session of an acted request, or `only` this one, else all active ones of `caller` (rule
    /// [S5](crate::rules#s5)).
    pub(crate) async fn stop(
        self: &Arc<Self>,
        caller: &UserId,
        only: Option<SessionId>,
        parts: &Parts,
    ) -> Result<Stopped, Refusal> {
        let call = self.call(parts, caller);
        let acting_as = parts.extensions.get::<ActingAs>();
        let id = match (acting_as, only) {
            (Some(acting_as), _) => Some(acting_as.session().ok_or_else(nothing_to_end)?.id),
            (None, only) => only,
        };
        let stopped = match id {
            Some(id) => self.end(id, EndedReason::Manual, call).await?.into(),
            None => self.end_all(caller, EndedReason::Manual, call).await?,
        };
        stopped.if_any().ok_or_else(nothing_to_end)
    }

    /// Ends this session, if it is one of `caller`.
    pub(crate) async fn stop_one(
        self: &Arc<Self>,
        caller: &UserId,
        id: SessionId,
        parts: &Parts,
    ) -> Result<Stopped, Refusal> {
        let call = self.call(parts, caller);
        let ended = self.end_as(Asked::own(caller, id, call)).await?;
        Stopped::from(ended).if_any().ok_or_else(nothing_to_end)
    }

    /// Ends someone's session: one's own needs no right.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        actor: &Actor,
        id: SessionId,
        parts: &Parts,
    ) -> Result<Stopped, Refusal> {
        let may_end_any = actor.rights().contains(Rights::END_SESSIONS);
        let owner = match self.sessions.lives.actor_of(id) {
            Some(owner) => Some(owner),
            None => match self.get(id).await {
                Ok(found) => found.map(|session| session.actor.clone()),
                // The store cannot tell, and does not have to: the right is enough.
                Err(_) if may_end_any => None,
                // Whosever it is, they may end it if it is their own.
                Err(_) => {
                    let call = self.call(parts, actor.id());
                    let asked = Asked::own(actor.id(), id, call);
                    let ended = self.end_as(asked).await?;
                    let missing = || missing_right("to end the sessions of others").by(actor.id());
                    return Stopped::from(ended).if_any().ok_or_else(missing);
                }
            },
        };
        let reason = match (owner.as_ref() == Some(actor.id()), may_end_any) {
            (true, _) => EndedReason::Manual,
            (false, true) => EndedReason::SessionRevoked,
            // Callers without END_SESSIONS must not learn whether it exists.
            (false, false) => {
                return Err(missing_right("to end the sessions of others").by(actor.id()));
            }
        };
        let ended = self.end(id, reason, self.call(parts, actor.id())).await?;
        let nothing = || Refusal::of(RejectionKind::NothingToEnd, "no such active session");
        Stopped::from(ended)
            .if_any()
            .ok_or_else(|| nothing().by(actor.id()))
    }

    /// Ends all sessions that an actor has started up to now.
    pub(crate) async fn end_all(
        self: &Arc<Self>,
        actor: &UserId,
        reason: EndedReason,
        call: Call,
    ) -> Result<Stopped, Refusal> {
        self.sessions.required()?;
        let now = self.now()?;
        self.sessions.lives.refuse_all(actor, now, reason);
        let (this, actor) = (self.clone(), actor.clone());
        let (tell, first) = oneshot::channel();
        tokio::spawn(async move { this.carry_end_all(actor, now, reason, call, tell).await });
        // A task that has panicked has stored nothing.
        Ok(first.await.unwrap_or_else(|_| Ended::NotYet.into()))
    }

    async fn carry_end_all(
        self: Arc<Self>,
        actor: UserId,
        now: OffsetDateTime,
        reason: EndedReason,
        call: Call,
        tell: oneshot::Sender<Stopped>,
    ) {
        let (mut tell, mut delays) = (Some(tell), delays());
        loop {
            match self.active_of(&actor, usize::MAX - 1).await {
                Ok(sessions) => {
                    let mut stopped = Stopped::from(Ended::Nothing);
                    for session in sessions {
                        if session.started_at <= now {
                            let ended = self.end(session.id, reason, call.clone()).await;
                            stopped.add(ended.unwrap_or(Ended::NotYet));
                        }
                    }
                    // What is not stored yet is refused one by one from here on.
                    self.sessions.lives.have_ended(&actor, now);
                    answer(&mut tell, stopped);
                    return;
                }
                Err(refusal) => {
                    answer(&mut tell, Ended::NotYet.into());
                    self.wait_to_retry(&mut delays, &refusal).await;
                }
            }
        }
    }

    /// Ends one session, if it is active, and records it.
    ///
    /// The end is carried through even if the future is dropped, and even if store and trail fail then (rule
    /// [S5](crate::rules#s5)).
    pub(crate) async fn end(
        self: &Arc<Self>,
        id: SessionId,
        reason: EndedReason,
        call: Call,
    ) -> Result<Ended, Refusal> {
        self.end_as(Asked::new(id, reason, call)).await
    }

    async fn end_as(self: &Arc<Self>, asked: Asked) -> Result<Ended, Refusal> {
        self.sessions.required()?;
        let lives = &self.sessions.lives;
        let is_first = lives.refuse(asked.id, asked.of.as_ref(), asked.reason);
        let this = self.clone();
        let (tell, first) = oneshot::channel();
        tokio::spawn(async move { this.carry_end(asked, is_first, tell).await });
        Ok(first.await.unwrap_or(Ended::NotYet))
    }

    async fn carry_end(
        self: Arc<Self>,
        mut asked: Asked,
        is_first: bool,
        tell: oneshot::Sender<Ended>,
    ) {
        let (mut tell, mut delays) = (Some(tell), delays());
        loop {
            match self.try_end(&asked).await {
                Ok(ended) => {
                    // Where an earlier call is at it, "nothing" may be its own end, which it has to record.
                    if is_first || matches!(ended, Ended::Stored(_)) {
                        let lives = &self.sessions.lives;
                        lives.has_ended(asked.id, asked.of.as_ref());
                    }
                    return answer(&mut tell, ended);
                }
                Err(refusal) => {
                    asked.is_again = true;
                    answer(&mut tell, Ended::NotYet);
                    if !is_first {
                        // Another task is at it.
                        return;
                    }
                    self.wait_to_retry(&mut delays, &refusal).await;
                    if !self.sessions.lives.waits(asked.id, asked.of.as_ref()) {
                        // A later call has had more luck, and recorded it.
                        return;
                    }
                }
            }
        }
    }

    async fn try_end(self: &Arc<Self>, asked: &Asked) -> Result<Ended, Refusal> {
        let sessions = self.sessions.required()?;
        let (id, reason, call) = (asked.id, asked.reason, &asked.call);
        match &asked.of {
            // Or the store may take for idle, and so for over, what is not.
            None => self.tell_last_seen().await?,
            Some(actor) if self.sessions.lives.actor_of(id).as_ref() == Some(actor) => {
                self.tell_last_seen().await?;
            }
            Some(actor) => {
                self.sweep().await?;
                let found = self.get(id).await?;
                if found.is_none_or(|session| session.actor != *actor) {
                    return Ok(Ended::Nothing);
                }
            }
        }
        let now = self.now()?;
        let at_once = async {
            sessions
                .end_recorded(id, reason, call, now)
                .await
                .transpose()
        };
        let (ended, is_recorded) = match self.ask("session store", at_once).await? {
            Some(ended) => (ended, true),
            None => {
                let ended = async { sessions.end(id, reason, now).await };
                (self.ask("session store", ended).await?, false)
            }
        };
        let ended = match ended {
            // A store may carry out what it never answered.
            None if asked.is_again => {
                let found = self.get(id).await?;
                found.filter(|session| session.ended_reason == Some(reason))
            }
            ended => ended,
        };
        let Some(session) = ended else {
            return Ok(Ended::Nothing);
        };
        match is_recorded {
            true => self.after_end(&session),
            false => self.record_end(&session, call),
        }
        Ok(Ended::Stored(session))
    }

    async fn wait_to_retry(&self, delays: &mut ExponentialBackoff, refusal: &Refusal) {
        let pause = delays.next().unwrap_or(LONGEST_PAUSE);
        let warn = || {
            tracing::warn!(
                target: "tower_impersonation",
                reason = refusal.rejection.reason(), ?pause,
                "an end is not stored yet; this process refuses the session, and tries again"
            );
        };
        // A log that panics, because its disk is full or its pipe is closed, must not end the attempts.
        let _ = catch_unwind(AssertUnwindSafe(warn));
        self.host.calls.clock.sleep(pause).await;
    }

    /// Ends a session because of what this request has shown, and refuses the request.
    pub(super) async fn end_now(
        self: &Arc<Self>,
        session: Arc<Session>,
        reason: EndedReason,
        why: impl Into<Cow<'static, str>>,
    ) -> Refusal {
        let id = session.id;
        match self.end(id, reason, Call::default()).await {
            Ok(_) => Refusal {
                rule: reason.as_str().into(),
                session: Some(id),
                ..Refusal::new(Rejection::new(RejectionKind::SessionEnded, why))
            },
            Err(refusal) => refusal,
        }
    }

    /// Records an end that the store has made without its event, and lets everyone know.
    pub(super) fn record_end(self: &Arc<Self>, session: &Session, call: &Call) {
        self.trail.unfold_session(session.id);
        self.confirm_end(session, call);
        self.after_end(session);
    }

    /// Writes the event of an end, and tells the store when it is durable.
    pub(super) fn confirm_end(self: &Arc<Self>, session: &Session, call: &Call) {
        let recorded = self.trail.record_watched(AuditEvent::end_of(session, call));
        let (this, id) = (self.clone(), session.id);
        let confirming = async move {
            // After an error it is still being written. The sweep will see whether it ever was.
            if let (Ok(Ok(())), Some(sessions)) = (recorded.await, this.sessions.store()) {
                let confirmed = async { sessions.confirm_ends(&[id]).await };
                // The sweep asks again.
                let _ = this.ask("session store", confirmed).await;
            }
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(confirming);
        }
    }

    /// Lets everyone know that a session is over.
    pub(super) fn after_end(self: &Arc<Self>, session: &Session) {
        let reason = session.ended_reason.unwrap_or(EndedReason::Timeout);
        self.sessions.lives.end(session.id, reason);
        self.trail.unfold_session(session.id);
        self.notify_end(session);
        self.revoke_credentials(session);
    }

    pub(super) fn session_event(
        &self,
        name: EventName,
        session: &Session,
        at: OffsetDateTime,
    ) -> AuditEvent {
        AuditEvent::about(self.trail.next_id(at), at, name, session)
    }
}

// === impl Asked ===

impl Asked {
    fn new(id: SessionId, reason: EndedReason, call: Call) -> Self {
        Self {
            id,
            of: None,
            reason,
            call,
            is_again: false,
        }
    }

    fn own(actor: &UserId, id: SessionId, call: Call) -> Self {
        Self {
            of: Some(actor.clone()),
            ..Self::new(id, EndedReason::Manual, call)
        }
    }
}

// === impl Stopped ===

impl Stopped {
    fn add(&mut self, ended: Ended) {
        match ended {
            Ended::Stored(session) => self.sessions.push(session),
            Ended::Nothing => {}
            Ended::NotYet => self.is_stored = false,
        }
    }

    /// `None` when there was nothing to end.
    fn if_any(self) -> Option<Self> {
        (!self.sessions.is_empty() || !self.is_stored).then_some(self)
    }
}

impl From<Ended> for Stopped {
    fn from(ended: Ended) -> Self {
        let mut stopped = Self {
            sessions: Vec::new(),
            is_stored: true,
        };
        stopped.add(ended);
        stopped
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(30);

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(250))
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .build()
}

/// Answers the caller, if they still wait and have no answer yet.
fn answer<T>(tell: &mut Option<oneshot::Sender<T>>, result: T) {
    if let Some(tell) = tell.take() {
        let _ = tell.send(result);
    }
}

fn nothing_to_end() -> Refusal {
    Refusal::of(RejectionKind::NothingToEnd, "no active session")
}

pub(super) fn missing_right(what: &'static str) -> Refusal {
    Refusal::of(RejectionKind::MissingRight, what)
}
