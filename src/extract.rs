//! For axum (feature `axum`): extractors and a guard for handlers.
//!
//! - [`ActingAs`] extracts itself, from acted requests only; `Option<ActingAs>` from all.
//! - [`Effective`] answers the two questions of every handler: whose data is this, and who is accountable?
//! - [`NotActing`] keeps acted requests away from a handler (rule [R11](crate::rules#r11)).
//!
//! ```
//! use axum::{Router, routing::{get, post}};
//! use tower_impersonation::{ActingAs, UserId, extract::{Effective, NotActing, Principal}};
//!
//! /// What the login middleware leaves in the extensions, and `Builder::assume` replaces.
//! #[derive(Clone)]
//! struct CurrentUser { id: UserId }
//!
//! impl Principal for CurrentUser {
//!     fn user_id(&self) -> UserId { self.id.clone() }
//! }
//!
//! async fn orders(me: Effective<CurrentUser>) -> String {
//!     format!("orders of {}, asked for by {}", me.user().id, me.accountable())
//! }
//!
//! async fn banner(acting_as: Option<ActingAs>) -> String {
//!     acting_as.map_or_else(String::new, |it| format!("You act as {}", it.subject()))
//! }
//!
//! async fn change_password(_: NotActing) -> &'static str {
//!     "done"
//! }
//!
//! let app = Router::new()
//!     .route("/orders", get(orders))
//!     .route("/banner", get(banner))
//!     .route("/password", post(change_password));
//! # let _: Router = app;
//! ```
//!
//! # Around the router, or in it
//!
//! `Router::layer(impersonation.layer())` is the short way. It costs about a thousand instructions and three
//! allocations per request, as every layer there does. Around the router the layer costs none of that, and
//! authentication written as an axum middleware goes around it unchanged:
//!
//! ```no_run
//! use std::net::SocketAddr;
//! use axum::{Router, ServiceExt, extract::Request, middleware::{Next, from_fn}, response::Response};
//! use tower::Layer;
//!
//! async fn sign_in(request: Request, next: Next) -> Response {
//!     // ... put the user into the extensions ...
//!     next.run(request).await
//! }
//!
//! # async fn run(
//! #     impersonation: tower_impersonation::Impersonation,
//! #     router: Router,
//! #     listener: tokio::net::TcpListener,
//! # ) -> std::io::Result<()> {
//! let app = impersonation.layer().layer(router);
//! let app = from_fn(sign_in).layer(app);
//! let app = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
//! axum::serve(listener, app).await
//! # }
//! ```

use std::{any::type_name, convert::Infallible, marker::PhantomData};

use axum::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, request::Parts};

use crate::{
    rejection::Rejection,
    tower::protected,
    words::{ActingAs, UserId},
};

/// Your own type for the user of a request.
///
/// ```
/// use tower_impersonation::{UserId, extract::Principal};
///
/// #[derive(Clone)]
/// struct CurrentUser { id: i64 }
///
/// impl Principal for CurrentUser {
///     fn user_id(&self) -> UserId { self.id.into() }
/// }
/// ```
pub trait Principal: Clone + Send + Sync + 'static {
    /// The user's id.
    fn user_id(&self) -> UserId;
}

/// The user whose data a request is about, and the person accountable for it.
///
/// `U` is the type that the host's authentication puts into the extensions and
/// [`Builder::assume`](crate::Builder::assume) replaces on acted requests. Without one in the extensions the
/// extraction fails; `Option<Effective<U>>` is for pages that visitors see as well.
///
/// ```
/// # use tower_impersonation::{UserId, extract::{Effective, Principal}};
/// # #[derive(Clone)]
/// # struct CurrentUser { id: UserId }
/// # impl Principal for CurrentUser { fn user_id(&self) -> UserId { self.id.clone() } }
/// async fn add_note(me: Effective<CurrentUser>) -> String {
///     format!("a note on {}, written by {}", me.user().id, me.accountable())
/// }
/// # let _: axum::Router = axum::Router::new().route("/notes", axum::routing::post(add_note));
/// ```
#[derive(Debug, Clone)]
pub struct Effective<U> {
    user: U,
    acting_as: Option<ActingAs>,
}

/// Extracts from requests that are not acted, and refuses acted ones with 403 `protected` (rule
/// [R11](crate::rules#r11)).
///
/// ```
/// use tower_impersonation::extract::NotActing;
///
/// async fn show_recovery_codes(_: NotActing) -> &'static str {
///     "for the account's owner alone"
/// }
/// # let _: axum::Router = axum::Router::new().route("/codes", axum::routing::get(show_recovery_codes));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct NotActing;

/// A handler asked for [`ActingAs`] on a request that is not acted.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error(
    "the request is not acted: extract `Option<ActingAs>` where it need not be, and put \
     `ImpersonationLayer` around this route where it should"
)]
pub struct MissingActingAs;

/// A handler asked for an [`Effective`] user where there is none.
#[derive(Debug, thiserror::Error)]
#[error(
    "no `{}` in the request's extensions: is the authentication layer outside of this route, and does \
     `Builder::assume` put one there for acted requests? Extract `Option<Effective<_>>` for visitors",
    type_name::<U>()
)]
pub struct MissingUser<U>(PhantomData<fn() -> U>);

// === impl ActingAs ===

