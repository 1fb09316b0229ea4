//! Why an operation did not do what it was asked.

use std::path::PathBuf;

use snafu::Snafu;
use sync_core::map::MapError;
use sync_core::{Class, Digest, Fault, SnapshotId};

/// Why an operation did not do what it was asked.
///
/// Where nothing else is said, workspace and tenant are as they were.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// There is no workspace where one was looked for.
    #[snafu(display("there is no workspace at `{}` or above it", path.display()))]
    NoWorkspace {
        /// Where the search began.
        path: PathBuf,
    },
    /// There is a workspace already.
    #[snafu(display("there is a workspace at `{}` already", path.display()))]
    WorkspaceExists {
        /// Where.
        path: PathBuf,
    },
    /// A file could not be read.
    #[snafu(display("could not read `{}`", path.display()))]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[snafu(display("could not write `{}`", path.display()))]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `sync.toml` is not TOML, or has an unknown key or a wrong value.
    #[snafu(display("`{}` is not a valid configuration", path.display()))]
    ConfigSyntax {
        /// The file.
        path: PathBuf,
        /// What the parser said, with the line.
        source: toml::de::Error,
    },
    /// A value in `sync.toml` makes no sense.
    #[snafu(display("`{key}` in sync.toml is not valid: {reason}"))]
    Config {
        /// Which key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// What a program asks for makes no sense.
    #[snafu(display("`{setting}` is not valid: {reason}"))]
    Setting {
        /// Which setting.
        setting: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A plan is applied once.
    #[snafu(display("the plan was applied already"))]
    PlanSpent,
    /// A call took longer than it may.
    #[snafu(display("it was not done within {} s", deadline.as_secs_f64()))]
    Deadline {
        /// How long it may take.
        deadline: std::time::Duration,
    },
    /// The workspace belongs to no tenant.
    #[snafu(display("the workspace belongs to no tenant: its sync.toml has no `[remote]`"))]
    NoRemote,
    /// No remote has this name.
    #[snafu(display("the workspace has no remote `{name}`"))]
    UnknownRemote {
        /// What was asked for.
        name: String,
    },
    /// Several remotes, none of which is the default.
    #[snafu(display("the workspace has several remotes, and none is the default: {names}"))]
    WhichRemote {
        /// Their names, for people.
        names: String,
    },
    /// A remote of this name is there already.
    #[snafu(display("the workspace has a remote `{name}` already"))]
    RemoteExists {
        /// The name.
        name: String,
    },
    /// `sync.toml` is written in a way that is not edited for people.
    #[snafu(display("the remote `{name}` in sync.toml is not written as a table of its own"))]
    Uneditable {
        /// The remote.
        name: String,
    },
    /// Somebody else moved the branch that was promoted to.
    #[snafu(display("branch `{branch}` was moved while it was being promoted to"))]
    OvertakenThere {
        /// The branch.
        branch: String,
    },
    /// The tenant has no branch of this name.
    #[snafu(display("the tenant has no branch `{branch}`"))]
    NoBranch {
        /// The branch.
        branch: String,
    },
    /// `.sync/state.json` cannot be read.
    #[snafu(display("the workspace's state in `{}` is damaged: {reason}", path.display()))]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another run holds the workspace.
    #[snafu(display("another run is working in this workspace: {holder}"))]
    Locked {
        /// Who, and since when.
        holder: String,
    },
    /// A daemon runs in the workspace.
    #[snafu(display("a daemon runs in this workspace: {holder}"))]
    DaemonRunning {
        /// Who, and since when.
        holder: String,
    },
    /// The tree could not be captured or changed.
    #[snafu(transparent)]
    Files {
        /// What `sync-files` said.
        source: sync_files::Error,
    },
    /// The private store of the workspace failed.
    #[snafu(display("the workspace's private store failed"))]
    Store {
        /// What it said.
        source: sync_store::Error,
    },
    /// The rows of the database, or their history.
    #[snafu(transparent)]
    Rows {
        /// What `sync-rows` said.
        source: sync_rows::Error,
    },
    /// Skills, content or access control beside their rows.
    #[snafu(transparent)]
    Local {
        /// What `sync-local` said.
        source: sync_local::Error,
    },
    /// No conflict, or several, are named so.
    #[snafu(display("{found} conflicts are named `{id}`"))]
    NoConflict {
        /// As given.
        id: String,
        /// How many.
        found: usize,
    },
    /// There is no such job.
    #[snafu(display("there is no job `{name}`"))]
    NoJob {
        /// As given.
        name: String,
    },
    /// Somebody else runs the job.
    #[snafu(display("job `{name}` is running already"))]
    JobRunning {
        /// Which.
        name: String,
    },
    /// A map could not be read.
    #[snafu(display("the map of files could not be read"))]
    Map {
        /// What is wrong.
        source: MapError,
    },
    /// The tenant cannot be reached.
    #[snafu(transparent)]
    Transport {
        /// What the transport said.
        source: sync_transport::Error,
    },
    /// The tenant's server refused the request.
    #[snafu(display("the tenant refused: {message} ({code}, request {request_id})"))]
    Refused {
        /// The status of its answer.
        status: u16,
        /// Its own code.
        code: String,
        /// What it said.
        message: String,
        /// What it advised.
        advice: Option<String>,
        /// The request, as its log names it.
        request_id: String,
        /// How long it asked to be left alone.
        retry_after: Option<std::time::Duration>,
    },
    /// Somebody else is where the tenant was met.
    #[snafu(display("{place} is {found}, and this workspace knows it as {known}"))]
    OtherTenant {
        /// Which tenant, at which address.
        place: String,
        /// The key that it is known by.
        known: String,
        /// The key of who answers.
        found: String,
    },
    /// The tenant's server answered with something that is not of the protocol.
    #[snafu(display("the answer of the tenant's server is not of the protocol: {reason}"))]
    Answer {
        /// What is wrong with it.
        reason: String,
    },
    /// The tenant sent an object that nobody asked for, or that is not what its name promises.
    #[snafu(display("the tenant sent objects that are refused: {reason}"))]
    Hostile {
        /// What is wrong with them.
        reason: String,
    },
    /// Both sides have changed since the base.
    #[snafu(display("workspace and tenant have both changed since they last agreed"))]
    Diverged {
        /// The tenant's head.
        head: Option<SnapshotId>,
    },
    /// Somebody else moved the branch while this push was under way.
    #[snafu(display("the branch moved to {} while this push was made", head.map_or_else(|| "nothing".to_owned(), |head| head.short())))]
    Stale {
        /// Where it is now.
        head: Option<SnapshotId>,
    },
    /// The tenant no longer has what the workspace last agreed on with it.
    #[snafu(display("the tenant's branch is gone; this workspace last agreed with it on {}", base.short()))]
    BranchGone {
        /// The base.
        base: SnapshotId,
    },
    /// A pull would overwrite local edits.
    #[snafu(display("{} changed here and on the tenant: {}", count(paths.len(), "path"), listed(paths)))]
    Conflict {
        /// The paths.
        paths: Vec<String>,
    },
    /// A file that both sides know can no longer be captured: a push would look as if it had been deleted.
    #[snafu(display(
        "`{path}` is part of the history and is left out now: a push would delete it on the tenant"
    ))]
    LeftOut {
        /// Its path.
        path: String,
    },
    /// Nothing, or hardly anything, would remain.
    #[snafu(display("{} of the {of} {what} of {place} would remain", if *left == 0 { "none".to_owned() } else { left.to_string() }))]
    Empties {
        /// On which side.
        place: &'static str,
        /// Files or rows.
        what: &'static str,
        /// How many would remain.
        left: u64,
        /// Of how many.
        of: u64,
    },
    /// More would be removed than is allowed.
    #[snafu(display("{removed} of {of} {what} would be removed from {place}; {allowed} may be"))]
    Removes {
        /// On which side.
        place: &'static str,
        /// Files or rows.
        what: &'static str,
        /// How many would go.
        removed: u64,
        /// Of how many.
        of: u64,
        /// How many may.
        allowed: u64,
    },
    /// A filter takes one half of a change and leaves the other.
    #[snafu(display("the filter would leave a file where a directory has to be"))]
    Splits,
    /// The tree cannot be watched.
    #[snafu(display("`{}` cannot be watched for changes", path.display()))]
    Watch {
        /// The tree.
        path: PathBuf,
        /// What the system said.
        source: notify::Error,
    },
    /// There is nothing to bring back.
    #[snafu(display(
        "there is nothing to undo: no pull, sync or rollback has replaced anything here, or what it replaced is lost"
    ))]
    NothingToUndo,
    /// The branch has no snapshot yet.
    #[snafu(display("the tenant's branch has no snapshot yet"))]
    NoHead,
    /// Another run has synced this workspace since the plan was made.
    #[snafu(display("another run has synced this workspace since the plan was made"))]
    Overtaken,
    /// What was being received ended early.
    #[snafu(display("the contents ended before they were complete"))]
    Cut,
    /// The tenant keeps asking for an object that nothing here has.
    #[snafu(display("the tenant lacks object {digest}, and this workspace does not have it"))]
    Unobtainable {
        /// Which.
        digest: Digest,
    },
    /// No snapshot, or several, start with these digits.
    #[snafu(display("`{given}` does not name a snapshot: {reason}"))]
    NoSnapshot {
        /// As given.
        given: String,
        /// Why not.
        reason: String,
    },
    /// Author and message are too long for a snapshot.
    #[snafu(display("the snapshot could not be made"))]
    Snapshot {
        /// What is wrong.
        source: sync_core::snapshot::SnapshotError,
    },
    /// A task of this process ended without an answer.
    #[snafu(display("a task of this process ended without an answer"))]
    Task {
        /// What the runtime said.
        source: tokio::task::JoinError,
    },
}

