//! Sequences behind columns whose values came in explicitly: the next local insert must not collide with them.

use sync_core::map::NodeSource;

use super::Run;
use super::stage::{Stage, Work};
use crate::Error;
use crate::sql::{literal, quote};

/// Up to so many numbers a sequence is stepped, which can never take it back; only beyond them it is set.
const STEPS: i64 = 1000;

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// Advances the sequences of a table beyond the values that were inserted; none goes back.
    pub(super) async fn advance_sequences(&self, work: &Work) -> Result<(), Error> {
        if work.fed.created == 0 {
            return Ok(());
        }
        for (index, column) in work.relation.columns.iter().enumerate() {
            let Some(sequence) = &column.sequence else {
                continue;
            };
            let values = if matches!(work.stage, Stage::Nowhere) {
                let name = quote(&column.column.name);
                format!("SELECT {name}::int8 AS v FROM {}", work.relation.sql())
            } else {
                let staged = work.staged();
                format!("SELECT s.sync_{index}::int8 AS v FROM {staged} WHERE s.sync_op = 1")
            };
            let sql = advance(sequence, &values);
            let advanced = self.transaction.query_typed(&sql, &work.parameters()).await;
            advanced.map_err(self.while_("advancing a sequence"))?;
        }
        Ok(())
    }
}

fn advance(sequence: &str, values: &str) -> String {
    let name = literal(sequence);
    format!(
        "WITH q AS (SELECT seqincrement AS by, seqmin, seqmax FROM pg_catalog.pg_sequence WHERE seqrelid = {name}::regclass),
         w AS (SELECT CASE WHEN q.by > 0 THEN least(max(v), q.seqmax) ELSE greatest(min(v), q.seqmin) END AS v
               FROM ({values}) x, q GROUP BY q.by, q.seqmin, q.seqmax),
         n AS (SELECT w.v, q.by, CASE WHEN (w.v - l.last_value) * sign(q.by) < 0 THEN 0
                      ELSE ceil(abs(w.v::numeric - l.last_value) / abs(q.by)) + (NOT l.is_called)::int END AS steps
               FROM w, q, {sequence} l)
         SELECT CASE WHEN n.steps <= {STEPS}
             THEN (SELECT max(nextval({name}::regclass)) FROM generate_series(1, n.steps::int8))
             ELSE setval({name}::regclass, n.v) END
         FROM n WHERE n.steps > 0"
    )
}
