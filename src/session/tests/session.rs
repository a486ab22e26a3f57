//! S2, S3, S4: limits, ends and filters, on a session alone.

use std::{sync::Arc, time::Duration};

use super::{MINUTE, NOON, TICK, session, subject, user};
use crate::session::{EndedReason, Limits, Session, SessionFilter, StartError, SubjectKind};

// === Limits ===

#[test]
fn s2_s3_a_start_is_admitted_replaces_or_is_refused() {
    enum Want {
        /// Ends these, by index.
        Ends(&'static [usize]),
        AlreadyActive,
        /// Seconds.
        TooMany(u64),
    }
    use Want::*;
    struct Test {
        active: usize,
        replace: bool,
        per_hour: u32,
        /// Subjects of active sessions, oldest first.
        sessions: &'static [&'static str],
        /// Seconds ago, oldest first.
        starts: &'static [i64],
        want: Want,
    }
    let test = |active, replace, sessions, want| Test {
        active,
        replace,
        per_hour: 10,
        sessions,
        starts: &[],
        want,
    };
    let rate = |per_hour, starts, want| Test {
        active: 1,
        replace: false,
        per_hour,
        sessions: &[],
        starts,
        want,
    };
    let tests = [
        test(1, false, &[], Ends(&[])),
        test(1, false, &["otto"], AlreadyActive),
        test(1, false, &["ines"], AlreadyActive),
        test(1, true, &["otto"], Ends(&[0])),
        test(1, true, &["ines"], Ends(&[0])),
        test(2, false, &["otto"], Ends(&[])),
        test(2, false, &["ines"], AlreadyActive),
        test(2, false, &["otto", "vera"], AlreadyActive),
        test(2, true, &["otto", "vera"], Ends(&[0])),
        test(2, true, &["otto", "ines"], Ends(&[1])),
        test(2, true, &["ines", "otto"], Ends(&[0])),
        test(1, true, &["otto", "vera", "ines"], Ends(&[2, 0, 1])),
        test(2, true, &["otto", "vera", "ines"], Ends(&[2, 0])),
        // None at all would be no limit but a lock-out: it counts as one.
        test(0, false, &[], Ends(&[])),
        test(0, false, &["otto"], AlreadyActive),
        rate(2, &[60], Ends(&[])),
        rate(2, &[60, 30], TooMany(3540)),
        rate(2, &[3599, 30], TooMany(1)),
        rate(2, &[3600, 30], Ends(&[])),
        rate(2, &[7200, 3600, 30], Ends(&[])),
        // More than there may be, after the setting was lowered: room comes when the second newest goes.
        rate(2, &[600, 500, 400, 300], TooMany(3200)),
        // Of a replica whose clock is ahead.
        rate(1, &[-10], TooMany(3610)),
        rate(0, &[], TooMany(3600)),
        Test {
            active: 1,
            replace: true,
            per_hour: 1,
            sessions: &["otto"],
            starts: &[600],
            want: TooMany(3000),
        },
        Test {
            active: 1,
            replace: false,
            per_hour: 1,
            sessions: &["otto"],
            starts: &[600],
            want: AlreadyActive,
        },
    ];
    for (number, test) in tests.iter().enumerate() {
        let limits = Limits {
            active: test.active,
            replace: test.replace,
            starts_per_hour: test.per_hour,
        };
        let sessions: Vec<_> = test
            .sessions
            .iter()
            .map(|subject| Arc::new(session("ada", subject, Duration::ZERO)))
            .collect();
        let ago = |ago: &i64| NOON - time::Duration::seconds(*ago);
        let starts: Vec<_> = test.starts.iter().map(ago).collect();
        let admitted = limits.admit(&subject("ines"), &sessions, &starts, NOON);
        match (&test.want, admitted) {
            (Ends(want), Ok(ends)) => {
                let want: Vec<_> = want.iter().map(|index| sessions[*index].id).collect();
                let ends: Vec<_> = ends.iter().map(|session| session.id).collect();
                assert_eq!(ends, want, "test {number}");
            }
            (AlreadyActive, Err(StartError::AlreadyActive)) => {}
            (TooMany(wait), Err(StartError::TooManyStarts { retry_after })) => {
                assert_eq!(retry_after, Duration::from_secs(*wait), "test {number}");
            }
            (_, other) => panic!("test {number}: {other:?}"),
        }
    }
}

// === Session ===

