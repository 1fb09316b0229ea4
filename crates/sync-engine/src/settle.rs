//! What is written down when the tree has changed, whatever happens in between.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::error::StateSnafu;
use crate::session::Session;
use crate::state::{Agreed, Replaced, State};

/// What holds before a change of the tree, and what after it. It travels in the journal of the change, so that whoever
/// finishes or undoes the change writes down what then is true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Settlement {
    pub(crate) before: Known,
    pub(crate) after: Known,
}

/// What is known of one tenant and branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// The tenant and branch.
    pub(crate) key: String,
    pub(crate) agreed: Agreed,
    pub(crate) undo: Option<Replaced>,
}

impl Settlement {
    /// The bytes for a journal.
    pub(crate) fn note(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Writes down what is true once the tree has changed.
    pub(crate) fn after(&self, private: &Path) -> Result<(), Error> {
        self.after.write(private)
    }

    /// Writes down what is true once the change was taken back.
    pub(crate) fn before(&self, private: &Path) -> Result<(), Error> {
        self.before.write(private)
    }
}

impl Known {
    fn write(&self, private: &Path) -> Result<(), Error> {
        let mut state = State::load(private)?;
        state.settle(private, &self.key, self.agreed, self.undo.clone())
    }
}

impl Session {
    /// The settlement in the note of a journal.
    pub(crate) fn settlement(&self, note: &[u8]) -> Result<Settlement, Error> {
        serde_json::from_slice(note).map_err(|error| {
            StateSnafu {
                path: self.workspace.private().join("txn"),
                reason: error.to_string(),
            }
            .build()
        })
    }
}
