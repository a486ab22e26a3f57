//! The shop's pages. They work without JavaScript and under a policy that allows nothing but one stylesheet.

use std::fmt::Write as _;

use axum::{
    Extension,
    body::Bytes,
    extract::{Query, State},
    response::{Html, IntoResponse, Redirect, Response},
};
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY},
    request::Parts,
};
use serde::Deserialize;
use tower_impersonation::{Access, ActingAs, Rejection, RejectionKind, Subject};

use crate::{
    Desk,
    api::{ApiError, Fields, NewOrder, take_order, wants_page},
    auth::{CurrentUser, SignedIn, is_ours},
    html::{Text, day, hour, time_left},
    shop::{GOODS, Order, Role, Shop, User},
};

const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";

/// What every page has around its content.
#[derive(Default)]
pub(crate) struct Frame<'a> {
    pub(crate) title: &'a str,
    /// Whose page it is, where it is anyone's.
    pub(crate) user: Option<&'a User>,
    /// The banner, for acted requests.
    pub(crate) banner: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct SignInQuery {
    next: Option<String>,
}

// === the pages ===

pub(crate) async fn home(
    State(desk): State<Desk>,
    user: Option<Extension<CurrentUser>>,
    acting_as: Option<ActingAs>,
) -> Result<Html<String>, ApiError> {
    let banner = acting_as.map(|acting_as| banner(&acting_as, &desk.control_path));
    let (user, content) = match user {
        Some(Extension(CurrentUser::Person(user))) => {
            let content = own_orders(&user, &desk.shop.orders(Some(&user.id)).await?);
            (Some(user), content)
        }
        Some(Extension(CurrentUser::Service)) => (None, all_orders(&desk.shop.orders(None).await?)),
        Some(Extension(CurrentUser::Visitor)) | None => (None, shop_window()),
    };
    let frame = Frame {
        title: if user.is_some() {
            "Your orders"
        } else {
            "Tea things"
        },
        user: user.as_ref(),
        banner,
    };
    Ok(frame.around(&content))
}

/// The form on the page above. It has no `action`, so it goes to the page's own address, whatever that says.
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

/// Where someone goes who has to sign in for `path`.
pub(crate) fn to_sign_in(path: &str) -> Response {
    let to = if is_ours(path) {
        format!("/login?next={path}")
    } else {
        "/login".to_owned()
    };
    Redirect::to(&to).into_response()
}

