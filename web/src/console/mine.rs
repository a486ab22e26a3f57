//! One's own active sessions: open, change, stop.

use std::time::Duration;

use askama::Template;
use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use tower_impersonation::{
    Access, Admin, Impersonation, Rejection, RejectionKind, StartRequest, Subject,
    session::{Session, SessionId},
};

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    people::is_final,
    start::{Length, lengths},
    view::{Row, duration, encode},
    visit::{MOST_ACTIVE, Visit},
};
use crate::control::add_cookies;

#[derive(Template)]
#[template(path = "mine.html", config = "src/console/askama.toml")]
struct MinePage {
    frame: Frame,
    sessions: Vec<Mine>,
    /// The viewer is still an admin.
    is_admin: bool,
    keeps_sessions: bool,
    /// Where the script looks again; not on the page of a refusal, which has what was typed.
    refresh: Option<String>,
    max_reason: usize,
}

/// One of them, with what may be changed.
struct Mine {
    row: Row,
    open: String,
    change: String,
    /// `None`: nothing may be changed now.
    offer: Option<Offer>,
    typed: Fields,
    problem: Option<Problem>,
}

struct Offer {
    may_raise: bool,
    lengths: Vec<Length>,
    /// The longest that is granted from now on, where that is longer than what is left.
    longest: Option<Length>,
}

pub(super) async fn show(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.mine(None).await;
    visit.answer(answer.map(|shown| page(&shown)))
}

pub(super) async fn stop(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, body) = Visit::of(impersonation, request);
    let answer = visit.stop(body).await;
    visit.answer(answer)
}

pub(super) async fn change(
    State(impersonation): State<Impersonation>,
    request: Request,
) -> Response {
    let (visit, body) = Visit::of(impersonation, request);
    let answer = visit.change(body).await;
    visit.answer(answer)
}

impl Visit {
    async fn stop(&self, body: Body) -> Result<Response, Rejection> {
        let form = Fields::of(&self.body(body).await?);
        let signed_in = self.impersonation.signed_in(&self.call.parts).await?;
        // Without a name it is all of one's own. Neither takes a right (rule S5).
        let stopped = match form.get("session") {
            "" => signed_in.stop().await.map(drop),
            id => {
                let id = id.parse().unwrap_or_default();
                signed_in.stop_one(SessionId(id)).await.map(drop)
            }
        };
        let done = match stopped {
            Ok(()) => "stopped",
            // Stopping twice is no mistake.
            Err(rejection) if rejection.kind() == RejectionKind::NothingToEnd => "nothing",
            Err(rejection) => return Err(rejection),
        };
        let mut response = match signed_in.admin() {
            Some(_) => {
                self.see_other(&self.link(&format!("/session?{}", encode([("done", done)]))))
            }
            // Those who are no admins have no page here.
            None => self.see_other(self.impersonation.places().after_stop()),
        };
        add_cookies(&mut response, self.impersonation.cleared_cookies());
        Ok(response)
    }

    async fn change(&self, body: Body) -> Result<Response, Rejection> {
        let typed = self.body(body).await;
        let (subject, typed) = match (self.subject_in_query(), typed) {
            (Ok(subject), Ok(typed)) => (subject, typed),
            (Err(rejection), _) | (_, Err(rejection)) => {
                self.admin().await?;
                return Err(rejection);
            }
        };
        let body = Body::from(typed.clone());
        let altered = self
            .call
            .alter(&self.impersonation, body, Some(subject.clone()));
        match altered.await {
            Ok((_, cookies)) => {
                let mut response = self.see_other(&self.link("/session?done=changed"));
                add_cookies(&mut response, cookies);
                Ok(response)
            }
            Err(rejection) if is_final(&rejection) => Err(rejection),
            Err(rejection) => {
                let shown = self.mine(Some((subject, Fields::of(&typed), &rejection)));
                let shown = shown.await?;
                // Nothing to put the message to: it has ended meanwhile.
                if shown.sessions.iter().all(|mine| mine.problem.is_none()) {
                    return Err(rejection);
                }
                Ok(self.refuse(&shown, rejection))
            }
        }
    }

