//! What an image is made from, as one digest, and whether a binary is as new as what it is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Digest;

use crate::config::Project;
use crate::context::{Ignored, sent};
use crate::error::{IoSnafu, NoDockerfileSnafu, SettingsSnafu, StaleSnafu};
use crate::{Builder, Command, CommandRunner, Error};

/// A question to cargo takes no longer.
const QUESTION: Duration = Duration::from_mins(1);
/// Directories that say nothing of a program wherever they are.
const NEVER: [&str; 3] = [".git", ".sync", "node_modules"];

/// Where cargo has what, for one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cargo {
    /// The directories of the package and of all that it needs from this source, in order.
    pub packages: Vec<PathBuf>,
    /// Files of the workspace that decide how they are built.
    pub files: Vec<PathBuf>,
    /// Where cargo builds.
    pub target: PathBuf,
    /// The program, once it was built.
    pub binary: PathBuf,
}

#[derive(Deserialize)]
struct Workspace {
    packages: Vec<Package>,
    #[serde(rename = "workspace_root")]
    root: PathBuf,
    target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    #[serde(default)]
    path: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Cargo {
    /// Asks cargo about the program of a project; `None` where cargo does not build it.
    ///
    /// # Errors
    ///
    /// Where cargo fails, or knows no such package or program.
    pub async fn look(
        runner: &dyn CommandRunner,
        project: &Project,
    ) -> Result<Option<Self>, Error> {
        let Some((package, binary)) = &project.package else {
            return Ok(None);
        };
        let args = ["metadata", "--no-deps", "--format-version=1"];
        let ask = Command::new("cargo", args)
            .in_dir(&project.source)
            .within(QUESTION);
        let ran = runner.run(&ask, &|_| {}).await?;
        let found: Option<Workspace> = serde_json::from_slice(&ran.stdout).ok();
        let reason = "`cargo metadata` says something that is not understood";
        let found = found.context(SettingsSnafu {
            key: "deploy.package",
            reason,
        })?;
        found.program(package, binary).map(Some)
    }
}

impl Workspace {
    fn program(self, package: &str, binary: &str) -> Result<Cargo, Error> {
        let dir = |package: &Package| package.manifest_path.parent().map(Path::to_owned);
        let by_dir: BTreeMap<PathBuf, &Package> = self
            .packages
            .iter()
            .filter_map(|package| Some((dir(package)?, package)))
            .collect();
        let first = self.packages.iter().find(|one| one.name == package);
        let reason = format!("cargo knows no package `{package}` here");
        let first = first.context(SettingsSnafu {
            key: "deploy.package",
            reason,
        })?;
        let is_binary =
            |target: &Target| target.name == binary && target.kind.iter().any(|kind| kind == "bin");
        let reason = format!("package `{package}` has no program `{binary}`");
        ensure!(
            first.targets.iter().any(is_binary),
            SettingsSnafu {
                key: "deploy.binary",
                reason
            }
        );
        let mut packages = BTreeSet::new();
        let mut waiting: Vec<PathBuf> = dir(first).into_iter().collect();
        while let Some(dir) = waiting.pop() {
            let needs = by_dir.get(&dir).map(|package| &package.dependencies);
            let paths = needs
                .into_iter()
                .flatten()
                .filter_map(|one| one.path.clone());
            waiting.extend(paths.filter(|path| !packages.contains(path)));
            packages.insert(dir);
        }
        let root = &self.root;
        let names = [
            "Cargo.toml",
            "Cargo.lock",
            "rust-toolchain",
            "rust-toolchain.toml",
            ".cargo/config.toml",
        ];
        Ok(Cargo {
            packages: packages.into_iter().collect(),
            files: names
                .iter()
                .map(|name| root.join(name))
                .filter(|path| path.is_file())
                .collect(),
            binary: self.target_directory.join("release").join(binary),
            target: self.target_directory,
        })
    }
}

/// The digest of everything that the image is made from and of the configuration that it runs with: sources in place of what is
/// built of them, so that it can be told before anything is built. `.git`, `.sync` and `node_modules` do not count.
///
/// # Errors
///
/// [`Error::NoDockerfile`], and where a file cannot be read.
pub fn contents(
    project: &Project,
    cargo: Option<&Cargo>,
    builder: Builder,
    configuration: &[u8],
) -> Result<Digest, Error> {
    ensure!(
        project.dockerfile.is_file(),
        NoDockerfileSnafu {
            path: &project.dockerfile
        }
    );
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    let built = |path: &Path| {
        let is_target = cargo.is_some_and(|cargo| path.starts_with(&cargo.target));
        let is_web = project
            .web
            .as_ref()
            .is_some_and(|(_, output)| path.starts_with(output));
        is_target || is_web
    };
    let ignored = Ignored::read(
        &project.context,
        &project.dockerfile,
        builder == Builder::BuildKit,
    )?;
    for one in sent(&project.context, &ignored)? {
        let is_never = one.path.split('/').any(|name| NEVER.contains(&name));
        if !is_never && !built(&one.place) {
            files.insert(format!("context/{}", one.path), one.place);
        }
    }
    files.insert("Dockerfile".to_owned(), project.dockerfile.clone());
    let dirs = cargo
        .map(|cargo| cargo.packages.as_slice())
        .unwrap_or_default();
    let web = project.web.iter().map(|(web, _)| web);
    for dir in dirs.iter().chain(web) {
        let name = dir.strip_prefix(&project.source).unwrap_or(dir);
        let name = format!("source/{}", name.display());
        let mut found = Vec::new();
        walk(dir, &built, &mut found)?;
        for path in found {
            let rest = path.strip_prefix(dir).unwrap_or(&path);
            files.insert(format!("{name}/{}", rest.display()), path);
        }
    }
    for path in cargo.iter().flat_map(|cargo| &cargo.files) {
        let name = path.strip_prefix(&project.source).unwrap_or(path);
        files.insert(format!("source/{}", name.display()), path.clone());
    }
    let mut all = blake3::Hasher::new_derive_key("sync deploy contents 1");
    let mut part = |bytes: &[u8]| {
        all.update(&(bytes.len() as u64).to_le_bytes());
        all.update(bytes);
    };
    part(configuration);
    for (name, path) in &files {
        let read = IoSnafu {
            action: "read",
            path,
        };
        part(name.as_bytes());
        let metadata = std::fs::symlink_metadata(path).context(read)?;
        if metadata.is_symlink() {
            let target = std::fs::read_link(path).context(read)?;
            part(b"link");
            part(target.as_os_str().as_encoded_bytes());
            continue;
        }
        // A socket or a pipe has nothing to be read.
        if metadata.is_file() {
            part(if is_executable(&metadata) {
                b"executable"
            } else {
                b"file"
            });
            part(digest_of(path).context(read)?.as_bytes());
        }
    }
    Ok(Digest::from_slice(all.finalize().as_bytes()).unwrap_or_else(|| unreachable!("32 bytes")))
}

fn is_executable(metadata: &Metadata) -> bool {
    metadata.permissions().mode() & 0o111 != 0
}

fn digest_of(path: &Path) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize())
}

