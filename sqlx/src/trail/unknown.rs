//! Intents of processes that died: their outcome is unknown (rule A2).

use std::time::Duration;

use uuid::Uuid;

use super::{SqlTrail, TrailDialect, fields};
use crate::{
    columns::{Columns as _, there},
    statement::Statement,
};

impl<D: TrailDialect> SqlTrail<D> {
    /// Gives the intents of processes that were silent for that long the outcome
    /// [`Outcome::Unknown`](tower_impersonation::audit::Outcome::Unknown), and says how many. Called by itself every
    /// ten seconds, with a minute.
    ///
    /// # Errors
    ///
    /// When the database fails.
    pub async fn mark_unknown(&self, silent: Duration) -> Result<u64, sqlx::Error> {
        let silent = i64::try_from(silent.as_micros()).unwrap_or(i64::MAX);
        let dead = {
            let mut connection = self.reserve().connection().await?;
            let dead = Statement::new(D::TRAIL.silent).bind(silent);
            D::rows(&mut connection, dead).await?
        };
        let mut marked = 0;
        for process in &dead {
            let process = there("id", process.id("id")?)?;
            marked += self.mark_unknown_of(process, silent).await?;
        }
        Ok(marked)
    }

    async fn mark_unknown_of(&self, process: Uuid, silent: i64) -> Result<u64, sqlx::Error> {
        D::make_room_ahead(self.reserve(), self.months()).await?;
        let mut transaction = self.reserve().begin().await?;
        // Two that do this at once: the second one waits for the first, and finds nothing left.
        let give_up = Statement::new(D::TRAIL.give_up).bind(process).bind(silent);
        if transaction.execute(give_up).await? == 0 {
            transaction.rollback().await?;
            return Ok(0);
        }
        let trail = D::TRAIL.trail;
        let mut mark = Statement::new("insert into ")
            .bind(process)
            .bind(self.shared.process);
        mark.push(trail)
            .push(" (")
            .push(fields::columns())
            .push(", process) select ");
        mark.push(&mark_of_an_intent::<D>())
            .push(", $2 from ")
            .push(trail);
        mark.push(" i where i.process = $1 and i.is_intent and not exists (select 1 from ");
        mark.push(trail)
            .push(" o where o.id = i.id and not o.is_intent)");
        let marked = transaction.execute(mark).await?;
        transaction.commit().await?;
        Ok(marked)
    }
}

/// What stands in the columns of a mark: what the intent `i` has, but for these.
fn mark_of_an_intent<D: TrailDialect>() -> String {
    fields::each(|column| match column.name() {
        "is_intent" => "false".into(),
        "time" => format!("{}(i.time, {})", D::TRAIL.greatest, D::TRAIL.now).into(),
        "status" => "null".into(),
        "outcome" => "'unknown'".into(),
        name => format!("i.{}", fields::quoted(name)).into(),
    })
}
