//! A workspace on disk: where it is, and who works in it.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use serde::Serialize;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;

use crate::Error;
use crate::config::{CONFIG_FILE, Config, PRIVATE_DIR, RemoteConfig};
use crate::error::{
    DaemonRunningSnafu, LockedSnafu, NoWorkspaceSnafu, WorkspaceExistsSnafu, WriteSnafu,
};
use crate::shadow::Shadow;
use crate::state::key;
use crate::trust::Known;

/// A workspace: a directory with a `sync.toml`, the tree that it syncs, and private state in `.sync/`.
#[derive(Debug, Clone)]
pub struct Workspace {
    root: PathBuf,
    config: Config,
    /// The remote that a person named; else the default.
    remote: Option<Name>,
    /// The branch that a person named; else what the remote says.
    branch: Option<Name>,
    /// The copy of the private state that a run works with which only plans.
    shadow: Option<Arc<Shadow>>,
}

impl Workspace {
    /// Opens the workspace whose root is exactly `root`.
    pub fn open(root: &Path) -> Result<Self, Error> {
        ensure!(
            root.join(CONFIG_FILE).is_file(),
            NoWorkspaceSnafu { path: root }
        );
        Ok(Self {
            config: Config::load(root)?,
            root: root.to_owned(),
            remote: None,
            branch: None,
            shadow: None,
        })
    }

    /// A workspace at `root` that is configured by the caller, whatever a `sync.toml` there says. Nothing is read.
    pub fn of(root: &Path, config: Config) -> Self {
        Self {
            root: root.to_owned(),
            config,
            remote: None,
            branch: None,
            shadow: None,
        }
    }

    /// Opens the nearest workspace at `start` or above it.
    pub fn find(start: &Path) -> Result<Self, Error> {
        let root = start
            .ancestors()
            .find(|dir| dir.join(CONFIG_FILE).is_file());
        Self::open(root.context(NoWorkspaceSnafu { path: start })?)
    }

    /// Makes a workspace at `root`: a `sync.toml`, and the directories where they are missing.
    ///
    /// # Errors
    ///
    /// Where there is a `sync.toml` already; it is left as it is.
    pub fn init(root: &Path, name: &str, url: &str, tenant: &Name) -> Result<Self, Error> {
        let path = root.join(CONFIG_FILE);
        ensure!(!path.exists(), WorkspaceExistsSnafu { path: root });
        // A JSON string is a TOML basic string.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let text = format!(
            "# What this workspace is called, and which tenant it belongs to.\n\
             [workspace]\nname = {}\n\n\
             [remote]\n# `https://HOST[:PORT]`, or `embedded:DIR` for a tenant in a directory.\n\
             url = {}\ntenant = {}\nbranch = \"main\"\n",
            quoted(name),
            quoted(url),
            quoted(tenant.as_str())
        );
        fs::create_dir_all(root.join("services")).context(WriteSnafu { path: root })?;
        // `create_new`: of two runs at once, one makes the file and the other is told.
        let mut file = File::create_new(&path).context(WriteSnafu { path: &path })?;
        file.write_all(text.as_bytes())
            .context(WriteSnafu { path: &path })?;
        let workspace = Self::open(root)?;
        workspace.make_private()?;
        Ok(workspace)
    }

    /// The directory that holds it.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What its `sync.toml` says.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The same workspace, which works with the remote of this name and with this branch of it; with those that its
    /// `sync.toml` says where they are `None`.
    #[must_use]
    pub fn following(self, remote: Option<Name>, branch: Option<Name>) -> Self {
        Self {
            remote,
            branch,
            ..self
        }
    }

    /// The tenant and the branch that it works with, where it lives by now.
    ///
    /// # Errors
    ///
    /// [`Error::NoRemote`], [`Error::UnknownRemote`] and [`Error::WhichRemote`] where `sync.toml` does not say which,
    /// [`Error::State`] where what is known of tenants does not read.
    pub fn remote(&self) -> Result<RemoteConfig, Error> {
        let mut remote = self.written_remote()?.clone();
        if let Some(branch) = &self.branch {
            remote.branch = branch.clone();
        }
        self.found(&remote)
    }

    /// The same, as `sync.toml` has it.
    pub fn written_remote(&self) -> Result<&RemoteConfig, Error> {
        let name = self.remote.as_ref().map(Name::as_str);
        Ok(self.config.remote_named(name)?.1)
    }

    /// The tenant that `sync.toml` means by `remote`, where it lives by now.
    ///
    /// # Errors
    ///
    /// [`Error::State`] where what is known of tenants does not read.
    pub fn found(&self, remote: &RemoteConfig) -> Result<RemoteConfig, Error> {
        let known = Known::load(&self.private())?;
        Ok(RemoteConfig {
            url: known.url(&remote.url, &remote.tenant),
            ..remote.clone()
        })
    }

    /// What that tenant is called in `sync.toml`.
    ///
    /// # Errors
    ///
    /// As [`Workspace::remote`].
    pub fn remote_name(&self) -> Result<&str, Error> {
        let name = self.remote.as_ref().map(Name::as_str);
        Ok(self.config.remote_named(name)?.0)
    }

    /// What everything that it remembers of that tenant and branch is kept under.
    pub(crate) fn key(&self) -> Result<String, Error> {
        let branch = self.branch.as_ref();
        self.key_of(branch.unwrap_or(&self.written_remote()?.branch))
    }

    /// The same of the branch that it follows unless a person names another one.
    pub(crate) fn home_key(&self) -> Result<String, Error> {
        self.key_of(&self.written_remote()?.branch)
    }

    /// The same of any branch.
    pub(crate) fn key_of(&self, branch: &Name) -> Result<String, Error> {
        let remote = self.written_remote()?;
        let known = Known::load(&self.private())?;
        Ok(key(&known.name(&remote.url, &remote.tenant), branch))
    }

    /// The tree that is synced.
    pub fn tree(&self) -> PathBuf {
        self.root.join(self.config.workspace.tree.as_str())
    }

    /// The directory of private state; of a run that only plans, the copy of it.
    pub fn private(&self) -> PathBuf {
        match &self.shadow {
            Some(shadow) => shadow.dir().to_owned(),
            None => self.kept(),
        }
    }

    /// The directory of private state, whatever a run does.
    pub(crate) fn kept(&self) -> PathBuf {
        self.root.join(PRIVATE_DIR)
    }

    pub(crate) fn shadow(&self) -> Option<&Arc<Shadow>> {
        self.shadow.as_ref()
    }

    pub(crate) fn with_shadow(self, shadow: Arc<Shadow>) -> Self {
        Self {
            shadow: Some(shadow),
            ..self
        }
    }

    /// Makes the private directory, ignored by git, where it is missing.
    pub(crate) fn make_private(&self) -> Result<(), Error> {
        let dir = self.private();
        let ignore = dir.join(".gitignore");
        // Others on this machine need not see what a tree once held.
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir);
        made.context(WriteSnafu { path: &dir })?;
        if !ignore.exists() {
            fs::write(&ignore, "*\n").context(WriteSnafu { path: ignore })?;
        }
        Ok(())
    }

    /// Takes the workspace for one run that changes it.
    ///
    /// The lock is the operating system's, so it does not outlive its holder; the file says who holds it.
    pub(crate) fn lock(&self, now: u64) -> Result<Lock, Error> {
        let held = self.hold("lock", now)?;
        held.map_err(|holder| LockedSnafu { holder }.build())
    }

    /// Takes the workspace for a daemon, of which there is one; other runs are not kept out.
    ///
    /// # Errors
    ///
    /// [`Error::DaemonRunning`] where there is one already; it says which process.
    pub fn lock_for_daemon(&self, now: u64) -> Result<Lock, Error> {
        let held = self.hold("daemon.lock", now)?;
        held.map_err(|holder| DaemonRunningSnafu { holder }.build())
    }

    /// Takes a lock in the private directory; where somebody has it, says who.
    fn hold(&self, name: &str, now: u64) -> Result<Result<Lock, String>, Error> {
        self.make_private()?;
        let path = self.private().join(name);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).context(WriteSnafu { path: &path })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                let holder = if holder.is_empty() {
                    "its process is not known".to_owned()
                } else {
                    holder
                };
                return Ok(Err(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(source)) => return Err(Error::Write { path, source }),
        }
        let text = Holder {
            process: std::process::id(),
            since_ms: now,
        };
        let written = file.set_len(0).and_then(|()| file.rewind());
        written
            .and_then(|()| writeln!(file, "{text}"))
            .context(WriteSnafu { path: &path })?;
        Ok(Ok(Lock(Arc::new(file))))
    }
}