pub(crate) async fn password(SignedIn(user): SignedIn) -> Html<String> {
    let last = match user.password_changed_at {
        Some(at) => format!("Last changed on {} at {}.", day(at), hour(at)),
        None => "Never changed so far.".to_owned(),
    };
    let content = format!(
        r#"<h1>Change your password</h1>
<p class="lead">{last}</p>
<form method="post" class="card stack narrow">
<label for="new">New password</label>
<input id="new" name="new" type="password" autocomplete="new-password" minlength="8" required aria-describedby="hint">
<p class="hint" id="hint">At least eight characters. This demonstration keeps none of them.</p>
<button class="primary">Change password</button>
</form>"#
    );
    let frame = Frame {
        title: "Change your password",
        user: Some(&user),
        banner: None,
    };
    frame.around(&content)
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
    let headers = [
        (CONTENT_TYPE, "text/css; charset=utf-8"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, include_str!("desk.css"))
}

pub(crate) async fn not_found(
    user: Option<Extension<CurrentUser>>,
    headers: HeaderMap,
) -> Response {
    if !wants_page(&headers) {
        return ApiError::new(StatusCode::NOT_FOUND, "Not found").into_response();
    }
    let user = user.as_ref().and_then(|Extension(user)| user.person());
    let page = problem(user, "Nothing here", "This page does not exist.", "");
    (StatusCode::NOT_FOUND, page).into_response()
}

/// A page that says what went wrong, and leads out.
pub(crate) fn problem(
    user: Option<&User>,
    title: &str,
    sentence: &str,
    more: &str,
) -> Html<String> {
    let frame = Frame {
        title,
        user,
        banner: None,
    };
    frame.around(&format!(
        r#"<h1>{}</h1>
<p class="lead">{}</p>
<div class="ways">{more}<a class="button" href="/">Your own page</a></div>"#,
        Text(title),
        Text(sentence),
    ))
}

/// A refusal of the impersonation layer, in the shop's own clothes.
pub(crate) fn refusal(
    rejection: &Rejection,
    parts: &Parts,
    control_path: &str,
) -> http::Response<Bytes> {
    let mut response = rejection.response(&parts.method, &parts.headers);
    let content_type = response.headers().get(CONTENT_TYPE);
    if !content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/html")) {
        return response;
    }
    let title = match rejection.kind() {
        RejectionKind::ReadOnly => "Read-only",
        RejectionKind::Protected => "Off limits",
        RejectionKind::NoSession | RejectionKind::SessionEnded => "Not impersonating",
        RejectionKind::AlreadyActive => "One at a time",
        RejectionKind::TooManyStarts => "Too many starts",
        RejectionKind::InvalidRequest => "Something is missing",
        _ => "Refused",
    };
    let mut more = String::new();
    match rejection.kind() {
        // An empty address is this very page, marker and all, read instead of written.
        RejectionKind::ReadOnly => {
            more.push_str(r#"<a class="button primary" href="">Back to the page</a>"#);
        }
        RejectionKind::CrossSite if parts.method.is_safe() => {
            more.push_str(r#"<a class="button" href="">Continue acting as this user</a>"#);
        }
        _ => {}
    }
    if matches!(
        rejection.kind(),
        RejectionKind::ReadOnly
            | RejectionKind::Protected
            | RejectionKind::AlreadyActive
            | RejectionKind::NoSession
    ) {
        more.push_str(&exit_form(control_path, "End impersonation"));
    }
    if !matches!(
        rejection.kind(),
        RejectionKind::NotAdmin | RejectionKind::Unauthenticated
    ) {
        more.push_str(r#"<a class="button" href="/admin">Support desk</a>"#);
    }
    // The subject has not taken the caller's place here: this is who is really there.
    let user = parts.extensions.get().and_then(CurrentUser::person);
    let page = problem(user, title, rejection.detail(), &more);
    *response.body_mut() = Bytes::from(page.0);
    let policy = HeaderValue::from_static(POLICY);
    response
        .headers_mut()
        .insert(CONTENT_SECURITY_POLICY, policy);
    response
}

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

// === their parts ===

impl Frame<'_> {
    pub(crate) fn around(&self, content: &str) -> Html<String> {
        let banner = self.banner.as_deref().unwrap_or_default();
        let nav = match self.user {
            None => r#"<a href="/login">Sign in</a>"#.to_owned(),
            Some(user) => {
                let desk = if user.role.is_staff() {
                    r#"<a href="/admin">Support desk</a>"#
                } else {
                    ""
                };
                format!(
                    r#"{desk}<a href="/account/password">Password</a>
<form method="post" action="/logout"><button class="quiet" title="Signed in as {0}">Sign out <span class="whose">{0}</span></button></form>"#,
                    Text(&user.name)
                )
            }
        };
        Html(format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} · Birch &amp; Kettle</title>
<link rel="stylesheet" href="/desk.css">
</head>
<body>
{banner}<header class="top"><a class="brand" href="/">Birch <i>&amp;</i> Kettle</a><nav aria-label="Account">{nav}</nav></header>
<main>
{content}
</main>
<footer>A demonstration of tower-impersonation. Nothing here is for sale.</footer>
</body>
</html>
"#,
            title = Text(self.title),
        ))
    }
}

/// Who acts as whom, how far and how long, with one step out.
fn banner(acting_as: &ActingAs, control_path: &str) -> String {
    let actor = acting_as.actor();
    let actor = actor.login().unwrap_or(actor.id().as_str());
    let access = match acting_as.access() {
        Access::ReadOnly => "read-only",
        _ => "read and write",
    };
    let left = match acting_as.expires_at() {
        Some(until) => format!("<div><dt>Time left</dt><dd>{}</dd></div>", time_left(until)),
        None => String::new(),
    };
    format!(
        r#"<aside class="banner" aria-label="Impersonation">
<p>Acting as {subject}</p>
<dl><div><dt>Really</dt><dd>{actor}</dd></div><div><dt>Access</dt><dd>{access}</dd></div>{left}</dl>
{exit}
</aside>
"#,
        subject = subject(acting_as),
        actor = Text(actor),
        exit = exit_form(control_path, "Exit"),
    )
}

