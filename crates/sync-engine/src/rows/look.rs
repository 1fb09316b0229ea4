//! The look that every operation begins with: the rows of the database and the tenant's head, at the same time.

use std::sync::Arc;

use serde::Serialize;
use snafu::ResultExt;
use sync_core::map::Map;
use sync_core::rows::TableCounts;
use sync_core::{Digest, SnapshotId};
use sync_db::Capture;
use sync_store::Repository;
use sync_store::protocol::{Fetch, Part};

use super::{Agreed, Note, Rows, rows_of};
use crate::decide::{Point, Standing, standing};
use crate::error::{BranchGoneSnafu, StoreSnafu};
use crate::event::{Phase, Progress, Target};
use crate::session::point;
use crate::{Error, Event, Session};

/// What database and tenant hold.
#[derive(Debug)]
pub(crate) struct Look {
    /// What both last agreed on.
    pub(super) agreed: Agreed,
    /// What is written down of that.
    pub(super) seen: Agreed,
    /// Where the tenant's branch is.
    pub(super) head: Option<Point>,
    /// What was read of the database.
    pub(super) capture: Capture,
    /// What the workspace stands for: what was captured, and the tables of the tenant that it does not sync.
    pub(super) local: Digest,
}

/// What was read of the database, before anything is known of the tenant.
#[derive(Debug)]
pub(crate) struct Reading {
    seen: Agreed,
    capture: Capture,
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

/// The roots of both sides: equal roots name equal rows.
#[derive(Debug, Clone, Serialize)]
pub struct RowsRoots {
    /// What the database holds, by its change logs.
    pub here: Digest,
    /// What the database holds, every row read again; `None` where that was not asked for.
    pub read: Option<Digest>,
    /// What the tenant's branch has.
    pub tenant: Digest,
}

impl RowsRoots {
    /// Whether both sides hold the same.
    pub fn is_equal(&self) -> bool {
        self.here == self.tenant
    }

    /// Whether the database holds what its change logs say.
    pub fn is_intact(&self) -> bool {
        self.read.is_none_or(|read| read == self.here)
    }
}

/// The snapshot that was agreed on.
fn point_of(agreed: &Agreed) -> Option<Point> {
    Some(Point {
        id: agreed.snapshot?,
        files: agreed.note.files.unwrap_or(Map::empty_root()),
        rows: agreed.note.rows,
        release: None,
    })
}

impl Look {
    pub(super) fn standing(&self) -> Standing {
        // Tables that are empty before anything was agreed on are no change: whoever comes with rows fills them.
        let local = if self.is_vacant() {
            self.agreed.root
        } else {
            self.local
        };
        standing(self.agreed.root, local, rows_of(self.head))
    }

    fn is_vacant(&self) -> bool {
        let mut tables = self.capture.tables.iter();
        self.agreed.snapshot.is_none() && tables.all(|table| table.entry.rows.is_empty())
    }

    pub(super) fn ensure_branch(&self) -> Result<(), Error> {
        match (self.agreed.snapshot, self.head) {
            (Some(base), None) => BranchGoneSnafu { base }.fail(),
            _ => Ok(()),
        }
    }
}

impl Session {
    /// Brings the rows of a snapshot into the private store, and checks everything that they name. `near` is a snapshot, with
    /// its root of rows, of which everything is there.
    pub(super) async fn fetch_rows(
        &self,
        private: &Repository,
        wanted: Point,
        near: Option<(SnapshotId, Digest)>,
    ) -> Result<(), Error> {
        let have = near.map(|(id, _)| id);
        let fetch = Fetch {
            want: wanted.id,
            have,
            contents: true,
            patches: have.is_some(),
            part: Part::Rows,
        };
        let body = self.remote.fetch_body(fetch).await?;
        let received = private.receive(body.into_stream()).await;
        let received = received.context(StoreSnafu)?;
        let before = near.map(|(_, root)| root);
        let kept = private.keep_rows(received, before, rows_of(Some(wanted)));
        kept.await.context(StoreSnafu)
    }
}

impl Rows<'_> {
    /// Captures the database while the head is asked for. Nothing but the private store is written.
    pub(super) async fn look(&self) -> Result<Look, Error> {
        let seen: Agreed = self.copy.agreed().await?;
        let (answer, capture) = tokio::join!(
            self.session
                .remote
                .head_of(seen.snapshot, Part::Rows, false),
            self.capture()
        );
        let (answer, capture) = (answer?, capture?);
        let head = match answer {
            None => point_of(&seen),
            Some(head) => {
                let named = head.head.zip(head.snapshot);
                named.map(|(id, snapshot)| point(id, &snapshot))
            }
        };
        self.look_beside(Reading { seen, capture }, head).await
    }

    /// Captures the database alone.
    pub(crate) async fn read(&self) -> Result<Reading, Error> {
        let seen: Agreed = self.copy.agreed().await?;
        let capture = self.capture().await?;
        Ok(Reading { seen, capture })
    }

    async fn capture(&self) -> Result<Capture, Error> {
        let listener = Arc::clone(&self.session.context.listener);
        let tell = move |bytes| {
            listener(Event::Progress(Progress::new(
                Target::Database,
                Phase::Reading,
                0,
                bytes,
            )));
        };
        Ok(self.copy.capture(tell).await?)
    }

