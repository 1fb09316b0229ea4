//! Why a map could not be read or written.

use snafu::Snafu;

use super::node::NodeError;
use crate::{Class, Digest, Fault};

/// A failure below the map: whatever the store behind a source or sink said.
pub type StoreError = Box<dyn std::error::Error + Send + Sync>;

/// Why a map could not be read or written.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum MapError {
    /// The source or the sink failed.
    #[snafu(display("node {digest} could not be read or written"))]
    Store {
        /// Which node.
        digest: Digest,
        /// What the store said.
        source: StoreError,
    },
    /// The source has no such node.
    #[snafu(display("node {digest} is missing"))]
    Missing {
        /// Which node.
        digest: Digest,
    },
    /// A node's bytes are not what its name promises, not a node of canonical shape, or not what its parent says.
    #[snafu(display("node {digest} is malformed: {reason}"))]
    Malformed {
        /// Which node.
        digest: Digest,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A key or a value is longer than [`MAX_KEY`](super::MAX_KEY) or [`MAX_VALUE`](super::MAX_VALUE),
    /// or keys did not come in strictly rising order.
    #[snafu(display("an entry cannot be stored: {reason}"))]
    Entry {
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl MapError {
    /// The error of the node `digest`, whose bytes are wrong for the reason in `error`.
    pub(crate) fn malformed(digest: Digest, error: NodeError) -> Self {
        Self::Malformed {
            digest,
            reason: error.reason(),
        }
    }
}

impl Fault for MapError {
    fn code(&self) -> &'static str {
        match self {
            Self::Store { .. } => "core/store",
            Self::Missing { .. } => "core/missing",
            Self::Malformed { .. } => "core/malformed",
            Self::Entry { .. } => "core/entry",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Store { .. } => Class::Failed,
            Self::Missing { .. } | Self::Malformed { .. } => Class::Integrity,
            Self::Entry { .. } => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Store { .. } => "repair what the cause names, then run again",
            Self::Missing { .. } | Self::Malformed { .. } => {
                "fetch the map again from a store that holds it whole"
            }
            Self::Entry { .. } => {
                "sort the keys, each once, and keep large values as objects of their own"
            }
        };
        Some(hint.to_owned())
    }
}
