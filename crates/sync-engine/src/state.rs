//! What a workspace remembers of its tenants: the base, which makes every sync three-way, and what `undo` brings back.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::{Digest, Name};

use crate::Error;
use crate::decide::Point;
use crate::error::{StateSnafu, WriteSnafu};
use crate::tree_map::empty_root;

const FILE: &str = "state.json";

/// The state of a workspace, kept in `.sync/state.json`; everything is keyed by a branch of a tenant and where that was first met.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct State {
    /// The base for each tenant and branch that the workspace has synced with.
    bases: BTreeMap<String, Point>,
    /// The push that was begun last for each of them, until it is known to have arrived.
    #[serde(default)]
    pushing: BTreeMap<String, Point>,
    /// The files that both sides agree on, where a pull with a filter made them other than those of the base.
    #[serde(default)]
    partial: BTreeMap<String, Digest>,
    /// What the last operation replaced in the tree.
    #[serde(default)]
    undo: BTreeMap<String, Replaced>,
    /// What the private store weighed after its last collection.
    #[serde(default)]
    collected: u64,
}

/// What workspace and tenant last agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agreed {
    /// The snapshot.
    pub base: Option<Point>,
    /// The files, where they are not those of the snapshot: a pull with a filter brought only some of what was new.
    pub partial: Option<Digest>,
}

impl Agreed {
    /// Agreement on a whole snapshot.
    pub const fn on(base: Point) -> Self {
        Self {
            base: Some(base),
            partial: None,
        }
    }

    /// The files: what every merge compares with.
    pub fn files(&self) -> Digest {
        let base = self.base.map(|base| base.files);
        self.partial.or(base).unwrap_or_else(empty_root)
    }
}

/// What an operation replaced in the tree. The maps and contents are in the private store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// Which operation, such as `pull`.
    pub operation: String,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub time: u64,
    /// The files before it.
    pub before: Digest,
    /// The files after it.
    pub after: Digest,
    /// What is agreed on again once it is undone; `None` where undoing it leaves that as it is.
    pub agreed: Option<Agreed>,
}

/// What is remembered of one tenant and branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// What both sides last agreed on.
    pub(crate) agreed: Agreed,
    /// What a push that was begun would have moved the branch to.
    pub(crate) pushing: Option<Point>,
    /// What `undo` would bring back.
    pub(crate) undo: Option<Replaced>,
}

/// What a base is remembered under: a branch of a tenant, which was first met at `address`.
pub(crate) fn key(address: &str, branch: &Name) -> String {
    format!("{address} {branch}")
}

