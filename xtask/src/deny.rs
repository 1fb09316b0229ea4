//! `cargo xtask deny`: who may depend on what, under which licences, from which sources (`deny.toml`).
//!
//! The advisory database is not asked here, since this runs without a network: the hosted workflow asks it.

use std::process::{Command, Stdio};

use argh::FromArgs;

use crate::{
    cargo::{self, cargo},
    error::Result,
};

/// Check dependencies, licences and sources against deny.toml.
#[derive(FromArgs)]
#[argh(subcommand, name = "deny")]
pub(crate) struct Arguments {}

/// Installs `cargo-deny` where it is missing, and runs its checks that need no network.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    if !is_installed() {
        println!("installing cargo-deny, once: about two minutes");
        cargo::run(&mut cargo(["install", "cargo-deny", "--locked", "--debug"]))?;
    }
    // The graph is judged for every system, so crates that only others need have to be here, too.
    cargo::run(&mut cargo(["fetch", "--locked", "--quiet"]))?;
    cargo::run(&mut cargo([
        "deny",
        "--offline",
        "--log-level",
        "warn",
        "check",
        "bans",
        "licenses",
        "sources",
    ]))
}

fn is_installed() -> bool {
    Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
