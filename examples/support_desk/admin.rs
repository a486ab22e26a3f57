//! The support desk: people to act as, and live sessions.

use std::fmt::Write as _;

use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{StatusCode, request::Parts};
use tower_impersonation::{
    Subject,
    session::{Page, Session, SessionFilter, SessionId},
};
use uuid::Uuid;

use crate::{
    Desk,
    api::ApiError,
    auth::SignedIn,
    html::{Text, hour, time_left},
    impersonation::{marked, why_not},
    pages::{Frame, problem, refusal},
    shop::{Role, User},
};

pub(crate) async fn page(
    State(desk): State<Desk>,
    SignedIn(user): SignedIn,
    parts: Parts,
) -> Response {
    if !user.role.is_staff() {
        let page = problem(
            Some(&user),
            "Staff only",
            "The support desk is for the shop’s staff.",
            "",
        );
        return (StatusCode::FORBIDDEN, page).into_response();
    }
    let mut live = SessionFilter::default();
    live.is_active = Some(true);
    let sessions = match desk.impersonation.list(&parts, live, Page::default()).await {
        Ok(list) => list.sessions,
        Err(rejection) => return refusal(&rejection, &parts, &desk.control_path).map(Body::from),
    };
    let users = match desk.shop.users().await {
        Ok(users) => users,
        Err(closed) => return ApiError::from(closed).into_response(),
    };
    let mut content = String::from("<h1>Support desk</h1>\n");
    content.push_str("<section aria-labelledby=\"live\"><h2 id=\"live\">Live sessions</h2>\n");
    if sessions.is_empty() {
        content.push_str("<p class=\"empty\">Nobody is acting as anyone.</p>");
    } else {
        content.push_str("<ul class=\"sessions\">");
        for session in &sessions {
            push_session(&mut content, session, &user, &users);
        }
        content.push_str("</ul>");
    }
    content.push_str("</section>\n");
    push_people(&mut content, &user, &users, &desk.control_path);
    // Writing into a String cannot fail.
    let _ = write!(
        content,
        r#"<p class="hint">For scripts: <a href="{control}/openapi.json">the calls of this desk, as OpenAPI</a>.</p>"#,
        control = Text(&*desk.control_path),
    );
    let frame = Frame {
        title: "Support desk",
        user: Some(&user),
        banner: None,
    };
    frame.around(&content).into_response()
}

/// Ends a session: one's own, or with the right to it someone else's.
pub(crate) async fn end(State(desk): State<Desk>, Path(id): Path<Uuid>, parts: Parts) -> Response {
    match desk.impersonation.revoke(&parts, SessionId(id)).await {
        Ok(_) => Redirect::to("/admin").into_response(),
        Err(rejection) => refusal(&rejection, &parts, &desk.control_path).map(Body::from),
    }
}

// === live sessions ===

fn push_session(content: &mut String, session: &Session, viewer: &User, users: &[User]) {
    let is_own = session.actor.as_str() == viewer.id;
    let open = if is_own {
        format!(
            r#"<a class="button primary" href="{}">Open</a>"#,
            Text(marked("/", &session.subject))
        )
    } else {
        String::new()
    };
    let end = if is_own || viewer.role == Role::Superadmin {
        format!(
            r#"<form method="post" action="/admin/sessions/{}/end"><button>End</button></form>"#,
            session.id
        )
    } else {
        String::new()
    };
    let ticket = match &session.ticket {
        Some(ticket) => format!(" · {}", Text(ticket)),
        None => String::new(),
    };
    // Writing into a String cannot fail.
    let _ = write!(
        content,
        r#"<li class="card session"><div class="grow"><p class="pair"><b>{actor}</b> acts as <b>{subject}</b></p>
<p class="reason">“{reason}”{ticket}</p>
<p class="meta">{access} · since {since} · {left} left</p></div>
<div class="ways">{open}{end}</div></li>"#,
        actor = Text(name_of(users, session.actor.as_str())),
        subject = Text(subject_name(users, &session.subject)),
        reason = Text(&session.reason),
        access = session.access.as_str().replace('_', "-"),
        since = hour(session.started_at),
        left = time_left(session.expires_at),
    );
}

fn subject_name(users: &[User], subject: &Subject) -> String {
    match subject {
        Subject::User(id) => name_of(users, id.as_str()),
        Subject::Anonymous => "an anonymous visitor".to_owned(),
        Subject::Service => "the service role".to_owned(),
        other => other.to_string(),
    }
}

fn name_of(users: &[User], id: &str) -> String {
    let user = users.iter().find(|user| user.id == id);
    user.map_or(id, |user| &user.name).to_owned()
}

// === people ===

fn push_people(content: &mut String, viewer: &User, users: &[User], control_path: &str) {
    content.push_str(
        "<section aria-labelledby=\"people\"><h2 id=\"people\">People</h2>\n<ul class=\"people\">",
    );
    for user in users {
        if user.role.rank() >= viewer.role.rank() {
            continue;
        }
        push_person(content, user, viewer, control_path);
    }
    content.push_str("</ul></section>\n<section aria-labelledby=\"others\"><h2 id=\"others\">Without a name</h2>\n<ul class=\"people\">");
    let anonymous = (
        "anon",
        "Anonymous visitor",
        "What someone sees who has not signed in.",
    );
    let service = ("service", "Service role", "What the shop’s own jobs see.");
    let others = [
        Some(anonymous),
        (viewer.role == Role::Superadmin).then_some(service),
    ];
    for (kind, name, about) in others.into_iter().flatten() {
        let action = format!("{control_path}/{kind}");
        let form = start_form(&action, "", name, kind, viewer);
        let _ = write!(
            content,
            r#"<li class="card"><p class="who"><span class="name">{name}</span> <span class="meta">{about}</span></p>{form}</li>"#
        );
    }
    content.push_str("</ul></section>");
}

fn push_person(content: &mut String, user: &User, viewer: &User, control_path: &str) {
    let form = match why_not(user) {
        Some(reason) => format!(r#"<p class="closed">{}</p>"#, Text(sentence(reason))),
        None => {
            let target = format!(
                r#"<input type="hidden" name="target_user_id" value="{}">"#,
                Text(&user.id)
            );
            let action = format!("{control_path}/start");
            start_form(&action, &target, &user.name, &user.id, viewer)
        }
    };
    let _ = write!(
        content,
        r#"<li class="card"><p class="who"><span class="name">{name}</span> <span class="meta">{email} · {role}</span></p>{form}</li>"#,
        name = Text(&user.name),
        email = Text(&user.email),
        role = user.role.as_str(),
    );
}

/// The control API takes forms and leads to the subject's page, so this needs no script.
fn start_form(action: &str, target: &str, name: &str, key: &str, viewer: &User) -> String {
    let write = if viewer.role == Role::Support {
        ""
    } else {
        r#"<label class="choice"><input type="radio" name="access" value="read_write"> Read and write</label>"#
    };
    format!(
        r#"<details><summary>Act as<span class="hidden"> {name}</span></summary>
<form method="post" action="{action}" class="stack">{target}
<label for="reason-{key}">Reason</label>
<input id="reason-{key}" name="reason" required maxlength="500" autocomplete="off" placeholder="Ticket 4711: cannot see the invoice">
<fieldset><legend>Access</legend>
<label class="choice"><input type="radio" name="access" value="read_only" checked> Read-only</label>{write}</fieldset>
<button class="primary">Start</button>
</form></details>"#,
        action = Text(action),
        name = Text(name),
        key = Text(key),
    )
}

fn sentence(reason: &str) -> String {
    let mut letters = reason.chars();
    match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    }
}
