//! Tenant to workspace.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use snafu::{ResultExt, ensure};
use sync_core::map::{self, Merged};
use sync_core::retry::Backoff;
use sync_core::{Class, Digest, Entry, Fault, SnapshotId, TreePath};
use sync_files::{Plan, StatCache, Step, Tree};
use sync_store::pack::DecodedBlock;
use sync_store::protocol::Fetch;
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::decide::{Point, Standing};
use crate::error::{ConflictSnafu, CutSnafu, MapSnafu, TaskSnafu, UnobtainableSnafu};
use crate::event::{Event, Listener};
use crate::fetch::Incoming;
use crate::look::Look;
use crate::maps::Maps;
use crate::push::{ATTEMPTS, retry_after};
use crate::report::{FileChange, Problem};
use crate::session::{Local, Session, blocking};
use crate::tree_map::{check_shape, decode_change, decode_path, empty_root, flat_chunks};

/// How many received blocks wait to be staged, and how many are staged at once.
const WAITING: usize = 4;
/// How many objects are asked for at once by digest.
const PAGE: usize = 16 * 1024;

/// What a pull would do. It may hold the open stream of the contents: applied soon, it needs no further request.
#[derive(Debug)]
pub struct PullPlan {
    /// Where the workspace stands to its tenant.
    pub standing: Standing,
    /// What would change in the tree, in path order.
    pub changes: Vec<FileChange>,
    /// What the capture left out.
    pub refused: Vec<Problem>,
    head: Option<Point>,
    /// What the workspace had written down as its base.
    seen: Option<Point>,
    /// Whether there is news of the tenant at all.
    moved: bool,
    /// Whether the tree has nothing of its own, so that it will be what the head names.
    plain: bool,
    local: Local,
    incoming: Option<Incoming>,
}

/// What a pull did.
#[derive(Debug)]
pub struct PullOutcome {
    /// The snapshot that the workspace is based on now.
    pub snapshot: Option<SnapshotId>,
    /// What changed in the tree, in path order.
    pub changes: Vec<FileChange>,
}

impl Session {
    /// Plans a pull: what the tenant changed since the base, where the workspace did not change the same.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] where both changed the same path in different ways: nothing is written then.
    pub async fn plan_pull(&self) -> Result<PullPlan, Error> {
        let look = self.look().await?;
        look.ensure_branch()?;
        let standing = look.standing();
        let Look {
            base,
            seen,
            head,
            mut local,
            ..
        } = look;
        local.everything = None;
        let mut plan = PullPlan {
            standing,
            changes: Vec::new(),
            refused: local.refused.clone(),
            head,
            seen,
            moved: head != seen,
            plain: base.map_or(empty_root(), |base| base.files) == local.root,
            local,
            incoming: None,
        };
        if let (Standing::CloudAhead | Standing::Diverged, Some(head)) = (standing, head) {
            self.compare(&mut plan, base, head).await?;
        }
        Ok(plan)
    }

    /// Fetches the head's maps and merges: fills in the changes.
    async fn compare(
        &self,
        plan: &mut PullPlan,
        base: Option<Point>,
        head: Point,
    ) -> Result<(), Error> {
        self.attach(&plan.local.maps).await?;
        let maps = plan.local.maps.clone();
        let base_root = self.ensure_map(&maps, base).await?;
        // Where the tree may hold what the head has, its contents are asked for by name, once the plan knows which.
        let contents = plan.plain;
        let fetch = Fetch {
            want: head.id,
            have: base.map(|base| base.id),
            contents,
        };
        let incoming = self.fetch(&maps, fetch).await?;
        plan.incoming = contents.then_some(incoming);
        let local_root = plan.local.root;
        plan.changes = blocking(move || merge(&maps, base_root, local_root, head.files)).await?;
        Ok(())
    }

