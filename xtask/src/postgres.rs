//! A PostgreSQL server for tests: found, or started and removed again.
//!
//! [`Postgres::up_or_found`] is for everybody who needs a database; [`Postgres::start`] is for who means to kill the server.
//! Which kind it is depends on the machine: the official image where it can be pulled, else an [`image`] made of Debian packages, both in a [`container`]; else a private [`cluster`] of local programs.
//! Whatever a process starts here is removed when that process ends, however it ends ([`removal`]), unless [`up`] leaves it for [`down`].

mod cluster;
mod container;
mod image;
mod preparation;
mod removal;
mod session;

use std::{
    env, fmt, fs, io,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
};

use serde::{Deserialize, Serialize};
use snafu::{OptionExt as _, ResultExt as _, ensure};

use crate::{
    cargo, certificates,
    error::{self, IoSnafu, MissingSnafu, Result, UnexpectedSnafu},
};
use cluster::Cluster;
use container::Container;
use preparation::Preparation;
use removal::Removal;

pub(crate) use session::Session;

/// Names the URL of a superuser, for tests.
const URL_VARIABLE: &str = "SYNC_TEST_POSTGRES";
/// Names the authority that vouches for the server's certificate, for tests.
const AUTHORITY_VARIABLE: &str = "SYNC_TEST_POSTGRES_CA";

/// Where a server for tests comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A container of the official image.
    Official,
    /// A container of an image that we make of Debian packages.
    Debian,
    /// A private cluster of the programs that this machine has.
    Local,
}

impl Kind {
    /// All of them, best first.
    const ALL: [Self; 3] = [Self::Official, Self::Debian, Self::Local];

    fn name(self) -> &'static str {
        match self {
            Self::Official => "official",
            Self::Debian => "debian",
            Self::Local => "local",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Official => "container of the official image",
            Self::Debian => "container of an image made of Debian packages",
            Self::Local => "private cluster of this machine's programs",
        })
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| "expected official, debian or local".to_owned())
    }
}

/// A server that we know how to kill, start and remove.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Instance {
    kind: Kind,
    url: String,
    /// Holds the authority's certificate, and the data and the log of a local cluster.
    directory: PathBuf,
    host: Host,
}

/// What runs the server.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Host {
    Container(Container),
    Cluster(Cluster),
}

/// A PostgreSQL server for tests; if this process started it, it is removed with this value.
#[derive(Debug)]
pub(crate) struct Postgres {
    /// `None` for a server that the environment names.
    instance: Option<Instance>,
    /// `None` for a server that somebody else started.
    removal: Option<Removal>,
}

impl Postgres {
    /// The server that the environment names, else the one that `cargo xtask e2e up` left, else a new one.
    pub(crate) fn up_or_found() -> Result<Self> {
        if env::var_os(URL_VARIABLE).is_some() {
            println!("PostgreSQL: the one that {URL_VARIABLE} names");
            return Ok(Self {
                instance: None,
                removal: None,
            });
        }
        match found()? {
            Some(instance) => {
                println!("PostgreSQL: found a {}", instance.kind);
                Ok(Self {
                    instance: Some(instance),
                    removal: None,
                })
            }
            None => Self::start(None),
        }
    }

