//! A compressed tar over HTTP, which is what people do without a tool: not encrypted, not durable, always everything.
//!
//! Both ends of the HTTP are ours ([`crate::bench::tarball`]); the receiving one unpacks, since a tree is what it is for.

use std::path::{Path, PathBuf};

use snafu::{OptionExt as _, ResultExt as _};

use super::{Contender, Far, Ground, free_port};
use crate::{
    bench::meter::{Sample, measure},
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// tar, a compressor and HTTP.
#[derive(Debug)]
pub(in crate::bench) struct Tar {
    name: &'static str,
    /// What the sending side pipes the tar through.
    compressor: &'static str,
    /// How tar calls what unpacks it.
    option: &'static str,
    far: Option<Far>,
}

impl Tar {
    /// With gzip, at its own default level.
    pub(in crate::bench) fn gzip() -> Self {
        Self {
            name: "tar.gz",
            compressor: "gzip -6",
            option: "gzip",
            far: None,
        }
    }

    /// With zstd, at its own default level, on one core as the others.
    pub(in crate::bench) fn zstd() -> Self {
        Self {
            name: "tar.zst",
            compressor: "zstd -3 --quiet --single-thread",
            option: "zstd",
            far: None,
        }
    }

    fn measured(&self, ground: &Ground, script: &str, operand: &Path) -> Result<Sample> {
        let far = self.far.as_ref().context(UnexpectedSnafu {
            what: "tar was not prepared",
        })?;
        let mut command = ground.command("sh");
        command
            .args(["-c", script])
            .arg(own_program()?)
            .arg(format!("127.0.0.1:{}", far.port()))
            .arg(operand);
        measure(&command, Some(&far.group), Some(&far.proxy)).map(|(sample, _)| sample)
    }
}

fn own_program() -> Result<PathBuf> {
    std::env::current_exe().context(IoSnafu {
        action: "find our own program",
    })
}

impl Contender for Tar {
    fn name(&self) -> &'static str {
        self.name
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        let port = free_port()?;
        let mut command = ground.command(&own_program()?.to_string_lossy());
        command
            .args(["bench", "sink"])
            .arg(format!("127.0.0.1:{port}"))
            .arg(ground.remote())
            .arg(self.option);
        self.far = Some(Far::start(&command, port)?);
        Ok(())
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        let source = self.source(ground);
        let compressor = self.compressor;
        let script = format!(
            "tar --directory=\"$2\" --create --file=- . | {compressor} | \"$0\" bench upload \"$1\""
        );
        self.measured(ground, &script, &source)
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        let option = self.option;
        let script = format!(
            "mkdir \"$2\" && \"$0\" bench download \"$1\" | tar --directory=\"$2\" --extract --{option} --file=-"
        );
        self.measured(ground, &script, into)
    }

    fn finish(self: Box<Self>) {
        if let Some(far) = self.far {
            far.stop();
        }
    }
}
