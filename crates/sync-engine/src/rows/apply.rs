//! Does what a plan of rows says: first the database, then the tenant. Each is all or nothing.

use snafu::ResultExt;
use sync_core::rows::TableCounts;
use sync_core::{Digest, Roots, Snapshot, SnapshotId};
use sync_db::{Rewritten, SetAside};
use sync_rows::OpenConflict;
use sync_store::RowsPush;
use sync_store::protocol::SetAsideRow;
use sync_transport::Body;

use super::look::Look;
use super::{
    Agreed, Direction, Earlier, ReplacedRows, Rows, RowsPlan, agreed_on, conflicts, rows_of,
};
use crate::Error;
use crate::decide::Point;
use crate::error::{ConflictSnafu, SnapshotSnafu, StaleSnafu, UnobtainableSnafu};
use crate::event::{Event, Phase, Progress, Target, Telling, Way};
use crate::guard::Limits;
use crate::parcel::RowsPart;
use crate::remote::Pushed;
use crate::session::point;

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
    pub rewritten: Vec<Rewritten>,
}

/// What a plan has brought into the database, and what is left to go.
#[derive(Debug)]
pub(crate) struct BroughtRows {
    /// What was done so far.
    pub(crate) outcome: RowsOutcome,
    look: Look,
    push: Vec<TableCounts>,
}

impl BroughtRows {
    /// Whether rows go to the tenant.
    pub(crate) fn goes(&self) -> bool {
        !self.push.is_empty()
    }

    /// The map of tables that goes.
    pub(crate) fn root(&self) -> Digest {
        self.look.local
    }

    /// Says what goes where nobody says why.
    pub(crate) fn default_message(&self) -> String {
        default_message(&self.push)
    }
}

/// A change of the database that is about to be made.
#[derive(Debug)]
pub(super) struct Change<'c> {
    pub(super) operation: &'c str,
    /// The map of tables that the workspace stands for afterwards.
    pub(super) merged: Digest,
    /// What is agreed on afterwards.
    pub(super) agreed: Agreed,
    /// Whether undoing it takes the agreement back, too.
    pub(super) undoes_agreement: bool,
    /// The rows that change.
    pub(super) tables: &'c [TableCounts],
}

