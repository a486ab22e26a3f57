//! What each admin did in a week.

use std::time::Duration;

use askama::Template;
use axum::{
    extract::{Request, State},
    response::Response,
};
use time::{Date, Weekday};
use tower_impersonation::{Impersonation, Rejection, Rights, audit::Summary};

use super::{
    fields::{Fields, Problem},
    frame::{Frame, Here, page},
    view::{Number, Person, When, duration, encode},
    visit::Visit,
};

#[derive(Template)]
#[template(path = "summary.html", config = "src/console/askama.toml")]
struct SummaryPage {
    frame: Frame,
    has_reader: bool,
    may_see_all: bool,
    /// As it was typed.
    week: String,
    span: Option<Span>,
    rows: Vec<Sum>,
    problem: Option<Problem>,
}

/// The week that is shown.
struct Span {
    name: String,
    from: When,
    to: When,
    before: String,
    /// None after this week.
    after: Option<String>,
}

/// What one admin did.
struct Sum {
    actor: Person,
    starts: Number,
    time: String,
    subjects: Number,
    refusals: Number,
    writes: Number,
    trail: String,
}

/// An ISO week, by its Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Week(Date);

pub(super) async fn show(State(impersonation): State<Impersonation>, request: Request) -> Response {
    let (visit, _) = Visit::of(impersonation, request);
    let answer = visit.summary().await;
    visit.answer(answer)
}

impl Visit {
    async fn summary(&self) -> Result<Response, Rejection> {
        let admin = self.admin().await?;
        let now = self.impersonation.now()?;
        let frame = self.frame(Some(Here::Summary), "Summary", &admin).await?;
        let fields = Fields::of_query(&self.call.parts.uri);
        let this_week = Week::of(now.to_offset(time::UtcOffset::UTC).date());
        let typed = fields.get("week").trim().to_owned();
        let mut shown = SummaryPage {
            frame,
            has_reader: self.impersonation.has_trail_reader(),
            may_see_all: admin.actor().rights().contains(Rights::READ_TRAIL),
            week: typed.clone(),
            span: None,
            rows: Vec::new(),
            problem: None,
        };
        let week = match typed.is_empty() {
            true => Some(this_week),
            false => Week::parse(&typed),
        };
        let Some((week, before, after)) =
            week.and_then(|week| Some((week, week.before()?, week.after()?)))
        else {
            let rejection = Rejection::invalid("`week` must be a week such as 2026-W47");
            shown.problem = Some(Problem::of(&rejection));
            return Ok(self.refuse(&shown, rejection));
        };
        shown.week = week.name();
        if !shown.has_reader {
            return Ok(page(&shown));
        }
        let to = |week: Week| self.link(&format!("/summary?{}", encode([("week", &*week.name())])));
        let (from, until) = (week.begin(), after.begin());
        shown.span = Some(Span {
            name: week.name(),
            from: When::new(from),
            to: When::new(until - Duration::from_secs(60)),
            before: to(before),
            after: (week.0 < this_week.0).then(|| to(after)),
        });
        let sums = admin.summaries(from, until).await?;
        let names = self.names(sums.iter().map(|sum| &sum.actor)).await;
        let (from, until) = (super::view::iso(from), super::view::iso(until));
        let row = |sum: &Summary| Sum {
            actor: names.user(&sum.actor),
            starts: Number(sum.starts),
            time: duration(Duration::from_secs(sum.seconds)),
            subjects: Number(sum.subjects),
            refusals: Number(sum.refusals),
            writes: Number(sum.writes),
            trail: self.link(&format!(
                "/trail?{}",
                encode([
                    ("admin_user_id", sum.actor.as_str()),
                    ("from", &*from),
                    ("to", &*until)
                ])
            )),
        };
        shown.rows = sums.iter().map(row).collect();
        Ok(page(&shown))
    }
}

// === impl Week ===

impl Week {
    fn of(date: Date) -> Self {
        let (year, week, _) = date.to_iso_week_date();
        // The Monday of a week that has this day in it exists, but for the first days that there are.
        Self(Date::from_iso_week_date(year, week, Weekday::Monday).unwrap_or(date))
    }

    fn parse(text: &str) -> Option<Self> {
        let (year, week) = text.split_once("-W")?;
        if year.len() != 4 || week.len() != 2 {
            return None;
        }
        let monday =
            Date::from_iso_week_date(year.parse().ok()?, week.parse().ok()?, Weekday::Monday);
        // The time before is before all computers.
        monday.ok().filter(|monday| monday.year() >= 1970).map(Self)
    }

    fn name(self) -> String {
        let (year, week, _) = self.0.to_iso_week_date();
        format!("{year:04}-W{week:02}")
    }

    fn begin(self) -> time::OffsetDateTime {
        self.0.midnight().assume_utc()
    }

    fn before(self) -> Option<Self> {
        self.0.checked_sub(time::Duration::WEEK).map(Self)
    }

    fn after(self) -> Option<Self> {
        self.0.checked_add(time::Duration::WEEK).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::{date, datetime};

    use super::*;

    #[test]
    fn a_week_begins_on_monday_and_belongs_to_the_year_of_its_thursday() {
        let tests = [
            (
                date!(2026 - 11 - 20),
                "2026-W47",
                datetime!(2026-11-16 0:00 UTC),
            ),
            (
                date!(2026 - 11 - 16),
                "2026-W47",
                datetime!(2026-11-16 0:00 UTC),
            ),
            (
                date!(2027 - 01 - 01),
                "2026-W53",
                datetime!(2026-12-28 0:00 UTC),
            ),
            (
                date!(2024 - 12 - 30),
                "2025-W01",
                datetime!(2024-12-30 0:00 UTC),
            ),
        ];
        for (date, name, begin) in tests {
            let week = Week::of(date);
            assert_eq!((week.name().as_str(), week.begin()), (name, begin));
            assert_eq!(Week::parse(name), Some(week));
        }
        for wrong in [
            "", "2026", "2026-W54", "2026-W00", "2026-W1", "26-W10", "2026-Wxx", "9999-W60",
            "-100-W01",
        ] {
            assert_eq!(Week::parse(wrong), None, "{wrong}");
        }
    }
}
