//! S5: stop stops. It needs nothing but the actor, takes no identity from the request, and holds while the trail is down.

use tower_impersonation::{RejectionKind, session::EndedReason};

use crate::support::{How, MINUTE, desk, desk_with, get, parts, post, subject};

#[tokio::test]
async fn s5_a_demoted_actor_can_stop() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    desk.cast.dismiss("ada");
    let current = desk.handle.current(&parts("ada")).await.unwrap().unwrap();
    assert_eq!(current.session.id, session.session.id);

    let ended = desk.handle.stop(&parts("ada")).await.unwrap();

    assert_eq!(ended.sessions.len(), 1);
    assert_eq!(
        desk.row(&session).await.ended_reason,
        Some(EndedReason::Manual)
    );
}

#[tokio::test]
async fn s5_a_stop_succeeds_while_the_trail_is_down_and_is_recorded_later() {
    for how in [How::Fail, How::Hang, How::Panic] {
        let desk = desk();
        let session = desk.start("ada", "ines").await.unwrap();
        desk.world.trouble("write", how);

        desk.handle.stop(&parts("ada")).await.unwrap();

        assert_eq!(
            desk.row(&session).await.ended_reason,
            Some(EndedReason::Manual)
        );
        assert_eq!(desk.sink.events().len(), 1);
        let reply = desk.send(get("ada", "/?as=ines")).await;
        assert_eq!(reply.kind, Some(RejectionKind::NoSession));
        desk.world.calm();
        let trail = desk.trail().await;
        assert_eq!(trail[..2], ["start ada ines", "end ada ines manual"]);
    }
}

#[tokio::test]
async fn s5_a_second_stop_finds_nothing_and_changes_nothing() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap();
    desk.handle.stop(&parts("ada")).await.unwrap();
    let row = desk.row(&session).await;
    desk.clock.advance(MINUTE);

    let again = desk.handle.stop(&parts("ada")).await.unwrap_err();

    assert_eq!(again.kind(), RejectionKind::NothingToEnd);
    assert_eq!(desk.row(&session).await, row);
    assert_eq!(
        desk.trail().await,
        ["start ada ines", "end ada ines manual"]
    );
}

#[tokio::test]
async fn s5_a_stop_takes_no_identity_from_the_request() {
    let desk = desk();
    let session = desk.start("ada", "ines").await.unwrap().session;
    let target = format!(
        "/stop?id={0}&session={0}&admin_user_id=ada&target_user_id=ines",
        session.id
    );
    for who in ["abe", "root", "ines", ""] {
        let (mut parts, _) = post(who, &target).into_parts();
        parts.headers.insert("act-as", "ines".parse().unwrap());
        let refused = desk.handle.stop(&parts).await.unwrap_err();
        let nobody = who.is_empty();
        let kind = if nobody {
            RejectionKind::Unauthenticated
        } else {
            RejectionKind::NothingToEnd
        };
        assert_eq!(refused.kind(), kind, "{who}");
    }
    assert_eq!(desk.active().await, [session]);
}

#[tokio::test]
async fn s5_an_acted_stop_ends_its_own_session_and_no_other() {
    let desk = desk_with(|b| b.max_active(2));
    desk.start("ada", "ines").await.unwrap();
    let otto = desk.start("ada", "otto").await.unwrap().session;
    desk.send(get("ada", "/?as=ines")).await;
    let mut acted = parts("ada");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());

    let ended = desk.handle.stop(&acted).await.unwrap();

    assert_eq!(ended.sessions[0].subject, subject("ines"));
    assert_eq!(desk.active().await, [otto]);
}

#[tokio::test]
async fn s5_a_stop_of_one_session_is_for_its_actor_only() {
    let desk = desk_with(|b| b.max_active(2));
    let ines = desk.start("ada", "ines").await.unwrap().session;
    let otto = desk.start("ada", "otto").await.unwrap().session;
    for who in ["abe", "root", "ines", ""] {
        let refused = desk.handle.stop_one(&parts(who), ines.id).await;
        let kind = match who {
            "" => RejectionKind::Unauthenticated,
            _ => RejectionKind::NothingToEnd,
        };
        assert_eq!(refused.unwrap_err().kind(), kind, "{who}");
    }
    assert_eq!(desk.active().await.len(), 2);

    // An acted request is its actor's: not the subject's, whose name it goes by.
    desk.send(get("ada", "/?as=otto")).await;
    let mut acted = parts("ines");
    acted.extensions.insert(desk.echo.last().acting_as.unwrap());
    let ended = desk.handle.stop_one(&acted, ines.id).await.unwrap();
    let reason = ended.sessions[0].ended_reason;
    assert_eq!(reason, Some(EndedReason::Manual));
    assert_eq!(desk.active().await[0].id, otto.id);

    // Active for this process is active, even if the store was not told yet.
    let idle = MINUTE * 30;
    desk.clock.advance(idle - MINUTE);
    desk.send(get("ada", "/?as=otto")).await;
    desk.clock.advance(MINUTE * 2);
    desk.handle.stop_one(&parts("ada"), otto.id).await.unwrap();
}
