//! The trail as CSV, for spreadsheets.

use csv::WriterBuilder;

use crate::{
    BoxError,
    audit::{AuditEvent, TrailPage},
    reading::Reading,
};

use super::stream::Writer;

/// Events that are read at once.
const AT_ONCE: usize = 500;

/// The columns: the keys of an event, in their order.
const COLUMNS: [&str; 18] = [
    "id",
    "time",
    "name",
    "actor",
    "subject",
    "session",
    "reason",
    "access",
    "method",
    "path",
    "route",
    "status",
    "outcome",
    "rule",
    "count",
    "address",
    "user_agent",
    "request_id",
];

/// The first part, with the columns' names, and the page that comes after it.
pub(super) async fn first(
    reading: &Reading,
    mut page: TrailPage,
    most: Option<usize>,
) -> Result<(Vec<u8>, Option<(TrailPage, Option<usize>)>), crate::Rejection> {
    let mut csv = Vec::new();
    // Into memory, which cannot fail.
    let _ = write_row(&mut csv, COLUMNS);
    page.limit = AT_ONCE.min(most.unwrap_or(AT_ONCE));
    let (rows, rest) = next(reading, page, most).await?;
    csv.extend(rows);
    Ok((csv, rest))
}

/// All other parts.
pub(super) async fn rest(
    reading: Reading,
    mut left: Option<(TrailPage, Option<usize>)>,
    writer: Writer,
) {
    while let Some((page, most)) = left {
        let part = match next(&reading, page, most).await {
            Ok((rows, rest)) => {
                left = rest;
                Ok(rows.into())
            }
            Err(rejection) => {
                left = None;
                Err(BoxError::from(rejection))
            }
        };
        if writer.send(part).await.is_err() {
            // Nobody reads any more.
            return;
        }
    }
}

type Rest = Option<(TrailPage, Option<usize>)>;

async fn next(
    reading: &Reading,
    page: TrailPage,
    most: Option<usize>,
) -> Result<(Vec<u8>, Rest), crate::Rejection> {
    let list = reading.page(&page).await?;
    let mut csv = Vec::with_capacity(list.events.len() * 256);
    for event in &list.events {
        let _ = write_row(&mut csv, cells(event));
    }
    let most = most.map(|most| most.saturating_sub(list.events.len()));
    let rest = list.next.filter(|_| most != Some(0)).map(|next| {
        let limit = AT_ONCE.min(most.unwrap_or(AT_ONCE));
        (TrailPage::first(limit).after(next), most)
    });
    Ok((csv, rest))
}

fn write_row<C: AsRef<[u8]>>(
    csv: &mut Vec<u8>,
    cells: impl IntoIterator<Item = C>,
) -> csv::Result<()> {
    let mut writer = WriterBuilder::new().from_writer(csv);
    writer.write_record(cells)?;
    Ok(writer.flush()?)
}

fn cells(event: &AuditEvent) -> Vec<String> {
    // The event's own JSON: no second notion of what a value looks like.
    let json = serde_json::to_value(event).unwrap_or_default();
    let cell = |column| match json.get(column) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => harmless(text),
        Some(other) => other.to_string(),
    };
    COLUMNS.into_iter().map(cell).collect()
}

/// The text as a cell that no spreadsheet takes for a formula: with an apostrophe before it where it begins as one
/// does, in any width, also behind blanks.
fn harmless(text: &str) -> String {
    let first = text.trim_start_matches(' ').chars().next();
    match first {
        Some(
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '|' | '%' | '＝' | '＋' | '－' | '＠',
        ) => {
            format!("'{text}")
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for formula in [
            "=cmd()", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "＝1", "＋1", "－1",
            "＠x", "|x", "%x",
        ] {
            assert_eq!(harmless(formula), format!("'{formula}"));
        }
        for text in ["", "ines", "a=b", "4711", "'", "~anon", "ticket +1"] {
            assert_eq!(harmless(text), text);
        }
    }

    #[test]
    fn a_row_quotes_what_has_to_be_quoted() {
        let mut csv = Vec::new();
        let _ = write_row(&mut csv, ["a,b", "c\"d", "e\nf", "'=g", ""]);
        assert_eq!(
            String::from_utf8_lossy(&csv),
            "\"a,b\",\"c\"\"d\",\"e\nf\",'=g,\n"
        );
    }
}
