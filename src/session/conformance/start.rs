//! [S2](crate::rules#s2): how many sessions an actor may have, one for each subject, also when all starts come at once.

use std::{collections::HashSet, time::Duration};

use super::{Check, MINUTE, SECOND, at, ended, endings, facts, ids_of, no_limits, user};
use crate::session::{EndedReason, Limits, SessionStore, StartError};

pub(super) async fn s2_a_second_start_is_refused<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    let started = check.started(first, &limits, "S2").await;
    assert!(
        started.ended.is_empty(),
        "S2: nothing stood in the way of the first"
    );
    let first = started.session;

    for subject in ["otto", "ines"] {
        let second = check.session(&ada, subject, SECOND);
        let error = check.refused(second, &limits, "S2").await;
        assert!(
            matches!(error, StartError::AlreadyActive),
            "S2: a second start is `AlreadyActive`, not {error:?}"
        );
    }
    assert_eq!(
        check.all_of(&ada, None, SECOND).await,
        [ended(&first)],
        "S2: a refused start changes nothing"
    );
    let active = check.active(&first, SECOND).await;
    assert!(
        active.is_some(),
        "S2: the first is active after a refused start"
    );

    check.end(first.id, EndedReason::Manual, MINUTE).await;
    let third = check.session(&ada, "ines", MINUTE);
    check
        .started(third, &limits, "S2: after the end of the first")
        .await;
}

pub(super) async fn s2_replacing_ends_the_first<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        replace: true,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    let first = check.started(first, &limits, "S2").await.session;
    let second = check.session(&ada, "otto", MINUTE);
    let second = check.started(second, &limits, "S2: replacing").await;

    let replaced = (first.id, Some(EndedReason::Replaced), Some(at(MINUTE)));
    assert_eq!(
        endings(&second.ended),
        [replaced],
        "S2: a replacing start returns what it ended"
    );
    assert_eq!(
        ended(&*check.there(first.id).await),
        replaced,
        "S2: a replaced session has ended when the next one started"
    );
    assert!(
        check.active(&first, MINUTE).await.is_none(),
        "S2: a replaced session is not active"
    );
    let active = check.active(&second.session, MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(second.session.id),
        "S2: the replacing session is active"
    );

    // The same pair: what was kept of the first must not be taken for the second.
    let third = check.session(&ada, "otto", 2 * MINUTE);
    let third = check.started(third, &limits, "S2: replacing").await.session;
    let active = check.active(&third, 2 * MINUTE).await;
    assert_eq!(
        active.map(|session| session.id),
        Some(third.id),
        "S2: the newest session of a pair is the active one"
    );
}

pub(super) async fn s2_as_many_as_allowed_and_one_per_subject<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 2,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    check.started(first, &limits, "S2: of two").await;
    let same = check.session(&ada, "ines", SECOND);
    let error = check.refused(same, &limits, "S2").await;
    assert!(
        matches!(error, StartError::AlreadyActive),
        "S2: two for the same subject are never active at once, not even when there is room"
    );
    let second = check.session(&ada, "otto", 2 * SECOND);
    check
        .started(second, &limits, "S2: the second of two")
        .await;
    let third = check.session(&ada, "vera", 3 * SECOND);
    let error = check.refused(third, &limits, "S2").await;
    assert!(
        matches!(error, StartError::AlreadyActive),
        "S2: with two allowed the third is `AlreadyActive`"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * SECOND).await.len(),
        2,
        "S2: with two allowed two are active"
    );
}

pub(super) async fn s2_replacing_ends_no_more_than_it_has_to<S: SessionStore>(check: Check<S>) {
    let replacing = |active| Limits {
        active,
        replace: true,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let mut ids = Vec::new();
    for (number, subject) in (0..).zip(["ines", "otto", "vera"]) {
        let session = check.session(&ada, subject, number * SECOND);
        let started = check.started(session, &replacing(3), "S2").await;
        assert!(started.ended.is_empty(), "S2: three are allowed");
        ids.push(started.session.id);
    }

    let otto = check.session(&ada, "otto", MINUTE);
    let otto = check.started(otto, &replacing(3), "S2").await;
    assert_eq!(
        ids_of(&otto.ended),
        [ids[1]],
        "S2: a start for the same subject replaces that session alone"
    );
    let ina = check.session(&ada, "ina", 2 * MINUTE);
    let ina = check.started(ina, &replacing(3), "S2").await;
    assert_eq!(
        ids_of(&ina.ended),
        [ids[0]],
        "S2: where there are too many, the oldest is replaced"
    );
    let last = check.session(&ada, "ines", 3 * MINUTE);
    let last = check.started(last, &replacing(1), "S2").await;
    let replaced: HashSet<_> = ids_of(&last.ended).into_iter().collect();
    assert_eq!(
        replaced,
        HashSet::from([ids[2], otto.session.id, ina.session.id]),
        "S2: as many are replaced as are too many"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * MINUTE).await,
        [ended(&last.session)],
        "S2: only the last is active"
    );
}

