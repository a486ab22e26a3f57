//! The trail as CSV, for spreadsheets.

use csv::{QuoteStyle, WriterBuilder};
use tower_impersonation::{
    BoxError, Rejection, TrailReading,
    audit::{AuditEvent, Field, FieldValue, TrailPage},
};

use super::stream::Writer;

/// Events that are read at once.
const AT_ONCE: usize = 500;

/// The page that comes next, and how many events may still come.
type Rest = Option<(TrailPage, Option<usize>)>;

/// The first part, with the columns' names, and the page that comes after it.
pub(super) async fn first(
    reading: &TrailReading,
    mut page: TrailPage,
    most: Option<usize>,
) -> Result<(Vec<u8>, Rest), Rejection> {
    let mut csv = Vec::new();
    // Into memory, which cannot fail.
    let _ = write_row(&mut csv, AuditEvent::FIELDS.iter().map(Field::name));
    page.limit = AT_ONCE.min(most.unwrap_or(AT_ONCE));
    let (rows, rest) = next(reading, page, most).await?;
    csv.extend(rows);
    Ok((csv, rest))
}

/// All other parts.
pub(super) async fn rest(reading: TrailReading, mut left: Rest, writer: Writer) {
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

async fn next(
    reading: &TrailReading,
    page: TrailPage,
    most: Option<usize>,
) -> Result<(Vec<u8>, Rest), Rejection> {
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
    // Always in quotes: what a spreadsheet makes of a cell must not depend on what stands in it.
    let mut writer = WriterBuilder::new()
        .quote_style(QuoteStyle::Always)
        .from_writer(csv);
    writer.write_record(cells)?;
    Ok(writer.flush()?)
}

/// One cell for each field, in the order of the columns.
fn cells(event: &AuditEvent) -> impl Iterator<Item = String> {
    AuditEvent::FIELDS
        .iter()
        .map(|field| match field.get(event) {
            None => String::new(),
            Some(FieldValue::Text(text)) => harmless(&text),
            Some(value) => value.to_string(),
        })
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
    use tower_impersonation::audit::EventName;

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
    fn a6_each_field_of_an_event_has_its_cell() {
        let at = time::OffsetDateTime::UNIX_EPOCH;
        let mut event = AuditEvent::new(uuid::Uuid::nil(), at, EventName::Denied);
        event.reason = Some("=1".to_owned());
        event.status = Some(403);
        let cells: Vec<String> = cells(&event).collect();
        assert_eq!(cells.len(), AuditEvent::FIELDS.len());
        assert_eq!(
            cells[..3],
            [
                "00000000-0000-0000-0000-000000000000",
                "1970-01-01T00:00:00Z",
                "impersonation.denied",
            ]
        );
        let named = |name: &str| {
            let at = AuditEvent::FIELDS.iter().position(|f| f.name() == name);
            at.map(|at| cells[at].as_str())
        };
        assert_eq!(named("reason"), Some("'=1"));
        assert_eq!(named("status"), Some("403"));
        assert_eq!(named("by"), Some(""));
    }

    #[test]
    fn a_row_has_all_its_cells_in_quotes() {
        let mut csv = Vec::new();
        let _ = write_row(&mut csv, ["a,b", "c\"d", "e\nf", "'=g", ""]);
        assert_eq!(
            String::from_utf8_lossy(&csv),
            "\"a,b\",\"c\"\"d\",\"e\nf\",\"'=g\",\"\"\n"
        );
    }
}
