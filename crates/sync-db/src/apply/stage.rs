//! The wanted rows inside the database, before anything of the tables themselves is touched.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use sync_core::map::NodeSource;
use sync_core::rows::{Kind, TableEntry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};

use super::Run;
use super::feed::{Fed, Form, Layout, Op, feed};
use super::wire::{Array, COPY_HEADER, take_row, types_of};
use crate::Error;
use crate::relation::{Relation, RelationColumn};
use crate::sql::quote;

/// No more changes than these go as parameters: a temporary table costs more than they do.
const FEW: u64 = 50;
/// Nor more bytes than these.
const MOST_BYTES: usize = 1 << 20;
/// From so many changes on, the planner is told what is in a temporary table.
const MANY: u64 = 10_000;

/// A table that is to change, and what is to change in it.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) relation: Relation,
    pub(super) layout: Arc<Layout>,
    pub(super) before: TableEntry,
    pub(super) after: TableEntry,
    pub(super) fed: Fed,
    pub(super) stage: Stage,
    /// Tells temporary tables apart.
    pub(super) index: usize,
    /// Whether text waits as bytes: a database that is not in UTF-8 may have no character for some of it, and then refuses
    /// a row where it is written, not a whole table where it is staged.
    pub(super) text_as_bytes: bool,
}

/// Where the changes of a table wait.
#[derive(Debug)]
pub(super) enum Stage {
    /// In the parameters of each statement; `copy` is the same for a temporary table, should one be needed.
    Rows { arrays: Vec<Array>, copy: Bytes },
    /// In a temporary table.
    Table,
    /// Nowhere: the table is empty, and its rows are copied straight into it.
    Nowhere,
}

impl Work {
    /// What is to change in a table; nothing of it is in the database yet.
    pub(super) fn new(
        index: usize,
        relation: Relation,
        before: TableEntry,
        after: TableEntry,
    ) -> Self {
        Self {
            layout: Arc::new(Layout::of(&relation)),
            relation,
            before,
            after,
            fed: Fed::default(),
            stage: Stage::Nowhere,
            index,
            text_as_bytes: false,
        }
    }

    /// The staged changes as an item of `FROM`, under the name `s`.
    pub(super) fn staged(&self) -> String {
        match &self.stage {
            Stage::Rows { arrays, .. } => {
                let arrays: Vec<_> = (1..=arrays.len()).map(|n| format!("${n}")).collect();
                let names: Vec<_> = (0..self.layout.columns.len())
                    .map(|n| format!("sync_{n}"))
                    .collect();
                format!(
                    "unnest({}) AS s(sync_n, sync_op, {})",
                    arrays.join(", "),
                    names.join(", ")
                )
            }
            Stage::Table | Stage::Nowhere => format!("{} s", self.table()),
        }
    }

    /// What a statement that reads [`Work::staged`] has as parameters.
    pub(super) fn parameters(&self) -> Vec<(&(dyn ToSql + Sync), Type)> {
        match &self.stage {
            Stage::Rows { arrays, .. } => arrays.iter().map(Array::parameter).collect(),
            Stage::Table | Stage::Nowhere => Vec::new(),
        }
    }

    /// The temporary table.
    pub(super) fn table(&self) -> String {
        format!("pg_temp.sync_stage_{}", self.index)
    }

    /// The wanted value of a column, as it is assigned or compared, from the staged changes that `alias` names.
    pub(super) fn wanted(&self, column: usize, alias: &str) -> String {
        let staged = format!("{alias}.sync_{column}");
        let Some(column) = self.relation.columns.get(column) else {
            return staged;
        };
        let staged = if self.waits_as_bytes(column) {
            format!("pg_catalog.convert_from({staged}, 'UTF8')")
        } else {
            staged
        };
        if needs_cast(column) {
            format!("{staged}::{}", column.column.type_name)
        } else {
            staged
        }
    }

