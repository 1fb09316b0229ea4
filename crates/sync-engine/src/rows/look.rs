//! The look that every operation begins with: the rows of the database and the tenant's head, at the same time.

use std::sync::Arc;

use serde::Serialize;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::map::{self, Map};
use sync_core::rows::{TableCounts, tables};
use sync_core::{Digest, SnapshotId};
use sync_db::{Capture, TableSpec};
use sync_store::pack::Class;
use sync_store::protocol::{Fetch, Part};
use sync_store::{Repository, RepositoryNodes};

use super::{Agreed, Rows};
use crate::Error;
use crate::decide::{Point, Standing, standing};
use crate::error::{BranchGoneSnafu, DatabaseSnafu, MapSnafu, StoreSnafu};
use crate::rows::changes::counts;
use crate::session::{blocking, point};

/// What database and tenant hold.
#[derive(Debug)]
pub(crate) struct Look {
    /// What both last agreed on.
    pub(crate) agreed: Agreed,
    /// Where the tenant's branch is.
    pub(crate) head: Option<Point>,
    /// What was read of the database.
    pub(crate) capture: Capture,
    /// What the workspace stands for: what was captured, and the tables that the tenant has and this workspace does not sync.
    pub(crate) local: Digest,
    pub(crate) private: Repository,
}

/// Where database and tenant stand.
#[derive(Debug, Clone, Serialize)]
pub struct RowsStatus {
    /// In one word.
    pub standing: Standing,
    /// What changed in the database since the base, by table.
    pub local: Vec<TableCounts>,
    /// What changed on the tenant since the base, by table.
    pub cloud: Vec<TableCounts>,
    /// The snapshot that both last agreed on.
    pub base: Option<SnapshotId>,
    /// Where the tenant's branch is.
    pub head: Option<SnapshotId>,
}

impl Look {
    pub(crate) fn standing(&self) -> Standing {
        standing(self.agreed.root, self.local, self.head_rows())
    }

    /// The rows that the tenant's branch has.
    pub(crate) fn head_rows(&self) -> Digest {
        let rows = self.head.and_then(|head| head.rows);
        rows.unwrap_or(Map::empty_root())
    }

    pub(crate) fn ensure_branch(&self) -> Result<(), Error> {
        match (self.agreed.snapshot, self.head) {
            (Some(base), None) => BranchGoneSnafu { base }.fail(),
            _ => Ok(()),
        }
    }

    /// What maps are read through.
    pub(crate) fn nodes(&self) -> Arc<RepositoryNodes> {
        Arc::new(self.private.nodes())
    }
}

