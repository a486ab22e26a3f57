//! R1, R4: a token that was cut, extended, forged or issued to someone else is refused and never ignored; a bearer of
//! the host's own is left alone.

use base64::{Engine, engine::general_purpose};
use serde_json::{Value, json};
use tower_impersonation::{
    RejectionKind,
    token::{Algorithm, EncodingKey, jsonwebtoken},
};

use super::{SECRET, assert_unauthorized, bearer, beside, desk_with_tokens, started};
use crate::support::{desk_with, get, with};

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
    let cases = [
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
    for (name, alg, key, claims) in cases {
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
            let value = format!("{scheme} {token}");
            let request = with(get("ada", "/orders"), &[("authorization", &value)]);
            assert_eq!(desk.send(request).await.body, "themselves", "{token}");
            assert_eq!(desk.echo.last().headers["authorization"], value);
        }
    }
    assert_eq!(desk.world.asked(), Vec::<String>::new());
    assert_eq!(desk.trail().await, Vec::<String>::new());

    // Without tokens set, nothing is a token.
    let (_, tokens) = started(&desk).await;
    let request = bearer("GET", "/", &tokens.access_token);
    let request = with(request, &[("impersonation-token", &tokens.access_token)]);
    assert_eq!(plain.send(request).await.body, "themselves");
    assert!(plain.echo.last().headers.contains_key("authorization"));
    assert!(plain.handle.tokens().is_none());
}
