//! The cookie of a session, for hosts that want a whole browser acted instead of one URL (rule
//! [B11](crate::rules#b11)).
//!
//! 1. `Cookie` is read as bytes, because others write into it as well: a byte that is no ASCII in another cookie hides
//!    nothing. One that has our name and cannot be read, or stands there twice, is 400.
//! 2. `SameSite=Lax`, so that a link on another site brings it along: the request is then refused with a page that asks
//!    (rule [R5](crate::rules#r5)). `Strict` would keep it back, and the link would show the actor's own page.
//! 3. It outlives its session by [`OUTLIVES`], or a form that was open when the session ended would be saved as the
//!    actor. A stale one is refused, and is taken away with the first refusal that a person sees.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, Entry},
};
use memchr::memmem;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Purpose, Signer};
use crate::{request::Fault, words::Session};

/// Its name. Browsers take one with this prefix only from the host itself, over TLS, for all paths.
const NAME: &str = "__Host-impersonation";

/// How long it stays when its session is over: longer than a page stays open, a suspended laptop included.
pub(super) const OUTLIVES: Duration = Duration::from_secs(30 * 24 * 60 * 60);

impl Signer {
    /// The cookie's value, if it is a source here.
    pub(super) fn cookie<'h>(&self, headers: &'h HeaderMap) -> Result<Option<&'h [u8]>, Fault> {
        if !self.settings.cookie {
            return Ok(None);
        }
        let values = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
        let mut found = values
            .filter(|value| may_have_it(value))
            .flat_map(pairs)
            .filter_map(ours);
        match (found.next(), found.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(Fault::Repeated),
        }
    }

    /// Whether it is there and nobody can say what it means. Then it would be refused until the browser forgets it.
    pub(crate) fn is_cookie_at_fault(&self, headers: &HeaderMap) -> bool {
        match self.cookie(headers) {
            Ok(cookie) => cookie.is_some_and(|cookie| !cookie.is_ascii()),
            Err(_) => true,
        }
    }

    /// Takes the cookie out and leaves all others as they are, byte for byte.
    pub(super) fn strip_cookie(&self, headers: &mut HeaderMap) {
        let has_it = |value: &HeaderValue| {
            let value = value.as_bytes();
            may_have_it(value) && pairs(value).any(|pair| ours(pair).is_some())
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
            } else if let Some(rest) = without_ours(&value) {
                headers.append(COOKIE, rest);
            }
        }
    }
}

/// Cheap, and never wrong when it says no.
fn may_have_it(value: &[u8]) -> bool {
    memmem::find(value, NAME.as_bytes()).is_some()
}

fn pairs(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b';')
}

fn ours(pair: &[u8]) -> Option<&[u8]> {
    // A name alone is a cookie without a value for some, and no name for others.
    let end = memchr::memchr(b'=', pair).unwrap_or(pair.len());
    let (name, value) = pair.split_at(end);
    let value = value.strip_prefix(b"=").unwrap_or(value);
    (name.trim_ascii() == NAME.as_bytes()).then(|| value.trim_ascii())
}

/// `None` where nothing else is left.
fn without_ours(value: &HeaderValue) -> Option<HeaderValue> {
    let mut rest: Vec<u8> = Vec::with_capacity(value.len());
    // The blank before a cookie that was taken out stands before the next one.
    let mut blank: Option<&[u8]> = None;
    for pair in pairs(value.as_bytes()) {
        let cookie = pair.trim_ascii_start();
        if ours(pair).is_some() {
            blank.get_or_insert(&pair[..pair.len() - cookie.len()]);
            continue;
        }
        if !rest.is_empty() {
            rest.push(b';');
        }
        match blank.take() {
            Some(blank) => {
                rest.extend(blank);
                rest.extend(cookie);
            }
            None => rest.extend(pair),
        }
    }
    if rest.trim_ascii().is_empty() {
        return None;
    }
    let mut kept = HeaderValue::from_bytes(&rest).ok()?;
    kept.set_sensitive(value.is_sensitive());
    Some(kept)
}

impl Signer {
    /// `Set-Cookie` for a session; `None` where cookies are off.
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
        let age = self.life_of(Purpose::Cookie, session, now);
        let cookie = HeaderValue::try_from(set_cookie(&token, age));
        let mut cookie = cookie.map_err(|problem| problem.to_string())?;
        cookie.set_sensitive(true);
        Ok(Some(cookie))
    }

    /// `Set-Cookie` that takes the cookie away; `None` where cookies are off.
    pub(crate) fn cleared_cookie(&self) -> Option<HeaderValue> {
        let cleared = || HeaderValue::try_from(set_cookie("", Duration::ZERO)).ok();
        self.settings.cookie.then(cleared)?
    }
}

fn set_cookie(value: &str, age: Duration) -> String {
    let age = age.as_secs();
    format!("{NAME}={value}; HttpOnly; Secure; SameSite=Lax; Path=/; Max-Age={age}")
}

#[cfg(test)]
mod tests;
