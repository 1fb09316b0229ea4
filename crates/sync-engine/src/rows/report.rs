//! What was planned for rows and what came of it, for people and programs.

use serde::Serialize;
use sync_core::SnapshotId;
use sync_core::rows::{Decided, TableCounts};
use sync_rows::{OpenConflict, RowChange};

use super::{RowsOutcome, RowsPlan};
use crate::report::{Problem, State, Traffic, one_line};
use crate::{Standing, rows::BackPlan};

/// What a plan for rows says, without the plan.
#[derive(Debug, Clone, Default)]
pub struct RowsPlanned {
    /// Where the database stands to the tenant.
    pub standing: Option<Standing>,
    /// What changes in the database, by table.
    pub pulled: Vec<TableCounts>,
    /// What changes on the tenant, by table.
    pub pushed: Vec<TableCounts>,
    /// The first rows, those of the database first.
    pub rows: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
    /// What a person has to choose.
    pub conflicts: Vec<OpenConflict>,
    /// Rows that both sides changed, and what decided about them, by table.
    pub decided: Vec<Decided>,
    /// Where the branch was.
    pub head: Option<SnapshotId>,
    /// Whether transactions were writing while the database was read.
    pub is_writing: bool,
}

/// What was, or would be, done with rows.
#[derive(Debug, Clone, Serialize)]
pub struct RowsReport {
    /// Such as `push database`.
    pub operation: String,
    /// Whether everything that was asked for was done.
    pub success: bool,
    /// Whether nothing was to be done but say what would be.
    pub dry_run: bool,
    /// How far it came.
    pub state: State,
    /// Where the database stood to the tenant when the plan was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standing: Option<Standing>,
    /// How many rows were synced.
    pub items_synced: u64,
    /// How many a database could not store.
    pub items_skipped: u64,
    /// What went wrong, and what a person should know of.
    pub errors: Vec<Problem>,
    /// The snapshot that both sides now agree on.
    pub snapshot: Option<SnapshotId>,
    /// Why that snapshot was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What changed in the database.
    pub pulled: Vec<TableCounts>,
    /// What changed on the tenant.
    pub pushed: Vec<TableCounts>,
    /// The first rows, those of the database first.
    pub rows: Vec<RowChange>,
    /// How many more there are.
    pub omitted: u64,
    /// What a person has to choose.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conflicts: Vec<OpenConflict>,
    /// Rows that both sides changed, and what decided about them, by table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decided: Vec<Decided>,
    /// What went over the wire; `None` where that is told of several operations together.
    #[serde(flatten)]
    pub traffic: Option<Traffic>,
    /// How long it took in milliseconds.
    pub duration_ms: u64,
    /// Whether transactions were writing while the database was read: what they change the next run finds.
    #[serde(skip)]
    pub is_writing: bool,
}

impl RowsPlanned {
    /// Of a push, pull or sync.
    pub fn of(plan: &RowsPlan) -> Self {
        let rows = plan.pulled.iter().chain(&plan.pushed);
        Self {
            standing: Some(plan.standing),
            pulled: plan.pull.clone(),
            pushed: plan.push.clone(),
            rows: rows.cloned().collect(),
            omitted: plan.omitted,
            conflicts: plan.conflicts.clone(),
            decided: plan.decided.clone(),
            head: plan.head(),
            is_writing: plan.is_writing(),
        }
    }

    /// Of a rollback or an undo.
    pub fn of_back(plan: &BackPlan) -> Self {
        Self {
            pulled: plan.pull.clone(),
            pushed: plan.push.clone(),
            rows: plan.rows.clone(),
            omitted: plan.omitted,
            conflicts: plan.conflicts.clone(),
            ..Self::default()
        }
    }

    /// Whether nothing was to be done.
    pub fn is_empty(&self) -> bool {
        self.pulled.is_empty() && self.pushed.is_empty() && self.conflicts.is_empty()
    }

    /// What is told of `operation` that took so long: its `outcome`, or without that what would be done. Without `traffic` that
    /// is told of several together.
    pub fn report(
        self,
        operation: String,
        outcome: Option<RowsOutcome>,
        traffic: Option<Traffic>,
        duration_ms: u64,
    ) -> RowsReport {
        let is_done = outcome.is_some();
        let outcome = outcome.unwrap_or_default();
        let mut errors = problems(&outcome);
        let aside = errors
            .iter()
            .filter(|problem| problem.code == "db/set-aside");
        let skipped = aside.count() as u64;
        let is_undecided = !self.conflicts.is_empty();
        if is_undecided {
            errors.push(Problem {
                code: "engine/conflict".to_owned(),
                message: format!("{} rows changed here and on the tenant", self.conflicts.len()),
                hint: Some("`sync-cli conflicts list` shows them; `sync-cli conflicts resolve ID ours|theirs` chooses".to_owned()),
                path: None,
            });
        }
        let total = |tables: &[TableCounts]| tables.iter().map(TableCounts::total).sum::<u64>();
        let all = total(&self.pulled) + total(&self.pushed);
        let state = match (is_undecided, is_done, skipped) {
            (true, ..) => State::Failed,
            (false, false, _) => State::NOT_STARTED,
            (false, true, 0) => State::Completed,
            (false, true, skipped) => State::Partial {
                completed: all.saturating_sub(skipped),
                total: all,
            },
        };
        RowsReport {
            operation,
            success: !is_undecided && skipped == 0,
            dry_run: false,
            state,
            standing: self.standing,
            items_synced: if is_done {
                all.saturating_sub(skipped)
            } else {
                0
            },
            items_skipped: skipped,
            errors,
            snapshot: outcome.snapshot,
            message: outcome.message,
            pulled: self.pulled,
            pushed: self.pushed,
            rows: self.rows,
            omitted: self.omitted,
            conflicts: self.conflicts,
            decided: self.decided,
            traffic,
            duration_ms,
            is_writing: self.is_writing,
        }
    }
}

/// What was set aside, and what a person should know of.
fn problems(outcome: &RowsOutcome) -> Vec<Problem> {
    let aside = |place: &str, table: &str, key: &str, reason: &str| Problem {
        code: "db/set-aside".to_owned(),
        message: format!("{place} could not store it: {}", one_line(reason)),
        hint: Some("mend what the reason names; the next run tries again".to_owned()),
        path: Some(format!("{table} {}", one_line(key))),
    };
    let here = outcome.set_aside.iter();
    let here = here.map(|row| aside("the database", row.table.as_str(), &row.key, &row.reason));
    let there = outcome.set_aside_there.iter();
    let there = there.map(|row| aside("the tenant", &row.table, &row.key, &row.reason));
    let rewritten = outcome.rewritten.iter().map(|rewritten| Problem {
        code: "db/rewritten".to_owned(),
        message: format!(
            "a trigger stored something else in {}",
            rewritten.columns.join(", ")
        ),
        hint: Some(
            "name these columns in `volatile` of the table, or the sides differ for ever"
                .to_owned(),
        ),
        path: Some(rewritten.table.to_string()),
    });
    here.chain(there).chain(rewritten).collect()
}
