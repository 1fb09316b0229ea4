//! Trees as values, written to and read from real directories.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sync_core::content::decode_list;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};
use sync_files::{
    Applied, Capture, CaptureOptions, Error, Faults, Plan, Result, StatCache, Step, Tree, placed,
};
use tempfile::TempDir;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    File(Vec<u8>),
    Program(Vec<u8>),
    Link(String),
    Empty,
}

/// A whole tree.
pub(crate) type Model = BTreeMap<String, Node>;

/// A tree in a tiny notation, a path a line: `path text`, `path* text` for a program, `path -> target`,
/// `path/` for an empty directory, `path #n` for `n` bytes of noise.
pub(crate) fn model(text: &str) -> Model {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let nodes = lines.map(|line| {
        let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
        let node = if let Some(target) = rest.strip_prefix("-> ") {
            Node::Link(target.into())
        } else if let Some(path) = path.strip_suffix('/') {
            return (path.to_owned(), Node::Empty);
        } else if let Some(path) = path.strip_suffix('*') {
            return (path.to_owned(), Node::Program(rest.into()));
        } else if let Some(len) = rest.strip_prefix('#') {
            Node::File(noise(len.parse().unwrap()))
        } else {
            Node::File(rest.into())
        };
        (path.to_owned(), node)
    });
    nodes.collect()
}

/// Bytes that do not repeat; a longer one starts with a shorter one.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// A workspace: a tree and its private directory.
pub(crate) struct Workspace {
    pub(crate) dir: TempDir,
}

/// A directory in memory where there is one: a sync of the disk at every step would take minutes.
fn tempdir() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl Workspace {
    pub(crate) fn new(model: &Model) -> Self {
        let workspace = Self { dir: tempdir() };
        fs::create_dir(workspace.root()).unwrap();
        write(&workspace.root(), model);
        workspace
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("services")
    }

    pub(crate) fn private(&self) -> PathBuf {
        self.dir.path().join(".sync")
    }

    pub(crate) fn tree(&self) -> Tree {
        Tree::open(&self.root(), &self.private()).unwrap()
    }

    pub(crate) fn faulty(&self, faults: Arc<dyn Faults>) -> Tree {
        self.tree().with_faults(faults)
    }

    pub(crate) fn read(&self) -> Model {
        read(&self.root())
    }

    /// Whether nothing of a transaction is left.
    #[track_caller]
    pub(crate) fn assert_tidy(&self) {
        assert!(!self.private().join("txn").exists());
    }
}

/// Makes the tree `model` in a directory, with files that are as old as most files are.
pub(crate) fn write(root: &Path, model: &Model) {
    for (path, node) in model {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match node {
            Node::Link(target) => symlink(target, &path).unwrap(),
            Node::Empty => fs::create_dir_all(&path).unwrap(),
            Node::File(bytes) | Node::Program(bytes) => {
                fs::write(&path, bytes).unwrap();
                let mode = if matches!(node, Node::Program(_)) {
                    0o755
                } else {
                    0o644
                };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
                let then = std::time::SystemTime::now() - Duration::from_secs(1000);
                fs::File::open(&path).unwrap().set_modified(then).unwrap();
            }
        }
    }
}

/// The tree in a directory.
pub(crate) fn read(root: &Path) -> Model {
    let mut model = Model::new();
    let mut dirs = vec![root.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries: Vec<_> = fs::read_dir(&dir)
            .unwrap()
            .map(io::Result::unwrap)
            .collect();
        let name = |path: &Path| {
            let relative = path.strip_prefix(root).unwrap();
            relative.to_str().unwrap().to_owned()
        };
        if entries.is_empty() && dir != root {
            model.insert(name(&dir), Node::Empty);
        }
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            let node = if kind.is_symlink() {
                Node::Link(fs::read_link(&path).unwrap().to_str().unwrap().to_owned())
            } else if kind.is_dir() {
                dirs.push(path);
                continue;
            } else {
                let bytes = fs::read(&path).unwrap();
                match entry.metadata().unwrap().permissions().mode() & 0o100 {
                    0 => Node::File(bytes),
                    _ => Node::Program(bytes),
                }
            };
            model.insert(name(&path), node);
        }
    }
    model
}

