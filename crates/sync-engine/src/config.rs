//! `sync.toml`: what a workspace is called, where its tree is, and which tenant it belongs to.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::{Name, TreePath};
use sync_db::TableSpec;
use sync_deploy::DeployConfig;

use crate::Error;
use crate::error::{
    ConfigSnafu, ConfigSyntaxSnafu, NoRemoteSnafu, ReadSnafu, UnknownRemoteSnafu, WhichRemoteSnafu,
};
use crate::event::Target;
use crate::jobs::JobConfig;

/// The name of the configuration file, which marks a workspace's root.
pub const CONFIG_FILE: &str = "sync.toml";
/// What `[remote]` is called among the remotes that have names.
pub const DEFAULT_REMOTE: &str = "default";
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
    /// What the program is made from, and where its image goes; nothing is deployed where this is absent.
    #[serde(default)]
    pub deploy: Option<DeployConfig>,
    /// What a daemon does.
    #[serde(default)]
    pub daemon: DaemonConfig,
    /// The tenant it belongs to, called [`DEFAULT_REMOTE`]; commands that need one say so where it is absent.
    #[serde(default)]
    pub remote: Option<RemoteConfig>,
    /// Further tenants by name. See [`Config::remotes`].
    #[serde(default, rename = "remotes")]
    pub named_remotes: BTreeMap<Name, RemoteConfig>,
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

/// The `[remote]` table, and each of `[remotes]`.
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

/// The tenant where none is named.
pub fn default_tenant() -> Name {
    "default".parse().unwrap_or_else(|_| unreachable!())
}

/// The branch where none is named.
pub fn default_branch() -> Name {
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
        let has_tenant = self.remotes().next().is_some();
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
        Self::parse(&text, path)
    }

    /// Reads and checks the text of a configuration; `path` is where errors say that it is from.
    ///
    /// # Errors
    ///
    /// As [`Config::load`], but for reading.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).context(ConfigSyntaxSnafu { path })?;
        let mut names = config.named_remotes.keys().map(Name::as_str);
        let both = config.remote.is_some() && names.any(|name| name == DEFAULT_REMOTE);
        ensure!(
            !both,
            ConfigSnafu {
                key: "remotes.default",
                reason: "`[remote]` is the remote of that name already"
            }
        );
        Ok(config)
    }

    /// Every remote with its name, `[remote]` first.
    pub fn remotes(&self) -> impl Iterator<Item = (&str, &RemoteConfig)> {
        let first = self.remote.iter().map(|remote| (DEFAULT_REMOTE, remote));
        let named = self.named_remotes.iter();
        first.chain(named.map(|(name, remote)| (name.as_str(), remote)))
    }

    /// The remote that is meant where none is named: `[remote]`, else the one that is called `default`, else the only one.
    ///
    /// # Errors
    ///
    /// [`Error::NoRemote`] where there is none, [`Error::WhichRemote`] where there are several.
    pub fn default_remote(&self) -> Result<(&str, &RemoteConfig), Error> {
        if let Some(found) = self.remotes().find(|(name, _)| *name == DEFAULT_REMOTE) {
            return Ok(found);
        }
        let names: Vec<String> = self
            .remotes()
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        let names = names.join(", ");
        let mut remotes = self.remotes();
        let first = remotes.next().context(NoRemoteSnafu)?;
        ensure!(remotes.next().is_none(), WhichRemoteSnafu { names });
        Ok(first)
    }

    /// The remote of this name; without one, [`Config::default_remote`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRemote`] where there is none of this name, and those of [`Config::default_remote`].
    pub fn remote_named(&self, name: Option<&str>) -> Result<(&str, &RemoteConfig), Error> {
        let Some(name) = name else {
            return self.default_remote();
        };
        let found = self.remotes().find(|(known, _)| *known == name);
        found.context(UnknownRemoteSnafu { name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, Error> {
        Config::parse(text, Path::new(CONFIG_FILE))
    }

    /// The message with its cause, where it has one.
    fn said(error: &Error) -> String {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        format!("{error} {}", cause.unwrap_or_default())
    }

    #[track_caller]
    fn check(text: &str, complaint: Option<&str>) {
        match (parse(text), complaint) {
            (Ok(_), None) => {}
            (Err(error), Some(part)) => {
                assert!(said(&error).contains(part), "{}", said(&error));
            }
            (outcome, _) => panic!("{outcome:?}"),
        }
    }

    #[test]
    fn which_remote_is_meant() {
        let table = |header: &str| format!("[{header}]\nurl = \"https://{header}\"\n");
        let check = |headers: &[&str], asked: Option<&str>, expected: Result<&str, &str>| {
            let text: String = headers.iter().map(|header| table(header)).collect();
            let found = parse(&text).and_then(|config| {
                let (name, remote) = config.remote_named(asked)?;
                Ok(format!("{name} {}", remote.url))
            });
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(error), Err(part)) => {
                    assert!(said(error).contains(part), "{}", said(error));
                }
                _ => panic!("{headers:?} {asked:?}: {found:?}"),
            }
        };
        check(&[], None, Err("belongs to no tenant"));
        check(&["remote"], None, Ok("default https://remote"));
        check(&["remote"], Some("default"), Ok("default https://remote"));
        check(&["remote", "remotes.a"], None, Ok("default https://remote"));
        check(
            &["remote", "remotes.a"],
            Some("a"),
            Ok("a https://remotes.a"),
        );
        check(&["remotes.a"], None, Ok("a https://remotes.a"));
        check(&["remotes.a", "remotes.b"], None, Err("`a`, `b`"));
        check(
            &["remotes.a", "remotes.default"],
            None,
            Ok("default https://remotes.default"),
        );
        check(&["remotes.a"], Some("b"), Err("no remote `b`"));
        check(&["remote", "remotes.default"], None, Err("remotes.default"));
        check(&["remotes.A"], None, Err("a name is 1 to 64"));
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
        check("[deploy]\npackage = \"agents\"\nweb = \"web\"", None);
        check("[deploy]\nregistri = \"a\"", Some("line 2"));
        check("[workspace]\ntree = \"../up\"", Some("`..`"));
        check("[remote", Some("line 1"));
    }

    #[test]
    fn a_daemon_keeps_what_is_configured() {
        let targets = |text: &str| {
            let targets = Config::parse(text, Path::new(CONFIG_FILE))
                .unwrap()
                .daemon_targets();
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
            let remote = parse(&toml).unwrap().remote.unwrap();
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
