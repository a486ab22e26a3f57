//! Sessions starting and ending, as server-sent events.

use std::time::Duration;

use axum::body::Bytes;
use http::request::Parts;
use tower_impersonation::{
    Actor, Impersonation, Rights,
    session::{SessionChange, SessionFeed},
};

use super::{stream::Writer, wire::SessionView};

/// So that proxies keep a quiet stream open, and one whose reader is gone is noticed.
const QUIET: Duration = Duration::from_secs(15);

/// Writes what happens for as long as someone reads it and may know it.
pub(super) async fn stream(
    impersonation: Impersonation,
    parts: Parts,
    mut feed: SessionFeed,
    writer: Writer,
) {
    // Something to begin with, so that the reader knows that it is connected.
    let mut next = Some(Bytes::from_static(b"retry: 3000\n\n"));
    loop {
        if let Some(bytes) = next.take()
            && writer.send(Ok(bytes)).await.is_err()
        {
            return;
        }
        let change = tokio::select! {
            biased;
            change = feed.next() => match change {
                Some(change) => Some(change),
                None => return,
            },
            () = writer.closed() => return,
            () = impersonation.sleep(QUIET) => None,
        };
        // Who was an admin at the beginning may be none now (rule R8).
        let Ok(reader) = impersonation.signed_in(&parts).await else {
            return;
        };
        let Some(admin) = reader.admin() else {
            return;
        };
        next = match change {
            None => Some(Bytes::from_static(b":\n\n")),
            Some(change) => event(&impersonation, admin.actor(), change).await,
        };
    }
}

/// The change as an event, if this actor may know of it.
async fn event(
    impersonation: &Impersonation,
    actor: &Actor,
    change: SessionChange,
) -> Option<Bytes> {
    let (name, session) = match change {
        SessionChange::Started(session) => ("started", session),
        SessionChange::Updated(session) => ("updated", session),
        SessionChange::Ended(id, _) => ("ended", impersonation.session(id).await.ok()??),
        // Changes were missed, or are of a kind that is not known here: look again.
        _ => return Some(Bytes::from_static(b"event: lost\ndata: {}\n\n")),
    };
    let may_know = session.actor == *actor.id() || actor.rights().contains(Rights::LIST_SESSIONS);
    if !may_know {
        return None;
    }
    let now = impersonation.now().ok()?;
    // JSON has no line break in it.
    let data = serde_json::to_string(&SessionView::new(&session, now)).ok()?;
    Some(Bytes::from(format!(
        "event: {name}\nid: {}\ndata: {data}\n\n",
        session.id
    )))
}
