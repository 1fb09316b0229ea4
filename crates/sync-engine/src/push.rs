//! Workspace to tenant.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use snafu::ResultExt;
use sync_core::map;
use sync_core::retry::Backoff;
use sync_core::{Class, Digest, Fault, Roots, Snapshot, SnapshotId};
use sync_files::Tree;
use sync_store::pack::{Class as ObjectClass, PackWriter};
use sync_transport::Body;
use tokio::sync::mpsc;

use crate::Error;
use crate::decide::{Point, Standing};
use crate::error::{
    DivergedSnafu, HostileSnafu, LeftOutSnafu, MapSnafu, SnapshotSnafu, StaleSnafu,
    UnobtainableSnafu,
};
use crate::event::{Event, Listener};
use crate::look::Look;
use crate::maps::Maps;
use crate::remote::Pushed;
use crate::report::{Counts, FileChange, Problem};
use crate::session::{Local, Session, blocking};
use crate::tree_map::{changes, empty_root, flat_chunks, lists_of};

/// With more new objects than this the tenant is asked first which of them it lacks.
const ASK_ABOVE: usize = 256;
/// How many pieces of a pack wait to be sent.
const PIECES: usize = 8;

/// What a push would do.
#[derive(Debug)]
pub struct PushPlan {
    /// Where the workspace stands to its tenant.
    pub standing: Standing,
    /// What the new snapshot changes, in path order.
    pub changes: Vec<FileChange>,
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
            local,
        } = look;
        let found = match standing {
            Standing::InSync | Standing::CloudAhead => Vec::new(),
            Standing::Diverged => {
                return DivergedSnafu {
                    head: head.map(|head| head.id),
                }
                .fail();
            }
            Standing::LocalAhead => {
                let maps = local.maps.clone();
                let from = self.ensure_map(&maps, base).await?;
                let root = local.root;
                blocking(move || changes(&maps, from, root)).await?
            }
        };
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
            changes: found,
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
        // Kept before it is sent: should this run end in between, the next one knows its own push again.
        let target = Point {
            id,
            files: local.root,
        };
        local.maps.insert(id.0, parcel.snapshot.clone());
        self.remember(&local).await?;
        self.set_pushing(target)?;
        self.send(&parcel, onto.map(|onto| onto.id), id, vacant)
            .await?;
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
            attempts: 4,
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

/// Everything that a push may send.
#[derive(Debug)]
struct Parcel {
    maps: Maps,
    tree: (std::path::PathBuf, std::path::PathBuf),
    before: Option<Digest>,
    root: Digest,
    changes: Vec<FileChange>,
    snapshot: Bytes,
}

/// A piece of a pack, or why there is none.
type Piece = Result<Bytes, std::io::Error>;

impl Parcel {
    /// The chunks that the change brings, each once, without those of the versions that it replaces.
    fn contents(&self) -> Result<Vec<Digest>, Error> {
        let mut seen = self.replaced();
        let mut found = Vec::new();
        for change in &self.changes {
            for chunk in change
                .after
                .iter()
                .map(|entry| flat_chunks(&self.maps, entry))
                .collect::<Result<Vec<_>, _>>()?
                .concat()
            {
                if seen.insert(chunk.digest) {
                    found.push(chunk.digest);
                }
            }
        }
        Ok(found)
    }

    /// The chunks of the replaced and removed versions: the tenant has them, under this path or the one a file moved from.
    fn replaced(&self) -> HashSet<Digest> {
        let mut replaced = HashSet::new();
        for entry in self
            .changes
            .iter()
            .filter_map(|change| change.before.as_ref())
        {
            // A list that is not here (the base came from elsewhere) only means that more is sent.
            if let Ok(chunks) = flat_chunks(&self.maps, entry) {
                replaced.extend(chunks.into_iter().map(|chunk| chunk.digest));
            }
        }
        replaced
    }

    /// Writes the pack: the snapshot, new nodes, lists, then contents in path order; `lacking` limits the contents.
    fn produce(
        &self,
        lacking: Option<&HashSet<Digest>>,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let outcome = self.write(lacking, sender, listener);
        if outcome.is_err() {
            // Ends the body as broken, so that the server does not take it for a whole pack.
            let _ = sender.blocking_send(Err(std::io::Error::other("the push was given up")));
        }
        outcome
    }

    fn write(
        &self,
        lacking: Option<&HashSet<Digest>>,
        sender: &mpsc::Sender<Piece>,
        listener: &Listener,
    ) -> Result<(), Error> {
        let packed = |error: sync_store::pack::PackError| {
            HostileSnafu {
                reason: error.to_string(),
            }
            .build()
        };
        let mut writer = PackWriter::new().map_err(packed)?;
        writer
            .add(ObjectClass::Nodes, &self.snapshot)
            .map_err(packed)?;
        for node in map::new_nodes(self.maps.clone(), self.before, self.maps.clone(), self.root) {
            writer
                .add(ObjectClass::Nodes, node.context(MapSnafu)?.node.bytes())
                .map_err(packed)?;
        }
        let mut sent = self.replaced();
        for entry in self
            .changes
            .iter()
            .filter_map(|change| change.after.as_ref())
        {
            for digest in lists_of(&self.maps, entry)? {
                let list = self.maps.object(&digest).ok().flatten();
                if let Some(list) = list.filter(|_| sent.insert(digest)) {
                    writer.add(ObjectClass::Nodes, &list).map_err(packed)?;
                }
            }
        }
        writer.flush().map_err(packed)?;
        let tree = Tree::open(&self.tree.0, &self.tree.1)?;
        let total = self
            .changes
            .iter()
            .filter_map(|change| change.after.as_ref())
            .map(sync_core::Entry::size)
            .sum();
        listener(Event::Started {
            files: self.changes.len() as u64,
            bytes: total,
        });
        let mut contents = tree.contents()?;
        let mut moved = 0;
        for (files, change) in self.changes.iter().enumerate() {
            let Some(entry) = &change.after else { continue };
            // Links and empty files have no contents to send.
            let chunks = flat_chunks(&self.maps, entry)?;
            let mut wanted = |digest: &Digest| {
                lacking.is_none_or(|lacking| lacking.contains(digest)) && sent.insert(*digest)
            };
            if !chunks.is_empty() {
                contents.read(&change.path, &chunks, &mut wanted, |_, bytes| {
                    writer.add(ObjectClass::Contents, bytes).map_err(packed)
                })?;
            }
            moved += entry.size();
            if !pass_on(writer.take(), sender) {
                return Ok(());
            }
            listener(Event::Moved {
                bytes: moved,
                items: files as u64 + 1,
            });
        }
        pass_on(writer.finish().map_err(packed)?, sender);
        Ok(())
    }
}

/// Whether anybody still takes the pieces: the server may have answered early.
fn pass_on(pieces: impl IntoIterator<Item = Bytes>, sender: &mpsc::Sender<Piece>) -> bool {
    pieces
        .into_iter()
        .all(|piece| sender.blocking_send(Ok(piece)).is_ok())
}

/// How long the server asked to be left alone.
fn retry_after(error: &Error) -> Option<Duration> {
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
