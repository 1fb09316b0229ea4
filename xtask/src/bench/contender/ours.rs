//! `sync-cli` against its server: TLS, verified, durable, atomic.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use snafu::{OptionExt as _, ResultExt as _, ensure};

use super::{Contender, Ground};
use crate::{
    bench::meter::{Group, Sample, measure},
    cargo,
    certificates::{self, Certificates},
    e2e::server,
    error::{IoSnafu, Result, UnexpectedSnafu},
    proxy::Proxy,
};

/// How far the bytes that it reports may be from those that the proxy saw: alerts at the end of TLS, retried connections.
const SLACK_BYTES: u64 = 4096;

/// Ours.
#[derive(Debug)]
pub(in crate::bench) struct Ours {
    program: PathBuf,
    far: Option<Far>,
}

#[derive(Debug)]
struct Far {
    group: Group,
    child: Child,
    proxy: Proxy,
    token: String,
    certificates: Certificates,
}

impl Ours {
    /// Ours, by its program.
    pub(in crate::bench) fn new(program: &Path) -> Self {
        Self {
            program: program.to_owned(),
            far: None,
        }
    }

    fn far(&self) -> Result<&Far> {
        self.far.as_ref().context(UnexpectedSnafu {
            what: "ours was not prepared",
        })
    }

    /// What an operator types, with its result as JSON.
    fn operate(&self, ground: &Ground, arguments: &[&str]) -> Result<serde_json::Value> {
        let text = cargo::output(
            ground
                .command(&self.program.to_string_lossy())
                .args(["--output", "json"])
                .args(arguments)
                .arg("--data")
                .arg(ground.remote()),
        )?;
        decode(&text)
    }

    fn write_workspace(&self, directory: &Path) -> Result<()> {
        let far = self.far()?;
        let text = format!(
            "[workspace]\nname = \"bench\"\n\n[remote]\nurl = \"https://localhost:{}\"\ntenant = \"bench\"\nbranch = \"main\"\nca_file = \"{}\"\n",
            far.proxy.address().port(),
            far.certificates.authority.display()
        );
        fs::create_dir_all(directory.join("services"))
            .and_then(|()| fs::write(directory.join("sync.toml"), text))
            .context(IoSnafu {
                action: format!("write the workspace `{}`", directory.display()),
            })
    }

    fn measured(&self, ground: &Ground, workspace: &Path, verb: &str) -> Result<Sample> {
        let far = self.far()?;
        let mut command = ground.command(&self.program.to_string_lossy());
        command
            .arg("-C")
            .arg(workspace)
            .args(["--output", "json", verb, "files"])
            .env("SYNC_TOKEN", &far.token);
        let (sample, stdout) = measure(&command, Some(&far.group), Some(&far.proxy))?;
        let result = decode(&stdout)?;
        let reported = ["bytes_sent", "bytes_received"].map(|key| result[key].as_u64());
        let passed = sample.passed.unwrap_or_default();
        for (reported, seen) in reported.into_iter().zip([passed.sent, passed.received]) {
            let reported = reported.context(UnexpectedSnafu {
                what: "the result has no byte counts",
            })?;
            ensure!(
                reported.abs_diff(seen) <= SLACK_BYTES,
                UnexpectedSnafu {
                    what: format!("{verb} reported {reported} bytes, {seen} passed")
                }
            );
        }
        Ok(sample)
    }
}

fn decode(text: &str) -> Result<serde_json::Value> {
    serde_json::from_str(text).ok().context(UnexpectedSnafu {
        what: format!("`sync-cli` did not print one JSON object: {text}"),
    })
}

impl Contender for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn prepare(&mut self, ground: &Ground) -> Result<()> {
        let certificates = certificates::make(&ground.directory)?;
        let group = Group::new()?;
        let command: Command = server::command(&self.program, &ground.remote(), &certificates);
        let mut child = group
            .wrap(&command)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(IoSnafu {
                action: "start the server",
            })?;
        let address = child
            .stdout
            .take()
            .and_then(|stdout| {
                let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
                let address = lines.find_map(|line| {
                    let address: SocketAddr = line.split_once("https://")?.1.trim().parse().ok()?;
                    Some(address)
                });
                thread::spawn(move || lines.for_each(drop));
                address
            })
            .context(UnexpectedSnafu {
                what: "the server did not say where it listens",
            })?;
        let proxy = Proxy::start(address)?;
        self.operate(ground, &["tenant", "create", "bench"])?;
        let created = self.operate(
            ground,
            &["token", "create", "--tenant", "bench", "--scope", "write"],
        )?;
        let token = created["token"].as_str().unwrap_or_default().to_owned();
        self.far = Some(Far {
            group,
            child,
            proxy,
            token,
            certificates,
        });
        self.write_workspace(&ground.directory.join("workspace"))
    }

    fn source(&self, ground: &Ground) -> PathBuf {
        ground.directory.join("workspace").join("services")
    }

    fn push(&mut self, ground: &Ground) -> Result<Sample> {
        self.measured(ground, &ground.directory.join("workspace"), "push")
    }

    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample> {
        self.write_workspace(into)?;
        self.measured(ground, into, "pull")
    }

    fn pulled(&self, into: &Path) -> PathBuf {
        into.join("services")
    }

    fn proxy(&self) -> Option<&Proxy> {
        self.far.as_ref().map(|far| &far.proxy)
    }

    fn finish(self: Box<Self>) {
        if let Some(mut far) = self.far {
            far.group.kill();
            drop(far.child.wait());
        }
    }
}
