//! [S3](crate::rules#s3): how many starts an actor has in an hour, counted in the store.

use std::time::Duration;

use super::{Check, HOUR, MICRO, MINUTE, Outcome, SECOND, outcome};
use crate::session::{EndedReason, Limits, SessionStore};

pub(super) async fn s3_the_eleventh_start_of_an_hour_is_refused<S: SessionStore>(check: Check<S>) {
    let limits = Limits::default();
    let ada = check.actor("ada");
    for minute in 0..10 {
        let session = check.session(&ada, "ines", minute * MINUTE);
        let session = check
            .started(session, &limits, "S3: one of the first ten")
            .await
            .session;
        let ended = check.end(
            session.id,
            EndedReason::Manual,
            minute * MINUTE + 30 * SECOND,
        );
        ended.await.expect("S4: an active session can be ended");
    }

    let too_many = [
        (10 * MINUTE, 50 * MINUTE),
        (HOUR - SECOND, SECOND),
        (HOUR - MICRO, MICRO),
    ];
    for (after, wait) in too_many {
        let session = check.session(&ada, "ines", after);
        let error = check.refused(session, &limits, "S3").await;
        assert_eq!(
            outcome(&error),
            Outcome::TooMany(wait),
            "S3: ended sessions count, and `retry_after` is when the oldest start is an hour old"
        );
    }
    let eve = check.actor("eve");
    let other = check.session(&eve, "ines", 10 * MINUTE);
    check
        .started(other, &limits, "S3: starts of other actors do not count")
        .await;

    let eleventh = check.session(&ada, "ines", HOUR);
    let eleventh = check
        .started(eleventh, &limits, "S3: a start that is an hour old is out")
        .await
        .session;
    check
        .end(eleventh.id, EndedReason::Manual, HOUR + 10 * SECOND)
        .await;
    let twelfth = check.session(&ada, "ines", HOUR + 30 * SECOND);
    let error = check.refused(twelfth, &limits, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(30 * SECOND),
        "S3: the window slides, it does not begin anew"
    );
}

pub(super) async fn s3_refused_starts_do_not_count_and_replaced_ones_do<S: SessionStore>(
    check: Check<S>,
) {
    let limits = Limits {
        starts_per_hour: 3,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let first = check.session(&ada, "ines", Duration::ZERO);
    check.started(first, &limits, "S3").await;
    for second in 1..6 {
        let refused = check.session(&ada, "otto", second * SECOND);
        check.refused(refused, &limits, "S2").await;
    }
    let replacing = Limits {
        replace: true,
        ..limits
    };
    for minute in 1..3 {
        let session = check.session(&ada, "otto", minute * MINUTE);
        check
            .started(session, &replacing, "S3: refused starts do not count")
            .await;
    }
    let last = check.session(&ada, "vera", 3 * MINUTE);
    let error = check.refused(last.clone(), &replacing, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(57 * MINUTE),
        "S3: replaced sessions count"
    );
    assert_eq!(
        check.all_of(&ada, Some(true), 3 * MINUTE).await.len(),
        1,
        "S3: a start that is one too many replaces nothing"
    );
    let error = check.refused(last, &limits, "S2").await;
    assert_eq!(
        outcome(&error),
        Outcome::AlreadyActive,
        "S2: waiting does not help against an active session, so it is named first"
    );
}

pub(super) async fn s3_starts_are_counted_by_their_times<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 1_000,
        starts_per_hour: 2,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    // The second comes from a replica whose clock is late.
    for (subject, after) in [("ines", 10 * MINUTE), ("otto", 5 * MINUTE)] {
        let session = check.session(&ada, subject, after);
        check.started(session, &limits, "S3").await;
    }
    let third = check.session(&ada, "vera", 11 * MINUTE);
    let error = check.refused(third, &limits, "S3").await;
    assert_eq!(
        outcome(&error),
        Outcome::TooMany(54 * MINUTE),
        "S3: the oldest start is that of the earliest time, in whatever order they came"
    );
    let later = check.session(&ada, "vera", 65 * MINUTE);
    check
        .started(later, &limits, "S3: a start that is an hour old is out")
        .await;
}

pub(super) async fn s3_parallel_starts_are_counted<S: SessionStore>(check: Check<S>) {
    let limits = Limits {
        active: 1_000,
        ..Limits::default()
    };
    let ada = check.actor("ada");
    let sessions: Vec<_> = (0..40)
        .map(|number| check.session(&ada, &format!("subject {number}"), Duration::ZERO))
        .collect();
    let results = check
        .at_once(sessions.len(), |store, number| {
            let session = sessions[number].clone();
            async move { store.start(session, &limits).await }
        })
        .await;
    let started = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(started, 10, "S3: of parallel starts ten succeed");
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        assert_eq!(
            outcome(error),
            Outcome::TooMany(HOUR),
            "S3: the other parallel starts are too many"
        );
    }
}