impl Rows<'_> {
    /// Does what `plan` says.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where the plan has conflicts: they are kept in the workspace, and nothing else changed.
    /// [`Error::Removes`] and [`Error::Empties`] where it removes more than `limits` allow. [`Error::Rows`] where rows changed
    /// since the plan was made ([`sync_rows::Error::is_moved`]), [`Error::Stale`] where somebody else moved the branch: what
    /// came is in the database by then, and a new plan goes on from there.
    pub async fn apply(
        &self,
        plan: RowsPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<RowsOutcome, Error> {
        let _lock = self.session.lock()?;
        let brought = self.bring(plan, limits).await?;
        if !brought.goes() {
            return Ok(brought.outcome);
        }
        self.send_alone(brought, message).await
    }

    /// Sends what is left to go, as a snapshot of its own.
    pub(crate) async fn send_alone(
        &self,
        brought: BroughtRows,
        message: Option<String>,
    ) -> Result<RowsOutcome, Error> {
        let message = message.unwrap_or_else(|| brought.default_message());
        let telling = self.tell_going(&brought);
        let look = &brought.look;
        let (head, set_aside) = self.send(look, look.local, false, &message).await?;
        let outcome = self.arrived(brought, head, set_aside, message).await?;
        telling.complete(outcome.snapshot);
        Ok(outcome)
    }

    /// Tells of the rows that are about to go.
    pub(crate) fn tell_going(&self, brought: &BroughtRows) -> Telling {
        Telling::rows(&self.session.context.listener, Way::Push, &brought.push)
    }

    /// Brings what `plan` brings into the database, under the caller's lock; what goes to the tenant is left to be sent.
    pub(crate) async fn bring(
        &self,
        plan: RowsPlan,
        limits: &Limits,
    ) -> Result<BroughtRows, Error> {
        conflicts::keep_open(&self.session.workspace, &plan.conflicts)?;
        ensure_chosen(&plan.conflicts)?;
        for removal in plan.removals {
            limits.check(removal)?;
        }
        self.session.begin_branch().await?;
        let RowsPlan {
            mut look,
            merged,
            direction,
            push,
            pull,
            ..
        } = plan;
        let mut outcome = RowsOutcome {
            snapshot: look.head.map(|head| head.id),
            ..RowsOutcome::default()
        };
        if direction == Direction::Push && push.is_empty() {
            // Nothing goes; what both sides hold alike is agreed on.
            let equal = look.local == rows_of(look.head);
            let agreed = equal.then(|| agreed_on(look.head, look.agreed.note.clone()));
            self.keep(&mut look, agreed).await?;
            conflicts::settled(&self.session.workspace)?;
            return Ok(BroughtRows {
                outcome,
                look,
                push,
            });
        }
        if direction != Direction::Push {
            let change = Change {
                operation: if direction == Direction::Pull {
                    "pull"
                } else {
                    "sync"
                },
                merged,
                agreed: agreed_on(look.head, look.agreed.note.clone()),
                undoes_agreement: true,
                tables: &pull,
            };
            self.change(&mut look, change, &mut outcome).await?;
        }
        conflicts::settled(&self.session.workspace)?;
        let goes = direction != Direction::Pull && look.local != rows_of(look.head);
        Ok(BroughtRows {
            outcome,
            look,
            push: if goes { push } else { Vec::new() },
        })
    }

    /// What a push of what was brought sends.
    pub(crate) fn part(&self, brought: &BroughtRows) -> RowsPart {
        let before = brought.look.head.and_then(|head| head.rows);
        RowsPart {
            repository: self.copy.repository().clone(),
            push: pushed(&brought.look, before, brought.look.local),
        }
    }

    /// Notes where a push is about to move the branch: should this run end in between, the next one knows its own push again.
    pub(crate) fn note_push(&self, brought: &BroughtRows, target: Point) -> Result<(), Error> {
        self.set_pushing(target, brought.look.capture.epoch())
    }

    /// Writes down that the branch is at `head`, a snapshot with the rows that went, but for those that the tenant set aside.
    pub(crate) async fn arrived(
        &self,
        brought: BroughtRows,
        head: Point,
        set_aside: Vec<SetAsideRow>,
        message: String,
    ) -> Result<RowsOutcome, Error> {
        let BroughtRows {
            mut outcome, look, ..
        } = brought;
        if rows_of(Some(head)) != look.local {
            // What the tenant's database holds is agreed on, the rest stays ahead here.
            self.ensure_rows(Some(head), Some(&look.agreed)).await?;
        }
        let agreed = agreed_on(Some(head), look.agreed.note.clone());
        self.copy.set_whole([agreed.root, look.local]).await?;
        let epoch = self.epoch();
        self.copy.settle(&look.capture, Some(agreed), epoch).await?;
        self.clear_pushing();
        outcome.snapshot = Some(head.id);
        outcome.set_aside_there = set_aside;
        outcome.message = Some(message);
        Ok(outcome)
    }

    /// Changes the database, and what is agreed on with the tenant, in one transaction. Afterwards `look` says what is there.
    pub(super) async fn change(
        &self,
        look: &mut Look,
        change: Change<'_>,
        outcome: &mut RowsOutcome,
    ) -> Result<(), Error> {
        let Change {
            operation,
            merged,
            mut agreed,
            undoes_agreement,
            tables,
        } = change;
        if merged == look.local {
            return self.keep(look, Some(agreed)).await;
        }
        agreed.note.undo = Some(ReplacedRows {
            operation: operation.to_owned(),
            time: self.session.context.now,
            before: look.local,
            after: merged,
            agreed: undoes_agreement.then(|| Earlier::of(&look.agreed)),
        });
        self.copy
            .set_whole([look.local, merged, agreed.root])
            .await?;
        let snapshot = agreed.snapshot;
        let telling = Telling::rows(&self.session.context.listener, Way::Pull, tables);
        let applying = Progress::new(Target::Database, Phase::Applying, 0, 0);
        self.session.tell(Event::Progress(applying));
        let (epoch, before) = (self.epoch(), look.agreed.root);
        let applied = self
            .copy
            .apply(&look.capture, merged, before, agreed, epoch)
            .await?;
        self.clear_pushing();
        look.agreed = self.copy.agreed().await?;
        look.seen = look.agreed.clone();
        look.capture = look.capture.applied(applied.root, epoch);
        look.local = self.copy.overlay(applied.root, rows_of(look.head)).await?;
        self.copy.set_whole([look.agreed.root, look.local]).await?;
        outcome.set_aside = applied.set_aside;
        outcome.rewritten = applied.rewritten;
        telling.complete(snapshot);
        Ok(())
    }

    /// Writes down what was captured where that is news, and what is agreed on where that is.
    pub(super) async fn keep(&self, look: &mut Look, agreed: Option<Agreed>) -> Result<(), Error> {
        let agreed = agreed.filter(|agreed| *agreed != look.seen);
        if agreed.is_none() && !look.capture.is_news {
            return Ok(());
        }
        self.copy.set_whole([look.local, look.capture.root]).await?;
        let epoch = self.epoch();
        self.copy
            .settle(&look.capture, agreed.clone(), epoch)
            .await?;
        let pushing = self.pushing(look.capture.epoch());
        look.capture = look.capture.applied(look.capture.root, epoch);
        match pushing.filter(|_| agreed.is_none()) {
            // It may yet arrive.
            Some(target) => self.set_pushing(target, Some(epoch))?,
            None => self.clear_pushing(),
        }
        if let Some(agreed) = agreed {
            look.seen = agreed.clone();
            look.agreed = agreed;
        }
        Ok(())
    }

    /// Moves the branch to a new snapshot with `rows`, in one request; `is_there` says that the tenant has them. Where its database
    /// could not store all of them, the branch is at a snapshot with those that it could.
    pub(super) async fn send(
        &self,
        look: &Look,
        rows: Digest,
        is_there: bool,
        message: &str,
    ) -> Result<(Point, Vec<SetAsideRow>), Error> {
        let onto = look.head;
        let snapshot = Snapshot {
            author: self.session.context.author.clone(),
            message: message.to_owned(),
            parents: onto.iter().map(|onto| onto.id).collect(),
            // What this push is not about stays as it is.
            roots: Roots {
                files: onto.map(|onto| onto.files),
                release: onto.and_then(|onto| onto.release),
                rows: Some(rows),
            },
            time: self.session.context.now,
        };
        let (id, encoded) = snapshot.encode().context(SnapshotSnafu)?;
        let target = point(id, &snapshot);
        // Noted before it is sent: should this run end in between, the next one knows its own push again. Of rows that are on
        // the tenant already, the database does not hold them yet.
        if !is_there {
            self.set_pushing(target, look.capture.epoch())?;
        }
        let before = if is_there {
            Some(rows)
        } else {
            onto.and_then(|onto| onto.rows)
        };
        let repository = self.copy.repository();
        let expected = onto.map(|onto| onto.id);
        let mut attempt = 1;
        // The branch moves by compare-and-swap: sending it again does nothing twice.
        let pushed = loop {
            let push = pushed(look, before, rows);
            let pack = repository.export_rows(encoded.clone().into(), push);
            let body = Body::stream(pack);
            match self.session.remote.push(expected, id, body).await {
                Err(error) => {
                    attempt += 1;
                    self.session.pause(error, attempt).await?;
                }
                Ok(pushed) => break pushed,
            }
        };
        let (head, set_aside) = match pushed {
            Pushed::Done { head, set_aside } => (head, set_aside),
            Pushed::Stale { head } => return StaleSnafu { head }.fail(),
            Pushed::Incomplete { missing } => {
                let digest = missing.first().copied().unwrap_or_default();
                return UnobtainableSnafu { digest }.fail();
            }
        };
        if head == id {
            return Ok((target, set_aside));
        }
        let found = self.session.remote.resolve(&head.to_string()).await?;
        Ok((point(found.id, &found.snapshot), set_aside))
    }
}

/// What a push from `before` to `after` sends.
fn pushed(look: &Look, before: Option<Digest>, after: Digest) -> RowsPush {
    let tables = look.capture.tables.iter();
    let inline = tables.filter(|table| table.is_inline);
    RowsPush {
        before,
        after,
        patches: before.is_some(),
        inline: inline.map(|table| table.entry.rows.root).collect(),
    }
}

/// Refuses to go on while a person has to choose.
pub(super) fn ensure_chosen(open: &[OpenConflict]) -> Result<(), Error> {
    if open.is_empty() {
        return Ok(());
    }
    let paths: Vec<String> = open.iter().map(conflicts::named).collect();
    ConflictSnafu { paths }.fail()
}

/// Says what changed where nobody said why.
fn default_message(push: &[TableCounts]) -> String {
    let rows: u64 = push.iter().map(TableCounts::total).sum();
    let rows = if rows == 1 {
        "1 row".to_owned()
    } else {
        format!("{rows} rows")
    };
    match push {
        [only] => format!("{rows} in {}", only.table),
        several => format!("{rows} in {} tables", several.len()),
    }
}
