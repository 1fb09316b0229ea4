//! Skills, content and access control: the tree of a workspace beside its database, without a tenant.
//!
//! A [`Local`] is one run. What is to be done is decided in `sync-local`; here are what belongs to a workspace: its lock, its
//! guards, the name of the working copy, and a journal that another run has left.

use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use snafu::{ResultExt, ensure};
use sync_db::Database;

use crate::error::{OvertakenSnafu, WriteSnafu};
use crate::event::{Extent, Item, Target, Telling, Way};
use crate::guard::{Limits, Place, Removal, What};
use crate::history::{Lines, line_diff};
use crate::report::{Counts, Problem};
use crate::session::Context;
use crate::state::{Sync, replace};
use crate::{Error, Workspace};

pub use sync_local::{
    Change, Direction, FieldChange, ItemDifference, LocalItem, LocalKind, LocalOptions,
    LocalOutcome, LocalPlan, Side, Verdict,
};
use sync_local::{LocalPlace, LocalSync, Ports};

/// How often a run begins anew because a side moved between plan and application.
const ROUNDS: u32 = 8;
/// Below the private directory: the name of this working copy.
const COPY: &str = "local/copy";

/// One run between the tree of a workspace and its database.
#[derive(Debug)]
pub struct Local {
    workspace: Workspace,
    database: Database,
    context: Context,
    /// The name of this working copy, once it was asked for.
    copy: OnceLock<String>,
}

/// What a run is asked to do.
#[derive(Debug, Clone)]
pub struct LocalRun {
    /// Which items.
    pub kind: LocalKind,
    /// Which side is brought up to date.
    pub direction: Direction,
    /// How.
    pub options: LocalOptions,
    /// How much may go.
    pub limits: Limits,
}

/// Where the tree stands to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocalStanding {
    /// Both have the same.
    InSync,
    /// Only files changed.
    DiskAhead,
    /// Only rows changed.
    DatabaseAhead,
    /// Both changed.
    Diverged,
}

impl LocalStanding {
    /// In one word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InSync => "in_sync",
            Self::DiskAhead => "disk_ahead",
            Self::DatabaseAhead => "database_ahead",
            Self::Diverged => "diverged",
        }
    }
}

/// What a plan says, for people and programs.
#[derive(Debug, Serialize)]
pub struct LocalSummary {
    /// In one word.
    pub standing: LocalStanding,
    /// What the disk changed since both sides agreed.
    pub disk: Counts,
    /// What the database changed since then.
    pub database: Counts,
    /// How many items are in sync.
    pub in_sync: u64,
    /// Every other item, in the order of keys.
    pub items: Vec<LocalItem>,
    /// What cannot be synced as it is.
    pub problems: Vec<Problem>,
    /// What is left out, and may be items.
    pub left_out: Vec<Problem>,
    /// Why the plan is not followed; `None` where it is.
    #[serde(skip)]
    pub refusal: Option<Error>,
}

impl LocalSummary {
    /// Of a plan.
    pub fn of(plan: &LocalPlan) -> Self {
        let (mut disk, mut database) = (Counts::default(), Counts::default());
        // What is gone on both sides is no difference.
        let differing = plan
            .items
            .iter()
            .filter(|item| item.verdict != Verdict::Forget);
        for item in differing {
            count(&mut disk, item.disk);
            count(&mut database, item.database);
        }
        let standing = match (disk.total(), database.total()) {
            (0, 0) => LocalStanding::InSync,
            (_, 0) => LocalStanding::DiskAhead,
            (0, _) => LocalStanding::DatabaseAhead,
            _ => LocalStanding::Diverged,
        };
        Self {
            standing,
            disk,
            database,
            in_sync: plan.in_sync,
            items: plan.items.clone(),
            problems: plan.problems.iter().map(problem).collect(),
            left_out: plan.left_out.iter().map(problem).collect(),
            refusal: plan.refusal().map(Error::from),
        }
    }

    /// The items that change the target.
    pub fn changes(&self) -> impl Iterator<Item = &LocalItem> {
        let items = self.items.iter();
        items.filter(|item| item.verdict.is_change())
    }

    /// The items about which a person has to decide.
    pub fn conflicts(&self) -> impl Iterator<Item = &LocalItem> {
        let items = self.items.iter();
        items.filter(|item| item.verdict == Verdict::Conflict)
    }

