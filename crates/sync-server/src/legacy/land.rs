//! Files of a tarball become a snapshot: the tree is edited, and the head moves by compare-and-swap.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use snafu::ResultExt;
use sync_core::map::{
    Editor, Map, MapError, MemoryNodes, NodeSource, StoreError, diff, get, range,
};
use sync_core::{Digest, Entry, Roots, Snapshot, SnapshotId, TreePath};
use sync_store::{Advance, Advanced, Class, Repository, RepositoryNodes};

use super::BRANCH;
use super::refusal::Refusal;
use super::unpack::Files;
use crate::error::{StaleSnafu, StoreSnafu};
use crate::{Error, Server};

/// How often another push may come in between. Each time somebody's push did land.
const TRIES: usize = 64;

/// The tree with the files in it.
#[derive(Debug)]
struct Edited {
    root: Digest,
    nodes: MemoryNodes,
}

/// Adds and replaces `files` in the tree of the branch. A tree that has them all already gets no new snapshot.
///
/// # Errors
///
/// [`Error::Tarball`] where a file would be below a file; [`Error::Stale`] where others were faster every time.
/// The head has not moved then.
pub(super) async fn land(
    server: &Server,
    repository: &Repository,
    files: Arc<Files>,
) -> Result<(), Error> {
    let now = server.now();
    let mut head = None;
    for _ in 0..TRIES {
        head = repository.head(BRANCH).await.context(StoreSnafu)?;
        let before = match head {
            Some(id) => repository.snapshot(id).await.context(StoreSnafu)?.roots,
            None => Roots::default(),
        };
        let edited = edit(repository, before.files, &files).await?;
        if before.files.unwrap_or(Map::empty_root()) == edited.root {
            return Ok(());
        }
        if advance(repository, head, before, edited, &files, now).await? {
            server.metrics().heads_moved.add(1);
            return Ok(());
        }
    }
    StaleSnafu { head }.fail()
}

/// Finds what is wrong with `files` in the tree that the branch has now, and changes nothing.
pub(super) async fn check(repository: &Repository, files: Arc<Files>) -> Result<(), Error> {
    let head = repository.head(BRANCH).await.context(StoreSnafu)?;
    let root = match head {
        Some(id) => {
            repository
                .snapshot(id)
                .await
                .context(StoreSnafu)?
                .roots
                .files
        }
        None => None,
    };
    edit(repository, root, &files).await.map(drop)
}

/// Whether the head moved; where it did not, somebody else moved it.
async fn advance(
    repository: &Repository,
    head: Option<SnapshotId>,
    before: Roots,
    edited: Edited,
    files: &Files,
    now: u64,
) -> Result<bool, Error> {
    let mut roots = before;
    roots.files = Some(edited.root);
    let snapshot = Snapshot {
        author: "legacy".to_owned(),
        message: format!("legacy push of {} files", files.len()),
        parents: head.into_iter().collect(),
        roots,
        time: now,
    };
    let encoded = snapshot
        .encode()
        .map_err(|error| sync_store::Error::Malformed {
            place: "the snapshot".to_owned(),
            reason: error.to_string(),
        });
    let (target, bytes) = encoded.context(StoreSnafu)?;
    let nodes = edited.nodes.into_iter().map(|(_, node)| node.into());
    let objects = std::iter::once(bytes).chain(nodes);
    let objects = objects.map(|object: Vec<u8>| (Class::Nodes, object));
    let prepared = repository.prepare(objects).await.context(StoreSnafu)?;
    let advance = Advance {
        branch: BRANCH.to_owned(),
        expected: head,
        target,
        when: now,
    };
    let advanced = repository.advance(prepared, advance).await;
    Ok(match advanced.context(StoreSnafu)? {
        Advanced::Moved | Advanced::Already => true,
        Advanced::Stale { .. } => false,
    })
}

async fn edit(
    repository: &Repository,
    root: Option<Digest>,
    files: &Arc<Files>,
) -> Result<Edited, Error> {
    let (nodes, files) = (repository.nodes(), Arc::clone(files));
    let root = root.unwrap_or(Map::empty_root());
    super::blocking(move || edit_blocking(&nodes, root, &files)).await
}

