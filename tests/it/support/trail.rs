//! The trail as a test reads it: one short line per event, or a reader of the sink.

use tower_impersonation::{
    BoxError, Subject, UserId,
    audit::{AuditEvent, EventName, MemorySink, TrailFilter, TrailList, TrailPage, TrailReader},
};

/// `start ada ines`, `end ada ines manual`, `request ada ines GET /orders completed 200`,
/// `denied ada ines read_only`.
pub(crate) fn line(event: &AuditEvent) -> String {
    let name = event.name.as_str();
    let name = name.strip_prefix("impersonation.").unwrap_or(name);
    let mut line = vec![
        name.to_owned(),
        event
            .actor
            .as_ref()
            .map_or("-".to_owned(), UserId::to_string),
        event
            .subject
            .as_ref()
            .map_or("-".to_owned(), Subject::to_string),
    ];
    match event.name {
        EventName::End => line.extend(event.reason.clone()),
        EventName::Request => {
            line.extend(event.method.clone());
            line.extend(event.path.clone());
            line.extend(event.outcome.map(|outcome| outcome.as_str().to_owned()));
            line.extend(event.status.map(|status| status.to_string()));
            line.extend(event.count.map(|count| format!("x{count}")));
        }
        EventName::Denied | EventName::PrivilegeViolation => {
            line.extend(event.rule.as_deref().map(str::to_owned));
            line.extend(event.count.map(|count| format!("x{count}")));
        }
        _ => {}
    }
    line.join(" ")
}

/// The desk's sink, once there is one.
#[derive(Default)]
pub(crate) struct LateReader(pub(crate) std::sync::Mutex<Option<MemorySink>>);

#[async_trait::async_trait]
impl TrailReader for LateReader {
    async fn read(&self, filter: &TrailFilter, page: &TrailPage) -> Result<TrailList, BoxError> {
        let sink = self.0.lock().unwrap().clone().ok_or("no sink yet")?;
        sink.read(filter, page).await
    }
}

/// Whether a start that is in the trail is followed by the event that takes it back.
pub(crate) fn is_taken_back(events: &[AuditEvent], start: &AuditEvent) -> bool {
    events
        .iter()
        .any(|event| event.name == EventName::Denied && event.session == start.session)
}

/// How many things the lines tell that hold `what`: repeated ones are folded into one line with a count (rule A4).
pub(crate) fn told(trail: &[String], what: &str) -> u64 {
    let told = trail.iter().filter(|line| line.contains(what));
    let count = |line: &String| {
        let count = line
            .rsplit_once(" x")
            .and_then(|(_, count)| count.parse().ok());
        count.unwrap_or(1)
    };
    told.map(count).sum()
}