    /// Whether both sides have the same, as far as they can be read.
    pub fn is_in_sync(&self) -> bool {
        self.standing == LocalStanding::InSync && self.problems.is_empty()
    }
}

fn count(counts: &mut Counts, change: Change) {
    match change {
        Change::None => {}
        Change::Added => counts.added += 1,
        Change::Edited => counts.changed += 1,
        Change::Removed => counts.removed += 1,
    }
}

fn problem(error: &sync_local::Error) -> Problem {
    Problem {
        path: error.path().map(str::to_owned),
        ..Problem::from_fault(error)
    }
}

/// The lines in which a field differs: those of the database as the older version.
pub fn field_lines(change: &FieldChange) -> Lines {
    let text = |text: &Option<String>| {
        let mut text = text.clone().unwrap_or_default();
        if !text.is_empty() {
            text.push('\n');
        }
        text
    };
    line_diff(&text(&change.database), &text(&change.disk))
}

/// What one run did.
#[derive(Debug)]
pub struct LocalDone {
    /// What was planned.
    pub summary: LocalSummary,
    /// What came of it; `None` where the plan was refused, and nothing was done.
    pub outcome: Option<LocalOutcome>,
}

impl Local {
    /// A run in `workspace` beside `database`. Nothing is read or connected to yet.
    pub const fn new(workspace: Workspace, database: Database, context: Context) -> Self {
        Self {
            workspace,
            database,
            context,
            copy: OnceLock::new(),
        }
    }

    /// Completes or takes back what an earlier run left when it was cut short. Call this before planning anything that
    /// will be applied.
    ///
    /// # Errors
    ///
    /// What the tree says; [`Error::Locked`] where somebody else is at it.
    pub async fn recover(&self) -> Result<(), Error> {
        self.workspace.recover(&self.context).await
    }

    /// Compares both sides and decides what is to be done with each item. Neither side changes.
    ///
    /// # Errors
    ///
    /// [`Error::Local`]: what tree or database say. What is wrong with single files is in the plan.
    pub async fn plan(
        &self,
        kind: LocalKind,
        direction: Direction,
        options: &LocalOptions,
    ) -> Result<LocalPlan, Error> {
        Ok(self.sync(kind).plan(direction, options).await?)
    }

    /// The fields that differ, of the first `limit` items of a plan.
    ///
    /// # Errors
    ///
    /// [`Error::Local`], also where a side changed since the plan was made.
    pub async fn describe(
        &self,
        kind: LocalKind,
        plan: &LocalPlan,
        limit: usize,
    ) -> Result<Vec<ItemDifference>, Error> {
        Ok(self.sync(kind).describe(plan, limit).await?)
    }

    /// Does what a plan of `kind` says, all of it or nothing, while it holds the workspace.
    ///
    /// # Errors
    ///
    /// [`Error::Removes`] and [`Error::Empties`] where it removes more than `limits` allow; [`Error::Locked`] where somebody
    /// else is at it; [`Error::Local`] where the plan is refused, or a side changed since it was made. Nothing was changed
    /// then. Where the database fails after the disk was changed, both sides are equal, and the next run writes that down.
    pub async fn apply(
        &self,
        kind: LocalKind,
        plan: LocalPlan,
        limits: &Limits,
    ) -> Result<LocalOutcome, Error> {
        if let Some(refusal) = plan.refusal() {
            return Err(refusal.into());
        }
        limits.check(removal(&plan))?;
        let lock = self.workspace.lock(self.context.now)?;
        self.keep_copy()?;
        let ports = Ports {
            now: self.context.now,
            random: self.context.random.clone(),
            held: Arc::new(lock),
        };
        let telling = self.telling(kind, &plan);
        let outcome = self.sync(kind).apply(plan, &ports).await?;
        telling.complete(None);
        Ok(outcome)
    }

    /// Tells of the items that are about to change.
    fn telling(&self, kind: LocalKind, plan: &LocalPlan) -> Telling {
        let target = Target::from(kind);
        let is_push = plan.direction == Direction::ToDatabase;
        let items = plan.items.iter().filter(|item| item.verdict.is_change());
        let extent = Extent {
            target,
            items: items.clone().count() as u64,
            bytes: None,
        };
        let items = items.map(|item| Item::Local {
            target,
            key: item.key.to_string(),
            path: item.path.clone(),
            change: if is_push { item.disk } else { item.database },
        });
        let way = if is_push { Way::Push } else { Way::Pull };
        Telling::begin(&self.context.listener, way, extent, items)
    }

