//! Tenant to workspace.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use snafu::{ResultExt, ensure};
use sync_core::retry::Backoff;
use sync_core::{Class, Digest, Entry, Fault, SnapshotId, TreePath};
use sync_files::{ApplyEvent, Patterns, Plan, StatCache, Step, Tree};
use sync_store::pack;
use sync_store::protocol::{Fetch, Part};
use tokio::sync::{mpsc, oneshot};

use crate::Error;
use crate::bases::Bases;
use crate::collide::collisions;
use crate::decide::{Point, Standing};
use crate::error::{ConflictSnafu, CutSnafu, StoreSnafu, TaskSnafu, UnobtainableSnafu};
use crate::event::{Event, Listener, Phase, Progress, Target, Telling, Way};
use crate::fetch::Incoming;
use crate::guard::{Limits, Place, Removal};
use crate::look::Look;
use crate::maps::Maps;
use crate::merge::{Conflict, Outcome, Rules};
use crate::push::{ATTEMPTS, retry_after};
use crate::receive::{Arrived, Blocks};
use crate::report::{FileChange, Problem};
use crate::session::{Local, Session, blocking};
use crate::settle::{Known, Settlement};
use crate::state::{Agreed, Replaced};
use crate::texts::PAGE;
use crate::tree_map::{changes, edit, flat_chunks, removal};

/// How many received blocks wait to be staged, and how many are staged at once.
const WAITING: usize = 4;
/// How many objects at hand go to the writer at once.
const AT_HAND: usize = 64;

/// What a pull would do. It may hold the open stream of the contents: applied soon, it needs no further request.
#[derive(Debug)]
pub struct PullPlan {
    /// Where the workspace stands to its tenant.
    pub standing: Standing,
    /// What would change in the tree, in path order.
    pub changes: Vec<FileChange>,
    /// Those of them that are texts merged by line; only a sync merges lines.
    pub merged: Vec<TreePath>,
    /// What a person has to choose; nothing is applied while there are any.
    pub conflicts: Vec<Conflict>,
    /// What the capture left out.
    pub refused: Vec<Problem>,
    /// Names that would be one on a file system that ignores case.
    pub collisions: Vec<Problem>,
    pub(crate) head: Option<Point>,
    pub(crate) apply: Apply,
}

/// How the tree comes to what a plan wants.
#[derive(Debug)]
pub(crate) struct Apply {
    /// What the workspace had written down as agreed.
    pub(crate) seen: Agreed,
    /// What is agreed on afterwards.
    pub(crate) agreed: Agreed,
    /// The root of the tree afterwards.
    pub(crate) root: Digest,
    pub(crate) local: Local,
    pub(crate) incoming: Option<Incoming>,
    /// Contents that only a merge has made.
    pub(crate) texts: HashMap<Digest, Bytes>,
    pub(crate) removal: Removal,
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
    /// With a `filter` only the paths that it chooses come; the rest stays as it is, and stays to be pulled.
    ///
    /// Where both changed the same path in different ways the plan has conflicts, and can only be looked at.
    pub async fn plan_pull(&self, filter: Option<&Patterns>) -> Result<PullPlan, Error> {
        let look = self.look().await?;
        self.ensure_begun()?;
        let rules = Rules {
            filter,
            ..Rules::default()
        };
        self.plan_merge(look, rules).await
    }

    /// Plans what brings the workspace to where it has everything that the head has.
    pub(crate) async fn plan_merge(&self, look: Look, rules: Rules<'_>) -> Result<PullPlan, Error> {
        look.ensure_branch()?;
        let standing = look.standing();
        let head_files = look.head_files();
        let Look {
            agreed,
            seen,
            head,
            mut local,
            ..
        } = look;
        local.everything = None;
        let mut incoming = None;
        let mut merge = Outcome::default();
        let mut root = local.root;
        let mut after = head.map_or(agreed, Agreed::on);
        if let (Standing::CloudAhead | Standing::Diverged, Some(head)) = (standing, head) {
            self.attach(&local.maps).await?;
            let base = self.ensure_agreed(&local.maps, agreed).await?;
            let plain = base == local.root && rules.filter.is_none();
            let fetch = Fetch {
                want: head.id,
                // What both agreed on may be lost here: then nothing that the tenant has is known.
                have: agreed
                    .base
                    .filter(|_| base == agreed.files())
                    .map(|base| base.id),
                // Where the tree may hold what the head has, its contents are asked for by name, once the plan knows which.
                contents: plain,
                patches: true,
                part: Part::Files,
            };
            let fetched = self.fetch(&local.maps, fetch).await?;
            incoming = plain.then_some(fetched);
            let roots = [base, local.root, head_files];
            merge = self.merge(&local.maps, roots, rules).await?;
            root = if plain {
                head_files
            } else {
                self.edited(&local, &merge.changes).await?
            };
            if !merge.filtered.is_empty() {
                after = Agreed {
                    base: agreed.base,
                    partial: Some(self.partly(&local.maps, roots, &merge).await?),
                };
            }
        }
        let (maps, before) = (local.maps.clone(), local.root);
        let changes = merge.changes;
        let (changes, collisions, removal) = blocking(move || {
            let removal = removal(Place::Workspace, &maps, before, &changes)?;
            let collisions = collisions(&maps, [before, root], &changes)?;
            Ok((changes, collisions, removal))
        })
        .await?;
        Ok(PullPlan {
            standing,
            merged: merge.merged,
            conflicts: merge.conflicts,
            refused: local.refused.clone(),
            collisions,
            head,
            apply: Apply {
                seen,
                agreed: after,
                root,
                removal,
                local,
                incoming,
                texts: merge.texts,
            },
            changes,
        })
    }

