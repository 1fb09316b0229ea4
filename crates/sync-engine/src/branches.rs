//! The branches of a tenant: which there are, one more, one less, and where the tree stands to each.

use serde::Serialize;
use snafu::OptionExt;
use sync_core::{Digest, Name, SnapshotId};
use sync_store::protocol::{Branch, BranchRoots};

use crate::decide::{Standing, standing};
use crate::error::{NoBranchSnafu, StaleSnafu, UnobtainableSnafu};
use crate::remote::Pushed;
use crate::session::Session;
use crate::state::State;
use crate::tree_map::empty_root;
use crate::{Error, Remote};

/// Where the tree stands to a branch that the workspace does not follow.
#[derive(Debug, Clone, Serialize)]
pub struct BranchStatus {
    /// The branch.
    pub branch: Name,
    /// Where it is.
    pub head: SnapshotId,
    /// In one word; `None` where the two never agreed on anything, and hold different files.
    pub standing: Option<Standing>,
}

impl Remote {
    /// Begins a branch at a snapshot that the tenant has.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where there is a branch of this name at another snapshot.
    pub async fn create_branch(&self, branch: &Name, at: SnapshotId) -> Result<(), Error> {
        match self.on(branch).begin(at).await? {
            Pushed::Done { .. } => Ok(()),
            Pushed::Stale { head } => StaleSnafu { head }.fail(),
            Pushed::Incomplete { missing } => UnobtainableSnafu {
                digest: missing.first().copied().unwrap_or_default(),
            }
            .fail(),
        }
    }

    /// Removes a branch, where it still is where it was when it was asked for; gives where that was.
    ///
    /// # Errors
    ///
    /// [`Error::NoBranch`] where there is none, [`Error::Stale`] where it moved meanwhile, [`Error::Refused`] where the tenant
    /// keeps it.
    pub async fn remove_branch(&self, branch: &Name) -> Result<SnapshotId, Error> {
        let there = self.on(branch);
        let head = there.head(None).await?.and_then(|head| head.head);
        let head = head.with_context(|| NoBranchSnafu {
            branch: branch.as_str(),
        })?;
        there.remove(head).await?;
        Ok(head)
    }

    /// The branches with their heads, by name.
    pub async fn branches(&self) -> Result<Vec<Branch>, Error> {
        self.list_branches().await
    }
}

impl Session {
    /// Where the tree, whose root is `local`, stands to branches that the workspace does not follow, by roots alone.
    pub(crate) fn stand_to(
        &self,
        local: Digest,
        branches: Vec<BranchRoots>,
    ) -> Result<Vec<BranchStatus>, Error> {
        let state = State::load(&self.workspace.private())?;
        let status = |there: BranchRoots| {
            let key = self.workspace.key_of(&there.branch)?;
            let agreed = state.remembered(&key).agreed;
            let head = there.roots.files.unwrap_or_else(empty_root);
            let is_related = agreed.base.is_some() || local == head;
            Ok(BranchStatus {
                branch: there.branch,
                head: there.head,
                standing: is_related.then(|| standing(agreed.files(), local, head)),
            })
        };
        branches.into_iter().map(status).collect()
    }
}
