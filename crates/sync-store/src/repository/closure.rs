//! Whether everything that a new snapshot names is here and well formed.
//!
//! A map is walked in key order. A subtree that the base has in the same place is trusted; everything else is read:
//! nodes (shape, order across nodes, counts, cuts), entries (of files: path, encoding, links, nothing below a file; of tables:
//! name, schema, number of rows; rows), releases, chunk lists (depth, sums), and chunks are looked up with their lengths. What is missing
//! is collected, what is wrong ends the walk.
//!
//! **Invariant:** nothing that was received is believed. Order across nodes, which is checked on the way, makes the walk end:
//! no subtree can come twice. Memory is bounded by a node per level, a batch of chunks, and one line per chunk list.

mod contents;
mod entries;
mod lookup;
mod rows;

use std::collections::HashSet;
use std::ops::RangeInclusive;

use bytes::Bytes;
use snafu::ensure;
use sync_core::map::{Map, Node, check_node};
use sync_core::wire::{put_bytes, put_varint};
use sync_core::{Digest, Release, Roots, Snapshot, SnapshotId};

use self::contents::Contents;
use self::entries::Entries;
use self::lookup::Lookup;
use super::RepositoryNodes;
use crate::Error;
use crate::error::MalformedSnafu;

/// What the walk did not find.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// At most [`Error::MAX_MISSING`] of the missing objects, each once.
    pub(super) missing: Vec<Digest>,
    /// How many there are. Beyond those that are listed, one that is named twice counts twice.
    pub(super) total: u64,
}

/// The missing objects so far.
#[derive(Debug, Default)]
struct Missing {
    found: Found,
    listed: HashSet<Digest>,
}

impl Missing {
    fn add(&mut self, digest: Digest) {
        if self.found.missing.len() == Error::MAX_MISSING {
            self.found.total += u64::from(!self.listed.contains(&digest));
        } else if self.listed.insert(digest) {
            self.found.missing.push(digest);
            self.found.total += 1;
        }
    }
}

/// Decodes a snapshot that was received.
pub(super) fn snapshot(id: SnapshotId, bytes: &[u8]) -> Result<Snapshot, Error> {
    Snapshot::decode(bytes).map_err(|error| malformed_error(format!("snapshot {id}"), error))
}

/// Whether everything is here that `roots` name and `base`, the roots of an accepted snapshot, do not. Blocking.
/// With `spare`, what is looked at survives collections for another grace time.
///
/// # Errors
///
/// [`Error::Malformed`] where something is wrong with a map, or the store failed.
pub(super) fn check(
    reader: &RepositoryNodes,
    base: &Roots,
    roots: &Roots,
    spare: bool,
) -> Result<Found, Error> {
    let mut contents = Contents::new(reader, spare);
    if let Some(root) = roots.files.filter(|_| roots.files != base.files) {
        let entries = Entries::new(reader, root, base.files.is_some());
        Walk::new(reader, base.files, entries, &mut contents).root(root, &ANY)?;
    }
    if let Some(digest) = roots.release.filter(|_| roots.release != base.release) {
        object(reader, digest, &mut contents, |bytes| {
            let read = Release::decode(bytes);
            read.map(drop)
                .map_err(|error| malformed_error(format!("release {digest}"), error))
        })?;
    }
    if let Some(root) = roots.rows.filter(|_| roots.rows != base.rows) {
        rows::check(reader, base.rows, root, &mut contents)?;
    }
    contents.finish()
}

/// An object that names nothing: it has to be here, and to be what `check` takes.
fn object(
    reader: &RepositoryNodes,
    digest: Digest,
    contents: &mut Contents<'_>,
    check: impl FnOnce(&Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    contents.touch(digest)?;
    match reader.object(&digest)? {
        None => {
            contents.lacks(digest);
            Ok(())
        }
        Some(bytes) => check(&bytes),
    }
}

fn malformed_error(place: impl Into<String>, reason: impl std::fmt::Display) -> Error {
    MalformedSnafu {
        place,
        reason: reason.to_string(),
    }
    .build()
}

/// What a parent says of a node, and what comes before it.
struct Claim<'p> {
    level: u8,
    last_key: &'p [u8],
    len: u64,
    /// The last key before the node's first.
    lower: Option<&'p [u8]>,
    /// Whether no node comes after it on its level.
    is_last: bool,
}

/// What a walk does with the entries of a map.
trait Values {
    /// Checks an entry, unless `base`, the map that is trusted, has it. Keys come in rising order.
    fn check(
        &mut self,
        base: Option<&mut Lookup<'_>>,
        key: &[u8],
        value: Bytes,
        contents: &mut Contents<'_>,
    ) -> Result<(), Error>;
}

/// How many entries a map may have, and what is wrong where it has others.
struct Size {
    entries: RangeInclusive<u64>,
    reason: &'static str,
}

const ANY: Size = Size {
    entries: 0..=u64::MAX,
    reason: "",
};

struct Walk<'w, 'r, V> {
    reader: &'r RepositoryNodes,
    base: Option<Lookup<'r>>,
    values: V,
    contents: &'w mut Contents<'r>,
    /// Nodes that were walked before, each with what was said of it: for maps that may share them. Many tables could name
    /// nearly the same rows, and to walk all of each would take as long as anybody likes.
    walked: Option<HashSet<Digest>>,
}

/// How many nodes are remembered, and how many leaves among them: 12 MiB.
const MAX_WALKED: usize = 1 << 18;
const MAX_WALKED_LEAVES: usize = MAX_WALKED / 2;

