//! [`Call`]: the call behind an event that is about a session and not about an acted request.

use std::net::IpAddr;

use time::OffsetDateTime;
use uuid::{Builder, Uuid};

use super::{
    event::{AuditEvent, EventName},
    identity::UserId,
    session::{EndedReason, Session, SessionId},
};

/// Who ended or changed a session, and with which call. All fields are empty if nobody did, for example when its
/// lifetime was over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Call {
    /// Who did it.
    pub by: Option<UserId>,
    /// The request's method.
    pub method: Option<String>,
    /// The request's path, cut at 512 bytes.
    pub path: Option<String>,
    /// Where the request came from (rule [R18](crate::rules#r18)).
    pub address: Option<IpAddr>,
    /// The `User-Agent`, cut at 256 bytes.
    pub user_agent: Option<String>,
    /// The `X-Request-Id`, cut at 256 bytes.
    pub request_id: Option<String>,
}

impl Call {
    /// The same call, made by this user.
    #[must_use]
    pub fn by(mut self, user: &UserId) -> Self {
        self.by = Some(user.clone());
        self
    }

    /// Writes the call into an event. `by` is left out when it is the event's own actor.
    pub(crate) fn describe(&self, event: &mut AuditEvent) {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            by,
            method,
            path,
            address,
            user_agent,
            request_id,
        } = self;
        event.by = by.clone().filter(|by| event.actor.as_ref() != Some(by));
        event.method.clone_from(method);
        event.path.clone_from(path);
        event.address = *address;
        event.user_agent.clone_from(user_agent);
        event.request_id.clone_from(request_id);
    }
}

impl AuditEvent {
    /// An event about a session: who acts as whom, why, how far.
    #[must_use]
    pub fn about(id: Uuid, time: OffsetDateTime, name: EventName, session: &Session) -> Self {
        let mut event = Self::new(id, time, name);
        event.actor = Some(session.actor.clone());
        event.subject = Some(session.subject.clone());
        event.session = Some(session.id);
        event.reason = Some(session.reason.to_string());
        event.access = Some(session.access);
        event
    }

    /// The event of a session's end (rule [A1](crate::rules#a1)).
    ///
    /// Its id and its time follow from the session, so it is one event, no matter which replica writes it or how often.
    ///
    /// ```
    /// # use time::OffsetDateTime;
    /// # use tower_impersonation::{Subject, audit::{AuditEvent, Call}, session::{EndedReason, Session, SessionId}};
    /// # let now = OffsetDateTime::now_utc();
    /// # let session = Session::new(SessionId(uuid::Uuid::now_v7()), "ada".parse()?, Subject::Anonymous, "4711", now, now);
    /// let ended = session.ended(EndedReason::SessionRevoked, now);
    /// let event = AuditEvent::end_of(&ended, &Call::default().by(&"zoe".parse()?));
    /// assert_eq!(event.by, Some("zoe".parse()?));
    /// assert_eq!(event.key(), AuditEvent::end_of(&ended, &Call::default()).key());
    /// # Ok::<(), tower_impersonation::InvalidUserId>(())
    /// ```
    #[must_use]
    pub fn end_of(session: &Session, call: &Call) -> Self {
        let at = session.ended_at.unwrap_or(session.expires_at);
        let reason = session.ended_reason.unwrap_or(EndedReason::Timeout);
        let mut event = Self::about(end_id(session.id, at), at, EventName::End, session);
        event.reason = Some(reason.as_str().to_owned());
        call.describe(&mut event);
        event
    }
}

/// The time of the end, and the random bits of the session's own id, turned over: no other id has them.
fn end_id(session: SessionId, at: OffsetDateTime) -> Uuid {
    let millis = u64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(0);
    let mut random = [0; 10];
    random.copy_from_slice(&session.0.as_bytes()[6..]);
    random.iter_mut().for_each(|byte| *byte = !*byte);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use time::macros::datetime;

    use super::*;
    use crate::words::Subject;

    #[test]
    fn a1_the_event_of_an_end_follows_from_the_session() {
        let noon = datetime!(2026-11-20 12:00 UTC);
        let session = |number: u128| {
            let id = SessionId(Uuid::from_u128(
                0x019a_0000_0000_7000_8000_0000_0000_0000 | number,
            ));
            let actor = "ada".parse().unwrap();
            Session::new(id, actor, Subject::Anonymous, "4711", noon, noon)
        };
        let ended = session(7).ended(EndedReason::Manual, noon);
        let (one, again) = (
            AuditEvent::end_of(&ended, &Call::default()),
            AuditEvent::end_of(&ended, &Call::default().by(&"zoe".parse().unwrap())),
        );
        assert_eq!(one.key(), again.key());
        assert_eq!(one.id.get_version_num(), 7);
        assert_ne!(one.id, ended.id.0);
        let other = session(8).ended(EndedReason::Manual, noon);
        assert_ne!(one.id, AuditEvent::end_of(&other, &Call::default()).id);
        // By the actor themselves goes without saying.
        let own = Call::default().by(&"ada".parse().unwrap());
        assert_eq!(AuditEvent::end_of(&ended, &own).by, None);
        assert_eq!(again.by.unwrap().as_str(), "zoe");
    }
}
