//! Remotes that come into `sync.toml` and go from it.
//!
//! The file is a person's: it is edited as text, and whatever is not about the remote stays as it is, comments included.
//! **Invariant:** what is written means exactly what was wanted; where the text would mean anything else, nothing is written.

use std::fmt::Write;
use std::path::Path;

use snafu::{ResultExt, ensure};
use sync_core::Name;

use crate::config::{CONFIG_FILE, Config, DEFAULT_REMOTE, RemoteConfig};
use crate::error::{ReadSnafu, RemoteExistsSnafu, UneditableSnafu, UnknownRemoteSnafu, WriteSnafu};
use crate::state::{Sync, replace};
use crate::{Error, Workspace};

impl Workspace {
    /// Adds a remote to `sync.toml`, at its end.
    ///
    /// # Errors
    ///
    /// [`Error::RemoteExists`] where one has this name, [`Error::Config`] where its url is none. The file is as it was then, as
    /// after any other error.
    pub fn add_remote(&self, name: &Name, remote: &RemoteConfig) -> Result<(), Error> {
        remote.location(self.root())?;
        self.edit(|text, path| added(text, path, name, remote))
    }

    /// Removes a remote from `sync.toml`, and gives what it was. What the workspace remembers of its tenant stays.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownRemote`] where there is none, [`Error::Uneditable`] where it is not written as a table of its own.
    /// The file is as it was then, as after any other error.
    pub fn remove_remote(&self, name: &Name) -> Result<RemoteConfig, Error> {
        let (_, remote) = self.config().remote_named(Some(name.as_str()))?;
        self.edit(|text, path| removed(text, path, name))?;
        Ok(remote.clone())
    }

    fn edit(&self, edit: impl Fn(&str, &Path) -> Result<String, Error>) -> Result<(), Error> {
        let path = self.root().join(CONFIG_FILE);
        let text = std::fs::read_to_string(&path).context(ReadSnafu { path: &path })?;
        let edited = edit(&text, &path)?;
        replace(&path, edited.as_bytes(), Sync::Yes).context(WriteSnafu { path })
    }
}

/// The text with one remote more.
fn added(text: &str, path: &Path, name: &Name, remote: &RemoteConfig) -> Result<String, Error> {
    let mut wanted = Config::parse(text, path)?;
    let known = wanted.remotes().any(|(known, _)| known == name.as_str());
    ensure!(
        !known,
        RemoteExistsSnafu {
            name: name.as_str()
        }
    );
    if name.as_str() == DEFAULT_REMOTE {
        wanted.remote = Some(remote.clone());
    } else {
        wanted.named_remotes.insert(name.clone(), remote.clone());
    }
    let mut edited = text.to_owned();
    if !edited.is_empty() {
        edited.push_str(if edited.ends_with('\n') { "\n" } else { "\n\n" });
    }
    edited.push_str(&table(name, remote));
    ensure_means(&edited, path, name, &wanted)?;
    Ok(edited)
}

/// The text without a remote: without the line that begins its table and those that follow up to the next table, but for
/// comments right above that one, which are its own.
fn removed(text: &str, path: &Path, name: &Name) -> Result<String, Error> {
    let mut wanted = Config::parse(text, path)?;
    let gone = if name.as_str() == DEFAULT_REMOTE && wanted.remote.is_some() {
        wanted.remote.take()
    } else {
        wanted.named_remotes.remove(name)
    };
    ensure!(
        gone.is_some(),
        UnknownRemoteSnafu {
            name: name.as_str()
        }
    );
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let uneditable = || {
        UneditableSnafu {
            name: name.as_str(),
        }
        .build()
    };
    let mut headers = lines.iter().enumerate().filter(|(_, line)| is_header(line));
    let (first, _) = headers
        .find(|(_, line)| is_header_of(line, name))
        .ok_or_else(uneditable)?;
    let mut last = headers.next().map_or(lines.len(), |(next, _)| next);
    if last < lines.len() {
        while last > first + 1 && lines[last - 1].trim_start().starts_with('#') {
            last -= 1;
        }
    }
    let mut edited = lines[..first].concat();
    if last == lines.len() {
        // The empty line that was between it and the table before.
        let kept = edited.trim_end().len();
        edited.truncate(kept);
        if !edited.is_empty() {
            edited.push('\n');
        }
    }
    edited.push_str(&lines[last..].concat());
    ensure_means(&edited, path, name, &wanted)?;
    Ok(edited)
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Whether the line begins the table of this remote, in one of the ways that people write it.
fn is_header_of(line: &str, name: &Name) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let bare: String = line
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n' | '"' | '\''))
        .collect();
    bare == format!("[remotes.{name}]") || (name.as_str() == DEFAULT_REMOTE && bare == "[remote]")
}

