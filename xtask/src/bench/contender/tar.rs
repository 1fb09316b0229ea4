//! A tar.gz over HTTP, which is what people do without a tool: not encrypted, not durable, always everything.
//!
//! Both ends of the HTTP are ours ([`crate::bench::tarball`]); the receiving one unpacks, since a tree is what it is for.

use std::path::{Path, PathBuf};

use snafu::{OptionExt as _, ResultExt as _};

use super::{Contender, Far, Ground, free_port};
use crate::{
    bench::meter::{Sample, measure},
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// tar, gzip and HTTP.
#[derive(Debug, Default)]
pub(in crate::bench) struct Tar {
    far: Option<Far>,
}

impl Tar {
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
        "tar.gz"
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        let port = free_port()?;
        let mut command = ground.command(&own_program()?.to_string_lossy());
        command
            .args(["bench", "sink"])
            .arg(format!("127.0.0.1:{port}"))
            .arg(ground.remote());
        self.far = Some(Far::start(&command, port)?);
        Ok(())
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        let source = self.source(ground);
        let script =
            "tar --directory=\"$2\" --create --file=- . | gzip -6 | \"$0\" bench upload \"$1\"";
        self.measured(ground, script, &source)
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        let script = "mkdir \"$2\" && \"$0\" bench download \"$1\" | tar --directory=\"$2\" --extract --gzip --file=-";
        self.measured(ground, script, into)
    }

    fn finish(self: Box<Self>) {
        if let Some(far) = self.far {
            far.stop();
        }
    }
}
