//! Tokens as they stand in headers (rules R2 to R4, R9).
#![allow(clippy::unwrap_used)]

use time::{OffsetDateTime, macros::datetime};

use super::*;
use crate::token::{Tokens, jsonwebtoken};

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn signer(set: impl FnOnce(Tokens) -> Tokens) -> Signer {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let tokens = Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]);
    set(tokens).build(NOON).unwrap()
}

/// Begins as ours do. Nothing is verified here.
fn ours() -> String {
    format!(
        "{}.e30.x",
        URL_SAFE_NO_PAD.encode(r#"{"typ":"at+jwt","alg":"HS256"}"#)
    )
}

fn headers(lines: &[(&'static str, &[u8])]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

#[test]
fn r2_a_token_is_read_as_bytes() {
    let signer = signer(|tokens| tokens);
    let ours = ours();
    let with = |start: &str, end: &[u8]| [start.as_bytes(), ours.as_bytes(), end].concat();
    type Found = Result<Option<CarriedBy>, Fault>;
    let tests: [(&str, Vec<u8>, Found); 13] = [
        (
            "authorization",
            with("Bearer ", b""),
            Ok(Some(CarriedBy::Bearer)),
        ),
        (
            "authorization",
            with("bearer\t ", b" "),
            Ok(Some(CarriedBy::Bearer)),
        ),
        (
            "authorization",
            with("Bearer ", b"\xff"),
            Err(Fault::Encoding),
        ),
        (
            "authorization",
            with("Bearer ", "\u{e9}".as_bytes()),
            Err(Fault::Encoding),
        ),
        (
            "authorization",
            with("Bearer ", b" \xff"),
            Err(Fault::Encoding),
        ),
        ("authorization", with("Basic ", b""), Ok(None)),
        ("authorization", b"Bearer caf\xe9".to_vec(), Ok(None)),
        ("authorization", b"Bearer".to_vec(), Ok(None)),
        (
            "impersonation-token",
            with("", b""),
            Ok(Some(CarriedBy::Header)),
        ),
        (
            "impersonation-token",
            b"x".to_vec(),
            Ok(Some(CarriedBy::Header)),
        ),
        (
            "impersonation-token",
            b"x\xff".to_vec(),
            Err(Fault::Encoding),
        ),
        ("impersonation-token", b" ".to_vec(), Err(Fault::Empty)),
        ("impersonation-token", b"".to_vec(), Err(Fault::Empty)),
    ];
    for (name, value, expected) in tests {
        let mut headers = HeaderMap::new();
        let name: HeaderName = name.parse().unwrap();
        headers.insert(&name, HeaderValue::from_bytes(&value).unwrap());
        let found = signer.carried(&headers).map(|found| found.map(|it| it.by));
        assert_eq!(found, expected, "{name}: {}", value.escape_ascii());
    }
}

#[test]
fn r3_one_token_in_one_place() {
    let signer = signer(|tokens| tokens.header("X-Impersonation-Token").cookie());
    let (ours, other) = (ours(), format!("{}y", ours()));
    let [bearer, another] = [&ours, &other].map(|token| format!("Bearer {token}"));
    let cookie = format!("__Host-impersonation={ours}");
    type Lines<'a> = &'a [(&'static str, &'a str)];
    let tests: [(Lines<'_>, Result<CarriedBy, Fault>); 9] = [
        (
            &[("authorization", &bearer), ("impersonation-token", &ours)],
            Ok(CarriedBy::Header),
        ),
        (
            &[("authorization", &bearer), ("impersonation-token", &other)],
            Err(Fault::Disagree),
        ),
        (
            &[("authorization", &bearer), ("authorization", &another)],
            Err(Fault::Repeated),
        ),
        (
            &[("authorization", "Basic x"), ("authorization", &bearer)],
            Err(Fault::Repeated),
        ),
        (
            &[
                ("impersonation-token", &ours),
                ("impersonation-token", &ours),
            ],
            Err(Fault::Repeated),
        ),
        (
            &[
                ("impersonation-token", &ours),
                ("x-impersonation-token", &ours),
            ],
            Err(Fault::Repeated),
        ),
        (
            &[("cookie", &cookie), ("x-impersonation-token", &ours)],
            Err(Fault::Repeated),
        ),
        (
            &[
                ("x-impersonation-token", &ours),
                ("connection", "close, X-Impersonation-Token"),
            ],
            Err(Fault::HopByHop),
        ),
        (
            &[("cookie", &cookie), ("authorization", "Bearer of-the-host")],
            Ok(CarriedBy::Cookie),
        ),
    ];
    for (lines, expected) in tests {
        let lines: Vec<_> = lines
            .iter()
            .map(|(name, value)| (*name, value.as_bytes()))
            .collect();
        let found = signer
            .carried(&headers(&lines))
            .map(|found| found.unwrap().by);
        assert_eq!(found, expected, "{:?}", headers(&lines));
    }
}

#[test]
fn r4_a_token_in_a_header_that_is_known_is_honoured_or_refused_and_never_ignored() {
    let usual = signer(|tokens| tokens);
    let more = signer(|tokens| {
        tokens
            .header("X-Impersonation-Token")
            .header("X-Support-Token")
    });
    let tests = [
        ("impersonation-token", Ok(true), Ok(true)),
        ("x-impersonation-token", Err(Fault::TokenHeader), Ok(true)),
        ("x-support-token", Ok(false), Ok(true)),
        ("x-other-token", Ok(false), Ok(false)),
    ];
    for (name, by_usual, by_more) in tests {
        let headers = headers(&[(name, b"x")]);
        let found = |signer: &Signer| signer.carried(&headers).map(|found| found.is_some());
        assert_eq!(found(&usual), by_usual, "{name}");
        assert_eq!(found(&more), by_more, "{name}");
    }
}

#[test]
fn r9_every_header_that_is_enabled_is_taken_out() {
    let signer = signer(|tokens| tokens.header("X-Support-Token"));
    let bearer = format!("Bearer {}", ours());
    let mut headers = headers(&[
        ("x-support-token", b"x"),
        ("x-support-token", b"y"),
        ("x_support_token", b"x"),
        ("x-support-token-kind", b"x"),
        ("impersonation-token", b"x"),
        ("authorization", bearer.as_bytes()),
        ("x-support", b"x"),
    ]);
    signer.strip(&mut headers);
    assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-support"]);
}
