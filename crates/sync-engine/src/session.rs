//! One run in a workspace: its tenant, its private store, what it captured.

use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use snafu::{ResultExt, ensure};
use sync_core::map::{self, Map, MapError};
use sync_core::{Digest, Entry, Snapshot, SnapshotId, TreePath};
use sync_files::{CaptureEvent, CaptureOptions, IsKnown, StatCache, Tree};
use sync_store::Repository;
use sync_store::pack::Class;
use tokio::sync::OnceCell;

use crate::decide::Point;
use crate::error::{MapSnafu, OvertakenSnafu, StoreSnafu, TaskSnafu, WriteSnafu};
use crate::event::{Event, Listener, Phase, Progress, Target};
use crate::maps::Maps;
use crate::patience::Forbearance;
use crate::remote::Remote;
use crate::report::Problem;
use crate::state::{Agreed, Remembered, State};
use crate::tree_map::empty_root;
use crate::workspace::Lock;
use crate::{Error, Workspace};

/// Below the private directory: the objects that this workspace holds.
const STORE_DIR: &str = "store";
/// What the store calls its only tenant.
const STORE_TENANT: &str = "workspace";

/// What a run needs to know of the world around it.
#[derive(Clone)]
pub struct Context {
    /// Who makes snapshots.
    pub author: String,
    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// A source of random numbers, to wait by when a push was cut.
    pub random: Random,
    /// Who is told what happens.
    pub listener: Listener,
}

/// Gives uniformly random numbers.
pub type Random = Arc<dyn Fn() -> u64 + Send + Sync>;

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("author", &self.author)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// One run in a workspace.
///
/// Plans read, and change nothing on either side; applying a plan does exactly what it says.
#[derive(Debug)]
pub struct Session {
    pub(crate) workspace: Workspace,
    pub(crate) remote: Remote,
    pub(crate) context: Context,
    pub(crate) key: String,
    pub(crate) forbearance: Forbearance,
    private: OnceCell<Repository>,
    /// What was locked last, for as long as it is.
    held: Mutex<Weak<File>>,
    /// Where the branch begins that is yet to be.
    pub(crate) fork: std::sync::OnceLock<Point>,
    /// Whether it has begun.
    pub(crate) begun: OnceCell<()>,
}

/// What was captured of the tree.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) root: Digest,
    pub(crate) refused: Vec<Problem>,
    pub(crate) maps: Maps,
    pub(crate) cache: StatCache,
    /// Every entry of the tree in path order, where the capture knew none before.
    pub(crate) everything: Option<Vec<(TreePath, Option<Entry>)>>,
}

impl Session {
    /// A run in `workspace` against `remote`. Nothing is read yet.
    ///
    /// # Errors
    ///
    /// [`Error::NoRemote`] where the workspace belongs to no tenant.
    pub fn new(workspace: Workspace, remote: Remote, context: Context) -> Result<Self, Error> {
        let key = workspace.key()?;
        Ok(Self {
            workspace,
            remote,
            context,
            key,
            forbearance: Forbearance::default(),
            private: OnceCell::new(),
            held: Mutex::default(),
            fork: std::sync::OnceLock::new(),
            begun: OnceCell::new(),
        })
    }

    /// A run that only stands between tenants: it has nothing to do with the tree, with bases or with the private store.
    pub(crate) fn between(workspace: Workspace, remote: Remote, context: Context) -> Self {
        Self {
            workspace,
            remote,
            context,
            key: String::new(),
            forbearance: Forbearance::without(),
            private: OnceCell::new(),
            held: Mutex::default(),
            fork: std::sync::OnceLock::new(),
            begun: OnceCell::new(),
        }
    }

    /// The tenant.
    pub fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Completes or takes back what an earlier run left when it was cut short. Call this before planning anything
    /// that will be applied.
    pub async fn recover(&self) -> Result<(), Error> {
        self.workspace.recover(&self.context).await
    }

