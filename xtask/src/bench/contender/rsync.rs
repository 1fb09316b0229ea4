//! `rsync -a --delete` to and from its daemon: not encrypted, not durable, not atomic.

use std::{fs, path::Path};

use snafu::{OptionExt as _, ResultExt as _};

use super::{Contender, Far, Ground, free_port};
use crate::{
    bench::meter::{Sample, measure},
    error::{IoSnafu, Result, UnexpectedSnafu},
    proxy::Proxy,
};

/// rsync.
#[derive(Debug, Default)]
pub(in crate::bench) struct Rsync {
    far: Option<Far>,
}

impl Rsync {
    fn run(&self, ground: &Ground, from: &str, to: &str) -> Result<Sample> {
        let far = self.far.as_ref().context(UnexpectedSnafu {
            what: "rsync was not prepared",
        })?;
        let mut command = ground.command("rsync");
        command.args(["-a", "--delete", from, to]);
        measure(&command, Some(&far.group), Some(&far.proxy)).map(|(sample, _)| sample)
    }

    fn url(&self) -> String {
        let port = self.far.as_ref().map_or(0, Far::port);
        format!("rsync://127.0.0.1:{port}/tree/")
    }
}

impl Contender for Rsync {
    fn name(&self) -> &'static str {
        "rsync"
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        let config = ground.directory.join("rsyncd.conf");
        let text = format!(
            "use chroot = no\nuid = 0\ngid = 0\n[tree]\npath = {}\nread only = no\n",
            ground.remote().display()
        );
        fs::write(&config, text).context(IoSnafu {
            action: "write the daemon's configuration",
        })?;
        let port = free_port()?;
        let mut command = ground.command("rsync");
        command
            .args(["--daemon", "--no-detach", "--address=127.0.0.1"])
            .arg(format!("--port={port}"))
            .arg(format!("--config={}", config.display()));
        self.far = Some(Far::start(&command, port)?);
        Ok(())
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        let source = format!("{}/", self.source(ground).display());
        self.run(ground, &source, &self.url())
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        self.run(ground, &self.url(), &format!("{}/", into.display()))
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
