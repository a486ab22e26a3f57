//! Acting tokens, through the layer and the handle: they act like a marker, and die with their session.

use std::time::Duration;

use base64::{Engine, engine::general_purpose};
use http::{HeaderValue, StatusCode, request::Parts};
use serde_json::{Value, json};
use tower_impersonation::{
    Access, Actor, AdminChecker, Builder, Caller, ChangeRequest, ConfigError, Decision, Grant,
    Impersonation, Rank, RejectionKind, SessionWithUser, StartRequest, UserId,
    audit::MemorySink,
    checker_fn,
    session::MemorySessions,
    token::{
        Algorithm, EncodingKey, IssuedTokens, JwtChecker, JwtKeys, KeyError, Tokens,
        jsonwebtoken::{self, Header, jwk::Jwk},
    },
};

use crate::support::*;

const SECRET: [u8; 32] = [7; 32];

pub(crate) fn provider() {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

fn settings() -> Tokens {
    provider();
    Tokens::hs256("https://shop.example", "shop", "k1", &SECRET)
}

fn desk_with_tokens() -> Desk {
    desk_with_tokens_and(|builder| builder)
}

fn desk_with_tokens_and(set: impl FnOnce(Builder) -> Builder) -> Desk {
    desk_with(|builder| set(builder.tokens(settings())))
}

fn issue(desk: &Desk, session: &SessionWithUser) -> IssuedTokens {
    desk.handle
        .tokens()
        .unwrap()
        .issue(&session.session)
        .unwrap()
}

async fn started(desk: &Desk) -> (SessionWithUser, IssuedTokens) {
    let session = desk.start("ada", "ines").await.unwrap();
    let tokens = issue(desk, &session);
    (session, tokens)
}

fn bearer(method: &str, target: &str, token: &str) -> Req {
    let mut request = ask(method, "", target);
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    request.headers_mut().insert("authorization", value);
    request
}

fn beside(who: &str, target: &str, token: &str) -> Req {
    let mut request = get(who, target);
    let value = HeaderValue::try_from(token).unwrap();
    request.headers_mut().insert("impersonation-token", value);
    request
}

fn assert_unauthorized(reply: &Reply, what: &str) {
    assert_eq!(reply.kind, Some(RejectionKind::InvalidToken), "{what}");
    assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{what}");
    assert!(reply.body.contains("Unauthorized"), "{what}");
    assert_eq!(
        reply.headers["www-authenticate"], "Bearer error=\"invalid_token\"",
        "{what}"
    );
}

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
    assert_eq!(trail.last().unwrap(), "denied ada ines invalid_token");
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
    struct Test {
        what: &'static str,
        kind: RejectionKind,
    }
    let tests = [
        Test {
            what: "demoted",
            kind: RejectionKind::InvalidToken,
        },
        Test {
            what: "barred",
            kind: RejectionKind::InvalidToken,
        },
        Test {
            what: "gone",
            kind: RejectionKind::InvalidToken,
        },
        Test {
            what: "checker",
            kind: RejectionKind::Unavailable,
        },
        Test {
            what: "store",
            kind: RejectionKind::Unavailable,
        },
    ];
    for test in tests {
        let desk = desk_with_tokens_and(|builder| builder.directory_cache(Duration::ZERO));
        let (session, tokens) = started(&desk).await;
        match test.what {
            "demoted" => desk.cast.dismiss("ada"),
            "barred" => desk.cast.bar("ada"),
            "gone" => drop(desk.cast.users.remove(&id("ines"))),
            "checker" => desk.world.trouble("actor", How::Panic),
            _ => desk.world.trouble("active", How::Fail),
        }
        let live = desk.handle.tokens().unwrap();
        let refreshed = live.refresh(&parts(""), &tokens.refresh_token).await;
        assert_eq!(refreshed.unwrap_err().kind(), test.kind, "{}", test.what);
        desk.world.calm();
        let is_over = test.kind == RejectionKind::InvalidToken;
        assert_eq!(
            desk.row(&session).await.ended_at.is_some(),
            is_over,
            "{}",
            test.what
        );
    }
}

