//! `sync.toml`: what a workspace is called, where its tree is, and which tenant it belongs to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use snafu::{ResultExt, ensure};
use sync_core::{Name, TreePath};
use sync_db::TableSpec;

use crate::Error;
use crate::error::{ConfigSnafu, ConfigSyntaxSnafu, ReadSnafu};
use crate::event::Target;
use crate::jobs::JobConfig;

/// The name of the configuration file, which marks a workspace's root.
pub const CONFIG_FILE: &str = "sync.toml";
/// The directory of private state beside it.
pub const PRIVATE_DIR: &str = ".sync";

/// The configuration of a workspace; an unknown key is an error, so that a typing mistake is not a silent default.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The workspace itself.
    #[serde(default)]
    pub workspace: WorkspaceConfig,
    /// What of the tree travels.
    #[serde(default)]
    pub files: FilesConfig,
    /// What of the database travels.
    #[serde(default, deserialize_with = "named")]
    pub database: DatabaseConfig,
    /// What runs by a schedule.
    #[serde(default)]
    pub jobs: Vec<JobConfig>,
    /// What a daemon does.
    #[serde(default)]
    pub daemon: DaemonConfig,
    /// The tenant it belongs to; commands that need one say so where it is absent.
    #[serde(default)]
    pub remote: Option<RemoteConfig>,
}

/// The `[daemon]` table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DaemonConfig {
    /// What it keeps in sync; what the workspace is configured for where this is absent.
    pub targets: Option<Vec<Target>>,
}

/// The `[workspace]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceConfig {
    /// What people call it; only for them.
    pub name: String,
    /// The directory that is synced, relative to the workspace's root.
    pub tree: TreePath,
}

impl Default for WorkspaceConfig {
    fn default() -> Self {
        // "services" is a valid path by its spelling.
        let tree = TreePath::new("services").unwrap_or_else(|_| unreachable!());
        Self {
            name: String::new(),
            tree,
        }
    }
}

/// The `[files]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FilesConfig {
    /// Patterns in git's syntax of files that may travel although their names are those of secrets.
    pub allow_secrets: Vec<String>,
    /// Patterns in git's syntax of files that are never merged: where both sides changed one, a person chooses.
    pub restricted: Vec<String>,
}

impl Default for FilesConfig {
    fn default() -> Self {
        Self {
            allow_secrets: Vec::new(),
            restricted: ["/access-control/**", "/profiles/**"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// The `[database]` table. The address of the database is never in it: it has a password.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// The environment variable that holds the URL.
    pub url_env: String,
    /// A file that holds the URL, relative to the workspace's root; it goes before the variable.
    pub url_file: Option<PathBuf>,
    /// The row sets; without any, those of agents, their skills, users and their contexts.
    #[serde(rename = "tables")]
    pub row_sets: Option<Vec<TableSpec>>,
    /// Whether `sync.toml` has this table at all: rows are part of `all` only then.
    #[serde(skip)]
    pub is_named: bool,
}

/// The table as it is written.
fn named<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<DatabaseConfig, D::Error> {
    Ok(DatabaseConfig {
        is_named: true,
        ..DatabaseConfig::deserialize(deserializer)?
    })
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url_env: "DATABASE_URL".to_owned(),
            url_file: None,
            row_sets: None,
            is_named: false,
        }
    }
}

impl DatabaseConfig {
    /// The row sets that travel.
    pub fn tables(&self) -> Vec<TableSpec> {
        self.row_sets
            .clone()
            .unwrap_or_else(sync_db::default_tables)
    }
}

/// The `[remote]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoteConfig {
    /// `https://host[:port]`, `http://` to loopback only, or `embedded:DIR`.
    pub url: String,
    /// The tenant's name.
    #[serde(default = "default_tenant")]
    pub tenant: Name,
    /// The branch that this workspace follows.
    #[serde(default = "default_branch")]
    pub branch: Name,
    /// A PEM file with the only certificate authorities to trust, relative to the workspace's root.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn default_tenant() -> Name {
    "default".parse().unwrap_or_else(|_| unreachable!())
}

fn default_branch() -> Name {
    "main".parse().unwrap_or_else(|_| unreachable!())
}

/// Where a tenant lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// In a directory, served in this process.
    Embedded(PathBuf),
    /// Behind an address, `http://` or `https://`.
    Address(String),
}

impl RemoteConfig {
    /// Where the tenant lives; a relative directory is taken from the workspace's `root`.
    ///
    /// # Errors
    ///
    /// Where `url` is neither an address nor `embedded:DIR`.
    pub fn location(&self, root: &Path) -> Result<Location, Error> {
        if let Some(dir) = self.url.strip_prefix("embedded:") {
            ensure!(
                !dir.is_empty(),
                ConfigSnafu {
                    key: "remote.url",
                    reason: "`embedded:` names no directory"
                }
            );
            return Ok(Location::Embedded(root.join(dir)));
        }
        let address = self.url.starts_with("https://") || self.url.starts_with("http://");
        ensure!(
            address,
            ConfigSnafu {
                key: "remote.url",
                reason: "expected `https://HOST[:PORT]` or `embedded:DIR`"
            }
        );
        Ok(Location::Address(self.url.clone()))
    }
}

