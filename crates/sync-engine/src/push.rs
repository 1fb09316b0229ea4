//! Workspace to tenant.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use snafu::ResultExt;
use sync_core::retry::Backoff;
use sync_core::{Class, Digest, Fault, Roots, Snapshot, SnapshotId};
use sync_transport::Body;
use tokio::sync::mpsc;

use crate::Error;
use crate::decide::{Point, Standing};
use crate::error::{DivergedSnafu, LeftOutSnafu, SnapshotSnafu, StaleSnafu, UnobtainableSnafu};
use crate::event::Event;
use crate::look::Look;
use crate::parcel::Parcel;
use crate::remote::Pushed;
use crate::report::{Counts, FileChange, Problem};
use crate::session::{Local, Session, blocking};
use crate::tree_map::{changes, empty_root};

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
    /// What both sides agree on already, if the workspace did not know.
    agreed: Option<Point>,
    /// What the new snapshot comes after, and where the head has to be.
    onto: Option<Point>,
    /// What the workspace had written down as its base.
    seen: Option<Point>,
    vacant: bool,
    local: Local,
}

impl PushPlan {
    /// Whether the tree is empty and the tenant's is not: more often a mistake than an intention.
    pub fn empties_the_tenant(&self) -> bool {
        !self.changes.is_empty() && self.local.root == empty_root()
    }
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
    ///
    /// # Errors
    ///
    /// [`Error::Diverged`] where both sides have changed since they last agreed.
    pub async fn plan_push(&self) -> Result<PushPlan, Error> {
        let look = self.look().await?;
        look.ensure_branch()?;
        let standing = look.standing();
        let Look {
            base,
            seen,
            head,
            vacant,
            mut local,
        } = look;
        let found = match standing {
            Standing::InSync | Standing::CloudAhead => Vec::new(),
            Standing::Diverged => {
                return DivergedSnafu {
                    head: head.map(|head| head.id),
                }
                .fail();
            }
            Standing::LocalAhead if base.is_none() && local.everything.is_some() => {
                let everything = local.everything.take().unwrap_or_default().into_iter();
                let added =
                    everything.filter_map(|(path, entry)| FileChange::new(path, None, entry));
                added.collect()
            }
            Standing::LocalAhead => {
                let maps = local.maps.clone();
                let from = self.ensure_map(&maps, base).await?;
                let root = local.root;
                blocking(move || changes(&maps, from, root)).await?
            }
        };
        local.everything = None;
        // What is there and is left out is not gone: nobody else must see it deleted.
        let left_out: HashSet<&str> = local
            .refused
            .iter()
            .filter_map(|refused| refused.path.as_deref())
            .collect();
        let lost = found
            .iter()
            .find(|change| change.after.is_none() && left_out.contains(change.path.as_str()));
        if let Some(change) = lost {
            return LeftOutSnafu {
                path: change.path.as_str(),
            }
            .fail();
        }
        let agreed = head.filter(|_| standing == Standing::InSync && head != base);
        let refused = local.refused.clone();
        // With equal files the head may still be another snapshot than the base: the new one comes after the head.
        let onto = if standing == Standing::LocalAhead {
            head
        } else {
            base
        };
        Ok(PushPlan {
            standing,
            changes: Arc::new(found),
            refused,
            agreed,
            onto,
            seen,
            vacant,
            local,
        })
    }

