//! A tarball as files of a tree: paths checked, contents cut into objects.

use std::collections::BTreeMap;

use ring::digest::{Context, SHA256};
use sync_core::cut::cut;
use sync_core::{Chunk, Content, Digest, Entry, TreePath};
use sync_store::Class;

use super::refusal::Refusal;
use super::tarball::{Kind, Limits, Member, Pieces, Tarball};
use crate::Error;

/// The most entries of a tarball.
const MAX_ENTRIES: u64 = 1_000_000;
/// The most bytes of all paths together: 128 MiB.
const MAX_PATHS: usize = 128 << 20;

/// A file of a tarball.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// Its encoded entry.
    pub(super) value: Box<[u8]>,
    /// Its bytes.
    pub(super) size: u64,
    /// Their SHA-256, where it was asked for.
    pub(super) checksum: Option<[u8; 32]>,
}

/// The files of a tarball, by path.
pub(super) type Files = BTreeMap<TreePath, Unpacked>;

/// Reads a tarball to its end. Blocking.
///
/// Every chunk and chunk list is handed to `keep` as it comes. Memory follows the number of files, not their bytes.
///
/// # Errors
///
/// [`Error::Tarball`] where anything at all is wrong with it; what was handed out by then is named by nothing.
pub(super) fn unpack(
    pieces: Pieces,
    limits: Limits,
    checksums: bool,
    mut keep: impl FnMut(Class, Vec<u8>) -> Result<(), Error>,
) -> Result<Files, Error> {
    let mut tarball = Tarball::new(pieces, limits);
    let mut files = Files::new();
    let (mut entries, mut path_bytes) = (0, 0);
    while let Some(Member { path, kind }) = tarball.next()? {
        entries += 1;
        path_bytes += path.len();
        if entries > MAX_ENTRIES || path_bytes > MAX_PATHS {
            return Err(Refusal::TooMany.at(&path));
        }
        let (size, executable) = match kind {
            Kind::File { size, executable } => (size, executable),
            Kind::Directory => {
                check_directory(&path)?;
                continue;
            }
        };
        let path = tree_path(&path)?;
        if files.contains_key(&path) {
            return Err(Refusal::Duplicate.at(path.as_bytes()));
        }
        let mut hasher = checksums.then(|| Context::new(&SHA256));
        let content = content(&mut tarball, size, hasher.as_mut(), &mut keep)?;
        let entry = Entry::File {
            executable,
            content,
        };
        let unpacked = Unpacked {
            value: entry.encode().into(),
            size,
            checksum: hasher.map(finished),
        };
        files.insert(path, unpacked);
    }
    for path in files.keys() {
        if path.ancestors().any(|above| files.contains_key(&above)) {
            return Err(Refusal::FileUnderFile.at(path.as_bytes()));
        }
    }
    Ok(files)
}

/// The SHA-256 of everything that a context was given.
pub(super) fn finished(context: Context) -> [u8; 32] {
    let mut checksum = [0; 32];
    checksum.copy_from_slice(context.finish().as_ref());
    checksum
}

fn content(
    tarball: &mut Tarball,
    size: u64,
    mut hasher: Option<&mut Context>,
    keep: &mut impl FnMut(Class, Vec<u8>) -> Result<(), Error>,
) -> Result<Content, Error> {
    let mut chunks = Vec::new();
    let read = |buffer: &mut [u8]| tarball.read(buffer);
    cut(size, read, |bytes| {
        if let Some(hasher) = &mut hasher {
            hasher.update(bytes);
        }
        chunks.push(Chunk {
            digest: Digest::of(bytes),
            len: bytes.len() as u64,
        });
        keep(Class::Contents, bytes.to_vec())
    })?;
    let mut lists = Vec::new();
    let content = Content::from_chunks(chunks, |_, bytes| lists.push(bytes));
    for list in lists {
        keep(Class::Nodes, list)?;
    }
    Ok(content)
}

/// The path in the tree; one `./` before it is no part of it.
fn tree_path(bytes: &[u8]) -> Result<TreePath, Error> {
    let relative = bytes.strip_prefix(b"./").unwrap_or(bytes);
    if relative.starts_with(b"/") {
        return Err(Refusal::Absolute.at(bytes));
    }
    TreePath::from_bytes(relative).map_err(|error| Refusal::Path(error).at(bytes))
}

/// A directory is implied by what is in it, but its name must not lie either.
fn check_directory(bytes: &[u8]) -> Result<(), Error> {
    let name = bytes.strip_suffix(b"/").unwrap_or(bytes);
    if name == b"." {
        return Ok(());
    }
    tree_path(name).map(drop)
}

#[cfg(test)]
mod tests;
