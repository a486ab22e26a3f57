//! Times as the pages show them.

use time::{
    OffsetDateTime,
    format_description::{BorrowedFormatItem, well_known::Rfc3339},
    macros::format_description,
};

/// A day, as people write it. HTML, with nothing in it that someone else wrote.
pub(crate) fn day(at: &OffsetDateTime) -> String {
    const DAY: &[BorrowedFormatItem<'_>] =
        format_description!("[day padding:none] [month repr:long] [year]");
    element(at, DAY)
}

/// A time of day, likewise.
pub(crate) fn hour(at: &OffsetDateTime) -> String {
    const HOUR: &[BorrowedFormatItem<'_>] = format_description!("[hour]:[minute]\u{a0}UTC");
    element(at, HOUR)
}

fn element(at: &OffsetDateTime, form: &[BorrowedFormatItem<'_>]) -> String {
    let machine = at.format(&Rfc3339).unwrap_or_default();
    let people = at.format(form).unwrap_or_default();
    format!("<time datetime=\"{machine}\">{people}</time>")
}
