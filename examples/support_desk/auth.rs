//! Who is signed in: a cookie for people, a bearer token for scripts, and for an acting token nobody. There are no passwords here, so that
//! everyone can be tried; everything else is as in earnest.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Json,
    extract::{FromRequestParts, OriginalUri, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{AUTHORIZATION, COOKIE, SET_COOKIE, WWW_AUTHENTICATE},
    request::Parts,
};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    Desk,
    api::{ApiError, Fields, wants_page},
    pages,
    shop::{Closed, Shop, User},
};

const COOKIE_NAME: &str = "desk_session";
/// What the demonstration's bearer tokens start with; the user's id follows.
const TOKEN_PREFIX: &str = "demo-";

/// By whom a request is made, as the shop's handlers see it. Absent: nobody is signed in.
#[derive(Debug, Clone)]
pub(crate) enum CurrentUser {
    Person(User),
    /// Someone who has not signed in, named as such.
    Visitor,
    /// The shop's own background jobs.
    Service,
}

/// The sign-ins: the cookie's value, and whose it is. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct SignIns(Arc<Mutex<HashMap<String, String>>>);

/// What a request says about who sent it.
enum Credentials {
    None,
    User(User),
    /// There are some, and they are wrong: that is not the same as none.
    Wrong,
}

/// The person signed in; refused with 401 where there is none.
pub(crate) struct SignedIn(pub(crate) User);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    user: String,
    next: Option<String>,
}

// === the layer ===

