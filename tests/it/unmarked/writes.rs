//! R13, R20: an actor with a live session sends no unsafe request without a marker; whoever has none is left alone.

use http::StatusCode;
use tower_impersonation::{
    Caller, ConfigError, Decision, Impersonation, RejectionKind, audit::MemorySink, checker_fn,
};

use super::{DOCUMENT, FROM_INES, HTML, Headers, NAVIGATE, SAME_ORIGIN, TYPED, all_settings, sent};
use crate::support::{Desk, How, MINUTE, desk_with, get, line, parts, post, told};

fn r20_writes() -> Desk {
    desk_with(|b| all_settings(b).refuse_unmarked_writes())
}

#[tokio::test]
async fn r20_an_unmarked_write_of_someone_with_a_session_is_refused() {
    struct Case {
        name: &'static str,
        method: &'static str,
        target: &'static str,
        headers: Headers<'static>,
        refused: bool,
    }
    let case = |name, method, target, headers, refused| Case {
        name,
        method,
        target,
        headers,
        refused,
    };
    let cases = [
        case(
            "a form",
            "POST",
            "/orders",
            &[SAME_ORIGIN, NAVIGATE, HTML][..],
            true,
        ),
        case("a script", "DELETE", "/orders/7", &[SAME_ORIGIN], true),
        case("no browser", "PUT", "/orders", &[], true),
        case("TRACE", "TRACE", "/orders", &[], true),
        case("a method of someone's own", "BREW", "/orders", &[], true),
        case("a read", "GET", "/orders", &[], false),
        case("a head", "HEAD", "/orders", &[], false),
        case("options", "OPTIONS", "/orders", &[], false),
        case("listed as a read", "POST", "/search", &[], false),
        case("listed for another method", "PUT", "/search", &[], true),
        case(
            "listed, and overridden",
            "POST",
            "/search",
            &[("x-http-method", "DELETE")],
            true,
        ),
        case(
            "an override",
            "GET",
            "/orders",
            &[("x-http-method-override", "DELETE")],
            true,
        ),
        case(
            "a WebSocket",
            "GET",
            "/live",
            &[("upgrade", "websocket")],
            true,
        ),
        case(
            "another upgrade",
            "GET",
            "/live",
            &[("upgrade", "h2c")],
            false,
        ),
        case("protected, written", "POST", "/password", &[], true),
        case("protected, read", "GET", "/password", &[], false),
        case("excluded", "POST", "/admin/people", &[], false),
        case("a spelling of it", "POST", "/x/../admin/people", &[], true),
        case(
            "another site's page",
            "POST",
            "/orders",
            &[("sec-fetch-site", "cross-site"), FROM_INES],
            true,
        ),
    ];
    let desk = r20_writes();
    let session = desk.start("ada", "ines").await.unwrap();
    for Case {
        name,
        method,
        target,
        headers,
        refused,
    } in cases
    {
        let before = desk.echo.calls();
        let reply = desk.send(sent(method, target, headers)).await;
        assert_eq!(desk.echo.calls() - before, usize::from(!refused), "{name}");
        if refused {
            assert_eq!(reply.kind, Some(RejectionKind::MarkerMissing), "{name}");
            assert_eq!(reply.status, StatusCode::CONFLICT, "{name}");
        } else {
            assert_eq!(reply.body, "themselves", "{name}");
        }
    }
    assert_eq!(desk.active().await.len(), 1);
    let events = desk.events().await;
    let denied: Vec<_> = events.iter().filter(|e| e.rule.is_some()).collect();
    assert_eq!(line(denied[0]), "denied ada - marker_missing");
    let first = denied[0];
    assert_eq!(first.session, Some(session.session.id));
    assert_eq!(
        (first.status, first.method.as_deref(), first.path.as_deref()),
        (Some(409), Some("POST"), Some("/orders"))
    );
    assert!(
        denied
            .iter()
            .all(|event| event.rule.as_deref() == Some("marker_missing"))
    );
}

