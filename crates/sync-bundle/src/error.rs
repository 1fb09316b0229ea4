//! Why a bundle is not made, or not taken, each under its own code.

use snafu::Snafu;
use sync_core::{Class, Fault, SnapshotId};
use sync_store::PublicKey;

/// Whatever the layer below said.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a bundle is not made, or not taken. No head has moved.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The bytes do not begin as a bundle does.
    #[snafu(display("this is not a bundle: {reason}"))]
    NotABundle {
        /// What is missing.
        reason: &'static str,
    },
    /// The bundle has a version that this program does not know.
    #[snafu(display(
        "the bundle has version {found}, this program knows {}",
        crate::manifest::VERSION
    ))]
    Version {
        /// As read.
        found: u64,
    },
    /// The manifest, or a member that is JSON, does not say what it has to.
    #[snafu(display("`{member}` of the bundle is malformed: {reason}"))]
    Malformed {
        /// Which member.
        member: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest names a member that no bundle has.
    #[snafu(display("the bundle names a member `{path}`, which no bundle has"))]
    Path {
        /// As read, shortened.
        path: String,
    },
    /// Something else comes where the manifest promises a member.
    #[snafu(display("`{expected}` does not stand in the bundle where the manifest promises it"))]
    Order {
        /// Which member should come.
        expected: String,
    },
    /// The bytes of a member are others than the manifest says.
    #[snafu(display("the bytes of `{member}` are not those that the manifest names"))]
    Digest {
        /// Which member.
        member: String,
    },
    /// The bundle ends too early.
    #[snafu(display("the bundle is cut off in `{member}`"))]
    Truncated {
        /// The member that is not whole.
        member: String,
    },
    /// There are bytes behind the end.
    #[snafu(display("there are bytes after the end of the bundle"))]
    Trailing,
    /// The file inflates to much more than a bundle does.
    #[snafu(display("the file inflates to more than a bundle of its size can hold"))]
    Bomb,
    /// The file around the bundle does not read.
    #[snafu(display("the file around the bundle does not read"))]
    Wrapping {
        /// What it was.
        source: std::io::Error,
    },
    /// The file is for chosen readers.
    #[snafu(display("the file is encrypted{}", if *tried { ", and not to any of the secret keys that were given" } else { "" }))]
    Encrypted {
        /// Whether there were any keys.
        tried: bool,
    },
    /// The signature is not by the key that the bundle names.
    #[snafu(display("the signature of the bundle is not by {key}"))]
    Signature {
        /// The key that the bundle names.
        key: PublicKey,
    },
    /// Nobody here knows the key that signed.
    #[snafu(display("the bundle is signed by {key}, tenant `{tenant}`, whom nobody here knows"))]
    Untrusted {
        /// Who signed.
        key: PublicKey,
        /// What the signer calls itself.
        tenant: String,
    },
    /// Nobody signed.
    #[snafu(display("the bundle is not signed"))]
    Unsigned,
    /// The tenant lacks what the bundle continues.
    #[snafu(display("the bundle continues {} snapshots that the tenant does not have: {}", missing.len(), listed(missing)))]
    Prerequisites {
        /// Which.
        missing: Vec<SnapshotId>,
    },
    /// What the bundle's heads name is not all in it.
    #[snafu(display("the bundle is not complete"))]
    Incomplete {
        /// What the store misses.
        source: sync_store::Error,
    },
    /// The tenant has something already.
    #[snafu(display(
        "import refused: the tenant holds {snapshots} snapshots and {rows} rows; pass --force-overwrite to import anyway"
    ))]
    Occupied {
        /// How many snapshots.
        snapshots: u64,
        /// How many rows, at its heads.
        rows: u64,
    },
    /// A head moved meanwhile.
    #[snafu(display("branch `{branch}` of the tenant moved while the bundle came"))]
    Stale {
        /// Which branch.
        branch: String,
    },
    /// Nothing to export.
    #[snafu(display("{what} has no snapshot yet"))]
    Empty {
        /// `the tenant`, or a branch.
        what: String,
    },
    /// Ways to say how much history goes that exclude each other.
    #[snafu(display("{reason}"))]
    Ask {
        /// Which.
        reason: &'static str,
    },
    /// More snapshots than one bundle has.
    #[snafu(display("the history has more than {most} snapshots"))]
    History {
        /// How many fit.
        most: usize,
    },
    /// The tenant changed while it was exported.
    #[snafu(display("`{member}` changed while the tenant was exported"))]
    Changed {
        /// Which member.
        member: String,
    },
    /// A file of a plain export could not be read or written.
    #[snafu(display("could not read or write `{}`", path.display()))]
    Disk {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes of the bundle stopped coming, or could not be handed on.
    #[snafu(display("the bundle broke off on its way"))]
    Cut {
        /// What the stream said.
        source: BoxError,
    },
    /// The store failed.
    #[snafu(transparent)]
    Store {
        /// What it said.
        source: sync_store::Error,
    },
}