impl Claim<'_> {
    /// Names the claim and the node that it is about.
    fn fingerprint(&self, digest: Digest) -> Digest {
        let mut text = Vec::with_capacity(100 + self.last_key.len());
        text.extend_from_slice(digest.as_bytes());
        text.extend_from_slice(&[self.level, u8::from(self.is_last)]);
        put_varint(&mut text, self.len);
        put_bytes(&mut text, self.last_key);
        text.extend(self.lower.map(|_| 1));
        text.extend_from_slice(self.lower.unwrap_or_default());
        Digest::of(&text)
    }
}

impl<'w, 'r, V: Values> Walk<'w, 'r, V> {
    fn new(
        reader: &'r RepositoryNodes,
        base: Option<Digest>,
        values: V,
        contents: &'w mut Contents<'r>,
    ) -> Self {
        Self {
            reader,
            base: base.map(|base| Lookup::new(reader, base)),
            values,
            contents,
            walked: None,
        }
    }

    fn root(&mut self, root: Digest, size: &Size) -> Result<(), Error> {
        let same = self.base.as_ref().is_some_and(|base| base.root() == root);
        if same || root == Map::empty_root() {
            return Ok(());
        }
        let Some(node) = self.read(root)? else {
            return Ok(());
        };
        ensure_shape(node.count() > 0, root, "an empty node is not the empty map")?;
        ensure_shape(
            node.level() == 0 || node.count() > 1,
            root,
            "a root has a single child",
        )?;
        ensure_shape(size.entries.contains(&node.total()), root, size.reason)?;
        self.inside(&node, None, true)
    }

    fn subtree(&mut self, digest: Digest, claim: &Claim<'_>) -> Result<(), Error> {
        if self.is_trusted(digest, claim)? {
            return Ok(());
        }
        let walked = self.walked.as_ref();
        let fingerprint = walked.map(|_| claim.fingerprint(digest));
        if walked
            .zip(fingerprint)
            .is_some_and(|(walked, fingerprint)| walked.contains(&fingerprint))
        {
            return Ok(());
        }
        let Some(node) = self.read(digest)? else {
            return Ok(());
        };
        let shape = |holds, reason| ensure_shape(holds, digest, reason);
        shape(
            node.level() == claim.level,
            "it is not one level below its parent",
        )?;
        shape(
            node.total() == claim.len,
            "it has not as many entries as its parent says",
        )?;
        shape(
            node.last_key() == Some(claim.last_key),
            "its last key is not the one that its parent says",
        )?;
        shape(
            claim.is_last || node.ends_in_cut(),
            "it ends where the cut rule does not end it",
        )?;
        self.inside(&node, claim.lower, claim.is_last)?;
        let most = match claim.level {
            0 => MAX_WALKED_LEAVES,
            _ => MAX_WALKED,
        };
        if let Some(walked) = &mut self.walked
            && walked.len() < most
        {
            walked.extend(fingerprint);
        }
        Ok(())
    }

    /// Whether the base has the very same subtree with nothing in between that the new map would order differently.
    /// Its edges are looked at again where its neighbours are others: it must come after what is before it now, and it
    /// must end in a cut where it was the last of its level and is no longer.
    fn is_trusted(&mut self, digest: Digest, claim: &Claim<'_>) -> Result<bool, Error> {
        let Some(base) = &mut self.base else {
            return Ok(false);
        };
        let Some(known) = base.node(claim.level, claim.last_key)? else {
            return Ok(false);
        };
        Ok(known.digest == digest
            && known.len == claim.len
            && claim.lower <= known.lower.as_deref()
            && (claim.is_last || !known.is_last))
    }

    fn inside(&mut self, node: &Node, lower: Option<&[u8]>, is_last: bool) -> Result<(), Error> {
        let mut lower = lower;
        if node.level() == 0 {
            for (key, value) in node.entries() {
                if lower >= Some(key) {
                    let reason = "it overlaps the node before";
                    return Err(malformed_error(entries::name(key), reason));
                }
                lower = None;
                // A slice of the node's memory.
                let value = node.bytes().slice_ref(value);
                self.values
                    .check(self.base.as_mut(), key, value, self.contents)?;
            }
            return Ok(());
        }
        let last = node.count() - 1;
        for (index, child) in node.children().enumerate() {
            let claim = Claim {
                level: node.level() - 1,
                last_key: child.last_key,
                len: child.len,
                lower,
                is_last: is_last && index == last,
            };
            self.subtree(child.digest, &claim)?;
            lower = Some(child.last_key);
        }
        Ok(())
    }

    /// A node with its own shape checked; `None` where it is missing, which is noted.
    fn read(&mut self, digest: Digest) -> Result<Option<Node>, Error> {
        self.contents.touch(digest)?;
        let Some(bytes) = self.reader.object(&digest)? else {
            self.contents.lacks(digest);
            return Ok(None);
        };
        parse(digest, bytes).map(Some)
    }
}

fn parse(digest: Digest, bytes: Bytes) -> Result<Node, Error> {
    check_node(bytes).map_err(|error| malformed_error(format!("node {digest}"), error))
}

fn ensure_shape(holds: bool, digest: Digest, reason: &str) -> Result<(), Error> {
    ensure!(
        holds,
        MalformedSnafu {
            place: format!("node {digest}"),
            reason
        }
    );
    Ok(())
}
