//! `cargo xtask e2e [up|test|down|run] [SUITE]`: real server processes, real `sync-cli` processes, TLS between them.
//!
//! `run` is up, test, down: it always takes down what it put up, and shows the server's log when a scenario failed.
//! `up`, `test` and `down` are its parts, for somebody who looks around between them; `up` has a [PostgreSQL](crate::postgres) for tests, too, and `up postgres` only that.

mod bundle;
pub(crate) mod cli;
mod daemon;
mod deploy;
mod engine;
mod faults;
mod files;
mod legacy;
mod local;
mod postgres;
mod rows;
mod scenario;
pub(crate) mod server;
mod trees;
mod upkeep;

use std::{
    fs, io,
    net::TcpStream,
    path::{Path, PathBuf},
};

use argh::FromArgs;
use serde::{Deserialize, Serialize};
use snafu::{OptionExt as _, ResultExt as _, ensure};

use crate::{
    cargo::{self, cargo},
    certificates::{self, Certificates},
    error::{FoundSnafu, IoSnafu, MissingSnafu, Result, UnexpectedSnafu},
    postgres::Kind,
};
use scenario::{Bench, Suite};
use server::Server;

/// Drive real processes end to end.
#[derive(FromArgs)]
#[argh(subcommand, name = "e2e")]
pub(crate) struct Arguments {
    /// up, test, down or run (all three, the default); or a suite, to run it
    #[argh(positional)]
    words: Vec<String>,

    /// run only scenarios whose name contains this
    #[argh(option)]
    only: Option<String>,

    /// which PostgreSQL is started: official, debian or local; the best that works here by default
    #[argh(option)]
    kind: Option<Kind>,

    /// run sync-cli as it is built for development: quicker to build, slower to run
    #[argh(switch)]
    debug: bool,

    /// down: remove the PostgreSQL image that was made here, too
    #[argh(switch)]
    image: bool,
}

impl Arguments {
    /// Every suite, as `cargo xtask test` runs them.
    pub(crate) fn everything() -> Self {
        Self {
            words: Vec::new(),
            only: None,
            kind: None,
            debug: false,
            image: false,
        }
    }
}

/// Every suite by its name.
const SUITES: [(&str, Suite); 10] = [
    ("postgres", postgres::SCENARIOS),
    ("rows", rows::SCENARIOS),
    ("local", local::SCENARIOS),
    ("files", files::SCENARIOS),
    ("legacy", legacy::SCENARIOS),
    ("upkeep", upkeep::SCENARIOS),
    ("bundle", bundle::SCENARIOS),
    ("engine", engine::SCENARIOS),
    ("deploy", deploy::SCENARIOS),
    ("faults", faults::SCENARIOS),
];

/// What `up` leaves behind for `test` and `down`.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    server: i32,
    address: std::net::SocketAddr,
    directory: PathBuf,
}

/// Runs the step that the arguments ask for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut words = arguments.words.iter().map(String::as_str).peekable();
    let step = words
        .next_if(|word| ["up", "test", "down", "run"].contains(word))
        .unwrap_or("run");
    let suite = words.next();
    ensure!(
        words.next().is_none()
            && suite.is_none_or(|suite| SUITES.iter().any(|(name, _)| *name == suite)),
        UnexpectedSnafu {
            what: "usage: cargo xtask e2e [up|test|down|run] [postgres|rows|local|files|legacy|upkeep|bundle|engine|deploy|faults]"
        }
    );
    let only = arguments.only.as_deref().unwrap_or_default();
    match step {
        "up" => up(suite, arguments),
        "test" => test(suite, only, arguments),
        "down" => down(arguments.image),
        _ => all(suite, only, arguments),
    }
}

/// Builds `sync-cli` for release, once; cargo finds out whether anything changed.
pub(crate) fn build() -> Result<PathBuf> {
    build_as("release")
}

/// Builds `sync-cli` in a profile, `release` or `dev`.
fn build_as(profile: &str) -> Result<PathBuf> {
    cargo::run(&mut cargo([
        "build",
        "--profile",
        profile,
        "--locked",
        "--quiet",
        "--package",
        "sync-cli",
    ]))?;
    let target = cargo::metadata()?.target_directory;
    let directory = if profile == "dev" { "debug" } else { profile };
    Ok(target.join(directory).join("sync-cli").into())
}

impl Arguments {
    fn build(&self) -> Result<PathBuf> {
        build_as(if self.debug { "dev" } else { "release" })
    }
}

