//! A private cluster of the programs that this machine has, in a temporary directory.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, geteuid};
use serde::{Deserialize, Serialize};
use snafu::{OptionExt as _, ResultExt as _, ensure};

use super::{
    container::succeeds,
    preparation::{Preparation, SCRIPT},
};
use crate::{
    cargo, debian,
    e2e::server::signal,
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// Where Debian and its children have the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// The version that we prefer, and install where there is none.
const VERSION: &str = "15";
/// How long processes may take to be gone after SIGKILL.
const PATIENCE: Duration = Duration::from_secs(30);

/// A cluster below a directory: `data`, and `server.log`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Cluster {
    directory: PathBuf,
    programs: PathBuf,
}

impl Cluster {
    /// Finds the programs, or installs them, and gives the directory to the user that is to run them.
    pub(super) fn new(directory: PathBuf) -> Result<Self> {
        let cluster = Self {
            directory,
            programs: programs()?,
        };
        if geteuid().is_root() {
            cargo::run(
                Command::new("chown")
                    .arg("postgres:")
                    .arg(&cluster.directory),
            )?;
        }
        Ok(cluster)
    }

    pub(super) fn programs(&self) -> &Path {
        &self.programs
    }

    pub(super) fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Makes it, and returns when it accepts connections.
    pub(super) fn create(&self, preparation: &Preparation) -> Result<()> {
        let port = preparation.port();
        let environment = preparation.environment(&self.programs, &self.data(), "127.0.0.1", port);
        let mut command = self.owned("sh");
        command.args(["-c", SCRIPT, "prepare"]);
        command.arg(self.programs.join("pg_ctl"));
        command.args(self.start_arguments()).envs(environment);
        cargo::output(&mut command).map(|_| ())
    }

    pub(super) fn start(&self) -> Result<()> {
        let program = self.programs.join("pg_ctl");
        cargo::output(self.owned(program).args(self.start_arguments())).map(|_| ())
    }

    pub(super) fn restart(&self) -> Result<()> {
        let program = self.programs.join("pg_ctl");
        let mut arguments = self.start_arguments();
        "restart".clone_into(&mut arguments[0]);
        cargo::output(self.owned(program).args(arguments)).map(|_| ())
    }

    /// `pg_ctl` asks until the server accepts connections.
    fn start_arguments(&self) -> Vec<String> {
        vec![
            "start".to_owned(),
            "--wait".to_owned(),
            "--timeout=120".to_owned(),
            format!("--pgdata={}", self.data().display()),
            format!("--log={}", self.log_path().display()),
        ]
    }

    /// A command as the user that owns the cluster: PostgreSQL refuses to run as root.
    fn owned(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("runuser");
            command.args(["--user=postgres", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.current_dir(&self.directory);
        command
    }

    pub(super) fn kill(&self) -> Result<()> {
        let postmaster = self.postmaster().context(UnexpectedSnafu {
            what: "PostgreSQL does not run",
        })?;
        // Stopped, it starts no more children.
        signal(postmaster, Signal::STOP);
        let mut processes = children(postmaster)?;
        processes.push(postmaster);
        for process in &processes {
            signal(*process, Signal::KILL);
        }
        let began = Instant::now();
        while processes
            .iter()
            .any(|process| living_parent(*process).is_some())
        {
            ensure!(
                began.elapsed() < PATIENCE,
                UnexpectedSnafu {
                    what: "processes of PostgreSQL outlive SIGKILL"
                }
            );
            thread::yield_now();
        }
        self.clear_up_after_kill()
    }

    /// Removes what keeps a server from starting twice, which nobody would remove if this one is not started again.
    fn clear_up_after_kill(&self) -> Result<()> {
        if let Some(segment) = self.shared_memory() {
            cargo::run(self.owned("ipcrm").args(["--shmem-id", &segment]))?;
        }
        // It names a process that PostgreSQL takes for alive until somebody has asked for its status.
        fs::remove_file(self.lock()).context(IoSnafu {
            action: format!("remove `{}`", self.lock().display()),
        })
    }

    fn lock(&self) -> PathBuf {
        self.data().join("postmaster.pid")
    }

    /// The number of its System V segment, the second word of the lock file's seventh line.
    fn shared_memory(&self) -> Option<String> {
        let text = fs::read_to_string(self.lock()).ok()?;
        let number = text.lines().nth(6)?.split_whitespace().nth(1)?;
        Some(number.to_owned())
    }

    fn postmaster(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.lock()).ok()?;
        Pid::from_raw(text.lines().next()?.trim().parse().ok()?)
    }

    /// Whether it runs.
    pub(super) fn answers(&self) -> bool {
        let program = self.programs.join("pg_ctl");
        self.directory.exists()
            && succeeds(
                self.owned(program)
                    .arg("status")
                    .arg(format!("--pgdata={}", self.data().display())),
            )
    }

    /// The command that shows the log; takes `--tail=N`.
    pub(super) fn log(&self) -> Command {
        let mut command = Command::new("sh");
        command
            .args(["-c", "tail --lines=\"${2#--tail=}\" \"$1\"", "log"])
            .arg(self.log_path());
        command
    }

    /// `psql` as the superuser, over verified TLS.
    pub(super) fn psql(&self, password: &str, port: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .env("PGPASSWORD", password)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", self.directory.join("ca.pem"))
            .args(["--host=127.0.0.1", "--username=postgres", "--port", port]);
        command
    }
}

/// The programs of the preferred version, else of the newest, else of a package that is installed now.
fn programs() -> Result<PathBuf> {
    let below = |version: &str| Path::new(VERSIONS).join(version).join("bin");
    let mut versions: Vec<u32> = fs::read_dir(VERSIONS)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|version: &u32| below(&version.to_string()).join("initdb").exists())
        .collect();
    versions.sort_unstable();
    if let Some(newest) = versions.last() {
        let preferred = below(VERSION);
        let is_here = preferred.join("initdb").exists();
        return Ok(if is_here {
            preferred
        } else {
            below(&newest.to_string())
        });
    }
    let programs = below(VERSION);
    let initdb = programs.join("initdb").display().to_string();
    debian::demand(&initdb, &format!("postgresql-{VERSION}"))?;
    Ok(programs)
}

fn children(parent: Pid) -> Result<Vec<Pid>> {
    let entries = fs::read_dir("/proc").context(IoSnafu {
        action: "list the processes",
    })?;
    Ok(entries
        .filter_map(|entry| Pid::from_raw(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .filter(|process| living_parent(*process) == Some(parent))
        .collect())
}

/// The parent of a process; `None` once it has ended, whether or not somebody has asked for its status.
fn living_parent(process: Pid) -> Option<Pid> {
    let path = format!("/proc/{}/stat", process.as_raw_nonzero());
    let text = fs::read_to_string(path).ok()?;
    // The name, in parentheses, may contain anything.
    let mut fields = text.rsplit_once(')')?.1.split_whitespace();
    let has_ended = ["Z", "X"].contains(&fields.next()?);
    let parent = Pid::from_raw(fields.next()?.parse().ok()?);
    if has_ended { None } else { parent }
}
