//! The calls for scripts, and what they have in common.

use std::{borrow::Cow, convert::Infallible};

use axum::{
    Extension, Form, Json,
    extract::{FromRequest, Path, Request, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::stream::{self, Stream};
use http::{
    HeaderMap, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::sync::broadcast::error::RecvError;
use tower_http::csrf::ProtectionError;
use tower_impersonation::{Access, ActingAs, Subject, UserId, session::SessionId};
use tower_impersonation_sqlx::RoleError;

use crate::{
    Desk,
    auth::{CurrentUser, SignedIn},
    shop::{Closed, MAX_ITEM, NotOrdered, Order, Role, Shop, User},
};

/// A refusal of the shop's own: `{"error": …}`.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    error: Cow<'static, str>,
}

/// A body, as JSON or as a form.
pub(crate) struct Fields<T> {
    pub(crate) value: T,
    pub(crate) is_form: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewOrder {
    pub(crate) item: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewRole {
    role: String,
}

/// Whom the shop takes the caller for, and who is really there.
#[derive(Serialize)]
pub(crate) struct Me {
    /// Null for those who are no users: the anonymous visitor, the service role.
    id: Option<String>,
    login: Option<String>,
    role: &'static str,
    acting_as: Option<Acted>,
}

#[derive(Serialize)]
struct Acted {
    actor: UserId,
    subject: Subject,
    access: Access,
    session_id: Option<SessionId>,
    expires_at: Option<String>,
}

impl Acted {
    fn of(acting_as: &ActingAs) -> Self {
        Self {
            actor: acting_as.actor().id().clone(),
            subject: acting_as.subject().clone(),
            access: acting_as.access(),
            session_id: acting_as.session().map(|session| session.id),
            expires_at: acting_as.expires_at().and_then(stamp),
        }
    }
}

// === the calls ===

pub(crate) async fn me(
    user: Option<Extension<CurrentUser>>,
    acting_as: Option<ActingAs>,
) -> Result<Json<Me>, ApiError> {
    let Some(Extension(user)) = user else {
        return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Sign in first"));
    };
    let person = user.person();
    Ok(Json(Me {
        id: person.map(|person| person.id.clone()),
        login: person.map(|person| person.email.clone()),
        role: user.role(),
        acting_as: acting_as.as_ref().map(Acted::of),
    }))
}

pub(crate) async fn orders(
    State(shop): State<Shop>,
    user: Option<Extension<CurrentUser>>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let orders = match user {
        Some(Extension(CurrentUser::Person(user))) => shop.orders(Some(&user.id), "").await?,
        Some(Extension(CurrentUser::Service)) => shop.orders(None, "").await?,
        Some(Extension(CurrentUser::Visitor)) | None => {
            return Err(ApiError::new(StatusCode::UNAUTHORIZED, "Sign in first"));
        }
    };
    Ok(Json(orders.iter().map(order_view).collect()))
}

pub(crate) async fn order(
    State(shop): State<Shop>,
    SignedIn(user): SignedIn,
    fields: Fields<NewOrder>,
) -> Result<(StatusCode, Json<Value>), ApiError> {
    let order = take_order(&shop, &user, &fields.value).await?;
    Ok((StatusCode::CREATED, Json(order_view(&order))))
}

/// The user's new orders as they are placed, as server-sent events.
pub(crate) async fn live_orders(
    State(shop): State<Shop>,
    SignedIn(user): SignedIn,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let placed = stream::unfold((shop.placed(), user), |(mut placed, user)| async {
        loop {
            match placed.recv().await {
                Ok(order) if order.user == user.id => {
                    let event = Event::default().event("placed").id(order.id.to_string());
                    let event = event.data(order_view(&order).to_string());
                    return Some((Ok(event), (placed, user)));
                }
                // Of someone else; or some were missed, and the next one makes up for them.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    Sse::new(placed).keep_alive(KeepAlive::default())
}

pub(crate) async fn take_order(
    shop: &Shop,
    user: &User,
    order: &NewOrder,
) -> Result<Order, ApiError> {
    let taken = shop.order(&user.id, &order.item).await;
    taken.map_err(|problem| match problem {
        NotOrdered::BadItem => {
            ApiError::bad(format!("`item` must have 1 to {MAX_ITEM} characters"))
        }
        NotOrdered::Closed(closed) => closed.into(),
    })
}

/// For demonstrations: what becomes of a session when a role changes under it. `UPDATE` in the table of roles does the same.
pub(crate) async fn change_role(
    State(desk): State<Desk>,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
    fields: Fields<NewRole>,
) -> Result<Json<Value>, ApiError> {
    root_only(&desk.shop, &caller).await?;
    let role = Role::given(&fields.value.role).ok_or_else(|| {
        ApiError::bad("`role` must be superadmin, admin, support or customer".to_owned())
    })?;
    let user = desk.shop.user(&id).await?.ok_or_else(no_such_user)?;
    // The next acted request finds out by itself (rule R8), and the watch that `main` keeps ends the sessions.
    let (id, by) = (user_id(&user)?, user_id(&caller)?);
    match role.as_str().parse() {
        Ok(role) => desk.roles.grant(&id, role, &by).await?,
        Err(_) => drop(desk.roles.revoke(&id, &by).await?),
    }
    let user = desk.shop.user(&user.id).await?;
    Ok(Json(user_view(&user.ok_or_else(no_such_user)?)))
}

/// For demonstrations: what becomes of a session when its subject is gone.
pub(crate) async fn delete_user(
    State(desk): State<Desk>,
    SignedIn(caller): SignedIn,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    root_only(&desk.shop, &caller).await?;
    let user = desk.shop.delete_user(&id).await?;
    let user = user.ok_or_else(no_such_user)?;
    let id = user_id(&user)?;
    desk.roles.revoke(&id, &user_id(&caller)?).await?;
    // Who no longer exists cannot sign in, so no request of theirs would ever end what they have started.
    let ended = desk.impersonation.demote(&id).await;
    ended.map_err(|rejection| {
        ApiError::new(rejection.kind().status(), rejection.detail().to_owned())
    })?;
    Ok(Json(user_view(&user)))
}

async fn root_only(shop: &Shop, caller: &User) -> Result<(), ApiError> {
    match shop.user(&caller.id).await?.map(|caller| caller.role) {
        Some(Role::Superadmin) => Ok(()),
        _ => Err(ApiError::new(StatusCode::FORBIDDEN, "For root only")),
    }
}

fn user_id(user: &User) -> Result<UserId, ApiError> {
    user.id.parse().map_err(|_| ApiError::internal())
}

fn no_such_user() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "No such user")
}

// === what the answers look like ===

fn order_view(order: &Order) -> Value {
    json!({
        "id": order.id.to_string(),
        "user": order.user,
        "item": order.item,
        "placed_at": stamp(order.placed_at),
    })
}

fn user_view(user: &User) -> Value {
    json!({"id": user.id, "login": user.email, "role": user.role.as_str()})
}

fn stamp(at: OffsetDateTime) -> Option<String> {
    at.format(&Rfc3339).ok()
}

// === what comes in ===

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Fields<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_form = is_form(request.headers());
        let value = if is_form {
            let form = Form::from_request(request, state).await;
            form.map(|Form(value)| value)
                .map_err(|problem| ApiError::bad(problem.body_text()))?
        } else {
            let json = Json::from_request(request, state).await;
            json.map(|Json(value)| value)
                .map_err(|problem| ApiError::bad(problem.body_text()))?
        };
        Ok(Self { value, is_form })
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(|it| it.as_bytes());
    content_type.is_some_and(|it| it.starts_with(b"application/x-www-form-urlencoded"))
}

/// A person with a browser, not a script.
pub(crate) fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT);
    let accept = accept.map(|accept| String::from_utf8_lossy(accept.as_bytes()));
    accept.is_some_and(|accept| accept.contains("text/html"))
}

// === impl ApiError ===

impl ApiError {
    pub(crate) fn new(status: StatusCode, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            status,
            error: error.into(),
        }
    }

    fn bad(error: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// Something that cannot be, and must not be taken for a success.
    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.error}))).into_response()
    }
}

impl From<RoleError> for ApiError {
    fn from(error: RoleError) -> Self {
        match error {
            RoleError::Database(error) => Closed::from(error).into(),
            // Whoever called was a superadmin a moment ago.
            _ => Self::new(StatusCode::FORBIDDEN, "For root only"),
        }
    }
}

impl From<Closed> for ApiError {
    fn from(closed: Closed) -> Self {
        tracing::error!(
            error = &closed as &dyn std::error::Error,
            "the shop cannot answer"
        );
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The shop is closed for a moment",
        )
    }
}

pub(crate) fn cross_site(_: ProtectionError) -> Response {
    ApiError::new(StatusCode::FORBIDDEN, "This came from another site").into_response()
}
