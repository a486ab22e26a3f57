//! S6: a raise or an extension needs a fresh reason and a fresh check, and stays within the ceiling of the grant.

use std::pin::pin;

use tower_impersonation::{
    Access, ChangeRequest, Rejection, RejectionKind, StartRequest,
    audit::{AuditEvent, EventName},
};

use crate::support::{
    Desk, How, MINUTE, NOON, desk, id, is_taken_back, parts, post, still_waits, subject,
};

fn raise() -> ChangeRequest {
    ChangeRequest::new("ticket 2: has to change it").with_access(Access::ReadWrite)
}

#[tokio::test]
async fn s6_raising_and_extending_need_a_fresh_reason_and_a_fresh_check() {
    struct Case {
        name: &'static str,
        who: &'static str,
        then: fn(&Desk),
        change: ChangeRequest,
        refused: Option<RejectionKind>,
    }
    let hours = |n: u32| MINUTE * 60 * n;
    let case = |name, who, then, change, refused| Case {
        name,
        who,
        then,
        change,
        refused,
    };
    let cases = [
        case("raised", "ada", |_| {}, raise(), None),
        case(
            "extended",
            "ada",
            |_| {},
            ChangeRequest::new("ticket 2").with_duration(hours(1)),
            None,
        ),
        case(
            "blank",
            "ada",
            |_| {},
            ChangeRequest::new(" ").with_access(Access::ReadWrite),
            Some(RejectionKind::InvalidRequest),
        ),
        case(
            "too long a reason",
            "ada",
            |_| {},
            ChangeRequest::new("x".repeat(501)).with_access(Access::ReadWrite),
            Some(RejectionKind::InvalidRequest),
        ),
        case(
            "nothing to change",
            "ada",
            |_| {},
            ChangeRequest::new("ticket 2"),
            Some(RejectionKind::InvalidRequest),
        ),
        case(
            "beyond the grant",
            "sam",
            |_| {},
            raise(),
            Some(RejectionKind::Denied),
        ),
        case(
            "demoted",
            "ada",
            |d| d.cast.dismiss("ada"),
            raise(),
            Some(RejectionKind::NotAdmin),
        ),
        case(
            "barred",
            "ada",
            |d| d.cast.bar("ines"),
            raise(),
            Some(RejectionKind::Denied),
        ),
        case(
            "the subject is gone",
            "ada",
            |d| drop(d.cast.users.remove(&id("ines"))),
            raise(),
            Some(RejectionKind::SubjectNotFound),
        ),
        case(
            "over",
            "ada",
            |d| d.clock.advance(MINUTE * 30),
            raise(),
            Some(RejectionKind::NothingToEnd),
        ),
        case(
            "no trail",
            "ada",
            |d| d.world.trouble("write", How::Fail),
            raise(),
            Some(RejectionKind::TrailUnavailable),
        ),
        case(
            "no store",
            "ada",
            |d| d.world.trouble("update", How::Hang),
            raise(),
            Some(RejectionKind::Unavailable),
        ),
    ];
    for case in cases {
        let name = case.name;
        let desk = desk();
        let start = StartRequest::new(subject("ines"), "ticket 1").with_duration(MINUTE * 30);
        let session = desk.handle.start(&parts(case.who), start).await.unwrap();
        (case.then)(&desk);
        let (parts, whom) = (parts(case.who), subject("ines"));
        let changing = desk.handle.change(&parts, &whom, case.change);
        let changed = desk.while_time_passes(changing).await;

        let kind = changed.as_ref().err().map(Rejection::kind);
        assert_eq!(kind, case.refused, "{name}");
        let row = desk.row(&session).await;
        desk.world.calm();
        let events = desk.events().await;
        if case.refused.is_some() {
            assert_eq!(row.access, Access::ReadOnly, "{name}");
            assert_eq!(row.expires_at, NOON + MINUTE * 30, "{name}");
            assert!(events.iter().any(|event| event.rule.is_some()), "{name}");
            // A raise that was announced and did not happen is taken back.
            let raised = |event: &&AuditEvent| event.name == EventName::AccessRaised;
            for raised in events.iter().filter(raised) {
                assert!(is_taken_back(&events, raised), "{name}: {events:?}");
            }
        } else {
            let event = &events[1];
            let reason = event.reason.as_deref().unwrap();
            assert!(reason.starts_with("ticket 2"), "{reason}");
            assert_eq!(event.session, Some(session.session.id));
        }
    }
}

#[tokio::test]
async fn s6_a_raise_counts_from_the_next_request_and_is_durable_before() {
    let desk = desk();
    let start = StartRequest::new(subject("ines"), "ticket 1");
    desk.started(&parts("ada"), start).await;
    let reply = desk.send(post("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::ReadOnly));

    let gate = desk.world.gate("write");
    let (parts, whom) = (parts("ada"), subject("ines"));
    {
        let mut changing = pin!(desk.handle.change(&parts, &whom, raise()));
        still_waits(changing.as_mut()).await;
        let reply = desk.send(post("ada", "/?as=ines")).await;
        assert_eq!(reply.kind, Some(RejectionKind::ReadOnly));
        gate.add_permits(100);
        assert_eq!(changing.await.unwrap().access, Access::ReadWrite);
    }
    assert_eq!(desk.send(post("ada", "/?as=ines")).await.kind, None);
    let trail = desk.trail().await;
    assert!(
        trail.contains(&"access_raised ada ines".to_owned()),
        "{trail:?}"
    );
}

#[tokio::test]
async fn s6_an_extension_stays_within_the_ceiling_of_the_grant() {
    let desk = desk();
    let session = desk.start("sam", "ines").await.unwrap();
    desk.clock.advance(MINUTE * 10);
    let longer = ChangeRequest::new("ticket 2").with_duration(MINUTE * 600);
    let changed = desk
        .handle
        .change(&parts("sam"), &subject("ines"), longer)
        .await
        .unwrap();

    assert_eq!(changed.id, session.session.id);
    // It counts from the start, and is reached.
    assert_eq!(changed.expires_at, NOON + MINUTE * 30);
    assert_eq!(desk.trail().await, ["start sam ines"]);
}
