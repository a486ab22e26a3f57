//! Who may act as whom (rule S1).
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use super::*;
use crate::words::Rank;

fn id(id: &str) -> UserId {
    id.parse().unwrap()
}

fn ada() -> Actor {
    Actor::new(id("ada"), Rank(20))
}

#[test]
fn s1_the_first_question_is_asked_of_actor_subject_and_checker() {
    struct Test {
        actor: Actor,
        subject: Subject,
        decision: Decision,
        expected: Result<Grant, Denial>,
    }
    let grant = Grant::read_write().with_max_lifetime(Duration::from_secs(60));
    let allow = || Decision::Allow(grant);
    let deny = || Decision::deny("not on call");
    let denied = || Err(Denial::Checker("not on call".into()));
    let with_right = || ada().with_rights(Rights::SERVICE);
    let other_rights = Rights::LIST_SESSIONS | Rights::END_SESSIONS | Rights::READ_TRAIL;
    let ines = || Subject::User(id("ines"));
    let herself = || Subject::User(id("ada"));
    let tests = [
        Test {
            actor: ada(),
            subject: ines(),
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: ines(),
            decision: deny(),
            expected: denied(),
        },
        Test {
            actor: ada(),
            subject: herself(),
            decision: allow(),
            expected: Err(Denial::Oneself),
        },
        Test {
            actor: ada(),
            subject: herself(),
            decision: deny(),
            expected: Err(Denial::Oneself),
        },
        Test {
            actor: ada(),
            subject: Subject::User(id("ADA")),
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: Subject::Anonymous,
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: ada(),
            subject: Subject::Anonymous,
            decision: deny(),
            expected: denied(),
        },
        Test {
            actor: ada(),
            subject: Subject::Service,
            decision: allow(),
            expected: Err(Denial::ServiceRight),
        },
        Test {
            actor: ada().with_rights(other_rights),
            subject: Subject::Service,
            decision: allow(),
            expected: Err(Denial::ServiceRight),
        },
        Test {
            actor: with_right(),
            subject: Subject::Service,
            decision: allow(),
            expected: Ok(grant),
        },
        Test {
            actor: with_right(),
            subject: Subject::Service,
            decision: deny(),
            expected: denied(),
        },
    ];
    for test in tests {
        let answer = may_ask(&test.actor, &test.subject, test.decision.clone());
        assert_eq!(
            answer, test.expected,
            "{:?} {:?}",
            test.subject, test.decision
        );
    }
}

#[test]
fn s1_a_subject_is_known_of_strictly_lower_rank_and_impersonable() {
    let user = |rank| DirectoryUser::new(id("ines"), Rank(rank));
    let locked = |rank| user(rank).not_impersonable_because("opted out");
    let tests = [
        (20, Some(user(0)), Ok(())),
        (20, Some(user(19)), Ok(())),
        (20, Some(user(20)), Err(Denial::Rank)),
        (20, Some(user(21)), Err(Denial::Rank)),
        (20, Some(user(u32::MAX)), Err(Denial::Rank)),
        (0, Some(user(0)), Err(Denial::Rank)),
        (u32::MAX, Some(user(u32::MAX - 1)), Ok(())),
        (
            20,
            Some(locked(0)),
            Err(Denial::NotImpersonable("opted out".to_owned())),
        ),
        (20, Some(locked(20)), Err(Denial::Rank)),
        (20, None, Err(Denial::UnknownSubject)),
    ];
    let ines = id("ines");
    for (rank, user, expected) in tests {
        let actor = Actor::new(id("ada"), Rank(rank)).with_rights(Rights::all());
        let decided = may_act(&actor, &ines, user.as_ref());
        assert_eq!(decided, expected, "{rank} {user:?}");
    }
}

/// Else one user would be several subjects, each with a session of its own.
#[test]
fn s1_an_answer_about_another_id_is_about_an_unknown_subject() {
    let ada = Actor::new(id("ada"), Rank(20));
    for asked in ["INES", "ines ", "7"] {
        let ines = DirectoryUser::new(id("ines"), Rank(0));
        let decided = may_act(&ada, &id(asked), Some(&ines));
        assert_eq!(decided, Err(Denial::UnknownSubject), "{asked}");
    }
}

#[test]
fn s1_a_grant_narrows_and_never_widens() {
    use Access::{ReadOnly, ReadWrite};

    assert_eq!(narrow(ReadOnly, &Grant::read_only()), ReadOnly);
    assert_eq!(narrow(ReadWrite, &Grant::read_only()), ReadOnly);
    assert_eq!(narrow(ReadOnly, &Grant::read_write()), ReadOnly);
    assert_eq!(narrow(ReadWrite, &Grant::read_write()), ReadWrite);
}

#[test]
fn a6_every_denial_has_a_rule_of_its_own() {
    let rules = [
        Denial::Checker("x".into()),
        Denial::Oneself,
        Denial::ServiceRight,
        Denial::UnknownSubject,
        Denial::Rank,
        Denial::NotImpersonable("x".to_owned()),
        Denial::NoConsent,
    ]
    .map(|denial| denial.rule());
    let expected = [
        "checker",
        "self",
        "service_right",
        "unknown_subject",
        "rank",
        "not_impersonable",
        "no_consent",
    ];
    assert_eq!(rules, expected);
}
