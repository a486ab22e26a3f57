//! Acting tokens (feature `jwt`): who acts as whom, signed, for the services behind you.
//!
//! A start hands out two. The *access token* lives for 15 minutes and says
//! `{iss, aud, sub, role, act: {sub}, sid, access, iat, exp, jti}` with `typ` `at+jwt`: `sub` is the subject,
//! `act.sub` the actor ([RFC 8693, section 4.1](https://www.rfc-editor.org/rfc/rfc8693#section-4.1)). The *refresh
//! token* has a `typ` and an audience of its own and is good for one thing: another access token.
//!
//! 1. The session decides, not the clock: every verification looks it up, and a token dies with it at once.
//! 2. An access token acts as `Authorization: Bearer`, alone, or as `Impersonation-Token` (more names:
//!    [`Tokens::header`]) beside the actor's own login. Either way it is taken out before the inner service runs (rule
//!    [R9](crate::rules#r9)), and everything that is checked for a marker is checked for it as well (rule
//!    [R8](crate::rules#r8)).
//! 3. Where a marker and a token are on one request, they have to name the same subject (rule [R3](crate::rules#r3)).
//! 4. A token that is ours and not good is 401, never ignored (rule [R4](crate::rules#r4)). Other bearers are not ours
//!    and are left alone.
//! 5. One algorithm, the audience is required, keys are found by `kid` and can be rotated: sign with the new one,
//!    keep the old one for verifying until its last token is gone.
//! 6. With [`Tokens::cookie`] a signed cookie acts a whole browser. It outlives its session, so that a stale one is
//!    refused and not missing (rule [B11](crate::rules#b11)).
//! 7. `act` may hold another `act`; only the outermost decides, and more than [`MAX_ACT_DEPTH`] are refused.
//!
//! If a token comes as Bearer, your own authentication has to step aside: put this layer outside it, or let it
//! ask [`LiveTokens::verify`](crate::LiveTokens::verify).
//!
//! # Cryptography
//!
//! Tokens are signed by the crate `jsonwebtoken`, which takes its backend from the features `jwt-aws-lc-rs` and
//! `jwt-rust-crypto`: turn on exactly one. If another crate turns on the other one too, or with neither, install
//! one for the whole process with `jsonwebtoken::crypto::CryptoProvider::install_default`.
//! [`Builder::build`](crate::Builder::build) signs once to see that it works.
//!
//! ```
//! use tower_impersonation::{
//!     Caller, Decision, Impersonation, audit::MemorySink, checker_fn, session::MemorySessions, token::Tokens,
//! };
//! # let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
//! # let checker = checker_fn(|_| Caller::Anonymous, |_, _, _| Decision::deny("nobody"));
//! let secret = [7; 32]; // from where you keep secrets
//! let impersonation = Impersonation::builder(checker, MemorySink::default())
//!     .handlers_read_acting_as()
//!     .sessions(MemorySessions::new())
//!     .tokens(Tokens::hs256("https://shop.example", "shop", "2026-11", &secret))
//!     .build()?;
//! # Ok::<(), tower_impersonation::ConfigError>(())
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use time::OffsetDateTime;
use uuid::Uuid;

pub use jsonwebtoken::{self, Algorithm, DecodingKey, EncodingKey};
use jsonwebtoken::{AlgorithmFamily, Header, Validation};

mod carried;
mod checker;
mod claims;
mod cookie;
mod issued;

use self::claims::RawClaims;
pub(crate) use self::{
    carried::{Carried, CarriedBy},
    claims::Claims,
};
pub use self::{
    checker::{JwtChecker, JwtKeys, KeyError},
    issued::{IssuedTokens, VerifiedToken},
};
use crate::{
    request::{RESERVED, RESERVED_PREFIXES, TOKEN_HEADERS, is_of_family},
    words::{ConfigError, Session},
};

/// The most actors in one token, the outermost included.
pub const MAX_ACT_DEPTH: usize = 4;

/// The longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 8 * 1024;
/// More tokens than this are not kept: the cache starts over.
const MOST_KEPT: usize = 10_000;
/// The shortest secret for HMAC: as long as its hash (RFC 7518, section 3.2).
const SHORTEST_SECRET: usize = 32;

/// How tokens are signed and verified. For [`Builder::tokens`](crate::Builder::tokens).
///
/// ```
/// use tower_impersonation::token::{Algorithm, DecodingKey, EncodingKey, Tokens};
///
/// let (old, new) = ([1; 32], [2; 32]);
/// let tokens = Tokens::new("https://shop.example", "shop", Algorithm::HS256)
///     .signing_key("2026-11", EncodingKey::from_secret(&new))
///     .verification_key("2026-11", DecodingKey::from_secret(&new))
///     .verification_key("2026-05", DecodingKey::from_secret(&old));
/// ```
#[derive(Clone)]
#[must_use = "settings do nothing until `Builder::tokens`"]
pub struct Tokens {
    issuer: String,
    audience: String,
    algorithm: Algorithm,
    signing: Option<(String, EncodingKey)>,
    verifying: BTreeMap<String, DecodingKey>,
    leeway: Duration,
    lifetime: Duration,
    headers: Vec<String>,
    cookie: bool,
}

