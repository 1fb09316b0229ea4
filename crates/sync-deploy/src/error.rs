//! What can go wrong between a source and a running program.

use std::io;
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
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Start { .. } | Self::Ended { .. } => Class::Failed,
            Self::TimedOut { .. } => Class::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Start { .. } => "install the program, or put its directory on PATH",
            Self::Ended { .. } => "run the command by hand to see all that it says",
            Self::TimedOut { .. } => "look at what it waits for, or give it more time",
        };
        Some(hint.to_owned())
    }
}
