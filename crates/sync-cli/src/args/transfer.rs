//! The verbs that bring one side to the other, and those that say how they differ.

use argh::{ArgsInfo, FromArgs};
use sync_engine::local::Side;
use sync_engine::{MaxDelete, OnConflict};

use super::values::{Aim, Choice, Returning, SyncTarget, Target};

/// say where workspace and tenant stand, and how much differs on which side
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "status")]
pub(crate) struct Status {
    /// what to look at: all, files or database, or any of skills, content and access-control; all where absent
    #[argh(positional)]
    pub(crate) targets: Vec<Aim>,
    /// only these paths, in git's pattern syntax; may be repeated
    #[argh(option)]
    pub(crate) filter: Vec<String>,
    /// exit with 10 where there are differences
    #[argh(switch)]
    pub(crate) exit_code: bool,
}

/// show what differs: the base and the workspace, a snapshot A and the workspace, or snapshots A and B
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "diff", example = "sync-cli diff 7f3a9c0 9b1e44d")]
pub(crate) struct Diff {
    /// none, one or two snapshots, older first, each by at least 4 digits of its id; then all, files or database, or,
    /// without snapshots, any of skills, content and access-control
    #[argh(positional)]
    pub(crate) snapshots: Vec<String>,
    /// only these paths, in git's pattern syntax; may be repeated
    #[argh(option)]
    pub(crate) filter: Vec<String>,
    /// only the paths, without the lines that differ
    #[argh(switch)]
    pub(crate) stat: bool,
    /// exit with 10 where there are differences
    #[argh(switch)]
    pub(crate) exit_code: bool,
}

/// send what changed here to the tenant, as a new snapshot; or files to the rows of the workspace's database
#[derive(Debug, FromArgs, ArgsInfo)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
#[argh(
    subcommand,
    name = "push",
    example = "sync-cli push files -m \"tune triage agent\""
)]
pub(crate) struct Push {
    /// what to push: all, files or database, or any of skills, content and access-control; all where absent
    #[argh(positional)]
    pub(crate) targets: Vec<Aim>,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// only these paths, in git's pattern syntax, may be repeated; the rest is left as it is on both sides
    #[argh(option)]
    pub(crate) filter: Vec<String>,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// skills and content: what is gone at the source goes at the target
    #[argh(switch)]
    pub(crate) delete: bool,
    /// skills, content and access-control: who is right where both sides changed the same, disk or database
    #[argh(option)]
    pub(crate) on_conflict: Option<Side>,
    /// skills, content and access-control: what is fit is synced although something else is not
    #[argh(switch)]
    pub(crate) keep_going: bool,
    /// why, for the log; made from what changed where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
}

/// bring what changed on the tenant into the workspace, or rows of its database into files; a local edit is never overwritten
#[derive(Debug, FromArgs, ArgsInfo)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
#[argh(subcommand, name = "pull")]
pub(crate) struct Pull {
    /// what to pull: all, files or database, or any of skills, content and access-control; all where absent
    #[argh(positional)]
    pub(crate) targets: Vec<Aim>,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// only these paths, in git's pattern syntax, may be repeated; the rest is left as it is on both sides
    #[argh(option)]
    pub(crate) filter: Vec<String>,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// skills and content: what is gone at the source goes at the target
    #[argh(switch)]
    pub(crate) delete: bool,
    /// skills, content and access-control: who is right where both sides changed the same, disk or database
    #[argh(option)]
    pub(crate) on_conflict: Option<Side>,
    /// skills, content and access-control: what is fit is synced although something else is not
    #[argh(switch)]
    pub(crate) keep_going: bool,
}

/// bring what changed on the tenant, merge it with what changed here, and send the result
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "sync",
    note = "Texts are merged by line; what cannot be merged is listed with exit code 3, and nothing is written.",
    example = "sync-cli sync files --on-conflict keep-both"
)]
pub(crate) struct SyncBoth {
    /// what to sync: all, files or database; all where absent
    #[argh(positional, default = "SyncTarget::All")]
    pub(crate) target: SyncTarget,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// what to do where both sides changed the same: ask, ours, theirs or keep-both
    #[argh(option, default = "OnConflict::Ask")]
    pub(crate) on_conflict: OnConflict,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// why, for the log; made from what changed where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
}

/// make a new snapshot with the files of an old one, here and on the tenant
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "rollback",
    example = "sync-cli rollback 7f3a9c0 -m \"the new prompt was worse\""
)]
pub(crate) struct Rollback {
    /// the snapshot, by at least 4 digits of its id
    #[argh(positional)]
    pub(crate) snapshot: String,
    /// what comes back: files, database or release
    #[argh(positional, default = "Returning::Tenant(Target::Files)")]
    pub(crate) target: Returning,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// what to do with edits of files that change: ask, ours, theirs or keep-both
    #[argh(option, default = "OnConflict::Ask")]
    pub(crate) on_conflict: OnConflict,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
    /// why, for the log; made from what changed where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
}

/// bring back what the last pull, sync, rollback or undo replaced in the workspace
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "undo")]
pub(crate) struct Undo {
    /// what comes back: files or database
    #[argh(positional, default = "Target::Files")]
    pub(crate) target: Target,
    /// print what would be done and do nothing, on either side
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// what to do with edits since then: ask, ours (they stay), theirs (they go) or keep-both
    #[argh(option, default = "OnConflict::Ask")]
    pub(crate) on_conflict: OnConflict,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
}

/// sync once, then again whenever something is saved in the tree, until interrupted
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "watch")]
pub(crate) struct Watch {
    /// what to watch: files or database, or any of skills, content and access-control; files where absent
    #[argh(positional)]
    pub(crate) targets: Vec<Aim>,
    /// what to do where both sides changed the same: ask, ours, theirs or keep-both; disk or database for skills, content
    /// and access-control
    #[argh(option, default = "Choice::Tenant(OnConflict::Ask)")]
    pub(crate) on_conflict: Choice,
    /// skills and content: what is gone from the disk goes from the database
    #[argh(switch)]
    pub(crate) delete: bool,
    /// skills, content and access-control: what is fit is synced although something else is not
    #[argh(switch)]
    pub(crate) keep_going: bool,
    /// how many files may be removed unasked, as a number or a share; 25% where absent, once it is over 20 files
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
}
