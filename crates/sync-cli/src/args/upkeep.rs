//! The verbs that look after what is stored.

use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use sync_core::Name;

use super::Lifetime;

/// read and check every object, here and on the tenant, and repair each side from the other
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "verify",
    note = "Exits with 5 where damage remains. With --data only a server's store is checked, and nothing is repaired. With a file, which `sync-cli export` wrote, nothing else is looked at."
)]
pub(crate) struct Verify {
    /// a bundle: its signature, each of its digests, and whether everything is in it
    #[argh(positional)]
    pub(crate) file: Option<PathBuf>,
    /// with a bundle, the secret keys that it may be for, in a file of age-keygen
    #[argh(option)]
    pub(crate) identity_file: Option<PathBuf>,
    /// a server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
    /// with --data, only this tenant
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
}

/// remove what no kept snapshot names, and write sparse and small packs anew
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "gc", example = "sync-cli gc --data DIR --dry-run")]
pub(crate) struct Gc {
    /// a server's data directory, the server may be running; this workspace's own store where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
    /// with --data, only this tenant
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
    /// how long an object survives after it was first found that nobody names it; longer than any push takes
    #[argh(option, default = "Lifetime(std::time::Duration::from_hours(14 * 24))")]
    pub(crate) grace: Lifetime,
    /// print what would be done and do nothing
    #[argh(switch)]
    pub(crate) dry_run: bool,
}

/// say which snapshots a branch keeps
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "retention")]
pub(crate) struct Retention {
    /// what to do
    #[argh(subcommand)]
    pub(crate) verb: RetentionVerb,
}

/// What to do with what branches keep.
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand)]
pub(crate) enum RetentionVerb {
    /// Set it.
    Set(RetentionSet),
    /// Show it.
    Show(RetentionShow),
}

/// set what a branch keeps; the next gc acts by it, and the head is always kept
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "set",
    example = "sync-cli retention set --data DIR --tenant acme --branch main --for 90d"
)]
pub(crate) struct RetentionSet {
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
    /// the tenant
    #[argh(option)]
    pub(crate) tenant: Name,
    /// the branch
    #[argh(option)]
    pub(crate) branch: Name,
    /// keep every snapshot
    #[argh(switch)]
    pub(crate) all: bool,
    /// keep the newest so many snapshots
    #[argh(option)]
    pub(crate) last: Option<u64>,
    /// keep what was the branch's head within this time, such as 90d
    #[argh(option, long = "for")]
    pub(crate) time: Option<Lifetime>,
}

/// show what a branch keeps
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(subcommand, name = "show")]
pub(crate) struct RetentionShow {
    /// the server's data directory; the server may be running
    #[argh(option)]
    pub(crate) data: PathBuf,
    /// the tenant
    #[argh(option)]
    pub(crate) tenant: Name,
    /// the branch
    #[argh(option)]
    pub(crate) branch: Name,
}