pub(super) async fn s2_parallel_starts_leave_one<S: SessionStore>(check: Check<S>) {
    const STARTS: usize = 100;

    for subjects in [1, STARTS] {
        let ada = check.actor(&format!("ada of {subjects}"));
        let sessions: Vec<_> = (0..STARTS)
            .map(|number| {
                let subject = format!("subject {}", number % subjects);
                check.session(&ada, &subject, Duration::ZERO)
            })
            .collect();
        let results = check
            .at_once(STARTS, |store, number| {
                let session = sessions[number].clone();
                async move { store.start(session, &Limits::default()).await }
            })
            .await;
        let started: Vec<_> = results.iter().flatten().collect();
        assert_eq!(
            started.len(),
            1,
            "S2: of {STARTS} parallel starts one succeeds"
        );
        let already = |result: &&Result<_, _>| matches!(result, Err(StartError::AlreadyActive));
        assert_eq!(
            results.iter().filter(already).count(),
            STARTS - 1,
            "S2: the other parallel starts are `AlreadyActive`"
        );
        assert_eq!(
            check.all_of(&ada, None, SECOND).await,
            [ended(&started[0].session)],
            "S2: {STARTS} parallel starts leave one session"
        );
    }
}

pub(super) async fn s2_parallel_replacements_leave_one<S: SessionStore>(check: Check<S>) {
    const STARTS: usize = 40;

    let limits = Limits {
        active: 1,
        replace: true,
        starts_per_hour: 1_000,
    };
    let ada = check.actor("ada");
    let sessions: Vec<_> = (0..STARTS)
        .map(|number| check.session(&ada, &format!("subject {}", number % 3), Duration::ZERO))
        .collect();
    let results = check
        .at_once(STARTS, |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &limits).await }
        })
        .await;
    let mut replaced = Vec::new();
    for result in results {
        let started = result.expect("S2: a replacing start is not refused");
        replaced.extend(endings(&started.ended));
    }
    let distinct: HashSet<_> = replaced.iter().map(|(id, ..)| *id).collect();
    assert_eq!(
        (replaced.len(), distinct.len()),
        (STARTS - 1, STARTS - 1),
        "S2: each replaced session is returned by one start"
    );
    assert!(
        replaced
            .iter()
            .all(|(_, why, _)| *why == Some(EndedReason::Replaced)),
        "S2: they ended because they were replaced"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), SECOND).await.len(),
        1,
        "S2: parallel replacing starts leave one active session"
    );
}

pub(super) async fn s2_actors_do_not_disturb_each_other<S: SessionStore>(check: Check<S>) {
    // Names that a careless comparison takes for the same.
    let names = [
        "ada",
        "Ada",
        "ada ",
        "a%a",
        "a_a",
        "ad\u{e1}",
        "ada\u{301}",
        "ada\\",
        "ada'",
        "ad",
    ];
    let actors: Vec<_> = names.iter().map(|name| check.actor(name)).collect();
    let sessions: Vec<_> = actors
        .iter()
        .map(|actor| check.session(actor, "ines", Duration::ZERO))
        .collect();
    let results = check
        .at_once(actors.len(), |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &Limits::default()).await }
        })
        .await;
    for (name, result) in names.iter().zip(results) {
        let error = result.err();
        assert!(
            error.is_none(),
            "S2: the start of `{name}` has nothing to do with that of other actors: {error:?}"
        );
    }
    check
        .end(sessions[0].id, EndedReason::Manual, SECOND)
        .await
        .expect("S4: an active session can be ended");
    for session in &sessions[1..] {
        let found = check.active(session, SECOND).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S2: every actor has its own session"
        );
        let of_this_actor = check.all_of(&session.actor, None, SECOND).await;
        assert_eq!(
            of_this_actor,
            [ended(session)],
            "S2: actors with similar ids are not the same"
        );
    }

    // So are subjects, for the same actor.
    let eve = check.actor("eve");
    let mut subjects: Vec<_> = ["~anon", "~service", "anon", "service", "user", "42", "042"]
        .iter()
        .map(|subject| user(subject))
        .collect();
    subjects.extend(["Anon", "anon ", "ano_", "%"].map(user));
    for (subject, number) in subjects.iter().zip(0..) {
        let mut session = check.session(&eve, "nobody", number * SECOND);
        session.subject = subject.clone();
        let session = check.given(session).await;
        let found = check.active(&session, MINUTE).await;
        assert_eq!(
            found.map(|found| found.id),
            Some(session.id),
            "S2: subjects with similar ids are not the same"
        );
    }
}

pub(super) async fn s2_an_id_is_used_once<S: SessionStore>(check: Check<S>) {
    let ada = check.actor("ada");
    let first = check
        .given(check.session(&ada, "ines", Duration::ZERO))
        .await;
    check.end(first.id, EndedReason::Manual, SECOND).await;
    let before = check.there(first.id).await;

    let mut second = check.session(&ada, "otto", MINUTE);
    second.id = first.id;
    let started = check.store.start(second.clone(), &no_limits()).await;
    assert!(
        matches!(started, Err(StartError::Store(_))),
        "S7: a start with an id that another session has must fail"
    );
    assert_eq!(
        facts(&*check.there(first.id).await),
        facts(&before),
        "S7: no start changes a session that is there"
    );
    assert!(
        check.active(&second, MINUTE).await.is_none(),
        "S7: a start that failed leaves nothing"
    );
}
