//! S1, S7: who may start a session for whom, how the grant narrows it, and what the session keeps.

use std::time::Duration;

use tower_impersonation::{Access, Rejection, RejectionKind, SessionWithUser, StartRequest};

use crate::support::{MINUTE, NOON, desk, desk_with, id, parts, subject};

// === S1 ===

#[tokio::test]
async fn s1_a_start_needs_an_admin_a_reason_and_a_subject_of_lower_rank() {
    use RejectionKind::*;

    struct Case {
        name: &'static str,
        who: &'static str,
        whom: &'static str,
        reason: String,
        refused: Option<RejectionKind>,
    }
    let case = |name, who, whom, reason: &str, refused| Case {
        name,
        who,
        whom,
        reason: reason.to_owned(),
        refused,
    };
    let cases = [
        case("fine", "ada", "ines", "ticket 1", None),
        case("an admin for support", "ada", "sam", "ticket 1", None),
        case("the anonymous visitor", "sam", "~anon", "ticket 1", None),
        case("the service role", "root", "~service", "ticket 1", None),
        case("500 characters", "ada", "ines", &"ü".repeat(500), None),
        case(
            "501 characters",
            "ada",
            "ines",
            &"ü".repeat(501),
            Some(InvalidRequest),
        ),
        case(
            "500 and blanks",
            "ada",
            "ines",
            &format!(" {} ", "x".repeat(500)),
            None,
        ),
        case("no reason", "ada", "ines", "", Some(InvalidRequest)),
        case(
            "a blank reason",
            "ada",
            "ines",
            " \t\n\u{a0}\u{2003}",
            Some(InvalidRequest),
        ),
        case("oneself", "ada", "ada", "ticket 1", Some(Yourself)),
        case("equal rank", "ada", "abe", "ticket 1", Some(Denied)),
        case("higher rank", "sam", "ada", "ticket 1", Some(Denied)),
        case("opted out", "root", "kim", "ticket 1", Some(Denied)),
        case("a system account", "root", "bot", "ticket 1", Some(Denied)),
        case(
            "unknown",
            "ada",
            "nobody",
            "ticket 1",
            Some(SubjectNotFound),
        ),
        case(
            "the service role without the right",
            "ada",
            "~service",
            "ticket 1",
            Some(Denied),
        ),
        case("nobody", "", "ines", "ticket 1", Some(Unauthenticated)),
        case("a user", "mia", "ines", "ticket 1", Some(NotAdmin)),
        case("barred", "ada", "otto", "ticket 1", Some(Denied)),
    ];
    for case in cases {
        let name = case.name;
        let desk = desk();
        desk.cast.bar("otto");
        let start = StartRequest::new(subject(case.whom), case.reason);
        let started = desk.handle.start(&parts(case.who), start).await;

        let kind = started.as_ref().err().map(Rejection::kind);
        assert_eq!(kind, case.refused, "{name}");
        let active = desk.active().await.len();
        assert_eq!(active, usize::from(case.refused.is_none()), "{name}");
        let trail = desk.trail().await;
        assert_eq!(trail.len(), 1, "{name}: {trail:?}");
        assert_eq!(
            trail[0].starts_with("start"),
            case.refused.is_none(),
            "{name}"
        );
    }
}

#[tokio::test]
async fn s1_a_grant_narrows_access_and_lifetime() {
    struct Case {
        who: &'static str,
        access: Access,
        duration: Option<Duration>,
        got: (Access, Duration),
    }
    let hours = |n: u32| MINUTE * 60 * n;
    let cases = [
        Case {
            who: "ada",
            access: Access::ReadOnly,
            duration: None,
            got: (Access::ReadOnly, hours(2)),
        },
        Case {
            who: "ada",
            access: Access::ReadWrite,
            duration: Some(hours(9)),
            got: (Access::ReadWrite, hours(2)),
        },
        Case {
            who: "ada",
            access: Access::ReadWrite,
            duration: Some(MINUTE),
            got: (Access::ReadWrite, MINUTE),
        },
        Case {
            who: "sam",
            access: Access::ReadWrite,
            duration: Some(hours(1)),
            got: (Access::ReadOnly, MINUTE * 30),
        },
    ];
    for case in cases {
        let desk = desk();
        let mut start = StartRequest::new(subject("ines"), "ticket 1").with_access(case.access);
        if let Some(duration) = case.duration {
            start = start.with_duration(duration);
        }
        let session = desk.started(&parts(case.who), start).await;
        assert_eq!(
            (session.access, session.expires_at),
            (case.got.0, NOON + case.got.1)
        );
    }
}

#[tokio::test]
async fn s1_a_start_by_login_obeys_the_same_rules() {
    let desk = desk();
    let start = |login: &str| {
        let request = StartRequest::for_login(login, "ticket 1");
        let (desk, parts) = (desk.clone(), parts("ada"));
        async move { desk.handle.start(&parts, request).await }
    };
    let kind = |result: Result<SessionWithUser, Rejection>| result.unwrap_err().kind();

    assert_eq!(kind(start("kim@shop.example").await), RejectionKind::Denied);
    assert_eq!(
        kind(start("nobody@shop.example").await),
        RejectionKind::SubjectNotFound
    );
    let started = start("Ines@shop.example").await.unwrap();
    assert_eq!(started.session.subject, subject("ines"));
    assert_eq!(started.user.unwrap().role(), Some("customer"));
}

// === S7, S8 ===

#[tokio::test]
async fn s7_a_session_keeps_who_whom_why_how_and_from_where() {
    let desk = desk_with(|b| b.client_address(|_| Some([192, 0, 2, 1].into())));
    let mut from = parts("ada");
    from.headers
        .insert("user-agent", "browser/1".parse().unwrap());
    let start = StartRequest::new(subject("ines"), " cannot pay ")
        .with_ticket("4711")
        .with_access(Access::ReadWrite);
    let session = desk.started(&from, start).await;

    assert_eq!(session.id.0.get_version_num(), 7);
    assert_eq!(
        (session.actor.clone(), session.subject.clone()),
        (id("ada"), subject("ines"))
    );
    assert_eq!(session.actor_rank.0, 20);
    assert_eq!(session.role.as_deref(), Some("customer"));
    assert_eq!(session.access, Access::ReadWrite);
    assert_eq!(&*session.reason, "cannot pay");
    assert_eq!(session.ticket.as_deref(), Some("4711"));
    assert_eq!(
        (session.started_at, session.expires_at),
        (NOON, NOON + MINUTE * 120)
    );
    assert_eq!(session.address, Some([192, 0, 2, 1].into()));
    assert_eq!(session.user_agent.as_deref(), Some("browser/1"));
    desk.handle.stop(&from).await.unwrap();
    let later = desk.start("ada", "ines").await.unwrap().session;
    assert!(session.id < later.id);
}
