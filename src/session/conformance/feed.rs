//! [S9](crate::rules#s9): what changes is heard of.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

use super::{Check, HOUR, IDLE, MICRO, MINUTE, SECOND, at, facts, no_limits, update};
use crate::{
    session::{EndedReason, Limits, Session, SessionChange, SessionId, SessionStore},
    words::Access,
};

/// How long a change may take to be heard of. Only a store that fails ever waits for it.
const NEWS: Duration = Duration::from_secs(10);

pub(super) async fn s9_changes_are_heard_of<S: SessionStore>(check: Check<S>) {
    let (heard, mut news) = mpsc::unbounded_channel();
    let (also_heard, mut other_news) = mpsc::unbounded_channel();
    for listener in [heard, also_heard] {
        check.store.subscribe(Arc::new(move |change| {
            // Who no longer listens has panicked already.
            let _ = listener.send(change.clone());
        }));
    }
    let ada = check.actor("ada");
    let replacing = Limits {
        replace: true,
        ..no_limits()
    };

    let first = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let heard = heard_start(&mut news, "S9: `start`", first.id).await;
    assert_eq!(
        facts(&heard),
        facts(&first),
        "S9: the news of a start has the session"
    );
    let refused = check.session(&ada, "ines", MICRO);
    let refused_id = refused.id;
    check.refused(refused, &no_limits(), "S2").await;

    let raise = update(Some(Access::ReadWrite), Some(at(HOUR)));
    let raised = check.update(first.id, raise, SECOND).await;
    let raised = raised.expect("S6: an active session can be changed");
    let heard = wait_for(&mut news, "S9: `update`", |change| match change {
        SessionChange::Updated(session) if session.id == first.id => Some(session.clone()),
        _ => None,
    });
    assert_eq!(
        facts(&*heard.await),
        facts(&raised),
        "S9: the news of an update has the session as it is now"
    );

    let second = check.session(&ada, "ines", MINUTE);
    let second = check.started(second, &replacing, "S2").await.session;
    heard_end(&mut news, "S9: a replacing `start`", first.id, "replaced").await;
    heard_start(&mut news, "S9: a replacing `start`", second.id).await;

    check
        .end(second.id, EndedReason::AdminLogout, 2 * MINUTE)
        .await;
    check.end(second.id, EndedReason::Manual, 2 * MINUTE).await;
    heard_end(&mut news, "S9: `end`", second.id, "admin_logout").await;

    let third = check.given(check.session(&ada, "ines", 3 * MINUTE)).await;
    check.end_all_due(&ada, 3 * MINUTE + IDLE).await;
    heard_end(&mut news, "S9: `end_due`", third.id, "idle").await;

    let fourth = check.given(check.session(&ada, "ines", HOUR)).await;
    let fifth = check.given(check.session(&ada, "otto", HOUR + IDLE)).await;
    heard_end(
        &mut news,
        "S9: a `start` that clears away",
        fourth.id,
        "idle",
    )
    .await;
    check
        .end(fifth.id, EndedReason::SubjectGone, 2 * HOUR - MICRO)
        .await;

    // All of it, in order, by the other listener: and nothing that did not happen.
    let (mut starts, mut ends) = (Vec::new(), Vec::new());
    let ours = [&first, &second, &third, &fourth, &fifth].map(|session| session.id);
    while ends.last() != Some(&(fifth.id, "subject_gone")) {
        let change = wait_for(&mut other_news, "S9: a second listener", |change| {
            Some(change.clone())
        });
        match change.await {
            SessionChange::Started(session) => {
                assert_ne!(session.id, refused_id, "S9: what is refused is no news");
                if ours.contains(&session.id) && !starts.contains(&session.id) {
                    starts.push(session.id);
                }
            }
            SessionChange::Ended(id, reason) => {
                let end = (id, reason.as_str());
                if ours.contains(&id) && !ends.contains(&end) {
                    ends.push(end);
                }
            }
            _ => {}
        }
    }
    assert_eq!(starts, ours, "S9: every listener hears of every start");
    let wanted = [
        (first.id, "replaced"),
        (second.id, "admin_logout"),
        (third.id, "idle"),
        (fourth.id, "idle"),
        (fifth.id, "subject_gone"),
    ];
    assert_eq!(
        ends, wanted,
        "S9: every listener hears of every end, once it happened"
    );
}

async fn heard_start(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    started: SessionId,
) -> Arc<Session> {
    let heard = wait_for(news, rule, |change| match change {
        SessionChange::Started(session) if session.id == started => Some(session.clone()),
        _ => None,
    });
    heard.await
}

async fn heard_end(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    ended: SessionId,
    why: &str,
) {
    let heard = wait_for(news, rule, |change| match change {
        SessionChange::Ended(id, reason) if *id == ended => Some(reason.as_str()),
        _ => None,
    });
    assert_eq!(
        heard.await,
        why,
        "{rule} has to be heard of with its reason"
    );
}

async fn wait_for<T>(
    news: &mut mpsc::UnboundedReceiver<SessionChange>,
    rule: &str,
    wanted: impl Fn(&SessionChange) -> Option<T>,
) -> T {
    let heard = tokio::time::timeout(NEWS, async {
        loop {
            let change = news.recv().await;
            let change = change.unwrap_or_else(|| panic!("{rule}: the listener was dropped"));
            if let Some(found) = wanted(&change) {
                return found;
            }
        }
    });
    let heard = heard.await;
    heard.unwrap_or_else(|_| panic!("{rule} has to be heard of by those who subscribed"))
}
