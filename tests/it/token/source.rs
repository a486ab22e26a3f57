//! R2, R3, R4, R9, R10, R11, R13, R16: a token is a source of the marker like any other and opens no more than one.

use http::{HeaderValue, StatusCode};
use tower_impersonation::{
    Builder, Caller, ConfigError, Decision, Impersonation, RejectionKind, StartRequest,
    audit::MemorySink, checker_fn, session::MemorySessions,
};

use super::{bearer, beside, desk_with_tokens, desk_with_tokens_and, issue, settings, started};
use crate::support::{Desk, How, Req, get, id, parts, provider, subject, with};

#[tokio::test]
async fn r3_r9_a_token_is_a_source_of_the_marker() {
    let desk = desk_with_tokens_and(|builder| builder.exclude("/admin"));
    let (_, tokens) = started(&desk).await;
    let token = &tokens.access_token;
    // The same subject, in every place.
    let all = with(
        bearer("GET", "/orders?as=ines&x=1", token),
        &[
            ("act-as", "ines"),
            ("x-user", "ada"),
            ("impersonation-token", token),
        ],
    );
    assert_eq!(desk.send(all).await.body, "ines by ada");
    let seen = desk.echo.last();
    assert_eq!(seen.uri, "/orders?x=1");
    for name in ["authorization", "impersonation-token", "act-as"] {
        assert!(!seen.headers.contains_key(name), "{name}");
    }
    // Excluded: as the actor, and without it.
    assert_eq!(
        desk.send(beside("ada", "/admin/x", token)).await.body,
        "themselves"
    );
    assert!(!desk.echo.last().headers.contains_key("impersonation-token"));
    assert_eq!(
        desk.send(bearer("GET", "/admin/x", token)).await.body,
        "themselves"
    );
    assert!(!desk.echo.last().headers.contains_key("authorization"));

    let calls = desk.echo.calls();
    let other = started_as(&desk, "abe", "otto").await;
    // Beside what is there already.
    let header = |mut request: Req, name: &'static str, value: &str| {
        let value = HeaderValue::try_from(value).unwrap();
        request.headers_mut().append(name, value);
        request
    };
    let cases = [
        ("query", bearer("GET", "/?as=otto", token)),
        (
            "header",
            header(bearer("GET", "/", token), "act-as", "otto"),
        ),
        (
            "another token",
            header(bearer("GET", "/", token), "impersonation-token", &other),
        ),
        (
            "two headers",
            header(beside("ada", "/", token), "impersonation-token", token),
        ),
        (
            "two bearers",
            header(bearer("GET", "/", token), "authorization", "Basic eDp5"),
        ),
        (
            "ours second",
            header(
                header(get("", "/"), "authorization", "Basic eDp5"),
                "authorization",
                &format!("Bearer {token}"),
            ),
        ),
        ("empty", beside("ada", "/", "")),
        (
            "named in Connection",
            header(
                beside("ada", "/", token),
                "connection",
                "close, Impersonation-Token",
            ),
        ),
        (
            "bearer named in Connection",
            header(bearer("GET", "/", token), "connection", "AUTHORIZATION"),
        ),
        ("broken marker", bearer("GET", "/?as=", token)),
    ];
    for (name, request) in cases {
        let reply = desk.send(request).await;
        assert_eq!(reply.kind, Some(RejectionKind::MalformedMarker), "{name}");
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{name}");
    }
    assert_eq!(desk.echo.calls(), calls);
}

async fn started_as(desk: &Desk, who: &str, whom: &str) -> String {
    let session = desk.start(who, whom).await.unwrap();
    issue(desk, &session).access_token
}

#[tokio::test]
async fn r4_r10_r11_r13_a_token_opens_no_more_than_a_marker() {
    let desk = desk_with_tokens_and(|builder| builder.protect("/account/password"));
    let request = StartRequest::new(subject("ines"), "ticket 4711");
    let session = desk.handle.start(&parts("ada"), request).await.unwrap();
    let token = issue(&desk, &session).access_token;
    let read_only = desk.send(bearer("POST", "/orders", &token)).await;
    assert_eq!(read_only.kind, Some(RejectionKind::ReadOnly));
    let protected = desk.send(bearer("GET", "/account/password", &token)).await;
    assert_eq!(protected.kind, Some(RejectionKind::Protected));
    for at in ["actor", "authorize", "active"] {
        desk.world.trouble(at, How::Fail);
        let reply = desk.send(bearer("GET", "/", &token)).await;
        assert_eq!(reply.kind, Some(RejectionKind::Unavailable), "{at}");
        desk.world.calm();
    }
    assert_eq!(desk.echo.calls(), 0);
    assert_eq!(
        desk.send(bearer("GET", "/", &token)).await.body,
        "ines by ada"
    );
}

#[tokio::test]
async fn a_host_that_asks_hears_the_same() {
    let desk = desk_with_tokens();
    let (session, tokens) = started(&desk).await;
    let live = desk.handle.tokens().unwrap();
    assert!(live.is_ours(&tokens.access_token) && live.is_ours(&tokens.refresh_token));
    assert!(!live.is_ours("demo-ada"));
    let verified = live.verify(&tokens.access_token).await.unwrap();
    assert_eq!(
        (&verified.actor, &verified.subject),
        (&id("ada"), &subject("ines"))
    );
    assert_eq!(
        (verified.session, verified.role.as_deref()),
        (session.session.id, Some("customer"))
    );
    desk.cast.dismiss("ada");
    assert_eq!(
        live.verify(&tokens.access_token).await.unwrap_err().kind(),
        RejectionKind::InvalidToken
    );
    assert_eq!(
        desk.row(&session).await.ended_reason.unwrap().as_str(),
        "actor_demoted"
    );
}

#[tokio::test]
async fn r16_an_acted_request_is_not_acted_again_by_a_token() {
    let desk = desk_with_tokens();
    let (_, tokens) = started(&desk).await;
    let layer = desk.handle.layer();
    let inner = tower::Layer::layer(&layer, desk.echo.clone());
    let token = tokens.access_token.clone();
    // The inner layer finds what the outer one has taken out, as if someone had put it there.
    let with_both = move |request: Req| with(request, &[("impersonation-token", &token)]);
    let inner = tower::ServiceExt::map_request(inner, with_both);
    let reply = desk
        .send_to(inner, bearer("GET", "/", &tokens.access_token))
        .await;
    assert_eq!(reply.kind, Some(RejectionKind::Nested));
    assert_eq!(desk.echo.calls(), 0);
}

#[test]
fn tokens_need_sessions_and_a_marker_header_of_another_name() {
    provider();
    let builder = || {
        let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
        Impersonation::builder(checker, MemorySink::default())
            .handlers_read_acting_as()
            .tokens(settings())
    };
    let setting = |builder: Builder| match builder.build() {
        Err(ConfigError::Invalid { setting, .. }) => setting,
        other => panic!("{other:?}"),
    };
    assert_eq!(setting(builder()), "tokens");
    let with_sessions = || builder().sessions(MemorySessions::new());
    assert_eq!(
        setting(with_sessions().header("Impersonation-Token")),
        "header"
    );
    assert!(with_sessions().build().is_ok());
}