/// What a tree holds as entries, with everything that they name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct World {
    pub(crate) entries: BTreeMap<TreePath, Entry>,
    pub(crate) objects: HashMap<Digest, Vec<u8>>,
}

pub(crate) fn capture(tree: &Tree, cache: &StatCache) -> Capture {
    tree.capture(cache, &CaptureOptions::default(), &|_| ())
        .unwrap()
}

impl World {
    /// Captures a whole tree and reads all of its contents.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut world = Self::default();
        world.follow(tree, &capture(tree, &StatCache::new()));
        world
    }

    /// Makes the world of a model.
    pub(crate) fn of_model(model: &Model) -> Self {
        Self::of(&Workspace::new(model).tree())
    }

    /// Takes over the changes of a capture.
    pub(crate) fn follow(&mut self, tree: &Tree, capture: &Capture) {
        self.objects.extend(capture.lists.iter().cloned());
        let mut contents = tree.contents().unwrap();
        for (path, entry) in &capture.changes {
            match entry {
                Some(entry) => self.entries.insert(path.clone(), entry.clone()),
                None => self.entries.remove(path),
            };
            let Some(Entry::File { content, .. }) = entry else {
                continue;
            };
            let chunks = self.chunks(content);
            let objects = &mut self.objects;
            let each = |digest, bytes: &[u8]| {
                objects.insert(digest, bytes.to_vec());
                Ok::<(), Error>(())
            };
            contents.read(path, placed(&chunks), each).unwrap();
        }
    }

    /// The data chunks of a content, its lists followed.
    pub(crate) fn chunks(&self, content: &Content) -> Vec<Chunk> {
        let mut chunks = content.chunks.clone();
        for _ in 0..content.depth {
            chunks = chunks
                .iter()
                .flat_map(|list| decode_list(&self.objects[&list.digest]).unwrap())
                .collect();
        }
        chunks
    }

    /// What leads from this world to another.
    pub(crate) fn plan_to(&self, other: &Self) -> Plan {
        let paths: std::collections::BTreeSet<_> =
            self.entries.keys().chain(other.entries.keys()).collect();
        let steps = paths
            .into_iter()
            .map(|path| {
                let wanted = other.entries.get(path).cloned();
                let chunks = match &wanted {
                    Some(Entry::File { content, .. }) => other.chunks(content),
                    _ => Vec::new(),
                };
                Step {
                    path: path.clone(),
                    expected: self.entries.get(path).cloned(),
                    wanted,
                    chunks,
                }
            })
            .filter(|step| step.expected != step.wanted)
            .collect();
        Plan {
            steps,
            note: b"note".to_vec(),
        }
    }
}

/// Applies a plan with the chunks of `objects`.
pub(crate) fn apply(
    tree: &Tree,
    plan: Plan,
    cache: &StatCache,
    objects: &HashMap<Digest, Vec<u8>>,
) -> Result<Applied> {
    let mut staging = tree.stage(plan, cache)?;
    let mut wanted: Vec<_> = staging.wanted().collect();
    wanted.sort_unstable();
    for digest in wanted {
        staging.put(&digest, &objects[&digest])?;
    }
    staging.commit(&|_| ())
}

/// Captures until the files are so old that their stats vouch for all of them.
pub(crate) fn settled(tree: &Tree, mut cache: StatCache) -> StatCache {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let capture = capture(tree, &cache);
        cache = capture.cache;
        if capture.read_files == 0 {
            return cache;
        }
        assert!(
            Instant::now() < deadline,
            "the file system's clock stands still"
        );
    }
}
