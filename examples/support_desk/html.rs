//! Text into HTML, safely, and the few forms in which the pages show things.

use std::fmt::{self, Write as _};

use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

/// Text that was not written by us, for element content and quoted attributes.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(Escaping(f), "{}", self.0)
    }
}

struct Escaping<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl fmt::Write for Escaping<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.write_str("&amp;")?,
                '<' => self.0.write_str("&lt;")?,
                '>' => self.0.write_str("&gt;")?,
                '"' => self.0.write_str("&quot;")?,
                '\'' => self.0.write_str("&#39;")?,
                c => self.0.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A day, as people write it.
pub(crate) fn day(at: OffsetDateTime) -> String {
    const DAY: &[BorrowedFormatItem<'_>] =
        format_description!("[day padding:none] [month repr:long] [year]");
    element(at, DAY)
}

/// A time of day.
pub(crate) fn hour(at: OffsetDateTime) -> String {
    const HOUR: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]\u{a0}UTC");
    element(at, HOUR)
}

fn element(at: OffsetDateTime, form: &[BorrowedFormatItem<'_>]) -> String {
    let machine = at.format(&time::format_description::well_known::Rfc3339);
    let machine = machine.unwrap_or_default();
    let people = at.format(form).unwrap_or_default();
    format!("<time datetime=\"{machine}\">{people}</time>")
}

/// How long it still is until then.
pub(crate) fn time_left(until: OffsetDateTime) -> String {
    let minutes = (until - OffsetDateTime::now_utc()).whole_minutes();
    match (minutes / 60, minutes % 60) {
        (..0, _) | (_, ..0) | (0, 0) => "less than a minute".to_owned(),
        (0, minutes) => format!("{minutes}\u{a0}min"),
        (hours, 0) => format!("{hours}\u{a0}h"),
        (hours, minutes) => format!("{hours}\u{a0}h {minutes}\u{a0}min"),
    }
}
