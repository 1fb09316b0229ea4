//! What was planned for files, told once the plan itself is gone.

use std::sync::Arc;

use sync_core::{SnapshotId, TreePath};

use crate::report::{FileChange, Problem, Report, State, Traffic};
use crate::{Conflict, Error, PullPlan, PushPlan, Standing, SyncPlan};

/// What a plan for files says.
#[derive(Debug, Clone, Default)]
pub struct FilesPlanned {
    /// Where the workspace stands to its tenant.
    pub standing: Option<Standing>,
    /// What changes on the tenant; on the workspace for a pull and an undo.
    pub changes: Arc<Vec<FileChange>>,
    /// What else changes in the workspace.
    pub pulled: Vec<FileChange>,
    /// The texts that are merged by line.
    pub merged: Vec<TreePath>,
    /// What a person has to choose.
    pub conflicts: Vec<Conflict>,
    /// What is left out, and what a person should know of.
    pub problems: Vec<Problem>,
}

/// What came of applying it.
#[derive(Debug, Clone, Default)]
pub struct FilesApplied {
    /// The snapshot that both sides agree on now.
    pub snapshot: Option<SnapshotId>,
    /// Why it was made, where this run made it.
    pub message: Option<String>,
}

impl FilesPlanned {
    /// What a plan says; what only a person reads is taken out of it.
    pub fn of_push(plan: &mut PushPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::clone(&plan.changes),
            problems: problems(&mut plan.refused, &mut plan.collisions),
            ..Self::default()
        }
    }

    /// What a plan says; what only a person reads is taken out of it.
    pub fn of_pull(plan: &mut PullPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::new(plan.changes.clone()),
            conflicts: plan.conflicts.clone(),
            problems: problems(&mut plan.refused, &mut plan.collisions),
            ..Self::default()
        }
    }

    /// What a plan says; what only a person reads is taken out of it.
    pub fn of_sync(plan: &mut SyncPlan) -> Self {
        Self {
            standing: Some(plan.standing),
            changes: Arc::new(plan.push.clone()),
            pulled: plan.pull.clone(),
            merged: std::mem::take(&mut plan.merged),
            conflicts: plan.conflicts.clone(),
            problems: problems(&mut plan.refused, &mut plan.collisions),
        }
    }

    /// Puts what `earlier` rounds brought first: it is in the tree, so a later plan no longer speaks of it.
    pub fn put_first(&mut self, earlier: Self) {
        self.pulled.splice(0..0, earlier.pulled);
        self.merged.splice(0..0, earlier.merged);
    }

    /// Whether there is nothing to do and nothing to tell.
    pub fn is_quiet(&self) -> bool {
        self.changes.is_empty() && self.pulled.is_empty() && self.conflicts.is_empty()
    }

    /// Why nothing is done: a person has to choose.
    pub fn refusal(&self) -> Option<Error> {
        refusal(&self.conflicts)
    }

    /// What is told of `operation` that took so long: what was `applied`, or without that what would be.
    pub fn report(
        self,
        operation: String,
        applied: Option<FilesApplied>,
        traffic: Option<Traffic>,
        duration_ms: u64,
    ) -> Report {
        let refusal = self.refusal();
        let mut errors = self.problems;
        let skipped = errors.len() as u64;
        errors.extend(refusal.as_ref().map(Problem::from_fault));
        let is_done = applied.is_some();
        let applied = applied.unwrap_or_default();
        Report {
            operation,
            success: refusal.is_none(),
            dry_run: false,
            state: match (refusal, is_done) {
                (Some(_), _) => State::Failed,
                (None, true) => State::Completed,
                (None, false) => State::NOT_STARTED,
            },
            standing: self.standing,
            items_synced: if is_done {
                (self.changes.len() + self.pulled.len()) as u64
            } else {
                0
            },
            items_skipped: skipped,
            errors,
            snapshot: applied.snapshot,
            message: applied.message,
            traffic,
            duration_ms,
            changes: Arc::unwrap_or_clone(self.changes),
            pulled: self.pulled,
            merged: self.merged,
            conflicts: self.conflicts,
        }
    }
}

/// Why nothing is done where there are conflicts.
pub fn refusal(conflicts: &[Conflict]) -> Option<Error> {
    let paths = conflicts.iter().map(|conflict| conflict.path.to_string());
    (!conflicts.is_empty()).then(|| Error::Conflict {
        paths: paths.collect(),
    })
}

fn problems(refused: &mut Vec<Problem>, collisions: &mut Vec<Problem>) -> Vec<Problem> {
    let mut problems = std::mem::take(refused);
    problems.append(collisions);
    problems
}