#[test]
fn s4_a_session_ends_at_the_earliest_of_its_ends() {
    use EndedReason::{Idle, Manual, Timeout};
    struct Test {
        /// In minutes after the start.
        lifetime: u32,
        idle: Option<u32>,
        seen: u32,
        ended: Option<u32>,
        now: Duration,
        due: Option<(EndedReason, u32)>,
        is_open: bool,
        is_active: bool,
    }
    let test = |lifetime, idle, seen, now, due, is_open| Test {
        lifetime,
        idle,
        seen,
        ended: None,
        now,
        due,
        is_open,
        is_active: due.is_none(),
    };
    let ended = |ended, now| Test {
        ended: Some(ended),
        ..test(60, Some(30), 0, now, None, false)
    };
    let tests = [
        test(60, None, 0, 60 * MINUTE - TICK, None, true),
        test(60, None, 0, 60 * MINUTE, Some((Timeout, 60)), false),
        test(60, None, 0, 600 * MINUTE, Some((Timeout, 60)), false),
        test(60, Some(30), 0, 30 * MINUTE - TICK, None, true),
        test(60, Some(30), 0, 30 * MINUTE, Some((Idle, 30)), true),
        test(60, Some(30), 0, 600 * MINUTE, Some((Idle, 30)), false),
        test(60, Some(30), 20, 50 * MINUTE - TICK, None, true),
        test(60, Some(30), 20, 50 * MINUTE, Some((Idle, 50)), true),
        // Both at once: the lifetime is over, whatever else.
        test(60, Some(30), 30, 60 * MINUTE, Some((Timeout, 60)), false),
        test(60, Some(30), 40, 60 * MINUTE, Some((Timeout, 60)), false),
        test(0, None, 0, Duration::ZERO, Some((Timeout, 0)), false),
        test(60, Some(0), 0, Duration::ZERO, Some((Idle, 0)), true),
        Test {
            is_active: false,
            ..ended(10, 10 * MINUTE)
        },
        Test {
            is_active: false,
            ..ended(10, 9 * MINUTE)
        },
        Test {
            is_active: false,
            ..ended(10, 600 * MINUTE)
        },
    ];
    for (number, test) in tests.iter().enumerate() {
        let mut session = session("ada", "ines", Duration::ZERO);
        session.expires_at = NOON + test.lifetime * MINUTE;
        session.idle_timeout = test.idle.map_or(Duration::MAX, |idle| idle * MINUTE);
        session.last_seen_at = NOON + test.seen * MINUTE;
        if let Some(ended) = test.ended {
            session = session.ended(Manual, NOON + ended * MINUTE);
        }
        let now = NOON + test.now;
        let due = test.due.map(|(reason, at)| (reason, NOON + at * MINUTE));
        assert_eq!(session.due(now), due, "due of test {number}");
        assert_eq!(session.is_open(now), test.is_open, "is_open of {number}");
        assert_eq!(
            session.is_active(now),
            test.is_active,
            "is_active of {number}"
        );
    }
}

#[test]
fn s4_an_end_changes_nothing_else() {
    let before = session("ada", "ines", Duration::ZERO);
    let after = before.ended(EndedReason::SubjectGone, NOON + MINUTE);
    assert_eq!(after.ended_at, Some(NOON + MINUTE));
    assert_eq!(after.ended_reason, Some(EndedReason::SubjectGone));
    let restored = Session {
        ended_at: None,
        ended_reason: None,
        ..after
    };
    assert_eq!(restored, before);
}

#[test]
fn s4_reasons_read_in_json_as_in_the_contract() {
    let reasons = [
        (EndedReason::Manual, "manual"),
        (EndedReason::Timeout, "timeout"),
        (EndedReason::Idle, "idle"),
        (EndedReason::AdminLogout, "admin_logout"),
        (EndedReason::SessionRevoked, "session_revoked"),
        (EndedReason::ActorDemoted, "actor_demoted"),
        (EndedReason::SubjectGone, "subject_gone"),
        (EndedReason::Replaced, "replaced"),
        (EndedReason::MarkerRemoved, "marker_removed"),
    ];
    for (reason, text) in reasons {
        assert_eq!(reason.to_string(), text);
        assert_eq!(serde_json::to_value(reason).unwrap(), text);
    }
}

#[test]
fn debug_shows_no_reason_ticket_or_address() {
    let mut session = session("ada", "ines", Duration::ZERO);
    session.reason = "SECRET".into();
    session.ticket = Some("SECRET".into());
    session.user_agent = Some("SECRET".into());
    session.address = Some("192.0.2.77".parse().unwrap());
    let shown = format!("{session:#?}");
    assert!(shown.contains("ada") && !shown.contains("SECRET") && !shown.contains("192.0.2"));
}

// === SessionFilter ===

#[test]
fn a_filter_matches_what_it_names() {
    let now = NOON + 10 * MINUTE;
    let ines = session("ada", "ines", MINUTE);
    let anon = session("ada", "~anon", MINUTE);
    let service = session("eve", "~service", MINUTE);
    let idle = Session {
        idle_timeout: 9 * MINUTE,
        ..ines.clone()
    };
    let ended = ines.ended(EndedReason::Manual, now);
    let any = SessionFilter::default();
    let kind = |kind| SessionFilter {
        kind: Some(kind),
        ..SessionFilter::default()
    };
    let active = |is_active| SessionFilter {
        is_active: Some(is_active),
        ..SessionFilter::default()
    };
    let between = |from, to| SessionFilter {
        from,
        to,
        ..SessionFilter::default()
    };
    let of = |actor: &str, of: &str| SessionFilter {
        actor: Some(user(actor)),
        subject: Some(subject(of)),
        ..SessionFilter::default()
    };
    let at = Some(NOON + MINUTE);
    let after = Some(NOON + MINUTE + TICK);
    // Which of ines, anon, service, idle, ended.
    let tests = [
        (any, [true; 5]),
        (kind(SubjectKind::User), [true, false, false, true, true]),
        (kind(SubjectKind::Anon), [false, true, false, false, false]),
        (
            kind(SubjectKind::Service),
            [false, false, true, false, false],
        ),
        (active(true), [true, true, true, false, false]),
        (active(false), [false, false, false, true, true]),
        (between(at, None), [true; 5]),
        (between(after, None), [false; 5]),
        (between(None, at), [false; 5]),
        (between(None, after), [true; 5]),
        (between(at, after), [true; 5]),
        (of("ada", "ines"), [true, false, false, true, true]),
        (of("eve", "ines"), [false; 5]),
        (of("eve", "~service"), [false, false, true, false, false]),
    ];
    for (filter, wanted) in tests {
        let sessions = [&ines, &anon, &service, &idle, &ended];
        let found = sessions.map(|session| filter.matches(session, now));
        assert_eq!(found, wanted, "{filter:?}");
    }
}
