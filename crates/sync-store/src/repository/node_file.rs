//! Nodes that no longer fit into memory, in a file without a name: reading one again costs a copy out of the page cache,
//! where its pack would have to be looked up, read and inflated.

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use sync_core::Digest;

use super::node_cache::Key;

/// How many bytes the file has at the most: what a change of some fifteen thousand scattered rows reads and makes.
pub(crate) const MAX_BYTES: u64 = 256 << 20;

/// The name that it has for a moment.
const NAME: &str = "nodes.tmp";

/// A ring of nodes: the oldest make room for the newest. It is made when the first node comes, and gone with the process.
#[derive(Debug)]
pub(crate) struct NodeFile {
    dir: PathBuf,
    max_bytes: u64,
    file: Option<File>,
    /// Set where the file system would not have it: then there is none.
    is_refused: bool,
    places: HashMap<Key, Place>,
    /// In the order in which they were written.
    order: VecDeque<(Key, Place)>,
    /// Where the next one goes.
    end: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u64,
    len: usize,
}

impl NodeFile {
    /// One in `dir`, on whose file system there is room for it.
    pub(crate) fn new(dir: &Path) -> Self {
        Self::of_size(dir, MAX_BYTES)
    }

    fn of_size(dir: &Path, max_bytes: u64) -> Self {
        Self {
            dir: dir.to_owned(),
            max_bytes,
            file: None,
            is_refused: false,
            places: HashMap::new(),
            order: VecDeque::new(),
            end: 0,
        }
    }

    /// The node, checked against its digest.
    pub(crate) fn get(&self, key: &Key) -> Option<Bytes> {
        let (place, file) = (self.places.get(key)?, self.file.as_ref()?);
        let mut node = vec![0; place.len];
        file.read_exact_at(&mut node, place.start).ok()?;
        (Digest::of(&node) == key.1).then(|| node.into())
    }

    /// Writes a node, unless it is there.
    pub(crate) fn insert(&mut self, key: Key, node: &[u8]) {
        let len = node.len() as u64;
        if self.is_refused || len > self.max_bytes || self.places.contains_key(&key) {
            return;
        }
        if self.write(key, node).is_err() {
            // Nothing depends on it: it saves work, and a full disk has no room for that.
            self.clear();
            self.is_refused = true;
        }
    }

    fn write(&mut self, key: Key, node: &[u8]) -> io::Result<()> {
        let len = node.len() as u64;
        if self.end + len > self.max_bytes {
            self.make_room(self.end, self.max_bytes);
            self.end = 0;
        }
        let place = Place {
            start: self.end,
            len: node.len(),
        };
        self.make_room(place.start, place.start + len);
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(open(&self.dir)?),
        };
        file.write_all_at(node, place.start)?;
        self.end += len;
        self.places.insert(key, place);
        self.order.push_back((key, place));
        Ok(())
    }

    /// Forgets what is about to be overwritten, from the oldest on.
    fn make_room(&mut self, start: u64, end: u64) {
        while let Some((key, oldest)) = self.order.front()
            && oldest.start >= start
            && oldest.start < end
        {
            self.places.remove(key);
            self.order.pop_front();
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            is_refused: self.is_refused,
            ..Self::of_size(&self.dir, self.max_bytes)
        };
    }
}

/// A file that nobody else can open, and that is gone with whoever has it open.
fn open(dir: &Path) -> io::Result<File> {
    let path = dir.join(NAME);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true);
    let file = options.mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::TenantId;

    fn node(n: u64) -> (Key, Vec<u8>) {
        let mut bytes = vec![0; 3 << 10];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        ((TenantId(1), Digest::of(&bytes)), bytes)
    }

    #[test]
    fn the_newest_are_there_and_nothing_is_mixed_up() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = NodeFile::of_size(dir.path(), 256 << 10);
        let fit = (256 << 10) / (3 << 10);
        for n in 0..3 * fit {
            let (key, bytes) = node(n);
            file.insert(key, &bytes);
            file.insert(key, &bytes);
            assert_eq!(file.get(&key).as_deref(), Some(&bytes[..]));
        }
        let held: Vec<u64> = (0..3 * fit)
            .filter(|n| file.get(&node(*n).0).is_some())
            .collect();
        assert_eq!(held, (2 * fit..3 * fit).collect::<Vec<_>>());
        assert_eq!(file.places.len(), file.order.len());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        file.clear();
        assert_eq!(file.get(&node(3 * fit - 1).0), None);
    }

    #[test]
    fn a_directory_that_is_gone_leaves_it_empty() {
        let mut file = NodeFile::new(Path::new("/nonexistent"));
        let (key, bytes) = node(1);
        file.insert(key, &bytes);
        assert_eq!(file.get(&key), None);
        assert!(file.is_refused);
    }
}
