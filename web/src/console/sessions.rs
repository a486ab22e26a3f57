//! All sessions, and one of them.

use askama::Template;
use axum::{
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use tower_impersonation::{
    Admin, Impersonation, Rejection, RejectionKind, Rights, UserId,
    audit::{TrailFilter, TrailPage},
    session::{SessionId, SessionList},
};

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    trail::Lines,
    view::{Number, Row, encode},
    visit::Visit,
};
use crate::control::SessionQuery;

const AT_ONCE: usize = 25;
/// How many events of a session its page shows.
const EVENTS: usize = 50;
const FILTERS: [&str; 6] = [
    "admin_user_id",
    "target_user_id",
    "impersonation_type",
    "is_active",
    "from",
    "to",
];

#[derive(Template)]
#[template(path = "sessions.html", config = "src/console/askama.toml")]
struct SessionsPage {
    frame: Frame,
    fields: Fields,
    /// Others' sessions as well.
    may_see_all: bool,
    keeps_sessions: bool,
    is_filtered: bool,
    rows: Vec<Row>,
    total: Number,
    next: Option<String>,
    first: Option<String>,
    live_only: String,
    all: String,
    /// Where the script looks again; only on the first page, where new ones arrive.
    refresh: Option<String>,
    problem: Option<Problem>,
}

#[derive(Template)]
#[template(path = "detail.html", config = "src/console/askama.toml")]
struct DetailPage {
    frame: Frame,
    row: Row,
    lines: Option<Lines>,
    /// Why there are no lines.
    no_lines: &'static str,
    /// The trail holds more of them.
    all: Option<String>,
    trail: String,
    open: Option<String>,
}

pub(super) async fn list(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.sessions().await;
    visit.answer(answer)
}

pub(super) async fn detail(
    State(impersonation): State<Impersonation>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.session(named(id)).await;
    visit.answer(answer)
}

pub(super) async fn end(
    State(impersonation): State<Impersonation>,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let id = named(id);
    let ended = visit.impersonation.revoke(&visit.call.parts, id).await;
    let answer = ended.map(|_| {
        let detail = visit.link(&format!("/sessions/{id}?done=ended"));
        visit.see_other(&detail)
    });
    visit.answer(answer)
}

/// What is no id is the id of nothing: whoever asks learns no more than for any other.
fn named(id: Result<Path<String>, PathRejection>) -> SessionId {
    let id = id.ok().and_then(|Path(id)| id.parse().ok());
    SessionId(id.unwrap_or_default())
}