impl Config {
    /// What a daemon keeps in sync, each once: what `[daemon]` says, else files and rows as far as there are a tenant and a
    /// database.
    pub fn daemon_targets(&self) -> BTreeSet<Target> {
        if let Some(targets) = &self.daemon.targets {
            return targets.iter().copied().collect();
        }
        let has_tenant = self.remote.is_some();
        let files = has_tenant.then_some(Target::Files);
        let database = (has_tenant && self.database.is_named).then_some(Target::Database);
        files.into_iter().chain(database).collect()
    }

    /// Reads and checks the `sync.toml` of the workspace at `root`.
    ///
    /// # Errors
    ///
    /// Where the file cannot be read, is not TOML, or has unknown keys or invalid values; the message has the line.
    pub fn load(root: &Path) -> Result<Self, Error> {
        Self::read(&root.join(CONFIG_FILE))
    }

    /// Likewise, from a file of any name.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path).context(ReadSnafu { path })?;
        Self::parse(&text).context(ConfigSyntaxSnafu { path })
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, complaint: Option<&str>) {
        match (Config::parse(text), complaint) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => assert!(error.to_string().contains(part), "{error}"),
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn complains_with_the_key_and_its_line() {
        check("", None);
        check("[remote]\nurl = \"https://a\"", None);
        check("[remote]\nurll = \"https://a\"", Some("line 2"));
        check(
            "[remote]\nurl = \"https://a\"\ntenant = \"../x\"",
            Some("a name is 1 to 64"),
        );
        check(
            "[[database.tables]]\nname = \"agents\"\nwhere = \"enabled\"",
            None,
        );
        check(
            "[[database.tables]]\nname = \"a.b.c\"",
            Some("a table is named"),
        );
        let job = |line: &str| format!("[[jobs]]\nname = \"a\"\n{line}\n");
        check(
            &job("schedule = \"0 3 * * *\"\nrun = \"push content skills\"\ndelete_orphans = true"),
            None,
        );
        check(
            &job("run = \"content_sync\"\ndirection = \"to-disk\""),
            None,
        );
        check(
            &job("run = \"sync content\""),
            Some("expected `push` or `pull`"),
        );
        check(
            &job("run = \"push files\""),
            Some("expected `push` or `pull`"),
        );
        check(&job("run = \"push\""), Some("expected `push` or `pull`"));
        check(
            &job("run = \"content_sync\"\ndirection = \"up\""),
            Some("expected `to-db` or `to-disk`"),
        );
        check(
            &job("run = \"content_sync\"\nschedule = \"61 * * * *\""),
            Some("line 4"),
        );
        check(
            &job("run = \"content_sync\"\nshedule = \"* * * * *\""),
            Some("line 4"),
        );
        check("[workspace]\ntree = \"../up\"", Some("`..`"));
        check("[remote", Some("line 1"));
    }

    #[test]
    fn a_daemon_keeps_what_is_configured() {
        let targets = |text: &str| {
            let targets = Config::parse(text).unwrap().daemon_targets();
            let words: Vec<&str> = targets.iter().map(|target| target.as_str()).collect();
            words.join(" ")
        };
        let remote = "[remote]\nurl = \"https://a\"\n";
        assert_eq!(targets(""), "");
        assert_eq!(targets("[database]"), "");
        assert_eq!(targets(remote), "files");
        assert_eq!(targets(&format!("{remote}[database]")), "files database");
        assert_eq!(targets(&format!("{remote}[daemon]\ntargets = []")), "");
        let items = "[daemon]\ntargets = [\"content\", \"files\", \"content\"]";
        assert_eq!(targets(&format!("{remote}{items}")), "files content");
        check("[daemon]\ntargets = [\"rows\"]", Some("line 2"));
        check("[daemon]\ntarget = []", Some("line 2"));
    }

    #[test]
    fn locations() {
        let location = |url: &str| {
            let toml = format!("[remote]\nurl = \"{url}\"");
            let remote = Config::parse(&toml).unwrap().remote.unwrap();
            remote.location(Path::new("/w")).ok()
        };
        assert_eq!(
            location("embedded:.sync/t"),
            Some(Location::Embedded("/w/.sync/t".into()))
        );
        assert_eq!(
            location("embedded:/data"),
            Some(Location::Embedded("/data".into()))
        );
        assert_eq!(
            location("https://a:1"),
            Some(Location::Address("https://a:1".into()))
        );
        assert_eq!(location("embedded:"), None);
        assert_eq!(location("ftp://a"), None);
    }
}