fn all(suite: Option<&str>, only: &str, arguments: &Arguments) -> Result<()> {
    let program = arguments.build()?;
    let directory = tempfile::tempdir().context(IoSnafu {
        action: "create a temporary directory",
    })?;
    let certificates = certificates::make(directory.path())?;
    let log = directory.path().join("server.log");
    let data = directory.path().join("data");
    let server = Server::start(&program, &data, &certificates, &log)?;
    let bench = Bench::new(
        program,
        directory.path(),
        data,
        certificates,
        server.address(),
    )
    .with_postgres(arguments.kind);
    let result = scenarios(&bench, suite, only);
    let ended = server.stop();
    if result.is_err() {
        show(&log);
    }
    result.and(ended.map(|_| ()))
}

fn scenarios(bench: &Bench, suite: Option<&str>, only: &str) -> Result<()> {
    let mut failed = 0;
    for (name, scenarios) in SUITES {
        if suite.is_none_or(|suite| suite == name) {
            failed += bench.run(name, scenarios, only)?;
        }
    }
    ensure!(
        failed == 0,
        FoundSnafu {
            what: format!("{failed} scenarios failed")
        }
    );
    Ok(())
}

fn up(suite: Option<&str>, arguments: &Arguments) -> Result<()> {
    crate::postgres::up(arguments.kind)?;
    if suite == Some("postgres") {
        return Ok(());
    }
    let path = state_path()?;
    if path.exists() {
        let address = read_state()?.address;
        ensure!(
            TcpStream::connect(address).is_ok(),
            UnexpectedSnafu {
                what: "the server that was up is gone: `cargo xtask e2e down` first"
            }
        );
        println!("found a server at https://localhost:{}", address.port());
        return Ok(());
    }
    let program = arguments.build()?;
    let directory = tempfile::tempdir()
        .context(IoSnafu {
            action: "create a temporary directory",
        })?
        .keep();
    let certificates = certificates::make(&directory)?;
    let log = directory.join("server.log");
    let server = Server::start(&program, &directory.join("data"), &certificates, &log)?;
    let address = server.address();
    let state = State {
        server: server.leave()?,
        address,
        directory,
    };
    println!(
        "https://localhost:{} serves `{}`",
        address.port(),
        state.directory.display()
    );
    write_state(&path, &state)
}

fn test(suite: Option<&str>, only: &str, arguments: &Arguments) -> Result<()> {
    let state = read_state()?;
    let bench = Bench::new(
        arguments.build()?,
        &state.directory,
        state.directory.join("data"),
        Certificates {
            authority: state.directory.join("ca.pem"),
            certificate: state.directory.join("server.pem"),
            key: state.directory.join("server.key"),
        },
        state.address,
    )
    .with_postgres(arguments.kind);
    scenarios(&bench, suite, only)
}

fn down(with_image: bool) -> Result<()> {
    let was_up = crate::postgres::down(with_image)?;
    if was_up && !state_path()?.exists() {
        return Ok(());
    }
    let state = read_state()?;
    server::terminate(state.server);
    fs::remove_dir_all(&state.directory).context(IoSnafu {
        action: format!("remove `{}`", state.directory.display()),
    })?;
    let path = state_path()?;
    fs::remove_file(&path).context(IoSnafu {
        action: format!("remove `{}`", path.display()),
    })
}

fn state_path() -> Result<PathBuf> {
    let directory = cargo::metadata()?.target_directory.join("xtask");
    fs::create_dir_all(&directory).context(IoSnafu {
        action: format!("create `{directory}`"),
    })?;
    Ok(directory.join("e2e.json").into())
}

fn write_state(path: &Path, state: &State) -> Result<()> {
    let text = serde_json::to_string(state)
        .map_err(io::Error::from)
        .context(IoSnafu {
            action: "encode the state",
        })?;
    fs::write(path, text).context(IoSnafu {
        action: format!("write `{}`", path.display()),
    })
}

fn read_state() -> Result<State> {
    let path = state_path()?;
    let text = fs::read_to_string(&path).ok().context(MissingSnafu {
        what: "no server is up",
        advice: "start one with `cargo xtask e2e up`",
    })?;
    serde_json::from_str(&text).ok().context(UnexpectedSnafu {
        what: format!("`{}` is damaged", path.display()),
    })
}

/// The last part of the server's log.
fn show(log: &Path) {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("---- the end of the server's log");
    for line in &lines[lines.len().saturating_sub(60)..] {
        println!("{line}");
    }
}
