//! One visit of one page: who came, where the console is, and what its links lead to.

use std::{collections::HashMap, sync::Arc};

use axum::{
    body::{Body, to_bytes},
    extract::{OriginalUri, Request},
    response::Response,
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header::LOCATION};
use tower_impersonation::{
    ActingAs, Admin, DirectoryUser, Impersonation, Rejection, SignedIn, Subject, UserId,
    session::Session,
};

use super::{
    fields::Fields,
    view::{Person, encode},
};
use crate::control::{Call, MAX_BODY};

/// The most active sessions of one admin that a page shows.
pub(super) const MOST_ACTIVE: usize = 100;

/// One request for one page.
pub(super) struct Visit {
    pub(super) impersonation: Impersonation,
    pub(super) call: Call,
    /// The path that the console is mounted at, without a slash at its end.
    pub(super) base: String,
}

/// The users that a page names, as the directory knows them.
#[derive(Default)]
pub(super) struct Names(HashMap<UserId, DirectoryUser>);

// === impl Visit ===

impl Visit {
    pub(super) fn of(impersonation: Impersonation, request: Request) -> (Self, Body) {
        let base = match impersonation.places().console() {
            Some(path) => path.to_owned(),
            None => {
                let original = request.extensions().get::<OriginalUri>();
                let original = original.map_or("", |OriginalUri(uri)| uri.path());
                mounted_at(original, request.uri().path())
            }
        };
        let (call, body) = Call::of(request);
        let visit = Self {
            impersonation,
            call,
            base,
        };
        (visit, body)
    }

    /// A page of the console.
    pub(super) fn link(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// The admin who looks.
    pub(super) async fn admin(&self) -> Result<Admin<'_>, Rejection> {
        self.impersonation.admin(&self.call.parts).await
    }

    /// Whoever looks, who may have been an admin only when the session started (rule
    /// [S5](tower_impersonation::rules#s5)).
    pub(super) async fn signed_in(&self) -> Result<SignedIn<'_>, Rejection> {
        let parts = &self.call.parts;
        if parts.extensions.get::<ActingAs>().is_some() {
            // No page of the console is for an acted request: this refuses it (rule R16).
            self.admin().await?;
        }
        let signed_in = self.impersonation.signed_in(parts).await;
        match signed_in {
            Ok(signed_in) => Ok(signed_in),
            Err(rejection) => {
                let (kind, reason) = (rejection.kind(), rejection.reason().to_owned());
                Err(self.impersonation.refuse(parts, None, kind, reason).await)
            }
        }
    }

    /// The active sessions of `admin`; none where no sessions are kept.
    pub(super) async fn active_of(
        &self,
        admin: &Admin<'_>,
    ) -> Result<Vec<Arc<Session>>, Rejection> {
        match self.impersonation.has_sessions() {
            true => admin.active(MOST_ACTIVE).await,
            false => Ok(Vec::new()),
        }
    }

    /// The users that a page names.
    pub(super) async fn names<'i>(&self, ids: impl IntoIterator<Item = &'i UserId>) -> Names {
        Names(self.impersonation.names(ids).await)
    }

    /// Whom the page is about. In the query: an id may be anything, and `/` or `..` in a path would not arrive.
    pub(super) fn subject_in_query(&self) -> Result<Subject, Rejection> {
        let query = Fields::of_query(&self.call.parts.uri);
        let subject = query.get("subject").parse();
        subject.map_err(|problem| Rejection::invalid(format!("`subject`: {problem}")))
    }

    pub(super) async fn body(&self, body: Body) -> Result<Bytes, Rejection> {
        let body = to_bytes(body, MAX_BODY).await;
        body.map_err(|_| {
            Rejection::invalid(format!("the body must not be longer than {MAX_BODY} bytes"))
        })
    }

    /// Where a session's pages begin.
    pub(super) fn open(&self, subject: &Subject) -> String {
        let start = self.impersonation.places().after_start();
        self.impersonation.marked(start, subject)
    }

    pub(super) fn see_other(&self, to: &str) -> Response {
        let location = HeaderValue::try_from(to);
        let location = location.unwrap_or_else(|_| HeaderValue::from_static("/"));
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SEE_OTHER;
        response.headers_mut().insert(LOCATION, location);
        response
    }

    pub(super) fn start_link(&self, subject: &Subject) -> String {
        self.link(&format!(
            "/start?{}",
            encode([("subject", subject.as_str())])
        ))
    }
}

/// The path in front of what `nest` has left over.
fn mounted_at(original: &str, left: &str) -> String {
    let base = match original.strip_suffix(left) {
        Some(base) => base,
        // `/admin` was called, and `/` is what is left.
        None if left == "/" => original,
        None => "",
    };
    match base.trim_matches(['/', '\\']) {
        "" => String::new(),
        // Never `//`, which is another host; for browsers `/\` is the same.
        base => format!("/{base}"),
    }
}

// === impl Names ===

impl Names {
    pub(super) fn knowing(user: Option<DirectoryUser>) -> Self {
        Self(
            user.into_iter()
                .map(|user| (user.id().clone(), user))
                .collect(),
        )
    }

    pub(super) fn user(&self, id: &UserId) -> Person {
        Person::user(id, self.0.get(id))
    }

    pub(super) fn subject(&self, subject: &Subject) -> Person {
        match subject.user_id() {
            Some(id) => self.user(id),
            None => Person::nobody(subject),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::mounted_at;

    #[test]
    fn the_console_finds_out_where_it_is_mounted() {
        let tests = [
            ("/admin/impersonation", "/", "/admin/impersonation"),
            ("/admin/impersonation/", "/", "/admin/impersonation"),
            (
                "/admin/impersonation/sessions",
                "/sessions",
                "/admin/impersonation",
            ),
            ("/a%2Fb/sessions/1", "/sessions/1", "/a%2Fb"),
            ("/sessions", "/sessions", ""),
            ("/", "/", ""),
            ("//evil.example/", "/", "/evil.example"),
            ("//evil.example/sessions", "/sessions", "/evil.example"),
            // For a browser the same.
            (r"/\evil.example/sessions", "/sessions", "/evil.example"),
            (r"/\/evil.example/", "/", "/evil.example"),
            ("", "/sessions", ""),
        ];
        for (original, left, base) in tests {
            assert_eq!(mounted_at(original, left), base, "{original} {left}");
        }
    }
}
