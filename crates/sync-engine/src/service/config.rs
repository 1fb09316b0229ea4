//! What a program says before anything is synced.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use snafu::ensure;
use sync_core::{Name, TreePath};
use sync_files::Patterns;
use sync_transport::Client;

use crate::all::{AllRequest, WithDatabase};
use crate::config::{CONFIG_FILE, RemoteConfig};
use crate::dial::client;
use crate::error::SettingSnafu;
use crate::event::Listener;
use crate::guard::Limits;
use crate::jobs::Clock;
use crate::merge::OnConflict;
use crate::rows::{Database, Direction};
use crate::session::{Context, Random};
use crate::trust::{Dial, Trust};
use crate::{Config, Error, Remote, Workspace};

/// How long a call may take where nobody says otherwise.
const DEADLINE: Duration = Duration::from_mins(10);

/// Which tree and rows are synced with which tenant, and how.
#[derive(Clone)]
pub struct SyncConfig {
    workspace: Workspace,
    remote: RemoteConfig,
    token: Arc<str>,
    client: Option<Client>,
    trust: Option<Arc<Trust>>,
    database: WithDatabase,
    request: AllRequest,
    limits: Limits,
    deadline: Duration,
    author: String,
    clock: Clock,
    random: Random,
}

/// A configuration that is being made.
#[must_use]
pub struct SyncConfigBuilder {
    tenant: String,
    url: String,
    token: String,
    tree: PathBuf,
    branch: String,
    workspace: Option<Workspace>,
    ca_file: Option<PathBuf>,
    client: Option<Client>,
    trust: Option<Arc<Trust>>,
    database: Option<Database>,
    direction: Direction,
    on_conflict: OnConflict,
    filter: Vec<String>,
    message: Option<String>,
    limits: Limits,
    deadline: Duration,
    author: String,
    clock: Clock,
    random: Random,
}

impl SyncConfig {
    /// Syncs the tree at `tree` with `tenant` of the server at `url`, to which `token` belongs.
    ///
    /// The workspace is the directory that holds the tree; its private state is in `.sync` there. Where that directory has a
    /// `sync.toml`, its `[files]`, `[database]` and `[[jobs]]` count; its `[remote]` does not.
    pub fn builder(
        tenant: impl Into<String>,
        url: impl Into<String>,
        token: impl Into<String>,
        tree: impl Into<PathBuf>,
    ) -> SyncConfigBuilder {
        SyncConfigBuilder {
            tenant: tenant.into(),
            url: url.into(),
            token: token.into(),
            tree: tree.into(),
            branch: "main".to_owned(),
            workspace: None,
            ca_file: None,
            client: None,
            trust: None,
            database: None,
            direction: Direction::Sync,
            on_conflict: OnConflict::Ask,
            filter: Vec::new(),
            message: None,
            limits: Limits::default(),
            deadline: DEADLINE,
            author: "sync-engine".to_owned(),
            clock: Arc::new(system_time),
            random: Arc::new(system_random),
        }
    }

    pub(super) fn workspace(&self) -> Workspace {
        self.workspace.clone()
    }

    pub(super) fn remote(&self) -> Result<Remote, Error> {
        let (tenant, branch) = (self.remote.tenant.clone(), self.remote.branch.clone());
        if let Some(client) = &self.client {
            let remote = Remote::new(client.clone(), tenant, branch);
            return Ok(match &self.trust {
                Some(trust) => remote.watched(Arc::clone(trust)),
                None => remote,
            });
        }
        let found = self.workspace.found(&self.remote)?;
        let dial: Dial = {
            let (ca_file, token) = (found.ca_file.clone(), Arc::clone(&self.token));
            Arc::new(move |url: &str| client(url, ca_file.as_deref(), &token))
        };
        let client = dial(&found.url)?;
        client.connect_early();
        let followed = Arc::new(|url: &str| tracing::warn!(url, "the tenant has moved"));
        let trust = Trust::new(&self.workspace, &found, dial, followed)?;
        Ok(Remote::new(client, tenant, branch).watched(trust))
    }

    /// Which way.
    pub const fn direction(&self) -> Direction {
        self.request.direction
    }

    /// The database, as far as it is part of it.
    pub const fn database(&self) -> &WithDatabase {
        &self.database
    }