/// The settings, tried, and what was verified already.
pub(crate) struct Signer {
    settings: Tokens,
    kid: String,
    key: EncodingKey,
    /// Where a token may stand beside the actor's own login.
    headers: Vec<HeaderName>,
    validations: [Validation; 3],
    /// By the whole text, so that nothing else is ever taken for it. Reads take no lock.
    kept: papaya::HashMap<Box<str>, (Purpose, Arc<Claims>)>,
}

/// What a token is for. Each has its own `typ`; none passes for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Access,
    Refresh,
    Cookie,
}

/// Why a token is not good. For the log and the trail.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token is too long")]
    TooLong,
    #[error("the token has no header that could be read")]
    Header,
    #[error("the token's `typ` is another")]
    Type,
    #[error("the token names extensions that must be understood")]
    Critical,
    #[error("the token's key is unknown")]
    Key,
    #[error("the token's signature or claims: {0}")]
    Invalid(String),
    #[error("the token's `act` is no actor")]
    Act,
    #[error("the token's `act` goes too deep")]
    ActDepth,
    #[error("the token's actor is its subject")]
    Oneself,
    #[error("the token has expired")]
    Expired,
    #[error("the token comes from the future")]
    NotYet,
}

// === impl Tokens ===

impl Tokens {
    /// Tokens of this issuer for this audience, signed with this one algorithm. They need a
    /// [`signing_key`](Self::signing_key) and its [`verification_key`](Self::verification_key).
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        algorithm: Algorithm,
    ) -> Self {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            algorithm,
            signing: None,
            verifying: BTreeMap::new(),
            leeway: Duration::from_secs(5),
            lifetime: Duration::from_secs(15 * 60),
            headers: Vec::new(),
            cookie: false,
        }
    }

    /// Tokens signed with a secret of at least 32 bytes. Everyone who verifies them needs the same secret.
    pub fn hs256(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        kid: impl Into<String>,
        secret: &[u8],
    ) -> Self {
        let kid = kid.into();
        Self::new(issuer, audience, Algorithm::HS256)
            .signing_key(kid.clone(), EncodingKey::from_secret(secret))
            .verification_key(kid, DecodingKey::from_secret(secret))
    }

    /// The key that signs, and its `kid`.
    pub fn signing_key(mut self, kid: impl Into<String>, key: EncodingKey) -> Self {
        self.signing = Some((kid.into(), key));
        self
    }

    /// A key that verifies. There may be several; the token's `kid` chooses.
    pub fn verification_key(mut self, kid: impl Into<String>, key: DecodingKey) -> Self {
        self.verifying.insert(kid.into(), key);
        self
    }

    /// How far the clocks of others may be off. Default: 5 seconds; at most a minute.
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// How long an access token is good, if its session lives as long. Default: 15 minutes; at most an hour.
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// One more name for the header `Impersonation-Token`, for clients that were written for another. It is taken out
    /// like the first (rule [R9](crate::rules#r9)).
    ///
    /// Without this, a token in `X-Impersonation-Token` is refused with 400 and not ignored: its sender meant to
    /// act and would otherwise act as themselves (rule [R4](crate::rules#r4)).
    ///
    /// ```
    /// # use tower_impersonation::token::Tokens;
    /// let tokens = Tokens::hs256("https://shop.example", "shop", "2026-11", &[7; 32])
    ///     .header("X-Impersonation-Token");
    /// ```
    ///
    /// [`Builder::build`](crate::Builder::build) refuses names that mean something else (`Cookie`, `Origin`,
    /// `X-Forwarded-..`), or that begin as the marker does.
    pub fn header(mut self, name: impl Into<String>) -> Self {
        self.headers.push(name.into());
        self
    }

    /// Makes a whole browser act once it has started a session, by the signed cookie `__Host-impersonation`: every
    /// request outside excluded prefixes, until the session is stopped. Default: off.
    ///
    /// If the actor's own login is on the request too, it must belong to the same actor. If it is not,
    /// [`AdminChecker::actor`](crate::AdminChecker::actor) tells who they are.
    ///
    /// The cookie stays for 30 days after its session. A page may still be open when the session ends, and what it
    /// sends then must be refused and not run as the actor. The first refusal that a person sees says so and takes
    /// the cookie away.
    ///
    /// It is `SameSite=Lax`. A link on another site brings it along, and is answered by a page that asks whether to
    /// act; every other request from another site is refused, like a marker in the URL (rule [R5](crate::rules#r5)).
    ///
    /// ```
    /// # use tower_impersonation::token::Tokens;
    /// let tokens = Tokens::hs256("https://shop.example", "shop", "2026-11", &[7; 32]).cookie();
    /// ```
    pub fn cookie(mut self) -> Self {
        self.cookie = true;
        self
    }

    /// Tries the settings, with one signature each.
    pub(crate) fn build(self, now: OffsetDateTime) -> Result<Signer, ConfigError> {
        let invalid = |problem: &str| ConfigError::invalid("tokens", problem);
        if self.issuer.is_empty() || self.audience.is_empty() {
            return Err(invalid("must have an issuer and an audience"));
        }
        if self.leeway > Duration::from_secs(60) {
            return Err(invalid("must not have a leeway of more than a minute"));
        }
        let longest = Duration::from_secs(60 * 60);
        if self.lifetime < Duration::from_secs(1) || self.lifetime > longest {
            return Err(invalid("must live for a second to an hour"));
        }
        let Some((kid, key)) = self.signing.clone() else {
            return Err(invalid("must have a signing key"));
        };
        if !self.verifying.contains_key(&kid) {
            return Err(invalid(
                "must have a verification key for the signing key's `kid`",
            ));
        }
        let family = self.algorithm.family();
        if key.family() != family || self.verifying.values().any(|key| key.family() != family) {
            return Err(invalid("must have keys for their algorithm only"));
        }
        let is_short = |secret: &[u8]| secret.len() < SHORTEST_SECRET;
        let short = is_short(key.as_bytes())
            || self
                .verifying
                .values()
                .any(|key| key.try_get_as_bytes().is_ok_and(is_short));
        if family == AlgorithmFamily::Hmac && short {
            return Err(invalid("must have secrets of at least 32 bytes"));
        }
        let headers = self.checked_headers()?;
        let signer = Signer {
            headers,
            validations: Purpose::ALL.map(|purpose| self.validation(purpose)),
            settings: self,
            kid,
            key,
            kept: papaya::HashMap::new(),
        };
        // The library panics where it finds no backend, or two.
        match catch_unwind(AssertUnwindSafe(|| signer.trial(now))) {
            Ok(Ok(())) => Ok(signer),
            Ok(Err(problem)) => Err(invalid(&format!(
                "cannot be signed and verified: {problem}"
            ))),
            Err(_) => Err(invalid(
                "need exactly one cryptographic backend: turn on one of the features `jwt-aws-lc-rs` and \
                 `jwt-rust-crypto`, or call `CryptoProvider::install_default` before",
            )),
        }
    }

    /// The names of its headers, the first one included.
    fn checked_headers(&self) -> Result<Vec<HeaderName>, ConfigError> {
        let invalid = |name: &str, problem: &str| {
            ConfigError::invalid("tokens", format!("the header `{name}` {problem}"))
        };
        let [usual, ..] = TOKEN_HEADERS;
        let mut headers = vec![usual];
        for given in &self.headers {
            let Ok(name) = HeaderName::try_from(given) else {
                return Err(invalid(given, "is no header name"));
            };
            let is_known = TOKEN_HEADERS.contains(&name);
            let is_taken = RESERVED.contains(&name.as_str())
                || RESERVED_PREFIXES
                    .iter()
                    .any(|prefix| name.as_str().starts_with(prefix))
                || ["act-as", "acted-as"]
                    .iter()
                    .any(|family| is_of_family(&name, family));
            if is_taken && !is_known {
                return Err(invalid(given, "is reserved for something else"));
            }
            if !headers.contains(&name) {
                headers.push(name);
            }
        }
        Ok(headers)
    }

    fn audience_of(&self, purpose: Purpose) -> String {
        match purpose {
            Purpose::Access => self.audience.clone(),
            // For the issuer alone: a service that forgets to look at `typ` must not take it for access.
            Purpose::Refresh => format!("{}#refresh", self.issuer),
            Purpose::Cookie => format!("{}#cookie", self.issuer),
        }
    }

    fn validation(&self, purpose: Purpose) -> Validation {
        let mut validation = Validation::new(self.algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[self.audience_of(purpose)]);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        // The library would read the system's time; ours is the `Clock`'s, and `Signer::verify` looks at it.
        validation.validate_exp = false;
        validation.leeway = 0;
        validation
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("algorithm", &self.algorithm)
            .field("keys", &self.verifying.keys())
            .finish_non_exhaustive()
    }
}