    /// Does what `plan` says: sends what the tenant lacks and moves its head, in one request where little changed.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`] where somebody else moved the head since the plan was made; what was sent is kept there,
    /// so that the next push sends less. The workspace is never changed but for its private state.
    pub async fn apply_push(
        &self,
        plan: PushPlan,
        message: Option<String>,
    ) -> Result<PushOutcome, Error> {
        let _lock = self.lock_for(plan.seen)?;
        let PushPlan {
            changes,
            agreed,
            onto,
            vacant,
            local,
            ..
        } = plan;
        if changes.is_empty() {
            self.remember(&local).await?;
            if let Some(agreed) = agreed {
                self.set_base(agreed)?;
            }
            return Ok(PushOutcome {
                snapshot: agreed.or(onto).map(|point| point.id),
                message: None,
            });
        }
        let message = message.unwrap_or_else(|| default_message(&changes));
        let snapshot = Snapshot {
            author: self.context.author.clone(),
            message: message.clone(),
            parents: onto.iter().map(|onto| onto.id).collect(),
            roots: Roots {
                files: Some(local.root),
            },
            time: self.context.now,
        };
        let (id, encoded) = snapshot.encode().context(SnapshotSnafu)?;
        let parcel = Arc::new(Parcel {
            maps: local.maps.clone(),
            tree: (self.workspace.tree(), self.workspace.private()),
            before: onto.map(|onto| onto.files),
            root: local.root,
            changes,
            snapshot: encoded.into(),
        });
        let target = Point {
            id,
            files: local.root,
        };
        local.maps.insert(id.0, parcel.snapshot.clone());
        // Noted before it is sent: should this run end in between, the next one knows its own push again.
        self.workspace.make_private()?;
        self.set_pushing(target)?;
        // The disk here and the tenant have nothing to wait for from each other.
        let sent = self.send(&parcel, onto.map(|onto| onto.id), id, vacant);
        let (kept, sent) = tokio::join!(self.remember(&local), sent);
        sent?;
        kept?;
        self.set_base(target)?;
        Ok(PushOutcome {
            snapshot: Some(id),
            message: Some(message),
        })
    }

    /// Sends the parcel, again and less of it where it was cut or found incomplete.
    async fn send(
        &self,
        parcel: &Arc<Parcel>,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        vacant: bool,
    ) -> Result<(), Error> {
        let policy = Backoff {
            attempts: ATTEMPTS,
            ..Backoff::default()
        };
        // Who holds nothing lacks everything: there is no use in asking.
        let mut lacking = if vacant {
            None
        } else {
            self.lacking(parcel, ASK_ABOVE).await?
        };
        let mut attempt = 1;
        loop {
            match self
                .send_once(parcel, expected, target, lacking.take())
                .await
            {
                Ok(Pushed::Done) => return Ok(()),
                Ok(Pushed::Stale { head }) => return StaleSnafu { head }.fail(),
                Ok(Pushed::Incomplete { missing }) => {
                    let digest = missing.first().copied().unwrap_or_default();
                    if attempt >= policy.attempts {
                        return UnobtainableSnafu { digest }.fail();
                    }
                    let mut more = self.lacking(parcel, 0).await?.unwrap_or_default();
                    more.extend(missing);
                    lacking = Some(more);
                }
                Err(error) if error.class() == Class::Unavailable => {
                    let Some(wait) =
                        policy.delay(attempt, (self.context.random)(), retry_after(&error))
                    else {
                        return Err(error);
                    };
                    tokio::time::sleep(wait).await;
                    self.tell(Event::Resuming {
                        attempt: attempt + 1,
                    });
                    lacking = self.lacking(parcel, 0).await?;
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

    async fn send_once(
        &self,
        parcel: &Arc<Parcel>,
        expected: Option<SnapshotId>,
        target: SnapshotId,
        lacking: Option<HashSet<Digest>>,
    ) -> Result<Pushed, Error> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let listener = Arc::clone(&self.context.listener);
        let producer = tokio::task::spawn_blocking({
            let parcel = Arc::clone(parcel);
            move || parcel.produce(lacking.as_ref(), &sender, &listener)
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

/// How long the server asked to be left alone.
pub(crate) fn retry_after(error: &Error) -> Option<Duration> {
    match error {
        Error::Refused { retry_after, .. } => *retry_after,
        _ => None,
    }
}

/// Says what changed where nobody said why.
fn default_message(changes: &[FileChange]) -> String {
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