impl Visit {
    async fn sessions(&self) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let actor = admin.actor();
        let now = self.impersonation.now()?;
        let fields = Fields::of_query(&self.call.parts.uri);
        let frame = self.frame(Some(Here::Sessions), "Sessions", &admin).await?;
        let to = |query: String| match query.is_empty() {
            true => self.link("/sessions"),
            false => self.link(&format!("/sessions?{query}")),
        };
        let other_filters: Vec<&str> = FILTERS
            .into_iter()
            .filter(|name| *name != "is_active")
            .collect();
        let is_first = fields.get("cursor").is_empty();
        let mut shown = SessionsPage {
            frame,
            may_see_all: actor.rights().contains(Rights::LIST_SESSIONS),
            keeps_sessions: self.impersonation.has_sessions(),
            is_filtered: fields.any(&FILTERS),
            rows: Vec::new(),
            total: Number(0),
            next: None,
            first: (!is_first).then(|| to(fields.query(&FILTERS, &[]))),
            live_only: to(fields.query(&other_filters, &[("is_active", "true")])),
            all: to(fields.query(&other_filters, &[])),
            refresh: None,
            problem: None,
            fields,
        };
        if !shown.keeps_sessions {
            return Ok(page(&shown));
        }
        let list: SessionList = match list_sessions(&admin, &shown.fields).await {
            Ok(list) => list,
            Err(rejection) => {
                shown.problem = Some(match rejection.kind() {
                    RejectionKind::InvalidRequest => Problem::of(&rejection),
                    RejectionKind::MissingRight => Problem::at("admin_user_id", &rejection),
                    _ => return Err(rejection),
                });
                return Ok(self.refuse(&shown, rejection));
            }
        };
        let mut ids: Vec<&UserId> = Vec::new();
        for session in &list.sessions {
            ids.push(&session.actor);
            ids.extend(session.subject.user_id());
        }
        let names = self.names(ids).await;
        let rows = list.sessions.iter();
        let rows = rows.map(|session| Row::new(self, session, &names, Some(actor), now));
        shown.rows = rows.collect();
        shown.total = Number(list.total);
        shown.next = list.next.map(|next| {
            let next = next.to_string();
            to(shown.fields.query(&FILTERS, &[("cursor", next.as_str())]))
        });
        shown.refresh = is_first.then(|| to(shown.fields.query(&FILTERS, &[])));
        Ok(page(&shown))
    }

    async fn session(&self, id: SessionId) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let actor = admin.actor();
        let now = self.impersonation.now()?;
        let found = self.impersonation.session(id).await;
        let found = found.map_err(|rejection| admin.refuse(None, rejection))?;
        let is_own = found
            .as_ref()
            .is_some_and(|session| session.actor == *actor.id());
        if !is_own && !actor.rights().contains(Rights::LIST_SESSIONS) {
            // Whether there is such a session is not theirs to know.
            let missing = RejectionKind::MissingRight;
            let missing = Rejection::new(missing, "to see the sessions of others");
            return Err(admin.refuse(None, missing));
        }
        let Some(session) = found else {
            return Err(Rejection::new(RejectionKind::NotFound, "no such session"));
        };
        let subject = session.subject.user_id();
        let names = self
            .names(subject.into_iter().chain([&session.actor]))
            .await;
        let row = Row::new(self, &session, &names, Some(actor), now);
        let title = format!("{} as {}", row.actor.word(), row.subject.word());
        let mut frame = self.frame(Some(Here::Sessions), title, &admin).await?;
        frame.done = match Fields::of_query(&self.call.parts.uri).get("done") {
            "ended" => Some("The session has been ended."),
            _ => None,
        };
        let trail = self.link(&format!("/trail?{}", encode([("session_id", &*row.id)])));
        let mut filter = TrailFilter::default();
        filter.session = Some(id);
        let list = async {
            let reading = admin.open_trail(filter).await?;
            reading.page(&TrailPage::first(EVENTS)).await
        };
        let (lines, no_lines, all) = match list.await {
            Ok(list) => {
                let all = list.next.is_some().then(|| trail.clone());
                (Some(Lines::of(self, &list.events, None)), "", all)
            }
            Err(rejection) if rejection.kind() == RejectionKind::NotFound => (
                None,
                "This host has not said where its trail can be read.",
                None,
            ),
            Err(_) => (None, "The trail cannot be read at the moment.", None),
        };
        let open = (row.is_own && row.is_active).then(|| self.open(&session.subject));
        Ok(page(&DetailPage {
            frame,
            row,
            lines,
            no_lines,
            all,
            trail,
            open,
        }))
    }
}

async fn list_sessions(admin: &Admin<'_>, fields: &Fields) -> Result<SessionList, Rejection> {
    let query = fields.filters::<SessionQuery>(&["done"]);
    let asked = query.and_then(SessionQuery::into_filter);
    let (filter, mut page) = asked.map_err(Rejection::invalid)?;
    page.limit = AT_ONCE;
    admin.list(filter, page).await
}

impl SessionsPage {
    fn chosen(&self, field: &str, value: &str) -> bool {
        self.fields.get(field) == value
    }

    fn problem_of(&self, field: &str) -> Option<&str> {
        let problem = self.problem.as_ref().filter(|problem| problem.is(field));
        problem.map(|problem| problem.message.as_str())
    }

    fn general(&self) -> Option<&Problem> {
        self.problem
            .as_ref()
            .filter(|problem| !problem.is_one_of(&FILTERS))
    }
}
