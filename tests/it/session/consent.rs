//! S8: the subject's consent is asked for at the start and on every request, and its end is the session's end.

use std::time::Duration;

use tower_impersonation::{RejectionKind, session::EndedReason};

use crate::support::{MINUTE, NOON, desk_with_consent, get, id};

#[tokio::test]
async fn s8_consent_is_asked_at_the_start_and_on_every_request() {
    let desk = desk_with_consent();
    let refused = desk.start("ada", "ines").await.unwrap_err();
    assert_eq!(refused.kind(), RejectionKind::Denied);

    desk.consents.grant(id("ines"), NOON + MINUTE * 10);
    let session = desk.start("ada", "ines").await.unwrap();
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.consents.withdraw(&id("ines"));
    let reply = desk.send(get("ada", "/?as=ines")).await;

    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
    assert_eq!(
        desk.row(&session).await.ended_reason,
        Some(EndedReason::SubjectGone)
    );
    assert_eq!(desk.echo.calls(), 1);
    assert_eq!(
        desk.trail().await,
        [
            "denied ada ines no_consent",
            "start ada ines",
            "request ada ines GET / completed 200",
            "end ada ines subject_gone",
            "denied ada ines subject_gone",
        ]
    );
}

#[tokio::test]
async fn s8_consent_that_runs_out_ends_the_session_at_that_very_time() {
    let desk = desk_with_consent();
    desk.consents.grant(id("ines"), NOON + MINUTE);
    desk.start("ada", "ines").await.unwrap();
    desk.clock.advance(MINUTE - Duration::from_nanos(1));
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.clock.advance(Duration::from_nanos(1));
    let reply = desk.send(get("ada", "/?as=ines")).await;
    assert_eq!(reply.kind, Some(RejectionKind::SessionEnded));
}