impl<S: Sync> FromRequestParts<S> for ActingAs {
    type Rejection = MissingActingAs;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        parts.extensions.get().cloned().ok_or(MissingActingAs)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for ActingAs {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

// === impl Effective ===

impl<U: Principal> Effective<U> {
    /// The user whose data this is: the subject of an acted request, else the caller.
    #[must_use]
    pub fn user(&self) -> &U {
        &self.user
    }

    /// The person accountable: the actor of an acted request, else the caller. For your own records of who did what.
    #[must_use]
    pub fn accountable(&self) -> UserId {
        match &self.acting_as {
            Some(acting_as) => acting_as.actor().id().clone(),
            None => self.user.user_id(),
        }
    }

    /// Set when the two are not the same.
    #[must_use]
    pub fn acting_as(&self) -> Option<&ActingAs> {
        self.acting_as.as_ref()
    }

    fn of(parts: &Parts) -> Option<Self> {
        Some(Self {
            user: parts.extensions.get::<U>()?.clone(),
            acting_as: parts.extensions.get().cloned(),
        })
    }
}

impl<S: Sync, U: Principal> FromRequestParts<S> for Effective<U> {
    type Rejection = MissingUser<U>;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Self::of(parts).ok_or(MissingUser(PhantomData))
    }
}

impl<S: Sync, U: Principal> OptionalFromRequestParts<S> for Effective<U> {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(Self::of(parts))
    }
}

// === impl NotActing ===

impl<S: Sync> FromRequestParts<S> for NotActing {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        match parts.extensions.get::<ActingAs>() {
            None => Ok(Self),
            Some(_) => {
                let rejection = protected();
                let response = rejection.response(&parts.method, &parts.headers);
                Err(rejection.seal(response).map(Into::into))
            }
        }
    }
}

// === impl rejections ===

impl IntoResponse for MissingActingAs {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

impl<U> IntoResponse for MissingUser<U> {
    fn into_response(self) -> Response {
        (StatusCode::INTERNAL_SERVER_ERROR, self.to_string()).into_response()
    }
}

/// The JSON form: where the request's headers are at hand, [`Rejection::response`] answers in the form that
/// the client asked for.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let response = self.response(&Method::GET, &HeaderMap::new());
        self.seal(response).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::{Router, body::Body, routing::get};
    use http::Request;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        clock::SystemClock,
        words::{Access, Actor, Rank},
    };

    #[derive(Debug, Clone)]
    struct User(UserId);

    impl Principal for User {
        fn user_id(&self) -> UserId {
            self.0.clone()
        }
    }

    fn acted(user: &str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(User(user.parse().unwrap()));
        request.extensions_mut().insert(ActingAs::by_request(
            Actor::new("ada".parse().unwrap(), Rank(20)),
            user.parse().unwrap(),
            None,
            Access::ReadOnly,
            None,
            Arc::new(SystemClock),
        ));
        request
    }

    fn own(user: &str) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(User(user.parse().unwrap()));
        request
    }

    async fn ask(app: &Router, request: Request<Body>) -> (StatusCode, String) {
        let response = app.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 10_000).await;
        (status, String::from_utf8(body.unwrap().to_vec()).unwrap())
    }

    #[tokio::test]
    async fn acting_as_extracts_itself_and_its_rejection_names_the_fix() {
        let app = Router::new().route(
            "/",
            get(|acting_as: ActingAs| async move { acting_as.subject().to_string() }),
        );
        assert_eq!(
            ask(&app, acted("ines")).await,
            (StatusCode::OK, "ines".into())
        );
        let (status, text) = ask(&app, own("ines")).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(text.contains("`ImpersonationLayer`"), "{text}");
        assert!(text.contains("`Option<ActingAs>`"), "{text}");
    }

    #[tokio::test]
    async fn optional_acting_as_is_none_on_other_requests() {
        let app = Router::new().route(
            "/",
            get(|acting_as: Option<ActingAs>| async move { acting_as.is_some().to_string() }),
        );
        assert_eq!(ask(&app, acted("ines")).await.1, "true");
        assert_eq!(ask(&app, own("ines")).await.1, "false");
    }

    #[tokio::test]
    async fn effective_tells_whose_data_it_is_and_who_is_accountable() {
        let app =
            Router::new().route(
                "/",
                get(|me: Effective<User>| async move {
                    format!("{} by {}", me.user().0, me.accountable())
                }),
            );
        assert_eq!(ask(&app, acted("ines")).await.1, "ines by ada");
        assert_eq!(ask(&app, own("ines")).await.1, "ines by ines");
        let (status, text) = ask(&app, Request::new(Body::empty())).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(
            text.contains("User") && text.contains("`Builder::assume`"),
            "{text}"
        );
    }

    /// `Router::layer` runs inside of axum's own router, which has kept the URI by then.
    #[tokio::test]
    async fn r9_the_uri_that_axum_keeps_has_no_marker_either() {
        let checker = crate::checker_fn(
            |_| crate::Caller::Admin(Actor::new("ada".parse().unwrap(), Rank(20))),
            |_, _, _| crate::Decision::Allow(crate::Grant::read_only()),
        );
        let impersonation =
            crate::Impersonation::builder(checker, crate::audit::MemorySink::default())
                .exclude("/admin")
                .handlers_read_acting_as()
                .build()
                .unwrap();
        let see = get(|axum::extract::OriginalUri(uri): _| async move { uri.to_string() });
        let app = Router::new()
            .nest("/shop", Router::new().route("/orders", see.clone()))
            .route("/admin", see)
            .layer(impersonation.layer());
        for (uri, seen) in [
            ("/shop/orders?as=ines&page=2", "/shop/orders?page=2"),
            ("/admin?as=ines", "/admin"),
        ] {
            let request = Request::get(uri).body(Body::empty()).unwrap();
            assert_eq!(ask(&app, request).await, (StatusCode::OK, seen.into()));
        }
    }

    #[tokio::test]
    async fn r11_not_acting_guards_a_handler() {
        let app = Router::new().route("/", get(|_: NotActing| async { "changed" }));
        assert_eq!(ask(&app, own("ines")).await.1, "changed");
        let (status, text) = ask(&app, acted("ines")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(text.contains("\"protected\""), "{text}");
    }
}
