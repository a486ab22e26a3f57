#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::session::SessionId;

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
const SECRET: [u8; 32] = [7; 32];

fn provider() {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

fn tokens() -> Tokens {
    provider();
    Tokens::hs256("https://shop.example", "shop", "k1", &SECRET)
}

fn session() -> Session {
    let id = SessionId(Uuid::from_u128(7));
    let subject = "ines".parse().unwrap();
    let end = NOON + Duration::from_secs(7200);
    Session::new(id, "ada".parse().unwrap(), subject, "ticket 1", NOON, end)
}

fn sign(signer: &Signer, purpose: Purpose) -> String {
    signer
        .sign(purpose, &session(), Uuid::from_u128(9), NOON)
        .unwrap()
}

/// Signed with our key, but saying what it likes.
fn forged(header: &Value, claims: &Value) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

    let part = |json: &Value| BASE64.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let key = EncodingKey::from_secret(&SECRET);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256);
    format!("{message}.{}", signature.unwrap())
}

fn good_claims() -> Value {
    json!({
        "iss": "https://shop.example", "aud": "shop", "sub": "ines", "role": null, "act": {"sub": "ada"},
        "sid": Uuid::from_u128(7), "access": "read_only", "iat": NOON.unix_timestamp(),
        "exp": NOON.unix_timestamp() + 900, "jti": Uuid::nil(),
    })
}

fn good_header() -> Value {
    json!({"typ": "at+jwt", "alg": "HS256", "kid": "k1"})
}

