//! A registry of images on loopback: Debian's, with one user.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Instant,
};

use super::{PATIENCE, debian, done};
use crate::cargo;

/// What the one user, `ada`, proves herself with.
pub(super) const PASSWORD: &str = "correct-horse-battery";

/// A registry; ended when it is dropped.
#[derive(Debug)]
pub(super) struct Registry {
    child: Child,
    port: u16,
    data: PathBuf,
}

impl Registry {
    /// Starts it on a free port, and waits until it answers.
    #[track_caller]
    pub(super) fn start(dir: &Path) -> Self {
        done(debian::demand("docker-registry", "docker-registry"));
        done(debian::demand("htpasswd", "apache2-utils"));
        let data = dir.join("data");
        fs::create_dir_all(&data).expect("create a directory");
        let users = done(cargo::output(
            Command::new("htpasswd").args(["-Bbn", "ada", PASSWORD]),
        ));
        fs::write(dir.join("users"), users).expect("write the users");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("find a port");
        let port = free.local_addr().expect("a port").port();
        drop(free);
        let config = dir.join("config.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:{port}\nauth:\n  htpasswd:\n    realm: test\n    path: {}\n",
            data.display(),
            dir.join("users").display()
        );
        fs::write(&config, text).expect("write the configuration");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start docker-registry");
        let registry = Self { child, port, data };
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(began.elapsed() < PATIENCE, "the registry does not answer");
            std::thread::yield_now();
        }
        registry
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    /// The tags that it has, as a listing of its own files.
    pub(super) fn tags(&self) -> String {
        let dir = self
            .data
            .join("docker/registry/v2/repositories/team/agents/_manifests/tags");
        let names = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
