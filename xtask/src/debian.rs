//! Programs of the operating system that a verb needs, and what only its administrator may do.

use std::process::{Command, Stdio};

use snafu::ensure;

use crate::{
    cargo,
    error::{MissingSnafu, Result},
};

/// Makes sure that a program is here, by installing its Debian package where it is not.
pub(crate) fn demand(program: &str, package: &str) -> Result<()> {
    if is_here(program) {
        return Ok(());
    }
    println!("installing `{package}`, once");
    ensure!(
        obtain(package) && is_here(program),
        MissingSnafu {
            what: format!("there is no `{program}`"),
            advice: format!("install the Debian package `{package}`"),
        }
    );
    Ok(())
}

/// Installs a package; whether that worked.
pub(crate) fn obtain(package: &str) -> bool {
    // A fresh machine has no lists yet, and old ones name versions that are gone.
    install(package) || (update() && install(package))
}

fn install(package: &str) -> bool {
    succeeds(&[
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ])
}

fn update() -> bool {
    succeeds(&["update", "--quiet"])
}

fn succeeds(arguments: &[&str]) -> bool {
    privileged("apt-get")
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn is_here(program: &str) -> bool {
    Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A command as the administrator: as it is for root, through `sudo` for others, without a question.
pub(crate) fn privileged(program: &str) -> Command {
    if rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["--non-interactive", program]);
    command
}

/// Runs a command as the administrator.
pub(crate) fn run_privileged(program: &str, arguments: &[&str]) -> Result<()> {
    cargo::run(privileged(program).args(arguments))
}