#[tokio::test]
async fn r20_a_write_from_a_marked_page_is_acted_and_not_refused() {
    let desk = r20_writes();
    desk.start("ada", "ines").await.unwrap();
    let write = sent("POST", "/orders", &[SAME_ORIGIN, FROM_INES]);
    assert_eq!(desk.send(write).await.body, "ines by ada");
    let marked = sent("POST", "/orders?as=ines", &[SAME_ORIGIN]);
    assert_eq!(desk.send(marked).await.body, "ines by ada");
}

#[tokio::test]
async fn r20_whoever_has_no_session_writes_as_themselves() {
    let desk = r20_writes();
    let write = |who| desk.send(post(who, "/orders"));
    for who in ["", "ines", "ada"] {
        assert_eq!(write(who).await.body, "themselves", "{who:?}");
    }
    desk.start("ada", "ines").await.unwrap();
    for who in ["", "ines", "abe"] {
        assert_eq!(write(who).await.body, "themselves", "{who:?}");
    }
    assert_eq!(write("ada").await.kind, Some(RejectionKind::MarkerMissing));
    // No admin any more, and still in the page that lost its marker.
    desk.cast.dismiss("ada");
    assert_eq!(write("ada").await.kind, Some(RejectionKind::MarkerMissing));
    desk.handle.stop(&parts("ada")).await.unwrap();
    assert_eq!(write("ada").await.body, "themselves");
}

#[tokio::test]
async fn r20_a_session_in_use_is_not_taken_for_an_idle_one() {
    let desk = r20_writes();
    desk.start("ada", "ines").await.unwrap();
    desk.clock.advance(29 * MINUTE);
    assert_eq!(desk.send(get("ada", "/?as=ines")).await.body, "ines by ada");
    desk.clock.advance(2 * MINUTE);
    let reply = desk.send(post("ada", "/orders")).await;
    assert_eq!(reply.kind, Some(RejectionKind::MarkerMissing));
    desk.clock.advance(31 * MINUTE);
    assert_eq!(desk.send(post("ada", "/orders")).await.body, "themselves");
}

#[test]
fn r20_without_a_store_there_is_no_session_to_be_missed() {
    let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
    let builder = || {
        let builder = Impersonation::builder(checker, MemorySink::default());
        builder.handlers_read_acting_as()
    };
    for (setting, builder) in [
        ("refuse_unmarked_writes", builder().refuse_unmarked_writes()),
        (
            "end_when_marker_removed",
            builder().end_when_marker_removed(),
        ),
    ] {
        let error = builder.build().unwrap_err();
        assert!(
            matches!(error, ConfigError::Needs { setting: it, needs: "sessions", .. } if it == setting),
            "{error}"
        );
    }
}

#[tokio::test]
async fn r13_r20_whatever_cannot_be_asked_refuses_the_request() {
    for place in ["identify", "list", "end"] {
        for how in [How::Fail, How::Hang, How::Panic] {
            let desk = r20_writes();
            desk.start("ada", "ines").await.unwrap();
            desk.world.trouble(place, how.clone());
            let write = desk.send_slowly(post("ada", "/orders")).await;
            let typed = sent("GET", "/orders", &[TYPED, NAVIGATE, DOCUMENT]);
            let typed = desk.send_slowly(typed).await;

            let what = format!("{place} {}", how.name());
            assert_eq!(typed.kind, Some(RejectionKind::Unavailable), "{what}");
            // To refuse a write, nothing has to end.
            let expected = match place {
                "end" => RejectionKind::MarkerMissing,
                _ => RejectionKind::Unavailable,
            };
            assert_eq!(write.kind, Some(expected), "{what}");
            assert_eq!(desk.echo.calls(), 0, "{what}");
            desk.world.calm();
            let trail = desk.trail().await;
            assert_eq!(told(&trail, "denied"), 2, "{what}: {trail:?}");
        }
    }
}
