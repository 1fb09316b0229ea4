//! The container engine, by its command line: whatever `docker` finds by its contexts and its environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

use snafu::ResultExt;
use sync_transport::Secret;

use crate::error::{IoSnafu, NoEngineSnafu, NoSpaceSnafu, RefusedSnafu};
use crate::{Command, CommandRunner, Error, Listener, Ran};

/// How long a question may take; a push or a build has [`Command::LIMIT`].
const QUESTION: Duration = Duration::from_mins(1);

/// Who pushes to a registry, or pulls from it.
#[derive(Debug, Clone)]
pub struct Login {
    /// The host, with its port where it is not that of HTTPS.
    pub registry: String,
    /// The user.
    pub username: String,
    /// The password, or a token that stands for one.
    pub password: Secret,
}

/// What builds images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// `BuildKit`, by the plugin `buildx`.
    BuildKit,
    /// The builder that every engine has.
    Classic,
}

impl Builder {
    /// The variable that has `docker build` take it.
    pub(crate) const fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::BuildKit => ("DOCKER_BUILDKIT", "1"),
            Self::Classic => ("DOCKER_BUILDKIT", "0"),
        }
    }

    /// What people call it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BuildKit => "BuildKit",
            Self::Classic => "the classic builder",
        }
    }
}

/// A question to the engine.
pub(crate) fn question<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    Command::new("docker", args).within(QUESTION)
}

/// Runs a `docker` command, and says of what it failed where that can be told.
///
/// # Errors
///
/// As [`CommandRunner::run`]; [`Error::NoEngine`], [`Error::NoSpace`] and [`Error::Refused`] where its last lines say so.
pub(crate) async fn docker(
    runner: &dyn CommandRunner,
    command: &Command,
    tell: &Listener<'_>,
) -> Result<Ran, Error> {
    runner.run(command, tell).await.map_err(understood)
}

/// The same for a question: nobody is told what it writes.
pub(crate) async fn ask<S: AsRef<std::ffi::OsStr>>(
    runner: &dyn CommandRunner,
    args: impl IntoIterator<Item = S>,
) -> Result<String, Error> {
    let command = question(args);
    Ok(docker(runner, &command, &|_| {}).await?.line())
}

/// The version of the engine that answers.
///
/// # Errors
///
/// [`Error::NoEngine`] where none does, [`Error::Start`] where there is no `docker`.
pub async fn version(runner: &dyn CommandRunner) -> Result<String, Error> {
    ask(runner, ["version", "--format", "{{.Server.Version}}"]).await
}

/// Where the engine keeps its images, on its own machine.
///
/// # Errors
///
/// As [`version`].
pub async fn root(runner: &dyn CommandRunner) -> Result<PathBuf, Error> {
    let root = ask(runner, ["info", "--format", "{{.DockerRootDir}}"]).await?;
    Ok(root.into())
}

/// What builds images here: `BuildKit` where its plugin answers.
pub async fn builder(runner: &dyn CommandRunner) -> Builder {
    match ask(runner, ["buildx", "version"]).await {
        Ok(_) => Builder::BuildKit,
        Err(_) => Builder::Classic,
    }
}

/// What a failed command says about its reason.
fn understood(error: Error) -> Error {
    let Error::Ended { command, lines, .. } = &error else {
        return error;
    };
    let says = |parts: &[&str]| {
        let said = |line: &&String| {
            let line = line.to_ascii_lowercase();
            parts.iter().any(|part| line.contains(part))
        };
        lines.iter().rev().find(said).cloned()
    };
    if let Some(line) = says(&[
        "cannot connect to the docker daemon",
        "failed to connect to the docker api",
        "is the docker daemon running",
    ]) {
        return NoEngineSnafu { line }.build();
    }
    if let Some(line) = says(&["no space left on device", "disk quota exceeded"]) {
        let command = command.clone();
        return NoSpaceSnafu { command, line }.build();
    }
    let refusals = [
        "unauthorized",
        "no basic auth credentials",
        "incorrect username or password",
        "authentication required",
        "denied: ",
    ];
    if says(&refusals).is_some()
        && let Some(registry) = registry_of(command)
    {
        return RefusedSnafu { registry }.build();
    }
    error
}

