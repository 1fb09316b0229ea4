//! The removal of a server when the process that started it ends, however it ends.
//!
//! A shell of its own process group waits at the other end of a pipe that closes with us, so an interrupt, a panic or a SIGKILL leaves nothing behind either.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
};

use snafu::{ResultExt as _, ensure};

use super::Host;
use crate::error::{IoSnafu, ProgramSnafu, Result};

const SCRIPT: &str = include_str!("remove.sh");

/// A removal that happens when this value, or this process, is gone.
#[derive(Debug)]
pub(super) struct Removal {
    shell: Child,
}

impl Removal {
    /// Prepares to remove a server, which may not be there yet, and its directory.
    pub(super) fn watch(host: &Host, directory: &Path) -> Result<Self> {
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "remove"]);
        match host {
            Host::Container(container) => command.args(["container", container.name()]),
            Host::Cluster(cluster) => command.arg("cluster").arg(cluster.programs()),
        };
        let shell = command
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context(IoSnafu {
                action: "start the shell that removes PostgreSQL",
            })?;
        Ok(Self { shell })
    }

    /// Removes the server, and says whether that worked.
    pub(super) fn now(mut self) -> Result<()> {
        let status = self.close().context(IoSnafu {
            action: "remove PostgreSQL",
        })?;
        ensure!(
            status.success(),
            ProgramSnafu {
                command: "the removal of PostgreSQL",
                status
            }
        );
        Ok(())
    }

    /// Leaves the server where it is.
    pub(super) fn forget(mut self) -> Result<()> {
        let context = || IoSnafu {
            action: "leave PostgreSQL running",
        };
        if let Some(pipe) = &mut self.shell.stdin {
            pipe.write_all(b"stay\n").with_context(|_| context())?;
        }
        self.close().with_context(|_| context()).map(|_| ())
    }

    /// Closes the pipe and waits for the shell.
    fn close(&mut self) -> std::io::Result<ExitStatus> {
        drop(self.shell.stdin.take());
        self.shell.wait()
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        // After `now` or `forget` this is over already; else who drops it has an error to report.
        drop(self.close());
    }
}
