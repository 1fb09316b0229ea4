//! What can go wrong between a source and a running program.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use snafu::Snafu;
use sync_core::{Class, Fault};

/// Why something was not built, shipped or run.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// A program could not be started.
    #[snafu(display("`{command}` could not be started"))]
    Start {
        /// The command, secrets masked.
        command: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A program ended in an error.
    #[snafu(display("`{command}` ended with {status}: {}", last_line(lines)))]
    Ended {
        /// The command, secrets masked.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The last lines that it wrote, secrets masked.
        lines: Vec<String>,
    },
    /// A program took too long, and was ended.
    #[snafu(display("`{command}` did not end within {} s", limit.as_secs()))]
    TimedOut {
        /// The command, secrets masked.
        command: String,
        /// How long it had.
        limit: Duration,
        /// The last lines that it wrote, secrets masked.
        lines: Vec<String>,
    },
    /// No container engine answers.
    #[snafu(display("no container engine answers: {line}"))]
    NoEngine {
        /// What `docker` said.
        line: String,
    },
    /// A disk is full.
    #[snafu(display("`{command}` found no space left: {line}"))]
    NoSpace {
        /// The command, secrets masked.
        command: String,
        /// The line that says so.
        line: String,
    },
    /// The registry does not let us in.
    #[snafu(display("the registry {registry} refuses these credentials"))]
    Refused {
        /// Which registry.
        registry: String,
    },
    /// The registry answered with something else than what was asked for.
    #[snafu(display("the registry {registry} {trouble}"))]
    Registry {
        /// Which registry.
        registry: String,
        /// What is wrong with it.
        trouble: String,
    },
    /// The network, or who is at its other end.
    #[snafu(transparent)]
    Transport {
        /// Its own error.
        source: sync_transport::Error,
    },
    /// A file or directory could not be read or written.
    #[snafu(display("could not {action} `{}`", path.display()))]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A key of the configuration makes no sense, or is needed and absent.
    #[snafu(display("`{key}`: {reason}"))]
    Settings {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// There is nothing that says how the image is made.
    #[snafu(display("there is no `{}`", path.display()))]
    NoDockerfile {
        /// Where it should be.
        path: PathBuf,
    },
    /// The source is not what a commit names.
    #[snafu(display("{found}: nobody could tell later what was deployed"))]
    Unclean {
        /// What was found.
        found: String,
    },
    /// A binary that is to be shipped is not there, or is older than what it is made from.
    #[snafu(display("`{}` {reason}", binary.display()))]
    Stale {
        /// The binary.
        binary: PathBuf,
        /// Why it is not shipped.
        reason: String,
    },
    /// Another deploy of this workspace runs.
    #[snafu(display("another deploy of this workspace runs"))]
    Busy,
    /// A place where programs run answered with something else than what was asked for.
    #[snafu(display("{place} {trouble}"))]
    Place {
        /// Which place.
        place: String,
        /// What is wrong with it.
        trouble: String,
    },
    /// What was started is not there any more, or never was.
    #[snafu(display("nothing was started for release {release}"))]
    NotStarted {
        /// The release, in short.
        release: String,
    },
    /// The new release did not take over.
    #[snafu(display("the new release could not take over: {reason}"))]
    NotSwitched {
        /// Why.
        reason: String,
    },
}

fn last_line(lines: &[String]) -> &str {
    lines.last().map_or("it wrote nothing", String::as_str)
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Start { .. } => "deploy/start",
            Self::Ended { .. } => "deploy/ended",
            Self::TimedOut { .. } => "deploy/timed-out",
            Self::NoEngine { .. } => "deploy/no-engine",
            Self::NoSpace { .. } => "deploy/no-space",
            Self::Refused { .. } => "deploy/refused",
            Self::Registry { .. } => "deploy/registry",
            Self::Transport { source } => source.code(),
            Self::Io { .. } => "deploy/io",
            Self::Settings { .. } => "deploy/settings",
            Self::NoDockerfile { .. } => "deploy/no-dockerfile",
            Self::Unclean { .. } => "deploy/unclean",
            Self::Stale { .. } => "deploy/stale",
            Self::Busy => "deploy/busy",
            Self::Place { .. } => "deploy/place",
            Self::NotStarted { .. } => "deploy/not-started",
            Self::NotSwitched { .. } => "deploy/not-switched",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Transport { source } => source.class(),
            Self::Start { .. }
            | Self::Ended { .. }
            | Self::NoSpace { .. }
            | Self::Registry { .. }
            | Self::Io { .. }
            | Self::Stale { .. }
            | Self::Place { .. }
            | Self::NotStarted { .. }
            | Self::NotSwitched { .. } => Class::Failed,
            Self::Settings { .. } | Self::NoDockerfile { .. } | Self::Unclean { .. } => {
                Class::Usage
            }
            Self::TimedOut { .. } | Self::NoEngine { .. } | Self::Busy => Class::Unavailable,
            Self::Refused { .. } => Class::Denied,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Transport { source } => return source.hint(),
            Self::Start { .. } => "install the program, or put its directory on PATH",
            Self::Ended { .. } => "run the command by hand to see all that it says",
            Self::TimedOut { .. } => "look at what it waits for, or give it more time",
            Self::NoEngine { .. } => {
                "start one with `systemctl start docker` (or `dockerd`), or name another in DOCKER_HOST"
            }
            Self::NoSpace { .. } => {
                "make room: `docker system df` says what the engine holds, `docker image prune` removes what nothing uses"
            }
            Self::Refused { .. } => "check user and password of the registry",
            Self::Registry { .. } => "check `registry` and `repository`, and who may push there",
            Self::NoDockerfile { .. } => "write it, or name another in `[deploy] dockerfile`",
            Self::Unclean { .. } => "commit first, or give --allow-dirty",
            Self::Stale { .. } => "leave out --skip-build, so that it is built",
            Self::Busy => "wait until it is done",
            Self::Place { .. } => "look there by its own means",
            Self::NotStarted { .. } => "deploy it again",
            Self::NotSwitched { .. } => "what served before serves again: look at its log",
            Self::Settings { .. } => "`docs/cli.md` lists the keys",
            Self::Io { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
