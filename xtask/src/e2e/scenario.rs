//! What a scenario is given, and how scenarios are run and reported.

use std::{
    any::Any,
    fs,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Instant,
};

use snafu::ResultExt as _;

use super::{
    cli::{Answer, Cli, write_workspace},
    server::Server,
};
use crate::{
    certificates::Certificates,
    error::{IoSnafu, Result},
    postgres::{Kind, Postgres},
    proxy::Proxy,
};

/// Scenarios by name; one fails by panicking, as tests do.
pub(super) type Suite = &'static [(&'static str, fn(&Place))];

/// Everything that scenarios share.
#[derive(Debug)]
pub(super) struct Bench {
    program: PathBuf,
    directory: PathBuf,
    data: PathBuf,
    certificates: Certificates,
    server: SocketAddr,
    postgres: Option<Kind>,
    /// The PostgreSQL that scenarios share, once one has asked for it.
    shared: OnceLock<Postgres>,
}

impl Bench {
    pub(super) fn new(
        program: PathBuf,
        directory: &Path,
        data: PathBuf,
        certificates: Certificates,
        server: SocketAddr,
    ) -> Self {
        Self {
            program,
            directory: directory.to_owned(),
            data,
            certificates,
            server,
            postgres: None,
            shared: OnceLock::new(),
        }
    }

    /// The same with a kind of PostgreSQL that scenarios start.
    pub(super) fn with_postgres(mut self, kind: Option<Kind>) -> Self {
        self.postgres = kind;
        self
    }

    /// Runs the scenarios whose name contains `only`; returns how many failed.
    pub(super) fn run(&self, suite: &str, scenarios: Suite, only: &str) -> Result<usize> {
        let began = Instant::now();
        let (mut passed, mut failures) = (0, Vec::new());
        for (name, scenario) in scenarios.iter().filter(|(name, _)| name.contains(only)) {
            let context = || IoSnafu {
                action: format!("prepare the directory of `{name}`"),
            };
            let directory = tempfile::Builder::new()
                .prefix(name.get(..24).unwrap_or(name))
                .tempdir_in(&self.directory)
                .with_context(|_| context())?;
            fs::create_dir(directory.path().join("home")).with_context(|_| context())?;
            let short = name.get(..40).unwrap_or(name).replace('_', "-");
            let place = Place {
                bench: self,
                directory: directory.path().to_owned(),
                // Scenarios of two suites may have one name, and `up` and `test` may meet a tenant of an earlier run.
                tenant: format!("{suite}-{short}-{}", std::process::id()),
            };
            let failure = caught(|| scenario(&place));
            let verdict = if failure.is_none() { "ok" } else { "FAILED" };
            println!("test {suite}::{name} ... {verdict}");
            match failure {
                None => passed += 1,
                Some(why) => failures.push((name, why)),
            }
        }
        for (name, why) in &failures {
            println!("\n---- {suite}::{name}\n{why}");
        }
        println!(
            "\n{suite}: {passed} passed, {} failed in {:.1} s",
            failures.len(),
            began.elapsed().as_secs_f64()
        );
        Ok(failures.len())
    }
}

/// Runs a scenario; where it panics, says what and where.
fn caught(scenario: impl FnOnce()) -> Option<String> {
    let report = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&report);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let what = payload(info.payload());
        let place = info
            .location()
            .map_or_else(String::new, |at| format!("{}:{}: ", at.file(), at.line()));
        *written.lock().unwrap_or_else(PoisonError::into_inner) = format!("{place}{what}");
    }));
    let result = panic::catch_unwind(AssertUnwindSafe(scenario));
    panic::set_hook(before);
    result.err().map(|_| {
        report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    })
}

fn payload(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_else(|| "panicked".to_owned())
}

/// What one scenario has to itself: a directory and a tenant's name.
#[derive(Debug)]
pub(super) struct Place<'b> {
    bench: &'b Bench,
    directory: PathBuf,
    tenant: String,
}

