//! Measuring processes with all their children: time, processor time, peak memory.
//!
//! Each end of a contender runs in a control group, whose `cpu.stat` counts microseconds of everything that ever ran in it.
//! Peak memory is `VmHWM`, read every few milliseconds and added up over the processes that live at the same time.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use snafu::{ResultExt as _, ensure};

use crate::{
    cargo,
    error::{IoSnafu, MissingSnafu, ProgramSnafu, Result},
    proxy::{Passed, Proxy},
};

/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(4);

/// What one operation cost.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample {
    pub(super) wall: Duration,
    pub(super) client: End,
    /// `None` where there is no server.
    pub(super) server: Option<End>,
    /// `None` where there is no connection.
    pub(super) passed: Option<Passed>,
    /// How much a local repository grew.
    pub(super) stored: Option<u64>,
}

/// What one operation cost one end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct End {
    pub(super) cpu: Duration,
    pub(super) peak_bytes: u64,
}

/// A control group of processes; removed when it is dropped.
#[derive(Debug)]
pub(super) struct Group {
    directory: PathBuf,
}

impl Group {
    /// A new, empty group.
    pub(super) fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let mounts = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sync-bench-{}-{number}", std::process::id());
        for mount in mounts.map(Path::new) {
            let directory = mount.join(&name);
            if mount.join("cgroup.procs").exists() && fs::create_dir(&directory).is_ok() {
                return Ok(Self { directory });
            }
        }
        MissingSnafu {
            what: "no right to make a control group (version 2)",
            advice: "run the benchmark as root",
        }
        .fail()
    }

    /// The command, started inside of the group.
    pub(super) fn wrap(&self, command: &Command) -> Command {
        let mut wrapped = Command::new("sh");
        wrapped
            .args(["-c", "echo $$ >\"$0\" && exec \"$@\""])
            .arg(self.directory.join("cgroup.procs"))
            .arg(command.get_program())
            .args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
    }

    /// Processor time of everything that ever ran in it.
    pub(super) fn cpu(&self) -> Duration {
        let text = fs::read_to_string(self.directory.join("cpu.stat")).unwrap_or_default();
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|number| number.trim().parse().ok());
        Duration::from_micros(micros.unwrap_or_default())
    }

    fn processes(&self) -> Vec<String> {
        fs::read_to_string(self.directory.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Peak memory of the processes that live now, added up.
    pub(super) fn peak_bytes(&self) -> u64 {
        self.processes()
            .iter()
            .filter_map(|pid| {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
                let line = status
                    .lines()
                    .find_map(|line| line.strip_prefix("VmHWM:"))?;
                let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
                Some(kibibytes * 1024)
            })
            .sum()
    }

    /// Makes peaks start from what is in use now.
    pub(super) fn forget_peaks(&self) {
        for pid in self.processes() {
            // "5" resets the peak (proc_pid_clear_refs(5)); a process may have ended.
            drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
        }
    }

    /// Kills what is left in the group.
    pub(super) fn kill(&self) {
        drop(fs::write(self.directory.join("cgroup.kill"), "1"));
        while !self.processes().is_empty() {
            thread::sleep(EVERY);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        drop(fs::remove_dir(&self.directory));
    }
}

/// Runs a client to its end and measures both ends.
pub(super) fn measure(
    client: &Command,
    server: Option<&Group>,
    proxy: Option<&Proxy>,
) -> Result<(Sample, String)> {
    let group = Group::new()?;
    let mut command = group.wrap(client);
    if let Some(server) = server {
        server.forget_peaks();
    }
    let cpu_before = server.map(Group::cpu);
    let passed_before = proxy.map(Proxy::passed);

    let (client_peak, server_peak) = (AtomicU64::new(0), AtomicU64::new(0));
    let look = || {
        client_peak.fetch_max(group.peak_bytes(), Ordering::Relaxed);
        server_peak.fetch_max(server.map_or(0, Group::peak_bytes), Ordering::Relaxed);
    };
    let is_over = AtomicBool::new(false);
    let began = Instant::now();
    let (output, wall) = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                look();
                thread::sleep(EVERY);
            }
        });
        let output = command.output();
        let wall = began.elapsed();
        look();
        is_over.store(true, Ordering::Relaxed);
        (output, wall)
    });
    let output = output.with_context(|_| IoSnafu {
        action: format!("run `{}`", cargo::shown(client)),
    })?;
    // What it says against itself is the only clue to why it failed.
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stdout));
    }
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    ensure!(
        output.status.success(),
        ProgramSnafu {
            command: cargo::shown(client),
            status: output.status
        }
    );
    let sample = Sample {
        wall,
        client: End {
            cpu: group.cpu(),
            peak_bytes: client_peak.into_inner(),
        },
        server: server.zip(cpu_before).map(|(server, before)| End {
            cpu: server.cpu().saturating_sub(before),
            peak_bytes: server_peak.load(Ordering::Relaxed),
        }),
        passed: proxy
            .zip(passed_before)
            .map(|(proxy, before)| proxy.passed().since(before)),
        stored: None,
    };
    Ok((sample, String::from_utf8_lossy(&output.stdout).into_owned()))
}
