//! An agent's server that is told to end in the middle of a call: it ends soon, and what it was at goes on in the next run.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

use super::super::{
    scenario::{Place, Workspace},
    server::signal,
    trees::{self, noise, write},
};
use crate::proxy::{Direction, How};

/// How long it may take to end while nothing moves.
const SOON: Duration = Duration::from_secs(10);

/// A server of one client that calls it by hand.
pub(super) struct Agent {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    /// Greets it.
    #[track_caller]
    pub(super) fn start(workspace: &Workspace) -> Self {
        let mut command: Command = workspace.cli().command(&["mcp"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("run sync-cli");
        let stdin = child.stdin.take().expect("its stdin");
        let stdout = BufReader::new(child.stdout.take().expect("its stdout"));
        let mut agent = Self {
            child,
            stdin,
            stdout,
        };
        agent.say(&json!({
            "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "test", "version": "0"},
            },
        }));
        let mut line = String::new();
        agent.stdout.read_line(&mut line).expect("an answer");
        assert!(line.contains("serverInfo"), "{line}");
        agent.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        agent
    }

    #[track_caller]
    fn say(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("speak to sync-cli");
    }

    /// Calls `sync` for real, and does not wait.
    #[track_caller]
    pub(super) fn sync(&mut self, target: &str, direction: &str) {
        self.say(&json!({
            "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
                "name": "sync",
                "arguments": {"target": target, "direction": direction, "dry_run": false},
            },
        }));
    }

    /// Tells it to end, and demands that it does, soon; what else it said.
    #[track_caller]
    pub(super) fn terminate(mut self, soon: Duration) -> String {
        signal(Pid::from_child(&self.child), Signal::TERM);
        let began = Instant::now();
        let status = self.child.wait().expect("wait for sync-cli");
        assert!(status.success(), "{status}");
        assert!(began.elapsed() < soon, "{:?}", began.elapsed());
        let mut said = String::new();
        self.stdout.read_to_string(&mut said).expect("text");
        said
    }
}

pub(super) fn an_agent_that_is_terminated_is_gone_on_with(place: &Place) {
    let own = place.own_server();
    let here = own.workspace.clone();
    let there = place.workspace_at("there", own.proxy.address(), &own.token);
    // So many that a push asks which are missing.
    for n in 0..600 {
        write(
            &here.services(),
            format!("{}/{n}.bin", n % 20),
            noise(n, 4 << 10),
        );
    }
    // Before the first object, and among them; what arrived stays there.
    for at in [100_u64, 300_000, 900_000, 900_000] {
        let (stalled, has_stalled) = mpsc::channel();
        own.proxy.when_sent(at, move |proxy| {
            proxy.stall();
            let _ = stalled.send(());
        });
        let mut agent = Agent::start(&here);
        agent.sync("files", "push");
        has_stalled
            .recv_timeout(Duration::from_mins(1))
            .expect("so much was sent");
        agent.terminate(SOON);
        own.proxy.retarget(own.server.address());
        own.proxy.cut();
    }
    let pushed = here.call(&["push", "files"]).ok();
    assert!(pushed.number("bytes_sent") < 1_500_000, "{}", pushed.stdout);

    for at in [100_u64, 300_000, 1_500_000, 2_300_000] {
        let before = own.proxy.passed().received;
        own.proxy.break_at(Direction::Down, at, How::Stall);
        let mut agent = Agent::start(&there);
        agent.sync("files", "pull");
        super::super::files::watching::wait_until("so much was received", || {
            own.proxy.passed().received >= before + at
        });
        agent.terminate(SOON);
        own.proxy.mend();
        own.proxy.retarget(own.server.address());
        own.proxy.cut();
        // All or nothing.
        assert_eq!(trees::nodes(&there.services()).len(), 0);
    }
    there.pull().ok();
    trees::assert_same(&here.services(), &there.services());
    for workspace in [&here, &there] {
        workspace.call(&["verify"]).ok();
    }
}
