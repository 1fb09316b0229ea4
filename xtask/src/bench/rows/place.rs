//! Ours: a server with a tenant's database, and a workspace with another, TLS on every connection.

use std::{
    cell::Cell,
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use serde_json::Value;
use snafu::{OptionExt as _, ResultExt as _, ensure};

use super::{
    database::{Database, Server},
    table,
};
use crate::{
    bench::{
        contender,
        meter::{Group, Sample, measure},
    },
    cargo, certificates,
    e2e::server,
    error::{IoSnafu, Result, UnexpectedSnafu},
    proxy::Proxy,
};

/// Names the tenant's database to the server.
const TENANT_URL: &str = "BENCH_TENANT_URL";

/// A workspace's database, a tenant's database, and what keeps them equal.
#[derive(Debug)]
pub(super) struct Place {
    /// How many rows the table has.
    pub(super) rows: u64,
    /// The workspace's database.
    pub(super) local: Database,
    /// The tenant's database.
    pub(super) tenant: Database,
    /// The server's processes.
    pub(super) group: Group,
    program: PathBuf,
    directory: PathBuf,
    token: String,
    child: Child,
    proxy: Proxy,
    revision: Cell<u64>,
}

/// What one run of ours cost.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) sample: Sample,
    /// HTTP requests that the server answered.
    pub(super) requests: u64,
    /// How long the server took for all of them, from its log.
    pub(super) server_ms: u64,
    /// Rows that it reports to have pushed.
    pub(super) pushed: u64,
}

impl Place {
    /// Copies of the template's rows here, an empty table there; nothing is tracked.
    pub(super) fn new(
        program: &Path,
        server: &Server,
        template: &Database,
        (name, rows): (&str, u64),
        root: &Path,
    ) -> Result<Self> {
        let directory = root.join(name);
        let workspace = directory.join("workspace");
        let action = || IoSnafu {
            action: format!("create `{}`", workspace.display()),
        };
        fs::create_dir_all(workspace.join("services")).with_context(|_| action())?;
        let local = server.database(&format!("{name}_local"), Some(template))?;
        let tenant = server.database(&format!("{name}_tenant"), None)?;
        tenant.run(table::DEFINITION)?;

        let certificates = certificates::make(&directory)?;
        let group = Group::new()?;
        let mut command = server::command(program, &directory.join("data"), &certificates);
        command.env(TENANT_URL, tenant.url());
        let (child, address) = serve(group.wrap(&command), &directory.join("server.log"))?;
        let proxy = Proxy::start(address)?;
        let text = format!(
            "[workspace]\nname = \"bench\"\n\n[remote]\nurl = \"https://localhost:{}\"\ntenant = \"bench\"\nca_file = \"{}\"\n\n[[database.tables]]\nname = \"{}\"\n",
            proxy.address().port(),
            certificates.authority.display(),
            table::NAME
        );
        fs::write(workspace.join("sync.toml"), text).with_context(|_| action())?;
        let mut place = Self {
            rows,
            local,
            tenant,
            group,
            program: program.to_owned(),
            directory,
            token: String::new(),
            child,
            proxy,
            revision: Cell::new(0),
        };
        place.introduce()?;
        Ok(place)
    }

    /// Makes the tenant, its token, and our bookkeeping on both sides.
    fn introduce(&mut self) -> Result<()> {
        self.operate(&["tenant", "create", "bench"])?;
        let tables = self.workspace().join("sync.toml").display().to_string();
        let database = ["tenant", "database", "bench", "--url-env", TENANT_URL];
        self.operate(&[&database[..], &["--tables", &tables]].concat())?;
        let created =
            self.operate(&["token", "create", "--tenant", "bench", "--scope", "write"])?;
        created["token"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut self.token);
        for side in ["DATABASE_URL", TENANT_URL] {
            self.cli(&["db", "--url-env", side, "migrate", "--bookkeeping"])?;
        }
        Ok(())
    }

    /// Starts to track the table on both sides.
    pub(super) fn track(&self) -> Result<()> {
        for side in ["DATABASE_URL", TENANT_URL] {
            self.cli(&["db", "--url-env", side, "track"])?;
        }
        Ok(())
    }

    /// `push database`, measured at both ends.
    pub(super) fn push(&self) -> Result<Ran> {
        let log = self.directory.join("server.log");
        let before = fs::metadata(&log).map_or(0, |log| log.len());
        let mut command = self.command();
        command.args(["--output", "json", "push", "database"]);
        let (sample, stdout) = measure(&command, Some(&self.group), Some(&self.proxy))?;
        let result = decode(&stdout)?;
        let (requests, server_ms) = answered(&log, before)?;
        let pushed = result["pushed"].as_array().map_or(0, |tables| {
            let counts = tables.iter().flat_map(|table| {
                ["created", "updated", "deleted"].map(|key| table[key].as_u64().unwrap_or_default())
            });
            counts.sum()
        });
        ensure!(
            result["success"] == true,
            UnexpectedSnafu {
                what: format!("`push database` failed: {stdout}")
            }
        );
        Ok(Ran {
            sample,
            requests,
            server_ms,
            pushed,
        })
    }

