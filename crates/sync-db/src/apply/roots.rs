//! What the database holds after an apply, and what is agreed on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use sync_core::Digest;
use sync_core::map::{self, Editor, NodeSink, NodeSource, StoreError};
use sync_core::rows::{RowWriter, TableEntry, TableName, table, tables};
use tokio_postgres::Row as Current;

use super::check::{Currents, numbered, select};
use super::feed::{Layout, Op};
use super::stage::Work;
use super::wire::Raw;
use super::{Run, Verdict};
use crate::Error;

/// A sink that several may write to, one after the other.
pub(super) struct Shared<S>(Arc<Mutex<S>>);

impl<S> Shared<S> {
    pub(super) fn new(sink: S) -> Self {
        Self(Arc::new(Mutex::new(sink)))
    }
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: NodeSink> NodeSink for Shared<S> {
    fn put(&mut self, digest: Digest, bytes: Vec<u8>) -> Result<(), StoreError> {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sink.put(digest, bytes)
    }
}

/// What became of a table.
#[derive(Debug)]
pub(super) struct Outcome {
    /// What it holds now.
    pub(super) entry: TableEntry,
    /// The keys of the rows that are not as the plan wants them.
    pub(super) kept: Vec<Bytes>,
    /// How many of them were there before.
    pub(super) kept_rows: u64,
    /// By column: whether triggers stored something else than what was written.
    pub(super) rewritten: Vec<bool>,
    /// Rows that a trigger or rule kept from being changed.
    pub(super) suppressed: Vec<(i64, Op)>,
}

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// What a table holds: the wanted rows but for those that were set aside, and what triggers made of them.
    pub(super) async fn outcome<S: NodeSink + Send + 'static>(
        &self,
        work: &Work,
        aside: BTreeSet<i64>,
        sink: Shared<S>,
    ) -> Result<Outcome, Error> {
        let reads = work.relation.has_triggers;
        if aside.is_empty() && !reads {
            return Ok(Outcome {
                entry: work.after,
                kept: Vec::new(),
                kept_rows: 0,
                rewritten: Vec::new(),
                suppressed: Vec::new(),
            });
        }
        let source = self.source.clone();
        let layout = Arc::clone(&work.layout);
        let (before, after) = (work.before, work.after);
        let visit = move |currents: Option<Currents>| {
            settle_table(&source, sink, &layout, (before, after), &aside, currents)
        };
        if reads {
            let sql = select(work, "s.sync_op > 0", "");
            return self
                .beside(work, &sql, |currents| visit(Some(currents)))
                .await;
        }
        let task = tokio::task::spawn_blocking(|| visit(None));
        task.await.map_err(|_| Error::Task)?
    }
}

/// Edits the wanted map of rows into what is there.
fn settle_table<N: NodeSource + Clone>(
    source: &N,
    mut sink: impl NodeSink + Clone,
    layout: &Layout,
    (before, after): (TableEntry, TableEntry),
    aside: &BTreeSet<i64>,
    mut currents: Option<Currents>,
) -> Result<Outcome, Error> {
    let mut objects = sink.clone();
    let mut editor = Editor::new(source, after.rows.root, &mut sink);
    let mut rewritten = vec![false; layout.columns.len()];
    let (mut kept, mut kept_rows, mut suppressed) = (Vec::new(), 0, Vec::new());
    for change in numbered(source.clone(), before.rows.root, after.rows.root) {
        let (number, change) = change?;
        let op = Op::of(&change);
        if aside.contains(&number) {
            set(&mut editor, &change.key, change.before.as_deref())?;
            kept_rows += u64::from(change.before.is_some());
            kept.push(change.key);
            continue;
        }
        let Some(currents) = &mut currents else {
            continue;
        };
        let current = currents.at(number);
        let stored = current
            .as_ref()
            .map(|row| encode(layout, row, &mut objects));
        let stored = stored.transpose()?;
        if stored.as_deref() == change.after.as_deref() {
            continue;
        }
        set(&mut editor, &change.key, stored.as_deref())?;
        if stored.as_deref() == change.before.as_deref() || stored.is_none() || op == Op::Delete {
            suppressed.push((number, op));
            kept_rows += u64::from(change.before.is_some());
            kept.push(change.key);
        } else if let (Some(current), Some(wanted)) = (&current, &change.after) {
            let wanted = layout.load(wanted, source)?;
            layout.compare(current, &wanted, |column| {
                if let Some(rewritten) = rewritten.get_mut(column) {
                    *rewritten = true;
                }
            })?;
        }
    }
    let rows = editor.finish()?;
    Ok(Outcome {
        entry: TableEntry { rows, ..after },
        kept,
        kept_rows,
        rewritten,
        suppressed,
    })
}

fn set<N: NodeSource + ?Sized, S: NodeSink + ?Sized>(
    editor: &mut Editor<'_, N, S>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), Error> {
    match value {
        Some(value) => editor.set(key, value)?,
        None => editor.remove(key)?,
    }
    Ok(())
}

/// A row of the database as a map has it; what is long is put into `objects`.
fn encode(
    layout: &Layout,
    current: &Current,
    objects: &mut impl NodeSink,
) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Object { source };
    let mut writer = RowWriter::new();
    for (index, column) in layout.columns.iter().enumerate() {
        if let Some(Raw(value)) = layout.value(current, index)? {
            let pushed = writer.push_value(&column.name, value, objects);
            pushed.map_err(failed)?;
        }
    }
    writer.value(objects).map_err(failed)
}

/// The map of tables after an apply.
pub(super) fn root_of(
    source: &impl NodeSource,
    after: Digest,
    changed: &BTreeMap<TableName, TableEntry>,
    sink: &mut impl NodeSink,
) -> Result<Digest, Error> {
    let edits = changed
        .iter()
        .map(|(name, entry)| (name.as_str().as_bytes(), Some(entry.encode())));
    Ok(map::edit(source, after, edits, sink)?.root)
}

/// What is agreed on: `agreed`, but for rows that were kept as they were, about which the last agreement stands.
pub(super) fn base_of(
    source: &impl NodeSource,
    agreed: Digest,
    last: Digest,
    kept: &BTreeMap<TableName, Vec<Bytes>>,
    sink: &mut impl NodeSink,
) -> Result<Digest, Error> {
    let mut edits = Vec::new();
    for (name, entry) in tables(source, agreed)? {
        let Some(keys) = kept.get(&name) else {
            continue;
        };
        let last = table(source, last, &name)?;
        let last = last.map_or(map::Map::empty_root(), |entry| entry.rows.root);
        let mut rows = Vec::with_capacity(keys.len());
        for key in keys {
            rows.push((key, map::get(source, last, key)?));
        }
        let rows = map::edit(source, entry.rows.root, rows, sink)?;
        edits.push((name, TableEntry { rows, ..entry }));
    }
    let edits = edits
        .iter()
        .map(|(name, entry)| (name.as_str().as_bytes(), Some(entry.encode())));
    Ok(map::edit(source, agreed, edits, sink)?.root)
}

/// The numbers of the verdicts about one table.
pub(super) fn numbers(verdicts: &[Verdict], work: usize) -> BTreeSet<i64> {
    let about = verdicts.iter().filter(|verdict| verdict.work == work);
    about.map(|verdict| verdict.number).collect()
}
