//! [S4](crate::rules#s4): when a session is over, what a sweep finds due, and that an end is final.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::{
    Check, HOUR, IDLE, LIFETIME, MICRO, MINUTE, Outcome, SECOND, at, ended, endings, facts, id,
    ids_of, outcome, update,
};
use crate::{
    session::{EndedReason, Limits, SessionStore},
    words::Access,
};

pub(super) async fn s4_at_its_end_it_is_over<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let mut session = check.session(&ada, "ines", Duration::ZERO);
    session.idle_timeout = Duration::MAX;
    let session = check.given(session).await;
    let before = LIFETIME - MICRO;

    assert!(
        check.active(&session, before).await.is_some(),
        "S4: it is active until `expires_at`"
    );
    let again = check.session(&ada, "otto", before);
    check.refused(again, &Limits::default(), "S4").await;
    let due = check.end_all_due(&ada, before).await;
    assert!(due.is_empty(), "S4: nothing is due before `expires_at`");

    assert!(
        check.active(&session, LIFETIME).await.is_none(),
        "S4: at `expires_at` it is over, whether or not anyone has ended it"
    );
    let raise = update(Some(Access::ReadWrite), Some(at(2 * LIFETIME)));
    assert!(
        check.update(session.id, raise, LIFETIME).await.is_none(),
        "S4: a session that is over cannot be extended"
    );
    let ended_late = check.end(session.id, EndedReason::Manual, LIFETIME).await;
    assert!(
        ended_late.is_none(),
        "S4: a session that is over cannot be ended for another reason"
    );
    assert_eq!(
        facts(&*check.there(session.id).await),
        facts(&session),
        "S4: what is refused changes nothing"
    );
    let timeout = (session.id, Some(EndedReason::Timeout), Some(at(LIFETIME)));
    assert_eq!(
        endings(&check.end_all_due(&ada, LIFETIME).await),
        [timeout],
        "S4: at `expires_at` it is due"
    );
    assert_eq!(
        ended(&*check.there(session.id).await),
        timeout,
        "S4: `end_due` writes down what it returns"
    );
}

pub(super) async fn s4_idle_sessions_end<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;

    let before = IDLE - MICRO;
    let due = check.end_all_due(&ada, before).await;
    assert!(due.is_empty(), "S4: nothing is due before it is idle");
    assert_eq!(
        check.all_of(&ada, Some(true), before).await,
        [ended(&session)],
        "S4: it is listed as active until it is idle"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), IDLE).await,
        [],
        "S4: an idle session is not listed as active"
    );
    assert_eq!(
        check.all_of(&ada, Some(false), IDLE).await,
        [ended(&session)],
        "S4: what is not listed as active is listed as ended"
    );
    assert!(
        check.active(&session, IDLE).await.is_some(),
        "S4: `active` leaves it to the caller whether it is idle"
    );
    let raise = update(Some(Access::ReadWrite), None);
    assert!(
        check.update(session.id, raise, IDLE).await.is_none(),
        "S4: an idle session cannot be changed"
    );
    let ended_late = check.end(session.id, EndedReason::Manual, IDLE).await;
    assert!(
        ended_late.is_none(),
        "S4: an idle session cannot be ended for another reason"
    );
    assert_eq!(
        endings(&check.end_all_due(&ada, HOUR).await),
        [(session.id, Some(EndedReason::Idle), Some(at(IDLE)))],
        "S4: an idle session ended when it was idle for too long, not when someone looked"
    );
    assert!(
        check.active(&session, IDLE).await.is_none(),
        "S4: what ended is not active"
    );
}

pub(super) async fn s4_due_sessions_end_when_they_were_due<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    // What others left behind is not part of the counts below.
    check.end_all_due(&ada, LIFETIME).await;

    let mut sessions = Vec::new();
    for (number, subject) in (0..).zip(["idle", "timeout", "same time", "later", "stopped"]) {
        let mut session = check.session(&ada, subject, number * SECOND);
        match subject {
            "timeout" => session.idle_timeout = Duration::MAX,
            "same time" => session.idle_timeout = LIFETIME,
            "later" => session.expires_at = at(2 * LIFETIME),
            _ => {}
        }
        sessions.push(check.given(session).await);
    }
    check.touch(sessions[3].id, LIFETIME).await;
    check
        .end(sessions[4].id, EndedReason::Manual, MINUTE)
        .await
        .expect("S4: an active session can be ended");

    let none = check.end_due(LIFETIME + MINUTE, 0).await;
    assert!(none.is_empty(), "S4: `end_due` of none ends none");
    let mut due = HashMap::new();
    for _ in 0..3 {
        for session in check.end_due(LIFETIME + MINUTE, 1).await {
            assert_eq!(
                ended(&*check.there(session.id).await),
                ended(&session),
                "S4: `end_due` writes down what it returns"
            );
            due.insert(session.id, (session.ended_reason, session.ended_at));
        }
    }
    let timeout = |second| Some(at(LIFETIME + second * SECOND));
    let wanted = HashMap::from([
        (sessions[0].id, (Some(EndedReason::Idle), Some(at(IDLE)))),
        (sessions[1].id, (Some(EndedReason::Timeout), timeout(1))),
        (sessions[2].id, (Some(EndedReason::Timeout), timeout(2))),
    ]);
    assert_eq!(due, wanted, "S4: `end_due` ends what is due, each once");
    assert!(
        check
            .end_due(LIFETIME + MINUTE, usize::MAX)
            .await
            .is_empty(),
        "S4: what was ended is not due again"
    );
    assert!(
        check
            .active(&sessions[3], LIFETIME + MINUTE)
            .await
            .is_some(),
        "S4: what is not due goes on"
    );
}