/// The registry that a login, push or pull is about.
fn registry_of(command: &str) -> Option<String> {
    let mut words = command.split(' ');
    let verb = words.find(|word| ["login", "push", "pull"].contains(word))?;
    let last = words.next_back()?;
    let registry = match verb {
        "login" => last,
        _ => last.split('/').next()?,
    };
    Some(registry.to_owned())
}

/// A directory with credentials of one run, which goes with it: a password that was given for one push does not stay in a
/// person's home. Contexts of the engine are those of the person.
#[derive(Debug)]
pub struct Private {
    dir: PathBuf,
}

impl Private {
    /// Makes it at `dir`, which only its owner can read; `home` is the configuration that contexts are taken from.
    ///
    /// # Errors
    ///
    /// Where it cannot be made.
    pub fn make(dir: &Path, home: Option<&Path>) -> Result<Self, Error> {
        let written = IoSnafu {
            action: "write",
            path: dir,
        };
        // A run that was killed has left its own.
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context(written);
            }
            _ => {}
        }
        let mut builder = std::fs::DirBuilder::new();
        std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700)
            .create(dir)
            .context(written)?;
        let private = Self {
            dir: dir.to_owned(),
        };
        let Some(home) = home else {
            return Ok(private);
        };
        for name in ["contexts", "cli-plugins"] {
            let theirs = home.join(name);
            if theirs.is_dir() {
                std::os::unix::fs::symlink(&theirs, dir.join(name)).context(written)?;
            }
        }
        let theirs = std::fs::read(home.join("config.json")).unwrap_or_default();
        let theirs: serde_json::Value = serde_json::from_slice(&theirs).unwrap_or_default();
        if let Some(current) = theirs.get("currentContext") {
            let config = serde_json::json!({ "currentContext": current }).to_string();
            std::fs::write(dir.join("config.json"), config).context(written)?;
        }
        Ok(private)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What is left, the next run removes.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The command that logs in, its credentials kept in `config`.
pub(crate) fn login(login: &Login, config: &Path) -> Command {
    let args = [
        "login",
        "--username",
        &login.username,
        "--password-stdin",
        &login.registry,
    ];
    question(args)
        .env("DOCKER_CONFIG", config)
        .secret_input(login.password.expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;
    use sync_core::Fault;

    #[track_caller]
    fn check(command: &str, line: &str, code: &str) {
        let error = understood(Error::Ended {
            command: command.to_owned(),
            status: ExitStatus::from_raw(256),
            lines: vec![line.to_owned(), "the last line".to_owned()],
        });
        assert_eq!(error.code(), code, "{error}");
    }

    #[test]
    fn what_docker_says_about_its_reasons() {
        let down = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?";
        check("docker info", down, "deploy/no-engine");
        check(
            "docker build .",
            "write /x: no space left on device",
            "deploy/no-space",
        );
        check(
            "docker push r:5000/a:t",
            "unauthorized: authentication required",
            "deploy/refused",
        );
        check(
            "docker login --username me --password-stdin r:5000",
            "Error: 401 Unauthorized",
            "deploy/refused",
        );
        check(
            "docker build .",
            "COPY failed: no source files",
            "deploy/ended",
        );
        check(
            "docker build .",
            "unauthorized: of somebody else",
            "deploy/ended",
        );
        assert_eq!(
            registry_of("docker pull r:5000/a/b@sha256:0").as_deref(),
            Some("r:5000")
        );
    }

    #[test]
    fn credentials_of_a_run_go_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        std::fs::create_dir_all(home.join("contexts")).unwrap();
        let text = r#"{"auths":{"r":{"auth":"aHVudGVyMg=="}},"currentContext":"there"}"#;
        std::fs::write(home.join("config.json"), text).unwrap();
        let place = dir.path().join("private");
        // What a killed run left.
        std::fs::create_dir_all(place.join("old")).unwrap();
        let private = Private::make(&place, Some(&home)).unwrap();
        let config = std::fs::read_to_string(place.join("config.json")).unwrap();
        assert_eq!(config, r#"{"currentContext":"there"}"#);
        assert!(place.join("contexts").is_dir() && !place.join("old").exists());
        let mode = std::fs::metadata(private.path()).unwrap();
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
            0o700
        );
        drop(private);
        assert!(!place.exists() && home.join("contexts").is_dir());
    }
}
