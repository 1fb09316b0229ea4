//! `promote`: the same snapshot on another tenant.

use serde_json::{Value, json};
use sync_core::rows::TableCounts;
use sync_core::{ByteCount, Fault};
use sync_engine::{
    Counts, Problem, PromoteOutcome, PromotePlan, Promoting, Promotion, RemoteConfig, State,
    Traffic,
};

use super::ask::by_rules;
use super::transfer::{limits, snapshot_line};
use super::{Place, ask, rows};
use crate::args::{Format, Promote, RemoteBranch};
use crate::connect::{Connection, Purpose};
use crate::progress::Progress;
use crate::terminal::seconds;
use crate::{Error, Outcome};

/// One end of it.
struct End {
    name: String,
    config: RemoteConfig,
}

pub(super) async fn run(place: &Place<'_>, asked: Promote) -> Result<Outcome, Error> {
    let workspace = place.workspace_for(Purpose::of(asked.dry_run))?;
    let end = |named: &RemoteBranch| {
        let (name, remote) = workspace
            .config()
            .remote_named(Some(named.remote.as_str()))?;
        let mut config = remote.clone();
        if let Some(branch) = &named.branch {
            config.branch = branch.clone();
        }
        let name = name.to_owned();
        Ok::<_, Error>(End { name, config })
    };
    let ends = [end(&asked.from)?, end(&asked.to)?];
    let purpose = Purpose::of(asked.dry_run);
    let [from, to] = &ends;
    let source = [
        (from.name.as_str(), &from.config),
        (to.name.as_str(), &to.config),
    ];
    let connections = Connection::pair(&workspace, source, place.env, purpose).await?;
    let progress = Progress::new(&place.terminal);
    let remotes = connections.remotes();
    let context = place.context(progress.listener());
    let promotion = Promotion::new(&workspace, &from.name, remotes, &context).await;
    let done = match promotion {
        Err(error) => Err(error.into()),
        Ok(promotion) => {
            let done = Box::pin(promote(place, &asked, &ends, &promotion)).await;
            progress.finish();
            promotion.close();
            done
        }
    };
    connections.close().await;
    done
}

async fn promote(
    place: &Place<'_>,
    asked: &Promote,
    ends: &[End; 2],
    promotion: &Promotion,
) -> Result<Outcome, Error> {
    let plan = promotion
        .plan(asked.snapshot.as_deref(), asked.on_conflict.0)
        .await?;
    let mut told = told(&plan, ends);
    told["dry_run"] = asked.dry_run.into();
    if plan.has_conflicts() {
        return Ok(undecided(place, &plan, told));
    }
    let is_nothing = plan.standing == Promoting::UpToDate;
    let mut limits = limits(asked.max_delete, asked.yes);
    if !asked.dry_run && !is_nothing {
        ask::confirm(place, question(asked, &plan), &mut limits, || {
            place.terminal.changes(&plan.changes, &plan.merged);
            for sum in &plan.rows {
                place.terminal.line(&rows::sum_line(sum));
            }
        })?;
    }
    let lines = Lines::of(&plan);
    let outcome = if asked.dry_run {
        None
    } else {
        let applied = promotion.apply(plan, asked.message.clone(), &limits).await;
        Some(applied?)
    };
    let traffic = promotion.traffic();
    told["state"] = json!(if outcome.is_some() {
        State::Completed
    } else {
        State::NOT_STARTED
    });
    finish(place, ends, told, &lines, outcome, traffic);
    Ok(Outcome::Done)
}

/// What people are shown of a plan.
struct Lines {
    standing: Promoting,
    changes: Vec<sync_engine::FileChange>,
    merged: Vec<sync_core::TreePath>,
    rows: Vec<TableCounts>,
}

impl Lines {
    fn of(plan: &PromotePlan) -> Self {
        Self {
            standing: plan.standing,
            changes: plan.changes.clone(),
            merged: plan.merged.clone(),
            rows: plan.rows.clone(),
        }
    }
}

/// What programs are told of a plan.
fn told(plan: &PromotePlan, ends: &[End; 2]) -> Value {
    let [from, to] = ends.each_ref().map(
        |end| json!({"remote": end.name, "tenant": end.config.tenant, "branch": end.config.branch}),
    );
    json!({
        "operation": "promote",
        "success": true,
        "from": from,
        "to": to,
        "standing": plan.standing,
        "fast_forward": plan.standing == Promoting::FastForward,
        "promoted": plan.snapshot,
        "ancestor": plan.ancestor,
        "snapshot": null,
        "message": null,
        "changes": plan.changes,
        "merged": plan.merged,
        "conflicts": plan.conflicts,
        "rows": plan.rows,
        "row_conflicts": plan.row_conflicts,
        "release_conflict": plan.release_conflict,
        "set_aside": [],
        "errors": [],
    })
}