/// Files and links below a directory of sources.
fn walk(
    dir: &Path,
    is_built: &dyn Fn(&Path) -> bool,
    found: &mut Vec<PathBuf>,
) -> Result<(), Error> {
    let read = IoSnafu {
        action: "read",
        path: dir,
    };
    for entry in std::fs::read_dir(dir).context(read)? {
        let entry = entry.context(read)?;
        let path = entry.path();
        let name = entry.file_name();
        if is_built(&path) || NEVER.iter().any(|never| name == *never) {
            continue;
        }
        if entry.file_type().context(read)?.is_dir() {
            walk(&path, is_built, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Checks that the program can get into the image: it is built within the context, and not left out of it.
///
/// # Errors
///
/// [`Error::Stale`] where it cannot.
pub fn ensure_sent(project: &Project, cargo: &Cargo, builder: Builder) -> Result<(), Error> {
    let refuse = |reason: String| {
        StaleSnafu {
            binary: &cargo.binary,
            reason,
        }
        .fail()
    };
    let context = absolute(&project.context)?;
    let Ok(below) = cargo.binary.strip_prefix(&context) else {
        return refuse(format!(
            "is not below `{}`, so another one would be shipped: unset CARGO_TARGET_DIR",
            context.display()
        ));
    };
    let below = below.to_string_lossy();
    let ignored = Ignored::read(
        &project.context,
        &project.dockerfile,
        builder == Builder::BuildKit,
    )?;
    if ignored.leaves_out(&below.split('/').collect::<Vec<_>>()) {
        return refuse(format!(
            "is left out by `.dockerignore`: add `!{below}` to it"
        ));
    }
    Ok(())
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::fs::canonicalize(path).context(IoSnafu {
        action: "read",
        path,
    })
}

/// Checks that nothing that the program was made from changed after it was built, by what cargo wrote down beside it.
///
/// # Errors
///
/// [`Error::Stale`] where it is not there, older than a source, or nobody knows what it was made from.
pub fn ensure_fresh(cargo: &Cargo) -> Result<SystemTime, Error> {
    let refuse = |reason: String| {
        StaleSnafu {
            binary: &cargo.binary,
            reason,
        }
        .build()
    };
    let Ok(built) = std::fs::metadata(&cargo.binary).and_then(|metadata| metadata.modified())
    else {
        return Err(refuse("is not there".to_owned()));
    };
    let list = cargo.binary.with_added_extension("d");
    let Ok(text) = std::fs::read_to_string(&list) else {
        return Err(refuse(format!(
            "has no `{}` that says what it was made from",
            list.display()
        )));
    };
    let sources = made_from(&text);
    for path in sources.iter().chain(&cargo.files) {
        let changed = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        let Ok(changed) = changed else {
            return Err(refuse(format!(
                "was made from `{}`, which is gone",
                path.display()
            )));
        };
        if changed > built {
            return Err(refuse(format!("is older than `{}`", path.display())));
        }
    }
    Ok(built)
}

/// What a file of dependencies in the syntax of make names, white space in names being escaped.
fn made_from(text: &str) -> Vec<PathBuf> {
    let line = text.lines().next().unwrap_or_default();
    let (_, sources) = line.split_once(": ").unwrap_or_default();
    let mut found = vec![String::new()];
    let mut chars = sources.chars();
    while let Some(c) = chars.next() {
        match (c, found.last_mut()) {
            ('\\', Some(last)) => last.extend(chars.next()),
            (' ', _) => found.push(String::new()),
            (c, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    let names = found.into_iter().filter(|name| !name.is_empty());
    names.map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ProcessRunner;
    use crate::config::DeployConfig;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn names_with_spaces_are_escaped_by_cargo() {
        let text = "/t/release/a: /s/a\\ b.rs /s/c.rs\n\n/s/c.rs:\n";
        assert_eq!(made_from(text), ["/s/a b.rs", "/s/c.rs"].map(PathBuf::from));
    }

    /// A project of two packages, of which the second one is nobody's business.
    fn project(root: &Path) -> Project {
        let package = |name: &str, needs: &str| {
            write(
                &root.join(name).join("Cargo.toml"),
                &format!(
                    "[package]\nname = \"{name}\"\nedition = \"2024\"\n[dependencies]\n{needs}\n"
                ),
            );
            write(&root.join(name).join("src/lib.rs"), "");
        };
        package("agents", "parts = { path = \"../parts\" }");
        package("parts", "");
        package("others", "");
        write(&root.join("agents/src/main.rs"), "fn main() {}");
        write(
            &root.join("Cargo.toml"),
            "[workspace]\nmembers = [\"agents\", \"parts\", \"others\"]\nresolver = \"3\"\n",
        );
        write(
            &root.join("Dockerfile"),
            "FROM scratch\nCOPY target/release/agents /\n",
        );
        write(
            &root.join(".dockerignore"),
            "*\n!target/release/agents\n!assets\n",
        );
        write(&root.join("assets/a.txt"), "a");
        let config = DeployConfig {
            package: Some("agents".to_owned()),
            ..DeployConfig::default()
        };
        config.project(root)
    }

    #[tokio::test]
    async fn what_the_image_is_made_from_decides_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let project = project(&root);
        let mut cargo = Cargo::look(&ProcessRunner, &project)
            .await
            .unwrap()
            .unwrap();
        let packages: Vec<_> = cargo
            .packages
            .iter()
            .map(|dir| dir.file_name().unwrap())
            .collect();
        assert_eq!(packages, ["agents", "parts"]);
        // Whatever the environment of this test says.
        cargo.target = root.join("target");
        cargo.binary = root.join("target/release/agents");
        let digest = || contents(&project, Some(&cargo), Builder::Classic, b"").unwrap();
        let mut seen = digest();
        let mut check = |path: &str, text: &str, differs: bool| {
            write(&root.join(path), text);
            let now = digest();
            assert_eq!(now != seen, differs, "{path}");
            seen = now;
        };
        check("target/release/agents", "binary", false);
        check(".git/index", "index", false);
        check(".sync/store", "state", false);
        check("others/src/lib.rs", "//!", false);
        check("README.md", "left out", false);
        check("agents/src/main.rs", "fn main() { }", true);
        check("parts/src/lib.rs", "//!", true);
        check("assets/a.txt", "b", true);
        check("assets/a.txt", "b", false);
        check("Dockerfile", "FROM scratch\n", true);
        check(
            "Cargo.toml",
            "[workspace]\nmembers = [\"agents\", \"parts\"]\n",
            true,
        );
        let other = contents(&project, Some(&cargo), Builder::Classic, b"PORT=1").unwrap();
        assert_ne!(other, seen);
    }

    #[test]
    fn a_binary_that_is_older_than_a_source_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap();
        let project = project(&root);
        let cargo = Cargo {
            packages: vec![root.join("agents")],
            files: vec![root.join("Cargo.toml")],
            target: root.join("target"),
            binary: root.join("target/release/agents"),
        };
        let says = |part: &str| {
            let error = ensure_fresh(&cargo).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        };
        says("is not there");
        write(&cargo.binary, "");
        says("says what it was made from");
        let main = root.join("agents/src/main.rs");
        let list = format!("{}: {}\n", cargo.binary.display(), main.display());
        write(&root.join("target/release/agents.d"), &list);
        let at = |path: &Path, seconds| {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_modified(time)
                .unwrap();
        };
        at(&cargo.binary, 2000);
        at(&main, 1000);
        at(&root.join("Cargo.toml"), 1000);
        ensure_fresh(&cargo).unwrap();
        at(&main, 3000);
        says("main.rs");
        std::fs::remove_file(&main).unwrap();
        says("which is gone");

        ensure_sent(&project, &cargo, Builder::Classic).unwrap();
        write(&root.join(".dockerignore"), "target\n");
        let error = ensure_sent(&project, &cargo, Builder::Classic).unwrap_err();
        assert!(error.to_string().contains(".dockerignore"), "{error}");
        let cargo = Cargo {
            binary: "/elsewhere/agents".into(),
            ..cargo
        };
        let error = ensure_sent(&project, &cargo, Builder::Classic).unwrap_err();
        assert!(error.to_string().contains("CARGO_TARGET_DIR"), "{error}");
    }
}