    /// A new server of one's own, of the best kind that works here unless one is asked for.
    ///
    /// # Errors
    ///
    /// No kind works, and nothing is left of what was tried.
    pub(crate) fn start(kind: Option<Kind>) -> Result<Self> {
        let kinds = kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]);
        let has_engine = container::engine_answers();
        let mut refusals = Vec::new();
        for kind in kinds {
            let image = match kind {
                Kind::Local => Ok(None),
                _ if !has_engine => MissingSnafu {
                    what: "no container engine answers",
                    advice: "start docker",
                }
                .fail(),
                Kind::Official => image::official().map(Some),
                Kind::Debian => image::debian().map(Some),
            };
            match image.and_then(|image| Self::start_as(kind, image.as_deref())) {
                Ok(postgres) => {
                    println!("PostgreSQL: started a {kind}");
                    return Ok(postgres);
                }
                Err(error) => {
                    let refusal = format!("no {kind}: {}", error::chain(&error));
                    println!("PostgreSQL: {refusal}");
                    refusals.push(refusal);
                }
            }
        }
        UnexpectedSnafu {
            what: format!("could not start PostgreSQL: {}", refusals.join("; ")),
        }
        .fail()
    }

    fn start_as(kind: Kind, image: Option<&str>) -> Result<Self> {
        let directory = preparation::directory()?;
        let name = preparation::name()?;
        let port = preparation::free_port()?;
        let password = preparation::password()?;
        let host = match image {
            Some(_) => Host::Container(Container::new(name)),
            None => Host::Cluster(Cluster::new(directory.path().to_owned())?),
        };
        // From here on, whatever happens to us, nothing stays behind.
        let removal = Removal::watch(&host, directory.path())?;
        let directory = directory.keep();
        let certificates = certificates::make(&directory)?;
        let instance = Instance {
            kind,
            url: format!("postgresql://postgres:{password}@127.0.0.1:{port}/postgres"),
            directory,
            host,
        };
        let preparation = Preparation::new(port, password, &certificates)?;
        let started = match (&instance.host, image) {
            (Host::Container(container), Some(image)) => container.create(image, &preparation),
            (Host::Cluster(cluster), _) => cluster.create(&preparation),
            (Host::Container(_), None) => Ok(()),
        };
        if let Err(error) = started {
            instance.show_log();
            return Err(error);
        }
        Ok(Self {
            instance: Some(instance),
            removal: Some(removal),
        })
    }

    /// What tests find in their environment.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        // What the environment named, every child inherits.
        self.instance
            .iter()
            .flat_map(|instance| {
                [
                    (URL_VARIABLE, instance.url.clone()),
                    (AUTHORITY_VARIABLE, instance.authority()),
                ]
            })
            .collect()
    }

    /// Ends every process of the server by SIGKILL; returns when all are gone.
    pub(crate) fn kill(&self) -> Result<()> {
        match &self.instance()?.host {
            Host::Container(container) => container.kill(),
            Host::Cluster(cluster) => cluster.kill(),
        }
    }

    /// Starts it again after [`Self::kill`], at the same address; returns when it accepts connections.
    pub(crate) fn revive(&self) -> Result<()> {
        let instance = self.instance()?;
        let started = match &instance.host {
            Host::Container(container) => container.start(),
            Host::Cluster(cluster) => cluster.start(),
        };
        started.inspect_err(|_| instance.show_log())
    }

    /// Stops it as an operator does, which ends every session, and starts it again.
    pub(crate) fn restart(&self) -> Result<()> {
        let instance = self.instance()?;
        let started = match &instance.host {
            Host::Container(container) => container.restart(),
            Host::Cluster(cluster) => cluster.restart(),
        };
        started.inspect_err(|_| instance.show_log())
    }

    /// Runs SQL as the superuser, over TLS with the server's certificate verified; returns the rows as text.
    pub(crate) fn query(&self, sql: &str) -> Result<String> {
        let mut command = self.instance()?.psql();
        command.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        command.args(["--set", "ON_ERROR_STOP=1", "--command", sql]);
        Ok(cargo::output(&mut command)?.trim_end().to_owned())
    }

    /// A session with one of its databases, as the superuser.
    pub(crate) fn session(&self, database: &str) -> Result<Session> {
        let command = match &self.instance {
            None => {
                let mut command = Command::new("psql");
                command.arg(named_url(database));
                command
            }
            Some(instance) => {
                let mut command = instance.psql();
                command.args(["--dbname", database]);
                command
            }
        };
        Session::open(command)
    }

    /// The URL of one of its databases, as programs on this machine reach it; with TLS and a verified certificate where
    /// the server has one.
    pub(crate) fn url(&self, database: &str) -> String {
        let Some(instance) = &self.instance else {
            return named_url(database);
        };
        let (server, _) = instance.url.rsplit_once('/').unwrap_or_default();
        let authority = instance.authority();
        format!("{server}/{database}?sslmode=verify-full&sslrootcert={authority}")
    }

    /// Removes it if this process started it, and says whether that worked.
    pub(crate) fn down(mut self) -> Result<()> {
        self.removal.take().map_or(Ok(()), Removal::now)
    }

    fn instance(&self) -> Result<&Instance> {
        self.instance.as_ref().context(MissingSnafu {
            what: format!("the server that {URL_VARIABLE} names is not ours to control"),
            advice: "unset the variable",
        })
    }
}

impl Instance {
    fn authority(&self) -> String {
        self.directory.join("ca.pem").display().to_string()
    }

    /// The URL is ours, so its parts are where we put them.
    fn password(&self) -> &str {
        let (_, rest) = self.url.split_once("postgres:").unwrap_or_default();
        rest.split_once('@').unwrap_or_default().0
    }

    fn port(&self) -> &str {
        let (_, rest) = self.url.rsplit_once(':').unwrap_or_default();
        rest.split_once('/').unwrap_or_default().0
    }

