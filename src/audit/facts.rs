//! [`RequestFacts`]: what the trail wants to know of an acted request.
//!
//! A fact is named in four places, all in this file, and each takes the struct apart without `..`: a new fact that
//! one of them forgets does not compile. What [`describe`](RequestFacts::describe) writes, reads of the same kind
//! must share before they are folded into one event ([`fold_hash`](RequestFacts::fold_hash),
//! [`is_like`](RequestFacts::is_like)).

use std::{hash::BuildHasher, net::IpAddr, sync::Arc};

use foldhash::fast::RandomState;
use http::{HeaderValue, Method, Uri, header::USER_AGENT, request::Parts};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    request::{Client, X_REQUEST_ID, uri_as_called},
    words::{ActingAs, AuditEvent, Call, EventName, Outcome, cut_header, cut_path},
};

/// What the trail wants to know of an acted request. Shares the request's own buffers while it runs;
/// only an event that is kept has copies.
pub(crate) struct RequestFacts {
    pub(crate) acting_as: ActingAs,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) route: Option<Arc<str>>,
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: Option<HeaderValue>,
    pub(crate) request_id: Option<HeaderValue>,
    /// When it was admitted.
    pub(crate) at: OffsetDateTime,
}

impl RequestFacts {
    pub(crate) fn new(
        client: &Client,
        parts: &Parts,
        acting_as: ActingAs,
        at: OffsetDateTime,
    ) -> Self {
        Self {
            acting_as,
            method: parts.method.clone(),
            uri: uri_as_called(parts).clone(),
            route: client.route_of(parts),
            address: client.address_of(parts),
            user_agent: parts.headers.get(USER_AGENT).cloned(),
            request_id: parts.headers.get(X_REQUEST_ID).cloned(),
            at,
        }
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    pub(super) fn completed(&self, id: Uuid, at: OffsetDateTime, status: u16) -> AuditEvent {
        let mut event = AuditEvent::new(id, at, EventName::Request);
        self.describe(&mut event);
        event.outcome = Some(Outcome::Completed);
        event.status = Some(status);
        event
    }

    /// Writes the facts into an event of this request.
    pub(super) fn describe(&self, event: &mut AuditEvent) {
        let Self {
            acting_as,
            method,
            uri,
            route,
            address,
            user_agent,
            request_id,
            at: _,
        } = self;
        event.actor = Some(acting_as.actor().id().clone());
        event.subject = Some(acting_as.subject().clone());
        event.session = acting_as.session().map(|session| session.id);
        event.reason = acting_as.reason().map(str::to_owned);
        event.access = Some(acting_as.access());
        event.method = Some(method.as_str().to_owned());
        event.path = Some(cut_path(uri.path()).to_owned());
        event.route = route.as_deref().map(|route| cut_path(route).to_owned());
        event.address = *address;
        event.user_agent = user_agent.as_ref().map(cut_header);
        event.request_id = request_id.as_ref().map(cut_header);
    }

    /// The kind of read that this is, with this answer: reads of the same kind are folded (rule [A4](crate::rules#a4)).
    pub(super) fn fold_hash(&self, hasher: &RandomState, status: u16) -> u64 {
        let Self {
            acting_as,
            method,
            uri,
            route,
            address,
            user_agent,
            request_id: _,
            at: _,
        } = self;
        hasher.hash_one((
            acting_as.session().map(|session| session.id),
            acting_as.actor().id(),
            acting_as.subject(),
            (acting_as.reason(), acting_as.access()),
            method,
            (route.is_some(), route.as_deref().unwrap_or(uri.path())),
            status,
            address,
            user_agent.as_ref().map(HeaderValue::as_bytes),
        ))
    }

    /// Whether the read is of the same kind as `event`: whatever a folded event says of one of its reads
    /// has to be true of all of them.
    pub(super) fn is_like(&self, event: &AuditEvent, status: u16) -> bool {
        let Self {
            acting_as,
            method,
            uri,
            route,
            address,
            user_agent,
            request_id: _,
            at: _,
        } = self;
        event.session == acting_as.session().map(|session| session.id)
            && event.actor.as_ref() == Some(acting_as.actor().id())
            && event.subject.as_ref() == Some(acting_as.subject())
            && event.reason.as_deref() == acting_as.reason()
            && event.access == Some(acting_as.access())
            && event.address == *address
            && is_header(event.user_agent.as_deref(), user_agent.as_ref())
            && event.method.as_deref() == Some(method.as_str())
            && event.status == Some(status)
            && match (&event.route, route.as_deref()) {
                (Some(there), Some(here)) => there == cut_path(here),
                (None, None) => event.path.as_deref() == Some(cut_path(uri.path())),
                _ => false,
            }
    }
}

/// What is known of a request that is not acted: one that starts, changes, ends or is refused.
pub(crate) fn call_of(client: &Client, parts: &Parts) -> Call {
    Call {
        by: None,
        method: Some(parts.method.as_str().to_owned()),
        path: Some(cut_path(uri_as_called(parts).path()).to_owned()),
        address: client.address_of(parts),
        user_agent: parts.headers.get(USER_AGENT).map(cut_header),
        request_id: parts.headers.get(X_REQUEST_ID).map(cut_header),
    }
}

/// Writes that into an event.
pub(crate) fn describe_call(event: &mut AuditEvent, client: &Client, parts: &Parts) {
    call_of(client, parts).describe(event);
}

/// Whether this header is what was stored.
fn is_header(stored: Option<&str>, header: Option<&HeaderValue>) -> bool {
    match (stored, header) {
        (Some(stored), Some(header)) => {
            stored.as_bytes() == header.as_bytes() || stored == cut_header(header)
        }
        (None, None) => true,
        _ => false,
    }
}
