//! A filter on the trail, as conditions of a query.

use tower_impersonation::{
    Subject,
    audit::{EventName, TrailFilter},
    session::SubjectKind,
};

use crate::{moment::next_micros, statement::Statement};

/// Adds the conditions of a filter to a statement that ends with `where`.
pub(crate) fn push<'f>(statement: &mut Statement<'f>, filter: &'f TrailFilter) {
    statement.push("true");
    if let Some(name) = filter.name {
        statement.push(" and name = ");
        match name {
            EventName::Other(name) => statement.push_value(name.as_str()),
            // In the text, so that the planner sees whether the index of the rarer names fits.
            own => statement.push("'").push(own.as_str()).push("'"),
        };
    }
    if let Some(actor) = &filter.actor {
        statement.push(" and actor = ").push_value(actor);
    }
    if let Some(subject) = &filter.subject {
        statement.push(" and subject = ").push_value(subject);
    }
    match filter.kind {
        None => {}
        Some(SubjectKind::Anon) => {
            statement.push(" and subject = ");
            statement.push_value(&Subject::Anonymous);
        }
        Some(SubjectKind::Service) => {
            statement.push(" and subject = ");
            statement.push_value(&Subject::Service);
        }
        Some(_) => {
            statement.push(" and subject not in (");
            statement.push_value(&Subject::Anonymous).push(", ");
            statement.push_value(&Subject::Service).push(")");
        }
    }
    if let Some(session) = filter.session {
        statement.push(" and session = ").push_value(session);
    }
    if let Some(from) = filter.from {
        statement
            .push(" and time >= ")
            .push_value(next_micros(from));
    }
    if let Some(to) = filter.to {
        statement.push(" and time < ").push_value(next_micros(to));
    }
}
