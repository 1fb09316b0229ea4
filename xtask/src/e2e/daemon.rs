//! `sync-cli daemon`, as scenarios start, ask and end it.

#![allow(
    clippy::expect_used,
    reason = "a scenario is a test: where the operating system refuses, it fails"
)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use super::{files::watching::wait_until, scenario::Workspace, server::signal};

/// A daemon of a workspace, ended with the scenario.
pub(super) struct Daemon {
    child: Child,
    workspace: Workspace,
    said: PathBuf,
}

impl Daemon {
    /// Starts it; what it says is kept below `directory`.
    #[track_caller]
    pub(super) fn start(workspace: &Workspace, directory: &Path, name: &str) -> Self {
        Self::start_as(
            workspace.cli().command(&["daemon"]),
            workspace,
            directory,
            name,
        )
    }

    /// The same by a command of one's own.
    #[track_caller]
    pub(super) fn start_as(
        mut command: Command,
        workspace: &Workspace,
        directory: &Path,
        name: &str,
    ) -> Self {
        let said = directory.join(format!("{name}.said"));
        let log = File::create(directory.join(format!("{name}.log"))).expect("make a file");
        command
            .stdin(Stdio::null())
            .stdout(File::create(&said).expect("make a file"))
            .stderr(log);
        Self {
            child: command.spawn().expect("run sync-cli"),
            workspace: workspace.clone(),
            said,
        }
    }

    /// How often it told this event.
    pub(super) fn told(&self, event: &str) -> usize {
        let said = fs::read_to_string(&self.said).expect("read what it said");
        said.matches(&format!("\"event\": \"{event}\"")).count()
    }

    /// What it says of itself, once it does.
    #[track_caller]
    pub(super) fn status(&self) -> Value {
        let mut found = Value::Null;
        wait_until("a daemon that answers", || {
            let answer = self.workspace.call(&["daemon", "status"]);
            if answer.code == 0 {
                found = answer.json()["daemon"].clone();
            }
            answer.code == 0
        });
        found
    }

    /// Waits until it is in this state.
    #[track_caller]
    pub(super) fn until(&self, state: &str) {
        wait_until(state, || self.status()["sync"]["state"] == state);
    }

    /// Tells it something, which it does.
    #[track_caller]
    pub(super) fn tell(&self, word: &str) -> Value {
        self.workspace.call(&["daemon", word]).ok().json()
    }

    /// Asks it to end, as a service manager does.
    pub(super) fn terminate(&self) {
        signal(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Ends it at once.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("kill sync-cli");
        self.child.wait().expect("wait for sync-cli");
    }

    /// Waits for a good end, and says how long that took.
    #[track_caller]
    pub(super) fn wait(mut self) -> Duration {
        let began = Instant::now();
        let status = self.child.wait().expect("wait for sync-cli");
        assert!(status.success(), "{status}");
        began.elapsed()
    }

    /// Asks it to end, and demands that this takes less than a second.
    #[track_caller]
    pub(super) fn ends_at_once(self) {
        self.terminate();
        let took = self.wait();
        assert!(took < Duration::from_millis(1500), "{took:?}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