#[tokio::test]
async fn a_token_that_was_cut_extended_or_forged_is_refused_and_never_ignored() {
    let desk = desk_with_tokens();
    let (session, tokens) = started(&desk).await;
    let token = &tokens.access_token;
    // As a header of ours: at every length.
    for length in 1..token.len() {
        assert_unauthorized(
            &desk.send(beside("ada", "/", &token[..length])).await,
            "cut",
        );
    }
    // As Bearer: from where one can see whose it is. What is shorter is nobody's, and for the host to refuse.
    for length in 20..token.len() {
        assert_unauthorized(
            &desk.send(bearer("GET", "/", &token[..length])).await,
            "cut",
        );
    }
    for more in ["A", ".", ".A", "=", "AAAA"] {
        let longer = format!("{token}{more}");
        assert_unauthorized(&desk.send(beside("ada", "/", &longer)).await, more);
        assert_unauthorized(&desk.send(bearer("GET", "/", &longer)).await, more);
    }
    let claims: Value = jsonwebtoken::dangerous::insecure_decode_claims(token).unwrap();
    let with = |key: &str, value: Value| {
        let mut claims = claims.clone();
        claims[key] = value;
        claims
    };
    let deep = json!({"sub": "ada", "act": {"sub": "b", "act": {"sub": "c", "act": {"sub": "d", "act": {"sub": "e"}}}}});
    let other_session = json!("019aa0f3-5c00-7000-8000-000000000001");
    let tests = [
        ("alg none", "none", &SECRET, claims.clone()),
        ("wrong key", "HS256", &[8; 32], claims.clone()),
        (
            "other audience",
            "HS256",
            &SECRET,
            with("aud", json!("mail")),
        ),
        ("act too deep", "HS256", &SECRET, with("act", deep)),
        (
            "act is no object",
            "HS256",
            &SECRET,
            with("act", json!("ada")),
        ),
        (
            "act is the subject",
            "HS256",
            &SECRET,
            with("act", json!({"sub": "ines"})),
        ),
        (
            "another session",
            "HS256",
            &SECRET,
            with("sid", other_session),
        ),
        (
            "another actor",
            "HS256",
            &SECRET,
            with("act", json!({"sub": "root"})),
        ),
        (
            "another subject",
            "HS256",
            &SECRET,
            with("sub", json!("otto")),
        ),
    ];
    for (name, alg, key, claims) in tests {
        let token = forge(
            &json!({"typ": "at+jwt", "alg": alg, "kid": "k1"}),
            &claims,
            key,
        );
        assert_unauthorized(&desk.send(bearer("GET", "/", &token)).await, name);
        assert_unauthorized(&desk.send(beside("ada", "/", &token)).await, name);
    }
    let login = forge(
        &json!({"typ": "JWT", "alg": "HS256", "kid": "k1"}),
        &claims,
        &SECRET,
    );
    assert_unauthorized(&desk.send(beside("ada", "/", &login)).await, "typ");
    assert_eq!(desk.echo.calls(), 0);
    assert!(desk.row(&session).await.ended_at.is_none());
    // Only the outermost actor decides.
    let chain = with("act", json!({"sub": "ada", "act": {"sub": "root"}}));
    let token = forge(
        &json!({"typ": "at+jwt", "alg": "HS256", "kid": "k1"}),
        &chain,
        &SECRET,
    );
    assert_eq!(
        desk.send(bearer("GET", "/", &token)).await.body,
        "ines by ada"
    );
}

