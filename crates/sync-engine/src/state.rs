//! What a workspace remembers of its tenants: the base, which makes every sync three-way.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snafu::ResultExt;

use crate::Error;
use crate::decide::Point;
use crate::error::{StateSnafu, WriteSnafu};

const FILE: &str = "state.json";

/// The state of a workspace, kept in `.sync/state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The base for each tenant and branch that the workspace has synced with, keyed by [`key`].
    bases: BTreeMap<String, Point>,
    /// The push that was begun last for each of them, until it is known to have arrived.
    #[serde(default)]
    pushing: BTreeMap<String, Point>,
}

/// What is remembered of one tenant and branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// What both sides last agreed on.
    pub(crate) base: Option<Point>,
    /// What a push that was begun would have moved the branch to.
    pub(crate) pushing: Option<Point>,
}

/// What a base is remembered under.
pub fn key(url: &str, tenant: &str, branch: &str) -> String {
    format!("{} {tenant} {branch}", url.trim_end_matches('/'))
}

impl State {
    /// Reads the state below `private`; a workspace that never synced has none.
    ///
    /// # Errors
    ///
    /// Where the file is there and cannot be read. It is then left alone: a base that is forgotten only makes
    /// the next sync compare everything, but forgetting it silently would hide that something is wrong.
    pub fn load(private: &Path) -> Result<Self, Error> {
        let path = private.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => {
                return StateSnafu {
                    path,
                    reason: error.to_string(),
                }
                .fail();
            }
        };
        serde_json::from_slice(&bytes).map_err(|error| {
            StateSnafu {
                path,
                reason: error.to_string(),
            }
            .build()
        })
    }

    /// What is remembered of a tenant and branch.
    pub(crate) fn remembered(&self, key: &str) -> Remembered {
        let of = |points: &BTreeMap<String, Point>| points.get(key).copied();
        Remembered {
            base: of(&self.bases),
            pushing: of(&self.pushing),
        }
    }

    /// Everything that is remembered of any tenant and branch.
    pub(crate) fn points(&self) -> impl Iterator<Item = Point> {
        self.bases.values().chain(self.pushing.values()).copied()
    }

    /// Remembers a base, which ends whatever was being pushed; a crash leaves the old state or the new one.
    pub fn set_base(&mut self, private: &Path, key: &str, base: Point) -> Result<(), Error> {
        self.bases.insert(key.to_owned(), base);
        self.pushing.remove(key);
        self.save(private, Sync::Yes)
    }

    /// Remembers what a push will move the branch to, before it is sent.
    pub fn set_pushing(&mut self, private: &Path, key: &str, target: Point) -> Result<(), Error> {
        self.pushing.insert(key.to_owned(), target);
        // Lost with the machine, it costs nothing but a merge that would not have been needed.
        self.save(private, Sync::No)
    }

    fn save(&self, private: &Path, sync: Sync) -> Result<(), Error> {
        let path = private.join(FILE);
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        replace(&path, &bytes, sync).context(WriteSnafu { path })
    }
}

/// Whether a write has to survive the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sync {
    Yes,
    No,
}

/// Writes a new file beside `path` and renames it into place.
fn replace(path: &Path, bytes: &[u8], sync: Sync) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let mut file = fs::File::create(&beside)?;
    file.write_all(bytes)?;
    if sync == Sync::Yes {
        file.sync_data()?;
    }
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::{Digest, SnapshotId};

    #[test]
    fn a_base_is_remembered_per_tenant_and_branch() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let (here, there) = (key("https://a/", "t", "main"), key("https://a", "t", "dev"));
        let id = Point {
            id: SnapshotId(Digest::of(b"1")),
            files: Digest::of(b"2"),
        };
        state.set_base(dir.path(), &here, id).unwrap();
        let again = State::load(dir.path()).unwrap();
        assert_eq!(
            again.remembered(&key("https://a", "t", "main")).base,
            Some(id)
        );
        assert_eq!(again.remembered(&there).base, None);
    }

    #[test]
    fn a_damaged_file_is_reported_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(State::load(dir.path()).is_err());
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"{");
    }
}
