//! Everything that can go wrong here, each under its own code.

use std::path::PathBuf;

use snafu::Snafu;
use sync_core::fault::{Class, Fault};
use sync_core::{Digest, SnapshotId};

use crate::pack::PackError;

/// Whatever the layer below said.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the store did not do what it was asked.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// A received stream is not a pack.
    #[snafu(display("the received objects could not be read"))]
    Pack {
        /// What is wrong with it.
        source: PackError,
    },
    /// A received stream broke off. Its complete blocks were kept.
    #[snafu(display("the stream of objects broke off; what was complete is kept"))]
    Cut {
        /// What the stream said, or that it just ended.
        source: BoxError,
    },
    /// Objects that the snapshot names are neither stored nor in the pack. The received ones were kept.
    #[snafu(display("{total} objects that the snapshot names are missing"))]
    Incomplete {
        /// The first of them, at most [`Error::MAX_MISSING`].
        missing: Vec<Digest>,
        /// How many there are; what a missing object would itself name is not counted.
        total: u64,
    },
    /// What the snapshot names is not the tree of files, or the tables and rows, that it should be. The head did not move.
    #[snafu(display("`{place}` in the snapshot is refused: {reason}"))]
    Malformed {
        /// Which object, key or path.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No accepted snapshot of the tenant has this name.
    #[snafu(display("snapshot {id} is not known to the tenant"))]
    UnknownSnapshot {
        /// As asked.
        id: SnapshotId,
    },
    /// The snapshot was accepted once; its branch no longer keeps it, and its content is gone.
    #[snafu(display("snapshot {id} is older than what its branch keeps"))]
    Expired {
        /// As asked.
        id: SnapshotId,
    },
    /// Objects were removed while a head was about to move.
    #[snafu(display("objects were removed while the push was checked"))]
    Collected,
    /// An object that was asked for is not stored.
    #[snafu(display("object {digest} is not stored"))]
    UnknownObject {
        /// As asked.
        digest: Digest,
    },
    /// No tenant has this name.
    #[snafu(display("there is no tenant `{name}`"))]
    UnknownTenant {
        /// As asked.
        name: String,
    },
    /// A tenant or a token has this name already.
    #[snafu(display("{kind} `{name}` exists already"))]
    Exists {
        /// `tenant` or `token`.
        kind: &'static str,
        /// As asked.
        name: String,
    },
    /// A name cannot be one of a tenant or branch.
    #[snafu(display("`{name}` cannot be the name of a {kind}: {reason}"))]
    Name {
        /// `tenant` or `branch`.
        kind: &'static str,
        /// As asked, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Another process (or another part of this one) has the store open.
    #[snafu(display("the store in {} is in use{}", dir.display(), holder_text(holder.as_ref())))]
    Held {
        /// The store's directory.
        dir: PathBuf,
        /// Who holds it, where that could be read.
        holder: Option<crate::store::Holder>,
    },
    /// The store was written by a version with another layout.
    #[snafu(display("the store has layout {found}, this program knows {known}"))]
    Layout {
        /// As read.
        found: u64,
        /// What this program writes.
        known: u64,
    },
    /// Stored bytes are not what their name promises, or a recorded pack is not there.
    #[snafu(display("stored object {digest} is damaged: {reason}"))]
    Corrupt {
        /// The object or the pack.
        digest: Digest,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The blob store failed.
    #[snafu(display("the blob store could not {action}"))]
    Blobs {
        /// What it was doing to what.
        action: String,
        /// What it said.
        source: BoxError,
    },
    /// The catalogue failed; what it was asked to change is unchanged.
    #[snafu(display("the catalogue could not {action}"))]
    Catalogue {
        /// What it was doing.
        action: &'static str,
        /// What it said.
        source: BoxError,
    },
    /// The operating system gave no randomness, so no key was made.
    #[snafu(display("the operating system gave no randomness for a key"))]
    Randomness,
    /// A task of the store ended without an answer.
    #[snafu(display("a task of the store ended without an answer"))]
    Task {
        /// What the runtime said.
        source: BoxError,
    },
}

fn holder_text(holder: Option<&crate::store::Holder>) -> String {
    holder.map_or_else(
        || ", by whom is not known".to_owned(),
        |holder| {
            format!(
                " by process {} since {} ms after 1970",
                holder.pid, holder.since
            )
        },
    )
}

impl Error {
    /// How many missing objects are named at most.
    pub const MAX_MISSING: usize = 1000;

    pub(crate) fn catalogue(action: &'static str) -> impl FnOnce(BoxError) -> Self {
        move |source| Self::Catalogue { action, source }
    }
}

impl From<PackError> for Error {
    fn from(source: PackError) -> Self {
        Self::Pack { source }
    }
}

impl From<tokio::task::JoinError> for Error {
    fn from(source: tokio::task::JoinError) -> Self {
        Self::Task {
            source: Box::new(source),
        }
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Pack { .. } => "store/pack",
            Self::Cut { .. } => "store/cut",
            Self::Incomplete { .. } => "store/incomplete",
            Self::Malformed { .. } => "store/malformed",
            Self::UnknownSnapshot { .. } => "store/unknown-snapshot",
            Self::Expired { .. } => "store/expired",
            Self::Collected => "store/collected",
            Self::UnknownObject { .. } => "store/unknown-object",
            Self::UnknownTenant { .. } => "store/unknown-tenant",
            Self::Exists { .. } => "store/exists",
            Self::Name { .. } => "store/name",
            Self::Held { .. } => "store/held",
            Self::Layout { .. } => "store/layout",
            Self::Corrupt { .. } => "store/corrupt",
            Self::Blobs { .. } => "store/blobs",
            Self::Catalogue { .. } => "store/catalogue",
            Self::Randomness => "store/randomness",
            Self::Task { .. } => "store/task",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Pack { .. } | Self::Malformed { .. } | Self::Corrupt { .. } => Class::Integrity,
            Self::Cut { .. } | Self::Held { .. } | Self::Collected => Class::Unavailable,
            Self::Incomplete { .. }
            | Self::Blobs { .. }
            | Self::Catalogue { .. }
            | Self::Randomness => Class::Failed,
            Self::UnknownSnapshot { .. }
            | Self::Expired { .. }
            | Self::UnknownObject { .. }
            | Self::UnknownTenant { .. }
            | Self::Exists { .. }
            | Self::Name { .. }
            | Self::Layout { .. } => Class::Usage,
            Self::Task { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Cut { .. } => "send it again: only what is missing still has to travel",
            Self::Incomplete { .. } => "send the missing objects with the snapshot again",
            Self::Pack { .. } | Self::Malformed { .. } => {
                "check that the sender is of a compatible version, then push again"
            }
            Self::UnknownSnapshot { .. } => "list the tenant's snapshots with `log`",
            Self::Expired { .. } => {
                "go on from the head: a fetch without `have` brings everything; `retention` says what a branch keeps"
            }
            Self::Collected => "send it again",
            Self::UnknownTenant { .. } => "create the tenant first, or check its name",
            Self::Held {
                holder: Some(holder),
                ..
            } => {
                return Some(format!(
                    "stop process {}, or reach the store through the server that has it open",
                    holder.pid
                ));
            }
            Self::Held { holder: None, .. } => "stop the other process",
            Self::Layout { .. } => "use the version of the program that wrote the store, or newer",
            Self::Corrupt { .. } => "run `sync-cli verify` in a workspace that has the files",
            Self::Blobs { .. } | Self::Catalogue { .. } => {
                "check free space and permissions of the store, then try again"
            }
            Self::Name { .. } => "use lower-case letters, digits, `-`, `_` and `.`",
            Self::UnknownObject { .. }
            | Self::Exists { .. }
            | Self::Randomness
            | Self::Task { .. } => return None,
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_to_open_says_who_has_it() {
        let error = Error::Held {
            dir: "data".into(),
            holder: Some(crate::store::Holder {
                pid: 42,
                since: 1000,
            }),
        };
        assert_eq!(
            error.to_string(),
            "the store in data is in use by process 42 since 1000 ms after 1970"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("42")));
        assert_eq!(
            (error.code(), error.class()),
            ("store/held", Class::Unavailable)
        );
    }
}