/// Puts the [`CurrentUser`] into the extensions. Outside of the impersonation layer.
pub(crate) async fn sign_in(
    State(desk): State<Desk>,
    mut request: Request,
    next: Next,
) -> Response {
    if is_acting_token(&desk, request.headers()) {
        return next.run(request).await;
    }
    let credentials = desk.sign_ins.read(&desk.shop, request.headers()).await;
    match credentials {
        Err(closed) => return ApiError::from(closed).into_response(),
        Ok(credentials) => match credentials {
            Credentials::None => {}
            Credentials::User(user) => {
                request.extensions_mut().insert(CurrentUser::Person(user));
            }
            Credentials::Wrong => {
                let challenge = [(WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
                let error = ApiError::new(StatusCode::UNAUTHORIZED, "Unauthorized");
                return (challenge, error).into_response();
            }
        },
    }
    next.run(request).await
}

/// Has people sign in before they see what is inside.
pub(crate) async fn ask_to_sign_in(_: SignedIn, request: Request, next: Next) -> Response {
    next.run(request).await
}

/// Whether the bearer token is an acting one. It says who acts, and as whom; the layer inside verifies it and takes it
/// out. So nobody is signed in beside it, whatever the cookie says.
fn is_acting_token(desk: &Desk, headers: &HeaderMap) -> bool {
    let tokens = desk.impersonation.tokens();
    let token = headers.get(AUTHORIZATION).and_then(bearer_of);
    tokens
        .zip(token)
        .is_some_and(|(tokens, token)| tokens.is_ours(token))
}

fn bearer_of(authorization: &HeaderValue) -> Option<&str> {
    let authorization = std::str::from_utf8(authorization.as_bytes()).ok()?;
    let (scheme, token) = authorization.trim_start().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

// === signing in and out ===

pub(crate) async fn login(
    State(desk): State<Desk>,
    headers: HeaderMap,
    fields: Fields<Login>,
) -> Result<Response, ApiError> {
    let Some(user) = desk.shop.user_by_login(&fields.value.user).await? else {
        if fields.is_form {
            let page = pages::sign_in_again(&desk.shop, fields.value.next.as_deref()).await?;
            return Ok((StatusCode::UNAUTHORIZED, page).into_response());
        }
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Unknown user"));
    };
    // Whoever was signed in with this browser is not any more.
    if let Some(before) = desk.sign_ins.remove(&headers)
        && before != user.id
    {
        end_sessions(&desk, &before).await?;
    }
    let cookie = desk.sign_ins.add(&user.id);
    let cookie = HeaderValue::try_from(cookie).map_err(|_| ApiError::internal())?;
    let next = fields.value.next.as_deref().filter(|next| is_ours(next));
    let answer = if fields.is_form {
        let home = if user.role.is_staff() { "/admin" } else { "/" };
        Redirect::to(next.unwrap_or(home)).into_response()
    } else {
        let login =
            serde_json::json!({"id": user.id, "login": user.email, "role": user.role.as_str()});
        Json(login).into_response()
    };
    Ok(([(SET_COOKIE, cookie)], answer).into_response())
}

pub(crate) async fn logout(
    State(desk): State<Desk>,
    user: Option<Extension<CurrentUser>>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    desk.sign_ins.remove(&headers);
    if let Some(Extension(CurrentUser::Person(user))) = user {
        end_sessions(&desk, &user.id).await?;
    }
    let gone = format!("{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    let gone = HeaderValue::try_from(gone).map_err(|_| ApiError::internal())?;
    Ok(([(SET_COOKIE, gone)], Redirect::to("/")).into_response())
}

/// What an admin has started ends when they sign out (rule S4).
async fn end_sessions(desk: &Desk, user: &str) -> Result<(), ApiError> {
    let id = user.parse().map_err(|_| ApiError::internal())?;
    let ended = desk.impersonation.log_out(&id).await;
    ended.map(drop).map_err(|rejection| {
        ApiError::new(rejection.kind().status(), rejection.detail().to_owned())
    })
}

/// A path on this host, made of nothing that any browser could read otherwise.
pub(crate) fn is_ours(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~?=&".contains(&byte);
    path.starts_with('/') && !path.starts_with("//") && path.bytes().all(plain)
}

// === impl SignIns ===

impl SignIns {
    /// Signs a user in; the cookie to set.
    fn add(&self, user: &str) -> String {
        // Two of them: 244 bits from the operating system.
        let value = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        // On plain http there is no `Secure`; behind TLS add it, and `__Host-` before the name.
        let cookie = format!("{COOKIE_NAME}={value}; Path=/; HttpOnly; SameSite=Lax");
        self.lock().insert(value, user.to_owned());
        cookie
    }

    /// Whose sign-in it was.
    fn remove(&self, headers: &HeaderMap) -> Option<String> {
        self.lock().remove(cookie(headers)?)
    }

    async fn read(&self, shop: &Shop, headers: &HeaderMap) -> Result<Credentials, Closed> {
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let token = bearer_of(authorization);
            let id = token.and_then(|token| token.strip_prefix(TOKEN_PREFIX));
            let Some(id) = id else {
                return Ok(Credentials::Wrong);
            };
            let user = shop.user_if_known(id).await?;
            return Ok(user.map_or(Credentials::Wrong, Credentials::User));
        }
        // A cookie from before a restart is no credential: the person is just not signed in.
        let id = cookie(headers).and_then(|value| self.lock().get(value).cloned());
        let Some(id) = id else {
            return Ok(Credentials::None);
        };
        let user = shop.user_if_known(&id).await?;
        Ok(user.map_or(Credentials::None, Credentials::User))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let values = headers.get_all(COOKIE).iter();
    // Pair by pair: a byte that is no text in another cookie must not hide ours.
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs
        .filter_map(|pair| std::str::from_utf8(pair).ok()?.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))
}

// === impl SignedIn ===

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match parts.extensions.get() {
            Some(CurrentUser::Person(user)) => Ok(Self(user.clone())),
            _ if wants_page(&parts.headers) => {
                // Of a router that is nested: the path as it came.
                let original = parts.extensions.get::<OriginalUri>();
                let uri = original.map_or(&parts.uri, |original| &original.0);
                Err(pages::to_sign_in(uri.path()))
            }
            _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "Sign in first").into_response()),
        }
    }
}

impl CurrentUser {
    pub(crate) fn person(&self) -> Option<&User> {
        match self {
            Self::Person(user) => Some(user),
            Self::Visitor | Self::Service => None,
        }
    }

    pub(crate) fn role(&self) -> &'static str {
        match self {
            Self::Person(user) => user.role.as_str(),
            Self::Visitor => "anonymous",
            Self::Service => "service",
        }
    }
}