/// Who holds a workspace.
#[derive(Debug, Serialize)]
struct Holder {
    process: u32,
    since_ms: u64,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = i64::try_from(self.since_ms).unwrap_or(i64::MAX);
        write!(f, "process {}", self.process)?;
        match jiff::Timestamp::from_millisecond(since) {
            Ok(since) => write!(f, " since {since}"),
            // A clock that is beyond all years says nothing.
            Err(_) => Ok(()),
        }
    }
}

/// The workspace is held while this or a clone of it lives.
///
/// Whoever asked for an operation may go away in the middle of it, but what it does on a blocking thread goes on to its end:
/// such work has a clone of its own.
#[derive(Debug, Clone)]
pub struct Lock(Arc<File>);

impl Lock {
    /// The same, without holding anything.
    pub(crate) fn downgrade(&self) -> Weak<File> {
        Arc::downgrade(&self.0)
    }

    /// A clone of the lock that `weak` is of, while that is held.
    pub(crate) fn upgrade(weak: &Weak<File>) -> Option<Self> {
        weak.upgrade().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workspace_is_made_once_and_found_from_below() {
        let dir = tempfile::tempdir().unwrap();
        let tenant: Name = "acme".parse().unwrap();
        Workspace::init(dir.path(), "a \"b\"", "https://a", &tenant).unwrap();
        let below = dir.path().join("services/x");
        fs::create_dir_all(&below).unwrap();
        let found = Workspace::find(&below).unwrap();
        assert_eq!(found.config().workspace.name, "a \"b\"");
        assert_eq!(found.remote().unwrap().tenant, tenant);
        let aside = found.clone().following(None, "trial".parse().ok());
        assert_ne!(aside.key().unwrap(), found.key().unwrap());
        let again = Workspace::init(dir.path(), "c", "https://a", &tenant);
        assert!(matches!(again, Err(Error::WorkspaceExists { .. })));
    }

    #[test]
    fn two_runs_do_not_hold_it_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let workspace =
            Workspace::init(dir.path(), "a", "https://a", &"t".parse().unwrap()).unwrap();
        let held = workspace.lock(5).unwrap();
        let error = workspace.lock(6).unwrap_err().to_string();
        assert!(
            error.contains(&format!(
                "process {} since 1970-01-01T00:00:00.005Z",
                std::process::id()
            )),
            "{error}"
        );
        // A daemon keeps no run out, but another daemon.
        let daemon = workspace.lock_for_daemon(8).unwrap();
        let error = workspace.lock_for_daemon(9).unwrap_err();
        assert!(matches!(error, Error::DaemonRunning { .. }), "{error}");
        drop((held, daemon));
        workspace.lock(7).unwrap();
        workspace.lock_for_daemon(10).unwrap();
    }
}
