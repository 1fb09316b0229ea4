//! Branch and database are brought together before anything is said about rows.
//!
//! What the tenant's program changed since becomes a snapshot of its own. What a push left behind that was cut short between
//! the database's commit and the branch's is completed. A database that was restored from a backup gets what it lacks.

use std::time::Instant;

use snafu::ResultExt;
use sync_core::map::Map;
use sync_core::rows::{Choice, TableCounts};
use sync_core::{Digest, Roots, Snapshot, SnapshotId};
use sync_db::Capture;
use sync_rows::Resolutions;
use sync_store::{Advance, Class, Repository};

use super::{Agreed, Seen, TenantDatabase, agreed_on, epoch, moved, rows_of};
use crate::error::StoreSnafu;
use crate::{Error, Server};

/// How often rows may change while it is being done.
const ROUNDS: u32 = 5;

/// Branch and database, equal.
#[derive(Debug)]
pub(crate) struct Together {
    /// Where the branch is.
    pub(crate) head: Option<SnapshotId>,
    pub(super) agreed: Agreed,
    pub(super) capture: Capture,
    /// Whether transactions were running whose changes the next look finds.
    pub(crate) is_writing: bool,
}

/// The database beside the branch, where all that parts them is what the tenant's program has written since.
#[derive(Debug)]
pub(super) struct Beside {
    pub(super) agreed: Agreed,
    pub(super) capture: Capture,
    /// What both agreed on, the program's changes, both as maps of all tables.
    pub(super) base: Digest,
    pub(super) ours: Digest,
}

/// Looks at the database without making a snapshot of what the program wrote; `None` where more than that parts it from
/// the branch at `head`, whose rows are `theirs`.
pub(super) async fn look_beside(
    repository: &Repository,
    database: &TenantDatabase,
    head: Option<SnapshotId>,
    theirs: Digest,
) -> Result<Option<Beside>, Error> {
    let copy = &database.copy;
    let agreed: Agreed = copy.agreed().await?;
    let is_known = head.is_some() && agreed.snapshot == head;
    if !is_known || !is_held(repository, agreed.root).await? {
        return Ok(None);
    }
    let capture = copy.capture(|_| {}).await?;
    let base = copy.only_synced(agreed.root).await?;
    Ok(Some(Beside {
        base: copy.overlay(base, theirs).await?,
        ours: copy.overlay(capture.root, theirs).await?,
        agreed,
        capture,
    }))
}

/// Brings branch and database together. The caller has the tenant's turn.
///
/// # Errors
///
/// What the database or the store says. Either side is as it was, or both are equal.
pub(crate) async fn bring_together(
    server: &Server,
    repository: &Repository,
    database: &TenantDatabase,
) -> Result<Together, Error> {
    let mut round = 1;
    loop {
        let began = Instant::now();
        match once(server, repository, database).await {
            Err(Error::Rows { source }) if source.is_moved() && round < ROUNDS => round += 1,
            Err(Error::Stale { .. }) if round < ROUNDS => round += 1,
            Ok(together) => {
                server.metrics().captured(repository.name(), began);
                database.see(Seen {
                    head: together.head,
                    root: together.agreed.root,
                    capture: together.capture.clone(),
                });
                return Ok(together);
            }
            Err(error) => return Err(error),
        }
    }
}

/// What branch and database hold.
struct Sides {
    head: Option<SnapshotId>,
    roots: Roots,
    agreed: Agreed,
    capture: Capture,
    /// The maps of tables of what is agreed on, of the database, and of the branch.
    base: Digest,
    ours: Digest,
    theirs: Digest,
}

impl Sides {
    /// A database whose tables are empty says nothing yet: whoever pushes first fills it.
    fn is_vacant(&self) -> bool {
        let mut tables = self.capture.tables.iter();
        [self.base, self.theirs] == [Map::empty_root(); 2]
            && tables.all(|table| table.entry.rows.is_empty())
    }
}

async fn once(
    server: &Server,
    repository: &Repository,
    database: &TenantDatabase,
) -> Result<Together, Error> {
    let copy = &database.copy;
    let mut sides = look(server, repository, database).await?;
    let is_writing = sides.capture.is_writing;
    let together = |head, root, capture| Together {
        head,
        agreed: agreed_on(head, root),
        capture,
        is_writing,
    };
    if sides.is_vacant() {
        return Ok(together(sides.head, sides.theirs, sides.capture));
    }
    if sides.ours == sides.theirs {
        let wanted = agreed_on(sides.head, sides.theirs);
        let news = (wanted != sides.agreed).then_some(wanted);
        if news.is_some() || sides.capture.is_news {
            let epoch = epoch()?;
            copy.settle(&sides.capture, news, epoch).await?;
            sides.capture = sides.capture.applied(sides.capture.root, epoch);
        }
        return Ok(together(sides.head, sides.theirs, sides.capture));
    }
    let capture = merge(repository, copy, &sides).await?;
    let (head, theirs) = (sides.head, sides.theirs);
    let here = copy.overlay(capture.root, theirs).await?;
    if here == theirs {
        return Ok(together(head, theirs, capture));
    }
    let counts = copy.sums(theirs, here).await?;
    let made = Made {
        author: format!("tenant {}", repository.name()),
        message: message(&counts),
        roots: Roots {
            rows: Some(here),
            ..sides.roots
        },
    };
    let head = Some(advance(server, repository, &database.branch, head, made).await?);
    let epoch = epoch()?;
    let agreed = agreed_on(head, here);
    copy.settle(&capture, Some(agreed), epoch).await?;
    let capture = capture.applied(capture.root, epoch);
    Ok(together(head, here, capture))
}

