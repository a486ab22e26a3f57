//! From a token to [`ActingAs`]: the same checks as for a marker, and one more: it must be the token's own session.
//! Without feature `jwt`, `no_tokens.rs` is compiled in place of this file.
//!
//! 1. The token is verified: signature, claims, purpose.
//! 2. The actor is found: by their own login on the request, which must then be theirs, or by the id in the token.
//! 3. Everything that a marker has to pass follows, with the access of the token as an upper bound.
//! 4. The session that is found must be the one that the token names.
//!
//! A refresh does the same and then spends the old token. Whatever ends a token is a 401.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, request::Parts};
use time::OffsetDateTime;

use super::{
    Engine, Kept, Refusal, SignedInAs,
    admit::{Admitted, may_be_acted},
};
use crate::{
    host::{Caller, Credentials},
    policy::Route,
    rejection::{Rejection, RejectionKind},
    request::{Fault, Marker, Sources},
    token::{BadToken, CarriedBy, Claims, IssuedTokens, Purpose, Signer, VerifiedToken},
    words::{
        Access, ActingAs, Actor, Call, ConfigError, EndedReason, Session, Subject, clock::Clock,
    },
};

pub(crate) use crate::token::Carried;

/// How tokens are signed and verified here, if they are.
#[derive(Default)]
pub(crate) struct Tokens(pub(crate) Option<Arc<Signer>>);

/// Tokens as a host has set them.
pub(crate) type TokenSettings = Option<crate::token::Tokens>;

// === impl Tokens ===

impl Tokens {
    /// Tries the settings.
    pub(crate) fn build(
        settings: TokenSettings,
        sources: &Sources,
        has_sessions: bool,
        clock: &dyn Clock,
    ) -> Result<Self, ConfigError> {
        let Some(settings) = settings else {
            return Ok(Self(None));
        };
        if !has_sessions {
            let problem = "need `sessions`, which they live and die with";
            return Err(ConfigError::invalid("tokens", problem));
        }
        let now = clock
            .now()
            .map_err(|error| ConfigError::invalid("clock", error.to_string()))?;
        let signer = settings.build(now)?;
        if let Some(name) = signer.headers().iter().find(|name| sources.is_marker(name)) {
            let problem = format!("have the header `{name}`, which is the marker's, see `header`");
            return Err(ConfigError::invalid("tokens", problem));
        }
        Ok(Self(Some(Arc::new(signer))))
    }

    /// The request's token, if it carries one of ours (rules [R2](crate::rules#r2), [R3](crate::rules#r3)).
    pub(crate) fn find(&self, headers: &HeaderMap) -> Result<Option<Carried>, Fault> {
        match &self.0 {
            Some(signer) => signer.carried(headers),
            None => Ok(None),
        }
    }

    /// Takes our tokens out, all of them (rule [R9](crate::rules#r9)).
    pub(crate) fn strip(&self, headers: &mut HeaderMap) {
        if let Some(signer) = &self.0 {
            signer.strip(headers);
        }
    }

    /// Whether the cookie is there and cannot be read, so that it would be refused for as long as the browser has it.
    pub(crate) fn is_cookie_at_fault(&self, headers: &HeaderMap) -> bool {
        let signer = self.0.as_ref();
        signer.is_some_and(|signer| signer.is_cookie_at_fault(headers))
    }

    /// `Set-Cookie` that takes the cookie away; `None` where cookies are off.
    pub(crate) fn cleared_cookie(&self) -> Option<HeaderValue> {
        self.0.as_ref()?.cleared_cookie()
    }

    fn required(&self) -> Result<&Arc<Signer>, Refusal> {
        self.0.as_ref().ok_or_else(|| {
            let reason = "no tokens are set; see `Builder::tokens`";
            Refusal::of(RejectionKind::Unavailable, reason)
        })
    }
}

// === impl Engine ===

