//! Values as people read them: who, when, how long, how far.

use std::{fmt, time::Duration};

use askama::{Template, filters::HtmlSafe};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use tower_impersonation::{
    Access, Actor, DirectoryUser, Rights, Subject, UserId,
    session::{EndedReason, Session},
};

use super::visit::{Names, Visit};

/// Someone: the name large, the id small.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "person.html", config = "src/console/askama.toml")]
pub(super) struct Person {
    pub(super) name: Option<String>,
    pub(super) id: String,
}

/// A moment.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "when.html", config = "src/console/askama.toml")]
pub(super) struct When {
    pub(super) iso: String,
    text: String,
}

/// How long a session has left, which the script counts down.
#[derive(Debug, Clone, PartialEq, Eq, Template)]
#[template(path = "left.html", config = "src/console/askama.toml")]
pub(super) struct Left {
    until: String,
    text: String,
}

/// How far a session goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Template)]
#[template(path = "access.html", config = "src/console/askama.toml")]
pub(super) struct Scope {
    access: Access,
}

// What these write is escaped already, by their own templates.
impl HtmlSafe for Person {}
impl HtmlSafe for When {}
impl HtmlSafe for Left {}
impl HtmlSafe for Scope {}

/// A session, as lists and its own page show it.
pub(super) struct Row {
    pub(super) id: String,
    pub(super) href: String,
    pub(super) actor: Person,
    pub(super) subject: Person,
    pub(super) subject_kind: &'static str,
    pub(super) role: Option<String>,
    pub(super) scope: Scope,
    pub(super) reason: String,
    pub(super) ticket: Option<String>,
    pub(super) started: When,
    pub(super) expires: When,
    pub(super) last_seen: When,
    pub(super) idle: Option<String>,
    pub(super) left: Left,
    pub(super) ended: Option<When>,
    pub(super) ended_reason: &'static str,
    pub(super) is_active: bool,
    pub(super) is_own: bool,
    pub(super) may_end: bool,
    pub(super) address: Option<String>,
    pub(super) user_agent: Option<String>,
}

// === impl Person ===

impl Person {
    pub(super) fn user(id: &UserId, user: Option<&DirectoryUser>) -> Self {
        let name = user.and_then(|user| user.display_name().or(user.login()));
        Self {
            name: name.filter(|name| *name != id.as_str()).map(str::to_owned),
            id: id.to_string(),
        }
    }

    pub(super) fn nobody(subject: &Subject) -> Self {
        let name = match subject {
            Subject::Anonymous => Some("Anonymous visitor"),
            Subject::Service => Some("Service role"),
            _ => None,
        };
        Self {
            name: name.map(str::to_owned),
            id: subject.to_string(),
        }
    }

    /// The one word for titles and labels.
    pub(super) fn word(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}

// === impl When ===

impl When {
    pub(super) fn new(at: OffsetDateTime) -> Self {
        let at = at.to_offset(UtcOffset::UTC);
        let month = at.month().to_string();
        // Every month's name has three ASCII letters to begin with.
        let month = month.get(..3).unwrap_or(&month);
        let (hour, minute) = (at.hour(), at.minute());
        Self {
            text: format!("{} {month} {} {hour:02}:{minute:02}", at.day(), at.year()),
            iso: iso(at),
        }
    }

    /// To the second, for the trail.
    pub(super) fn exact(at: OffsetDateTime) -> Self {
        let mut when = Self::new(at);
        let second = at.to_offset(UtcOffset::UTC).second();
        when.text.push_str(&format!(":{second:02}"));
        when
    }
}

pub(super) fn iso(at: OffsetDateTime) -> String {
    let whole = at.to_offset(UtcOffset::UTC).truncate_to_second();
    whole.format(&Rfc3339).unwrap_or_default()
}

// === impl Left ===

impl Left {
    pub(super) fn of(session: &Session, now: OffsetDateTime) -> Self {
        let left = Duration::try_from(session.expires_at - now).unwrap_or_default();
        Self {
            until: iso(session.expires_at),
            text: format!("{} left", duration(left)),
        }
    }
}

/// In hours and minutes, or in minutes, or in seconds: never more than is there.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, _) => format!("{minutes} min"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

// === impl Scope ===

impl Scope {
    pub(super) fn new(access: Access) -> Self {
        Self { access }
    }

