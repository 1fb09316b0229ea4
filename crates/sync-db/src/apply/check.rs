//! Rows as they are in the database, beside the changes of a plan: expected before it, stored after it.

use std::sync::Arc;

use futures_util::TryStreamExt;
use sync_core::map::{self, Change, NodeSource};
use sync_core::rows::{Cell, Row, store_content};
use sync_core::{Digest, map::NodeSink, map::StoreError};
use tokio::sync::mpsc;
use tokio_postgres::Row as Current;

use super::Run;
use super::feed::{Layout, Op};
use super::stage::Work;
use super::wire::Raw;
use crate::Error;
use crate::error::MovedSnafu;

/// So many rows, or so many bytes of them, are handed on at once.
const BATCH_ROWS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;

/// The rows of the database that belong to changes, by the numbers of these, which rise.
#[derive(Debug)]
pub(super) struct Currents {
    receiver: mpsc::Receiver<Vec<Current>>,
    batch: std::vec::IntoIter<Current>,
    head: Option<(i64, Current)>,
}

impl Currents {
    /// The row of the change with this number, which is greater than the last one asked for.
    pub(super) fn at(&mut self, number: i64) -> Option<Current> {
        loop {
            if let Some((found, _)) = &self.head
                && *found >= number
            {
                return self
                    .head
                    .take_if(|(at, _)| *at == number)
                    .map(|(_, row)| row);
            }
            match self.batch.next() {
                Some(row) => self.head = Some((row.get(0), row)),
                None => self.batch = self.receiver.blocking_recv()?.into_iter(),
            }
        }
    }
}

/// The changes of a plan, numbered as they are staged.
pub(super) fn numbered<N: NodeSource + Clone>(
    source: N,
    before: Digest,
    after: Digest,
) -> impl Iterator<Item = Result<(i64, Change), Error>> {
    (0..)
        .zip(map::diff(source.clone(), before, source, after))
        .map(|(number, change)| Ok((number, change?)))
}

impl Layout {
    /// Whether a row of the database, whose columns follow its number, is this one, byte by byte as captured.
    pub(super) fn is_same(&self, current: &Current, row: &Row) -> Result<bool, Error> {
        let mut same = true;
        self.compare(current, row, |_| same = false)?;
        Ok(same)
    }

    /// Tells by index which columns of a row of the database differ from this row.
    pub(super) fn compare(
        &self,
        current: &Current,
        row: &Row,
        mut differs: impl FnMut(usize),
    ) -> Result<(), Error> {
        for (index, (_, cell)) in self.cells(row).enumerate() {
            let value: Option<Raw<'_>> = self.value(current, index)?;
            let same = match (value, cell) {
                (None, None) => true,
                (Some(Raw(value)), Some(Cell::Inline(bytes))) => value == bytes,
                (Some(Raw(value)), Some(Cell::Stored(content))) => {
                    content.len() == Some(value.len() as u64)
                        && store_content(value, &mut Nowhere).is_ok_and(|found| found == content)
                }
                _ => false,
            };
            if !same {
                differs(index);
            }
        }
        Ok(())
    }

    /// The value of a column of a row of the database.
    pub(super) fn value<'c>(
        &self,
        current: &'c Current,
        index: usize,
    ) -> Result<Option<Raw<'c>>, Error> {
        let value = current.try_get(index + 1);
        value.map_err(|_| self.malformed("the database gives fewer columns than it was asked for"))
    }
}

/// Objects that are made for their names.
struct Nowhere;

