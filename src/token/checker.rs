//! [`JwtChecker`]: an [`AdminChecker`] for admins who sign in with your own JWTs.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use http::{header::AUTHORIZATION, request::Parts};
use jsonwebtoken::{
    AlgorithmFamily, Validation,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use super::{Algorithm, DecodingKey, MAX_TOKEN, Purpose, SHORTEST_SECRET};
use crate::{
    host::{AdminChecker, Caller, Decision},
    words::{
        Actor, BoxError, Subject, UserId,
        clock::{Clock, SystemClock},
    },
};

type CallerOf = dyn Fn(&Map<String, Value>) -> Caller + Send + Sync;
type DecisionOf = dyn Fn(&Actor, &Subject, &Parts) -> Decision + Send + Sync;
type ActorOf = dyn Fn(&UserId) -> Option<Actor> + Send + Sync;

/// Knows admins by the JWT in `Authorization: Bearer` that your own sign-in gave them.
///
/// 1. Issuer and audience are required, and so is `exp`; `nbf` is looked at where it is present.
/// 2. The algorithm is that of the key: HS256, RS256, ES256 or EdDSA. What the token says of it only has to agree.
/// 3. A token without a `kid` is good only where there is one key.
/// 4. A token that is not valid identifies nobody: 401. Neither does an acting token, or any other token with `act`
///    in it.
///
/// ```
/// use tower_impersonation::{
///     Actor, Caller, Decision, Grant, Rank, UserId,
///     token::{JwtChecker, JwtKeys},
/// };
///
/// # fn example(jwks: &serde_json::Value) -> Result<(), Box<dyn std::error::Error>> {
/// let keys = JwtKeys::from_jwks(jwks)?; // and `keys.replace(..)` when you fetch them again
/// let checker = JwtChecker::new(
///     "https://sso.example",
///     "shop",
///     keys,
///     |claims| {
///         let id = claims.get("sub").and_then(|sub| sub.as_str()).and_then(|sub| sub.parse::<UserId>().ok());
///         match (id, claims.get("role").and_then(|role| role.as_str())) {
///             (Some(id), Some("admin")) => Caller::Admin(Actor::new(id, Rank(20))),
///             (Some(id), _) => Caller::User(id),
///             (None, _) => Caller::Anonymous,
///         }
///     },
///     |_actor, _subject, _parts| Decision::Allow(Grant::read_only()),
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JwtChecker {
    issuer: String,
    audience: String,
    keys: JwtKeys,
    leeway: Duration,
    clock: Arc<dyn Clock>,
    identify: Arc<CallerOf>,
    authorize: Arc<DecisionOf>,
    actor: Arc<ActorOf>,
}

/// Keys to verify with, by `kid`. Clones share them, so you can replace them while the checker runs.
///
/// ```
/// use tower_impersonation::token::{JwtKeys, KeyError};
///
/// assert!(JwtKeys::hs256(&[7; 32]).is_ok());
/// assert!(matches!(JwtKeys::hs256(b"too short"), Err(KeyError::TooShort)));
/// ```
#[derive(Clone, Default)]
pub struct JwtKeys {
    keys: Arc<RwLock<Keys>>,
}

type Keys = BTreeMap<Option<String>, (Algorithm, DecodingKey)>;

/// A key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// A secret of fewer than 32 bytes.
    #[error("a secret for HS256 must have at least 32 bytes")]
    TooShort,
    /// An algorithm other than HS256, RS256, ES256 and EdDSA, or one that is not the key's.
    #[error("the key is not for HS256, RS256, ES256 or EdDSA")]
    Algorithm,
    /// The value is not a JWK set (RFC 7517, section 5).
    #[error("the value is no JWK set: {0}")]
    NoSet(
        /// What is wrong with it.
        String,
    ),
    /// No key in the set can be used.
    #[error("the set has no key that could be used")]
    Empty,
}

