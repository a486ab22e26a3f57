//! Values as clients send them.

use std::{ops::RangeInclusive, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de::Error as _};
use time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use tower_impersonation::{
    Access, UserId,
    session::{SessionId, SubjectKind},
};

/// The most sessions, events or users in one page.
const MAX_LIMIT: u32 = 500;

/// The largest `offset`.
const MAX_OFFSET: u32 = 2_147_483_647;
/// The longest `duration`, in seconds: more than thirty years.
pub(super) const MAX_DURATION: u32 = 999_999_999;
/// A form's fields as JSON. What is left empty in a form was not filled in.
pub(in crate::control) fn form_fields(body: &[u8]) -> Result<serde_json::Value, String> {
    let mut fields = serde_json::Map::new();
    for (name, value) in form_urlencoded::parse(body) {
        if value.is_empty() {
            continue;
        }
        let value = value.into_owned().into();
        if fields.insert(name.clone().into_owned(), value).is_some() {
            return Err(format!("`{}` is given twice", printable(&name)));
        }
    }
    Ok(fields.into())
}

pub(super) fn parse_session(id: Option<String>) -> Result<Option<SessionId>, String> {
    let parsed = id.map(|id| parse("session_id", &id, "the `id` of a session"));
    parsed.transpose()
}

pub(super) fn parse_duration(seconds: &str) -> Result<Duration, String> {
    let seconds = parse_within("duration", seconds, 1..=MAX_DURATION)?;
    Ok(Duration::from_secs(u64::from(seconds)))
}

pub(super) fn parse_limit(limit: &str) -> Result<usize, String> {
    Ok(parse_within("limit", limit, 1..=MAX_LIMIT)? as usize)
}

pub(super) fn parse_offset(offset: &str) -> Result<usize, String> {
    Ok(parse_within("offset", offset, 0..=MAX_OFFSET)? as usize)
}

fn parse_within(name: &str, text: &str, within: RangeInclusive<u32>) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| within.contains(number));
    let (least, most) = within.into_inner();
    number.ok_or_else(|| format!("`{name}` must be a whole number from {least} to {most}"))
}

pub(super) fn parse_user(name: &str, id: Option<String>) -> Result<Option<UserId>, String> {
    let parsed = id.map(|id| id.parse::<UserId>().map_err(|p| format!("`{name}`: {p}")));
    parsed.transpose()
}

pub(super) fn parse_kind(kind: Option<&str>) -> Result<Option<SubjectKind>, String> {
    match kind {
        None => Ok(None),
        Some("user") => Ok(Some(SubjectKind::User)),
        Some("anon") => Ok(Some(SubjectKind::Anon)),
        Some("service") => Ok(Some(SubjectKind::Service)),
        Some(_) => Err("`impersonation_type` must be user, anon or service".to_owned()),
    }
}

pub(super) fn parse_access(access: &str) -> Result<Access, String> {
    Access::known(access).ok_or_else(|| "`access` must be read_only or read_write".to_owned())
}

pub(super) fn parse<T: FromStr>(name: &str, text: &str, what: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{name}` must be {what}"))
}

pub(super) fn moment(name: &str, text: &str) -> Result<OffsetDateTime, String> {
    let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
    // At the edges of time there are moments that UTC has no date for, and whoever converts one panics.
    parsed
        .and_then(|at| at.checked_to_offset(UtcOffset::UTC))
        .ok_or_else(|| format!("`{name}` must be a time such as 2026-11-20T12:00:00Z"))
}

/// The part of an extractor's message that names the field.
pub(in crate::control) fn named(message: &str) -> String {
    let said = message.split_once(": ").map_or(message, |(_, said)| said);
    printable(said)
}

/// What a stranger sent, short and in one line, for a message.
fn printable(text: &str) -> String {
    text.chars()
        .take(200)
        .flat_map(char::escape_default)
        .collect()
}

/// Ids and numbers come as text or as numbers, as the client's language has it.
pub(super) fn text_or_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    match Option::<serde_json::Value>::deserialize(deserializer)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(text)) => Ok(Some(text)),
        Some(serde_json::Value::Number(number)) if whole(&number).is_some() => {
            Ok(whole(&number).map(|whole| whole.to_string()))
        }
        Some(_) => Err(D::Error::custom("expected text or a whole number")),
    }
}

/// In JSON 5.0 is a whole number, too.
fn whole(number: &serde_json::Number) -> Option<i64> {
    const END: f64 = i64::MAX as f64;

    number.as_i64().or_else(|| {
        let number = number.as_f64()?;
        let is_whole = number.fract() == 0.0 && (-END..END).contains(&number);
        is_whole.then_some(number as i64)
    })
}