// === impl Purpose ===

impl Purpose {
    /// In the order of their declaration.
    const ALL: [Self; 3] = [Self::Access, Self::Refresh, Self::Cookie];

    pub(crate) fn typ(self) -> &'static str {
        match self {
            Self::Access => "at+jwt",
            Self::Refresh => "rt+jwt",
            Self::Cookie => "ck+jwt",
        }
    }

    fn of_typ(typ: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.typ() == typ)
    }
}

// === impl Signer ===

impl Signer {
    /// When a token of this session that is made now is over, in whole seconds. Rounded down, as the time of its making
    /// is: it is never good for longer than its session.
    fn end_of(&self, purpose: Purpose, session: &Session, now: OffsetDateTime) -> i64 {
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or_default();
        let session = session.expires_at.unix_timestamp();
        match purpose {
            Purpose::Access => session.min(now.unix_timestamp() + seconds(self.settings.lifetime)),
            Purpose::Refresh => session,
            // The session decides, and may be extended meanwhile.
            Purpose::Cookie => session + seconds(cookie::OUTLIVES),
        }
    }

    /// From `iat` to `exp` of a token that is made now.
    pub(crate) fn life_of(
        &self,
        purpose: Purpose,
        session: &Session,
        now: OffsetDateTime,
    ) -> Duration {
        let life = self.end_of(purpose, session, now) - now.unix_timestamp();
        Duration::from_secs(u64::try_from(life).unwrap_or_default())
    }

