//! The trail, which is read on the record (rule [A7](tower_impersonation::rules#a7)).

use std::collections::HashSet;

use askama::{Template, filters::HtmlSafe};
use axum::{
    extract::{Request, State},
    response::Response,
};
use tower_impersonation::{
    Admin, Impersonation, Rejection, RejectionKind, Rights,
    audit::{AuditEvent, EventName, Outcome, TrailFilter, TrailList, TrailPage},
    session::EndedReason,
};
use uuid::Uuid;

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    view::{Number, Scope, When, in_words},
    visit::Visit,
};
use crate::control::{TrailQuery, csv as trail_as_csv};

const FILTERS: [&str; 7] = [
    "admin_user_id",
    "target_user_id",
    "impersonation_type",
    "session_id",
    "name",
    "from",
    "to",
];
/// What the page itself puts into its links.
const OURS: [&str; 1] = ["above"];

#[derive(Template)]
#[template(path = "trail.html", config = "src/console/askama.toml")]
struct TrailOfAll {
    frame: Frame,
    fields: Fields,
    may_see_all: bool,
    has_reader: bool,
    is_filtered: bool,
    names: Vec<(&'static str, &'static str)>,
    lines: Lines,
    total: Number,
    csv: String,
    next: Option<String>,
    first: Option<String>,
    problem: Option<Problem>,
}

/// Events as a table.
#[derive(Default, Template)]
#[template(path = "lines.html", config = "src/console/askama.toml")]
pub(super) struct Lines {
    lines: Vec<Line>,
}

// What it writes is escaped already, by its own template.
impl HtmlSafe for Lines {}

/// One event.
struct Line {
    when: When,
    name: &'static str,
    label: &'static str,
    is_bad: bool,
    actor: Option<String>,
    subject: Option<String>,
    session: Option<String>,
    method: Option<String>,
    path: Option<String>,
    /// A reason in the words of its writer.
    reason: Option<String>,
    rule: Option<String>,
    scope: Option<Scope>,
    outcome: Option<(&'static str, &'static str)>,
    status: Option<u16>,
    count: Option<Number>,
    address: Option<String>,
    user_agent: Option<String>,
    request_id: Option<String>,
    /// Who ended or changed the session, when that is not its actor.
    by: Option<String>,
}

pub(super) async fn show(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.trail().await;
    visit.answer(answer)
}

pub(super) async fn csv(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.trail_csv().await;
    visit.answer(answer)
}

impl Visit {
    async fn trail(&self) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let fields = Fields::of_query(&self.call.parts.uri);
        let frame = self.frame(Some(Here::Trail), "Trail", &admin).await?;
        let to = |path: &str, query: String| match query.is_empty() {
            true => self.link(path),
            false => self.link(&format!("{path}?{query}")),
        };
        let is_first = fields.get("cursor").is_empty();
        let mut shown = TrailOfAll {
            frame,
            may_see_all: admin.actor().rights().contains(Rights::READ_TRAIL),
            has_reader: self.impersonation.has_trail_reader(),
            is_filtered: fields.any(&FILTERS),
            names: EventName::ALL
                .iter()
                .map(|name| (name.as_str(), label(*name)))
                .collect(),
            lines: Lines::default(),
            total: Number(0),
            csv: to("/trail.csv", fields.query(&FILTERS, &[])),
            next: None,
            first: (!is_first).then(|| to("/trail", fields.query(&FILTERS, &[]))),
            problem: None,
            fields,
        };
        if !shown.has_reader {
            return Ok(page(&shown));
        }
        let list = match read(&admin, &shown.fields).await {
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
        // The outcome of the first intent here may stand at the end of the page before.
        let above = shown.fields.get("above").parse().ok();
        shown.lines = Lines::of(self, &list.events, above);
        shown.total = Number(list.total);
        let last = list.events.last().map(|event| event.id.to_string());
        shown.next = list.next.map(|next| {
            let last = last.unwrap_or_default();
            let more = [("cursor", next.0.as_str()), ("above", last.as_str())];
            to("/trail", shown.fields.query(&FILTERS, &more))
        });
        Ok(page(&shown))
    }