    /// The time, in milliseconds since 1970-01-01T00:00:00Z.
    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) const fn random(&self) -> &Random {
        &self.random
    }

    pub(super) const fn limits(&self) -> Limits {
        self.limits
    }

    pub(super) const fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(super) const fn filter(&self) -> Option<&Patterns> {
        self.request.filter.as_ref()
    }

    pub(super) fn request(&self) -> AllRequest {
        self.request.clone()
    }

    pub(super) fn context(&self, listener: Listener) -> Context {
        Context {
            author: self.author.clone(),
            now: self.now(),
            random: Arc::clone(&self.random),
            listener,
        }
    }
}

impl std::fmt::Debug for SyncConfig {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncConfig")
            .field("workspace", &self.workspace)
            .field("remote", &self.remote)
            .field("request", &self.request)
            .field("limits", &self.limits)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for SyncConfigBuilder {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncConfigBuilder")
            .field("tenant", &self.tenant)
            .field("url", &self.url)
            .field("tree", &self.tree)
            .finish_non_exhaustive()
    }
}

impl SyncConfigBuilder {
    /// Which way; both ways where nobody says.
    pub const fn with_direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// The branch of the tenant; `main` where nobody says.
    pub fn with_branch(mut self, branch: impl Into<String>) -> Self {
        self.branch = branch.into();
        self
    }

    /// An open workspace, instead of one around the tree that was named: its whole `sync.toml` counts but for its `[remote]`.
    pub fn with_workspace(mut self, workspace: Workspace) -> Self {
        self.workspace = Some(workspace);
        self
    }

    /// A PEM file with the only certificate authorities to trust.
    pub fn with_ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(file.into());
        self
    }

    /// The way to the server, instead of one that is made for its address: in memory, say. The address then only names what
    /// was agreed on with whom.
    pub fn with_client(mut self, client: Client) -> Self {
        self.client = Some(client);
        self
    }

    /// Who watches over the way of [`Self::with_client`]; nobody does where nobody says.
    /// Over a way that is made for its address the service watches itself.
    pub fn with_trust(mut self, trust: Arc<Trust>) -> Self {
        self.trust = Some(trust);
        self
    }

    /// The database whose rows are synced, too; without one files are alone.
    pub fn with_database(mut self, database: Database) -> Self {
        self.database = Some(database);
        self
    }

    /// How much may be removed.
    pub const fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What is done where both sides changed the same, by a sync; a person is asked where nobody says.
    pub const fn with_on_conflict(mut self, on_conflict: OnConflict) -> Self {
        self.on_conflict = on_conflict;
        self
    }

    /// Patterns in git's syntax of the paths that travel, by a push or pull; rows do not, then.
    pub fn with_filter<P: Into<String>>(mut self, patterns: impl IntoIterator<Item = P>) -> Self {
        self.filter.extend(patterns.into_iter().map(Into::into));
        self
    }

    /// Why, for snapshots that are made; what changed, where nobody says.
    pub fn with_message(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Who makes snapshots.
    pub fn with_author(mut self, author: impl Into<String>) -> Self {
        self.author = author.into();
        self
    }

    /// What tells the time; the system's clock where nobody says.
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What gives random numbers; the system where nobody says.
    pub fn with_random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// How long a call may take; ten minutes where nobody says.
    pub const fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Checks what can be checked without asking anybody, and reads the `sync.toml` beside the tree, where there is one.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] with what is wrong; [`Error::ConfigSyntax`] and [`Error::Read`] for the `sync.toml`.
    pub fn build(self) -> Result<SyncConfig, Error> {
        let name = |setting: &'static str, text: &str| -> Result<Name, Error> {
            text.parse()
                .map_err(|error: sync_core::name::ParseNameError| {
                    let reason = error.to_string();
                    SettingSnafu { setting, reason }.build()
                })
        };
        let remote = RemoteConfig {
            tenant: name("tenant", &self.tenant)?,
            branch: name("branch", &self.branch)?,
            url: self.url,
            ca_file: self.ca_file,
        };
        if self.client.is_none() {
            sync_transport::Endpoint::parse(&remote.url)?;
        }
        ensure!(
            !self.deadline.is_zero(),
            SettingSnafu {
                setting: "deadline",
                reason: "nothing is done in no time"
            }
        );
        ensure!(
            self.filter.is_empty() || self.direction != Direction::Sync,
            SettingSnafu {
                setting: "filter",
                reason: "a sync is of everything: push or pull what the filter chooses"
            }
        );
        let filter = if self.filter.is_empty() {
            None
        } else {
            Some(Patterns::new("filter", &self.filter)?)
        };
        let database = match self.database {
            Some(_) if filter.is_some() => absent("the filter chooses paths"),
            Some(database) => WithDatabase::There(Box::new(database)),
            None => absent("no database is configured"),
        };
        let workspace = match self.workspace {
            Some(workspace) => {
                let config = Config {
                    remote: Some(remote.clone()),
                    ..workspace.config().clone()
                };
                Workspace::of(workspace.root(), config)
            }
            None => workspace(&self.tree, remote.clone())?,
        };
        Ok(SyncConfig {
            workspace,
            remote,
            token: self.token.into(),
            client: self.client,
            trust: self.trust,
            database,
            request: AllRequest {
                direction: self.direction,
                files: true,
                filter,
                on_conflict: self.on_conflict,
                message: self.message,
            },
            limits: self.limits,
            deadline: self.deadline,
            author: self.author,
            clock: self.clock,
            random: self.random,
        })
    }
}

