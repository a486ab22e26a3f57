//! What someone typed: kept as it is, so that it can be shown again, and read by the rules of the HTTP API.

use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use tower_impersonation::{Rejection, RejectionKind};

use crate::control::ReadQuery;

/// The fields of a query or a form, in their order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

/// What is wrong, and with which field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// By its name in the form; empty where it is none of them.
    field: String,
    pub(super) message: String,
}

impl Fields {
    pub(super) fn of(form: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(form);
        Self(pairs.into_owned().collect())
    }

    pub(super) fn of_query(uri: &http::Uri) -> Self {
        Self::of(uri.query().unwrap_or_default().as_bytes())
    }

    /// What stands in the field; nothing where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        let field = self.0.iter().find(|(field, _)| field == name);
        field.map_or("", |(_, value)| value)
    }

    /// The filters among them as a query of the HTTP API: without `others`, which are the console's own, and without
    /// what was left empty.
    pub(super) fn filters<Q: ReadQuery>(&self, others: &[&str]) -> Result<Q, String> {
        let mut filters: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.0 {
            let value = value.trim();
            if value.is_empty() || others.contains(&name.as_str()) {
                continue;
            }
            if filters.iter().any(|(known, _)| known == name) {
                return Err(format!("`{name}` is given twice"));
            }
            let value = match name.as_str() {
                "from" | "to" => in_utc(value),
                _ => value.to_owned(),
            };
            filters.push((name, value));
        }
        Q::of_fields(filters)
    }

    /// A time for a field of `datetime-local`, which knows no zones.
    pub(super) fn local_time(&self, name: &str) -> String {
        let text = in_utc(self.get(name).trim());
        let at = OffsetDateTime::parse(&text, &Rfc3339).ok();
        match at.and_then(|at| at.checked_to_offset(UtcOffset::UTC)) {
            Some(at) => super::view::iso(at).trim_end_matches('Z').to_owned(),
            None => String::new(),
        }
    }

    /// The query of another page with the same filters.
    pub(super) fn query(&self, names: &[&str], more: &[(&str, &str)]) -> String {
        let kept = names.iter().map(|name| (*name, self.get(name).trim()));
        let kept = kept.filter(|(_, value)| !value.is_empty());
        super::view::encode(kept.chain(more.iter().copied()))
    }

    pub(super) fn any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| !self.get(name).trim().is_empty())
    }
}

impl Problem {
    pub(super) fn of(rejection: &Rejection) -> Self {
        match rejection.kind() {
            RejectionKind::InvalidRequest => Self::invalid(rejection.detail()),
            _ => Self {
                field: String::new(),
                message: rejection.detail().to_owned(),
            },
        }
    }

    /// The field stands in backticks at the front.
    pub(super) fn invalid(detail: &str) -> Self {
        let named = detail
            .strip_prefix('`')
            .and_then(|rest| rest.split_once('`'));
        let Some((field, said)) = named else {
            return Self {
                field: String::new(),
                message: detail.to_owned(),
            };
        };
        let label = match field {
            "reason" => "The reason",
            "ticket" => "The ticket",
            "access" => "The access",
            "duration" => "The duration",
            "admin_user_id" => "The admin",
            "target_user_id" => "The user",
            "impersonation_type" => "The kind",
            "session_id" => "The session",
            "name" => "The event",
            "is_active" => "The state",
            "week" => "The week",
            "offset" => "The offset",
            "from" => "The beginning",
            "to" => "The end",
            other => other,
        };
        Self {
            field: field.to_owned(),
            message: format!("{label}{}.", said.replace('`', "")),
        }
    }

    pub(super) fn at(field: &str, rejection: &Rejection) -> Self {
        Self {
            field: field.to_owned(),
            message: rejection.detail().to_owned(),
        }
    }

    /// Whether this field is the one.
    pub(super) fn is(&self, field: &str) -> bool {
        self.field == field
    }

    /// Whether the message stands next to one of these fields.
    pub(super) fn is_one_of(&self, fields: &[&str]) -> bool {
        fields.contains(&self.field.as_str())
    }
}

/// A browser sends `2026-11-20T12:00`, and the API reads times with a zone.
fn in_utc(text: &str) -> String {
    match text.len() {
        10 => format!("{text}T00:00:00Z"),
        16 => format!("{text}:00Z"),
        19 => format!("{text}Z"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_a_browser_are_read_as_utc() {
        let tests = [
            ("2026-11-20", "2026-11-20T00:00:00Z"),
            ("2026-11-20T12:00", "2026-11-20T12:00:00Z"),
            ("2026-11-20T12:00:30", "2026-11-20T12:00:30Z"),
            ("2026-11-20T12:00:00Z", "2026-11-20T12:00:00Z"),
            ("yesterday", "yesterday"),
        ];
        for (typed, read) in tests {
            assert_eq!(in_utc(typed), read);
        }
    }

    #[test]
    fn a_problem_names_its_field() {
        let tests = [
            (
                "`reason` must not be blank",
                "reason",
                "The reason must not be blank.",
            ),
            ("`x` is given twice", "x", "x is given twice."),
            ("nothing of the kind", "", "nothing of the kind"),
            ("`never closed", "", "`never closed"),
        ];
        for (detail, field, message) in tests {
            let problem = Problem::invalid(detail);
            assert_eq!(
                (problem.field.as_str(), problem.message.as_str()),
                (field, message)
            );
        }
    }
}