#[test]
fn a_token_says_what_the_contract_says() {
    let signer = tokens().build(NOON).unwrap();
    let mut session = session();
    session.role = Some("customer".into());
    let token = signer
        .sign(Purpose::Access, &session, Uuid::from_u128(9), NOON)
        .unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(header.kid.as_deref(), Some("k1"));
    // Sorted, whatever order the features of other crates give a `Value`.
    let claims: BTreeMap<String, Value> =
        jsonwebtoken::dangerous::insecure_decode_claims(&token).unwrap();
    let claims = serde_json::to_string(&claims).unwrap();
    insta::assert_snapshot!(claims, @r#"{"access":"read_only","act":{"sub":"ada"},"aud":"shop","exp":1795176900,"iat":1795176000,"iss":"https://shop.example","jti":"00000000-0000-0000-0000-000000000009","role":"customer","sid":"00000000-0000-0000-0000-000000000007","sub":"ines"}"#);

    let claims = signer.verify(&token, Purpose::Access, NOON).unwrap();
    assert_eq!(claims.actor.as_str(), "ada");
    assert_eq!(claims.subject.as_str(), "ines");
    assert_eq!(claims.session, session.id);
}

#[test]
fn a_token_lives_for_15_minutes_and_never_longer_than_its_session() {
    let signer = tokens().build(NOON).unwrap();
    let token = sign(&signer, Purpose::Access);
    let at = |seconds| signer.verify(&token, Purpose::Access, NOON + Duration::from_secs(seconds));
    assert!(at(904).is_ok());
    assert_eq!(at(905).unwrap_err(), BadToken::Expired);
    let early = signer.verify(&token, Purpose::Access, NOON - Duration::from_secs(6));
    assert_eq!(early.unwrap_err(), BadToken::NotYet);

    let mut short = session();
    short.expires_at = NOON + Duration::from_millis(60_500);
    let token = signer
        .sign(Purpose::Access, &short, Uuid::nil(), NOON)
        .unwrap();
    let claims = signer.verify(&token, Purpose::Access, NOON).unwrap();
    assert_eq!(claims.expires_at, NOON.unix_timestamp() + 60);
}

#[test]
fn expires_in_is_the_life_of_the_token_at_any_fraction_of_a_second() {
    let signer = tokens().build(NOON).unwrap();
    for (millis, life) in [(0, 900), (1, 900), (500, 900), (999, 900)] {
        let now = NOON + Duration::from_millis(millis);
        for (end, life) in [(7_200_000, life), (60_000, 60), (60_500, 60)] {
            let mut session = session();
            session.expires_at = NOON + Duration::from_millis(end);
            let token = signer.sign(Purpose::Access, &session, Uuid::nil(), now);
            let claims: BTreeMap<String, Value> =
                jsonwebtoken::dangerous::insecure_decode_claims(token.unwrap()).unwrap();
            let said = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
            assert_eq!(said, life, "{millis} {end}");
            let expires_in = signer.life_of(Purpose::Access, &session, now);
            assert_eq!(
                expires_in,
                Duration::from_secs(life.unsigned_abs()),
                "{millis} {end}"
            );
        }
    }
}

#[test]
fn a_token_that_was_cut_or_extended_is_no_token() {
    let signer = tokens().build(NOON).unwrap();
    for purpose in [Purpose::Access, Purpose::Refresh] {
        let token = sign(&signer, purpose);
        assert!(signer.verify(&token, purpose, NOON).is_ok());
        for length in 0..token.len() {
            assert!(
                signer.verify(&token[..length], purpose, NOON).is_err(),
                "{length}"
            );
            assert!(
                signer.verify(&token[length + 1..], purpose, NOON).is_err(),
                "{length}"
            );
            let mut longer = token.clone();
            longer.insert(length, 'A');
            assert!(signer.verify(&longer, purpose, NOON).is_err(), "{length}");
        }
        for more in ["A", "=", ".", ".A", " ", "\n", "AAAA", &token] {
            let longer = format!("{token}{more}");
            assert!(signer.verify(&longer, purpose, NOON).is_err(), "{more:?}");
        }
        let long = format!("{token}{}", "A".repeat(MAX_TOKEN));
        assert_eq!(
            signer.verify(&long, purpose, NOON).unwrap_err(),
            BadToken::TooLong
        );
    }
    assert_eq!(
        signer.kept(),
        1,
        "only what is good is kept, and refresh tokens never"
    );
}

#[test]
fn claims_and_headers_have_to_be_right_even_with_our_signature() {
    struct Test {
        name: &'static str,
        header: (&'static str, Value),
        claim: (&'static str, Value),
        good: bool,
    }
    let header = |name, key, value| Test {
        name,
        header: (key, value),
        claim: ("", Value::Null),
        good: false,
    };
    let claim = |name, key, value| Test {
        name,
        header: ("", Value::Null),
        claim: (key, value),
        good: false,
    };
    let after = |seconds: i64| json!(NOON.unix_timestamp() + seconds);
    let tests = [
        Test {
            good: true,
            ..claim("as it is", "", Value::Null)
        },
        Test {
            good: true,
            ..claim("more claims", "scope", json!("x"))
        },
        Test {
            good: true,
            ..claim("anonymous", "sub", json!("~anon"))
        },
        header("alg none", "alg", json!("none")),
        header("alg None", "alg", json!("None")),
        header("another alg of the family", "alg", json!("HS512")),
        header("another family", "alg", json!("RS256")),
        header("no alg", "alg", Value::Null),
        header("typ of a login", "typ", json!("JWT")),
        header("typ of a refresh token", "typ", json!("rt+jwt")),
        header("typ in capitals", "typ", json!("AT+JWT")),
        header("no typ", "typ", Value::Null),
        header("unknown key", "kid", json!("k2")),
        header("no key", "kid", Value::Null),
        header("critical extensions", "crit", json!(["b64"])),
        claim("other issuer", "iss", json!("https://evil.example")),
        claim("no issuer", "iss", Value::Null),
        claim("other audience", "aud", json!("mail")),
        claim(
            "audience of refresh tokens",
            "aud",
            json!("https://shop.example#refresh"),
        ),
        claim("no audience", "aud", Value::Null),
        claim("empty audience", "aud", json!([])),
        claim("no subject", "sub", Value::Null),
        claim("empty subject", "sub", json!("")),
        claim("subject is the actor", "sub", json!("ada")),
        claim("no actor", "act", Value::Null),
        claim("actor is text", "act", json!("ada")),
        claim("actor is a list", "act", json!([{"sub": "ada"}])),
        claim("actor without sub", "act", json!({"act": {"sub": "ada"}})),
        claim(
            "act too deep",
            "act",
            json!({"sub": "a", "act": {"sub": "b", "act": {"sub": "c", "act": {"sub": "d", "act": {"sub": "e"}}}}}),
        ),
        claim("no session", "sid", Value::Null),
        claim("session is no id", "sid", json!("1")),
        claim("unknown access", "access", json!("root")),
        claim("no access", "access", Value::Null),
        claim("expired", "exp", after(-10)),
        claim("expires as text", "exp", json!("2030")),
        claim("no end", "exp", Value::Null),
        claim("from the future", "iat", after(60)),
        claim("far future overflow", "iat", json!(i64::MAX)),
        Test {
            good: true,
            ..claim("good since now", "nbf", after(0))
        },
        Test {
            good: true,
            ..claim("good in a moment", "nbf", after(5))
        },
        claim("not good yet", "nbf", after(6)),
        claim("never good", "nbf", json!(i64::MAX)),
        claim("good from text on", "nbf", json!("2030")),
    ];
    let signer = tokens().build(NOON).unwrap();
    for test in tests {
        let change = |mut all: Value, (key, value): (&str, Value)| {
            match (key, value) {
                ("", _) => {}
                (key, Value::Null) => drop(all.as_object_mut().unwrap().remove(key)),
                (key, value) => all[key] = value,
            }
            all
        };
        let token = forged(
            &change(good_header(), test.header),
            &change(good_claims(), test.claim),
        );
        let verified = signer.verify(&token, Purpose::Access, NOON);
        assert_eq!(verified.is_ok(), test.good, "{}: {verified:?}", test.name);
        if !test.good {
            // Not kept either.
            assert!(
                signer.verify(&token, Purpose::Access, NOON).is_err(),
                "{}",
                test.name
            );
        }
    }
}

#[test]
fn a_refresh_token_is_no_access_token_and_the_other_way_round() {
    let signer = tokens().build(NOON).unwrap();
    let access = sign(&signer, Purpose::Access);
    let refresh = sign(&signer, Purpose::Refresh);
    assert_eq!(
        signer.verify(&refresh, Purpose::Access, NOON).unwrap_err(),
        BadToken::Type
    );
    assert_eq!(
        signer.verify(&access, Purpose::Refresh, NOON).unwrap_err(),
        BadToken::Type
    );
    // Verified once, and still no refresh token.
    assert!(signer.verify(&access, Purpose::Access, NOON).is_ok());
    assert!(signer.verify(&access, Purpose::Refresh, NOON).is_err());
}

#[test]
fn keys_rotate_by_kid() {
    provider();
    let old = tokens().build(NOON).unwrap();
    let token = sign(&old, Purpose::Access);
    let new = Tokens::hs256("https://shop.example", "shop", "k2", &[8; 32]);
    let both = new
        .clone()
        .verification_key("k1", DecodingKey::from_secret(&SECRET));
    assert!(
        both.build(NOON)
            .unwrap()
            .verify(&token, Purpose::Access, NOON)
            .is_ok()
    );
    let only_new = new.build(NOON).unwrap();
    assert_eq!(
        only_new.verify(&token, Purpose::Access, NOON).unwrap_err(),
        BadToken::Key
    );
    // The same `kid`, another key.
    let other = Tokens::hs256("https://shop.example", "shop", "k1", &[8; 32])
        .build(NOON)
        .unwrap();
    let verified = other.verify(&token, Purpose::Access, NOON);
    assert!(
        matches!(verified, Err(BadToken::Invalid(_))),
        "{verified:?}"
    );
}

#[test]
fn a_wrong_set_up_fails_before_the_first_request() {
    let key = || EncodingKey::from_secret(&SECRET);
    let check = || DecodingKey::from_secret(&SECRET);
    let plain = |algorithm| Tokens::new("i", "a", algorithm);
    let tests = [
        ("short secret", Tokens::hs256("i", "a", "k", &[7; 31])),
        ("no issuer", Tokens::hs256("", "a", "k", &SECRET)),
        ("no audience", Tokens::hs256("i", "", "k", &SECRET)),
        ("no key", plain(Algorithm::HS256)),
        (
            "no verification key",
            plain(Algorithm::HS256).signing_key("k", key()),
        ),
        (
            "another kid",
            plain(Algorithm::HS256)
                .signing_key("k", key())
                .verification_key("l", check()),
        ),
        (
            "keys of another family",
            plain(Algorithm::ES256)
                .signing_key("k", key())
                .verification_key("k", check()),
        ),
        (
            "keys that do not belong together",
            tokens().verification_key("k1", DecodingKey::from_secret(&[8; 32])),
        ),
        (
            "no key at all",
            plain(Algorithm::EdDSA)
                .signing_key("k", EncodingKey::from_ed_der(b"no key"))
                .verification_key("k", DecodingKey::from_ed_der(b"no key")),
        ),
        (
            "a short old secret",
            tokens().verification_key("k0", DecodingKey::from_secret(&[8; 16])),
        ),
        ("leeway", tokens().leeway(Duration::from_secs(61))),
        ("no lifetime", tokens().access_lifetime(Duration::ZERO)),
        (
            "long lifetime",
            tokens().access_lifetime(Duration::from_secs(3601)),
        ),
        ("no header name", tokens().header("im person")),
        ("an empty name", tokens().header("")),
        ("a login", tokens().header("Authorization")),
        ("a cookie", tokens().header("cookie")),
        ("a browser's own", tokens().header("Sec-Fetch-Site")),
        ("a proxy's", tokens().header("X-Forwarded-User")),
        ("a marker", tokens().header("Act-As-Token")),
        ("ours in answers", tokens().header("Acted-As")),
    ];
    provider();
    for (name, tokens) in tests {
        let built = tokens.build(NOON);
        assert!(
            matches!(
                built,
                Err(ConfigError::Invalid {
                    setting: "tokens",
                    ..
                })
            ),
            "{name}"
        );
    }
}

#[test]
fn what_is_ours_is_told_by_typ_and_issuer() {
    let signer = tokens().build(NOON).unwrap();
    let token = sign(&signer, Purpose::Access);
    let refresh = sign(&signer, Purpose::Refresh);
    let with = |typ: &str, iss: &str| {
        let mut claims = good_claims();
        claims["iss"] = json!(iss);
        forged(&json!({"alg": "none", "typ": typ}), &claims)
    };
    for ours in [&token, &refresh, &with("at+jwt", "https://shop.example")] {
        assert!(signer.is_ours(ours.as_bytes()));
        // Bytes that are no text make it no one else's.
        for at in [ours.len(), ours.rfind('.').unwrap()] {
            let mut broken = ours.clone().into_bytes();
            broken.insert(at, 0xff);
            assert!(signer.is_ours(&broken), "{ours} {at}");
        }
    }
    // From where `typ` is there, a piece is one of ours that was cut.
    for length in 20..token.len() {
        assert!(signer.is_ours(&token.as_bytes()[..length]), "{length}");
    }
    for others in [
        "",
        "demo-ada",
        "a.b.c",
        &token[..19],
        &with("at+jwt", "https://sso.example"),
        &with("JWT", "https://shop.example"),
    ] {
        assert!(!signer.is_ours(others.as_bytes()), "{others}");
    }
}

#[test]
fn debug_shows_no_key_and_no_token() {
    let signer = tokens().build(NOON).unwrap();
    let issued = IssuedTokens {
        access_token: "SECRET".to_owned(),
        refresh_token: "SECRET".to_owned(),
        expires_in: Duration::from_secs(900),
    };
    insta::assert_snapshot!(format!("{signer:?}\n{issued:?}\n{:?}", JwtKeys::hs256(&SECRET).unwrap()), @r#"
    Tokens { issuer: "https://shop.example", audience: "shop", algorithm: HS256, keys: ["k1"], .. }
    IssuedTokens { access_token: "REDACTED", refresh_token: "REDACTED", expires_in: 900s }
    {None}
    "#);
}
