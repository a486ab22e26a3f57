//! The acting cookie among others (rules R2, R9, B11).
#![allow(clippy::unwrap_used)]

use time::macros::datetime;

use super::*;
use crate::{
    token::{BadToken, Tokens, jsonwebtoken},
    words::SessionId,
};

const NOON: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn signer() -> Signer {
    // Another test may have been first.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let tokens = Tokens::hs256("https://shop.example", "shop", "k1", &[7; 32]).cookie();
    tokens.build(NOON).unwrap()
}

/// Of `Cookie`, which may stand there more than once.
type Values<'a> = &'a [&'a [u8]];

fn cookies(values: Values<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(COOKIE, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

#[test]
fn r2_no_other_cookie_hides_the_acting_one() {
    let signer = signer();
    let tests: [(Values<'_>, Result<Option<&str>, Fault>); 14] = [
        (&[b"__Host-impersonation=t"], Ok(Some("t"))),
        (&[b"theme=caf\xe9; __Host-impersonation=t"], Ok(Some("t"))),
        (&[b"__Host-impersonation=t;\xff=\xff"], Ok(Some("t"))),
        (&[b"a=\xff", b"__Host-impersonation = t "], Ok(Some("t"))),
        (&[b"a=\t;\t__Host-impersonation=t"], Ok(Some("t"))),
        (&[b"__Host-impersonation="], Ok(Some(""))),
        (&[b"__Host-impersonation"], Ok(Some(""))),
        (&[b"__Host-impersonation=t\xff"], Err(Fault::Encoding)),
        (
            &[b"__Host-impersonation=t", b"__Host-impersonation=t"],
            Err(Fault::Repeated),
        ),
        (
            &[b"__Host-impersonation=t; a=\xff; __Host-impersonation=\xff"],
            Err(Fault::Repeated),
        ),
        (&[b"__host-impersonation=t"], Ok(None)),
        (&[b"a=__Host-impersonation"], Ok(None)),
        (
            &[b"x__Host-impersonation=t; \xff__Host-impersonation=t"],
            Ok(None),
        ),
        (&[], Ok(None)),
    ];
    for (values, expected) in tests {
        let headers = cookies(values);
        let found = signer
            .carried(&headers)
            .map(|found| found.map(|it| it.text));
        assert_eq!(
            found,
            expected.map(|text| text.map(str::to_owned)),
            "{headers:?}"
        );
        assert_eq!(
            signer.is_cookie_at_fault(&headers),
            expected.is_err(),
            "{headers:?}"
        );
    }
}

#[test]
fn r9_the_other_cookies_stay_byte_for_byte() {
    let tests: [(Values<'_>, Values<'_>); 11] = [
        (&[b"__Host-impersonation=t"], &[]),
        (&[b" __Host-impersonation=t ; "], &[]),
        (&[b"a=1; __Host-impersonation=t; b=2"], &[b"a=1; b=2"]),
        (&[b"a=1; __Host-impersonation=t;b=2"], &[b"a=1; b=2"]),
        (
            &[b"__Host-impersonation=t; a=1;b=2 ;  c"],
            &[b"a=1;b=2 ;  c"],
        ),
        (
            &[b"a=\xff\xe9 ; __Host-impersonation=\xff"],
            &[b"a=\xff\xe9 "],
        ),
        (
            &[b"a=1;__Host-impersonation=t;__Host-impersonation=u;b=2"],
            &[b"a=1;b=2"],
        ),
        (
            &[b"a=1;;b", b"__Host-impersonation=t", b"c=\xff"],
            &[b"a=1;;b", b"c=\xff"],
        ),
        (
            &[b"a=__Host-impersonation; b"],
            &[b"a=__Host-impersonation; b"],
        ),
        (&[b"a=1; __Host-impersonation"], &[b"a=1"]),
        (&[b"a= 1 ;b"], &[b"a= 1 ;b"]),
    ];
    let signer = signer();
    for (values, expected) in tests {
        let mut headers = cookies(values);
        signer.strip(&mut headers);
        assert_eq!(headers, cookies(expected), "{:?}", cookies(values));
    }
}

#[test]
fn b11_the_cookie_and_its_token_outlive_the_session_by_30_days() {
    let signer = signer();
    let end = NOON + Duration::from_secs(7200);
    let subject = "ines".parse().unwrap();
    let id = SessionId(Uuid::from_u128(7));
    let session = Session::new(id, "ada".parse().unwrap(), subject, "ticket 1", NOON, end);
    let cookie = signer
        .session_cookie(&session, Uuid::nil(), NOON)
        .unwrap()
        .unwrap();
    assert!(cookie.is_sensitive());
    let cookie = std::str::from_utf8(cookie.as_bytes()).unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(
        attributes,
        "HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age=2599200"
    );

    let token = pair.strip_prefix("__Host-impersonation=").unwrap();
    let at = |time| {
        signer
            .verify(token, Purpose::Cookie, time)
            .map(|claims| claims.session)
    };
    // Then the session decides: it may have been extended, or it has ended.
    assert_eq!(at(end + OUTLIVES), Ok(id));
    assert_eq!(
        at(end + OUTLIVES + Duration::from_secs(5)),
        Err(BadToken::Expired)
    );
}