/// Why a token identifies nobody. For the log.
#[derive(Debug, thiserror::Error)]
enum Unknown {
    #[error("it is too long")]
    TooLong,
    #[error("its key is unknown")]
    Key,
    #[error("its algorithm is not the key's")]
    Algorithm,
    #[error("it is an acting token")]
    Acting,
    #[error("it has expired, or is not good yet")]
    Time,
    #[error("it names extensions that must be understood")]
    Critical,
    #[error(transparent)]
    Invalid(#[from] jsonwebtoken::errors::Error),
}

// === impl JwtKeys ===

impl JwtKeys {
    /// One secret, without a `kid`.
    ///
    /// # Errors
    ///
    /// [`KeyError::TooShort`] for fewer than 32 bytes.
    pub fn hs256(secret: &[u8]) -> Result<Self, KeyError> {
        Self::default().with_key(
            None::<String>,
            Algorithm::HS256,
            DecodingKey::from_secret(secret),
        )
    }

    /// One more key.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the key is too short, or the algorithm is not one of the four or not the key's.
    pub fn with_key(
        self,
        kid: Option<impl Into<String>>,
        algorithm: Algorithm,
        key: DecodingKey,
    ) -> Result<Self, KeyError> {
        let known = [
            Algorithm::HS256,
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ];
        if !known.contains(&algorithm) || algorithm.family() != key.family() {
            return Err(KeyError::Algorithm);
        }
        let is_short = |secret: &[u8]| secret.len() < SHORTEST_SECRET;
        if key.family() == AlgorithmFamily::Hmac && key.try_get_as_bytes().is_ok_and(is_short) {
            return Err(KeyError::TooShort);
        }
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(kid.map(Into::into), (algorithm, key));
        drop(keys);
        Ok(self)
    }

    /// The public keys of a JWK set (RFC 7517), as identity providers publish it. Keys for encryption, of other
    /// algorithms, and secrets, which have no place in what is published, are left out.
    ///
    /// # Errors
    ///
    /// [`KeyError`] if the value is not a JWK set, or no key in it can be used.
    pub fn from_jwks(jwks: &Value) -> Result<Self, KeyError> {
        let keys = read_set(jwks)?;
        Ok(Self {
            keys: Arc::new(RwLock::new(keys)),
        })
    }

    /// Replaces all keys by these, for all clones.
    ///
    /// # Errors
    ///
    /// As [`from_jwks`](Self::from_jwks); then the old ones stay.
    pub fn replace(&self, jwks: &Value) -> Result<(), KeyError> {
        let new = read_set(jwks)?;
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    fn find(&self, kid: Option<&str>) -> Option<(Algorithm, DecodingKey)> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        match kid {
            Some(kid) => keys.get(&Some(kid.to_owned())).cloned(),
            None if keys.len() == 1 => keys.values().next().cloned(),
            None => None,
        }
    }
}

fn read_set(jwks: &Value) -> Result<Keys, KeyError> {
    let set = JwkSet::deserialize(jwks).map_err(|problem| KeyError::NoSet(problem.to_string()))?;
    let usable = |jwk: &Jwk| {
        let algorithm = algorithm_of(jwk)?;
        let key = DecodingKey::from_jwk(jwk).ok()?;
        Some((jwk.common.key_id.clone(), (algorithm, key)))
    };
    let keys: Keys = set.keys.iter().filter_map(usable).collect();
    if keys.is_empty() {
        return Err(KeyError::Empty);
    }
    Ok(keys)
}

/// What a published key signs with; `None` for those that are not for us.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    if !matches!(
        jwk.common.public_key_use,
        None | Some(PublicKeyUse::Signature)
    ) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    jwk.common
        .key_algorithm
        .is_none_or(|named| named == name)
        .then_some(algorithm)
}

impl fmt::Debug for JwtKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(keys.keys()).finish()
    }
}

// === impl JwtChecker ===

