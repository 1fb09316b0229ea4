//! The environment as a value: variables, clock, terminal. Nothing else in the program asks for them.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// What the process was started with.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    vars: BTreeMap<String, String>,
    /// Whether stdout is a terminal.
    pub(crate) stdout_terminal: bool,
    /// Whether stderr is a terminal.
    pub(crate) stderr_terminal: bool,
    /// Whether stdin is a terminal.
    pub(crate) stdin_terminal: bool,
}

impl Env {
    /// Reads the process's own.
    pub(crate) fn of_process() -> Self {
        let utf8 = |(key, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((key.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            vars: std::env::vars_os().filter_map(utf8).collect(),
            stdout_terminal: std::io::stdout().is_terminal(),
            stderr_terminal: std::io::stderr().is_terminal(),
            stdin_terminal: std::io::stdin().is_terminal(),
        }
    }

    /// The same with nobody at a terminal.
    pub(crate) fn without_terminal(&self) -> Self {
        Self {
            vars: self.vars.clone(),
            stdout_terminal: false,
            stderr_terminal: false,
            stdin_terminal: false,
        }
    }

    /// The value of a variable.
    pub(crate) fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    /// Where what is temporary goes.
    pub(crate) fn temporary(&self) -> PathBuf {
        let named = self.var("TMPDIR").filter(|dir| !dir.is_empty());
        PathBuf::from(named.unwrap_or_else(|| "/tmp".to_owned()))
    }

    /// The time in milliseconds since 1970-01-01T00:00:00Z; 0 where the clock is before that.
    pub(crate) fn now() -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// A random number; the clock's low bits where the system has no randomness to give.
    pub(crate) fn random() -> u64 {
        getrandom::u64().unwrap_or_else(|_| Self::now().wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Who makes a snapshot: `SYNC_AUTHOR`, else user and host, on one line.
    pub(crate) fn author(&self) -> String {
        let named = self
            .var("SYNC_AUTHOR")
            .filter(|author| !author.trim().is_empty());
        let author = named.unwrap_or_else(|| {
            let user = self
                .var("USER")
                .or_else(|| self.var("LOGNAME"))
                .unwrap_or_else(|| "unknown".into());
            let host = rustix::system::uname();
            format!("{user}@{}", host.nodename().to_string_lossy())
        });
        author
            .chars()
            .filter(|c| !c.is_control())
            .take(200)
            .collect()
    }

    #[cfg(test)]
    pub(crate) fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let vars = pairs
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Self {
            vars,
            stdout_terminal: false,
            stderr_terminal: false,
            stdin_terminal: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_author_is_one_line() {
        assert_eq!(
            Env::from_pairs([("SYNC_AUTHOR", "Ada\n\u{1b}[2J")]).author(),
            "Ada[2J"
        );
        assert!(
            Env::from_pairs([("USER", "ada")])
                .author()
                .starts_with("ada@")
        );
    }
}
