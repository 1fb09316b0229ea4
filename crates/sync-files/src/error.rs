//! What can go wrong with a directory, under which code, and what to do next.

use std::io;
use std::path::PathBuf;

use snafu::Snafu;
use sync_core::{Class, Digest, Fault};

/// Why a directory could not be captured, or a plan not applied.
///
/// Every variant says which path it is about. Unless a variant says otherwise, the tree is as it was before the call.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The root directory is not there, or is no longer the directory that was opened.
    #[snafu(display("there is no directory at `{}`", path.display()))]
    NoTree {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The system refused a call.
    #[snafu(display("cannot {doing} `{path}`"))]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which path: relative to the tree, or below the private directory.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A line of a `.syncignore` file, or an extra pattern, is not a pattern.
    #[snafu(display("line {line} of `{path}` is not an ignore pattern: {reason}"))]
    Ignore {
        /// The file, relative to the tree.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// The stat cache is intact by its checksum, and still makes no sense.
    #[snafu(display("the stat cache lists `{path}` in a way that cannot be read"))]
    Cache {
        /// The directory whose listing it is.
        path: String,
    },
    /// A plan contradicts itself, or names what no tree may hold.
    #[snafu(display("the plan for `{path}` cannot be followed: {reason}"))]
    Plan {
        /// The step.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Paths do not hold what the plan expects: somebody changed them since it was made. Nothing was overwritten.
    #[snafu(display("{} changed after the plan was made", some(paths)))]
    Moved {
        /// Each path, in order; never empty.
        paths: Vec<String>,
    },
    /// Bytes that were handed in are not what their digest promises.
    #[snafu(display("the bytes given for object {digest} have another digest or length"))]
    Corrupt {
        /// The digest that was promised.
        digest: Digest,
    },
    /// A commit was asked for before every chunk was there.
    #[snafu(display("{missing} chunks of the plan were not given, the first is {first}"))]
    Incomplete {
        /// How many are missing.
        missing: usize,
        /// One of them.
        first: Digest,
    },
    /// The private directory and the tree are on two file systems, so that nothing can be renamed from one to the other.
    #[snafu(display("`{path}` is on another file system than the private directory"))]
    Split {
        /// The directory on the other file system.
        path: String,
    },
    /// Another process applies a plan to this tree.
    #[snafu(display("another process is applying a plan to `{}`", path.display()))]
    Busy {
        /// The tree.
        path: PathBuf,
    },
    /// An earlier apply was interrupted and has not been recovered.
    #[snafu(display("an interrupted apply of `{}` is waiting to be recovered", path.display()))]
    Pending {
        /// The tree.
        path: PathBuf,
    },
    /// The journal of an interrupted apply was damaged. It, and the files it speaks of, are left as they are.
    #[snafu(display("the journal `{}` is damaged", path.display()))]
    Journal {
        /// The journal.
        path: PathBuf,
    },
    /// An apply failed, and so did undoing it: the tree is between two states until it is recovered.
    #[snafu(display("a failed apply could not be undone at once: {first}"))]
    Stuck {
        /// Why the apply failed, with its causes.
        first: String,
        /// Why undoing it failed.
        #[snafu(source(from(Error, Box::new)))]
        source: Box<Error>,
    },
}

/// What the functions of this crate return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The first few paths, and how many more there are.
fn some(paths: &[String]) -> String {
    const SHOWN: usize = 3;
    let names: Vec<_> = paths.iter().take(SHOWN).map(|p| format!("`{p}`")).collect();
    match paths.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::NoTree { .. } => "files/no-tree",
            Self::Io { .. } => "files/io",
            Self::Ignore { .. } => "files/ignore",
            Self::Cache { .. } => "files/cache",
            Self::Plan { .. } => "files/plan",
            Self::Moved { .. } => "files/moved",
            Self::Corrupt { .. } => "files/corrupt",
            Self::Incomplete { .. } => "files/incomplete",
            Self::Split { .. } => "files/split",
            Self::Busy { .. } => "files/busy",
            Self::Pending { .. } => "files/pending",
            Self::Journal { .. } => "files/journal",
            Self::Stuck { .. } => "files/stuck",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::NoTree { .. } | Self::Ignore { .. } | Self::Split { .. } => Class::Usage,
            Self::Io { .. } | Self::Pending { .. } | Self::Stuck { .. } => Class::Failed,
            Self::Moved { .. } => Class::Conflict,
            Self::Plan { .. } | Self::Corrupt { .. } | Self::Journal { .. } => Class::Integrity,
            Self::Busy { .. } => Class::Unavailable,
            Self::Cache { .. } | Self::Incomplete { .. } => Class::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoTree { path } => {
                format!("create `{}` or name another directory", path.display())
            }
            Self::Io { source, .. } => return io_hint(source).map(str::to_owned),
            Self::Ignore { path, .. } => format!("correct the pattern in `{path}`"),
            Self::Cache { .. } => "delete the stat cache: everything is then hashed once".into(),
            Self::Plan { .. } => {
                "ask the other side to correct the snapshot: nothing of it was written".into()
            }
            Self::Moved { .. } => "run `sync-cli status` and plan again".into(),
            Self::Corrupt { .. } => {
                "fetch the object again; if it stays wrong, check the remote's store".into()
            }
            Self::Split { .. } => {
                "put the workspace on one file system: no mount may be between `.sync` and the tree"
                    .into()
            }
            Self::Busy { .. } => "wait until the other process has finished".into(),
            Self::Pending { .. } | Self::Stuck { .. } => {
                "remove what stopped it (a full disk, a permission) and run the command again"
                    .into()
            }
            Self::Journal { path } => format!(
                "look for replaced files below `{}`, keep what you need, then remove that directory",
                path.parent().unwrap_or(path).display()
            ),
            Self::Incomplete { .. } => return None,
        })
    }
}

/// What a person can do about a refusal of the system.
fn io_hint(source: &io::Error) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    Some(match source.kind() {
        Kind::StorageFull => "free some space and run the command again",
        Kind::QuotaExceeded => "free some of your quota and run the command again",
        Kind::PermissionDenied => {
            "give yourself permission to that path, or have `.syncignore` leave it out"
        }
        Kind::ReadOnlyFilesystem => "mount the file system for writing",
        Kind::CrossesDevices => "put the workspace on one file system",
        _ => return None,
    })
}

/// Names the operation and the path of a failed call.
pub(crate) trait Doing<T> {
    /// Turns the system's answer into [`Error::Io`].
    fn doing(self, doing: &'static str, path: impl ToString) -> Result<T>;
}

impl<T, E: Into<io::Error>> Doing<T> for std::result::Result<T, E> {
    fn doing(self, doing: &'static str, path: impl ToString) -> Result<T> {
        self.map_err(|source| Error::Io {
            doing,
            path: path.to_string(),
            source: source.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_a_few_paths_and_counts_the_rest() {
        let error = Error::Moved {
            paths: ["a", "b", "c", "d", "e"].map(String::from).to_vec(),
        };
        assert_eq!(
            error.to_string(),
            "`a`, `b`, `c` and 2 more changed after the plan was made"
        );
        assert_eq!(
            (error.code(), error.class()),
            ("files/moved", Class::Conflict)
        );
    }

    #[test]
    fn a_full_disk_says_what_to_do() {
        let full: std::result::Result<(), _> = Err(rustix::io::Errno::NOSPC);
        let error = full.doing("write", "a/b").unwrap_err();
        assert_eq!(error.to_string(), "cannot write `a/b`");
        assert!(error.hint().unwrap().contains("space"));
    }
}