    /// A push that has to move so many rows.
    pub(super) fn push_of(&self, rows: u64) -> Result<Ran> {
        let ran = self.push()?;
        ensure!(
            ran.pushed == rows,
            UnexpectedSnafu {
                what: format!("{} rows were pushed instead of {rows}", ran.pushed)
            }
        );
        Ok(ran)
    }

    /// Changes so many rows of the workspace's database, and waits until the disk has nothing left to do.
    pub(super) fn change(&self, count: u64) -> Result<()> {
        self.edit(count)?;
        table::settle(&self.local)
    }

    /// Changes so many rows of the workspace's database.
    pub(super) fn edit(&self, count: u64) -> Result<()> {
        table::change(&self.local, self.rows, count, self.next_revision())
    }

    /// A revision that no row has.
    pub(super) fn next_revision(&self) -> u64 {
        self.revision.set(self.revision.get() + 1);
        self.revision.get()
    }

    /// How many bytes the server's data has.
    pub(super) fn stored(&self) -> Result<u64> {
        contender::size(&self.directory.join("data"))
    }

    /// Both databases hold the same rows.
    pub(super) fn verify(&self) -> Result<()> {
        let (here, there) = (table::sum(&self.local)?, table::sum(&self.tenant)?);
        ensure!(
            here == there,
            UnexpectedSnafu {
                what: format!("the tenant holds other rows: {here} here, {there} there")
            }
        );
        Ok(())
    }

    /// Where scripts and logs may be put.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Our program in the workspace, knowing where everything is.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("-C")
            .arg(self.workspace())
            .env("HOME", &self.directory)
            .env_remove("XDG_CONFIG_HOME")
            .env("SYNC_TOKEN", &self.token)
            .env("DATABASE_URL", self.local.url())
            .env(TENANT_URL, self.tenant.url());
        command
    }

    fn workspace(&self) -> PathBuf {
        self.directory.join("workspace")
    }

    fn cli(&self, arguments: &[&str]) -> Result<()> {
        cargo::output(self.command().args(arguments)).map(drop)
    }

    /// What an operator types, with its result.
    fn operate(&self, arguments: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.program);
        command
            .args(["--output", "json"])
            .args(arguments)
            .arg("--data")
            .arg(self.directory.join("data"))
            .env("HOME", &self.directory);
        decode(&cargo::output(&mut command)?)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.group.kill();
        drop(self.child.wait());
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Starts a server whose log goes to a file, and waits until it says where it listens.
fn serve(mut command: Command, log: &Path) -> Result<(Child, SocketAddr)> {
    let action = || IoSnafu {
        action: "start the server",
    };
    let stderr = File::create(log).with_context(|_| action())?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .with_context(|_| action())?;
    let stdout = child.stdout.take();
    let address = stdout.and_then(|stdout| {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let address = lines.find_map(|line| line.split_once("https://")?.1.trim().parse().ok());
        thread::spawn(move || lines.for_each(drop));
        address
    });
    let address = address.context(UnexpectedSnafu {
        what: "the server did not say where it listens",
    })?;
    Ok((child, address))
}

/// How many requests the log tells of from an offset on, and how long they took.
fn answered(log: &Path, from: u64) -> Result<(u64, u64)> {
    let action = || IoSnafu {
        action: format!("read `{}`", log.display()),
    };
    let mut file = File::open(log).with_context(|_| action())?;
    file.seek(SeekFrom::Start(from))
        .with_context(|_| action())?;
    let mut text = String::new();
    file.read_to_string(&mut text).with_context(|_| action())?;
    Ok(times(&text))
}

fn times(text: &str) -> (u64, u64) {
    let times = text
        .lines()
        .filter(|line| line.contains("answered"))
        .filter_map(|line| {
            let (_, time) = line.rsplit_once(" ms=")?;
            time.split_whitespace().next()?.parse::<u64>().ok()
        });
    times.fold((0, 0), |(requests, total), time| {
        (requests + 1, total + time)
    })
}

fn decode(text: &str) -> Result<Value> {
    serde_json::from_str(text).ok().context(UnexpectedSnafu {
        what: format!("`sync-cli` did not print one JSON object: {text}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_answered_requests() {
        let log = "INFO request{id=1}: x: answered method=GET path=/a status=200 ms=3\nINFO other ms=9\nINFO request{id=2}: x: answered method=GET path=/b status=200 ms=4\n";
        assert_eq!(times(log), (2, 7));
    }
}
