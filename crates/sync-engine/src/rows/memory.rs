//! Small values about the database, in files of the private directory that are replaced as a whole.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::Digest;
use sync_db::Epoch;
use sync_rows::{Memory, Remembered};

use super::Rows;
use crate::decide::Point;
use crate::error::WriteSnafu;
use crate::state::{Sync, replace};
use crate::{Error, Workspace};

/// What is remembered of the database.
const FILE: &str = "database.json";
/// The push of rows that is under way.
const PUSHING: &str = "database-push.json";

/// `.sync/database.json`.
#[derive(Debug)]
pub(super) struct File {
    workspace: Workspace,
}

impl File {
    pub(super) fn new(workspace: &Workspace) -> Self {
        Self {
            workspace: workspace.clone(),
        }
    }

    fn path(&self) -> PathBuf {
        self.workspace.private().join(FILE)
    }
}

#[async_trait]
impl Memory for File {
    async fn load(&self) -> Result<Option<Vec<u8>>, String> {
        read(&self.path())
    }

    async fn store(&self, bytes: Vec<u8>) -> Result<(), String> {
        let made = self.workspace.make_private();
        made.map_err(|error| error.to_string())?;
        replace(&self.path(), &bytes, Sync::No).map_err(|error| error.to_string())
    }
}

fn read(path: &std::path::Path) -> Result<Option<Vec<u8>>, String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// The maps of rows that the private store has to keep.
pub(crate) fn kept(workspace: &Workspace) -> Vec<Digest> {
    let bytes = read(&workspace.private().join(FILE)).ok().flatten();
    let remembered = bytes.and_then(|bytes| serde_json::from_slice::<Remembered>(&bytes).ok());
    remembered
        .map(|remembered| remembered.whole)
        .unwrap_or_default()
}

/// A push that was begun, until it is known to have arrived.
#[derive(Debug, Serialize, Deserialize)]
struct Pushing {
    key: String,
    target: Point,
    /// The state of the database that was pushed: one that was restored from a backup since has another, and never agreed.
    epoch: Option<String>,
}

impl Rows<'_> {
    fn pushing_path(&self) -> PathBuf {
        self.session.workspace.private().join(PUSHING)
    }

    /// What a push of this state of the database that was begun would have moved the branch to.
    pub(super) fn pushing(&self, epoch: Option<Epoch>) -> Option<Point> {
        let bytes = read(&self.pushing_path()).ok().flatten()?;
        let pushing: Pushing = serde_json::from_slice(&bytes).ok()?;
        let is_this = pushing.key == self.session.key;
        (is_this && pushing.epoch == shown(epoch)).then_some(pushing.target)
    }

    /// A push to `target` begins. Lost with the machine, this costs a merge that would not have been needed.
    pub(super) fn set_pushing(&self, target: Point, epoch: Option<Epoch>) -> Result<(), Error> {
        self.session.workspace.make_private()?;
        let path = self.pushing_path();
        let pushing = Pushing {
            key: self.session.key.clone(),
            target,
            epoch: shown(epoch),
        };
        let bytes = serde_json::to_vec(&pushing).unwrap_or_default();
        replace(&path, &bytes, Sync::No).context(WriteSnafu { path })
    }

    /// No push is under way any more, or what it came to is written down.
    pub(super) fn clear_pushing(&self) {
        // Left behind it names a state that the database no longer has.
        let _ = std::fs::remove_file(self.pushing_path());
    }
}

fn shown(epoch: Option<Epoch>) -> Option<String> {
    epoch.map(|epoch| epoch.to_string())
}