pub(super) async fn s4_parallel_sweeps_share_the_due_sessions<S: SessionStore>(check: Check<S>) {
    const DUE: u32 = 60;

    let ada = check.actor("ada");
    check.end_all_due(&ada, HOUR).await;
    let mut wanted = HashSet::new();
    for number in 0..DUE {
        let session = check.session(&ada, &format!("subject {number}"), number * MICRO);
        wanted.insert(check.given(session).await.id);
    }
    let swept = check
        .at_once(8, |store, _| async move {
            let mut all = Vec::new();
            loop {
                let ended = store.end_due(at(HOUR), 7).await;
                let ended = ended.expect("S4: `end_due` must not fail");
                if ended.is_empty() {
                    return all;
                }
                all.extend(ids_of(&ended));
            }
        })
        .await;
    let swept: Vec<_> = swept
        .into_iter()
        .flatten()
        .filter(|id| wanted.contains(id))
        .collect();
    assert_eq!(
        swept.len(),
        wanted.len(),
        "S4: parallel sweeps return each session once"
    );
    assert_eq!(
        HashSet::from_iter(swept),
        wanted,
        "S4: parallel sweeps leave nothing behind"
    );
}

pub(super) async fn s4_an_end_is_final<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let reasons = [
        EndedReason::Manual,
        EndedReason::Timeout,
        EndedReason::Idle,
        EndedReason::AdminLogout,
        EndedReason::SessionRevoked,
        EndedReason::ActorDemoted,
        EndedReason::SubjectGone,
        EndedReason::Replaced,
        EndedReason::MarkerRemoved,
    ];
    for (number, reason) in (0..).zip(reasons) {
        let start = number * MINUTE;
        let session = check.given(check.session(&ada, "ines", start)).await;
        let by_end = check.end(session.id, reason, start + SECOND).await;
        let by_end = by_end.expect("S4: an active session can be ended");
        assert_eq!(
            facts(&by_end),
            facts(&session.ended(reason, at(start + SECOND))),
            "S4: an end changes nothing but that it ended, and why"
        );
        for other in [reason, EndedReason::SessionRevoked] {
            let again = check.end(session.id, other, start + 2 * SECOND).await;
            assert!(again.is_none(), "S4: there is nothing to end twice");
        }
        let raise = update(Some(Access::ReadWrite), None);
        let raised = check.update(session.id, raise, start + SECOND).await;
        assert!(raised.is_none(), "S6: an ended session cannot be changed");
        check.touch(session.id, start + 3 * SECOND).await;
        assert_eq!(
            facts(&*check.there(session.id).await),
            facts(&by_end),
            "S4: nothing changes an ended session"
        );
        assert!(
            check.active(&session, start + SECOND).await.is_none(),
            "S4: an ended session is not active"
        );
    }
    let due = check.end_all_due(&ada, 2 * LIFETIME).await;
    assert!(due.is_empty(), "S4: what ended is never due");

    let unknown = id(at(Duration::ZERO));
    let ended = check.end(unknown, EndedReason::Manual, SECOND).await;
    assert!(ended.is_none(), "S4: a session that is unknown cannot end");
    check.touch(unknown, SECOND).await;
    assert!(
        check.get(unknown).await.is_none(),
        "S4: touching an unknown session makes none"
    );
}

pub(super) async fn s4_parallel_ends_have_one_winner<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let session = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    let id = session.id;
    let ends = check
        .at_once(20, |store, number| async move {
            let reason = match number % 2 {
                0 => EndedReason::Manual,
                _ => EndedReason::SessionRevoked,
            };
            store.end(id, reason, at(MINUTE)).await
        })
        .await;
    let ends: Vec<_> = ends
        .into_iter()
        .filter_map(|end| end.expect("S4: `end` must not fail"))
        .collect();
    assert_eq!(ends.len(), 1, "S4: of parallel ends one ends the session");
    assert_eq!(
        ended(&*check.there(id).await),
        ended(&ends[0]),
        "S4: the reason is that of the end that did it"
    );
}

pub(super) async fn s4_a_start_clears_away_what_is_overdue<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    let idle = check.session(&ada, "ines", Duration::ZERO);
    let idle = check.started(idle, &limits, "S4").await.session;
    let early = check.session(&ada, "otto", IDLE - MICRO);
    let error = check.refused(early, &limits, "S2").await;
    assert_eq!(outcome(&error), Outcome::AlreadyActive, "S2: still active");

    let second = check.session(&ada, "ines", IDLE);
    let second = check
        .started(second, &limits, "S4: what is idle is not in the way")
        .await;
    assert_eq!(
        endings(&second.ended),
        [(idle.id, Some(EndedReason::Idle), Some(at(IDLE)))],
        "S4: a start returns the overdue sessions that it ended, with their own reason"
    );
    let due = check.end_all_due(&ada, IDLE + MINUTE).await;
    assert!(due.is_empty(), "S4: each overdue session is returned once");
    let active = check.active(&second.session, IDLE + MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(second.session.id),
        "S4: the new session of the same pair is active"
    );
}
