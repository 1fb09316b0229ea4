//! Remotes that come into `sync.toml` and go from it.
//!
//! The file is a person's: it is edited as text, and whatever is not about the remote stays as it is, comments included.
//! **Invariant:** what is written means exactly what was wanted; where the text would mean anything else, nothing is written.

use std::fmt::Write;
use std::path::Path;

use snafu::{OptionExt, ResultExt, ensure};
use sync_core::Name;
use sync_store::PublicKey;

use crate::config::{CONFIG_FILE, Config, DEFAULT_REMOTE, RemoteConfig};
use crate::error::{ReadSnafu, RemoteExistsSnafu, UneditableSnafu, UnknownRemoteSnafu, WriteSnafu};
use crate::state::{Sync, replace};
use crate::trust::keep;
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

    /// Gives the remote that this workspace works with another address in `sync.toml`, and finds what is remembered of its tenant
    /// there from now on. `key` is who was met there.
    ///
    /// A run that ends in between leaves the new address, where the tenant is recognised by its key.
    ///
    /// # Errors
    ///
    /// [`Error::Uneditable`] where the remote is not written as a table of its own, [`Error::Config`] where the url is none. The
    /// file is as it was then, as after any other error but that what is known of tenants cannot be written.
    pub fn set_remote_url(&self, url: &str, key: Option<PublicKey>) -> Result<(), Error> {
        let (name, from) = (self.remote_name()?, self.written_remote()?);
        let to = RemoteConfig {
            url: url.to_owned(),
            ..from.clone()
        };
        to.location(self.root())?;
        if to != *from {
            self.edit(|text, path| rewritten(text, path, name, url))?;
        }
        keep(self, |known| {
            known.carry(&from.url, url, &from.tenant, key);
        })
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
    ensure_means(&edited, path, name.as_str(), &wanted)?;
    Ok(edited)
}

/// The text with another address of a remote.
fn rewritten(text: &str, path: &Path, name: &str, url: &str) -> Result<String, Error> {
    let mut wanted = Config::parse(text, path)?;
    let is_first = |name: &str| name == DEFAULT_REMOTE;
    let named = wanted.named_remotes.iter_mut();
    let mut named = named.filter(|(known, _)| known.as_str() == name);
    let remote = match &mut wanted.remote {
        Some(remote) if is_first(name) => Some(remote),
        _ => named.next().map(|(_, remote)| remote),
    };
    let remote = remote.context(UnknownRemoteSnafu { name })?;
    url.clone_into(&mut remote.url);
    let uneditable = || UneditableSnafu { name }.build();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let table = lines.iter().position(|line| is_header_of(line, name));
    let first = table.ok_or_else(uneditable)? + 1;
    let table = lines[first..].iter().take_while(|line| !is_header(line));
    let at = table.into_iter().position(|line| after_url(line).is_some());
    let at = first + at.ok_or_else(uneditable)?;
    let rest = after_url(lines[at]).unwrap_or_default();
    let edited = [
        &lines[..at].concat(),
        &format!("url = {}{rest}", quoted(url)),
        &lines[at + 1..].concat(),
    ];
    let edited = edited.map(String::as_str).concat();
    ensure_means(&edited, path, name, &wanted)?;
    Ok(edited)
}

/// What stands after the address in a line that gives one.
fn after_url(line: &str) -> Option<&str> {
    let value = line.trim_start().strip_prefix("url")?.trim_start();
    let value = value.strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Some(value[1..].split_once(quote)?.1)
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
        .find(|(_, line)| is_header_of(line, name.as_str()))
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
    ensure_means(&edited, path, name.as_str(), &wanted)?;
    Ok(edited)
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// Whether the line begins the table of this remote, in one of the ways that people write it.
fn is_header_of(line: &str, name: &str) -> bool {
    let line = line.split('#').next().unwrap_or_default();
    let bare: String = line
        .chars()
        .filter(|c| !matches!(c, ' ' | '\t' | '\r' | '\n' | '"' | '\''))
        .collect();
    bare == format!("[remotes.{name}]") || (name == DEFAULT_REMOTE && bare == "[remote]")
}

fn ensure_means(edited: &str, path: &Path, name: &str, wanted: &Config) -> Result<(), Error> {
    let means = Config::parse(edited, path).is_ok_and(|found| found == *wanted);
    ensure!(means, UneditableSnafu { name });
    Ok(())
}

/// A JSON string is a TOML basic string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A remote as people write it.
fn table(name: &Name, remote: &RemoteConfig) -> String {
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
    fn an_address_is_another_one_and_the_rest_stays() {
        let path = Path::new(FILE);
        let text = "# mine\n[remote]\ntenant = \"t\"\n  url='https://a' # here\n\n[remotes.b]\nurl = \"https://b\"\n";
        assert_eq!(
            rewritten(text, path, DEFAULT_REMOTE, "https://n").unwrap(),
            "# mine\n[remote]\ntenant = \"t\"\nurl = \"https://n\" # here\n\n[remotes.b]\nurl = \"https://b\"\n"
        );
        let other = rewritten(text, path, "b", "https://n").unwrap();
        assert_eq!(other, text.replace("https://b", "https://n"));
        let unknown = rewritten(text, path, "c", "https://n");
        assert!(matches!(unknown, Err(Error::UnknownRemote { .. })));
        for text in [
            "[remotes]\nb = { url = \"https://b\" }\n",
            "[remotes.b]\nurl = \"\"\"https://b\"\"\"\n",
            "[remotes.b]\n\"url\" = \"https://b\"\n",
            "[workspace]\nname = \"\"\"\n[remotes.b]\nurl = \"x\"\n\"\"\"\n[remotes.b]\nurl = \"https://b\"\n",
        ] {
            let outcome = rewritten(text, path, "b", "https://n");
            assert!(matches!(outcome, Err(Error::Uneditable { .. })), "{text}");
        }
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
