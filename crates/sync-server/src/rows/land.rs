//! A push of rows: received and kept, then put into the database, then the branch moves.
//!
//! What the tenant's program writes while a push comes is merged with it in the database, and becomes a snapshot after that of
//! the push: a program that never stops writing would otherwise keep every push out. What both changed stops the push.

use snafu::ResultExt;
use sync_core::rows::Choice;
use sync_core::{Digest, Roots, SnapshotId};
use sync_db::{Applied, Capture};
use sync_rows::Resolutions;
use sync_store::protocol::SetAsideRow;
use sync_store::{Advance, Received, Repository};

use super::together::{Beside, Made, advance, bring_together, look_beside};
use super::{TenantDatabase, agreed_on, epoch, moved, rows_of};
use crate::error::{StaleSnafu, StoreSnafu};
use crate::{Error, Server};

/// What came of a push.
#[derive(Debug)]
pub(crate) struct Landed {
    /// Where the branch is: at what was pushed, or at what the database could store of it.
    pub(crate) head: SnapshotId,
    /// What it could not.
    pub(crate) set_aside: Vec<SetAsideRow>,
}

impl Landed {
    /// All of it is there.
    const fn whole(head: SnapshotId) -> Self {
        Self {
            head,
            set_aside: Vec::new(),
        }
    }
}

/// How often rows may change while they are being put into the database.
const ROUNDS: u32 = 5;

/// Moves the branch to what was received, which is put into the tenant's database first where the branch has one.
///
/// # Errors
///
/// [`Error::Stale`] where the branch is not, or no longer, where the push expected it. Neither branch nor database has changed
/// then.
pub(crate) async fn accept(
    server: &Server,
    repository: &Repository,
    received: Received,
    push: Advance,
) -> Result<Landed, Error> {
    let database = server.database(repository).await?;
    if let Some(database) = database.filter(|database| database.branch() == push.branch) {
        let _turn = database.turn().await;
        return Box::pin(land(server, repository, &database, received, push)).await;
    }
    let target = push.target;
    let advanced = repository.advance(received, push).await;
    let advanced = advanced.context(StoreSnafu)?;
    moved(server, repository, target, advanced).map(Landed::whole)
}

/// Puts what was received into the database, and moves the branch. The caller has the tenant's turn.
///
/// # Errors
///
/// [`Error::Stale`] where the branch is not, or no longer, where the push expected it, because the tenant's program changed
/// rows, say. Neither branch nor database has changed then; what was received is kept.
async fn land(
    server: &Server,
    repository: &Repository,
    database: &TenantDatabase,
    received: Received,
    push: Advance,
) -> Result<Landed, Error> {
    let target = push.target;
    let kept = repository
        .keep(received, target)
        .await
        .context(StoreSnafu)?;
    let wanted = rows_of(kept.roots().rows);
    let head = repository.head(&push.branch).await.context(StoreSnafu)?;
    let before = match head {
        Some(id) => repository.snapshot(id).await.context(StoreSnafu)?.roots,
        None => Roots::default(),
    };
    // A push of files has nothing to do with the database.
    if head != push.expected || wanted == rows_of(before.rows) {
        return move_head(server, repository, kept, &push).await;
    }
    for round in 1.. {
        let rows = [rows_of(before.rows), wanted];
        let seen = database.take_seen().filter(|seen| seen.head == head);
        let onto = if let Some(seen) = seen {
            Onto {
                before: seen.root,
                capture: seen.capture,
                after: wanted,
            }
        } else if let Some(onto) = merged_beside(repository, database, head, rows).await? {
            onto
        } else {
            let together = bring_together(server, repository, database).await?;
            if together.head == Some(target) {
                return Ok(Landed::whole(target));
            }
            if together.head != push.expected {
                let head = together.head;
                return StaleSnafu { head }.fail();
            }
            Onto {
                before: together.agreed.root,
                capture: together.capture,
                after: wanted,
            }
        };
        let agreed = agreed_on(Some(target), wanted);
        let epoch = epoch()?;
        let copy = &database.copy;
        let applied = match copy
            .apply(&onto.capture, onto.after, onto.before, agreed, epoch)
            .await
        {
            Err(error) if error.is_moved() && round < ROUNDS => continue,
            applied => applied?,
        };
        let refused = applied.set_aside.len() as u64;
        if refused == 0 {
            return move_head(server, repository, kept, &push).await;
        }
        if onto.after != wanted {
            // Which rows of whom are missing is for a merge to tell: the pusher makes it, with a snapshot of all that is here.
            let head = bring_together(server, repository, database).await?.head;
            return StaleSnafu { head }.fail();
        }
        let capture = onto.capture.applied(applied.root, epoch);
        let stored = copy.overlay(applied.root, wanted).await?;
        let snapshot = repository.object(&target.0).await.context(StoreSnafu)?;
        let pushed = snapshot.and_then(|bytes| sync_core::Snapshot::decode(&bytes).ok());
        let (author, message) = pushed
            .map(|pushed| (pushed.author, pushed.message))
            .unwrap_or_default();
        let roots = Roots {
            rows: Some(stored),
            ..kept.roots()
        };
        let made = Made {
            author,
            message: format!("{message} (without {} rows)", applied.set_aside.len()),
            roots,
        };
        let head = advance(server, repository, &push.branch, push.expected, made).await?;
        server.metrics().rows_refused.add(refused);
        let agreed = agreed_on(Some(head), stored);
        copy.settle(&capture, Some(agreed), self::epoch()?).await?;
        return Ok(Landed {
            head,
            set_aside: told(applied),
        });
    }
    StaleSnafu {
        head: push.expected,
    }
    .fail()
}

/// What a push is put onto.
struct Onto {
    capture: Capture,
    /// What was agreed on before.
    before: Digest,
    /// What the database holds afterwards.
    after: Digest,
}

/// What was pushed onto `before`, merged with what the tenant's program has written since the branch came there; `None` where
/// something else happened meanwhile, or both changed the same.
async fn merged_beside(
    repository: &Repository,
    database: &TenantDatabase,
    head: Option<SnapshotId>,
    [before, wanted]: [Digest; 2],
) -> Result<Option<Onto>, Error> {
    let Some(beside) = look_beside(repository, database, head, before).await? else {
        return Ok(None);
    };
    let Beside {
        agreed,
        capture,
        base,
        ours,
    } = beside;
    let after = if ours == base {
        wanted
    } else {
        let copy = &database.copy;
        let nothing = Resolutions::default();
        let merged = copy.merge([base, ours, wanted], nothing, Choice::Open);
        let merged = merged.await?;
        if !merged.conflicts.is_empty() {
            return Ok(None);
        }
        merged.root
    };
    Ok(Some(Onto {
        capture,
        before: agreed.root,
        after,
    }))
}

async fn move_head(
    server: &Server,
    repository: &Repository,
    kept: sync_store::Kept,
    push: &Advance,
) -> Result<Landed, Error> {
    let nothing = repository.prepare([]).await.context(StoreSnafu)?;
    let advanced = repository.advance_kept(nothing, push.clone(), kept).await;
    let advanced = advanced.context(StoreSnafu)?;
    moved(server, repository, push.target, advanced).map(Landed::whole)
}

fn told(applied: Applied) -> Vec<SetAsideRow> {
    let rows = applied.set_aside.into_iter().map(|row| SetAsideRow {
        table: row.table.to_string(),
        key: row.key,
        reason: row.reason,
    });
    rows.collect()
}
