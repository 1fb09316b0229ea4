//! Objects go out, as the stream of a pack.

mod outgoing;

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{Stream, stream};
use snafu::OptionExt;
use sync_core::content::decode_list;
use sync_core::map::{
    Change, Map, MapError, NewNode, ReplacedNodes, diff, new_nodes, replaced_nodes,
};
use sync_core::{Digest, Entry};
use tokio::sync::mpsc;

use self::outgoing::Outgoing;
use super::{Received, Repository, RepositoryNodes};
use crate::Error;
use crate::error::{CorruptSnafu, UnknownObjectSnafu};
use crate::pack::{Class, Patch};
use crate::protocol::Fetch;

/// How many pieces wait for whoever reads the stream.
const QUEUE: usize = 4;

impl Repository {
    /// A pack of what a holder of snapshot `have` lacks of snapshot `want`: the snapshot, map nodes and chunk lists first,
    /// then, with `contents`, the chunks in the order of their paths (a stored block that is wanted whole goes as it is,
    /// at the place of its first chunk). Nothing comes twice.
    ///
    /// Chunks go that entries of `want` name and `have` has not under the same paths, without those that the replaced and
    /// removed entries of `have` name: their bytes are in the files that the receiver is about to change.
    /// With `patches`, nodes come as patches of those that they replace, and files of one chunk as patches of what `have`
    /// has under the same paths, where that is less.
    ///
    /// Memory is bounded but for the digests of the replaced side and of what was sent.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSnapshot`] before the stream starts; in it, errors of the store, after which nothing comes.
    pub async fn export(
        &self,
        fetch: Fetch,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        let wanted = self.snapshot(fetch.want).await?;
        let held = match fetch.have {
            Some(have) => self.snapshot(have).await?.roots.files,
            None => None,
        };
        let nodes = self.nodes();
        Ok(produce(self.clone(), move |outgoing| {
            outgoing.push(fetch.want.0)?;
            let mut export = Export {
                nodes: &nodes,
                outgoing,
                before: held,
                after: wanted.roots.files.unwrap_or(Map::empty_root()),
                patches: fetch.patches,
                held: HashSet::new(),
                sent: HashSet::new(),
            };
            export.nodes()?;
            export.lists()?;
            export.outgoing.flush()?;
            if fetch.contents {
                export.contents()?;
            }
            Ok(())
        }))
    }

    /// A pack of these objects, in this order (a stored block that is wanted whole goes as it is, at the place of its
    /// first object), each once.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownObject`] before the stream starts; in it, errors of the store, after which nothing comes.
    pub async fn export_objects(
        &self,
        digests: Vec<Digest>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + use<>, Error> {
        for batch in digests.chunks(4096) {
            for (digest, location) in batch.iter().zip(self.locate(batch).await?) {
                location.context(UnknownObjectSnafu { digest: *digest })?;
            }
        }
        Ok(produce(self.clone(), move |outgoing| {
            let mut sent = HashSet::with_capacity(digests.len());
            for digest in digests {
                if sent.insert(digest) {
                    outgoing.push(digest)?;
                }
            }
            Ok(())
        }))
    }
}

/// Runs `fill` on a blocking thread, which a slow reader holds back, and ends when the reader goes away.
fn produce(
    repository: Repository,
    fill: impl FnOnce(&mut Outgoing) -> Result<(), Error> + Send + 'static,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let reader = RepositoryNodes::new(repository, &Received::nothing());
    tokio::task::spawn_blocking(move || {
        let run = || {
            let mut outgoing = Outgoing::new(reader, sender.clone())?;
            fill(&mut outgoing)?;
            outgoing.finish()
        };
        if let Err(error) = run() {
            // Where this fails nobody reads any more.
            let _ = sender.blocking_send(Err(error));
        }
    });
    stream::poll_fn(move |context| receiver.poll_recv(context))
}

struct Export<'e> {
    nodes: &'e RepositoryNodes,
    outgoing: &'e mut Outgoing,
    before: Option<Digest>,
    after: Digest,
    /// Whether the receiver takes patches.
    patches: bool,
    /// Chunks and lists that replaced and removed entries name.
    held: HashSet<Digest>,
    /// Chunks and lists that went out.
    sent: HashSet<Digest>,
}

