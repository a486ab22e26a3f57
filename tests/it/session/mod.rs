//! S1 to S8: what a session may do, from its start to its end, through the handle and the layer.

use tower_impersonation::audit::{AuditEvent, EventName};

mod change;
mod consent;
mod end;
mod limits;
mod start;
mod stop;

fn is_taken_back(events: &[AuditEvent], start: &AuditEvent) -> bool {
    events
        .iter()
        .any(|event| event.name == EventName::Denied && event.session == start.session)
}