fn forge(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |json: &Value| general_purpose::URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(key);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

#[tokio::test]
async fn a_token_beside_a_login_has_to_be_that_actors_own() {
    let desk = desk_with_tokens();
    let (session, tokens) = started(&desk).await;
    for who in ["abe", "root", "mia", "ines"] {
        assert_unauthorized(
            &desk.send(beside(who, "/", &tokens.access_token)).await,
            who,
        );
    }
    let nobody = desk.send(beside("", "/", &tokens.access_token)).await;
    assert_eq!(nobody.kind, Some(RejectionKind::Unauthenticated));
    assert_eq!(desk.echo.calls(), 0);
    assert!(desk.row(&session).await.ended_at.is_none());
}

#[tokio::test]
async fn r3_r9_a_token_is_a_source_of_the_marker() {
    let desk = desk_with_tokens_and(|builder| builder.exclude("/admin"));
    let (_, tokens) = started(&desk).await;
    let token = &tokens.access_token;
    // The same subject, in every place.
    let mut all = bearer("GET", "/orders?as=ines&x=1", token);
    all.headers_mut()
        .insert("act-as", HeaderValue::from_static("ines"));
    let value = HeaderValue::try_from(token).unwrap();
    all.headers_mut()
        .insert("x-user", HeaderValue::from_static("ada"));
    all.headers_mut()
        .insert("impersonation-token", value.clone());
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
    let header = |mut request: Req, name: &'static str, value: &str| {
        request
            .headers_mut()
            .append(name, HeaderValue::try_from(value).unwrap());
        request
    };
    let tests = [
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
    for (name, request) in tests {
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
async fn r1_bearers_that_are_not_ours_are_left_alone() {
    let desk = desk_with_tokens();
    let plain = desk_with(|builder| builder);
    let theirs = forge(
        &json!({"typ": "at+jwt", "alg": "HS256"}),
        &json!({"iss": "https://sso.example", "sub": "ada"}),
        &[9; 32],
    );
    for token in ["demo-ada", "a.b.c", &theirs, "eyJ0eXAiOiJKV1QifQ.e30.x"] {
        for scheme in ["Bearer", "bearer", "Basic", "DPoP"] {
            let mut request = get("ada", "/orders");
            let value = HeaderValue::try_from(format!("{scheme} {token}")).unwrap();
            request.headers_mut().insert("authorization", value.clone());
            assert_eq!(desk.send(request).await.body, "themselves", "{token}");
            assert_eq!(desk.echo.last().headers["authorization"], value);
        }
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.trail().await, Vec::<String>::new());

    // Without tokens set, nothing is a token.
    let (_, tokens) = started(&desk).await;
    let mut request = bearer("GET", "/", &tokens.access_token);
    let value = HeaderValue::try_from(&tokens.access_token).unwrap();
    request.headers_mut().insert("impersonation-token", value);
    assert_eq!(plain.send(request).await.body, "themselves");
    assert!(plain.echo.last().headers.contains_key("authorization"));
    assert!(plain.handle.tokens().is_none());
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
    let with_both = move |mut request: Req| {
        // The inner layer finds what the outer one has taken out, as if someone had put it there.
        let value = HeaderValue::try_from(&token).unwrap();
        request.headers_mut().insert("impersonation-token", value);
        request
    };
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
        Impersonation::builder(checker, MemorySink::default()).tokens(settings())
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

// === JwtChecker ===

const EC: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgxXXqfEUB1KRQB3dwwU81rYR23tUlYSs7Y2WKkPRmgyOhRANC\
     AASJqo9CgrO4itOsdvSs/2I7lEBJBLzAyhzjMSJP8pzcTOAggakVjG/wSq0E8J8CNqvAun7uXmlvzewhvNmq3tff";
const ED: &str = "MC4CAQAwBQYDK2VwBCIEIApen8VSYThXp4LkHxD4FZGdUYpwzbwPjSlSDFnmwK1d";
const RSA: &str = "MIIEowIBAAKCAQEArkQwNpFStMxY9Wir7yXEI9ykp+Hbk0+We0kMMi99bu3ET61t3IrkSm0yaDQwG9RWPnJxJYseyxS5SUub\
     Q6Z7lNeB5Rul33bPSWOM2Zr57ZNuOkjLNY/925GRIj8hZtE+74nCEmShUPbxJe0e6vlrz11JPS0P8kVGUOQAyakUSIX738Me\
     oPyLIIl+J5wTKRZCGw/rO7qykjo+LGXujPB+ggEl7X8JlHkpIvSsed22g8pBRqz18loPJEif7ykr8O5q9cDV9ePT3RF1X65m\
     9uy6WqJax0ssEUuVlOfpZc8PZ6RLJNYxFkrzAsi+kdqw7KwKBtbpKtYNihIJ9ZzLI1rZlQIDAQABAoIBABZRQz9pwwbGeMoM\
     +p/o3UKeejPJ1/34nlPxme8/Z7fyGUb+9efdnbjuXRs9O8AEpHrg2x6sv2fQop4BYcP7KS55nvgBX2/L3mYOqrYfg8xqKh6q\
     veOBKkiZTtXs8dEiEQZKRSFn48TjqyRpRqFfCfCHiN6dy8ICHywy1ur8jU1wLQ7edR7Cx7yy7EyfkVqHuWn/7AahDcjF3qAM\
     e9nmL5zOswmn241LDYUjZumjG+vA2MN9j79v06Jz5gywSp/dGAoLU7ruIRh5GZkttWzFRNsf1MuiJRDpp3g65OnfHrQOQu48\
     tSQjS0hGoOWG0BjrYW3/64gaVufJPNXaY5KSl80CgYEA34PiBeJH9WHRaBcGbCWyRAE+cUr/cR02nRSq3IxG6wxcQWmkxZ8V\
     rNdK6oJUT59LZ9qescrOGSPhI6QCBNXEMFFfSN5/4VexLGLKft60BMdd3GXzHLi9eGm4CwewV6WndRYM9mQ9eksvLoEMRE9l\
     Nzr5PY50CaLV2kRdJ1azBZsCgYEAx5fzpFgZ3ZeYjC5MFU3Xt6aK3URs6jpPI5yP2kO0LMqU4k7f3xXLGu24dTlEXBlkcxwC\
     dHBGiX+zofnDpZ8+2eMFKyxhO17396l9T7GnaTe95HxHWq7iGoyRSVA9oP+KfG3HctqLpNXr0gFhovIl5ss29n3azSYn0qET\
     bhZXqI8CgYBexKExk3alINtTwed0NSt3T/u0t3LE9/ju8xNavZNYF36KMYuuSrw683GNKsMqm0SyfOwqP+3QlPjhTqmYeTZc\
     sjOvRr97wN2bDywCTNSQ7iLqzsMcW2viQRjKfHEVSGRO7ZGDao7yaixQEGEuGWe12ihRJDQo3cTEbZX9lvICnwKBgEf3I+Qn\
     1/usA1bYAprT3GndZMhvOY4ixBIlC0E5lCdqS9BlfBbltrvY5t9tbJaAmVVfzgrJyMUfBFfsxHxdNL4/OsfcUpqjnWjw9bvc\
     ZG5tqMxPezLZR7Em6eOzSOVZ/kbrFjT1U9B1SXgJA3lLMhtLPmAV9ORvU4CAj47sA2NFAoGBALs4h5VwoqKKQ5DakwxYuiR0\
     EGI3ncAGmD5K2xA0x5fyIFhYXdnh0CkQ/Va5NzkJmd9BKe0Jx6wQadB7C5qJAM0050+VJYzQFFtKbuIkInThlP/7pskz3yeg\
     h+yNtDZoVwwXLbYZPE5JKKbZEFH+1kRlCXvO3PO5rVFhEamkkwBm";

fn der(key: &str) -> Vec<u8> {
    general_purpose::STANDARD.decode(key).unwrap()
}

fn parts_with(token: &str) -> Parts {
    bearer("GET", "/", token).into_parts().0
}

fn jwt_checker(keys: JwtKeys) -> JwtChecker {
    provider();
    JwtChecker::new(
        "https://sso.example",
        "shop",
        keys,
        |claims| match claims.get("sub").and_then(Value::as_str) {
            Some("ada") => Caller::Admin(Actor::new(id("ada"), Rank(20))),
            Some(other) => Caller::User(id(other)),
            None => Caller::Anonymous,
        },
        |_, _, _| Decision::Allow(Grant::read_only()),
    )
    .with_clock(tower_impersonation::clock::ManualClock::new(NOON))
}

fn login(algorithm: Algorithm, kid: Option<&str>, key: &EncodingKey, claims: &Value) -> String {
    let mut header = Header::new(algorithm);
    header.kid = kid.map(str::to_owned);
    jsonwebtoken::encode(&header, claims, key).unwrap()
}

fn login_claims() -> Value {
    json!({"iss": "https://sso.example", "aud": "shop", "sub": "ada", "exp": NOON.unix_timestamp() + 60})
}

async fn caller(checker: &JwtChecker, token: &str) -> Caller {
    checker.identify(&parts_with(token)).await.unwrap()
}

#[tokio::test]
async fn jwt_admins_are_known_by_each_algorithm_and_only_by_the_keys_own() {
    provider();
    let keys = [
        (Algorithm::RS256, EncodingKey::from_rsa_der(&der(RSA))),
        (Algorithm::ES256, EncodingKey::from_ec_der(&der(EC))),
        (Algorithm::EdDSA, EncodingKey::from_ed_der(&der(ED))),
    ];
    let mut jwks: Vec<Value> = Vec::new();
    for (algorithm, key) in &keys {
        let mut jwk = Jwk::from_encoding_key(key, *algorithm).unwrap();
        jwk.common.key_id = Some(format!("{algorithm:?}"));
        jwks.push(serde_json::to_value(jwk).unwrap());
    }
    let all = JwtKeys::from_jwks(&json!({ "keys": jwks })).unwrap();
    let checker = jwt_checker(all.clone());
    for (algorithm, key) in &keys {
        let kid = format!("{algorithm:?}");
        let token = login(*algorithm, Some(&kid), key, &login_claims());
        assert!(
            matches!(caller(&checker, &token).await, Caller::Admin(_)),
            "{kid}"
        );
        // Without a `kid` nobody guesses among several keys.
        let token = login(*algorithm, None, key, &login_claims());
        assert_eq!(caller(&checker, &token).await, Caller::Anonymous, "{kid}");
        // The public key taken for a secret.
        let secret = serde_json::to_vec(&jwks[0]).unwrap();
        let token = login(
            Algorithm::HS256,
            Some(&kid),
            &EncodingKey::from_secret(&secret),
            &login_claims(),
        );
        assert_eq!(caller(&checker, &token).await, Caller::Anonymous, "{kid}");
    }
    // Rotated while it runs: what is gone is gone.
    all.replace(&json!({ "keys": [jwks[1]] })).unwrap();
    let old = login(keys[0].0, Some("RS256"), &keys[0].1, &login_claims());
    assert_eq!(caller(&checker, &old).await, Caller::Anonymous);
    let only = login(keys[1].0, None, &keys[1].1, &login_claims());
    assert!(matches!(caller(&checker, &only).await, Caller::Admin(_)));
}

#[test]
fn jwt_keys_take_no_secrets_no_encryption_keys_and_nothing_weak() {
    let oct =
        json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "alg": "HS256"});
    assert_eq!(
        JwtKeys::from_jwks(&json!({ "keys": [oct] })).unwrap_err(),
        KeyError::Empty
    );
    let enc = json!({"kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"});
    assert_eq!(
        JwtKeys::from_jwks(&json!({ "keys": [enc] })).unwrap_err(),
        KeyError::Empty
    );
    let other = json!({"kty": "RSA", "alg": "RS512", "n": "AQAB", "e": "AQAB"});
    assert_eq!(
        JwtKeys::from_jwks(&json!({ "keys": [other] })).unwrap_err(),
        KeyError::Empty
    );
    assert!(matches!(
        JwtKeys::from_jwks(&json!({ "key": [] })),
        Err(KeyError::NoSet(_))
    ));
    assert_eq!(JwtKeys::hs256(&[7; 31]).unwrap_err(), KeyError::TooShort);
    let key = jsonwebtoken::DecodingKey::from_secret(&SECRET);
    let wrong = JwtKeys::default().with_key(Some("k"), Algorithm::RS256, key);
    assert_eq!(wrong.unwrap_err(), KeyError::Algorithm);
}

#[tokio::test]
async fn jwt_logins_that_are_not_good_are_nobodys() {
    let key = EncodingKey::from_secret(&SECRET);
    let checker = jwt_checker(JwtKeys::hs256(&SECRET).unwrap());
    let now = NOON.unix_timestamp();
    let tests = [
        ("as it is", "", Value::Null, true),
        ("a fraction", "exp", json!(now as f64 + 0.5), true),
        ("good from now on", "nbf", json!(now), true),
        ("several audiences", "aud", json!(["mail", "shop"]), true),
        ("expired", "exp", json!(now - 5), false),
        ("no end", "exp", Value::Null, false),
        ("an end that is no number", "exp", json!("never"), false),
        ("not yet good", "nbf", json!(now + 6), false),
        ("not yet good, in words", "nbf", json!("later"), false),
        ("other issuer", "iss", json!("https://evil.example"), false),
        ("no issuer", "iss", Value::Null, false),
        ("other audience", "aud", json!("mail"), false),
        ("no audience", "aud", Value::Null, false),
        ("an acting token", "act", json!({"sub": "ada"}), false),
    ];
    for (name, claim, value, good) in tests {
        let mut claims = login_claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(claim)),
            value => claims[claim] = value,
        }
        let token = login(Algorithm::HS256, None, &key, &claims);
        let is_admin = matches!(caller(&checker, &token).await, Caller::Admin(_));
        assert_eq!(is_admin, good, "{name}");
        for length in 0..token.len() {
            assert_eq!(
                caller(&checker, &token[..length]).await,
                Caller::Anonymous,
                "{name}"
            );
        }
    }
    let token = login(Algorithm::HS256, None, &key, &login_claims());
    let mut twice = parts_with(&token);
    twice
        .headers
        .append("authorization", HeaderValue::from_static("Bearer x"));
    assert_eq!(checker.identify(&twice).await.unwrap(), Caller::Anonymous);
    assert_eq!(
        checker.identify(&parts("")).await.unwrap(),
        Caller::Anonymous
    );
    // By id alone only where the host says so.
    assert_eq!(checker.actor(&id("ada")).await.unwrap(), None);
    let checker = checker.with_actors(|id: &UserId| Some(Actor::new(id.clone(), Rank(20))));
    assert!(checker.actor(&id("ada")).await.unwrap().is_some());
}

