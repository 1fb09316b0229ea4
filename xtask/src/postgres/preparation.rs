//! What a new server is made with: names, a port, a password, certificates, settings.

use std::{
    env,
    fs::{self, File},
    io::Read as _,
    net::TcpListener,
    path::{Path, PathBuf},
};

use snafu::{OptionExt as _, ResultExt as _};
use tempfile::TempDir;

use crate::{
    certificates::Certificates,
    error::{IoSnafu, Result, UnexpectedSnafu},
};

/// Makes the cluster, with every setting, then becomes the command in its arguments.
pub(super) const SCRIPT: &str = include_str!("prepare.sh");

/// Ports below those that the kernel gives to outgoing connections, so that nobody takes ours during a restart.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// What the script needs to know.
#[derive(Debug)]
pub(super) struct Preparation {
    port: u16,
    password: String,
    authority: String,
    certificate: String,
    key: String,
}

impl Preparation {
    pub(super) fn new(port: u16, password: String, certificates: &Certificates) -> Result<Self> {
        Ok(Self {
            port,
            password,
            authority: read(&certificates.authority)?,
            certificate: read(&certificates.certificate)?,
            key: read(&certificates.key)?,
        })
    }

    /// Where clients on this machine find it.
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The script's environment, for a server that listens at an address and a port of its own.
    pub(super) fn environment(
        &self,
        programs: &Path,
        data: &Path,
        listen: &str,
        port: u16,
    ) -> [(&'static str, String); 8] {
        [
            ("PROGRAMS", programs.display().to_string()),
            ("DATA", data.display().to_string()),
            ("LISTEN", listen.to_owned()),
            ("PORT", port.to_string()),
            ("PASSWORD", self.password.clone()),
            ("AUTHORITY", self.authority.clone()),
            ("CERTIFICATE", self.certificate.clone()),
            ("KEY", self.key.clone()),
        ]
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).context(IoSnafu {
        action: format!("read `{}`", path.display()),
    })
}

/// A new directory on a disk: what is durable does not belong into memory, where `/tmp` often is.
pub(super) fn directory() -> Result<TempDir> {
    let parent = env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    tempfile::Builder::new()
        .prefix("sync-test-postgres-")
        .tempdir_in(parent)
        .context(IoSnafu {
            action: "create a temporary directory",
        })
}

/// A name for a container and its volume that nobody else has.
pub(super) fn name() -> Result<String> {
    Ok(format!(
        "sync-test-postgres-{}",
        hexadecimal(random::<6>()?)
    ))
}

/// A password that nobody guesses, without a character that a URL would have to escape.
pub(super) fn password() -> Result<String> {
    Ok(hexadecimal(random::<16>()?))
}

/// A port of loopback that is free now.
pub(super) fn free_port() -> Result<u16> {
    let offset = u16::from_le_bytes(random()?) % (PORTS.end - PORTS.start);
    (PORTS.start + offset..PORTS.end)
        .chain(PORTS)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .context(UnexpectedSnafu {
            what: "no port of loopback is free",
        })
}

fn hexadecimal<const N: usize>(bytes: [u8; N]) -> String {
    bytes
        .iter()
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .context(IoSnafu {
            action: "read random bytes",
        })?;
    Ok(bytes)
}
