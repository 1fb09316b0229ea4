//! The verbs for bundles.

use std::path::PathBuf;
use std::str::FromStr;

use argh::{ArgsInfo, FromArgs};
use sync_bundle::Only;
use sync_bundle::age::Recipient;
use sync_core::Name;
use sync_store::PublicKey;

/// Files or rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind(pub(crate) Only);

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "files" => Ok(Self(Only::Files)),
            "rows" => Ok(Self(Only::Rows)),
            _ => Err("expected `files` or `rows`"),
        }
    }
}

/// write one signed file that holds the tenant: files and rows with their history, branches, settings; no secrets
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "export",
    note = "The tenant signs the file, so it needs a token of scope admin, or the data directory. What the program of the tenant's database changed and no snapshot has is not in it: look with `status database` first.",
    example = "sync-cli export --out acme.tar.zst"
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
pub(crate) struct Export {
    /// the file to write, or to replace once all of it came
    #[argh(option)]
    pub(crate) out: PathBuf,
    /// a plain tar, not one in zstd
    #[argh(switch)]
    pub(crate) uncompressed: bool,
    /// a directory that anybody can read: the head of one branch, files as files, rows as lines of JSON
    #[argh(switch)]
    pub(crate) plain: bool,
    /// this branch alone
    #[argh(option)]
    pub(crate) branch: Option<Name>,
    /// only what came after this snapshot, for a tenant that has it
    #[argh(option)]
    pub(crate) since: Option<String>,
    /// the history, too, as without a flag
    #[argh(switch)]
    pub(crate) with_history: bool,
    /// the heads without what they come after
    #[argh(switch)]
    pub(crate) head_only: bool,
    /// files or rows alone: snapshots get other ids then
    #[argh(option)]
    pub(crate) only: Option<Kind>,
    /// encrypt the file to this recipient, age1 and what follows; may be repeated
    #[argh(option)]
    pub(crate) encrypt_to: Vec<Recipient>,
    /// a server's data directory, the server may be running; the workspace's tenant where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
    /// with --data, the tenant
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
}

/// make the tenant what a bundle says, bit for bit: all of it or nothing
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "import",
    note = "A bundle is taken from whom you know: a key that --trust names, one that this workspace has met, or the tenant's own.",
    example = "sync-cli import acme.tar.zst --trust ed25519:..."
)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "a command line is made of switches"
)]
pub(crate) struct Import {
    /// the bundle
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// a directory that export --plain wrote; it has no history and no signature
    #[argh(switch)]
    pub(crate) plain: bool,
    /// check all of it, print what would be done, and do nothing
    #[argh(switch)]
    pub(crate) dry_run: bool,
    /// move branches that hold something else; branches that the bundle does not name stay
    #[argh(switch)]
    pub(crate) force_overwrite: bool,
    /// whom to trust: `ed25519:` and 64 digits, as `identity show` prints it at the source; may be repeated
    #[argh(option)]
    pub(crate) trust: Vec<PublicKey>,
    /// take a bundle whoever signed it, or nobody
    #[argh(switch)]
    pub(crate) trust_unsigned: bool,
    /// the secret keys that an encrypted file may be for, in a file of age-keygen
    #[argh(option)]
    pub(crate) identity_file: Option<PathBuf>,
    /// a server's data directory, the server may be running; the workspace's tenant where absent
    #[argh(option)]
    pub(crate) data: Option<PathBuf>,
    /// with --data, the tenant
    #[argh(option)]
    pub(crate) tenant: Option<Name>,
}

/// show what is in a bundle and who signed it; no tenant is asked
#[derive(Debug, FromArgs, ArgsInfo)]
#[argh(
    subcommand,
    name = "inspect",
    note = "Reads the manifest and checks its signature; `sync-cli verify FILE` reads everything."
)]
pub(crate) struct Inspect {
    /// the bundle
    #[argh(positional)]
    pub(crate) file: PathBuf,
    /// the secret keys that an encrypted file may be for, in a file of age-keygen
    #[argh(option)]
    pub(crate) identity_file: Option<PathBuf>,
}
