//! The port that commands run through.

mod process;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use async_trait::async_trait;

use crate::Error;

pub use process::ProcessRunner;

/// What stands where a secret was.
const MASK: &str = "***";

/// A command: no shell reads it.
#[derive(Clone)]
pub struct Command {
    pub(crate) program: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) stdin: Option<Vec<u8>>,
    pub(crate) limit: Duration,
    /// What is masked wherever it shows.
    secrets: Vec<String>,
}

/// What a command came to that ended well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// What it wrote to its standard output, at most [`Ran::MAX_BYTES`]; the end of it, where it was more.
    pub stdout: Vec<u8>,
    /// How it ended.
    pub status: ExitStatus,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// So much of the output is kept.
    pub const MAX_BYTES: usize = 1 << 20;

    /// What it wrote, as text on one line.
    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }
}

/// Is told every line that a command writes.
pub type Listener<'l> = dyn for<'line> Fn(&'line str) + Sync + 'l;

/// Runs commands. Object-safe.
#[async_trait]
pub trait CommandRunner: Send + Sync + fmt::Debug {
    /// Runs a command to its end; every line that it writes goes to `tell`, secrets masked. Dropped, it ends the command and
    /// everything that it has started.
    ///
    /// # Errors
    ///
    /// [`Error::Start`], [`Error::Ended`] where its status is not zero, [`Error::TimedOut`].
    async fn run(&self, command: &Command, tell: &Listener<'_>) -> Result<Ran, Error>;
}

impl Command {
    /// How long a command may take where nothing else is said.
    pub const LIMIT: Duration = Duration::from_mins(30);

    /// A program and its arguments.
    pub fn new<S: AsRef<OsStr>>(
        program: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = S>,
    ) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: args
                .into_iter()
                .map(|arg| arg.as_ref().to_owned())
                .collect(),
            dir: None,
            env: Vec::new(),
            stdin: None,
            limit: Self::LIMIT,
            secrets: Vec::new(),
        }
    }

    /// Where it runs.
    #[must_use]
    pub fn in_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// A secret in its environment.
    #[must_use]
    pub fn secret_env(self, key: impl Into<OsString>, value: &str) -> Self {
        self.masking(value).env(key, value)
    }

    /// A secret on its standard input, which ends after it. Without one there is nothing to read.
    #[must_use]
    pub fn secret_input(mut self, secret: &str) -> Self {
        self.stdin = Some(secret.as_bytes().to_vec());
        self.masking(secret)
    }

    /// How long it may take.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn masking(mut self, secret: &str) -> Self {
        let secret = secret.trim();
        if !secret.is_empty() {
            self.secrets.push(secret.to_owned());
        }
        self
    }

    /// `text` without the secrets of this command.
    pub fn masked(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in &self.secrets {
            masked = masked.replace(secret, MASK);
        }
        masked
    }
}

/// As a person would type it into a shell, secrets masked.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = std::iter::once(&self.program).chain(&self.args);
        let words: Vec<_> = words.map(|word| quoted(&word.to_string_lossy())).collect();
        f.write_str(&self.masked(&words.join(" ")))
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Command({self})")
    }
}

/// A word that a shell reads as itself.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_shows_as_it_is_typed_without_its_secrets() {
        let command = Command::new("docker", ["login", "-u", "me", "--password-stdin", "a b's"])
            .secret_input("hunter2\n")
            .secret_env("TOKEN", "hunter3");
        let shown = command.to_string();
        assert_eq!(shown, r"docker login -u me --password-stdin 'a b'\''s'");
        assert_eq!(command.masked("hunter2 or hunter3"), "*** or ***");
        assert_eq!(format!("{command:?}"), format!("Command({shown})"));
    }
}
