//! `git add`, `commit` and `push` to its daemon, and `clone`: not encrypted, and synced by git's own defaults.

use std::path::Path;

use snafu::OptionExt as _;

use super::{Contender, Far, Ground, free_port};
use crate::{
    bench::meter::{Sample, measure},
    cargo,
    error::{Result, UnexpectedSnafu},
    proxy::Proxy,
};

/// git.
#[derive(Debug, Default)]
pub(in crate::bench) struct Git {
    far: Option<Far>,
}

impl Git {
    fn measured(&self, ground: &Ground, script: &str, operands: &[&Path]) -> Result<Sample> {
        let far = self.far.as_ref().context(UnexpectedSnafu {
            what: "git was not prepared",
        })?;
        let mut command = git(ground, "sh");
        command
            .args(["-c", script])
            .arg(format!("git://127.0.0.1:{}/tree.git", far.port()))
            .args(operands);
        measure(&command, Some(&far.group), Some(&far.proxy)).map(|(sample, _)| sample)
    }
}

/// A command in an environment where every git behaves alike.
fn git(ground: &Ground, program: &str) -> std::process::Command {
    let mut command = ground.command(program);
    command.env("GIT_CONFIG_NOSYSTEM", "1");
    for role in ["AUTHOR", "COMMITTER"] {
        command
            .env(format!("GIT_{role}_NAME"), "bench")
            .env(format!("GIT_{role}_EMAIL"), "bench@localhost");
    }
    // Repacking in the background would be paid by whoever comes next.
    let settings = [
        ("gc.auto", "0"),
        ("maintenance.auto", "false"),
        ("receive.autogc", "false"),
    ];
    command.env("GIT_CONFIG_COUNT", settings.len().to_string());
    for (at, (key, value)) in settings.iter().enumerate() {
        command
            .env(format!("GIT_CONFIG_KEY_{at}"), key)
            .env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    command
}

impl Contender for Git {
    fn name(&self) -> &'static str {
        "git"
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        let remote = ground.remote();
        for (directory, is_bare) in [
            (remote.join("tree.git"), true),
            (self.source(ground), false),
        ] {
            let mut command = git(ground, "git");
            command.args(["init", "--quiet", "--initial-branch=main"]);
            if is_bare {
                command.arg("--bare");
            }
            cargo::run(command.arg(directory))?;
        }
        let port = free_port()?;
        let mut command = git(ground, "git");
        command
            .args([
                "daemon",
                "--export-all",
                "--enable=receive-pack",
                "--listen=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .arg(format!("--base-path={}", remote.display()))
            .arg(&remote);
        self.far = Some(Far::start(&command, port)?);
        Ok(())
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        let script = "cd \"$1\" && git add --all && { git diff --cached --quiet 2>/dev/null || git commit --quiet --message=run; } && git push --quiet \"$0\" HEAD:main";
        let source = self.source(ground);
        // A repository without a commit has nothing to compare with: `git diff` fails, and the commit is made.
        self.measured(ground, script, &[&source])
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        self.measured(ground, "git clone --quiet \"$0\" \"$1\"", &[into])
    }

    fn proxy(&self) -> Option<&Proxy> {
        self.far.as_ref().map(|far| &far.proxy)
    }

    fn finish(self: Box<Self>) {
        if let Some(far) = self.far {
            far.stop();
        }
    }
}
