//! Small values about the database, in files of the private directory that are replaced as a whole.

use std::path::PathBuf;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::Digest;
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
}

impl Rows<'_> {
    fn pushing_path(&self) -> PathBuf {
        self.session.workspace.private().join(PUSHING)
    }

    /// What a push that was begun would have moved the branch to.
    pub(super) fn pushing(&self) -> Option<Point> {
        let bytes = read(&self.pushing_path()).ok().flatten()?;
        let pushing: Pushing = serde_json::from_slice(&bytes).ok()?;
        (pushing.key == self.session.key).then_some(pushing.target)
    }

    /// A push to `target` begins. Lost with the machine, this costs a merge that would not have been needed.
    pub(super) fn set_pushing(&self, target: Point) -> Result<(), Error> {
        self.session.workspace.make_private()?;
        let path = self.pushing_path();
        let pushing = Pushing {
            key: self.session.key.clone(),
            target,
        };
        let bytes = serde_json::to_vec(&pushing).unwrap_or_default();
        replace(&path, &bytes, Sync::No).context(WriteSnafu { path })
    }
}
