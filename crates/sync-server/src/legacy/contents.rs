//! Files of a tree with their bytes, read ahead: neighbours lie in the same blocks, so they are asked for together.

use std::collections::HashMap;
use std::io;
use std::ops::Bound;

use bytes::Bytes;
use sync_core::map::{Map, range};
use sync_core::{Content, Digest, Entry, TreePath};
use sync_store::{Repository, RepositoryNodes};
use tokio::runtime::Handle;

use super::land::below;

/// How many bytes are read ahead.
const AHEAD_BYTES: u64 = 4 << 20;
/// How many marks and chunks are read ahead.
const AHEAD: usize = 4096;

/// The tree that is sent: where it is, and which of its directories are asked for.
#[derive(Debug)]
pub(super) struct Selection {
    pub(super) repository: Repository,
    pub(super) nodes: RepositoryNodes,
    pub(super) root: Option<Digest>,
    /// Sorted.
    pub(super) directories: Vec<&'static str>,
}

/// A file of a tree.
#[derive(Debug, Clone)]
pub(super) struct TreeFile {
    pub(super) path: TreePath,
    pub(super) executable: bool,
    pub(super) size: u64,
    pub(super) content: Content,
}

/// A piece of what is sent: something of the caller's, or bytes of the file that it is in.
pub(super) enum Piece<T> {
    Mark(T),
    Bytes(Bytes),
}

impl Selection {
    /// Hands the regular files to `each` in path order. Links and empty directories are left out: legacy clients know none.
    pub(super) fn files(&self, mut each: impl FnMut(TreeFile) -> io::Result<()>) -> io::Result<()> {
        for directory in &self.directories {
            let (from, to) = below(directory);
            let bounds = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
            for row in range(&self.nodes, self.root.unwrap_or(Map::empty_root()), bounds) {
                let (key, value) = row.map_err(io::Error::other)?;
                if let Some(file) = decode(&key, &value)? {
                    each(file)?;
                }
            }
        }
        Ok(())
    }
}

fn decode(key: &[u8], value: &[u8]) -> io::Result<Option<TreeFile>> {
    let damaged = || io::Error::other("an entry of the tree does not decode");
    let path = TreePath::from_bytes(key).map_err(io::Error::other)?;
    let entry = Entry::decode(value).ok_or_else(damaged)?;
    let size = entry.size();
    Ok(match entry {
        Entry::File {
            executable,
            content,
        } => Some(TreeFile {
            path,
            executable,
            size,
            content,
        }),
        Entry::Link { .. } | Entry::Directory => None,
    })
}

/// Takes marks and contents in order, and hands out marks and bytes in the same order.
pub(super) struct Ahead<'s, T, F> {
    selection: &'s Selection,
    runtime: Handle,
    waiting: Vec<Step<T>>,
    bytes: u64,
    each: F,
}

enum Step<T> {
    Mark(T),
    Chunk(Digest),
}

impl<'s, T, F: FnMut(Piece<T>) -> io::Result<()>> Ahead<'s, T, F> {
    pub(super) fn new(selection: &'s Selection, each: F) -> Self {
        Self {
            selection,
            runtime: Handle::current(),
            waiting: Vec::new(),
            bytes: 0,
            each,
        }
    }

    pub(super) fn mark(&mut self, mark: T) -> io::Result<()> {
        self.push(Step::Mark(mark), 0)
    }

    pub(super) fn content(&mut self, content: &Content) -> io::Result<()> {
        let selection = self.selection;
        let walked = selection.nodes.chunks(content, &mut |chunk| {
            self.push(Step::Chunk(chunk.digest), chunk.len)
                .map_err(|error| sync_store::Error::Cut {
                    source: error.into(),
                })
        });
        walked.map_err(io::Error::other)
    }

    fn push(&mut self, step: Step<T>, bytes: u64) -> io::Result<()> {
        self.waiting.push(step);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.waiting.len() >= AHEAD || self.bytes >= AHEAD_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Hands out everything that was taken so far.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let chunk = |step: &Step<T>| match step {
            Step::Chunk(digest) => Some(*digest),
            Step::Mark(_) => None,
        };
        let digests: Vec<_> = self.waiting.iter().filter_map(chunk).collect();
        let mut objects = HashMap::with_capacity(digests.len());
        let repository = &self.selection.repository;
        let read = repository.objects(&digests, |digest, bytes| {
            objects.insert(digest, bytes);
        });
        let read = self.runtime.block_on(read);
        read.map_err(io::Error::other)?;
        for step in self.waiting.drain(..) {
            (self.each)(match step {
                Step::Mark(mark) => Piece::Mark(mark),
                Step::Chunk(digest) => {
                    let missing = || io::Error::other(sync_store::Error::UnknownObject { digest });
                    Piece::Bytes(objects.get(&digest).cloned().ok_or_else(missing)?)
                }
            })?;
        }
        self.bytes = 0;
        Ok(())
    }
}