/// Tells what a person has to choose: nothing was done.
fn undecided(place: &Place<'_>, plan: &PromotePlan, mut told: Value) -> Outcome {
    let terminal = &place.terminal;
    if let Err(refusal) = plan.ensure_chosen() {
        for conflict in &plan.conflicts {
            terminal.conflict(conflict);
        }
        for conflict in &plan.row_conflicts {
            rows::conflict_line(terminal, conflict);
        }
        if let Some([ours, theirs]) = plan.release_conflict {
            let short = |release: Option<sync_core::Digest>| {
                release.map_or_else(|| "none".to_owned(), |release| release.short())
            };
            let (ours, theirs) = (short(ours), short(theirs));
            terminal.line(&format!(
                "conflict  release: {ours} there, {theirs} to come"
            ));
        }
        told["success"] = false.into();
        told["state"] = json!(State::Failed);
        let problem = Problem::from_fault(&refusal);
        told["errors"] = json!([problem]);
        told["duration_ms"] = place.elapsed_ms().into();
        terminal.result(&told, Outcome::Undecided, Some(&problem));
        if terminal.format == Format::Text {
            terminal.error(&Chosen(refusal));
        }
    }
    Outcome::Undecided
}

/// The refusal with the advice that fits here: no workspace has these conflicts.
#[derive(Debug)]
struct Chosen(sync_engine::Error);

impl std::fmt::Display for Chosen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "both tenants changed the same")
    }
}

impl std::error::Error for Chosen {}

impl Fault for Chosen {
    fn code(&self) -> &'static str {
        self.0.code()
    }

    fn class(&self) -> sync_core::Class {
        self.0.class()
    }

    fn hint(&self) -> Option<String> {
        let hint = "choose with `--on-conflict ours` (the target's version) or `theirs` (the source's), or sync them in a workspace";
        Some(hint.to_owned())
    }
}

/// What a person is to be asked; `None` where the plan just runs.
fn question(asked: &Promote, plan: &PromotePlan) -> Option<String> {
    let files = Counts::of(&plan.changes).removed;
    let rows = plan.rows.iter().map(|table| table.deleted).sum();
    let is_decided = plan.standing == Promoting::Merge;
    let question = ask::question(
        files,
        rows,
        by_rules(&plan.decided),
        is_decided.then_some(asked.on_conflict.0),
    );
    question.map(|question| format!("on `{}`: {question}", asked.to))
}

/// Tells what was done, or with `None` what would be.
fn finish(
    place: &Place<'_>,
    ends: &[End; 2],
    mut told: Value,
    lines: &Lines,
    outcome: Option<PromoteOutcome>,
    [from, to]: [Traffic; 2],
) {
    let terminal = &place.terminal;
    told["from"]["bytes_received"] = from.bytes_received.into();
    told["to"]["bytes_sent"] = to.bytes_sent.into();
    told["requests"] = (from.requests + to.requests).into();
    told["duration_ms"] = place.elapsed_ms().into();
    if let Some(outcome) = &outcome {
        told["snapshot"] = json!(outcome.snapshot);
        told["message"] = json!(outcome.message);
        told["set_aside"] = json!(outcome.set_aside);
    }
    terminal.value(&told);
    let target = format!("{}:{}", ends[1].name, ends[1].config.branch);
    if lines.standing == Promoting::UpToDate {
        terminal.line(&format!("nothing to promote: {target} has it already"));
        return;
    }
    terminal.changes(&lines.changes, &lines.merged);
    for sum in &lines.rows {
        terminal.line(&rows::sum_line(sum));
    }
    let how = match lines.standing {
        Promoting::Merge => "merged into",
        _ => "fast-forward of",
    };
    let counts = Counts::of(&lines.changes);
    let rows: u64 = lines.rows.iter().map(TableCounts::total).sum();
    let would = if outcome.is_some() { "" } else { "would be " };
    let sent = ByteCount(to.bytes_sent);
    let time = seconds(place.elapsed_ms());
    let summary = format!("promote   {would}{how} {target}: {counts}, {rows} rows");
    let Some(outcome) = outcome else {
        terminal.line(&summary);
        return;
    };
    terminal.line(&format!("{summary}    {sent} sent    {time}"));
    for row in &outcome.set_aside {
        terminal.line(&format!(
            "set aside {} {}: {}",
            row.table, row.key, row.reason
        ));
    }
    snapshot_line(terminal, Some(outcome.snapshot), outcome.message.as_deref());
}
