//! The shop's pages, from the templates beside. They work without JavaScript, and with it are quicker to use.

use askama::Template;
use axum::{
    Extension,
    body::Bytes,
    extract::{Path, Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    request::Parts,
};
use serde::Deserialize;
use time::OffsetDateTime;
use tower_impersonation::{Rejection, RejectionKind};

use crate::{
    api::{ApiError, Fields, NewOrder, take_order, wants_page},
    auth::{CurrentUser, SignedIn, is_ours},
    dates,
    shop::{GOODS, Good, Order, Role, Shop, User},
};

/// Nothing but what the shop serves itself, and nothing inline.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

#[derive(Template)]
#[template(path = "orders.html", config = "examples/support_desk/askama.toml")]
struct OrdersPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    heading: &'static str,
    whose: String,
    /// Someone's own orders, to which they may add.
    is_person: bool,
    q: &'a str,
    orders: &'a [Order],
    goods: &'static [Good],
}

#[derive(Template)]
#[template(path = "order.html", config = "examples/support_desk/askama.toml")]
struct OrderPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    order: &'a Order,
    is_own: bool,
}

#[derive(Template)]
#[template(path = "shop.html", config = "examples/support_desk/askama.toml")]
struct ShopPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    /// Looked at as the anonymous visitor: signing in would be as oneself.
    is_visitor: bool,
    goods: &'static [Good],
}

#[derive(Template)]
#[template(path = "password.html", config = "examples/support_desk/askama.toml")]
struct PasswordPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    changed_at: Option<OffsetDateTime>,
}

#[derive(Template)]
#[template(path = "sign_in.html", config = "examples/support_desk/askama.toml")]
struct SignInPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    problem: Option<&'a str>,
    next: Option<&'a str>,
    people: Vec<User>,
}

/// What went wrong, and the ways out.
#[derive(Template, Default)]
#[template(path = "problem.html", config = "examples/support_desk/askama.toml")]
struct ProblemPage<'a> {
    at: &'static str,
    user: Option<&'a User>,
    heading: &'a str,
    sentence: &'a str,
    /// What a link to this very page says, where it helps to ask for it again.
    again: Option<&'static str>,
    /// Where a session is ended.
    end: Option<String>,
    /// Where the support desk is, for those who may go there.
    desk: Option<&'static str>,
}

