//! Why a verb of ours failed.

use std::{error::Error as _, io, process::ExitStatus};

use snafu::Snafu;

/// The result of anything here.
pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a verb of ours failed.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub(crate) enum Error {
    /// The operating system refused something.
    #[snafu(display("could not {action}"))]
    Io {
        /// What was tried, to which operand.
        action: String,
        /// Why not.
        source: io::Error,
    },

    /// A program that we ran did not succeed.
    #[snafu(display("`{command}` ended with {status}"))]
    Program {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },

    /// A check of the project found something, which was printed already.
    #[snafu(display("{what}"))]
    Found {
        /// How much of what.
        what: String,
    },

    /// A file or an answer is not what it has to be.
    #[snafu(display("{what}"))]
    Unexpected {
        /// What is wrong with which operand.
        what: String,
    },

    /// Something that a verb needs is not there.
    #[snafu(display("{what}: {advice}"))]
    Missing {
        /// What is not there.
        what: String,
        /// How to get it.
        advice: String,
    },
}

/// An error and everything beneath it, on one line.
pub(crate) fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
