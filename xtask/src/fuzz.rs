//! `cargo xtask fuzz [--seconds N] [TARGET]`: every decoder against bytes that libFuzzer makes up.
//!
//! It is not part of `cargo xtask test`: it builds everything once more, with a sanitizer, and finds more the longer it runs.
//! The one stable toolchain is enough: `RUSTC_BOOTSTRAP` lets it take the flags that a sanitizer needs.

use std::process::{Command, Stdio};

use argh::FromArgs;
use snafu::{OptionExt as _, ResultExt as _, ensure};
use toml::Table;

use crate::{
    cargo::{self, cargo},
    error::{FoundSnafu, IoSnafu, Result, UnexpectedSnafu},
    repository,
};

/// Fuzz every decoder.
#[derive(FromArgs)]
#[argh(subcommand, name = "fuzz")]
pub(crate) struct Arguments {
    /// for how long each target runs; 60 by default
    #[argh(option, default = "60")]
    seconds: u32,

    /// only this target
    #[argh(positional)]
    target: Option<String>,
}

/// Installs `cargo-fuzz` where it is missing, and runs every target; a failure of one does not keep others from running.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !is_installed() {
        println!("installing cargo-fuzz, once: about a minute");
        cargo::run(&mut cargo(["install", "cargo-fuzz", "--locked", "--debug"]))?;
    }
    let all = targets()?;
    let chosen: Vec<&String> = all
        .iter()
        .filter(|name| arguments.target.as_ref().is_none_or(|only| only == *name))
        .collect();
    ensure!(
        !chosen.is_empty(),
        UnexpectedSnafu {
            what: format!("no such target; there are {}", all.join(", "))
        }
    );
    let seconds = format!("-max_total_time={}", arguments.seconds);
    let mut failed = Vec::new();
    for name in chosen {
        println!("== {name}");
        let mut command = cargo(["fuzz", "run", "--fuzz-dir", "xtask/fuzz", name]);
        command
            .args(["--", &seconds, "-max_len=65536"])
            .current_dir(repository::root());
        command.env("RUSTC_BOOTSTRAP", "1");
        if cargo::run(&mut command).is_err() {
            failed.push(name.as_str());
        }
    }
    ensure!(
        failed.is_empty(),
        FoundSnafu {
            what: format!("failed: {}", failed.join(", "))
        }
    );
    Ok(())
}

/// The targets, as their manifest lists them.
fn targets() -> Result<Vec<String>> {
    let path = repository::root().join("xtask/fuzz/Cargo.toml");
    let text = std::fs::read_to_string(&path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })?;
    let manifest: Option<Table> = text.parse().ok();
    let names = manifest.as_ref().and_then(|manifest| {
        let bins = manifest.get("bin")?.as_array()?;
        bins.iter()
            .map(|bin| Some(bin.get("name")?.as_str()?.to_owned()))
            .collect()
    });
    names.context(UnexpectedSnafu {
        what: format!("`{}` lists no targets", path.display()),
    })
}

fn is_installed() -> bool {
    Command::new("cargo-fuzz")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
