//! A database and the repository that holds its maps.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use snafu::ResultExt;
use sync_core::map::{self, Map};
use sync_core::rows::{
    Choice, Decided, RowConflict, Rules, TableCounts, TableEntry, TableName, merge_tables, tables,
};
use sync_core::{Digest, SnapshotId};
use sync_db::{
    Applied, ApplyPlan, Base, Capture, CaptureEvent, Database, Epoch, Objects, Settlement,
    TableSpec,
};
use sync_store::{Repository, RepositoryNodes};

use crate::conflicts::{OpenConflict, Resolutions, choice, describe_all};
use crate::error::{MapSnafu, MergeSnafu, StoreSnafu, TaskSnafu};
use crate::memory::{Memory, Remembered};
use crate::{Error, changes};

/// A database as a working copy whose history is in a repository.
#[derive(Debug, Clone)]
pub struct WorkingCopy {
    database: Database,
    specs: Vec<TableSpec>,
    repository: Repository,
    memory: Arc<dyn Memory>,
    /// What the other side is called in the database's own bookkeeping.
    remote: String,
}

/// What a database and the other side last agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreed<N> {
    /// The snapshot.
    pub snapshot: Option<SnapshotId>,
    /// The map of tables that both hold.
    pub root: Digest,
    /// What else changes in the same transaction.
    pub note: N,
}

/// What two sides became.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The map of tables, of which everything is in the repository.
    pub root: Digest,
    /// What it changes on our side, by table.
    pub counts: Vec<TableCounts>,
    /// What is left for a person to choose.
    pub conflicts: Vec<OpenConflict>,
    /// What was decided, by table.
    pub decided: Vec<Decided>,
}

impl<N: Serialize + for<'a> Deserialize<'a> + Default> Agreed<N> {
    fn of(base: Option<Base>) -> Self {
        match base {
            None => Self {
                snapshot: None,
                root: Map::empty_root(),
                note: N::default(),
            },
            Some(Base {
                snapshot,
                root,
                note,
            }) => Self {
                snapshot,
                root,
                // What cannot be read is of another version, and only saves work.
                note: serde_json::from_str(&note).unwrap_or_default(),
            },
        }
    }

    fn into_base(self) -> Base {
        Base {
            snapshot: self.snapshot,
            root: self.root,
            note: serde_json::to_string(&self.note).unwrap_or_default(),
        }
    }
}

impl WorkingCopy {
    /// `database`, of which the rows of `specs` travel, beside `repository`; the other side is called `remote`.
    pub fn new(
        database: Database,
        specs: Vec<TableSpec>,
        repository: Repository,
        memory: Arc<dyn Memory>,
        remote: String,
    ) -> Self {
        Self {
            database,
            specs,
            repository,
            memory,
            remote,
        }
    }

    /// The database.
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The row sets.
    pub fn specs(&self) -> &[TableSpec] {
        &self.specs
    }

    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// What maps are read through, on blocking threads.
    pub fn nodes(&self) -> Arc<RepositoryNodes> {
        Arc::new(self.repository.nodes())
    }

    /// What is agreed on with the other side; without anything, an empty map.
    pub async fn agreed<N>(&self) -> Result<Agreed<N>, Error>
    where
        N: Serialize + for<'a> Deserialize<'a> + Default,
    {
        self.agreed_with(&self.remote).await
    }

    /// What was agreed on with another side, by its name.
    pub async fn agreed_with<N>(&self, remote: &str) -> Result<Agreed<N>, Error>
    where
        N: Serialize + for<'a> Deserialize<'a> + Default,
    {
        Ok(Agreed::of(self.database.base(remote).await?))
    }

