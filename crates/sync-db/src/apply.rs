//! Rows of a map into the database: one transaction that overwrites nobody's change.
//!
//! The plan's rows are staged beside the tables ([`stage`]), the rows that they replace are locked and compared with what
//! the plan expects ([`check`]), and then a statement a kind changes each table ([`write`]). What is refused is looked for
//! and set aside ([`write`], [`foreign`]), unique values that move are parked ([`unique`]), sequences advanced
//! ([`sequences`]). What the database holds then ([`roots`]) is written down in the same transaction.

mod check;
mod feed;
mod foreign;
mod plan;
mod roots;
mod sequences;
mod stage;
mod unique;
mod wire;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use deadpool_postgres::Object;
use serde::Serialize;
use sync_core::Digest;
use sync_core::map::{NodeSink, NodeSource};
use sync_core::rows::TableName;
use tokio_postgres::Transaction;

use self::feed::Op;
use self::roots::{Shared, base_of, numbers, root_of};
use self::stage::{Stage, Work};
use crate::error::{HeldSnafu, Refusal, UncertainSnafu};
use crate::sql::{LockOf, literal, try_lock};
use crate::working_copy::{Capture, Settlement};
use crate::{Database, Error};

pub use self::plan::{TableDifference, table_differences};
pub use self::write::MAX_SET_ASIDE;

/// How often a transaction is tried that a deadlock or a lock that was not had in time ends.
const TRIES: usize = 3;

/// From what to what a database goes.
#[derive(Debug, Clone)]
pub struct ApplyPlan {
    /// What the plan was made from: its root is what the database is expected to hold in the rows that change.
    pub capture: Capture,
    /// The map of tables that it should hold.
    pub after: Digest,
    /// What is written down with it. The root that is agreed on is corrected by what was set aside.
    pub settlement: Settlement,
    /// What was agreed on before: it still stands for rows that are set aside.
    pub base_before: Digest,
}

/// How far an apply has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApplyEvent {
    /// The changes of a table are inside the database; nothing of the table itself has changed.
    Staged {
        /// Which table.
        table: TableName,
        /// How many rows are to change.
        rows: u64,
    },
    /// All changes were made, and only the commit is left.
    Written,
}

/// What an apply did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The map of tables that the database holds now.
    pub root: Digest,
    /// The map of tables that is agreed on now, where the plan agrees on one.
    pub agreed: Option<Digest>,
    /// What was done to the tables that changed, in the order of their names.
    pub tables: Vec<TableApplied>,
    /// Rows that the database refused; they are as they were.
    pub set_aside: Vec<SetAside>,
    /// Columns in which triggers of the application stored something else than what was written.
    pub rewritten: Vec<Rewritten>,
}

/// What was done to a table. Rows that were set aside are in none of the counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableApplied {
    /// Which table.
    pub name: TableName,
    /// Rows that are new.
    pub created: u64,
    /// Rows that are other than they were.
    pub updated: u64,
    /// Rows that are gone.
    pub deleted: u64,
    /// Rows that are as they were, because they should be.
    pub unchanged: u64,
}

/// A row that the database refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetAside {
    /// Its table.
    pub table: TableName,
    /// Its primary key, for people: the columns with commas between them.
    pub key: String,
    /// The five characters of `SQLSTATE`; none where a trigger or rule kept the row as it was without a word.
    pub state: Option<String>,
    /// The constraint that it breaks.
    pub constraint: Option<String>,
    /// What the database said, which may quote values of the row.
    pub reason: String,
}

/// Columns of a table that came out otherwise than they were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rewritten {
    /// Which table.
    pub table: TableName,
    /// Its columns.
    pub columns: Vec<String>,
}

/// What a transaction that applies starts with: it reads as a capture does, our own triggers stay silent, and joins of
/// many rows have some memory.
const SETTLE: &str = "SELECT pg_catalog.current_setting('search_path'), pg_catalog.current_setting('server_encoding') = 'UTF8',
    pg_catalog.set_config('search_path', 'pg_catalog', true), pg_catalog.set_config('sync.applying', 'on', true),
    CASE WHEN pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) < pg_catalog.pg_size_bytes('32MB')
        THEN pg_catalog.set_config('work_mem', '32MB', true) END";

