//! People: whom this admin may act as.

use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use tower_impersonation::{Admin, Impersonation, Rejection, RejectionKind, Subject};

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    view::{Person, encode},
    visit::Visit,
};

const AT_ONCE: usize = 25;

#[derive(Template)]
#[template(path = "people.html", config = "src/console/askama.toml")]
struct PeoplePage {
    frame: Frame,
    q: String,
    has_directory: bool,
    found: Vec<Found>,
    others: Vec<Other>,
    /// There is more to look at.
    next: Option<String>,
    /// This is not the beginning.
    first: Option<String>,
    problem: Option<Problem>,
}

/// A user in the list.
struct Found {
    person: Person,
    login: Option<String>,
    role: Option<String>,
    start: String,
    history: String,
}

/// A subject who is no user.
struct Other {
    name: &'static str,
    what: &'static str,
    start: String,
}

pub(super) async fn show(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.people().await;
    visit.answer(answer)
}

impl Visit {
    async fn people(&self) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let frame = self.frame(Some(Here::People), "People", &admin).await?;
        let fields = Fields::of_query(&self.call.parts.uri);
        let q = fields.get("q").trim().to_owned();
        let has_directory = self.impersonation.has_directory();
        let mut shown = PeoplePage {
            frame,
            q,
            has_directory,
            found: Vec::new(),
            others: self.others(&admin).await?,
            next: None,
            first: None,
            problem: None,
        };
        let offset = match fields.get("offset") {
            "" => 0,
            offset => match offset.parse::<u32>() {
                Ok(offset) => offset as usize,
                Err(_) => {
                    let rejection = Rejection::invalid("`offset` must be a number from 0");
                    shown.problem = Some(Problem::of(&rejection));
                    return Ok(self.refuse(&shown, rejection));
                }
            },
        };
        let list = |offset: usize| {
            let offset = offset.to_string();
            let mut query = Vec::new();
            if !shown.q.is_empty() {
                query.push(("q", shown.q.as_str()));
            }
            if offset != "0" {
                query.push(("offset", offset.as_str()));
            }
            match query.is_empty() {
                true => self.home(),
                false => format!("{}?{}", self.home(), encode(query)),
            }
        };
        let people = admin.people(&shown.q, AT_ONCE, offset).await?;
        shown.next = people.next.map(list);
        shown.first = (offset > 0).then(|| list(0));
        let found = people.users.iter().map(|user| {
            let subject = Subject::User(user.id().clone());
            let name = Person::user(user.id(), Some(user));
            // The login has a place of its own here.
            let login = user
                .login()
                .filter(|login| Some(*login) != name.name.as_deref());
            Found {
                login: login.map(str::to_owned),
                role: user.role().map(str::to_owned),
                start: self.start_link(&subject),
                history: self.history_link(&subject),
                person: name,
            }
        });
        shown.found = found.collect();
        Ok(page(&shown))
    }

    /// The page that lists people. `Router::nest` knows it without a slash only; at the root there has to be one.
    pub(super) fn home(&self) -> String {
        match self.base.as_str() {
            "" => "/".to_owned(),
            base => base.to_owned(),
        }
    }

    /// Who acted as this user.
    pub(super) fn history_link(&self, subject: &Subject) -> String {
        let filter = match subject {
            Subject::User(id) => ("target_user_id", id.as_str()),
            other => ("impersonation_type", other.kind()),
        };
        self.link(&format!("/sessions?{}", encode([filter])))
    }

    /// The two subjects who are no users, where this admin may act as them.
    async fn others(&self, admin: &Admin<'_>) -> Result<Vec<Other>, Rejection> {
        let each = [
            (
                Subject::Anonymous,
                "Anonymous visitor",
                "What someone sees who has not signed in",
            ),
            (
                Subject::Service,
                "Service role",
                "What the system itself may see, without any user",
            ),
        ];
        let mut others = Vec::new();
        for (subject, name, what) in each {
            let could = admin.could_start(&subject).await;
            let could = could.map_err(|rejection| admin.refuse(Some(&subject), rejection))?;
            if could.is_some() {
                let start = self.start_link(&subject);
                others.push(Other { name, what, start });
            }
        }
        Ok(others)
    }
}

/// Whether a refusal has no form to go back to.
pub(super) fn is_final(rejection: &Rejection) -> bool {
    matches!(
        rejection.kind(),
        RejectionKind::Unauthenticated | RejectionKind::NotAdmin | RejectionKind::Nested
    )
}