/// The first of them, in short.
fn listed(ids: &[SnapshotId]) -> String {
    const SHOWN: usize = 8;
    let mut text: Vec<String> = ids.iter().take(SHOWN).map(ToString::to_string).collect();
    if ids.len() > SHOWN {
        text.push("…".to_owned());
    }
    text.join(", ")
}

impl Error {
    pub(crate) fn malformed(member: &str, reason: impl std::fmt::Display) -> Self {
        Self::Malformed {
            member: member.to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(error: tokio::task::JoinError) -> Self {
        sync_store::Error::from(error).into()
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NotABundle { .. } => "bundle/not-a-bundle",
            Self::Version { .. } => "bundle/version",
            Self::Malformed { .. } => "bundle/malformed",
            Self::Path { .. } => "bundle/path",
            Self::Order { .. } => "bundle/order",
            Self::Digest { .. } => "bundle/digest",
            Self::Truncated { .. } => "bundle/truncated",
            Self::Trailing => "bundle/trailing",
            Self::Bomb => "bundle/bomb",
            Self::Wrapping { .. } => "bundle/wrapping",
            Self::Encrypted { .. } => "bundle/encrypted",
            Self::Signature { .. } => "bundle/signature",
            Self::Untrusted { .. } => "bundle/untrusted",
            Self::Unsigned => "bundle/unsigned",
            Self::Prerequisites { .. } => "bundle/prerequisites",
            Self::Incomplete { .. } => "bundle/incomplete",
            Self::Occupied { .. } => "bundle/occupied",
            Self::Stale { .. } => "bundle/stale",
            Self::Empty { .. } => "bundle/empty",
            Self::Ask { .. } => "bundle/ask",
            Self::History { .. } => "bundle/history",
            Self::Changed { .. } => "bundle/changed",
            Self::Disk { .. } => "bundle/disk",
            Self::Cut { .. } => "bundle/cut",
            Self::Store { source } => source.code(),
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NotABundle { .. }
            | Self::Malformed { .. }
            | Self::Path { .. }
            | Self::Order { .. }
            | Self::Digest { .. }
            | Self::Truncated { .. }
            | Self::Trailing
            | Self::Bomb
            | Self::Wrapping { .. }
            | Self::Signature { .. }
            | Self::Incomplete { .. } => Class::Integrity,
            Self::Encrypted { .. } | Self::Untrusted { .. } | Self::Unsigned => Class::Denied,
            Self::Prerequisites { .. } | Self::Occupied { .. } | Self::Stale { .. } => {
                Class::Conflict
            }
            Self::Version { .. } | Self::Empty { .. } | Self::Ask { .. } | Self::History { .. } => {
                Class::Usage
            }
            Self::Disk { .. } => Class::Failed,
            Self::Changed { .. } | Self::Cut { .. } => Class::Unavailable,
            Self::Store { source } => source.class(),
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotABundle { .. } => "name a file that `sync-cli export` wrote",
            Self::Version { .. } => "use the version of the program that wrote it, or newer",
            Self::Malformed { .. }
            | Self::Path { .. }
            | Self::Order { .. }
            | Self::Digest { .. }
            | Self::Truncated { .. }
            | Self::Trailing
            | Self::Bomb
            | Self::Wrapping { .. }
            | Self::Signature { .. }
            | Self::Incomplete { .. } => "get the bundle again from where it was made",
            Self::Encrypted { .. } => {
                "pass `--identity-file FILE`, a file of `age-keygen` with the secret key of a recipient"
            }
            Self::Untrusted { key, .. } => {
                return Some(format!(
                    "compare the key with the one that `sync-cli identity show` prints at the source, then pass `--trust {key}`"
                ));
            }
            Self::Unsigned => "pass --trust-unsigned if you know where the file comes from",
            Self::Prerequisites { .. } => {
                "import the bundles before this one first, or export without --since"
            }
            Self::Occupied { .. } => {
                "import into an empty tenant; --force-overwrite moves the branches that the bundle names and leaves others"
            }
            Self::Stale { .. } | Self::Cut { .. } => {
                "import it again: what is there is not stored twice"
            }
            Self::Empty { .. } => "push something first, or name another branch",
            Self::History { .. } => {
                "export it in steps with --since, or the heads with --head-only"
            }
            Self::Changed { .. } => "export again",
            Self::Ask { .. } | Self::Disk { .. } => return None,
            Self::Store { source } => return source.hint(),
        };
        Some(hint.to_owned())
    }
}
