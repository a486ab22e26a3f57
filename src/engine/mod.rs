//! What runs the rules: one step of a request's or a session's way in each file.
//!
//! [`Engine`] holds the parts, each of which is built and tested alone.
//!
//! | file | does |
//! | --- | --- |
//! | `admit` | takes an acted request from its marker to its handler, or refuses it |
//! | `ask` | asks host code who calls, and whether they may |
//! | `sessions` | finds the session of a request, and tells whether it is idle |
//! | `start`, `change`, `end` | the life of a session |
//! | `sweep` | ends overdue sessions, and writes the event of an end that has none |
//! | `unmarked` | handles requests that have lost their marker |
//! | `refusal` | records every refusal, and keeps its reason from the caller |
//! | `list`, `people`, `trail` | what an admin may see |
//! | `tokens`, `credentials`, `notify` | what a session hands out, and whom it tells |

mod admit;
mod ask;
mod change;
mod credentials;
mod end;
mod list;
mod notify;
mod people;
mod refusal;
mod sessions;
mod start;
mod sweep;
mod trail;
mod unmarked;

// Feature `jwt` is this one line and its stand-in.
#[cfg_attr(not(feature = "jwt"), path = "no_tokens.rs")]
mod tokens;

use std::sync::Arc;

use http::{HeaderMap, Uri, request::Parts};
use time::OffsetDateTime;

pub(crate) use self::{
    admit::Admitted,
    ask::{Freshness, SignedInAs},
    refusal::Refusal,
    sessions::{SessionSettings, Sessions},
    tokens::{Carried, TokenSettings, Tokens},
    trail::Reading,
    unmarked::{Concern, Step, Watch},
};
pub use self::{
    change::ChangeRequest,
    end::Stopped,
    people::People,
    start::{SessionWithUser, StartRequest},
};
use crate::{
    audit::{Trail, TrailReader},
    host::Host,
    policy::Routes,
    rejection::{Answers, Rejection, RejectionKind},
    request::{Client, Fault, Marker, Sources},
    words::{BoxError, Subject},
};

/// One application's impersonation, running.
pub(crate) struct Engine {
    // What a request says.
    pub(crate) sources: Sources,
    pub(crate) routes: Routes,
    pub(crate) client: Client,
    pub(crate) watch: Option<Watch>,
    /// Where the host logs people out, without a slash at its end.
    pub(crate) log_out: Option<Box<str>>,
    // What is asked, kept, written and answered.
    pub(crate) host: Host,
    pub(crate) sessions: Sessions,
    pub(crate) tokens: Tokens,
    pub(crate) trail: Trail,
    pub(crate) reader: Option<Arc<dyn TrailReader>>,
    pub(crate) answers: Answers,
}

/// What in a request asks to act.
pub(crate) enum Ask {
    /// A marker, which grants nothing by itself.
    Marker(Marker),
    /// A token, possibly beside a marker.
    Token(Carried, Option<Marker>),
}

/// The token of a request to a path on which nothing is acted.
#[derive(Clone)]
#[cfg_attr(
    not(feature = "jwt"),
    expect(dead_code, reason = "there are no tokens")
)]
struct Kept(Arc<Carried>);

impl Ask {
    /// Whether browsers send it without being asked.
    pub(crate) fn is_cookie(&self) -> bool {
        matches!(self, Self::Token(carried, _) if carried.is_cookie())
    }
}

impl Engine {
    /// What makes the request one to act (rules [R1](crate::rules#r1) to [R3](crate::rules#r3)).
    pub(crate) fn find(&self, uri: &Uri, headers: &HeaderMap) -> Result<Option<Ask>, Fault> {
        let marker = self.sources.find(uri, headers)?;
        if let Some(carried) = self.tokens.find(headers)? {
            return Ok(Some(Ask::Token(carried, marker)));
        }
        Ok(marker.map(Ask::Marker))
    }

    /// For a path on which nothing is acted: takes every marker and token out, and lets the token still say whose
    /// session it is, to those who end it there (rule [S5](crate::rules#s5)).
    pub(crate) fn strip_excluded(&self, parts: &mut Parts, ask: Ask) {
        self.strip(parts);
        if let Ask::Token(carried, _) = ask {
            parts.extensions.insert(Kept(Arc::new(carried)));
        }
    }

    /// Takes every marker and token out (rule [R9](crate::rules#r9)).
    pub(crate) fn strip(&self, parts: &mut Parts) {
        self.sources.strip(parts);
        self.tokens.strip(&mut parts.headers);
    }

    pub(crate) fn now(&self) -> Result<OffsetDateTime, Refusal> {
        Ok(self.host.calls.now()?)
    }

    /// Calls something that may fail, hang or panic, with a time-out. Create its future inside `answer`: it may
    /// panic before there is a future.
    async fn ask<T: Send>(
        &self,
        what: &'static str,
        answer: impl Future<Output = Result<T, BoxError>> + Send,
    ) -> Result<T, Refusal> {
        Ok(self.host.calls.ask(what, answer).await?)
    }

    /// Records a refusal and gives the caller's part of it.
    pub(crate) fn refused(
        &self,
        parts: &Parts,
        subject: Option<&Subject>,
        refusal: Refusal,
    ) -> Rejection {
        self.note(parts, subject, &refusal);
        refusal.rejection
    }

    /// Refuses a request whose marker cannot be read (rule [R3](crate::rules#r3)).
    pub(crate) fn malformed(&self, parts: &Parts, fault: Fault) -> Rejection {
        let refusal = Refusal::of(RejectionKind::MalformedMarker, fault.to_string());
        self.refused(parts, None, refusal)
    }
}

/// The result of a task; one that panicked or was cancelled with its runtime is a refusal (rule
/// [R13](crate::rules#r13)).
fn join<T>(
    what: &'static str,
    joined: Result<Result<T, Refusal>, tokio::task::JoinError>,
) -> Result<T, Refusal> {
    joined.unwrap_or_else(|error| {
        let why = format!("{what}: {error}");
        Err(Refusal::of(RejectionKind::Unavailable, why))
    })
}

#[cfg(test)]
mod tests;
