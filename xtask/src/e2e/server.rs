//! A server process: started, asked for its address, stopped gently or not.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use snafu::{OptionExt as _, ResultExt as _};

use crate::{
    certificates::Certificates,
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// How long a server may take to say where it listens, and to stop.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running `sync-cli serve`; killed when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Option<Child>,
    address: SocketAddr,
}

/// The command that serves a data directory over TLS on a free port of loopback.
pub(crate) fn command(program: &Path, data: &Path, certificates: &Certificates) -> Command {
    let mut command = plain_command(program, data);
    command
        .arg("--tls-cert")
        .arg(&certificates.certificate)
        .arg("--tls-key")
        .arg(&certificates.key);
    command
}

/// The command that serves a data directory without TLS.
pub(crate) fn plain_command(program: &Path, data: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .arg("serve")
        .arg("--data")
        .arg(data)
        .args(["--listen", "127.0.0.1:0"])
        .env_remove("SYNC_TOKEN");
    command
}

impl Server {
    /// Starts a server and waits until it says where it listens; its log goes to a file.
    pub(crate) fn start(
        program: &Path,
        data: &Path,
        certificates: &Certificates,
        log: &Path,
    ) -> Result<Self> {
        Self::start_as(command(program, data, certificates), log)
    }

    /// Starts a server by a command of one's own.
    pub(crate) fn start_as(mut command: Command, log: &Path) -> Result<Self> {
        let stderr = File::options()
            .create(true)
            .append(true)
            .open(log)
            .context(IoSnafu {
                action: format!("open `{}`", log.display()),
            })?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .context(IoSnafu {
                action: "start the server",
            })?;
        let stdout = child.stdout.take();
        let mut server = Self {
            child: Some(child),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
        };
        server.address = stdout
            .and_then(announced_address)
            .context(UnexpectedSnafu {
                what: format!(
                    "the server did not say `listening on https://127.0.0.1:PORT`, see `{}`",
                    log.display()
                ),
            })?;
        Ok(server)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(Pid::from_child)
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        let child = self.child.as_mut();
        child.is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Asks it to stop, as a service manager does, and waits for that.
    pub(crate) fn stop(mut self) -> Result<ExitStatus> {
        if let Some(pid) = self.pid() {
            signal(pid, Signal::TERM);
        }
        self.wait()
    }

    /// Waits until it has ended.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let mut child = self.child.take().context(UnexpectedSnafu {
            what: "the server has ended already",
        })?;
        let pid = Pid::from_child(&child);
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(child.wait()));
        if let Ok(status) = receive.recv_timeout(PATIENCE) {
            return status.context(IoSnafu {
                action: "wait for the server",
            });
        }
        signal(pid, Signal::KILL);
        UnexpectedSnafu {
            what: format!("the server did not end within {} s", PATIENCE.as_secs()),
        }
        .fail()
    }

    /// Leaves it running when this process ends.
    pub(crate) fn leave(mut self) -> Result<i32> {
        let child = self.child.take().context(UnexpectedSnafu {
            what: "the server has ended already",
        })?;
        Ok(Pid::from_child(&child).as_raw_nonzero().get())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; either way nothing is left of it.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Asks a process that another run left behind to stop.
pub(crate) fn terminate(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        signal(pid, Signal::TERM);
    }
}

/// Sends a signal to a process, which may be gone.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    let _ = rustix::process::kill_process(pid, signal);
}

/// Reads the line with the address; the rest is read and dropped, so that the server never waits for a reader.
fn announced_address(stdout: ChildStdout) -> Option<SocketAddr> {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok);
        let address = lines.find_map(|line| {
            let (_, url) = line.split_once("listening on http")?;
            url.rsplit_once("//")?.1.trim().parse::<SocketAddr>().ok()
        });
        // Nobody waits any more when that took too long.
        let _ = send.send(address);
        lines.for_each(drop);
    });
    receive.recv_timeout(PATIENCE).ok().flatten()
}