    async fn trail_csv(&self) -> Result<Response, Rejection> {
        // Callers who may not read anything learn nothing about filters.
        let admin = self.admin().await?;
        let (filter, page) = filter(&Fields::of_query(&self.call.parts.uri))?;
        trail_as_csv(&admin, filter, page, None).await
    }
}

async fn read(admin: &Admin<'_>, fields: &Fields) -> Result<TrailList, Rejection> {
    let (filter, page) = filter(fields)?;
    admin.open_trail(filter).await?.page(&page).await
}

fn filter(fields: &Fields) -> Result<(TrailFilter, TrailPage), Rejection> {
    let query = fields.filters::<TrailQuery>(&OURS);
    let asked = query.and_then(TrailQuery::into_filter);
    let (filter, page, _) = asked.map_err(Rejection::invalid)?;
    Ok((filter, page))
}

// === impl Lines ===

impl Lines {
    /// The events in their order, newest first; `above` is the id of the one before them.
    pub(super) fn of(visit: &Visit, events: &[AuditEvent], above: Option<Uuid>) -> Self {
        let is_intent = |event: &&AuditEvent| event.outcome == Some(Outcome::Intent);
        let outcomes = events.iter().filter(|event| !is_intent(event));
        let outcomes: HashSet<Uuid> = outcomes.map(|event| event.id).chain(above).collect();
        let line = |event: &AuditEvent| Line::new(visit, event, outcomes.contains(&event.id));
        Self {
            lines: events.iter().map(line).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn len(&self) -> usize {
        self.lines.len()
    }
}

// === impl Line ===

impl Line {
    fn new(visit: &Visit, event: &AuditEvent, has_outcome: bool) -> Self {
        let is_end = event.name == EventName::End;
        let reason = event.reason.as_deref().map(|reason| match is_end {
            true => ended_because(reason).unwrap_or(reason).to_owned(),
            false => reason.to_owned(),
        });
        let session = event
            .session
            .map(|id| visit.link(&format!("/sessions/{id}")));
        Self {
            when: When::exact(event.time),
            name: event.name.as_str(),
            label: label(event.name),
            is_bad: matches!(
                event.name,
                EventName::Denied | EventName::PrivilegeViolation
            ),
            actor: event.actor.as_ref().map(ToString::to_string),
            subject: event.subject.as_ref().map(ToString::to_string),
            session,
            method: event.method.clone(),
            path: event.path.clone().or_else(|| event.route.clone()),
            reason,
            rule: event.rule.as_deref().map(str::to_owned),
            scope: event.access.map(Scope::new),
            outcome: event.outcome.map(|outcome| match (outcome, has_outcome) {
                (Outcome::Intent, true) => ("intent", "Intent"),
                // An intent alone is unknown, and never a success (rule A2).
                (Outcome::Intent, false) | (Outcome::Unknown, _) => ("unknown", "Unknown"),
                (Outcome::Completed, _) => ("completed", "Completed"),
                (Outcome::Failed, _) => ("failed", "Failed"),
                (Outcome::Cancelled, _) => ("cancelled", "Cancelled"),
                (Outcome::Refused, _) => ("refused", "Refused"),
                // The word of a newer release.
                (other, _) => ("unknown", other.as_str()),
            }),
            status: event.status,
            count: event.count.filter(|count| *count > 1).map(Number),
            address: event.address.map(|address| address.to_string()),
            user_agent: event.user_agent.clone(),
            request_id: event.request_id.clone(),
            by: event.by.as_ref().map(ToString::to_string),
        }
    }
}

fn ended_because(reason: &str) -> Option<&'static str> {
    EndedReason::known(reason).map(in_words)
}

fn label(name: EventName) -> &'static str {
    match name {
        EventName::Start => "Start",
        EventName::End => "End",
        EventName::Request => "Request",
        EventName::Denied => "Refused",
        EventName::AccessRaised => "Access raised",
        EventName::Extended => "Extended",
        EventName::PrivilegeViolation => "Privilege violation",
        EventName::TrailRead => "Trail read",
        // The word of a newer release.
        other => other.as_str(),
    }
}

impl TrailOfAll {
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
