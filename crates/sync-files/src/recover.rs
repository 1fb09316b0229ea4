//! What a crash interrupted: finished where it can be, taken back where it cannot.

use std::path::PathBuf;

use sync_core::TreePath;

use crate::commit::{Mover, stuck};
use crate::error::{Error, Result};
use crate::tree::Tree;
use crate::txn::{End, Resumed, Txn, ensure_none};

/// What [`Tree::recover`] found and did.
#[derive(Debug)]
pub enum Recovered {
    /// No apply was interrupted.
    Nothing,
    /// One was interrupted before it changed anything, or after it had been undone; what was left of it is deleted.
    Discarded,
    /// One was finished: the tree is as its plan wanted it.
    Finished {
        /// The note of its plan.
        note: Vec<u8>,
    },
    /// One was undone: the tree is as it was before, and edits since then are kept.
    Undone {
        /// The note of its plan.
        note: Vec<u8>,
        /// Why it was not finished; `None` where that had been decided before.
        reason: Option<Error>,
        /// Edits that were found on the way.
        kept: Vec<Kept>,
    },
}

/// A path that somebody edited between a crash and its recovery, or while an apply was being undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The path, which holds the edit.
    pub path: TreePath,
    /// Where the bytes went that have no place in the tree any more; `None` where all are in the tree.
    pub aside: Option<PathBuf>,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.aside {
            None => write!(
                f,
                "`{}` was edited since, and is as it was edited",
                self.path
            ),
            Some(aside) => write!(
                f,
                "`{}`: an edit of it is kept in {}",
                self.path,
                aside.display()
            ),
        }
    }
}

impl Tree {
    /// Finishes or undoes an apply that was interrupted. It can itself be interrupted, any number of times.
    ///
    /// The apply is finished if the tree still is what its plan expects, and undone if somebody changed it since.
    ///
    /// # Errors
    ///
    /// [`Error::Busy`] where another process is applying a plan, [`Error::Journal`] where the journal is damaged,
    /// [`Error::Stuck`] where it can neither be finished nor undone for now; nothing is lost, and it can be tried again.
    pub fn recover(&self) -> Result<Recovered> {
        let txn = match Txn::resume(self)? {
            Resumed::Open(txn) => txn,
            Resumed::Nothing => return Ok(Recovered::Nothing),
            Resumed::Discarded => return Ok(Recovered::Discarded),
            Resumed::Done { note } => return Ok(Recovered::Finished { note }),
        };
        let journal = txn.journal(self)?;
        let mut mover = Mover::new(self, &txn)?;
        let mut reason = None;
        if !txn.is_undoing()? {
            match journal.moves.iter().try_for_each(|one| mover.forward(one)) {
                Ok(()) => {
                    txn.end(self, End::Done)?;
                    return Ok(Recovered::Finished { note: journal.note });
                }
                Err(error) => reason = Some(error),
            }
        }
        let kept = match (mover.take_back(&journal), &reason) {
            (Ok(kept), _) => kept,
            (Err(second), Some(first)) => return Err(stuck(first, second)),
            (Err(second), None) => return Err(second),
        };
        txn.end(self, End::Undone)?;
        Ok(Recovered::Undone {
            note: journal.note,
            reason,
            kept,
        })
    }

    /// Fails where an apply was interrupted and waits to be recovered, or is running.
    pub(crate) fn ensure_settled(&self) -> Result<()> {
        ensure_none(self)
    }
}
