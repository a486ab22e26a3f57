//! Where a request carries a token, and whether it is one of ours. Pure functions; nothing is verified here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONNECTION},
};
use serde::Deserialize;

use super::{MAX_TOKEN, Purpose, Signer};
use crate::request::Fault;

/// The token beside the actor's own login.
pub(crate) const IMPERSONATION_TOKEN: HeaderName = HeaderName::from_static("impersonation-token");

/// A token that has to be honoured or refused.
#[derive(Debug)]
pub(crate) struct Carried {
    pub(crate) text: String,
    pub(crate) by: CarriedBy,
}

/// Where it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CarriedBy {
    /// `Authorization: Bearer`: there is no other login.
    Bearer,
    /// `Impersonation-Token`, beside the actor's own.
    Header,
    /// The cookie: with their own login or without.
    Cookie,
}

impl Carried {
    /// A browser sends it by itself.
    pub(crate) fn is_cookie(&self) -> bool {
        self.by == CarriedBy::Cookie
    }
}

impl Signer {
    /// The request's token, if it carries one of ours (rules R2, R3).
    pub(crate) fn carried(&self, headers: &HeaderMap) -> Result<Option<Carried>, Fault> {
        let cookie = self.cookie(headers)?;
        let beside = headers.get(IMPERSONATION_TOKEN);
        let bearer = headers
            .get(AUTHORIZATION)
            .and_then(bearer_of)
            .filter(|b| self.is_ours(b));
        let several = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
        let (text, by) = match (beside, bearer) {
            (None, None) => {
                // The first one is not ours; another one must not be either.
                let mut all = headers.get_all(AUTHORIZATION).iter().filter_map(bearer_of);
                if several(&AUTHORIZATION) && all.any(|b| self.is_ours(b)) {
                    return Err(Fault::Repeated);
                }
                let by = CarriedBy::Cookie;
                return Ok(cookie.map(|text| Carried {
                    text: text.to_owned(),
                    by,
                }));
            }
            (Some(beside), bearer) => {
                let text = beside.to_str().map_err(|_| Fault::Encoding)?.trim();
                if bearer.is_some_and(|bearer| bearer != text) {
                    return Err(Fault::Disagree);
                }
                (text, CarriedBy::Header)
            }
            (None, Some(bearer)) => (bearer, CarriedBy::Bearer),
        };
        if cookie.is_some() {
            // Two statements, and nothing says which one is meant.
            return Err(Fault::Repeated);
        }
        if text.is_empty() {
            return Err(Fault::Empty);
        }
        if several(&IMPERSONATION_TOKEN) || (bearer.is_some() && several(&AUTHORIZATION)) {
            return Err(Fault::Repeated);
        }
        let names_it = |token: &[u8]| {
            let token = token.trim_ascii();
            token.eq_ignore_ascii_case(IMPERSONATION_TOKEN.as_str().as_bytes())
                || token.eq_ignore_ascii_case(AUTHORIZATION.as_str().as_bytes())
        };
        let mut connection = headers.get_all(CONNECTION).iter();
        if connection.any(|value| value.as_bytes().split(|byte| *byte == b',').any(names_it)) {
            return Err(Fault::HopByHop);
        }
        let text = text.to_owned();
        Ok(Some(Carried { text, by }))
    }

    /// Takes our tokens out, all of them (rule R9).
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        self.strip_cookie(headers);
        headers.remove(IMPERSONATION_TOKEN);
        let ours = |value: &HeaderValue| bearer_of(value).is_some_and(|b| self.is_ours(b));
        if headers.get_all(AUTHORIZATION).iter().any(ours) {
            headers.remove(AUTHORIZATION);
        }
    }

    /// Whether a token says of itself that it is one of ours, or is a piece of one. It may still be forged: then it is
    /// refused, and not left to someone who may not look as closely.
    pub(crate) fn is_ours(&self, token: &str) -> bool {
        if token.len() > MAX_TOKEN {
            // Nobody's token is as long as that. What it begins with is enough.
            return is_piece(token);
        }
        if self.kept.pin().contains_key(token) {
            return true;
        }
        let mut parts = token.split('.');
        let header = parts.next().and_then(read::<JustType>);
        let Some(JustType { typ: Some(typ) }) = header else {
            return is_piece(token);
        };
        if Purpose::of_typ(&typ).is_none() {
            return false;
        }
        // Others have `at+jwt` as well (RFC 9068).
        match parts.next().and_then(read::<JustIssuer>) {
            Some(JustIssuer { iss: Some(iss) }) => iss == self.settings.issuer,
            _ => true,
        }
    }
}

#[derive(Deserialize)]
struct JustType {
    typ: Option<String>,
}

#[derive(Deserialize)]
struct JustIssuer {
    iss: Option<String>,
}

fn read<T: for<'de> Deserialize<'de>>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether it begins as ours do, `typ` being the first thing in their header.
fn is_piece(token: &str) -> bool {
    // `{"typ":"at+jwt"` is a multiple of three bytes: its encoding does not depend on what follows.
    Purpose::ALL.into_iter().any(|purpose| {
        let start = format!("{{\"typ\":\"{}\"", purpose.typ());
        token.starts_with(&URL_SAFE_NO_PAD.encode(start))
    })
}

/// What stands behind `Bearer`, in any case (RFC 9110, section 11.1).
pub(super) fn bearer_of(value: &HeaderValue) -> Option<&str> {
    let (scheme, token) = value.to_str().ok()?.trim_start().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
