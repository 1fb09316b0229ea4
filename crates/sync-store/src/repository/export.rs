//! Objects go out, as the stream of a pack.

mod outgoing;
mod rows;

use std::collections::HashSet;

use bytes::Bytes;
use futures_util::{Stream, stream};
use snafu::OptionExt;
use sync_core::content::decode_list;
use sync_core::map::{
    Change, Map, MapError, NewNode, Node, ReplacedNodes, diff, new_nodes, replaced_nodes,
};
use sync_core::rows::RowValue;
use sync_core::{Content, Digest, Entry, Roots};
use tokio::sync::mpsc;

use self::outgoing::Outgoing;
pub use self::rows::RowsPush;
use super::{Repository, RepositoryNodes, store_error};
use crate::Error;
use crate::error::{CorruptSnafu, UnknownObjectSnafu};
use crate::pack::{Class, PackWriter, Patch};
use crate::protocol::Fetch;

/// How many pieces wait for whoever reads the stream.
const QUEUE: usize = 4;

impl Repository {
    /// A pack of what a holder of snapshot `have` lacks of a part of snapshot `want`: the snapshot, its release, map nodes, schemas of
    /// tables and chunk lists first, then, with `contents`, the chunks in the order of their paths (a stored block that is wanted whole goes as it is,
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
        let wanted = self.snapshot(fetch.want).await?.roots;
        let held = match fetch.have {
            Some(have) => self.snapshot(have).await?.roots,
            None => Roots::default(),
        };
        let nodes = self.nodes();
        Ok(produce(self, move |outgoing| {
            outgoing.push(fetch.want.0)?;
            let is_new = wanted.release != held.release && fetch.part.has_release();
            if let Some(release) = wanted.release.filter(|_| is_new) {
                outgoing.push(release)?;
            }
            let mut export = Export::new(&nodes, outgoing, fetch.patches);
            let mut pairs = Vec::new();
            if let Some(after) = wanted.files.filter(|_| fetch.part.has_files()) {
                pairs.push(Pair {
                    before: held.files,
                    after,
                    values: Values::Files,
                });
            }
            if let Some(after) = wanted.rows.filter(|_| fetch.part.has_rows()) {
                pairs.extend(export.tables(held.rows, after)?);
            }
            let mut with_contents = Vec::new();
            for pair in pairs {
                if export.nodes(&pair)? {
                    with_contents.push(pair);
                }
            }
            let mut pairs = with_contents.iter();
            pairs.try_for_each(|pair| export.learn(pair))?;
            let mut pairs = with_contents.iter();
            pairs.try_for_each(|pair| export.lists(pair))?;
            export.outgoing.flush()?;
            if fetch.contents {
                let mut pairs = with_contents.iter();
                pairs.try_for_each(|pair| export.contents(pair))?;
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
        Ok(produce(self, move |outgoing| {
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
fn produce<F>(
    repository: &Repository,
    fill: F,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<F>
where
    F: FnOnce(&mut Outgoing) -> Result<(), Error> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let reader = repository.nodes_as_stored();
    tokio::task::spawn_blocking(move || {
        let run = || {
            let taker = sender.clone();
            let taker = Box::new(move |piece| taker.blocking_send(Ok(piece)).is_ok());
            let mut outgoing = Outgoing::new(reader, PackWriter::new()?, taker);
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

/// Two maps, of which the one goes to who has the other.
#[derive(Debug, Clone, Copy)]
struct Pair {
    /// `None` where the receiver has nothing.
    before: Option<Digest>,
    after: Digest,
    values: Values,
}

/// What the values of a map are.
#[derive(Debug, Clone, Copy)]
enum Values {
    Files,
    Rows,
}

struct Export<'e> {
    nodes: &'e RepositoryNodes,
    outgoing: &'e mut Outgoing,
    /// Whether the receiver takes patches.
    patches: bool,
    /// Chunks and lists that replaced and removed entries name.
    held: HashSet<Digest>,
    /// Chunks, lists and schemas that went out.
    sent: HashSet<Digest>,
}

impl<'e> Export<'e> {
    fn new(nodes: &'e RepositoryNodes, outgoing: &'e mut Outgoing, patches: bool) -> Self {
        Self {
            nodes,
            outgoing,
            patches,
            held: HashSet::new(),
            sent: HashSet::new(),
        }
    }

    /// Sends the nodes that are new; says whether something in them may name contents.
    fn nodes(&mut self, pair: &Pair) -> Result<bool, Error> {
        let (mut any, values) = (false, pair.values);
        self.nodes_with(pair, &mut |_, node| {
            any |= node
                .entries()
                .any(|(_, value)| values.may_name(node, value));
            Ok(())
        })?;
        Ok(any)
    }

    /// Sends the nodes that are new, and shows each.
    fn nodes_with(
        &mut self,
        pair: &Pair,
        each: &mut dyn FnMut(&mut Self, &Node) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let replaced = match pair.before.filter(|_| self.patches) {
            Some(before) => replaced_nodes(self.nodes, before, self.nodes, pair.after),
            None => Ok(ReplacedNodes::default()),
        };
        let replaced = replaced.map_err(map_error)?;
        for node in new_nodes(self.nodes, pair.before, self.nodes, pair.after) {
            let NewNode { digest, node } = node.map_err(map_error)?;
            let base = replaced.base_of(&node);
            self.push(digest, Class::Nodes, base)?;
            each(self, &node)?;
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

    /// Learns what the replaced side names.
    fn learn(&mut self, pair: &Pair) -> Result<(), Error> {
        if pair.before.is_none() {
            return Ok(());
        }
        for change in pair.changes(self.nodes) {
            let Some(before) = change?.before else {
                continue;
            };
            let held = &mut self.held;
            for content in pair.values.contents(self.nodes, &before)? {
                self.nodes
                    .walk_content(&content, &mut |digest, _| Ok(held.insert(digest)))?;
            }
        }
        Ok(())
    }

    /// Sends the lists that are new.
    fn lists(&mut self, pair: &Pair) -> Result<(), Error> {
        for change in pair.changes(self.nodes) {
            let Some(after) = change?.after else { continue };
            for content in pair.values.contents(self.nodes, &after)? {
                self.nodes.walk_content(&content, &mut |digest, depth| {
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

    fn contents(&mut self, pair: &Pair) -> Result<(), Error> {
        // A list that was followed once need not be again.
        let mut followed = HashSet::new();
        for change in pair.changes(self.nodes) {
            let change = change?;
            let Some(after) = change.after else { continue };
            let after = pair.values.contents(self.nodes, &after)?;
            let base = match change.before.filter(|_| self.patches) {
                Some(before) if only_chunk(&after).is_some() => {
                    only_chunk(&pair.values.contents(self.nodes, &before)?)
                }
                _ => None,
            };
            for content in &after {
                self.nodes.walk_content(content, &mut |digest, depth| {
                    if depth > 0 {
                        return Ok(followed.insert(digest));
                    }
                    if !self.held.contains(&digest) && self.sent.insert(digest) {
                        self.push(digest, Class::Contents, base)?;
                    }
                    Ok(false)
                })?;
            }
        }
        Ok(())
    }
}

impl Pair {
    /// What differs between the two.
    fn changes<'n>(
        &self,
        nodes: &'n RepositoryNodes,
    ) -> impl Iterator<Item = Result<Change, Error>> + use<'n> {
        let before = self.before.unwrap_or(Map::empty_root());
        diff(nodes, before, nodes, self.after).map(|change| change.map_err(map_error))
    }
}

impl Values {
    /// Whether a value of a node names contents, as far as it is easily seen.
    fn may_name(self, node: &Node, value: &[u8]) -> bool {
        match self {
            Self::Files => true,
            Self::Rows => {
                let row = RowValue::decode(&node.bytes().slice_ref(value));
                row.is_none_or(|row| !row.contents().is_empty())
            }
        }
    }

    /// The contents that a value names.
    fn contents(self, nodes: &RepositoryNodes, value: &Bytes) -> Result<Vec<Content>, Error> {
        match self {
            Self::Files => Ok(match Entry::decode(value) {
                Some(Entry::File { content, .. }) => vec![content],
                _ => Vec::new(),
            }),
            Self::Rows => nodes.row_contents(value),
        }
    }
}

/// The chunk of a value that names only one.
fn only_chunk(contents: &[Content]) -> Option<Digest> {
    match contents {
        [Content { depth: 0, chunks }] if chunks.len() == 1 => Some(chunks[0].digest),
        _ => None,
    }
}

impl RepositoryNodes {
    /// Visits the chunks and lists of a content, in its order, lists before what they name.
    /// `visit` gets the digest and the depth, 0 for a chunk, and says whether to look into a list.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where a chunk list is not there, or is none; what `visit` says.
    pub fn walk_content(
        &self,
        content: &Content,
        visit: &mut dyn FnMut(Digest, u8) -> Result<bool, Error>,
    ) -> Result<(), Error> {
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
            let bytes = self.object(&digest)?.context(corrupt)?;
            let items = decode_list(&bytes).context(corrupt)?;
            ahead.extend(items.iter().rev().map(|chunk| (chunk.digest, depth - 1)));
        }
        Ok(())
    }
}

/// An accepted map that does not read is damage; what the store said is said again.
fn map_error(error: MapError) -> Error {
    match error {
        MapError::Store { source, .. } => store_error(source, "read a node"),
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
