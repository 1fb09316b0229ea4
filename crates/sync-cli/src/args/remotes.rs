//! The verbs about tenants by name, and about their branches.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;

/// list, add and remove the tenants that the workspace has names for
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "remote",
    note = "`[remote]` of sync.toml is called `default`. `--remote NAME` makes a command work with another one.",
    example = "sync-cli remote add staging https://sync.example.com --tenant acme-staging"
)]
pub(crate) struct Remote {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: RemoteVerb,
}

/// What to do with names of tenants.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum RemoteVerb {
    /// List them.
    List(RemoteList),
    /// Add one.
    Add(RemoteAdd),
    /// Remove one.
    Remove(RemoteRemove),
}

/// list the remotes of sync.toml
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct RemoteList {}

/// add a remote to sync.toml; nothing is connected yet
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "add")]
pub(crate) struct RemoteAdd {
    /// what it is called here
    #[argh(positional)]
    pub(crate) name: Name,
    /// where the tenant lives, `https://HOST:PORT` or `embedded:DIR`
    #[argh(positional)]
    pub(crate) url: String,
    /// the tenant's name; default where absent
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// the branch that the workspace follows; main where absent
    #[argh(option)]
    pub(crate) branch: Option<Name>,
    /// a PEM file with the only certificate authorities to trust, relative to the workspace
    #[argh(option)]
    pub(crate) ca_file: Option<PathBuf>,
}

/// remove a remote from sync.toml; what the workspace remembers of it, and its token, stay
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "remove")]
pub(crate) struct RemoteRemove {
    /// what it is called here
    #[argh(positional)]
    pub(crate) name: Name,
}

/// list, begin and delete branches of the tenant
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "branch",
    note = "`--branch NAME` makes a command work with a branch; a push begins one that does not exist, from what the workspace agreed on with the branch that it follows.",
    example = "sync-cli branch create trial"
)]
pub(crate) struct Branch {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: BranchVerb,
}

/// What to do with branches.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum BranchVerb {
    /// List them.
    List(BranchList),
    /// Begin one.
    Create(BranchCreate),
    /// Delete one.
    Delete(BranchDelete),
}

/// list the branches with their heads
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "list")]
pub(crate) struct BranchList {}

/// begin a branch
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "create")]
pub(crate) struct BranchCreate {
    /// its name
    #[argh(positional)]
    pub(crate) name: Name,
    /// where it begins, by at least 4 digits of the id; the head of the followed branch where absent
    #[argh(positional)]
    pub(crate) snapshot: Option<String>,
}

/// delete a branch; its snapshots stay for a while
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "delete")]
pub(crate) struct BranchDelete {
    /// its name
    #[argh(positional)]
    pub(crate) name: Name,
}
