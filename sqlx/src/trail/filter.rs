//! A filter on the trail, as conditions of a query. Which conditions there are, the core says.

use tower_impersonation::audit::{Condition, EventName, FieldValue, TrailFilter};

use super::fields::quoted;
use crate::{
    moment::next_micros,
    statement::{Statement, Value},
};

/// Adds the conditions of a filter to a statement that ends with `where`.
pub(crate) fn push<'f>(statement: &mut Statement<'f>, filter: &'f TrailFilter) {
    statement.push("true");
    for condition in filter.conditions() {
        let (field, operator, value) = match condition {
            Condition::Is("name", FieldValue::Text(name)) if EventName::known(&name).is_some() => {
                // In the text, so that the planner sees whether the index of the rarer names fits. It is one of ours.
                statement.push(" and name = '").push(&name).push("'");
                continue;
            }
            Condition::Is(field, value) => (field, "=", Value::from(value)),
            Condition::IsNot(field, value) => (field, "<>", Value::from(value)),
            Condition::NotBefore(field, from) => (field, ">=", next_micros(from).into()),
            Condition::Before(field, to) => (field, "<", next_micros(to).into()),
            // One of a newer core: nothing is shown that it may have left out.
            _ => {
                statement.push(" and false");
                continue;
            }
        };
        statement.push(" and ").push(&quoted(field)).push(" ");
        statement.push(operator).push(" ").push_value(value);
    }
}