impl NodeSink for Nowhere {
    fn put(&mut self, _: Digest, _: Vec<u8>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// Locks the rows that change, in the order of their keys, and compares them with what the plan expects.
    ///
    /// # Errors
    ///
    /// [`Error::Moved`].
    pub(super) async fn expect(&self, work: &Work) -> Result<(), Error> {
        let mut moved = self.count_intruders(work).await?;
        if work.fed.updated + work.fed.deleted > 0 {
            let source = self.source.clone();
            let layout = Arc::clone(&work.layout);
            let (before, after) = (work.before.rows.root, work.after.rows.root);
            let count = move |mut currents: Currents| {
                let mut moved = 0;
                for change in numbered(source.clone(), before, after) {
                    let (number, change) = change?;
                    let Some(expected) = &change.before else {
                        continue;
                    };
                    let expected = layout.load(expected, &source)?;
                    let same = match currents.at(number) {
                        Some(current) => layout.is_same(&current, &expected)?,
                        None => false,
                    };
                    moved += u64::from(!same);
                }
                Ok(moved)
            };
            let sql = select(work, "s.sync_op IN (2, 3)", "FOR UPDATE OF t");
            moved += self.beside(work, &sql, count).await?;
        }
        let table = work.relation.name.clone();
        snafu::ensure!(
            moved == 0,
            MovedSnafu {
                table,
                total: moved
            }
        );
        Ok(())
    }

    /// How many rows are there already that the plan wants to insert.
    pub(super) async fn count_intruders(&self, work: &Work) -> Result<u64, Error> {
        if work.fed.count(Op::Insert) == 0 || matches!(work.stage, super::stage::Stage::Nowhere) {
            return Ok(0);
        }
        // Two keys may be equal to the database and not to us, as `24:00` and `1 day` are: a row that goes is no intruder.
        let goes = if work.fed.deleted == 0 {
            String::new()
        } else {
            format!(
                " AND NOT EXISTS (SELECT 1 FROM {} WHERE s.sync_op = 3 AND {})",
                work.staged(),
                work.same_key("t", "s")
            )
        };
        let sql = format!(
            "SELECT count(*) FROM {} JOIN {} ON {} WHERE s.sync_op = 1{goes}",
            work.staged(),
            work.travelling(),
            work.same_foreign_key()
        );
        let parameters = work.parameters();
        let found = self.transaction.query_typed_one(&sql, &parameters).await;
        let found = found.map_err(self.while_("looking for new rows"))?;
        let count: i64 = found.get(0);
        Ok(u64::try_from(count).unwrap_or(u64::MAX))
    }

    /// Runs `visit` on a blocking thread while the rows of `sql` arrive.
    pub(super) async fn beside<T: Send + 'static>(
        &self,
        work: &Work,
        sql: &str,
        visit: impl FnOnce(Currents) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = mpsc::channel(2);
        let currents = Currents {
            receiver,
            batch: Vec::new().into_iter(),
            head: None,
        };
        let task = tokio::task::spawn_blocking(move || visit(currents));
        let sent = self.send_rows(work, sql, sender).await;
        let visited = task.await.map_err(|_| Error::Task)?;
        sent?;
        visited
    }

    /// Sends the rows of a query in batches, until their end or until nobody listens.
    async fn send_rows(
        &self,
        work: &Work,
        sql: &str,
        sender: mpsc::Sender<Vec<Current>>,
    ) -> Result<(), Error> {
        let doing = format!("reading the rows of `{}` that change", work.relation.name);
        let said = self.while_(&doing);
        let rows = self.transaction.query_typed_raw(sql, work.parameters());
        let mut rows = Box::pin(rows.await.map_err(said)?);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.map_err(said)? {
            bytes += row.raw_size_bytes();
            batch.push(row);
            if batch.len() >= BATCH_ROWS || bytes >= BATCH_BYTES {
                bytes = 0;
                if sender.send(std::mem::take(&mut batch)).await.is_err() {
                    return Ok(());
                }
            }
        }
        if !batch.is_empty() {
            // Nobody listens any more: who did says why.
            let _ = sender.send(batch).await;
        }
        Ok(())
    }
}

/// A query of the rows that belong to staged changes: their number, then the columns as a capture reads them.
pub(super) fn select(work: &Work, which: &str, lock: &str) -> String {
    let columns = work.relation.columns.iter();
    let columns: Vec<_> = columns.map(|column| column.expression("t")).collect();
    format!(
        "SELECT s.sync_n, {} FROM {} JOIN {} ON {} WHERE {which} ORDER BY s.sync_n {lock}",
        columns.join(", "),
        work.staged(),
        work.travelling(),
        work.same_key("t", "s")
    )
}
