//! What is written down when the tree has changed, whatever happens in between.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sync_files::{Recovered, Tree};

use crate::error::StateSnafu;
use crate::event::Event;
use crate::session::{Context, blocking};
use crate::state::{Agreed, Replaced, State};
use crate::{Error, Workspace};

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

impl Workspace {
    /// Completes or takes back what an earlier run left in the tree when it was cut short.
    pub(crate) async fn recover(&self, context: &Context) -> Result<(), Error> {
        if !self.private().join("txn").exists() {
            return Ok(());
        }
        let (lock, workspace) = (self.lock(context.now)?, self.clone());
        let recovered = blocking(move || {
            let _lock = lock;
            workspace.recover_tree()
        })
        .await?;
        if let Some((finished, kept)) = recovered {
            (context.listener)(Event::Recovered { finished, kept });
        }
        Ok(())
    }

    /// Gives whether the changes were completed, and which edits were found on the way; `None` where nothing was to be done.
    fn recover_tree(&self) -> Result<Option<(bool, Vec<String>)>, Error> {
        let private = self.private();
        let recovered = Tree::open(&self.tree(), &private)?.recover()?;
        Ok(match recovered {
            Recovered::Nothing | Recovered::Discarded => None,
            Recovered::Finished { note } => {
                if let Some(settlement) = self.settlement(&note)? {
                    settlement.after(&private)?;
                }
                Some((true, Vec::new()))
            }
            Recovered::Undone { note, kept, .. } => {
                if let Some(settlement) = self.settlement(&note)? {
                    settlement.before(&private)?;
                }
                Some((false, kept.iter().map(ToString::to_string).collect()))
            }
        })
    }

    /// The settlement in the note of a journal; `None` where nothing has to be settled.
    fn settlement(&self, note: &[u8]) -> Result<Option<Settlement>, Error> {
        if note == sync_local::NOTE {
            return Ok(None);
        }
        serde_json::from_slice(note).map(Some).map_err(|error| {
            StateSnafu {
                path: self.private().join("txn"),
                reason: error.to_string(),
            }
            .build()
        })
    }
}