fn edit_blocking(nodes: &RepositoryNodes, root: Digest, files: &Files) -> Result<Edited, Error> {
    let emptied = directories_that_fill(nodes, root, files)?;
    let mut new = MemoryNodes::new();
    let mut editor = Editor::new(nodes, root, &mut new);
    // A directory that fills sorts before what fills it, so none is left at the end.
    let mut emptied = emptied.iter().peekable();
    for (path, file) in files {
        while let Some(directory) = emptied.next_if(|directory| *directory < path) {
            editor.remove(directory.as_bytes()).map_err(map_error)?;
        }
        let set = editor.set(path.as_bytes(), &file.value);
        set.map_err(map_error)?;
    }
    let edited = editor.finish().map_err(map_error)?.root;
    let new = Overlay { new, below: nodes };
    check_places(nodes, root, &new, edited)?;
    Ok(Edited {
        root: edited,
        nodes: new.new,
    })
}

/// The directories above `files` that the tree has as empty ones: they are implied from now on.
fn directories_that_fill(
    nodes: &RepositoryNodes,
    root: Digest,
    files: &Files,
) -> Result<BTreeSet<TreePath>, Error> {
    let mut seen = BTreeSet::new();
    let mut empty = BTreeSet::new();
    for path in files.keys() {
        for above in path.ancestors() {
            if !seen.insert(above.clone()) {
                // What is above that was looked at with it.
                break;
            }
            let value = get(nodes, root, above.as_bytes()).map_err(map_error)?;
            match value.map(|value| Entry::decode(&value)) {
                None => {}
                Some(Some(Entry::Directory)) => {
                    empty.insert(above);
                }
                Some(_) => return Err(Refusal::FileUnderFile.at(path.as_bytes())),
            }
        }
    }
    Ok(empty)
}

/// Refuses a new file where the tree has a directory with something in it.
fn check_places(
    nodes: &RepositoryNodes,
    root: Digest,
    edited: &Overlay<'_>,
    edited_root: Digest,
) -> Result<(), Error> {
    let mut parent: Option<(Option<TreePath>, bool)> = None;
    for change in diff(nodes, root, edited, edited_root) {
        let change = change.map_err(map_error)?;
        if change.before.is_some() || change.after.is_none() {
            continue;
        }
        let path = TreePath::from_bytes(&change.key);
        let path = path.map_err(|error| Refusal::Path(error).at(&change.key))?;
        // Most new files come into directories that were not there.
        let is_known = parent.as_ref().is_some_and(|(at, _)| *at == path.parent());
        if !is_known {
            let above = path.parent();
            let populated = match &above {
                Some(above) => has_below(nodes, root, above)?,
                None => true,
            };
            parent = Some((above, populated));
        }
        let populated = parent.as_ref().is_some_and(|(_, populated)| *populated);
        if populated && has_below(nodes, root, &path)? {
            return Err(Refusal::FileUnderFile.at(&change.key));
        }
    }
    Ok(())
}

fn has_below(nodes: &RepositoryNodes, root: Digest, path: &TreePath) -> Result<bool, Error> {
    let (from, to) = below(path.as_str());
    let mut found = range(
        nodes,
        root,
        (Bound::Included(&from[..]), Bound::Excluded(&to[..])),
    );
    Ok(found.next().transpose().map_err(map_error)?.is_some())
}

/// The first key below a directory, and the first after all of them.
pub(super) fn below(directory: &str) -> (Vec<u8>, Vec<u8>) {
    // `0` is the character after `/`.
    (
        format!("{directory}/").into(),
        format!("{directory}0").into(),
    )
}

/// New nodes above those of a repository.
struct Overlay<'n> {
    new: MemoryNodes,
    below: &'n RepositoryNodes,
}

impl NodeSource for Overlay<'_> {
    fn node(&self, digest: &Digest) -> Result<Option<Bytes>, StoreError> {
        match self.new.node(digest)? {
            Some(node) => Ok(Some(node)),
            None => self.below.node(digest),
        }
    }
}

pub(super) fn map_error(error: MapError) -> Error {
    let source = error.into();
    Error::Store { source }
}
