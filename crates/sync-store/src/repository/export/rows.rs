//! Tables and rows go out.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use futures_util::Stream;
use snafu::OptionExt;
use sync_core::map::{Node, digests};
use sync_core::rows::{RowError, RowValue, tables};
use sync_core::{Content, Digest};

use super::outgoing::Outgoing;
use super::{Export, Pair, Values, map_error, produce};
use crate::Error;
use crate::error::CorruptSnafu;
use crate::pack::{Class, PackWriter};
use crate::repository::{Repository, RepositoryNodes, store_error};

impl Repository {
    /// The pack of a push of rows, out of a workspace's own store: `snapshot` as it is encoded, which need not be stored, and everything that the map of tables under
    /// [`RowsPush::after`] names and the one under [`RowsPush::before`] does not: nodes, schemas, large values. A stored block
    /// that is wanted whole goes as it is.
    ///
    /// Memory is bounded but for the digests of large values that went out, and of replaced nodes where there is a map before.
    ///
    /// # Errors
    ///
    /// In the stream, those of the store, after which nothing comes.
    pub fn export_rows(
        &self,
        snapshot: Bytes,
        push: RowsPush,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        let nodes = self.nodes();
        produce(self, move |outgoing| {
            outgoing.push_own(Class::Nodes, &snapshot)?;
            Export::new(&nodes, outgoing, push.patches).all(&push)
        })
    }

    /// The same objects, but for the snapshot, as the next part of a pack that somebody else has begun and ends. `taker` is given
    /// pieces of it, and says whether anybody still wants them. Blocks; not for a thread of the async runtime.
    ///
    /// # Errors
    ///
    /// Those of the store, and [`Error::Cut`] where nobody wants the pack any more: it cannot be gone on with then.
    pub fn write_rows(
        &self,
        push: &RowsPush,
        writer: PackWriter,
        taker: impl FnMut(Bytes) -> bool + Send + 'static,
    ) -> Result<PackWriter, Error> {
        let nodes = self.nodes();
        let reader = self.nodes_as_stored();
        let mut outgoing = Outgoing::new(reader, writer, Box::new(taker));
        Export::new(&nodes, &mut outgoing, push.patches).all(push)?;
        outgoing.into_writer()
    }
}

/// What a push of rows sends: see [`Repository::export_rows`].
#[derive(Debug, Clone)]
pub struct RowsPush {
    /// A map of tables that the receiver holds whole.
    pub before: Option<Digest>,
    /// The map of tables of the snapshot.
    pub after: Digest,
    /// Whether nodes come as patches of those that they replace, where that is less. A receiver that turns out to lack these
    /// needs a pack without.
    pub patches: bool,
    /// Maps of rows that are known to name nothing beside their nodes: where all of one goes, its leaves need not be read.
    pub inline: Vec<Digest>,
}

impl Export<'_> {
    /// Sends what a push of rows brings.
    fn all(&mut self, push: &RowsPush) -> Result<(), Error> {
        let pairs = self.tables(push.before, push.after)?;
        pairs.iter().try_for_each(|pair| {
            if pair.before.is_none() && push.inline.contains(&pair.after) {
                self.inline(pair.after)
            } else {
                self.rows(pair)
            }
        })
    }

    /// Sends the map of tables and the schemas of those that changed; gives the maps of rows that did.
    pub(super) fn tables(
        &mut self,
        before: Option<Digest>,
        after: Digest,
    ) -> Result<Vec<Pair>, Error> {
        self.nodes(&Pair {
            before,
            after,
            values: Values::Rows,
        })?;
        let held = before.map(|root| tables(self.nodes, root));
        let held: HashMap<_, _> = held
            .transpose()
            .map_err(map_error)?
            .unwrap_or_default()
            .into_iter()
            .collect();
        let (mut pairs, mut seen) = (Vec::new(), HashSet::new());
        for (name, table) in tables(self.nodes, after).map_err(map_error)? {
            let before = held.get(&name);
            let same = before.is_some_and(|before| before.schema == table.schema);
            if !same && self.sent.insert(table.schema) {
                self.outgoing.push(table.schema)?;
            }
            let before = before.map(|before| before.rows.root);
            let root = table.rows.root;
            if before != Some(root) && seen.insert(root) {
                pairs.push(Pair {
                    before,
                    after: root,
                    values: Values::Rows,
                });
            }
        }
        Ok(pairs)
    }

    /// Sends all nodes of a map of rows that names nothing else.
    fn inline(&mut self, root: Digest) -> Result<(), Error> {
        for digest in digests(self.nodes, root) {
            self.outgoing.push(digest.map_err(map_error)?)?;
        }
        Ok(())
    }

    /// Sends nodes and whatever they name, in any order, so that a map of which all is new is gone through once.
    fn rows(&mut self, pair: &Pair) -> Result<(), Error> {
        if pair.before.is_none() {
            return self.nodes_with(pair, &mut Self::leaf);
        }
        if !self.nodes(pair)? {
            return Ok(());
        }
        self.learn(pair)?;
        for change in pair.changes(self.nodes) {
            if let Some(after) = change?.after {
                self.value(&after)?;
            }
        }
        Ok(())
    }

    fn leaf(&mut self, node: &Node) -> Result<(), Error> {
        for (_, value) in node.entries() {
            self.value(&node.bytes().slice_ref(value))?;
        }
        Ok(())
    }

    /// Sends the lists and chunks that a row names.
    fn value(&mut self, value: &Bytes) -> Result<(), Error> {
        for content in self.nodes.row_contents(value)? {
            self.nodes.walk_content(&content, &mut |digest, _| {
                let fresh = !self.held.contains(&digest) && self.sent.insert(digest);
                if fresh {
                    self.outgoing.push(digest)?;
                }
                Ok(fresh)
            })?;
        }
        Ok(())
    }
}

impl RepositoryNodes {
    /// The contents that a value of a map of rows names: large values of the row, and the row itself where it is an object of
    /// its own.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] where the row is not there, or is none.
    pub fn row_contents(&self, value: &Bytes) -> Result<Vec<Content>, Error> {
        let corrupt = |digest| CorruptSnafu {
            digest,
            reason: "a row of an accepted snapshot is not there, or is none",
        };
        let named = RowValue::decode(value).context(corrupt(Digest::of(value)))?;
        let mut contents = named.contents();
        if let RowValue::Stored(_) = named {
            let row = RowValue::load(value, self).map_err(|error| match error {
                RowError::Store { source } => store_error(source, "read a row"),
                RowError::Missing { digest } => corrupt(digest).build(),
                RowError::Malformed => corrupt(Digest::of(value)).build(),
            })?;
            contents.extend(RowValue::Row(row).contents());
        }
        Ok(contents)
    }
}
