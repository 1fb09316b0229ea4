//! A server in a container, its data on a volume: the engine's overlay would halve its speed.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use snafu::ensure;

use super::preparation::{Preparation, SCRIPT};
use crate::{
    cargo,
    error::{Result, UnexpectedSnafu},
};

/// Where both images have the programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// Where the volume is; the official image declares one there, which ours replaces.
const VOLUME: &str = "/var/lib/postgresql/data";
/// Below the volume, since `initdb` wants to create its directory itself.
const DATA: &str = "/var/lib/postgresql/data/cluster";
/// The port inside of the container.
const PORT: u16 = 5432;
/// How long a server may take to accept connections, recovery included.
const PATIENCE: Duration = Duration::from_mins(2);

/// A container, and a volume of the same name.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Container {
    name: String,
}

/// Whether a container engine runs here and lets us use it.
pub(super) fn engine_answers() -> bool {
    succeeds(Command::new("docker").arg("info"))
}

/// A silent call of the engine.
pub(super) fn docker(arguments: &[&str]) -> Result<()> {
    cargo::output(Command::new("docker").args(arguments)).map(|_| ())
}

/// Whether a command ends well; what it says is dropped.
pub(super) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

impl Container {
    pub(super) fn new(name: String) -> Self {
        Self { name }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Creates it of an image, and returns when it accepts connections.
    pub(super) fn create(&self, image: &str, preparation: &Preparation) -> Result<()> {
        let mut command = Command::new("docker");
        command.args(["run", "--detach", "--name", &self.name]);
        command.args(["--user", "postgres", "--entrypoint", "sh"]);
        command.arg(format!("--volume={}:{VOLUME}", self.name));
        command.arg(format!("--publish=127.0.0.1:{}:{PORT}", preparation.port()));
        // Parallel queries share memory there; an interrupt is what PostgreSQL calls a fast shutdown.
        command.args(["--shm-size=1g", "--stop-signal=SIGINT", "--stop-timeout=60"]);
        // Names only: the values, some of them secret, are in the environment of this call.
        let environment = preparation.environment(Path::new(PROGRAMS), Path::new(DATA), "*", PORT);
        for (name, value) in environment {
            command.args(["--env", name]).env(name, value);
        }
        command.args([image, "-c", SCRIPT, "prepare"]);
        command.arg(format!("{PROGRAMS}/postgres"));
        command.args(["-D", DATA]);
        cargo::output(&mut command)?;
        self.wait()
    }

    pub(super) fn start(&self) -> Result<()> {
        docker(&["start", &self.name])?;
        self.wait()
    }

    pub(super) fn restart(&self) -> Result<()> {
        docker(&["restart", &self.name])?;
        self.wait()
    }

    pub(super) fn kill(&self) -> Result<()> {
        docker(&["kill", "--signal=KILL", &self.name])?;
        docker(&["wait", &self.name])
    }

    /// Whether it accepts connections.
    pub(super) fn answers(&self) -> bool {
        let ready = format!("{PROGRAMS}/pg_isready");
        succeeds(
            Command::new("docker")
                .args(["exec", &self.name, &ready])
                .args(["--quiet", "--host=127.0.0.1", "--timeout=5"]),
        )
    }

    /// Asks until it accepts connections; a question takes the engine long enough to need no pause.
    fn wait(&self) -> Result<()> {
        let began = Instant::now();
        while !self.answers() {
            ensure!(
                self.runs()?,
                UnexpectedSnafu {
                    what: format!("the container `{}` ended by itself", self.name)
                }
            );
            ensure!(
                began.elapsed() < PATIENCE,
                UnexpectedSnafu {
                    what: format!(
                        "PostgreSQL did not accept connections within {} s",
                        PATIENCE.as_secs()
                    )
                }
            );
        }
        Ok(())
    }

    fn runs(&self) -> Result<bool> {
        let state = cargo::output(Command::new("docker").args([
            "container",
            "inspect",
            "--format={{.State.Running}}",
            &self.name,
        ]))?;
        Ok(state.trim() == "true")
    }

    /// The command that shows the log; takes `--tail=N`.
    pub(super) fn log(&self) -> Command {
        let mut command = Command::new("docker");
        command.args(["logs", &self.name]);
        command
    }

    /// `psql` as the superuser, over verified TLS.
    pub(super) fn psql(&self, password: &str) -> Command {
        let mut command = Command::new("docker");
        command
            .args(["exec", "--interactive", "--env", "PGPASSWORD"])
            .env("PGPASSWORD", password)
            .args(["--env", "PGSSLMODE=verify-full"])
            .arg(format!("--env=PGSSLROOTCERT={DATA}/ca.pem"))
            .arg(&self.name)
            .arg(format!("{PROGRAMS}/psql"))
            .args(["--host=127.0.0.1", "--username=postgres"]);
        command
    }
}