async fn look(
    server: &Server,
    repository: &Repository,
    database: &TenantDatabase,
) -> Result<Sides, Error> {
    let copy = &database.copy;
    let agreed: Agreed = copy.agreed().await?;
    let capture = copy.capture(|_| {}).await?;
    let head = repository.head(&database.branch).await;
    let mut head = head.context(StoreSnafu)?;
    if head != agreed.snapshot
        && let Some(pushed) = agreed.snapshot
        && complete(server, repository, database, head, pushed).await?
    {
        head = Some(pushed);
    }
    let roots = match head {
        Some(id) => repository.snapshot(id).await.context(StoreSnafu)?.roots,
        None => Roots::default(),
    };
    let theirs = rows_of(roots.rows);
    let ours = copy.overlay(capture.root, theirs).await?;
    // What retention has let go of is as good as never agreed on.
    let base = if is_held(repository, agreed.root).await? {
        let synced = copy.only_synced(agreed.root).await?;
        copy.overlay(synced, theirs).await?
    } else {
        Map::empty_root()
    };
    Ok(Sides {
        head,
        roots,
        agreed,
        capture,
        base,
        ours,
        theirs,
    })
}

/// Brings what the branch has and the database lacks. Where both changed the same, the rows of the running program stay; the
/// others remain in the history.
async fn merge(
    repository: &Repository,
    copy: &sync_rows::WorkingCopy,
    sides: &Sides,
) -> Result<Capture, Error> {
    let Sides {
        capture,
        ours,
        theirs,
        ..
    } = sides;
    let roots = [sides.base, *ours, *theirs];
    let merged = copy
        .merge(roots, Resolutions::default(), Choice::Ours)
        .await?;
    if merged.root == *ours {
        return Ok(capture.clone());
    }
    let epoch = epoch()?;
    let wanted = agreed_on(sides.head, *theirs);
    let applied = copy
        .apply(capture, merged.root, sides.agreed.root, wanted, epoch)
        .await?;
    for row in &applied.set_aside {
        tracing::warn!(tenant = repository.name(), table = %row.table, "a row could not be stored");
    }
    Ok(capture.applied(applied.root, epoch))
}

/// A push ended after the database had committed: the branch goes where the database is.
async fn complete(
    server: &Server,
    repository: &Repository,
    database: &TenantDatabase,
    head: Option<SnapshotId>,
    pushed: SnapshotId,
) -> Result<bool, Error> {
    // A push may have brought what it comes after.
    let follows = repository.comes_after(pushed, head).await;
    if !follows.context(StoreSnafu)? {
        return Ok(false);
    }
    let advance = Advance {
        branch: database.branch.clone(),
        expected: head,
        target: pushed,
        when: server.now(),
    };
    let nothing = repository.prepare([]).await.context(StoreSnafu)?;
    // What is not there (it was collected, say) is captured as any other change.
    let Ok(advanced) = repository.advance(nothing, advance).await else {
        return Ok(false);
    };
    Ok(moved(server, repository, pushed, advanced).is_ok())
}

/// A snapshot that the tenant makes itself.
pub(super) struct Made {
    pub(super) author: String,
    pub(super) message: String,
    pub(super) roots: Roots,
}

/// Makes a snapshot of what is stored already, and moves the branch to it.
pub(super) async fn advance(
    server: &Server,
    repository: &Repository,
    branch: &str,
    head: Option<SnapshotId>,
    made: Made,
) -> Result<SnapshotId, Error> {
    let snapshot = Snapshot {
        author: made.author,
        message: made.message,
        parents: head.into_iter().collect(),
        roots: made.roots,
        time: server.now(),
    };
    let malformed = |error: sync_core::snapshot::SnapshotError| Error::Malformed {
        reason: error.to_string(),
    };
    let (id, bytes) = snapshot.encode().map_err(malformed)?;
    let received = repository
        .prepare([(Class::Nodes, bytes)])
        .await
        .context(StoreSnafu)?;
    let advance = Advance {
        branch: branch.to_owned(),
        expected: head,
        target: id,
        when: server.now(),
    };
    let advanced = repository.advance(received, advance).await;
    moved(server, repository, id, advanced.context(StoreSnafu)?)
}

async fn is_held(repository: &Repository, root: Digest) -> Result<bool, Error> {
    if root == Map::empty_root() {
        return Ok(true);
    }
    Ok(repository
        .object(&root)
        .await
        .context(StoreSnafu)?
        .is_some())
}

fn message(counts: &[TableCounts]) -> String {
    match counts.iter().map(TableCounts::total).sum::<u64>() {
        0 => "the definition of a table changed on the tenant".to_owned(),
        1 => "1 row changed on the tenant".to_owned(),
        rows => format!("{rows} rows changed on the tenant"),
    }
}
