//! S4, S6: a token lives as long as its session and no longer, an access token 15 minutes of that, and a refresh checks
//! what a request has to pass.

use std::time::Duration;

use http::StatusCode;
use tower_impersonation::{
    Access, Builder, ChangeRequest, RejectionKind, StartRequest, token::IssuedTokens,
};

use super::{
    assert_unauthorized, bearer, beside, desk_with_tokens, desk_with_tokens_and, issue, started,
};
use crate::support::{How, MINUTE, id, parts, subject};

#[tokio::test]
async fn a_token_acts_alone_and_beside_a_login_until_its_session_is_stopped() {
    let desk = desk_with_tokens();
    let (session, tokens) = started(&desk).await;
    assert_eq!(tokens.expires_in, Duration::from_secs(900));
    let token = &tokens.access_token;

    let alone = desk.send(bearer("POST", "/orders", token)).await;
    assert_eq!(
        (alone.status, &*alone.body),
        (StatusCode::OK, "ines by ada")
    );
    assert_eq!(alone.headers["acted-as"], "ines");
    let with_login = desk.send(beside("ada", "/orders", token)).await;
    assert_eq!(
        (with_login.status, &*with_login.body),
        (StatusCode::OK, "ines by ada")
    );

    desk.handle.stop(&parts("ada")).await.unwrap();
    for request in [
        bearer("GET", "/orders", token),
        beside("ada", "/orders", token),
    ] {
        assert_unauthorized(&desk.send(request).await, "stopped");
    }
    assert_eq!(desk.echo.calls(), 2);
    let trail = desk.trail().await;
    assert!(
        trail.contains(&"request ada ines POST /orders intent".to_owned()),
        "{trail:?}"
    );
    assert_eq!(trail.last().unwrap(), "denied ada ines invalid_token x1");
    assert!(desk.row(&session).await.ended_at.is_some());
}

/// What ends a token: (what, the reason that its session then has).
type End = (&'static str, &'static str);

