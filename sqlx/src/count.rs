//! Counting the rows of a list, up to a bound.

use crate::{
    columns::{Columns as _, there},
    dialect::Dialect,
    statement::Statement,
};

/// Lists count up to this; a `total` of one more means "more than that".
///
/// Up to it, `total` is exact. Counting on would cost more than the page itself, and the more the bigger the table is.
///
/// ```
/// use tower_impersonation_sqlx::COUNTED;
///
/// fn say(total: u64) -> String {
///     if total > COUNTED { format!("more than {COUNTED}") } else { total.to_string() }
/// }
/// assert_eq!(say(1_001), "more than 1000");
/// ```
pub const COUNTED: u64 = 1_000;

/// Counts what a statement selects that begins with `select count(*) as total from (select 1 from`.
pub(crate) async fn up_to_bound<D: Dialect>(
    connection: &mut D::Connection,
    mut counted: Statement<'_>,
) -> Result<u64, sqlx::Error> {
    counted.push(" limit ").push_number(COUNTED as usize + 1);
    counted.push(") as counted");
    let rows = D::rows(connection, counted).await?;
    let row = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    Ok(there("total", row.number("total")?)?.unsigned_abs())
}
