//! `JwtChecker`: logins signed by each algorithm are known, weak keys are not taken, and a bad login is nobody's.

use base64::{Engine, engine::general_purpose};
use http::{HeaderValue, request::Parts};
use serde_json::{Value, json};
use tower_impersonation::{
    Actor, AdminChecker, Caller, Decision, Grant, Rank, UserId,
    clock::ManualClock,
    token::{
        Algorithm, EncodingKey, JwtChecker, JwtKeys, KeyError,
        jsonwebtoken::{self, jwk::Jwk},
    },
};

use super::{SECRET, bearer, login};
use crate::support::{NOON, id, parts, provider};

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
    .with_clock(ManualClock::new(NOON))
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
    let cases = [
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
    for (name, claim, value, good) in cases {
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