fn put<T>(map: &mut BTreeMap<String, T>, key: &str, value: Option<T>) {
    match value {
        Some(value) => map.insert(key.to_owned(), value),
        None => map.remove(key),
    };
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
        let damaged = |path: &Path, reason: String| StateSnafu { path, reason }.build();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(damaged(&path, error.to_string())),
        };
        serde_json::from_slice(&bytes).map_err(|error| damaged(&path, error.to_string()))
    }

    /// What is remembered of a tenant and branch.
    pub(crate) fn remembered(&self, key: &str) -> Remembered {
        Remembered {
            agreed: Agreed {
                base: self.bases.get(key).copied(),
                partial: self.partial.get(key).copied(),
            },
            pushing: self.pushing.get(key).copied(),
            undo: self.undo.get(key).cloned(),
        }
    }

    /// Everything that is remembered of any tenant and branch.
    pub(crate) fn everything(&self) -> impl Iterator<Item = Remembered> {
        let keys = self
            .bases
            .keys()
            .chain(self.pushing.keys())
            .chain(self.partial.keys());
        let keys: BTreeSet<&String> = keys.chain(self.undo.keys()).collect();
        keys.into_iter().map(|key| self.remembered(key))
    }

    /// Remembers what is agreed on, which ends whatever was being pushed; a crash leaves the old state or the new one.
    pub fn agree(&mut self, private: &Path, key: &str, agreed: Agreed) -> Result<(), Error> {
        self.set_agreed(key, agreed);
        self.save(private, Sync::Yes)
    }

    /// Likewise, and what the tree's change replaced.
    pub(crate) fn settle(
        &mut self,
        private: &Path,
        key: &str,
        agreed: Agreed,
        undo: Option<Replaced>,
    ) -> Result<(), Error> {
        self.set_agreed(key, agreed);
        put(&mut self.undo, key, undo);
        self.save(private, Sync::Yes)
    }

    fn set_agreed(&mut self, key: &str, agreed: Agreed) {
        put(&mut self.bases, key, agreed.base);
        put(&mut self.partial, key, agreed.partial);
        self.pushing.remove(key);
    }

    /// Remembers what a push will move the branch from and to, before it is sent.
    pub fn set_pushing(
        &mut self,
        private: &Path,
        key: &str,
        onto: Option<Point>,
        target: Point,
    ) -> Result<(), Error> {
        let earlier = self.pushing.insert(key.to_owned(), target);
        // The one before arrived, and ended before it could say so: should this one end so, too, both have to be known.
        if let Some(arrived) = earlier.filter(|_| earlier == onto) {
            self.bases.insert(key.to_owned(), arrived);
            self.partial.remove(key);
        }
        // Lost with the machine, it costs nothing but a merge that would not have been needed.
        self.save(private, Sync::No)
    }

    /// What the private store weighed after its last collection; 0 before the first.
    pub(crate) fn collected(&self) -> u64 {
        self.collected
    }

    /// Remembers what a collection has left.
    pub(crate) fn set_collected(&mut self, private: &Path, weight: u64) -> Result<(), Error> {
        self.collected = weight;
        // Lost with the machine, it costs a collection that finds little.
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
pub(crate) enum Sync {
    Yes,
    No,
}

/// The permissions of a file that only its owner reads.
pub(crate) const PRIVATE_FILE: u32 = 0o600;

/// Writes a new file beside `path` and renames it into place.
pub(crate) fn replace(path: &Path, bytes: &[u8], sync: Sync) -> std::io::Result<()> {
    replace_as(path, bytes, sync, 0o666)
}

/// Likewise, with these permissions, as far as the process gives any.
pub(crate) fn replace_as(path: &Path, bytes: &[u8], sync: Sync, mode: u32) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // What an earlier run left may have other permissions.
    let _ = fs::remove_file(&beside);
    let mut options = fs::File::options();
    let options = options.write(true).create(true).truncate(true);
    let mut file = options.mode(mode).open(&beside)?;
    file.write_all(bytes)?;
    if sync == Sync::Yes {
        file.sync_data()?;
    }
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::SnapshotId;

    fn point(name: &[u8]) -> Point {
        Point {
            id: SnapshotId(Digest::of(name)),
            files: Digest::of(b"files"),
            rows: None,
            release: None,
        }
    }

    #[test]
    fn a_base_is_remembered_per_tenant_and_branch() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path()).unwrap();
        let [main, dev] = ["main", "dev"].map(|name| name.parse().unwrap());
        let (here, there) = (key("https://a t", &main), key("https://a t", &dev));
        let agreed = Agreed::on(point(b"1"));
        state.agree(dir.path(), &here, agreed).unwrap();
        let again = State::load(dir.path()).unwrap();
        let found = again.remembered(&here);
        assert_eq!(found.agreed, agreed);
        assert_eq!(again.remembered(&there).agreed, Agreed::default());
    }

    #[test]
    fn of_two_pushes_that_could_not_say_so_both_are_known() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let [first, second] = [point(b"1"), point(b"2")];
        state.set_pushing(dir.path(), "k", None, first).unwrap();
        assert_eq!(state.remembered("k").agreed, Agreed::default());
        state
            .set_pushing(dir.path(), "k", Some(first), second)
            .unwrap();
        let found = State::load(dir.path()).unwrap().remembered("k");
        assert_eq!(found.agreed, Agreed::on(first));
        assert_eq!(found.pushing, Some(second));
    }

    #[test]
    fn what_was_replaced_is_remembered_until_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::default();
        let replaced = Replaced {
            operation: "pull".to_owned(),
            time: 5,
            before: Digest::of(b"before"),
            after: Digest::of(b"after"),
            agreed: Some(Agreed::default()),
        };
        let agreed = Agreed {
            partial: Some(Digest::of(b"partial")),
            ..Agreed::on(point(b"2"))
        };
        state
            .settle(dir.path(), "k", agreed, Some(replaced.clone()))
            .unwrap();
        let found = State::load(dir.path()).unwrap().remembered("k");
        assert_eq!((found.agreed, found.undo), (agreed, Some(replaced)));
        assert_eq!(agreed.files(), Digest::of(b"partial"));
        state.settle(dir.path(), "k", agreed, None).unwrap();
        assert_eq!(State::load(dir.path()).unwrap().remembered("k").undo, None);
    }

    #[test]
    fn a_damaged_file_is_reported_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(State::load(dir.path()).is_err());
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"{");
    }
}