fn count(n: usize, what: &str) -> String {
    if n == 1 {
        format!("1 {what}")
    } else {
        format!("{n} {what}s")
    }
}

fn listed(paths: &[String]) -> String {
    const SHOWN: usize = 5;
    let text = paths
        .iter()
        .take(SHOWN)
        .map(|path| format!("`{path}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match paths.len().checked_sub(SHOWN) {
        None | Some(0) => text,
        Some(more) => format!("{text} and {more} more"),
    }
}

impl Error {
    /// Whether somebody else was quicker, so that a new plan may well succeed.
    pub fn is_race(&self) -> bool {
        match self {
            Self::Stale { .. } => true,
            Self::Rows { source } => source.is_moved(),
            Self::Local { source } => source.is_moved(),
            _ => false,
        }
    }

    /// Whether it is about the tenant's rows, so that files may well go without them.
    pub(crate) fn is_about_rows(&self) -> bool {
        let is_of_rows = |code: &str| {
            code.starts_with("db/") || code.starts_with("rows/") || code == "server/no-database-url"
        };
        matches!(self, Self::Refused { code, .. } if is_of_rows(code))
    }

    /// Whether the tenant says that it has never had a snapshot of this name.
    pub(crate) fn is_unknown_snapshot(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "server/no-snapshot")
    }

    /// Whether the tenant says that a snapshot is known by name alone: its branch no longer keeps it.
    pub(crate) fn is_expired(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "store/expired")
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NoWorkspace { .. } => "engine/no-workspace",
            Self::WorkspaceExists { .. } => "engine/workspace-exists",
            Self::Read { .. } => "engine/read",
            Self::Write { .. } => "engine/write",
            Self::ConfigSyntax { .. } => "engine/config-syntax",
            Self::Config { .. } => "engine/config",
            Self::Setting { .. } => "engine/setting",
            Self::PlanSpent => "engine/plan-spent",
            Self::Deadline { .. } => "engine/deadline",
            Self::NoRemote => "engine/no-remote",
            Self::UnknownRemote { .. } => "engine/unknown-remote",
            Self::WhichRemote { .. } => "engine/which-remote",
            Self::RemoteExists { .. } => "engine/remote-exists",
            Self::Uneditable { .. } => "engine/uneditable",
            Self::NoBranch { .. } => "engine/no-branch",
            Self::OvertakenThere { .. } => "engine/overtaken-there",
            Self::State { .. } => "engine/state",
            Self::Locked { .. } => "engine/locked",
            Self::DaemonRunning { .. } => "engine/daemon-running",
            Self::Files { source } => source.code(),
            Self::Store { .. } => "engine/store",
            Self::Rows { source } => source.code(),
            Self::Local { source } => source.code(),
            Self::NoConflict { .. } => "engine/no-conflict",
            Self::NoJob { .. } => "engine/no-job",
            Self::JobRunning { .. } => "engine/job-running",
            Self::Map { .. } => "engine/map",
            Self::Transport { source } => source.code(),
            Self::Refused { .. } => "engine/refused",
            Self::OtherTenant { .. } => "engine/other-tenant",
            Self::Answer { .. } => "engine/answer",
            Self::Hostile { .. } => "engine/hostile",
            Self::Diverged { .. } => "engine/diverged",
            Self::Stale { .. } => "engine/stale",
            Self::BranchGone { .. } => "engine/branch-gone",
            Self::Conflict { .. } => "engine/conflict",
            Self::LeftOut { .. } => "engine/left-out",
            Self::Empties { .. } => "engine/empties",
            Self::Removes { .. } => "engine/removes",
            Self::Splits => "engine/splits",
            Self::NothingToUndo => "engine/nothing-to-undo",
            Self::NoHead => "engine/no-head",
            Self::Watch { .. } => "engine/watch",
            Self::Overtaken => "engine/overtaken",
            Self::Cut => "engine/cut",
            Self::Unobtainable { .. } => "engine/unobtainable",
            Self::NoSnapshot { .. } => "engine/no-snapshot",
            Self::Snapshot { .. } => "engine/snapshot",
            Self::Task { .. } => "engine/task",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NoWorkspace { .. }
            | Self::WorkspaceExists { .. }
            | Self::ConfigSyntax { .. }
            | Self::Config { .. }
            | Self::Setting { .. }
            | Self::PlanSpent
            | Self::NoRemote
            | Self::UnknownRemote { .. }
            | Self::WhichRemote { .. }
            | Self::RemoteExists { .. }
            | Self::Uneditable { .. }
            | Self::NoBranch { .. }
            | Self::NoSnapshot { .. }
            | Self::NoConflict { .. }
            | Self::NoJob { .. }
            | Self::Splits
            | Self::NothingToUndo
            | Self::NoHead
            | Self::Snapshot { .. } => Class::Usage,
            Self::Read { .. } | Self::Write { .. } | Self::Watch { .. } => Class::Failed,
            Self::Files { source } => source.class(),
            Self::Store { source } => source.class(),
            Self::Rows { source } => source.class(),
            Self::Local { source } => source.class(),
            Self::Transport { source } => source.class(),
            Self::Locked { .. }
            | Self::DaemonRunning { .. }
            | Self::JobRunning { .. }
            | Self::Deadline { .. }
            | Self::Cut => Class::Unavailable,
            Self::State { .. }
            | Self::OtherTenant { .. }
            | Self::Answer { .. }
            | Self::Hostile { .. }
            | Self::Unobtainable { .. } => Class::Integrity,
            Self::Map { source } => match source {
                MapError::Store { .. } => Class::Failed,
                _ => Class::Integrity,
            },
            // The server asks for less than all that was sent: it broke off on its way.
            Self::Refused { code, .. } if ["store/cut", "server/body"].contains(&code.as_str()) => {
                Class::Unavailable
            }
            Self::Refused { status, .. } => match status {
                401 | 403 => Class::Denied,
                409 | 412 => Class::Conflict,
                422 => Class::Integrity,
                408 | 429 | 502..=504 => Class::Unavailable,
                400 | 404 | 405 | 410 | 413 => Class::Usage,
                _ => Class::Failed,
            },
            Self::Diverged { .. }
            | Self::Stale { .. }
            | Self::BranchGone { .. }
            | Self::OvertakenThere { .. }
            | Self::LeftOut { .. }
            | Self::Overtaken
            | Self::Empties { .. }
            | Self::Removes { .. }
            | Self::Conflict { .. } => Class::Conflict,
            Self::Task { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NoWorkspace { .. } => {
                "run `sync-cli init` there, or name the workspace with `-C DIR`"
            }
            Self::UnknownRemote { .. } => {
                "`sync-cli remote list` lists them, `sync-cli remote add NAME URL` adds one"
            }
            Self::WhichRemote { .. } => {
                "name one with `--remote NAME`, or call one `[remote]` in sync.toml"
            }
            Self::RemoteExists { .. } => "take another name, or run `sync-cli remote remove` first",
            Self::Uneditable { .. } => "edit sync.toml by hand; nothing was written",
            Self::OvertakenThere { .. } => {
                "look at the plan again and promote again; what was sent is kept there"
            }
            Self::NoBranch { .. } => {
                "`sync-cli branch list` lists them; a push with `--branch NAME` begins one"
            }
            Self::NoRemote => {
                "add `[remote]` with `url = \"https://...\"` or `url = \"embedded:DIR\"`"
            }
            Self::State { .. } => {
                "restore the file; without it the next sync takes workspace and tenant for two that never met"
            }
            Self::Locked { .. } | Self::JobRunning { .. } => "wait for it to end",
            Self::DaemonRunning { .. } => {
                "`sync-cli daemon status` asks it, and `sync-cli daemon stop` ends it"
            }
            Self::NoJob { .. } => "`sync-cli jobs list` lists them",
            Self::Files { source } => return source.hint(),
            Self::Rows { source } => return source.hint(),
            Self::Local { source } => return source.hint(),
            Self::NoConflict { .. } => "`sync-cli conflicts list` shows them",
            Self::Transport { source } => return source.hint(),
            Self::Store { source } if source.class() == Class::Unavailable => return source.hint(),
            Self::LeftOut { .. } => {
                "allow it in `files.allow_secrets`, or move it out of the tree to delete it on the tenant"
            }
            Self::PlanSpent => "plan again: what has moved since is in the new plan",
            Self::Deadline { .. } => "try again, with a longer deadline where much has to travel",
            Self::Overtaken => "run the command again",
            Self::Empties { .. } => {
                "look at it with `--dry-run`; if that is what you want, add `--yes`"
            }
            Self::Removes { .. } => {
                "look at it with `--dry-run`; if that is what you want, add `--yes` or a larger `--max-delete`"
            }
            Self::Watch { .. } => {
                "the system may be out of watches: raise `fs.inotify.max_user_watches`, or sync from a timer"
            }
            Self::Splits => "choose the paths above and below it, too",
            Self::Store { .. } | Self::Map { .. } => {
                "run `sync-cli doctor`; `.sync/store` and `.sync/stat-cache` may be deleted, they are made again"
            }
            Self::Refused {
                advice: Some(advice),
                ..
            } => advice,
            Self::OtherTenant { .. } => {
                "ask the tenant's operator which key is right; `sync-cli remote trust` takes the new one"
            }
            Self::Diverged { .. } | Self::Stale { .. } => {
                "run `sync-cli sync`, which merges both sides"
            }
            Self::BranchGone { .. } => {
                "if that is as it should be, remove the branch from `.sync/state.json` and push: it is made anew"
            }
            Self::Conflict { .. } => {
                "run `sync-cli sync`, which merges texts by line; what it cannot merge, decide with `--on-conflict ours|theirs|keep-both`"
            }
            Self::NoSnapshot { .. } => "`sync-cli log` lists the snapshots",
            _ => return None,
        };
        Some(text.to_owned())
    }
}