impl Export<'_> {
    fn nodes(&mut self) -> Result<(), Error> {
        let replaced = match self.before.filter(|_| self.patches) {
            Some(before) => replaced_nodes(self.nodes, before, self.nodes, self.after),
            None => Ok(ReplacedNodes::default()),
        };
        let replaced = replaced.map_err(map_error)?;
        for node in new_nodes(self.nodes, self.before, self.nodes, self.after) {
            let NewNode { digest, node } = node.map_err(map_error)?;
            let base = replaced.base_of(&node);
            self.push(digest, Class::Nodes, base)?;
        }
        Ok(())
    }

    /// Sends an object, as a patch of `base` where there is one and it pays.
    fn push(&mut self, digest: Digest, class: Class, base: Option<Digest>) -> Result<(), Error> {
        if let Some(base) = base
            && let Some(bytes) = self.nodes.object(&base)?
            && let Some(target) = self.nodes.object(&digest)?
            && let Some(patch) = Patch::between(base, &bytes, &target)
        {
            return self.outgoing.push_patch(class, &patch);
        }
        self.outgoing.push(digest)
    }

    /// Sends the lists that are new, and learns what the replaced side names.
    fn lists(&mut self) -> Result<(), Error> {
        if self.before.is_some() {
            for change in changes(self.nodes, self.before, self.after) {
                if let Some(before) = change?.before {
                    let held = &mut self.held;
                    walk_file(
                        self.nodes,
                        &before,
                        &mut |digest, _| Ok(held.insert(digest)),
                    )?;
                }
            }
        }
        for change in changes(self.nodes, self.before, self.after) {
            if let Some(after) = change?.after {
                walk_file(self.nodes, &after, &mut |digest, depth| {
                    let fresh =
                        depth > 0 && !self.held.contains(&digest) && self.sent.insert(digest);
                    if fresh {
                        self.outgoing.push(digest)?;
                    }
                    Ok(fresh)
                })?;
            }
        }
        Ok(())
    }

    fn contents(&mut self) -> Result<(), Error> {
        // A list that was followed once need not be again.
        let mut followed = HashSet::new();
        for change in changes(self.nodes, self.before, self.after) {
            let change = change?;
            let Some(after) = change.after else { continue };
            let before = change.before.filter(|_| self.patches);
            let before = before.and_then(|before| only_chunk(&before));
            let base = before.filter(|_| only_chunk(&after).is_some());
            walk_file(self.nodes, &after, &mut |digest, depth| {
                if depth > 0 {
                    return Ok(followed.insert(digest));
                }
                if !self.held.contains(&digest) && self.sent.insert(digest) {
                    self.push(digest, Class::Contents, base)?;
                }
                Ok(false)
            })?;
        }
        Ok(())
    }
}

/// What differs between two maps of the repository.
fn changes(
    nodes: &RepositoryNodes,
    before: Option<Digest>,
    after: Digest,
) -> impl Iterator<Item = Result<Change, Error>> {
    let before = before.unwrap_or(Map::empty_root());
    diff(nodes, before, nodes, after).map(|change| change.map_err(map_error))
}

/// The chunk of a file that has only one.
fn only_chunk(value: &[u8]) -> Option<Digest> {
    let chunk = Entry::decode(value)?.only_chunk()?;
    Some(chunk.digest)
}

/// Visits the chunks and lists that an entry names, in file order, lists before what they name.
/// `visit` gets the digest and the depth, 0 for a chunk, and says whether to look into a list.
fn walk_file(
    nodes: &RepositoryNodes,
    value: &[u8],
    visit: &mut dyn FnMut(Digest, u8) -> Result<bool, Error>,
) -> Result<(), Error> {
    let Some(Entry::File { content, .. }) = Entry::decode(value) else {
        return Ok(());
    };
    // What is still to be visited, the next last.
    let mut ahead: Vec<(Digest, u8)> = Vec::new();
    let items = content.chunks.iter().rev();
    ahead.extend(items.map(|chunk| (chunk.digest, content.depth)));
    while let Some((digest, depth)) = ahead.pop() {
        if !visit(digest, depth)? || depth == 0 {
            continue;
        }
        let corrupt = CorruptSnafu {
            digest,
            reason: "a chunk list of an accepted snapshot is not there, or is none",
        };
        let bytes = nodes.object(&digest)?.context(corrupt)?;
        let items = decode_list(&bytes).context(corrupt)?;
        ahead.extend(items.iter().rev().map(|chunk| (chunk.digest, depth - 1)));
    }
    Ok(())
}

/// An accepted map that does not read is damage; what the store said is said again.
fn map_error(error: MapError) -> Error {
    match error {
        MapError::Store { source, .. } => match source.downcast::<Error>() {
            Ok(error) => *error,
            Err(source) => Error::Blobs {
                action: "read a node".to_owned(),
                source,
            },
        },
        MapError::Missing { digest } => Error::Corrupt {
            digest,
            reason: "a node of an accepted map is not there",
        },
        MapError::Malformed { digest, reason } => Error::Corrupt { digest, reason },
        MapError::Entry { reason } => Error::Corrupt {
            digest: Digest::default(),
            reason,
        },
    }
}

impl From<MapError> for Error {
    /// What reading an accepted map of a repository came to.
    fn from(error: MapError) -> Self {
        map_error(error)
    }
}
