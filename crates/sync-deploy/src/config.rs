//! `[deploy]` of `sync.toml`: what a workspace's program is made from, and where its image goes.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use snafu::ensure;

use crate::Error;
use crate::error::SettingsSnafu;

/// The `[deploy]` table. Paths are relative to the workspace's root, or to `source` where that is said.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployConfig {
    /// The directory of the source, a checkout or a part of one.
    pub source: PathBuf,
    /// The cargo package that has the program; without one nothing is built by cargo.
    pub package: Option<String>,
    /// The program, where it is called otherwise than the package.
    pub binary: Option<String>,
    /// The directory with the `package.json` of web assets, relative to `source`; `npm run build` runs there.
    pub web: Option<PathBuf>,
    /// Where that puts what it builds, relative to `web`.
    pub web_output: PathBuf,
    /// What says how the image is made, relative to `source`.
    pub dockerfile: PathBuf,
    /// What the image is made from, relative to `source`.
    pub context: PathBuf,
    /// The host of the registry, with its port where it is not that of HTTPS; what the tenant says where absent.
    pub registry: Option<String>,
    /// Where the image goes there; what the tenant says where absent.
    pub repository: Option<String>,
    /// Who pushes; the engine's own credentials where absent, and nothing else says who.
    pub username: Option<String>,
    /// The environment variable with the password.
    pub password_env: String,
    /// A file with the password, relative to the workspace's root; it goes before the variable.
    pub password_file: Option<PathBuf>,
    /// The tag; one that names time and commit where absent.
    pub tag: Option<String>,
}

impl Default for DeployConfig {
    fn default() -> Self {
        Self {
            source: ".".into(),
            package: None,
            binary: None,
            web: None,
            web_output: "dist".into(),
            dockerfile: "Dockerfile".into(),
            context: ".".into(),
            registry: None,
            repository: None,
            username: None,
            password_env: "SYNC_REGISTRY_PASSWORD".to_owned(),
            password_file: None,
            tag: None,
        }
    }
}

/// Where an image goes: `registry/repository`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// The host, with its port where it is not that of HTTPS.
    pub registry: String,
    /// The path below it.
    pub path: String,
}

impl Repository {
    /// Checks both parts by the grammar of references to images.
    ///
    /// # Errors
    ///
    /// [`Error::Settings`] where one is not as references have it.
    pub fn new(registry: &str, path: &str) -> Result<Self, Error> {
        let is_host = !registry.is_empty()
            && !registry.starts_with('-')
            && registry
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-.:[]".contains(c))
            && (registry.contains(['.', ':']) || registry == "localhost");
        let reason = "expected a host such as `registry.example.com` or `127.0.0.1:5000`";
        ensure!(
            is_host,
            SettingsSnafu {
                key: "deploy.registry",
                reason
            }
        );
        let is_part = |part: &str| {
            let is_edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(is_edge)
                && part.ends_with(is_edge)
                && part.chars().all(|c| is_edge(c) || "._-".contains(c))
        };
        let reason = "expected lower case names such as `team/agents`";
        ensure!(
            path.len() <= 255 && path.split('/').all(is_part),
            SettingsSnafu {
                key: "deploy.repository",
                reason
            }
        );
        let (registry, path) = (registry.to_owned(), path.to_owned());
        Ok(Self { registry, path })
    }
}

impl std::fmt::Display for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// What a program is made from, as absolute paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// The directory of the source.
    pub source: PathBuf,
    /// The cargo package, and its program.
    pub package: Option<(String, String)>,
    /// The directory of web assets, and where what is built of them goes.
    pub web: Option<(PathBuf, PathBuf)>,
    /// What says how the image is made.
    pub dockerfile: PathBuf,
    /// What the image is made from.
    pub context: PathBuf,
}

impl DeployConfig {
    /// What the program of the workspace at `root` is made from.
    pub fn project(&self, root: &Path) -> Project {
        let source = joined(root, &self.source);
        let binary = |package: &String| self.binary.clone().unwrap_or_else(|| package.clone());
        let web = self.web.as_ref().map(|web| joined(&source, web));
        Project {
            package: self
                .package
                .as_ref()
                .map(|package| (package.clone(), binary(package))),
            web: web.map(|web| (web.clone(), joined(&web, &self.web_output))),
            dockerfile: joined(&source, &self.dockerfile),
            context: joined(&source, &self.context),
            source,
        }
    }
}

/// `path` below `dir`, without `.`.
fn joined(dir: &Path, path: &Path) -> PathBuf {
    let parts = path.components().filter(|part| *part != Component::CurDir);
    let mut joined = dir.to_owned();
    joined.extend(parts);
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_taken_from_where_they_are_said_to_be() {
        let config = DeployConfig {
            source: "../code".into(),
            package: Some("agents".into()),
            web: Some("web".into()),
            ..DeployConfig::default()
        };
        let project = config.project(Path::new("/w"));
        assert_eq!(project.source, Path::new("/w/../code"));
        assert_eq!(project.context, Path::new("/w/../code"));
        assert_eq!(project.dockerfile, Path::new("/w/../code/Dockerfile"));
        assert_eq!(project.package, Some(("agents".into(), "agents".into())));
        let dist = Path::new("/w/../code/web/dist");
        assert_eq!(project.web.unwrap().1, dist);
    }

    #[test]
    fn repositories() {
        let check = |registry, path, is_good| {
            let made = Repository::new(registry, path);
            assert_eq!(made.is_ok(), is_good, "{registry}/{path}: {made:?}");
        };
        check("registry.example.com", "team/agents", true);
        check("127.0.0.1:5000", "agents", true);
        check("localhost", "agents", true);
        check("registry", "agents", false);
        check("", "agents", false);
        check("https://r.example.com", "agents", false);
        check("r.example.com", "", false);
        check("r.example.com", "Team/agents", false);
        check("r.example.com", "team//agents", false);
        check("r.example.com", "team/agents:tag", false);
        check("--all.example", "agents", false);
    }
}
