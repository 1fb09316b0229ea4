//! A save is on the tenant before one looks, and none is lost while the tenant is away.

use std::{
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::{
    super::{
        scenario::{Workspace, done},
        server,
        trees::{self, assert_same},
    },
    Place,
};

/// Long enough for any machine; the scenarios end as soon as what they wait for is there.
const PATIENCE: Duration = Duration::from_mins(1);

/// `sync-cli watch`, ended with the scenario.
pub(in crate::e2e) struct Watching(Child);

impl Watching {
    fn start(workspace: &Workspace) -> Self {
        Self::over(workspace, &["files"])
    }

    /// Over what these words name.
    pub(in crate::e2e) fn over(workspace: &Workspace, words: &[&str]) -> Self {
        let mut command: Command = workspace.cli().command(&[&["watch"], words].concat());
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("run sync-cli"))
    }

    /// Asks it to end, and demands that it ends well.
    fn stop(self) {
        self.end(Signal::TERM);
    }

    /// Likewise by a signal; says how long that took.
    pub(in crate::e2e) fn end(mut self, by: Signal) -> Duration {
        let began = Instant::now();
        let pid = rustix::process::Pid::from_child(&self.0);
        server::signal(pid, by);
        let status = self.0.wait().expect("wait for sync-cli");
        assert!(status.success(), "{status}");
        began.elapsed()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until `is_so`.
pub(in crate::e2e) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long: {what}");
        thread::yield_now();
    }
}

fn snapshots(workspace: &Workspace) -> usize {
    let log = workspace.call(&["log", "-n", "1000"]).ok().json();
    log["snapshots"].as_array().map_or(0, Vec::len)
}

pub(super) fn a_save_is_on_the_tenant_at_once(place: &Place) {
    let (here, there) = place.pair();
    trees::sample(&here.services());
    let watching = Watching::start(&here);
    wait_until("the first sync", || snapshots(&there) == 1);
    there.pull().ok();
    assert_same(&here.services(), &there.services());
    // A burst is one snapshot.
    for number in 0..50 {
        trees::write(&here.services(), format!("burst/{number}.md"), "x\n");
    }
    wait_until("the burst", || snapshots(&there) > 1);
    there.pull().ok();
    let arrived = |there: &Workspace| {
        (0..50).all(|number| there.services().join(format!("burst/{number}.md")).exists())
    };
    wait_until("all of the burst", || {
        there.pull().ok();
        arrived(&there)
    });
    assert!(snapshots(&there) <= 3, "{} snapshots", snapshots(&there));
    // What others push comes with the next save.
    trees::write(&there.services(), "agents/theirs.md", "theirs\n");
    there.push().ok();
    trees::write(&here.services(), "agents/ours.md", "ours\n");
    wait_until("the merge", || {
        here.services().join("agents/theirs.md").exists()
    });
    watching.stop();
}

pub(super) fn a_watch_outlives_its_server(place: &Place) {
    let mut own = place.own_server();
    let here = own.workspace.clone();
    trees::sample(&here.services());
    let watching = Watching::start(&here);
    wait_until("the first sync", || {
        here.call(&["status"]).json()["files"]["standing"] == "in_sync"
    });
    done(own.server.stop());
    trees::write(
        &here.services(),
        "agents/meanwhile.md",
        "saved while it was away\n",
    );
    own.server = place.start(&own.data);
    own.proxy.retarget(own.server.address());
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    wait_until("what was saved meanwhile", || {
        there.pull();
        there.services().join("agents/meanwhile.md").exists()
    });
    watching.stop();
    done(own.server.stop());
}
