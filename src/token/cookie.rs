//! The cookie of a session, for hosts that want a whole browser acted instead of one URL.

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, Entry},
};

use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purpose, Signer};
use crate::{request::Fault, words::Session};

/// Its name. Browsers take one with this prefix only from the host itself, over TLS, for all paths.
const NAME: &str = "__Host-impersonation";

impl Signer {
    /// The cookie's value, if it is a source here.
    pub(super) fn cookie<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h str>, Fault> {
        if !self.settings.cookie {
            return Ok(None);
        }
        let values = headers.get_all(COOKIE).iter();
        let mut found = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(pairs)
            .filter_map(ours);
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Fault::Repeated),
        }
    }

    /// Takes the cookie out and leaves all others as they are.
    pub(super) fn strip_cookie(&self, headers: &mut HeaderMap) {
        let has_it = |value: &HeaderValue| {
            value
                .to_str()
                .is_ok_and(|v| pairs(v).any(|p| ours(p).is_some()))
        };
        if !self.settings.cookie || !headers.get_all(COOKIE).iter().any(has_it) {
            return;
        }
        let Entry::Occupied(cookies) = headers.entry(COOKIE) else {
            return;
        };
        let values: Vec<HeaderValue> = cookies.remove_entry_mult().1.collect();
        for value in values {
            if !has_it(&value) {
                headers.append(COOKIE, value);
                continue;
            }
            let text = value.to_str().unwrap_or_default();
            let rest: Vec<&str> = pairs(text).filter(|pair| ours(pair).is_none()).collect();
            if let (false, Ok(rest)) = (rest.is_empty(), HeaderValue::try_from(rest.join("; "))) {
                headers.append(COOKIE, rest);
            }
        }
    }
}

fn pairs(value: &str) -> impl Iterator<Item = &str> {
    value.split(';').map(str::trim)
}

fn ours(pair: &str) -> Option<&str> {
    let (name, value) = pair.split_once('=')?;
    (name.trim() == NAME).then(|| value.trim())
}

impl Signer {
    /// `Set-Cookie` for a session, as old as it is; `None` where cookies are off.
    pub(crate) fn session_cookie(
        &self,
        session: &Session,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<Option<HeaderValue>, String> {
        if !self.settings.cookie {
            return Ok(None);
        }
        let token = self.sign(Purpose::Cookie, session, id, now);
        let token = token.map_err(|problem| problem.to_string())?;
        let age = self.end_of(Purpose::Cookie, session, now) - now.unix_timestamp();
        let cookie = HeaderValue::try_from(set_cookie(&token, age));
        let mut cookie = cookie.map_err(|problem| problem.to_string())?;
        cookie.set_sensitive(true);
        Ok(Some(cookie))
    }

    /// `Set-Cookie` that takes the cookie away; `None` where cookies are off.
    pub(crate) fn cleared_cookie(&self) -> Option<HeaderValue> {
        let cleared = || HeaderValue::try_from(set_cookie("", 0)).ok();
        self.settings.cookie.then(cleared)?
    }
}

fn set_cookie(value: &str, age: i64) -> String {
    format!("{NAME}={value}; HttpOnly; Secure; SameSite=Strict; Path=/; Max-Age={age}")
}