impl JwtChecker {
    /// Accepts tokens of this issuer for this audience, verified with these keys. `identify` says whose claims
    /// these are; `authorize` is [`AdminChecker::authorize`].
    pub fn new<I, A>(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: JwtKeys,
        identify: I,
        authorize: A,
    ) -> Self
    where
        I: Fn(&Map<String, Value>) -> Caller + Send + Sync + 'static,
        A: Fn(&Actor, &Subject, &Parts) -> Decision + Send + Sync + 'static,
    {
        Self {
            issuer: issuer.into(),
            audience: audience.into(),
            keys,
            leeway: Duration::from_secs(5),
            clock: Arc::new(SystemClock),
            identify: Arc::new(identify),
            authorize: Arc::new(authorize),
            actor: Arc::new(|_| None),
        }
    }

    /// Who an admin is by id alone, for requests that carry an acting token and no login
    /// ([`AdminChecker::actor`]). Default: nobody, so that acting tokens do not work as Bearer.
    #[must_use]
    pub fn with_actors<F>(mut self, actor: F) -> Self
    where
        F: Fn(&UserId) -> Option<Actor> + Send + Sync + 'static,
    {
        self.actor = Arc::new(actor);
        self
    }

    /// How far the issuer's clock may be off. Default: 5 seconds.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The source of time. Default: [`SystemClock`].
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    fn claims(&self, token: &[u8]) -> Result<Map<String, Value>, BoxError> {
        let token = std::str::from_utf8(token)?;
        if token.len() > MAX_TOKEN {
            return Err(Unknown::TooLong.into());
        }
        let header = jsonwebtoken::decode_header(token).map_err(Unknown::Invalid)?;
        if header.typ.as_deref() == Some(Purpose::Refresh.typ()) {
            return Err(Unknown::Acting.into());
        }
        if header.crit.is_some() {
            return Err(Unknown::Critical.into());
        }
        let (algorithm, key) = self.keys.find(header.kid.as_deref()).ok_or(Unknown::Key)?;
        if header.alg != algorithm {
            return Err(Unknown::Algorithm.into());
        }
        let mut validation = Validation::new(algorithm);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        // By our clock, below.
        validation.validate_exp = false;
        let decoded = jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation);
        let claims = decoded.map_err(Unknown::Invalid)?.claims;
        if claims.contains_key("act") {
            return Err(Unknown::Acting.into());
        }
        let now = self.clock.now()?.unix_timestamp() as f64;
        let leeway = self.leeway.as_secs_f64();
        // A NumericDate may have a fraction (RFC 7519, section 2).
        let at = |name: &str| {
            claims
                .get(name)
                .map(|value| value.as_f64().ok_or(Unknown::Time))
        };
        let is_over = at("exp").transpose()?.is_none_or(|exp| now >= exp + leeway);
        let is_early = at("nbf").transpose()?.is_some_and(|nbf| now + leeway < nbf);
        if is_over || is_early {
            return Err(Unknown::Time.into());
        }
        Ok(claims)
    }
}

#[async_trait]
impl AdminChecker for JwtChecker {
    async fn identify(&self, parts: &Parts) -> Result<Caller, BoxError> {
        let mut headers = parts.headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (headers.next(), headers.next()) else {
            return Ok(Caller::Anonymous);
        };
        let Some(token) = super::carried::bearer_of(value) else {
            return Ok(Caller::Anonymous);
        };
        match self.claims(token) {
            Ok(claims) => Ok((self.identify)(&claims)),
            // Without the time nobody can be told from anybody (rule R13).
            Err(error) if error.is::<crate::clock::ClockError>() => Err(error),
            Err(problem) => {
                tracing::debug!(
                    target: "tower_impersonation",
                    error = &*problem, "a bearer token identifies nobody"
                );
                Ok(Caller::Anonymous)
            }
        }
    }

    async fn authorize(
        &self,
        actor: &Actor,
        subject: &Subject,
        parts: &Parts,
    ) -> Result<Decision, BoxError> {
        Ok((self.authorize)(actor, subject, parts))
    }

    async fn actor(&self, id: &UserId) -> Result<Option<Actor>, BoxError> {
        Ok((self.actor)(id))
    }
}

impl fmt::Debug for JwtChecker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtChecker")
            .field("issuer", &self.issuer)
            .field("audience", &self.audience)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}
