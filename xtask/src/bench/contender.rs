//! How each tool does the same jobs.

pub(super) mod git;
pub(super) mod ours;
pub(super) mod restic;
pub(super) mod rsync;
pub(super) mod tar;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use snafu::{ResultExt as _, ensure};

use super::meter::{Group, Sample};
use crate::{
    cargo,
    error::{IoSnafu, MissingSnafu, Result},
    proxy::Proxy,
};

/// A tool that can push a tree and pull it.
pub(super) trait Contender {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// Sets up both ends; nothing of this is measured.
    fn prepare(&mut self, ground: &Ground) -> Result<()>;

    /// Where it wants the tree to be.
    fn source(&self, ground: &Ground) -> PathBuf {
        ground.directory.join("source")
    }

    /// Makes the other end hold the tree as it is now.
    fn push(&mut self, ground: &Ground) -> Result<Sample>;

    /// Makes a new directory hold what the other end holds.
    fn pull(&mut self, ground: &Ground, into: &Path) -> Result<Sample>;

    /// Where the tree is in the directory that a pull filled.
    fn pulled(&self, into: &Path) -> PathBuf {
        into.to_owned()
    }

    /// How large its repository is, where that stands for the wire.
    fn stored(&self, _: &Ground) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What its connection goes through, where it has one that is worth delaying.
    fn proxy(&self) -> Option<&Proxy> {
        None
    }

    /// Ends what `prepare` began.
    fn finish(self: Box<Self>);
}

/// The directory of one contender in one run.
#[derive(Debug)]
pub(super) struct Ground {
    pub(super) directory: PathBuf,
}

impl Ground {
    /// An empty directory.
    pub(super) fn new(root: &Path, name: &str) -> Result<Self> {
        let directory = root.join(name.replace([' ', '.'], "-"));
        for path in ["home", "source", "remote"] {
            let path = directory.join(path);
            fs::create_dir_all(&path).context(IoSnafu {
                action: format!("create `{}`", path.display()),
            })?;
        }
        Ok(Self { directory })
    }

    /// The far end's directory.
    pub(super) fn remote(&self) -> PathBuf {
        self.directory.join("remote")
    }

    /// A command that knows nothing of this machine's user.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("HOME", self.directory.join("home"))
            .env_remove("XDG_CONFIG_HOME");
        command
    }
}

/// A running far end: its processes, and the proxy that counts what it is sent.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) group: Group,
    pub(super) proxy: Proxy,
    child: Child,
}

impl Far {
    /// Starts a server that was told to listen on `port`, and waits until it does.
    pub(super) fn start(command: &Command, port: u16) -> Result<Self> {
        let group = Group::new()?;
        let child = group
            .wrap(command)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|_| IoSnafu {
                action: format!("start `{}`", cargo::shown(command)),
            })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(
                began.elapsed() < Duration::from_secs(20),
                MissingSnafu {
                    what: format!("`{}` does not listen", cargo::shown(command)),
                    advice: "start it by hand and look"
                }
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            group,
            proxy: Proxy::start(address)?,
            child,
        })
    }

    /// Where clients connect to.
    pub(super) fn port(&self) -> u16 {
        self.proxy.address().port()
    }

    /// Ends it.
    pub(super) fn stop(mut self) {
        self.group.kill();
        drop(self.child.wait());
    }
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> Result<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .context(IoSnafu {
            action: "find a free port",
        })
}

/// Installs the peers that are missing, where the package manager is Debian's.
pub(super) fn install_peers() -> Result<()> {
    for (program, package) in [
        ("rsync", "rsync"),
        ("git", "git"),
        ("restic", "restic"),
        ("tar", "tar"),
        ("gzip", "gzip"),
        ("zstd", "zstd"),
        ("mkfs.ext4", "e2fsprogs"),
    ] {
        let is_there = Command::new("sh")
            .args(["-c", "command -v \"$0\" >/dev/null"])
            .arg(program)
            .status()
            .is_ok_and(|status| status.success());
        if !is_there {
            cargo::run(Command::new("apt-get").args(["install", "--yes", package]))?;
        }
    }
    Ok(())
}

/// How many bytes the files below a directory have.
pub(super) fn size(root: &Path) -> Result<u64> {
    let output = cargo::output(Command::new("du").args(["-sb"]).arg(root))?;
    Ok(output
        .split_whitespace()
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or_default())
}