#[tokio::test]
async fn a_token_dies_with_its_session_whatever_ends_it() {
    let ends: [End; 9] = [
        ("stop", "manual"),
        ("log-out", "admin_logout"),
        ("forced", "session_revoked"),
        ("demotion", "actor_demoted"),
        ("demotion at once", "actor_demoted"),
        ("barred", "actor_demoted"),
        ("lifetime", "timeout"),
        ("idle", "idle"),
        ("subject gone", "subject_gone"),
    ];
    for (what, reason) in ends {
        for is_alone in [true, false] {
            let desk = desk_with_tokens_and(|builder| builder.directory_cache(Duration::ZERO));
            let (session, mut tokens) = started(&desk).await;
            let request = |tokens: &IssuedTokens| match is_alone {
                true => bearer("GET", "/", &tokens.access_token),
                false => beside("ada", "/", &tokens.access_token),
            };
            assert_eq!(
                desk.send(request(&tokens)).await.body,
                "ines by ada",
                "{what}"
            );
            match what {
                "stop" => drop(desk.handle.stop(&parts("ada")).await.unwrap()),
                "log-out" => drop(desk.handle.log_out(&id("ada")).await.unwrap()),
                "forced" => drop(
                    desk.handle
                        .revoke(&parts("root"), session.session.id)
                        .await
                        .unwrap(),
                ),
                "demotion" => desk.cast.dismiss("ada"),
                "demotion at once" => drop(desk.handle.demote(&id("ada")).await.unwrap()),
                "barred" => desk.cast.bar("ines"),
                "lifetime" => {
                    // Kept from being idle, and refreshed, until it is over.
                    for _ in 0..11 {
                        desk.clock.advance(MINUTE * 10);
                        tokens = issue(&desk, &session);
                        assert_eq!(desk.send(request(&tokens)).await.body, "ines by ada");
                    }
                    desk.clock.advance(MINUTE * 10);
                }
                "idle" => {
                    desk.clock.advance(MINUTE * 29);
                    tokens = issue(&desk, &session);
                    desk.clock.advance(MINUTE);
                }
                _ => drop(desk.cast.users.remove(&id("ines"))),
            }
            let calls = desk.echo.calls();
            assert_unauthorized(&desk.send(request(&tokens)).await, what);
            assert_unauthorized(&desk.send(request(&tokens)).await, what);
            assert_eq!(desk.echo.calls(), calls, "{what}");
            // A lifetime that is over is ended by the next sweep.
            desk.handle.current(&parts("root")).await.unwrap();
            let ended = desk.row(&session).await.ended_reason;
            assert_eq!(ended.unwrap().as_str(), reason, "{what} {is_alone}");
            let live = desk.handle.tokens().unwrap();
            let refreshed = live.refresh(&parts(""), &tokens.refresh_token).await;
            assert_eq!(
                refreshed.unwrap_err().kind(),
                RejectionKind::InvalidToken,
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn an_old_token_says_nothing_about_a_newer_session() {
    let desk = desk_with_tokens_and(Builder::replace_active);
    let (first, old) = started(&desk).await;
    let (second, new) = started(&desk).await;
    assert_eq!(
        desk.row(&first).await.ended_reason.unwrap().as_str(),
        "replaced"
    );
    assert_unauthorized(
        &desk.send(bearer("GET", "/", &old.access_token)).await,
        "replaced",
    );
    assert_unauthorized(
        &desk.send(beside("ada", "/", &old.access_token)).await,
        "replaced",
    );
    let refreshed = desk.handle.tokens().unwrap();
    assert!(
        refreshed
            .refresh(&parts(""), &old.refresh_token)
            .await
            .is_err()
    );
    assert!(refreshed.verify(&old.access_token).await.is_err());
    assert_eq!(
        desk.send(bearer("GET", "/", &new.access_token)).await.body,
        "ines by ada"
    );
    assert!(desk.row(&second).await.ended_at.is_none());
}

#[tokio::test]
async fn an_access_token_is_over_after_15_minutes_and_a_refresh_gives_another() {
    let desk = desk_with_tokens();
    let (_, tokens) = started(&desk).await;
    let live = desk.handle.tokens().unwrap();
    desk.clock.advance(MINUTE * 15 + Duration::from_secs(5));
    assert_unauthorized(
        &desk.send(bearer("GET", "/", &tokens.access_token)).await,
        "expired",
    );
    let next = live
        .refresh(&parts(""), &tokens.refresh_token)
        .await
        .unwrap();
    assert_eq!(
        desk.send(bearer("GET", "/", &next.access_token)).await.body,
        "ines by ada"
    );
    assert_eq!(
        live.verify(&next.access_token).await.unwrap().actor,
        id("ada")
    );

    // Neither passes for the other.
    for token in [&next.refresh_token, &tokens.refresh_token] {
        assert_unauthorized(
            &desk.send(bearer("GET", "/", token)).await,
            "refresh as access",
        );
        assert_unauthorized(
            &desk.send(beside("ada", "/", token)).await,
            "refresh as access",
        );
        assert_eq!(
            live.verify(token).await.unwrap_err().kind(),
            RejectionKind::InvalidToken
        );
    }
    assert!(live.refresh(&parts(""), &next.access_token).await.is_err());
}

#[tokio::test]
async fn a_refresh_checks_what_a_request_has_to_pass() {
    struct Case {
        what: &'static str,
        kind: RejectionKind,
    }
    let cases = [
        Case {
            what: "demoted",
            kind: RejectionKind::InvalidToken,
        },
        Case {
            what: "barred",
            kind: RejectionKind::InvalidToken,
        },
        Case {
            what: "gone",
            kind: RejectionKind::InvalidToken,
        },
        Case {
            what: "checker",
            kind: RejectionKind::Unavailable,
        },
        Case {
            what: "store",
            kind: RejectionKind::Unavailable,
        },
    ];
    for case in cases {
        let desk = desk_with_tokens_and(|builder| builder.directory_cache(Duration::ZERO));
        let (session, tokens) = started(&desk).await;
        match case.what {
            "demoted" => desk.cast.dismiss("ada"),
            "barred" => desk.cast.bar("ada"),
            "gone" => drop(desk.cast.users.remove(&id("ines"))),
            "checker" => desk.world.trouble("actor", How::Panic),
            _ => desk.world.trouble("active", How::Fail),
        }
        let live = desk.handle.tokens().unwrap();
        let refreshed = live.refresh(&parts(""), &tokens.refresh_token).await;
        assert_eq!(refreshed.unwrap_err().kind(), case.kind, "{}", case.what);
        desk.world.calm();
        let is_over = case.kind == RejectionKind::InvalidToken;
        assert_eq!(
            desk.row(&session).await.ended_at.is_some(),
            is_over,
            "{}",
            case.what
        );
    }
}

#[tokio::test]
async fn s6_a_token_does_not_grow_with_its_session_and_shrinks_with_it() {
    let desk = desk_with_tokens();
    let request = StartRequest::new(subject("ines"), "ticket 4711");
    let session = desk.handle.start(&parts("ada"), request).await.unwrap();
    let small = issue(&desk, &session);
    let change = |access| ChangeRequest::new("has to correct it").with_access(access);
    let ines = subject("ines");
    let raised = desk
        .handle
        .change(&parts("ada"), &ines, change(Access::ReadWrite))
        .await;
    assert_eq!(raised.unwrap().access, Access::ReadWrite);
    let refused = desk.send(bearer("POST", "/", &small.access_token)).await;
    assert_eq!(refused.kind, Some(RejectionKind::ReadOnly));
    let live = desk.handle.tokens().unwrap();
    let big = live
        .refresh(&parts(""), &small.refresh_token)
        .await
        .unwrap();
    assert_eq!(
        desk.send(bearer("POST", "/", &big.access_token))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        live.verify(&big.access_token).await.unwrap().access,
        Access::ReadWrite
    );

    desk.handle
        .change(&parts("ada"), &ines, change(Access::ReadOnly))
        .await
        .unwrap();
    let refused = desk.send(bearer("POST", "/", &big.access_token)).await;
    assert_eq!(refused.kind, Some(RejectionKind::ReadOnly));
    assert_eq!(
        live.verify(&big.access_token).await.unwrap().access,
        Access::ReadOnly
    );
}