// === The cookie ===

fn desk_with_cookie() -> Desk {
    desk_with(|builder| builder.tokens(settings().cookie()).exclude("/admin"))
}

/// The cookie as a browser would send it, and its attributes.
fn taken(set_cookie: &HeaderValue) -> (String, String) {
    let (pair, attributes) = set_cookie.to_str().unwrap().split_once("; ").unwrap();
    (pair.to_owned(), attributes.to_owned())
}

fn browser(who: &str, method: &str, target: &str, cookies: &str) -> Req {
    let mut request = ask(method, who, target);
    let value = HeaderValue::try_from(cookies).unwrap();
    request.headers_mut().insert("cookie", value);
    request
}

#[tokio::test]
async fn with_the_cookie_a_browser_is_acted_everywhere_until_stop() {
    let desk = desk_with_cookie();
    let session = desk.start("ada", "ines").await.unwrap();
    let handed_out = desk.handle.hand_out(&session).await.unwrap();
    let (cookie, attributes) = taken(&handed_out.cookies[0]);
    assert!(cookie.starts_with("__Host-impersonation=ey"), "{cookie}");
    assert_eq!(
        attributes,
        "HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age=7200"
    );

    let all = format!("sid=1; {cookie};theme=dark");
    for (who, method, target) in [
        ("ada", "GET", "/orders"),
        ("ada", "POST", "/orders"),
        ("", "GET", "/"),
        ("ada", "GET", "/?as=ines"),
    ] {
        let reply = desk.send(browser(who, method, target, &all)).await;
        assert_eq!(
            (reply.status, &*reply.body),
            (StatusCode::OK, "ines by ada"),
            "{who} {method} {target}"
        );
        assert_eq!(desk.echo.last().headers["cookie"], "sid=1; theme=dark");
    }
    desk.send(browser("ada", "GET", "/", &cookie)).await;
    assert!(!desk.echo.last().headers.contains_key("cookie"));
    // Excluded prefixes run as the actor, without it.
    let own = desk.send(browser("ada", "GET", "/admin/users", &all)).await;
    assert_eq!(own.body, "themselves");
    assert_eq!(desk.echo.last().headers["cookie"], "sid=1; theme=dark");

    // Someone else's browser, another subject, twice, beside another token.
    for who in ["abe", "mia"] {
        assert_unauthorized(&desk.send(browser(who, "GET", "/", &all)).await, who);
    }
    let token = issue(&desk, &session).access_token;
    let mut beside_token = browser("ada", "GET", "/", &cookie);
    let value = HeaderValue::try_from(&token).unwrap();
    beside_token
        .headers_mut()
        .insert("impersonation-token", value);
    for request in [
        browser("ada", "GET", "/?as=otto", &all),
        browser("ada", "GET", "/", &format!("{cookie}; {cookie}")),
        beside_token,
    ] {
        assert_eq!(
            desk.send(request).await.kind,
            Some(RejectionKind::MalformedMarker)
        );
    }
    // A cookie is no bearer, and a bearer no cookie.
    let (_, value) = cookie.split_once('=').unwrap();
    assert_unauthorized(
        &desk.send(bearer("GET", "/", value)).await,
        "cookie as bearer",
    );
    let as_cookie = format!("__Host-impersonation={token}");
    assert_unauthorized(
        &desk.send(browser("ada", "GET", "/", &as_cookie)).await,
        "bearer as cookie",
    );

    // Stopped: refused once, and taken away with that.
    desk.handle.stop(&parts("ada")).await.unwrap();
    let calls = desk.echo.calls();
    let refused = desk.send(browser("ada", "GET", "/", &all)).await;
    assert_unauthorized(&refused, "stopped");
    let (cookie, attributes) = taken(&refused.headers["set-cookie"]);
    assert_eq!(cookie, "__Host-impersonation=");
    assert_eq!(
        attributes,
        "HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age=0"
    );
    for cut in ["__Host-impersonation=", "__Host-impersonation=x"] {
        assert_unauthorized(&desk.send(browser("ada", "GET", "/", cut)).await, cut);
    }
    assert_eq!(desk.echo.calls(), calls);
}

#[tokio::test]
async fn r1_without_the_cookie_source_a_cookie_is_a_cookie() {
    let desk = desk_with_tokens();
    let with_cookie = desk_with_cookie();
    let session = with_cookie.start("ada", "ines").await.unwrap();
    let handed_out = with_cookie.handle.hand_out(&session).await.unwrap();
    let (cookie, _) = taken(&handed_out.cookies[0]);
    assert_eq!(
        desk.send(browser("ada", "GET", "/", &cookie)).await.body,
        "themselves"
    );
    assert_eq!(desk.echo.last().headers["cookie"], cookie);
    let session = desk.start("ada", "ines").await.unwrap();
    assert!(
        desk.handle
            .hand_out(&session)
            .await
            .unwrap()
            .cookies
            .is_empty()
    );
    // Other names are others' cookies.
    for other in [
        "impersonation=x",
        "__host-impersonation=x",
        "X__Host-impersonation=x",
        "a=__Host-impersonation",
    ] {
        assert_eq!(
            with_cookie
                .send(browser("ada", "GET", "/", other))
                .await
                .body,
            "themselves"
        );
        assert_eq!(with_cookie.echo.last().headers["cookie"], other);
    }
}
