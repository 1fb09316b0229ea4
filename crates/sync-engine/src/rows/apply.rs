//! Does what a plan of rows says: first the database, then the tenant. Each is all or nothing.

use snafu::ResultExt;
use sync_core::rows::{TableCounts, TableName};
use sync_core::{Digest, Roots, Snapshot, SnapshotId};
use sync_db::{Applied, ApplyPlan, Base, Capture, SetAside, Settlement};
use sync_store::protocol::SetAsideRow;
use sync_transport::Body;

use super::conflicts::OpenConflict;
use super::look::Look;
use super::{Agreed, Direction, Note, ReplacedRows, Rows, RowsPlan};
use crate::Error;
use crate::decide::Point;
use crate::error::{ConflictSnafu, DatabaseSnafu, SnapshotSnafu, StaleSnafu, StoreSnafu, UnobtainableSnafu};
use crate::event::Event;
use crate::guard::Limits;
use crate::remote::Pushed;

/// What a push, pull or sync of rows did.
#[derive(Debug, Default)]
pub struct RowsOutcome {
    /// The snapshot that both sides agree on now.
    pub snapshot: Option<SnapshotId>,
    /// Why it was made, where this run made it.
    pub message: Option<String>,
    /// Rows that this database could not store; they are tried again by the next run.
    pub set_aside: Vec<SetAside>,
    /// Rows that the tenant's database could not store, likewise.
    pub set_aside_there: Vec<SetAsideRow>,
    /// Columns that triggers of this database wrote otherwise than they came.
    pub rewritten: Vec<(TableName, Vec<String>)>,
}