    /// Does what `plan` says: all of it or nothing, whatever happens in between.
    ///
    /// # Errors
    ///
    /// A path that changed since the plan was made is reported, and nothing is written. [`Error::Conflict`] where the plan
    /// has conflicts, [`Error::Removes`] and [`Error::Empties`] where it removes more than `limits` allow.
    pub async fn apply_pull(&self, plan: PullPlan, limits: &Limits) -> Result<PullOutcome, Error> {
        let _lock = self.lock()?;
        self.bring_pull(plan, limits).await
    }

    /// Likewise, under the caller's lock.
    pub(crate) async fn bring_pull(
        &self,
        plan: PullPlan,
        limits: &Limits,
    ) -> Result<PullOutcome, Error> {
        self.ensure_seen(plan.apply.seen)?;
        let snapshot = plan.head.map(|head| head.id);
        let (_, changes) = Box::pin(self.apply_merge("pull", plan, limits)).await?;
        Ok(PullOutcome { snapshot, changes })
    }

    /// Changes the tree as planned, under the caller's lock; gives what the tree then holds, and what was done.
    pub(crate) async fn apply_merge(
        &self,
        operation: &str,
        plan: PullPlan,
        limits: &Limits,
    ) -> Result<(Local, Vec<FileChange>), Error> {
        ensure_chosen(&plan.conflicts)?;
        limits.check(plan.apply.removal)?;
        let undone = plan.apply.seen;
        Box::pin(self.change_tree(operation, plan.changes, plan.apply, Some(undone))).await
    }

    /// Changes the tree, keeping what is replaced for `undo`, which then goes back to `undone` as what is agreed on.
    pub(crate) async fn change_tree(
        &self,
        operation: &str,
        changes: Vec<FileChange>,
        apply: Apply,
        undone: Option<Agreed>,
    ) -> Result<(Local, Vec<FileChange>), Error> {
        let Apply {
            agreed,
            root,
            mut local,
            incoming,
            texts,
            ..
        } = apply;
        if changes.is_empty() {
            self.remember(&local).await?;
            self.agree(agreed)?;
            return Ok((local, Vec::new()));
        }
        let remembered = self.remembered()?;
        let known = |agreed, undo| Known {
            key: self.key.clone(),
            agreed,
            undo,
        };
        let replaced = Replaced {
            operation: operation.to_owned(),
            time: self.context.now,
            before: local.root,
            after: root,
            agreed: undone,
        };
        let settlement = Settlement {
            before: known(remembered.agreed, remembered.undo),
            after: known(agreed, Some(replaced)),
        };
        let telling = Telling::files(&self.context.listener, Way::Pull, &changes);
        self.keep_replaced(&local.maps, &changes).await?;
        // The map of the old tree is what `undo` needs, that of the new one what the stat cache speaks of.
        self.keep(&local.maps).await?;
        let (cache, done) = self
            .write(&local, changes, incoming, texts, settlement)
            .await?;
        local.cache = cache;
        local.root = root;
        local.cache.set_root(Some(root));
        self.remember(&local).await?;
        telling.complete(agreed.base.map(|base| base.id));
        let done = done.into_iter();
        let done = done.filter_map(|s| FileChange::new(s.path, s.expected, s.wanted));
        Ok((local, done.collect()))
    }

