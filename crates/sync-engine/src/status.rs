//! Where workspace and tenant stand.

use serde::Serialize;
use sync_core::SnapshotId;

use crate::Error;
use crate::decide::Standing;
use crate::look::Look;
use crate::report::{Counts, Problem};
use crate::session::{Session, blocking};
use crate::tree_map::{changes, empty_root};

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
    /// What no capture takes.
    pub refused: Vec<Problem>,
}

impl Session {
    /// Compares base, workspace and tenant. Keeps what was captured, so that the next look is quick.
    pub async fn status(&self) -> Result<FilesStatus, Error> {
        let look = self.look().await?;
        let standing = look.standing();
        let Look {
            base, head, local, ..
        } = look;
        let mut base_root = base.map_or(empty_root(), |base| base.files);
        let head_root = head.map_or(empty_root(), |head| head.files);
        let (mut here, mut there) = (Counts::default(), Counts::default());
        if local.root != base_root || head_root != base_root {
            self.attach(&local.maps).await?;
            base_root = self.ensure_map(&local.maps, base).await?;
            if let Some(head) = head.filter(|_| head_root != base_root) {
                self.fetch_maps(&local.maps, head.id, base.map(|base| base.id))
                    .await?;
            }
            let (maps, root) = (local.maps.clone(), local.root);
            (here, there) = blocking(move || {
                let counts = |root| Ok::<_, Error>(Counts::of(&changes(&maps, base_root, root)?));
                Ok((counts(root)?, counts(head_root)?))
            })
            .await?;
        }
        // Another run may hold the workspace: then it keeps what it captured itself.
        if let Ok(_lock) = self.lock() {
            self.remember(&local).await?;
        }
        Ok(FilesStatus {
            standing,
            local: here,
            cloud: there,
            base: base.map(|base| base.id),
            head: head.map(|head| head.id),
            refused: local.refused,
        })
    }
}