impl Engine {
    /// Admits a request that carries a token, or says why not.
    pub(crate) async fn admit_token(
        self: &Arc<Self>,
        parts: &mut Parts,
        carried: &Carried,
        marker: Option<Marker>,
        route: Route,
    ) -> Result<Admitted, Rejection> {
        let mut subject = marker.as_ref().map(|marker| marker.subject.clone());
        let admitted = self
            .try_admit_token(parts, carried, marker, route, &mut subject)
            .await;
        admitted.map_err(|refusal| self.refused(parts, subject.as_ref(), refusal))
    }

    async fn try_admit_token(
        self: &Arc<Self>,
        parts: &mut Parts,
        carried: &Carried,
        marker: Option<Marker>,
        route: Route,
        subject: &mut Option<Subject>,
    ) -> Result<Admitted, Refusal> {
        // A browser sends the cookie by itself, as it follows a link with a marker (rules R5, B11).
        let by_itself = carried.is_cookie() || marker.as_ref().is_some_and(|marker| marker.in_url);
        if let Err(refusal) = may_be_acted(parts, by_itself) {
            return Err(self.name_caller(parts, refusal).await);
        }
        let now = self.now()?;
        let signer = self.tokens.required()?;
        let claims = signer.verify(&carried.text, purpose_of(carried), now)?;
        if marker.is_some_and(|marker| marker.subject != claims.subject) {
            let fault = Fault::Disagree.to_string();
            return Err(Refusal::of(RejectionKind::MalformedMarker, fault).by(&claims.actor));
        }
        *subject = Some(claims.subject.clone());
        let admitted = async {
            let actor = match carried.by {
                CarriedBy::Bearer => self.actor_of_token(&claims, now).await?,
                CarriedBy::Header => self.actor_beside_token(parts, &claims, now).await?,
                CarriedBy::Cookie => self.actor_of_cookie(parts, &claims, now).await?,
            };
            // Raised after a token was made: whoever holds only the old one stays where they were. A cookie is the
            // browser's own, and there is one.
            let most = match carried.by {
                CarriedBy::Cookie => Access::ReadWrite,
                CarriedBy::Bearer | CarriedBy::Header => claims.access,
            };
            let acting_as = self.acting_by_token(parts, &actor, &claims, now).await?;
            let acting_as = acting_as.with_access_at_most(most);
            self.enter(parts, acting_as, route, now).await
        };
        admitted.await.map_err(|refusal| refusal.by(&claims.actor))
    }

    /// Who acts, where the token is all there is (rule [R8](crate::rules#r8)).
    async fn actor_of_token(
        self: &Arc<Self>,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        match self.host.actor(&claims.actor).await? {
            Some(actor) => Ok(actor),
            None => Err(self.demoted(claims, now).await),
        }
    }

    /// Who acts, where they also have their own login on the request: it has to be theirs.
    async fn actor_beside_token(
        self: &Arc<Self>,
        parts: &Parts,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        match self.caller(parts).await? {
            Caller::Admin(actor) if *actor.id() == claims.actor => Ok(actor),
            Caller::User(id) if id == claims.actor => Err(self.demoted(claims, now).await),
            _ => Err(invalid("the token is someone else's")),
        }
    }