    /// Puts the contents of files that are about to be replaced or removed into the private store.
    async fn keep_replaced(&self, maps: &Maps, changes: &[FileChange]) -> Result<(), Error> {
        let replaced: Vec<(TreePath, Entry)> = changes
            .iter()
            .filter_map(|change| Some((change.path.clone(), change.before.clone()?)))
            .filter(|(_, entry)| entry.size() > 0)
            .collect();
        if replaced.is_empty() {
            return Ok(());
        }
        let (tree, private) = (self.workspace.tree(), self.workspace.private());
        let maps = maps.clone();
        let (sender, receiver) = std::sync::mpsc::sync_channel(WAITING);
        let reading = tokio::task::spawn_blocking(move || {
            let tree = Tree::open(&tree, &private)?;
            let mut contents = tree.contents()?;
            for (path, entry) in replaced {
                let chunks = flat_chunks(&maps, &entry)?;
                let hand_on = |_, bytes: &[u8]| {
                    // Nobody takes them where the store has failed, which is told below.
                    let _ = sender.send((pack::Class::Contents, bytes.to_vec()));
                    Ok::<_, Error>(())
                };
                contents.read(&path, sync_files::placed(&chunks), hand_on)?;
            }
            Ok(())
        });
        let stored = self.private().await?.put(receiver).await;
        let read: Result<(), Error> = reading.await.context(TaskSnafu)?;
        read?;
        stored.map(drop).context(StoreSnafu)
    }

    /// The root of what is agreed on after a pull that a filter limited: the head's version of what came.
    async fn partly(
        &self,
        maps: &Maps,
        [base, _, head]: [Digest; 3],
        merge: &Outcome,
    ) -> Result<Digest, Error> {
        let filtered = merge.filtered.clone();
        let maps = maps.clone();
        blocking(move || {
            let mut came = changes(&maps, base, head)?;
            came.retain(|change| !filtered.contains(&change.path));
            edit(&maps, base, &came)
        })
        .await
    }

    /// Stages the changes as their contents arrive, then puts them into their places; gives the stat cache after that,
    /// and what was done.
    async fn write(
        &self,
        local: &Local,
        changes: Vec<FileChange>,
        incoming: Option<Incoming>,
        texts: HashMap<Digest, Bytes>,
        settlement: Settlement,
    ) -> Result<(StatCache, Vec<Step>), Error> {
        let (sender, receiver) = mpsc::channel(WAITING);
        let writer = tokio::task::spawn_blocking({
            let (tree, private) = (self.workspace.tree(), self.workspace.private());
            let (maps, cache) = (local.maps.clone(), local.cache.clone());
            let (listener, held) = (Arc::clone(&self.context.listener), self.held());
            move || {
                let _held = held;
                write(
                    &tree,
                    &private,
                    steps(&maps, changes, settlement.note())?,
                    cache,
                    receiver,
                    &listener,
                    &settlement,
                )
            }
        });
        let fed = self.feed(&local.maps, sender, incoming, texts).await;
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
        maps: &Maps,
        sender: mpsc::Sender<Feed>,
        incoming: Option<Incoming>,
        mut texts: HashMap<Digest, Bytes>,
    ) -> Result<(), Error> {
        let policy = Backoff {
            attempts: ATTEMPTS,
            ..Backoff::default()
        };
        let mut came = match incoming {
            Some(incoming) => feed_blocks(&sender, Source::Answer(incoming)).await,
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
                self.tell(Event::SyncResuming { attempt });
            }
            let (reply, lacking) = oneshot::channel();
            // Where the writer has given up it says why; a question that was not sent would never be answered.
            if sender.send(Feed::Lacking(reply)).await.is_err() {
                return Ok(());
            }
            let Ok(lacking) = lacking.await else {
                return Ok(());
            };
            came = self.feed_objects(maps, &sender, &lacking, &mut texts).await;
            if came.is_ok() {
                break;
            }
        }
        // Without this the writer knows that the sender gave up, and commits nothing.
        let _ = sender.send(Feed::Complete).await;
        Ok(())
    }

    /// Gives the writer what need not be asked for: what a merge has made, and what the private store has; the rest is
    /// asked for by name.
    async fn feed_objects(
        &self,
        maps: &Maps,
        sender: &mpsc::Sender<Feed>,
        digests: &[Digest],
        texts: &mut HashMap<Digest, Bytes>,
    ) -> Result<(), Error> {
        let mut absent = Vec::new();
        for wanted in digests.chunks(AT_HAND) {
            let mut rest = Vec::new();
            let mut found = Vec::new();
            for digest in wanted {
                match texts.get(digest) {
                    Some(bytes) => found.push(bytes.clone()),
                    None => rest.push(*digest),
                }
            }
            found.extend(self.stored_contents(maps, &mut rest).await?.into_values());
            absent.extend(rest);
            if !found.is_empty() && sender.send(Feed::Objects(found)).await.is_err() {
                return Ok(());
            }
        }
        for page in absent.chunks(PAGE) {
            let blocks = self.remote.objects(page).await?;
            feed_blocks(sender, Source::Objects(blocks)).await?;
        }
        Ok(())
    }

    /// The root of the local map after `changes`.
    pub(crate) async fn edited(
        &self,
        local: &Local,
        changes: &[FileChange],
    ) -> Result<Digest, Error> {
        let (maps, root, changes) = (local.maps.clone(), local.root, changes.to_vec());
        blocking(move || edit(&maps, root, &changes)).await
    }
}