    /// Plans and applies; anew where a side moved in between.
    ///
    /// # Errors
    ///
    /// As [`Self::plan`] and [`Self::apply`], but that a plan that is refused is no error: its summary says why.
    pub async fn run(&self, asked: &LocalRun) -> Result<LocalDone, Error> {
        if asked.direction == Direction::ToDisk {
            self.make_tree()?;
        }
        let mut round = 1;
        loop {
            let plan = self
                .plan(asked.kind, asked.direction, &asked.options)
                .await?;
            let summary = LocalSummary::of(&plan);
            if summary.refusal.is_some() {
                return Ok(LocalDone {
                    summary,
                    outcome: None,
                });
            }
            match self.apply(asked.kind, plan, &asked.limits).await {
                Ok(outcome) => {
                    return Ok(LocalDone {
                        summary,
                        outcome: Some(outcome),
                    });
                }
                Err(error) if error.is_race() && round < ROUNDS => round += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the directory of the tree where nothing was ever agreed on: git, for one, keeps no empty directories. One that
    /// is gone later is not an empty one.
    fn make_tree(&self) -> Result<(), Error> {
        let tree = self.workspace.tree();
        if kept(&self.workspace.private()).is_none() && !tree.exists() {
            std::fs::create_dir_all(&tree).context(WriteSnafu { path: tree })?;
        }
        Ok(())
    }

    fn sync(&self, kind: LocalKind) -> LocalSync {
        let place = LocalPlace {
            tree: self.workspace.tree(),
            private: self.workspace.private(),
            allow_secrets: self.workspace.config().files.allow_secrets.clone(),
            database: self.database.clone(),
            copy: self.copy().to_owned(),
        };
        LocalSync::new(kind, place)
    }

    /// The name of this working copy: the one that was kept, else a new one.
    fn copy(&self) -> &str {
        self.copy.get_or_init(|| {
            kept(&self.workspace.private()).unwrap_or_else(|| {
                let random = || (self.context.random)();
                format!("{:016x}{:016x}", random(), random())
            })
        })
    }

    /// Keeps the name before anything is agreed on under it.
    fn keep_copy(&self) -> Result<(), Error> {
        let private = self.workspace.private();
        let found = kept(&private);
        if found.as_deref() == Some(self.copy()) {
            return Ok(());
        }
        // Two first runs at once: the other one was quicker, and its name is the one that counts.
        ensure!(found.is_none(), OvertakenSnafu);
        let path = private.join(COPY);
        let mut text = self.copy().to_owned();
        let _ = writeln!(text, " {}", inode(&private));
        let made = std::fs::create_dir_all(private.join("local"));
        made.and_then(|()| replace(&path, text.as_bytes(), Sync::Yes))
            .context(WriteSnafu { path })
    }
}

/// Keeps the name of a working copy in a copy of its private directory: for a plan it is the same.
pub(crate) fn carry_name(private: &Path, copy: &Path) -> Result<(), Error> {
    let path = copy.join(COPY);
    let Some(name) = kept(private) else {
        return Ok(());
    };
    let text = format!("{name} {}\n", inode(copy));
    replace(&path, text.as_bytes(), Sync::No).context(WriteSnafu { path })
}

/// The name that was kept here. A copy of a whole workspace is another working copy: it has other directories.
fn kept(private: &Path) -> Option<String> {
    let text = std::fs::read_to_string(private.join(COPY)).ok()?;
    let (name, place) = text.trim_end().split_once(' ')?;
    let is_name = name.len() == 32 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_name && place == inode(private)).then(|| name.to_owned())
}

/// What tells a directory from its copies.
fn inode(dir: &Path) -> String {
    std::fs::metadata(dir).map_or_else(|_| String::new(), |found| found.ino().to_string())
}

/// What a plan removes from its target.
fn removal(plan: &LocalPlan) -> Removal {
    Removal {
        place: match plan.direction {
            Direction::ToDatabase => Place::Database,
            Direction::ToDisk => Place::Disk,
        },
        what: What::Items,
        removed: plan.removed(),
        added: plan.added(),
        of: plan.of,
    }
}

#[cfg(test)]
mod tests;