fn subject(acting_as: &ActingAs) -> String {
    match (acting_as.subject(), acting_as.user()) {
        (Subject::User(id), Some(user)) => format!(
            "<strong>{}</strong> <span class=\"login\">{}</span>",
            Text(user.display_name().unwrap_or(id.as_str())),
            Text(user.login().unwrap_or(id.as_str())),
        ),
        (Subject::Anonymous, _) => "<strong>an anonymous visitor</strong>".to_owned(),
        (Subject::Service, _) => "<strong>the service role</strong>".to_owned(),
        (other, _) => format!("<strong>{}</strong>", Text(other)),
    }
}

pub(crate) fn exit_form(control_path: &str, label: &str) -> String {
    format!(
        r#"<form method="post" action="{}/end"><button class="primary">{}</button></form>"#,
        Text(control_path),
        Text(label),
    )
}

fn own_orders(user: &User, orders: &[Order]) -> String {
    let mut goods = String::new();
    for (name, _) in GOODS {
        let _ = write!(goods, "<option>{}</option>", Text(name));
    }
    let orders = if orders.is_empty() {
        r#"<p class="empty">No orders yet.</p>"#.to_owned()
    } else {
        order_list(orders, false)
    };
    format!(
        r#"<p class="eyebrow">{name} · {email}</p>
<h1>Your orders</h1>
{orders}
<section aria-labelledby="again">
<h2 id="again">Order something</h2>
<form method="post" class="card row">
<label class="grow">Item <select name="item">{goods}</select></label>
<button class="primary">Place order</button>
</form>
</section>"#,
        name = Text(&user.name),
        email = Text(&user.email),
    )
}

fn all_orders(orders: &[Order]) -> String {
    format!(
        "<p class=\"eyebrow\">The service role</p>\n<h1>All orders</h1>\n{}",
        order_list(orders, true)
    )
}

fn order_list(orders: &[Order], whose: bool) -> String {
    let mut list = String::from("<ul class=\"orders\">");
    for order in orders {
        let whose = if whose {
            format!(" · {}", Text(&order.user))
        } else {
            String::new()
        };
        let _ = write!(
            list,
            "<li><span class=\"item\">{item}</span> <span class=\"meta\">No.&nbsp;{id}{whose} · {at}</span></li>",
            item = Text(&order.item),
            id = order.id,
            at = day(order.placed_at),
        );
    }
    list.push_str("</ul>");
    list
}

fn shop_window() -> String {
    let mut goods = String::new();
    for (name, about) in GOODS {
        let _ = write!(
            goods,
            "<li><h2>{}</h2><p>{}</p></li>",
            Text(name),
            Text(about)
        );
    }
    format!(
        r#"<h1>Tea things,<br>made to last</h1>
<p class="lead">Five good things, and no sixth. Sign in to see what you have ordered.</p>
<p><a class="button primary" href="/login">Sign in</a></p>
<ul class="goods">{goods}</ul>"#
    )
}

async fn sign_in_page(
    shop: &Shop,
    next: Option<&str>,
    problem: Option<&str>,
) -> Result<Html<String>, ApiError> {
    let next = match next.filter(|next| is_ours(next)) {
        Some(next) => format!(
            r#"<input type="hidden" name="next" value="{}">"#,
            Text(next)
        ),
        None => String::new(),
    };
    let problem = match problem {
        Some(problem) => format!(r#"<p class="problem" role="alert">{}</p>"#, Text(problem)),
        None => String::new(),
    };
    let mut people = String::new();
    for user in shop.users().await? {
        if user.role == Role::System {
            continue;
        }
        let _ = write!(
            people,
            r#"<li><button name="user" value="{id}"><span class="name">{name}</span> <span class="meta">{role}{note}</span></button></li>"#,
            id = Text(&user.id),
            name = Text(&user.name),
            role = user.role.as_str(),
            note = if user.opted_out { ", opted out" } else { "" },
        );
    }
    let content = format!(
        r#"<h1>Sign in</h1>
<p class="lead">This is a demonstration: there are no passwords. Be whoever you like.</p>
{problem}
<form method="post" action="/login">{next}<ul class="people pick">{people}</ul></form>
<form method="post" action="/login" class="card row">{next}
<label class="grow">Or with an e-mail address <input name="user" autocomplete="username" inputmode="email" placeholder="ines@shop.example" required></label>
<button>Sign in</button>
</form>"#
    );
    let frame = Frame {
        title: "Sign in",
        ..Frame::default()
    };
    Ok(frame.around(&content))
}