    /// Who acts, where their own login may be on the request, but need not.
    async fn actor_of_cookie(
        self: &Arc<Self>,
        parts: &Parts,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Actor, Refusal> {
        match self.host.identify(parts).await? {
            Caller::Anonymous => self.actor_of_token(claims, now).await,
            Caller::Admin(actor) if *actor.id() == claims.actor => Ok(actor),
            Caller::User(id) if id == claims.actor => Err(self.demoted(claims, now).await),
            _ => Err(invalid("the cookie is someone else's")),
        }
    }

    /// Ends the session of an actor who is no admin any more.
    async fn demoted(self: &Arc<Self>, claims: &Claims, now: OffsetDateTime) -> Refusal {
        let sessions = match self.sessions.required() {
            Ok(sessions) => sessions,
            Err(refusal) => return refusal,
        };
        let open = self
            .session_of(sessions, &claims.actor, &claims.subject, now)
            .await;
        match open {
            Ok(Some(session)) if session.id == claims.session => {
                let why = "the actor is no admin";
                as_token(self.end_now(session, EndedReason::ActorDemoted, why).await)
            }
            Ok(_) => invalid("the token's session has ended"),
            Err(refusal) => refusal,
        }
    }

    /// A refresh token is good once. If one comes twice, two parties have it, so its session ends.
    async fn spend(self: &Arc<Self>, claims: &Claims) -> Result<(), Refusal> {
        let sessions = self.sessions.required()?;
        let spent = async { sessions.spend(claims.session, claims.id).await };
        if self.ask("session store", spent).await? {
            return Ok(());
        }
        let reason = EndedReason::SessionRevoked;
        self.end(claims.session, reason, Call::default()).await?;
        Err(invalid("the refresh token has been used before").within(Some(claims.session)))
    }

    /// Everything that a marker has to pass, and the token's own session.
    async fn acting_by_token(
        self: &Arc<Self>,
        parts: &Parts,
        actor: &Actor,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<ActingAs, Refusal> {
        let sessions = self.sessions.required()?;
        let open = self
            .session_of(sessions, actor.id(), &claims.subject, now)
            .await?;
        // Before anything is ended because of it: an old token says nothing about a newer session.
        if open.is_none_or(|session| session.id != claims.session) {
            return Err(invalid("the token's session has ended"));
        }
        let marker = Marker {
            subject: claims.subject.clone(),
            in_url: false,
            reason: None,
        };
        let acting_as = self
            .acting_as(parts, actor, marker, now)
            .await
            .map_err(as_token)?;
        if acting_as
            .session()
            .is_none_or(|session| session.id != claims.session)
        {
            return Err(invalid("the token's session has ended"));
        }
        Ok(acting_as)
    }

    /// Whose session the token of a request is, on a path on which nothing is acted.
    ///
    /// A token whose session has ended identifies nobody. A store that fails does not keep its holder from stopping
    /// the session.
    pub(super) async fn signed_in_by_token(
        &self,
        parts: &Parts,
    ) -> Result<Option<SignedInAs>, Refusal> {
        let Some(Kept(carried)) = parts.extensions.get() else {
            return Ok(None);
        };
        let now = self.now()?;
        let signer = self.tokens.required()?;
        let claims = signer.verify(&carried.text, purpose_of(carried), now)?;
        if let Ok(found) = self.get(claims.session).await
            && found.is_none_or(|session| !session.is_active(now))
        {
            return Err(invalid("the token's session has ended"));
        }
        Ok(Some(SignedInAs {
            id: claims.actor.clone(),
            actor: None,
            only: Some(claims.session),
        }))
    }

    /// What is handed out with a session; nothing where no tokens are set.
    pub(super) fn issue_tokens(&self, session: &Session) -> Result<Credentials, Refusal> {
        if self.tokens.0.is_none() {
            return Ok(Credentials::default());
        }
        self.sign_tokens(session).map(Credentials::from)
    }

    /// `Set-Cookie` for a session; `None` where cookies are off.
    pub(crate) fn session_cookie(&self, session: &Session) -> Result<Option<HeaderValue>, Refusal> {
        let Some(signer) = &self.tokens.0 else {
            return Ok(None);
        };
        let now = self.now()?;
        let cookie = signer.session_cookie(session, self.trail.next_id(now), now);
        cookie.map_err(|problem| cannot_sign(&problem))
    }

    /// New tokens for a refresh token whose session lives.
    pub(super) async fn refresh_tokens(
        self: &Arc<Self>,
        parts: &Parts,
        token: &str,
        subject: &mut Option<Subject>,
    ) -> Result<Credentials, Refusal> {
        if self.tokens.0.is_none() {
            return Err(Refusal::of(RejectionKind::NotFound, "no tokens are set"));
        }
        let refreshed = self.exchange(parts, token, subject).await?;
        Ok(refreshed.into())
    }

    pub(crate) fn sign_tokens(&self, session: &Session) -> Result<IssuedTokens, Refusal> {
        let signer = self.tokens.required()?;
        let now = self.now()?;
        let sign = |purpose| {
            let signed = signer.sign(purpose, session, self.trail.next_id(now), now);
            signed.map_err(|problem| cannot_sign(&problem.to_string()))
        };
        Ok(IssuedTokens {
            access_token: sign(Purpose::Access)?,
            refresh_token: sign(Purpose::Refresh)?,
            expires_in: signer.life_of(Purpose::Access, session, now),
        })
    }

    pub(crate) async fn verify_token(
        self: &Arc<Self>,
        token: &str,
    ) -> Result<VerifiedToken, Refusal> {
        let now = self.now()?;
        let claims = self
            .tokens
            .required()?
            .verify(token, Purpose::Access, now)?;
        let session = self.session_of_token(&claims, now).await?;
        self.actor_of_token(&claims, now).await?;
        Ok(VerifiedToken {
            actor: claims.actor.clone(),
            subject: claims.subject.clone(),
            role: claims.role.clone(),
            session: claims.session,
            access: claims.access.min(session.access),
        })
    }

    async fn session_of_token(
        self: &Arc<Self>,
        claims: &Claims,
        now: OffsetDateTime,
    ) -> Result<Arc<Session>, Refusal> {
        let sessions = self.sessions.required()?;
        let before = self.sessions.lives.before();
        let open = self
            .session_of(sessions, &claims.actor, &claims.subject, now)
            .await?;
        let session = open
            .filter(|session| session.id == claims.session)
            .ok_or_else(|| invalid("the token's session has ended"))?;
        let live = self.live_session(sessions, &session, before).await;
        let live = live.map_err(as_token)?;
        self.not_idle(sessions, session, &live, now)
            .await
            .map_err(as_token)
    }

    pub(crate) async fn exchange(
        self: &Arc<Self>,
        parts: &Parts,
        token: &str,
        subject: &mut Option<Subject>,
    ) -> Result<IssuedTokens, Refusal> {
        let now = self.now()?;
        let claims = self
            .tokens
            .required()?
            .verify(token, Purpose::Refresh, now)?;
        *subject = Some(claims.subject.clone());
        let refreshed = async {
            let actor = self.actor_of_token(&claims, now).await?;
            // What the session may do now, whatever it was then: a raise was granted to the same actor.
            let acting_as = self.acting_by_token(parts, &actor, &claims, now).await?;
            let session = acting_as
                .session()
                .ok_or_else(|| invalid("there is no session"))?;
            self.spend(&claims).await?;
            self.sign_tokens(session)
        };
        refreshed.await.map_err(|refusal| refusal.by(&claims.actor))
    }
}

fn purpose_of(carried: &Carried) -> Purpose {
    match carried.by {
        CarriedBy::Bearer | CarriedBy::Header => Purpose::Access,
        CarriedBy::Cookie => Purpose::Cookie,
    }
}

/// A token that is no good.
fn invalid(reason: &'static str) -> Refusal {
    Refusal::of(RejectionKind::InvalidToken, reason)
}

/// What ends a token is 401, whatever it would be for a marker; the rule stays what it was.
fn as_token(refusal: Refusal) -> Refusal {
    match refusal.rejection.kind() {
        RejectionKind::NoSession
        | RejectionKind::SessionEnded
        | RejectionKind::Denied
        | RejectionKind::NotAdmin => {
            let reason = refusal.rejection.reason().to_owned();
            Refusal {
                rejection: Rejection::new(RejectionKind::InvalidToken, reason),
                ..refusal
            }
        }
        _ => refusal,
    }
}

fn cannot_sign(problem: &str) -> Refusal {
    Refusal::of(RejectionKind::Unavailable, format!("signing: {problem}"))
}

impl From<BadToken> for Refusal {
    fn from(bad: BadToken) -> Self {
        Self::of(RejectionKind::InvalidToken, bad.to_string())
    }
}

impl From<IssuedTokens> for Credentials {
    fn from(issued: IssuedTokens) -> Self {
        Self {
            access_token: Some(issued.access_token),
            refresh_token: Some(issued.refresh_token),
            expires_in: Some(issued.expires_in),
            cookies: Vec::new(),
        }
    }
}