    /// Reads what changed in the database since it was last captured, in one consistent cut. The nodes of the new maps are in
    /// the repository then; in the database nothing is written. `tell` is given the bytes of rows read so far.
    pub async fn capture(&self, tell: impl Fn(u64) + Send + Sync) -> Result<Capture, Error> {
        let known = self.remembered().await?.known();
        let (nodes, writing) = self.repository.writer();
        let objects = Objects {
            source: self.nodes(),
            contents: nodes.clone(),
            nodes,
        };
        let read = AtomicU64::new(0);
        let tell = |event: CaptureEvent<'_>| {
            if let CaptureEvent::Bytes(bytes) = event {
                tell(read.fetch_add(bytes, Ordering::Relaxed) + bytes);
            }
        };
        let captured = self
            .database
            .capture(&self.specs, &known, objects, tell)
            .await;
        // The objects that it gives back hold on to the writers.
        let captured = captured.map(|(capture, _)| capture);
        // The store's own failure is the cause of the capture's, so it is told first.
        writing.finish().await.context(StoreSnafu)?;
        Ok(captured?)
    }

    /// Merges what two sides made of a map of tables, all of which are in the repository. What the rules of the tables leave
    /// open is decided by `resolutions`, else `otherwise`.
    pub async fn merge(
        &self,
        roots: [Digest; 3],
        resolutions: Resolutions,
        otherwise: Choice,
    ) -> Result<Merged, Error> {
        let (repository, specs) = (&self.repository, &self.specs);
        merge(repository, specs, roots, resolutions, otherwise).await
    }

    /// Changes the database from what was captured to the tables of `after` that travel, and agrees on `agreed`, in one
    /// transaction. Rows that could not be stored are not agreed on: they keep what they have in `before`.
    ///
    /// # Errors
    ///
    /// [`Error::is_moved`] where rows changed since the capture. The database is as it was.
    pub async fn apply<N>(
        &self,
        capture: &Capture,
        after: Digest,
        before: Digest,
        agreed: Agreed<N>,
        epoch: Epoch,
    ) -> Result<Applied, Error>
    where
        N: Serialize + for<'a> Deserialize<'a> + Default,
    {
        let after = self.only_synced(after).await?;
        self.expect(capture, epoch, after).await?;
        let plan = ApplyPlan {
            capture: capture.clone(),
            after,
            settlement: Settlement {
                epoch,
                agreed: Some((self.remote.clone(), agreed.into_base())),
            },
            base_before: before,
        };
        let (writer, writing) = self.repository.writer();
        let applied = self
            .database
            .apply(plan, self.nodes(), writer, |_| {})
            .await;
        writing.finish().await.context(StoreSnafu)?;
        let applied = applied?;
        if applied.root != after {
            let mut remembered = self.remembered().await?;
            remembered.correct(epoch, applied.root);
            remembered.store(self.memory.as_ref()).await?;
        }
        Ok(applied)
    }

    /// Writes down what was captured, and with `agreed` what is agreed on.
    pub async fn settle<N>(
        &self,
        capture: &Capture,
        agreed: Option<Agreed<N>>,
        epoch: Epoch,
    ) -> Result<(), Error>
    where
        N: Serialize + for<'a> Deserialize<'a> + Default,
    {
        self.expect(capture, epoch, capture.root).await?;
        let settlement = Settlement {
            epoch,
            agreed: agreed.map(|agreed| (self.remote.clone(), agreed.into_base())),
        };
        Ok(self.database.settle(capture, settlement).await?)
    }

    async fn remembered(&self) -> Result<Remembered, Error> {
        Remembered::load(self.memory.as_ref()).await
    }

    async fn expect(&self, capture: &Capture, epoch: Epoch, root: Digest) -> Result<(), Error> {
        let mut remembered = self.remembered().await?;
        remembered.expect(capture.epoch(), epoch, root);
        remembered.store(self.memory.as_ref()).await
    }

    /// Everything of these maps is in the repository.
    pub async fn set_whole(&self, roots: impl IntoIterator<Item = Digest>) -> Result<(), Error> {
        let mut remembered = self.remembered().await?;
        let before = remembered.clone();
        remembered.complete(roots);
        if remembered == before {
            return Ok(());
        }
        remembered.store(self.memory.as_ref()).await
    }

    /// Whether everything of a map is known to be in the repository. A root that was received may be there without what is
    /// below it.
    pub async fn is_whole(&self, root: Digest) -> Result<bool, Error> {
        if root == Map::empty_root() {
            return Ok(true);
        }
        let whole = self.remembered().await?.whole.contains(&root);
        Ok(whole
            && self
                .repository
                .object(&root)
                .await
                .context(StoreSnafu)?
                .is_some())
    }

    /// `captured`, with the tables of `other` that do not travel here: they are neither changed nor removed.
    pub async fn overlay(&self, captured: Digest, other: Digest) -> Result<Digest, Error> {
        let specs = self.specs.clone();
        self.edit_tables(captured, move |source| {
            let others = tables(source, other).context(MapSnafu)?.into_iter();
            let others = others.filter(|(name, _)| !travels(&specs, name));
            Ok(others.map(|(name, entry)| (name, Some(entry))).collect())
        })
        .await
    }

    /// `root` without the tables that do not travel here: what the database shall hold.
    pub async fn only_synced(&self, root: Digest) -> Result<Digest, Error> {
        let specs = self.specs.clone();
        self.edit_tables(root, move |source| {
            let others = tables(source, root).context(MapSnafu)?.into_iter();
            let others = others.filter(|(name, _)| !travels(&specs, name));
            Ok(others.map(|(name, _)| (name, None)).collect())
        })
        .await
    }

    async fn edit_tables(
        &self,
        root: Digest,
        edits: impl FnOnce(&RepositoryNodes) -> Result<TableEdits, Error> + Send + 'static,
    ) -> Result<Digest, Error> {
        let source = self.repository.nodes();
        let (mut writer, writing) = self.repository.writer();
        let edited = blocking(move || {
            let edits = edits(&source)?.into_iter();
            let edits = edits.map(|(name, entry)| {
                let value = entry.map(|entry| entry.encode());
                (String::from(name), value)
            });
            let edited = map::edit(&source, root, edits, &mut writer);
            Ok(edited.context(MapSnafu)?.root)
        })
        .await;
        writing.finish().await.context(StoreSnafu)?;
        edited
    }

    /// How much differs between two maps of tables, by table.
    pub async fn sums(&self, before: Digest, after: Digest) -> Result<Vec<TableCounts>, Error> {
        let nodes = self.nodes();
        blocking(move || changes::sums(&nodes, before, after)).await
    }

    /// How many rows differ, by table; the first `limit` of them; and how many more there are.
    pub async fn list(
        &self,
        before: Digest,
        after: Digest,
        limit: usize,
    ) -> Result<changes::Listed, Error> {
        let nodes = self.nodes();
        blocking(move || changes::list(&nodes, before, after, limit)).await
    }

    /// All rows of all tables of a map.
    pub async fn row_count(&self, root: Digest) -> Result<u64, Error> {
        let nodes = self.nodes();
        blocking(move || changes::row_count(&nodes, root)).await
    }
}

