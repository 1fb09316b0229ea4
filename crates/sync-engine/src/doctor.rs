//! What a doctor looks at: the tree and the private state.

use sync_core::map;

use crate::Error;
use crate::error::MapSnafu;
use crate::report::Problem;
use crate::session::{Session, blocking};
use crate::tree_map::empty_root;
use snafu::ResultExt;

/// What was found of the tree.
#[derive(Debug, Clone)]
pub struct TreeFindings {
    /// How many files, links and empty directories can be synced.
    pub files: u64,
    /// What cannot.
    pub refused: Vec<Problem>,
}

impl Session {
    /// Captures the tree and counts what it holds.
    pub async fn examine_tree(&self) -> Result<TreeFindings, Error> {
        let local = self.capture().await?;
        self.attach(&local.maps).await?;
        let (maps, root) = (local.maps.clone(), local.root);
        let files = blocking(move || map::len(&maps, root).context(MapSnafu)).await?;
        Ok(TreeFindings {
            files,
            refused: local.refused,
        })
    }

    /// Reads the whole map of the base from the private store, checking every node of it.
    pub async fn examine_private(&self) -> Result<String, Error> {
        let agreed = self.agreed()?;
        let Some(base) = agreed.base else {
            return Ok("never synced with this tenant".to_owned());
        };
        let files = agreed.files();
        if files == empty_root() {
            return Ok(format!("base {} is empty", base.id.short()));
        }
        let maps = self.maps().await?;
        let whole = blocking(move || map::verify(&maps, files).context(MapSnafu)).await?;
        Ok(format!(
            "base {}, {} files, every node sound",
            base.id.short(),
            whole.len
        ))
    }
}