    pub(crate) fn tell(&self, event: Event) {
        (self.context.listener)(event);
    }

    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let lock = self.workspace.lock(self.context.now)?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = lock.downgrade();
        Ok(lock)
    }

    /// The lock that this run has, for what it does on a thread of its own.
    pub(crate) fn held(&self) -> Option<Lock> {
        Lock::upgrade(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the workspace remembers of this tenant and branch.
    pub(crate) fn remembered(&self) -> Result<Remembered, Error> {
        Ok(State::load(&self.workspace.private())?.remembered(&self.key))
    }

    /// What the workspace last agreed on with this tenant and branch.
    pub(crate) fn agreed(&self) -> Result<Agreed, Error> {
        Ok(self.remembered()?.agreed)
    }

    /// Takes the workspace for applying a plan that was made when `seen` was the base.
    pub(crate) fn lock_for(&self, seen: Agreed) -> Result<Lock, Error> {
        let lock = self.lock()?;
        self.ensure_seen(seen)?;
        Ok(lock)
    }

    /// Refuses to go on where `seen` is no longer what is agreed on, under the caller's lock.
    pub(crate) fn ensure_seen(&self, seen: Agreed) -> Result<(), Error> {
        ensure!(self.agreed()? == seen, OvertakenSnafu);
        Ok(())
    }

    /// Makes the directory of the tree for a workspace that has never synced: git, for one, keeps no empty directories.
    pub fn make_tree(&self) -> Result<(), Error> {
        let tree = self.workspace.tree();
        if self.agreed()?.base.is_none() && !tree.exists() {
            std::fs::create_dir_all(&tree).context(WriteSnafu { path: tree })?;
        }
        Ok(())
    }

    pub(crate) fn agree(&self, agreed: Agreed) -> Result<(), Error> {
        let private = self.workspace.private();
        let mut state = State::load(&private)?;
        let remembered = state.remembered(&self.key);
        if remembered.agreed == agreed && remembered.pushing.is_none() {
            return Ok(());
        }
        state.agree(&private, &self.key, agreed)
    }

    pub(crate) fn set_pushing(&self, onto: Option<Point>, target: Point) -> Result<(), Error> {
        let private = self.workspace.private();
        State::load(&private)?.set_pushing(&private, &self.key, onto, target)
    }

    /// The private store, where there is one yet.
    async fn stored(&self) -> Result<Option<Repository>, Error> {
        if self.private.get().is_none() && !self.workspace.kept().join(STORE_DIR).exists() {
            return Ok(None);
        }
        if self.forbearance.does_without() {
            return Ok(None);
        }
        match self.private().await {
            Err(_) if self.forbearance.does_without() => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The private store, where this run has opened it.
    pub(crate) fn opened(&self) -> Option<&Repository> {
        self.private.get()
    }

    /// The private store; it is made where there is none.
    pub(crate) async fn private(&self) -> Result<Repository, Error> {
        let open = || async {
            self.workspace.make_private()?;
            let opening = self
                .workspace
                .opening(&self.workspace.kept().join(STORE_DIR));
            let store = self.forbearance.open(&opening).await?;
            match store.tenant(STORE_TENANT).await.context(StoreSnafu)? {
                Some(repository) => Ok(repository),
                None => store.create_tenant(STORE_TENANT).await.context(StoreSnafu),
            }
        };
        self.private.get_or_try_init(open).await.cloned()
    }

    /// The objects that this run can read.
    pub(crate) async fn maps(&self) -> Result<Maps, Error> {
        let maps = Maps::new();
        self.attach(&maps).await?;
        Ok(maps)
    }

    /// Lets `maps` read what the private store has; a capture that found nothing new has not even opened it.
    pub(crate) async fn attach(&self, maps: &Maps) -> Result<(), Error> {
        if !maps.is_attached()
            && let Some(repository) = self.stored().await?
        {
            maps.attach(repository.nodes());
        }
        Ok(())
    }

    /// Stores everything that is new in `maps`.
    pub(crate) async fn keep(&self, maps: &Maps) -> Result<(), Error> {
        let objects = maps.new_objects();
        if objects.is_empty() {
            return Ok(());
        }
        let objects = objects
            .into_iter()
            .map(|(_, bytes)| (Class::Nodes, bytes.to_vec()));
        let stored = self.private().await?.put(objects).await;
        stored.map(drop).context(StoreSnafu)?;
        self.attach(maps).await
    }

    /// Captures the tree. Nothing is written: [`Session::remember`] does that.
    pub(crate) async fn capture(&self) -> Result<Local, Error> {
        let private = self.workspace.private();
        let cache = blocking(move || Ok(StatCache::load(&private))).await?;
        let old_root = cache.root();
        let captured = self.capture_from(cache).await?;
        if captured.changes.is_empty()
            && let Some(root) = old_root
        {
            let maps = Maps::new();
            // Where nothing is to be done, the private store is not even opened.
            if self.agreed()?.files() != root && !self.holds(&maps, root).await? {
                return self.capture_without_store(captured, maps).await;
            }
            return Ok(Local::new(captured, root, maps));
        }
        let maps = self.maps().await?;
        let from = old_root.unwrap_or_else(empty_root);
        let edited = blocking({
            let mut sink = maps.clone();
            move || {
                let outcome = edit(&sink.clone(), from, &captured.changes, &mut sink);
                Ok((captured, outcome))
            }
        })
        .await?;
        match edited {
            (captured, Ok(map)) if old_root.is_none() => Ok(Local::anew(captured, map.root, maps)),
            (captured, Ok(map)) => Ok(Local::new(captured, map.root, maps)),
            // The store lost what the stat cache speaks of: then everything is hashed anew.
            (captured, Err(MapError::Missing { .. })) => {
                self.capture_without_store(captured, maps).await
            }
            (_, Err(source)) => Err(Error::Map { source }),
        }
    }

    /// Whether the root of a map is here.
    pub(crate) async fn holds(&self, maps: &Maps, root: Digest) -> Result<bool, Error> {
        self.attach(maps).await?;
        let maps = maps.clone();
        let held = move || maps.object(&root).map_err(|source| map_store(root, source));
        Ok(root == empty_root() || blocking(held).await?.is_some())
    }

    pub(crate) async fn capture_anew(&self, maps: Maps) -> Result<Local, Error> {
        let captured = self.capture_from(StatCache::new()).await?;
        let mut sink = maps.clone();
        let (captured, map) = blocking(move || {
            let map = edit(&sink.clone(), empty_root(), &captured.changes, &mut sink)
                .context(MapSnafu)?;
            Ok((captured, map))
        })
        .await?;
        Ok(Local::anew(captured, map.root, maps))
    }

    async fn capture_from(&self, cache: StatCache) -> Result<sync_files::Capture, Error> {
        // A cache that has a root knows every path of the history itself.
        let is_known = match cache.root() {
            Some(_) => None,
            None => self.known_paths().await?,
        };
        let options = CaptureOptions {
            allow_secrets: self.workspace.config().files.allow_secrets.clone(),
            is_known,
            ..CaptureOptions::default()
        };
        let (tree, private) = (self.workspace.tree(), self.workspace.private());
        let listener = Arc::clone(&self.context.listener);
        blocking(move || capture_tree(&tree, &private, &cache, &options, &listener)).await
    }

    /// Which paths the base has.
    async fn known_paths(&self) -> Result<Option<IsKnown>, Error> {
        let agreed = self.agreed()?;
        if agreed == Agreed::default() {
            return Ok(None);
        }
        let maps = self.maps().await?;
        let root = self.ensure_agreed(&maps, agreed).await?;
        let known = move |path: &TreePath| {
            map::get(&maps, root, path.as_bytes()).is_ok_and(|entry| entry.is_some())
        };
        Ok(Some(Arc::new(known)))
    }

    /// Keeps what was captured, so that the next capture reads only what has changed since.
    pub(crate) async fn remember(&self, local: &Local) -> Result<(), Error> {
        self.workspace.make_private()?;
        // Nodes first: a stat cache must not speak of a root that the store lacks.
        self.keep(&local.maps).await?;
        let (cache, private, held) = (local.cache.clone(), self.workspace.private(), self.held());
        blocking(move || {
            let _held = held;
            Ok(cache.save(&private)?)
        })
        .await
    }

    /// Makes sure that `maps` has the files that were agreed on, and gives their root.
    pub(crate) async fn ensure_agreed(&self, maps: &Maps, agreed: Agreed) -> Result<Digest, Error> {
        let root = agreed.files();
        if self.holds(maps, root).await? {
            return Ok(root);
        }
        match agreed {
            Agreed {
                base: Some(base),
                partial: None,
            } => {
                match self.fetch_maps(maps, base.id, None).await {
                    Ok(()) => Ok(root),
                    // Nobody has it any more. The two sides are compared as if they had never met, which loses nothing:
                    // what is equal stays, what differs is for a person to choose.
                    Err(error) if error.is_expired() => Ok(empty_root()),
                    Err(error) => Err(error),
                }
            }
            // Only this workspace had that map, and lost it: then nothing is agreed on, and what differs is a conflict.
            _ => Ok(empty_root()),
        }
    }
}

impl Local {
    /// Of a capture that knew no entry before.
    fn anew(mut captured: sync_files::Capture, root: Digest, maps: Maps) -> Self {
        let everything = std::mem::take(&mut captured.changes);
        Self {
            everything: Some(everything),
            ..Self::new(captured, root, maps)
        }
    }

    pub(crate) fn new(captured: sync_files::Capture, root: Digest, maps: Maps) -> Self {
        for (digest, bytes) in captured.lists {
            maps.insert(digest, bytes.into());
        }
        let problem = |refused: sync_files::Refused| Problem {
            code: "files/refused".to_owned(),
            message: refused.reason.to_string(),
            hint: None,
            path: Some(refused.path),
        };
        let mut cache = captured.cache;
        cache.set_root(Some(root));
        Self {
            root,
            refused: captured.refused.into_iter().map(problem).collect(),
            maps,
            cache,
            everything: None,
        }
    }
}

fn map_store(digest: Digest, source: map::StoreError) -> Error {
    Error::Map {
        source: MapError::Store { digest, source },
    }
}

/// A snapshot's point; a snapshot without files counts as an empty tree.
pub(crate) fn point(id: SnapshotId, snapshot: &Snapshot) -> Point {
    Point {
        id,
        files: snapshot.roots.files.unwrap_or_else(empty_root),
        rows: snapshot.roots.rows,
        release: snapshot.roots.release,
    }
}

fn capture_tree(
    tree: &std::path::Path,
    private: &std::path::Path,
    cache: &StatCache,
    options: &CaptureOptions,
    listener: &Listener,
) -> Result<sync_files::Capture, Error> {
    let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
    let tell = |event: CaptureEvent| {
        if let CaptureEvent::Read { bytes: read } = event {
            let files = files.fetch_add(1, Ordering::Relaxed) + 1;
            let bytes = bytes.fetch_add(read, Ordering::Relaxed) + read;
            let read = Progress::new(Target::Files, Phase::Reading, files, bytes);
            listener(Event::Progress(read));
        }
    };
    Ok(Tree::open(tree, private)?.capture(cache, options, &tell)?)
}

fn edit(
    source: &Maps,
    root: Digest,
    changes: &[(TreePath, Option<Entry>)],
    sink: &mut Maps,
) -> Result<Map, MapError> {
    let edits = changes
        .iter()
        .map(|(path, entry)| (path.as_bytes(), entry.as_ref().map(Entry::encode)));
    map::edit(source, root, edits, sink)
}

/// Runs what blocks on a thread where it may.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.context(TaskSnafu)?
}