fn ensure_means(edited: &str, path: &Path, name: &Name, wanted: &Config) -> Result<(), Error> {
    let means = Config::parse(edited, path).is_ok_and(|found| found == *wanted);
    ensure!(
        means,
        UneditableSnafu {
            name: name.as_str()
        }
    );
    Ok(())
}

/// A remote as people write it.
fn table(name: &Name, remote: &RemoteConfig) -> String {
    // A JSON string is a TOML basic string.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = if name.as_str() == DEFAULT_REMOTE {
        "[remote]\n".to_owned()
    } else if name.as_str().contains('.') {
        format!("[remotes.{}]\n", quoted(name.as_str()))
    } else {
        format!("[remotes.{name}]\n")
    };
    let mut pair = |key: &str, value: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key} = {}", quoted(value));
    };
    pair("url", &remote.url);
    pair("tenant", remote.tenant.as_str());
    pair("branch", remote.branch.as_str());
    if let Some(file) = &remote.ca_file {
        pair("ca_file", &file.to_string_lossy());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "sync.toml";

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn remote(url: &str) -> RemoteConfig {
        let text =
            format!("[remote]\nurl = \"{url}\"\ntenant = \"acme\"\nca_file = \"a \\\"b.pem\"");
        let config = Config::parse(&text, Path::new(FILE)).unwrap();
        config.remote.unwrap()
    }

    #[test]
    fn what_was_there_stays_and_what_was_added_can_be_removed() {
        for before in [
            "",
            "# mine\n[workspace]\nname = \"a\" # why\n",
            "[workspace]\nname = \"a\"",
            "[remote]\nurl = \"https://a\"\n\n[remotes.other]\nurl='https://b'\n",
            "[[jobs]]\nname = \"a\"\nrun = \"content_sync\"\n",
        ] {
            for called in ["staging", "v1.0"] {
                let path = Path::new(FILE);
                let after = added(before, path, &name(called), &remote("https://x")).unwrap();
                assert!(after.starts_with(before), "{after}");
                let config = Config::parse(&after, path).unwrap();
                let found = config.remote_named(Some(called)).unwrap().1;
                assert_eq!(*found, remote("https://x"));
                let again = removed(&after, path, &name(called)).unwrap();
                assert_eq!(again.trim_end(), before.trim_end());
            }
        }
    }

    #[test]
    fn the_lines_of_one_table_go() {
        let text = "[remotes.a]\nurl = \"https://a\"\n# of a\n\n# of b\n[ remotes.\"b\" ] # too\nurl = \"https://b\"\n\n[workspace]\nname = \"w\"\n";
        let path = Path::new(FILE);
        assert_eq!(
            removed(text, path, &name("a")).unwrap(),
            "# of b\n[ remotes.\"b\" ] # too\nurl = \"https://b\"\n\n[workspace]\nname = \"w\"\n"
        );
        assert_eq!(
            removed(text, path, &name("b")).unwrap(),
            "[remotes.a]\nurl = \"https://a\"\n# of a\n\n# of b\n[workspace]\nname = \"w\"\n"
        );
    }

    #[test]
    fn what_is_written_otherwise_is_left_to_people() {
        let path = Path::new(FILE);
        for text in [
            "[remotes]\na = { url = \"https://a\" }\n",
            "remotes.a.url = \"https://a\"\n",
            "[remotes]\na.url = \"https://a\"\n",
        ] {
            let outcome = removed(text, path, &name("a"));
            assert!(matches!(outcome, Err(Error::Uneditable { .. })), "{text}");
        }
        // A line of a text that looks like a table.
        let text =
            "[workspace]\nname = \"\"\"\n[remotes.a]\n\"\"\"\n[remotes.a]\nurl = \"https://a\"\n";
        let outcome = removed(text, path, &name("a"));
        assert!(matches!(outcome, Err(Error::Uneditable { .. })));
        let inline = "remotes = { a = { url = \"https://a\" } }\n";
        let outcome = added(inline, path, &name("b"), &remote("https://b"));
        assert!(matches!(outcome, Err(Error::Uneditable { .. })));
        let outcome = added(text, path, &name("a"), &remote("https://b"));
        assert!(matches!(outcome, Err(Error::RemoteExists { .. })));
        let outcome = removed(text, path, &name("c"));
        assert!(matches!(outcome, Err(Error::UnknownRemote { .. })));
    }
}