/// Refuses to go on while a person has to choose.
pub(crate) fn ensure_chosen(conflicts: &[Conflict]) -> Result<(), Error> {
    let paths: Vec<String> = conflicts
        .iter()
        .map(|conflict| conflict.path.to_string())
        .collect();
    ensure!(paths.is_empty(), ConflictSnafu { paths });
    Ok(())
}

/// Where blocks come from.
enum Source {
    Answer(Incoming),
    Objects(Blocks),
}

/// Gives the writer blocks until there are no more, or it takes no more.
async fn feed_blocks(sender: &mpsc::Sender<Feed>, mut source: Source) -> Result<(), Error> {
    loop {
        let arrived = match &mut source {
            Source::Answer(incoming) => incoming.next().await?,
            Source::Objects(blocks) => blocks.next_block().await?.map(Arrived::Block),
        };
        let Some(arrived) = arrived else {
            return Ok(());
        };
        if sender.send(Feed::Arrived(arrived)).await.is_err() {
            return Ok(());
        }
    }
}

/// What the writing thread is given.
enum Feed {
    /// Parts of wanted files, or what makes them.
    Arrived(Arrived),
    /// Parts of wanted files that this machine has.
    Objects(Vec<Bytes>),
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
    settlement: &Settlement,
) -> Result<(StatCache, Vec<Step>), Error> {
    let tree = Tree::open(tree, private)?;
    let mut bases = Bases::new(&tree, &plan)?;
    let mut staging = tree.stage(plan, &cache)?;
    let mut progress = Progress::new(Target::Files, Phase::Receiving, 0, 0);
    let mut next = None;
    loop {
        match next.take().or_else(|| receiver.blocking_recv()) {
            Some(Feed::Arrived(arrived)) => {
                // What came meanwhile is staged with it: the more there is at once, the better threads share it.
                let mut blocks = vec![arrived];
                while blocks.len() < WAITING && next.is_none() {
                    match receiver.try_recv() {
                        Ok(Feed::Arrived(arrived)) => blocks.push(arrived),
                        Ok(other) => next = Some(other),
                        Err(_) => break,
                    }
                }
                let mut objects: Vec<Bytes> = Vec::new();
                for arrived in &blocks {
                    match arrived {
                        Arrived::Block(block) => objects.extend(block.objects()),
                        // What patches do not make stays wanted, and is asked for by its name.
                        Arrived::Patches(patches) => objects.extend(bases.patched(patches)?),
                    }
                }
                let objects: Vec<&[u8]> = objects.iter().map(AsRef::as_ref).collect();
                staging.put_all(&objects)?;
                let lengths = objects.iter().map(|object| object.len() as u64);
                progress.bytes += lengths.sum::<u64>();
                progress.items += objects.len() as u64;
                listener(Event::Progress(progress));
            }
            Some(Feed::Objects(objects)) => {
                let objects: Vec<&[u8]> = objects.iter().map(AsRef::as_ref).collect();
                staging.put_all(&objects)?;
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
    progress.phase = Phase::Applying;
    listener(Event::Progress(progress));
    // Written down as soon as the change cannot be lost any more: a crash from here on is settled by the note of the journal.
    let written = OnceCell::new();
    let settle = |event| {
        if let ApplyEvent::Recorded { .. } = event {
            let _ = written.set(settlement.after(private));
        }
    };
    let committed = staging.commit(&settle);
    let applied = match committed {
        Ok(applied) => applied,
        Err(error) => {
            if written.get().is_some() && !matches!(error, sync_files::Error::Stuck { .. }) {
                settlement.before(private)?;
            }
            return Err(error.into());
        }
    };
    match written.into_inner() {
        Some(outcome) => outcome?,
        // Nothing had to move: the tree was as it should be.
        None => settlement.after(private)?,
    }
    applied.refresh(&mut cache)?;
    Ok((cache, applied.steps))
}

fn steps(maps: &Maps, changes: Vec<FileChange>, note: Vec<u8>) -> Result<Plan, Error> {
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
        note,
    };
    for change in changes {
        plan.steps.push(step(change)?);
    }
    Ok(plan)
}