    /// The page; with what was typed into the form of one session, and what was wrong with it.
    async fn mine(
        &self,
        refused: Option<(Subject, Fields, &Rejection)>,
    ) -> Result<MinePage, Rejection> {
        let signed_in = self.signed_in().await?;
        let now = self.impersonation.now()?;
        let admin = signed_in.admin();
        let active = signed_in.active(MOST_ACTIVE).await?;
        if admin.is_none() && active.is_empty() {
            let not_admin = Rejection::new(RejectionKind::NotAdmin, "the caller is no admin");
            return Err(signed_in.refuse(None, not_admin));
        }
        let title = match active.len() {
            0 | 1 => "My session",
            _ => "My sessions",
        };
        let mut frame = match &admin {
            Some(admin) => self.frame(Some(Here::Mine), title, admin).await?,
            None => self.bare(title, now),
        };
        // This very page says it better.
        frame.acting.clear();
        frame.done = match Fields::of_query(&self.call.parts.uri).get("done") {
            "stopped" => Some("The session has been stopped."),
            "nothing" => Some("There was nothing left to stop."),
            "changed" => Some("The session has been changed."),
            _ => None,
        };
        let subjects = active
            .iter()
            .filter_map(|session| session.subject.user_id());
        let names = self.names(subjects.chain([signed_in.id()])).await;
        let viewer = admin.as_ref().map(Admin::actor);
        let mut sessions = Vec::new();
        for session in &active {
            let refused = refused.as_ref();
            let refused = refused.filter(|(subject, ..)| *subject == session.subject);
            let typed = refused
                .map(|(_, typed, _)| typed.clone())
                .unwrap_or_default();
            let offer = match &admin {
                Some(admin) => self.changes(admin, session, typed.get("duration")).await,
                None => None,
            };
            let query = encode([("subject", session.subject.as_str())]);
            sessions.push(Mine {
                row: Row::new(self, session, &names, viewer, now),
                open: self.open(&session.subject),
                change: self.link(&format!("/session/change?{query}")),
                offer,
                typed,
                problem: refused.map(|(_, _, rejection)| Problem::of(rejection)),
            });
        }
        Ok(MinePage {
            frame,
            sessions,
            is_admin: admin.is_some(),
            keeps_sessions: self.impersonation.has_sessions(),
            refresh: (refused.is_none() && admin.is_some()).then(|| self.link("/session")),
            max_reason: StartRequest::MAX_REASON,
        })
    }

    /// What a change would be granted now (rule [S6](tower_impersonation::rules#s6)).
    async fn changes(&self, admin: &Admin<'_>, session: &Session, chosen: &str) -> Option<Offer> {
        let now = self.impersonation.now().ok()?;
        let (grant, _) = admin.could_start(&session.subject).await.ok()??;
        let ceiling = self.ceiling(&grant);
        let left = Duration::try_from(session.expires_at - now).unwrap_or_default();
        let longest = (left + Duration::from_secs(60) <= ceiling).then(|| Length {
            seconds: ceiling.as_secs(),
            text: duration(ceiling),
            is_chosen: chosen == ceiling.as_secs().to_string(),
        });
        Some(Offer {
            may_raise: session.access < grant.access() && grant.access() == Access::ReadWrite,
            lengths: lengths(left, ceiling, chosen),
            longest,
        })
    }
}

impl Offer {
    fn is_empty(&self) -> bool {
        !self.may_raise && !self.may_extend()
    }

    fn may_extend(&self) -> bool {
        self.longest.is_some()
    }
}

impl Mine {
    /// The problem that is no field's, or that of a field which is not offered.
    fn general(&self) -> Option<&Problem> {
        let fields: Vec<&str> = match &self.offer {
            None => Vec::new(),
            Some(offer) => {
                let offered = [
                    ("reason", true),
                    ("access", offer.may_raise),
                    ("duration", offer.may_extend()),
                ];
                let offered = offered.into_iter().filter(|(_, is_offered)| *is_offered);
                offered.map(|(field, _)| field).collect()
            }
        };
        let is_field = |problem: &&Problem| problem.is_one_of(&fields);
        self.problem.as_ref().filter(|problem| !is_field(problem))
    }

    fn problem_of(&self, field: &str) -> Option<&str> {
        let problem = self.problem.as_ref().filter(|problem| problem.is(field));
        problem.map(|problem| problem.message.as_str())
    }

    fn wants_write(&self) -> bool {
        self.typed.get("access") == Access::ReadWrite.as_str()
    }
}