#[derive(Deserialize)]
pub(crate) struct SignInQuery {
    next: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct OrdersQuery {
    #[serde(default)]
    q: String,
}

// === the pages ===

/// One's orders; for those who are no user what there is to buy, for the shop's own jobs everybody's orders.
pub(crate) async fn home(
    State(shop): State<Shop>,
    user: Option<Extension<CurrentUser>>,
    Query(query): Query<OrdersQuery>,
) -> Result<Html<String>, ApiError> {
    let q = query.q.trim();
    match user {
        Some(Extension(CurrentUser::Person(user))) => page(&OrdersPage {
            at: "/",
            user: Some(&user),
            heading: "Your orders",
            whose: format!("{} · {}", user.name, user.email),
            is_person: true,
            q,
            orders: &shop.orders(Some(&user.id), q).await?,
            goods: GOODS,
        }),
        Some(Extension(CurrentUser::Service)) => page(&OrdersPage {
            at: "/",
            user: None,
            heading: "All orders",
            whose: "The service role".to_owned(),
            is_person: false,
            q,
            orders: &shop.orders(None, q).await?,
            goods: GOODS,
        }),
        other => window(other),
    }
}

pub(crate) async fn goods(user: Option<Extension<CurrentUser>>) -> Result<Html<String>, ApiError> {
    window(user)
}

fn window(user: Option<Extension<CurrentUser>>) -> Result<Html<String>, ApiError> {
    let user = user.map(|Extension(user)| user);
    page(&ShopPage {
        at: "/shop",
        user: user.as_ref().and_then(CurrentUser::person),
        is_visitor: matches!(user, Some(CurrentUser::Visitor)),
        goods: GOODS,
    })
}

pub(crate) async fn one_order(
    State(shop): State<Shop>,
    user: Option<Extension<CurrentUser>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let of = match &user {
        Some(Extension(CurrentUser::Person(user))) => Some(Some(&*user.id)),
        Some(Extension(CurrentUser::Service)) => Some(None),
        Some(Extension(CurrentUser::Visitor)) | None => None,
    };
    let found = match (of, id.parse()) {
        (Some(of), Ok(id)) => shop.order_of(of, id).await?,
        _ => None,
    };
    let Some(order) = found else {
        // Someone else's is not there either.
        return Ok(not_found(user, headers).await);
    };
    let user = user.as_ref().and_then(|Extension(user)| user.person());
    let page = page(&OrderPage {
        at: "",
        user,
        is_own: user.is_some(),
        order: &order,
    })?;
    Ok(page.into_response())
}

/// The forms that order something.
pub(crate) async fn order(
    State(shop): State<Shop>,
    SignedIn(user): SignedIn,
    fields: Fields<NewOrder>,
) -> Result<Redirect, ApiError> {
    take_order(&shop, &user, &fields.value).await?;
    Ok(Redirect::to("/"))
}

pub(crate) async fn sign_in(
    State(shop): State<Shop>,
    Query(query): Query<SignInQuery>,
) -> Result<Html<String>, ApiError> {
    sign_in_page(&shop, query.next.as_deref(), None).await
}

pub(crate) async fn sign_in_again(
    shop: &Shop,
    next: Option<&str>,
) -> Result<Html<String>, ApiError> {
    let problem = "There is no such user. Pick one of these, or type an e-mail address.";
    sign_in_page(shop, next, Some(problem)).await
}

async fn sign_in_page(
    shop: &Shop,
    next: Option<&str>,
    problem: Option<&str>,
) -> Result<Html<String>, ApiError> {
    let mut people = shop.users().await?;
    people.retain(|user| user.role != Role::System);
    page(&SignInPage {
        at: "/login",
        user: None,
        problem,
        next: next.filter(|next| is_ours(next)),
        people,
    })
}

/// Where someone goes who has to sign in for `path`.
pub(crate) fn to_sign_in(path: &str) -> Response {
    let to = if is_ours(path) {
        format!("/login?next={path}")
    } else {
        "/login".to_owned()
    };
    Redirect::to(&to).into_response()
}

pub(crate) async fn password(SignedIn(user): SignedIn) -> Result<Html<String>, ApiError> {
    page(&PasswordPage {
        at: "/account/password",
        user: Some(&user),
        changed_at: user.password_changed_at,
    })
}

pub(crate) async fn change_password(
    State(shop): State<Shop>,
    SignedIn(user): SignedIn,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    shop.change_password(&user.id)
        .await?
        .ok_or_else(ApiError::internal)?;
    Ok(if wants_page(&headers) {
        Redirect::to("/account/password").into_response()
    } else {
        StatusCode::NO_CONTENT.into_response()
    })
}

pub(crate) async fn stylesheet() -> impl IntoResponse {
    asset("text/css; charset=utf-8", include_str!("desk.css"))
}

pub(crate) async fn script() -> impl IntoResponse {
    asset("text/javascript; charset=utf-8", include_str!("desk.js"))
}

fn asset(content_type: &'static str, text: &'static str) -> impl IntoResponse {
    (
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")],
        text,
    )
}

// === what goes wrong ===

pub(crate) async fn not_found(
    user: Option<Extension<CurrentUser>>,
    headers: HeaderMap,
) -> Response {
    if !wants_page(&headers) {
        return ApiError::new(StatusCode::NOT_FOUND, "Not found").into_response();
    }
    let page = page(&ProblemPage {
        user: user.as_ref().and_then(|Extension(user)| user.person()),
        heading: "Nothing here",
        sentence: "This page does not exist.",
        ..ProblemPage::default()
    });
    (StatusCode::NOT_FOUND, page).into_response()
}

/// A refusal of the impersonation layer, in the shop's own clothes.
pub(crate) fn refusal(
    rejection: &Rejection,
    parts: &Parts,
    control_path: &str,
) -> http::Response<Bytes> {
    use RejectionKind as Kind;

    let mut response = rejection.response(&parts.method, &parts.headers);
    let content_type = response.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/html")) {
        return response;
    }
    let kind = rejection.kind();
    let has_session = matches!(
        kind,
        Kind::ReadOnly | Kind::Protected | Kind::AlreadyActive | Kind::NoSession
    );
    let may_be_staff = !matches!(kind, Kind::NotAdmin | Kind::Unauthenticated);
    let page = ProblemPage {
        at: "",
        // The subject has not taken the caller's place here: this is who is really there.
        user: parts.extensions.get().and_then(CurrentUser::person),
        heading: match kind {
            Kind::ReadOnly => "Read-only",
            Kind::Protected => "Off limits",
            Kind::NoSession | Kind::SessionEnded => "Not impersonating",
            Kind::AlreadyActive => "One at a time",
            Kind::TooManyStarts => "Too many starts",
            Kind::InvalidRequest => "Something is missing",
            _ => "Refused",
        },
        sentence: rejection.detail(),
        // An empty address is this very page, marker and all, read instead of written. Without a marker in it it would
        // be one's own page.
        again: match kind {
            Kind::ReadOnly if is_marked(parts) => Some("Back to the page"),
            Kind::CrossSite if parts.method.is_safe() => Some("Continue acting as this user"),
            _ => None,
        },
        end: has_session.then(|| format!("{control_path}/end")),
        desk: may_be_staff.then_some("/admin"),
    };
    // Without a page of ours the crate's own is there, which says the same.
    if let Ok(page) = page.render() {
        *response.body_mut() = Bytes::from(page);
        let policy = HeaderValue::from_static(POLICY);
        response
            .headers_mut()
            .insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Whether the address itself says whom it acts as, and not only the page that the request came from.
fn is_marked(parts: &Parts) -> bool {
    let query = parts.uri.query().unwrap_or_default();
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "as")
}

// === what goes around them ===

/// What every answer of the shop carries.
pub(crate) async fn guarded(mut response: Response) -> Response {
    const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "same-origin"),
        (NOSNIFF, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Pages differ by who is signed in.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

fn page(template: &impl Template) -> Result<Html<String>, ApiError> {
    template.render().map(Html).map_err(|error| {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "a page does not render"
        );
        ApiError::internal()
    })
}