/// A row that is set aside, while the transaction runs.
#[derive(Debug, Clone)]
struct Verdict {
    /// The table, by its place in the plan.
    work: usize,
    /// The number of the change.
    number: i64,
    op: Op,
    refusal: Refusal,
}

/// A transaction that applies.
struct Run<'r, N> {
    database: &'r Database,
    transaction: &'r Transaction<'r>,
    source: N,
    /// The search path that the application's triggers are written for.
    default_path: String,
    /// Whether the database can hold any text.
    is_utf8: bool,
    /// Whether triggers of the application may write along with us.
    has_triggers: bool,
    /// The tables that are synced, by their numbers.
    tables: BTreeSet<u32>,
}

impl Database {
    /// Brings the database from what was captured to `plan.after`, and writes that down, in one transaction.
    ///
    /// `source` has both maps and all that their rows name; `nodes` is given what comes into being here: the maps of what
    /// the database holds and of what is agreed on, where rows were set aside or rewritten. Only the rows that differ are
    /// touched, and they are locked. What else was written since the capture stays, and is found by the next one.
    ///
    /// A row that the database refuses is set aside with its reason, and with it what depends on it; the rest is applied.
    ///
    /// # Errors
    ///
    /// [`Error::Schemas`] and [`Error::Cycle`] before anything else; [`Error::Moved`] where a row is not as the plan expects
    /// it, [`Error::Held`] and [`Error::Overtaken`] where another sync came before; [`Error::Refused`] where not single rows
    /// are the reason, or more than [`MAX_SET_ASIDE`] of them. Nothing was changed then.
    /// [`Error::Uncertain`] where the connection was lost while the transaction was committed.
    pub async fn apply<N, S>(
        &self,
        plan: ApplyPlan,
        source: N,
        nodes: S,
        tell: impl Fn(ApplyEvent) + Send + Sync,
    ) -> Result<Applied, Error>
    where
        N: NodeSource + Clone + Send + Sync + 'static,
        S: NodeSink + Send + 'static,
    {
        if !plan.capture.is_current {
            self.ensure_bookkeeping().await?;
        }
        let sink = Shared::new(nodes);
        let mut tries = 1;
        loop {
            let attempt = self.apply_once(&plan, source.clone(), sink.clone(), &tell);
            match Box::pin(attempt).await {
                Err(error)
                    if tries < TRIES && error.refusal().is_some_and(Refusal::is_transient) =>
                {
                    tracing::info!(tries, "the database asks to try again");
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn apply_once<N, S>(
        &self,
        plan: &ApplyPlan,
        source: N,
        sink: Shared<S>,
        tell: &(impl Fn(ApplyEvent) + Send + Sync),
    ) -> Result<Applied, Error>
    where
        N: NodeSource + Clone + Send + Sync + 'static,
        S: NodeSink + Send + 'static,
    {
        let (capture, after) = (plan.capture.clone(), plan.after);
        let maps = source.clone();
        let works = blocking(move || plan::works(&capture, &maps, after)).await?;
        let mut client = self.connection("applying rows").await?;
        let applying = self.apply_on(&mut client, plan, works, source, sink, tell);
        let applied = Box::pin(applying).await;
        if let Err(Error::Unreachable { .. } | Error::Uncertain { .. }) = &applied {
            // The pool may not know yet that this connection has ended: it must not come back.
            drop(Object::take(client));
        }
        applied
    }

    async fn apply_on<N, S>(
        &self,
        client: &mut Object,
        plan: &ApplyPlan,
        works: Vec<Work>,
        source: N,
        sink: Shared<S>,
        tell: &(impl Fn(ApplyEvent) + Send + Sync),
    ) -> Result<Applied, Error>
    where
        N: NodeSource + Clone + Send + Sync + 'static,
        S: NodeSink + Send + 'static,
    {
        let transaction = client.transaction().await;
        let transaction = transaction.map_err(self.while_("applying rows"))?;
        let has_triggers = works.iter().any(|work| work.relation.has_triggers);
        let run = Run::begin(self, &transaction, source, &plan.capture, has_triggers).await?;
        let applied = Box::pin(run.apply(plan, works, sink, tell)).await?;
        tell(ApplyEvent::Written);
        transaction.commit().await.map_err(|error| {
            match self.error("committing what was applied", &error) {
                Error::Unreachable { at, reason, .. } => UncertainSnafu { at, reason }.build(),
                refused => refused,
            }
        })?;
        Ok(applied)
    }
}

impl<'r, N: NodeSource + Clone + Send + Sync + 'static> Run<'r, N> {
    /// Takes the lock and settles what statements are run under: first as a capture reads.
    async fn begin(
        database: &'r Database,
        transaction: &'r Transaction<'r>,
        source: N,
        capture: &Capture,
        has_triggers: bool,
    ) -> Result<Self, Error> {
        let said = database.while_("starting to apply rows");
        let locked = try_lock(transaction, LockOf::Settlement).await;
        if let Err(pid) = locked.map_err(said)? {
            return HeldSnafu { pid }.fail();
        }
        let settle = transaction.query_typed_one(SETTLE, &[]).await;
        let settled = settle.map_err(said)?;
        Ok(Self {
            database,
            transaction,
            source,
            default_path: settled.get(0),
            is_utf8: settled.get(1),
            has_triggers,
            tables: capture.relations.iter().map(|r| r.oid).collect(),
        })
    }

    async fn apply<S: NodeSink + Send + 'static>(
        &self,
        plan: &ApplyPlan,
        mut works: Vec<Work>,
        sink: Shared<S>,
        tell: &(impl Fn(ApplyEvent) + Send + Sync),
    ) -> Result<Applied, Error> {
        for work in &mut works {
            self.stage(work).await?;
            tell(ApplyEvent::Staged {
                table: work.relation.name.clone(),
                rows: work.fed.total(),
            });
        }
        for work in &works {
            self.expect(work).await?;
        }
        self.search_path(&self.default_path).await?;
        let verdicts = Box::pin(self.write(&mut works)).await?;
        for work in &works {
            self.advance_sequences(work).await?;
        }
        self.search_path("pg_catalog").await?;
        Box::pin(self.settle(plan, works, verdicts, sink)).await
    }

    /// Finds out what the database holds, and writes it down.
    async fn settle<S: NodeSink + Send + 'static>(
        &self,
        plan: &ApplyPlan,
        mut works: Vec<Work>,
        verdicts: Vec<Verdict>,
        mut sink: Shared<S>,
    ) -> Result<Applied, Error> {
        let mut set_aside = self.describe(&works, &verdicts).await?;
        let (mut changed, mut kept) = (BTreeMap::new(), BTreeMap::<_, Vec<Bytes>>::new());
        let (mut rewritten, mut counts) = (Vec::new(), Vec::new());
        for (index, work) in works.iter_mut().enumerate() {
            let aside = numbers(&verdicts, index);
            let outcome = self.outcome(work, aside, sink.clone()).await?;
            set_aside.extend(self.describe_suppressed(work, &outcome.suppressed).await?);
            for (_, op) in &outcome.suppressed {
                work.fed.uncount(*op);
            }
            let name = &work.relation.name;
            counts.push(work.applied(outcome.kept_rows));
            let columns = work.relation.columns.iter().zip(&outcome.rewritten);
            let columns = columns.filter(|(_, rewritten)| **rewritten);
            let columns: Vec<_> = columns.map(|(c, _)| c.column.name.clone()).collect();
            if !columns.is_empty() {
                let table = name.clone();
                rewritten.push(Rewritten { table, columns });
            }
            changed.insert(name.clone(), outcome.entry);
            if !outcome.kept.is_empty() {
                kept.insert(name.clone(), outcome.kept);
            }
        }
        let (source, after, last) = (self.source.clone(), plan.after, plan.base_before);
        let agreed = plan.settlement.agreed.as_ref().map(|(_, base)| base.root);
        let (root, agreed) = blocking(move || {
            let root = root_of(&source, after, &changed, &mut sink)?;
            let agreed = agreed.map(|agreed| base_of(&source, agreed, last, &kept, &mut sink));
            Ok((root, agreed.transpose()?))
        })
        .await?;
        let mut settlement = plan.settlement.clone();
        if let (Some((_, base)), Some(agreed)) = (&mut settlement.agreed, agreed) {
            base.root = agreed;
        }
        self.database
            .settle_in(self.transaction, &plan.capture, root, &settlement)
            .await?;
        counts.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Applied {
            root,
            agreed,
            tables: counts,
            set_aside,
            rewritten,
        })
    }

