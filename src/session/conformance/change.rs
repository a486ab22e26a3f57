//! [S4](crate::rules#s4), [S6](crate::rules#s6): touches and updates, which change active sessions only and never undo
//! anything.

use std::time::Duration;

use super::{
    Check, HOUR, IDLE, LIFETIME, MICRO, MINUTE, SECOND, at, ended, endings, facts, id, update,
};
use crate::{
    session::{EndedReason, SessionStore},
    words::Access,
};

pub(super) async fn s4_a_touch_prolongs_and_never_moves_back<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let steps = [
        (20 * MINUTE + MICRO, 20 * MINUTE + MICRO),
        (10 * MINUTE, 20 * MINUTE + MICRO),
        (20 * MINUTE, 20 * MINUTE + MICRO),
        (25 * MINUTE, 25 * MINUTE),
    ];
    for (seen, wanted) in steps {
        check.touch(session.id, seen).await;
        assert_eq!(
            check.there(session.id).await.last_seen_at,
            at(wanted),
            "S4: `last_seen_at` is the latest request, in whatever order they come in"
        );
    }
    let touches = check
        .at_once(16, |store, number| {
            let id = session.id;
            let seen = MINUTE * 26 + SECOND * (number as u32 * 7 % 16);
            async move { store.touch(id, at(seen)).await }
        })
        .await;
    touches
        .into_iter()
        .for_each(|touched| touched.expect("S4: `touch` must not fail"));
    let last = 26 * MINUTE + 15 * SECOND;
    let touched = check.there(session.id).await;
    assert_eq!(
        touched.last_seen_at,
        at(last),
        "S4: of parallel touches the latest counts"
    );
    let mut wanted = (*session).clone();
    wanted.last_seen_at = at(last);
    assert_eq!(
        facts(&touched),
        facts(&wanted),
        "S4: a touch changes nothing else"
    );

    let due = check.end_all_due(&ada, last + IDLE - MICRO).await;
    assert!(due.is_empty(), "S4: a touch prolongs the idle time");
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, Some(EndedReason::Idle), Some(at(last + IDLE)))],
        "S4: the idle time is counted from the last request"
    );
}

pub(super) async fn s6_updates_change_active_sessions_only<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let mut wanted = (*session).clone();
    let rw = Some(Access::ReadWrite);
    let updates = [
        (None, None),
        (rw, None),
        (None, Some(at(LIFETIME + MICRO))),
        (Some(Access::ReadOnly), Some(at(HOUR))),
        (rw, Some(at(20 * MINUTE))),
    ];
    for (access, expires_at) in updates {
        // What was looked up before must not be what is found after.
        check.active(&session, MINUTE).await;
        let updated = check.update(session.id, update(access, expires_at), MINUTE);
        let updated = updated.await.expect("S6: an active session can be changed");
        wanted.access = access.unwrap_or(wanted.access);
        wanted.expires_at = expires_at.unwrap_or(wanted.expires_at);
        assert_eq!(
            facts(&updated),
            facts(&wanted),
            "S6: `update` returns the session as it is now, with what was not named as it was"
        );
        assert_eq!(
            facts(&*check.there(session.id).await),
            facts(&wanted),
            "S6: `update` writes down what it returns"
        );
        let active = check.active(&session, MINUTE).await;
        assert_eq!(
            active.map(|active| (active.access, active.expires_at)),
            Some((wanted.access, wanted.expires_at)),
            "S6: an update is seen by the next look-up"
        );
    }
    assert!(
        check.active(&session, 20 * MINUTE).await.is_none(),
        "S6: the new end counts"
    );
    let timeout = Some(EndedReason::Timeout);
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, timeout, Some(at(20 * MINUTE)))],
        "S6: the new end counts"
    );
    let unknown = id(at(Duration::ZERO));
    let updated = check.update(unknown, update(rw, None), MINUTE).await;
    assert!(
        updated.is_none(),
        "S6: a session that is unknown cannot be changed"
    );
}

/// Changes of one session that meet must not undo each other.
pub(super) async fn s6_an_update_undoes_nothing<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    for round in 0..9 {
        let session = check.session(&ada, &format!("subject {round}"), Duration::ZERO);
        let id = check.given(session).await.id;
        let results = check
            .at_once(3, |store, number| async move {
                // Who comes first is different in every round.
                match (number + round) % 3 {
                    0 => {
                        let raise = update(Some(Access::ReadWrite), None);
                        store.update(id, raise, at(MINUTE)).await
                    }
                    1 => {
                        let extend = update(None, Some(at(2 * LIFETIME)));
                        store.update(id, extend, at(MINUTE)).await
                    }
                    _ => {
                        store.touch(id, at(5 * MINUTE)).await?;
                        store.end(id, EndedReason::Manual, at(5 * MINUTE)).await
                    }
                }
            })
            .await;
        let there = check.there(id).await;
        assert_eq!(
            ended(&there),
            (id, Some(EndedReason::Manual), Some(at(5 * MINUTE))),
            "S6: an update does not undo an end"
        );
        assert_eq!(
            there.last_seen_at,
            at(5 * MINUTE),
            "S6: an update does not undo a touch"
        );
        let took = |which: usize| {
            let result = results[(which + 2 * round) % 3].as_ref();
            result.expect("S6: the store must not fail").is_some()
        };
        let lifetime = match took(1) {
            true => at(2 * LIFETIME) - there.started_at,
            false => at(LIFETIME) - at(Duration::ZERO),
        };
        assert_eq!(
            (
                there.access == Access::ReadWrite,
                there.expires_at - there.started_at
            ),
            (took(0), lifetime),
            "S6: updates that meet do not undo each other, and one that is too late changes nothing"
        );
    }
}