/// Merges what two sides made of a map of tables, without a database: the roots are `[base, ours, theirs]`, in `repository`,
/// where the result is then. What the rules of `specs` leave open is decided by `resolutions`, else `otherwise`.
///
/// # Errors
///
/// Where a map cannot be read or written.
pub async fn merge(
    repository: &Repository,
    specs: &[TableSpec],
    roots: [Digest; 3],
    resolutions: Resolutions,
    otherwise: Choice,
) -> Result<Merged, Error> {
    let (nodes, specs) = (Arc::new(repository.nodes()), specs.to_vec());
    let (mut writer, writing) = repository.writer();
    let source = Arc::clone(&nodes);
    let merged = blocking(move || {
        let rules = |table: &TableName| rules_of(&specs, table);
        let choose = |conflict: &RowConflict| choice(&resolutions, otherwise, conflict);
        let merged = merge_tables(&source, roots, rules, choose, &mut writer);
        merged.context(MergeSnafu)
    })
    .await;
    writing.finish().await.context(StoreSnafu)?;
    let merged = merged?;
    let conflicts = merged.conflicts;
    let conflicts = blocking(move || describe_all(&nodes, roots, &conflicts)).await?;
    Ok(Merged {
        root: merged.root,
        counts: merged.counts,
        conflicts,
        decided: merged.decided,
    })
}

/// In the order of the names.
type TableEdits = Vec<(TableName, Option<TableEntry>)>;

fn travels(specs: &[TableSpec], name: &TableName) -> bool {
    specs.iter().any(|spec| spec.name == *name)
}

/// How rows of a table are merged; one that does not travel here is left to a person.
fn rules_of(specs: &[TableSpec], table: &TableName) -> Rules {
    let spec = specs.iter().find(|spec| spec.name == *table);
    spec.and_then(|spec| spec.rules().ok()).unwrap_or_default()
}

/// Runs what blocks on a thread where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.context(TaskSnafu)?
}