    /// Verdicts for people.
    async fn describe(&self, works: &[Work], verdicts: &[Verdict]) -> Result<Vec<SetAside>, Error> {
        let mut described = Vec::new();
        for (index, work) in works.iter().enumerate() {
            let mut keys = self.keys(work, numbers(verdicts, index)).await?;
            for verdict in verdicts.iter().filter(|verdict| verdict.work == index) {
                described.push(SetAside {
                    table: work.relation.name.clone(),
                    key: keys.remove(&verdict.number).unwrap_or_default(),
                    state: Some(verdict.refusal.state.clone()),
                    constraint: verdict.refusal.constraint.clone(),
                    reason: verdict.refusal.message.clone(),
                });
            }
        }
        Ok(described)
    }

    async fn describe_suppressed(
        &self,
        work: &Work,
        suppressed: &[(i64, Op)],
    ) -> Result<Vec<SetAside>, Error> {
        let numbers = suppressed.iter().map(|(number, _)| *number).collect();
        let keys = self.keys(work, numbers).await?;
        let described = keys.into_values().map(|key| SetAside {
            table: work.relation.name.clone(),
            key,
            state: None,
            constraint: None,
            reason: "a trigger or rule of the database kept the row as it was".to_owned(),
        });
        Ok(described.collect())
    }