impl Rows<'_> {
    /// Does what `plan` says.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the plan has conflicts: they are kept in the workspace, and nothing else changed.
    /// [`Error::Removes`] and [`Error::Empties`] where it removes more than `limits` allow. [`sync_db::Error::Moved`] where
    /// rows changed since the plan was made, [`Error::Stale`] where somebody else moved the branch: what came is in the
    /// database by then, and a new plan goes on from there.
    pub async fn apply(
        &self,
        plan: RowsPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<RowsOutcome, Error> {
        let _lock = self.session.lock()?;
        self.session.keep_conflicts(&plan.conflicts)?;
        ensure_chosen(&plan.conflicts)?;
        for removal in &plan.removals {
            limits.check(*removal)?;
        }
        let RowsPlan {
            mut look,
            merged,
            direction,
            push,
            ..
        } = plan;
        let operation = match direction {
            Direction::Push => "push",
            Direction::Pull => "pull",
            Direction::Sync => "sync",
        };
        let mut outcome = RowsOutcome {
            snapshot: look.head.map(|head| head.id),
            ..RowsOutcome::default()
        };
        if direction == Direction::Push && push.is_empty() {
            // Nothing goes; what both sides hold alike is agreed on.
            let equal = look.local == look.head_rows();
            self.keep(&look, equal.then(|| agreed_on(look.head, look.agreed.note.clone()))).await?;
            return Ok(outcome);
        }
        if merged != look.local || direction != Direction::Push {
            let agreed = agreed_on(look.head, look.agreed.note.clone());
            let applied = self.change(&mut look, merged, operation, agreed, true).await?;
            outcome.set_aside = applied.set_aside;
            outcome.rewritten = applied.rewritten;
        }
        if direction == Direction::Pull || look.local == look.head_rows() {
            return Ok(outcome);
        }
        let (onto, rows) = (look.head, look.local);
        let message = message.unwrap_or_else(|| default_message(&push));
        let note = look.agreed.note.clone();
        let pushed = self.advance(&mut look, onto, rows, note, &message).await?;
        outcome.snapshot = Some(pushed.0);
        outcome.set_aside_there = pushed.1;
        outcome.message = Some(message);
        Ok(outcome)
    }

    /// Changes the database to hold `merged`, and agrees on `agreed` with the tenant, in one transaction. Afterwards `look`
    /// says what is there.
    pub(crate) async fn change(
        &self,
        look: &mut Look,
        merged: Digest,
        operation: &str,
        mut agreed: Agreed,
        undoes_agreement: bool,
    ) -> Result<Applied, Error> {
        if merged == look.local {
            self.keep(look, Some(agreed.clone())).await?;
            look.agreed = agreed;
            return Ok(Applied {
                root: look.capture.root,
                tables: Vec::new(),
                set_aside: Vec::new(),
                rewritten: Vec::new(),
            });
        }
        self.database.ensure_bookkeeping().await.context(DatabaseSnafu)?;
        let after = self.only_synced(&look.private, merged).await?;
        agreed.note.undo = Some(ReplacedRows {
            operation: operation.to_owned(),
            time: self.session.context.now,
            before: look.local,
            after: merged,
            agreed: undoes_agreement.then_some((look.agreed.snapshot, look.agreed.root)),
        });
        let epoch = self.name_epoch(after)?;
        let base = agreed.into_base();
        let plan = ApplyPlan {
            capture: look.capture.clone(),
            after,
            settlement: Settlement {
                epoch,
                agreed: Some((self.session.key.clone(), base)),
            },
            base_before: look.agreed.root,
        };
        self.session.tell(Event::Applying);
        let (nodes, writing) = look.private.writer();
        let applied = self.database.apply(plan, look.nodes(), nodes).await;
        writing.finish().await.context(StoreSnafu)?;
        let applied = applied.context(DatabaseSnafu)?;
        self.confirm_epoch(epoch, applied.root)?;
        let base = self.database.base(&self.session.key).await;
        look.agreed = Agreed::of(base.context(DatabaseSnafu)?);
        look.capture.root = applied.root;
        look.capture.settled(epoch);
        look.local = self.overlay(&look.private, look.head_rows(), applied.root).await?;
        self.set_complete([look.agreed.root, merged, look.local, look.head_rows()])?;
        Ok(applied)
    }

    /// Writes down what was captured where that is news, and what is agreed on.
    pub(crate) async fn keep(&self, look: &Look, agreed: Option<Agreed>) -> Result<(), Error> {
        let agreed = agreed.filter(|agreed| *agreed != look.agreed);
        if agreed.is_none() && !look.capture.is_news {
            return Ok(());
        }
        self.set_complete([look.local, look.head_rows()])?;
        self.settle(&look.capture, agreed).await
    }

    pub(crate) async fn settle(
        &self,
        capture: &Capture,
        agreed: Option<Agreed>,
    ) -> Result<(), Error> {
        self.database.ensure_bookkeeping().await.context(DatabaseSnafu)?;
        let epoch = self.name_epoch(capture.root)?;
        let base: Option<(String, Base)> =
            agreed.map(|agreed| (self.session.key.clone(), agreed.into_base()));
        let settlement = Settlement {
            epoch,
            agreed: base,
        };
        self.database.settle(capture, settlement).await.context(DatabaseSnafu)?;
        self.confirm_epoch(epoch, capture.root)
    }

    /// Makes a snapshot with the rows `rows` and moves the branch to it; gives what the branch is at, and what the tenant's
    /// database could not store.
    pub(crate) async fn advance(
        &self,
        look: &mut Look,
        onto: Option<Point>,
        rows: Digest,
        note: Note,
        message: &str,
    ) -> Result<(SnapshotId, Vec<SetAsideRow>), Error> {
        let snapshot = Snapshot {
            author: self.session.context.author.clone(),
            message: message.to_owned(),
            parents: onto.iter().map(|onto| onto.id).collect(),
            // What this push is not about stays as it is.
            roots: Roots {
                files: onto.map(|onto| onto.files),
                rows: Some(rows),
            },
            time: self.session.context.now,
        };
        let (id, encoded) = snapshot.encode().context(SnapshotSnafu)?;
        let target = crate::session::point(id, &snapshot);
        // Noted before it is sent: should this run end in between, the next one knows its own push again.
        self.set_pushing(Some(target))?;
        let before = onto.and_then(|onto| onto.rows);
        let pack = look.private.export_rows(encoded.into(), before, rows).await;
        let body = Body::stream(pack.context(StoreSnafu)?);
        let expected = onto.map(|onto| onto.id);
        let pushed = self.session.remote.push(expected, id, body).await?;
        let (head, set_aside) = match pushed {
            Pushed::Done { head, set_aside } => (head, set_aside),
            Pushed::Stale { head } => return StaleSnafu { head }.fail(),
            Pushed::Incomplete { missing } => {
                let digest = missing.first().copied().unwrap_or_default();
                return UnobtainableSnafu { digest }.fail();
            }
        };
        let mut agreed = agreed_on(Some(target), note);
        if head != id {
            // The tenant's database could not store all of it: what it holds is agreed on, the rest stays ahead here.
            let found = self.session.remote.resolve(&head.to_string()).await?;
            let found = crate::session::point(found.id, &found.snapshot);
            self.ensure_rows(&look.private, found, expected).await?;
            agreed = agreed_on(Some(found), agreed.note);
        }
        self.set_complete([agreed.root, look.local])?;
        self.settle(&look.capture, Some(agreed.clone())).await?;
        self.set_pushing(None)?;
        look.agreed = agreed;
        Ok((head, set_aside))
    }
}

/// Agreement on a whole snapshot.
pub(crate) fn agreed_on(head: Option<Point>, note: Note) -> Agreed {
    let root = head.and_then(|head| head.rows);
    Agreed {
        snapshot: head.map(|head| head.id),
        root: root.unwrap_or(sync_core::map::Map::empty_root()),
        note: Note {
            files: head.map(|head| head.files),
            rows: root,
            ..note
        },
    }
}

/// Refuses to go on while a person has to choose.
pub(crate) fn ensure_chosen(conflicts: &[OpenConflict]) -> Result<(), Error> {
    if conflicts.is_empty() {
        return Ok(());
    }
    let paths = conflicts.iter().map(|conflict| {
        let key = conflict.key.iter().map(|(_, value)| value.as_str());
        format!("{} {}", conflict.table, key.collect::<Vec<_>>().join(", "))
    });
    ConflictSnafu {
        paths: paths.collect::<Vec<_>>(),
    }
    .fail()
}

/// Says what changed where nobody said why.
fn default_message(push: &[TableCounts]) -> String {
    let rows: u64 = push.iter().map(TableCounts::total).sum();
    let some = |n: u64, what: &str| if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") };
    match push {
        [only] => format!("{} in {}", some(rows, "row"), only.table),
        several => format!("{} in {}", some(rows, "row"), some(several.len() as u64, "table")),
    }
}