    /// What a column of the staged changes is declared as.
    fn staged_type<'c>(&self, column: &'c RelationColumn) -> &'c str {
        if self.waits_as_bytes(column) {
            "bytea"
        } else {
            column.wire_type()
        }
    }

    fn waits_as_bytes(&self, column: &RelationColumn) -> bool {
        self.text_as_bytes && column.column.kind == Kind::Text
    }

    /// As [`Work::same_key`], for changes whose keys may have no form in this database.
    pub(super) fn same_foreign_key(&self) -> String {
        if !self.text_as_bytes {
            return self.same_key("t", "s");
        }
        let pairs = self.relation.key_columns().filter_map(|column| {
            let index = self.column(&column.column.name)?;
            let expression = column.expression("t");
            Some(if self.waits_as_bytes(column) {
                format!("pg_catalog.convert_to({expression}, 'UTF8') = s.sync_{index}")
            } else {
                format!("{expression} = s.sync_{index}")
            })
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// The key of a staged change, for people.
    pub(super) fn shown_key(&self) -> String {
        let columns = self.relation.key_columns().filter_map(|column| {
            let index = self.column(&column.column.name)?;
            Some(if self.waits_as_bytes(column) {
                format!("pg_catalog.encode(s.sync_{index}, 'escape')")
            } else {
                format!("s.sync_{index}::text")
            })
        });
        let columns: Vec<_> = columns.collect();
        format!("pg_catalog.concat_ws(', ', {})", columns.join(", "))
    }

    /// Where the row `t` is the one of the staged change `s`.
    pub(super) fn same_key(&self, t: &str, s: &str) -> String {
        let pairs = self.relation.key.iter().filter_map(|name| {
            let index = self.column(name)?;
            Some(format!("{t}.{} = {}", quote(name), self.wanted(index, s)))
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// Which column has this name.
    pub(super) fn column(&self, name: &str) -> Option<usize> {
        let columns = &self.relation.columns;
        columns
            .binary_search_by(|column| column.column.name.as_str().cmp(name))
            .ok()
    }

    /// The rows that travel, as an item of `FROM` under the name `t`.
    pub(super) fn travelling(&self) -> String {
        let table = self.relation.sql();
        if self.relation.filter.is_none() {
            return format!("{table} t");
        }
        format!(
            "(SELECT * FROM {table} WHERE {}) t",
            self.relation.condition()
        )
    }

    /// The columns that travel, quoted.
    pub(super) fn column_list(&self) -> String {
        let names = self.relation.columns.iter();
        let names: Vec<_> = names.map(|column| quote(&column.column.name)).collect();
        names.join(", ")
    }

    /// Whether wanted rows can be copied into the table as they are.
    fn takes_copies(&self) -> bool {
        self.before.rows.is_empty()
            && self.after.rows.len > FEW
            && !self.relation.has_triggers
            && !self.text_as_bytes
            && !self.relation.columns.iter().any(needs_cast)
    }
}

/// Text of a value that is no text.
fn needs_cast(column: &RelationColumn) -> bool {
    column.column.kind == Kind::Text && !column.is_text
}

impl<N: NodeSource + Clone + Send + 'static> Run<'_, N> {
    /// Brings what differs into the database.
    pub(super) async fn stage(&self, work: &mut Work) -> Result<(), Error> {
        work.text_as_bytes = !self.is_utf8;
        if work.takes_copies() && !self.has_rows(&work.relation).await? {
            work.fed.created = work.after.rows.len;
            work.fed.changed = vec![false; work.relation.columns.len()];
            return Ok(());
        }
        let (mut receiver, task) = self.feed(work, Form::Numbered);
        let first = receiver.recv().await;
        let second = receiver.recv().await;
        let (Some(first), None) = (&first, &second) else {
            let head = first.into_iter().chain(second);
            return self.fill(work, head, receiver, task).await;
        };
        let fed = task.await.map_err(|_| Error::Task)??;
        if fed.total() > FEW || first.len() > MOST_BYTES {
            work.fed = fed;
            return self.fill_from(work, first.clone()).await;
        }
        work.stage = Stage::Rows {
            arrays: arrays(work, first),
            copy: first.clone(),
        };
        work.fed = fed;
        Ok(())
    }

    /// Puts the changes into a temporary table where they are in none.
    pub(super) async fn stage_in_table(&self, work: &mut Work) -> Result<(), Error> {
        match &work.stage {
            Stage::Table => Ok(()),
            Stage::Rows { copy, .. } => {
                let copy = copy.clone();
                self.fill_from(work, copy).await
            }
            Stage::Nowhere => {
                let (receiver, task) = self.feed(work, Form::Numbered);
                self.fill(work, [], receiver, task).await
            }
        }
    }

    /// Copies the wanted rows straight into the table. Returns how many there were.
    pub(super) async fn copy_straight(&self, work: &Work) -> Result<u64, Error> {
        let into = format!("{} ({})", work.relation.sql(), work.column_list());
        let (receiver, task) = self.feed(work, Form::Plain);
        let doing = format!("copying rows into `{}`", work.relation.name);
        let (_, copied) = self.copy(&doing, &into, [], receiver, task).await?;
        Ok(copied)
    }

    /// Whether a table has any rows.
    async fn has_rows(&self, relation: &Relation) -> Result<bool, Error> {
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {})", relation.sql());
        let found = self.transaction.query_typed_one(&sql, &[]).await;
        let row = found.map_err(self.while_("looking for rows"))?;
        Ok(row.get(0))
    }

    fn feed(
        &self,
        work: &Work,
        form: Form,
    ) -> (mpsc::Receiver<Bytes>, JoinHandle<Result<Fed, Error>>) {
        let (sender, receiver) = mpsc::channel::<Bytes>(4);
        let source = self.source.clone();
        let layout = Arc::clone(&work.layout);
        let roots = (work.before.rows.root, work.after.rows.root);
        let task = tokio::task::spawn_blocking(move || {
            feed(&source, roots, &layout, form, |batch| {
                sender.blocking_send(batch).is_ok()
            })
        });
        (receiver, task)
    }

    async fn fill_from(&self, work: &mut Work, copy: Bytes) -> Result<(), Error> {
        let (sender, receiver) = mpsc::channel(1);
        drop(sender);
        let fed = work.fed.clone();
        let task = tokio::spawn(async move { Ok(fed) });
        self.fill(work, [copy], receiver, task).await
    }

    async fn fill(
        &self,
        work: &mut Work,
        head: impl IntoIterator<Item = Bytes>,
        receiver: mpsc::Receiver<Bytes>,
        task: JoinHandle<Result<Fed, Error>>,
    ) -> Result<(), Error> {
        let table = work.table();
        let columns = work.relation.columns.iter().enumerate();
        let columns: Vec<_> = columns
            .map(|(n, column)| format!("sync_{n} {}", work.staged_type(column)))
            .collect();
        let create = format!(
            "CREATE TEMPORARY TABLE {table} (sync_n int8, sync_op int2, {}) ON COMMIT DROP",
            columns.join(", ")
        );
        let created = self.transaction.batch_execute(&create).await;
        created.map_err(self.while_("making a temporary table"))?;
        let doing = format!("staging rows of `{}`", work.relation.name);
        let (fed, _) = self.copy(&doing, &table, head, receiver, task).await?;
        if fed.total() >= MANY {
            let keys = work.relation.key.iter();
            let keys = keys.filter_map(|name| work.column(name));
            let keys: Vec<_> = keys.map(|n| format!("sync_{n}")).collect();
            let analyze = format!("ANALYZE {table} (sync_n, sync_op, {})", keys.join(", "));
            let analyzed = self.transaction.batch_execute(&analyze).await;
            analyzed.map_err(self.while_("counting staged rows"))?;
        }
        work.fed = fed;
        work.stage = Stage::Table;
        Ok(())
    }

    /// Copies a stream of rows into a table.
    async fn copy(
        &self,
        doing: &str,
        into: &str,
        head: impl IntoIterator<Item = Bytes>,
        mut receiver: mpsc::Receiver<Bytes>,
        task: JoinHandle<Result<Fed, Error>>,
    ) -> Result<(Fed, u64), Error> {
        let said = self.while_(doing);
        let sql = format!("COPY {into} FROM STDIN (FORMAT binary)");
        let sink = self.transaction.copy_in::<_, Bytes>(sql.as_str()).await;
        let mut sink = Box::pin(sink.map_err(said)?);
        for batch in head {
            sink.send(batch).await.map_err(said)?;
        }
        while let Some(batch) = receiver.recv().await {
            sink.send(batch).await.map_err(said)?;
        }
        // Where the rows could not be read to their end, the sink is dropped, which ends the COPY without a row.
        let fed = task.await.map_err(|_| Error::Task)??;
        let copied = sink.as_mut().finish().await.map_err(said)?;
        Ok((fed, copied))
    }
}

/// The columns of staged rows as arrays.
fn arrays(work: &Work, copy: &Bytes) -> Vec<Array> {
    let mut rest = copy.get(COPY_HEADER.len()..).unwrap_or_default();
    let rows: Vec<_> = std::iter::from_fn(|| take_row(&mut rest)).collect();
    let numbers = [
        (Type::INT8, Type::INT8_ARRAY),
        (Type::INT2, Type::INT2_ARRAY),
    ];
    let columns = work.relation.columns.iter().map(|column| {
        types_of(if work.waits_as_bytes(column) {
            Kind::Bytes
        } else {
            column.column.kind
        })
    });
    let types = numbers.into_iter().chain(columns);
    let array = |(n, types)| {
        let values = rows.iter().map(|row| row.get(n).copied().flatten());
        Array::new(types, values)
    };
    types.enumerate().map(array).collect()
}

/// The operation as staged rows have it.
pub(super) const fn code(op: Op) -> i16 {
    op as i16
}