    /// The primary keys of staged changes, for people.
    async fn keys(
        &self,
        work: &Work,
        numbers: BTreeSet<i64>,
    ) -> Result<BTreeMap<i64, String>, Error> {
        if numbers.is_empty() || matches!(work.stage, Stage::Nowhere) {
            return Ok(BTreeMap::new());
        }
        let numbers: Vec<_> = numbers.iter().map(ToString::to_string).collect();
        let sql = format!(
            "SELECT s.sync_n, {} FROM {} WHERE s.sync_n IN ({})",
            work.shown_key(),
            work.staged(),
            numbers.join(", ")
        );
        let rows = self.transaction.query_typed(&sql, &work.parameters()).await;
        let rows = rows.map_err(self.while_("naming rows that were set aside"))?;
        Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
    }
}

impl<N> Run<'_, N> {
    /// Turns an error of the driver into ours.
    fn while_<'a>(&'a self, doing: &'a str) -> impl Fn(tokio_postgres::Error) -> Error + Copy + 'a {
        self.database.while_(doing)
    }

    async fn execute(&self, sql: &str) -> Result<(), Error> {
        let executed = self.transaction.batch_execute(sql).await;
        executed.map_err(self.while_("applying rows"))
    }

    /// Until the end of the transaction, or until a savepoint before is gone back to.
    async fn search_path(&self, path: &str) -> Result<(), Error> {
        self.set("search_path", path).await
    }

    /// Whether our triggers stay silent about what is changed next. Where triggers of the application write as well, they
    /// must not: what those change is nothing that the plan knows of.
    async fn applying(&self, silent: bool) -> Result<(), Error> {
        if !self.has_triggers {
            return Ok(());
        }
        self.set("sync.applying", if silent { "on" } else { "off" })
            .await
    }

    async fn set(&self, name: &str, value: &str) -> Result<(), Error> {
        let value = literal(value);
        self.execute(&format!(
            "SELECT pg_catalog.set_config('{name}', {value}, true)"
        ))
        .await
    }
}

impl Work {
    fn applied(&self, kept: u64) -> TableApplied {
        let replaced = self.fed.updated + self.fed.deleted;
        TableApplied {
            name: self.relation.name.clone(),
            created: self.fed.created,
            updated: self.fed.updated,
            deleted: self.fed.deleted,
            unchanged: self.before.rows.len.saturating_sub(replaced + kept),
        }
    }
}

/// Runs what reads maps on a thread that may block.
async fn blocking<T: Send + 'static>(
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ran = tokio::task::spawn_blocking(run).await;
    ran.map_err(|_| Error::Task)?
}