impl Place<'_> {
    /// A directory that is removed after the scenario.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The name of its tenant.
    pub(super) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Where the shared server keeps its data.
    pub(super) fn data(&self) -> &Path {
        &self.bench.data
    }

    /// The certificates that servers have.
    pub(super) fn certificates(&self) -> &Certificates {
        &self.bench.certificates
    }

    /// Where the shared server listens.
    pub(super) fn server(&self) -> SocketAddr {
        self.bench.server
    }

    /// The PostgreSQL server that scenarios share; each makes databases of its own there.
    #[track_caller]
    pub(super) fn postgres(&self) -> &Postgres {
        let found = || match self.bench.postgres {
            None => Postgres::up_or_found(),
            kind => Postgres::start(kind),
        };
        self.bench.shared.get_or_init(|| done(found()))
    }

    /// A PostgreSQL server of the scenario's own, which it may kill.
    #[track_caller]
    pub(super) fn own_postgres(&self) -> Postgres {
        done(Postgres::start(self.bench.postgres))
    }

    /// `sync-cli` outside of any workspace.
    pub(super) fn cli(&self) -> Cli {
        Cli::new(&self.bench.program, &self.directory.join("home"))
    }

    /// Calls `sync-cli` as the operator of the server on a data directory.
    #[track_caller]
    pub(super) fn operator(&self, data: &Path, arguments: &[&str]) -> Answer {
        let data = data.display().to_string();
        let mut all = arguments.to_vec();
        all.extend(["--data", &data]);
        self.cli().call(&all)
    }

    /// A new token for a tenant on the shared server.
    #[track_caller]
    pub(super) fn token(&self, tenant: &str, scope: &str) -> String {
        self.token_in(self.data(), tenant, scope)
    }

    #[track_caller]
    fn token_in(&self, data: &Path, tenant: &str, scope: &str) -> String {
        self.operator(
            data,
            &["token", "create", "--tenant", tenant, "--scope", scope],
        )
        .ok()
        .text("token")
    }

    /// Creates the scenario's tenant on the shared server and returns a token that may write.
    #[track_caller]
    pub(super) fn create_tenant(&self) -> String {
        self.operator(self.data(), &["tenant", "create", &self.tenant])
            .ok();
        self.token(&self.tenant, "write")
    }

    /// A workspace of a tenant on a server at an address.
    #[track_caller]
    pub(super) fn workspace_at(&self, name: &str, address: SocketAddr, token: &str) -> Workspace {
        let url = format!("https://localhost:{}", address.port());
        self.workspace_in(&self.directory.join(name), &url, token)
    }

    /// A workspace in a directory of one's own, of a tenant at a URL.
    #[track_caller]
    pub(super) fn workspace_in(&self, root: &Path, url: &str, token: &str) -> Workspace {
        let root = root.to_owned();
        let authority = &self.certificates().authority;
        let authority = url.starts_with("https:").then_some(authority.as_path());
        write_workspace(&root, url, &self.tenant, authority);
        Workspace {
            cli: self.cli().within(&root).with_token(token),
            root,
        }
    }

    /// A workspace of the scenario's tenant on the shared server.
    #[track_caller]
    pub(super) fn workspace(&self, name: &str, token: &str) -> Workspace {
        self.workspace_at(name, self.server(), token)
    }

    /// Two workspaces of a new tenant.
    #[track_caller]
    pub(super) fn pair(&self) -> (Workspace, Workspace) {
        let token = self.create_tenant();
        (
            self.workspace("here", &token),
            self.workspace("there", &token),
        )
    }

    /// A server of the scenario's own, behind a proxy, with its tenant and a workspace.
    #[track_caller]
    pub(super) fn own_server(&self) -> OwnServer {
        let data = self.directory.join("data");
        self.own(self.start(&data), data, "https://localhost")
    }

    /// The same without TLS, so that the proxy sees and breaks what both sides say.
    #[track_caller]
    pub(super) fn own_plain_server(&self) -> OwnServer {
        let data = self.directory.join("data");
        let command = super::server::plain_command(&self.bench.program, &data);
        let log = self.directory.join("server.log");
        let server = done(Server::start_as(command, &log));
        self.own(server, data, "http://127.0.0.1")
    }

    #[track_caller]
    fn own(&self, server: Server, data: PathBuf, host: &str) -> OwnServer {
        let proxy = done(Proxy::start(server.address()));
        self.operator(&data, &["tenant", "create", &self.tenant])
            .ok();
        let token = self.token_in(&data, &self.tenant, "write");
        let url = format!("{host}:{}", proxy.address().port());
        let workspace = self.workspace_in(&self.directory.join("here"), &url, &token);
        OwnServer {
            server,
            data,
            proxy,
            token,
            workspace,
        }
    }

    /// Starts a server on a data directory.
    #[track_caller]
    pub(super) fn start(&self, data: &Path) -> Server {
        let log = self.directory.join("server.log");
        done(Server::start(
            &self.bench.program,
            data,
            self.certificates(),
            &log,
        ))
    }

    /// The command that starts a server without TLS on a data directory.
    pub(super) fn serve_plainly(&self, data: &Path) -> std::process::Command {
        super::server::plain_command(&self.bench.program, data)
    }

    /// The command that starts a server on a data directory.
    pub(super) fn serve(&self, data: &Path) -> std::process::Command {
        super::server::command(&self.bench.program, data, self.certificates())
    }
}

/// What worked.
#[track_caller]
pub(super) fn done<T>(result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{}", crate::error::chain(&error)),
    }
}

/// A server that one scenario may stop, and what is needed to use it.
#[derive(Debug)]
pub(super) struct OwnServer {
    pub(super) server: Server,
    pub(super) data: PathBuf,
    pub(super) proxy: Proxy,
    pub(super) token: String,
    pub(super) workspace: Workspace,
}

/// A workspace with its `services/` tree.
#[derive(Debug, Clone)]
pub(super) struct Workspace {
    root: PathBuf,
    cli: Cli,
}

impl Workspace {
    /// The directory of `sync.toml`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The tree that is synced.
    pub(super) fn services(&self) -> PathBuf {
        self.root.join("services")
    }

    /// `sync-cli` in this workspace.
    pub(super) fn cli(&self) -> &Cli {
        &self.cli
    }

    /// The same workspace with another token.
    pub(super) fn with_token(&self, token: &str) -> Self {
        Self {
            root: self.root.clone(),
            cli: self.cli.clone().with_token(token),
        }
    }

    /// Calls `sync-cli` here.
    #[track_caller]
    pub(super) fn call(&self, arguments: &[&str]) -> Answer {
        self.cli.call(arguments)
    }

    /// Pushes its files.
    #[track_caller]
    pub(super) fn push(&self) -> Answer {
        self.call(&["push", "files"])
    }

    /// Pulls its files.
    #[track_caller]
    pub(super) fn pull(&self) -> Answer {
        self.call(&["pull", "files"])
    }
}