fn absent(reason: &str) -> WithDatabase {
    WithDatabase::Absent {
        reason: reason.to_owned(),
        is_told: false,
    }
}

/// The workspace around a tree.
fn workspace(tree: &Path, remote: RemoteConfig) -> Result<Workspace, Error> {
    let refused = |reason: String| {
        let setting = "tree";
        SettingSnafu { setting, reason }.build()
    };
    let name = tree.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| refused(format!("`{}` names no directory", tree.display())))?;
    let name = TreePath::new(name).map_err(|error| refused(error.to_string()))?;
    let root = match tree.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut config = if root.join(CONFIG_FILE).is_file() {
        Config::load(root)?
    } else {
        Config::default()
    };
    config.workspace.tree = name;
    config.remote = Some(remote);
    Ok(Workspace::of(root, config))
}

/// What the system's clock says: the one place below `sync-cli` that asks it, for programs that bring none.
fn system_time() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}

/// A random number; the clock's low bits where the system has no randomness to give.
fn system_random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| system_time().wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sync_core::Fault;

    fn builder(tree: &Path) -> SyncConfigBuilder {
        SyncConfig::builder("acme", "https://sync.example.com", "hunter2", tree)
    }

    #[track_caller]
    fn refused(builder: SyncConfigBuilder, code: &str, complaint: &str) {
        let error = builder.build().unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(complaint), "{error}");
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_asked() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("services");
        let setting = "engine/setting";
        let tenant = SyncConfig::builder("../x", "https://a", "t", &tree);
        refused(tenant, setting, "`tenant`");
        refused(builder(&tree).with_branch("a b"), setting, "`branch`");
        refused(builder(&tree).with_filter(["a/**"]), setting, "`filter`");
        refused(
            builder(&tree).with_deadline(Duration::ZERO),
            setting,
            "`deadline`",
        );
        refused(builder(Path::new("..")), setting, "`tree`");
        let url = SyncConfig::builder("acme", "ftp://a", "t", &tree);
        assert!(url.build().is_err());
        std::fs::write(dir.path().join(CONFIG_FILE), "[files]\nallow = 1\n").unwrap();
        refused(builder(&tree), "engine/config-syntax", "sync.toml");
    }

    #[test]
    fn a_workspace_is_the_directory_that_holds_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        let toml = "[files]\nrestricted = [\"/x\"]\n[remote]\nurl = \"https://other\"\n";
        std::fs::write(dir.path().join(CONFIG_FILE), toml).unwrap();
        let config = builder(&dir.path().join("agents"));
        let config = config.with_direction(Direction::Push).build().unwrap();
        let workspace = config.workspace();
        assert_eq!(workspace.root(), dir.path());
        assert_eq!(workspace.tree(), dir.path().join("agents"));
        assert_eq!(workspace.config().files.restricted, ["/x"]);
        let remote = workspace.config().remote.as_ref().unwrap();
        assert_eq!(remote.url, "https://sync.example.com");
        assert!(!format!("{config:?}").contains("hunter2"));
        let here = builder(Path::new("./services")).build().unwrap();
        assert_eq!(here.workspace().root(), Path::new("."));
    }
}
