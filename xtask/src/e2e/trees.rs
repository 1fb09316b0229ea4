//! Trees that scenarios make, change and compare.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the file system refuses, it fails"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::SystemTime,
};

pub(super) use crate::noise::noise;

/// What is at a path, as far as a sync has to keep it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// A file with its bytes, by length and hash, and whether its owner may run it.
    File {
        length: u64,
        hash: u64,
        executable: bool,
    },
    /// A link by its target.
    Link(PathBuf),
    /// A pipe, a socket or a device.
    Special,
}

/// Everything below a directory.
pub(super) fn nodes(root: &Path) -> BTreeMap<PathBuf, Node> {
    walk(root, |path, metadata| {
        let kind = metadata.file_type();
        if kind.is_dir() {
            Node::Directory
        } else if kind.is_symlink() {
            Node::Link(fs::read_link(path).expect("read a link"))
        } else if kind.is_file() {
            Node::File {
                length: metadata.len(),
                hash: hash(path),
                executable: metadata.mode() & 0o100 != 0,
            }
        } else {
            Node::Special
        }
    })
}

/// What is at a path, to the last detail that a write would change.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trace {
    mode: u32,
    length: u64,
    hash: u64,
}

/// Everything below a directory, so that any write shows.
///
/// Sockets come and go with servers, and `holder` is the lock of a store, which says who has it open: neither is state.
pub(super) fn traces(root: &Path) -> BTreeMap<PathBuf, Trace> {
    if !root.exists() {
        return BTreeMap::new();
    }
    let mut traces = walk(root, |path, metadata| {
        let kind = metadata.file_type();
        let lock = path.file_name() == Some(OsStr::new("holder"));
        (!kind.is_socket() && !lock).then(|| Trace {
            mode: metadata.mode(),
            // The length of a directory is the file system's own affair.
            length: if kind.is_dir() { 0 } else { metadata.len() },
            hash: if kind.is_file() { hash(path) } else { 0 },
        })
    });
    traces.retain(|_, trace| trace.is_some());
    traces
        .into_iter()
        .filter_map(|(path, trace)| Some((path, trace?)))
        .collect()
}

/// Names, bytes and times of a directory and everything below it, so that what was written and put back shows, too; nothing
/// where it is not there.
pub(super) fn moments(root: &Path) -> BTreeMap<PathBuf, (SystemTime, u64)> {
    let Ok(metadata) = fs::symlink_metadata(root) else {
        return BTreeMap::new();
    };
    let modified = |metadata: &fs::Metadata| metadata.modified().expect("a time");
    let mut found = walk(root, |path, metadata| {
        let hash = if metadata.is_file() { hash(path) } else { 0 };
        (modified(metadata), hash)
    });
    found.insert(PathBuf::new(), (modified(&metadata), 0));
    found
}

/// Demands that nothing below a directory was written since its traces were taken.
#[track_caller]
pub(super) fn assert_untouched(root: &Path, before: &BTreeMap<PathBuf, Trace>) {
    let after = traces(root);
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    let touched: Vec<&PathBuf> = paths
        .into_iter()
        .filter(|path| before.get(*path) != after.get(*path))
        .collect();
    assert!(
        touched.is_empty(),
        "{} changed: {touched:?}",
        root.display()
    );
}

fn walk<T>(root: &Path, look: impl Fn(&Path, &fs::Metadata) -> T) -> BTreeMap<PathBuf, T> {
    let mut found = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).expect("list a directory") {
            let path = entry.expect("list a directory").path();
            let metadata = fs::symlink_metadata(&path).expect("stat");
            if metadata.is_dir() {
                directories.push(path.clone());
            }
            let relative = path.strip_prefix(root).expect("below the root").to_owned();
            found.insert(relative, look(&path, &metadata));
        }
    }
    found
}

fn hash(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    fs::read(path).expect("read a file").hash(&mut hasher);
    hasher.finish()
}

/// Demands that two trees have the same paths, bytes, links and executable bits.
#[track_caller]
pub(super) fn assert_same(left: &Path, right: &Path) {
    let (a, b) = (nodes(left), nodes(right));
    for (path, node) in &a {
        assert_eq!(Some(node), b.get(path), "{} differs", path.display());
    }
    for path in b.keys() {
        assert!(a.contains_key(path), "{} is too much", path.display());
    }
    for (path, node) in &a {
        if matches!(node, Node::File { .. }) {
            let same = fs::read(left.join(path)).expect("read a file")
                == fs::read(right.join(path)).expect("read a file");
            assert!(same, "{} has other bytes", path.display());
        }
    }
}

/// Writes a file and the directories above it.
#[track_caller]
pub(super) fn write(root: &Path, path: impl AsRef<Path>, bytes: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("create a directory");
    fs::write(path, bytes).expect("write a file");
}

/// The text of a file.
#[track_caller]
pub(super) fn read(root: &Path, path: impl AsRef<Path>) -> String {
    fs::read_to_string(root.join(path)).expect("read a file")
}

/// Creates an empty directory.
#[track_caller]
pub(super) fn directory(root: &Path, path: &str) {
    fs::create_dir_all(root.join(path)).expect("create a directory");
}

/// Moves a file or a directory.
#[track_caller]
pub(super) fn rename(root: &Path, from: &str, to: &str) {
    let to = root.join(to);
    fs::create_dir_all(to.parent().expect("below the root")).expect("create a directory");
    fs::rename(root.join(from), to).expect("rename");
}

/// Removes a file or a directory with all it holds.
#[track_caller]
pub(super) fn remove(root: &Path, path: &str) {
    let path = root.join(path);
    if path.is_dir() {
        fs::remove_dir_all(path).expect("remove a directory");
    } else {
        fs::remove_file(path).expect("remove a file");
    }
}

/// Sets the mode of a file.
#[track_caller]
pub(super) fn chmod(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).expect("chmod");
}

/// Creates a symlink.
#[track_caller]
pub(super) fn link(root: &Path, path: &str, target: impl AsRef<OsStr>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("create a directory");
    symlink(target.as_ref(), path).expect("create a link");
}

/// A small tree with a bit of everything that workspaces hold.
#[track_caller]
pub(super) fn sample(root: &Path) {
    write(root, "agents/triage.yaml", "name: triage\nversion: 1\n");
    write(root, "agents/researcher.yaml", "name: researcher\n");
    write(root, "config/app.yaml", "locale: en\n");
    write(
        root,
        "skills/check/SKILL.md",
        "---\nname: check\n---\n\nRun it.\n",
    );
    write(root, "skills/check/scripts/run.sh", "#!/bin/sh\nexit 0\n");
    chmod(root, "skills/check/scripts/run.sh", 0o755);
    write(root, "web/picture.png", noise(7, 40_000));
    for number in 0..40 {
        write(
            root,
            format!("content/blog/post-{number}.md"),
            format!("---\ntitle: Post {number}\n---\n\nText of post {number}.\n"),
        );
    }
}