impl Rows<'_> {
    /// Captures the database while the head is asked for. New nodes are in the private store afterwards; nothing else is
    /// written, and the database is only read.
    pub(crate) async fn look(&self) -> Result<Look, Error> {
        let private = self.session.private().await?;
        let base = self.database.base(&self.session.key).await;
        let agreed = Agreed::of(base.context(DatabaseSnafu)?);
        let (head, capture) = tokio::join!(
            self.session.remote.head_of(agreed.snapshot, Part::Rows),
            self.capture(&private)
        );
        let (answer, capture) = (head?, capture?);
        let head = match answer {
            None => agreed.snapshot.map(|id| Point {
                id,
                files: agreed.note.files.unwrap_or(Map::empty_root()),
                rows: Some(agreed.note.rows.unwrap_or(agreed.root)),
            }),
            Some(head) => {
                let named = head.head.zip(head.snapshot);
                named.map(|(id, snapshot)| point(id, &snapshot))
            }
        };
        // A push that ended before it could say so has moved the base, too.
        let pushing = self.memory()?.pushing;
        let agreed = match head.filter(|_| pushing.is_some() && pushing == head) {
            Some(arrived) => Agreed {
                snapshot: Some(arrived.id),
                root: arrived.rows.unwrap_or(Map::empty_root()),
                note: agreed.note,
            },
            None => agreed,
        };
        let agreed = self.ensure_agreed(&private, agreed).await?;
        let local = self.overlay(&private, agreed.root, capture.root).await?;
        Ok(Look {
            agreed,
            head,
            capture,
            local,
            private,
        })
    }

    pub(crate) async fn capture(&self, private: &Repository) -> Result<Capture, Error> {
        let epoch = self.database.epoch().await.context(DatabaseSnafu)?;
        let known = self.memory()?.known(epoch);
        let (nodes, writing) = private.writer();
        let contents = nodes.of(Class::Contents);
        let source = Arc::new(private.nodes());
        let listener = Arc::clone(&self.session.context.listener);
        let tell = move |rows| listener(crate::Event::Reading { rows });
        let captured = self
            .database
            .capture(&self.specs, known, source, nodes, contents, tell)
            .await;
        // The store's own failure is the cause of the capture's, so it is told first.
        writing.finish().await.context(StoreSnafu)?;
        captured.context(DatabaseSnafu)
    }

    /// Makes sure that the maps that were agreed on are here: what nobody has any more counts as never agreed on, so that
    /// what is equal stays, and what differs is for a person to choose.
    async fn ensure_agreed(&self, private: &Repository, agreed: Agreed) -> Result<Agreed, Error> {
        if holds(private, agreed.root).await? {
            return Ok(agreed);
        }
        let lost = Agreed {
            root: Map::empty_root(),
            ..agreed.clone()
        };
        match agreed.snapshot {
            Some(id) if agreed.note.rows.is_none_or(|rows| rows == agreed.root) => {
                match self.fetch(private, id, None).await {
                    Ok(()) if holds(private, agreed.root).await? => Ok(agreed),
                    Ok(()) => Ok(lost),
                    Err(error) if error.is_expired() => Ok(lost),
                    Err(error) => Err(error),
                }
            }
            _ => Ok(lost),
        }
    }

    /// Brings the rows of the snapshot `want` into the private store, where everything that they name is checked.
    /// `have` is a snapshot whose rows are here.
    pub(crate) async fn fetch(
        &self,
        private: &Repository,
        want: SnapshotId,
        have: Option<SnapshotId>,
    ) -> Result<(), Error> {
        let fetch = Fetch {
            want,
            have,
            contents: true,
            patches: have.is_some(),
            part: Part::Rows,
        };
        let body = self.session.remote.fetch_body(fetch).await?;
        let received = private.receive(body.into_stream()).await;
        let received = received.context(StoreSnafu)?;
        private.keep_rows(received, want).await.context(StoreSnafu)
    }

    /// Makes sure that the rows of a snapshot are here, and gives their root.
    pub(crate) async fn ensure_rows(
        &self,
        private: &Repository,
        wanted: Point,
        near: Option<SnapshotId>,
    ) -> Result<Digest, Error> {
        let root = wanted.rows.unwrap_or(Map::empty_root());
        // A fetch that was cut may have left a root without what is below it.
        let complete = self.memory()?.complete.contains(&root);
        if root == Map::empty_root() || (complete && holds(private, root).await?) {
            return Ok(root);
        }
        self.fetch(private, wanted.id, near).await?;
        self.set_complete([root])?;
        Ok(root)
    }

    /// `captured`, with the tables of `other` that this workspace does not sync.
    pub(crate) async fn overlay(
        &self,
        private: &Repository,
        other: Digest,
        captured: Digest,
    ) -> Result<Digest, Error> {
        let specs = self.specs.clone();
        edit_tables(private, captured, move |source| {
            let others = tables(source, other).context(MapSnafu)?;
            let others = others.into_iter().filter(|(name, _)| !is_synced(&specs, name));
            Ok(others.map(|(name, entry)| (name, Some(entry))).collect())
        })
        .await
    }

    /// `root` without the tables that this workspace does not sync: what its database shall hold.
    pub(crate) async fn only_synced(
        &self,
        private: &Repository,
        root: Digest,
    ) -> Result<Digest, Error> {
        let specs = self.specs.clone();
        edit_tables(private, root, move |source| {
            let all = tables(source, root).context(MapSnafu)?;
            let others = all.into_iter().filter(|(name, _)| !is_synced(&specs, name));
            Ok(others.map(|(name, _)| (name, None)).collect())
        })
        .await
    }

    /// Compares base, database and tenant. Keeps what was captured, so that the next look is quick.
    pub async fn status(&self) -> Result<RowsStatus, Error> {
        let look = self.look().await?;
        let standing = look.standing();
        if let Some(head) = look.head {
            self.ensure_rows(&look.private, head, look.agreed.snapshot).await?;
        }
        let (base, here, there) = (look.agreed.root, look.local, look.head_rows());
        let nodes = look.nodes();
        let (local, cloud) =
            blocking(move || Ok((counts(&nodes, base, here)?, counts(&nodes, base, there)?))).await?;
        if let Ok(_lock) = self.session.lock()
            && look.capture.is_news
        {
            // What is known is told even where it cannot be kept: the next look only takes longer.
            if let Err(error) = self.settle(&look.capture, None).await {
                tracing::warn!(%error, "what was captured could not be kept");
            }
        }
        Ok(RowsStatus {
            standing,
            local,
            cloud,
            base: look.agreed.snapshot,
            head: look.head.map(|head| head.id),
        })
    }
}

fn is_synced(specs: &[TableSpec], name: &sync_core::rows::TableName) -> bool {
    specs.iter().any(|spec| spec.name == *name)
}

type TableEdits = Vec<(sync_core::rows::TableName, Option<sync_core::rows::TableEntry>)>;

/// The root of a map of tables after some edits, with its nodes in the private store.
async fn edit_tables(
    private: &Repository,
    root: Digest,
    edits: impl FnOnce(&RepositoryNodes) -> Result<TableEdits, Error> + Send + 'static,
) -> Result<Digest, Error> {
    let source = private.nodes();
    let (mut writer, writing) = private.writer();
    let edited = blocking(move || {
        let mut edits = edits(&source)?;
        edits.sort_by(|a, b| a.0.cmp(&b.0));
        let edits = edits.into_iter().map(|(name, entry)| {
            let value = entry.map(|entry| entry.encode());
            (name.as_str().as_bytes().to_vec(), value)
        });
        let edited = map::edit(&source, root, edits, &mut writer).context(MapSnafu)?;
        Ok(edited.root)
    })
    .await;
    writing.finish().await.context(StoreSnafu)?;
    edited
}

/// Whether the root of a map is here that was complete once.
pub(crate) async fn holds(private: &Repository, root: Digest) -> Result<bool, Error> {
    if root == Map::empty_root() {
        return Ok(true);
    }
    Ok(private.object(&root).await.context(StoreSnafu)?.is_some())
}
