//! What can go wrong between a directory and the rows of its items.

use snafu::Snafu;
use sync_core::{Class, Fault, TreePath};

/// Why items could not be compared or brought to the other side.
///
/// Where nothing else is said, directory and database are as they were.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// The directory.
    #[snafu(transparent)]
    Files {
        /// What `sync-files` said.
        source: sync_files::Error,
    },
    /// The database.
    #[snafu(transparent)]
    Database {
        /// What `sync-db` said.
        source: sync_db::Error,
    },
    /// A file is not what it should be.
    #[snafu(display("`{path}`, line {line}: {reason}"))]
    Parse {
        /// The file, from the top of the tree.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// Two files are about one item.
    #[snafu(display("`{first}` and `{second}` are both {kind} `{key}`"))]
    Twice {
        /// What kind of item.
        kind: &'static str,
        /// The item.
        key: String,
        /// A file.
        first: String,
        /// Another one.
        second: String,
    },
    /// A row of another source has the identity of an item on disk.
    #[snafu(display(
        "`{path}` is {kind} `{key}`, and the row with its name or path belongs to {owner}"
    ))]
    Taken {
        /// What kind of item.
        kind: &'static str,
        /// The item.
        key: String,
        /// Its file.
        path: String,
        /// Whose the row is.
        owner: String,
    },
    /// A row cannot be a file as it is, or as it is named.
    #[snafu(display("{kind} `{key}` of the database cannot be a file: {reason}"))]
    Unnamable {
        /// What kind of item.
        kind: &'static str,
        /// The item, with what could forge output left out.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Something else is where a file is to be.
    #[snafu(display("{kind} `{key}` belongs at `{path}`, where something else is"))]
    InTheWay {
        /// What kind of item.
        kind: &'static str,
        /// The item.
        key: String,
        /// Where it belongs.
        path: String,
    },
    /// A file cannot be changed without losing what a person wrote.
    #[snafu(display("`{path}` cannot be edited: {reason}"))]
    Edit {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The directory of a source, or what names the sources, is not there: that is not the same as an empty one.
    #[snafu(display("there is no `{path}`, where {what} should be"))]
    NoDirectory {
        /// What should be there.
        what: String,
        /// The directory or file.
        path: String,
    },
    /// A file that may be an item is left out.
    #[snafu(display("`{path}` is left out: {reason}"))]
    LeftOut {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// Both sides changed the same item.
    #[snafu(display("{} changed on disk and in the database: {}", count(keys.len()), listed(keys)))]
    Conflict {
        /// The items.
        keys: Vec<String>,
    },
    /// Files that do not parse stop the run.
    #[snafu(display("{}", if *count == 1 { "a file or row cannot be synced as it is".to_owned() } else { format!("{count} files or rows cannot be synced as they are") }))]
    Unfit {
        /// How many.
        count: usize,
    },
    /// A side changed after the plan was made. Nothing was overwritten.
    #[snafu(display("{what} changed after the plan was made"))]
    Moved {
        /// What, in words.
        what: String,
    },
    /// The private file of what was rendered could not be used.
    #[snafu(display("could not use `{path}`"))]
    Spool {
        /// Where it is.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A task of this process ended without an answer.
    #[snafu(display("a task of this process ended without an answer"))]
    Task,
}

impl Error {
    /// Whether a side changed since the plan was made, so that a new plan may well succeed.
    pub fn is_moved(&self) -> bool {
        matches!(
            self,
            Self::Moved { .. }
                | Self::Files {
                    source: sync_files::Error::Moved { .. }
                }
        )
    }

    /// Whether it is about single items, so that others can be synced all the same.
    pub(crate) fn is_of_an_item(&self) -> bool {
        matches!(
            self,
            Self::Parse { .. } | Self::Unnamable { .. } | Self::InTheWay { .. } | Self::Edit { .. }
        )
    }

    /// Whether it is about a file that these patterns choose, or about none.
    pub(crate) fn is_chosen(&self, filter: &sync_files::Patterns) -> bool {
        let is_chosen = |path: &str| TreePath::new(path).is_ok_and(|path| filter.matches(&path));
        match self {
            Self::Twice { first, second, .. } => is_chosen(first) || is_chosen(second),
            other => other.path().is_none_or(is_chosen),
        }
    }

    /// The file that it is about, where it is one file.
    pub fn path(&self) -> Option<&str> {
        match self {
            Self::Parse { path, .. }
            | Self::Taken { path, .. }
            | Self::InTheWay { path, .. }
            | Self::Edit { path, .. }
            | Self::LeftOut { path, .. }
            | Self::NoDirectory { path, .. } => Some(path),
            Self::Twice { second, .. } => Some(second),
            _ => None,
        }
    }
}

fn count(n: usize) -> String {
    match n {
        1 => "1 item".to_owned(),
        n => format!("{n} items"),
    }
}

fn listed(keys: &[String]) -> String {
    const SHOWN: usize = 5;
    let text = keys.iter().take(SHOWN).map(|key| format!("`{key}`"));
    let text = text.collect::<Vec<_>>().join(", ");
    match keys.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

impl Fault for Error {
    fn code(&self) -> &'static str {
        match self {
            Self::Files { source } => source.code(),
            Self::Database { source } => source.code(),
            Self::Parse { .. } => "local/parse",
            Self::Twice { .. } => "local/twice",
            Self::Taken { .. } => "local/taken",
            Self::Unnamable { .. } => "local/unnamable",
            Self::InTheWay { .. } => "local/in-the-way",
            Self::Edit { .. } => "local/edit",
            Self::NoDirectory { .. } => "local/no-directory",
            Self::LeftOut { .. } => "local/left-out",
            Self::Conflict { .. } => "local/conflict",
            Self::Unfit { .. } => "local/unfit",
            Self::Moved { .. } => "local/moved",
            Self::Spool { .. } => "local/spool",
            Self::Task => "local/task",
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Files { source } => source.class(),
            Self::Database { source } => source.class(),
            Self::NoDirectory { .. } => Class::Usage,
            Self::Conflict { .. } | Self::Moved { .. } => Class::Conflict,
            Self::Task => Class::Bug,
            Self::Parse { .. }
            | Self::Twice { .. }
            | Self::Taken { .. }
            | Self::Unnamable { .. }
            | Self::InTheWay { .. }
            | Self::Edit { .. }
            | Self::LeftOut { .. }
            | Self::Unfit { .. }
            | Self::Spool { .. } => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Files { source } => return source.hint(),
            Self::Database { source } => return source.hint(),
            Self::Parse { .. } => {
                "correct the file; nothing is removed from the database meanwhile"
            }
            Self::Twice { .. } => "give one of them another name, or remove it",
            Self::Taken { .. } => {
                "choose another slug; a source never takes over the row of another one"
            }
            Self::Unnamable { .. } => "correct it in the database",
            Self::InTheWay { .. } => "move what is there to another place",
            Self::Edit { .. } => "make the change in the file by hand, then push",
            Self::NoDirectory { .. } => {
                "bring it back, or take it out of the configuration; what is missing is never taken for empty"
            }
            Self::LeftOut { .. } => {
                "put a file there that may be synced, or remove what is there; see `files.allow_secrets` in sync.toml and `.syncignore`"
            }
            Self::Conflict { .. } => {
                "`sync-cli diff skills|content|access-control` shows both versions; decide with `--on-conflict disk|database`"
            }
            Self::Unfit { .. } => "mend what is listed, or do the rest with `--keep-going`",
            Self::Moved { .. } => "run the command again: it plans anew",
            Self::Spool { .. } | Self::Task => return None,
        };
        Some(hint.to_owned())
    }
}