    pub(crate) fn sign(
        &self,
        purpose: Purpose,
        session: &Session,
        id: Uuid,
        now: OffsetDateTime,
    ) -> Result<String, jsonwebtoken::errors::Error> {
        let claims = RawClaims::of(
            session,
            self.settings.issuer.clone(),
            self.settings.audience_of(purpose),
            now.unix_timestamp(),
            self.end_of(purpose, session, now),
            id,
        );
        let mut header = Header::new(self.settings.algorithm);
        header.typ = Some(purpose.typ().to_owned());
        header.kid = Some(self.kid.clone());
        jsonwebtoken::encode(&header, &claims, &self.key)
    }

    /// Everything that the token itself can tell. Whether its session lives is for the caller to ask.
    pub(crate) fn verify(
        &self,
        token: &str,
        purpose: Purpose,
        now: OffsetDateTime,
    ) -> Result<Arc<Claims>, BadToken> {
        if let Some((kept, claims)) = self.kept.pin().get(token)
            && *kept == purpose
        {
            self.in_time(claims, now)?;
            return Ok(claims.clone());
        }
        if token.len() > MAX_TOKEN {
            return Err(BadToken::TooLong);
        }
        let header = jsonwebtoken::decode_header(token).map_err(|_| BadToken::Header)?;
        if header.typ.as_deref() != Some(purpose.typ()) {
            return Err(BadToken::Type);
        }
        if header.crit.is_some() {
            return Err(BadToken::Critical);
        }
        let key = header.kid.and_then(|kid| self.settings.verifying.get(&kid));
        let validation = &self.validations[purpose as usize];
        let decoded =
            jsonwebtoken::decode::<RawClaims>(token, key.ok_or(BadToken::Key)?, validation)
                .map_err(|problem| BadToken::Invalid(problem.to_string()))?;
        let claims = Arc::new(decoded.claims.read()?);
        self.in_time(&claims, now)?;
        if purpose != Purpose::Refresh {
            let kept = self.kept.pin();
            if kept.len() >= MOST_KEPT {
                kept.clear();
            }
            kept.insert(token.into(), (purpose, claims.clone()));
        }
        Ok(claims)
    }

    fn in_time(&self, claims: &Claims, now: OffsetDateTime) -> Result<(), BadToken> {
        let now = now.unix_timestamp();
        let leeway = i64::try_from(self.settings.leeway.as_secs()).unwrap_or_default();
        if now >= claims.expires_at.saturating_add(leeway) {
            return Err(BadToken::Expired);
        }
        if claims.good_from > now.saturating_add(leeway) {
            return Err(BadToken::NotYet);
        }
        Ok(())
    }

    /// Signs and verifies something harmless.
    fn trial(&self, now: OffsetDateTime) -> Result<(), String> {
        let session = claims::of_a_trial(now);
        for purpose in Purpose::ALL {
            let token = self.sign(purpose, &session, Uuid::nil(), now);
            let token = token.map_err(|problem| problem.to_string())?;
            self.verify(&token, purpose, now)
                .map_err(|problem| problem.to_string())?;
        }
        self.kept.pin().clear();
        Ok(())
    }

    /// Where a token may stand beside the actor's own login.
    pub(crate) fn headers(&self) -> &[HeaderName] {
        &self.headers
    }

    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

#[cfg(test)]
mod tests;