    /// What was captured beside where the tenant's branch is.
    pub(crate) async fn look_beside(
        &self,
        reading: Reading,
        head: Option<Point>,
    ) -> Result<Look, Error> {
        let Reading { seen, capture } = reading;
        // A push that ended before it could say so has moved the base, too.
        let pushing = self.pushing(capture.epoch());
        let agreed = match head.filter(|_| pushing.is_some() && pushing == head) {
            Some(arrived) => super::agreed_on(Some(arrived), seen.note.clone()),
            None => seen.clone(),
        };
        let (agreed, head) = if agreed.snapshot.is_none() {
            self.kin(agreed, head).await?
        } else {
            (agreed, head)
        };
        let agreed = self.ensure_agreed(agreed).await?;
        let local = self.copy.overlay(capture.root, agreed.root).await?;
        Ok(Look {
            agreed,
            seen,
            head,
            capture,
            local,
        })
    }

    /// What the rows of a branch that nothing was ever agreed on with come from, and where that branch is or begins.
    async fn kin(
        &self,
        seen: Agreed,
        head: Option<Point>,
    ) -> Result<(Agreed, Option<Point>), Error> {
        let home = self.session.workspace.home_key()?;
        if home == self.session.key {
            return Ok((seen, head));
        }
        let home: Agreed = self.copy.agreed_with(&home).await?;
        let Some(base) = point_of(&home) else {
            return Ok((seen, head));
        };
        let note = seen.note.clone();
        Ok(match self.session.kin(base, head).await? {
            None => (seen, head),
            Some(found) if found.id == base.id => {
                let agreed = Agreed {
                    note: Note {
                        undo: None,
                        ..home.note
                    },
                    ..home
                };
                (agreed, head.or(Some(base)))
            }
            Some(found) => (super::agreed_on(Some(found), note), head),
        })
    }

    /// Makes sure that the map that was agreed on is here: what nobody has any more counts as never agreed on, so that what is
    /// equal stays, and what differs is for a person to choose.
    async fn ensure_agreed(&self, agreed: Agreed) -> Result<Agreed, Error> {
        if self.copy.is_whole(agreed.root).await? {
            return Ok(agreed);
        }
        let lost = Agreed {
            root: Map::empty_root(),
            ..agreed.clone()
        };
        match agreed.snapshot {
            Some(id) if agreed.note.rows == Some(agreed.root) => {
                let wanted = Point {
                    id,
                    files: agreed.note.files.unwrap_or(Map::empty_root()),
                    rows: agreed.note.rows,
                    release: None,
                };
                match self.ensure_rows(Some(wanted), None).await {
                    Ok(_) => Ok(agreed),
                    Err(error) if error.is_expired() => Ok(lost),
                    Err(error) => Err(error),
                }
            }
            _ => Ok(lost),
        }
    }

    /// Makes sure that the rows of a snapshot are in the private store, where everything that they name is checked, and gives
    /// their root. `near` is what was agreed on, which is there.
    pub(super) async fn ensure_rows(
        &self,
        wanted: Option<Point>,
        near: Option<&Agreed>,
    ) -> Result<Digest, Error> {
        let root = rows_of(wanted);
        let Some(wanted) = wanted.filter(|_| root != Map::empty_root()) else {
            return Ok(root);
        };
        if self.copy.is_whole(root).await? {
            return Ok(root);
        }
        let near = near.filter(|near| near.note.rows == Some(near.root));
        let near = near.and_then(|near| Some((near.snapshot?, near.root)));
        let private = self.copy.repository();
        self.session.fetch_rows(private, wanted, near).await?;
        self.copy.set_whole([root]).await?;
        Ok(root)
    }

    /// Compares both sides by their roots; with `read` every row of the database is read again, whatever the logs say.
    pub async fn verify(&self, read: bool) -> Result<RowsRoots, Error> {
        let look = self.look().await?;
        let read = if read {
            let verified = self.copy.database().verify(self.copy.specs()).await;
            let verified = verified.map_err(sync_rows::Error::from)?;
            Some(self.copy.overlay(verified.root, look.agreed.root).await?)
        } else {
            None
        };
        Ok(RowsRoots {
            here: look.local,
            read,
            tenant: rows_of(look.head),
        })
    }

    /// Compares base, database and tenant. Keeps what was captured, so that the next look is quick.
    pub async fn status(&self) -> Result<RowsStatus, Error> {
        let look = self.look().await?;
        self.status_of(look).await
    }

    /// Likewise, of what was looked at.
    pub(crate) async fn status_of(&self, mut look: Look) -> Result<RowsStatus, Error> {
        let standing = look.standing();
        let there = self.ensure_rows(look.head, Some(&look.agreed)).await?;
        let local = self.copy.sums(look.agreed.root, look.local).await?;
        let cloud = self.copy.sums(look.agreed.root, there).await?;
        let arrived = look.agreed.snapshot != look.seen.snapshot;
        let arrived = arrived.then(|| look.agreed.clone());
        if let Ok(_lock) = self.session.lock()
            // What is known is told even where it cannot be kept: the next look only takes longer.
            && let Err(error) = self.keep(&mut look, arrived).await
        {
            tracing::warn!(%error, "what was captured could not be kept");
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
