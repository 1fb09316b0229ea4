//! Where workspace and tenant stand.

use serde::Serialize;
use sync_core::SnapshotId;
use sync_files::Patterns;

use crate::Error;
use crate::branches::BranchStatus;
use crate::decide::Standing;
use crate::look::Look;
use crate::report::{Counts, FileChange, Problem};
use crate::session::{Session, blocking};
use crate::tree_map::changes;

/// Where workspace and tenant stand.
#[derive(Debug, Clone, Serialize)]
pub struct FilesStatus {
    /// In one word.
    pub standing: Standing,
    /// What the workspace changed since the base.
    pub local: Counts,
    /// What the tenant changed since the base.
    pub cloud: Counts,
    /// What both last agreed on.
    pub base: Option<SnapshotId>,
    /// Where the tenant's branch is.
    pub head: Option<SnapshotId>,
    /// Where the tree stands to the other branches of the tenant.
    pub branches: Vec<BranchStatus>,
    /// What no capture takes.
    pub refused: Vec<Problem>,
}

impl Session {
    /// Compares base, workspace and tenant; the counts are of the paths that `filter` chooses. Keeps what was captured,
    /// so that the next look is quick.
    ///
    /// Where another run holds the private store, such as a long push, it does without: the map of the tree is made in
    /// memory, and that of the base comes from the tenant.
    ///
    /// # Errors
    ///
    /// [`Error::Store`] where that run holds the only copy of what is agreed on, which a pull with a filter has made.
    pub async fn status(&self, filter: Option<&Patterns>) -> Result<FilesStatus, Error> {
        let _looking = self.forbearance.look();
        let look = self.look_with(true).await?;
        self.status_of(look, filter).await
    }

    /// Likewise, of what was looked at.
    pub(crate) async fn status_of(
        &self,
        look: Look,
        filter: Option<&Patterns>,
    ) -> Result<FilesStatus, Error> {
        let standing = look.standing();
        let head_root = look.head_files();
        let Look {
            agreed,
            head,
            local,
            others,
            ..
        } = look;
        let branches = self.stand_to(local.root, others)?;
        // A branch that is yet to be has no head, wherever it will begin.
        let is_there = self.ensure_begun().is_ok();
        let base_root = agreed.files();
        let (mut here, mut there) = (Counts::default(), Counts::default());
        if local.root != base_root || head_root != base_root {
            self.attach(&local.maps).await?;
            if agreed.partial.is_some() && self.forbearance.does_without() {
                self.private().await?;
            }
            let base_root = self.ensure_agreed(&local.maps, agreed).await?;
            if let Some(head) = head.filter(|_| head_root != base_root) {
                self.fetch_maps(&local.maps, head.id, agreed.base.map(|base| base.id))
                    .await?;
            }
            let (maps, root, filter) = (local.maps.clone(), local.root, filter.cloned());
            (here, there) = blocking(move || {
                let chosen = |change: &&FileChange| {
                    filter
                        .as_ref()
                        .is_none_or(|filter| filter.matches(&change.path))
                };
                let counts = |root| {
                    let changes = changes(&maps, base_root, root)?;
                    Ok::<_, Error>(Counts::of(changes.iter().filter(chosen)))
                };
                Ok((counts(root)?, counts(head_root)?))
            })
            .await?;
        }
        // Another run may hold the workspace: then it keeps what it captured itself.
        if let Ok(_lock) = self.lock() {
            // What is known is told even where it cannot be kept: the next look only takes longer.
            if let Err(error) = self.remember(&local).await {
                tracing::warn!(%error, "what was captured could not be kept");
            }
        }
        Ok(FilesStatus {
            standing,
            local: here,
            cloud: there,
            base: agreed.base.map(|base| base.id),
            head: head.filter(|_| is_there).map(|head| head.id),
            branches,
            refused: local.refused,
        })
    }
}