    /// Does what `plan` says: all of it or nothing, whatever happens in between.
    ///
    /// # Errors
    ///
    /// A path that changed since the plan was made is reported, and nothing is written.
    pub async fn apply_pull(&self, plan: PullPlan) -> Result<PullOutcome, Error> {
        let _lock = self.lock_for(plan.seen)?;
        let PullPlan {
            changes,
            head,
            moved,
            plain,
            mut local,
            incoming,
            ..
        } = plan;
        let snapshot = head.map(|head| head.id);
        let Some(head) = head.filter(|_| moved) else {
            self.remember(&local).await?;
            return Ok(PullOutcome { snapshot, changes });
        };
        let mut done = Vec::new();
        if !changes.is_empty() {
            (local.cache, done) = self.write(&local, changes, incoming).await?;
            let root = if plain {
                head.files
            } else {
                let edits = done.iter();
                let edits = edits.map(|step| (step.path.clone(), step.wanted.clone()));
                self.edited(&local, edits.collect()).await?
            };
            local.cache.set_root(Some(root));
        }
        self.remember(&local).await?;
        self.set_base(head)?;
        let changes = done.into_iter();
        let changes = changes.filter_map(|s| FileChange::new(s.path, s.expected, s.wanted));
        Ok(PullOutcome {
            snapshot,
            changes: changes.collect(),
        })
    }

    /// Stages the changes as their contents arrive, then puts them into their places; gives the stat cache after that,
    /// and what was done.
    async fn write(
        &self,
        local: &Local,
        changes: Vec<FileChange>,
        incoming: Option<Incoming>,
    ) -> Result<(StatCache, Vec<Step>), Error> {
        let bytes = changes
            .iter()
            .filter_map(|change| change.after.as_ref())
            .map(Entry::size)
            .sum();
        self.tell(Event::Started {
            files: changes.len() as u64,
            bytes,
        });
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = tokio::task::spawn_blocking({
            let (tree, private) = (self.workspace.tree(), self.workspace.private());
            let (maps, cache) = (local.maps.clone(), local.cache.clone());
            let listener = Arc::clone(&self.context.listener);
            move || {
                write(
                    &tree,
                    &private,
                    steps(&maps, changes)?,
                    cache,
                    receiver,
                    &listener,
                )
            }
        });
        let fed = self.feed(sender, incoming).await;
        // The writer's own failure (a path that moved, a full disk) is why nobody took the objects, so it is told first.
        let written = writer.await.context(TaskSnafu)?;
        match written {
            Err(Error::Cut) => Err(fed.err().unwrap_or(Error::Cut)),
            written => written,
        }
    }

    /// Gives the writer what arrives, then whatever it still lacks: also where the connection was lost in the middle.
    async fn feed(
        &self,
        sender: mpsc::Sender<Feed>,
        incoming: Option<Incoming>,
    ) -> Result<(), Error> {
        let policy = Backoff {
            attempts: ATTEMPTS,
            ..Backoff::default()
        };
        let mut came = match incoming {
            Some(mut incoming) => feed_blocks(&sender, async || incoming.next().await).await,
            None => Ok(()),
        };
        let mut attempt = 1;
        loop {
            if let Err(error) = came {
                if error.class() != Class::Unavailable {
                    return Err(error);
                }
                let random = (self.context.random)();
                let Some(wait) = policy.delay(attempt, random, retry_after(&error)) else {
                    return Err(error);
                };
                tokio::time::sleep(wait).await;
                attempt += 1;
                self.tell(Event::Resuming { attempt });
            }
            let (reply, lacking) = oneshot::channel();
            let asked = sender.send(Feed::Lacking(reply)).await;
            let Some(lacking) = lacking.await.ok().filter(|_| asked.is_ok()) else {
                return Ok(());
            };
            came = self.feed_objects(&sender, &lacking).await;
            if came.is_ok() {
                break;
            }
        }
        // Without this the writer knows that the sender gave up, and commits nothing.
        let _ = sender.send(Feed::Complete).await;
        Ok(())
    }

    /// Asks for objects by name.
    async fn feed_objects(
        &self,
        sender: &mpsc::Sender<Feed>,
        digests: &[Digest],
    ) -> Result<(), Error> {
        for page in digests.chunks(PAGE) {
            let mut blocks = self.remote.objects(page).await?;
            feed_blocks(sender, async || blocks.next().await).await?;
        }
        Ok(())
    }

    /// The root of the local map after the edits that were applied.
    async fn edited(
        &self,
        local: &Local,
        edits: Vec<(TreePath, Option<Entry>)>,
    ) -> Result<Digest, Error> {
        let (maps, root) = (local.maps.clone(), local.root);
        blocking(move || {
            let mut sink = maps.clone();
            let edits = edits
                .iter()
                .map(|(path, entry)| (path.as_bytes(), entry.as_ref().map(Entry::encode)));
            Ok(map::edit(&maps, root, edits, &mut sink)
                .context(MapSnafu)?
                .root)
        })
        .await
    }
}

