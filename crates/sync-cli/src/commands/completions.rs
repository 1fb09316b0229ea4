//! `completions`: scripts for shells; and what is printed where no verb was given.

use std::io::Write;

use argh::{ArgsInfo, FromArgs};
use argh_complete::Generator;
use argh_complete::{bash::Bash, fish::Fish, nushell::Nushell, zsh::Zsh};

use crate::Outcome;
use crate::args::{Args, Shell};

pub(super) fn run(shell: Shell) -> Outcome {
    let info = Args::get_args_info();
    let script = match shell {
        Shell::Bash => Bash::generate("sync-cli", &info),
        Shell::Zsh => Zsh::generate("sync-cli", &info),
        Shell::Fish => Fish::generate("sync-cli", &info),
        Shell::Nushell => Nushell::generate("sync-cli", &info),
    };
    let _ = write!(std::io::stdout(), "{script}");
    Outcome::Done
}

/// Shows what there is, as `--help` does.
pub(super) fn usage() -> Outcome {
    if let Err(exit) = Args::from_args(&["sync-cli"], &["--help"]) {
        let _ = writeln!(std::io::stdout(), "{}", exit.output.trim_end());
    }
    Outcome::Done
}
