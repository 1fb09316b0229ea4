//! Workspace to tenant.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use snafu::{ResultExt, ensure};
use sync_core::patch::Signature;
use sync_core::retry::Backoff;
use sync_core::{Class, Digest, Entry, Fault, Roots, Snapshot, SnapshotId, TreePath};
use sync_files::Patterns;
use sync_store::protocol::SetAsideRow;
use sync_transport::Body;
use tokio::sync::mpsc;

use crate::Error;
use crate::collide::collisions;
use crate::decide::{Point, Standing};
use crate::error::{
    DivergedSnafu, LeftOutSnafu, SnapshotSnafu, SplitsSnafu, StaleSnafu, UnobtainableSnafu,
};
use crate::event::{Event, Telling, Way};
use crate::guard::{Limits, Place, Removal};
use crate::look::Look;
use crate::parcel::{Held, Parcel};
use crate::remote::Pushed;
use crate::report::{Counts, FileChange, Problem};
use crate::rows::{BroughtRows, Rows};
use crate::session::{Local, Session, blocking, point};
use crate::state::Agreed;
use crate::tree_map::{changes, check_shape, edit, removal};

/// With more new objects than this the tenant is asked first which of them it lacks.
const ASK_ABOVE: usize = 256;
/// How often a transfer is tried that the network cuts.
pub(crate) const ATTEMPTS: u32 = 4;
/// How many pieces of a pack wait to be sent.
const PIECES: usize = 8;

/// What a push would do.
#[derive(Debug)]
pub struct PushPlan {
    /// Where the workspace stands to its tenant.
    pub standing: Standing,
    /// What the new snapshot changes, in path order.
    pub changes: Arc<Vec<FileChange>>,
    /// What is left out of it.
    pub refused: Vec<Problem>,
    /// Names that would be one on a file system that ignores case.
    pub collisions: Vec<Problem>,
    /// What both sides agree on already, if the workspace did not know.
    agreed: Option<Point>,
    /// What the workspace had written down as agreed.
    seen: Agreed,
    vacant: bool,
    local: Local,
    step: Step,
}

/// How the tenant comes to what a plan wants.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// What the new snapshot comes after, and where the head has to be.
    pub(crate) onto: Option<Point>,
    /// The files of the new snapshot.
    pub(crate) root: Digest,
    pub(crate) changes: Arc<Vec<FileChange>>,
    pub(crate) removal: Removal,
    /// Whether the tenant has all of it already: then only the snapshot is new, and nothing is agreed on by sending it.
    pub(crate) held: bool,
}

/// A branch that was moved.
#[derive(Debug)]
pub(crate) struct Moved {
    pub(crate) target: Point,
    pub(crate) message: String,
    /// Rows that the tenant's database could not store: the target is a snapshot without them.
    pub(crate) set_aside: Vec<SetAsideRow>,
}

/// Where the branch is after a push.
struct Landed {
    head: SnapshotId,
    set_aside: Vec<SetAsideRow>,
}

/// What is left of an operation once everything here was done.
#[derive(Debug)]
pub(crate) enum Rest {
    /// Nothing goes to the tenant; the snapshot is the one that is agreed on.
    Nothing { snapshot: Option<SnapshotId> },
    /// Files go.
    Goes(Box<Going>),
}

/// Files that are about to go.
#[derive(Debug)]
pub(crate) struct Going {
    pub(crate) local: Local,
    pub(crate) step: Step,
    pub(crate) vacant: bool,
}

/// What a push did.
#[derive(Debug)]
pub struct PushOutcome {
    /// The snapshot that both sides agree on now; `None` for an empty workspace at an empty branch.
    pub snapshot: Option<SnapshotId>,
    /// Why it was made, where it was made.
    pub message: Option<String>,
}

