//! Where a request carries a token, and whether it is one of ours. Pure functions; nothing is verified here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AUTHORIZATION, CONNECTION, COOKIE},
};
use serde::Deserialize;

use super::{MAX_TOKEN, Purpose, Signer};
use crate::request::{Fault, TOKEN_HEADERS, is_of_family};

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
    /// `Impersonation-Token` or another name that is enabled, beside the actor's own login.
    Header,
    /// The cookie: with their own login or without.
    Cookie,
}

/// Which headers of a request have to be read.
#[derive(Default)]
struct Places<'h> {
    bearer: bool,
    header: Option<&'h HeaderName>,
    cookie: bool,
}

impl Carried {
    /// A browser sends it by itself.
    pub(crate) fn is_cookie(&self) -> bool {
        self.by == CarriedBy::Cookie
    }
}

impl Signer {
    /// The request's token, if it carries one of ours (rules [R2](crate::rules#r2), [R3](crate::rules#r3)).
    ///
    /// Values are bytes: one that is no ASCII, in our header or in another part of `Cookie`, hides no token.
    pub(crate) fn carried(&self, headers: &HeaderMap) -> Result<Option<Carried>, Fault> {
        let places = self.places(headers)?;
        let cookie = if places.cookie {
            self.cookie(headers)?
        } else {
            None
        };
        let bearer = if places.bearer {
            self.bearer(headers)?
        } else {
            None
        };
        let beside = match places.header {
            Some(name) => Some(only(name, headers)?.as_bytes().trim_ascii()),
            None => None,
        };
        let (token, by) = match (beside, bearer, cookie) {
            (None, None, None) => return Ok(None),
            (None, None, Some(cookie)) => (cookie, CarriedBy::Cookie),
            // Two statements, and nothing says which one is meant.
            (_, _, Some(_)) => return Err(Fault::Repeated),
            (Some(beside), Some(bearer), None) if beside != bearer => return Err(Fault::Disagree),
            (Some(beside), _, None) => (beside, CarriedBy::Header),
            (None, Some(bearer), None) => (bearer, CarriedBy::Bearer),
        };
        if by != CarriedBy::Cookie {
            if token.is_empty() {
                return Err(Fault::Empty);
            }
            self.refuse_hop_by_hop(headers)?;
        }
        let text = std::str::from_utf8(token).ok();
        let text = text.filter(|text| text.is_ascii()).ok_or(Fault::Encoding)?;
        Ok(Some(Carried {
            text: text.to_owned(),
            by,
        }))
    }

    /// Most requests end here: going through the names costs less than looking up each of ours, which would hash it.
    fn places<'h>(&self, headers: &'h HeaderMap) -> Result<Places<'h>, Fault> {
        let mut places = Places::default();
        for name in headers.keys() {
            if *name == AUTHORIZATION {
                places.bearer = true;
            } else if *name == COOKIE {
                places.cookie = self.settings.cookie;
            } else if self.headers.contains(name) {
                if places.header.replace(name).is_some() {
                    return Err(Fault::Repeated);
                }
            } else if TOKEN_HEADERS.contains(name) {
                // Whoever sends it means to act, and would act as themselves (rule R4).
                return Err(Fault::TokenHeader);
            }
        }
        Ok(places)
    }

    /// The bearer token that is ours. Another one beside it would leave open which is meant.
    fn bearer<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h [u8]>, Fault> {
        let values = || headers.get_all(AUTHORIZATION).iter();
        let ours = values().filter_map(bearer_of).find(|it| self.is_ours(it));
        if ours.is_some() && values().nth(1).is_some() {
            return Err(Fault::Repeated);
        }
        Ok(ours)
    }

    fn refuse_hop_by_hop(&self, headers: &HeaderMap) -> Result<(), Fault> {
        let names_it = |token: &[u8]| {
            let is = |name: &HeaderName| {
                token
                    .trim_ascii()
                    .eq_ignore_ascii_case(name.as_str().as_bytes())
            };
            is(&AUTHORIZATION) || self.headers.iter().any(is)
        };
        let mut connection = headers.get_all(CONNECTION).iter();
        if connection.any(|value| value.as_bytes().split(|byte| *byte == b',').any(names_it)) {
            return Err(Fault::HopByHop);
        }
        Ok(())
    }

    /// Takes our tokens out, all of them (rule [R9](crate::rules#r9)).
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        self.strip_cookie(headers);
        // Those that everybody knows went with the marker's.
        let is_ours = |name: &&HeaderName| {
            let mut families = self.headers.iter();
            families.any(|family| is_of_family(name, family.as_str()))
        };
        while let Some(name) = headers.keys().find(is_ours).cloned() {
            headers.remove(name);
        }
        let ours = |value: &HeaderValue| bearer_of(value).is_some_and(|b| self.is_ours(b));
        if headers.get_all(AUTHORIZATION).iter().any(ours) {
            headers.remove(AUTHORIZATION);
        }
    }

    /// Whether a token says of itself that it is one of ours, or is a piece of one. It may still be forged: then it is
    /// refused, and not left to someone who may not look as closely.
    pub(crate) fn is_ours(&self, token: &[u8]) -> bool {
        if token.len() > MAX_TOKEN {
            // Nobody's token is as long as that. What it begins with is enough.
            return is_piece(token);
        }
        if let Ok(token) = std::str::from_utf8(token)
            && self.kept.pin().contains_key(token)
        {
            return true;
        }
        let mut parts = token.split(|byte| *byte == b'.');
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

fn read<T: for<'de> Deserialize<'de>>(part: &[u8]) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether it begins as ours do, `typ` being the first thing in their header.
fn is_piece(token: &[u8]) -> bool {
    // `{"typ":"at+jwt"` is a multiple of three bytes: its encoding does not depend on what follows.
    Purpose::ALL.into_iter().any(|purpose| {
        let start = format!("{{\"typ\":\"{}\"", purpose.typ());
        token.starts_with(URL_SAFE_NO_PAD.encode(start).as_bytes())
    })
}

/// The value of a header that stands there once.
fn only<'h>(name: &HeaderName, headers: &'h HeaderMap) -> Result<&'h HeaderValue, Fault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Fault::Repeated),
        (None, _) => Err(Fault::Empty),
    }
}

/// What stands behind `Bearer`, in any case (RFC 9110, section 11.1).
pub(super) fn bearer_of(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes().trim_ascii();
    let (scheme, token) = value.split_at(value.iter().position(u8::is_ascii_whitespace)?);
    scheme
        .eq_ignore_ascii_case(b"bearer")
        .then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests;
