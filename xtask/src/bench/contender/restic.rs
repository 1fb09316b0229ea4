//! `restic backup` and `restore`: encrypted and durable, into a local repository.
//!
//! Its REST server is not packaged here, so there is no other end: how much the repository grew stands for the wire, and a connection would only add to its times.

use std::path::{Path, PathBuf};

use super::{Contender, Ground, size};
use crate::{
    bench::meter::{Sample, measure},
    cargo,
    error::Result,
};

/// restic.
#[derive(Debug)]
pub(in crate::bench) struct Restic;

fn restic(ground: &Ground) -> std::process::Command {
    let mut command = ground.command("restic");
    command
        .env("RESTIC_PASSWORD", "bench")
        .env("RESTIC_REPOSITORY", ground.remote())
        .env("RESTIC_CACHE_DIR", ground.directory.join("cache"))
        .arg("--quiet");
    command
}

impl Contender for Restic {
    fn name(&self) -> &'static str {
        "restic"
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        cargo::output(restic(ground).arg("init")).map(|_| ())
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        let mut command = restic(ground);
        command
            .args(["backup", "--host=bench", "."])
            .current_dir(self.source(ground));
        measure(&command, None, None).map(|(sample, _)| sample)
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        let mut command = restic(ground);
        command.args(["restore", "latest", "--target"]).arg(into);
        measure(&command, None, None).map(|(sample, _)| sample)
    }

    fn pulled(&self, into: &Path) -> PathBuf {
        into.to_owned()
    }

    fn stored(&self, ground: &Ground) -> Result<Option<u64>> {
        size(&ground.remote()).map(Some)
    }

    fn finish(self: Box<Self>) {}
}