    fn psql(&self) -> Command {
        let password = self.password();
        match &self.host {
            Host::Container(container) => container.psql(password),
            Host::Cluster(cluster) => cluster.psql(password, self.port()),
        }
    }

    fn answers(&self) -> bool {
        match &self.host {
            Host::Container(container) => container.answers(),
            Host::Cluster(cluster) => cluster.answers(),
        }
    }

    fn log_command(&self) -> Command {
        match &self.host {
            Host::Container(container) => container.log(),
            Host::Cluster(cluster) => cluster.log(),
        }
    }

    fn show_log(&self) {
        println!("---- the end of PostgreSQL's log");
        // The failure itself is reported by the caller.
        let _ = self.log_command().arg("--tail=30").status();
    }

    fn show(&self) {
        let log = match &self.host {
            Host::Container(container) => format!("docker logs {}", container.name()),
            Host::Cluster(cluster) => cluster.log_path().display().to_string(),
        };
        println!("{}", self.url);
        println!("log: {log}");
        println!("export {URL_VARIABLE}={}", self.url);
        println!("export {AUTHORITY_VARIABLE}={}", self.authority());
    }
}

/// The URL of another database of the server that the environment names.
fn named_url(database: &str) -> String {
    let url = env::var(URL_VARIABLE).unwrap_or_default();
    let plain = url.split('?').next().unwrap_or_default();
    let (server, _) = plain.rsplit_once('/').unwrap_or((plain, ""));
    match env::var(AUTHORITY_VARIABLE) {
        Ok(authority) if !authority.is_empty() => {
            format!("{server}/{database}?sslmode=verify-full&sslrootcert={authority}")
        }
        _ => format!("{server}/{database}"),
    }
}

/// Starts a server and leaves it running, unless one is up already; says where it is.
pub(crate) fn up(kind: Option<Kind>) -> Result<()> {
    if let Some(instance) = found()? {
        ensure!(
            kind.is_none_or(|kind| kind == instance.kind),
            UnexpectedSnafu {
                what: format!(
                    "PostgreSQL is up already, as a {}: `cargo xtask e2e down` first",
                    instance.kind
                )
            }
        );
        println!("PostgreSQL: found a {}", instance.kind);
        instance.show();
        return Ok(());
    }
    let mut postgres = Postgres::start(kind)?;
    let instance = postgres.instance()?.clone();
    write_state(&state_path()?, &instance)?;
    if let Some(removal) = postgres.removal.take() {
        removal.forget()?;
    }
    instance.show();
    Ok(())
}

/// Removes what [`up`] left, and the image that it made where that is asked for; says whether there was anything to do.
pub(crate) fn down(with_image: bool) -> Result<bool> {
    let path = state_path()?;
    let instance = read_state(&path)?;
    if let Some(instance) = &instance {
        remove(&path, instance)?;
        println!("PostgreSQL: removed a {}", instance.kind);
    }
    if with_image {
        image::remove_debian()?;
    }
    Ok(instance.is_some() || with_image)
}

/// The server that [`up`] left, if it still answers; what is left of one that does not is removed.
fn found() -> Result<Option<Instance>> {
    let path = state_path()?;
    let Some(instance) = read_state(&path)? else {
        return Ok(None);
    };
    if instance.answers() {
        return Ok(Some(instance));
    }
    println!("PostgreSQL: the {} is gone, clearing up", instance.kind);
    remove(&path, &instance)?;
    Ok(None)
}

fn remove(state: &Path, instance: &Instance) -> Result<()> {
    Removal::watch(&instance.host, &instance.directory)?.now()?;
    fs::remove_file(state).context(IoSnafu {
        action: format!("remove `{}`", state.display()),
    })
}

fn state_path() -> Result<PathBuf> {
    let directory = cargo::metadata()?.target_directory.join("xtask");
    fs::create_dir_all(&directory).context(IoSnafu {
        action: format!("create `{directory}`"),
    })?;
    Ok(directory.join("postgres.json").into())
}

fn write_state(path: &Path, instance: &Instance) -> Result<()> {
    let context = || IoSnafu {
        action: format!("write `{}`", path.display()),
    };
    let text = serde_json::to_string(instance)
        .map_err(io::Error::from)
        .with_context(|_| context())?;
    fs::write(path, text).with_context(|_| context())
}

fn read_state(path: &Path) -> Result<Option<Instance>> {
    let Ok(text) = fs::read_to_string(path) else {
        return Ok(None);
    };
    let instance = serde_json::from_str(&text).ok().context(UnexpectedSnafu {
        what: format!("`{}` is damaged", path.display()),
    })?;
    Ok(Some(instance))
}
