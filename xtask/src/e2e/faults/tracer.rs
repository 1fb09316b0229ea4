//! Kills a process just before a chosen system call.
//!
//! `strace` stops every thread at the calls that change something.
//! It counts each kind of call in each thread by itself, so a point is a kind and a number: the first thread that comes to its n-th such call ends the process.
//! The points of a run are those pairs in the order in which they came first; a run with threads does not come to every point again, so some are missed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    sync::OnceLock,
};

use crate::{debian, e2e::scenario::done};

/// The calls that change something somewhere; opening is left out, since what it creates is empty and what follows counts.
const CALLS: &str = "?rename,?renameat,renameat2,?link,linkat,?unlink,unlinkat,?mkdir,mkdirat,?rmdir,?symlink,symlinkat,write,pwrite64,writev,pwritev,fsync,fdatasync,syncfs,sendto,sendmsg,ftruncate,fallocate";

/// The n-th call of a kind in any one thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::e2e) struct Point {
    call: String,
    number: usize,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.call, self.number)
    }
}

/// The command, with its calls written to a file.
pub(in crate::e2e) fn counted(command: &Command, log: &Path) -> Command {
    traced(command, &["-o".as_ref(), log.as_os_str()])
}

/// The command, killed at a point.
pub(in crate::e2e) fn killed(command: &Command, point: &Point) -> Command {
    let inject = format!("inject={}:signal=SIGKILL:when={}", point.call, point.number);
    traced(
        command,
        &[
            "-o".as_ref(),
            "/dev/null".as_ref(),
            "-e".as_ref(),
            inject.as_ref(),
        ],
    )
}

/// Runs a command to its end; what it says is nobody's business.
pub(in crate::e2e) fn quiet(command: &mut Command) -> ExitStatus {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("run a command")
}

/// Whether it came to the point, and ended there.
pub(in crate::e2e) fn is_killed(command: &Command, point: &Point) -> bool {
    quiet(&mut killed(command, point)).signal() == Some(9)
}

fn traced(command: &Command, options: &[&std::ffi::OsStr]) -> Command {
    demand_tracing();
    let mut traced = Command::new("strace");
    traced
        .args(["-f", "-qq", "-e", &format!("trace={CALLS}")])
        .args(options)
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Tracing has to work here; where it does not, the reason is the failure.
fn demand_tracing() {
    static WORKS: OnceLock<()> = OnceLock::new();
    WORKS.get_or_init(|| {
        done(debian::demand("strace", "strace"));
        let output = Command::new("strace")
            .args(["-f", "-qq", "-e", "trace=write", "true"])
            .output()
            .expect("run strace");
        assert!(
            output.status.success(),
            "this machine refuses ptrace, without which no process can be killed at a chosen call: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

/// The lines of a log so far, to tell what comes later apart.
pub(in crate::e2e) fn length(log: &Path) -> usize {
    fs::read_to_string(log).map_or(0, |text| text.lines().count())
}

/// The points of a run from a line of its log on, in the order in which it came to them.
pub(in crate::e2e) fn points(log: &Path, from: usize) -> Vec<Point> {
    let text = fs::read_to_string(log).expect("read the log of strace");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut points = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        // `12 write(1, ...` begins a call; `12 <... write resumed>` ends one that began earlier.
        let Some((call, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        if !call.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            continue;
        }
        let number = counts.entry((thread, call)).or_default();
        *number += 1;
        let point = Point {
            call: call.to_owned(),
            number: *number,
        };
        // Threads wake each other up by a counter: nothing of that can be left half done.
        let wakes = line.contains(r#""\1\0\0\0\0\0\0\0", 8"#);
        if !wakes && seen.insert(point.clone()) && at >= from {
            points.push(point);
        }
    }
    points
}

/// At most `count` of them, evenly over the whole run, the first and the last included.
pub(in crate::e2e) fn spread(points: &[Point], count: usize) -> Vec<Point> {
    if points.len() <= count {
        return points.to_vec();
    }
    (0..count)
        .map(|at| points[at * (points.len() - 1) / (count - 1)].clone())
        .collect()
}