impl Session {
    /// Plans a push: one stat pass here and one small request to the tenant, at the same time.
    /// With a `filter` only the paths that it chooses travel; the rest stays as it is on both sides.
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] where both sides have changed since they last agreed.
    pub async fn plan_push(&self, filter: Option<&Patterns>) -> Result<PushPlan, Error> {
        let look = self.look().await?;
        self.plan_push_of(look, filter).await
    }

    /// Plans a push of what was looked at.
    pub(crate) async fn plan_push_of(
        &self,
        look: Look,
        filter: Option<&Patterns>,
    ) -> Result<PushPlan, Error> {
        look.ensure_branch()?;
        let standing = look.standing();
        let Look {
            agreed,
            seen,
            head,
            vacant,
            mut local,
            ..
        } = look;
        let mut root = agreed.files();
        let mut found = Vec::new();
        match standing {
            Standing::InSync | Standing::CloudAhead => {}
            Standing::Diverged => {
                return DivergedSnafu {
                    head: head.map(|head| head.id),
                }
                .fail();
            }
            Standing::LocalAhead
                if agreed == Agreed::default()
                    && filter.is_none()
                    && local.everything.is_some() =>
            {
                let everything = local.everything.take().unwrap_or_default().into_iter();
                let added =
                    everything.filter_map(|(path, entry)| FileChange::new(path, None, entry));
                found = added.collect();
                root = local.root;
            }
            Standing::LocalAhead => {
                let (maps, local, filter) = (local.maps.clone(), local.root, filter.cloned());
                let from = self.ensure_agreed(&maps, agreed).await?;
                (found, root) = blocking(move || {
                    let found = changes(&maps, from, local)?;
                    match filter {
                        None => Ok((found, local)),
                        Some(filter) => {
                            let chosen = choose(found, &filter);
                            let root = edit(&maps, from, &chosen)?;
                            let added = chosen
                                .iter()
                                .filter(|c| c.before.is_none())
                                .filter_map(|c| Some((&c.path, c.after.as_ref()?)));
                            check_shape(&maps, root, [from, local], added)
                                .map_err(|_| SplitsSnafu.build())?;
                            Ok((chosen, root))
                        }
                    }
                })
                .await?;
            }
        }
        local.everything = None;
        ensure_none_left_out(&found, &local.refused)?;
        let onto = if standing == Standing::LocalAhead {
            // With equal files the head may still be another snapshot than the base: the new one comes after the head.
            head
        } else {
            agreed.base
        };
        let known = Agreed {
            base: head,
            partial: None,
        };
        let both = standing == Standing::InSync && known != seen;
        let maps = local.maps.clone();
        let before = agreed.files();
        let (found, collisions, removal) = blocking(move || {
            let removal = removal(Place::Tenant, &maps, before, &found)?;
            let collisions = collisions(&maps, [before, root], &found)?;
            Ok((Arc::new(found), collisions, removal))
        })
        .await?;
        Ok(PushPlan {
            standing,
            changes: Arc::clone(&found),
            refused: local.refused.clone(),
            collisions,
            agreed: head.filter(|_| both),
            seen,
            vacant,
            local,
            step: Step {
                onto,
                root,
                removal,
                changes: found,
                held: false,
            },
        })
    }

    /// Does what `plan` says: sends what the tenant lacks and moves its head, in one request where little changed.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where somebody else moved the head since the plan was made; what was sent is kept there,
    /// so that the next push sends less. The workspace is never changed but for its private state.
    /// [`Error::Removes`] and [`Error::Empties`] where the plan removes more than `limits` allow.
    pub async fn apply_push(
        &self,
        plan: PushPlan,
        message: Option<String>,
        limits: &Limits,
    ) -> Result<PushOutcome, Error> {
        let _lock = self.lock()?;
        match self.begin_push(plan, limits).await? {
            Rest::Nothing { snapshot } => Ok(PushOutcome {
                snapshot,
                message: None,
            }),
            Rest::Goes(going) => {
                let moved = self.send_files(*going, message).await?;
                Ok(PushOutcome {
                    snapshot: Some(moved.target.id),
                    message: Some(moved.message),
                })
            }
        }
    }

    /// Does everything of a push but the sending, under the caller's lock.
    pub(crate) async fn begin_push(&self, plan: PushPlan, limits: &Limits) -> Result<Rest, Error> {
        limits.check(plan.step.removal)?;
        self.ensure_seen(plan.seen)?;
        self.begin_branch().await?;
        let PushPlan {
            agreed,
            vacant,
            local,
            step,
            ..
        } = plan;
        if step.changes.is_empty() {
            self.remember(&local).await?;
            if let Some(agreed) = agreed {
                self.agree(Agreed::on(agreed))?;
            }
            let snapshot = agreed.or(step.onto).map(|point| point.id);
            return Ok(Rest::Nothing { snapshot });
        }
        Ok(Rest::Goes(Box::new(Going {
            local,
            step,
            vacant,
        })))
    }

    /// Sends files alone.
    pub(crate) async fn send_files(
        &self,
        going: Going,
        message: Option<String>,
    ) -> Result<Moved, Error> {
        let Going {
            local,
            step,
            vacant,
        } = going;
        self.advance(&local, step, message, vacant, None).await
    }

    /// Makes a snapshot and moves the branch to it, under the caller's lock. With `rows` it has those that go, too, which were
    /// looked at beside the same head; what the tenant could not store of them is in the outcome.
    pub(crate) async fn advance(
        &self,
        local: &Local,
        step: Step,
        message: Option<String>,
        vacant: bool,
        rows: Option<(&Rows<'_>, &BroughtRows)>,
    ) -> Result<Moved, Error> {
        let Step {
            onto,
            root,
            changes,
            held,
            ..
        } = step;
        let telling = Telling::files(&self.context.listener, Way::Push, &changes);
        let message = message.unwrap_or_else(|| default_message(&changes));
        let snapshot = Snapshot {
            author: self.context.author.clone(),
            message: message.clone(),
            parents: onto.iter().map(|onto| onto.id).collect(),
            // What this push is not about stays as it is.
            roots: Roots {
                files: Some(root),
                release: onto.and_then(|onto| onto.release),
                rows: match rows {
                    Some((_, brought)) => Some(brought.root()),
                    None => onto.and_then(|onto| onto.rows),
                },
            },
            time: self.context.now,
        };
        let (id, encoded) = snapshot.encode().context(SnapshotSnafu)?;
        let target = Point {
            id,
            files: root,
            rows: snapshot.roots.rows,
            release: snapshot.roots.release,
        };
        let parcel = Arc::new(Parcel {
            maps: local.maps.clone(),
            tree: (self.workspace.tree(), self.workspace.private()),
            before: if held {
                Some(root)
            } else {
                onto.map(|onto| onto.files)
            },
            root,
            changes: if held { Arc::default() } else { changes },
            snapshot: encoded.into(),
            rows: rows.map(|(rows, brought)| rows.part(brought)),
        });
        let expected = onto.map(|onto| onto.id);
        if held {
            self.send(&parcel, expected, id, vacant).await?;
            telling.complete(Some(id));
            return Ok(Moved {
                target,
                message,
                set_aside: Vec::new(),
            });
        }
        local.maps.insert(id.0, parcel.snapshot.clone());
        // Noted before it is sent: should this run end in between, the next one knows its own push again.
        self.workspace.make_private()?;
        let earlier = self.remembered()?.pushing;
        self.set_pushing(onto, target)?;
        if let Some((rows, brought)) = rows {
            rows.note_push(brought, target)?;
        }
        // The disk here and the tenant have nothing to wait for from each other.
        let sent = self.send(&parcel, expected, id, vacant);
        let (kept, sent) = tokio::join!(self.remember(local), sent);
        kept?;
        let mut set_aside = Vec::new();
        let target = match (sent, earlier) {
            (Ok(landed), _) if landed.head == id => target,
            (Ok(landed), _) => {
                set_aside = landed.set_aside;
                let found = self.remote.resolve(&landed.head.to_string()).await?;
                let found = point(found.id, &found.snapshot);
                let head = Some(found.id);
                ensure!(found.files == root, StaleSnafu { head });
                found
            }
            // The push of a run that was killed was still on its way when this one looked: it has arrived.
            (Err(Error::Stale { head }), Some(earlier)) if head == Some(earlier.id) => {
                self.agree(Agreed::on(earlier))?;
                let same = earlier.files == root && (rows.is_none() || earlier.rows == target.rows);
                ensure!(same, StaleSnafu { head });
                earlier
            }
            (Err(error), _) => return Err(error),
        };
        self.agree(Agreed::on(target))?;
        telling.complete(Some(target.id));
        Ok(Moved {
            target,
            message,
            set_aside,
        })
    }

    /// Sends the parcel, again and less of it where it was cut or found incomplete.
    async fn send(
        &self,
        parcel: &Arc<Parcel>,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        vacant: bool,
    ) -> Result<Landed, Error> {
        let policy = Backoff {
            attempts: ATTEMPTS,
            ..Backoff::default()
        };
        // Who holds nothing lacks everything: there is no use in asking.
        let mut held = Held::default();
        if !vacant {
            held.lacking = self.lacking(parcel, ASK_ABOVE).await?;
            held.bases = Some(self.bases(parcel, held.lacking.as_ref()).await?);
        }
        let mut attempt = 1;
        loop {
            let known = Held {
                lacking: held.lacking.take(),
                bases: held.bases.clone(),
            };
            match self.send_once(parcel, expected, target, known).await {
                Ok(Pushed::Done { head, set_aside }) => return Ok(Landed { head, set_aside }),
                Ok(Pushed::Stale { head }) => return StaleSnafu { head }.fail(),
                Ok(Pushed::Incomplete { missing }) => {
                    let digest = missing.first().copied().unwrap_or_default();
                    if attempt >= policy.attempts {
                        return UnobtainableSnafu { digest }.fail();
                    }
                    let mut more = self.lacking(parcel, 0).await?.unwrap_or_default();
                    more.extend(missing);
                    held = Held {
                        lacking: Some(more),
                        bases: None,
                    };
                }
                Err(error) if error.class() == Class::Unavailable => {
                    let Some(wait) =
                        policy.delay(attempt, (self.context.random)(), retry_after(&error))
                    else {
                        return Err(error);
                    };
                    tokio::time::sleep(wait).await;
                    let attempt = attempt + 1;
                    self.tell(Event::SyncResuming { attempt });
                    held.lacking = self.lacking(parcel, 0).await?;
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }

    /// Which chunks of the parcel the tenant lacks; `None` where there are no more than `few`, which are sent unasked.
    async fn lacking(
        &self,
        parcel: &Arc<Parcel>,
        few: usize,
    ) -> Result<Option<HashSet<Digest>>, Error> {
        let chunks = {
            let parcel = Arc::clone(parcel);
            blocking(move || parcel.contents()).await?
        };
        if chunks.len() <= few {
            return Ok(None);
        }
        let missing = self.remote.missing(&chunks).await?;
        Ok(Some(
            chunks
                .into_iter()
                .zip(missing)
                .filter(|(_, missing)| *missing)
                .map(|(digest, _)| digest)
                .collect(),
        ))
    }

    /// Signatures of what the tenant has of the files that were edited.
    async fn bases(
        &self,
        parcel: &Parcel,
        lacking: Option<&HashSet<Digest>>,
    ) -> Result<Arc<HashMap<Digest, Signature>>, Error> {
        let edited = parcel.edited(lacking);
        if edited.is_empty() {
            return Ok(Arc::default());
        }
        self.remote.signatures(&edited).await.map(Arc::new)
    }

    async fn send_once(
        &self,
        parcel: &Arc<Parcel>,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        held: Held,
    ) -> Result<Pushed, Error> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let listener = Arc::clone(&self.context.listener);
        let producer = tokio::task::spawn_blocking({
            let parcel = Arc::clone(parcel);
            move || parcel.produce(&held, &sender, &listener)
        });
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let pushed = self
            .remote
            .push(expected, target, Body::stream(stream))
            .await;
        // The producer's own failure (a file that moved) is the cause of the transport's, so it is told first.
        match producer.await {
            Ok(Err(error)) => Err(error),
            _ => pushed,
        }
    }
}

/// What is there and is left out is not gone: nobody else must see it deleted.
pub(crate) fn ensure_none_left_out(
    changes: &[FileChange],
    refused: &[Problem],
) -> Result<(), Error> {
    let left_out: HashSet<&str> = refused
        .iter()
        .filter_map(|refused| refused.path.as_deref())
        .collect();
    let lost = changes
        .iter()
        .find(|change| change.after.is_none() && left_out.contains(change.path.as_str()));
    match lost {
        Some(change) => LeftOutSnafu {
            path: change.path.as_str(),
        }
        .fail(),
        None => Ok(()),
    }
}

/// The changes that a filter chooses. The entry of an empty directory follows what comes into it and what goes from it.
fn choose(found: Vec<FileChange>, filter: &Patterns) -> Vec<FileChange> {
    let (chosen, rest): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|change| filter.matches(&change.path));
    let dirs = |changes: &[FileChange]| -> HashSet<TreePath> {
        changes
            .iter()
            .flat_map(|change| change.path.ancestors())
            .collect()
    };
    let (with_chosen, with_rest) = (dirs(&chosen), dirs(&rest));
    let is_marker = |change: &FileChange| {
        [&change.before, &change.after]
            .into_iter()
            .flatten()
            .all(|entry| *entry == Entry::Directory)
    };
    let mut all: Vec<FileChange> = chosen
        .into_iter()
        .filter(|change| {
            !(is_marker(change) && change.after.is_some() && with_rest.contains(&change.path))
        })
        .chain(rest.into_iter().filter(|change| {
            is_marker(change)
                && with_chosen.contains(&change.path)
                && (change.after.is_none() || !with_rest.contains(&change.path))
        }))
        .collect();
    all.sort_by(|a, b| a.path.cmp(&b.path));
    all
}

/// How long the server asked to be left alone.
pub(crate) fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// Says what changed where nobody said why.
pub(crate) fn default_message(changes: &[FileChange]) -> String {
    match changes {
        [only] => {
            let verb = match only.kind {
                crate::ChangeKind::Added => "add",
                crate::ChangeKind::Removed => "remove",
                _ => "change",
            };
            format!("{verb} {}", only.path)
        }
        several => Counts::of(several).to_string(),
    }
}