/// What the head changed since the base, where the tree does not have it already.
fn merge(maps: &Maps, base: Digest, local: Digest, head: Digest) -> Result<Vec<FileChange>, Error> {
    let (mut changes, mut conflicts) = (Vec::new(), Vec::new());
    for merged in map::merge(maps.clone(), base, local, head) {
        match merged.context(MapSnafu)? {
            Merged::Ours(_) | Merged::Both(_) => {}
            Merged::Theirs(change) => {
                let (path, before, after) = decode_change(&change)?;
                changes.extend(FileChange::new(path, before, after));
            }
            Merged::Conflict { key, .. } => conflicts.push(decode_path(&key)?.to_string()),
        }
    }
    ensure!(conflicts.is_empty(), ConflictSnafu { paths: conflicts });
    let added = changes
        .iter()
        .filter(|change| change.before.is_none())
        .filter_map(|change| change.after.as_ref().map(|entry| (&change.path, entry)));
    check_shape(maps, head, [base, local], added)?;
    Ok(changes)
}

/// Gives the writer blocks until there are no more, or it takes no more.
async fn feed_blocks(
    sender: &mpsc::Sender<Feed>,
    mut next: impl AsyncFnMut() -> Result<Option<DecodedBlock>, Error>,
) -> Result<(), Error> {
    while let Some(block) = next().await? {
        if sender.send(Feed::Block(block)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What the writing thread is given.
enum Feed {
    /// Parts of wanted files.
    Block(DecodedBlock),
    /// Take what is there from the tree itself, and say what is still lacking.
    Lacking(oneshot::Sender<Vec<Digest>>),
    /// Everything was given.
    Complete,
}

/// Stages and commits on a blocking thread while the network goes on.
fn write(
    tree: &Path,
    private: &Path,
    plan: Plan,
    mut cache: StatCache,
    mut receiver: mpsc::Receiver<Feed>,
    listener: &Listener,
) -> Result<(StatCache, Vec<Step>), Error> {
    let tree = Tree::open(tree, private)?;
    let mut staging = tree.stage(plan, &cache)?;
    let (mut bytes, mut items) = (0, 0);
    let mut next = None;
    loop {
        match next.take().or_else(|| receiver.blocking_recv()) {
            Some(Feed::Block(block)) => {
                // What came meanwhile is staged with it: the more there is at once, the better threads share it.
                let mut blocks = vec![block];
                while blocks.len() < WAITING && next.is_none() {
                    match receiver.try_recv() {
                        Ok(Feed::Block(block)) => blocks.push(block),
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                let objects: Vec<Bytes> = blocks.iter().flat_map(DecodedBlock::objects).collect();
                let objects: Vec<&[u8]> = objects.iter().map(AsRef::as_ref).collect();
                staging.put_all(&objects)?;
                bytes += objects
                    .iter()
                    .map(|object| object.len() as u64)
                    .sum::<u64>();
                items += objects.len() as u64;
                listener(Event::Moved { bytes, items });
            }
            Some(Feed::Lacking(reply)) => {
                staging.fill_from_tree()?;
                let _ = reply.send(staging.wanted().collect());
            }
            Some(Feed::Complete) => break,
            None => return CutSnafu.fail(),
        }
    }
    let lacking = staging.wanted().next();
    if let Some(digest) = lacking {
        return UnobtainableSnafu { digest }.fail();
    }
    listener(Event::Applying);
    let applied = staging.commit(&|_| {})?;
    applied.refresh(&mut cache)?;
    Ok((cache, applied.steps))
}

fn steps(maps: &Maps, changes: Vec<FileChange>) -> Result<Plan, Error> {
    let step = |change: FileChange| {
        let chunks = match &change.after {
            Some(entry @ Entry::File { content, .. }) if content.depth > 0 => {
                flat_chunks(maps, entry)?
            }
            _ => Vec::new(),
        };
        Ok::<Step, Error>(Step {
            path: change.path,
            expected: change.before,
            wanted: change.after,
            chunks,
        })
    };
    let mut plan = Plan {
        steps: Vec::with_capacity(changes.len()),
        note: Vec::new(),
    };
    for change in changes {
        plan.steps.push(step(change)?);
    }
    Ok(plan)
}