    fn is_wide(self) -> bool {
        self.access == Access::ReadWrite
    }
}

// === impl Row ===

impl Row {
    pub(super) fn new(
        visit: &Visit,
        session: &Session,
        names: &Names,
        viewer: Option<&Actor>,
        now: OffsetDateTime,
    ) -> Self {
        let is_own = viewer.is_none_or(|viewer| *viewer.id() == session.actor);
        let is_active = session.is_active(now);
        let may_end = is_own || viewer.is_some_and(|v| v.rights().contains(Rights::END_SESSIONS));
        let due = session.due(now);
        let ended_at = session.ended_at.or(due.map(|(_, at)| at));
        let ended_reason = session.ended_reason.or(due.map(|(reason, _)| reason));
        let idle = session.idle_timeout;
        Self {
            id: session.id.to_string(),
            href: visit.link(&format!("/sessions/{}", session.id)),
            actor: names.user(&session.actor),
            subject: names.subject(&session.subject),
            subject_kind: match session.subject {
                Subject::User(_) => "User",
                Subject::Anonymous => "Anonymous visitor",
                Subject::Service => "Service role",
                _ => "",
            },
            role: session.role.as_deref().map(str::to_owned),
            scope: Scope::new(session.access),
            reason: session.reason.to_string(),
            ticket: session.ticket.as_deref().map(str::to_owned),
            started: When::new(session.started_at),
            expires: When::new(session.expires_at),
            last_seen: When::new(session.last_seen_at),
            idle: (idle < Duration::MAX).then(|| duration(idle)),
            left: Left::of(session, now),
            ended: ended_at.map(When::new),
            ended_reason: ended_reason.map_or("", in_words),
            is_active,
            is_own,
            may_end: is_active && may_end,
            address: session.address.map(|address| address.to_string()),
            user_agent: session.user_agent.as_deref().map(str::to_owned),
        }
    }
}

/// Why a session ended, in words.
pub(super) fn in_words(reason: EndedReason) -> &'static str {
    match reason {
        EndedReason::Manual => "Stopped by the admin",
        EndedReason::Timeout => "Time was up",
        EndedReason::Idle => "Unused for too long",
        EndedReason::AdminLogout => "The admin signed out",
        EndedReason::SessionRevoked => "Ended by another admin",
        EndedReason::ActorDemoted => "The admin lost the right",
        EndedReason::SubjectGone => "The user may no longer be acted as",
        EndedReason::Replaced => "Replaced by another session",
        EndedReason::MarkerRemoved => "Left by typing an address",
        // The word of a newer release.
        other => other.as_str(),
    }
}

/// A query string.
pub(super) fn encode<'f>(fields: impl IntoIterator<Item = (&'f str, &'f str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

/// A number with its thousands apart.
pub(super) struct Number(pub(super) u64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_are_in_utc_and_never_longer_than_they_are() {
        let exact = When::exact(datetime!(2026-11-20 01:05:09 +02:00));
        assert_eq!(exact.text, "19 Nov 2026 23:05:09");
        let when = When::new(datetime!(2026-11-20 01:05:59.9 +02:00));
        assert_eq!(
            (&*when.iso, &*when.text),
            ("2026-11-19T23:05:59Z", "19 Nov 2026 23:05")
        );
        let tests = [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min"),
            (3599, "59 min"),
            (3600, "1 h"),
            (7199, "1 h 59 min"),
            (90_000, "25 h"),
        ];
        for (seconds, text) in tests {
            assert_eq!(duration(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn thousands_stand_apart() {
        let tests = [
            (0, "0"),
            (999, "999"),
            (1_000, "1,000"),
            (12_345_678, "12,345,678"),
        ];
        for (number, text) in tests {
            assert_eq!(Number(number).to_string(), text);
        }
    }
}
