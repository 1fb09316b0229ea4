//! The verbs about tenants by name, and about their branches.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;
use sync_engine::{MaxDelete, OnConflict};

/// list, add, change and remove the tenants that the workspace has names for
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
    /// Say where its tenant lives.
    SetUrl(RemoteSetUrl),
    /// Take another tenant for it.
    Trust(RemoteTrust),
}

impl RemoteVerb {
    /// Whether it is about the remote that the workspace works with.
    pub(crate) const fn follows(&self) -> bool {
        matches!(self, Self::SetUrl(_) | Self::Trust(_))
    }
}

/// write another address of the tenant to sync.toml; what the workspace agreed on with it stays
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "set-url",
    note = "Refused where somebody else is there."
)]
pub(crate) struct RemoteSetUrl {
    /// where the tenant lives, `https://HOST:PORT` or `embedded:DIR`
    #[argh(positional)]
    pub(crate) url: String,
}

/// take whoever answers there for the tenant from now on; what was agreed on with the one before is forgotten
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "trust")]
pub(crate) struct RemoteTrust {}

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

/// bring a snapshot of one remote to another: the same one where that has nothing of its own, else merged
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "promote",
    note = "FROM and TO are names of remotes, `NAME` or `NAME:BRANCH`. Neither the tree nor the database of the workspace is looked at.",
    example = "sync-cli promote staging production --dry-run"
)]
pub(crate) struct Promote {
    /// the remote that has the snapshot
    #[argh(positional)]
    pub(crate) from: RemoteBranch,
    /// the remote that is to get it
    #[argh(positional)]
    pub(crate) to: RemoteBranch,
    /// the snapshot, by at least 4 digits of its id; the head of FROM where absent
    #[argh(positional)]
    pub(crate) snapshot: Option<String>,
    /// print what would be done and do nothing
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// who is right where both changed the same: ours (TO) or theirs (FROM); nothing is done where absent
    #[argh(option, default = "WhoseVersion(OnConflict::Ask)")]
    pub(crate) on_conflict: WhoseVersion,
    /// why, for the log; says what was promoted where absent
    #[argh(option, short = 'm')]
    pub(crate) message: Option<String>,
    /// how many files or rows of TO may be removed unasked, as a number or a share; 25% where absent, once it is over 20
    #[argh(option, default = "MaxDelete::default()")]
    pub(crate) max_delete: MaxDelete,
    /// remove as much as it takes, and ask nothing
    #[argh(switch, short = 'y')]
    pub(crate) yes: bool,
}

/// A branch of a remote; the one that the workspace follows where none is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemoteBranch {
    pub(crate) remote: Name,
    pub(crate) branch: Option<Name>,
}

impl fmt::Display for RemoteBranch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.branch {
            Some(branch) => write!(f, "{}:{branch}", self.remote),
            None => self.remote.fmt(f),
        }
    }
}

impl FromStr for RemoteBranch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (remote, branch) = match text.split_once(':') {
            Some((remote, branch)) => (remote, Some(branch)),
            None => (text, None),
        };
        let name = |text: &str| text.parse::<Name>().map_err(|error| error.to_string());
        Ok(Self {
            remote: name(remote)?,
            branch: branch.map(name).transpose()?,
        })
    }
}

/// Who is right where two tenants changed the same; two versions beside each other are for a workspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WhoseVersion(pub(crate) OnConflict);

impl FromStr for WhoseVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.parse()? {
            OnConflict::KeepBoth => Err("expected ask, ours or theirs".to_owned()),
            chosen => Ok(Self(chosen)),
        }
    }
}
